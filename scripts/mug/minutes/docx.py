"""The minutes as a Word document: headings for the navigation pane, quotes linked to bookmarks in the transcript.

The transcript's paragraphs are built from XML elements directly: python-docx looks a style up for each paragraph,
which takes seconds for 4,000 sentences. The same minutes give the same bytes: no time of writing is kept.
"""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, datetime
from typing import Any

import docx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor

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

LATIN, EAST_ASIAN = "Calibri", "Microsoft YaHei"
_WRITTEN = datetime(2000, 1, 1, tzinfo=UTC)  # a fixed date in place of the time of writing
# XML 1.0 has no place for these; Word calls a file that holds one damaged.
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LINK = RGBColor(0x1A, 0x56, 0xB0)
_SOFT = RGBColor(0x5D, 0x62, 0x68)
_ACTION, _KEY = "FDF0E1", "E8F0FB"  # behind action items and key sentences of the transcript


def render(minutes: Minutes, lang: str = "zh") -> bytes:
    """Return the document; ``lang`` is that of the headings.

    Raises:
        InputError: the minutes fail their check.
    """
    verify(minutes)
    say = {name: text.say(lang) for name, text in TEXTS.items()}
    document = docx.Document()
    _set_fonts(document)
    title = _tidy(title_of_minutes(minutes, lang))
    _set_properties(document, title)
    heading = document.add_heading(title, level=0)
    if minutes.title_generated:
        _soft(heading, aside(say["generated"], lang), 11)
    about = {"date": minutes.date, "length": length(minutes), "source": minutes.source}
    lines = [f"{say[name]}{say['colon']}{_tidy(value)}" for name, value in about.items() if value]
    if lines:
        _soft(document.add_paragraph(), "    ".join(lines), 10)
    if minutes.keyphrases:
        paragraph = document.add_paragraph(f"{say['keyphrases']}{say['colon']}")
        for number, phrase in enumerate(minutes.keyphrases):
            paragraph.add_run((say["comma"] if number else "") + _tidy(phrase))
            if phrase in minutes.generated_keyphrases:
                _soft(paragraph, aside(say["unsaid"], lang), 9)

    document.add_heading(say["summary"], level=1)
    for quote in minutes.summary:
        _quote(document, minutes, quote, lang)
    if not minutes.summary:
        document.add_paragraph(say["none_summary"])

    document.add_heading(say["actions"], level=1)
    if minutes.action_items:
        _actions(document, minutes, say, lang)
    else:
        document.add_paragraph(say["none_actions"])

    document.add_heading(say["chapters"], level=1)
    for number, chapter in enumerate(minutes.chapters, 1):
        heading = document.add_heading(level=2)
        _link(heading, f"c{number}", f"{number}. {_tidy(title_of(chapter, lang))}", plain=True)
        _soft(heading, aside(say["edited"] if chapter.edited else "", lang), 9)
        _soft(heading, aside(span(minutes, chapter), lang), 9)
        for quote in chapter.key_sentences:
            _quote(document, minutes, quote, lang)

    document.add_heading(say["participants"], level=1)
    timed = any(one.seconds is not None for one in minutes.participants)
    names = ("name", "sentences", *(("talking",) if timed else ()), "share")
    table = _table(document, [say[name] for name in names])
    for name, count, time, share in talked(minutes):
        values = [_tidy(name) or "—", str(count), *([time] if timed else []), f"{share:.0%}"]
        for cell, value in zip(table.add_row().cells, values, strict=True):
            cell.paragraphs[0].add_run(value)

    document.add_heading(say["made"], level=1)
    for text in how_made(minutes, lang):
        document.add_paragraph(_tidy(text), style="List Bullet")

    document.add_heading(say["transcript"], level=1)
    _transcript(document, minutes, lang)
    return _same_bytes(document)


def _actions(document: Any, minutes: Minutes, say: dict[str, str], lang: str) -> None:
    table = _table(document, [say[name] for name in ("what", "owner", "due", "where")])
    for item in minutes.action_items:
        cells = table.add_row().cells
        mark = aside(marks(item, lang), lang)
        cells[0].paragraphs[0].add_run(_tidy(item.text))
        if item.edited:
            _soft(cells[0].paragraphs[0], mark, 9)
        for cell, value in zip(cells[1:3], (item.owner, item.due), strict=True):
            cell.paragraphs[0].add_run(_tidy(value) or "—")
            if value and not item.edited:
                _soft(cell.paragraphs[0], mark, 9)
        _link(cells[3].paragraphs[0], f"s{item.evidence.place}", _source(minutes, item.evidence.place))
    table.autofit = False
    for column, width in zip(table.columns, (Pt(222), Pt(72), Pt(72), Pt(66)), strict=True):
        for cell in column.cells:
            cell.width = width
        column.width = width


def _quote(document: Any, minutes: Minutes, quote: Quote, lang: str) -> None:
    paragraph = document.add_paragraph(style="List Bullet")
    paragraph.add_run(_tidy(quote.text) + " ")
    _link(paragraph, f"s{quote.place}", _source(minutes, quote.place))


def _source(minutes: Minutes, place: int) -> str:
    parts = [_tidy(minutes.sentences[place - 1].speaker), time_of(minutes, place)]
    return "\u00a0".join(filter(None, parts)) or f"#{place}"


def _table(document: Any, head: list[str]) -> Any:
    table = document.add_table(rows=1, cols=len(head), style="Table Grid")
    for cell, text in zip(table.rows[0].cells, head, strict=True):
        cell.paragraphs[0].add_run(text).bold = True
    return table


def _soft(paragraph: Any, text: str, size: int) -> None:
    if text:
        run = paragraph.add_run(text)
        run.font.size, run.font.color.rgb, run.bold = Pt(size), _SOFT, False


def _link(paragraph: Any, bookmark: str, text: str, *, plain: bool = False) -> None:
    """Add a link to a place in this document; a ``plain`` one looks like the text around it."""
    link = OxmlElement("w:hyperlink")
    link.set(qn("w:anchor"), bookmark)
    run = paragraph.add_run(text)
    if not plain:
        run.font.color.rgb, run.font.size = _LINK, Pt(9)
    link.append(run._r)
    paragraph._p.append(link)


# ------------------------------------------------------------------------------------------------------ transcript


def _transcript(document: Any, minutes: Minutes, lang: str) -> None:
    keys = {quote.place for chapter in minutes.chapters for quote in chapter.key_sentences}
    actions = {item.evidence.place for item in minutes.action_items}
    last = len(minutes.sentences)
    for number, chapter in enumerate(minutes.chapters, 1):
        heading = document.add_heading(level=2)
        _bookmark(heading._p, last + number, f"c{number}", [_run(f"{number}. {title_of(chapter, lang)}")])
        for turn in turns(minutes, chapter):
            first = turn.sentences[0][0]
            paragraph = OxmlElement("w:p")
            paragraph.append(_run(turn.speaker or "—", bold=True))
            paragraph.append(_run(f"  {time_of(minutes, first)}  "))
            for place, sentence in turn.sentences:
                shade = _ACTION if place in actions else _KEY if place in keys else ""
                _bookmark(paragraph, place, f"s{place}", [_run(sentence.text, shade=shade)])
            document.element.body.insert_element_before(paragraph, "w:sectPr")


def _bookmark(parent: Any, number: int, name: str, runs: list[Any]) -> None:
    start, end = OxmlElement("w:bookmarkStart"), OxmlElement("w:bookmarkEnd")
    start.set(qn("w:id"), str(number))
    start.set(qn("w:name"), name)
    end.set(qn("w:id"), str(number))
    parent.extend([start, *runs, end])


def _run(text: str, *, bold: bool = False, shade: str = "") -> Any:
    run = OxmlElement("w:r")
    if bold or shade:
        properties = OxmlElement("w:rPr")
        if bold:
            properties.append(OxmlElement("w:b"))
        if shade:
            mark = OxmlElement("w:shd")
            mark.set(qn("w:val"), "clear")
            mark.set(qn("w:fill"), shade)
            properties.append(mark)
        run.append(properties)
    content = OxmlElement("w:t")
    content.set(qn("xml:space"), "preserve")
    content.text = _tidy(text)
    run.append(content)
    return run


# ------------------------------------------------------------------------------------------- the document as a whole


def _set_fonts(document: Any) -> None:
    """Name a font for Chinese wherever one is named: Word takes w:eastAsia for it and ignores w:ascii."""
    normal = document.styles["Normal"]
    normal.font.name = LATIN
    for fonts in document.styles.element.iter(qn("w:rFonts")):
        fonts.attrib.clear()  # theme fonts go before named ones
        for which, name in (("ascii", LATIN), ("hAnsi", LATIN), ("eastAsia", EAST_ASIAN)):
            fonts.set(qn(f"w:{which}"), name)
    normal.font.size = Pt(10.5)
    normal.paragraph_format.space_after = Pt(4)
    language = OxmlElement("w:lang")
    language.set(qn("w:val"), "en-US")
    language.set(qn("w:eastAsia"), "zh-CN")
    normal.element.rPr.append(language)


def _set_properties(document: Any, title: str) -> None:
    properties = document.core_properties
    properties.title = title[:255]
    properties.author, properties.comments = "", ""
    properties.created = properties.modified = _WRITTEN


def _same_bytes(document: Any) -> bytes:
    """Save without the time of writing that a zip file notes for each part."""
    saved, written = io.BytesIO(), io.BytesIO()
    document.save(saved)
    with zipfile.ZipFile(saved) as parts, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for part in parts.infolist():
            file.writestr(zipfile.ZipInfo(part.filename), parts.read(part), zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _tidy(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
