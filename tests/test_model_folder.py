"""What lies in a model folder is found out before minutes of loading."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from mug.errors import InputError
from mug.generation.model_folder import header, resolve


def safetensors(path: Path, **shapes: tuple[int, ...]) -> None:
    table, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(end))


def base_model(folder: Path, hidden: int = 8) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": hidden}))
    safetensors(folder / "model.safetensors", weight=(hidden, hidden))
    return folder


def adapter(folder: Path, base: object = "Qwen/Qwen2.5-7B", width: int = 8) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "r": 2}))
    safetensors(
        folder / "adapter_model.safetensors",
        **{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (2, width)},
    )
    return folder


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
