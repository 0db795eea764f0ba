"""Which keys LLaMA-Factory takes, and which values: read off its own argument classes."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from mug.errors import InputError
from mug.training.findings import Finding, error
from mug.training.settings import SPEED_KEY, TREE_KEY, number


def unknown_keys(settings: Mapping[str, Any], training: bool = True) -> Iterator[Finding]:
    """Name the keys that LLaMA-Factory, or its export, does not have, and what each may have meant."""
    known = _fields(training)
    where = "LLaMA-Factory" if training else "llamafactory-cli export"
    for key in settings:
        if key in known:
            continue
        near = difflib.get_close_matches(str(key), [*known, *((SPEED_KEY, TREE_KEY) if training else ())], 1)
        yield error(
            "unknown_key",
            f"{where} 没有 {key} 这个键；" + (f"是不是 {near[0]}？" if near else "请删去它。"),
            f"{where} has no key {key}; " + (f"do you mean {near[0]}?" if near else "remove it."),
        )


def values(settings: dict[str, Any]) -> Iterator[Finding]:
    """See that numbers are numbers and choices are among their choices, and make ``"8"`` and ``8.0`` an 8.

    LLaMA-Factory takes the values of a YAML as they are, and fails on a text, or on a float for an int, only where it
    is used: after the model is loaded.
    """
    for key, (kind, choices) in _fields().items():
        value = settings.get(key)
        if value is None:
            continue
        if kind in (int, float):
            try:
                found = number(settings, key, 0)
            except InputError as wrong:
                yield Finding("error", "value", wrong.message)
                continue
            if kind is int and found % 1 and key != "lora_alpha":  # which peft only divides
                yield error(
                    "value", f"{key}: {value} 应为整数；请改正。", f"{key}: {value} should be a whole number; mend it."
                )
            elif isinstance(value, str | float):
                settings[key] = int(found) if kind is int and not found % 1 else found
        elif kind is bool:
            if value not in (True, False):  # any text counts as true: "false" and flase too
                yield error(
                    "value",
                    f"{key}: {value} 应为 true 或 false；请改正。",
                    f"{key}: {value} should be true or false; mend it.",
                )
        elif choices:
            value = "no" if value is False else value  # YAML reads a bare no as false
            if value in choices:
                continue
            near = difflib.get_close_matches(str(value), choices, 1)
            known = ", ".join(choices)
            yield error(
                "value",
                f"{key} 不能是 {value}；" + (f"是不是 {near[0]}？" if near else f"可选：{known}。"),
                f"{key} can't be {value}; " + (f"do you mean {near[0]}?" if near else f"choose from {known}."),
            )


def _fields(training: bool = True) -> dict[str, tuple[Any, list[str]]]:
    """Return the type of each key of LLaMA-Factory's, without its None, and what may be chosen, empty for anything.

    Raises:
        InputError: LLaMA-Factory is not installed.
    """
    try:
        from llamafactory.hparams import (
            DataArguments,
            FinetuningArguments,
            GeneratingArguments,
            ModelArguments,
            TrainingArguments,
        )
    except ImportError as missing:
        raise InputError(
            f"没有可用的 LLaMA-Factory（{missing}）；请先运行 bash setup.sh。",
            f"There is no LLaMA-Factory to use ({missing}); run bash setup.sh first.",
        ) from None

    found: dict[str, tuple[Any, list[str]]] = {}
    classes = [ModelArguments, DataArguments, FinetuningArguments, GeneratingArguments]
    for cls in [*classes, TrainingArguments] if training else classes:
        hints = typing.get_type_hints(cls)
        for one in dataclasses.fields(cls):
            hint = hints[one.name]
            is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
            kinds = [kind for kind in (typing.get_args(hint) if is_union else (hint,)) if kind is not type(None)]
            # `SchedulerType | str` is a SchedulerType, which transformers makes of the text.
            is_enum = isinstance(kinds[0], type) and issubclass(kinds[0], Enum)
            kind = kinds[0] if len(kinds) == 1 or is_enum else None
            choices = list(one.metadata.get("choices", ()))
            if is_enum:
                choices = [member.value for member in kinds[0]]
            elif typing.get_origin(kind) is typing.Literal:
                choices = list(typing.get_args(kind))
            if one.init:
                found[one.name] = (kind, choices)
    return found
