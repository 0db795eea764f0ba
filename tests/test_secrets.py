"""Secrets are planted wherever one may be set, every script is run, and all that comes out is searched for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from forked import Ended, Parent, forking

from mug.download.hubs import DownloadError, _broke_off, _refused, hide_tokens, no_network
from mug.generation.api_engine import ApiEngine

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "dataset" / "sample"
PLANTED = "planted-5e1c/ret+9"  # with letters that an address has to quote
# Wherever a secret of the project's users lies: tokens, keys, the web page's password, addresses with a password.
VARIABLES = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "MODELSCOPE_SDK_TOKEN", "MUG_API_KEY"]
VARIABLES += ["OPENAI_API_KEY", "API_KEY", "MUG_WEB_PASSWORD", "GRADIO_AUTH", "WANDB_API_KEY", "DASHSCOPE_API_KEY"]
PROXY = f"http://me:{quote(PLANTED, safe='')}@127.0.0.1:9"
ENVIRONMENT = {name: PLANTED for name in VARIABLES} | {
    "HTTP_PROXY": PROXY,
    "HTTPS_PROXY": PROXY,
    "MODELSCOPE_ENDPOINT": f"http://me:{quote(PLANTED, safe='')}@127.0.0.1:9",
    "HF_ENDPOINT": f"http://me:{quote(PLANTED, safe='')}@127.0.0.1:9",
}
FORMS = [PLANTED, quote(PLANTED, safe=""), quote(PLANTED), json.dumps(PLANTED).strip('"'), "5e1c"]


def leaks(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


class Repeating(BaseHTTPRequestHandler):
    """A server that says back whatever it was sent, as some do with a key that they refuse."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error": {"message": f"bad key: {self.headers['Authorization']}"}}).encode()
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeating)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    modules = ("preprocess_data", "evaluate", "score_submission", "download_data", "download_model")
    with forking(tmp_path_factory.mktemp("forked"), *modules, **ENVIRONMENT) as parent:
        yield parent


@pytest.fixture(scope="module")
def work(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    inputs = ["--train_input", SAMPLE / "train.csv", "--dev_input", SAMPLE / "dev.csv", "--task", "all"]
    ended = parent.run("preprocess_data", *inputs, "--estimate_tokens", "--output_dir", folder / "data")
    assert ended.status == 0 and not leaks(ended.out + ended.err)
    (folder / "meeting.txt").write_text("甲: 先定春游地点。\n乙: 我来订大巴。\n", "utf-8")
    return folder


DATA = ["--data_path", "W/data/dev_alpaca.json", "--num_samples", 3, "--output_path", "W/r.json"]
COMMANDS: dict[str, list[list[Any]]] = {
    "preprocess_data": [["--train_input", "W/none.csv"]],
    "evaluate": [
        ["--backend", "baseline", *DATA, "--gold", SAMPLE / "dev.csv"],
        ["--backend", "api", "--api_base", "http://127.0.0.1:9/v1", *DATA],
        ["--backend", "api", "--api_base", "SERVER", *DATA],
        ["--backend", "api", "--api_base", f"http://me:{quote(PLANTED, safe='')}@127.0.0.1:9/v1", *DATA],
        ["--backend", "api", "--api_base", f"http://127.0.0.1:9/v1?key={quote(PLANTED, safe='')}", *DATA],
        ["--backend", "api", "--api_base", "https://host.invalid/v1", *DATA],
        ["--model_path", "W/none", *DATA],
    ],
    "score_submission": [["--task", "topic_segmentation", "--gold", SAMPLE / "dev.csv"]],
    "download_data": [[], ["--from", "W/none"]],
    "download_model": [["--source", "modelscope"], ["--source", "huggingface"], ["--model_id", "x"]],
    "summarize_meeting": [["W/meeting.txt", "--output", "W/minutes.json"]],
    "export_model": [["--skip_export", "export_dir=W/none"]],
}
SLOW = {"check_setup": [[]], "check_flash_attn_env": [[]]}  # these import torch


def run_all(parent: Parent, work: Path, server: ThreadingHTTPServer, script: str, commands: list[list[Any]]) -> None:
    server.status = 401  # type: ignore[attr-defined]
    address = f"http://127.0.0.1:{server.server_port}/v1"
    for command in [["--help"], *commands]:
        arguments = [str(a).replace("W/", f"{work}/").replace("SERVER", address) for a in command]
        ended: Ended = parent.run(script, *arguments, frozen=False)
        assert "Traceback" not in ended.err, ended.err
        assert not leaks(ended.out + ended.err), (script, arguments, ended)
    for folder in (work, parent.folder):
        found = [path for path in folder.rglob("*") if path.is_file() and leaks(path.read_text("utf-8", "replace"))]
        assert not found, found


@pytest.mark.parametrize("script", COMMANDS)
def test_no_script_says_or_writes_a_planted_secret(parent, work, server, script):
    run_all(parent, work, server, script, COMMANDS[script])


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted({p.stem for p in (ROOT / "scripts").glob("*.py")} - set(COMMANDS)))
def test_nor_do_the_scripts_that_need_torch(parent, work, server, script):
    run_all(parent, work, server, script, SLOW.get(script, [["--lang", "en"]]))


@pytest.mark.parametrize("status", [401, 403, 400, 404, 422])
def test_a_server_that_repeats_the_key_is_cleared_of_it(parent, work, server, status):
    server.status = status
    address = f"http://127.0.0.1:{server.server_port}/v1"
    command = ["--backend", "api", "--api_base", address, "--data_path", work / "data" / "dev_alpaca.json"]
    ended = parent.run("evaluate", *command, "--output_path", work / "s.json", "--num_samples", 1, frozen=False)
    assert ended.status == 2 and not leaks(ended.out + ended.err)
    for path in work.glob("s.*"):
        assert not leaks(path.read_text("utf-8"))
        path.unlink()


@pytest.mark.parametrize("proxy", ["ftp://me:%s@h:1", "http://me:%s@h:bad", "socks9://me:%s@127.0.0.1:9"])
def test_a_proxy_that_is_none_is_one_sentence_without_its_password(parent, work, proxy):
    command = ["--backend", "api", "--api_base", "https://host.invalid/v1", "--num_samples", 1]
    command += ["--data_path", work / "data" / "dev_alpaca.json", "--output_path", work / "p.json"]
    ended = parent.run("evaluate", *command, frozen=False, HTTPS_PROXY=proxy % "5e1c")
    assert ended.status == 2 and len(ended.err.splitlines()) == 1 and not leaks(ended.out + ended.err), ended


def test_an_engine_shows_no_key_in_any_of_its_faces(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, PLANTED)
    engine = ApiEngine("http://127.0.0.1:9/v1", "m")
    assert not leaks(f"{engine!r} {engine} {json.dumps(engine.fingerprint)}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {PLANTED} refused", "token *** refused"),
        (f"GET /x?t={quote(PLANTED, safe='')} failed", "GET /x?t=*** failed"),
        ("https://me:pa@ss@host/v1 refused", "https://***@host/v1 refused"),
        ("socks5://u:p@127.0.0.1:1080", "socks5://***@127.0.0.1:1080"),
        ("https://store/f?Signature=ab&Expires=1 timed out", "https://store/f?*** timed out"),
        ("mail me@host about https://host/a", "mail me@host about https://host/a"),
        ("什么也没有", "什么也没有"),
    ],
)
def test_what_an_address_or_the_environment_holds_is_hidden(monkeypatch, text, shown):
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    assert hide_tokens(text) == shown


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_errors_of_the_libraries_are_told_without_what_their_addresses_hold(monkeypatch, name):
    import httpx
    import requests

    monkeypatch.setenv("MODELSCOPE_API_TOKEN", PLANTED)
    url = f"https://me:{PLANTED}@mirror/v1"
    for error in (
        httpx.ConnectError(url),
        requests.ConnectionError(f"{url}?key={PLANTED}"),
        OSError(url),
        ValueError(url),
    ):
        told = [no_network(name, url, error), _refused(name, url, "a/b", None, None, error), _broke_off(error)]
        told += [_refused(name, url, "a/b", "main", 403, error)]
        for one in told:
            assert isinstance(one, DownloadError | Exception)
            assert not leaks(f"{one} {one!r} {one.message}"), one


def test_tokens_are_read_from_the_environment_only():
    """No option of any script takes a secret: it would stand in the list of processes and in the shell's history."""
    for path in (ROOT / "scripts").rglob("*.py"):
        options = re.findall(r'"(--[\w-]+)"', path.read_text("utf-8"))
        assert not [o for o in options if re.search(r"(api_?key|secret|password|passwd|(^|_)token$)", o[2:])], path


def test_no_configuration_holds_a_secret():
    secret = re.compile(r"(hf_hub_token|ms_hub_token|om_hub_token|api_key|password|swanlab_api_key)\s*[:=]\s*\S")
    for path in [*ROOT.glob("configs/**/*"), ROOT / "setup.sh", *ROOT.glob("scripts/*.sh"), ROOT / "Makefile"]:
        if path.is_file():
            assert not secret.search(path.read_text("utf-8")), path


@pytest.mark.slow
def test_neither_the_tiny_model_nor_its_card_holds_a_planted_secret(parent, tmp_path):
    """The card of a trained adapter is LLaMA-Factory's; ours is the only one that this project writes."""
    if shutil.which("llamafactory-cli") is None and not Path(os.sys.executable).with_name("llamafactory-cli").exists():
        pytest.skip("needs the libraries of training")
    command = ["--output", tmp_path / "model", "--corpus", SAMPLE / "train.csv"]
    ended = parent.run("make_smoke_model", *command, frozen=False, HF_HUB_OFFLINE="1")
    assert ended.status == 0, ended.err
    written = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert (tmp_path / "model" / "README.md") in written
    assert not [path for path in written if leaks(path.read_bytes().decode("utf-8", "replace"))]
    assert not leaks(ended.out + ended.err)
