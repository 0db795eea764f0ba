"""The golden folder, the small meeting that the cases change, and how to build others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mug.meeting import Candidate, Meeting, Sentence, Topic

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def golden() -> Path:
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("../shared/golden is not here, so there is nothing to compare the scores with")
    return folder


@pytest.fixture
def meeting() -> Callable[..., Meeting]:
    """Six sentences, two topics, one action item; keyword arguments replace what a case changes."""

    def build(**changes: Any) -> Meeting:
        texts = ("先定春游地点。", "去湿地公园吧。", "同意。", "哪天去？", "下周五。", "我来订大巴。")
        whole = Meeting(
            key="T1",
            sentences=tuple(Sentence("甲乙"[i % 2], text) for i, text in enumerate(texts)),
            topics=(
                Topic(1, 3, (Candidate(title="定春游地点", key_sentences=(2, 3)),)),
                Topic(4, 6, (Candidate(title="定春游时间", key_sentences=(5,)),)),
            ),
            paragraph_ends=(3, 6),
            action_ids=(6,),
            candidates=(Candidate(key_sentences=(2, 5), key_words=("春游", "湿地公园")),),
        )
        return replace(whole, **changes)

    return build
