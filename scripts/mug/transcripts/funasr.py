"""FunASR: what `AutoModel.generate` returns, and what its servers send.

    [{"key": "meeting", "text": "先定地点。去公园吧。", "timestamp": [[880, 1120], …],    (ms)
      "sentence_info": [{"text": "先定地点。", "start": 880, "end": 2120, "spk": 0, "timestamp": […]}, …]}]

`sentence_info` may call the words `sentence`, may be missing (no speaker model), and may be shorter than `text`; the
offline server sends `stamp_sents` of `text_seg` and `punc` in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mug.errors import Message
from mug.transcripts.draft import Draft, Piece, join_words, sentences_of
from mug.transcripts.fields import dicts_of, milliseconds_of, text_of, voice

_TOKEN = re.compile(r"[A-Za-z0-9]+(?:['’.-][A-Za-z0-9]+)*|[^\W\d_]")
_TAG = re.compile(r"<\|[^|<>]{1,20}\|>")  # SenseVoice puts language and mood before the words: <|zh|><|NEUTRAL|>
_KEYS = ("sentence_info", "stamp_sents")


def results(value: Any) -> list[dict[str, Any]]:
    """Return the recogniser's results in a JSON value, one a recording or a part of it; none where it is no FunASR."""
    for _ in range(4):  # a server wraps what it sends
        items = dicts_of(value) if isinstance(value, list) else dicts_of([value])
        if found := [item for item in items if _is_result(item)]:
            return found
        if not isinstance(value, dict):
            return []
        value = next((value[name] for name in ("result", "results", "data", "res") if name in value), None)
    return []


def read(found: Sequence[dict[str, Any]]) -> Draft:
    """Return what results say, one behind the other."""
    notes: list[Message] = []
    pieces = [piece for item in found for piece in _pieces(item, notes)]
    return Draft("FunASR JSON", pieces, notes=notes)


def _is_result(item: dict[str, Any]) -> bool:
    if any(isinstance(item.get(name), list) for name in _KEYS):
        return True
    return isinstance(item.get("text"), str) and ("timestamp" in item or ("key" in item and "segments" not in item))


def _pieces(item: dict[str, Any], notes: list[Message]) -> list[Piece]:
    whole = _TAG.sub("", text_of(item, "text"))
    pieces = [
        Piece(
            voice(sentence.get("spk", sentence.get("speaker", sentence.get("speaker_id")))),
            _TAG.sub("", text_of(sentence, "text", "sentence") or _stamped(sentence)),
            milliseconds_of(sentence, "start", "start_time"),
            milliseconds_of(sentence, "end", "end_time"),
        )
        for name in _KEYS
        for sentence in dicts_of(item.get(name))
    ]
    pieces = [piece for piece in pieces if piece.text.strip()]
    if not pieces:
        if whole:
            notes.append(
                Message(
                    "FunASR 没有 sentence_info，因此没有说话人",
                    "FunASR gave no sentence_info, so there are no speakers",
                )
            )
        return _timed(whole, item.get("timestamp"))
    return _with_the_rest(pieces, whole, notes)


def _stamped(sentence: dict[str, Any]) -> str:
    return join_words(text_of(sentence, "text_seg").split()) + text_of(sentence, "punc")


def _timed(text: str, stamps: Any) -> list[Piece]:
    """Divide a text into sentences, timed where there is one pair of milliseconds for each character or word."""
    pieces = [Piece("", part) for part in sentences_of(text)]
    counts = [len(_TOKEN.findall(piece.text)) for piece in pieces]
    if not isinstance(stamps, list) or sum(counts) != len(stamps):
        return pieces
    at = 0
    for piece, count in zip(pieces, counts, strict=True):
        try:
            if count:
                piece.start = round(float(stamps[at][0]) / 1000, 3)
                piece.end = round(float(stamps[at + count - 1][1]) / 1000, 3)
        except (TypeError, ValueError, IndexError, KeyError, OverflowError):
            return [Piece("", piece.text) for piece in pieces]
        at += count
    return pieces


def _with_the_rest(pieces: list[Piece], whole: str, notes: list[Message]) -> list[Piece]:
    """Add what ``whole`` says and no sentence does, in its place, without speaker and time."""
    places = [place for place, character in enumerate(whole) if character.isalnum()]
    letters = "".join(whole[place] for place in places).casefold()
    if len(letters) != len(places) or not letters:  # a character that becomes two when its case is folded
        return pieces
    found: list[Piece] = []
    added = at = 0

    def add(start: int, stop: int) -> None:
        nonlocal added
        if stop > start:
            first = places[start]
            last = places[stop] if stop < len(places) else len(whole)
            found.extend(Piece("", part.strip(), prose=True) for part in [whole[first:last]] if part.strip())
            added += stop - start

    unmatched = 0
    for piece in pieces:
        said = "".join(filter(str.isalnum, piece.text)).casefold()
        begins = letters.find(said, at) if said else at
        if begins < 0:
            unmatched += 1  # the two disagree about a word: nothing is known to be missing here
        elif said:
            add(at, begins)
            at = begins + len(said)
        found.append(piece)
    if unmatched * 4 > len(pieces):
        return pieces
    add(at, len(letters))
    if added:
        notes.append(
            Message(
                f"FunASR 的 sentence_info 比 text 少 {added} 个字，已从 text 补上（没有说话人和时间）",
                f"FunASR's sentence_info lacks {added} characters of text; they were added without speaker and time",
            )
        )
    return found
