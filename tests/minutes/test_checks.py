"""Every broken link is noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mug.errors import InputError
from mug.meeting import Sentence
from mug.minutes import docx, html, json_format, markdown
from mug.minutes.checks import is_said, spoken, verify
from mug.minutes.model import Participant, Quote


def breaks(minutes):
    first, second = minutes.chapters
    (item,) = minutes.action_items
    yield "a quote changed by a character", {"summary": (Quote(2, "去湿地公园吧！"),)}
    yield "a quote at another place", {"summary": (Quote(3, "去湿地公园吧。"),)}
    yield "a place past the end", {"summary": (Quote(7, "下周五。"),)}
    yield "place 0, which Python would take for the last", {"summary": (Quote(0, minutes.sentences[-1].text),)}
    yield (
        "a key sentence of another chapter",
        {"chapters": (replace(first, key_sentences=second.key_sentences), second)},
    )
    yield "a gap between chapters", {"chapters": (first, replace(second, start=5))}
    yield "chapters out of order", {"chapters": (second, first)}
    yield "the end missing", {"chapters": (first,)}
    yield "no chapters", {"chapters": ()}
    yield "a chapter past the end", {"chapters": (first, replace(second, end=7))}
    yield "an owner whom nobody named", {"action_items": (replace(item, owner="丙"),)}
    yield "a date that nobody named", {"action_items": (replace(item, due="周四"),)}
    yield "another text", {"action_items": (replace(item, text="订大巴"),)}
    yield "a keyphrase that nobody said, not marked", {"generated_keyphrases": ()}
    yield "a keyphrase marked that was said", {"generated_keyphrases": ("春游", "AI")}
    yield "a participant too many", {"participants": (*minutes.participants, Participant("丙", 1, None))}
    yield "no sentences", {"sentences": ()}


def test_sound_minutes_pass(minutes):
    verify(minutes)


def test_every_broken_link_is_noticed(minutes):
    for what, changes in breaks(minutes):
        with pytest.raises(InputError) as error:
            verify(replace(minutes, **changes))
        assert "核对" in error.value.message.zh, what


@pytest.mark.parametrize("render", [markdown.render, html.render, docx.render, json_format.render])
def test_every_format_checks_before_it_renders(render, minutes):
    with pytest.raises(InputError):
        render(replace(minutes, summary=(Quote(1, "没人说过。"),)))


def test_what_a_person_edited_may_differ_from_the_sentence(minutes):
    (item,) = minutes.action_items
    verify(replace(minutes, action_items=(replace(item, text="订大巴", owner="丙", due="周四", edited=True),)))


def test_the_evidence_of_an_edited_item_is_still_checked(minutes):
    (item,) = minutes.action_items
    broken = replace(item, text="订大巴", evidence=Quote(5, item.evidence.text), edited=True)
    with pytest.raises(InputError, match="第 5 句"):
        verify(replace(minutes, action_items=(broken,)))


def test_a_phrase_may_not_run_over_two_sentences():
    said = spoken([Sentence("甲", "春"), Sentence("甲", "游")])
    assert not is_said("春游", said)
    assert is_said("春", said)
