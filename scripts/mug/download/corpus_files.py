"""Corpus files wherever they lie (a folder, a zip, zips in those, one CSV) -> checked rows (idx, content).

>>> split_of("MUG/train_v2.csv"), split_of("MUG/valid.csv"), split_of("except_TS_test1.csv")
('train', 'dev', None)
>>> fault('{"sentences": []}').en
'content has no sentences'

Nothing is unpacked to a path that an archive names, and no file is read past a size that no corpus has.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from mug.errors import InputError, Message

SPLITS = ("train", "dev")
# The challenge's own files are train.csv and dev.csv; others call the second split "validation".
SPLIT_NAMES = {"train": re.compile(r"train"), "dev": re.compile(r"dev|valid|val(?![a-z])")}
# The whole corpus unpacked is under 50 MB; what is larger than this is no corpus, or a zip bomb.
MAX_FILE_BYTES = 512 * 1024**2
EXCEL_CELL_LIMIT = 32767

Row = tuple[str, str]  # idx, content


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file, wherever it lies; ``open`` may be called again and gives its bytes from the start."""

    name: str
    open: Callable[[], contextlib.AbstractContextManager[IO[bytes]]]


def local_splits(source: Path, split: str | None) -> dict[str, Table]:
    """Find the tables of the splits in a zip, a folder or a single CSV.

    Raises:
        InputError: nothing usable there, or two files that could be the same split.
    """
    if not source.exists():
        raise InputError(f"--from {source} 不存在；请检查路径。", f"--from {source} does not exist; check the path.")
    if source.is_dir():
        tables = [table for path in sorted(source.rglob("*")) if path.is_file() for table in tables_of(path, source)]
    elif zipfile.is_zipfile(source):
        tables = tables_in_zip(str(source), lambda: source.open("rb"))
    elif source.suffix.lower() == ".zip":
        raise InputError(
            f"{source} 不是完整的 zip 文件；请重新下载。", f"{source} is not a whole zip file; download it again."
        )
    else:
        split = split or split_of(source.name)
        if split is None:
            raise InputError(
                f"看不出 {source} 是哪一部分；请加上 --split train 或 --split dev。",
                f"{source} may be either split; add --split train or --split dev.",
            )
        return {split: Table(str(source), lambda: source.open("rb"))}
    if split is not None:
        raise InputError(
            "--split 只用于单个 CSV；压缩包和文件夹按文件名区分。",
            "--split is for a single CSV; in a zip or folder the names of the files tell.",
        )
    found = {split: best(tables, split, source) for split in SPLITS}
    chosen = {split: table for split, table in found.items() if table is not None}
    if not chosen:
        names = [table.name for table in tables[:5]]
        raise InputError(
            f"{source} 里没有 train*.csv 或 dev*.csv（找到的 CSV：{'、'.join(names) or '无'}）；"
            "请用 --from 文件.csv --split train|dev 指明。",
            f"{source} holds no train*.csv or dev*.csv (CSV found: {', '.join(names) or 'none'}); name one with "
            "--from FILE.csv --split train|dev.",
        )
    return chosen


def tables_of(path: Path, folder: Path) -> list[Table]:
    """Return a file of a folder as a table, or the tables of a zip in it (ModelScope keeps one zip a split)."""
    if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
        return tables_in_zip(str(path), lambda: path.open("rb"))
    if is_table(path.relative_to(folder).as_posix()):
        return [Table(str(path), lambda: path.open("rb"))]
    return []


def tables_in_zip(name: str, opened: Callable[[], IO[bytes]], depth: int = 0) -> list[Table]:
    """Return the tables of a zip and of zips in it, one level down; nothing is unpacked to a path from inside.

    Raises:
        InputError: the archive is broken, or a file in it is larger than the corpus can be.
    """
    tables: list[Table] = []
    with unzipping(name), opened() as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            inner_name = f"{name}:{member.filename}"
            is_zip = member.filename.lower().endswith(".zip") and depth == 0
            if member.is_dir() or not (is_zip or is_table(member.filename)):
                continue
            if member.file_size > MAX_FILE_BYTES:
                raise too_large(inner_name)
            inner = Table(inner_name, member_opener(inner_name, opened, member.filename))
            if is_zip:
                tables += tables_in_zip(inner_name, unpacked(inner), depth + 1)
            else:
                tables.append(inner)
    return tables


def member_opener(
    name: str, opened: Callable[[], IO[bytes]], member: str
) -> Callable[[], contextlib.AbstractContextManager[IO[bytes]]]:
    """Make the ``open`` of a table inside a zip."""

    @contextlib.contextmanager
    def open_member() -> Iterator[IO[bytes]]:
        with unzipping(name), opened() as file, zipfile.ZipFile(file) as archive, archive.open(member) as inner:
            yield inner

    return open_member


def unpacked(table: Table) -> Callable[[], IO[bytes]]:
    """Make an opener that copies a zip inside a zip to a nameless file first: a zip is read from its end."""

    def open_copy() -> IO[bytes]:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (closed by the caller)
        for chunk in chunks(table):
            copy.write(chunk)
        copy.seek(0)
        return copy

    return open_copy


@contextlib.contextmanager
def unzipping(name: str) -> Iterator[None]:
    """Turn what zipfile raises about a broken archive into a sentence."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{name} 解不开（{error}）；请重新下载，或先手工解压再用 --from 文件夹。",
            f"{name} can't be unpacked ({error}); download it again, or unpack it yourself and use --from FOLDER.",
        ) from None


def is_table(path: str) -> bool:
    """Tell a CSV from what macOS and others leave beside it."""
    place = PurePosixPath(path)
    hidden = place.name.startswith(".") or "__MACOSX" in place.parts
    return place.suffix.lower() in (".csv", ".tsv") and not hidden


def split_of(name: str) -> str | None:
    """Tell the split by a file's name: ``train_v2.csv`` is train, ``valid.csv`` is dev."""
    stem = re.split(r"[/\\:]", name)[-1].lower()
    return next((split for split, pattern in SPLIT_NAMES.items() if pattern.match(stem)), None)


def best(tables: Sequence[Table], split: str, source: Path) -> Table | None:
    """Choose the table of a split: the exact name before a longer one, the shallower before the deeper.

    Raises:
        InputError: two are equally good.
    """

    def rank(table: Table) -> tuple[bool, int]:
        parts = re.split(r"[/\\:]", table.name)
        return Path(parts[-1]).stem.lower() not in (split, "validation" if split == "dev" else split), len(parts)

    fitting = sorted((table for table in tables if split_of(table.name) == split), key=rank)
    if len(fitting) > 1 and rank(fitting[0]) == rank(fitting[1]):
        raise InputError(
            f"{source} 里有两个文件都像 {split}：{fitting[0].name} 与 {fitting[1].name}；"
            f"请用 --from 文件.csv --split {split} 指明。",
            f"Two files of {source} may be {split}: {fitting[0].name} and {fitting[1].name}; name one with --from "
            f"FILE.csv --split {split}.",
        )
    return fitting[0] if fitting else None


def rows_of(table: Table) -> Iterator[Row]:
    """Yield (idx, content) of a table, checked.

    Raises:
        InputError: an encoding that is none of the known, no content column, or a row that is no meeting.
    """
    encoding = encoding_of(table)
    with table.open() as binary, io.TextIOWrapper(binary, encoding=encoding, newline="") as file:
        yield from checked(table.name, numbered(table.name, file))


def numbered(name: str, file: IO[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (row number, idx, content); the header is row 1, and its line alone decides the delimiter."""
    header = file.readline()
    delimiter = max("\t,;", key=header.count)
    columns = [column.strip().lower() for column in next(csv.reader([header], delimiter=delimiter), [])]
    if "content" not in columns:
        raise InputError(
            f"{name} 没有 content 列（找到的列：{'、'.join(columns)[:80] or '无'}）；表头应为 idx<TAB>content。",
            f"{name} has no content column (found: {', '.join(columns)[:80] or 'none'}); the header should be "
            "idx<TAB>content.",
        )
    place, idx_place = columns.index("content"), columns.index("idx") if "idx" in columns else None
    number = 1
    try:
        for number, cells in enumerate(csv.reader(file, delimiter=delimiter), 2):
            if not any(cells):
                continue
            if len(cells) != len(columns):
                raise InputError(
                    f"{name} 第 {number} 行有 {len(cells)} 列，表头有 {len(columns)} 列，什么也没有写；请改正该行。",
                    f"{name} row {number} has {len(cells)} columns and the header {len(columns)}; nothing was "
                    "written. Mend the row.",
                )
            yield number, cells[idx_place] if idx_place is not None else str(number - 2), cells[place]
    except csv.Error as error:
        raise InputError(
            f"{name} 第 {number + 1} 行之后无法按 CSV 读取（{error}），什么也没有写；请重新下载。",
            f"{name} can't be read as CSV after row {number} ({error}); nothing was written. Download it again.",
        ) from None


def encoding_of(table: Table) -> str:
    """Name the encoding by decoding the whole table; UTF-16 only by its mark.

    Raises:
        InputError: it is none of the known ones.
    """
    with table.open() as file:
        start = file.read(4)
    is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "gb18030"):
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for chunk in chunks(table):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        return encoding
    raise InputError(
        f"{table.name} 既不是 UTF-8 也不是 GB18030，或已损坏；请另存为 UTF-8 或重新下载。",
        f"{table.name} is neither UTF-8 nor GB18030, or damaged; save it as UTF-8 or download it again.",
    )


def chunks(table: Table) -> Iterator[bytes]:
    """Yield a table's bytes, and stop at what no corpus has: an archive may lie about a file's size.

    Raises:
        InputError: more than ``MAX_FILE_BYTES``.
    """
    count = 0
    with table.open() as file:
        while chunk := file.read(1 << 20):
            count += len(chunk)
            if count > MAX_FILE_BYTES:
                raise too_large(table.name)
            yield chunk


def too_large(name: str) -> InputError:
    """Make the sentence for a file that is no corpus by its size."""
    limit = MAX_FILE_BYTES // 1024**2
    return InputError(
        f"{name} 超过 {limit} MB，不会是本语料；请检查来源。",
        f"{name} is over {limit} MB and can't be this corpus; check where it comes from.",
    )


def checked(name: str, rows: Iterable[tuple[int, str, str]]) -> Iterator[Row]:
    """Pass on (idx, content) of the rows (number, idx, content) whose content is a meeting's JSON with sentences.

    Raises:
        InputError: a row that is not; the message names it.
    """
    for number, idx, content in rows:
        reason = fault(content)
        if reason is not None:
            raise InputError(
                f"{name} 第 {number} 行{reason.zh}，什么也没有写；请改正或删去该行，或重新下载。",
                f"{name} row {number}: {reason.en}; nothing was written. Mend or remove the row, or download again.",
            )
        yield idx, content


def fault(content: str) -> Message | None:
    """Say why ``content`` is no meeting; None when it is one."""
    try:
        # strict=False: the corpus's reader takes raw tabs and line breaks inside strings, too.
        meeting = json.loads(content, strict=False)
    except (ValueError, RecursionError):
        if len(content) == EXCEL_CELL_LIMIT:
            cut = f"恰为 {EXCEL_CELL_LIMIT} 个字符，可能被 Excel 截断"
            return Message(f"的 content {cut}", f"content of {EXCEL_CELL_LIMIT} characters, possibly cut by Excel")
        return Message("的 content 不是合法的 JSON", "content is not valid JSON")
    sentences = None
    if isinstance(meeting, dict):
        sentences = meeting.get("sentences") or meeting.get("sentence_list")
    if not isinstance(sentences, list) or not all(isinstance(sentence, dict) for sentence in sentences):
        return Message("的 content 里没有 sentences", "content has no sentences")
    return None
