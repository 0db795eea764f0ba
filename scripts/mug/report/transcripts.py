"""The transcripts of an evaluation's page: what annotators marked, what the model marked, worst meetings first."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from mug.meeting import Meeting
from mug.report.names import TRACK_NAMES
from mug.tasks import TASKS
from mug.tasks.base import Answer, Sample

Row = Mapping[str, Any]

SHOWN_MEETINGS = 20
"""So many transcripts are shown, worst first: 65 of them would make a page that a phone can't open."""

TEXT = 4_000
"""Characters that are shown of one text, which bounds the page whatever the input."""

_TRANSCRIPT, _SENTENCE = 100_000, 50  # characters of one transcript; a sentence costs so many more for its markup
_CONTEXT = 2  # unmarked sentences left open on both sides of a marked one
_FOLD = 6  # a shorter run of unmarked sentences is not worth folding

MARKED = {
    "topic_segmentation": "主题结束",
    "extractive_summary": "主题关键句",
    "session_summary": "全场关键句",
    "action_item_detection": "行动项",
}
"""The tasks that answer with numbers of lines, and what such a line is."""


@dataclass(slots=True)
class _Line:
    """One sentence with its marks: (task, state, how many annotators of how many, or nothing)."""

    place: int
    speaker: str
    text: str
    marks: list[tuple[str, str, str]] = field(default_factory=list)
    titles: list[tuple[str, str]] = field(default_factory=list)
    """(whose, title) of the topic that ends here."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """One task's marks in a meeting.

    ``gold`` says for each place how many of ``annotators`` chose it, ``found`` are the predicted places, ``f1`` is
    that against the annotator who agrees best.
    """

    gold: Mapping[int, int]
    annotators: int
    found: set[int]
    f1: float


def transcripts(
    groups: Mapping[str, Sequence[Row]], gold: Sequence[Meeting], official: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], int]:
    """Return the meetings to show, the worst by F1 of the marks first, and how many could be shown."""
    by_meeting: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for name, rows in groups.items():
        for row in rows:
            if row.get("meeting"):
                by_meeting[row["meeting"]][name].append(row)
    marked = []
    for meeting in gold:
        tasks = by_meeting.get(meeting.key) or {}
        marks = {name: found for name in MARKED if (found := _marks(meeting, name, tasks.get(name) or ())) is not None}
        if marks:
            f1 = sum(one.f1 for one in marks.values()) / len(marks)
            marked.append((f1, meeting, marks, tasks.get("title_generation") or ()))
    marked.sort(key=lambda one: one[0])  # stable: equal meetings keep the order of the gold file
    return [_transcript(*one, official) for one in marked[:SHOWN_MEETINGS]], len(marked)


def _marks(meeting: Meeting, name: str, rows: Sequence[Row]) -> _Marks | None:
    """Return the marks of one task, None where nothing was asked or the meeting carries no such labels.

    The predicted ones are those of the submission, so they are what the official score judged.
    """
    answers = [answer for row in rows if (answer := _as_answer(row, meeting)) is not None]
    chosen = _gold_choices(meeting, name)
    if not answers or chosen is None:
        return None
    row = TASKS[name]().submission(meeting, answers)
    last = len(meeting.sentences)
    if name == "topic_segmentation":
        # A window's last paragraph is not asked about, and a meeting's end is no boundary that anyone has to find.
        asked = {place for answer in answers for place in answer.sample.places[:-1]}
        found = {int(topic["id"]) for topic in row["topic_segment_ids"]} - {last}
    elif name == "extractive_summary":
        asked = {place for answer in answers for place in answer.sample.places}
        found = {int(place) for topic in row["topic_segment_ids"] for place in topic["key_sentence"]}
    elif name == "session_summary":
        # The prompt shows the topics' key sentences only; a key sentence of the session beside them is missed anyway.
        asked = set(range(1, last + 1))
        found = {int(place) for place in row["key_sentence"]}
    else:
        asked = {place for answer in answers for place in answer.sample.places}
        found = {int(action["id"]) for action in row["action_ids"]}
    choices = [asked.intersection(places) for places in chosen]
    votes = Counter(place for places in choices for place in places)
    return _Marks(votes, len(choices), found, max(f1_of(places, found) for places in choices))


def _as_answer(row: Row, meeting: Meeting) -> Answer | None:
    """Return a row as the answer it was made of, None where it does not say its lines' places in this meeting."""
    places = tuple(row.get("places") or ())
    topic = row.get("topic") or 0
    if not places or not all(1 <= place <= len(meeting.sentences) for place in places):
        return None
    if row["task"] == "extractive_summary" and topic not in {one.end for one in meeting.topics}:
        return None
    numbers = tuple(number for number in answered(row) if 1 <= number <= len(places))
    return Answer(Sample(row["id"], "", "", places=places, topic=topic), row["predict"], numbers=numbers)


def _gold_choices(meeting: Meeting, name: str) -> list[tuple[int, ...]] | None:
    """Return the places that each annotator chose, None where the meeting carries no such labels."""
    last = len(meeting.sentences)
    if name == "action_item_detection":
        return None if meeting.action_ids is None else [meeting.action_ids]
    if name == "topic_segmentation":
        return [tuple(topic.end for topic in meeting.topics if topic.end != last)] if meeting.topics else None
    if name == "session_summary":
        return [candidate.key_sentences for candidate in meeting.candidates] or None
    annotators = max((len(topic.candidates) for topic in meeting.topics), default=0)
    return [
        tuple(
            place
            for topic in meeting.topics
            for candidate in topic.candidates[index : index + 1]
            for place in candidate.key_sentences
        )
        for index in range(annotators)
    ] or None


def _transcript(
    f1: float,
    meeting: Meeting,
    marks: Mapping[str, _Marks],
    titles: Sequence[Row],
    official: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the template shows of one meeting."""
    lines = _lines(meeting, marks, titles)
    per_meeting = [(name, (track.get("per_meeting") or {}).get(meeting.key)) for name, track in official.items()]
    return {
        "key": meeting.key,
        "sentences": len(meeting.sentences),
        "f1": 100 * f1,
        "counts": [
            {
                "task": name,
                "label": MARKED[name],
                "both": len(one.found & set(one.gold)),
                "gold": len(set(one.gold) - one.found),
                "predicted": len(one.found - set(one.gold)),
            }
            for name, one in marks.items()
        ],
        "official": [(TRACK_NAMES.get(name, name), 100 * score) for name, score in per_meeting if known(score)],
        "runs": _runs(lines),
        "left_out": len(meeting.sentences) - len(lines),
    }


def _lines(meeting: Meeting, marks: Mapping[str, _Marks], titles: Sequence[Row]) -> list[_Line]:
    lines: list[_Line] = []
    cost = 0
    for place, sentence in enumerate(meeting.sentences, 1):
        cost += min(len(sentence.text), TEXT) + _SENTENCE
        if cost > _TRANSCRIPT:
            break
        lines.append(_Line(place, sentence.speaker, sentence.text))
    for name, one in marks.items():
        for place in sorted({*one.gold, *one.found}):
            votes = f"{one.gold.get(place, 0)}/{one.annotators}" if one.annotators > 1 and place in one.gold else ""
            if 1 <= place <= len(lines):
                lines[place - 1].marks.append((name, state(place, one.gold, one.found), votes))
    said = {row.get("topic"): row["predict"] for row in titles}
    for topic in meeting.topics:
        if "topic_segmentation" in marks and topic.end <= len(lines):
            names = [candidate.title for candidate in topic.candidates[:1] if candidate.title.strip()]
            found = [("标注标题", name) for name in names]
            lines[topic.end - 1].titles = found + ([("预测标题", said[topic.end])] if topic.end in said else [])
    return lines


def _runs(lines: Sequence[_Line]) -> list[dict[str, Any]]:
    """Cut a transcript into runs to be shown and runs without any mark to be folded."""
    marked = [line.place for line in lines if line.marks or line.titles]
    near = {place + step for place in marked for step in range(-_CONTEXT, _CONTEXT + 1)}
    runs: list[dict[str, Any]] = []
    for line in lines:
        folded = line.place not in near
        if not runs or runs[-1]["folded"] != folded:
            runs.append({"folded": folded, "lines": []})
        runs[-1]["lines"].append(line)
    for run in runs:
        run["folded"] = run["folded"] and len(run["lines"]) >= _FOLD
    return runs


def answered(row: Row) -> tuple[int, ...]:
    """Return the line numbers of an answer."""
    return tuple(row.get("numbers") or ())


def f1_of(expected: set[int], found: set[int]) -> float:
    """Return F1, from 0 to 1."""
    total = len(expected) + len(found)
    return 2 * len(expected & found) / total if total else 1.0  # nothing to find and nothing found: right


def state(place: int, expected: Iterable[int], found: Iterable[int]) -> str:
    """Say who marked a line: ``both``, ``gold`` or ``predicted``."""
    return "both" if place in expected and place in found else "gold" if place in expected else "predicted"


def known(value: Any) -> TypeGuard[float]:
    """Say whether a figure is one: neither missing nor infinite nor NaN."""
    return isinstance(value, int | float) and math.isfinite(value)
