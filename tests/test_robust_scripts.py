"""What every script does when its output can't be written, and when an output is something that it reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Ended, Parent, forking

import evaluate
import export_model
import preprocess_data
import score_submission
from mug import command

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "dataset" / "sample"
needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    with forking(tmp_path_factory.mktemp("forked"), "preprocess_data", "evaluate", "score_submission") as parent:
        yield parent


@pytest.fixture(scope="module")
def work(parent: Parent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample corpus, its samples, an evaluation of them, and submission files."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("train.csv", "dev.csv"):
        shutil.copy(SAMPLE / name, folder)
    inputs = ["--train_input", folder / "train.csv", "--dev_input", folder / "dev.csv"]
    made = parent.run(
        "preprocess_data", *inputs, "--estimate_tokens", "--task", "all", "--output_dir", folder / "data"
    )
    assert made.status == 0, made.err
    data = ["--backend", "baseline", "--data_path", folder / "data" / "dev_alpaca.json", "--gold", folder / "dev.csv"]
    ended = parent.run("evaluate", *data, "--output_path", folder / "r.json", "--submission", folder / "submission")
    assert ended.status == 0, ended.err
    cues = "".join(
        f"00:00:{n:02}.000 --> 00:00:{n + 2:02}.000\n乙: {text}\n\n"
        for n, text in ((1, "先定地点。"), (5, "我来订车。"))
    )
    (folder / "meeting.vtt").write_text(f"WEBVTT\n\n{cues}", "utf-8")
    return folder


COMMANDS: dict[str, list[Any]] = {
    "preprocess_data": ["--train_input", "W/train.csv", "--dev_input", "W/dev.csv", "--estimate_tokens"]
    + ["--output_dir", "OUT/data"],
    "evaluate": ["--backend", "baseline", "--data_path", "W/data/dev_alpaca.json", "--num_samples", 3]
    + ["--output_path", "OUT/r.json"],
    "score_submission": ["--task", "topic_segmentation", "--gold", "W/dev.csv"]
    + ["--predictions", "W/submission/topic_segmentation.jsonl", "--output", "OUT/s.json"],
    "download_data": ["--from", "W/dev.csv", "--output_dir", "OUT/dataset"],
    "summarize_meeting": ["W/meeting.vtt", "--output", "OUT/minutes.md"],
}
OUTPUTS = {"preprocess_data": "data/train_alpaca.json", "evaluate": "r.json", "score_submission": "s.json"} | {
    "download_data": "dataset/dev.csv",
    "summarize_meeting": "minutes.md",
}


def arguments(script: str, work: Path, out: Path) -> list[str]:
    return [str(a).replace("W/", f"{work}/").replace("OUT", str(out)) for a in COMMANDS[script]]


def is_one_sentence(ended: Ended) -> bool:
    return len(ended.err.splitlines()) == 1 and "Traceback" not in ended.err


@needs_full
@pytest.mark.parametrize("script", COMMANDS)
def test_standard_output_on_a_full_disk_is_one_sentence_and_status_1(parent, work, tmp_path, script):
    ended = parent.run(script, *arguments(script, work, tmp_path), out=Path("/dev/full"))
    assert ended.status == 1 and is_one_sentence(ended), ended
    assert "No space left on device" in ended.err


@needs_full
@pytest.mark.parametrize("script", sorted(p.stem for p in (ROOT / "scripts").glob("*.py")))
def test_help_on_a_full_disk_is_status_1_and_no_stack_trace(parent, script):
    ended = parent.run(script, "--help", out=Path("/dev/full"))
    assert ended.status in (0, 1) and "Traceback" not in ended.err and "Exception ignored" not in ended.err


@needs_full
@pytest.mark.parametrize("script", COMMANDS)
def test_an_output_that_is_a_full_device_is_one_sentence_and_the_device_stays(parent, work, tmp_path, script):
    output = tmp_path / OUTPUTS[script]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.symlink_to("/dev/full")
    ended = parent.run(script, *arguments(script, work, tmp_path))
    assert ended.status == 1 and is_one_sentence(ended), ended
    assert output.is_symlink() and os.path.exists("/dev/full") and not Path("/dev/full").is_file()


@pytest.mark.parametrize("script", COMMANDS)
def test_an_output_in_a_folder_that_can_not_be_made_is_one_sentence(parent, work, tmp_path, script):
    (tmp_path / "file").write_text("no folder")
    ended = parent.run(script, *arguments(script, work, tmp_path / "file"))
    assert ended.status in (1, 2) and is_one_sentence(ended), ended


@pytest.mark.parametrize("script", COMMANDS)
def test_an_output_that_is_a_folder_is_one_sentence_and_the_folder_stays(parent, work, tmp_path, script):
    (tmp_path / OUTPUTS[script] / "inside").mkdir(parents=True)
    ended = parent.run(script, *arguments(script, work, tmp_path))
    assert ended.status in (1, 2) and is_one_sentence(ended), ended
    assert (tmp_path / OUTPUTS[script] / "inside").is_dir()


@pytest.mark.parametrize("script", COMMANDS)
def test_an_output_that_is_a_link_stays_one_and_its_target_is_replaced(parent, work, tmp_path, script):
    output, target = tmp_path / OUTPUTS[script], tmp_path / "elsewhere" / "target"
    output.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir()
    target.write_text("older")
    output.symlink_to(target)
    ended = parent.run(script, *arguments(script, work, tmp_path))
    assert ended.status == 0, ended
    assert output.is_symlink() and target.read_text("utf-8") not in ("", "older")
    assert list(target.parent.iterdir()) == [target]


# ------------------------------------------------------------------------------------------- outputs that are inputs


def kept(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize("given", ["data/dev_alpaca.json", "dev.csv", "r.predictions.jsonl", "older.json"])
def test_an_evaluation_never_overwrites_what_it_reads(run, work, tmp_path, given):
    shutil.copytree(work, tmp_path / "w")
    folder = tmp_path / "w"
    shutil.copy(folder / "r.json", folder / "older.json")
    (tmp_path / "link.json").symlink_to(folder / given)
    files = [
        folder / "data" / "dev_alpaca.json",
        folder / "dev.csv",
        folder / "r.predictions.jsonl",
        folder / "older.json",
    ]
    before = kept(files)
    options = ["--backend", "baseline", "--data_path", files[0], "--gold", files[1]]
    options += ["--predictions", files[2], "--compare", files[3]]
    for output in (folder / given, tmp_path / "link.json", folder / "data" / ".." / given):
        ran = run(evaluate, *options, "--output_path", output)
        assert ran.status == 2 and len(ran.err.splitlines()) == 1 and "就是输入" in ran.err
        assert kept(files) == before


@pytest.mark.parametrize("name", ["r.md", "r.html"])
def test_a_results_file_that_its_own_page_would_overwrite_is_refused(run, work, tmp_path, name):
    options = ["--backend", "baseline", "--data_path", work / "data" / "dev_alpaca.json"]
    assert run(evaluate, *options, "--output_path", tmp_path / name).status == 2


def test_scores_never_overwrite_what_was_scored(run, work, tmp_path):
    gold, predictions = tmp_path / "dev.csv", tmp_path / "p.jsonl"
    shutil.copy(work / "dev.csv", gold)
    shutil.copy(work / "submission" / "topic_segmentation.jsonl", predictions)
    before = kept([gold, predictions])
    for output in (gold, predictions):
        given = ["--task", "topic_segmentation", "--gold", gold, "--predictions", predictions, "--output", output]
        ran = run(score_submission, *given, "--lang", "en")
        assert ran.status == 2 and "which would be lost" in ran.err
        assert kept([gold, predictions]) == before


@pytest.mark.parametrize("name", ["rejected.jsonl", "train_alpaca.json", "dataset_info.json"])
def test_preprocessing_never_overwrites_or_removes_the_corpus_that_it_reads(run, work, tmp_path, name):
    corpus = tmp_path / name
    shutil.copy(work / "train.csv", corpus)
    before = corpus.read_bytes()
    ran = run(preprocess_data, "--train_input", corpus, "--estimate_tokens", "--output_dir", tmp_path)
    assert ran.status == 2 and "就是输入" in ran.err
    assert corpus.read_bytes() == before


def test_data_brought_into_the_folder_that_they_lie_in_stay_the_same(parent, work, tmp_path):
    shutil.copy(work / "dev.csv", tmp_path)
    assert parent.run("download_data", "--from", tmp_path / "dev.csv", "--output_dir", tmp_path).status == 0
    found, before = (folder / "dev.csv" for folder in (tmp_path, work))
    assert found.read_bytes().splitlines() == before.read_bytes().splitlines()


@pytest.mark.parametrize("key", ["model_name_or_path", "adapter_name_or_path"])
def test_a_model_is_never_merged_into_the_folder_that_it_is_made_of(run, tmp_path, key):
    (tmp_path / "model").mkdir()
    ran = run(export_model, f"export_dir={tmp_path}/model/", f"{key}={tmp_path}/./model", "--lang", "en")
    assert ran.status == 2 and "which would be lost" in ran.err
    assert list((tmp_path / "model").iterdir()) == []


# ------------------------------------------------------------------------------------------------------- the frame


def framed(body: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    code = f"from mug import command\nimport sys\ndef main():\n    {body}\n    return 0\ncommand.run(main)\n"
    environment = {"PYTHONPATH": str(ROOT / "scripts"), **streams.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-c", code], env=environment, encoding="utf-8", timeout=60, **options)


def test_every_script_runs_in_the_frame():
    for path in (ROOT / "scripts").glob("*.py"):
        text = path.read_text("utf-8")
        assert re.search(r'if __name__ == "__main__":\n    (command\.)?run\(main\)\n\Z', text), path.name
        assert "sys.exit(main" not in text, path.name


def test_a_reader_that_has_seen_enough_is_no_stack_trace():
    read, write = os.pipe()
    os.close(read)
    done = framed("print('x' * 100_000)", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@needs_full
def test_where_nothing_can_be_said_the_status_still_says_it():
    with open("/dev/full", "w") as full:
        assert framed("print('x')", stdout=full, stderr=full).returncode == 1
        assert framed("print('x', file=sys.stderr)", stderr=full).returncode == 1


def test_a_stop_outside_of_all_care_is_one_line():
    done = framed("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (1, "已中断 / stopped\n")


def test_a_mistake_of_ours_still_shows_where_it_is():
    done = framed("raise KeyError('x')")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_characters_that_the_terminal_does_not_have_are_no_stack_trace():
    done = framed("print('好😀\\udce5')", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout) == (0, "\\u597d\\U0001f600\\udce5\n")


def test_the_status_of_main_is_the_status():
    assert framed("return 2").returncode == 2
    assert command.run.__doc__
