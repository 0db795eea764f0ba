"""Engines that visitors share, and minutes made in a thread of their own while the page shows how far they are."""

from __future__ import annotations

import argparse
import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from mug.errors import InputError, Message
from mug.generation import engines
from mug.generation.base import Engine
from mug.minutes.model import Minutes
from mug.minutes.pipeline import make_minutes
from mug.prompting import Prompting, of_engine
from mug.transcripts.recording import Recording

SMOKE = Message("微型模型只检验流程，不代表效果。", "A tiny model, which checks the wiring, not quality.")
FAILED = Message(
    "生成时出错，原因已写入服务器的日志；请重试，或换“基线规则”。",
    "Something failed while the minutes were made; the server's log says what. Try again, or take the baseline rules.",
)
_TICK = 0.3  # seconds between looks at the work


@dataclass(frozen=True)
class State:
    """How far the work is: ``stage`` is ``waiting``, ``loading``, or one of `mug.minutes.pipeline.STAGES`."""

    stage: str
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    """Since the stage began."""


class Stopped(Exception):
    """The visitor stopped the work, or went away."""


class SharedEngine:
    """One engine for all visitors, loaded when it is first needed; it works for one at a time."""

    def __init__(self, args: argparse.Namespace, backend: str) -> None:
        self.backend = backend
        self.name = "baseline"
        if backend == "api":
            self.name = f"{args.api_model} ({urlsplit(args.api_base).hostname})"
        elif backend != "baseline":
            self.name = args.model_path.resolve().name
        self.lock = threading.Lock()
        self.prompting = Prompting()
        """How it was trained to be asked, once it is loaded."""
        self._args = args
        self._engine: Engine | None = None
        self._notes: tuple[Message, ...] = ()

    @property
    def loaded(self) -> bool:
        """Whether loading is done."""
        return self._engine is not None

    def load(self) -> tuple[Engine, tuple[Message, ...]]:
        """Return the engine and what its minutes must note; the caller holds ``lock``.

        Raises:
            InputError: the model can't be loaded, or what it says of its prompts is damaged.
        """
        if self._engine is None:
            args = self._args
            self.prompting = of_engine(self.backend, args.model_path)
            self._engine, settings = engines.load(
                args, self.backend, "" if self.backend == "baseline" else engines.target_of(args)
            )
            self._notes = (SMOKE,) if settings.get("smoke") else ()
        return self._engine, self._notes


def work(
    engine: SharedEngine, recording: Recording, source: str, stop: threading.Event
) -> Iterator[State | Minutes | Message]:
    """Yield how far the minutes are, about three times a second, and at last them, or why there are none.

    The work ends when ``stop`` is set or the iterator is closed; nothing is yielded then.
    """
    told: queue.Queue[State | Minutes | Message | None] = queue.Queue()
    stop.clear()
    gone = threading.Event()
    thread = threading.Thread(target=_work, args=(engine, recording, source, (stop, gone), told), daemon=True)
    thread.start()
    try:
        state = State("waiting")
        began = time.monotonic()
        while True:
            try:
                news = told.get(timeout=_TICK)
                while isinstance(news, State) and not told.empty():
                    news = told.get_nowait()  # only the newest state is worth showing
            except queue.Empty:
                news = state
            if news is None:
                return
            if not isinstance(news, State):
                yield news
                return
            if news.stage != state.stage:
                began = time.monotonic()
            state = news
            yield replace(state, seconds=time.monotonic() - began)
    finally:
        gone.set()


def _work(
    engine: SharedEngine,
    recording: Recording,
    source: str,
    stops: tuple[threading.Event, threading.Event],
    told: queue.Queue[State | Minutes | Message | None],
) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        if any(stop.is_set() for stop in stops):
            raise Stopped
        told.put(State(stage, done, total))

    try:
        while not engine.lock.acquire(timeout=_TICK):
            progress("waiting", 0, 0)
        try:
            if not engine.loaded:
                progress("loading", 0, 0)
            loaded, notes = engine.load()
            recording = replace(recording, notes=recording.notes + notes)
            made = make_minutes(
                recording,
                loaded,
                engine_name=engine.name,
                prompting=engine.prompting,
                source=source,
                progress=progress,
            )
        finally:
            engine.lock.release()
        told.put(made)
    except Stopped:
        told.put(None)
    except InputError as error:
        told.put(error.message)
    except Exception:  # whatever an engine raises: the visitor gets a sentence, the log the rest
        logging.getLogger("mug.web").exception("minutes of %d sentences failed", len(recording.meeting.sentences))
        told.put(FAILED)
