r"""The file of answers that an evaluation writes while it runs, and goes on from when it was stopped.

JSON lines; the first names what the answers depend on, each further one holds an answer::

    {"fingerprint": {"engine": "transformers", "base": {…}, "adapter": {…}, "prompts": "5b1c…"}}
    {"index": 17, "id": "M0115/title/79", "raw": "做好网上宣传", "finish": "stop", "tokens": 5}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mug.errors import InputError
from mug.generation.base import Completion, user_message
from mug.tasks.base import Sample


def prompts_digest(samples: Sequence[Sample]) -> str:
    """Return a digest of all prompts in order."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(user_message(sample).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:16]


def read_done(path: Path, fingerprint: dict[str, Any], samples: Sequence[Sample]) -> dict[int, Completion]:
    """Return the answers that are already there, by index; a torn last line is cut off the file.

    Raises:
        InputError: the file holds the answers of another model, adapter, data or prompt.
    """
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    lines = whole.split(b"\n")[:-1]
    if not lines:
        return {}
    try:
        rows = [json.loads(line) for line in lines]
        found = dict(rows[0]["fingerprint"])
        done = {row["index"]: Completion(row["raw"], row["finish"], row["tokens"]) for row in rows[1:]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"答案文件 {path} 已损坏（{error}）；请删除它后重新运行。",
            f"The answers file {path} is damaged ({error}); delete it and run again.",
        ) from None
    if found != json.loads(json.dumps(fingerprint)):
        differing = ", ".join(
            sorted(name for name in {*found, *fingerprint} if found.get(name) != fingerprint.get(name))
        )
        raise InputError(
            f"答案文件 {path} 来自另一次运行（不同之处：{differing}）；请换 --output_path，或删除它后重新运行。",
            f"The answers file {path} is of another run (differing: {differing}); take another --output_path, or "
            "delete it and run again.",
        )
    return {index: completion for index, completion in done.items() if 0 <= index < len(samples)}


@contextmanager
def append(path: Path, fingerprint: dict[str, Any]) -> Iterator[Appender]:
    """Open the file for further answers; a new file gets the fingerprint first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        appender = Appender(file)
        if file.tell() == 0:
            appender.write({"fingerprint": fingerprint})
        yield appender


class Appender:
    """Writes one JSON line at a time, each brought to the disk, so that a kill loses at most the line under way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def answer(self, index: int, sample: Sample, completion: Completion) -> None:
        """Append one answer."""
        self.write(
            {
                "index": index,
                "id": sample.id,
                "raw": completion.text,
                "finish": completion.finish,
                "tokens": completion.tokens,
            }
        )

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; half characters in a model's answer are escaped, not refused."""
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
