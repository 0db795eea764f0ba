"""Times and dates as transcripts write them: `05:10`, `00:05:10.250`, `1:02:03,5`; `2025年3月7日 下午 2:30`."""

from __future__ import annotations

import re
from datetime import datetime

TIME = r"(?:\d{1,3}[:：])?\d{1,3}[:：]\d{2}(?:[.,]\d{1,6})?(?![\d:：])"
"""A time of hours (which may be left out), minutes, seconds and a fraction; of no digits before or after it."""

RANGE = rf"(?P<start>{TIME})(?:\s*(?:-->|->|[-–—~～至到])\s*(?P<end>{TIME}))?"

_DATE = re.compile(
    r"(?P<year>(?:19|20)\d{2})\s*[年/.-]\s*(?P<month>\d{1,2})\s*[月/.-]\s*(?P<day>\d{1,2})\s*日?"
    r"(?:\s*[(（]?(?:星期|周)[一二三四五六日天][)）]?)?"
    r"(?:[\sT]*(?P<half>上午|下午|晚上|凌晨|中午|AM|PM)?\s*(?P<hour>\d{1,2})[:：](?P<minute>\d{2})(?::\d{2})?"
    r"\s*(?P<after>AM|PM)?)?",
    re.IGNORECASE,
)
_ENGLISH_DATE = re.compile(
    r"(?P<month>[A-Z][a-z]{2})[a-z]*\.? (?P<day>\d{1,2}),? (?P<year>(?:19|20)\d{2})"
    r"(?:,? (?:at )?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::\d{2})?\s*(?P<after>AM|PM)?)?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def seconds(text: str) -> float | None:
    """Return the seconds of a time, None when it is none.

    >>> seconds("01:02:03.5"), seconds("75:10"), seconds("00:61")
    (3723.5, 4510.0, None)
    """
    try:
        *hours, minutes, rest = (float(part) for part in re.split("[:：]", text.replace(",", ".")))
    except ValueError:
        return None
    if rest >= 60 or (hours and minutes >= 60):
        return None
    return round((hours[0] if hours else 0) * 3600 + minutes * 60 + rest, 3)


def before_date(text: str) -> str:
    """Return what stands before the date of a line, the whole line where it has none.

    >>> before_date("春游讨论 (2025-03-07 14:30 GMT+8) - Transcript")
    '春游讨论'
    """
    found = _DATE.search(text) or _ENGLISH_DATE.search(text)
    return text[: found.start()].strip(" \t-–—_|:：(（[【") if found else text


def date_in(text: str) -> str:
    """Return the date, with the time of day if there is one, that a line holds, as ISO 8601; empty when it has none.

    >>> date_in("2025年3月7日 下午 2:30|12分钟 8秒"), date_in("March 7, 2025, 2:30PM"), date_in("开会")
    ('2025-03-07T14:30', '2025-03-07T14:30', '')
    """
    found = _DATE.search(text) or _ENGLISH_DATE.search(text)
    if not found:
        return ""
    parts = found.groupdict()
    month = parts["month"].lower()
    hour, half = int(parts["hour"] or 0), (parts.get("half") or parts["after"] or "").upper()
    if half in ("下午", "晚上", "PM") and hour < 12:
        hour += 12
    elif (half in ("凌晨", "上午", "AM") and hour == 12) or (half == "晚上" and hour == 24):
        hour = 0
    try:
        date = datetime(
            int(parts["year"]),
            _MONTHS.index(month[:3]) + 1 if month.isalpha() else int(month),
            int(parts["day"]),
            hour,
            int(parts["minute"] or 0),
        )
    except ValueError:
        return ""
    return date.isoformat(timespec="minutes") if parts["hour"] else date.date().isoformat()
