"""钉钉: paragraphs of a cloud recording or of 听记, as its interface and tools give them, page by page.

    {"hasNext": true, "nextToken": "…", "paragraphList": [
        {"nickName": "张三", "unionId": "u1", "startTime": 1200, "endTime": 5400, "paragraph": "先定地点。去公园吧。",
         "sentenceList": [{"sentence": "先定地点。", "startTime": 1200, "endTime": 2900, "wordList": […]}, …]}, …]}

`sentenceList` may be missing; the whole may lie in `result` or `data`; times may count from 1970. Source: the model
QueryCloudRecordTextResponse of https://github.com/aliyun/alibabacloud-dingtalk-sdk.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from mug.transcripts.draft import Draft, Piece
from mug.transcripts.fields import MORE_PAGES, dicts_of, milliseconds_of, objects, text_of

_EPOCH = 1e8  # seconds: a time above it counts from 1970, not from the meeting's beginning
_CHINA = timezone(timedelta(hours=8))
_STARTS = ("startTime", "start_time", "beginTime")
_ENDS = ("endTime", "end_time")


def recognises(value: Any) -> bool:
    """Say whether a JSON value holds a list of 钉钉 paragraphs."""
    return _page(value) is not None


def read(value: Any) -> Draft:
    """Return what the paragraphs say."""
    page = _page(value) or {}
    pieces: list[Piece] = []
    for paragraph in dicts_of(page.get("paragraphList")):
        speaker = text_of(paragraph, "nickName", "speakerName", "speaker", "userName", "unionId", "userId")
        whole = text_of(paragraph, "paragraph", "text", "content")
        found = [
            Piece(speaker, text_of(sentence, "sentence", "text", "content"), *_time(sentence))
            for sentence in dicts_of(paragraph.get("sentenceList"))
        ]
        if not found or _letters("".join(piece.text for piece in found)) < _letters(whole):
            found = [Piece(speaker, whole, *_time(paragraph), prose=True)]  # sentences that lack words say less
        found[-1].closes = True
        pieces += found
    date = ""
    starts = [piece.start for piece in pieces if piece.start is not None]
    if starts and min(starts) > _EPOCH:
        began = min(starts)
        date = datetime.fromtimestamp(began, _CHINA).strftime("%Y-%m-%dT%H:%M") if began < 1e10 else ""
        for piece in pieces:
            piece.start = None if piece.start is None else round(piece.start - began, 3)
            piece.end = None if piece.end is None else round(piece.end - began, 3)
    more = any(item.get(name) in (True, "true") for item in objects(value, 3) for name in ("hasNext", "hasMore"))
    title = next(filter(None, (text_of(item, "title") for item in objects(value, 3))), "")
    return Draft("钉钉 JSON", pieces, title, date, paragraphs=True, notes=[MORE_PAGES] if more else [])


def _page(value: Any) -> dict[str, Any] | None:
    return next((item for item in objects(value) if isinstance(item.get("paragraphList"), list)), None)


def _time(item: dict[str, Any]) -> tuple[float | None, float | None]:
    return milliseconds_of(item, *_STARTS), milliseconds_of(item, *_ENDS)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
