"""Track 5, action item detection: precision, recall and F1 of the action sentences of all meetings together.

Source: ``action_item_detection_evaluate`` in SpokenNLP alimeeting4mug/src/utils/challenge_evaluate.py, which asks
scikit-learn's classification_report for class 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mug.errors import InputError
from mug.meeting import Meeting
from mug.metrics.submission import Row, sentence_ids


@dataclass(frozen=True, slots=True)
class Detection:
    """One meeting's share of the score; ``n`` counts sentences."""

    n: int
    true_positives: int
    predicted: int
    actual: int
    empty: int = 0
    skipped: int = 0


def per_meeting(meeting: Meeting, row: Row) -> Detection:
    """Compare one meeting's action sentences; an id given twice counts once.

    Raises:
        InputError: the meeting says nothing about action items, or the row holds ids outside the meeting.
    """
    if meeting.action_ids is None:
        raise InputError(
            f"会议 {meeting.key} 没有待办标注，不能评待办识别。",
            f"Meeting {meeting.key} has no action labels, so its action items can't be scored.",
        )
    gold = set(meeting.action_ids)
    predicted = set(sentence_ids(meeting, row, "action_ids"))
    return Detection(len(meeting.sentences), len(gold & predicted), len(predicted), len(gold), int(not predicted))


def combine(meetings: Sequence[Detection]) -> dict[str, float | None]:
    """Return the official figures of the meetings together; None when nobody has an action item, gold or predicted."""
    precision, recall, f1 = precision_recall_f1(
        sum(m.true_positives for m in meetings), sum(m.predicted for m in meetings), sum(m.actual for m in meetings)
    )
    return {"score": f1, "precision": precision, "recall": recall, "f1-score": f1}


def precision_recall_f1(
    true_positives: int, predicted: int, actual: int
) -> tuple[float | None, float | None, float | None]:
    """Return precision, recall and F1 from counts.

    As scikit-learn has it, a ratio with nothing below the line is 0 while the other side has something; with nothing
    on either side all three are undefined, None.
    """
    if not predicted and not actual:
        return None, None, None
    return (
        true_positives / predicted if predicted else 0.0,
        true_positives / actual if actual else 0.0,
        2 * true_positives / (predicted + actual),
    )
