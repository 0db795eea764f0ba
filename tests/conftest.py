"""The small meeting of the cases, corpus files made of it, and the material that lies beside the repository.

At the end what takes minutes and is made once a session: the tiny model, its trainings, and a server of it.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import pytest

from mug.corpus import Report, read_meetings
from mug.meeting import Meeting
from mug.tasks.base import SYSTEM

ROOT = Path(__file__).resolve().parents[1]
CLI = Path(sys.executable).with_name("llamafactory-cli")

_TEXTS = ("先定春游地点。", "去湿地公园吧。", "同意。", "哪天去？", "下周五。", "我来订大巴。")
_CASE: dict[str, Any] = {
    "meeting_key": "T1",
    "sentences": [{"id": i, "speaker": "乙甲"[i % 2], "s": text} for i, text in enumerate(_TEXTS, 1)],
    "topic_segment_ids": [
        {"id": 3, "candidate": [{"title": "定春游地点", "key_sentence": ["2", "3"]}]},
        {"id": 6, "candidate": [{"title": "定春游时间", "key_sentence": ["5"]}]},
    ],
    "paragraph_segment_ids": [{"id": 3}, {"id": 6}],
    "action_ids": [{"id": 6}],
    "candidate": [{"key_sentence": ["2", "5"], "key_word": ["春游", "湿地公园"]}],
}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real meetings, the real tokenizer and the golden scores."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the repository, so nothing real to compare with")
    return folder


@pytest.fixture(scope="session")
def sample_corpus() -> Path:
    return ROOT / "dataset" / "sample"


@pytest.fixture
def case() -> Callable[..., dict[str, Any]]:
    """One meeting's JSON object of six sentences; keyword arguments replace keys, and None removes a key."""

    def build(**changes: Any) -> dict[str, Any]:
        value = {**copy.deepcopy(_CASE), **changes}
        return {name: item for name, item in value.items() if item is not None}

    return build


def table(cells: Iterable[Any], delimiter: str = "\t") -> str:
    """Return a corpus file's text; a cell is written as it is when it is a string, else as JSON."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["idx", "content"])
    for index, cell in enumerate(cells):
        writer.writerow([index, cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)])
    return file.getvalue()


@pytest.fixture
def corpus_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a corpus file of the given cells and return its path."""

    def write(*cells: Any, name: str = "corpus.csv", encoding: str = "utf-8", delimiter: str = "\t") -> Path:
        path = tmp_path / name
        path.write_bytes(table(cells, delimiter).encode(encoding))
        return path

    return write


@pytest.fixture
def read() -> Callable[[Path], tuple[list[Meeting], Report]]:
    def all_meetings(path: Path, **options: Any) -> tuple[list[Meeting], Report]:
        report = Report()
        return list(read_meetings(path, report, **options)), report

    return all_meetings


@pytest.fixture
def meeting_of(corpus_file: Any, read: Any) -> Callable[[Any], Meeting]:
    """Read a meeting from its JSON object, as a script would."""

    def only(value: Any) -> Meeting:
        (meeting,), _ = read(corpus_file(value))
        return meeting

    return only


class Run(NamedTuple):
    """What a script did."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Call a script's main() as the command line would."""

    def call(script: ModuleType, *arguments: Any) -> Run:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        capsys.readouterr()
        with mock.patch.dict(os.environ):  # what a script sets there is meant for its own process
            try:
                status = script.main()
            except SystemExit as stop:
                status = stop.code
        captured = capsys.readouterr()
        return Run(status, captured.out, captured.err)

    return call


# ------------------------------------------------------------------------------------- models, made once a session


@dataclass
class Project:
    """A folder with the tiny model and the data of the sample corpus, and the environment to work in."""

    folder: Path
    model: Path
    data: Path
    environment: dict[str, str]

    def cli(self, *arguments: str | Path) -> list[str]:
        return [str(CLI), *map(str, arguments)]

    def train(self, output: Path) -> list[str]:
        paths = [f"model_name_or_path={self.model}", f"dataset_dir={self.data}", f"output_dir={output}"]
        return self.cli("train", "configs/train_smoke.yaml", *paths)

    def run(self, command: list[str | Path], **options: Any) -> str:
        """Run in the project's root; return stdout and stderr, which must belong to a success."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=options.pop("stderr", subprocess.STDOUT),
            encoding="utf-8",
            errors="replace",
            **options,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def script(self, name: str, *arguments: str | Path) -> str:
        return self.run([sys.executable, ROOT / "scripts" / name, *arguments])


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    if not CLI.exists():
        pytest.skip("llamafactory-cli is not installed beside this Python")
    folder = tmp_path_factory.mktemp("project")
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",  # nothing here may need a hub
        "HF_HOME": str(folder / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
        # A tiny model gains little from a second thread and loses much when another process wants the core; and
        # with one thread sums are taken in one order, so that two runs can be compared.
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    project = Project(folder, folder / "model", folder / "data", environment)
    sample = ROOT / "dataset" / "sample"
    project.script("make_smoke_model.py", "--output", project.model, "--corpus", sample / "train.csv")
    inputs = ["--train_input", sample / "train.csv", "--dev_input", sample / "dev.csv"]
    project.script("preprocess_data.py", "--task", "all", *inputs, "--output_dir", project.data)
    return project


@dataclass
class Trainings:
    """Two output folders: of a training that nothing interrupted, and of one killed after its checkpoint ``steps``."""

    whole: Path
    killed: Path
    steps: int


@pytest.fixture(scope="session")
def trainings(project: Project) -> Trainings:
    """Run both at once: each keeps one core busy."""
    folders = {name: project.folder / name for name in ("whole", "killed")}
    processes = {}
    try:
        for name, output in folders.items():
            with (project.folder / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    project.train(output), cwd=ROOT, env=project.environment, stdout=log, stderr=subprocess.STDOUT
                )
        # trainer_state.json is written last: once it is whole, so is the checkpoint.
        while not (found := list(filter(is_whole, folders["killed"].glob("checkpoint-*/trainer_state.json")))):
            assert processes["killed"].poll() is None, log_of(project, "killed")
            time.sleep(0.05)
        processes["killed"].kill()  # SIGKILL: nothing can be put in order
        assert processes["whole"].wait() == 0, log_of(project, "whole")
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    assert not (folders["killed"] / "adapter_model.safetensors").exists(), "killed too late to show anything"
    return Trainings(folders["whole"], folders["killed"], int(found[0].parent.name.split("-")[1]))


def is_whole(file: Path) -> bool:
    """Say whether a JSON file has been written to its end; LLaMA-Factory's are there before they are full."""
    try:
        json.loads(file.read_text("utf-8"))
    except ValueError:
        return False
    return True


def log_of(project: Project, name: str) -> str:
    return (project.folder / f"{name}.log").read_text("utf-8", "replace")[-4000:]


@pytest.fixture(scope="session")
def trained(trainings: Trainings) -> Path:
    return trainings.whole


@pytest.fixture(scope="session")
def merged(project: Project, trained: Path) -> Path:
    folder = project.folder / "merged"
    paths = [f"model_name_or_path={project.model}", f"adapter_name_or_path={trained}", f"export_dir={folder}"]
    project.script("export_model.py", "configs/merge.yaml", *paths)
    return folder


@pytest.fixture(scope="session")
def ending_model(project: Project) -> Path:
    """The tiny model, its end tokens made so likely that some answers end by themselves, as random ones never do."""
    from safetensors.torch import load_file, save_file

    folder = project.folder / "smoke_model_that_ends"
    shutil.copytree(project.model, folder)
    added = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    ends = [token["id"] for token in added if token["content"] in ("<|im_end|>", "<|endoftext|>")]
    assert len(ends) == 2
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][ends] *= 1.4
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


class Server(NamedTuple):
    """A running llamafactory-cli api."""

    address: str
    key: str
    log: Path


Serve = Callable[[Path], AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def serve(project: Project) -> Serve:
    """Serve a model on a free port of this machine with `llamafactory-cli api` until the block ends."""
    import httpx

    @contextmanager
    def start(model: Path) -> Iterator[Server]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = project.folder / f"api_{port}.yaml"
        config.write_text(
            f"model_name_or_path: {model}\ntemplate: qwen\ndefault_system: {SYSTEM}\ninfer_backend: huggingface\n"
            "infer_dtype: float32\n",
            encoding="utf-8",
        )
        server = Server(f"http://127.0.0.1:{port}/v1", "sk-planted-51d0e8", config.with_suffix(".log"))
        settings = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "API_KEY": server.key}
        with server.log.open("wb") as file:
            process = subprocess.Popen(
                project.cli("api", config),
                env=project.environment | settings,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 240
            header = {"Authorization": f"Bearer {server.key}"}
            while True:
                said = server.log.read_text("utf-8", "replace")[-3000:]
                assert process.poll() is None and time.monotonic() < deadline, said
                try:
                    models = httpx.get(f"{server.address}/models", headers=header, trust_env=False)
                    assert models.status_code == 200
                    break
                except httpx.TransportError:
                    time.sleep(0.5)
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it and what it started
            process.wait()

    return start


@pytest.fixture(scope="session")
def server(serve: Serve, ending_model: Path) -> Iterator[Server]:
    with serve(ending_model) as running:
        yield running
