"""A folder of transcripts: what is done stays done, what fails stops nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mug.errors import InputError, Message
from mug.minutes import batch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "in"
    found.mkdir()
    for name in ("一.txt", "二.vtt", "三.srt"):
        (found / name).write_text(name, "utf-8")
    return found


@pytest.fixture
def go(folder, tmp_path, minutes):
    """Run the folder; return what became of each file, and the names that were made."""

    def run(formats=("md", "json"), settings=None, fail=(), lang="zh"):
        made = []

        def make(path):
            made.append(path.name)
            for name, error in fail:
                if name == path.name:
                    raise error
            return minutes

        paths, _ = batch.transcripts_in(folder)
        outcomes = list(batch.run(paths, tmp_path / "out", formats, settings or {"engine": 1}, make, lang))
        return {outcome.name: outcome.result for outcome in outcomes}, made, outcomes

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_run_makes_nothing_again(go, tmp_path):
    first, made, _ = go()
    assert first == {"一.txt": "done", "三.srt": "done", "二.vtt": "done"}
    before = contents(tmp_path / "out")
    assert set(before) == {batch.STATE, *(f"{stem}.{ending}" for stem in "一二三" for ending in ("md", "json"))}
    second, made, _ = go()
    assert (set(second.values()), made) == ({"kept"}, [])
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, out: ({"settings": {"engine": 2}}, ["一.txt", "三.srt", "二.vtt"]),
        lambda folder, out: ({"lang": "en"}, ["一.txt", "三.srt", "二.vtt"]),
        lambda folder, out: ({"formats": ("md", "html")}, ["一.txt", "三.srt", "二.vtt"]),
        lambda folder, out: ((folder / "一.txt").write_text("x") and {}, ["一.txt"]),
        lambda folder, out: ((out / "二.md").unlink() or {}, ["二.vtt"]),
        lambda folder, out: ((out / batch.STATE).write_text("{") and {}, ["一.txt", "三.srt", "二.vtt"]),
        lambda folder, out: ((folder / "四.txt").write_text("x") and {}, ["四.txt"]),
    ],
    ids=["engine", "language", "formats", "transcript", "output gone", "state damaged", "a new file"],
)
def test_what_changed_is_made_again(go, folder, tmp_path, change):
    go()
    options, expected = change(folder, tmp_path / "out")
    assert go(**options)[1] == expected


def test_minutes_that_somebody_corrected_are_left_alone(go, tmp_path):
    go()
    (tmp_path / "out" / "一.md").write_text("改过了", "utf-8")
    go()
    assert (tmp_path / "out" / "一.md").read_text("utf-8") == "改过了"


def test_one_failing_file_does_not_stop_the_rest(go, tmp_path):
    fail = [("一.txt", InputError("读不了。", "Can't read.")), ("三.srt", RuntimeError("out of memory\nmore"))]
    results, _, outcomes = go(fail=fail)
    assert results == {"一.txt": "failed", "三.srt": "failed", "二.vtt": "done"}
    assert [outcome.reason for outcome in outcomes] == [
        Message("读不了。", "Can't read."),
        Message("RuntimeError: out of memory"),
        None,
    ]
    assert set(contents(tmp_path / "out")) == {batch.STATE, "二.md", "二.json"}
    assert go()[1] == ["一.txt", "三.srt"]


def test_a_stop_in_the_middle_and_a_second_run_give_what_one_run_gives(go, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go(fail=[("三.srt", KeyboardInterrupt())])
    assert "三.md" not in contents(tmp_path / "out")
    assert go()[1] == ["三.srt", "二.vtt"]
    resumed = contents(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    go()
    assert contents(tmp_path / "out") == resumed


def test_which_files_are_transcripts(folder):
    for name in (".hidden.txt", "~$二.docx", "照片.png", "x.md"):
        (folder / name).write_text("x")
    (folder / "sub").mkdir()
    paths, aside = batch.transcripts_in(folder)
    assert [path.name for path in paths] == ["一.txt", "三.srt", "二.vtt"]
    assert sorted(aside) == ["sub", "x.md", "照片.png"]


def test_a_folder_without_transcripts_is_an_error(tmp_path):
    with pytest.raises(InputError, match="没有会议记录"):
        batch.transcripts_in(tmp_path)


def test_two_files_of_one_stem_keep_their_endings():
    names = batch.output_names([Path("A.vtt"), Path("a.txt"), Path("b.txt")], ["md", "html"])
    assert names == {
        "A.vtt": ("A.vtt.md", "A.vtt.html"),
        "a.txt": ("a.txt.md", "a.txt.html"),
        "b.txt": ("b.md", "b.html"),
    }


@pytest.mark.slow
def test_killed_in_the_middle_and_run_again_gives_the_same_files(tmp_path):
    """SIGKILL after the first file; what a second run leaves equals an uninterrupted run's, byte for byte."""
    lines = [f"{'甲乙丙'[n % 3]}: 第{n}个问题，我们下周五之前讨论预算和场地的安排，我来统计。" for n in range(200)]
    transcripts = tmp_path / "in"
    transcripts.mkdir()
    for number in range(4):
        (transcripts / f"会议{number}.txt").write_text("\n".join(lines[number:]), "utf-8")

    def command(name):
        script = ROOT / "scripts" / "summarize_meeting.py"
        return [sys.executable, script, transcripts, "--output", tmp_path / name, "--formats", "md,html,docx,json"]

    killed = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "killed" / batch.STATE
    deadline = time.monotonic() + 60
    while not state.exists():
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = json.loads(state.read_text("utf-8"))
    assert 1 <= len(done) < 4, "killed too late to show anything"
    for name in ("killed", "whole"):
        subprocess.run(command(name), check=True, capture_output=True)
    left = contents(tmp_path / "killed")
    torn = [name for name in left if name.endswith(".tmp")]  # what the kill left is hidden and harms nobody
    assert all(name.startswith(".") for name in torn)
    assert {name: content for name, content in left.items() if name not in torn} == contents(tmp_path / "whole")
