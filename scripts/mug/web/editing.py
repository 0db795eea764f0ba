"""What a person changes in minutes: each change gives new minutes, marked as edited, that still pass their check."""

from __future__ import annotations

from dataclasses import replace

from mug.corpus import clean_text
from mug.errors import InputError
from mug.minutes import owners
from mug.minutes.model import ActionItem, Minutes, Quote

LONGEST = 500
"""Characters of a title or an item."""


def tidy(text: str) -> str:
    """Return what somebody typed as one line that can be written anywhere."""
    return " ".join(clean_text(text).split())[:LONGEST]


def rename_meeting(minutes: Minutes, title: str) -> Minutes:
    """Give the minutes another title.

    Raises:
        InputError: the title is blank.
    """
    return replace(minutes, title=_not_blank(title), title_generated=False)


def rename_chapter(minutes: Minutes, number: int, title: str) -> Minutes:
    """Give chapter ``number``, counted from 1, another title.

    Raises:
        InputError: the title is blank.
    """
    chapters = list(minutes.chapters)
    chapters[number - 1] = replace(chapters[number - 1], title=_not_blank(title), edited=True)
    return replace(minutes, chapters=tuple(chapters))


def action_at(minutes: Minutes, place: int) -> ActionItem:
    """Return the action item whose evidence is the sentence at ``place``, or one as the rules would make it."""
    for item in minutes.action_items:
        if item.evidence.place == place:
            return item
    sentence = minutes.sentences[place - 1]
    names = tuple(dict.fromkeys(one.speaker for one in minutes.sentences))
    owner = owners.owner_of(sentence.text, sentence.speaker, names)
    return ActionItem(Quote(place, sentence.text), sentence.text, owner, owners.due_of(sentence.text))


def set_action(minutes: Minutes, place: int, text: str, owner: str, due: str) -> Minutes:
    """Reword the action item at ``place``, or add one there; its evidence stays the sentence.

    Raises:
        InputError: the text is blank.
    """
    item = ActionItem(action_at(minutes, place).evidence, _not_blank(text), tidy(owner), tidy(due), edited=True)
    others = [one for one in minutes.action_items if one.evidence.place != place]
    return replace(minutes, action_items=tuple(sorted([*others, item], key=lambda one: one.evidence.place)))


def delete_action(minutes: Minutes, place: int) -> Minutes:
    """Take the action item at ``place`` out."""
    return replace(minutes, action_items=tuple(one for one in minutes.action_items if one.evidence.place != place))


def _not_blank(text: str) -> str:
    text = tidy(text)
    if not text:
        raise InputError("这里不能为空；请写点什么，或点“取消”。", "This can't be empty; write something, or cancel.")
    return text
