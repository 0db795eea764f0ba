"""`llamafactory-cli webui`, started in the project's root, offers our datasets: asked over HTTP as its page does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
CLI = Path(sys.executable).with_name("llamafactory-cli")
STARTUP_SECONDS = 180

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLI.exists(), reason="llamafactory-cli is not installed beside this Python"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web UI whose current folder looks like the project's root after preprocessing."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "configs", root / "configs")
    sample = ROOT / "dataset" / "sample"
    preprocess = [sys.executable, ROOT / "scripts" / "preprocess_data.py", "--task", "all", "--output_dir", "data"]
    inputs = ["--train_input", sample / "train.csv", "--dev_input", sample / "dev.csv"]
    subprocess.run(list(map(str, preprocess + inputs)), cwd=root, check=True, capture_output=True)

    port = free_port()
    environment = os.environ | {
        "GRADIO_SERVER_NAME": "127.0.0.1",  # it listens on every network card otherwise
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "BROWSER": "true",  # the command, which does nothing: no window opens on the desk of who runs the tests
    }
    with (root / "webui.log").open("wb") as log:
        process = subprocess.Popen([CLI, "webui"], cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while not answers(address):
            assert process.poll() is None, (root / "webui.log").read_text("utf-8", "replace")
            assert time.monotonic() < deadline, (root / "webui.log").read_text("utf-8", "replace")
            time.sleep(0.5)
        yield address
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address: str) -> bool:
    try:
        with open_url(f"{address}/config"):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def open_url(address: str, data: Any = None) -> Any:
    body = None if data is None else json.dumps({"data": data}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    # No proxy of the environment: the page is on this machine.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)


def offered(page: str) -> dict[str, list[str]]:
    """Ask every "list_datasets" of the page with the page's own starting values; return the names each one offers."""
    with open_url(f"{page}/config") as response:
        config = json.load(response)
    start = {component["id"]: component["props"].get("value") for component in config["components"]}
    names = {}
    for event in config["dependencies"]:
        if str(event["api_name"]).startswith("list_datasets"):
            values = [start[number] for number in event["inputs"]]
            with open_url(f"{page}{config['api_prefix']}/run/{event['api_name']}", values) as response:
                names[event["api_name"]] = [choice[0] for choice in json.load(response)["data"][0]["choices"]]
    return names


def test_training_and_evaluation_tabs_offer_every_dataset_that_preprocess_wrote(page: str) -> None:
    tasks = ["title_generation", "extractive_summary", "session_summary", "topic_segmentation"]
    tasks += ["keyphrase_extraction", "action_item_detection"]
    expected = {"alimeeting4mug_train", "alimeeting4mug_dev"}
    expected |= {f"mug_{task}_{split}" for task in tasks for split in ("train", "dev")}
    lists = offered(page)
    assert len(lists) == 2, "one of the training tab, one of the evaluation tab"
    for names in lists.values():
        assert set(names) == expected
