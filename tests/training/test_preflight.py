"""Each finding of the preflight with an input that deserves it, and the same input mended; the counts of cut samples
against what LLaMA-Factory's own preprocessing really keeps.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mug.alpaca import COLUMNS
from mug.tasks import TASKS
from mug.tasks.base import SYSTEM
from mug.training import checkpoints, environment, preflight, truncation
from mug.training.cards import Card, Machine, gpus, probe, starts_torchrun
from mug.training.memory import GIB
from mug.training.preflight import Report, check

pytest.importorskip("llamafactory")

H100 = Card("NVIDIA H100 80GB", 79 * GIB, 78 * GIB, (9, 0))
T4 = Card("Tesla T4", 15 * GIB, 14 * GIB, (7, 5))
ALL = frozenset({"flash_attn", "liger_kernel", "bitsandbytes", "deepspeed", "tensorboard", "wandb", "swanlab"})
GPU = Machine((H100,), ALL, "12.8")
SMALL = Machine((dataclasses.replace(H100, total=GIB, free=GIB),), ALL, "12.8")
INSTRUCTION = TASKS["title_generation"].instruction


def row(number: int, words: int, output: str = "春游地点") -> dict[str, Any]:
    text = "\n".join(f"[no.{line}]: 去湿地公园吧。" for line in range(words))
    return {"instruction": INSTRUCTION, "input": text, "output": output, "id": f"T{number}/title/1", "references": []}


def write_data(folder: Path, **rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    info = {}
    for name, found in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        info[name] = {"file_name": f"{name}.json", "columns": COLUMNS}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model of make_smoke_model.py, in this process."""
    import make_smoke_model as smoke
    from mug.corpus import Report as Reading
    from mug.corpus import read_meetings

    folder = tmp_path_factory.mktemp("models") / "smoke"
    corpus = Path(__file__).resolve().parents[2] / "dataset" / "sample" / "train.csv"
    texts = [text for meeting in read_meetings(corpus, Reading()) for text in smoke.meeting_texts(meeting)]
    tokenizer = smoke.train_tokenizer(texts)
    tokenizer.save_pretrained(folder)
    smoke.random_model(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def settings(model: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings that nothing is wrong with, on data of ten samples."""
    write_data(tmp_path / "data", train=[row(n, 5 + n) for n in range(10)], dev=[row(90 + n, 5) for n in range(3)])
    return {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_target": "all",
        "dataset": "train",
        "eval_dataset": "dev",
        "dataset_dir": str(tmp_path / "data"),
        "template": "qwen",
        "default_system": SYSTEM,
        "cutoff_len": 1024,
        "output_dir": str(tmp_path / "out"),
        "save_steps": 2,
        "save_total_limit": 2,
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1.0,
        "bf16": True,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "load_best_model_at_end": True,
        "report_to": "none",
    }


Codes = Callable[..., dict[str, str]]


@pytest.fixture
def codes(settings: dict[str, Any]) -> Codes:
    """Check with changes, and return the level of each finding by its code."""

    def of(machine: Machine = GPU, *, speed: bool = False, skip_long: bool = False, **changes: Any) -> dict[str, str]:
        report = check({**settings, **changes}, speed=speed, machine=machine, skip_long=skip_long)
        return {one.code: one.level for one in report.findings}

    return of


def findings(report: Report, code: str) -> list[str]:
    return [one.message.zh for one in report.findings if one.code == code]


def test_settings_that_nothing_is_wrong_with_pass(codes: Codes) -> None:
    assert set(codes().values()) == {"info"}
    assert set(codes(speed=True).values()) == {"info"}


def without(*packages: str) -> Machine:
    return dataclasses.replace(GPU, packages=ALL - set(packages))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("unknown_key", {"lora_rnak": 64}),
        ("not_sft", {"stage": "dpo"}),
        ("not_sft", {"do_train": False}),
        ("missing_key", {"output_dir": None}),
        ("no_gpu", {"machine": Machine()}),
        ("no_bf16", {"machine": Machine((T4,), ALL, "12.8")}),
        ("speed_card", {"machine": Machine((T4,), ALL, "12.8"), "speed": True, "bf16": False, "fp16": True}),
        ("speed", {"speed": True, "lora_dropout": 0.05}),
        ("speed", {"speed": True, "quantization_bit": 8}),
        ("liger_cpu", {"use_cpu": True, "enable_liger_kernel": True}),
        ("package", {"enable_liger_kernel": True, "machine": without("liger_kernel")}),
        ("package", {"speed": True, "machine": without("liger_kernel")}),
        ("package", {"quantization_bit": 4, "machine": without("bitsandbytes")}),
        ("package", {"deepspeed": "configs/deepspeed/ds_z2.json", "machine": without("deepspeed")}),
        ("deepspeed_file", {"deepspeed": "configs/deepspeed/ds_z9.json"}),
        ("swanlab", {"report_to": "swanlab"}),
        ("tracker", {"report_to": "tensorboard", "machine": without("tensorboard")}),
        ("tracker", {"use_swanlab": True, "swanlab_mode": "local", "machine": without("swanlab")}),
        ("strategies", {"eval_strategy": "epoch"}),
        ("strategies", {"eval_strategy": False}),
        ("save_steps", {"save_steps": 3}),
        ("no_eval_dataset", {"eval_dataset": None}),
        ("model", {"model_name_or_path": "models/Qwen/Qwen9-7B"}),
        ("no_template", {"template": "qwem"}),
        ("template_tokens", {"template": "llama3"}),
        ("input", {"dataset": "trian"}),
        ("value", {"learning_rate": "abc"}),
        ("value", {"learning_rate": [1e-4]}),
        ("value", {"lora_rank": "abc"}),
        ("value", {"lora_rank": 8.5}),
        ("value", {"lora_dropout": "high"}),
        ("value", {"warmup_ratio": "x"}),
        ("value", {"max_samples": "all"}),
        ("value", {"lr_scheduler_type": "cosin"}),
        ("value", {"finetuning_type": "lroa"}),
        ("value", {"flash_attn": "fa9"}),
        ("value", {"optim": "adam"}),
        ("value", {"log_level": "loud"}),
        ("unknown_key", {"model_max_length": 4096}),  # a field that LLaMA-Factory sets itself
        ("memory", {"per_device_train_batch_size": 4096, "machine": SMALL}),
        ("busy_card", {"machine": Machine((dataclasses.replace(H100, free=GIB // 2),), ALL, "12.8")}),
    ],
)
def test_what_would_fail_is_an_error(codes: Codes, code: str, changes: dict[str, Any]) -> None:
    assert codes(**changes)[code] == "error"
    assert codes().get(code) in (None, "info")


@pytest.mark.parametrize(
    "changes",
    [
        {"warmup_steps": 0.1},
        {"warmup_steps": 10},
        {"learning_rate": "1e-4", "lora_rank": "8"},
        {"load_best_model_at_end": False, "save_steps": 0.5, "eval_steps": 0.5},
        {"max_samples": None, "warmup_ratio": None, "lr_scheduler_type": None, "ddp_backend": None},
        {"lora_alpha": 16.5},
        {"lr_scheduler_type": "cosine_with_min_lr", "optim": "adamw_torch", "log_level": "info"},
        {"include_num_input_tokens_seen": True, "report_to": ["none"], "accelerator_config": {"non_blocking": True}},
        {"load_best_model_at_end": False, "eval_strategy": False},
    ],
)
def test_values_that_llamafactory_takes_are_not_refused(codes: Codes, changes: dict[str, Any]) -> None:
    assert set(codes(**changes).values()) <= {"info", "warning"}


def test_a_wrong_value_is_said_with_the_near_one_or_the_choices(settings: dict[str, Any]) -> None:
    def said(**changes: Any) -> list[str]:
        return findings(check({**settings, **changes}, speed=False, machine=GPU, skip_long=False), "value")

    assert said(learning_rate="abc") == ["learning_rate: abc 应为数；请改正。"]
    assert said(bf16="flase") == ["bf16: flase 应为 true 或 false；请改正。"]
    assert said(packing="false") == [
        "packing: false 应为 true 或 false；请改正。"
    ]  # a text, which would count as true
    assert said(lora_rank=8.5) == ["lora_rank: 8.5 应为整数；请改正。"]
    assert said(lr_scheduler_type="cosin") == ["lr_scheduler_type 不能是 cosin；是不是 cosine？"]
    assert said(finetuning_type="lroa") == ["finetuning_type 不能是 lroa；是不是 lora？"]
    assert said(eval_strategy="weekly") == ["eval_strategy 不能是 weekly；可选：no, steps, epoch。"]
    assert len(said(lora_dropout="high", warmup_ratio="x")) == 2


def test_numbers_are_handed_over_as_the_trainer_needs_them(settings: dict[str, Any]) -> None:
    changes = {"learning_rate": "1e-4", "lora_rank": "8", "per_device_train_batch_size": 2.0, "warmup_steps": 0.1}
    found = check({**settings, **changes}, speed=False, machine=GPU, skip_long=False).settings
    handed = {key: found[key] for key in changes}
    expected = {"learning_rate": 1e-4, "lora_rank": 8, "per_device_train_batch_size": 2, "warmup_steps": 0.1}
    assert handed == expected
    assert [type(handed[key]) for key in changes] == [float, int, int, float]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("packing", {"packing": True}),
        ("sdpa", {"flash_attn": "fa2", "machine": without("flash_attn")}),
        ("template", {"template": "chatml", "default_system": SYSTEM}),
        ("system", {"default_system": "你是会议助手。"}),
        ("never_evaluated", {"save_steps": 500, "eval_steps": 500}),
        ("not_counted", {"dataset_dir": "ONLINE"}),
        ("swanlab_online", {"use_swanlab": True}),
    ],
)
def test_what_should_be_known_is_a_warning(codes: Codes, code: str, changes: dict[str, Any]) -> None:
    assert codes(**changes)[code] == "warning"


def test_wandb_is_said_to_send_unless_it_is_told_not_to(codes: Codes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert codes(report_to="wandb")["wandb_online"] == "warning"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb_online" not in codes(report_to="wandb")


def test_without_flash_attn_sdpa_is_really_set(settings: dict[str, Any]) -> None:
    for machine, expected in ((GPU, "fa2"), (without("flash_attn"), "sdpa"), (Machine((T4,), ALL, "12.8"), "sdpa")):
        report = check({**settings, "flash_attn": "fa2", "bf16": False}, speed=False, machine=machine, skip_long=False)
        assert report.settings["flash_attn"] == expected


def test_a_thinking_template_on_a_model_without_such_tokens(codes: Codes) -> None:
    # qwen3 has the marks of qwen; what it adds is the empty block before each answer.
    found = codes(template="qwen3", default_system=SYSTEM)
    assert found["thinking"] == found["template"] == "warning"


def test_an_error_has_its_mend_in_both_languages(settings: dict[str, Any]) -> None:
    report = check({**settings, "save_steps": 5}, speed=False, machine=GPU, skip_long=False)
    (one,) = [one for one in report.findings if one.code == "save_steps"]
    assert "save_steps=4" in one.message.zh and "save_steps=4" in one.message.en


def test_too_little_memory_names_the_keys_that_fit(settings: dict[str, Any]) -> None:
    settings["per_device_train_batch_size"] = 4096
    report = check(settings, speed=False, machine=SMALL, skip_long=False)
    (said,) = findings(report, "memory")
    words = (word.split("=") for word in said.partition("请加 ")[2].partition("（")[0].split())
    mend = {key: yaml.safe_load(value) for key, value in words}
    assert mend
    mended = check({**settings, **mend}, speed=False, machine=SMALL, skip_long=False)
    assert not findings(mended, "busy_card") and "GiB" in findings(mended, "memory")[0]
    assert not mended.fails


# ------------------------------------------------------------------------------------------------- too long samples


def kept_by_llamafactory(settings: dict[str, Any], rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the tokens of prompt and answer that LLaMA-Factory's own processor leaves of each sample."""
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    arguments = DataArguments(
        template=settings["template"],
        default_system=settings["default_system"],
        cutoff_len=settings["cutoff_len"],
        mask_history=settings.get("mask_history", False),
    )
    tokenizer = preflight.load_tokenizer(settings["model_name_or_path"])
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    (attributes,) = get_dataset_list(["train"], settings["dataset_dir"])
    converter = get_dataset_converter("alpaca", attributes, arguments)
    processor = SupervisedDatasetProcessor(template, tokenizer, None, arguments)
    made = [converter(row) for row in rows]
    examples = processor.preprocess_dataset({key: [one[key] for one in made] for key in made[0]})
    kept = []
    for labels in examples["labels"]:
        answer = sum(label != -100 for label in labels)
        kept.append((len(labels) - answer, answer))
    return kept


@pytest.mark.parametrize("template", ["qwen", "qwen3", "qwen3_nothink", "falcon"])
@pytest.mark.parametrize("cutoff", [40, 120, 400, 4096])
def test_the_counts_are_what_llamafactory_really_keeps(settings: dict[str, Any], template: str, cutoff: int) -> None:
    rows = [row(n, 3 * n, "春游地点" * (1 + n * n)) for n in range(8)] + [row(9, 60), row(10, 0, "好" * 300)]
    write_data(Path(settings["dataset_dir"]), train=rows)
    settings |= {"template": template, "cutoff_len": cutoff}
    tokenizer = preflight.load_tokenizer(settings["model_name_or_path"])
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    made = get_template_and_fix_tokenizer(tokenizer, DataArguments(template=template, default_system=SYSTEM))
    dataset = truncation.find_dataset(Path(settings["dataset_dir"]), "train")
    assert dataset is not None
    counts = list(truncation.count(dataset, settings, tokenizer, made, cutoff))
    expected = kept_by_llamafactory(settings, rows)
    found = [(one.total - one.target - one.lost_prompt, one.target - one.lost_target) for one in counts]
    assert found == expected
    assert {one.task for one in counts} == {"title_generation"}
    if cutoff == 4096:
        assert not any(one.is_cut for one in counts)
    if cutoff == 40:
        assert all(one.lost_prompt for one in counts) and any(one.lost_target for one in counts)


def test_samples_that_would_be_cut_are_named_by_task(settings: dict[str, Any]) -> None:
    rows = [row(n, 8) for n in range(12)] + [row(100 + n, 400) for n in range(12)] + [row(200, 2, "好" * 3000)]
    write_data(Path(settings["dataset_dir"]), train=rows, dev=[row(300, 500)])
    report = check(settings, speed=False, machine=GPU, skip_long=False)
    assert report.fails
    (train,), (dev,) = report.tables["dataset"], report.tables["eval_dataset"]
    assert (train.task, train.samples, train.lose_context, train.lose_answer) == ("title_generation", 25, 12, 1)
    assert train.cut[:2] == ("T100/title/1", "T101/title/1") and dev.cut == ("T300/title/1",)
    levels = [one.level for one in report.findings if one.code == "too_long"]
    assert levels == ["error", "warning"], "what is only evaluated harms no training"
    said = "\n".join(preflight.lines(report, "zh"))
    assert "T109/title/1 … (+3)" in said and "T110/title/1" not in said, "the first ten by name"
    fixed = int(findings(report, "too_long")[0].partition("cutoff_len=")[2].partition("，")[0])
    assert fixed % 256 == 0
    settings |= {"cutoff_len": fixed}
    assert not check(settings, speed=False, machine=GPU, skip_long=False).tables.get("dataset")


def test_long_samples_are_left_out_when_asked(settings: dict[str, Any]) -> None:
    folder = Path(settings["dataset_dir"])
    long_ones = [row(100 + n, 400) for n in range(2)]
    write_data(folder, train=[long_ones[0], row(1, 4), long_ones[1], row(2, 4)], dev=[row(3, 4)])
    before = (folder / "train.json").read_bytes()
    report = check(settings, speed=False, machine=GPU, skip_long=True)
    assert not report.fails
    assert (report.settings["dataset"], report.settings["eval_dataset"]) == ("train_max1024", "dev")
    kept = json.loads((folder / "train_max1024.json").read_text("utf-8"))
    assert [one["id"] for one in kept] == ["T1/title/1", "T2/title/1"]
    assert (folder / "train.json").read_bytes() == before
    info = json.loads((folder / "dataset_info.json").read_text("ascii"))
    assert info["train_max1024"] == {"file_name": "train_max1024.json", "columns": COLUMNS}
    assert set(info) == {"train", "dev", "train_max1024"}
    assert "去掉" not in findings(report, "skipped")[0] and "2 个过长样本不用" in findings(report, "skipped")[0]
    again = check(report.settings, speed=False, machine=GPU, skip_long=False)
    assert not again.fails and not again.tables


def test_a_dry_run_writes_nothing(settings: dict[str, Any]) -> None:
    folder = Path(settings["dataset_dir"])
    write_data(folder, train=[row(1, 400), row(2, 4)], dev=[row(3, 4)])
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    report = check(settings, speed=False, machine=GPU, skip_long=True, write=False)
    assert not report.fails and findings(report, "would_skip")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_when_no_sample_would_be_left_it_is_an_error(settings: dict[str, Any]) -> None:
    write_data(Path(settings["dataset_dir"]), train=[row(1, 400)], dev=[row(3, 4)])
    report = check(settings, speed=False, machine=GPU, skip_long=True)
    assert "全都超过" in findings(report, "input")[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "train.json").unlink(),
        lambda folder: (folder / "train.json").write_text("[", encoding="utf-8"),
        lambda folder: (folder / "train.json").write_text("[]", encoding="utf-8"),
        lambda folder: (folder / "train.json").write_text(json.dumps([row(1, 2, " ")]), encoding="utf-8"),
        lambda folder: (folder / "dataset_info.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "dataset_info.json").unlink(),
    ],
)
def test_data_that_cant_be_used_are_an_error(settings: dict[str, Any], codes: Codes, spoil: Any) -> None:
    spoil(Path(settings["dataset_dir"]))
    assert codes()["input"] == "error"


def test_max_samples_bounds_what_is_looked_at(settings: dict[str, Any], codes: Codes) -> None:
    write_data(Path(settings["dataset_dir"]), train=[row(1, 4), row(2, 4), row(3, 400)], dev=[row(3, 4)])
    assert "too_long" not in codes(max_samples=2)
    assert "too_long" in codes(max_samples=3)


def test_packs_and_steps_are_told(settings: dict[str, Any]) -> None:
    report = check({**settings, "neat_packing": True}, speed=False, machine=GPU, skip_long=False)
    (said,) = findings(report, "amount")
    assert "10 个样本" in said and "包" in said


# ------------------------------------------------------------------------------------------------- models and adapters


def test_a_model_folder_without_its_weights_is_an_error(
    settings: dict[str, Any], codes: Codes, tmp_path: Path
) -> None:
    folder = shutil.copytree(settings["model_name_or_path"], tmp_path / "broken")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    assert codes(model_name_or_path=str(folder))["model"] == "error"


def test_a_model_whose_tokenizer_is_damaged_is_an_error(codes: Codes, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "damaged"))
    (folder / "tokenizer.json").write_text("{")
    assert codes(model_name_or_path=str(folder))["input"] == "error"


def save_adapter(folder: Path, base: Path, rank: int = 8, alpha: int = 16, width: int = 128) -> None:
    import torch
    from safetensors.torch import save_file

    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {name.format(layer, "A"): torch.zeros(rank, width) for layer in range(2)}
    tensors |= {name.format(layer, "B"): torch.zeros(128, rank) for layer in range(2)}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))


def test_an_adapter_of_another_base_is_refused(codes: Codes, model: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "fits", model)
    assert "adapter" not in codes(adapter_name_or_path=str(tmp_path / "fits"))
    save_adapter(tmp_path / "other", model, width=256)
    assert codes(adapter_name_or_path=str(tmp_path / "other"))["adapter"] == "error"
    assert codes(adapter_name_or_path=str(tmp_path / "nowhere"))["adapter"] == "error"


# ------------------------------------------------------------------------------------------------- the output folder


def save_checkpoint(output: Path, step: int, model: Path, **adapter: int) -> Path:
    import torch

    folder = output / f"checkpoint-{step}"
    save_adapter(folder, model, **adapter)
    torch.save({"state": [step]}, folder / "optimizer.pt")
    torch.save({"state": [step]}, folder / "scheduler.pt")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def test_a_whole_checkpoint_is_gone_on_from(settings: dict[str, Any], codes: Codes, model: Path) -> None:
    save_checkpoint(Path(settings["output_dir"]), 4, model)
    assert codes(lora_target="q_proj")["resumes"] == "info"
    assert "torn" not in codes(lora_target="q_proj")


@pytest.mark.parametrize("file", ["trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_torn_checkpoint_is_seen_and_moved_aside(settings: dict[str, Any], model: Path, file: str, how: str) -> None:
    output = Path(settings["output_dir"])
    save_checkpoint(output, 4, model)
    newest = save_checkpoint(output, 12, model)
    whole = (newest / file).read_bytes()
    (newest / file).unlink()
    if how == "cut":
        (newest / file).write_bytes(whole[: len(whole) // 2])
    torn = checkpoints.broken(output)
    if how == "gone" and file.endswith(".pt"):  # save_only_model writes none
        assert torn == []
        return
    assert [one.folder.name for one in torn] == ["checkpoint-12"]
    report = check({**settings, "lora_target": "q_proj"}, speed=False, machine=GPU, skip_long=False)
    assert "checkpoint-4" in findings(report, "resumes")[0] and findings(report, "torn")
    assert checkpoints.move_aside(newest).name == "incomplete-checkpoint-12"
    from transformers.trainer_utils import get_last_checkpoint

    assert get_last_checkpoint(str(output)) == str(output / "checkpoint-4")
    again = save_checkpoint(output, 12, model)
    assert checkpoints.move_aside(again).name == "incomplete-checkpoint-12-2"


def test_a_checkpoint_of_other_settings_is_refused(settings: dict[str, Any], codes: Codes, model: Path) -> None:
    save_checkpoint(Path(settings["output_dir"]), 4, model, rank=4)
    assert codes(lora_target="q_proj")["other_adapter"] == "error"
    assert "other_adapter" not in codes(lora_target="q_proj", lora_rank=4)
    assert codes(lora_target="q_proj", lora_rank=4, lora_alpha=99)["other_adapter"] == "error"
    assert "other_adapter" not in codes(lora_rank=99, overwrite_output_dir=True)


def test_changed_settings_of_a_resumed_training_are_listed(settings: dict[str, Any], model: Path) -> None:
    output = Path(settings["output_dir"])
    save_checkpoint(output, 4, model)
    from mug.training.settings import write_settings

    settings["lora_target"] = "q_proj"
    write_settings(output / preflight.SAVED_SETTINGS, settings | {"learning_rate": 1e-4})
    report = check({**settings, "learning_rate": 2e-4}, speed=False, machine=GPU, skip_long=False)
    assert "learning_rate 0.0001 → 0.0002" in findings(report, "changed")[0]
    assert "dataset" not in findings(report, "changed")[0]


def test_a_result_without_checkpoints_is_not_written_over(settings: dict[str, Any], codes: Codes, model: Path) -> None:
    save_adapter(Path(settings["output_dir"]), model)
    assert codes()["used_output"] == "error"
    assert "used_output" not in codes(overwrite_output_dir=True)


def test_resuming_from_a_named_checkpoint_looks_at_that_one(
    settings: dict[str, Any], codes: Codes, model: Path
) -> None:
    folder = save_checkpoint(Path(settings["output_dir"]), 4, model)
    assert "resume" not in codes(resume_from_checkpoint=str(folder))
    (folder / "trainer_state.json").unlink()
    assert codes(resume_from_checkpoint=str(folder))["resume"] == "error"


def test_several_cards_and_a_path_with_a_space(codes: Codes, tmp_path: Path) -> None:
    two = Machine((H100, H100), ALL, "12.8")
    assert codes(two, output_dir=str(tmp_path / "my out"))["spaces"] == "error"
    assert "spaces" not in codes(output_dir=str(tmp_path / "my out"))


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_seen_before(codes: Codes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10**6))
    assert codes()["disk"] == "error"
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Usage(10**12, 0, 10**12))
    assert "disk" not in codes()


# ------------------------------------------------------------------------------------------------- the machine


def test_the_probe_names_packages_and_no_card_that_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = probe()
    assert found.cards == ()
    assert found.packages == probe(cards=False).packages


def test_processes_are_counted_as_the_launcher_does() -> None:
    two = Machine((H100, H100), ALL, "12.8")
    assert gpus(two, {}) == 2 and gpus(GPU, {}) == gpus(Machine(), {}) == 1
    assert gpus(two, {"NPROC_PER_NODE": "8", "NNODES": "4"}) == 32
    assert starts_torchrun(two, {}) and not starts_torchrun(GPU, {})
    assert starts_torchrun(GPU, {"FORCE_TORCHRUN": "1"}) and not starts_torchrun(two, {"USE_RAY": "1"})


# ----------------------------------------------------------------------------------- conversations, models, DeepSpeed


def test_conversations_that_need_the_tree_are_refused_without_it(settings: dict[str, Any]) -> None:
    record = Path(settings["dataset_dir"]) / "preprocess.json"
    record.write_text('{"tokenizer": null, "layout": "shared", "needs_tree": true}', encoding="utf-8")

    def trees(**keys: bool) -> list[str]:
        report = check(settings, machine=GPU, skip_long=False, write=False, **keys)
        return [one.message.en for one in report.findings if one.code == "tree"]

    assert "mug_speed=true mug_tree=true" in trees(speed=True)[0]
    assert "mug_speed=true" in trees(speed=False, tree=True)[0]
    assert trees(speed=True, tree=True) == []
    record.write_text("{")
    for tree in (False, True):  # a training would end, and its model could not be asked
        report = check(settings, machine=GPU, skip_long=False, write=False, speed=True, tree=tree)
        assert report.fails and any("preprocess.json is damaged" in one.message.en for one in report.findings)


def test_a_missing_model_folder_asks_no_hub(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "load_tokenizer", lambda _: pytest.fail("a hub would be asked"))
    keys = settings | {"model_name_or_path": "models/nowhere"}
    report = check(keys, speed=False, machine=GPU, skip_long=False, write=False)
    assert [one.code for one in report.findings if one.level == "error"] == ["model"]


def hub_keys(settings: dict[str, Any], cache: Path) -> dict[str, Any]:
    return settings | {"model_name_or_path": "Maker/Tiny-1B", "cache_dir": str(cache)}


def cached(model: Path, cache: Path) -> Path:
    """Put a model into a Hugging Face cache, and return its folder there."""
    root = cache / "models--Maker--Tiny-1B"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0123abc")
    return Path(shutil.copytree(model, root / "snapshots" / "0123abc"))


def test_a_model_that_was_not_downloaded_is_said_at_once(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "load_tokenizer", lambda _: pytest.fail("a hub would be asked"))
    keys = hub_keys(settings, tmp_path / "cache")
    report = check(keys, speed=False, machine=GPU, skip_long=False, write=False)
    (said,) = [one.message for one in report.findings if one.level == "error"]
    for text in said:
        assert "python scripts/download_model.py --model_id Maker/Tiny-1B --set_config" in text
        assert "llamafactory-cli train" in text


def test_a_model_in_the_cache_of_hugging_face_is_taken_from_there(
    settings: dict[str, Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached(model, tmp_path / "cache")
    asked: list[str] = []
    load = preflight.load_tokenizer
    monkeypatch.setattr(preflight, "load_tokenizer", lambda name: asked.append(name) or load(name))
    keys = hub_keys(settings, tmp_path / "cache")
    report = check(keys, speed=False, machine=GPU, skip_long=False, write=False)
    assert not report.fails and findings(report, "amount")
    assert asked == [str(folder)]
    assert report.settings["model_name_or_path"] == "Maker/Tiny-1B"
    (folder / "model.safetensors").unlink()  # its download broke off
    report = check(keys, speed=False, machine=GPU, skip_long=False, write=False)
    assert [one.code for one in report.findings if one.level == "error"] == ["model"]


def test_with_modelscope_its_own_cache_is_looked_at(
    settings: dict[str, Any], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modelscope = pytest.importorskip("modelscope")
    monkeypatch.setenv("USE_MODELSCOPE_HUB", "1")
    cached(model, tmp_path / "cache")  # where LLaMA-Factory would not look now
    keys = hub_keys(settings, tmp_path / "cache")
    report = check(keys, speed=False, machine=GPU, skip_long=False, write=False)
    assert [one.code for one in report.findings if one.level == "error"] == ["model"]

    def found(name: str, **options: Any) -> str:
        assert (name, options["revision"], options["local_files_only"]) == ("Maker/Tiny-1B", "master", True)
        return str(model)

    monkeypatch.setattr(modelscope, "snapshot_download", found)
    assert not check(keys, speed=False, machine=GPU, skip_long=False, write=False).fails


def test_a_folder_without_a_list_of_datasets_is_said_to_have_none(settings: dict[str, Any], tmp_path: Path) -> None:
    keys = settings | {"dataset_dir": str(tmp_path / "nodata")}
    (said,) = findings(check(keys, speed=False, machine=GPU, skip_long=False, write=False), "input")
    assert said == (
        f"没有 {tmp_path / 'nodata' / 'dataset_info.json'}；请先运行 python scripts/preprocess_data.py，"
        "或检查 dataset_dir。"
    )


@pytest.mark.parametrize("stage", [2, 3])
def test_zero_3_is_known_by_its_file_not_by_its_name(settings: dict[str, Any], tmp_path: Path, stage: int) -> None:
    file = tmp_path / ("z3.json" if stage == 2 else "mine.json")
    file.write_text(json.dumps({"zero_optimization": {"stage": stage}}), encoding="utf-8")
    report = check(settings | {"deepspeed": str(file)}, speed=True, machine=GPU, skip_long=False, write=False)
    assert ("speed" in [one.code for one in report.findings]) == (stage == 3)
