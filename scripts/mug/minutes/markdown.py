r"""The minutes as Markdown, for wikis and chats.

What people said is foreign text: every character that Markdown or HTML could take for markup is escaped, so it shows
as it was said.

>>> escape("<b>1|2</b> [a](b) *c*")
'&lt;b&gt;1\\|2&lt;/b&gt; \\[a\\](b) \\*c\\*'
"""

from __future__ import annotations

import re

from mug.minutes.checks import verify
from mug.minutes.model import Minutes, Quote
from mug.minutes.wording import (
    TEXTS,
    aside,
    how_made,
    length,
    marks,
    span,
    talked,
    time_of,
    title_of,
    title_of_minutes,
    turns,
)

_MARKUP = re.compile(r"[\\`*_\[\]|~$]")
# At the beginning of a line: headings, lists, quotes, rules, definitions, indented code.
_LINE_START = re.compile(r"\A(\s*)(#{1,6}|[-+=:]|\d{1,9}(?=[.)]))")
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|www)(?=[:.])")  # a bare address would become a link
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def render(minutes: Minutes, lang: str = "zh") -> str:
    """Return the page; ``lang`` is that of the headings.

    Raises:
        InputError: the minutes fail their check.
    """
    verify(minutes)
    say = {name: text.say(lang) for name, text in TEXTS.items()}
    generated = aside(say["generated"], lang) if minutes.title_generated else ""
    lines = [f"# {escape(title_of_minutes(minutes, lang))}{generated}", ""]
    about = {"date": minutes.date, "length": length(minutes), "source": minutes.source}
    lines += [f"- {say[name]}{say['colon']}{escape(value)}" for name, value in about.items() if value]
    phrases = [
        escape(phrase) + (aside(say["unsaid"], lang) if phrase in minutes.generated_keyphrases else "")
        for phrase in minutes.keyphrases
    ]
    if phrases:
        lines.append(f"- {say['keyphrases']}{say['colon']}{say['comma'].join(phrases)}")
    lines += ["", f"## {say['summary']}", ""]
    lines += [_quote(minutes, quote, lang) for quote in minutes.summary] or [say["none_summary"]]
    lines += ["", f"## {say['actions']}", ""]
    if minutes.action_items:
        head = [say[name] for name in ("what", "owner", "due", "where")]
        rows = []
        for item in minutes.action_items:
            mark = aside(marks(item, lang), lang)
            text = escape(item.text) + (mark if item.edited else "")
            owner, due = (f"{escape(value)}{mark}" if value else "—" for value in (item.owner, item.due))
            rows.append([text, owner, due, _source(minutes, item.evidence.place)])
        lines += _table(head, rows)
    else:
        lines.append(say["none_actions"])
    lines += ["", f"## {say['chapters']}"]
    for number, chapter in enumerate(minutes.chapters, 1):
        when = aside(span(minutes, chapter), lang)
        edited = aside(say["edited"] if chapter.edited else "", lang)
        lines += ["", f"### [{number}. {escape(title_of(chapter, lang))}](#c{number}){when}{edited}", ""]
        lines += [_quote(minutes, quote, lang) for quote in chapter.key_sentences]
    lines += ["", f"## {say['participants']}", ""]
    timed = any(one.seconds is not None for one in minutes.participants)
    names = ("name", "sentences", *(("talking",) if timed else ()), "share")
    rows = [
        [escape(name), str(count), *([time] if timed else []), f"{share:.0%}"]
        for name, count, time, share in talked(minutes)
    ]
    lines += _table([say[name] for name in names], rows)
    lines += ["", f"## {say['made']}", "", *(f"- {escape(text)}" for text in how_made(minutes, lang))]
    lines += ["", f"## {say['transcript']}"]
    for number, chapter in enumerate(minutes.chapters, 1):
        lines += ["", f'### <a id="c{number}"></a>{number}. {escape(title_of(chapter, lang))}']
        for turn in turns(minutes, chapter):
            first = turn.sentences[0][0]
            lines += ["", f"**{escape(turn.speaker) or '—'}** {time_of(minutes, first)}".rstrip() + "  "]
            lines += [f'<a id="s{place}"></a>{escape(sentence.text)}' for place, sentence in turn.sentences]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line, also in a table's cell."""
    text = _CONTROL.sub(" ", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKUP.sub(lambda match: "\\" + match.group(), text)
    text = _LINK.sub(lambda match: match.group() + "\\", text)
    return _LINE_START.sub(_undo_start, text).strip()


def _undo_start(match: re.Match[str]) -> str:
    mark = match.group(2)
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def _quote(minutes: Minutes, quote: Quote, lang: str) -> str:
    return f"- {escape(quote.text)}{aside(_source(minutes, quote.place), lang)}"


def _source(minutes: Minutes, place: int) -> str:
    """Return who said a sentence and when, as a link to it."""
    sentence = minutes.sentences[place - 1]
    parts = [part for part in (escape(sentence.speaker), time_of(minutes, place)) if part]
    return f"[{' '.join(parts) or f'#{place}'}](#s{place})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
