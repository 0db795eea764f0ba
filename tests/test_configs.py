"""Each YAML in configs/ against LLaMA-Factory's own argument classes, its template, and what our scripts write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import preprocess_data
from mug.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
LONGEST_TITLE_SAMPLE = 2242  # Qwen tokens, over the whole corpus
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SECTIONS = ["model", "method", "dataset", "output", "export", "train", "eval", "generation"]

pytest.importorskip("llamafactory")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "configs" / name).read_text("utf-8"))


def header(path: Path) -> list[str]:
    lines = path.read_text("utf-8").splitlines()
    return lines[: next(i for i, line in enumerate(lines) if not line.startswith("#") or line.startswith("###"))]


def parse(config: dict[str, Any], output: Path) -> Any:
    """Parse as llamafactory-cli would: `stage` is what the training files have and the others don't."""
    from llamafactory.hparams import get_infer_args, get_train_args

    if "stage" in config:
        # use_cpu takes nothing away from the check but the question whether this machine has a bf16 GPU.
        return get_train_args({**config, "use_cpu": True, "output_dir": str(output)})
    return get_infer_args(dict(config))


def test_the_promised_files_are_there() -> None:
    names = {path.name for path in CONFIGS}
    assert names >= {"train_lora.yaml", "train_qlora.yaml", "train_smoke.yaml"}
    assert names >= {"inference.yaml", "merge.yaml", "predict.yaml"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
class TestEveryFile:
    def test_is_taken_by_llamafactory(self, path: Path, tmp_path: Path) -> None:
        model_args, data_args, *_ = parse(read(path.name), tmp_path / "out")
        assert model_args.model_name_or_path == read(path.name)["model_name_or_path"]
        assert data_args.template == "qwen"

    def test_a_misspelt_key_would_be_refused(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="lora_rnak"):
            parse({**read(path.name), "lora_rnak": 64}, tmp_path / "out")

    def test_has_the_system_prompt_of_the_stock_template(self, path: Path) -> None:
        assert read(path.name)["default_system"] == SYSTEM

    def test_opens_with_chinese_then_english_and_its_own_launch_command(self, path: Path) -> None:
        lines = header(path)
        assert re.search(r"[\u4e00-\u9fff]", lines[0])
        chinese, _, english = "\n".join(lines).partition("# Assumes:")
        assert not re.search(r"[\u4e00-\u9fff]", english)
        launcher = r"(llamafactory-cli (train|chat)|python scripts/export_model\.py)"
        command = re.compile(rf"^#     {launcher} configs/{re.escape(path.name)}$")
        commands = [line for line in lines if command.match(line)]
        assert len(commands) == 2, "once in Chinese, once in English"
        assert [word for word in ("前提", "启动", "改参数", "它不") if word not in chinese] == []
        assert [word for word in ("Launch", "Override", "does not") if word not in english] == []

    def test_keeps_llamafactorys_section_order(self, path: Path) -> None:
        found = re.findall(r"^### (\w+)$", path.read_text("utf-8"), re.MULTILINE)
        assert found == [section for section in SECTIONS if section in found]
        assert found[0] == "model"

    def test_names_only_datasets_that_preprocess_writes(self, path: Path) -> None:
        written = preprocess_data.dataset_files(list(TASKS), True)
        config = read(path.name)
        named = [name for key in ("dataset", "eval_dataset") for name in config.get(key, "").split(",") if name]
        assert [name for name in named if name not in written] == []
        assert config.get("dataset_dir", "data") == "data"

    def test_has_no_line_over_119_columns(self, path: Path) -> None:
        assert [line for line in path.read_text("utf-8").splitlines() if len(line) > 119] == []


def test_the_system_prompt_is_still_the_qwen_templates_own() -> None:
    source = (Path(__import__("llamafactory").__file__).parent / "data" / "template.py").read_text("utf-8")
    # Read from the source: loading a tokenizer with default_system changes the template object of this process.
    own = re.search(r'name="qwen",.*?default_system="([^"]+)"', source, re.DOTALL)
    assert own is not None and own[1] == SYSTEM


@pytest.mark.parametrize("name", ["train_lora.yaml", "train_qlora.yaml", "train_smoke.yaml"])
class TestTraining:
    def test_best_checkpoint_can_be_loaded_at_the_end(self, name: str) -> None:
        config = read(name)
        assert config["load_best_model_at_end"] and config["eval_strategy"] == "steps"
        assert config["save_steps"] % config["eval_steps"] == 0
        assert (config["metric_for_best_model"], config["greater_is_better"]) == ("eval_loss", False)

    def test_the_same_command_resumes(self, name: str) -> None:
        config = read(name)
        assert config["overwrite_output_dir"] is False
        assert config.get("save_only_model", False) is False
        assert config["save_total_limit"] >= 2, "a kill while a checkpoint is written must leave the one before"
        # With max_steps, LLaMA-Factory trains one step more each time a finished training is started again.
        assert "max_steps" not in config

    def test_does_not_pack_or_report_and_plots_the_loss(self, name: str) -> None:
        config = read(name)
        assert (config["packing"], config["report_to"], config["plot_loss"]) == (False, "none", True)


@pytest.mark.parametrize("name", ["train_lora.yaml", "train_qlora.yaml"])
def test_the_real_training_has_the_promised_hyperparameters(name: str, tmp_path: Path) -> None:
    _, data, training, finetuning, _ = parse(read(name), tmp_path / "out")
    assert (finetuning.lora_rank, finetuning.lora_alpha, finetuning.lora_target) == (64, 128, ["all"])
    assert (training.learning_rate, training.num_train_epochs, training.bf16) == (2e-4, 3.0, True)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 16
    assert data.cutoff_len == 2560 >= LONGEST_TITLE_SAMPLE


def test_qlora_differs_from_lora_only_where_it_must() -> None:
    lora, qlora = read("train_lora.yaml"), read("train_qlora.yaml")
    differing = {key for key in lora.keys() | qlora.keys() if lora.get(key) != qlora.get(key)}
    assert differing == {
        "quantization_method",
        "quantization_bit",
        "quantization_type",
        "double_quantization",
        "output_dir",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "gradient_accumulation_steps",
    }
    assert (qlora["quantization_bit"], qlora["quantization_type"], qlora["double_quantization"]) == (4, "nf4", True)


@pytest.mark.parametrize("name", ["inference.yaml", "merge.yaml", "predict.yaml"])
def test_what_follows_training_uses_what_it_wrote(name: str) -> None:
    lora, config = read("train_lora.yaml"), read(name)
    assert config["adapter_name_or_path"] == lora["output_dir"]
    # The base may be a local path by now: download_model.py --set_config writes it into all files.
    assert config["model_name_or_path"] == lora["model_name_or_path"]


@pytest.mark.parametrize("name", ["inference.yaml", "predict.yaml"])
def test_answers_are_greedy_and_without_penalty(name: str, tmp_path: Path) -> None:
    *_, generating = parse(read(name), tmp_path / "out")
    assert (generating.do_sample, generating.repetition_penalty, generating.num_beams) == (False, 1.0, 1)
    assert generating.max_new_tokens == 512


def test_merging_writes_safetensors_in_the_bases_own_type(tmp_path: Path) -> None:
    model, *_ = parse(read("merge.yaml"), tmp_path / "out")
    assert (model.export_legacy_format, model.infer_dtype, model.export_size) == (False, "auto", 5)
    assert model.quantization_bit is None and model.export_quantization_bit is None
