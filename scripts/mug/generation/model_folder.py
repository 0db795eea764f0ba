"""What a model path is: a whole model, an adapter, or a training folder whose newest complete checkpoint is meant."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mug.errors import InputError, Message
from mug.generation.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_fit, read_adapter_config
from mug.generation.weights import is_complete, is_whole_model, pickles, read_object, refuse_code

__all__ = ["ADAPTER_WEIGHTS", "ModelFolder", "resolve"]

_HUB_ID = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?")
# "folder/name" in one of these is a path of the project, not a hub's "owner/name".
_PROJECT_FOLDERS = ("configs", "data", "dataset", "models", "outputs")


@dataclass(frozen=True)
class ModelFolder:
    """Where to load from: ``base`` alone, or ``adapter`` on it; ``checkpoints`` lists the complete ones found.

    ``remarks`` are what the user should know and may have meant.
    """

    base: str
    adapter: Path | None = None
    checkpoints: tuple[str, ...] = ()
    remarks: tuple[Message, ...] = ()


def resolve(path: Path, base_model: str | None = None) -> ModelFolder:
    """Find out what ``path`` holds.

    Args:
        path: a merged or base model, an adapter, or a training's output folder.
        base_model: the base of an adapter; without it the one that adapter_config.json names.

    Raises:
        InputError: none of these is there, the weights are missing or cut, they are pickles, they bring code of their
            own, or the adapter does not fit the base.
    """
    if not os.path.isdir(path):
        raise InputError(
            f"没有模型文件夹 {path}；请检查 --model_path，或先训练，或用 python scripts/download_model.py 下载基座。",
            f"There is no model folder {path}; check --model_path, train first, or download the base by "
            "python scripts/download_model.py.",
        )
    if (path / ADAPTER_CONFIG).exists() and is_complete(path / ADAPTER_WEIGHTS):
        return _adapter(path, base_model, ())
    if is_whole_model(path):
        return _model(path, ())
    numbered = sorted(
        (int(match.group(1)), folder)
        for folder in path.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name)) and folder.is_dir()
    )
    usable = [folder for _, folder in numbered if _whole_adapter(folder) or is_whole_model(folder)]
    if usable:
        names = tuple(folder.name for folder in usable)
        newest = usable[-1]
        return _adapter(newest, base_model, names) if _whole_adapter(newest) else _model(newest, names)
    if any(pickles(folder) for folder in (path, *(folder for _, folder in numbered))):
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


def _model(folder: Path, checkpoints: tuple[str, ...]) -> ModelFolder:
    refuse_code(folder)
    return ModelFolder(str(folder), None, checkpoints)


def _adapter(folder: Path, base_model: str | None, checkpoints: tuple[str, ...]) -> ModelFolder:
    refuse_code(folder)
    config = read_adapter_config(folder)
    named = config.get("base_model_name_or_path")
    base = base_model or named
    if not isinstance(base, str) or not base.strip():
        raise InputError(
            f"{folder} 没有写明基座模型；请用 --base_model 指定。", f"{folder} names no base model; give --base_model."
        )
    _check_base(folder, base)
    if os.path.isdir(base):
        check_fit(folder, config, Path(base))
    return ModelFolder(base, folder, checkpoints, _remarks(base, named))


def _check_base(adapter: Path, base: str) -> None:
    """See that the base is a whole model on this disk, or can be a hub's id: no path may be taken for one."""
    if not os.path.isdir(base):
        if not _HUB_ID.fullmatch(base) or base.split("/")[0] in _PROJECT_FOLDERS:
            raise InputError(
                f"没有适配器 {adapter} 的基座 {base[:200]}；请用 --base_model 指定本地模型文件夹。",
                f"There is no base {base[:200]} of the adapter {adapter}; name a local model folder by --base_model.",
            )
        return  # left to the loading
    refuse_code(Path(base))
    if is_whole_model(Path(base)):
        return
    if pickles(Path(base)):
        raise InputError(
            f"基座 {base} 只有 pickle 权重（.bin/.pt），加载它们等于运行其中的代码；请改用 safetensors 权重。",
            f"The base {base} holds pickle weights only (.bin/.pt), and loading them runs code; use safetensors "
            "weights.",
        )
    raise InputError(
        f"适配器 {adapter} 的基座 {base} 不是完整的模型；请重新下载它，或用 --base_model 指定另一个文件夹。",
        f"The base {base} of the adapter {adapter} is no whole model; download it again, or name another folder by "
        "--base_model.",
    )


def _remarks(base: str, named: object) -> tuple[Message, ...]:
    """Say so when the base is not of the name that the adapter was trained on: the shapes of both may be the same."""
    if not isinstance(named, str) or _short(named) == _short(base):
        return ()
    return (
        Message(
            f"注意：适配器是在 {named[:200]} 上训练的，现在的基座是 {base}；二者不同时答案会变差。",
            f"Note: the adapter was trained on {named[:200]}, the base is now {base}; if they differ, so do the "
            "answers.",
        ),
    )


def _short(name: str) -> str:
    """Return a model's name without folder and owner, also where a hub's cache keeps it under a commit's number."""
    parts = Path(name).parts
    cached = [part for part in parts if part.startswith("models--")]
    return (cached[-1].split("--")[-1] if cached else parts[-1] if parts else "").casefold()


def _whole_adapter(folder: Path) -> bool:
    try:
        read_object((folder / ADAPTER_CONFIG).read_bytes())
    except (OSError, ValueError):
        return False
    return is_complete(folder / ADAPTER_WEIGHTS)
