"""SRT: numbered cues, as WhisperX (`[SPEAKER_00]: …`), 飞书妙记, 讯飞听见 and subtitle programs write it.

1
00:00:05,000 --> 00:00:07,500
[SPEAKER_00]: 先定春游地点。
"""

from __future__ import annotations

import re

import srt  # type: ignore[import-untyped]

from mug.errors import InputError
from mug.transcripts.draft import Draft, Piece
from mug.transcripts.labels import label_lines

_TIMING = re.compile(r"^[ \t]*\d+:\d+:\d+[.,]\d+\s*-->\s*\d+:\d+:\d+[.,]\d+", re.MULTILINE)
_TAG = re.compile(r"</?(?:[ibu]|font(?:\s[^<>]*)?)>|\{\\[^{}]*\}", re.IGNORECASE)


def recognises(text: str) -> bool:
    """Say whether a line of the text has the times of a cue."""
    return _TIMING.search(text) is not None


def read(text: str, name: str) -> Draft:
    """Return what the cues say; a cue without a speaker has an empty one.

    Raises:
        InputError: something between the cues is no cue.
    """
    try:
        cues = list(srt.parse(text))
    except (srt.SRTParseError, ValueError, OverflowError) as error:
        shown = " ".join(str(getattr(error, "unmatched_content", error)).split())[:60]
        raise InputError(
            f"{name} 有一段不是 SRT 字幕（“{shown}”）；请修好或删去这一段。",
            f"{name} has a part that is no SRT cue ({shown!r}); mend or remove it.",
        ) from None
    labelled = label_lines([_TAG.sub("", cue.content) for cue in cues])
    return Draft(
        "SRT",
        [
            Piece(speaker, said, cue.start.total_seconds(), cue.end.total_seconds())
            for cue, (speaker, said) in zip(cues, labelled, strict=True)
        ],
    )
