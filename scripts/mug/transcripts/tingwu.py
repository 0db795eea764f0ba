"""通义听悟: the transcription result of its interface; words alone hold text, and say which sentence they belong to.

{"TaskId": "…", "Transcription": {"Paragraphs": [
    {"ParagraphId": "1", "SpeakerId": "1",
     "Words": [{"Id": 10, "SentenceId": 1, "Start": 4970, "End": 5560, "Text": "先定"}, …]}, …]}}      milliseconds
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from mug.transcripts.draft import Draft, Piece, join_words
from mug.transcripts.fields import dicts_of, milliseconds_of, objects, text_of, voice


def recognises(value: Any) -> bool:
    """Say whether a JSON value holds paragraphs of words."""
    return bool(_paragraphs(value))


def read(value: Any) -> Draft:
    """Return what the paragraphs say, a sentence for each of their sentence ids."""
    pieces: list[Piece] = []
    for paragraph in _paragraphs(value):
        speaker = text_of(paragraph, "SpeakerName") or voice(paragraph.get("SpeakerId"))
        for _, group in groupby(dicts_of(paragraph.get("Words")), key=lambda word: str(word.get("SentenceId"))):
            words = list(group)
            said = join_words(word["Text"] for word in words if isinstance(word.get("Text"), str))
            pieces.append(Piece(speaker, said, milliseconds_of(words[0], "Start"), milliseconds_of(words[-1], "End")))
        if pieces:
            pieces[-1].closes = True
    return Draft("通义听悟 JSON", pieces, paragraphs=True)


def _paragraphs(value: Any) -> list[dict[str, Any]]:
    for item in objects(value):
        found = [paragraph for paragraph in dicts_of(item.get("Paragraphs")) if "Words" in paragraph]
        if found:
            return found
    return []
