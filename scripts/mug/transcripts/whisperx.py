"""WhisperX, and the other descendants of Whisper.

    {"segments": [{"start": 5.03, "end": 7.5, "text": " 先定地点。", "speaker": "SPEAKER_00",            seconds
                   "words": [{"word": "先", "start": 5.03, "end": 5.2, "speaker": "SPEAKER_00"}, …]}, …],
     "word_segments": [{"word": "先", …}, …], "language": "zh"}

A segment may lack the speaker, who then is that of most of its words. A file may hold only the words, and
insanely-fast-whisper writes `chunks` with `"timestamp": [5.03, 7.5]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from mug.transcripts.draft import Draft, Piece, join_words
from mug.transcripts.fields import dicts_of, number_of, text_of, voice

_ENDS = ("。", "！", "？", "!", "?", ".")
_SILENCE = 1.0  # seconds between two words that end a sentence


def recognises(value: Any) -> bool:
    """Say whether a JSON value has the segments, words or chunks of Whisper."""
    return bool(_segments(value) or _words(value))


def read(value: Any) -> Draft:
    """Return what the segments say; a segment without a speaker has an empty one."""
    segments = _segments(value)
    pieces = [
        Piece(
            voice(segment.get("speaker", segment.get("speaker_id"))) or _usual_speaker(segment),
            text_of(segment, "text") or join_words(_said(dicts_of(segment.get("words")))),
            *_time(segment),
        )
        for segment in segments
    ]
    return Draft("WhisperX JSON", pieces or _from_words(_words(value)))


def _segments(value: Any) -> list[dict[str, Any]]:
    found = value
    if isinstance(value, dict):
        found = next((value[name] for name in ("segments", "chunks") if dicts_of(value.get(name))), None)
    return [
        segment
        for segment in dicts_of(found)
        if ("text" in segment or "words" in segment) and ("start" in segment or "timestamp" in segment)
    ]


def _words(value: Any) -> list[dict[str, Any]]:
    return [word for word in dicts_of(value.get("word_segments")) if "word" in word] if isinstance(value, dict) else []


def _time(segment: dict[str, Any]) -> tuple[float | None, float | None]:
    pair = segment.get("timestamp")
    if isinstance(pair, list) and len(pair) == 2:
        segment = {"start": pair[0], "end": pair[1]}
    return number_of(segment, "start"), number_of(segment, "end")


def _usual_speaker(segment: dict[str, Any]) -> str:
    speakers = Counter(filter(None, (voice(word.get("speaker")) for word in dicts_of(segment.get("words")))))
    return speakers.most_common(1)[0][0] if speakers else ""


def _said(words: Iterable[dict[str, Any]]) -> list[str]:
    return [text_of(word, "word", "text") for word in words]


def _from_words(words: list[dict[str, Any]]) -> list[Piece]:
    """Put words together until a sentence ends, another speaks, or a second of silence follows."""
    groups: list[list[dict[str, Any]]] = []
    for word in words:
        last = groups[-1][-1] if groups else None
        ended, starts = number_of(last, "end") if last else None, number_of(word, "start")
        if (
            last is None
            or text_of(last, "word").endswith(_ENDS)
            or last.get("speaker") != word.get("speaker")
            or (ended is not None and starts is not None and starts - ended > _SILENCE)
        ):
            groups.append([])
        groups[-1].append(word)
    return [
        Piece(
            voice(group[0].get("speaker")),
            join_words(_said(group)),
            number_of(group[0], "start"),
            number_of(group[-1], "end"),
        )
        for group in groups
    ]
