"""Does an adapter belong to a base? Told from names and shapes, before minutes of loading.

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight  (r, in)     of the adapter
    base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight  (out, r)
                     model.layers.0.self_attn.q_proj.weight         (out, in)   of the base

PEFT refuses shapes that differ, after loading and with a stack trace; what it lacks it leaves at zero, and what it
does not know it leaves out, both without an error: the answers would then be those of another model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from mug.errors import InputError
from mug.generation.weights import header, read_object, tensors_of

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_WRAPPED = "base_model.model."


class Widths(NamedTuple):
    """How many numbers go into a linear layer, and how many come out."""

    input: int
    output: int


def read_adapter_config(adapter: Path) -> dict[str, Any]:
    """Return an adapter's configuration, its values looked at.

    Raises:
        InputError: it can't be read, or a value is none that an adapter can have.
    """
    file = adapter / ADAPTER_CONFIG
    try:
        config = read_object(file.read_bytes())
        _check_values(config)
    except (OSError, ValueError) as error:
        raise InputError(
            f"读不了 {file}（{error}）；请重新训练或换一个 checkpoint。",
            f"Can't read {file} ({error}); train again or take another checkpoint.",
        ) from None
    return config


def _check_values(config: dict[str, Any]) -> None:
    if config.get("peft_type", "LORA") != "LORA":
        return
    rank, alpha, targets = config.get("r", 8), config.get("lora_alpha", 8), config.get("target_modules", [])
    if type(rank) is not int or rank < 1:
        raise ValueError(f"r = {str(rank)[:40]}")
    if type(alpha) not in (int, float) or not math.isfinite(alpha):
        raise ValueError(f"lora_alpha = {str(alpha)[:40]}")
    if targets is not None and not isinstance(targets, str):
        if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
            raise ValueError(f"target_modules = {str(targets)[:40]}")


def check_fit(adapter: Path, config: dict[str, Any], base: Path) -> None:
    """Compare every LoRA matrix with the layer of the base that it is for, and see that none is missing.

    Nothing is compared where names or shapes in the files are not those in memory: a quantised base, a mixture of
    experts, a base whose names all differ; nor for kinds of adapters other than LoRA.

    Raises:
        InputError: they do not fit, or the adapter does not agree with its own configuration.
    """
    if config.get("peft_type", "LORA") != "LORA" or _base_config(base).get("quantization_config"):
        return
    ours = _lora_widths(adapter, config)
    theirs = _linear_widths(base)
    known = [module for module in ours if module in theirs]
    leaves = {module.rpartition(".")[2] for module in theirs}
    if not known and all(module.rpartition(".")[2] in leaves for module in ours):
        return  # the same layers under other names, as in models that see pictures too
    for module, widths in ours.items():
        if "experts" in module.split("."):
            continue
        if module not in theirs:
            raise _unfit(
                adapter, base, f"基座没有 {module} 这一层", f"the base has no layer {module}", len(known), len(ours)
            )
        for name, found, expected in zip(("输入", "输出"), widths, theirs[module], strict=True):
            if found != expected:
                english = "width" if name == "输入" else "output width"
                raise InputError(
                    f"适配器 {adapter} 的宽度是 {found}，基座 {base} 的是 {expected}（{module} 的{name}），二者不配；"
                    "请用 --base_model 指定训练时的基座。",
                    f"The adapter {adapter} has {english} {found}, the base {base} has {expected} ({module}); name "
                    "the base that it was trained on by --base_model.",
                )
    if missing := _untrained(config, ours, theirs):
        raise _unfit(
            adapter,
            base,
            f"适配器没有 {missing[0]} 的权重",
            f"the adapter has no weights for {missing[0]}",
            len(known),
            len(known) + len(missing),
        )


def _unfit(adapter: Path, base: Path, zh: str, en: str, fitting: int, total: int) -> InputError:
    return InputError(
        f"适配器 {adapter} 与基座 {base} 不配：{zh}（{total} 层中配得上 {fitting} 层）；"
        "请用 --base_model 指定训练时的基座。",
        f"The adapter {adapter} does not fit the base {base}: {en} ({fitting} of {total} layers fit); name the base "
        "that it was trained on by --base_model.",
    )


def _base_config(base: Path) -> dict[str, Any]:
    try:
        return read_object((base / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(
            f"读不了基座的 {base / 'config.json'}（{error}）；请重新下载模型。",
            f"Can't read the base's {base / 'config.json'} ({error}); download the model again.",
        ) from None


def _lora_widths(adapter: Path, config: dict[str, Any]) -> dict[str, Widths]:
    """Return what each pair of LoRA matrices takes in and gives out, by the base's name of the layer."""
    shapes = {name: tensor["shape"] for name, tensor in header(adapter / ADAPTER_WEIGHTS).items()}
    found: dict[str, Widths] = {}
    for name, shape in shapes.items():
        module, _, kind = name.rpartition(".lora_")
        if kind not in ("A.weight", "B.weight"):
            continue
        first, second = shapes.get(f"{module}.lora_A.weight"), shapes.get(f"{module}.lora_B.weight")
        if first is None or second is None or len(first) != 2 or len(second) != 2 or first[0] != second[1]:
            raise _inconsistent(adapter, f"{module}: {first}, {second}")
        if not config.get("rank_pattern") and first[0] != config.get("r", 8):
            raise _inconsistent(adapter, f"r = {config.get('r', 8)}, {name}: {shape}")
        targets = config.get("target_modules")
        if isinstance(targets, list) and not any(_is_target(module, target) for target in targets):
            raise _inconsistent(adapter, f"{name}, target_modules = {', '.join(targets)[:80]}")
        found[module.removeprefix(_WRAPPED)] = Widths(first[1], second[0])
    return found


def _inconsistent(adapter: Path, what: str) -> InputError:
    return InputError(
        f"适配器 {adapter} 的权重与 {ADAPTER_CONFIG} 不一致（{what}）；请重新训练或换一个 checkpoint。",
        f"The weights of the adapter {adapter} do not agree with its {ADAPTER_CONFIG} ({what}); train again or take "
        "another checkpoint.",
    )


def _is_target(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _linear_widths(base: Path) -> dict[str, Widths]:
    """Return the widths of the base's layers that are matrices, by name."""
    found = {
        name.removesuffix(".weight"): Widths(tensor["shape"][1], tensor["shape"][0])
        for name, tensor in tensors_of(base).items()
        if name.endswith(".weight") and len(tensor["shape"]) == 2
    }
    if "lm_head" not in found and "model.embed_tokens" in found:  # tied: one matrix, stored once
        found["lm_head"] = found["model.embed_tokens"]
    return found


def _untrained(config: dict[str, Any], ours: dict[str, Widths], theirs: dict[str, Widths]) -> list[str]:
    """Return the layers of the base that the configuration aims at and the weights leave out."""
    targets = config.get("target_modules")
    if not isinstance(targets, list) or config.get("layers_to_transform") or config.get("exclude_modules"):
        return []
    aimed = [module for module in theirs if any(_is_target(module, target) for target in targets)]
    return [module for module in aimed if module not in ours and "experts" not in module.split(".")]
