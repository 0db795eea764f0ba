"""What llamafactory-cli export would only find after a minute of loading, and say in stack traces, found before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mug.errors import InputError
from mug.generation.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from mug.generation.model_folder import resolve
from mug.generation.weights import is_complete, is_whole_model
from mug.training.keys import unknown_keys
from mug.training.preflight import cached
from mug.training.settings import names


def check(config: Mapping[str, Any]) -> None:
    """See that an export can begin.

    Raises:
        InputError: a key is none, the base is not downloaded or not whole, an adapter is not there, not whole or of
            another base, or LLaMA-Factory is not installed.
    """
    for wrong in unknown_keys(config, training=False):
        raise InputError(*wrong.message)
    base = _base(config)
    for adapter in names(config.get("adapter_name_or_path")):
        _see(adapter, base)


def _base(config: Mapping[str, Any]) -> str:
    """Return the base's folder."""
    base = str(config.get("model_name_or_path") or "")
    folder = Path(base) if os.path.isdir(base) else cached(config) if base else None
    if not folder:
        raise InputError(
            f"没有模型 {base or 'model_name_or_path'}：没有这个文件夹，本机缓存里也没有；"
            "请先运行 python scripts/download_model.py --set_config，或改正 model_name_or_path。",
            f"There is no model {base or 'model_name_or_path'}, neither as a folder nor in this machine's cache; run "
            "python scripts/download_model.py --set_config first, or mend model_name_or_path.",
        )
    if not is_whole_model(folder):
        raise InputError(
            f"模型 {base} 不完整（缺 config.json 或 safetensors 权重）；请重新运行 python scripts/download_model.py，"
            "或改正 model_name_or_path。",
            f"The model {base} is not whole (config.json or safetensors weights are missing); run "
            "python scripts/download_model.py again, or mend model_name_or_path.",
        )
    return str(folder)


def _see(adapter: str, base: str) -> None:
    """See that an adapter is there, whole, and fits the base."""
    folder = Path(adapter)
    if not (folder / ADAPTER_CONFIG).is_file() or not is_complete(folder / ADAPTER_WEIGHTS):
        raise InputError(
            f"{adapter} 里没有完整的适配器（{ADAPTER_CONFIG} 和 {ADAPTER_WEIGHTS}）；"
            "请先训练，或改正 adapter_name_or_path（也可以是其中的 checkpoint）。",
            f"{adapter} holds no whole adapter ({ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}); train first, or mend "
            "adapter_name_or_path (a checkpoint in it will do too).",
        )
    try:
        resolve(folder, base)
    except InputError as error:
        raise InputError(*(text.replace("--base_model", "model_name_or_path") for text in error.message)) from None
