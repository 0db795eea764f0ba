"""Track 1, topic segmentation: 0.5 F1 + 0.25 (1-Pk + 1-WindowDiff), at the paragraphs' ends.

Each paragraph's end, the last one left out, is one place: 1 if a topic ends there, else 0. F1 is that of the places
marked 1 in all meetings together; Pk and WindowDiff are averaged over the meetings.

Source: ``topic_segment_evaluate`` in SpokenNLP alimeeting4mug/src/utils/challenge_evaluate.py, which takes Pk
(Beeferman, Berger and Lafferty 1999) and WindowDiff (Pevzner and Hearst 2002) from segeval and rounds all figures but
the F1 inside the score to four decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

from mug.errors import InputError
from mug.meeting import Meeting
from mug.metrics.detection import precision_recall_f1
from mug.metrics.submission import Row, sentence_ids


@dataclass(frozen=True, slots=True)
class Segmentation:
    """One meeting's share of the score; ``n`` counts places, ``skipped`` is 1 where Pk or WindowDiff is undefined."""

    n: int
    true_positives: int
    predicted: int
    actual: int
    one_minus_pk: Decimal | None
    one_minus_wd: Decimal | None
    empty: int = 0
    skipped: int = 0


def per_meeting(meeting: Meeting, row: Row) -> Segmentation:
    """Compare one meeting's topic ends; ids that end no paragraph are ignored, as the official evaluator does.

    Raises:
        InputError: the meeting carries no topic labels, or the row holds ids outside the meeting.
    """
    if not meeting.topics:
        raise InputError(
            f"会议 {meeting.key} 没有主题标注，不能评主题分割。",
            f"Meeting {meeting.key} has no topic labels, so its segmentation can't be scored.",
        )
    gold_ends = {topic.end for topic in meeting.topics}
    predicted_ends = set(sentence_ids(meeting, row, "topic_segment_ids"))
    places = meeting.paragraph_ends[:-1]
    gold = [end in gold_ends for end in places]
    predicted = [end in predicted_ends for end in places]
    one_minus_pk, one_minus_wd = window_scores(predicted, gold)
    return Segmentation(
        n=len(places),
        true_positives=sum(a and b for a, b in zip(gold, predicted, strict=True)),
        predicted=sum(predicted),
        actual=sum(gold),
        one_minus_pk=one_minus_pk,
        one_minus_wd=one_minus_wd,
        empty=int(not predicted_ends),
        skipped=int(one_minus_wd is None),
    )


def combine(meetings: Sequence[Segmentation]) -> dict[str, float | None]:
    """Return the official figures of the meetings together.

    Precision, recall, F1 and the score are None when no topic ends within any meeting and none was predicted (the
    official evaluator stops with KeyError '1'); Pk and WindowDiff leave out the meetings where they are undefined.
    """
    precision, recall, f1 = precision_recall_f1(
        sum(m.true_positives for m in meetings), sum(m.predicted for m in meetings), sum(m.actual for m in meetings)
    )
    one_minus_pk = _mean([m.one_minus_pk for m in meetings if m.one_minus_pk is not None])
    one_minus_wd = _mean([m.one_minus_wd for m in meetings if m.one_minus_wd is not None])
    score = None
    if f1 is not None and one_minus_pk is not None and one_minus_wd is not None:
        score = 0.5 * f1 + 0.25 * (one_minus_pk + one_minus_wd)
    return {
        "score": score,
        "test_1-pk": one_minus_pk,
        "test_1-wd": one_minus_wd,
        "test_precision": _rounded(precision),
        "test_recall": _rounded(recall),
        "test_f1": _rounded(f1),
    }


def window_scores(predicted: Sequence[bool], gold: Sequence[bool]) -> tuple[Decimal | None, Decimal | None]:
    """Return 1-Pk and 1-WindowDiff of one meeting as segeval 2.0.11 computes them.

    Both slide a window of half a gold segment's mean length, at least 2. Pk asks whether the window's two ends lie in
    one segment; WindowDiff compares the number of borders between them. Decimals, as segeval's, because the mean over
    the meetings is rounded to four places afterwards and a float's last bit could tip it.

    Args:
        predicted: whether a topic ends at each place.
        gold: the same for the gold topics.

    Returns:
        1-Pk and 1-WindowDiff; segeval calls a meeting shorter than its window perfect, and fails where there are no
        places, and on WindowDiff where meeting and window have the same length: None here.
    """
    size = len(gold)
    if not size:
        return None, None
    segments = sum(gold) + (not gold[-1])
    # Fraction rounds halves to even, as segeval's Decimal does.
    window = max(2, round(Fraction(size, 2 * segments)))
    # The number of topics that ended before each place: equal at both ends of a window when no border lies between.
    gold_topic = [0, *accumulate(gold)][:size]
    predicted_topic = [0, *accumulate(predicted)][:size]
    pk_errors = wd_errors = 0
    for start in range(size - window):
        gold_borders = gold_topic[start + window] - gold_topic[start]
        predicted_borders = predicted_topic[start + window] - predicted_topic[start]
        pk_errors += (gold_borders == 0) != (predicted_borders == 0)
        wd_errors += gold_borders != predicted_borders
    windows = size - window
    if windows == 0:
        return Decimal(1), None
    if windows < 0:
        return Decimal(1), Decimal(1)
    return 1 - Decimal(pk_errors) / windows, 1 - Decimal(wd_errors) / windows


def _mean(values: Sequence[Decimal]) -> float | None:
    return round(float(sum(values, Decimal(0)) / len(values)), 4) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
