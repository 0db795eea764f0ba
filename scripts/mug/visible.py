r"""Foreign text (of a transcript, a model, a server, a file's name) made safe to show: what acts becomes what is seen.

>>> visible("\x1b[2J好\ud83d")
'␛[2J好�'
>>> on_one_line("a\r\nb \u202etxt.exe")
'a b �txt.exe'
"""

from __future__ import annotations

import re

# A terminal obeys control characters; a file can't hold half a surrogate pair, and a browser drops them in silence.
_PICTURES: dict[int, int] = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_PICTURES |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], 0xFFFD)
# What turns the direction of all that follows, so that a line reads as another. HTML can isolate it, a terminal can't.
_TURNING: dict[int, int] = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
_ACTING = {**_PICTURES, **_TURNING}


def _any_of(codes: dict[int, int]) -> re.Pattern[str]:
    return re.compile("[" + "".join(re.escape(chr(code)) for code in codes) + "]")


_UNSEEN, _UNSEEN_OR_TURNING = _any_of(_PICTURES), _any_of(_ACTING)


def visible(text: str) -> str:
    """Return ``text`` with pictures (␀, ␛) in place of control characters; tabs and line breaks stay."""
    return text.replace("\r\n", "\n").translate(_PICTURES) if _UNSEEN.search(text) else text


def for_terminal(text: str) -> str:
    """Return `visible` text that can't turn the direction of writing either."""
    return text.replace("\r\n", "\n").translate(_ACTING) if _UNSEEN_OR_TURNING.search(text) else text


def on_one_line(text: str) -> str:
    """Return ``text`` for one line of a page or a terminal."""
    return for_terminal(" ".join(text.splitlines()))
