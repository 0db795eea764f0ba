"""The minutes as one HTML file that needs nothing beside it: chapters to jump to, every quote linked to its sentence.

The page loads nothing and runs no script; its content security policy allows neither. What people said is foreign
text: the template escapes all of it, control characters become pictures, and ``<bdi>`` keeps right-to-left marks from
turning the text around them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mug.errors import Message
from mug.minutes import wording
from mug.minutes.checks import verify
from mug.minutes.model import Chapter, Minutes
from mug.visible import visible

SECTIONS = ("summary", "actions", "chapters", "participants", "transcript")
_HERE = Path(__file__).parent


def render(minutes: Minutes, lang: str = "zh") -> str:
    """Return the page; ``lang`` is that of the headings.

    Raises:
        InputError: the minutes fail their check.
    """
    verify(minutes)

    def chapter_time(chapter: Chapter) -> str:
        return wording.span(minutes, chapter).partition("–")[0]

    return (
        environment(_HERE)
        .get_template("minutes.html.j2")
        .render(
            **context(minutes, lang),
            css=Markup((_HERE / "minutes.css").read_text(encoding="utf-8")),
            sections=SECTIONS,
            chapter_time=chapter_time,
        )
    )


def context(minutes: Minutes, lang: str) -> dict[str, Any]:
    """Return what a template that shows minutes needs, in a file or on a page."""
    keys = {quote.place for chapter in minutes.chapters for quote in chapter.key_sentences}
    return {
        "minutes": minutes,
        "lang": lang,
        "say": {name: text.say(lang) for name, text in wording.TEXTS.items()},
        "timed": any(one.seconds is not None for one in minutes.participants),
        "title": wording.title_of_minutes(minutes, lang),
        "about": [("date", minutes.date), ("length", wording.length(minutes)), ("source", minutes.source)],
        "marked_key": Message("关键句", "Key sentences").say(lang),
        "keys": keys | {quote.place for quote in minutes.summary},
        "actions": {item.evidence.place for item in minutes.action_items},
        "speaker": lambda place: minutes.sentences[place - 1].speaker,
        "time_of": wording.time_of,
        "title_of": wording.title_of,
        "span": wording.span,
        "turns": wording.turns,
        "talked": wording.talked,
        "how_made": wording.how_made,
    }


@lru_cache
def environment(folder: Path) -> Environment:
    """Return the templates of a folder: what is filled in is escaped, and control characters become their pictures."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
