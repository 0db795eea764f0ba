"""What a transcript file held."""

from __future__ import annotations

from dataclasses import dataclass

from mug.errors import Message
from mug.meeting import Meeting


@dataclass(frozen=True)
class Recording:
    """A meeting, and what its file says of it beside the sentences.

    ``meeting.sentences`` carry start and end in seconds where the file has times; ``meeting.paragraph_ends`` are never
    empty, derived where the file has no paragraphs. ``title`` and ``date`` (ISO 8601, as far as it is known) are empty
    where the file has none. ``format`` is the reader's name. ``notes`` are repairs and doubts that the user should
    know of.
    """

    meeting: Meeting
    format: str
    title: str = ""
    date: str = ""
    notes: tuple[Message, ...] = ()
