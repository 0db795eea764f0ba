"""A folder of transcripts -> a folder of minutes: one file after the other, going on where an earlier run stopped.

What is done stands in ``.minutes_state.json`` in the output folder, written whole after each file::

    {"周会.vtt": {"input": "5b1c…", "settings": {"engine": {…}, "pipeline": 1, "lang": "zh"}, "outputs": ["周会.md"]}}

A file is done when its content and the settings are those of that entry and its outputs are there. Their content is
not looked at, so minutes that somebody has corrected since are not overwritten.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mug.errors import InputError, Message
from mug.files import write_json
from mug.minutes.model import Minutes
from mug.minutes.writing import write

STATE = ".minutes_state.json"
ENDINGS = (".vtt", ".srt", ".txt", ".docx", ".json", ".jsonl", ".csv", ".tsv")
"""Endings of files that are taken for transcripts; what they hold their content says."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file; ``minutes`` are there when they were made in this run, ``reason`` when they failed."""

    name: str
    result: Literal["done", "kept", "failed"]
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0
    minutes: Minutes | None = None
    reason: Message | None = None


def transcripts_in(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the transcripts of a folder (not of its subfolders) in order, and the names of what was left aside.

    Raises:
        InputError: there is no transcript in the folder.
    """
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "~$"))]
    found = [path for path in shown if path.is_file() and path.suffix.lower() in ENDINGS]
    if not found:
        endings = " ".join(ENDINGS)
        raise InputError(
            f"{folder} 里没有会议记录（后缀为 {endings} 的文件）；请检查文件夹。",
            f"{folder} holds no transcripts (files ending in {endings}); check the folder.",
        )
    return found, [path.name for path in shown if path not in found]


def output_names(paths: Sequence[Path], formats: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the outputs of each file by its name: its stem, or its whole name where two files share a stem.

    >>> output_names([Path("a.vtt"), Path("b.txt"), Path("b.srt")], ["md"])
    {'a.vtt': ('a.md',), 'b.txt': ('b.txt.md',), 'b.srt': ('b.srt.md',)}
    """
    stems = Counter(path.stem.casefold() for path in paths)
    base = {path.name: path.stem if stems[path.stem.casefold()] == 1 else path.name for path in paths}
    return {name: tuple(f"{stem}.{ending}" for ending in formats) for name, stem in base.items()}


def run(
    paths: Sequence[Path],
    output: Path,
    formats: Sequence[str],
    settings: Mapping[str, Any],
    make: Callable[[Path], Minutes],
    lang: str = "zh",
) -> Iterator[Outcome]:
    """Make the minutes of each transcript; yield what became of each, in order.

    Args:
        paths: the transcripts.
        output: the folder for the minutes.
        formats: endings of `mug.minutes.writing.FORMATS`.
        settings: what the minutes depend on beside the transcript; JSON's own types.
        make: makes the minutes of one transcript. Whatever it raises fails that file only.
        lang: of the headings.
    """
    settings = json.loads(json.dumps({**settings, "lang": lang}))
    state = _read_state(output / STATE)
    for path in paths:
        outputs = output_names(paths, formats)[path.name]
        started = time.monotonic()
        try:
            entry = {"input": _digest(path), "settings": settings, "outputs": list(outputs)}
            if state.get(path.name) == entry and all((output / name).is_file() for name in outputs):
                yield Outcome(path.name, "kept", outputs)
                continue
            minutes = make(path)
            write(minutes, [output / name for name in outputs], lang)
            state[path.name] = entry
            write_json(output / STATE, state)
        except InputError as error:
            yield Outcome(path.name, "failed", seconds=time.monotonic() - started, reason=error.message)
        except Exception as error:  # a card out of memory, a full disk, a fault of ours: the other files go on
            reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            yield Outcome(path.name, "failed", seconds=time.monotonic() - started, reason=Message(reason))
        else:
            yield Outcome(path.name, "done", outputs, time.monotonic() - started, minutes)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_state(path: Path) -> dict[str, Any]:
    """Return what earlier runs noted; a file that can't be read notes nothing, so all is made again."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
