"""WebVTT as Zoom, Teams and players write it.

    WEBVTT

    1                                        NOTE, STYLE and REGION blocks are passed over; an id may stand
    00:00:05.000 --> 00:00:07.500            before the times, which may lack the hours (00:05.000)
    张三: 先定春游地点。                       Zoom: the speaker is part of the text

    6f1c…/2-0
    00:00:08.000 --> 00:00:09.000
    <v 李四 (外部)>去湿地公园 &amp; 植物园吧。</v>     Teams: a voice, its end tag sometimes missing

This small parser is our own because no library keeps what is said: webvtt-py 0.6.0 empties a cue that contains `-->`,
cuts it at a blank line and knows one voice a cue; pysubs2 1.8.1 drops the voices; both delete whatever looks like a
tag. Specification: https://www.w3.org/TR/webvtt1/.
"""

from __future__ import annotations

import html
import re

from mug.transcripts.clock import TIME, seconds
from mug.transcripts.draft import Draft, Piece, shares
from mug.transcripts.labels import label_lines

_TIMING = re.compile(rf"\s*(?P<start>{TIME})\s*-->\s*(?P<end>{TIME})(?:[ \t]+\S.*)?\s*")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?[ \t](?P<name>[^<>\n]*)>|</v>", re.IGNORECASE)
# Only the tags of WebVTT are markup; any other angle bracket was typed or said and stays text.
_TAG = re.compile(
    rf"</?(?:[ciub]|ruby|rt)(?:\.[^\s<>]*)?>|<lang(?:\.[^\s<>]*)?\s[^<>]*>|</lang>|<{TIME}>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_PASSED_OVER = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")


def recognises(text: str) -> bool:
    """Say whether the text is WebVTT: by its first word, or by a line of times without hours, which SRT never has."""
    if re.match(r"WEBVTT(?:\s|$)", text):
        return True
    first = next((line for line in text.splitlines() if _TIMING.fullmatch(line)), None)
    return first is not None and not re.match(
        r"\s*\d+[:：]\d+[:：]\d+[.,]\d+\s*-->\s*\d+[:：]\d+[:：]\d+[.,]\d", first
    )


def read(text: str) -> Draft:
    """Return what the cues say; a cue without a speaker has an empty one."""
    pieces: list[Piece] = []
    for start, end, lines in _cues(text):
        voices = _voices("\n".join(lines))
        times = shares([len(said) for _, said in voices], start, end)  # two voices speak one after the other
        pieces += [Piece(*voice, *time) for voice, time in zip(voices, times, strict=True)]
    unnamed = [piece for piece in pieces if not piece.speaker]
    for piece, (speaker, said) in zip(unnamed, label_lines([piece.text for piece in unnamed]), strict=True):
        piece.speaker, piece.text = speaker, said
    header = re.match(r"WEBVTT[ \t-]+([^\n]*)", text)
    title = header[1].strip() if header and not re.match(r"(?:Kind|Language):", header[1]) else ""
    return Draft("WebVTT", pieces, title)


def _cues(text: str) -> list[tuple[float | None, float | None, list[str]]]:
    """Return start, end and lines of each cue."""
    cues: list[tuple[float | None, float | None, list[str]]] = []
    skipping = True  # up to the first line of times: the header; after that: a NOTE
    blank = True  # whether the line before was blank
    held: str | None = None  # the first line of a block, an id if times follow
    for line in text.split("\n"):
        if timing := _TIMING.fullmatch(line):
            if held is None and cues and not blank and cues[-1][2] and re.fullmatch(r"\s*\d+\s*", cues[-1][2][-1]):
                cues[-1][2].pop()  # a number before times, without the blank line that should be there
            cues.append((seconds(timing["start"]), seconds(timing["end"]), []))
            held, skipping, blank = None, False, False
            continue
        if not line.strip():
            if held is not None and cues:
                cues[-1][2].append(held)  # not an id after all but text behind a blank line
            held, blank = None, True
            skipping = skipping and not cues
            continue
        if blank and _PASSED_OVER.match(line):
            skipping = True
        if not skipping and blank and cues:
            held = line
        elif not skipping and cues:
            if held is not None:
                cues[-1][2].append(held)
                held = None
            cues[-1][2].append(line)
        blank = False
    if held is not None and cues:
        cues[-1][2].append(held)
    return cues


def _voices(payload: str) -> list[tuple[str, str]]:
    """Divide a cue's text among its voices; what stands outside of them has no speaker."""
    said: list[tuple[str, str]] = []
    speaker, start = "", 0
    for tag in _VOICE.finditer(payload):
        said.append((speaker, payload[start : tag.start()]))
        speaker, start = (tag["name"] or "").strip(), tag.end()
    said.append((speaker, payload[start:]))
    plain = [(_text(name), _text(words)) for name, words in said]
    return [(name, words) for name, words in plain if words.strip()]


def _text(markup: str) -> str:
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), _TAG.sub("", markup))
