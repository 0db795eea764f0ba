"""What each visitor has on the page, apart from all others: transcript and minutes in memory, an upload in a folder.

A session is known by a token that nobody can guess. It is forgotten some hours after its last use, or some minutes
after its page was closed, and its folder with it; all are removed when the server ends, and what a killed one left
when the next begins.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mug.minutes.model import Minutes
from mug.prompting import Prompting
from mug.transcripts.recording import Recording

IDLE = 4 * 3600.0
"""Seconds without use after which a session is forgotten."""
CLOSED = 600.0
"""Seconds after its page was closed: a phone that slept comes back within them."""
UPLOAD = 120.0
"""Seconds after which an upload is removed from the place where Gradio put it; it is copied within one."""
MOST = 200
"""Sessions at a time; the one unused for longest makes room."""

_PREFIX, _LOCK = "mug_web_", "lock"


@dataclass
class Session:
    """One visitor's work. ``upload`` is the file that waits to be read or was read, ``recording`` what it held.

    ``prompting`` is how the engine of the ``minutes`` was asked.
    """

    token: str
    folder: Path
    expires: float
    upload: Path | None = None
    recording: Recording | None = None
    minutes: Minutes | None = None
    prompting: Prompting = field(default_factory=Prompting)
    stop: threading.Event = field(default_factory=threading.Event)


class Sessions:
    """The sessions by token, and the folder in which all their files lie."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        _remove_abandoned()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # for this user alone (0700)
        self._alive = (self.folder / _LOCK).open("w")
        fcntl.flock(self._alive, fcntl.LOCK_EX)  # the system drops the lock of a dead process
        self.uploads = self.folder / "gradio"
        self._clock = clock
        self._lock = threading.Lock()
        self._by_token: dict[str, Session] = {}

    def new(self) -> Session:
        """Return a new session."""
        token = secrets.token_urlsafe(24)
        folder = self.folder / token
        folder.mkdir(mode=0o700)
        session = Session(token, folder, self._clock() + IDLE)
        with self._lock:
            self._by_token[token] = session
        self.sweep()
        return session

    def get(self, token: str | None) -> Session | None:
        """Return a session in use, None when there is none of this token any more."""
        with self._lock:
            session = self._by_token.get(token or "")
            if session and session.expires > self._clock():
                session.expires = self._clock() + IDLE
                return session
        return None

    def closed(self, token: str | None) -> None:
        """Note that a session's page was closed: what runs for it stops, and it is soon forgotten."""
        with self._lock:
            if session := self._by_token.get(token or ""):
                session.stop.set()
                session.expires = min(session.expires, self._clock() + CLOSED)

    def sweep(self) -> None:
        """Forget what has expired or is too much, with its files, and what Gradio keeps of uploads."""
        with self._lock:
            oldest = sorted(self._by_token.values(), key=lambda session: session.expires)
            surplus = len(oldest) - MOST
            gone = [one for number, one in enumerate(oldest) if number < surplus or one.expires <= self._clock()]
            for session in gone:
                del self._by_token[session.token]
        for session in gone:
            session.stop.set()
            shutil.rmtree(session.folder, ignore_errors=True)
        limit = time.time() - UPLOAD
        for folder in self.uploads.glob("*"):
            for file in folder.glob("*"):
                if file.lstat().st_mtime < limit:
                    file.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove every file."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._alive.close()


def _remove_abandoned() -> None:
    """Remove the folders of servers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # of another user, or of a living server
            if folder.stat().st_mtime > time.time() - 5:
                continue  # just made, perhaps not locked yet
            with (folder / _LOCK).open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
