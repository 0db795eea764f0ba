r"""Edits that somebody made of minutes -> samples for the next training, with the tasks' own prompts.

One JSON line an edit, with as much of the transcript as its prompt shows. Of a chapter's title::

    {"version": 1, "time": "2025-03-07T14:30:05+08:00", "task": "title_generation", "engine": "baseline",
     "meeting": "T1", "digest": "5b1c…", "start": 1, "end": 3, "before": "湿地公园", "after": "定春游地点",
     "sentences": [["甲", "先定春游地点。"], ["乙", "去湿地公园吧。"], ["甲", "同意。"]], "paragraph_ends": [3]}

Of an action item that was deleted, added or reworded: ``start`` to ``end`` is the window of the prompt that shows it,
``before`` and ``after`` are the places of all action items in that window, counted in the meeting from 1. So are
``paragraph_ends``, which older lines lack. Of several edits of one chapter or window the last line counts: it says how
things stood when the person was done with them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mug.corpus import clean_text
from mug.errors import InputError, Message
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.minutes.model import Chapter, Minutes
from mug.prompting import Prompting
from mug.tasks import LAYOUTS
from mug.tasks.base import Sample

VERSION = 1
TITLE, ACTIONS = TASKS = ("title_generation", "action_item_detection")


@dataclass(frozen=True)
class Correction:
    """One edit: what stood there before and after it, and the sentences ``start`` to ``end`` that its prompt shows.

    ``before`` and ``after`` are a title for title_generation, and places for action_item_detection. ``digest`` tells
    apart meetings that are called alike. ``paragraph_ends`` are the places of those among the sentences.
    """

    task: str
    engine: str
    meeting: str
    digest: str
    start: int
    end: int
    before: str | tuple[int, ...]
    after: str | tuple[int, ...]
    sentences: tuple[tuple[str, str], ...]
    paragraph_ends: tuple[int, ...] = ()
    time: str = ""


# ------------------------------------------------------------------------------------------------------ taking note


def of_title(before: Minutes, chapter: Chapter, title: str, meeting: Meeting) -> Correction:
    """Return the edit that gives a chapter of ``before``, the minutes of ``meeting``, another title."""
    return _correction(TITLE, before, meeting, chapter.start, chapter.end, chapter.title, title)


def of_action(
    before: Minutes, after: Minutes, place: int, meeting: Meeting, prompting: Prompting | None = None
) -> list[Correction]:
    """Return the edit of the action item at ``place``, once for each window of the prompts that shows it."""
    prompting = prompting or Prompting()
    bare = Meeting(meeting.key, before.sentences, paragraph_ends=meeting.paragraph_ends)
    found = []
    for sample in LAYOUTS[prompting.layout][ACTIONS](prompting.options).samples(bare, "test"):
        if isinstance(sample, Sample) and place in sample.places:
            start, end = sample.places[0], sample.places[-1]
            stood, stands = _actions(before, start, end), _actions(after, start, end)
            found.append(_correction(ACTIONS, before, meeting, start, end, stood, stands))
    return found


def _actions(minutes: Minutes, start: int, end: int) -> tuple[int, ...]:
    return tuple(item.evidence.place for item in minutes.action_items if start <= item.evidence.place <= end)


def _correction(
    task: str,
    minutes: Minutes,
    meeting: Meeting,
    start: int,
    end: int,
    before: str | tuple[int, ...],
    after: str | tuple[int, ...],
) -> Correction:
    digest = hashlib.sha256()
    for sentence in minutes.sentences:
        digest.update(f"{sentence.speaker}\0{sentence.text}\n".encode("utf-8", "surrogatepass"))
    shown = tuple((sentence.speaker, sentence.text) for sentence in minutes.sentences[start - 1 : end])
    ends = tuple(place for place in meeting.paragraph_ends if start <= place <= end)
    name = digest.hexdigest()[:16]
    return Correction(task, minutes.engine, meeting.key, name, start, end, before, after, shown, ends)


def record(folder: Path, corrections: Sequence[Correction]) -> Path:
    """Append edits to the file of this month in ``folder``, each a whole line, also where others write at once.

    The file is readable by its owner alone: it holds what people said.

    Raises:
        OSError: the folder can't be made, or the file can't be written; what was written of a line is cut off again.
    """
    now = datetime.now().astimezone()
    path = folder / f"{now:%Y-%m}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(_json_of(one, now), ensure_ascii=False) + "\n" for one in corrections)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        try:
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                file.write(b"\n")  # a process was killed within its line; ours must not join it
            left = memoryview(lines.encode("utf-8", "replace"))
            while left:
                left = left[file.write(left) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    return path


def _json_of(one: Correction, now: datetime) -> dict[str, Any]:
    return {
        "version": VERSION,
        "time": now.isoformat(timespec="seconds"),
        "task": one.task,
        "engine": one.engine,
        "meeting": one.meeting,
        "digest": one.digest,
        "start": one.start,
        "end": one.end,
        "before": one.before,
        "after": one.after,
        "sentences": one.sentences,
        "paragraph_ends": one.paragraph_ends,
    }


# ---------------------------------------------------------------------------------------------------------- reading


@dataclass
class Reading:
    """What was met while files of edits were read: lines that hold none, with file, number and reason."""

    edits: int = 0
    damaged: list[tuple[Path, int, Message]] = field(default_factory=list)


def read(paths: Sequence[Path], reading: Reading) -> Iterator[Correction]:
    """Yield the edits of files in order; a line that holds none goes into ``reading``.

    Raises:
        InputError: a file can't be opened.
    """
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"打不开 {path}（{error.strerror}）；请检查路径。",
                f"Can't open {path} ({error.strerror}); check the path.",
            ) from None
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            if not line.strip():
                continue
            try:
                yield _parse(line)
                reading.edits += 1
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reason = Message(f"不是一条完整的修改记录（{error}）", f"no complete edit ({error})")
                reading.damaged.append((path, number, reason))


def _parse(line: bytes) -> Correction:
    value = json.loads(line.decode("utf-8"))
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise ValueError(f"version is not {VERSION}")
    task = value["task"]
    if task not in TASKS:
        raise ValueError(f"task {str(task)[:40]!r}")
    start, end = _kind(value["start"], int), _kind(value["end"], int)
    sentences = tuple(
        (clean_text(_kind(speaker, str)), clean_text(_kind(text, str)))
        for speaker, text in _kind(value["sentences"], list)
    )
    if not 1 <= start <= end or len(sentences) != end - start + 1:
        raise ValueError(f"{len(sentences)} sentences from {start} to {end}")
    stood, stands = (_state(task, value[name], start, end) for name in ("before", "after"))
    if not stands and task == TITLE:
        raise ValueError("blank title")
    texts = (clean_text(_kind(value[name], str)) for name in ("engine", "meeting", "digest", "time"))
    engine, meeting, digest, time = texts
    ends = _places(value.get("paragraph_ends", []), start, end)
    return Correction(task, engine, meeting, digest, start, end, stood, stands, sentences, ends, time)


def _state(task: str, value: Any, start: int, end: int) -> str | tuple[int, ...]:
    if task == TITLE:
        return " ".join(clean_text(_kind(value, str)).split())
    return _places(value, start, end)


def _places(value: Any, start: int, end: int) -> tuple[int, ...]:
    places = tuple(sorted({_kind(place, int) for place in _kind(value, list)}))
    if places and not start <= places[0] <= places[-1] <= end:
        raise ValueError(f"places outside {start} to {end}")
    return places


def _kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:40]!r} in place of {kind.__name__}")
    return value


# ---------------------------------------------------------------------------------------------------------- samples


def settled(corrections: Iterator[Correction]) -> list[Correction]:
    """Return of each chapter or window the last edit, in the order of their first.

    Windows of one meeting may overlap, and be others than before where the model is asked in another way: an action
    item stands in all of them as the last edit that shows its place left it.
    """
    last: dict[tuple[str, str, int, int], Correction] = {}
    stands: dict[tuple[str, int], bool] = {}  # by digest and place
    for one in corrections:
        last[one.task, one.digest, one.start, one.end] = one
        if one.task == ACTIONS:
            stands |= {(one.digest, place): place in one.after for place in range(one.start, one.end + 1)}
    return [
        replace(one, after=tuple(p for p in range(one.start, one.end + 1) if stands[one.digest, p]))
        if one.task == ACTIONS
        else one
        for one in last.values()
    ]


def samples(correction: Correction, prompting: Prompting) -> list[Sample]:
    """Return what an edit teaches: the prompts of its task, with what the person left standing as their targets.

    A chapter over the token budget gives several prompts with one title, as in training. A window without action
    items is kept whatever ``negative_ratio`` says: a person looked at it.

    Raises:
        InputError: ``max_input_tokens`` leaves no room beside the instruction.
    """
    count, before = len(correction.sentences), correction.start - 1
    labels: dict[str, Any]
    if isinstance(correction.after, str):
        labels = {"topics": (Topic(1, count, (Candidate(title=correction.after),)),)}
    else:
        labels = {"action_ids": tuple(place - before for place in correction.after)}
    meeting = Meeting(
        # Windows of one meeting are meetings of their own here, and ids must differ.
        key=f"{correction.meeting}@{correction.digest[:6]}-{correction.start}",
        sentences=tuple(Sentence(speaker, text) for speaker, text in correction.sentences),
        paragraph_ends=tuple(sorted({count, *(place - before for place in correction.paragraph_ends)})),
        **labels,
    )
    task = LAYOUTS[prompting.layout][correction.task](prompting.options)
    # "dev" is the split that keeps every window; with one candidate its targets are those of "train".
    return [sample for sample in task.samples(meeting, "dev") if isinstance(sample, Sample)]
