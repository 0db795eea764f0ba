"""The minutes as one HTML file that needs nothing beside it: chapters to jump to, every quote linked to its sentence.

The page loads nothing and runs no script; its content security policy allows neither. What people said is foreign
text: the template escapes all of it, control characters become pictures, and ``<bdi>`` keeps right-to-left marks from
turning the text around them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mug.errors import Message
from mug.minutes import wording
from mug.minutes.checks import verify
from mug.minutes.model import Chapter, Minutes

SECTIONS = ("summary", "actions", "chapters", "participants", "transcript")
_HERE = Path(__file__).parent
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def render(minutes: Minutes, lang: str = "zh") -> str:
    """Return the page; ``lang`` is that of the headings.

    Raises:
        InputError: the minutes fail their check.
    """
    verify(minutes)
    keys = {quote.place for chapter in minutes.chapters for quote in chapter.key_sentences}

    def chapter_time(chapter: Chapter) -> str:
        return wording.span(minutes, chapter).partition("–")[0]

    return (
        _environment()
        .get_template("minutes.html.j2")
        .render(
            minutes=minutes,
            lang=lang,
            say={name: text.say(lang) for name, text in wording.TEXTS.items()},
            css=Markup((_HERE / "minutes.css").read_text(encoding="utf-8")),
            title=wording.title_of_minutes(minutes, lang),
            about=[("date", minutes.date), ("length", wording.length(minutes)), ("source", minutes.source)],
            sections=SECTIONS,
            marked_key=Message("关键句", "Key sentences").say(lang),
            timed=any(one.seconds is not None for one in minutes.participants),
            keys=keys | {quote.place for quote in minutes.summary},
            actions={item.evidence.place for item in minutes.action_items},
            speaker=lambda place: minutes.sentences[place - 1].speaker,
            chapter_time=chapter_time,
            time_of=wording.time_of,
            title_of=wording.title_of,
            span=wording.span,
            turns=wording.turns,
            talked=wording.talked,
            how_made=wording.how_made,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )


def _visible(value: Any) -> Any:
    """Show control characters as their pictures; HTML forbids most of them."""
    if isinstance(value, str) and not isinstance(value, Markup) and _CONTROL.search(value):
        return _CONTROL.sub(lambda match: chr(0x2400 + min(ord(match.group()), 0x21)), value)
    return value
