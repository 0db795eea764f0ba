"""Corpus files from folders, zips and the real ModelScope SDK, the latter against a hub of our own on loopback."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import download_data
from mug.download import corpus_files

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "download_data.py"
REAL = ROOT.parent / "shared" / "data" / "real_dev3.csv"
TOKEN = "planted-token-9c1e"


def meeting(key: str) -> str:
    sentences = [{"id": 1, "speaker": "甲", "s": '他说"好"，先定地点。'}, {"id": 2, "speaker": "乙", "s": "同意。😀"}]
    return json.dumps({"meeting_key": key, "sentences": sentences}, ensure_ascii=False)


def table(*contents: str, delimiter: str = "\t", columns: tuple[str, ...] = ("idx", "content")) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(columns)
    for number, content in enumerate(contents):
        writer.writerow([content if column == "content" else str(number) for column in columns])
    return file.getvalue().encode()


def unquoted(*contents: str) -> bytes:
    """The form of the archives on ModelScope: no quotes around the JSON."""
    return "".join(["idx\tcontent\n", *(f"{i}\t{content}\n" for i, content in enumerate(contents))]).encode()


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return file.getvalue()


TRAIN, DEV = table(meeting("R1"), meeting("R2")), table(meeting("D1"))


def run(source: Path, out: Path, *args: str) -> int:
    return download_data.main(["--from", str(source), "--output_dir", str(out), *args])


def test_folder_gives_both_files_and_the_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/train_v2.csv").write_bytes(TRAIN)
    (tmp_path / "in/valid.csv").write_bytes(DEV)
    (tmp_path / "in/except_TS_test1.csv").write_bytes(DEV)
    out = tmp_path / "out"
    assert run(tmp_path / "in", out) == 0
    assert (out / "train.csv").read_bytes() == TRAIN
    assert (out / "dev.csv").read_bytes() == DEV
    assert sorted(path.name for path in out.iterdir()) == ["dev.csv", "train.csv"]
    assert capsys.readouterr().out == (
        f"已写入 {out}/train.csv：2 个会议（完整语料为 295 个）\n"
        f"已写入 {out}/dev.csv：1 个会议（完整语料为 65 个）\n"
        "下一步：python scripts/preprocess_data.py --task title_generation\n"
    )


def test_full_counts_need_no_remark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dev.csv").write_bytes(table(*(meeting(f"D{i}") for i in range(65))))
    assert run(tmp_path / "dev.csv", tmp_path / "out", "--lang", "en") == 0
    assert capsys.readouterr().out == (
        f"Wrote {tmp_path}/out/dev.csv: 65 meetings\n"
        "train.csv is still missing; when you have it: python scripts/download_data.py --from FILE.csv --split train\n"
    )


@pytest.mark.parametrize(
    "archive",
    [
        zipped(**{"MUG/data/train.csv": TRAIN, "MUG/data/dev.csv": DEV, "__MACOSX/MUG/data/._train.csv": b"\0"}),
        zipped(**{"train.zip": zipped(**{"train.csv": TRAIN}), "dev.zip": zipped(**{"dev.csv": DEV})}),
        zipped(**{"train.csv": unquoted(meeting("R1"), meeting("R2")), "dev.csv": unquoted(meeting("D1"))}),
    ],
    ids=["nested folders", "a zip a split", "unquoted"],
)
def test_zip_gives_both_files(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "corpus.zip").write_bytes(archive)
    assert run(tmp_path / "corpus.zip", tmp_path / "out") == 0
    assert (tmp_path / "out/train.csv").read_bytes() == TRAIN
    assert (tmp_path / "out/dev.csv").read_bytes() == DEV


def test_folder_of_zips_gives_both_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.zip").write_bytes(zipped(**{"train.csv": TRAIN}))
    (tmp_path / "in/dev.zip").write_bytes(zipped(**{"dev.csv": DEV}))
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert (tmp_path / "out/train.csv").read_bytes() == TRAIN
    assert (tmp_path / "out/dev.csv").read_bytes() == DEV


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/real_dev3.csv is not here")
def test_real_meetings_come_through_byte_for_byte(tmp_path: Path) -> None:
    assert run(REAL, tmp_path, "--split", "dev") == 0
    assert (tmp_path / "dev.csv").read_bytes() == REAL.read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + DEV,
        DEV.decode().encode("gb18030"),
        DEV.decode().encode("utf-16"),
        table(meeting("D1"), delimiter=","),
        table(meeting("D1"), columns=("content", "idx")),
        table(meeting("D1"), columns=("content",)),
        DEV + b"\r\n\r\n",
    ],
    ids=["BOM", "GB18030", "UTF-16", "commas", "columns turned round", "no idx", "blank rows"],
)
def test_other_forms_are_written_in_the_corpus_form(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(body)
    assert run(tmp_path / "x.csv", tmp_path / "out", "--split", "dev") == 0
    assert (tmp_path / "out/dev.csv").read_bytes() == DEV


def test_a_cell_of_any_length_is_read(tmp_path: Path) -> None:
    long = json.dumps({"sentences": [{"id": 1, "s": "长" * 200_000}]}, ensure_ascii=False)
    (tmp_path / "train.csv").write_bytes(table(long))
    assert run(tmp_path / "train.csv", tmp_path / "out") == 0
    assert (tmp_path / "out/train.csv").read_bytes() == table(long)


CUT_BY_EXCEL = ('{"sentences": [{"s": "' + "字" * 40_000)[:32767]


@pytest.mark.parametrize(
    ("dev", "said"),
    [
        (table(meeting("D1"), "NA"), "第 3 行的 content 不是合法的 JSON"),
        (table(""), "第 2 行的 content 不是合法的 JSON"),
        (table(CUT_BY_EXCEL), "第 2 行的 content 恰为 32767 个字符，可能被 Excel 截断"),
        (table("[]"), "第 2 行的 content 里没有 sentences"),
        (table('{"sentences": []}'), "第 2 行的 content 里没有 sentences"),
        (table('{"sentences": ["a"]}'), "第 2 行的 content 里没有 sentences"),
        (table(meeting("D1")) + b"1\t{}\textra\r\n", "第 3 行有 3 列，表头有 2 列"),
        (table(), "dev 部分没有任何会议"),
        (b"", "没有 content 列（找到的列：无）"),
        (b"a,b\r\n1,2\r\n", "没有 content 列（找到的列：a、b）"),
        (b"idx\tcontent\r\n0\t\xff\xff\r\n", "既不是 UTF-8 也不是 GB18030"),
        (b"\xff\xfeabc", "既不是 UTF-8 也不是 GB18030"),
    ],
)
def test_bad_rows_are_named_and_older_files_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dev: bytes, said: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.csv").write_bytes(TRAIN)
    (tmp_path / "in/dev.csv").write_bytes(dev)
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.csv").write_bytes(b"older train")
    (out / "dev.csv").write_bytes(b"older dev")
    assert run(tmp_path / "in", out) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        "train.csv": b"older train",
        "dev.csv": b"older dev",
    }


def test_sentence_list_is_a_name_of_sentences() -> None:
    assert corpus_files.fault('{"sentence_list": [{"id": 1, "s": "好"}]}') is None


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a/train.csv": TRAIN, "b/train.csv": TRAIN}, "两个文件都像 train"),
        ({"test.csv": DEV}, "没有 train*.csv 或 dev*.csv（找到的 CSV："),
        ({"notes.txt": b"x"}, "没有 train*.csv 或 dev*.csv（找到的 CSV：无）"),
    ],
)
def test_a_zip_without_a_clear_answer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, bytes], said: str
) -> None:
    (tmp_path / "x.zip").write_bytes(zipped(**files))
    assert run(tmp_path / "x.zip", tmp_path / "out") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_exact_name_and_shallow_place_win(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(
        zipped(**{"sample/train.csv": DEV, "train_topics_only.csv": DEV, "train.csv": TRAIN, "dev.csv": DEV})
    )
    assert run(tmp_path / "x.zip", tmp_path / "out") == 0
    assert (tmp_path / "out/train.csv").read_bytes() == TRAIN


def test_paths_inside_a_zip_never_leave_the_output_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.zip").write_bytes(zipped(**{"../../train.csv": TRAIN, "/tmp/evil/dev.csv": DEV}))
    before = sorted(path for path in tmp_path.rglob("*"))
    assert run(tmp_path / "in/x.zip", tmp_path / "out") == 0
    new = sorted(path for path in tmp_path.rglob("*") if path not in before)
    assert new == [tmp_path / "out", tmp_path / "out/dev.csv", tmp_path / "out/train.csv"]
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("nested", [False, True])
def test_a_zip_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nested: bool
) -> None:
    monkeypatch.setattr(corpus_files, "MAX_FILE_BYTES", 10 << 20)
    body = zipped(**{"train.csv": b"idx\tcontent\n" + b"0" * (11 << 20)})
    assert len(body) < 100_000
    (tmp_path / "x.zip").write_bytes(zipped(**{"a.zip": body}) if nested else body)
    assert run(tmp_path / "x.zip", tmp_path / "out") == 2
    assert "train.csv 超过 10 MB，不会是本语料" in capsys.readouterr().err


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = bytearray(zipped(**{"train.csv": TRAIN}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = body.index(mark) + offset
        body[place : place + 4] = struct.pack("<I", 30)
    (tmp_path / "x.zip").write_bytes(body)
    assert run(tmp_path / "x.zip", tmp_path / "out") == 2
    assert "解不开" in capsys.readouterr().err


def test_a_damaged_zip_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.zip").write_bytes(zipped(**{"train.csv": TRAIN})[:-30])
    assert run(tmp_path / "cut.zip", tmp_path / "out") == 2
    assert "不是完整的 zip 文件" in capsys.readouterr().err
    body = bytearray(zipped(**{"train.csv": TRAIN, "dev.csv": DEV}))
    body[60:70] = b"\xff" * 10
    (tmp_path / "bits.zip").write_bytes(body)
    assert run(tmp_path / "bits.zip", tmp_path / "out") == 2
    assert "解不开" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--from", "nowhere.zip"], "不存在"),
        (["--from", "x.csv"], "请加上 --split train 或 --split dev"),
        (["--from", ".", "--split", "dev"], "--split 只用于单个 CSV"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_bytes(DEV)
    assert download_data.main(args) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_full_disk_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "dev.csv").write_bytes(b"older")
    (tmp_path / "new.csv").write_bytes(DEV)
    monkeypatch.setattr(os, "fsync", full)
    assert run(tmp_path / "new.csv", tmp_path, "--split", "dev") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (tmp_path / "dev.csv").read_bytes() == b"older"


# -------------------------------------------------------------------------------------------------- ModelScope SDK


@dataclass
class FakeHub:
    """ModelScope's dataset pages and the object store behind them."""

    objects: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    tokens: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)  # objects whose connection breaks half-way, once
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200, b'{"Code": 200}')

    def do_GET(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        if url.path.startswith("/bucket/"):
            self.send_object(unquote(url.path).removeprefix("/bucket/"))
            return
        if url.path == "/":
            self.answer(200, b"")
            return
        hub.tokens.add(self.headers.get("Authorization", ""))
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        structure = {
            "default": {
                "train": {"meta": "", "file": "train.zip"},
                "validation": {"meta": "", "file": "dev.zip"},
                "test": {"meta": "", "file": "except_TS_test1.zip"},
            }
        }
        sts = {
            "AccessId": "id",
            "AccessSecret": "secret",
            "SecurityToken": "sts",
            "Bucket": "bucket",
            "Region": "oss-cn-hangzhou",
            "Dir": "public/mug",
            "BackupDir": "backup/mug",
        }
        dataset = "/api/v1/datasets/modelscope/Alimeeting4MUG"
        if hub.status != 200:
            self.answer(hub.status, b'{"Code": 10010205001, "Message": "no permission"}')
        elif url.path == f"{dataset}/repo" and query["FilePath"] == "Alimeeting4MUG.json":
            self.answer(200, json.dumps(structure).encode())
        elif url.path == dataset:
            self.data({"Id": 7, "Type": 2})
        elif url.path == "/api/v1/datasets/7/repo/tree":
            self.data({"Files": [{"Path": "Alimeeting4MUG.json"}, {"Path": "README.md"}]})
        elif url.path == f"{dataset}/ststoken":
            self.data(sts)
        elif url.path.startswith(f"{dataset}/oss/tree"):
            self.data([{"Key": name} for name in hub.objects])
        else:
            self.answer(404, b"{}")

    def data(self, value: Any) -> None:
        self.answer(200, json.dumps({"Code": 200, "Data": value}).encode())

    def send_object(self, key: str) -> None:
        name = key.removeprefix("public/mug/")
        body = self.hub.objects.get(name)
        if body is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        cut = name in self.hub.cut and self.command == "GET" and "objectMeta" not in self.path
        if self.command == "GET" and "objectMeta" not in self.path:
            self.hub.fetched.append(name)
        headers = {"ETag": '"x"', "Last-Modified": "Mon, 06 Jan 2025 00:00:00 GMT", "x-oss-request-id": "1"}
        self.answer(200, body, headers, len(body) // 2 if cut else None)
        if cut:
            self.hub.cut.remove(name)
            self.close_connection = True

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    state = FakeHub(
        objects={
            "train.zip": zipped(**{"train.csv": unquoted(meeting("R1"), meeting("R2"))}),
            "dev.zip": zipped(**{"dev.csv": unquoted(meeting("D1"))}),
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


# The SDK works out the object store's address from the region that the hub names; with acceleration on it is one
# constant, the only thing of the SDK that is changed here.
WITH_STORE = """
import runpy, sys
import modelscope.utils.constant
sys.modules["modelscope.utils.constant"].DEFAULT_DATA_ACCELERATION_ENDPOINT = sys.argv[1]
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_with_sdk(
    tmp_path: Path, url: str, *args: str, store: str | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run the script as a user does, with ModelScope at ``url`` and every other host behind a closed port."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "MODELSCOPE_ENDPOINT": url,
        "ENABLE_DATASET_ACCELERATION": "True",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "PYTHONIOENCODING": "utf-8",
        **extra,
    }
    start = [sys.executable, str(SCRIPT)] if store is None else [sys.executable, "-c", WITH_STORE, store, str(SCRIPT)]
    command = [*start, "--output_dir", str(tmp_path / "out"), *args]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120)


@pytest.mark.slow  # the SDK's datasets part takes seconds to import
def test_sdk_brings_both_files_and_leaves_no_token(tmp_path: Path, hub: FakeHub) -> None:
    hub.cut.add("train.zip")
    done = run_with_sdk(tmp_path, hub.url, store=hub.url, MODELSCOPE_SDK_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/train.csv").read_bytes() == TRAIN
    assert (tmp_path / "out/dev.csv").read_bytes() == DEV
    assert hub.fetched == ["train.zip", "train.zip", "dev.zip"]  # the first broke off
    assert done.stdout.rstrip().endswith("下一步：python scripts/preprocess_data.py --task title_generation")
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert not [path for path in (tmp_path / "home").rglob("*") if path.suffix in (".csv", ".zip", ".arrow")]
    assert TOKEN not in done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow  # the SDK's datasets part takes seconds to import
def test_sdk_that_gives_up_leaves_the_older_files(tmp_path: Path, hub: FakeHub) -> None:
    del hub.objects["dev.zip"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train.csv").write_bytes(b"older")
    done = run_with_sdk(tmp_path, hub.url, store=hub.url, MODELSCOPE_API_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "从 ModelScope 下载 validation 失败" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"train.csv": b"older"}


@pytest.mark.slow
def test_a_refused_token_is_one_sentence_without_the_token(tmp_path: Path, hub: FakeHub) -> None:
    hub.status = 403
    done = run_with_sdk(tmp_path, hub.url, MODELSCOPE_SDK_TOKEN=TOKEN)
    assert done.returncode == 2
    assert "没有给出 modelscope/Alimeeting4MUG（HTTP 403）；请检查令牌" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_no_token_says_where_to_get_one(tmp_path: Path) -> None:
    done = run_with_sdk(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "https://modelscope.cn/my/myaccesstoken" in done.stderr
    assert "--from" in done.stderr


def test_no_network_is_one_sentence_and_quick(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = run_with_sdk(tmp_path, "http://127.0.0.1:9", MODELSCOPE_SDK_TOKEN=TOKEN)
    assert time.monotonic() - begun < 20
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("连不上 modelscope（试过 http://127.0.0.1:9：ConnectionError）")
    assert "--from" in done.stderr
    assert "--source" not in done.stderr  # this script has no such option
    assert TOKEN not in done.stderr
