"""The small meeting of the cases, corpus files made of it, and the material that lies beside the repository."""

from __future__ import annotations

import copy
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from mug.corpus import Report, read_meetings
from mug.meeting import Meeting

ROOT = Path(__file__).resolve().parents[1]

_TEXTS = ("先定春游地点。", "去湿地公园吧。", "同意。", "哪天去？", "下周五。", "我来订大巴。")
_CASE: dict[str, Any] = {
    "meeting_key": "T1",
    "sentences": [{"id": i, "speaker": "乙甲"[i % 2], "s": text} for i, text in enumerate(_TEXTS, 1)],
    "topic_segment_ids": [
        {"id": 3, "candidate": [{"title": "定春游地点", "key_sentence": ["2", "3"]}]},
        {"id": 6, "candidate": [{"title": "定春游时间", "key_sentence": ["5"]}]},
    ],
    "paragraph_segment_ids": [{"id": 3}, {"id": 6}],
    "action_ids": [{"id": 6}],
    "candidate": [{"key_sentence": ["2", "5"], "key_word": ["春游", "湿地公园"]}],
}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real meetings, the real tokenizer and the golden scores."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the repository, so nothing real to compare with")
    return folder


@pytest.fixture(scope="session")
def sample_corpus() -> Path:
    return ROOT / "dataset" / "sample"


@pytest.fixture
def case() -> Callable[..., dict[str, Any]]:
    """One meeting's JSON object of six sentences; keyword arguments replace keys, and None removes a key."""

    def build(**changes: Any) -> dict[str, Any]:
        value = {**copy.deepcopy(_CASE), **changes}
        return {name: item for name, item in value.items() if item is not None}

    return build


def table(cells: Iterable[Any], delimiter: str = "\t") -> str:
    """Return a corpus file's text; a cell is written as it is when it is a string, else as JSON."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["idx", "content"])
    for index, cell in enumerate(cells):
        writer.writerow([index, cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)])
    return file.getvalue()


@pytest.fixture
def corpus_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a corpus file of the given cells and return its path."""

    def write(*cells: Any, name: str = "corpus.csv", encoding: str = "utf-8", delimiter: str = "\t") -> Path:
        path = tmp_path / name
        path.write_bytes(table(cells, delimiter).encode(encoding))
        return path

    return write


@pytest.fixture
def read() -> Callable[[Path], tuple[list[Meeting], Report]]:
    def all_meetings(path: Path, **options: Any) -> tuple[list[Meeting], Report]:
        report = Report()
        return list(read_meetings(path, report, **options)), report

    return all_meetings


@pytest.fixture
def meeting_of(corpus_file: Any, read: Any) -> Callable[[Any], Meeting]:
    """Read a meeting from its JSON object, as a script would."""

    def only(value: Any) -> Meeting:
        (meeting,), _ = read(corpus_file(value))
        return meeting

    return only


class Run(NamedTuple):
    """What a script did."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Call a script's main() as the command line would."""

    def call(script: ModuleType, *arguments: Any) -> Run:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            status = script.main()
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return Run(status, captured.out, captured.err)

    return call
