"""The frame around every script's main(): whatever is printed can be printed, and an output that fails is an error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run(main: Callable[[], int]) -> NoReturn:
    """Leave with the status of ``main``, and with 1 and a sentence when its output could not be written.

    Python itself prints what is left when it ends, and fails then with a stack trace and the status 120.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal in GBK has no emoji
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = _status(main)
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` has seen enough
            status = 1
            _give_up(1)
        except OSError as error:
            status = 1
            _give_up(1)
            print(f"输出写不下去（{error}）/ can't write the output ({error})", file=sys.stderr)
        except KeyboardInterrupt:
            status = 1
            print("已中断 / stopped", file=sys.stderr)
        sys.stderr.flush()
    except OSError:  # nor can it be said
        status = status or 1
        _give_up(2)
    sys.exit(status)


def _status(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as stop:  # of argparse, after --help or wrong arguments
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _give_up(stream: int) -> None:
    """Let what is still to be printed there go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
