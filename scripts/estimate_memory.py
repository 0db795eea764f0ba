"""How much GPU memory a training will take, and which settings fit a card; computed, nothing is loaded.

    python scripts/estimate_memory.py configs/train_lora.yaml --gpu_gib 24
    python scripts/estimate_memory.py configs/train_lora.yaml lora_rank=128 packing=true --gpu_gib 80 --lang en
    python scripts/estimate_memory.py configs/train_lora.yaml --lengths 2242

``--lengths`` are the tokens of the longest samples (scripts/analyze_data_length.py tells the longest); without it
every sample is taken to fill cutoff_len.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mug import command
from mug.errors import InputError, Message
from mug.training.keys import unknown_keys
from mug.training.memory import CONTEXT, FRAGMENTATION, GIB, Estimate, estimate, suggest
from mug.training.settings import SPEED_KEY, TREE_KEY, place, read_settings
from mug.training.shapes import shape_of

PARTS = {
    "weights": Message("基座权重", "weights of the base"),
    "lora": Message("LoRA 权重", "LoRA's weights"),
    "gradients": Message("梯度", "gradients"),
    "optimizer": Message("优化器", "optimizer"),
    "activations": Message("激活", "activations"),
    "logits": Message("logits 与损失", "logits and loss"),
    "temporary": Message("临时与工作区", "temporary, workspaces"),
}
MOMENTS = {
    "loss": Message("计算损失时", "in the loss"),
    "layer": Message("计算一层时", "in a layer"),
    "step": Message("更新参数时", "in the optimizer's step"),
    "evaluation": Message("评测时", "in the evaluation"),
}


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments()
    try:
        settings = read(args.config, args.changes)
        model = str(settings["model_name_or_path"])
        shape = shape_of(place(model) if (place(model) / "config.json").exists() else model)
        found = estimate(settings, shape, args.lengths, args.gpus)
        fits = suggest(settings, shape, args.lengths, args.gpu_gib, args.gpus) if args.gpu_gib else []
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    print("\n".join(told(found, model, args.lang)))
    if not args.gpu_gib:
        return 0
    print()
    if found.fits(args.gpu_gib):
        print(
            Message(f"放得进 {args.gpu_gib:g} GiB 的卡。", f"It fits a card of {args.gpu_gib:g} GiB.").say(args.lang)
        )
        return 0
    zh, en = f"放不进 {args.gpu_gib:g} GiB 的卡", f"It does not fit a card of {args.gpu_gib:g} GiB"
    if not fits:
        print(
            Message(
                f"{zh}，改设置也不行；请用更小的模型、更短的样本或更多的卡（ZeRO-3）。",
                f"{en}, nor would other settings; take a smaller model, shorter samples, or more cards (ZeRO-3).",
            ).say(args.lang)
        )
        return 0
    print(Message(f"{zh}；这样可以，改动小的在前：", f"{en}; these do, the least change first:").say(args.lang))
    for one in fits:
        changes = " ".join(f"{key}={str(value).lower()}" for key, value in one.overrides.items())
        print(f"  {one.estimate.needed / GIB:6.1f} GiB  {changes}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="训练用的 YAML / a YAML file for training")
    parser.add_argument("changes", nargs="*", default=[], metavar="key=value", help="改动的键 / keys to change")
    parser.add_argument("--gpu_gib", type=float, metavar="N", help="显卡的显存，GiB / the card's memory in GiB")
    parser.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="卡数 / cards that train together (default: 1)"
    )
    parser.add_argument("--lengths", type=int, nargs="+", metavar="N", help="最长样本的 token 数 / longest samples")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_intermixed_args()
    if args.gpus < 1 or min(args.lengths or [1]) < 1 or (args.gpu_gib is not None and args.gpu_gib <= 0):
        parser.error("--gpu_gib、--gpus、--lengths 应为正数 / should be positive")
    return args


def read(config: Path, changes: list[str]) -> dict[str, Any]:
    """Return the file's keys with the changes of the command line.

    Raises:
        InputError: they can't be read, name no model, or one is no key of LLaMA-Factory's.
    """
    settings = read_settings(config, changes)
    if not settings.get("model_name_or_path"):
        raise InputError(
            f"{config} 没有 model_name_or_path；请写上，或在命令后加 model_name_or_path=Qwen/Qwen2.5-7B。",
            f"{config} has no model_name_or_path; add it, or model_name_or_path=Qwen/Qwen2.5-7B to the command.",
        )
    ours = (SPEED_KEY, TREE_KEY)
    for wrong in unknown_keys({key: value for key, value in settings.items() if key not in ours}):
        raise InputError(*wrong.message)
    if isinstance(settings.get("deepspeed"), str):
        settings["deepspeed"] = str(place(settings["deepspeed"]))
    return settings


def told(found: Estimate, model: str, lang: str) -> list[str]:
    """Return the parts, the sum and what it rests on as lines for a terminal."""
    lines = [
        Message(
            f"{model}，峰值在{MOMENTS[found.moment].zh}，一批 {found.tokens:,} 个 token（单位 GiB）：",
            f"{model}, the peak is {MOMENTS[found.moment].en}, a batch of {found.tokens:,} tokens (in GiB):",
        ).say(lang)
    ]
    lines += [f"  {getattr(found, part) / GIB:7.2f}  {name.say(lang)}" for part, name in PARTS.items()]
    share = f"{100 * FRAGMENTATION:.0f} %"
    total = Message("合计：PyTorch 的峰值", "total: PyTorch's peak")
    needed = Message(
        f"显卡要有：另加碎片 {share} 和 CUDA 自身 {CONTEXT / GIB:.1f} GiB",
        f"needed of the card: {share} more for fragments, and {CONTEXT / GIB:.1f} GiB of CUDA's own",
    )
    lines += [
        f"  {found.total / GIB:7.2f}  {total.say(lang)}",
        f"  {found.needed / GIB:7.2f}  {needed.say(lang)}",
    ]
    return [*lines, *(note.say(lang) for note in found.notes)]


if __name__ == "__main__":
    command.run(main)
