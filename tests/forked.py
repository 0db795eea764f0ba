"""Scripts run in forks of a process that has imported what they need: each starts at once, and can be killed for good.

A child may be told to kill itself at the n-th moment of its writing (before and after every file that it opens for
writing, syncs, renames or removes), to find the disk full at the n-th file, or to have a limit on a file's size.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"

PARENT = r"""
import importlib, json, os, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
import datetime, errno, resource, runpy, signal, tempfile, time

class Frozen(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls(2026, 1, 1, tzinfo=zone)

def child(order):
    for number, path in enumerate((os.devnull, order["out"], order["err"])):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    if order["frozen"]:
        datetime.datetime, time.monotonic = Frozen, lambda: 0.0
    count, files, owner = [0], [0], os.getpid()
    def moment(*_):
        if os.getpid() == owner:  # not in its workers
            count[0] += 1
            if count[0] == order["kill_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
    def hook(event, arguments):
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.truncate"):
            moment()
    sys.addaudithook(hook)
    fsync, replace, mkstemp = os.fsync, os.replace, tempfile.mkstemp
    def watched(real):
        def call(*a, **k):
            moment()
            result = real(*a, **k)
            moment()
            return result
        return call
    def sync(descriptor):
        if os.path.realpath(f"/proc/self/fd/{descriptor}") == "/dev/full":  # an empty file shows only here
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)
    os.fsync, os.replace = watched(sync), watched(replace)
    def made(*a, **k):
        files[0] += 1
        descriptor, name = mkstemp(*a, **k)
        if files[0] == order["full_at"]:
            os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
            os.fchmod = lambda *_: None
        return descriptor, name
    tempfile.mkstemp = made
    if order["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"],) * 2)
    sys.argv = [order["script"], *order["arguments"]]
    try:
        runpy.run_path(order["script"], run_name="__main__")
    finally:
        if order["counts"]:
            counted = json.dumps({"moments": count[0], "files": files[0]})
            with open(order["counts"], "w") as file:
                file.write(counted)

for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        child(order)
        sys.exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """A child's exit status, below 0 where a signal ended it, and what it said."""

    status: int
    out: str
    err: str


class Started(NamedTuple):
    """A child under way."""

    pid: int
    parent: subprocess.Popen[str]
    out: Path
    err: Path

    def wait(self) -> Ended:
        assert self.parent.stdout is not None
        status = int(self.parent.stdout.readline())
        said = [path.read_text("utf-8", "replace") if path.is_file() else "" for path in (self.out, self.err)]
        return Ended(status, *said)

    def kill(self) -> Ended:
        """End it for good, if it has not ended by itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()


class Parent:
    """The process that forks."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, environment: dict[str, str]) -> None:
        self.process, self.folder, self.environment = process, folder, environment
        self.number = 0

    def start(
        self,
        script: str,
        *arguments: Any,
        kill_at: int | None = None,
        full_at: int | None = None,
        limit: int | None = None,
        counts: Path | None = None,
        out: Path | None = None,
        frozen: bool = True,
        **environment: str,
    ) -> Started:
        """Start ``scripts/<script>.py``; one child at a time."""
        self.number += 1
        streams = out or self.folder / f"{self.number}.out", self.folder / f"{self.number}.err"
        order = {
            "script": str(SCRIPTS / f"{script}.py"),
            "arguments": list(map(str, arguments)),
            "out": str(streams[0]),
            "err": str(streams[1]),
            "cwd": str(self.folder),
            "env": self.environment | environment,
            "kill_at": kill_at,
            "full_at": full_at,
            "limit": limit,
            "counts": str(counts) if counts else None,
            "frozen": frozen,
        }
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Started(int(self.process.stdout.readline()), self.process, *streams)

    def run(self, script: str, *arguments: Any, **options: Any) -> Ended:
        """Run ``scripts/<script>.py`` to its end."""
        return self.start(script, *arguments, **options).wait()


@contextmanager
def forking(folder: Path, *modules: str, **environment: str) -> Iterator[Parent]:
    """Have a process that has imported ``modules``; its children work in ``folder`` with this environment alone."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONIOENCODING": "utf-8"}
    whole |= {"PYTHONDONTWRITEBYTECODE": "1", **environment}  # else the first child would write more than the others
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(SCRIPTS), *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=whole,
        cwd=folder,
    )
    try:
        yield Parent(process, folder, whole)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
