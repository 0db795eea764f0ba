"""The command line of the memory estimate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import estimate_memory
from mug.training.memory import GIB, estimate
from mug.training.shapes import shape_of

CONFIG = """\
model_name_or_path: Qwen/Qwen2.5-7B
finetuning_type: lora
lora_rank: 8
cutoff_len: 2048
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
bf16: true
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_it_prints_the_parts_and_their_sum(config: Path, run: Callable[..., Any]) -> None:
    settings = {"bf16": True, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    found = estimate(settings, shape_of("Qwen/Qwen2.5-7B"), [1500])

    done = run(estimate_memory, config, "--lengths", 1500, "--lang", "en")

    assert done.status == 0
    assert f"{found.total / GIB:.2f}  total" in done.out
    printed = [float(line.split()[0]) for line in done.out.splitlines() if line.startswith("  ")]
    assert sum(printed[:7]) == pytest.approx(printed[7], abs=0.04)
    assert "a batch of 3,008 tokens" in done.out  # 1,500 made a multiple of 8, twice


def test_changes_of_the_command_line_count(config: Path, run: Callable[..., Any]) -> None:
    plain = run(estimate_memory, config, "--lang", "en").out
    changed = run(estimate_memory, config, "per_device_train_batch_size=1", "--lang", "en", "lora_rank=16").out

    assert "4,096 tokens" in plain and "2,048 tokens" in changed
    assert "0.08  LoRA's weights" in plain and "0.15  LoRA's weights" in changed


def test_it_says_whether_the_card_is_large_enough_and_what_would_fit(config: Path, run: Callable[..., Any]) -> None:
    fits = run(estimate_memory, config, "--gpu_gib", 80, "--lang", "en")
    other = run(estimate_memory, config, "--gpu_gib", 20, "--lang", "en")
    never = run(estimate_memory, config, "model_name_or_path=Qwen/Qwen2.5-32B", "--gpu_gib", 12)

    assert (fits.status, other.status, never.status) == (0, 0, 0)
    assert "It fits a card of 80 GiB." in fits.out
    assert "does not fit a card of 20 GiB" in other.out and "enable_liger_kernel=true" in other.out
    assert "放不进 12 GiB 的卡，改设置也不行" in never.out


@pytest.mark.parametrize(
    ("text", "arguments", "word"),
    [
        (None, [], "train.yaml"),
        ("a: [", [], "train.yaml"),
        ("只有文字", [], "train.yaml"),
        (CONFIG, ["lora_rank"], "lora_rank"),
        (CONFIG, ["lora_rank=[1"], "lora_rank"),
        (CONFIG, ["model_name_or_path=somewhere"], "somewhere"),
        (CONFIG, ["finetuning_type=full"], "full"),
        (CONFIG, ["lora_rnk=8"], "lora_rank"),
        ("bf16: true", [], "model_name_or_path"),
    ],
)
def test_unusable_input_is_one_sentence_and_status_2(
    config: Path, run: Callable[..., Any], text: str | None, arguments: list[str], word: str
) -> None:
    config.unlink() if text is None else config.write_text(text, encoding="utf-8")

    for lang in ("zh", "en"):
        done = run(estimate_memory, config, *arguments, "--lang", lang)
        assert (done.status, done.out) == (2, "")
        assert word in done.err and len(done.err.splitlines()) == 1


def test_the_speed_keys_are_known_too(config: Path, run: Callable[..., Any]) -> None:
    assert run(estimate_memory, config, "mug_speed=true", "mug_tree=true").status == 0


def test_the_projects_files_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    zero = ["deepspeed=configs/deepspeed/ds_z3.json", "--gpus", 8, "--lang", "en"]
    divided = run(estimate_memory, "configs/train_lora.yaml", "model_name_or_path=Qwen/Qwen2.5-7B", *zero)
    assert divided.status == 0
    assert float(divided.out.partition("weights of the base")[0].split()[-1]) < 4  # divided; 14.2 are whole


def test_lengths_must_be_positive(config: Path, run: Callable[..., Any]) -> None:
    assert run(estimate_memory, config, "--lengths", 0).status == 2


def test_without_llamafactory_it_says_what_to_install(
    config: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llamafactory.hparams", None)
    done = run(estimate_memory, config)
    assert done.status == 2 and done.err.startswith("没有可用的 LLaMA-Factory（") and "bash setup.sh" in done.err
