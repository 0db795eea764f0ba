"""The challenge's submission files: one JSON line a meeting, one file a track."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mug.errors import InputError
from mug.files import write_text
from mug.metrics.submission import read_rows


def write_submissions(folder: Path, rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Path]:
    """Write ``folder/<track>.jsonl`` for each track, and read each back to be sure of it.

    Raises:
        InputError: a file does not read back as it was written.
        OSError: the folder can't be written.
    """
    paths = []
    for track, by_meeting in rows.items():
        path = folder / f"{track}.jsonl"
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in by_meeting.values()))
        if read_rows(path) != dict(by_meeting):
            raise InputError(
                f"{path} 写入后读回不一致；请检查磁盘。", f"{path} does not read back as written; check the disk."
            )
        paths.append(path)
    return paths
