"""How many tokens the samples have, how much each cutoff_len covers, and which one to take.

    python scripts/analyze_data_length.py --tokenizer models/Qwen/Qwen2.5-7B
    python scripts/analyze_data_length.py --data data/train_alpaca.json --output outputs/data_length.json

Counts what training counts: system prompt, role marks, prompt, target and end token, encoded by LLaMA-Factory's own
template. Without ``--tokenizer`` it takes the local model that configs/train_lora.yaml names; without that it gives an
upper estimate, and says so. Writes the figures as JSON and, beside it, the histogram and the cumulative share as PNG.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from mug import command, evaluation
from mug.alpaca import read_alpaca
from mug.errors import InputError, Message
from mug.files import check_overlap, write_json
from mug.tasks.base import Options
from mug.training import lengths
from mug.training.lengths import LIMITS, PERCENTILES, STEP, Length

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs" / "train_lora.yaml"
DATA = [ROOT / "data" / f"{split}_alpaca.json" for split in ("train", "dev")]


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments()
    picture = args.output.with_suffix(".png")
    data = args.data or default_data()
    try:
        check_overlap([args.output, picture], data)
        rows = [row for path in data for row in read_alpaca(path)]
        model = args.tokenizer or configured_model()
        measure = lengths.measure_with(model, args.template) if model else lengths.estimate
        found = measured(measure, rows)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    by_task: dict[str, list[Length]] = defaultdict(list)
    for item, length in zip(evaluation.items(rows, Options()), found, strict=True):
        by_task[item.task.name if item.task else "other"].append(length)
    result = analysis(by_task, model)
    print("\n".join(told(result, args.lang)))
    totals = {name: [length.total for length in group] for name, group in by_task.items()}
    try:
        write_json(args.output, result)
        lengths.write_picture(totals, result["recommended_cutoff_len"], picture)
    except OSError as error:
        zh, en = f"写不了 {args.output}（{error.strerror}）。", f"Can't write {args.output} ({error.strerror})."
        print(Message(zh, en).say(args.lang), file=sys.stderr)
        return 1
    print(Message(f"已写入 {args.output} 和 {picture}", f"Written: {args.output} and {picture}").say(args.lang))
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="Alpaca 文件，默认 data/ 下的两个 / default: both of data/",
    )
    parser.add_argument("--tokenizer", metavar="DIR|MODEL", help="模型文件夹或名字 / a model's folder or name")
    parser.add_argument("--template", default="qwen", help="LLaMA-Factory 的模板 / its template (default: qwen)")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "data_length.json", help="JSON")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()
    if args.output.suffix != ".json":
        parser.error("--output 应以 .json 结尾 / should end with .json")
    return args


def default_data() -> list[Path]:
    """Return the files that preprocess_data.py writes, of which train must be there."""
    return [DATA[0], *(path for path in DATA[1:] if path.exists())]


def configured_model() -> str | None:
    """Return the local model that configs/train_lora.yaml names, None when it is not on this machine."""
    model = str(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["model_name_or_path"])
    return str(ROOT / model) if (ROOT / model / "tokenizer.json").exists() else None


def measured(measure: lengths.Measure, rows: list[dict[str, Any]]) -> list[Length]:
    """Measure all rows, with a count of them on a terminal."""
    found: list[Length] = []
    started = time.monotonic()
    for length in measure(rows):
        found.append(length)
        if sys.stderr.isatty() and (len(found) % 256 == 0 or len(found) == len(rows)):
            left = (time.monotonic() - started) * (len(rows) - len(found)) / len(found)
            print(f"\r{len(found)}/{len(rows)}  {left:.0f} s ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return found


def analysis(by_task: dict[str, list[Length]], model: str | None) -> dict[str, Any]:
    """Return all that the JSON holds."""
    everything = [length for group in by_task.values() for length in group]
    totals = [length.total for length in everything]
    cutoff = lengths.recommended(totals)
    configured = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["cutoff_len"]
    packing = {size: lengths.packs(totals, size) for size in dict.fromkeys((cutoff, 4096, 8192)) if size >= cutoff}
    return {
        "tokenizer": model,
        "estimated": model is None,
        "all": lengths.statistics(everything),
        "tasks": {name: lengths.statistics(group) for name, group in by_task.items()},
        "over": {str(limit): lengths.over(totals, limit) for limit in sorted({*LIMITS, configured})},
        "configured_cutoff_len": configured,
        "recommended_cutoff_len": cutoff,
        "next_smaller": {"cutoff_len": cutoff - STEP, "over": lengths.over(totals, cutoff - STEP)},
        "covering_99_percent": lengths.recommended([lengths.percentile(totals, 99)]),
        "padding_share_at_batch": {str(size): round(lengths.padding_share(totals, size), 3) for size in (2, 4, 8)},
        "packs": {
            str(size): {"packs": count, "fill": round(sum(totals) / (count * size), 3)}
            for size, count in packing.items()
        },
    }


def told(result: dict[str, Any], lang: str) -> list[str]:
    """Return the tables and the recommendation as lines for a terminal."""
    lines: list[str] = []

    def say(zh: str, en: str) -> None:
        lines.append(Message(zh, en).say(lang))

    if result["estimated"]:
        say(
            "没有分词器，以下是估计的上界，约为实际的 1.5 倍；用 --tokenizer 指定模型文件夹可得准确值。",
            "No tokenizer: these are upper estimates, about 1.5 times the truth; name a model's folder by "
            "--tokenizer.",
        )
    else:
        say(f"由 {result['tokenizer']} 的分词器计数。", f"Counted by the tokenizer of {result['tokenizer']}.")
    heads = "".join(f"{f'{percent}%':>8}" for percent in PERCENTILES)
    lines.append(f"{'task':22}{'samples':>8}{'mean':>9}{heads}{'target mean / max':>19}")
    for name, row in [*result["tasks"].items(), *([("all", result["all"])] if len(result["tasks"]) > 1 else ())]:
        values = "".join(f"{value:>8,}" for value in row["percentiles"].values())
        target = f"{row['mean_target']:.1f} / {row['longest_target']:,}"
        lines.append(f"{name:22}{row['samples']:>8,}{row['mean']:>9,.1f}{values}{target:>19}")
    count = result["all"]["samples"]
    lines.append("")
    for limit, cut in result["over"].items():
        share = 100 * (count - cut) / count
        mark = "  ← configs/train_lora.yaml" if int(limit) == result["configured_cutoff_len"] else ""
        say(
            f"cutoff_len {int(limit):>6,}：{share:6.2f} % 完整，{cut:,} 个被截断{mark}",
            f"cutoff_len {int(limit):>6,}: {share:6.2f} % whole, {cut:,} cut{mark}",
        )
    cutoff, smaller = result["recommended_cutoff_len"], result["next_smaller"]
    say(
        f"\n建议 cutoff_len: {cutoff}，一个不截；再小一档 {smaller['cutoff_len']} 会截断 {smaller['over']:,} 个"
        f"（{100 * smaller['over'] / count:.2f} %），截断的样本丢掉提示的末尾，不如先分窗（--max_input_tokens）。"
        f"覆盖 99 % 要 {result['covering_99_percent']}。",
        f"\nTake cutoff_len: {cutoff}, which cuts none. The next smaller, {smaller['cutoff_len']}, would cut "
        f"{smaller['over']:,} ({100 * smaller['over'] / count:.2f} %): they lose the end of the prompt; better "
        "window them "
        f"(--max_input_tokens). 99 % need {result['covering_99_percent']}.",
    )
    padding = ", ".join(f"{size}: {100 * share:.0f} %" for size, share in result["padding_share_at_batch"].items())
    say(f"不打包时填充所占的比例，按每卡批量：{padding}。", f"Padding without packing, by batch size: {padding}.")
    for size, pack in result["packs"].items():
        say(
            f"打包 neat_packing=true cutoff_len={size}：{count:,} 个样本成 {pack['packs']:,} 包，"
            f"每包 {count / pack['packs']:.1f} 个，填满 {100 * pack['fill']:.1f} %。",
            f"Packing, neat_packing=true cutoff_len={size}: {count:,} samples in {pack['packs']:,} packs, "
            f"{count / pack['packs']:.1f} each, {100 * pack['fill']:.1f} % full.",
        )
    return lines


if __name__ == "__main__":
    command.run(main)
