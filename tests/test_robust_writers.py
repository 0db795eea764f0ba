"""Whatever stops a script while it writes: older files stay or new ones are whole, and a rerun succeeds."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from forked import Parent, forking
from test_download_model import FakeHub, Handler

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "dataset" / "sample"
TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
KILLS = 20


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shown(folder: Path) -> dict[str, bytes]:
    """What a user sees: all but hidden files."""
    return {name: content for name, content in contents(folder).items() if not Path(name).name.startswith(".")}


# -------------------------------------------------------------------------------------- one place writes files


WRITING_MODES = re.compile(r"[wax+]")
# Beside mug/files.py: what grows line by line, its torn tail cut off (answers, corrections); copies in a temporary
# folder or without a name, which nobody reads after the process; the null device in place of an output that is gone.
ALLOWED = {
    "mug/corrections.py": {
        "os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 384)",
        'os.fdopen(descriptor, "r+b", buffering=0)',
    },
    "mug/transcripts/reading.py": {'pasted.write_bytes(text.encode("utf-8", "replace"))'},
    "mug/web/sessions.py": {'(self.folder / _LOCK).open("w")'},
    "mug/web/page.py": {"shutil.copyfile(path, session.upload)"},
    "mug/predictions.py": {'path.open("ab")', 'path.open("r+b")'},
    "mug/minutes/remembering.py": {'path.open("r+b")'},
    "mug/download/corpus_files.py": {"tempfile.TemporaryFile()"},
    "mug/command.py": {"os.open(os.devnull, os.O_WRONLY)"},
}
# The models of make_smoke_model.py are written by transformers, into a folder that only it uses; a DOCX file is made
# in memory first.
LIBRARIES = {
    "mug/minutes/docx.py": {"document.save(saved)"},
    "make_smoke_model.py": {"tokenizer.save_pretrained(args.output)", "model.save_pretrained(args.output)"},
}


def writes(call: ast.Call) -> bool:
    """Say whether a call opens, makes, moves or copies a file on its own."""
    function = call.func
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    texts = [ast.unparse(argument) for argument in [*call.args, *(keyword.value for keyword in call.keywords)]]
    if name == "open" and owner == "os":
        return any(flag in " ".join(texts) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT"))
    if name in ("open", "fdopen"):
        modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        modes += [k.value.value for k in call.keywords if k.arg == "mode" and isinstance(k.value, ast.Constant)]
        return any(len(mode) <= 4 and WRITING_MODES.search(mode) for mode in modes)
    if name in ("write_text", "write_bytes"):
        return bool(owner) and owner != "files"
    if owner == "shutil":
        return name.startswith(("copy", "move"))
    if name in ("rename", "replace", "link", "symlink") and owner == "os":
        return True
    if owner == "tempfile":
        return name not in ("gettempdir", "TemporaryDirectory", "mkdtemp")
    if name in ("savefig", "save", "to_csv", "to_json", "save_pretrained", "save_file", "dump"):
        return not any(text.startswith("file") for text in texts)  # into a file that atomic_write opened
    return name in ("touch", "hardlink_to", "symlink_to")


def found_writes(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and writes(node)]
    return {re.sub(r"'", '"', ast.unparse(call)) for call in calls}


def test_nothing_outside_files_py_writes_a_file_on_its_own():
    found = {str(p.relative_to(ROOT / "scripts")): found_writes(p) for p in (ROOT / "scripts").rglob("*.py")}
    assert found.pop("mug/files.py") >= {"os.replace(temporary, path)"}  # the rule sees what it should
    others = {name: calls - ALLOWED.get(name, set()) - LIBRARIES.get(name, set()) for name, calls in found.items()}
    assert {name: calls for name, calls in others.items() if calls} == {}


@pytest.mark.parametrize(
    "line",
    ['open(p, "w")', 'p.open("ab")', 'open(p, mode="x")', "p.write_text(t)", "shutil.copy(a, b)", "os.rename(a, b)"]
    + ["np.save(p, a)", "figure.savefig(p)", "json.dump(v, open(p))", "tempfile.mkstemp()", "os.open(p, os.O_CREAT)"],
)
def test_the_rule_sees_every_way_to_write(line):
    assert any(writes(node) for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call))


# ------------------------------------------------------------------------------------------- killed, or out of room


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    folder = tmp_path_factory.mktemp("forked")
    modules = ("preprocess_data", "evaluate", "download_data", "score_submission", "jieba")
    with forking(folder, *modules) as parent:
        yield parent


CORPUS = ["--train_input", SAMPLE / "train.csv", "--dev_input", SAMPLE / "dev.csv"]


class Case:
    """A script over an older output: its command with ``folder`` to fill in, and how the older output was made."""

    def __init__(self, parent: Parent, folder: Path, script: str, older: list[Any], newer: list[Any]) -> None:
        self.parent, self.folder, self.script = parent, folder, script
        self.older_command, self.newer_command = older, newer
        self.work = folder / "work"
        assert self.run(older).status == 0
        shutil.copytree(self.work, folder / "older")
        self.older = contents(self.work)
        counts = folder / "counts.json"
        ended = self.run(newer, counts=counts)
        assert ended.status == 0, ended.err
        self.newer = contents(self.work)
        self.moments, self.files = json.loads(counts.read_text()).values()
        assert self.older != self.newer

    def command(self, arguments: list[Any]) -> list[Any]:
        return [str(argument).replace("WORK", str(self.work)) for argument in arguments]

    def run(self, arguments: list[Any], **options: Any) -> Any:
        return self.parent.run(self.script, *self.command(arguments), **options)

    def reset(self) -> None:
        shutil.rmtree(self.work)
        shutil.copytree(self.folder / "older", self.work)

    def check(self, when: object, **growing: str) -> None:
        """Every file is the older or the newer one, and a rerun ends as if nothing had happened."""
        for name, content in contents(self.work).items():
            temporary = TEMPORARY.fullmatch(Path(name).name)
            if temporary:
                assert temporary[1] in {"rejected.jsonl", *(Path(known).name for known in self.newer)}, (when, name)
            elif name.endswith(".predictions.jsonl"):  # grows line by line
                assert self.newer[name].startswith(content), (when, name)
            else:
                assert content in (self.older.get(name), self.newer.get(name)), (when, name)
        missing = self.older.keys() & self.newer.keys() - contents(self.work).keys()
        assert not missing, (when, missing)
        ended = self.run(self.newer_command)
        assert ended.status == 0, (when, ended.err)
        assert contents(self.work) == self.newer, when


@pytest.fixture(params=["preprocess_data", "evaluate", "download_data"])
def made(request: pytest.FixtureRequest, parent: Parent, tmp_path: Path) -> Case:
    if request.param == "preprocess_data":
        older = [*CORPUS, "--task", "all", "--estimate_tokens", "--output_dir", "WORK"]
        return Case(parent, tmp_path, request.param, older, [*older, "--es_target", "text", "--candidates", "first"])
    if request.param == "download_data":
        for name, kept in (("old", 2), ("new", None)):
            (tmp_path / name).mkdir()
            for split in ("train", "dev"):
                lines = (SAMPLE / f"{split}.csv").read_text("utf-8").splitlines(keepends=True)
                (tmp_path / name / f"{split}.csv").write_text("".join(lines[: kept and kept + 1]), "utf-8")
        commands = [["--from", tmp_path / name, "--output_dir", "WORK"] for name in ("old", "new")]
        return Case(parent, tmp_path, request.param, *commands)
    data = tmp_path / "data"
    command = [*CORPUS, "--task", "all", "--estimate_tokens", "--output_dir", data]
    assert parent.run("preprocess_data", *command).status == 0
    older = ["--backend", "baseline", "--data_path", data / "dev_alpaca.json", "--num_samples", 10]
    older += ["--output_path", "WORK/r.json"]
    # The same answers with the official scores beside them.
    return Case(parent, tmp_path, request.param, older, [*older, "--gold", SAMPLE / "dev.csv"])


@pytest.mark.slow
def test_killed_at_twenty_moments_of_writing_nothing_is_lost_and_a_rerun_succeeds(made: Case):
    """The moments are spread over all that there are: before and after each file is opened, synced and renamed."""
    assert made.moments >= KILLS
    for kill_at in sorted({round(1 + n * (made.moments - 1) / (KILLS - 1)) for n in range(KILLS)}):
        made.reset()
        assert made.run(made.newer_command, kill_at=kill_at).status == -signal.SIGKILL
        made.check(kill_at)


@pytest.mark.slow
def test_killed_at_random_times_nothing_is_lost_and_a_rerun_succeeds(made: Case):
    made.reset()
    started = time.monotonic()
    assert made.run(made.newer_command).status == 0
    whole, moments = time.monotonic() - started, random.Random(6)
    for _ in range(5):
        made.reset()
        child = made.parent.start(made.script, *made.command(made.newer_command))
        time.sleep(moments.uniform(0, whole))
        child.kill()
        made.check("random")


def one_sentence(said: str) -> bool:
    return len(said.splitlines()) == 1 and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_disk_that_is_full_at_any_file_is_one_sentence_and_loses_nothing(made: Case):
    for full_at in sorted({1, 2, made.files // 2, made.files}):
        made.reset()
        ended = made.run(made.newer_command, full_at=full_at)
        assert ended.status == 1 and one_sentence(ended.err), (full_at, ended)
        assert "No space left on device" in ended.err
        made.check(full_at)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 1000, 20_000])
def test_a_limit_on_the_size_of_files_is_one_sentence_and_loses_nothing(made: Case, limit: int, tmp_path: Path):
    made.reset()
    ended = made.run(made.newer_command, limit=limit)
    assert ended.status == 1, ended
    if limit:  # with 0 there is no room for what it says either
        assert one_sentence(ended.err) and "File too large" in ended.err
    made.check(limit)


def test_a_kill_while_the_last_file_is_written_leaves_a_hidden_file_that_the_next_run_removes(parent, tmp_path):
    rows = [*CORPUS, "--estimate_tokens", "--output_dir", tmp_path / "work"]
    assert parent.run("preprocess_data", *rows, counts=tmp_path / "counts.json").status == 0
    before = contents(tmp_path / "work")
    killed = parent.run(
        "preprocess_data", *rows, kill_at=json.loads((tmp_path / "counts.json").read_text())["moments"] // 2
    )
    assert killed.status == -signal.SIGKILL
    left = set(contents(tmp_path / "work")) - set(before)
    assert left and all(map(TEMPORARY.fullmatch, left))
    assert shown(tmp_path / "work") == before
    assert parent.run("preprocess_data", *rows).status == 0
    assert contents(tmp_path / "work") == before


# --------------------------------------------------------------------------------------------------- the model hub


class SlowHandler(Handler):
    """Sends a file in pieces, so that there is a time between its first byte and its last."""

    def answer(self, status: int, body: bytes, headers: Any = None, cut: int | None = None) -> None:
        if len(body) < 1 << 20:
            super().answer(status, body, headers or {}, cut)
            return
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        for start in range(0, len(body), 1 << 18):
            self.wfile.write(body[start : start + (1 << 18)])
            time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["modelscope", "huggingface"])
def test_a_download_killed_at_twenty_moments_leaves_no_half_file_under_its_name(tmp_path: Path, source: str):
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (SlowHandler,), {"hub": hub}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a killed client
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    wanted = {name: body for name, body in hub.files.items() if not name.endswith(".bin")}
    older = wanted | {"config.json": b'{"model_type": "older"}\n', "model-00001-of-00002.safetensors": b"older"}
    folder = tmp_path / "models" / "Qwen" / "Qwen2.5-7B"
    endpoints = {"MODELSCOPE_ENDPOINT": url, "HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1"}
    libraries = {"modelscope": ["modelscope_hub"], "huggingface": ["huggingface_hub", "httpx"]}[source]
    command = ["download_model", "--source", source, "--cache_dir", tmp_path / "models"]

    def reset() -> None:
        shutil.rmtree(tmp_path / "models", ignore_errors=True)
        for name in ("config.json", "model-00001-of-00002.safetensors"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(older[name])

    with forking(tmp_path / "forked", "download_model", "requests", *libraries, **endpoints) as parent:
        reset()
        started = time.monotonic()
        ended = parent.run(*command, counts=tmp_path / "counts.json", frozen=False)
        whole = time.monotonic() - started
        assert ended.status == 0, ended
        moments = json.loads((tmp_path / "counts.json").read_text())["moments"]
        times = random.Random(6)
        half = KILLS // 2
        for kill in range(KILLS):
            reset()
            kill_at = round(1 + kill * (moments - 1) / (half - 1)) if kill < half else None
            child = parent.start(*command, kill_at=kill_at, frozen=False)
            if kill_at is None:
                time.sleep(times.uniform(0, whole))
                child.kill()
            else:
                child.wait()
            visible = {
                n: b for n, b in contents(folder).items() if not n.startswith(".") and not n.endswith(".incomplete")
            }
            for name, body in visible.items():
                assert body in (older[name], wanted[name]), (kill, kill_at, name, len(body))
            ended = parent.run(*command, frozen=False)
            assert ended.status == 0, (kill, ended.err)
            assert {n: b for n, b in contents(folder).items() if not n.startswith(".")} == wanted, kill
    server.shutdown()
    server.server_close()


# --------------------------------------------------------------------------------------------------------- the page


def test_every_test_that_the_page_names_exists_in_the_file_that_it_names():
    page = (ROOT / "docs" / "robustness.md").read_text("utf-8")
    named = 0
    for cell in re.findall(r"\| (`test_[^|]+) \|", page):
        for tests, path in re.findall(r"((?:`test_\w+`(?:, )?)+) in `(tests/[\w/]+\.py)`", cell):
            defined = re.findall(r"^(?:    )?def (test_\w+)", (ROOT / path).read_text("utf-8"), re.MULTILINE)
            assert set(re.findall(r"test_\w+", tests)) <= set(defined), path
            named += len(re.findall(r"`test_\w+`", tests))
    assert named == len(re.findall(r"`test_\w+`", page)) >= 50
