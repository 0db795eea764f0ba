"""The web page without a browser: who may enter, what is served, whose is what, edits, and work in the background."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import threading
import time
import warnings
import zipfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import HTMLResponse, PlainTextResponse

import webapp
from mug.errors import InputError, Message
from mug.generation.baseline import BaselineEngine
from mug.meeting import Meeting, Sentence
from mug.minutes.checks import verify
from mug.minutes.pipeline import STAGES, make_minutes
from mug.transcripts.recording import Recording
from mug.web import editing, running, sessions, texts, view
from mug.web.server import LOOPBACK, Guard, application, file_stem

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of starlette about anyio
    from starlette.testclient import TestClient

HOSTILE = "<img src=x onerror=alert(1)> & **粗** <script>1</script>"
WORDS = ("先定春游地点。", HOSTILE, "同意。", "哪天去？", "下周五。", "我来订大巴，周三之前报价。")


@pytest.fixture
def recording():
    sentences = tuple(Sentence("甲乙"[i % 2], text, 3.0 * i, 3.0 * i + 2) for i, text in enumerate(WORDS))
    return Recording(Meeting("T1", sentences, paragraph_ends=(3, 6)), "plain text")


@pytest.fixture
def minutes(recording):
    return make_minutes(recording, BaselineEngine(), engine_name="baseline", source="周会.vtt")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = sessions.Sessions()
    yield found
    found.close()


# --- the command line ------------------------------------------------------------------------------------------------


def test_another_host_needs_a_password_and_the_message_says_why(run, monkeypatch):
    monkeypatch.delenv(webapp.USER, raising=False)
    monkeypatch.delenv(webapp.PASSWORD, raising=False)
    done = run(webapp, "--host", "0.0.0.0")
    assert done.status == 2
    assert "别的机器" in done.err and webapp.USER in done.err and webapp.PASSWORD in done.err
    assert "other machines" in run(webapp, "--host", "0.0.0.0", "--lang", "en").err


@pytest.mark.parametrize(("user", "password"), [("me", ""), ("", "secret"), ("m:e", "secret")])
def test_half_a_password_is_refused_also_on_this_machine(run, monkeypatch, user, password):
    monkeypatch.setenv(webapp.USER, user)
    monkeypatch.setenv(webapp.PASSWORD, password)
    done = run(webapp)
    assert done.status == 2 and webapp.PASSWORD in done.err


def test_a_missing_model_and_a_taken_port_are_told_before_anything_starts(run, tmp_path):
    assert run(webapp, "--model_path", tmp_path / "none").status == 2
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run(webapp, "--port", other.getsockname()[1])
    assert done.status == 2 and "--port" in done.err


@pytest.mark.parametrize("wrong", [["--max_upload_mb", "0"], ["--max_upload_mb", "51"], ["--port", "70000"]])
def test_figures_out_of_range_are_refused(run, wrong):
    assert run(webapp, *wrong).status == 2


# --- the guard -------------------------------------------------------------------------------------------------------

PAGE = (
    '<html><head><meta property="og:url" content="https://gradio.app/" /><link rel="preconnect" '
    'href="https://fonts.googleapis.com" /><script\nsrc="https://cdnjs.cloudflare.com/x.js"\nasync></script>'
    '<link rel="manifest" href="/manifest.json" /><link rel="stylesheet" href="./assets/a.css">'
    '<script src="./assets/a.js"></script></head><body>页面</body></html>'
)


async def inner(scope, receive, send):
    """Answer as Gradio would: the page, and anything else with the length of what was sent."""
    if scope["path"] == "/":
        await HTMLResponse(PAGE)(scope, receive, send)
        return
    body = b""
    while scope["method"] == "POST":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await PlainTextResponse(f"{scope['path']} {len(body)}")(scope, receive, send)


def client(password=None, hosts=LOOPBACK, most=1000):
    return TestClient(Guard(inner, password, hosts, most), base_url="http://127.0.0.1:7860")


def test_the_page_loads_nothing_from_elsewhere():
    answer = client().get("/")
    assert answer.status_code == 200
    assert "http" not in answer.text.replace("</html>", "").replace("<html>", "") and "manifest" not in answer.text
    assert "./assets/a.css" in answer.text and "./assets/a.js" in answer.text and "页面" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert client().head("/").headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/tmp/gradio/x/secret.vtt",
        "/gradio_api/proxy=https://example.com",
        "/gradio_api/deep_link",
        "/gradio_api/stream/1/2/3/playlist.m3u8",
        "/gradio_api/call/make",
        "/gradio_api/monitoring/summary",
        "/docs",
        "/openapi.json",
        "/assets",
        "/assets/../gradio_api/file=/etc/passwd",
        "/download/token/../../etc/docx",
    ],
)
def test_what_the_page_does_not_need_is_not_there(path):
    scope_paths = []

    async def seen(scope, receive, send):
        scope_paths.append(scope["path"])
        await PlainTextResponse("served")(scope, receive, send)

    answer = TestClient(Guard(seen, None, LOOPBACK, 1000), base_url="http://127.0.0.1").get(path)
    assert answer.status_code == 404 and scope_paths == []


@pytest.mark.parametrize(
    "path",
    ["/config", "/theme.css", "/assets/index-a.js", "/static/img/logo.svg", "/gradio_api/queue/data", "/favicon.ico"],
)
def test_what_the_page_needs_is_served(path):
    answer = client().get(path)
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"


def test_another_name_for_this_machine_is_refused_when_only_it_may_ask():
    assert client().get("/config", headers={"host": "evil.example:7860"}).status_code == 421
    assert client().get("/config", headers={"host": "127.0.0.1.evil.example"}).status_code == 421
    assert client().get("/config", headers={"host": "localhost:7860"}).status_code == 200
    assert client().get("/config", headers={"host": "[::1]:7860"}).status_code == 200
    assert client(hosts=None).get("/config", headers={"host": "meetings.example"}).status_code == 200


def test_a_page_elsewhere_may_not_send():
    send = client().post
    assert send("/gradio_api/queue/join", content=b"{}", headers={"origin": "https://evil.example"}).status_code == 403
    assert send("/gradio_api/queue/join", content=b"{}", headers={"origin": "null"}).status_code == 403
    own = send("/gradio_api/queue/join", content=b"{}", headers={"origin": "http://127.0.0.1:7860"})
    assert own.text == "/gradio_api/queue/join 2"
    assert client().put("/gradio_api/upload", content=b"x").status_code == 403


def test_a_request_over_the_limit_is_refused_with_and_without_its_length():
    assert client().post("/gradio_api/upload", content=b"x" * 1000).status_code == 200
    assert client().post("/gradio_api/upload", content=b"x" * 1001).status_code == 413
    got = []

    async def reads(scope, receive, send):
        while True:
            message = await receive()
            got.append(message["type"])
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    async def ask():
        parts = iter([{"type": "http.request", "body": b"x" * 400, "more_body": True}] * 5)
        scope = {"type": "http", "path": "/gradio_api/upload", "method": "POST"}
        scope["headers"] = [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")]

        async def receive():
            return next(parts)

        async def send(message):
            raise AssertionError(message)

        await Guard(reads, None, LOOPBACK, 1000)(scope, receive, send)

    asyncio.run(ask())
    assert got == ["http.request", "http.request", "http.disconnect"]


def test_without_the_password_nothing_is_served():
    guarded = client(("我", "p:w"), hosts=None)
    for path in ("/", "/config", "/download/x/docx", "/nothing"):
        answer = guarded.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
    assert guarded.get("/config", auth=("我".encode(), b"wrong")).status_code == 401
    assert guarded.get("/config", headers={"authorization": "Bearer p:w"}).status_code == 401
    assert guarded.get("/config", auth=("我".encode(), b"p:w")).status_code == 200


def test_websockets_are_closed():
    with pytest.raises(Exception), client().websocket_connect("/gradio_api/stream/1"):  # noqa: B017
        pass


# --- sessions and downloads ------------------------------------------------------------------------------------------


def test_minutes_are_downloaded_by_their_session_alone(store, minutes):
    one, other = store.new(), store.new()
    one.minutes = minutes
    ask = TestClient(application(store)).get
    answer = ask(f"/download/{one.token}/docx")
    assert answer.status_code == 200
    assert "word/document.xml" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%E5%91%A8%E4%BC%9A-minutes")
    assert answer.headers["cache-control"] == "no-store"
    assert "Action items" in ask(f"/download/{one.token}/md?lang=en").text
    assert "行动项" in ask(f"/download/{one.token}/md").text
    for path in (f"{other.token}/docx", "x/docx", f"{one.token}/exe", f"{one.token}x/docx"):
        assert ask(f"/download/{path}").status_code == 404
    assert one.token != other.token and len(one.token) >= 32


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("a.vtt", "a-minutes"),
        ("../../x\n.txt", "_.._x_-minutes"),
        ("..", "minutes"),
        ('q"u:o?te.md', "q_u_o_te-minutes"),
    ],
)
def test_a_file_s_name_does_no_harm_as_a_download_s(source, stem):
    assert file_stem(source) == stem


def test_a_session_is_forgotten_with_its_files_after_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    now = [0.0]
    store = sessions.Sessions(lambda: now[0])
    kept, closed, idle = store.new(), store.new(), store.new()
    for session in (kept, closed, idle):
        session.upload = session.folder / "a.vtt"
        session.upload.write_text("x")
    assert (store.folder.stat().st_mode & 0o77, kept.folder.stat().st_mode & 0o77) == (0, 0)
    store.closed(closed.token)
    assert closed.stop.is_set()
    now[0] = sessions.CLOSED + 1
    assert store.get(kept.token) is kept and store.get(closed.token) is None
    store.sweep()
    assert kept.upload.exists() and not closed.folder.exists()
    now[0] = sessions.IDLE + 2
    assert store.get(kept.token) is kept  # it was used in between
    store.sweep()
    assert kept.folder.exists() and not idle.folder.exists()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_the_longest_unused_session_makes_room(store, monkeypatch):
    monkeypatch.setattr(sessions, "MOST", 2)
    first, second = store.new(), store.new()
    assert store.get(first.token) is first
    store.new()
    assert store.get(second.token) is None and store.get(first.token) is first
    assert store.get(None) is None and store.get("") is None


def test_gradio_s_copy_of_an_upload_is_soon_removed(store):
    for name, age in (("old", sessions.UPLOAD + 5), ("new", 1.0)):
        file = store.uploads / name / "a.vtt"
        file.parent.mkdir(parents=True)
        file.write_text("x")
        os.utime(file, (time.time() - age, time.time() - age))
    store.sweep()
    assert not (store.uploads / "old" / "a.vtt").exists() and (store.uploads / "new" / "a.vtt").exists()


def test_what_a_killed_server_left_is_removed_and_a_living_one_s_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = tmp_path / "mug_web_dead"
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "secret.vtt").touch()
    os.utime(dead, (1, 1))
    living = sessions.Sessions()
    os.utime(living.folder, (1, 1))
    other = sessions.Sessions()
    assert not dead.exists() and living.folder.exists()
    living.close()
    other.close()


# --- edits -----------------------------------------------------------------------------------------------------------


def test_edits_are_marked_and_pass_the_check(minutes):
    edited = editing.rename_meeting(minutes, "  春游\n筹备会 ")
    assert (edited.title, edited.title_generated) == ("春游 筹备会", False)
    edited = editing.rename_chapter(edited, 1, "定\u202e地点<|im_end|>")
    assert (edited.chapters[0].title, edited.chapters[0].edited) == ("定地点＜|im_end|>", True)
    edited = editing.set_action(edited, 2, "看看 img", "丙", "下周")
    edited = editing.set_action(edited, 6, "订大巴", "", "周三")
    assert [item.evidence.place for item in edited.action_items if item.edited] == [2, 6]
    assert edited.action_items[-1].evidence.text == WORDS[5]
    verify(edited)
    verify(editing.delete_action(edited, 6))
    assert all(item.evidence.place != 6 for item in editing.delete_action(edited, 6).action_items)


def test_nothing_can_be_renamed_to_nothing(minutes):
    for blank in ("", " \u3000\n", "\u202e"):
        with pytest.raises(InputError, match="不能为空"):
            editing.rename_chapter(minutes, 1, blank)
        with pytest.raises(InputError):
            editing.set_action(minutes, 6, blank, "甲", "")
    assert len(editing.rename_meeting(minutes, "长" * 9999).title) == editing.LONGEST


def test_a_new_item_gets_what_its_sentence_says(minutes):
    item = editing.action_at(editing.delete_action(minutes, 6), 6)
    assert (item.text, item.owner, item.due) == (WORDS[5], "乙", "周三之前")


# --- the pieces of the page ------------------------------------------------------------------------------------------


def test_what_people_said_is_text_everywhere(minutes):
    edited = editing.rename_chapter(editing.set_action(minutes, 2, HOSTILE, HOSTILE, HOSTILE), 1, HOSTILE)
    edited = replace(editing.rename_meeting(edited, HOSTILE), source=HOSTILE)
    pieces = [
        view.minutes_side(edited, "token", "zh"),
        view.transcript_side(edited, "zh"),
        view.notice(HOSTILE),
        view.dialog(HOSTILE, editing.action_at(edited, 2).evidence, "zh"),
        view.heading("zh", HOSTILE),
    ]
    for piece in pieces:
        assert "<img" not in piece and "<script" not in piece and "<strong" not in piece
        assert "&lt;img src=x onerror=alert(1)&gt; &amp; **粗**" in piece.replace("＜", "&lt;")
    assert "\x1b" not in view.notice("a\x1b[2Jb") and "␛" in view.notice("a\x1b[2Jb")


def test_every_link_leads_somewhere(minutes):
    import re

    both = view.minutes_side(minutes, "token", "en") + view.transcript_side(minutes, "en")
    ids = re.findall(r' id="(m-[^"]+)"', both)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(m-[^"]+)"', both)) <= set(ids)
    assert [f"m-s{place}" for place in range(1, 7)] == [
        name for name in ids if name.startswith("m-s") and name[3:].isdigit()
    ]
    for ending in ("docx", "html", "md", "json"):
        assert f'href="download/token/{ending}?lang=en"' in both


def test_the_figures_of_the_participants_have_a_header(minutes, recording):
    import re

    def table(of):
        section = re.search(r'id="m-participants".*?</section>', view.minutes_side(of, "t", "zh"), re.DOTALL)[0]
        cells = ("".join(re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row, re.DOTALL)) for row in section.split("<tr>")[1:])
        return [re.sub(r"(?:<[^>]*>|\s)+", " ", row).split() for row in cells]

    assert table(minutes)[:2] == [["姓名", "占比", "说话时长"], ["甲", "50", "%", "00:06"]]
    untimed = [replace(sentence, start=None, end=None) for sentence in recording.meeting.sentences]
    meeting = replace(recording.meeting, sentences=tuple(untimed))
    without = make_minutes(replace(recording, meeting=meeting), BaselineEngine(), engine_name="baseline")
    assert table(without)[:2] == [["姓名", "占比", "句数"], ["甲", "50", "%", "3"]]


def test_a_transcript_without_times_has_no_place_for_them(minutes):
    shown = view.transcript_side(minutes, "zh")
    assert "untimed" not in shown and '<small class="time">00:00</small></p>' in shown
    untimed = [replace(sentence, start=None, end=None) for sentence in minutes.sentences]
    people = [replace(one, seconds=None) for one in minutes.participants]
    shown = view.transcript_side(replace(minutes, sentences=tuple(untimed), participants=tuple(people)), "zh")
    assert 'class="mug transcript-side untimed"' in shown
    assert all("<small" not in line for line in shown.split("\n") if 'class="turn"' in line)


def test_progress_names_the_stages_and_the_time_left():
    shown = view.progress(running.State("titles", 5, 20, 10.0), "zh")
    assert all(label.zh in shown for label in STAGES.values())
    assert "5/20" in shown and "约剩 30 秒" in shown
    assert "前面还有人" in view.progress(running.State("waiting"), "zh")


def test_both_languages_have_the_same_blanks():
    import re

    for name, message in texts.TEXTS.items():
        assert message.en, name
        assert sorted(re.findall(r"{\w+}", message.zh)) == sorted(re.findall(r"{\w+}", message.en)), name


# --- what happens on the page ----------------------------------------------------------------------------------------


@pytest.fixture
def opened(store, tmp_path):
    """Put engines on a page; return what happens on it. Its edits are kept in ``corrections``."""
    gradio = pytest.importorskip("gradio")
    from mug.web import page

    def put(engines):
        desk = page.Desk(engines, store, Path(os.devnull), tmp_path / "corrections", 1, "zh")
        with warnings.catch_warnings(), gradio.Blocks(analytics_enabled=False) as blocks:
            warnings.simplefilter("ignore")  # of Gradio about its next version
            return page._Page(desk, blocks)

    return put


@pytest.mark.parametrize("session", ["none", "empty", "made"])
def test_whatever_a_browser_says_something_on_the_page_is_answered(opened, store, minutes, recording, session):
    """Gradio takes an empty answer for one that lacks all its outputs."""
    page = opened({"baseline": running.SharedEngine(Namespace(), "baseline")})
    token = None if session == "none" else store.new().token
    if session == "made":
        store.get(token).minutes, store.get(token).recording = minutes, recording
    for message in ("", "x|1", "editc99|1", "edita0|1", "editt1|1", "editc1|1", "size99|1"):
        assert page.told(message, token, "zh"), message
    assert page.uploaded(None, token, "zh")
    assert page.cleared(token) and page.start_again(token) and page.spoken_to(token, "en")
    for target in ("", "c99", "c1"):
        assert page.saved(token, target, False, "zh", "题", "", "") and page.deleted(token, target, False, "zh")


def test_edits_are_kept_by_the_windows_in_which_the_model_was_asked(opened, store, tmp_path, monkeypatch):
    (tmp_path / "preprocess.json").write_text('{"tokenizer": null, "layout": "shared", "max_input_tokens": 600}')
    asked = []

    class Asked(BaselineEngine):
        def generate(self, samples):
            asked.extend(sample for sample in samples if sample.id.split("/")[1] == "actions")
            yield from super().generate(samples)

    monkeypatch.setattr("mug.generation.engines.load", lambda *_: (Asked(), {}))
    given = Namespace(backend="api", model_path=tmp_path, api_base="http://127.0.0.1:1/v1", api_model="qwen")
    page = opened({"api": running.SharedEngine(given, "api")})
    session = store.new()
    text = "\n".join(f"甲{number % 3}: 第{number}个问题，我们下次开会的时候再说吧。" for number in range(60))
    for _ in page.begin(session.token, text, "", "api", "zh"):
        pass
    windows = [(sample.places[0], sample.places[-1]) for sample in asked]
    shown = [window for window in windows if window[0] <= 30 <= window[1]]
    assert len(windows) > 2 and shown and all(sample.history for sample in asked)

    def lines():
        return [json.loads(line) for path in (tmp_path / "corrections").iterdir() for line in path.open()]

    page.saved(session.token, "a30", True, "zh", "订大巴", "乙", "")
    assert [(line["start"], line["end"], line["after"]) for line in lines()] == [(*one, [30]) for one in shown]
    page.deleted(session.token, "a30", True, "zh")
    after = lines()[len(shown) :]
    assert [(line["start"], line["end"], line["before"]) for line in after] == [(*one, [30]) for one in shown]


# --- work in the background ------------------------------------------------------------------------------------------


class Slow:
    """An engine that waits before each answer until it may go on."""

    name, fingerprint = "slow", {}

    def __init__(self, gate=None, error=None):
        self.gate, self.error, self.asked, self.at_once, self.most = gate, error, 0, 0, 0

    def generate(self, samples):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            for index, completion in BaselineEngine().generate(samples):
                self.asked += 1
                if self.error:
                    raise self.error
                if self.gate:
                    self.gate.wait(5)
                yield index, completion
        finally:
            self.at_once -= 1


def shared(engine):
    found = running.SharedEngine(Namespace(model_path=Path("models/tuned")), "transformers")
    found._engine = engine
    return found


def test_the_minutes_come_last_and_the_stages_before_them(recording):
    *states, made = running.work(shared(Slow()), recording, "a.vtt", threading.Event())
    assert all(isinstance(state, running.State) for state in states)
    assert made.engine == "tuned" and made.source == "a.vtt"
    verify(made)


def test_an_engine_is_loaded_once_for_all(recording, monkeypatch):
    loads = []

    def load(args, backend, target):
        loads.append((backend, target))
        return BaselineEngine(), {"smoke": True}

    monkeypatch.setattr("mug.generation.engines.load", load)
    engine = running.SharedEngine(Namespace(model_path=Path("models/tuned"), backend="transformers"), "transformers")
    assert not engine.loaded and loads == []
    for _ in range(2):
        *_, made = running.work(engine, recording, "", threading.Event())
        assert running.SMOKE in made.notes
    assert loads == [("transformers", "models/tuned")]


def test_a_model_is_asked_as_it_was_trained_and_the_rules_as_ever(recording, monkeypatch, tmp_path):
    (tmp_path / "preprocess.json").write_text('{"tokenizer": null, "layout": "shared", "max_input_tokens": 700}')
    asked = []

    class Asked(BaselineEngine):
        def generate(self, samples):
            asked.extend(samples)
            yield from super().generate(samples)

    monkeypatch.setattr("mug.generation.engines.load", lambda *_: (Asked(), {}))
    for backend, layout in (("vllm", "shared"), ("api", "shared"), ("baseline", "separate")):
        given = Namespace(model_path=tmp_path, backend=backend, api_base="http://127.0.0.1:1/v1", api_model="qwen")
        engine = running.SharedEngine(given, backend)
        asked.clear()
        *_, made = running.work(engine, recording, "", threading.Event())
        verify(made)
        assert {bool(sample.history) for sample in asked} == {layout == "shared"}
        assert engine.prompting.layout == layout
    assert engine.prompting.options.max_input_tokens == 2400


def test_a_damaged_record_of_the_prompts_is_told_before_anything_starts(run, tmp_path):
    (tmp_path / "preprocess.json").write_text("{")
    done = run(webapp, "--backend", "api", "--api_base", "http://127.0.0.1:1/v1", "--model_path", tmp_path)
    assert done.status == 2 and done.err.count("\n") == 1 and "已损坏" in done.err
    done = run(webapp, "--backend", "api", "--api_base", "http://127.0.0.1:1/v1", "--model_path", tmp_path / "none")
    assert done.status == 2 and "--model_path" in done.err


def test_two_visitors_wait_for_each_other_at_one_model(recording):
    gate = threading.Event()
    slow = Slow(gate)
    engine = shared(slow)
    seen = {1: [], 2: []}

    def visit(number):
        seen[number].extend(running.work(engine, recording, str(number), threading.Event()))

    visitors = [threading.Thread(target=visit, args=(number,)) for number in seen]
    for visitor in visitors:
        visitor.start()
        time.sleep(0.1)
    time.sleep(1.0)
    assert {state.stage for state in seen[2]} == {"waiting"}
    gate.set()
    for visitor in visitors:
        visitor.join(20)
    assert [seen[number][-1].source for number in seen] == ["1", "2"]
    assert slow.most == 1


def test_stopping_ends_the_work_without_a_result_and_frees_the_engine(recording):
    gate, stop = threading.Event(), threading.Event()
    slow = Slow(gate)
    engine = shared(slow)
    news = running.work(engine, recording, "", stop)
    while next(news).stage != "topics":
        pass
    stop.set()
    gate.set()
    assert all(isinstance(one, running.State) for one in news)
    assert engine.lock.acquire(timeout=5)


def test_a_visitor_who_left_does_not_keep_the_engine(recording):
    gate = threading.Event()
    engine = shared(Slow(gate))
    news = running.work(engine, recording, "", threading.Event())
    while next(news).stage != "topics":
        pass
    news.close()
    gate.set()
    assert engine.lock.acquire(timeout=5)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            InputError("模型坏了；请重新下载。", "The model is broken."),
            Message("模型坏了；请重新下载。", "The model is broken."),
        ),
        (RuntimeError("CUDA out of memory"), running.FAILED),
    ],
)
def test_what_fails_is_a_sentence_and_the_next_visitor_can_go_on(recording, error, sentence, caplog):
    slow = Slow(error=error)
    engine = shared(slow)
    *_, message = running.work(engine, recording, "", threading.Event())
    assert message == sentence
    assert ("CUDA out of memory" in caplog.text) == isinstance(error, RuntimeError)
    assert WORDS[0] not in caplog.text  # no words of a meeting in a log
    slow.error = None
    *_, made = running.work(engine, recording, "", threading.Event())
    verify(made)
