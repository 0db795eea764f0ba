"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from mug.errors import InputError

_BUFFER = 1 << 20  # bytes; the rows of a dataset are about as long as the usual buffer of 8 KiB
_NAMED = 200  # bytes of the file's name in its temporary's; a name may have 255 in all
_SUFFIX = ".tmp"


@contextmanager
def atomic_write(path: str | Path, *, unless_empty: bool = False) -> Iterator[TextIO]:
    """Open a UTF-8 text file that takes ``path``'s place only when the block ends without an exception.

    The temporary file lies in the same folder, so that the replacement is one rename on one file system; until
    then an older file at ``path`` stays as it was. A link stays a link: what it points to is replaced. What is no
    regular file (/dev/stdout, a pipe) is written to as it is.

    A process that is killed leaves its temporary file behind; the next one that writes the same file removes it.
    With ``unless_empty`` a file without content is not left behind, nor an older one of that name; at no moment is
    there an empty one.

    Raises:
        OSError: ``path`` is a folder, its folder can't be made or written, or the disk is full; the temporary file
            is removed.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    descriptor, temporary = _temporary(path)
    try:
        with os.fdopen(descriptor, "w", buffering=_BUFFER, encoding="utf-8", newline="\n") as file:
            # mkstemp makes the file private; the result should be as readable as any other file here.
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            yield file
            file.flush()
            os.fsync(file.fileno())
            if unless_empty and not os.fstat(file.fileno()).st_size:
                path.unlink(missing_ok=True)
                os.unlink(temporary)
            else:
                os.replace(temporary, path)  # while the file is open and locked: nobody takes it for an abandoned one
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented UTF-8 JSON, whole or not at all.

    Raises:
        ValueError: ``value`` holds NaN or an infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse, before any work, to write over what is read, or to write a file where a folder is.

    Raises:
        InputError: as `check_overlap`, or an output is a folder.
    """
    outputs = list(outputs)
    check_overlap(outputs, inputs)
    for output in outputs:
        if os.path.isdir(output):
            raise InputError(
                f"输出 {output} 是一个文件夹；请写明文件名。", f"The output {output} is a folder; name a file."
            )


def check_overlap(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        InputError: an output is one of the inputs, under whatever name.
    """
    read = {os.path.realpath(path): path for path in inputs}
    for output in outputs:
        source = read.get(os.path.realpath(output))
        if source is not None:
            raise InputError(
                f"输出 {output} 就是输入 {source}，写了会覆盖它；请换一个输出路径。",
                f"The output {output} is the input {source}, which would be lost; name another output.",
            )


def _temporary(path: Path) -> tuple[int, str]:
    """Make the temporary file and lock it for as long as it is open: the system drops the lock of a dead process.

    A lock tells the living from the dead where a process id would not: ids are used again, and on a shared disk the
    process may run on another machine.
    """
    while True:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=_SUFFIX)
        with suppress(OSError):  # a file system without locks: such files are never removed by others
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)  # another process took it for an abandoned one before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of this path that no living process holds."""
    ours = re.compile(re.escape(_prefix(path)) + r"[a-z0-9_]{8}" + re.escape(_SUFFIX))
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if ours.fullmatch(name):
                _remove_if_unlocked(path.parent / name)


def _remove_if_unlocked(temporary: Path) -> None:
    with suppress(OSError):  # held by a living process, another user's, gone already, or no regular file
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            os.close(descriptor)


def _prefix(path: Path) -> str:
    return "." + path.name.encode("utf-8", "surrogateescape")[:_NAMED].decode("utf-8", "ignore") + "."


def _sync_folder(folder: Path) -> None:
    """Bring the folder's entry to the disk too, where the file system can."""
    with suppress(OSError):  # the file itself is safe; some file systems can't do it for folders
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
