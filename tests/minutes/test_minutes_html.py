"""The HTML minutes: links, marks, nothing loaded, and foreign text that stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from minutes.conftest import HOSTILE
from mug.minutes import html


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text under each id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.under: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = {name: value or "" for name, value in attributes}
        self.elements.append((tag, found))
        if tag not in ("meta", "img", "br"):
            self._open.append((tag, found.get("id", "")))

    def handle_endtag(self, tag):
        assert self._open and self._open[-1][0] == tag, (tag, self._open)
        self._open.pop()

    def handle_data(self, data):
        self.text += data
        for _, name in self._open:
            if name:
                self.under[name] = self.under.get(name, "") + data


def test_every_quote_links_to_its_sentence(minutes):
    page = Page(html.render(minutes))
    links = [found["href"] for tag, found in page.elements if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= page.under.keys()
    assert [link for link in links if link.startswith("#s") and link[2:].isdigit()] == [
        "#s2",
        "#s5",
        "#s6",
        "#s1",
        "#s2",
        "#s5",
    ]
    assert [page.under[f"s{place}"] for place in range(1, 7)] == [sentence.text for sentence in minutes.sentences]


def test_sentences_are_marked_as_key_or_action(minutes):
    page = Page(html.render(minutes))
    marked = {
        found["id"]: found.get("class", "")
        for tag, found in page.elements
        if re.fullmatch(r"s\d", found.get("id", ""))
    }
    assert marked == {"s1": "key", "s2": "key", "s3": "", "s4": "", "s5": "key", "s6": "action"}


def test_what_is_generated_or_derived_is_marked(minutes):
    text = html.render(minutes)
    assert '<bdi>春游安排</bdi> <span class="tag">生成</span>' in text
    assert "<bdi>AI</bdi> <small>原文未出现</small>" in text
    assert '<bdi>乙</bdi> <span class="tag">推导</span>' in text
    assert "章节、选句和标题由 一个模型 产生。" in text
    assert '<span class="tag">生成</span>' not in html.render(replace(minutes, title="周例会", title_generated=False))


def test_times_speakers_and_talking_time(minutes):
    text = html.render(minutes)
    assert '<a class="from" href="#s6"><bdi>乙</bdi> <span class="time">01:00</span></a>' in text
    assert '<td><bdi>甲</bdi></td><td class="n">3</td><td class="n">00:12</td><td class="n">50 %</td>' in text


def test_a_meeting_without_times_has_no_times(minutes):
    bare = tuple(replace(sentence, start=None, end=None) for sentence in minutes.sentences)
    people = tuple(replace(one, seconds=None) for one in minutes.participants)
    text = html.render(replace(minutes, sentences=bare, participants=people))
    assert "说话时长" not in text and '<span class="time">#6</span>' in text


def test_nothing_is_loaded_and_nothing_runs(minutes, hostile):
    for page in map(Page, map(html.render, (minutes, hostile))):
        tags = {tag for tag, _ in page.elements}
        assert not tags & {"script", "img", "link", "iframe", "object", "form", "base"}
        assert all(found["href"].startswith("#") for tag, found in page.elements if tag == "a")
        assert not any(name.startswith("on") or name == "src" for _, found in page.elements for name in found)
        policy = next(
            found["content"] for _, found in page.elements if found.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'")


def test_hostile_text_stays_text(hostile):
    page = Page(html.render(hostile))
    for place, text in enumerate(HOSTILE, 1):
        assert page.under[f"s{place}"] == text.replace("\x07", "␇").replace("\x0b", "␋")
    assert "<x>|.vtt" in page.text and "<模型>" in page.text and "<b>甲0|</b>" in page.text


def test_headings_in_english(minutes):
    text = html.render(minutes, "en")
    assert '<html lang="en">' in text
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "Summary",
        "Action items",
        "Chapters",
        "Participants",
        "How these minutes were made",
        "Transcript",
    ]
