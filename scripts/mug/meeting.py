"""A meeting as every part of the project sees it, whatever file it came from.

Ids are places: the first sentence is 1, the last is ``len(meeting.sentences)``. A reader maps the ids that it
found to places once; nothing behind it ever meets another numbering.

>>> Meeting(
...     key="T1",
...     sentences=(Sentence("甲", "先定春游地点。"), Sentence("乙", "去湿地公园吧。"), Sentence("甲", "哪天去？")),
...     topics=(Topic(1, 2, (Candidate(title="定春游地点", key_sentences=(2,)),)), Topic(3, 3)),
...     paragraph_ends=(2, 3),
...     action_ids=(),
... ).key
'T1'
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Sentence:
    """One utterance; ``start`` and ``end`` are seconds from the beginning of the meeting, None when unknown.

    Not frozen: a corpus has hundreds of thousands of them, and a frozen dataclass takes three times as long to make.
    """

    speaker: str
    text: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """What one annotator wrote, of a topic (title, key sentences) or of the whole meeting (key words, key sentences).

    ``key_sentences`` are places in the meeting, in the annotator's order, repeats and places outside the topic
    included: the official scores want them as they are, training cleans them.
    """

    title: str = ""
    key_sentences: tuple[int, ...] = ()
    key_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """The sentences from place ``start`` to place ``end``, both included."""

    start: int
    end: int
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Meeting:
    """One meeting with whatever labels its row carried.

    ``topics`` cover all sentences in order, without gaps; they are empty when the row carries no topic labels.
    ``paragraph_ends`` are the places that end a paragraph, the last sentence always among them.
    ``action_ids`` is None when the row does not say (an unlabelled row), and empty when it says that there are none.
    ``candidates`` holds one entry an annotator, of the whole meeting.
    """

    key: str
    sentences: tuple[Sentence, ...]
    topics: tuple[Topic, ...] = ()
    paragraph_ends: tuple[int, ...] = ()
    action_ids: tuple[int, ...] | None = None
    candidates: tuple[Candidate, ...] = ()

    def __hash__(self) -> int:
        """Hash by key, so that what is derived from a meeting can be cached; equality still compares everything."""
        return hash(self.key)
