"""Minutes into files, the format by the file's ending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mug.errors import InputError
from mug.files import atomic_write
from mug.minutes import docx, html, json_format, markdown
from mug.minutes.model import Minutes

FORMATS: dict[str, Callable[[Minutes, str], bytes]] = {
    "md": lambda minutes, lang: markdown.render(minutes, lang).encode(),
    "html": lambda minutes, lang: html.render(minutes, lang).encode(),
    "docx": docx.render,
    "json": lambda minutes, lang: json_format.render(minutes).encode(),
}
"""Renderers by the ending that asks for them; each checks the minutes first."""


def format_of(path: Path) -> str:
    """Return the format that a path's ending asks for.

    Raises:
        InputError: the ending is none of `FORMATS`.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        folder = path.is_dir() or not ending
        zh, en = (path / "会议.docx", path / "meeting.docx") if folder else [path.with_suffix(".docx")] * 2
        raise InputError(
            f"不认识输出 {path} 的后缀；请写出文件名，如 {zh}；可用的后缀：{known}。",
            f"Can't tell the format of {path} by its ending; name a file, such as {en}; known endings: {known}.",
        )
    return ending


def write(minutes: Minutes, paths: Sequence[Path], lang: str = "zh") -> None:
    """Write the minutes to each path; nothing is written before all formats are made.

    Raises:
        InputError: an unknown ending, or minutes that fail their check.
        OSError: a file can't be written; an older one stays as it was.
    """
    contents = [FORMATS[format_of(path)](minutes, lang) for path in paths]
    for path, content in zip(paths, contents, strict=True):
        with atomic_write(path) as file:
            file.buffer.write(content)  # bytes as they are; nothing goes through the text layer
