r"""The minutes as JSON and back; docs/minutes.schema.json is the schema.

{"format": "mug-minutes", "version": 1, "title": "定春游地点", "title_generated": true, "engine": "baseline", …,
 "sentences": [{"place": 1, "speaker": "甲", "text": "先定春游地点。", "start": 0.0, "end": 2.1}, …],
 "chapters": [{"start": 1, "end": 3, "title": "…", "edited": false, "key_sentences": [{"place": 2, "text": "…"}]}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from mug.errors import InputError, Message
from mug.meeting import Sentence
from mug.minutes.checks import verify
from mug.minutes.model import ActionItem, Chapter, Minutes, Participant, Quote

FORMAT, VERSION = "mug-minutes", 1

T = TypeVar("T")


def render(minutes: Minutes) -> str:
    """Return the JSON text.

    Raises:
        InputError: the minutes fail their check.
    """
    return json.dumps(json_of(minutes), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def json_of(minutes: Minutes) -> dict[str, Any]:
    """Return the minutes as JSON's own types.

    Raises:
        InputError: the minutes fail their check.
    """
    verify(minutes)
    fields = asdict(minutes)
    fields["sentences"] = [
        {"place": place, "speaker": s.speaker, "text": s.text, "start": s.start, "end": s.end}
        for place, s in enumerate(minutes.sentences, 1)
    ]
    fields["notes"] = [{"zh": note.zh, "en": note.en} for note in minutes.notes]
    return {"format": FORMAT, "version": VERSION, **fields}


def minutes_of(value: Any) -> Minutes:
    """Return the minutes that `json_of` made a value of, or that somebody changed since; they pass their check.

    Raises:
        InputError: the value is not of this form, of another version, or fails the check.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(
            "这不是纪要的 JSON（没有 format: mug-minutes）；请给 summarize_meeting.py 写出的 .json。",
            "This is no JSON of minutes (no format: mug-minutes); give a .json that summarize_meeting.py wrote.",
        )
    if value.get("version") != VERSION:
        raise InputError(
            f"纪要 JSON 的版本是 {value.get('version')!r}，这里读的是 {VERSION}；请用写出它的版本打开。",
            f"The minutes' JSON has version {value.get('version')!r}, this reads {VERSION}; open it with the version "
            "that wrote it.",
        )
    try:
        minutes = Minutes(
            title=_text(value["title"]),
            title_generated=_flag(value["title_generated"]),
            date=_text(value["date"]),
            engine=_text(value["engine"]),
            sentences=_all(value["sentences"], _sentence),
            participants=_all(value["participants"], _participant),
            keyphrases=_all(value["keyphrases"], _text),
            generated_keyphrases=_all(value["generated_keyphrases"], _text),
            chapters=_all(value["chapters"], _chapter),
            summary=_all(value["summary"], _quote),
            action_items=_all(value["action_items"], _action),
            source=_text(value["source"]),
            notes=_all(value["notes"], lambda note: Message(_text(note["zh"]), _text(note["en"]))),
        )
        if [item["place"] for item in value["sentences"]] != list(range(1, len(minutes.sentences) + 1)):
            raise ValueError("places of sentences are not 1 to n")
    except (KeyError, TypeError, ValueError) as error:
        reason = f"缺少 {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"纪要的 JSON 已损坏（{reason}）；请重新生成。", f"The minutes' JSON is damaged ({error}); make it again."
        ) from None
    verify(minutes)
    return minutes


def _all(values: Any, read: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(values, list | tuple):  # `json_of` leaves tuples
        raise TypeError(f"{values!r:.40} is no list")
    return tuple(map(read, values))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is neither true nor false")
    return value


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.40} is no whole number")
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.40} is no number of seconds")
    return float(value)


def _sentence(value: Any) -> Sentence:
    return Sentence(_text(value["speaker"]), _text(value["text"]), _seconds(value["start"]), _seconds(value["end"]))


def _participant(value: Any) -> Participant:
    return Participant(_text(value["name"]), _count(value["sentences"]), _seconds(value["seconds"]))


def _quote(value: Any) -> Quote:
    return Quote(_count(value["place"]), _text(value["text"]))


def _chapter(value: Any) -> Chapter:
    return Chapter(
        _count(value["start"]),
        _count(value["end"]),
        _text(value["title"]),
        _all(value["key_sentences"], _quote),
        _flag(value["edited"]),
    )


def _action(value: Any) -> ActionItem:
    return ActionItem(
        _quote(value["evidence"]),
        _text(value["text"]),
        _text(value["owner"]),
        _text(value["due"]),
        _flag(value["edited"]),
    )
