"""From what a reader found to a `Recording`: the steps that all formats share.

A reader makes `Piece` objects, one a cue, a line or a segment. Here they are cleaned, long ones are divided into
sentences, ends are put where the file has only starts, and paragraphs are derived where the file has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from mug.corpus import Report, clean_texts  # one cleaner, so that a transcript is as safe as a corpus row
from mug.errors import InputError, Message
from mug.meeting import Meeting, Sentence
from mug.transcripts.recording import Recording

LONG = 150
"""Characters above which a line or a cue is taken for several sentences; the corpus's longest have about 90."""

_SLOWEST = 2.0  # characters a second; speech has 4 to 5, so that a silence after the words is not counted as talking
_PAUSE = 3.0  # seconds of silence that may end a paragraph
_LEAST, _MOST = 5, 15  # sentences of a derived paragraph; the corpus has about five
_END_MARKS = "。！？!?…"
# A sentence ends after its marks and the quotes and brackets that close behind them. An ASCII mark counts only where
# no word goes on behind it, so that `a?b=1` is whole.
_SENTENCE_END = re.compile(r"(?:[。！？…]+|[!?]+(?![\w/=&.]))[!?。！？…]*[”’」』》）)\]】\"]*\s*")
_CLAUSE_END = re.compile(r"[；;]\s*|\.\s+(?=[A-Z\"“])")
_CJK = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_BETWEEN_CJK = re.compile(f"(?<=[{_CJK}])\n|\n(?=[{_CJK}])")


@dataclass(slots=True)
class Piece:
    """What one speaker said in one cue, line or segment; an empty ``speaker`` means that the file does not say.

    ``prose`` marks the text of a whole turn, which is divided at every sentence end; other text is taken for one
    sentence unless it is longer than `LONG`. ``closes``: a paragraph of the file, or a blank line, ends here.
    """

    speaker: str
    text: str
    start: float | None = None
    end: float | None = None
    prose: bool = False
    closes: bool = False


@dataclass
class Draft:
    """Everything that a reader found.

    ``paragraphs`` means that ``closes`` of the pieces are the file's own paragraphs; ``estimated`` that some times
    were worked out by the reader.
    """

    format: str
    pieces: list[Piece]
    title: str = ""
    date: str = ""
    paragraphs: bool = False
    estimated: bool = False
    notes: list[Message] = field(default_factory=list)


def finish(draft: Draft, key: str, name: str) -> Recording:
    """Turn a draft into a recording; ``name`` is what the user calls the file.

    Raises:
        InputError: nothing was said.
    """
    report = Report()
    texts = clean_texts(key, [_one_line(piece.text) for piece in draft.pieces], report)
    speakers = clean_texts(key, [" ".join(piece.speaker.split()) for piece in draft.pieces], report)
    pieces: list[Piece] = []
    for piece, text, speaker in zip(draft.pieces, texts, speakers, strict=True):
        text = text.strip(" \t\u3000\ufeff\u200b")
        if text:
            backwards = piece.start is not None and piece.end is not None and piece.end < piece.start
            end = None if backwards else piece.end
            pieces.append(Piece(speaker.strip(), text, piece.start, end, piece.prose, piece.closes))
        elif pieces and piece.closes:
            pieces[-1].closes = True
    if not pieces:
        raise InputError(
            f"{name} 按 {draft.format} 格式读取，但里面没有任何发言；请检查是否导出了文字内容。",
            f"{name} was read as {draft.format} but nothing is said in it; check that the export includes the text.",
        )
    estimated = _fill_ends(pieces) or draft.estimated
    sentences: list[Sentence] = []
    closing: set[int] = set()
    for piece in pieces:
        divided = _divide(piece)
        estimated |= len(divided) > 1 and piece.start is not None
        sentences += divided
        if piece.closes:
            closing.add(len(sentences))
    closing.add(len(sentences))
    notes = [*draft.notes, *(kind for kind in report.warnings)]
    if estimated:
        notes.append(
            Message(
                "文件没有每一句的起止时间，部分时间按字数推算",
                "some times are estimated by length: the file has no time of each sentence",
            )
        )
    ends = tuple(sorted(closing)) if draft.paragraphs else paragraph_ends(sentences, closing)
    title = clean_texts(key, [" ".join(draft.title.split())], Report())[0]
    meeting = Meeting(key=key, sentences=tuple(sentences), paragraph_ends=ends)
    return Recording(meeting, draft.format, title, draft.date, tuple(notes))


def paragraph_ends(sentences: list[Sentence], closing: Iterable[int] = ()) -> tuple[int, ...]:
    """Derive the places that end a paragraph.

    A paragraph may end where the speaker changes, where three seconds of silence follow, and at the places
    ``closing`` (blank lines, blocks of the file). It ends at the first such place after its fifth sentence, so that
    quick exchanges stay together as in the corpus, and after its fifteenth sentence in any case.

    >>> paragraph_ends([Sentence("甲乙"[n // 6], "好。") for n in range(8)])
    (6, 8)
    """
    natural = set(closing)
    ends: list[int] = []
    length = 0
    for place, (this, following) in enumerate(zip(sentences, sentences[1:], strict=False), 1):
        length += 1
        silent = this.end is not None and following.start is not None and following.start - this.end >= _PAUSE
        if length >= _MOST or (length >= _LEAST and (silent or place in natural or this.speaker != following.speaker)):
            ends.append(place)
            length = 0
    return (*ends, len(sentences))


def sentences_of(text: str) -> list[str]:
    """Divide a text after 。！？!?… and the quotes that close behind them; joined, the parts give the text again.

    Inside “…” nothing is divided, unless the quote never closes. A part that is still longer than `LONG` is
    divided at semicolons and at the full stops of English.

    >>> sentences_of("他说：“好。走吧！”真的？")
    ['他说：“好。走吧！”', '真的？']
    """
    parts: list[str] = []
    start = 0
    for found in _SENTENCE_END.finditer(text):
        part = text[start : found.end()]
        if any(part.count(opening) > part.count(closing) for opening, closing in ("“”", "「」", "『』")) and (
            len(part) <= LONG
        ):
            continue
        parts.append(part)
        start = found.end()
    if text[start:]:
        parts.append(text[start:])
    return [clause for part in parts for clause in (_clauses(part) if len(part) > LONG else [part])]


def join_words(words: Iterable[str]) -> str:
    """Join the words of a sentence as they are written: with a space between two words of letters or digits only.

    >>> join_words(["我们", "用", "Zoom", "meeting", "。"])
    '我们用Zoom meeting。'
    """
    text = ""
    for word in words:
        if text and word and text[-1].isascii() and word[0].isascii() and text[-1].isalnum() and word[0].isalnum():
            text += " "
        text += word
    return text


def likely_end(start: float, characters: int, following: float | None) -> float:
    """Return when words of an unknown end are over: when the next begin, or when they would be said slowly."""
    end = round(start + max(1.0, characters / _SLOWEST), 3)
    return min(end, following) if following is not None and following >= start else end


def shares(lengths: Sequence[int], start: float | None, end: float | None) -> list[tuple[float | None, float | None]]:
    """Share a time out among texts that are said one after the other, by their lengths.

    >>> shares([10, 30], 0.0, 8.0)
    [(0.0, 2.0), (2.0, 8.0)]
    """
    if start is None or end is None or len(lengths) < 2:
        return [(start, end)] * len(lengths)
    total = sum(lengths) or 1
    at = [round(start + (end - start) * before / total, 3) for before in accumulate(lengths, initial=0)]
    return list(zip(at, at[1:], strict=False))


def _clauses(text: str) -> list[str]:
    cuts = [0, *(found.end() for found in _CLAUSE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in zip(cuts, cuts[1:], strict=False) if end > start]


def _one_line(text: str) -> str:
    """Join the lines of a cue: nothing between Chinese characters, a space between words."""
    text = "\n".join(filter(None, map(str.strip, text.splitlines())))
    return _BETWEEN_CJK.sub("", text).replace("\n", " ")


def _fill_ends(pieces: list[Piece]) -> bool:
    """Give pieces that have a start and no end one; say whether there were any."""
    filled = False
    following: float | None = None
    for piece in reversed(pieces):
        if piece.start is not None:
            if piece.end is None:
                piece.end = likely_end(piece.start, len(piece.text), following)
                filled = True
            following = piece.start
    return filled


def _divide(piece: Piece) -> list[Sentence]:
    """Return the sentences of a piece, its time shared out by the number of characters."""
    parts = [piece.text]
    if piece.prose or len(piece.text) > LONG:
        parts = [part for found in sentences_of(piece.text) if (part := found.strip())]
    times = shares(list(map(len, parts)), piece.start, piece.end)
    return [Sentence(piece.speaker, part, start, end) for part, (start, end) in zip(parts, times, strict=True)]
