#!/usr/bin/env python3
"""What this project needs, what is installed, and what to do where the two differ.

Usage:
    python scripts/check_setup.py [--lang zh|en]

Prints one table and leaves with 0, or with 1 when something that is needed is missing or does not fit. It looks at the
environment it is run with, and stands alone: it works, and says so, where nothing is installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mug import command

ROOT = Path(__file__).resolve().parent.parent
MARKS = {"good": "✓", "optional": "–", "missing": "✗"}
# Import name by extra: the package is optional, and what its absence means.
EXTRAS = {
    "deepspeed": ("多卡 ZeRO 训练才需要", "only for multi-GPU ZeRO"),
    "bitsandbytes": ("4-bit QLoRA 才需要", "only for 4-bit QLoRA"),
    "vllm": ("大批量评估更快", "faster evaluation of many samples"),
    "liger-kernel": ("训练更快、更省显存", "faster training, less memory"),
}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``state`` is a key of ``MARKS``."""

    what: str
    found: str
    state: str
    note: str = ""


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description="环境检查表 / check table of the environment")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    chinese = parser.parse_args().lang == "zh"

    rows = [*python_rows(chinese), *gpu_rows(chinese), *package_rows(chinese), *extra_rows(chinese), disk_row(chinese)]
    print(table(rows, ("项目", "版本", "说明") if chinese else ("what", "version", "note")))
    missing = [row.what for row in rows if row.state == "missing"]
    if missing:
        names = ", ".join(missing)
        print(f"\n缺少或不合要求: {names}" if chinese else f"\nmissing or unfit: {names}", file=sys.stderr)
    else:
        print("\n必需的都齐了（– 为可选）。" if chinese else "\nAll that is needed is there (– is optional).")
    return 1 if missing else 0


# --- one function a part of the table --------------------------------------------------------------------------------


def python_rows(chinese: bool) -> list[Row]:
    """Return the row of the running Python."""
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    todo = "需要 3.11 到 3.13，请重建环境: bash setup.sh" if chinese else "3.11 to 3.13 is needed: bash setup.sh"
    return [Row("Python", platform.python_version(), "good" if good else "missing", sys.prefix if good else todo)]


def gpu_rows(chinese: bool) -> list[Row]:
    """Return the rows of torch's build, the GPUs, the driver, bf16 and the attention that will be used."""
    driver, driver_cuda = nvidia_driver()
    none = "无" if chinese else "none"
    cpu_note = "只能用 CPU：可跑通流程，训不了 7B" if chinese else "CPU only: enough to try the road, not to train 7B"
    try:
        import torch
    except Exception as error:  # a broken shared library raises OSError, not ImportError
        return [
            Row("torch", none, "missing", f"{'不能导入' if chinese else 'cannot be imported'}: {first_line(error)}")
        ]

    rows = []
    built = torch.version.cuda
    build = f"CUDA {built}" if built else "CPU"
    if torch.cuda.is_available():
        rows.append(Row("torch", torch.__version__, "good", build))
        for i in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(i)
            rows.append(
                Row(f"GPU {i}", card.name, "good", f"{card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}")
            )
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        todo = "这块卡没有 bf16：YAML 里用 fp16: true" if chinese else "no bf16 on this card: set fp16: true"
        rows.append(Row("bf16", "yes" if bf16 else "no", "good" if bf16 else "optional", "" if bf16 else todo))
    else:
        rows.append(Row("torch", torch.__version__, "good", build))
        note = cpu_note
        if driver and built:
            note = (
                "有显卡但 torch 用不了它：请升级 NVIDIA 驱动"
                if chinese
                else "torch can't use the card: update its driver"
            )
        elif driver:
            note = (
                "有显卡但 torch 是 CPU 版：重跑 bash setup.sh"
                if chinese
                else "torch is a CPU build: run setup.sh again"
            )
        rows.append(Row("GPU", none, "optional", note))
        rows.append(Row("bf16", "yes", "good", "CPU: 能用但慢" if chinese else "on the CPU: works, slowly"))
    rows.append(
        Row(
            "NVIDIA driver",
            driver or none,
            "good" if driver else "optional",
            f"CUDA {driver_cuda}" if driver_cuda else "",
        )
    )
    rows.append(attention_row(chinese))
    return rows


def attention_row(chinese: bool) -> Row:
    """Return the row of flash-attn, or of SDPA, which takes its place."""
    version = installed("flash-attn")
    if version is None:
        note = "没有 flash-attn，用 SDPA" if chinese else "no flash-attn: SDPA is used"
        return Row("attention", "SDPA", "good", f"{note} (bash setup.sh --extras flash-attn)")
    error = import_error("flash_attn")
    if error:
        note = f"不能导入，与 torch 不配，请卸载: {error}" if chinese else f"does not import, uninstall it: {error}"
        return Row("attention", f"flash-attn {version}", "missing", note)
    return Row("attention", f"flash-attn {version}", "good", "flash_attn: fa2")


def package_rows(chinese: bool) -> list[Row]:
    """Return a row for each line of requirements.txt, checked against it and against LLaMA-Factory's own bounds."""
    pins = read_pins(ROOT / "requirements.txt")
    if installed("vllm"):  # shares the environment, with its own pins for some packages
        pins.update((name, pin) for name, pin in read_pins(ROOT / "requirements-vllm.txt").items() if name in pins)
    bounds = llamafactory_bounds()
    rows = []
    for name, pin in pins.items():
        if name == "torch":
            continue  # has its row
        version = installed(name)
        bound = bounds.get(name.lower(), "")
        if version is None:
            todo = "未安装: bash setup.sh" if chinese else "not installed: bash setup.sh"
            rows.append(Row(name, "—", "missing", todo))
        elif bound and not fits(version, bound):
            todo = (
                f"LLaMA-Factory 要求 {bound}: bash setup.sh"
                if chinese
                else f"LLaMA-Factory needs {bound}: bash setup.sh"
            )
            rows.append(Row(name, version, "missing", todo))
        elif version.partition("+")[0] != pin:
            rows.append(Row(name, version, "optional", f"试过的是 {pin}" if chinese else f"{pin} was tried"))
        else:
            rows.append(Row(name, version, "good", f"LLaMA-Factory: {bound}" if bound else ""))
    return rows


def extra_rows(chinese: bool) -> list[Row]:
    """Return a row for each optional package but flash-attn, which has its own."""
    rows = []
    for name, (zh, en) in EXTRAS.items():
        version = installed(name)
        use = zh if chinese else en
        if version is None:
            rows.append(Row(name, "—", "optional", f"{use}: bash setup.sh --extras {name}"))
        else:
            rows.append(Row(name, version, "good", use))
    return rows


def disk_row(chinese: bool) -> Row:
    """Return the row of the free disk; Qwen2.5-7B takes 15 GB, merged once more, and checkpoints come beside."""
    free = shutil.disk_usage(ROOT).free / 1e9
    note = "7B 全流程约需 50 GB（模型 15、合并 15、检查点）" if chinese else "the 7B road takes about 50 GB"
    return Row("磁盘剩余" if chinese else "free disk", f"{free:.0f} GB", "good" if free >= 50 else "optional", note)


# --- looking things up -----------------------------------------------------------------------------------------------


def installed(name: str) -> str | None:
    """Return the installed version of a distribution, None when it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def import_error(module: str) -> str:
    """Import a module; return the first line of what went wrong, "" if nothing did."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return first_line(error)
    return ""


def read_pins(path: Path) -> dict[str, str]:
    """Read ``name==version`` lines of a requirements file, comments and extras (``name[extra]``) left out."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pins = (line.partition("==") for line in lines if "==" in line)
    return {name.partition("[")[0]: version for name, _, version in pins}


def llamafactory_bounds() -> dict[str, str]:
    """Return the bounds that the installed LLaMA-Factory declares: {"peft": "<=0.18.1,>=0.18.0", …}."""
    try:
        lines = importlib.metadata.requires("llamafactory") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    matches = (re.match(r"([A-Za-z0-9_.-]+)\s*([<>=!~][^;]*)?(;.*)?$", line) for line in lines)
    return {match[1].lower(): (match[2] or "").strip() for match in matches if match}


def fits(version: str, bound: str) -> bool:
    """Tell whether ``version`` lies in ``bound``; a bound that can't be checked is taken as kept."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(bound).contains(version, prereleases=True)


def nvidia_driver() -> tuple[str, str]:
    """Return the driver's version and the newest CUDA it can run, ("", "") without a working nvidia-smi."""
    try:
        text = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "", ""
    driver = re.search(r"Driver Version:\s*([\d.]+)", text)
    cuda = re.search(r"CUDA[A-Z ]*Version:\s*([\d.]+)", text)
    return driver[1] if driver else "", cuda[1] if cuda else ""


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its type's name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


# --- the table -------------------------------------------------------------------------------------------------------


def table(rows: list[Row], head: tuple[str, str, str]) -> str:
    """Lay the rows out in columns; a Chinese character takes two places on a terminal."""
    what = max(width(text) for text in [head[0], *(row.what for row in rows)])
    found = max(width(text) for text in [head[1], *(row.found for row in rows)])
    lines = [f"  {pad(head[0], what)}  {pad(head[1], found)}  {head[2]}"]
    lines += [
        f"{MARKS[row.state]} {pad(row.what, what)}  {pad(row.found, found)}  {row.note}".rstrip() for row in rows
    ]
    return "\n".join(lines)


def width(text: str) -> int:
    """Count the places that ``text`` takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, places: int) -> str:
    """Fill ``text`` with spaces up to ``places``."""
    return text + " " * (places - width(text))


if __name__ == "__main__":
    command.run(main)
