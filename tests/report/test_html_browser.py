"""The HTML report in a real Chromium, driven through its own pipe: no driver program and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mug.meeting import Meeting, Sentence, Topic
from mug.report import html

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Browser:
    """A headless Chromium that speaks the DevTools protocol: JSON messages ended by NUL, over two pipes."""

    def __init__(self, program: str, profile: Path) -> None:
        command_out, self._write = os.pipe()
        self._read, answer_in = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4; the shell puts the pipes there.
        script = f'exec "$@" 3<&{command_out} 4>&{answer_in}'
        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", *arguments],
            pass_fds=(command_out, answer_in),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_out)
        os.close(answer_in)
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come in between are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            received = os.read(self._read, 1 << 16)
            assert received, "Chromium ended"
            self._buffer += received
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        """Show a file in a window of ``width`` CSS pixels."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        deadline = time.monotonic() + 30
        while self.js("document.readyState") != "complete":
            assert time.monotonic() < deadline, f"{path} did not load"
            time.sleep(0.05)

    def js(self, expression: str) -> Any:
        """Evaluate an expression in the page and return its value."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of the events of these kinds since the page was opened."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End this Chromium."""
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._write)
            os.close(self._read)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium found; on Debian: apt-get install -y chromium fonts-noto-cjk")
    found = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a report of one meeting whose fourth sentence, and whose answers, are HTML."""
    texts = ["先定春游地点。", "去湿地公园吧。", "同意。", HOSTILE, "下周五。", "我来订大巴。" * 60, "W" * 3000]
    meeting = Meeting(
        "T1",
        tuple(Sentence("\u202e甲", text) for text in texts),
        topics=(Topic(3, 3), Topic(7, 7)),
        paragraph_ends=(3, 5, 7),
        action_ids=(4, 6),
    )
    scores = {"rouge-1": 50.0, "rouge-2": 40.0, "rouge-l": 45.0, "bleu-4": 30.0, "exact_match": 0.0}
    row = {
        "meeting": "T1",
        "repairs": ["lead-in removed"],
        "finish": "stop",
        "tokens": 5,
        **scores,
    }
    lines = "\n".join(f"{number}. [甲]: {text}" for number, text in enumerate(texts, 1))
    actions = row | {
        "id": "T1/actions/1-7",
        "task": "action_item_detection",
        "input": f"会议内容：\n{lines}",
        "label": "4, 6",
        "references": ["4, 6"],
        "raw": f"编号：4、5 {HOSTILE}",
        "predict": "4, 5",
        "numbers": [4, 5],
        "places": list(range(1, 8)),
        "topic": 0,
    }
    title = row | {
        "id": HOSTILE,
        "task": "title_generation",
        "input": f"会议内容：\n[甲]: {HOSTILE}",
        "label": "定春游地点",
        "references": ["定春游地点"],
        "raw": HOSTILE,
        "predict": HOSTILE,
        "numbers": [],
        "places": [1, 2, 3],
        "topic": 3,
    }
    counts = {"n": 1, "empty": 0, "repaired": 1, "repairs": {"lead-in removed": 1}, "stopped_by_length": 0}
    task = counts | {"llamafactory": scores, "llamafactory_raw": scores}
    track = {
        "scores": {"score": 0.5, "precision": 0.5, "recall": 0.5, "f1-score": 0.5},
        "intervals": {"score": {"low": 0.25, "high": 0.75}},
        "per_meeting": {"T1": 0.5},
        "counts": {"meetings": 1, "n": 7, "empty": 0, "skipped": 0},
        "unit": "sentences",
        "tokenisation": "none",
        "library": "F1 of the positive class",
        "references": "one",
    }
    results = {
        "tasks": {"title_generation": task, "action_item_detection": task},
        "settings": {"base_model": "smoke_model", "smoke": True, "data_path": HOSTILE, "num_samples": 2},
        "versions": {"python": "3.11"},
        "official": {"action_item_detection": track},
        "floor": {"action_item_detection": {"score": 0.125}},
        "rows": [title, actions],
    }
    path = tmp_path_factory.mktemp("report") / "eval_results.html"
    path.write_text(html.render(results, [meeting]), encoding="utf-8")
    return path


def test_what_a_reader_sees(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    assert browser.js("document.title") == "评测报告 · smoke_model"
    assert browser.js("document.querySelector('h1').textContent").startswith("评测报告")
    assert "只检验流程" in browser.js("document.querySelector('.warning').innerText")
    rows = browser.js("[...document.querySelectorAll('#scores .overview tbody th')].map(cell => cell.innerText)")
    assert [row.split()[0] for row in rows] == ["主题标题生成", "行动项检测", "行动项检测", "底线", "已发表"]
    shown = browser.js("document.querySelector('.transcript').innerText")
    assert "先定春游地点。" in shown
    assert [shown.count(mark) for mark in ("● 行动项", "○ 行动项", "△ 行动项")] == [1, 1, 1]


def test_nothing_is_run_loaded_or_complained_about(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    browser.js("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.js("document.querySelectorAll('img, script, iframe, link[rel=stylesheet]').length") == 0
    assert browser.seen("Page.javascriptDialogOpening") == []
    assert browser.seen("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    asked = [event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert browser.js("document.querySelector('.transcript').textContent").count(HOSTILE) == 1
    assert HOSTILE in browser.js("document.querySelector('#task-1').textContent")


def test_chinese_in_plots_is_text_with_a_width(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    widths = browser.js(
        "[...document.querySelectorAll('svg.histogram text')]"
        ".filter(text => /[\\u4e00-\\u9fff]/.test(text.textContent)).map(text => text.getComputedTextLength())"
    )
    assert len(widths) >= 8
    assert min(widths) > 10


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window_and_can_be_read(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width, dark=dark)
    browser.js("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.js("innerWidth") == width
    assert browser.js("document.documentElement.scrollWidth") <= width
    # Nothing is smaller than a reader can bear, plots included: their text shrinks with the drawing.
    smallest = browser.js(
        "Math.min(...[...document.querySelectorAll('svg.histogram')]"
        ".map(svg => 11 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"
    )
    assert smallest >= 9
    background, ink = browser.js("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    assert (_brightness(background) < _brightness(ink)) == dark
    assert abs(_brightness(background) - _brightness(ink)) > 150


def test_a_kind_of_mark_can_be_hidden_without_a_script(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    count = "[...document.querySelectorAll('.k-action_item_detection')].filter(e => e.offsetWidth).length"
    assert browser.js(count) == 3
    browser.js("document.getElementById('show-action_item_detection').click()")
    assert browser.js(count) == 0


def _brightness(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3
