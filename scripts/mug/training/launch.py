"""Start LLaMA-Factory's training as a process of its own, pass on signals, and return how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from mug.training.settings import ROOT

FAST = Path(__file__).with_name("fast_process.py")
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command(config: str, speed: bool) -> list[str]:
    """Return the command that trains with a YAML: stock ``llamafactory-cli train``, or with the speed module."""
    if speed:
        return [sys.executable, str(FAST), "train", config]
    return [sys.executable, "-m", "llamafactory.cli", "train", config]


def run(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run a command in the project's root until it ends; return its exit status, 128 + N where signal N ended it.

    It gets a process group of its own, so that a Ctrl-C reaches it and what it has started (torchrun and its
    processes) exactly once, passed on from here, however it was sent.
    """
    # torchrun is looked up by name, and lies beside this Python whether or not the environment is activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**environment, "PATH": path},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )

    def pass_on(number: int, _: FrameType | None) -> None:
        if process.poll() is None:
            os.killpg(process.pid, number)

    heard = [number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return status if status >= 0 else 128 - status
