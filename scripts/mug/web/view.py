"""Minutes, progress and notices as pieces of the page: all that anybody said or typed is escaped text.

Links lead to ``#m-s12`` (a sentence) and ``#m-c3`` (a chapter of the transcript); what can be changed carries
``data-edit``: ``t0`` the meeting's title, ``c3`` a chapter's, ``a12`` the action item whose evidence is sentence 12.
page.js passes these to the server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from mug.minutes import wording
from mug.minutes.html import context, environment
from mug.minutes.model import Minutes, Quote
from mug.minutes.pipeline import STAGES
from mug.visible import visible
from mug.web.running import State
from mug.web.texts import TEXTS, text

_HERE = Path(__file__).parent
_ENDINGS = (("docx", "Word"), ("html", "HTML"), ("md", "Markdown"), ("json", "JSON"))


def head(most: int) -> str:
    """Return style sheet and script for the page's head; ``most`` is the greatest size of a file in bytes.

    Gradio would put a prefix of its own before each rule that it is given as ``css``.
    """
    css, code = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    for lang in ("zh", "en"):  # Gradio writes there in the language of the browser
        css += f'#m-file.{lang} button .wrap::after {{ content: "{text("drop", lang)}"; }}\n'
    return f"<style>{css}</style><script>window.mugMost = {most};\n{code}</script>"


def minutes_side(minutes: Minutes, token: str, lang: str) -> str:
    """Return the minutes, with links to download them under ``token``."""
    return _render("minutes_side", minutes=minutes, token=token, lang=lang)


def transcript_side(minutes: Minutes, lang: str) -> str:
    """Return the transcript by chapters."""
    return _render("transcript_side", minutes=minutes, token="", lang=lang)


def progress(state: State, lang: str) -> str:
    """Return how far the work is, and how long its stage will take once a part of it is done."""
    names = list(STAGES)
    at = names.index(state.stage) if state.stage in names else -1
    left = ""
    if state.done and state.seconds >= 2:
        left = text("left", lang, seconds=round(state.seconds / state.done * (state.total - state.done)))
    shared: dict[str, Any] = {
        "state": state,
        "stages": [(name, label.say(lang)) for name, label in STAGES.items()],
        "at": at,
        "percent": round(100 * state.done / state.total) if state.total else 0,
        "left": left,
        "ui": _ui(lang),
    }
    return _piece("progress_side", shared)


def notice(message: str, kind: str = "bad") -> str:
    """Return a sentence for the visitor, ``bad`` or ``good``; nothing for none."""
    if not message:
        return ""
    role = "alert" if kind == "bad" else "status"
    return str(Markup('<p class="mug notice {}" role="{}"><bdi>{}</bdi></p>').format(kind, role, visible(message)))


def heading(lang: str, remote: str) -> str:
    """Return the top of the page; ``remote`` names the model behind an API, empty when there is none."""
    where = text("remote", lang, name=remote) if remote else text("local", lang)
    return str(
        Markup('<header class="mug masthead"><h1>{}</h1><p>{} {}</p></header>').format(
            text("page", lang), text("lead", lang), where
        )
    )


def dialog(title: str, quote: Quote | None, lang: str) -> str:
    """Return the top of the window in which something is changed, with the sentence that an item stands on."""
    head = Markup('<h2 id="m-dialog-title">{}</h2>').format(title)
    if quote:
        head += Markup('<p class="evidence"><small>{}</small> <bdi>{}</bdi></p>').format(
            text("said", lang), visible(quote.text)
        )
    return f'<div class="mug">{head}</div>'


def _render(part: str, minutes: Minutes, token: str, lang: str) -> str:
    shared = context(minutes, lang) | {
        "token": token,
        "ui": _ui(lang),
        "endings": _ENDINGS,
        "marks": wording.marks,
    }
    return _piece(part, shared)


def _piece(part: str, shared: dict[str, Any]) -> str:
    return str(getattr(environment(_HERE).get_template("view.html.j2").make_module(shared), part)())


def _ui(lang: str) -> dict[str, str]:
    return {name: message.say(lang) for name, message in TEXTS.items()}
