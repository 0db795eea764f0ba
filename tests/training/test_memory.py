"""The memory estimate against measured peaks, and against the tensors that the real code keeps."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mug.errors import InputError
from mug.training import memory
from mug.training.memory import GIB, WORKSPACES, estimate, peak, suggest
from mug.training.shapes import Shape, shape_of

ROOT = Path(__file__).resolve().parents[2]
GPU = ROOT / "benchmarks" / "gpu"
QWEN_7B = shape_of("Qwen/Qwen2.5-7B")
ROWS = [json.loads(line) for line in (GPU / "measured_peaks.jsonl").read_text(encoding="utf-8").splitlines()]
TITLES = json.loads((GPU / "title_lengths.json").read_text(encoding="utf-8"))
PLAIN = {"bf16": True, "lora_rank": 8, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}


def common() -> dict[str, Any]:
    """What all configurations of the benchmark share."""
    spec = importlib.util.spec_from_file_location("bench_training", GPU / "bench_training.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shared: dict[str, Any] = module.COMMON
    return shared


# --- measured on GPUs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_estimate_is_within_seven_percent_of_each_measured_peak(row: dict[str, Any]) -> None:
    """A row is a line of bench_training.py; ``samples``: of the first so many titles; ``inputs_copied`` false: with
    peft's copy of LoRA's inputs to fp32 left out, which no key of LLaMA-Factory does."""
    settings, lengths = common() | row["settings"], TITLES[: row.get("samples")]
    plan = memory.plan_of(settings, QWEN_7B, lengths, row.get("gpus", 1))
    if row.get("inputs_copied", True):
        found = estimate(settings, QWEN_7B, lengths, row.get("gpus", 1), targets=12)
    else:
        found = peak(dataclasses.replace(plan, shares=True), QWEN_7B, plan.batch * plan.sequence, 12)

    assert found.total / GIB == pytest.approx(row["peak_GiB"], rel=0.07)


# --- counted on the real code ----------------------------------------------------------------------------------------


def model_of(shape: Shape, layers: int, *, dropout: float, attention: str, checkpointing: bool = False) -> nn.Module:
    """A random model of the shape with adapters, as LLaMA-Factory and peft make it."""
    from llamafactory.model.model_utils.checkpointing import _gradient_checkpointing_enable
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config

    config = (Qwen3Config if shape.qk_norm else Qwen2Config)(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=shape.tied,
        use_cache=False,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.bfloat16)
    if checkpointing:
        _gradient_checkpointing_enable(model, {"use_reentrant": True})
    adapter = LoraConfig(r=8, lora_dropout=dropout, target_modules=list(shape.projections), task_type="CAUSAL_LM")
    return get_peft_model(model, adapter).train()


SMALL = Shape(64, 160, 3, 4, 2, 16, 128, tied=False, attention_bias=True, qk_norm=False)
SMALL_3 = dataclasses.replace(SMALL, head_dim=32, attention_bias=False, qk_norm=True)


def kept(shape: Shape, layers: int, *, amp: bool, dropout: float, attention: str) -> int:
    """Bytes of all that autograd keeps in a forward pass of 2 x 16 tokens, weights left out."""
    model = model_of(shape, layers, dropout=dropout, attention=attention)
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    seen: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage
        return tensor

    ids, mask = torch.zeros(2, 16, dtype=torch.long), torch.ones(2, 16, dtype=torch.long)
    mask[0, 12:] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=amp),
    ):
        loss = model(input_ids=ids, attention_mask=mask).logits.float().sum()
    assert loss.requires_grad  # the graph, and with it all storages, lived until here
    return sum(storage.nbytes() for place, storage in seen.items() if place not in weights)


@pytest.mark.parametrize(
    ("shape", "amp", "dropout", "attention"),
    [
        (SMALL, True, 0.0, "sdpa"),
        (SMALL, True, 0.1, "sdpa"),
        (SMALL, False, 0.0, "sdpa"),
        (SMALL, False, 0.1, "sdpa"),
        (SMALL, True, 0.0, "eager"),
        (SMALL_3, True, 0.0, "sdpa"),
    ],
)
def test_a_layer_keeps_as_many_bytes_as_the_formula_says(
    shape: Shape, amp: bool, dropout: float, attention: str
) -> None:
    settings = PLAIN | {"bf16": amp, "pure_bf16": not amp, "lora_dropout": dropout}
    settings["flash_attn"] = "disabled" if attention == "eager" else attention
    plan = memory.plan_of(settings, shape, [16], 1)
    expected = memory._kept(plan, shape) * 32 + plan.own_mask * 2 * 16**2
    expected += amp * 2 * 8 * sum(map(sum, shape.projections.values()))  # the adapter in bf16
    if dropout:  # on a CPU a mask has its input's four bytes instead of one
        expected += 3 * 32 * sum(width for width, _ in shape.projections.values())
    options = {"amp": amp, "dropout": dropout, "attention": attention}

    assert kept(shape, 3, **options) - kept(shape, 2, **options) == expected


class Allocated(TorchDispatchMode):
    """Counts the bytes of all storages that live, and the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.live: set[int] = set()

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place in self.live:
            return
        self.live.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self.drop, place, size)

    def drop(self, place: int, size: int) -> None:
        self.live.discard(place)
        self.now -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor):
                self.add(one)
        return result


def peak_of_a_step(shape: Shape, *, amp: bool, checkpointing: bool, tokens: int) -> int:
    """The most bytes at once in a second step of 2 x ``tokens``, on tensors that have shapes but no memory."""
    with FakeTensorMode():
        model = model_of(shape, shape.layers, dropout=0.0, attention="sdpa", checkpointing=checkpointing)
        allocated = Allocated()
        trained = [one for one in model.parameters() if one.requires_grad]
        kept_alive = [torch.zeros_like(one) for one in trained for _ in range(2)]  # AdamW's moments
        for one in trained:
            one.grad = torch.zeros_like(one)
        for one in [*model.parameters(), *kept_alive, *(one.grad for one in trained if one.grad is not None)]:
            allocated.add(one)
        ids, mask = torch.zeros(2, tokens, dtype=torch.long), torch.ones(2, 1, tokens, tokens, dtype=torch.bool)
        with allocated:
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                loss = model(input_ids=ids, labels=ids, attention_mask=mask).loss
            loss.backward()
    return allocated.most


@pytest.mark.parametrize("amp", [True, False], ids=["bf16", "pure_bf16"])
@pytest.mark.parametrize("checkpointing", [True, False], ids=["checkpointing", "all_kept"])
@pytest.mark.parametrize(("vocabulary", "moment"), [(65_536, "loss"), (256, "layer")])
def test_the_peak_is_that_of_the_real_code(amp: bool, checkpointing: bool, vocabulary: int, moment: str) -> None:
    shape = Shape(512, 2048, 4, 8, 2, 64, vocabulary, tied=False, attention_bias=True, qk_norm=False)
    settings = PLAIN | {"bf16": amp, "pure_bf16": not amp, "disable_gradient_checkpointing": not checkpointing}
    found = estimate(settings, shape, [512])

    assert found.moment == moment
    counted = peak_of_a_step(shape, amp=amp, checkpointing=checkpointing, tokens=512)
    assert found.total - WORKSPACES == pytest.approx(counted, rel=0.03)


# --- what changes with a setting -------------------------------------------------------------------------------------


def total(**changes: Any) -> float:
    """GiB of a 7B model, 4 x 2,048 tokens."""
    settings = PLAIN | {"per_device_train_batch_size": 4, "lora_rank": 32} | changes
    return estimate(settings, QWEN_7B, [2048]).total / GIB


def test_parts_add_up_to_the_total() -> None:
    found = estimate(PLAIN, QWEN_7B, [2048])

    parts = ("weights", "lora", "gradients", "optimizer", "activations", "logits", "temporary")
    assert found.total == sum(getattr(found, part) for part in parts)
    assert found.weights == 2 * QWEN_7B.parameters
    assert found.lora == 4 * 8 * 28 * 90_112  # r 8, 28 layers, the inputs and outputs of seven projections
    assert found.optimizer == 2 * found.lora


def test_each_saving_saves() -> None:
    assert total(enable_liger_kernel=True) < total()
    assert total() < total(disable_gradient_checkpointing=True)
    assert total(quantization_bit=4) < total(quantization_bit=8) < total()
    assert total(quantization_bit=4) < total(quantization_bit=4, double_quantization=False)
    assert total(enable_liger_kernel=True, mug_speed=True, disable_gradient_checkpointing=True) < total(
        enable_liger_kernel=True, disable_gradient_checkpointing=True
    )


def test_switches_may_be_words_of_a_command_line() -> None:
    assert total(enable_liger_kernel="true", per_device_train_batch_size="4") == total(enable_liger_kernel=True)
    assert total(disable_gradient_checkpointing="False") == total()


def test_sequences_are_padded_to_a_multiple_of_eight_and_packs_fill_cutoff_len() -> None:
    assert estimate(PLAIN, QWEN_7B, [900, 1001, 3]).tokens == 2 * 1008
    assert estimate(PLAIN | {"cutoff_len": 512}, QWEN_7B, [1001]).tokens == 2 * 512
    assert estimate(PLAIN | {"neat_packing": True, "cutoff_len": 4096}, QWEN_7B, [1001]).tokens == 2 * 4096


def test_without_padding_a_batch_is_the_sum_of_its_samples() -> None:
    fast = PLAIN | {"mug_speed": True, "cutoff_len": 4096}

    assert estimate(fast, QWEN_7B, [900, 1001, 3]).tokens == 1901
    assert estimate(fast, QWEN_7B, [1001]).tokens == 2002
    drawn = estimate(fast | {"per_device_train_batch_size": 16}, QWEN_7B, TITLES).tokens
    assert 16 * sum(TITLES) / len(TITLES) < drawn < sum(sorted(TITLES)[-16:])


def test_without_lengths_every_sample_fills_cutoff_len_and_that_is_said() -> None:
    found = estimate(PLAIN | {"cutoff_len": 1024}, QWEN_7B, None)

    assert found.tokens == 2 * 1024
    assert any("cutoff_len 1024" in note.en for note in found.notes)


def test_the_logits_of_an_evaluation_can_be_the_peak() -> None:
    settings = PLAIN | {"enable_liger_kernel": True, "eval_strategy": "steps", "per_device_eval_batch_size": 8}
    found = estimate(settings, QWEN_7B, [2048])

    assert found.moment == "evaluation"
    assert found.logits == 10 * 8 * 2048 * 152_064
    assert estimate(settings | {"eval_strategy": False}, QWEN_7B, [2048]).moment == "layer"  # a bare no in YAML


def test_zero_2_divides_the_optimizer_and_zero_3_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 1e8}}))
    two = {"zero_optimization": {"stage": 2, "reduce_bucket_size": 1e6}}

    one_gpu = estimate(PLAIN | {"deepspeed": two}, QWEN_7B, [2048], gpus=1)
    assert estimate(PLAIN | {"deepspeed": two}, QWEN_7B, [2048], gpus=4).optimizer == one_gpu.optimizer // 4
    divided = estimate(PLAIN | {"deepspeed": str(path)}, QWEN_7B, [2048], gpus=4)
    assert divided.weights == 2 * QWEN_7B.parameters // 4 + 200_000_000


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"finetuning_type": "full"}, "full"),
        ({"cutoff_len": "long"}, "cutoff_len"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size"),
        ({"deepspeed": "nowhere/ds.json"}, "nowhere/ds.json"),
        ({"deepspeed": str(GPU / "title_lengths.json")}, "not an object"),
    ],
)
def test_settings_that_can_not_be_estimated_are_named(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as caught:
        estimate(PLAIN | changes, QWEN_7B, [2048])
    assert word in caught.value.message.zh and word in caught.value.message.en


# --- what would fit --------------------------------------------------------------------------------------------------


def test_settings_that_fit_need_no_change() -> None:
    (only,) = suggest(PLAIN, QWEN_7B, [2048], 80)
    assert only.overrides == {}


def test_suggestions_fit_and_keep_the_samples_of_a_step() -> None:
    settings = PLAIN | {"per_device_train_batch_size": 8, "disable_gradient_checkpointing": True}
    for gib in (16, 24, 40, 80):
        found = suggest(settings, QWEN_7B, [2242], gib)
        assert found
        for one in found:
            changed = settings | one.overrides
            assert estimate(changed, QWEN_7B, [2242]).needed <= gib * GIB
            assert changed["per_device_train_batch_size"] * changed["gradient_accumulation_steps"] == 32


def test_suggestions_leave_out_what_brings_nothing() -> None:
    settings = PLAIN | {"enable_liger_kernel": True, "eval_strategy": "steps", "per_device_train_batch_size": 8}

    of_evaluation = suggest(settings | {"per_device_eval_batch_size": 8}, QWEN_7B, [2048], 28)[0]
    assert of_evaluation.overrides == {"per_device_eval_batch_size": 1}
    of_training = suggest(settings | {"per_device_eval_batch_size": 2}, QWEN_7B, [2048], 24)[0]
    assert of_training.overrides == {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 8}


def test_nothing_fits_a_card_smaller_than_the_weights() -> None:
    assert suggest(PLAIN, shape_of("Qwen/Qwen2.5-32B"), [2048], 16) == []


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "billions"),  # of the models' cards
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.49),
        ("Qwen/Qwen2.5-1.5B", 1.54),
        ("Qwen/Qwen2.5-3B", 3.09),
        ("models/Qwen/Qwen2.5-7B", 7.61),
        ("Qwen/Qwen2.5-14B", 14.7),
        ("Qwen/Qwen2.5-32B-Instruct", 32.5),
        ("Qwen/Qwen3-0.6B", 0.6),
        ("Qwen/Qwen3-1.7B-Base", 1.72),
        ("Qwen/Qwen3-4B", 4.0),
        ("Qwen/Qwen3-8B", 8.2),
        ("Qwen/Qwen3-14B-Base", 14.8),
        ("Qwen/Qwen3-32B", 32.8),
    ],
)
def test_the_table_of_shapes_gives_the_models_sizes(name: str, billions: float) -> None:
    assert shape_of(name).parameters / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize("shape", [SMALL, SMALL_3])
def test_a_folder_s_config_is_read_and_counts_the_model_s_parameters(shape: Shape, tmp_path: Path) -> None:
    model = model_of(shape, shape.layers, dropout=0.0, attention="sdpa")
    model.get_base_model().config.save_pretrained(tmp_path)  # type: ignore[operator,union-attr]

    assert shape_of(tmp_path) == shape
    frozen = [one for one in model.parameters() if not one.requires_grad]
    assert sum(one.numel() for one in frozen) == shape.parameters


@pytest.mark.parametrize("text", ["", "{}", '{"model_type": "qwen3_moe"}', '{"model_type": "qwen2"}', "[]"])
def test_a_config_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="config.json"):
        shape_of(tmp_path)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="Qwen2.5-9B"):
        shape_of("Qwen/Qwen2.5-9B")
