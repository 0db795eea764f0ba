"""DOCX as 腾讯会议, 飞书妙记, 讯飞听见, Teams and Google Meet export it: the lines of plain text as paragraphs.

A line break inside a paragraph (Teams: name and time, then the words) ends a line too. A table gives a line a row.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx

from mug.errors import InputError
from mug.transcripts import grid, plain_text
from mug.transcripts.draft import Draft

LARGEST = 200 << 20
"""Bytes of the document unpacked; a transcript with pictures has a few MB."""

_RATIO = 200  # a document's XML packs to about a tenth; a bomb to a thousandth
_ENTRIES = 10_000
_MAIN = "word/document.xml"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_NO_TITLE = re.compile(r"(?:word document|document|文档|新建.*文档|无标题|untitled)?\d*", re.IGNORECASE)


def recognises(content: bytes) -> bool:
    """Say whether the bytes are a zip archive, as a DOCX is."""
    return content.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def read(content: bytes, name: str) -> Draft | None:
    """Return what a document says, None where no line names a speaker or a time.

    Raises:
        InputError: no document, a damaged one, one that unpacks to more than `LARGEST`, or one with a DOCTYPE.
    """
    _check(content, name)
    try:
        document = docx.Document(io.BytesIO(content))
        body = document.element.body
        title = document.core_properties.title or ""
        # python-docx's parser expands no entities, so their places would be empty without a word.
        if document.element.getroottree().docinfo.doctype:
            raise _refuse(name, "含有 Word 从不写入的 DOCTYPE", "it has a DOCTYPE, which Word never writes")
        lines = list(_lines(body))
    except InputError:
        raise
    # A damaged document fails in python-docx, lxml and zipfile in a dozen ways; all mean the same to the user.
    except Exception as error:
        raise _refuse(name, f"已损坏，打不开：{type(error).__name__}", f"damaged: {type(error).__name__}") from None
    draft = plain_text.read_lines(lines)
    if draft:
        draft.format = draft.format.replace("TXT", "DOCX")
        if not draft.title and not _NO_TITLE.fullmatch(title.strip()):
            draft.title = title
    return draft


def _check(content: bytes, name: str) -> None:
    """Refuse what is no document, or unpacks to too much, before anything is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = {entry.filename for entry in entries}
            if _MAIN not in names:
                kind = next((k for k in ("xl/", "ppt/") if any(n.startswith(k) for n in names)), "")
                other = {"xl/": "Excel", "ppt/": "PowerPoint"}.get(kind, "zip")
                raise InputError(
                    f"{name} 是 {other} 文件，不是 DOCX；请导出为 DOCX 或 TXT。",
                    f"{name} is a {other} file and no DOCX; export it as DOCX or TXT.",
                )
            size = sum(entry.file_size for entry in entries)
            largest = max(archive.getinfo(_MAIN).file_size, 1)
            packed = max(archive.getinfo(_MAIN).compress_size, 1)
            if len(entries) > _ENTRIES or size > LARGEST or (largest > 10 << 20 and largest > _RATIO * packed):
                raise InputError(
                    f"{name} 解压后过大（{size >> 20} MB），不像一份文字记录；请检查文件。",
                    f"{name} unpacks to too much ({size >> 20} MB) for a transcript; check the file.",
                )
            # zipfile stops at the size that the directory gives, so no entry unpacks to more than was counted.
    except InputError:
        raise
    except Exception as error:  # zipfile raises BadZipFile, zlib.error, NotImplementedError, struct.error and others
        raise _refuse(name, f"已损坏，打不开：{type(error).__name__}", f"damaged: {type(error).__name__}") from None


def _refuse(name: str, zh: str, en: str) -> InputError:
    return InputError(
        f"{name} 不是完好的 DOCX（{zh}）；请重新导出，或用 Word 打开并重新保存。",
        f"{name} is no sound DOCX ({en}); export it again, or open it with Word and save it again.",
    )


def _lines(element: Any) -> Iterator[str]:
    """Yield the lines of all paragraphs and table rows in order, a blank one where a paragraph is blank."""
    for child in element:
        if child.tag == f"{_W}p":
            yield from _text(child).split("\n")
        elif child.tag == f"{_W}tbl":
            rows = [
                [" ".join(filter(None, (line.strip() for line in _lines(cell)))) for cell in row.iter(f"{_W}tc")]
                for row in child.iterchildren(f"{_W}tr")
            ]
            yield from grid.lines_of_rows(rows)
        elif child.tag != _FALLBACK and isinstance(child.tag, str):  # content controls and the like hold paragraphs
            yield from _lines(child)


def _text(paragraph: Any) -> str:
    """Return the text of a paragraph as it is read: insertions and links with it, deletions without."""
    parts: list[str] = []
    for child in paragraph.iterchildren():
        if child.tag == f"{_W}t":
            parts.append(child.text or "")
        elif child.tag in (f"{_W}br", f"{_W}cr", f"{_W}p"):
            parts.append("\n" + (_text(child) if child.tag == f"{_W}p" else ""))
        elif child.tag == f"{_W}tab":
            parts.append("\t")
        elif child.tag not in (_FALLBACK, f"{_W}pPr", f"{_W}rPr", f"{_W}del", f"{_W}moveFrom"):
            parts.append(_text(child))
    return "".join(parts)
