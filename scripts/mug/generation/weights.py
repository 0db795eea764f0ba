"""A model folder's safetensors files, known by their headers: nothing is loaded, and nothing in them can run.

A file begins with the length of its header (8 bytes, little-endian) and the header, JSON::

    {"__metadata__": {"format": "pt"}, "weight": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]}}

Whoever made the file may have lied in it, so every value is looked at before it is used.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from mug.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEADER_LIMIT = 100_000_000
"""Bytes, as in the safetensors library; the header of a model of 70 billion parameters has about 100,000."""

# What training writes beside the weights as pickles; nothing of ours ever loads them.
_NO_WEIGHTS = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def header(weights: Path) -> dict[str, Any]:
    """Return a safetensors file's table of tensors without reading them.

    Raises:
        OSError, ValueError, struct.error: the file is missing, cut or no safetensors file.
    """
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > min(HEADER_LIMIT, weights.stat().st_size):
            raise ValueError("header longer than the file, or than any header is")
        table = read_object(file.read(size))
    table.pop("__metadata__", None)
    for name, tensor in table.items():
        if not (isinstance(tensor, dict) and _places(tensor.get("shape")) and _places(tensor.get("data_offsets"), 2)):
            raise ValueError(f"no tensor: {name[:80]}")
    return table


def _places(value: Any, count: int | None = None) -> bool:
    return (
        isinstance(value, list)
        and (count is None or len(value) == count)
        and all(type(item) is int and item >= 0 for item in value)
    )


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: it is none, or is nested deeper than anyone writes.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def is_complete(weights: Path) -> bool:
    """Say whether a safetensors file has all the bytes that its header promises."""
    try:
        tensors = header(weights)
        with weights.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        return bool(tensors) and weights.stat().st_size == 8 + size + end
    except (OSError, ValueError, struct.error):
        return False


def shards(folder: Path) -> list[Path]:
    """Return the weight files that a model folder lists, whether they are there or not; none where it lists none.

    Raises:
        InputError: its index names a file outside the folder.
    """
    index = folder / INDEX
    if not index.exists():
        return [folder / WEIGHTS]
    try:
        names = list(dict.fromkeys(read_object(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(
                f"{index} 列出的权重 {str(name)[:80]!r} 不是该文件夹里的 safetensors 文件，已停止；请重新下载模型。",
                f"{index} lists the weights {str(name)[:80]!r}, no safetensors file of its folder; download the model "
                "again.",
            )
    return [folder / name for name in names]


def is_whole_model(folder: Path) -> bool:
    """Say whether a model's configuration and all shards of its weights are there, to the last byte.

    Raises:
        InputError: as `shards`.
    """
    if not (folder / "config.json").exists():
        return False
    files = shards(folder)
    return bool(files) and all(map(is_complete, files))


def tensors_of(folder: Path) -> dict[str, Any]:
    """Return the table of tensors of a whole model, all shards together."""
    return {name: tensor for file in shards(folder) for name, tensor in header(file).items()}


def pickles(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are weights as pickles, which run code when they are loaded."""
    names = [path.name for path in folder.iterdir() if path.suffix in _PICKLES]
    return sorted(name for name in names if not name.startswith(_NO_WEIGHTS))


def refuse_code(folder: Path) -> None:
    """Refuse a folder whose files ask for Python code of its own; nothing here would run it.

    Raises:
        InputError: ``auto_map`` in one of the configurations.
    """
    for name in ("config.json", "tokenizer_config.json", "adapter_config.json"):
        try:
            has_code = bool(read_object((folder / name).read_bytes()).get("auto_map"))
        except (OSError, ValueError):
            continue  # missing, or for the reader of that file to report
        if has_code:
            raise InputError(
                f"{folder / name} 要求运行模型自带的代码（auto_map），本项目不运行它；"
                "请改用 transformers 自带支持的模型。",
                f"{folder / name} asks for Python code of the model's own (auto_map), which is not run here; take a "
                "model that transformers supports by itself.",
            )
