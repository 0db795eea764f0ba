"""The web page in a real Chromium, served by the real script on a free port of this machine."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import docx
import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "report"))  # where the driver of Chromium lies

from test_html_browser import HOSTILE, Browser, browser  # noqa: E402, F401

from mug.corpus import clean_text  # noqa: E402

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "dataset" / "sample" / "sample_meeting.vtt"
RESULT = "document.querySelector('.minutes-side')"


class Server(NamedTuple):
    address: str
    folder: Path
    """Its corrections lie in ``corrections``, its private files in ``tmp``, what it said in ``log``."""


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    (folder / "tmp").mkdir(parents=True)
    command = [sys.executable, ROOT / "scripts" / "webapp.py", "--port", "0", "--max_upload_mb", "1"]
    command += ["--corrections_dir", folder / "corrections", *arguments]
    # A proxy that nobody listens at: whatever the server would ask another host for fails.
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            env=os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONUNBUFFERED": "1"} | nowhere | environment,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
    try:
        ready = process.stdout.readline()
        found = re.search(r"http://[\w.:\[\]]+", ready)
        assert found, ready + (folder / "log").read_text()
        yield Server(found[0], folder)
    finally:
        process.terminate()
        status = process.wait(20)
    assert status == 0
    assert list((folder / "tmp").glob("mug_web_*")) == []  # nothing of anybody's meeting stays behind
    assert (folder / "log").read_text() == ""  # no warnings, no stack traces


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio")
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


class Visitor:
    """One tab of the browser, in a context of its own: no cookies or storage in common with another."""

    def __init__(self, browser: Browser, downloads: Path) -> None:  # noqa: F811
        self.browser, self.downloads, self._session = browser, downloads, browser._session
        browser._session = None
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        self.target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        browser.call(
            "Browser.setDownloadBehavior", behavior="allow", browserContextId=self.context, downloadPath=str(downloads)
        )
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        browser._session = self._session
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict:
        self.browser._session = self.session
        try:
            return self.browser.call(method, **parameters)
        finally:
            self.browser._session = self._session

    def js(self, expression: str) -> object:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.js(f"!!({expression})"):
            said = self.js("document.body && document.body.innerText")
            assert time.monotonic() < deadline, f"{expression} did not become true; the page says: {said}"
            time.sleep(0.05)

    def open(self, address: str, width: int = 1280) -> None:
        self.browser.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url=address)
        self.wait("document.body && document.querySelector('#m-make')")
        # The first answer of the server brings the session.
        self.wait("document.querySelector('.masthead h1')")
        time.sleep(0.5)

    def click(self, selector: str) -> None:
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, text: str) -> None:
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.js(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}); box.value = {json.dumps(text)};"
            "box.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
        time.sleep(0.2)

    def upload(self, *files: Path) -> None:
        self.wait("document.querySelector('#m-file input[type=file]')")
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="#m-file input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=list(map(str, files)))

    def text(self, selector: str) -> str:
        return str(self.js(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''"))

    def make_sample(self) -> None:
        self.click("#m-sample")
        self.wait(RESULT)

    def close(self) -> None:
        self.browser._session = None
        self.browser.call("Target.closeTarget", targetId=self.target)
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
        self.browser._session = self._session


@pytest.fixture
def visit(browser: Browser, tmp_path: Path) -> Iterator[Callable[[], Visitor]]:  # noqa: F811
    opened: list[Visitor] = []

    def new() -> Visitor:
        folder = tmp_path / f"downloads{len(opened)}"
        folder.mkdir()
        opened.append(Visitor(browser, folder))
        return opened[-1]

    yield new
    for visitor in opened:
        visitor.close()


@pytest.fixture
def visitor(visit: Callable[[], Visitor], server: Server) -> Visitor:
    found = visit()
    found.open(server.address)
    return found


def downloaded(visitor: Visitor, ending: str) -> bytes:
    visitor.click(f'.downloads a[data-ending="{ending}"]')
    deadline = time.monotonic() + 20
    while not (found := [path for path in visitor.downloads.glob(f"*.{ending}") if path.stat().st_size]):
        assert time.monotonic() < deadline, list(visitor.downloads.iterdir())
        time.sleep(0.05)
    return found[0].read_bytes()


def test_the_sample_goes_through_to_a_word_document(visitor: Visitor) -> None:
    visitor.make_sample()
    assert "办公室搬家碰头会" in visitor.text(".minutes-side h1")
    assert visitor.js("document.querySelectorAll('.transcript-side .sentence').length") == 75
    document = docx.Document(io.BytesIO(downloaded(visitor, "docx")))
    paragraphs = [paragraph.text for paragraph in document.paragraphs]
    assert paragraphs[0] == "办公室搬家碰头会"
    assert {"摘要", "行动项", "章节", "参会人", "全文"} <= set(paragraphs)
    # What the page shows as action items is what the document's table holds.
    shown = visitor.js("[...document.querySelectorAll('.actions li p:first-child')].map(one => one.innerText.trim())")
    assert [row.cells[0].text for row in document.tables[0].rows[1:]] == shown and len(shown) > 0
    assert json.loads(downloaded(visitor, "json"))["engine"] == "baseline"
    assert next(visitor.downloads.glob("*.docx")).name == "sample_meeting-minutes.docx"


def test_a_file_goes_through(visitor: Visitor) -> None:
    visitor.upload(SAMPLE)
    visitor.wait("document.querySelector('.notice.good')")
    assert "75 句，3 位说话人" in visitor.text(".notice.good")
    visitor.click("#m-make")
    visitor.wait(RESULT)
    assert "sample_meeting.vtt" in visitor.text(".about")
    visitor.click("#m-again")
    visitor.wait("document.querySelector('#m-make')")
    assert visitor.js(f"!{RESULT}") and visitor.text(".notice") == ""
    visitor.click("#m-make")
    visitor.wait("document.querySelector('.notice.bad')")
    assert "还没有文件或文字" in visitor.text(".notice.bad")


def test_pasted_text_goes_through_and_a_hostile_one_stays_text(visitor: Visitor) -> None:
    typed = f"{HOSTILE} &lt;b&gt; {{{{7*7}}}} [链接](javascript:alert(2)) **粗** </span></article>"
    typed += " 我明天去订大巴，周五之前发报价。"
    visitor.type("#m-paste textarea", "\n".join(f"甲{number % 2}: {typed}" for number in range(6)))
    said = clean_text(typed)  # what the readers make of it, on whatever page
    visitor.click("#m-make")
    visitor.wait(RESULT)
    assert visitor.text("#m-s1") == said
    assert said in visitor.text(".actions li")
    visitor.click('[data-edit="a1"]')
    visitor.wait("document.querySelector('#m-dialog .evidence')")
    assert said in visitor.text("#m-dialog .evidence")
    visitor.type("#m-text textarea", HOSTILE)
    visitor.click("#m-save")
    visitor.wait(f"document.querySelector('.actions li p').innerText.trim() === {json.dumps(clean_text(HOSTILE))}")
    assert (
        visitor.js("document.querySelectorAll('.mug img, .mug script, .mug strong, .mug a[href^=javascript]').length")
        == 0
    )
    assert visitor.browser.seen("Page.javascriptDialogOpening") == []


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("scan.pdf", b"%PDF-1.4" + bytes(100), "scan.pdf 是PDF"),
        ("notes.txt", "没有说话人的一段话\n第二段\n".encode(), "认不出 notes.txt"),
        ("empty.vtt", b"", "empty.vtt"),
        ("long.txt", "甲: 好的。\n".encode() * 90_000, "超过上限 1 MB"),
    ],
)
def test_a_bad_file_gives_its_sentence(
    visitor: Visitor, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    visitor.upload(tmp_path / name)
    visitor.wait("document.querySelector('.notice.bad')")
    assert sentence in visitor.text(".notice.bad")
    visitor.make_sample()  # and the page goes on


def test_one_of_several_meetings_is_chosen_by_its_key(visitor: Visitor, sample_corpus: Path) -> None:
    visitor.upload(sample_corpus / "dev.csv")
    visitor.wait("document.querySelector('#m-meeting textarea, #m-meeting input')")
    assert "6 场会议" in visitor.text(".notice.bad") and "--meeting" not in visitor.text(".notice.bad")
    visitor.type("#m-meeting textarea, #m-meeting input", "S004")
    visitor.click("#m-make")
    visitor.wait(RESULT)
    assert visitor.js("document.querySelectorAll('.sentence').length") == 58


def test_edits_are_on_the_page_in_the_download_and_kept_only_when_agreed(visitor: Visitor, server: Server) -> None:
    kept = server.folder / "corrections"
    visitor.make_sample()
    visitor.click('[data-edit="c1"]')
    visitor.type("#m-text textarea", "没有同意记录的标题")
    visitor.click("#m-save")
    visitor.wait("document.querySelector('.chapter h3').innerText.includes('没有同意记录的标题')")
    assert not kept.exists()
    visitor.click("#m-consent input")
    visitor.click('[data-edit="c1"]')
    visitor.type("#m-text textarea", "搬家公司定一万五的")
    visitor.click("#m-save")
    visitor.wait("document.querySelector('.chapter h3').innerText.includes('一万五')")
    first = str(visitor.js("document.querySelector('.actions [data-edit]').dataset.edit"))
    visitor.click(f'[data-edit="{first}"]')
    visitor.click("#m-delete")
    visitor.wait(f"!document.querySelector('.actions [data-edit={first}]')")
    visitor.click("#m-s12")
    visitor.click(".mark")
    visitor.click("#m-save")
    visitor.wait("document.querySelector('.actions [data-edit=a12]')")
    made = json.loads(downloaded(visitor, "json"))
    assert made["chapters"][0]["title"] == "搬家公司定一万五的" and made["chapters"][0]["edited"]
    places = [item["evidence"]["place"] for item in made["action_items"]]
    assert 12 in places and int(first[1:]) not in places
    (path,) = kept.iterdir()
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line["task"] for line in lines] == ["title_generation", *2 * ["action_item_detection"]]
    assert lines[0]["after"] == "搬家公司定一万五的"
    assert lines[-1]["after"] == places


def test_an_edit_can_be_given_up_and_blank_is_refused(visitor: Visitor) -> None:
    visitor.make_sample()
    visitor.click('[data-edit="t0"]')
    visitor.wait("document.activeElement === document.querySelector('#m-text textarea')")  # ready to type
    visitor.type("#m-text textarea", "  ")
    visitor.click("#m-save")
    visitor.wait("document.querySelector('#m-dialog .notice')")
    assert "不能为空" in visitor.text("#m-dialog .notice")
    visitor.js("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    visitor.wait("!document.querySelector('#m-dialog') || !document.querySelector('#m-dialog').offsetWidth")
    assert "办公室搬家碰头会" in visitor.text(".minutes-side h1")


def test_a_link_leads_to_its_sentence_beside_the_minutes(visitor: Visitor) -> None:
    visitor.make_sample()
    place = str(visitor.js("[...document.querySelectorAll('.actions a.from')].at(-1).getAttribute('href')"))
    visitor.js("[...document.querySelectorAll('.actions a.from')].at(-1).click()")
    box = f"document.querySelector('{place}').getBoundingClientRect()"
    visitor.wait(f"{box}.top > 0 && {box}.bottom < innerHeight && {box}.left > innerWidth / 2")
    visitor.wait(f"document.querySelector('{place}.hit')")


def test_two_visitors_see_nothing_of_each_other(visit: Callable[[], Visitor], server: Server) -> None:
    one, other = visit(), visit()
    one.open(server.address)
    other.open(server.address)
    one.upload(SAMPLE)
    one.wait("document.querySelector('.notice.good')")
    other.click("#m-make")
    other.wait("document.querySelector('.notice.bad')")
    assert "还没有文件或文字" in other.text(".notice.bad")  # the first visitor's file is not there
    other.type("#m-paste textarea", "甲: 另一场会，先定春游地点。\n乙: 去湿地公园吧。")
    one.click("#m-make")
    other.click("#m-make")
    one.wait(RESULT)
    other.wait(RESULT)
    assert "春游" in other.text(".transcript-side") and "搬家" not in other.text("body")
    assert "搬家" in one.text(".transcript-side") and "春游" not in one.text("body")
    links = [str(person.js("document.querySelector('.downloads a').getAttribute('href')")) for person in (one, other)]
    assert links[0] != links[1]
    one.click('[data-edit="t0"]')
    one.type("#m-text textarea", "改名之后的会")
    one.click("#m-save")
    one.wait("document.querySelector('.minutes-side h1').innerText.includes('改名之后的会')")
    assert "改名之后的会" not in httpx.get(f"{server.address}/{links[1]}", trust_env=False).content.decode(
        "utf-8", "ignore"
    )
    assert "改名之后的会" not in other.text("body")
    # Where the uploads lie, a name of another's file gets nothing, whoever asks.
    (upload,) = (server.folder / "tmp").glob("mug_web_*/gradio/*/sample_meeting.vtt")
    for route in ("gradio_api/file=", "file=", "gradio_api/file/"):
        assert httpx.get(f"{server.address}/{route}{upload}", trust_env=False).status_code == 404
    assert other.js(f"fetch('/gradio_api/file={upload}').then(answer => answer.status)") == 404


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window(visit: Callable[[], Visitor], server: Server, width: int, lang: str) -> None:
    visitor = visit()
    visitor.open(f"{server.address}/?lang={lang}", width)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert visitor.js("innerWidth") == width and visitor.js(fits)
    visitor.make_sample()
    assert visitor.js(fits)
    sides = visitor.js(
        "['.minutes-side', '.transcript-side'].map(one => document.querySelector(one).getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.top, box.bottom])"
    )
    if width == 1280:
        assert sides[1][0] >= sides[0][1] and abs(sides[1][2] - sides[0][2]) < 2  # beside
    else:
        assert sides[1][2] >= sides[0][3]  # below
        assert all(side[0] >= 0 and side[1] <= width for side in sides)
    visitor.click(".actions [data-edit]")
    visitor.wait("document.querySelector('#m-dialog')")
    left, right = visitor.js(
        "(boxes => [Math.min(...boxes.map(one => one.left)), Math.max(...boxes.map(one => one.right))])"
        "([...document.querySelectorAll('#m-dialog, #m-dialog button, #m-dialog textarea')]"
        ".map(one => one.getBoundingClientRect()))"
    )
    assert 0 <= left and right <= width and visitor.js(fits)


def test_the_language_changes_with_the_minutes_on_the_page(visitor: Visitor) -> None:
    assert visitor.text("#m-make") == "生成纪要" and "拖到这里" in str(
        visitor.js("getComputedStyle(document.querySelector('#m-file button .wrap'), '::after').content")
    )
    visitor.make_sample()
    visitor.js("document.querySelectorAll('#m-lang input')[1].click()")
    visitor.wait("document.querySelector('.minutes-side h2').innerText === 'Summary'")
    assert visitor.text("#m-again") == "Another meeting" and "Transcript" in visitor.text(".transcript-side h2")
    assert "搬家定在下个月" in visitor.text("#m-s1")  # what was said stays


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_complained_about(visitor: Visitor, server: Server) -> None:
    visitor.make_sample()
    seen = visitor.browser.seen
    asked = {event["request"]["url"] for event in seen("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith(("data:", f"{server.address}/"))} == set()
    assert len(asked) > 10
    assert seen("Log.entryAdded", "Runtime.exceptionThrown") == []
    assert "https://" not in httpx.get(server.address, trust_env=False).text.split("<body")[0].replace(
        "https://github.com/gradio-app/gradio/raw/main/test/test_files/sample_file.pdf", ""
    )


def test_a_password_closes_everything(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    with serving(tmp_path / "s", MUG_WEB_USER="me", MUG_WEB_PASSWORD="secret") as found:
        for path in ("/", "/config", "/gradio_api/info", "/assets/index.js"):
            assert httpx.get(found.address + path, trust_env=False).status_code == 401
        answer = httpx.get(found.address, auth=("me", "secret"), trust_env=False)
        assert answer.status_code == 200 and "window.gradio_config" in answer.text
