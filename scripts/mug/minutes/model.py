"""Minutes as every part sees them: what is quoted names its place in the meeting, what is generated says so.

A place is a sentence's number, counted from 1, as in `mug.meeting`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mug.errors import Message
from mug.meeting import Sentence


@dataclass(frozen=True)
class Participant:
    """One speaker: sentences spoken, and seconds of talking, None when the transcript has no times."""

    name: str
    sentences: int
    seconds: float | None


@dataclass(frozen=True)
class Quote:
    """A sentence of the transcript, word for word: ``minutes.sentences[place - 1].text == text``."""

    place: int
    text: str


@dataclass(frozen=True)
class Chapter:
    """One topic: the sentences ``start`` to ``end``, a generated title, and its key sentences.

    ``title`` is empty when the engine said nothing usable; ``edited`` when a person wrote it.
    """

    start: int
    end: int
    title: str
    key_sentences: tuple[Quote, ...] = ()
    edited: bool = False


@dataclass(frozen=True)
class ActionItem:
    """Something to be done. The evidence is quoted; ``owner`` and ``due`` are derived from it by rule, or empty.

    The owner is the sentence's speaker or a part of the sentence, the due date a part of it. ``text`` is what the
    minutes show, the quote itself; once a person has changed text, owner or date, ``edited`` says so.
    """

    evidence: Quote
    text: str
    owner: str = ""
    due: str = ""
    edited: bool = False


@dataclass(frozen=True)
class Minutes:
    """The minutes of one meeting.

    ``title`` is the file's own or a person's, or generated (``title_generated``). ``date`` is ISO 8601 or empty.
    ``engine`` names what generated titles and choices (a model's folder, or ``baseline``). ``keyphrases`` come in the
    order of importance; those that the transcript does not contain stand in ``generated_keyphrases`` as well.
    ``chapters`` cover all sentences in order. ``source`` is the file's name. ``notes`` tell the reader what was
    repaired or is in doubt.
    """

    title: str
    title_generated: bool
    date: str
    engine: str
    sentences: tuple[Sentence, ...]
    participants: tuple[Participant, ...]
    keyphrases: tuple[str, ...]
    generated_keyphrases: tuple[str, ...]
    chapters: tuple[Chapter, ...]
    summary: tuple[Quote, ...]
    action_items: tuple[ActionItem, ...]
    source: str = ""
    notes: tuple[Message, ...] = ()
