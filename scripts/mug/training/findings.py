"""What a check of a training has seen: an error, a warning, or only information, each a sentence with its mend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mug.errors import Message

Level = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was seen; an error stops the training, a warning does not."""

    level: Level
    code: str
    message: Message


def error(code: str, zh: str, en: str) -> Finding:
    """Return a finding that stops the training."""
    return Finding("error", code, Message(zh, en))


def warning(code: str, zh: str, en: str) -> Finding:
    """Return a finding that the person should read."""
    return Finding("warning", code, Message(zh, en))


def info(code: str, zh: str, en: str) -> Finding:
    """Return what is only said."""
    return Finding("info", code, Message(zh, en))
