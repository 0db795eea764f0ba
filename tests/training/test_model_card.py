"""The model card: what it says, that it gives away nothing of this machine, and whose file it replaces."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import write_model_card
from mug.errors import InputError
from mug.training.model_card import MARK, write_card
from mug.training.preflight import SAVED_SETTINGS
from mug.training.settings import ROOT, write_settings

TRAINERS = "---\nlibrary_name: peft\n---\n\n# out\n\nThis model is a fine-tuned version of [x](x) on the y dataset.\n"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder as training leaves it, its base in somebody's home."""
    folder = tmp_path / "home" / "lihua" / "outputs" / "qwen2.5-7b-mug-h100"
    folder.mkdir(parents=True)
    home = str(tmp_path / "home" / "lihua")
    adapter = {"r": 128, "lora_alpha": 256, "base_model_name_or_path": f"{home}/models/Qwen/Qwen2.5-7B"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    state = {
        "global_step": 200,
        "max_steps": 200,
        "log_history": [
            {"step": 10, "loss": 2.9, "epoch": 0.1},
            {"step": 100, "eval_loss": 1.25, "epoch": 1.0},
            {"step": 200, "eval_loss": 1.31, "epoch": 2.0},
            {"step": 200, "loss": 0.75, "epoch": 2.0},
        ],
    }
    (folder / "trainer_state.json").write_text(json.dumps(state))
    settings = {
        "model_name_or_path": f"{home}/models/Qwen/Qwen2.5-7B",
        "dataset": "alimeeting4mug_train",
        "dataset_dir": f"{home}/data",
        "output_dir": str(folder),
        "template": "qwen",
        "cutoff_len": 4096,
        "learning_rate": 2e-4,
        "lora_target": "all",
        "hub_token": "hf_planted",
        "hf_hub_token": "hf_planted",
        "swanlab_api_key": "sk-planted",
    }
    write_settings(folder / SAVED_SETTINGS, settings)
    (folder / "README.md").write_text(TRAINERS)
    return folder


def results_of(output: Path, file: Path, **changes: Any) -> Path:
    found = {
        "settings": {"adapter": str(output / "checkpoint-200"), "num_samples": 715, "date": "2026-11-25T08:00:00"},
        "official": {"topic_title_generation": {"scores": {"score": 0.51234}}},
        "averages": {"title_generation": {"rouge-l": 0.4321, "bleu-4": 0.3}},
    }
    file.write_text(json.dumps(found | changes))
    return file


def test_the_front_matter_is_what_the_hubs_read(output: Path) -> None:
    text = write_card(output).read_text("utf-8")
    matter = yaml.safe_load(text.split("---\n")[1])
    assert (matter["base_model"], matter["library_name"]) == ("Qwen/Qwen2.5-7B", "peft")
    assert (matter["language"], matter["license"]) == (["zh"], "apache-2.0")
    assert matter["datasets"] == ["modelscope/Alimeeting4MUG"]
    assert {"llama-factory", "lora"} <= set(matter["tags"])


def test_it_says_data_losses_settings_and_how_to_load(output: Path) -> None:
    text = write_card(output).read_text("utf-8")
    for said in (
        "CC BY 4.0",
        "2.900（第 10 步）→ 0.750（第 200 步）",
        "最低 1.250（第 100 步）",
        "| cutoff_len | 4096 |",
    ):
        assert said in text
    for way in ("PeftModel.from_pretrained", "llamafactory-cli chat", "vllm serve", "scripts/evaluate.py"):
        assert way in text
    assert re.search(r"transformers \d+\.\d+", text) and "max-lora-rank 128" in text
    assert text.index("适配器") < text.index("adapter for understanding"), "Chinese first"
    assert "还没有评测" in text


def test_it_says_the_layout_of_the_prompts_where_the_data_did(output: Path) -> None:
    assert "布局" not in write_card(output).read_text("utf-8")
    saved = {"tokenizer": "/home/lihua/models/Qwen2.5-7B", "layout": "shared", "needs_tree": True}
    (output / "preprocess.json").write_text(json.dumps(saved))
    text = write_card(output).read_text("utf-8")
    assert text.count("- 提示的布局 / layout of the prompts：`shared`") == 1 and "lihua" not in text
    (output / "preprocess.json").write_text("{")
    with pytest.raises(InputError, match="已损坏"):
        write_card(output)


def test_nothing_of_this_machine_is_in_it(output: Path, tmp_path: Path) -> None:
    text = write_card(output, results_of(output, tmp_path / "scores.json")).read_text("utf-8")
    for secret in (str(tmp_path), "lihua", "planted", str(ROOT), str(Path.home())):
        assert secret not in text


def test_the_trainers_card_and_our_own_are_replaced_and_a_persons_stays(output: Path) -> None:
    assert MARK in write_card(output).read_text("utf-8")
    first = (output / "README.md").read_text("utf-8")
    (output / "README.md").write_text(first.replace("还没有评测", "改过"), encoding="utf-8")
    assert "还没有评测" in write_card(output).read_text("utf-8")
    own = first.replace(MARK + "\n", "") + "\n我们自己的说明。\n"
    (output / "README.md").write_text(own, encoding="utf-8")
    assert write_card(output).read_text("utf-8") == own


def test_scores_beside_it_are_found_when_they_are_its_own(output: Path, tmp_path: Path) -> None:
    results_of(output, output.parent / "eval_results.json", settings={"adapter": str(tmp_path / "other")})
    (output / "eval_results.json").write_text(json.dumps({"eval_loss": 1.25}))  # the Trainer's
    assert "还没有评测" in write_card(output).read_text("utf-8")
    results_of(output, output.parent / "eval_tuned.json")
    text = write_card(output).read_text("utf-8")
    assert "| 主题标题生成，官方 / official | 51.23 |" in text
    assert "rouge-l 43.21, bleu-4 30.00" in text and "715 个样本" in text and "2026-11-25" in text


def test_scores_of_another_adapter_are_refused(output: Path, tmp_path: Path) -> None:
    other = results_of(output, tmp_path / "scores.json", settings={"adapter": str(tmp_path / "other")})
    with pytest.raises(InputError, match="不是"):
        write_card(output, other)
    with pytest.raises(InputError, match="不是"):
        write_card(output, tmp_path / "none.json")


def test_a_base_under_its_makers_own_licence(output: Path) -> None:
    settings = yaml.safe_load((output / SAVED_SETTINGS).read_text("utf-8"))
    write_settings(output / SAVED_SETTINGS, settings | {"model_name_or_path": "models/Qwen/Qwen2.5-3B-Instruct"})
    matter = yaml.safe_load(write_card(output).read_text("utf-8").split("---\n")[1])
    assert (matter["license"], matter["license_name"]) == ("other", "qwen-research-license")


def test_an_unknown_base_and_other_data_promise_nothing(output: Path) -> None:
    settings = yaml.safe_load((output / SAVED_SETTINGS).read_text("utf-8"))
    changed = settings | {"model_name_or_path": "/srv/secret/base-x", "dataset": "mine"}
    write_settings(output / SAVED_SETTINGS, changed)
    text = write_card(output).read_text("utf-8")
    matter = yaml.safe_load(text.split("---\n")[1])
    assert (matter["base_model"], matter["license"]) == ("base-x", "other")
    assert "datasets" not in matter and "CC BY" not in text and "secret" not in text


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("outputs/smoke_model", "outputs/smoke_model"),
        (str(ROOT / "outputs" / "smoke_model"), "outputs/smoke_model"),
        ("models/Qwen/Qwen2.5-7B", "models/Qwen/Qwen2.5-7B"),
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("/home/lihua/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),  # a path that is nobody else's
        ("/home/lihua/base-x", "/path/to/base-x"),
    ],
)
def test_the_commands_name_the_base_as_it_was_given(output: Path, given: str, used: str) -> None:
    settings = yaml.safe_load((output / SAVED_SETTINGS).read_text("utf-8"))
    write_settings(output / SAVED_SETTINGS, settings | {"model_name_or_path": given})
    text = write_card(output).read_text("utf-8")
    assert text.count(f"model_name_or_path={used} ") == 2
    assert f"vllm serve {used} " in text and f'AutoModelForCausalLM.from_pretrained("{used}",' in text
    link = "[Qwen/Qwen2.5-7B](https://modelscope.cn/models/Qwen/Qwen2.5-7B)" if "Qwen" in given else Path(given).name
    assert f"\n{link} 的 LoRA 适配器" in text and "(#)" not in text


def test_the_tiny_models_card_does_not_claim_the_corpus(output: Path) -> None:
    settings = yaml.safe_load((output / SAVED_SETTINGS).read_text("utf-8"))
    write_settings(output / SAVED_SETTINGS, settings | {"model_name_or_path": "outputs/smoke_model"})
    text = write_card(output).read_text("utf-8")
    assert "Alimeeting4MUG" not in text and "CC BY" not in text


def test_the_script_says_what_it_did(run: Any, output: Path, tmp_path: Path) -> None:
    done = run(write_model_card, output, "--eval_results", results_of(output, tmp_path / "scores.json"))
    assert done.status == 0 and "README.md" in done.out
    (output / "adapter_config.json").unlink()
    assert run(write_model_card, output).status == 2
    assert "finish the training" in run(write_model_card, output, "--lang", "en").err
