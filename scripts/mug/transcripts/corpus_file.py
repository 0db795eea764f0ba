"""The corpus's own files (CSV, JSON, JSONL): one meeting of them, with all its labels.

See `mug.corpus` for the form. Paragraphs are derived where the file has none; nothing else is changed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mug.corpus import Report, read_meetings
from mug.errors import InputError, Message
from mug.meeting import Meeting
from mug.transcripts.draft import paragraph_ends
from mug.transcripts.fields import dicts_of
from mug.transcripts.recording import Recording

_SHOWN = 12
_ROW = re.compile(r"\s*\{[^\n]*\"(?:sentences|sentence_list)\"\s*:\s*\[")


def is_table(text: str) -> bool:
    """Say whether the text begins as a table with a column ``content`` of JSON, or as JSON lines of meetings."""
    header, _, rest = text[:4000].partition("\n")
    columns = {column.strip(' "').lower() for column in re.split("[\t,;]", header)}
    return ("content" in columns and ("idx" in columns or "{" in rest)) or _ROW.match(text) is not None


def is_json(value: Any) -> bool:
    """Say whether a JSON value is a meeting of the corpus or a list of them."""
    items = dicts_of(value) if isinstance(value, list) else [value]
    return any(
        isinstance(item, dict) and any(_is_sentence(item.get(name)) for name in ("sentences", "sentence_list"))
        for item in items
    )


def _is_sentence(value: Any) -> bool:
    return any("s" in item for item in dicts_of(value)[:5])


def read(path: Path, name: str, wanted: str | None) -> Recording:
    """Return one meeting of a corpus file; ``wanted`` is its key, needed where the file has several.

    Raises:
        InputError: as `mug.corpus.read_meetings`; no readable meeting; several and none wanted; the wanted not there.
    """
    report = Report()
    chosen: Meeting | None = None
    keys: list[str] = []
    for meeting in read_meetings(path, report):
        keys.append(meeting.key)
        if meeting.key == wanted or (wanted is None and chosen is None):
            chosen = meeting
    if not keys:
        reason = report.rejected[0].reason if report.rejected else Message("没有任何会议", "there is no meeting")
        raise InputError(
            f"{name} 是语料的格式，但读不出会议（{reason.zh}）；请修好后重试。",
            f"{name} has the corpus's form, but no meeting can be read ({reason.say('en')}); mend it and try again.",
        )
    if chosen is None or (wanted is None and len(keys) > 1):
        raise choose(name, keys, wanted)
    if chosen.paragraph_ends == (len(chosen.sentences),) and not chosen.topics:
        chosen = replace(chosen, paragraph_ends=paragraph_ends(list(chosen.sentences)))
    notes = list(report.warnings)
    if report.rejections:
        notes.append(
            Message(
                f"文件里另有 {report.rejections} 行读不了", f"{report.rejections} other rows of the file can't be read"
            )
        )
    return Recording(chosen, "语料", notes=tuple(notes))


def choose(name: str, keys: list[str], wanted: str | None) -> InputError:
    """Return the error for a file of several meetings of which none that it has was named."""
    shown, more = ", ".join(keys[:_SHOWN]), len(keys) - _SHOWN
    shown += f" …（另有 {more} 场）" if more > 0 else ""
    if wanted is not None:
        return InputError(
            f"{name} 里没有会议 {wanted}；有：{shown}。", f"{name} has no meeting {wanted}; it has: {shown}."
        )
    return InputError(
        f"{name} 里有 {len(keys)} 场会议（{shown}）；请用 --meeting 指定一场，如 --meeting {keys[0]}。",
        f"{name} holds {len(keys)} meetings ({shown}); choose one with --meeting, as in --meeting {keys[0]}.",
    )
