"""The API engine against a small server on loopback that answers as it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mug.errors import InputError
from mug.generation.api_engine import ApiEngine, normalise_address, seconds_to_wait
from mug.generation.base import Completion, user_message
from mug.tasks.base import SYSTEM, Sample

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
KEY = "sk-planted-7f3a9c"
Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and a body: bytes as they are, everything else as JSON."""


def chat(text: str | None, finish: str = "stop") -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {}, {"choices": [choice], "usage": {"completion_tokens": 3}}


class Server:
    """Answers what ``reply`` says to a request's JSON; keeps what it was sent."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.under_way = 0
        self.most_under_way = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.paths.append(self.path)
                    outer.times.append(time.monotonic())
                    outer.under_way += 1
                    outer.most_under_way = max(outer.most_under_way, outer.under_way)
                status, headers, content = reply(body)
                with lock:
                    outer.under_way -= 1
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    for name, value in ({"Content-Length": str(len(data))} | headers).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # the engine was stopped and did not wait for this
                    self.close_connection = True
                if int(headers.get("Content-Length", len(data))) != len(data):
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:  # a client that is gone
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any]], Reply]], Server]]:
    servers: list[Server] = []

    def start(reply: Callable[[dict[str, Any]], Reply]) -> Server:
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MUG_API_KEY", KEY)


def samples(number: int) -> list[Sample]:
    return [Sample(f"T1/title/{index}", "生成标题。", f"会议内容：\n[甲]: 第{index}段。") for index in range(number)]


def said(body: dict[str, Any]) -> str:
    return body["messages"][1]["content"]


def engine(server: Server | str, **options: Any) -> ApiEngine:
    address = server if isinstance(server, str) else server.address
    return ApiEngine(address, "smoke", **({"backoff": 0.01, "retries": 3, "timeout": 5.0} | options))


def ask(server: Server | str, number: int = 1, **options: Any) -> list[Completion]:
    found = dict(engine(server, **options).generate(samples(number)))
    return [found[index] for index in range(number)]


# ------------------------------------------------------------------------------------------------ what is sent


def test_one_request_is_the_prompt_of_training_and_greedy(serve):
    server = serve(lambda body: chat("定春游地点"))
    assert ask(server, max_new_tokens=64) == [Completion("定春游地点", "stop", 3)]
    assert server.paths == ["/v1/chat/completions"]
    assert server.bodies == [
        {
            "model": "smoke",
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": user_message(samples(1)[0])},
            ],
            "temperature": 0,
            "max_tokens": 64,
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_authorization_is_sent(serve, monkeypatch):
    monkeypatch.delenv("MUG_API_KEY")
    server = serve(lambda body: chat("好"))
    ask(server)
    assert "Authorization" not in server.headers[0]


def test_our_own_variable_goes_before_the_common_one(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
    server = serve(lambda body: chat("好"))
    ask(server)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(serve, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(serve(lambda body: chat("好")))[0].text == "好"


def test_half_an_emoji_in_a_prompt_is_sent(serve):
    server = serve(lambda body: chat("好"))
    assert list(engine(server).generate([Sample("x", "生成标题。", "好的\ud83d")]))
    assert said(server.bodies[0]).endswith("好的\ud83d")


# ------------------------------------------------------------------------------------------------ what comes back


def test_every_answer_goes_to_its_prompt_whatever_the_order(serve):
    def reply(body: dict[str, Any]) -> Reply:
        number = int(said(body).rsplit("第", 1)[1].removesuffix("段。"))
        time.sleep(0.15 if number == 0 else 0.0)
        return chat(f"标题{number}")

    server = serve(reply)
    found = list(engine(server, concurrency=4).generate(samples(20)))
    assert sorted(found) == [(index, Completion(f"标题{index}", "stop", 3)) for index in range(20)]
    assert found[0][0] != 0  # as they finish, not as they were sent


def test_requests_are_under_way_at_the_same_time(serve):
    server = serve(lambda body: (time.sleep(0.1), chat("好"))[1])
    started = time.monotonic()
    ask(server, 16, concurrency=8)
    assert 2 <= server.most_under_way <= 8
    assert time.monotonic() - started < 16 * 0.1


def test_an_answer_at_the_token_limit_says_so(serve):
    assert ask(serve(lambda body: chat("定春游", "length")))[0].finish == "length"


def test_null_content_is_an_empty_answer(serve):
    assert ask(serve(lambda body: chat(None)))[0].text == ""


def test_no_samples_no_request(serve):
    server = serve(lambda body: chat("好"))
    assert list(engine(server).generate([])) == [] and server.bodies == []


# ------------------------------------------------------------------------------------------------ failures that pass


def in_turn(*replies: Reply) -> Callable[[dict[str, Any]], Reply]:
    left = list(replies)
    return lambda body: left.pop(0)


def test_a_server_that_is_busy_twice_is_asked_a_third_time(serve):
    server = serve(in_turn((503, {}, b"busy"), (500, {}, b"<html>"), chat("好")))
    assert ask(server)[0].text == "好" and len(server.bodies) == 3


def test_retry_after_is_waited_for(serve):
    server = serve(in_turn((429, {"Retry-After": "1"}, {"error": {"message": "slow down"}}), chat("好")))
    assert ask(server)[0].text == "好"
    assert server.times[1] - server.times[0] >= 1.0


def test_without_retry_after_the_waits_grow(serve):
    server = serve(in_turn(*[(503, {}, b"")] * 3, chat("好")))
    ask(server, backoff=0.05)
    gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert gaps[0] >= 0.03 and gaps[2] > gaps[0]


@pytest.mark.parametrize(
    "broken",
    [
        (200, {}, b'{"choices": [{"mess'),
        (200, {}, b"<html>\xe6\x97</html>"),
        (200, {}, {"choices": []}),
        (200, {}, {"choices": [{"message": "no object"}]}),
        (200, {}, ["choices"]),
        (200, {}, {"choices": [{"message": {"content": 7}}]}),
        (200, {"Content-Length": "1000"}, b"{"),
    ],
)
def test_a_broken_answer_is_asked_for_again(serve, broken):
    assert ask(serve(in_turn(broken, chat("好"))))[0].text == "好"


def test_a_server_that_stays_broken_is_named_with_the_sample(serve):
    server = serve(lambda body: (502, {}, b"bad gateway"))
    with pytest.raises(InputError) as caught:
        ask(server, retries=2)
    assert len(server.bodies) == 3
    for said_in in caught.value.message:
        assert server.address in said_in and "T1/title/0" in said_in and "HTTP 502" in said_in


def test_answers_before_a_failure_are_kept(serve):
    server = serve(in_turn(chat("好"), chat("好"), (400, {}, {"error": {"message": "no"}})))
    found = []
    with pytest.raises(InputError):
        for index, _ in engine(server, concurrency=1).generate(samples(3)):
            found.append(index)
    assert found == [0, 1]


def test_a_request_that_takes_too_long_is_given_up(serve):
    server = serve(lambda body: (time.sleep(1.0), chat("好"))[1])
    with pytest.raises(InputError, match="ReadTimeout"):
        ask(server, timeout=0.1, retries=1)


# ------------------------------------------------------------------------------------------------ failures that stay


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_the_variable_and_not_the_key(serve, status):
    server = serve(lambda body: (status, {}, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    with pytest.raises(InputError) as caught:
        ask(server)
    assert len(server.bodies) == 1  # asking again would not help
    for text in (*caught.value.message, repr(caught.value)):
        assert KEY not in text
    assert all("MUG_API_KEY" in text and "OPENAI_API_KEY" in text for text in caught.value.message)
    assert "now set" in caught.value.message.en


def test_a_missing_key_is_said_to_be_missing(serve, monkeypatch):
    monkeypatch.delenv("MUG_API_KEY")
    with pytest.raises(InputError, match="未设置"):
        ask(serve(lambda body: (401, {}, {"detail": "Invalid API key."})))


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",  # vLLM, OpenAI
        "Range of input length should be [1, 30720]",  # DashScope
        "The prompt (length 5000) is longer than the maximum model length of 4096.",
    ],
)
def test_a_prompt_too_long_names_its_sample(serve, message):
    server = serve(lambda body: (400, {}, {"error": {"message": message}}))
    with pytest.raises(InputError) as caught:
        ask(server)
    assert all("T1/title/0" in text and "--max_input_tokens" in text for text in caught.value.message)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((404, {}, {"error": {"message": "The model `smoke` does not exist."}}), "does not exist"),
        ((404, {}, b"<html>Not Found</html>"), "Not Found"),
        ((400, {}, {"detail": "Only supports u/a/u/a/u..."}), "Only supports"),
        ((400, {}, {"error": "enable_thinking must be false"}), "enable_thinking"),
        ((405, {}, b""), "405"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "302"),
    ],
)
def test_other_refusals_are_passed_on_in_the_servers_words(serve, reply, says):
    server = serve(lambda body: reply)
    with pytest.raises(InputError, match=says):
        ask(server)
    assert len(server.bodies) == 1


def test_what_a_server_says_is_cleared_of_the_key_and_cut(serve):
    server = serve(lambda body: (400, {}, {"error": {"message": f"{KEY} \n" + "长" * 5000}}))
    with pytest.raises(InputError) as caught:
        ask(server)
    for text in caught.value.message:
        assert KEY not in text and len(text) < 500 and "\n" not in text


def test_no_server_is_said_at_once(free_port):
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        ask(f"http://127.0.0.1:{free_port}", backoff=30.0)
    assert time.monotonic() - started < 5
    assert all(f"127.0.0.1:{free_port}/v1" in text and "llamafactory-cli api" in text for text in caught.value.message)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ------------------------------------------------------------------------------------------------ address and key


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        (" http://127.0.0.1:8000/v1/ ", "http://127.0.0.1:8000/v1"),
        ("http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1"),
        (
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ),
    ],
)
def test_addresses(given, used):
    assert normalise_address(given) == used


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:8000", "ftp://x/v1", "http://", "http://a:b@h/v1", "http://h/v1?key=secret", "http://h:99999/v1"],
)
def test_addresses_that_are_none_or_hold_a_secret(address):
    with pytest.raises(InputError) as caught:
        normalise_address(address)
    assert "secret" not in caught.value.message.en and "a:b" not in caught.value.message.en


def test_the_key_is_nowhere_to_be_seen(serve):
    found = engine(serve(lambda body: chat("好")))
    assert KEY not in json.dumps(found.fingerprint) + repr(found) + str(found)


@pytest.mark.parametrize("value", ["sk-密钥", "sk-a\nb", "sk a"])
def test_a_key_that_no_header_can_carry(monkeypatch, value):
    monkeypatch.setenv("MUG_API_KEY", value)
    with pytest.raises(InputError) as caught:
        engine("http://127.0.0.1:8000")
    assert value not in caught.value.message.en and "MUG_API_KEY" in caught.value.message.en


def test_the_line_break_after_a_pasted_key_does_not_matter(serve, monkeypatch):
    monkeypatch.setenv("MUG_API_KEY", f"{KEY}\n")
    server = serve(lambda body: chat("好"))
    ask(server)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_the_fingerprint_knows_the_server_and_the_model():
    first = ApiEngine("http://127.0.0.1:8000", "a").fingerprint
    assert first == ApiEngine("http://127.0.0.1:8000/v1/", "a", concurrency=2, timeout=9).fingerprint
    assert first != ApiEngine("http://127.0.0.1:8001", "a").fingerprint
    assert first != ApiEngine("http://127.0.0.1:8000", "b").fingerprint


def test_retry_after_may_be_a_date():
    assert seconds_to_wait("Wed, 21 Oct 2065 07:28:00 GMT") > 1e8
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


# ------------------------------------------------------------------------------------------------ stopping


def test_leaving_the_iteration_sends_no_more(serve):
    server = serve(lambda body: (time.sleep(0.05), chat("好"))[1])
    answers = engine(server, concurrency=2).generate(samples(50))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    assert len(server.bodies) <= 5


def test_leaving_while_a_retry_waits_is_quick(serve):
    server = serve(lambda body: (503, {}, b"") if "第1段" in said(body) else chat("好"))
    answers = engine(server, concurrency=2, backoff=60.0).generate(samples(2))
    assert next(answers)[0] == 0
    started = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 1


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_ends_the_process_although_a_request_is_under_way(serve):
    server = serve(lambda body: (time.sleep(30), chat("好"))[1])
    code = (
        "import sys\n"
        "from mug.generation.api_engine import ApiEngine\n"
        "from mug.tasks.base import Sample\n"
        "engine = ApiEngine(sys.argv[1], 'smoke', timeout=60)\n"
        "try:\n"
        "    list(engine.generate([Sample('x', 'y', 'z')] * 4))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.address], cwd=SCRIPTS, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while len(server.bodies) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=5)
    finally:
        child.kill()
    assert (child.returncode, err) == (7, b"")
