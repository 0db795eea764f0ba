"""What a model path is: a whole model, an adapter, or a training folder whose newest complete checkpoint is meant."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mug.errors import InputError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class ModelFolder:
    """Where to load from: ``base`` alone, or ``adapter`` on it; ``checkpoints`` lists the complete ones found."""

    base: str
    adapter: Path | None = None
    checkpoints: tuple[str, ...] = ()


def resolve(path: Path, base_model: str | None = None) -> ModelFolder:
    """Find out what ``path`` holds.

    Args:
        path: a merged or base model, an adapter, or a training's output folder.
        base_model: the base of an adapter; without it the one that adapter_config.json names.

    Raises:
        InputError: none of these is there, the weights are missing or cut, they are pickles, or the adapter was
            trained on a base of another size.
    """
    if not path.is_dir():
        raise InputError(
            f"没有模型文件夹 {path}；请检查 --model_path，或先运行训练。",
            f"There is no model folder {path}; check --model_path, or train first.",
        )
    if (path / "adapter_config.json").exists() and _complete(path / ADAPTER_WEIGHTS):
        return _adapter(path, base_model, ())
    if _whole_model(path):
        return ModelFolder(str(path))
    numbered = sorted(
        (int(match.group(1)), folder)
        for folder in path.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name))
    )
    usable = [folder for _, folder in numbered if _whole_adapter(folder) or _whole_model(folder)]
    if usable:
        names = tuple(folder.name for folder in usable)
        if _whole_adapter(usable[-1]):
            return _adapter(usable[-1], base_model, names)
        return ModelFolder(str(usable[-1]), None, names)  # a full fine-tuning
    if any(path.glob("*.bin")) or any(path.glob("*.pt")):
        raise InputError(
            f"{path} 里只有 pickle 权重（.bin/.pt），加载它们等于运行其中的代码；请改用 safetensors 权重。",
            f"{path} holds pickle weights only (.bin/.pt), and loading them runs code; use safetensors weights.",
        )
    raise InputError(
        f"{path} 里没有完整的模型、适配器或 checkpoint（找到的 checkpoint：{len(numbered)} 个，权重都不完整）；"
        "请检查路径，或重新训练。",
        f"{path} holds no complete model, adapter or checkpoint ({len(numbered)} checkpoints, none with whole "
        "weights); check the path, or train again.",
    )


def _adapter(folder: Path, base_model: str | None, checkpoints: tuple[str, ...]) -> ModelFolder:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = base_model or config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"读不了 {folder / 'adapter_config.json'}（{error}）；请重新训练或换一个 checkpoint。",
            f"Can't read {folder / 'adapter_config.json'} ({error}); train again or take another checkpoint.",
        ) from None
    if not isinstance(base, str) or not base:
        raise InputError(
            f"{folder} 没有写明基座模型；请用 --base_model 指定。", f"{folder} names no base model; give --base_model."
        )
    _check_sizes(folder, base)
    return ModelFolder(base, folder, checkpoints)


def _whole_adapter(folder: Path) -> bool:
    try:
        json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return _complete(folder / ADAPTER_WEIGHTS)


def _whole_model(folder: Path) -> bool:
    """Say whether a model's configuration and all shards of its weights are there, to the last byte."""
    if not (folder / "config.json").exists():
        return False
    index = folder / INDEX
    if not index.exists():
        return _complete(folder / WEIGHTS)
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all(_complete(folder / shard) for shard in shards)


def _check_sizes(adapter: Path, base: str) -> None:
    """Compare the adapter's input width with the base's hidden size before minutes of loading."""
    config = Path(base) / "config.json"
    if not config.exists():  # a hub id, or a folder that the loading itself will report
        return
    try:
        hidden = json.loads(config.read_text(encoding="utf-8")).get("hidden_size")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"读不了基座的 {config}（{error}）；请重新下载模型。",
            f"Can't read the base's {config} ({error}); download the model again.",
        ) from None
    for name, tensor in header(adapter / ADAPTER_WEIGHTS).items():
        if name.endswith("q_proj.lora_A.weight") and hidden and tensor["shape"][1] != hidden:
            raise InputError(
                f"适配器 {adapter} 的宽度是 {tensor['shape'][1]}，基座 {base} 的是 {hidden}，二者不配；"
                "请用 --base_model 指定训练时的基座。",
                f"The adapter {adapter} has width {tensor['shape'][1]}, the base {base} has {hidden}; name the base "
                "that it was trained on by --base_model.",
            )


def _complete(weights: Path) -> bool:
    """Say whether a safetensors file has all the bytes that its header promises."""
    try:
        tensors = header(weights)
        start = 8 + struct.unpack("<Q", weights.open("rb").read(8))[0]
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        return bool(tensors) and weights.stat().st_size == start + end
    except (OSError, ValueError, struct.error, KeyError):
        return False


def header(weights: Path) -> dict[str, Any]:
    """Return a safetensors file's table of tensors without reading them.

    Raises:
        OSError, ValueError, struct.error: the file is missing, cut or no safetensors file.
    """
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > weights.stat().st_size:
            raise ValueError("header longer than the file")
        table: dict[str, Any] = json.loads(file.read(size))
    table.pop("__metadata__", None)
    return table
