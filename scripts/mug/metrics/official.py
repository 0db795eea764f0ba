"""The challenge's official scores of its five tracks, from gold meetings and submission rows.

>>> from mug.meeting import Meeting, Sentence
>>> meeting = Meeting("T1", (Sentence("甲", "先定地点。"), Sentence("乙", "我来订大巴。")), action_ids=(2,))
>>> action_item_detection([meeting], {"T1": {"action_ids": [{"id": 2}]}})
{'score': 1.0, 'precision': 1.0, 'recall': 1.0, 'f1-score': 1.0}

Each track has two steps, so that a bootstrap over meetings can redo the second alone: what one meeting contributes,
and how contributions make the score. The keys are the official evaluator's; a figure that is undefined is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mug.meeting import Meeting
from mug.metrics import detection, keyphrases, segmentation, summaries
from mug.metrics.submission import Row, check_meetings

Scores = dict[str, float | None]

_SOURCE = "SpokenNLP alimeeting4mug/src/utils/challenge_evaluate.py"


@dataclass(frozen=True, slots=True)
class Track:
    """How one track is scored, and what a reader of its figures must know.

    ``per_meeting`` makes one meeting's contribution, an object with at least ``n`` (how many ``unit`` were scored),
    ``empty`` and ``skipped``; ``combine`` makes the official figures of any contributions, repeated ones included.
    """

    name: str
    per_meeting: Callable[[Meeting, Row], Any]
    combine: Callable[[Sequence[Any]], Scores]
    unit: str
    tokenisation: str
    library: str
    references: str
    source: str = _SOURCE


_ROUGE = "the numbers of rouge 1.0.1 (n-grams as sets, F with 1e-8, ROUGE-L by its own traceback)"
_CHARACTERS = "one token a CJK character, punctuation mark or symbol; the rest by spaces, lower-cased, no accents"

TRACKS: dict[str, Track] = {
    track.name: track
    for track in (
        Track(
            "topic_segmentation",
            segmentation.per_meeting,
            segmentation.combine,
            unit="paragraph ends, the last one of a meeting left out",
            tokenisation="none",
            library="the numbers of scikit-learn's F1 and segeval 2.0.11's Pk and WindowDiff",
            references="one; F1 over all meetings together, Pk and WindowDiff averaged over meetings",
        ),
        Track(
            "extractive_summarization",
            summaries.summaries_per_meeting,
            summaries.combine_summaries,
            unit="topic and session summaries",
            tokenisation=_CHARACTERS,
            library=_ROUGE,
            references="all annotators; average = mean over them, max = the one with the best ROUGE-L F",
        ),
        Track(
            "topic_title_generation",
            summaries.titles_per_meeting,
            summaries.combine_titles,
            unit="titles",
            tokenisation=_CHARACTERS,
            library=_ROUGE,
            references="all annotators; average = mean over them, max = the one with the best ROUGE-L F",
        ),
        Track(
            "keyphrase_extraction",
            keyphrases.per_meeting,
            keyphrases.combine,
            unit="meetings",
            tokenisation="a phrase is a word, cut again at spaces and full stops",
            library="the numbers of rouge 1.0.1 (exact); a common substring of at least 2 characters (partial)",
            references="all annotators' phrases one after the other, repeats kept",
        ),
        Track(
            "action_item_detection",
            detection.per_meeting,
            detection.combine,
            unit="sentences",
            tokenisation="none",
            library="the numbers of scikit-learn's F1 of the positive class",
            references="one; over the sentences of all meetings together",
        ),
    )
}
"""The five tracks under the names of the challenge."""


def contributions(track: str, gold: Sequence[Meeting], rows: Mapping[str, Row]) -> list[Any]:
    """Return each gold meeting's contribution to ``track``, in the order of ``gold``.

    Raises:
        KeyError: ``track`` is none of TRACKS.
        InputError: meetings or topics are missing or unknown, an id lies outside its meeting, or the gold meetings do
            not carry the track's labels.
    """
    check_meetings(gold, rows)
    per_meeting = TRACKS[track].per_meeting
    return [per_meeting(meeting, rows[meeting.key]) for meeting in gold]


def counts(parts: Sequence[Any]) -> dict[str, int]:
    """Say how much stands behind the figures: meetings, units scored, empty answers among them, units skipped."""
    return {
        "meetings": len(parts),
        "n": sum(part.n for part in parts),
        "empty": sum(part.empty for part in parts),
        "skipped": sum(part.skipped for part in parts),
    }


def score(track: str, gold: Sequence[Meeting], rows: Mapping[str, Row]) -> Scores:
    """Return the official figures of ``track``, all from 0 to 1; raises as ``contributions`` does."""
    return TRACKS[track].combine(contributions(track, gold, rows))


def topic_segmentation(gold: Sequence[Meeting], rows: Mapping[str, Row]) -> Scores:
    """Track 1: 0.5 F1 + 0.25 (1-Pk + 1-WindowDiff) at paragraph ends, see ``segmentation``."""
    return score("topic_segmentation", gold, rows)


def extractive_summarization(gold: Sequence[Meeting], rows: Mapping[str, Row]) -> Scores:
    """Track 2: the mean of 12 ROUGE F of topic and session summaries, see ``summaries``."""
    return score("extractive_summarization", gold, rows)


def topic_title_generation(gold: Sequence[Meeting], rows: Mapping[str, Row]) -> Scores:
    """Track 3: the mean of 6 ROUGE F of titles, see ``summaries``."""
    return score("topic_title_generation", gold, rows)


def keyphrase_extraction(gold: Sequence[Meeting], rows: Mapping[str, Row]) -> Scores:
    """Track 4: the mean of exact and partial F1 at 10, 15 and 20, see ``keyphrases``."""
    return score("keyphrase_extraction", gold, rows)


def action_item_detection(gold: Sequence[Meeting], rows: Mapping[str, Row]) -> Scores:
    """Track 5: F1 of the action sentences of all meetings together, see ``detection``."""
    return score("action_item_detection", gold, rows)
