"""The command line: what it writes, says and returns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import diagnose_training
from mug.training.diagnosis_page import Line, line_plot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished training of 100 steps that over-fits from step 40 on."""
    rows: list[dict[str, Any]] = []
    for step in range(10, 101, 10):
        rows.append({"step": step, "loss": 30 / step, "grad_norm": 1.0, "learning_rate": 1e-4, "epoch": step / 50})
        if step % 20 == 0:
            rows.append({"step": step, "eval_loss": 1 + abs(step - 40) / 100, "epoch": step / 50})
    state = {"global_step": 100, "max_steps": 100, "num_train_epochs": 2, "log_history": rows}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    return tmp_path / "run"


class Page(HTMLParser):
    """Collects the tags of a page, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]


def test_it_writes_verdicts_a_picture_and_a_page_that_loads_nothing(run: Callable[..., Any], folder: Path) -> None:
    done = run(diagnose_training, folder)
    assert done.status == 0, done.err
    assert "! 评估损失从第 40 步的 1.000 升到第 100 步的 1.600" in done.out
    assert "num_train_epochs: 1.0" in done.out
    assert (folder / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((folder / "diagnosis.json").read_text("utf-8"))
    assert result["level"] == "warn" and result["best_evaluation"] == {"step": 40, "eval_loss": 1.0}
    assert [len(result["curves"][name]) for name in ("loss", "loss_smoothed", "eval_loss")] == [10, 10, 5]
    page = Page((folder / "diagnosis.html").read_text("utf-8"))
    assert page.loaded == [] and "script" not in page.tags
    assert page.tags.count("svg") == 3


def test_the_output_can_lie_elsewhere_and_the_words_be_english(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    done = run(diagnose_training, folder, "--output", tmp_path / "there", "--lang", "en")
    assert "The evaluation loss rises" in done.out and "评估" not in done.out
    assert {path.name for path in (tmp_path / "there").iterdir()} == {
        "diagnosis.json",
        "diagnosis.html",
        "training_curves.png",
    }
    page = (tmp_path / "there" / "diagnosis.html").read_text("utf-8")
    assert '<html lang="en">' in page and "评估" not in page
    assert [path.name for path in folder.iterdir()] == ["trainer_state.json"]


def test_bad_input_is_one_sentence_and_status_2(run: Callable[..., Any], tmp_path: Path) -> None:
    missing = run(diagnose_training, tmp_path / "nowhere")
    (tmp_path / "trainer_state.json").touch()
    empty = run(diagnose_training, tmp_path, "--lang", "en")
    assert (missing.status, empty.status) == (2, 2)
    assert missing.err.startswith(f"没有训练目录 {tmp_path / 'nowhere'}") and missing.err.count("\n") == 1
    assert "is an empty file" in empty.err
    assert not (tmp_path / "diagnosis.json").exists()


def test_what_cant_be_written_is_status_1(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(diagnose_training, folder, "--output", tmp_path / "file" / "x")
    assert done.status == 1 and "--output" in done.err


def test_a_plot_leaves_a_gap_at_nan_and_stays_small() -> None:
    plot = line_plot(
        [Line("损失", "raw", [(1, 2.0), (2, 1.0), (3, math.nan), (4, 1.5), (5, 1.0)])], title="损失", x_label="步"
    )
    assert plot.count("<polyline") == 2 and "nan" not in plot
    long = line_plot([Line("损失", "raw", [(step, 1.0) for step in range(100_000)])], title="损失", x_label="步")
    assert len(long) < 20_000
    assert line_plot([Line("损失", "raw", [(1, math.nan)])], title="损失", x_label="步") == ""


def test_a_foreign_folder_name_is_text_on_the_page(run: Callable[..., Any], folder: Path) -> None:
    evil = folder.with_name("<script>alert(1)<")
    folder.rename(evil)
    run(diagnose_training, evil)
    assert "<script>" not in (evil / "diagnosis.html").read_text("utf-8")


@pytest.mark.slow
def test_a_real_training_is_diagnosed(run: Callable[..., Any], trained: Path, tmp_path: Path) -> None:
    done = run(diagnose_training, trained, "--output", tmp_path)
    assert done.status == 0, done.err
    result = json.loads((tmp_path / "diagnosis.json").read_text("utf-8"))
    assert result["finished"] and result["curves"]["grad_norm"] and result["settings"]["lora_rank"] == 8
