"""The base models that one key changes: their templates, end tokens and licences.

Qwen2.5 (0.5B to 32B, base and Instruct) takes the template ``qwen``; Qwen3 takes ``qwen3_nothink``: the prompt is then
what a server's own chat template makes, and the answer begins at once. ``qwen3`` would put an empty <think> block
before each answer and train it. docs/bases.md says more.

>>> base_of("models/Qwen/Qwen2.5-3B-Instruct").licence
'other'
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = {"qwen2": ("qwen",), "qwen3": ("qwen3_nothink", "qwen3", "qwen")}
"""By ``model_type`` of config.json: the templates whose prompts are the model's own, the one to take first. ``qwen``
makes the same prompts on Qwen3 once ``default_system`` is set."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: its name on the hubs, template, the token that ends an untuned answer, and licence.

    ``licence`` is an SPDX identifier in the hubs' spelling, ``other`` where it is the maker's own: ``licence_name``.
    """

    name: str
    model_type: str
    template: str
    ends_with: tuple[str, ...]
    licence: str = "apache-2.0"
    licence_name: str = "Apache-2.0"


def _bases() -> tuple[Base, ...]:
    ends = {True: ("<|im_end|>", "<|endoftext|>"), False: ("<|endoftext|>",)}
    found = []
    for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B"):
        licence = ("other", "Qwen Research License") if size == "3B" else ("apache-2.0", "Apache-2.0")
        for suffix in ("", "-Instruct"):
            found.append(Base(f"Qwen/Qwen2.5-{size}{suffix}", "qwen2", "qwen", ends[bool(suffix)], *licence))
    for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B"):
        found.append(Base(f"Qwen/Qwen3-{size}", "qwen3", "qwen3_nothink", ends[True]))
        if size != "32B":  # of the largest there is no base without instruction tuning
            found.append(Base(f"Qwen/Qwen3-{size}-Base", "qwen3", "qwen3_nothink", ends[False]))
    return tuple(found)


BASES = _bases()


def base_of(model: str | Path) -> Base | None:
    """Return the base that a hub's name or a local folder's last name means, None where it is none of ours.

    >>> base_of("/data/hub/models--Qwen--Qwen3-8B/snapshots/b968826d").name
    'Qwen/Qwen3-8B'
    """
    parts = [re.sub(r"^models--.*--", "", part) for part in Path(str(model)).parts if not part.startswith("snapshots")]
    for base in BASES:
        if base.name.rpartition("/")[2].casefold() in (part.casefold() for part in parts[-2:]):
            return base
    return None


def model_type(model: Path) -> str | None:
    """Return ``model_type`` of a folder's config.json, None where there is none."""
    try:
        found = json.loads((model / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
