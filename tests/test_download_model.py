"""The real SDKs against hubs of our own on loopback; nothing here asks an outside host."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

import download_model
from mug.download.hubs import RemoteFile, bytes_missing, check_disk, check_names, faults, without_pickles
from mug.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "download_model.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "planted-token-7f3a"
MEGABYTE = 1 << 20


def model_files() -> dict[str, bytes]:
    """A model of two shards, large enough that a cut connection leaves a part behind."""
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) * (3 * MEGABYTE) for i in (1, 2)}
    index = {
        "metadata": {},
        "weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.weight": list(shards)[1]},
    }
    return {
        "config.json": b'{"model_type": "qwen2"}\n',
        "tokenizer.json": b"{}\n",
        "model.safetensors.index.json": json.dumps(index).encode(),
        "pytorch_model.bin": b"pickle",
        **shards,
    }


@dataclass
class FakeHub:
    """What both hubs' servers hold: the files, what to do wrong, and what was asked."""

    files: dict[str, bytes] = field(default_factory=model_files)
    listed_sizes: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)  # path -> bytes after which its connection breaks, once
    status: int = 200
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path of the file, Range
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def size(self, path: str) -> int:
        return self.listed_sizes.get(path, len(self.files[path]))

    def ranges(self, path: str) -> list[str]:
        return [wanted for method, asked, wanted in self.asked if method == "GET" and asked == path]


class Handler(BaseHTTPRequestHandler):
    """ModelScope's /api/v1 and Hugging Face's /api and /resolve, for one model."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        if "/resolve/" not in self.path:
            self.answer(200, b"")
            return
        path = self.path.split("/resolve/", 1)[1].split("/", 1)[1]
        body = self.hub.files[path]
        self.answer(200, body, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'})

    def do_GET(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        hub.tokens.add(self.headers.get("Authorization", ""))
        if hub.status != 200:
            self.answer(hub.status, b'{"Code": 1, "Message": "no"}', {"X-Error-Code": "RepoNotFound"})
        elif url.path.endswith("/repo/files"):
            files: list[dict[str, Any]] = [{"Path": "docs", "Size": 0, "Type": "tree"}]
            files += [
                {"Path": path, "Size": hub.size(path), "Type": "blob", "Sha256": hashlib.sha256(body).hexdigest()}
                for path, body in hub.files.items()
            ]
            self.answer(200, json.dumps({"Code": 200, "Data": {"Files": files}}).encode())
        elif url.path.endswith("/repo"):
            self.send_file(query["FilePath"])
        elif "/tree/" in url.path:
            tree = [{"type": "file", "path": path, "size": hub.size(path), "oid": "0" * 40} for path in hub.files]
            self.answer(200, json.dumps(tree).encode())
        elif url.path.startswith("/api/models/"):
            siblings = [{"rfilename": path, "size": hub.size(path), "blobId": "0" * 40} for path in hub.files]
            info = {"id": "Qwen/Qwen2.5-7B", "sha": COMMIT, "siblings": siblings}
            self.answer(200, json.dumps(info).encode())
        elif "/resolve/" in url.path:
            self.send_file(url.path.split("/resolve/", 1)[1].split("/", 1)[1])
        else:
            self.answer(404, b"{}")

    def send_file(self, path: str) -> None:
        body = self.hub.files[path]
        wanted = self.headers.get("Range", "")
        self.hub.asked.append(("GET", path, wanted))
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if wanted else {}
        self.answer(206 if wanted else 200, body[start:], headers, self.hub.cut.pop(path, None))

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub on loopback."""
    state = FakeHub()
    handler = type("BoundHandler", (Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


def run(tmp_path: Path, url: str, *args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a user does, with both hubs at ``url`` and every other host behind a closed port."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MODELSCOPE_ENDPOINT": url,
        "HF_ENDPOINT": url,
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "PYTHONIOENCODING": "utf-8",
        **extra,
    }
    command = [sys.executable, str(SCRIPT), "--cache_dir", str(tmp_path / "models"), *args]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120)


def brought(tmp_path: Path) -> dict[str, bytes]:
    """The model's files as they lie on the disk, without the SDKs' records."""
    folder = tmp_path / "models" / "Qwen" / "Qwen2.5-7B"
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: body for name, body in found.items() if not name.startswith(".")}


def safe_files(hub: FakeHub) -> dict[str, bytes]:
    return {name: body for name, body in hub.files.items() if not name.endswith(".bin")}


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_model_arrives_whole_without_pickles_and_the_next_command_is_named(
    tmp_path: Path, hub: FakeHub, source: str
) -> None:
    done = run(tmp_path, hub.url, "--source", source)
    assert done.returncode == 0, done.stderr
    assert brought(tmp_path) == safe_files(hub)
    assert f"模型在 {tmp_path}/models/Qwen/Qwen2.5-7B" in done.stdout
    assert "不下载 pickle 权重：pytorch_model.bin" in done.stdout
    assert done.stdout.rstrip().endswith("下一步：python scripts/download_data.py")


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_second_run_fetches_nothing_again(tmp_path: Path, hub: FakeHub, source: str) -> None:
    assert run(tmp_path, hub.url, "--source", source).returncode == 0
    hub.asked.clear()
    done = run(tmp_path, hub.url, "--source", source)
    assert done.returncode == 0, done.stderr
    assert hub.asked == []
    assert "还需下载 0.0 KB" in done.stdout


def test_cut_connection_goes_on_where_it_broke_with_modelscope(tmp_path: Path, hub: FakeHub) -> None:
    shard = "model-00002-of-00002.safetensors"
    hub.cut[shard] = 2 * MEGABYTE
    done = run(tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    assert hub.ranges(shard) == ["", f"bytes={2 * MEGABYTE}-"]
    assert brought(tmp_path) == safe_files(hub)


def test_broken_run_goes_on_in_the_next_run_with_modelscope(tmp_path: Path, hub: FakeHub) -> None:
    shard = "model-00002-of-00002.safetensors"
    hub.cut[shard] = 2 * MEGABYTE
    broken = run(tmp_path, hub.url, MODELSCOPE_DOWNLOAD_MAX_RETRIES="0")
    assert broken.returncode == 1
    assert "再运行同一条命令即可接着下载" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert shard not in brought(tmp_path)  # a part never bears the name of a whole file
    done = run(tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    assert "还需下载 1.0 MB" in done.stdout
    assert hub.ranges(shard) == ["", f"bytes={2 * MEGABYTE}-"]
    assert hub.ranges("model-00001-of-00002.safetensors") == [""]
    assert brought(tmp_path) == safe_files(hub)


def test_cut_connection_goes_on_where_it_broke_with_huggingface(tmp_path: Path, hub: FakeHub) -> None:
    # That SDK writes 10 MiB at a time, so a smaller part would be lost and asked for again.
    shard = "model-00002-of-00002.safetensors"
    hub.files[shard] = os.urandom(MEGABYTE) * 24
    hub.cut[shard] = 15 * MEGABYTE
    done = run(tmp_path, hub.url, "--source", "huggingface")
    assert done.returncode == 0, done.stderr
    assert hub.ranges(shard) == ["", f"bytes={10 * MEGABYTE}-"]
    assert brought(tmp_path) == safe_files(hub)


def test_left_over_parts_of_killed_runs_are_removed_with_huggingface(tmp_path: Path, hub: FakeHub) -> None:
    part = tmp_path / "models/Qwen/Qwen2.5-7B/.cache/huggingface/download/x.1234abcd.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"left by a killed run")
    assert run(tmp_path, hub.url, "--source", "huggingface").returncode == 0
    assert not part.exists()


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_size_unlike_the_list_is_an_error_after_the_download(tmp_path: Path, hub: FakeHub, source: str) -> None:
    hub.listed_sizes["tokenizer.json"] = 30
    done = run(tmp_path, hub.url, "--source", source, MODELSCOPE_DOWNLOAD_MAX_RETRIES="0")
    assert done.returncode == 1
    assert "tokenizer.json" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "下一步" not in done.stdout


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_no_network_is_one_sentence_and_quick(tmp_path: Path, source: str) -> None:
    begun = time.monotonic()
    done = run(tmp_path, "http://127.0.0.1:9", "--source", source)
    assert time.monotonic() - begun < 20
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"连不上 {source}（试过 http://127.0.0.1:9：ConnectionError）")
    for way_out in ("HTTPS_PROXY", "--source", "HF_ENDPOINT" if source == "huggingface" else "MODELSCOPE_ENDPOINT"):
        assert way_out in done.stderr


def test_no_network_speaks_english_when_asked(tmp_path: Path) -> None:
    done = run(tmp_path, "http://127.0.0.1:9", "--lang", "en")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Can't reach modelscope (tried http://127.0.0.1:9: ConnectionError)")


@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_model_that_is_not_given_is_one_sentence(tmp_path: Path, hub: FakeHub, source: str, status: int) -> None:
    hub.status = status
    done = run(tmp_path, hub.url, "--source", source, "--model_id", "Qwen/Nothing")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"没有给出模型 Qwen/Nothing（HTTP {status}）" in done.stderr


@pytest.mark.parametrize(("source", "variable"), [("modelscope", "MODELSCOPE_API_TOKEN"), ("huggingface", "HF_TOKEN")])
@pytest.mark.parametrize("status", [200, 403])
def test_token_is_sent_and_never_shown_or_kept(
    tmp_path: Path, hub: FakeHub, source: str, variable: str, status: int
) -> None:
    hub.status = status
    done = run(tmp_path, hub.url, "--source", source, **{variable: TOKEN})
    assert done.returncode == (0 if status == 200 else 2), done.stderr
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_too_little_disk_is_said_before_anything_is_fetched(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10**8))
    status = download_model.main(["--source", "huggingface", "--cache_dir", str(tmp_path / "models")])
    assert status == 2
    assert capsys.readouterr().err == (
        f"磁盘空间不足：还需 543.2 MB，{tmp_path} 只剩 100.0 MB；请清理磁盘，或用 --cache_dir 换一个位置。\n"
    )
    assert hub.asked == []
    assert not (tmp_path / "models").exists()


def test_disk_check_counts_only_what_is_still_to_come(tmp_path: Path) -> None:
    files = [RemoteFile("a.safetensors", 100), RemoteFile("b.safetensors", 100), RemoteFile("c.safetensors", 100)]
    (tmp_path / "a.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "b.safetensors.incomplete").write_bytes(b"x" * 40)
    (tmp_path / "c.safetensors").write_bytes(b"x" * 7)  # a wrong size is fetched anew
    assert bytes_missing(tmp_path, files) == 160
    check_disk(tmp_path, 0)


def test_without_safetensors_the_pickles_stay() -> None:
    files = [RemoteFile("pytorch_model.bin", 1), RemoteFile("config.json", 1)]
    assert without_pickles(files) == (files, [])


def test_missing_shard_and_unreadable_index_are_faults(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}')
    (tmp_path / "1.safetensors").write_bytes(b"x")
    listed = [RemoteFile(index.name, index.stat().st_size), RemoteFile("1.safetensors", 1), RemoteFile("x.json", 1)]
    assert [fault.en for fault in faults(tmp_path, listed)] == [
        "x.json is missing",
        f"the shard 2.safetensors of {index.name} is missing",
    ]
    index.write_text("{" + " " * (listed[0].size - 1))
    assert faults(tmp_path, listed[:1])[0].en == f"{index.name} has no readable list of shards"


@pytest.mark.parametrize("path", ["../evil.json", "/etc/x", "a/../../b", "a\\b"])
def test_a_list_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="越界"):
        check_names([RemoteFile(path, 1)])


def test_a_model_without_weights_is_refused(tmp_path: Path, hub: FakeHub) -> None:
    hub.files = {"README.md": b"moved"}
    done = run(tmp_path, hub.url)
    assert done.returncode == 2
    assert "没有权重文件" in done.stderr


@pytest.mark.parametrize("model_id", ["Qwen2.5-7B", "../x/y", "../..", "Qwen/../x"])
def test_a_model_id_of_another_form_is_refused(model_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert download_model.main(["--model_id", model_id]) == 2
    assert "所有者/名称" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ --set_config

YAML = (
    b"# Assumes: python scripts/download_model.py\r\n"
    b"### model\r\n"
    b"model_name_or_path:   Qwen/Qwen2.5-7B   # \xe5\x9f\xba\xe5\xba\xa7  (any size)\r\n"
    b"#model_name_or_path: Qwen/Qwen2.5-3B\r\n"
    b"trust_remote_code: true\t# tab\r\n\r\n"
    b"### method\r\nlora_target: all\n"
    b"lora_rank:    64"
)


def test_set_config_keeps_every_other_byte(tmp_path: Path, hub: FakeHub) -> None:
    config = tmp_path / "train.yaml"
    config.write_bytes(YAML)
    done = run(tmp_path, hub.url, "--set_config", str(config))
    assert done.returncode == 0, done.stderr
    path = f"{tmp_path}/models/Qwen/Qwen2.5-7B"
    assert config.read_bytes() == YAML.replace(b"  Qwen/Qwen2.5-7B", f"  {path}".encode(), 1)
    assert f"{config}: model_name_or_path: {path}" in done.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model_name_or_path: a/b", "model_name_or_path: /m/x"),
        ("model_name_or_path: 'it''s'  # c", "model_name_or_path: /m/x  # c"),
        ('model_name_or_path: "a # b"\n', "model_name_or_path: /m/x\n"),
        ("model_name_or_path: a#b # c\n", "model_name_or_path: /m/x # c\n"),
        ("model_name_or_path:\n", "model_name_or_path: /m/x\n"),
        ("model_name_or_path: # fill in\n", "model_name_or_path: /m/x # fill in\n"),
        ("a:\n  model_name_or_path: a/b\n", "a:\n  model_name_or_path: a/b\n"),
        ("ref_model_name_or_path: a/b\n", "ref_model_name_or_path: a/b\n"),
    ],
)
def test_value_is_replaced_however_it_is_written(before: str, after: str) -> None:
    assert download_model.with_model(before, "/m/x") == after


@pytest.mark.parametrize(
    "path", ["/data/模型/Qwen", "/my models/x", "/a b #1/x", "/it's/x", "C:/m: x/y", "123", "/x "]
)
def test_any_path_is_read_back_as_it_was_written(path: str) -> None:
    text = download_model.with_model("model_name_or_path: a/b  # c\nx: 1\n", path)
    assert yaml.safe_load(text) == {"model_name_or_path": path, "x": 1}


def test_default_set_is_the_hub_ids_and_earlier_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_model, "ROOT", tmp_path)
    models = {
        "train_lora.yaml": "Qwen/Qwen2.5-7B",
        "other_size.yaml": "Qwen/Qwen2.5-3B",
        "gpu/earlier.yaml": "models/Qwen/Qwen2.5-14B",
        "elsewhere.yaml": "/data/old/Qwen/Qwen2.5-7B",
        "train_smoke.yaml": "Qwen/Qwen2.5-7B",
        "tiny.yaml": "outputs/tiny",
        "merged.yaml": "outputs/merged/model",
        "none.yaml": "",
    }
    for name, model in models.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"model_name_or_path: {model}\n" if model else "template: qwen\n")
    found = download_model.default_configs("Qwen/Qwen2.5-7B", tmp_path / "models")
    assert [path.relative_to(tmp_path / "configs").as_posix() for path in found] == [
        "elsewhere.yaml",
        "gpu/earlier.yaml",
        "other_size.yaml",
        "train_lora.yaml",
    ]


def test_path_in_the_project_is_written_relative_to_it() -> None:
    assert download_model.path_for_config(ROOT / "models/Qwen/Qwen2.5-7B") == "models/Qwen/Qwen2.5-7B"
    assert download_model.path_for_config(Path("/data/Qwen/Qwen2.5-7B")) == "/data/Qwen/Qwen2.5-7B"


@pytest.mark.parametrize("content", [None, b"template: qwen\n", b"model_name_or_path: \xff\n"])
def test_a_named_file_that_can_not_be_set_is_refused_before_the_download(
    tmp_path: Path, hub: FakeHub, content: bytes | None
) -> None:
    config = tmp_path / "x.yaml"
    if content is not None:
        config.write_bytes(content)
    done = run(tmp_path, hub.url, "--set_config", str(config))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(config) in done.stderr
    assert hub.asked == []
