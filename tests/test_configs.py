"""Each YAML in configs/ against LLaMA-Factory's own argument classes, its template, and what our scripts write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mug.alpaca import dataset_files
from mug.training.memory import GIB, estimate
from mug.training.shapes import shape_of

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
PRESETS = sorted((ROOT / "configs" / "gpu").glob("*.yaml"))
LONGEST_TITLE_SAMPLE = 2242  # Qwen tokens, over the whole corpus
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SECTIONS = ["model", "method", "dataset", "output", "export", "train", "eval", "generation"]

pytest.importorskip("llamafactory")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "configs" / name).read_text("utf-8"))


def called(path: Path) -> str:
    return path.relative_to(ROOT / "configs").as_posix()


def header(path: Path) -> list[str]:
    lines = path.read_text("utf-8").splitlines()
    return lines[: next(i for i, line in enumerate(lines) if not line.startswith("#") or line.startswith("###"))]


def parse(config: dict[str, Any], output: Path) -> Any:
    """Parse as llamafactory-cli would: `stage` is what the training files have and the others don't."""
    from llamafactory.hparams import get_infer_args, get_train_args

    if "stage" in config:
        # use_cpu takes nothing away from the check but the question whether this machine has a bf16 GPU.
        # liger-kernel is installed only where there is a GPU, but its absence is refused without one too.
        return get_train_args({**config, "use_cpu": True, "enable_liger_kernel": False, "output_dir": str(output)})
    return get_infer_args(dict(config))


def test_the_promised_files_are_there() -> None:
    names = {path.name for path in CONFIGS}
    assert names >= {"train_lora.yaml", "train_qlora.yaml", "train_smoke.yaml"}
    assert names >= {"inference.yaml", "merge.yaml", "predict.yaml"}


@pytest.mark.parametrize("path", CONFIGS + PRESETS, ids=called)
class TestEveryFile:
    def test_is_taken_by_llamafactory(self, path: Path, tmp_path: Path) -> None:
        model_args, data_args, *_ = parse(read(called(path)), tmp_path / "out")
        assert model_args.model_name_or_path == read(called(path))["model_name_or_path"]
        assert data_args.template == "qwen"

    def test_a_misspelt_key_would_be_refused(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="lora_rnak"):
            parse({**read(called(path)), "lora_rnak": 64}, tmp_path / "out")

    def test_has_the_system_prompt_of_the_stock_template(self, path: Path) -> None:
        assert read(called(path))["default_system"] == SYSTEM

    def test_opens_with_chinese_then_english_and_its_own_launch_command(self, path: Path) -> None:
        lines = header(path)
        assert re.search(r"[\u4e00-\u9fff]", lines[0])
        chinese, _, english = "\n".join(lines).partition("# Assumes:")
        assert not re.search(r"[\u4e00-\u9fff]", english)
        launcher = r"(llamafactory-cli (train|chat)|python scripts/export_model\.py)"
        command = re.compile(rf"^#     {launcher} configs/{re.escape(called(path))}$")
        commands = [line for line in lines if command.match(line)]
        assert len(commands) == 2, "once in Chinese, once in English"
        assert [word for word in ("前提", "启动", "改参数", "它不") if word not in chinese] == []
        assert [word for word in ("Launch", "Override", "does not") if word not in english] == []

    def test_keeps_llamafactorys_section_order(self, path: Path) -> None:
        found = re.findall(r"^### (\w+)$", path.read_text("utf-8"), re.MULTILINE)
        assert found == [section for section in SECTIONS if section in found]
        assert found[0] == "model"

    def test_names_only_datasets_that_preprocess_writes(self, path: Path) -> None:
        written = dataset_files(("train", "dev"), True)
        config = read(called(path))
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


TRAININGS = ["train_lora.yaml", "train_qlora.yaml", "train_smoke.yaml", *map(called, PRESETS)]


@pytest.mark.parametrize("name", TRAININGS)
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

    def test_does_not_report_and_plots_the_loss(self, name: str) -> None:
        config = read(name)
        assert (config["report_to"], config["plot_loss"]) == ("none", True)

    def test_packs_only_samples_that_do_not_see_each_other(self, name: str) -> None:
        config = read(name)
        assert not config.get("packing")
        assert bool(config.get("neat_packing")) == name.startswith("gpu/")


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


# ------------------------------------------------------------------------------------------------- presets of cards

# What such a card has in GiB, as its driver says, not as its box does.
CARDS = {"h100_80gb": 79.1, "a100_40gb": 39.4, "rtx4090_24gb": 23.5, "gpu_16gb": 15.6, "gpu_16gb_fp16": 14.6}
TOKENS = [1251, 2242]  # of a title sample, on average and at most


def test_there_is_a_preset_for_each_card() -> None:
    assert {path.stem for path in PRESETS} == set(CARDS)


@pytest.mark.parametrize("path", PRESETS, ids=called)
class TestPreset:
    def test_fits_its_card(self, path: Path) -> None:
        config = read(called(path))
        found = estimate(config, shape_of(config["model_name_or_path"]), TOKENS)
        assert found.fits(CARDS[path.stem])

    def test_says_the_peak_that_the_estimate_gives(self, path: Path) -> None:
        config = read(called(path))
        peak = estimate(config, shape_of(config["model_name_or_path"]), TOKENS).total / GIB
        text = "\n".join(header(path))
        if "计算值，没有在这种卡上运行过" in text:
            assert f"显存峰值 {peak:.1f} GiB" in text and f"a peak of {peak:.1f} GiB" in text
        else:
            assert "实测" in text and "measured" in text

    def test_a_step_has_about_sixteen_samples(self, path: Path) -> None:
        config = read(called(path))
        samples = config["per_device_train_batch_size"] * config["gradient_accumulation_steps"]
        samples *= config["cutoff_len"] // TOKENS[0]
        assert 12 <= samples <= 16
        assert config["cutoff_len"] > LONGEST_TITLE_SAMPLE

    def test_loses_no_speed_that_costs_nothing(self, path: Path) -> None:
        config = read(called(path))
        assert (config["enable_liger_kernel"], config["lora_dropout"]) == (True, 0.0)
        assert config["lora_alpha"] == 2 * config["lora_rank"]

    def test_trains_in_one_half_precision(self, path: Path) -> None:
        config = read(called(path))
        assert bool(config.get("bf16")) != bool(config.get("fp16"))
        assert bool(config.get("fp16")) == path.stem.endswith("fp16")


# ------------------------------------------------------------------------------------------------- several cards

ZERO = sorted((ROOT / "configs" / "deepspeed").glob("*.json"))


@pytest.mark.parametrize("path", ZERO, ids=lambda path: path.name)
def test_deepspeeds_files_leave_to_the_yaml_what_it_says(path: Path) -> None:
    config = json.loads(path.read_text("utf-8"))
    ours = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
    assert [config[key] for key in ours] == ["auto"] * 4
    assert config["bf16"]["enabled"] == config["fp16"]["enabled"] == "auto"


def test_deepspeeds_stages_are_those_of_the_names() -> None:
    stages = {path.stem: json.loads(path.read_text("utf-8"))["zero_optimization"] for path in ZERO}
    assert {name: zero["stage"] for name, zero in stages.items()} == {"ds_z2": 2, "ds_z3": 3, "ds_z3_offload": 3}
    assert all(zero["stage3_gather_16bit_weights_on_model_save"] for zero in stages.values() if zero["stage"] == 3)
    without = {key: value for key, value in stages["ds_z3_offload"].items() if not key.startswith("offload_")}
    assert without == stages["ds_z3"]


@pytest.mark.parametrize("path", ZERO, ids=lambda path: path.name)
def test_deepspeed_takes_its_files(path: Path) -> None:
    pytest.importorskip("deepspeed")
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    zero = json.loads(path.read_text("utf-8"))["zero_optimization"]
    # "auto" is for transformers, which puts a number there; an unknown key is refused.
    DeepSpeedZeroConfig(**{key: value for key, value in zero.items() if value != "auto"})


def test_accelerate_takes_the_fsdp_file() -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    path = ROOT / "configs" / "fsdp" / "fsdp_qlora.yaml"
    config = load_config_from_file(str(path))
    assert (config.distributed_type.value, config.num_processes, config.mixed_precision) == ("FSDP", 2, "bf16")
    named = config.fsdp_config
    options = {action.dest for action in launch_command_parser()._actions}
    assert set(named) <= options, set(named) - options
    text = "\n".join(header(path))
    assert text.count("-m llamafactory.launcher configs/gpu/rtx4090_24gb.yaml") == 2


def test_llamafactorys_launcher_trains_when_it_is_run_as_a_module() -> None:
    source = (Path(__import__("llamafactory").__file__).parent / "launcher.py").read_text("utf-8")
    _, _, main = source.partition('if __name__ == "__main__":')
    assert "run_exp()" in main
