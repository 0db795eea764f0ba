"""What lies in a model folder is found out before minutes of loading."""

from __future__ import annotations

import json
import math
import re
import struct
import tracemalloc
from pathlib import Path

import pytest

from mug.errors import InputError
from mug.generation.model_folder import resolve
from mug.generation.weights import HEADER_LIMIT, header

QUERY = "model.layers.{}.self_attn.q_proj"
LAYERS = 2
ROOT = Path(__file__).resolve().parent.parent


def layers(hidden: int, inner: int, heads: int = 1) -> dict[str, tuple[int, int]]:
    """What the linear layers of a Qwen2 give out and take in, by name; keys and values are 1/``heads`` as wide."""
    narrow = hidden // heads
    one = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {f"model.layers.{n}.{name}": shape for n in range(LAYERS) for name, shape in one.items()}


def safetensors(path: Path, **shapes: tuple[int, ...]) -> None:
    table: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(end))


def base_model(folder: Path, hidden: int = 8, inner: int = 12, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": hidden, **config}))
    shapes = {f"{name}.weight": shape for name, shape in layers(hidden, inner, heads=2).items()}
    safetensors(folder / "model.safetensors", **{"model.embed_tokens.weight": (40, hidden)}, **shapes)
    return folder


def adapter(
    folder: Path,
    base: object = "Qwen/Qwen2.5-7B",
    width: int = 8,
    inner: int = 12,
    targets: tuple[str, ...] = ("q_proj", "v_proj", "down_proj"),
    change: dict[str, tuple[int, ...] | None] | None = None,
    **config: object,
) -> Path:
    """An adapter of rank 2; ``change`` gives its tensors other shapes, takes them out (None), or adds some."""
    folder.mkdir(parents=True)
    settings = {"base_model_name_or_path": base if base is None else str(base), "r": 2, "lora_alpha": 4}
    settings |= {"peft_type": "LORA", "target_modules": list(targets)}
    (folder / "adapter_config.json").write_text(json.dumps(settings | config))
    shapes: dict[str, tuple[int, ...] | None] = {}
    for name, (out, into) in layers(width, inner, heads=2).items():
        if name.endswith(targets):
            shapes |= {f"{name}.lora_A.weight": (2, into), f"{name}.lora_B.weight": (out, 2)}
    kept = {f"base_model.model.{name}": shape for name, shape in (shapes | (change or {})).items() if shape}
    safetensors(folder / "adapter_model.safetensors", **kept)
    return folder


def refusal(path: Path, base: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        resolve(path, base)
    assert all("\n" not in text for text in error.value.message)
    return error.value.message.en


def cut(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-1])


def test_a_whole_model(tmp_path):
    model = base_model(tmp_path / "model")
    assert (resolve(model).base, resolve(model).adapter) == (str(model), None)


def test_an_adapter_on_the_base_that_it_names(tmp_path):
    model = base_model(tmp_path / "model")
    found = resolve(adapter(tmp_path / "lora", base=model))
    assert (found.base, found.adapter, found.checkpoints) == (str(model), tmp_path / "lora", ())


def test_an_adapter_on_another_base_by_choice(tmp_path):
    model = base_model(tmp_path / "elsewhere")
    assert resolve(adapter(tmp_path / "lora"), str(model)).base == str(model)


def test_the_newest_checkpoint_is_the_one_with_the_largest_number(tmp_path):
    for number in (40, 100, 5):
        adapter(tmp_path / f"checkpoint-{number}")
    (tmp_path / "checkpoint-old").mkdir()
    found = resolve(tmp_path)
    assert found.adapter == tmp_path / "checkpoint-100"
    assert found.checkpoints == ("checkpoint-5", "checkpoint-40", "checkpoint-100")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "zeros", "no header"])
def test_a_checkpoint_without_whole_weights_is_passed_over(tmp_path, damage):
    adapter(tmp_path / "checkpoint-40")
    weights = adapter(tmp_path / "checkpoint-100") / "adapter_model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "empty":
        weights.write_bytes(b"")
    elif damage == "cut":
        cut(weights)
    elif damage == "zeros":  # what a crash leaves on some file systems
        weights.write_bytes(bytes(weights.stat().st_size))
    else:
        weights.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    found = resolve(tmp_path)
    assert (found.adapter, found.checkpoints) == (tmp_path / "checkpoint-40", ("checkpoint-40",))


def test_a_finished_adapter_goes_before_its_checkpoints(tmp_path):
    adapter(tmp_path / "run")
    adapter(tmp_path / "run" / "checkpoint-40")
    assert resolve(tmp_path / "run").adapter == tmp_path / "run"


def test_an_adapter_whose_weights_are_cut_falls_back_on_its_checkpoints(tmp_path):
    cut(adapter(tmp_path / "run") / "adapter_model.safetensors")
    adapter(tmp_path / "run" / "checkpoint-40")
    assert resolve(tmp_path / "run").adapter == tmp_path / "run" / "checkpoint-40"


def test_without_whole_weights_anywhere_it_says_how_many_checkpoints_it_saw(tmp_path):
    cut(adapter(tmp_path / "checkpoint-40") / "adapter_model.safetensors")
    with pytest.raises(InputError) as error:
        resolve(tmp_path)
    assert "1 checkpoints, none with whole weights" in error.value.message.en


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "model.pt"])
def test_pickles_alone_are_refused(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="pickle"):
        resolve(tmp_path)


def test_an_adapter_of_another_width_is_refused_before_loading(tmp_path):
    model = base_model(tmp_path / "model", hidden=16)
    with pytest.raises(InputError) as error:
        resolve(adapter(tmp_path / "lora", base=model, width=8))
    assert "has width 8, the base" in error.value.message.en
    assert "has 16" in error.value.message.en


def test_the_width_is_compared_with_the_base_that_was_chosen(tmp_path):
    small, large = base_model(tmp_path / "small", hidden=8), base_model(tmp_path / "large", hidden=16)
    lora = adapter(tmp_path / "lora", base=large, width=8)
    assert resolve(lora, str(small)).base == str(small)


def test_a_base_that_is_a_hub_id_is_left_to_the_loading(tmp_path):
    assert resolve(adapter(tmp_path / "lora", base="Qwen/Qwen2.5-7B")).base == "Qwen/Qwen2.5-7B"


@pytest.mark.parametrize(
    "config", ["", "{", "[]", '{"base_model_name_or_path": ""}', '{"base_model_name_or_path": null}']
)
def test_an_unreadable_adapter_config_is_one_sentence(tmp_path, config):
    (adapter(tmp_path / "lora") / "adapter_config.json").write_text(config)
    with pytest.raises(InputError, match="adapter_config|--base_model"):
        resolve(tmp_path / "lora")


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="--model_path"):
        resolve(tmp_path / "none")


def test_an_empty_folder_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="没有完整的模型"):
        resolve(tmp_path)


def test_the_header_is_read_without_the_tensors(tmp_path):
    safetensors(tmp_path / "a.safetensors", weight=(3, 4))
    assert header(tmp_path / "a.safetensors") == {
        "weight": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}
    }


# -------------------------------------------------------------------------------------- does the adapter fit the base


def test_an_adapter_of_the_bases_own_shapes_fits(tmp_path):
    model = base_model(tmp_path / "model")
    every = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert resolve(adapter(tmp_path / "lora", base=model, targets=every)).remarks == ()


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
@pytest.mark.parametrize("side", ["input", "output"])
def test_one_matrix_of_another_width_is_refused_by_name(tmp_path, name, side):
    model = base_model(tmp_path / "model")
    module, (out, into) = next((n, s) for n, s in layers(8, 12, heads=2).items() if n.endswith(name))
    wrong = (
        {f"{module}.lora_A.weight": (2, into + 1)} if side == "input" else {f"{module}.lora_B.weight": (out + 1, 2)}
    )
    said = refusal(adapter(tmp_path / "lora", base=model, targets=(name,), change=wrong))
    found, expected = (into + 1, into) if side == "input" else (out + 1, out)
    assert f"width {found}, the base" in said and f"has {expected} ({module})" in said


def test_an_inner_width_of_its_own_is_refused_though_the_hidden_width_is_the_same(tmp_path):
    model = base_model(tmp_path / "model", inner=16)
    assert "has width 12, the base" in refusal(adapter(tmp_path / "lora", base=model, inner=12))


def test_more_layers_than_the_base_has_are_refused(tmp_path):
    model = base_model(tmp_path / "model")
    deeper = {f"{QUERY.format(2)}.lora_A.weight": (2, 8), f"{QUERY.format(2)}.lora_B.weight": (8, 2)}
    said = refusal(adapter(tmp_path / "lora", base=model, change=deeper))
    assert "has no layer model.layers.2.self_attn.q_proj (6 of 7 layers fit)" in said


def test_fewer_layers_than_the_base_has_are_refused_since_peft_would_leave_the_others_untrained(tmp_path):
    model = base_model(tmp_path / "model")
    fewer = {f"{QUERY.format(1)}.lora_A.weight": None, f"{QUERY.format(1)}.lora_B.weight": None}
    said = refusal(adapter(tmp_path / "lora", base=model, change=fewer))
    assert "has no weights for model.layers.1.self_attn.q_proj (5 of 6 layers fit)" in said
    chosen = adapter(tmp_path / "chosen", base=model, change=fewer, layers_to_transform=[0])
    assert resolve(chosen).adapter == chosen


def test_layers_that_the_base_does_not_have_are_refused(tmp_path):
    model = base_model(tmp_path / "model")
    fused = {"model.layers.0.attn.c_attn.lora_A.weight": (2, 8), "model.layers.0.attn.c_attn.lora_B.weight": (24, 2)}
    said = refusal(adapter(tmp_path / "lora", base=model, targets=("c_attn",), change=fused))
    assert "has no layer model.layers.0.attn.c_attn (0 of 1 layers fit)" in said


@pytest.mark.parametrize(
    "change",
    [
        {f"{QUERY.format(0)}.lora_B.weight": None},
        {f"{QUERY.format(0)}.lora_B.weight": (8, 3)},
        {f"{QUERY.format(0)}.lora_A.weight": (4, 8), f"{QUERY.format(0)}.lora_B.weight": (8, 4)},
        {f"{QUERY.format(0)}.lora_A.weight": (16,)},
        {"model.layers.0.mlp.up_proj.lora_A.weight": (2, 8), "model.layers.0.mlp.up_proj.lora_B.weight": (12, 2)},
    ],
    ids=["half a pair", "ranks of a pair", "rank of the configuration", "no matrix", "not a target"],
)
def test_weights_that_do_not_agree_with_their_configuration_are_refused(tmp_path, change):
    model = base_model(tmp_path / "model")
    assert "do not agree with its adapter_config.json" in refusal(adapter(tmp_path / "l", base=model, change=change))


@pytest.mark.parametrize(
    ("model", "lora"),
    [
        ({"quantization_config": {"bits": 4}}, {"width": 6}),
        ({}, {"width": 6, "peft_type": "OFT"}),
        ({}, {"rank_pattern": {"q_proj": 2}, "r": 64}),
        ({}, {"target_modules": "all-linear"}),
    ],
    ids=["quantised base", "no LoRA", "ranks by layer", "targets by pattern"],
)
def test_what_the_files_do_not_tell_is_left_to_the_loading(tmp_path, model, lora):
    base = base_model(tmp_path / "model", **model)
    assert resolve(adapter(tmp_path / "lora", base=base, **lora)).base == str(base)


def test_the_head_may_be_the_tied_embedding(tmp_path):
    model = base_model(tmp_path / "model")
    head = {"lm_head.lora_A.weight": (2, 8), "lm_head.lora_B.weight": (40, 2)}
    lora = adapter(tmp_path / "lora", base=model, targets=("q_proj", "lm_head"), change=head)
    assert resolve(lora).base == str(model)


def test_a_base_of_another_name_is_a_remark_and_of_the_same_name_elsewhere_none(tmp_path):
    model = base_model(tmp_path / "Qwen2.5-7B-Instruct")
    (remark,) = resolve(adapter(tmp_path / "lora"), str(model)).remarks
    assert "trained on Qwen/Qwen2.5-7B, the base is now" in remark.en and str(model) in remark.zh
    cached = base_model(tmp_path / "models--Qwen--Qwen2.5-7B" / "snapshots" / "0a1b")
    for same in (cached, base_model(tmp_path / "Qwen2.5-7B")):
        assert resolve(tmp_path / "lora", str(same)).remarks == ()


# ------------------------------------------------------------------------------------------------- hostile folders


@pytest.mark.parametrize(
    "base",
    ["../../etc", "/none/here", "models/Qwen/Qwen2.5-7B", "outputs/none", "https://host/model", "a/../b"]
    + ["x" * 5000, "a\0b"],
)  # fmt: skip
def test_a_base_path_that_is_not_there_is_never_taken_for_a_hubs_id(tmp_path, base):
    assert "--base_model" in refusal(adapter(tmp_path / "lora", base=base))


@pytest.mark.parametrize("base", [None, [], ["Qwen/Qwen2.5-7B"], {}, 7, True, "", " "])
def test_a_base_that_is_no_text_is_one_sentence(tmp_path, base):
    lora = adapter(tmp_path / "lora", base_model_name_or_path=base)
    assert "names no base model" in refusal(lora)
    assert resolve(lora, str(base_model(tmp_path / "model"))).base == str(tmp_path / "model")


@pytest.mark.parametrize(
    "config",
    [{"r": "8"}, {"r": 0}, {"r": -2}, {"r": True}, {"r": None}, {"lora_alpha": "16"}, {"lora_alpha": None}]
    + [{"lora_alpha": float("nan")}, {"lora_alpha": float("inf")}, {"target_modules": 3}, {"target_modules": [1]}],
    ids=str,
)
def test_values_that_no_adapter_can_have_are_one_sentence(tmp_path, config):
    assert "Can't read" in refusal(adapter(tmp_path / "lora", **config))


def test_a_configuration_nested_without_end_is_one_sentence(tmp_path):
    lora = adapter(tmp_path / "lora")
    (lora / "adapter_config.json").write_text("[" * 100_000)
    assert "nested too deeply" in refusal(lora)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused(tmp_path, name):
    model = base_model(tmp_path / "model")
    code = {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Model", "AutoTokenizer": ["modeling_evil.T", None]}}
    (model / name).write_text(json.dumps({"hidden_size": 8, **code}))
    (model / "modeling_evil.py").write_text("raise SystemExit('it ran')")
    assert "code of the model's own (auto_map)" in refusal(model)
    assert "code of the model's own (auto_map)" in refusal(adapter(tmp_path / "lora", base=model))


def test_a_base_with_pickles_only_is_refused(tmp_path):
    model = base_model(tmp_path / "model")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "pickle weights only" in refusal(adapter(tmp_path / "lora", base=model))


def test_checkpoints_with_pickles_only_are_refused_as_such(tmp_path):
    lora = adapter(tmp_path / "checkpoint-40")
    (lora / "adapter_model.safetensors").rename(lora / "adapter_model.bin")
    assert "pickle weights only" in refusal(tmp_path)


def test_what_training_leaves_beside_cut_weights_is_not_called_the_weights(tmp_path):
    cut(adapter(tmp_path / "checkpoint-40") / "adapter_model.safetensors")
    for name in ("training_args.bin", "checkpoint-40/optimizer.pt", "checkpoint-40/rng_state.pth"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
    assert "1 checkpoints, none with whole weights" in refusal(tmp_path)


def test_a_cut_base_is_refused_before_loading(tmp_path):
    model = base_model(tmp_path / "model")
    cut(model / "model.safetensors")
    assert "is no whole model" in refusal(adapter(tmp_path / "lora", base=model))


def sharded(folder: Path, *names: object) -> Path:
    base_model(folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {f"weight.{n}": name for n, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards_are_looked_at_one_by_one(tmp_path):
    whole = sharded(tmp_path / "whole", "model-00001-of-00002.safetensors")
    assert resolve(whole).base == str(whole)
    assert "no complete model" in refusal(
        sharded(tmp_path / "half", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    )


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "pytorch_model.bin", ["x"], 7, None],
)
def test_an_index_that_names_a_file_outside_the_folder_is_refused(tmp_path, name):
    safetensors(tmp_path / "secret.safetensors", weight=(2, 2))
    said = refusal(sharded(tmp_path / "model", name))
    assert "no safetensors file of its folder" in said or "no complete model" in said


def test_an_index_that_lists_nothing_is_no_model(tmp_path):
    assert "no complete model" in refusal(sharded(tmp_path / "model"))


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b"7",
        b'{"w": 1}',
        b'{"w": {}}',
        b'{"w": {"shape": [2, -2], "data_offsets": [0, 8]}}',
        b'{"w": {"shape": [2], "data_offsets": [0]}}',
        b'{"w": {"shape": ["2"], "data_offsets": [0, 8]}}',
        b'{"w": {"shape": null, "data_offsets": [0, 8]}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=["list", "number", "tensor", "empty", "negative", "one", "text", "null", "nested", "bytes"],
)
def test_a_header_that_is_none_is_never_a_stack_trace(tmp_path, head):
    lora = adapter(tmp_path / "lora")
    (lora / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(8))
    assert "no complete model" in refusal(lora)


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path):
    lora = adapter(tmp_path / "lora")
    with (lora / "adapter_model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", HEADER_LIMIT + 1))
        file.truncate(3 * HEADER_LIMIT)  # a sparse file: it takes no room
    tracemalloc.start()
    assert "no complete model" in refusal(lora)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < HEADER_LIMIT / 10


def test_nothing_here_ever_allows_code_of_a_model(configs_and_scripts):
    named = {path: re.findall(r"trust_remote_code\W+(\w+)", text) for path, text in configs_and_scripts.items()}
    assert sum(map(len, named.values())) >= 5
    assert {path: found for path, found in named.items() if set(found) - {"False", "false"}} == {}


def test_weights_are_never_loaded_as_pickles(configs_and_scripts):
    loaders = re.compile(r"torch\.load\(|\bpickle\.|joblib|np\.load\(|use_safetensors\W+(?!True)\w")
    assert {path: found for path, text in configs_and_scripts.items() if (found := loaders.findall(text))} == {}


@pytest.fixture(scope="module")
def configs_and_scripts() -> dict[str, str]:
    paths = [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("scripts/**/*.py"), *ROOT.glob("scripts/*.sh")]
    return {
        str(path.relative_to(ROOT)): path.read_text("utf-8") for path in [*paths, *ROOT.glob("benchmarks/**/*.py")]
    }


def test_a_folder_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        resolve(tmp_path / "none")
    assert error.value.message.zh == (
        f"没有模型文件夹 {tmp_path / 'none'}；请检查 --model_path，或先训练，或用 python scripts/download_model.py "
        "下载基座。"
    )
    assert "python scripts/download_model.py" in error.value.message.en
