"""The example for more than one machine, on a Ray cluster of this machine: the same bytes as the script's."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="ray is not installed (pip install 'ray[data]')"),
]


def run(script, *arguments):
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, ROOT / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)


def values(start, stop):
    for number in range(start, stop):
        said = [f"第{number}场第{i}句" + "话" * (i % 40) for i in range(1, 120)]
        sentences = [{"id": i, "speaker": "甲乙"[i % 2], "s": text} for i, text in enumerate(said, 1)]
        yield {
            "meeting_key": f"T{number}",
            "sentences": sentences,
            "topic_segment_ids": [{"id": end, "candidate": [{"title": f"题{end}"}]} for end in (60, 119)],
            "action_ids": [{"id": 7}],
            "candidate": [{"key_word": ["话"], "key_sentence": ["3"]}],
        }


def test_on_ray_two_files_give_the_bytes_that_the_script_gives_for_both_in_one(tmp_path):
    parts = [[*values(0, 8), "NA"], [*values(7, 15)]]  # T7 stands in both
    paths = [tmp_path / f"part{number}.csv" for number in (1, 2)]
    for path, cells in zip(paths, parts, strict=True):
        path.write_text(table(cells), encoding="utf-8")
    whole = tmp_path / "whole.csv"
    whole.write_text(table([cell for cells in parts for cell in cells]), encoding="utf-8")

    ours = run("scripts/preprocess_data.py", "--task", "all", "--estimate_tokens", "--train_input", whole,
               "--output_dir", tmp_path / "data")  # fmt: skip
    assert ours.returncode == 1, ours.stderr  # one row was rejected
    output = tmp_path / "ray" / "train_alpaca.json"
    theirs = run("examples/preprocess_on_ray.py", "--inputs", *paths, "--output", output, "--num_cpus", 2)
    assert theirs.returncode == 1, theirs.stderr
    assert "15 meetings" in theirs.stdout and "1 rejected" in theirs.stdout
    assert output.read_bytes() == (tmp_path / "data" / "train_alpaca.json").read_bytes()
    (rejected,) = map(json.loads, (output.parent / "rejected.jsonl").read_text("utf-8").splitlines())
    assert (rejected["file"], rejected["row"]) == (str(paths[0]), 10)

    missing = run("examples/preprocess_on_ray.py", "--inputs", tmp_path / "none.csv", "--output", output)
    assert missing.returncode == 2
    assert "Can't open the corpus file" in missing.stderr.splitlines()[-1]
