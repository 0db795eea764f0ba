"""`llamafactory-cli api`, the real one, gives the API engine the answers that the model gives in this process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.generation.api_engine import ApiEngine
from mug.generation.base import Completion
from mug.generation.model_folder import ModelFolder
from mug.tasks import TASKS
from mug.tasks.base import SYSTEM, Options, Sample

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-51d0e8"
NEW_TOKENS = 24
LIKELY = 1.4


@pytest.fixture(scope="session")
def smoke_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke model, its end tokens made so likely that some answers end by themselves, as random ones never do."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("api") / "smoke_model"
    command = [sys.executable, "scripts/make_smoke_model.py", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    added = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    ends = [token["id"] for token in added if token["content"] in ("<|im_end|>", "<|endoftext|>")]
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][ends] *= LIKELY
    assert torch.isfinite(weights["lm_head.weight"]).all() and len(ends) == 2
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api") / "server.log"


@pytest.fixture(scope="session")
def server(smoke_model: Path, log: Path) -> Iterator[str]:
    """Start the server on a free port of this machine; yield its address; end it and what it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = log.with_name("api.yaml")
    config.write_text(
        f"model_name_or_path: {smoke_model}\ntemplate: qwen\ndefault_system: {SYSTEM}\ninfer_backend: huggingface\n"
        "infer_dtype: float32\n",
        encoding="utf-8",
    )
    settings = {"API_HOST": "127.0.0.1", "API_PORT": str(port), "API_KEY": KEY, "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("llamafactory-cli")), "api", str(config)],
            env=os.environ | settings,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}/v1"
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text("utf-8", "replace")[-3000:]
            try:
                models = httpx.get(f"{address}/models", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False)
                assert models.status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def prompts() -> list[Sample]:
    """The first two samples of each task."""
    meetings = list(read_meetings(ROOT / "dataset" / "sample" / "dev.csv", Report()))[:1]
    return [
        sample
        for task in TASKS.values()
        for sample in [s for s in task(Options()).samples(meetings[0], "dev") if isinstance(s, Sample)][:2]
    ]


def answers(address: str, prompts: list[Sample]) -> list[Completion]:
    found = dict(ApiEngine(address, "smoke", max_new_tokens=NEW_TOKENS, concurrency=3).generate(prompts))
    return [found[index] for index in range(len(prompts))]


def test_served_answers_are_those_of_the_model_here(server, smoke_model, prompts, monkeypatch):
    """Equal to the letter, but for what the server says otherwise: see the docstring of api_engine.py.

    Its own settings would sample (LLaMA-Factory's default), so this also shows that our request makes it greedy.
    """
    from mug.generation.transformers_engine import TransformersEngine

    monkeypatch.setenv("MUG_API_KEY", KEY)
    served = answers(server, prompts)
    assert {one.finish for one in served} == {"stop", "length"}  # else the model shows only one of them
    engine = TransformersEngine(ModelFolder(str(smoke_model)), max_new_tokens=NEW_TOKENS)
    special = re.compile("|".join(map(re.escape, engine.tokenizer.all_special_tokens)))

    def here() -> list[Completion]:
        found = dict(engine.generate(prompts))
        return [Completion(special.sub("", found[index].text), found[index].finish) for index in range(len(prompts))]

    for theirs, ours in zip(served, here(), strict=True):
        # It goes on after <|endoftext|>, where we stop, maybe between the bytes of a character.
        assert theirs.text.startswith(ours.text.rstrip("\ufffd"))
    engine.stop_ids = [engine.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    engine.model.generation_config.eos_token_id = engine.stop_ids
    assert [(one.text, one.finish) for one in served] == [(one.text, one.finish) for one in here()]


def test_the_same_again(server, prompts, monkeypatch):
    monkeypatch.setenv("MUG_API_KEY", KEY)
    assert answers(server, prompts[:2]) == answers(server, prompts[:2])


@pytest.mark.parametrize("wrong", ["sk-wrong", ""])
def test_another_key_is_refused_and_stays_unsaid(server, log, prompts, monkeypatch, wrong):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MUG_API_KEY", wrong)
    with pytest.raises(InputError, match="MUG_API_KEY") as caught:
        answers(server, prompts[:1])
    assert not wrong or wrong not in "".join(caught.value.message)
    assert KEY not in log.read_text("utf-8", "replace")
