"""What the user is meant to read, in Chinese and in English."""

from __future__ import annotations

from typing import NamedTuple

from mug.visible import for_terminal


class Message(NamedTuple):
    """One sentence in both languages; an empty ``en`` means that ``zh`` serves for both."""

    zh: str
    en: str = ""

    def say(self, lang: str) -> str:
        """Return the sentence in ``lang``, ``zh`` or ``en``; foreign text in it can't steer a terminal."""
        return for_terminal(self.en if lang == "en" and self.en else self.zh)


class InputError(Exception):
    """The input can't be used; the message is one sentence: what was found, where, and what to do.

    Scripts print ``error.message.say(lang)`` to stderr and leave with exit status 2.
    """

    def __init__(self, zh: str, en: str = "") -> None:
        super().__init__(zh)
        self.message = Message(zh, en)
