"""End-to-end scores: gold meetings through the whole pipeline with predicted topics, and beside it with gold topics.

Topic segmentation, keyphrases, action items and the session summary are scored as the challenge scores them. Titles
and topic summaries the challenge asks for by gold topic, and a pipeline has only its own topics. So each gold topic
takes title and key sentences of the predicted topic that shares most sentences with it (of equals the earlier one).
A predicted topic may serve several gold topics or none; none is shortened to fit. A figure so made says how good the
minutes are, and is not comparable with the official score, which is given the gold topics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from mug import evaluation
from mug.errors import InputError
from mug.generation.base import Engine
from mug.meeting import Meeting, Topic
from mug.minutes.pipeline import Predicted, predict
from mug.prompting import Prompting

ALIGNED = ("topic_title_generation", "extractive_summarization")
"""Tracks whose end-to-end figures rest on the alignment of topics."""


def end_to_end(
    gold: Sequence[Meeting],
    engine: Engine,
    prompting: Prompting | None = None,
    progress: Callable[[int, str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Score an engine's minutes of gold meetings.

    Args:
        gold: labelled meetings.
        engine: what answers the prompts.
        prompting: how meetings become prompts.
        progress: told the meeting's index and what `mug.minutes.pipeline.Progress` is told.

    Returns:
        ``end_to_end`` and ``gold_topics``: the challenge's figures by track, as `evaluation.official_scores` gives
        them, the latter only of the tracks in `ALIGNED`. ``topics``: how many there are in gold and prediction, and
        ``overlap``, the mean over gold topics of the share of sentences (intersection over union) that a topic has in
        common with the one it was given. ``submissions``: the rows that were scored.

    Raises:
        InputError: a meeting has no topic labels, or the engine can't be asked.
    """
    for meeting in gold:
        if not meeting.topics:
            raise InputError(
                f"会议 {meeting.key} 没有主题标注，不能评分；请用带标注的 CSV。",
                f"Meeting {meeting.key} has no topic labels and can't be scored; give a labelled CSV.",
            )
    rows: evaluation.Rows = defaultdict(dict)
    given: evaluation.Rows = defaultdict(dict)
    predicted_topics = 0
    overlaps: list[float] = []
    for index, meeting in enumerate(gold):

        def tell(stage: str, done: int, total: int, index: int = index) -> None:
            if progress:
                progress(index, stage, done, total)

        predicted = predict(meeting, engine, prompting, tell)
        predicted_topics += len(predicted.meeting.topics)
        overlaps += map(_likeness, meeting.topics, align(meeting, predicted.meeting))
        for track, row in submission(meeting, predicted).items():
            rows[track][meeting.key] = row
        told = predict(meeting, engine, prompting, tell, topics=meeting.topics)
        for track in ALIGNED:
            given[track][meeting.key] = submission(meeting, told)[track]
    return {
        "end_to_end": evaluation.official_scores(dict(rows), gold),
        "gold_topics": evaluation.official_scores(dict(given), gold),
        "topics": {
            "gold": sum(len(meeting.topics) for meeting in gold),
            "predicted": predicted_topics,
            "overlap": sum(overlaps) / len(overlaps),
        },
        "submissions": dict(rows),
    }


def submission(gold: Meeting, predicted: Predicted) -> dict[str, dict[str, Any]]:
    """Return the challenge's row of each track; titles and key sentences stand at the gold topics' ids."""
    meeting = predicted.meeting
    head = {"meeting_key": gold.key}
    pairs = [(topic.end, other.candidates[0]) for topic, other in zip(gold.topics, align(gold, meeting), strict=True)]
    key_sentences = [{"id": end, "key_sentence": list(map(str, chosen.key_sentences))} for end, chosen in pairs]
    return {
        "topic_segmentation": head | {"topic_segment_ids": [{"id": topic.end} for topic in meeting.topics]},
        "topic_title_generation": head | {"topic_segment_ids": [{"id": end, "title": c.title} for end, c in pairs]},
        "extractive_summarization": head
        | {"topic_segment_ids": key_sentences, "key_sentence": list(map(str, predicted.summary))},
        "keyphrase_extraction": head | {"key_word": list(predicted.keyphrases)},
        "action_item_detection": head | {"action_ids": [{"id": place} for place in meeting.action_ids or ()]},
    }


def align(gold: Meeting, predicted: Meeting) -> list[Topic]:
    """Return for each gold topic the predicted topic that shares most sentences with it, of equals the earlier one.

    >>> from mug.meeting import Sentence
    >>> sentences = (Sentence("甲", "好。"),) * 6
    >>> ends = lambda *topics: Meeting("T", sentences, tuple(Topic(*topic) for topic in topics))
    >>> [(t.start, t.end) for t in align(ends((1, 3), (4, 6)), ends((1, 1), (2, 6)))]
    [(2, 6), (2, 6)]
    """
    return [max(predicted.topics, key=lambda other: _shared(topic, other)) for topic in gold.topics]


def _shared(one: Topic, other: Topic) -> int:
    return max(0, min(one.end, other.end) - max(one.start, other.start) + 1)


def _likeness(one: Topic, other: Topic) -> float:
    shared = _shared(one, other)
    return shared / (one.end - one.start + 1 + other.end - other.start + 1 - shared)
