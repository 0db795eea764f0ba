r"""A file of rows -> one row after the other, whatever program saved it: the layer under `mug.corpus`.

A row is a cell with one meeting's JSON and the number that a person finds it by::

    idx<TAB>content                            {"meeting_key": "M0115", …}       [{"meeting_key": "M0115", …},
    0<TAB>"{""meeting_key"": ""M0115"", …}"    {"meeting_key": "M0112", …}        {"meeting_key": "M0112", …}]

Tables may be divided by tabs, commas or semicolons, JSON by lines or in one array. The encoding is found out by its
mark or by trying, never by ignoring what does not fit: a file taken for another encoding gives valid JSON of garbage.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from mug.errors import InputError, Message

LONGEST = 1 << 26
"""Bytes of the longest line and characters of the longest cell. A meeting has about 150 KB; a quote that is never
closed would make the rest of the file one cell, and memory would hold it."""

LARGEST_ARRAY = 1 << 28
"""Bytes of the largest file that is read at once: one JSON array can't be read by rows."""

SHOWN = 200
"""Characters of a rejected row that are kept, so that a person recognises it."""

_LINES_BY_BYTES = ("utf-8", "utf-8-sig", "gb18030")  # a line end is one byte, which is no part of another character
_AROUND = "\ufeff \t\r\n"  # what may stand around a line or a cell and means nothing
_HEAD = 4 << 20  # bytes looked at to find the encoding
_MEETING = re.compile(rb'"(?:sentences|sentence_list)"')  # once a meeting, so it tells how many a cell holds

# The kinds of files that people take for a table, by their first bytes, and what to do with each.
_FOREIGN: tuple[tuple[bytes, str, str, str, str], ...] = (
    (b"\x1f\x8b", "gzip 压缩文件", "a gzip archive", "请先用 gunzip 解压", "unpack it with gunzip first"),
    (b"PK\x03\x04", "zip 或 Excel（xlsx）文件", "a zip archive or an Excel workbook (xlsx)",
     "请先解压，或在 Excel 中另存为“CSV UTF-8”", "unpack it, or save it from Excel as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "旧版 Office（xls/doc）文件", "an old Office file (xls or doc)",
     "请在 Excel 中另存为“CSV UTF-8”", "save it from Excel as CSV UTF-8"),
    (b"PAR1", "Parquet 文件", "a Parquet file", "请先导出为 CSV 或 JSONL", "export it as CSV or JSONL first"),
    (b"ARROW1", "Arrow 文件", "an Arrow file", "请先导出为 CSV 或 JSONL", "export it as CSV or JSONL first"),
    (b"SQLite format 3", "SQLite 数据库", "an SQLite database", "请先导出为 CSV", "export the table as CSV first"),
    (b"BZh", "bzip2 压缩文件", "a bzip2 archive", "请先解压", "unpack it first"),
    (b"\xfd7zXZ", "xz 压缩文件", "an xz archive", "请先解压", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd 压缩文件", "a zstd archive", "请先解压", "unpack it first"),
    (b"7z\xbc\xaf", "7z 压缩文件", "a 7z archive", "请先解压", "unpack it first"),
    (b"Rar!", "rar 压缩文件", "a rar archive", "请先解压", "unpack it first"),
    (b"%PDF", "PDF 文件", "a PDF", "请改用语料的 CSV", "use the corpus's CSV"),
    (b"\x80\x02", "pickle 文件", "a pickle", "请先导出为 CSV", "export it as CSV first"),
    (b"\x80\x04", "pickle 文件", "a pickle", "请先导出为 CSV", "export it as CSV first"),
    (b"version https://git-lfs", "Git LFS 指针，不是数据本身", "a Git LFS pointer and not the data",
     "请运行 git lfs pull，或重新下载", "run git lfs pull, or download it again"),
    (b"<!doctype", "网页", "a web page", "下载失败了，请重新下载", "the download failed, try again"),
    (b"<html", "网页", "a web page", "下载失败了，请重新下载", "the download failed, try again"),
    (b"<?xml", "XML 文件", "an XML file", "请改用语料的 CSV 或 JSONL", "use the corpus's CSV or JSONL"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One meeting's JSON in UTF-8: its file, its row there (the header is row 1), how much of that is read then."""

    file: str
    number: int
    content: bytes
    fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that gave no meeting: where, which meeting if that is known, why, and how it begins.

    ``meetings`` says how many meetings are lost with it: a quote that is never closed takes the next rows along.
    """

    file: str
    row: int
    meeting: str
    reason: Message
    content: str = ""
    meetings: int = 1


def reject(row: Row, reason: Message, meeting: str = "", meetings: int = 1) -> Rejected:
    """Return the rejection of a row."""
    start = row.content[: 4 * SHOWN].decode("utf-8", "replace")[:SHOWN]
    return Rejected(row.file, row.number, meeting, reason, start, meetings)


def meetings_in(content: bytes) -> int:
    """Return how many meetings the content of a row holds, damaged as it may be; at least one."""
    return max(1, len(_MEETING.findall(content)))


def read_rows(path: Path, encoding: str) -> Iterator[Row | Rejected]:
    """Yield the rows of a file in order; only one is held at a time, unless the file is one JSON array.

    Raises:
        InputError: bytes that are not ``encoding``, no ``content`` column or two, a cell or line longer than
            `LONGEST`, an empty file, or an array that is damaged or larger than `LARGEST_ARRAY`.
    """
    csv.field_size_limit(LONGEST)
    number = 1  # of the row looked at, for the message
    with ExitStack() as files:
        file = files.enter_context(path.open("rb", buffering=1 << 20))
        text = None
        if encoding not in _LINES_BY_BYTES:
            text = files.enter_context(io.TextIOWrapper(file, encoding, newline=""))
        try:
            for row in _rows(path, _Lines(path, file, text, encoding)):
                number = (row.number if isinstance(row, Row) else row.row) + 1
                yield row
        except UnicodeDecodeError:  # past the part that told the encoding
            raise undecodable(path, encoding) from None
        except csv.Error as error:
            raise InputError(
                f"{path} 第 {number} 行不是合法的表格（{error}），多半是引号没有配对；请修好这一行或重新下载。",
                f"{path} is no table at row {number} ({error}), most likely a quote is not closed; mend this row or "
                "download the file again.",
            ) from None


def find_encoding(path: Path) -> str:
    """Name a file's encoding: by its mark, by where the zero bytes are, or by trying UTF-8 and GB18030.

    Raises:
        InputError: the file is missing, is no regular file, is of another kind, or is in none of these encodings.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(
                f"{path} 不是普通文件（可能是目录或管道）；请给出 CSV 或 JSONL 文件。",
                f"{path} is no regular file (a folder or a pipe?); name a CSV or JSONL file.",
            )
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError(
            f"打不开语料文件 {path}（{error.strerror}）；请先运行 scripts/download_data.py，或检查路径。",
            f"Can't open the corpus file {path} ({error.strerror}); run scripts/download_data.py, or check the path.",
        ) from None
    start = head[:64].lstrip().lower()
    for mark, zh, en, mend, mend_en in _FOREIGN:
        if head.startswith(mark) or start.startswith(mark):
            raise InputError(f"{path} 是{zh}；{mend}。", f"{path} is {en}; {mend_en}.")
    for encoding in _candidates(head):
        try:
            # An incremental decoder leaves a character that the end of the head cuts in two alone.
            text = codecs.getincrementaldecoder(encoding)("strict").decode(head, final=len(head) < _HEAD)
        except UnicodeDecodeError as error:
            if encoding == "utf-8" and _mostly_utf8(head):
                raise InputError(
                    f"{path} 是 UTF-8，但第 {error.start + 1} 个字节起已损坏；请重新下载，或从原文件重新导出。",
                    f"{path} is UTF-8 but damaged from byte {error.start + 1}; download or export it again.",
                ) from None
            continue
        if encoding == "gb18030" and (other := _rather(head, text)):
            raise InputError(
                f"{path} 看来是 {other} 编码；请另存为 UTF-8 后重试。",
                f"{path} looks like {other}; save it as UTF-8 and try again.",
            )
        return encoding
    raise undecodable(path, " / ".join(_candidates(head)))


def undecodable(path: Path, encodings: str) -> InputError:
    """Return the error for bytes that are in none of ``encodings``."""
    return InputError(
        f"{path} 的编码不是 {encodings}，或文件已损坏；请另存为 UTF-8 后重试。",
        f"{path} is not {encodings}, or it is damaged; save it as UTF-8 and try again.",
    )


# ------------------------------------------------------------------------------------------------------ encoding


def _candidates(head: bytes) -> list[str]:
    """Return the encodings to try; guessing by statistics takes short GBK for other things."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # before UTF-16, whose mark is its first half
        return ["utf-32"]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ["utf-16"]
    if head.startswith(codecs.BOM_UTF8):
        return ["utf-8-sig"]
    zeros = tuple(byte == 0 for byte in head[:4])  # a header or a brace is ASCII, so its zero bytes tell the order
    wide = {
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
    }
    return [wide[zeros]] if zeros in wide else ["utf-8", "gb18030"]


def _mostly_utf8(head: bytes) -> bool:
    """Say whether bytes that are no UTF-8 are it but for a few: GB18030 would read them all, as other characters."""
    text = head.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(char > "\x7f" for char in text) - bad
    return good > 20 + 2 * bad


def _rather(head: bytes, text: str) -> str:
    """Name the encoding that the bytes are far more likely in than in GB18030, which reads nearly all; or nothing."""
    everyday = sum(map(text.count, _EVERYDAY))
    for encoding, name in (("cp950", "Big5"), ("cp932", "Shift-JIS"), ("cp949", "EUC-KR")):
        try:
            other = codecs.getincrementaldecoder(encoding)("strict").decode(head, final=len(head) < _HEAD)
        except UnicodeDecodeError:
            continue
        if sum(map(other.count, _EVERYDAY + _JAPANESE_KOREAN)) > 10 + 3 * everyday:
            return name
    return ""


# Frequent in every Chinese text, and written alike in simplified and traditional characters.
_EVERYDAY = "的一是不了在有我他大人你上到好，。"
_JAPANESE_KOREAN = "のにはをたがでと이다는을에가의"


# ------------------------------------------------------------------------------------------------- lines -> rows


class _Lines:
    """The lines of a file, their ends kept, each at most `LONGEST` bytes, and how much of the file they were.

    ``text`` is the file as text for the encodings whose lines bytes can't tell; of the others the lines are bytes.
    """

    def __init__(self, path: Path, file: BinaryIO, text: TextIO | None, encoding: str) -> None:
        self.encoding = encoding
        self._path = path
        self._file = file
        self._text = text
        self._size = max(1, path.stat().st_size)
        self._read = 0

    @property
    def fraction(self) -> float:
        return min(1.0, self._read / self._size)

    def __iter__(self) -> Iterator[str | bytes]:
        if self._text is not None:
            while text := self._text.readline(LONGEST):
                self._read = self._file.tell()
                self._check(text)
                yield text
            return
        while line := self._file.readline(LONGEST):
            if not self._read:
                line = line.removeprefix(codecs.BOM_UTF8)
            self._read += len(line)
            self._check(line)
            if line.find(b"\r", 0, len(line) - 2 * line.endswith(b"\r\n")) < 0:
                yield line
            else:  # a lone carriage return ends a line too
                yield from line.splitlines(keepends=True)

    def decoded(self, lines: Iterable[str | bytes]) -> Iterator[str]:
        encoding = self.encoding.removesuffix("-sig")
        for line in lines:
            yield line if isinstance(line, str) else line.decode(encoding)

    def _check(self, line: str | bytes) -> None:
        if len(line) >= LONGEST:
            raise InputError(
                f"{self._path} 有一行超过 {LONGEST >> 20} MB；语料应每行一个会议，JSON 数组可用 jq -c '.[]' 拆成行。",
                f"{self._path} has a line of more than {LONGEST >> 20} MB; the corpus has one meeting a line, and "
                "jq -c '.[]' makes lines of a JSON array.",
            )


def _rows(path: Path, lines: _Lines) -> Iterator[Row | Rejected]:
    each = iter(lines)
    header = next((line for line in lines.decoded(each) if line.strip(_AROUND)), "").lstrip("\ufeff")
    if not header:
        raise InputError(f"{path} 是空文件；请重新下载。", f"{path} is empty; download it again.")
    opening = header.strip(_AROUND)
    if (
        opening.startswith("[")
        or opening == "{"
        or (opening[0] == "{" and _is_one_object(path, lines.encoding, opening))
    ):
        yield from _array(path, lines.encoding)
    elif opening.startswith("{"):
        for number, line in enumerate(chain([header], lines.decoded(each)), 1):
            if content := line.strip(_AROUND):
                yield Row(str(path), number, content.encode(), lines.fraction)
    else:
        yield from _table(path, header, each, lines)


def _table(path: Path, header: str, each: Iterator[str | bytes], lines: _Lines) -> Iterator[Row | Rejected]:
    # The header alone decides: the cells are full of commas and quotes.
    delimiter = max("\t,;", key=header.count)
    columns = [name.strip(_AROUND).lower() for name in next(csv.reader([header], delimiter=delimiter))]
    place = _content_column(path, columns)
    usual = None
    if lines.encoding.startswith("utf-8") and place == len(columns) - 1 == 1:
        usual = re.compile(rb'(?:\d+|"\d+")%b"' % delimiter.encode())
    for number, line in enumerate(each, 2):
        if usual and isinstance(line, bytes) and (start := usual.match(line)):
            content = _quoted(line, start.end())
            if content is not None:
                yield Row(str(path), number, content, lines.fraction)
                continue
        cells = next(csv.reader(lines.decoded(chain([line], each)), delimiter=delimiter))
        if not any(cells):
            continue
        found = cells[place] if place < len(cells) else ""
        if len(cells) == len(columns) and len(found) < 16 and found.strip(" \ufeff").lower() == "content":
            continue  # the header again, where files were joined
        if len(cells) > len(columns) and found[:1] == "{":  # unquoted, with the delimiter inside
            found = delimiter.join(cells[place : len(cells) - (len(columns) - 1 - place)])
        row = Row(str(path), number, found.encode(), lines.fraction)
        if len(cells) <= place:
            short = replace(row, content=delimiter.join(cells).encode())
            reason = Message(f"只有 {len(cells)} 列", f"has only {len(cells)} columns")
            yield reject(short, reason, meetings=meetings_in(short.content))
        else:
            yield row


def _quoted(line: bytes, start: int) -> bytes | None:
    """Return what the quotes around the rest of a line hold, as csv would but four times as fast, or None.

    None means that csv must say: the quote isn't closed on this line, or one inside is not doubled.
    """
    inner = line[start:].rstrip(b"\r\n")
    if not inner.endswith(b'"'):
        return None
    inner = inner[:-1]
    content = inner.replace(b'""', b'"')
    return content if content.count(b'"') == len(inner) - len(content) else None


def _content_column(path: Path, columns: list[str]) -> int:
    found = columns.count("content")
    if found == 1:
        return columns.index("content")
    # Without a header line the first row stands here, and it may be of any length and hold anything.
    shown = ", ".join("".join(char if char.isprintable() else "?" for char in name[:30]) for name in columns[:10])
    if found:
        raise InputError(
            f"{path} 有 {found} 个 content 列（{shown}）；请只留一个。",
            f"{path} has {found} content columns ({shown}); leave one.",
        )
    raise InputError(
        f"{path} 没有 content 列（找到的列：{shown}）；语料的表头应为 idx 与 content，以制表符分隔。",
        f"{path} has no content column (found: {shown}); the header should be idx<TAB>content.",
    )


def _is_one_object(path: Path, encoding: str, opening: str) -> bool:
    """Say whether a file is one meeting's JSON over many lines; its first line alone may look like JSON lines."""
    if opening.endswith("}") or path.stat().st_size > LARGEST_ARRAY:
        return False
    try:
        json.loads(path.read_text(encoding=encoding).strip(_AROUND), strict=False)
    except (ValueError, RecursionError):
        return False
    return True


class KeyTwice(ValueError):
    """A key stands twice in a JSON object."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs, for ``object_pairs_hook``.

    Raises:
        KeyTwice: a key stands twice; which of the two is meant nobody can say, and parsers take the last in silence.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise KeyTwice(f"the key {twice[:SHOWN]!r} stands twice in one object")
    return found


def _array(path: Path, encoding: str) -> Iterator[Row]:
    """Yield the meetings of a JSON array, or of one object that goes over many lines, by their place in it."""
    size = path.stat().st_size
    if size > LARGEST_ARRAY:
        raise InputError(
            f"{path} 是 {size >> 20} MB 的 JSON 数组，不能按行读；请用 jq -c '.[]' 拆成每行一个会议。",
            f"{path} is a JSON array of {size >> 20} MB, which can't be read by rows; jq -c '.[]' makes lines of it.",
        )
    try:
        text = path.read_text(encoding=encoding).strip(_AROUND)
        found: Any = json.loads(text, strict=False, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise InputError(
            f"{path} 不是完整的 JSON（{error}）；请重新下载，或改为每行一个会议。",
            f"{path} is no complete JSON ({error}); download it again, or write one meeting a line.",
        ) from None
    items = found if isinstance(found, list) else [found]
    for number, item in enumerate(items, 1):
        yield Row(str(path), number, json.dumps(item, ensure_ascii=True).encode(), number / len(items))
