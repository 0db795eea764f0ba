"""A function over many items in several processes: results in order, a bounded number of items at work."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from mug.errors import Message

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.process import BaseProcess

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH = 4  # items that travel together; a meeting takes some 4 ms, and a journey 0.3 ms
_AHEAD = 2  # batches a worker, so that none waits while the oldest result is written


class WorkerLost(Exception):
    """A worker process ended before its work was done."""

    message = Message(
        "一个工作进程中途退出（可能内存不足，或被系统杀死），可减小 --num_workers 重试",
        "a worker process ended (out of memory, or killed?); a smaller --num_workers may help",
    )


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for each item in order, computed by ``workers`` processes, or here when it is one.

    ``function`` and the items are pickled on their way. When ``items`` raises, the results of
    what came before are yielded first, as one process would.

    Raises:
        WorkerLost: a process was killed.
        Exception: whatever ``function`` or ``items`` raises.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Imported here: one process in two never needs them, and they take as long as four meetings.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # spawn: a fork would copy the locks of whatever threads there are, and Windows and macOS have no other way.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)
    waiting: deque[Future[list[Result]]] = deque()
    failure: Exception | None = None
    batches = _batches(items)
    try:
        while failure is None:
            try:
                some = next(batches, None)
            except Exception as error:
                failure = error
                break
            if some is None:
                break
            with _interrupt_held():
                waiting.append(pool.submit(_apply, function, some))
            if len(waiting) > _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise WorkerLost from None
    finally:
        pool.shutdown(cancel_futures=True)
    if failure is not None:
        raise failure


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    some: list[Item] = []
    try:
        for item in items:
            some.append(item)
            if len(some) == _BATCH:
                yield some
                some = []
    except Exception:
        if some:
            yield some
        raise
    if some:
        yield some


def _apply(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return list(map(function, items))


def _begin() -> None:
    """Set up a worker: one core, and an end with its parent, however that ends."""
    gc.disable()  # as in the parent
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # or each worker would start a thread for every core
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; a process that is started meanwhile never gets it.

    A terminal sends it to all, and only the parent has something to say about it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
