from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

import pytest

from mug.errors import InputError
from mug.meeting import Meeting, Topic
from mug.metrics.segmentation import combine, per_meeting, window_scores


def masses(labels: list[bool]) -> list[int]:
    """Segment lengths; a label marks the last unit of its segment."""
    lengths, current = [], 0
    for label in labels:
        current += 1
        if label:
            lengths.append(current)
            current = 0
    return lengths + [current] if current else lengths


def test_window_scores_equal_segeval() -> None:
    segeval = pytest.importorskip("segeval", reason="segeval is what these scores must equal; it is not installed")
    rng = random.Random(5)
    sizes = [*range(12), *(rng.randint(12, 80) for _ in range(40))]
    for size in sizes:
        for share in (0.0, 0.1, 0.4, 1.0):
            gold = [rng.random() < share for _ in range(size)]
            predicted = [rng.random() < 0.3 for _ in range(size)]
            one_minus_pk, one_minus_wd = window_scores(predicted, gold)
            if not size:
                assert one_minus_pk is one_minus_wd is None
                continue
            assert one_minus_pk == 1 - segeval.pk(masses(predicted), masses(gold))
            if one_minus_wd is None:
                with pytest.raises(ArithmeticError):
                    segeval.window_diff(masses(predicted), masses(gold))
            else:
                assert one_minus_wd == 1 - segeval.window_diff(masses(predicted), masses(gold))


def test_half_a_window_rounds_to_even() -> None:
    # 10 units in two segments have a mean length of 5, half of which is 2.5: a window of 2.
    gold = [False] * 4 + [True] + [False] * 5
    predicted = [True] + [False] * 9
    assert window_scores(predicted, gold) == (1 - Decimal(3) / 8, 1 - Decimal(3) / 8)


def test_only_paragraph_ends_count_and_the_last_one_does_not(meeting: Callable[..., Meeting]) -> None:
    gold = meeting(
        topics=(Topic(1, 2), Topic(3, 3), Topic(4, 6)), paragraph_ends=(2, 4, 6)
    )  # the second topic ends inside a paragraph: a boundary that never counts
    part = per_meeting(gold, {"topic_segment_ids": [{"id": 2}, {"id": 3}, {"id": 4}, {"id": 5}, {"id": 6}]})
    assert (part.n, part.true_positives, part.predicted, part.actual) == (2, 1, 2, 1)


def test_rounds_like_the_evaluator(meeting: Callable[..., Meeting]) -> None:
    part = per_meeting(meeting(paragraph_ends=(1, 2, 3, 4, 5, 6)), {"topic_segment_ids": [1, "3", {"id": 5}]})
    scores = combine([part])
    assert scores["test_precision"] == 0.3333 and scores["test_recall"] == 1.0 and scores["test_f1"] == 0.5
    assert scores["score"] == 0.5 * (2 / 4) + 0.25 * (scores["test_1-pk"] + scores["test_1-wd"])


def test_a_meeting_without_window_diff_is_left_out_and_counted(meeting: Callable[..., Meeting]) -> None:
    short = per_meeting(meeting(paragraph_ends=(2, 3, 6)), {"topic_segment_ids": [{"id": 3}]})
    assert short.skipped == 1 and short.one_minus_wd is None
    assert combine([short])["test_1-wd"] is combine([short])["score"] is None
    whole = per_meeting(meeting(paragraph_ends=(1, 2, 3, 4, 5, 6)), {"topic_segment_ids": [{"id": 3}]})
    assert combine([short, whole])["test_1-wd"] == 1.0


def test_a_meeting_of_one_paragraph_has_no_place_to_score(meeting: Callable[..., Meeting]) -> None:
    part = per_meeting(meeting(topics=(Topic(1, 6),), paragraph_ends=(6,)), {"topic_segment_ids": [{"id": 6}]})
    assert (part.n, part.skipped) == (0, 1)
    assert set(combine([part]).values()) == {None}


def test_no_prediction_at_all_is_zero_precision(meeting: Callable[..., Meeting]) -> None:
    scores = combine([per_meeting(meeting(), {})])
    assert scores["test_precision"] == scores["test_recall"] == scores["test_f1"] == 0.0


def test_unlabelled_gold_is_an_error(meeting: Callable[..., Meeting]) -> None:
    with pytest.raises(InputError, match="T1"):
        per_meeting(meeting(topics=()), {"topic_segment_ids": []})
