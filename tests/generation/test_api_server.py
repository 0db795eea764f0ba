"""`llamafactory-cli api`, the real one, gives the API engine the answers that the model gives in this process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.generation.api_engine import ApiEngine
from mug.generation.base import Completion
from mug.generation.model_folder import ModelFolder
from mug.tasks import TASKS
from mug.tasks.base import Options, Sample

if TYPE_CHECKING:
    from conftest import Server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NEW_TOKENS = 24


@pytest.fixture(scope="session")
def prompts() -> list[Sample]:
    """The first two samples of each task."""
    meetings = list(read_meetings(ROOT / "dataset" / "sample" / "dev.csv", Report()))[:1]
    return [
        sample
        for task in TASKS.values()
        for sample in [s for s in task(Options()).samples(meetings[0], "dev") if isinstance(s, Sample)][:2]
    ]


def answers(server: Server, prompts: list[Sample]) -> list[Completion]:
    found = dict(ApiEngine(server.address, "smoke", max_new_tokens=NEW_TOKENS, concurrency=3).generate(prompts))
    return [found[index] for index in range(len(prompts))]


def test_served_answers_are_those_of_the_model_here(server, ending_model, prompts, monkeypatch):
    """Equal to the letter, but for what the server says otherwise: see the docstring of api_engine.py.

    Its own settings would sample (LLaMA-Factory's default), so this also shows that our request makes it greedy.
    """
    from mug.generation.transformers_engine import TransformersEngine

    monkeypatch.setenv("MUG_API_KEY", server.key)
    served = answers(server, prompts)
    assert {one.finish for one in served} == {"stop", "length"}  # else the model shows only one of them
    engine = TransformersEngine(ModelFolder(str(ending_model)), max_new_tokens=NEW_TOKENS)
    special = re.compile("|".join(map(re.escape, engine.tokenizer.all_special_tokens)))

    def here() -> list[Completion]:
        found = dict(engine.generate(prompts))
        return [Completion(special.sub("", found[index].text), found[index].finish) for index in range(len(prompts))]

    for theirs, ours in zip(served, here(), strict=True):
        # It goes on after <|endoftext|>, where we stop, maybe between the bytes of a character.
        assert theirs.text.startswith(ours.text.rstrip("\ufffd"))
    engine.stop_ids = [engine.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert [(one.text, one.finish) for one in served] == [(one.text, one.finish) for one in here()]


def test_the_same_again(server, prompts, monkeypatch):
    monkeypatch.setenv("MUG_API_KEY", server.key)
    assert answers(server, prompts[:2]) == answers(server, prompts[:2])


@pytest.mark.parametrize("wrong", ["sk-wrong", ""])
def test_another_key_is_refused_and_stays_unsaid(server, prompts, monkeypatch, wrong):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MUG_API_KEY", wrong)
    with pytest.raises(InputError, match="MUG_API_KEY") as caught:
        answers(server, prompts[:1])
    assert not wrong or wrong not in "".join(caught.value.message)
    assert server.key not in server.log.read_text("utf-8", "replace")
