from __future__ import annotations

from collections.abc import Callable

import pytest

from mug.errors import InputError
from mug.meeting import Meeting
from mug.metrics.detection import combine, per_meeting, precision_recall_f1


def test_pools_the_sentences_of_all_meetings(meeting: Callable[..., Meeting]) -> None:
    parts = [
        per_meeting(meeting(action_ids=(1, 6)), {"action_ids": [{"id": 6}, {"id": 6}, {"id": 2}]}),
        per_meeting(meeting(action_ids=()), {"action_ids": [{"id": 4}]}),
    ]
    assert combine(parts) == {"score": 0.4, "precision": 1 / 3, "recall": 0.5, "f1-score": 0.4}


def test_one_side_only_is_zero_and_none_on_both_is_undefined() -> None:
    assert precision_recall_f1(0, 3, 0) == (0.0, 0.0, 0.0)
    assert precision_recall_f1(0, 0, 3) == (0.0, 0.0, 0.0)
    assert precision_recall_f1(0, 0, 0) == (None, None, None)


def test_unlabelled_gold_is_an_error(meeting: Callable[..., Meeting]) -> None:
    with pytest.raises(InputError, match="T1"):
        per_meeting(meeting(action_ids=None), {"action_ids": []})
