"""A training's keys: read from YAML and the command line as LLaMA-Factory does, with paths that hold from anywhere.

LLaMA-Factory takes the paths of a YAML from the current folder. Here they are taken from the project's root where they
exist there, and training runs in that root, so that the same command works in any folder and the paths written into
the results (``base_model_name_or_path`` of an adapter) are those that the other scripts know.

    configs/gpu/h100_80gb.yaml:  dataset_dir: data          -> data, in the project's root
    dataset_dir=../mine          on the command line        -> /home/me/mine, from the current folder
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mug.errors import InputError
from mug.files import write_text
from mug.training.memory import on

ROOT = Path(__file__).resolve().parents[3]
SPEED_KEY, TREE_KEY = "mug_speed", "mug_tree"
"""The keys that are not LLaMA-Factory's: train.py takes them out of the settings before they are handed over."""

INPUT_KEYS = (
    "model_name_or_path",
    "adapter_name_or_path",
    "dataset_dir",
    "media_dir",
    "deepspeed",
    "fsdp_config",
    "resume_from_checkpoint",
)
OUTPUT_KEYS = ("output_dir", "logging_dir", "tokenized_path", "cache_dir")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "none", "")


def read_settings(config: Path, changes: Sequence[str], here: Path | None = None) -> dict[str, Any]:
    """Return a YAML's keys with the changes of the command line, paths resolved.

    Args:
        config: the YAML, from the current folder or the project's root.
        changes: ``key=value``; a value may be anything that YAML knows.
        here: the current folder.

    Raises:
        InputError: the file is not there or no YAML of keys, or a change is not ``key=value``.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    unreadable = (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError, OmegaConfBaseException)
    here = here or Path.cwd()
    folders = list(dict.fromkeys([here, ROOT]))  # one, where the project's root is the current folder
    path = next((folder / config for folder in folders if (folder / config).is_file()), None)
    if path is None:
        raise InputError(
            f"没有配置文件 {config}（在 {' 和 '.join(map(str, folders))} 里找过）；请检查路径。",
            f"There is no configuration {config} (looked for in {' and '.join(map(str, folders))}); check the path.",
        )
    for change in changes:
        if not change.partition("=")[0].isidentifier() or "=" not in change:
            raise InputError(
                f"不认识参数 {change}；改动写成 key=value，如 lora_rank=128。",
                f"Unknown argument {change}; write a change as key=value, such as lora_rank=128.",
            )
    try:
        loaded = OmegaConf.load(path)
        if not OmegaConf.is_dict(loaded):
            raise ValueError("no keys")
        from_file: Any = OmegaConf.to_container(loaded)
    except unreadable as error:
        mark = getattr(error, "problem_mark", None)  # of YAML
        zh, en = (f"第 {mark.line + 1} 行：", f"line {mark.line + 1}: ") if mark else ("", "")
        raise InputError(
            f"读不了配置 {path}（{zh}{_reason(error)}）；请改正后重试。",
            f"Can't read the configuration {path} ({en}{_reason(error)}); mend it and try again.",
        ) from None
    merged: Any = from_file
    for change in changes:
        try:
            loaded = OmegaConf.merge(loaded, OmegaConf.from_cli([change]))
            merged = OmegaConf.to_container(loaded)
        except unreadable as error:
            raise InputError(
                f"读不懂命令行上的 {change}（{_reason(error)}）；请检查引号和括号。",
                f"Can't read {change} of the command line ({_reason(error)}); check quotes and brackets.",
            ) from None
    for key, value in merged.items():
        if (
            str(key).endswith("_strategy") and value is False
        ):  # YAML reads a bare no as false, LLaMA-Factory fails on it
            merged[key] = "no"
    typed = {change.partition("=")[0] for change in changes}
    return {
        str(key): resolved(value, key, here, typed=key in typed and value != from_file.get(key))
        for key, value in merged.items()
    }


def _reason(error: Exception) -> str:
    """Return a line on what can't be read."""
    text = getattr(error, "problem", None) or str(error).strip()  # YAML's begins with what it was reading
    return (text.splitlines() or [type(error).__name__])[0]


def resolved(value: Any, key: str, here: Path, *, typed: bool) -> Any:
    """Return a key's value, with its path, or each of several, as training in the project's root should read it.

    Args:
        value: as read.
        key: its key; only `INPUT_KEYS` and `OUTPUT_KEYS` hold paths.
        here: the current folder.
        typed: it comes from the command line, where a path means the current folder first.
    """
    if key not in INPUT_KEYS + OUTPUT_KEYS or not isinstance(value, str) or not value:
        return value
    if key == "adapter_name_or_path" and "," in value:
        return ",".join(resolved(one.strip(), key, here, typed=typed) for one in value.split(","))
    path = Path(value).expanduser()
    folders = (here, ROOT) if typed else (ROOT, here)
    if key in OUTPUT_KEYS:
        return in_root(folders[0] / path)
    found = next((folder / path for folder in folders if (folder / path).exists()), None)
    return in_root(found) if found else value  # a hub's name, or something that the preflight will miss


def in_root(path: Path) -> str:
    """Return a path as seen from the project's root, absolute where it lies outside."""
    full = os.path.normpath(path)
    return os.path.relpath(full, ROOT) if Path(full).is_relative_to(ROOT) else full


def place(path: str | Path) -> Path:
    """Return where a resolved path lies, whatever the current folder is."""
    return ROOT / path


def number(settings: Mapping[str, Any], key: str, default: float) -> float:
    """Return a number of the settings.

    Raises:
        InputError: it is none.
    """
    value = settings.get(key)
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError):
        raise InputError(f"{key}: {value} 应为数；请改正。", f"{key}: {value} should be a number; mend it.") from None


def names(value: Any) -> list[str]:
    """Return the names of a list, or of a text with commas.

    >>> names("a, b"), names(None)
    (['a', 'b'], [])
    """
    if value is None:
        return []
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def take_speed(settings: dict[str, Any]) -> bool:
    """Take `SPEED_KEY` out of the settings and return whether it was on.

    Raises:
        InputError: its value is no switch.
    """
    return _take(settings, SPEED_KEY)


def take_tree(settings: dict[str, Any]) -> bool:
    """Take `TREE_KEY` out of the settings and return whether it was on.

    Raises:
        InputError: its value is no switch.
    """
    return _take(settings, TREE_KEY)


def _take(settings: dict[str, Any], key: str) -> bool:
    value = settings.pop(key, False)
    if str(value).lower() not in _TRUE + _FALSE:
        raise InputError(
            f"{key}={value} 应为 true 或 false；请改正。", f"{key}={value} should be true or false; mend it."
        )
    return on(value)


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the keys as YAML that ``llamafactory-cli train`` takes, in the project's root."""
    write_text(path, yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False, width=1000))
