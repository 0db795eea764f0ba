r"""The rows that gave no meeting, as JSON lines beside the data, so that each can be found and mended.

One row::

    {"file": "dataset/train.csv", "row": 7, "meeting": "M0115", "reason": "会议 M0115 没有 sentences",
     "reason_en": "meeting M0115 has no sentences", "meetings": 1, "content": "{\"meeting_key\": \"M0115\", …"}

``meeting`` is empty where it is not known, ``meetings`` says how many are lost with the row, ``content`` is its start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mug.files import atomic_write
from mug.table import Rejected


class RejectedFile:
    """Rejected rows, written one at a time."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.rows = 0

    def write(self, rejected: Rejected) -> None:
        """Append one row."""
        line = {
            "file": rejected.file,
            "row": rejected.row,
            "meeting": rejected.meeting,
            "reason": rejected.reason.zh,
            "reason_en": rejected.reason.say("en"),
            "meetings": rejected.meetings,
            "content": rejected.content,
        }
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.rows += 1


@contextmanager
def open_rejected(path: Path) -> Iterator[RejectedFile]:
    """Open a file that takes ``path``'s place when the block ends without an exception.

    When no row was rejected there is no file then, nor an older one, which would tell of rows that are mended.
    """
    with atomic_write(path, unless_empty=True) as file:
        yield RejectedFile(file)
