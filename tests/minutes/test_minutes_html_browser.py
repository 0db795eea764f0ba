"""The HTML minutes in a real Chromium, at the width of a desk and of a phone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from mug.corpus import Report, read_meetings
from mug.generation.baseline import BaselineEngine
from mug.minutes import html
from mug.minutes.pipeline import make_minutes
from mug.transcripts.recording import Recording

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))  # where the driver of Chromium lies

from test_html_browser import browser  # noqa: E402, F401

pytestmark = pytest.mark.browser


@pytest.fixture
def page(tmp_path, sample_corpus):
    meeting = next(iter(read_meetings(sample_corpus / "dev.csv", Report())))
    made = make_minutes(Recording(meeting, "corpus"), BaselineEngine(), engine_name="baseline")
    path = tmp_path / "minutes.html"
    path.write_text(html.render(made), "utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(browser, page, width):  # noqa: F811
    browser.open(page, width)
    assert browser.js("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [1280, 390])
def test_a_quote_leads_to_its_sentence_in_sight(browser, page, width):  # noqa: F811
    browser.open(page, width)
    browser.js("document.documentElement.style.scrollBehavior = 'auto'")
    link = "[...document.querySelectorAll('#chapters .from')].at(-1)"
    target = browser.js(f"{link}.hash")
    browser.js(f"{link}.click()")
    deadline = time.monotonic() + 5
    place = f"document.querySelector('{target}').getBoundingClientRect()"
    while not 40 <= browser.js(f"{place}.top") < 900:
        assert time.monotonic() < deadline, browser.js(f"{place}.top")
        time.sleep(0.05)
    colours = f"[getComputedStyle(document.querySelector('{target}')).backgroundColor, '{target}']"
    assert browser.js(colours) == ["rgb(255, 240, 184)", target]


def test_a_desk_shows_chapters_at_the_side_and_a_phone_folds_them(browser, page):  # noqa: F811
    shown = "[...document.querySelectorAll('nav')].map(nav => getComputedStyle(nav).display != 'none')"
    browser.open(page, 1280)
    assert browser.js(shown) == [True, False]
    chapters = browser.js("document.querySelectorAll('.part').length")
    assert browser.js("document.querySelectorAll('nav.side ol:not(.parts) a').length") == chapters >= 2
    browser.open(page, 390)
    assert browser.js(shown) == [False, True]
    assert not browser.js("document.querySelector('nav.top details').open")


def test_hostile_text_neither_runs_nor_loads(browser, tmp_path, hostile):  # noqa: F811
    path = tmp_path / "hostile.html"
    path.write_text(html.render(hostile), "utf-8")
    browser.open(path, 1280)
    assert browser.js("document.querySelectorAll('script, img, iframe').length") == 0
    assert browser.seen("Page.javascriptDialogOpening", "Runtime.exceptionThrown") == []
    assert [request["request"]["url"] for request in browser.seen("Network.requestWillBeSent")] == [path.as_uri()]
    assert browser.js("document.querySelector('#s1').textContent") == "<script>alert(1)</script>"
