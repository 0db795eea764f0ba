"""The checkpoints of an output folder: which are whole, and what they were trained with.

LLaMA-Factory writes a checkpoint file by file; killed in between, it fails at the next start on what is missing. The
trainer's own record comes last:

    checkpoint-300/  adapter_model.safetensors  optimizer.pt  scheduler.pt  rng_state.pth  trainer_state.json
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mug.errors import Message
from mug.generation.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from mug.generation.weights import is_complete, is_whole_model, read_object

STATE = "trainer_state.json"
ASIDE = "incomplete-"  # before the name: what begins with checkpoint- is counted and removed by the trainer


@dataclass(frozen=True, slots=True)
class Broken:
    """A checkpoint that nothing can resume from, and what is wrong with it."""

    folder: Path
    why: Message


def checkpoints(output: Path) -> list[Path]:
    """Return the checkpoint folders, oldest first."""
    found = [
        (int(match[1]), folder)
        for folder in output.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", folder.name)) and folder.is_dir()
    ]
    return [folder for _, folder in sorted(found)]


def defect(folder: Path) -> Message | None:
    """Say what is missing or torn in a checkpoint, None where training can go on from it."""
    if not (folder / ADAPTER_CONFIG).exists() and not (folder / "config.json").exists():
        return Message("没有权重", "holds no weights")
    if (folder / ADAPTER_CONFIG).exists() and not is_complete(folder / ADAPTER_WEIGHTS):
        return Message(f"{ADAPTER_WEIGHTS} 不完整", f"has no whole {ADAPTER_WEIGHTS}")
    if not (folder / ADAPTER_CONFIG).exists() and not is_whole_model(folder):
        return Message("模型权重不完整", "has no whole weights")
    for file in sorted([*folder.glob("*.pt"), *folder.glob("rng_state*.pth")]):
        if not zipfile.is_zipfile(file):  # torch.save writes zip archives, their directory last
            return Message(f"{file.name} 不完整", f"has a torn {file.name}")
    try:
        step = read_object((folder / STATE).read_bytes()).get("global_step")
    except OSError:
        return Message(f"没有 {STATE}", f"has no {STATE}")
    except ValueError:
        return Message(f"{STATE} 不完整", f"has a torn {STATE}")
    return None if isinstance(step, int) else Message(f"{STATE} 没有步数", f"has a {STATE} without a step")


def broken(output: Path) -> list[Broken]:
    """Return the newest checkpoints that nothing can resume from, down to the first whole one."""
    found = []
    for folder in reversed(checkpoints(output)):
        why = defect(folder)
        if why is None:
            break
        found.append(Broken(folder, why))
    return found


def move_aside(folder: Path) -> Path:
    """Rename a broken checkpoint so that the trainer neither resumes from it nor counts it; return the new name."""
    number = 1
    while (aside := folder.with_name(ASIDE + folder.name + (f"-{number}" if number > 1 else ""))).exists():
        number += 1
    return folder.rename(aside)


def adapter_of(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's adapter configuration, empty where there is none that can be read."""
    try:
        return read_object((folder / ADAPTER_CONFIG).read_bytes())
    except (OSError, ValueError):
        return {}


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
