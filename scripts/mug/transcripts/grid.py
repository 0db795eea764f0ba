"""Tables with a sentence a row, in DOCX or as CSV: rows -> the lines of plain text.

时间    发言人    内容
00:05   张三      先定春游地点。            becomes    [00:05] 张三: 先定春游地点。
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from mug.transcripts.clock import RANGE

_TIME = re.compile(rf"[\[(（]?{RANGE}[\])）]?")
_COLUMNS = {
    "time": re.compile(r"(?:开始|发言|起止|起始)?时间|时间戳|(?:start[ _]?)?time(?:stamp)?|start", re.IGNORECASE),
    "speaker": re.compile(r"发言人|说话人|讲话人|姓名|speaker(?:[ _]?name)?|name", re.IGNORECASE),
    "text": re.compile(r"(?:发言|转写|文字)?内容|文本|文字|text|transcript|content|sentence", re.IGNORECASE),
}


def lines_of_csv(text: str) -> list[str] | None:
    """Return the lines of a table in text, None where the first line names no columns of speakers and words."""
    first = text.split("\n", 1)[0]
    delimiter = max("\t,;", key=first.count)
    places = _columns([cell.strip('" ') for cell in first.split(delimiter)])
    if not {"speaker", "text"} <= places.keys():
        return None
    try:
        return list(lines_of_rows(list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))))
    except csv.Error:
        return None


def lines_of_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line a row; the columns are told by the header, or by the times in two or three columns without one.

    The cells of any other table are lines of their own.
    """
    places = _columns(rows[0]) if rows else {}
    if "text" in places:
        rows = rows[1:]
    for row in rows:
        if "text" in places and len(row) > max(places.values()):
            cells = {column: row[place] for column, place in places.items()}
        elif "text" not in places and 2 <= len(row) <= 3 and (cells := _told_by_time(row)):
            pass
        else:
            yield from row
            continue
        time, speaker = cells.get("time", "").strip("[]()（） "), cells.get("speaker", "").strip()
        said = " ".join(cells["text"].split("\n"))
        yield (f"[{time}] " if time else "") + (f"{speaker}: " if speaker else "") + said


def _columns(header: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for place, cell in enumerate(header):
        for column, pattern in _COLUMNS.items():
            if column not in found and pattern.fullmatch(cell.strip()):
                found[column] = place
                break
    return found


def _told_by_time(row: Sequence[str]) -> dict[str, str]:
    times = [place for place, cell in enumerate(row) if _TIME.fullmatch(cell.strip())]
    others = [cell for place, cell in enumerate(row) if place not in times[:1]]
    if len(others) > 2:
        return {}
    return {
        "time": row[times[0]] if times else "",
        "speaker": others[0] if len(others) == 2 else "",
        "text": others[-1],
    }
