"""腾讯会议: what its REST interface gives for a recording (GET /v1/records/transcripts/details), and 企业微信 with it.

    {"more": false,
     "minutes": {"keywords": […], "paragraphs": [
        {"pid": "0", "start_time": 4400, "end_time": 9000,                                        milliseconds
         "speaker_info": {"userid": "u1", "username": "张三"},
         "sentences": [{"sid": "0", "start_time": 4400, "end_time": 6000,
                        "words": [{"wid": "0", "start_time": 4400, "end_time": 4700, "text": "先定"}, …]}, …]}, …]}}

The words alone hold text. Source: https://cloud.tencent.com/document/product/1095/65111. The share page's own answer
names the speaker `speaker.user_name`; 企业微信 calls `minutes` `transcripts` and `more` `has_more`.
"""

from __future__ import annotations

from typing import Any

from mug.errors import Message
from mug.transcripts.draft import Draft, Piece, join_words
from mug.transcripts.fields import MORE_PAGES, dicts_of, milliseconds_of, objects, text_of

_NAMES = ("username", "user_name", "nick_name", "nickname", "name", "userid", "ms_open_id", "open_id", "rooms_id")


def recognises(value: Any) -> bool:
    """Say whether a JSON value holds paragraphs of sentences."""
    return _minutes(value) is not None


def read(value: Any) -> Draft:
    """Return what the paragraphs say."""
    minutes = _minutes(value) or {}
    paragraphs = dicts_of(minutes.get("paragraphs"))
    pieces: list[Piece] = []
    for paragraph in paragraphs:
        who: dict[str, Any] = next(
            (paragraph[name] for name in ("speaker_info", "speaker") if isinstance(paragraph.get(name), dict)), {}
        )
        speaker = text_of(who, *_NAMES) or text_of(paragraph, "speaker", "speaker_name", "username")
        sentences = dicts_of(paragraph.get("sentences")) or [paragraph]
        found = [
            Piece(
                speaker,
                join_words(_said(sentence)) or text_of(sentence, "text", "content"),
                milliseconds_of(sentence, "start_time"),
                milliseconds_of(sentence, "end_time"),
                prose=sentence is paragraph,
            )
            for sentence in sentences
        ]
        found[-1].closes = True
        pieces += found
    notes = []
    if any(outer.get(name) in (True, "true") for outer in objects(value, 2) for name in ("more", "has_more")):
        notes.append(MORE_PAGES)
    first = text_of(paragraphs[0], "pid") if paragraphs else "0"
    if first.isdigit() and int(first) > 0:
        notes.append(
            Message(
                f"文件从第 {first} 段开始，前面的段落不在文件里",
                f"the file begins at paragraph {first}; those before are not in it",
            )
        )
    title = next(filter(None, (text_of(item, "subject", "meeting_subject") for item in objects(value, 2))), "")
    return Draft("腾讯会议 JSON", pieces, title=title, paragraphs=True, notes=notes)


def _minutes(value: Any) -> dict[str, Any] | None:
    for item in objects(value):
        paragraphs = dicts_of(item.get("paragraphs"))
        if any("sentences" in paragraph or "speaker_info" in paragraph for paragraph in paragraphs):
            return item
        if item.get("paragraphs") == [] and ("audio_detect" in item or "keywords" in item):
            return item
    return None


def _said(sentence: dict[str, Any]) -> list[str]:
    # The words' own spaces are kept, which text_of would strip: "Q", "3 ", "plan".
    return [word["text"] for word in dicts_of(sentence.get("words")) if isinstance(word.get("text"), str)]
