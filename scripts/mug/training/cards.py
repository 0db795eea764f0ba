"""What a training will find on this machine: graphics cards, and the packages that settings may ask for.

Cards are asked in a process of its own, which ends: a CUDA context would keep half a gigabyte of the card all the
while that training runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

AMPERE = (8, 0)
"""The first compute capability with bf16 and FlashAttention 2."""

PACKAGES = (
    "flash_attn",
    "liger_kernel",
    "bitsandbytes",
    "deepspeed",
    "ray",
    "tensorboard",
    "tensorboardX",
    "wandb",
    "swanlab",
)

_PROBE = """
import json, torch
cards = []
for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
    of = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    cards.append([of.name, total, free, list(torch.cuda.get_device_capability(index))])
print(json.dumps({"cards": cards, "cuda": torch.version.cuda}))
"""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU; ``total`` and ``free`` are bytes."""

    name: str
    total: int
    free: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """The GPUs of this machine, the optional packages that can be imported, and what torch was built for."""

    cards: tuple[Card, ...] = ()
    packages: frozenset[str] = field(default=frozenset())
    cuda: str | None = None


def probe(cards: bool = True) -> Machine:
    """Return what is here; a torch that can't be imported counts as a machine without GPU.

    Args:
        cards: look for GPUs too, which takes some seconds.
    """
    packages = frozenset(name for name in PACKAGES if importlib.util.find_spec(name))
    if not cards:
        return Machine(packages=packages)
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, encoding="utf-8")
    if done.returncode:
        return Machine(packages=packages)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    seen = tuple(Card(name, total, free, (one, two)) for name, total, free, (one, two) in found["cards"])
    return Machine(seen, packages, found["cuda"])


def gpus(machine: Machine, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many GPUs train together, by the variables that LLaMA-Factory's launcher reads; at least one."""
    here = int(environment.get("NPROC_PER_NODE") or len(machine.cards) or 1)
    return here * int(environment.get("NNODES") or 1)


def starts_torchrun(machine: Machine, environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether LLaMA-Factory will start torchrun, as its launcher decides."""
    forced = environment.get("FORCE_TORCHRUN", "0").lower() in ("true", "y", "1")
    return forced or (len(machine.cards) > 1 and environment.get("USE_RAY", "0").lower() not in ("true", "y", "1"))
