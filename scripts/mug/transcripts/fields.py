"""What JSON transcripts have in common: fields that may be missing, strings for numbers, and one name of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mug.errors import Message

MORE_PAGES = Message(
    "文件只是其中一页：它说后面还有内容，请把其余各页也导出后合并，否则纪要不完整",
    "the file is only one page: it says that more follows; join the other pages to it, or the minutes are incomplete",
)


def text_of(item: Mapping[str, Any], *names: str) -> str:
    """Return the first of the fields that holds text or a number; empty when none does."""
    for name in names:
        value = item.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
            return str(value)
    return ""


def number_of(item: Mapping[str, Any], *names: str) -> float | None:
    """Return the first of the fields that holds a finite number, also one written as a string."""
    for name in names:
        value = item.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(value)
        except (ValueError, OverflowError):
            continue
        if math.isfinite(number):
            return number
    return None


def milliseconds_of(item: Mapping[str, Any], *names: str) -> float | None:
    """Return a time that is given in milliseconds, in seconds."""
    number = number_of(item, *names)
    return None if number is None else round(number / 1000, 3)


def dicts_of(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; nothing for what is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def objects(value: Any, depth: int = 4) -> Iterator[dict[str, Any]]:
    """Yield an object and those inside of it, the outer first: answers of an API wrap what they hold."""
    level = [value]
    for _ in range(depth):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                yield item
                inner += item.values()
            elif isinstance(item, list):
                inner += item[:100]
        level = [item for item in inner if isinstance(item, dict | list)]


def voice(value: Any) -> str:
    """Return the name of a recogniser's voice: 0 is one, and so is `0`; names are kept, -1 and null are nobody.

    >>> voice(0), voice("1"), voice("张三"), voice(None), voice(-1)
    ('说话人0', '说话人1', '张三', '', '')
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    name = str(value).strip()
    if name in ("-1", ""):
        return ""
    return f"说话人{name}" if name.isdigit() else name
