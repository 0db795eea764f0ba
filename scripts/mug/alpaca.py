"""Samples -> Alpaca JSON files and the dataset_info.json that LLaMA-Factory finds them by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mug.errors import InputError
from mug.files import atomic_write, write_text
from mug.tasks import TASKS
from mug.tasks.base import Sample

COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
CONVERSATION_COLUMNS = COLUMNS | {"history": "history"}
"""Those of the layout ``shared``."""


def row(sample: Sample, with_id: bool) -> dict[str, Any]:
    """Return a sample as an Alpaca row; LLaMA-Factory ignores the keys that dataset_info.json does not name."""
    alpaca: dict[str, Any] = {"instruction": sample.instruction, "input": sample.input, "output": sample.output}
    if sample.history:
        alpaca["history"] = [list(turn) for turn in sample.history]
    if with_id:
        alpaca |= {"id": sample.id, "references": list(sample.references)}
    return alpaca


class AlpacaFile:
    """A JSON array that grows by one row at a time, so that no list of all rows is ever held."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.rows = 0

    def write(self, row: bytes) -> None:
        """Append one row, given as UTF-8 JSON (encoded once, though it may go into two files)."""
        self._file.write(b",\n" if self.rows else b"[\n")
        self._file.write(row)
        self.rows += 1

    def close(self) -> None:
        """End the array; one without rows stays an empty file."""
        if self.rows:
            self._file.write(b"\n]\n")


@contextmanager
def open_alpaca(path: Path) -> Iterator[AlpacaFile]:
    """Open an Alpaca file that takes ``path``'s place when the block ends without an exception.

    A file without rows is not left behind, nor an older one of that name: LLaMA-Factory can't load ``[]``.
    """
    with atomic_write(path, unless_empty=True) as file:
        array = AlpacaFile(file.buffer)
        yield array
        array.close()


def read_dataset_info(folder: Path) -> dict[str, Any]:
    """Return ``folder/dataset_info.json``, empty when there is none.

    Raises:
        InputError: the file that is there is no JSON object.
    """
    path = folder / "dataset_info.json"
    if not path.exists():
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(info, dict):
            raise ValueError("not an object")
        return info
    except ValueError as error:
        raise InputError(
            f"{path} 不是合法的 JSON 对象（{error}）；请修复或删除它后重试。",
            f"{path} is no JSON object ({error}); mend or delete it and try again.",
        ) from None


def dataset_files(splits: Iterable[str], is_all: bool) -> dict[str, str | None]:
    """Return all dataset names of ours and their files, None for those that this run did not make.

    An older file is not listed beside new ones: it may be of other options, or share meetings with them unseen.
    """
    made = set(splits)
    both = ("train", "dev")
    files = {f"alimeeting4mug_{split}": f"{split}_alpaca.json" if split in made else None for split in both}
    for name in TASKS:
        for split in both:
            files[f"mug_{name}_{split}"] = f"{split}_{name}.json" if split in made and is_all else None
    return files


def outputs(folder: Path) -> Iterator[Path]:
    """Yield every file that a run may write or take away."""
    for name in filter(None, dataset_files(("train", "dev"), True).values()):
        yield folder / name
    for name in ("dataset_info.json", "preprocess.json", "rejected.jsonl"):
        yield folder / name


def write_dataset_info(
    folder: Path, info: dict[str, Any], files: dict[str, str | None], columns: Mapping[str, str] = COLUMNS
) -> None:
    """Write ``folder/dataset_info.json``: datasets of ours, by name and file, beside the other entries of ``info``.

    A dataset of ours that has no file, because none was made for it or it would have no rows, is taken out. The
    info is ASCII, since LLaMA-Factory opens it in the system's encoding.
    """
    written = {
        name: {"file_name": file, "columns": dict(columns)}
        for name, file in files.items()
        if file is not None and (folder / file).exists()
    }
    info = {name: entry for name, entry in info.items() if name not in files} | written
    write_text(folder / "dataset_info.json", json.dumps(info, indent=2, ensure_ascii=True) + "\n")


def read_alpaca(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an Alpaca file (a JSON array, or JSON lines), each checked for its strings.

    Raises:
        InputError: no such file, no JSON, no rows, or a row whose instruction, input or output is no string or
            whose output is blank.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"打不开数据文件 {path}（{error.strerror}）；请先运行 scripts/preprocess_data.py。",
            f"Can't open the data file {path} ({error.strerror}); run scripts/preprocess_data.py first.",
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} 不是 UTF-8；请另存为 UTF-8。", f"{path} is not UTF-8; save it as UTF-8.") from None
    try:
        if text.lstrip().startswith("{"):
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]  # splitlines() cuts at U+2028 too
        else:
            rows = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{path} 不是完整的 JSON（{error}）；请重新运行 scripts/preprocess_data.py。",
            f"{path} is no complete JSON ({error}); run scripts/preprocess_data.py again.",
        ) from None
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path} 里没有样本。", f"{path} holds no samples.")
    for number, item in enumerate(rows, 1):
        problem = _problem(item)
        if problem:
            raise InputError(
                f"{path} 第 {number} 个样本的 {problem} 缺失、为空或不是字符串；请修正后重试。",
                f"{path}, sample {number}: {problem} is missing, blank or no string; mend it and try again.",
            )
    return rows


def _problem(item: Any) -> str:
    if not isinstance(item, dict):
        return "instruction"
    if not isinstance(item.get("input", ""), str):
        return "input"
    turns = item.get("history") or []
    if not isinstance(turns, list) or any(
        not isinstance(turn, list) or [type(said) for said in turn] != [str, str] for turn in turns
    ):
        return "history"
    for name in ("instruction", "output"):
        if not isinstance(item.get(name), str) or not item[name].strip():
            return name
    return ""
