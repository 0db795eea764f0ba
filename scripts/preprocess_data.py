r"""Corpus CSV -> Alpaca JSON for one MUG task or all six, and the dataset_info.json for LLaMA-Factory.

    python scripts/preprocess_data.py --task title_generation
    python scripts/preprocess_data.py --task all --train_input dataset/train.csv --dev_input dataset/dev.csv

One task writes train_alpaca.json and dev_alpaca.json; ``all`` puts the samples of all tasks into these and writes
train_<task>.json and dev_<task>.json besides. Dataset names: alimeeting4mug_train, alimeeting4mug_dev,
mug_<task>_train, mug_<task>_dev.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from mug import tokens
from mug.alpaca import AlpacaFile, open_alpaca, read_dataset_info, row, write_dataset_info
from mug.corpus import Report, read_meetings
from mug.errors import InputError, Message
from mug.files import write_json
from mug.report import preprocessing
from mug.report.preprocessing import Tally
from mug.tasks import TASKS
from mug.tasks.base import Options, Sample, Skipped, Split, Task

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE_TOKENS = 40  # what the qwen template adds around a prompt: role marks and the system prompt
OVER_CUTOFF = Message(
    "超过 cutoff_len，训练会截断它，未取；可调小 --max_input_tokens",
    "over cutoff_len, training would cut it, left out; a smaller --max_input_tokens helps",
)


def main() -> int:
    """Run the command line; return the exit status."""
    gc.disable()  # nothing here makes cycles, and looking for them takes a tenth of the time
    args = parse_args()
    started = time.monotonic()
    try:
        folder = None if args.estimate_tokens else args.tokenizer or configured_model()
        options, counting = make_options(args, folder)
        names = list(TASKS) if args.task == "all" else [args.task]
        tasks = [TASKS[name](options) for name in names]
        reports, tallies = {}, {}
        keys: dict[str, set[str]] = {}
        info = read_dataset_info(args.output_dir)  # a broken one is found before anything is replaced
        with ExitStack() as files:  # nothing takes its place before everything is written
            for split, path in inputs(args):
                reports[split] = Report()
                tallies[split], keys[split] = write_split(files, args, split, path, tasks, reports[split])
            check_overlap(args, keys)
        write_dataset_info(args.output_dir, info, dataset_files(names, args.task == "all"))
        write_json(args.output_dir / "preprocess.json", saved_options(args, folder))
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except (OSError, KeyboardInterrupt) as error:
        reason = str(error) or type(error).__name__
        zh, en = (
            f"没有写完 {args.output_dir}（{reason}）；旧文件未动。",
            f"{args.output_dir} not written ({reason}); older files stay.",
        )
        print(Message(zh, en).say(args.lang), file=sys.stderr)
        return 1
    print("\n".join(preprocessing.summary(reports, tallies, counting, args.cutoff_len, args.lang)))
    seconds = time.monotonic() - started
    zh = f"\n已写入 {args.output_dir}（{seconds:.1f} 秒）。下一步：llamafactory-cli train configs/train_lora.yaml"
    en = f"\nWritten to {args.output_dir} ({seconds:.1f} s). Next: llamafactory-cli train configs/train_lora.yaml"
    print(Message(zh, en).say(args.lang))
    return 1 if any(report.rejected for report in reports.values()) else 0


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_input", type=Path, help="训练集 CSV / train CSV (default: dataset/train.csv)")
    parser.add_argument("--dev_input", type=Path, help="验证集 CSV / dev CSV (default: dataset/dev.csv)")
    parser.add_argument(
        "--output_dir", type=Path, default=ROOT / "data", help="输出目录 / output folder (default: data)"
    )
    parser.add_argument("--task", choices=[*TASKS, "all"], default="title_generation")
    parser.add_argument(
        "--candidates",
        choices=["first", "all", "union"],
        help="取谁的标注：first 第一位，all 每位一条，union 合并；默认同官方基线 / whose labels; default by task",
    )
    parser.add_argument(
        "--max_input_tokens", type=int, default=2400, help="输入超过此 token 数则分窗 / longer inputs go in windows"
    )
    parser.add_argument(
        "--cutoff_len",
        type=int,
        default=2560,
        help="训练时的 cutoff_len，超长的不进训练集 / longer samples stay out of train",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        help="模型文件夹，用其分词器计数；默认取 train_lora.yaml 中的本地模型 / model folder to count with",
    )
    parser.add_argument(
        "--estimate_tokens", action="store_true", help="不用分词器，按上界估计 / count by a safe estimate"
    )
    parser.add_argument(
        "--negative_ratio",
        type=float,
        default=1.0,
        help="行动项训练集：无行动项窗口与有行动项窗口之比 / windows without an action item kept for each one with",
    )
    parser.add_argument(
        "--es_target", choices=["ids", "text"], default="ids", help="关键句目标：编号或原句 / numbers or text"
    )
    parser.add_argument(
        "--allow_overlap", action="store_true", help="允许同一会议同时在 train 与 dev / accept leakage"
    )
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()
    if not 0 <= args.negative_ratio < 1e9:
        parser.error("--negative_ratio 应为不小于 0 的数 / should be a number from 0")
    return args


def make_options(args: argparse.Namespace, folder: Path | None) -> tuple[Options, Message]:
    """Return the task options, and a sentence that says how tokens are counted."""
    if folder is None:
        count, counting = (
            tokens.estimate,
            Message("按安全上界估计（未用分词器）", "a safe upper estimate (no tokenizer)"),
        )
    else:
        count, counting = (
            tokens.tokenizer_counter(folder),
            Message(f"由 {folder} 的分词器计数", f"by the tokenizer in {folder}"),
        )
    options = Options(
        max_input_tokens=args.max_input_tokens,
        count=count,
        candidates=args.candidates,
        es_target=args.es_target,
        negative_ratio=args.negative_ratio,
        seed=args.seed,
    )
    return options, counting


def saved_options(args: argparse.Namespace, folder: Path | None) -> dict[str, Any]:
    """Return what evaluate.py needs to make the same prompts again from the corpus."""
    return {
        "tokenizer": str(folder.resolve()) if folder else None,
        "max_input_tokens": args.max_input_tokens,
        "candidates": args.candidates,
        "es_target": args.es_target,
        "negative_ratio": args.negative_ratio,
        "seed": args.seed,
    }


def configured_model() -> Path | None:
    """Return the local model that configs/train_lora.yaml names, if there is one with a tokenizer."""
    config = ROOT / "configs" / "train_lora.yaml"
    for text in config.read_text(encoding="utf-8").splitlines() if config.exists() else ():
        if text.startswith("model_name_or_path:"):
            folder = ROOT / text.partition(":")[2].split("#")[0].strip().strip("\"'")
            return folder if (folder / "tokenizer.json").exists() else None
    return None


def inputs(args: argparse.Namespace) -> Iterator[tuple[Split, Path]]:
    """Yield the splits to write; a default path that is not there is left out, a given one must be there."""
    default = {"train": ROOT / "dataset" / "train.csv", "dev": ROOT / "dataset" / "dev.csv"}
    given: list[tuple[Split, Path | None]] = [("train", args.train_input), ("dev", args.dev_input)]
    chosen: list[tuple[Split, Path]] = [
        (split, path or default[split]) for split, path in given if path or default[split].exists()
    ]
    if not chosen:
        raise InputError(
            "dataset/ 下没有 train.csv 和 dev.csv；请先运行 python scripts/download_data.py，"
            "或用 --train_input 指定文件（试用可取 dataset/sample/train.csv）。",
            "No train.csv or dev.csv in dataset/; run python scripts/download_data.py first, or name a file by "
            "--train_input (dataset/sample/train.csv will do for a trial).",
        )
    yield from chosen


def dataset_files(names: list[str], is_all: bool) -> dict[str, str]:
    """Return dataset names and their files."""
    files = {f"alimeeting4mug_{split}": f"{split}_alpaca.json" for split in ("train", "dev")}
    if is_all:
        files |= {f"mug_{name}_{split}": f"{split}_{name}.json" for name in names for split in ("train", "dev")}
    return files


def write_split(
    files: ExitStack, args: argparse.Namespace, split: Split, path: Path, tasks: list[Task], report: Report
) -> tuple[dict[str, Tally], set[str]]:
    """Write the samples of one corpus file, a meeting at a time; return what became of them and the meeting keys."""
    joint = files.enter_context(open_alpaca(args.output_dir / f"{split}_alpaca.json"))
    own: dict[str, AlpacaFile] = {}
    if args.task == "all":
        own = {t.name: files.enter_context(open_alpaca(args.output_dir / f"{split}_{t.name}.json")) for t in tasks}
    tallies = {task.name: Tally() for task in tasks}
    keys: set[str] = set()
    started = time.monotonic()
    for meeting in read_meetings(path, report, times=False):
        keys.add(meeting.key)
        for task in tasks:
            samples: list[Sample] = []
            for made in task.samples(meeting, split):
                if isinstance(made, Skipped):
                    tallies[task.name].skipped[made.reason] += 1
                else:
                    samples.append(made)
            for sample in admit(tallies[task.name], samples, split, task.options, args.cutoff_len):
                # Titles keep the predecessor's three keys; the other tasks say which window a row is.
                text = orjson.dumps(row(sample, with_id=task.name != "title_generation"))
                joint.write(text)
                if own:
                    own[task.name].write(text)
        show_progress(split, report, time.monotonic() - started)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if not joint.rows:
        raise InputError(
            f"{path} 没有得到任何样本（{report.meetings} 个会议，{len(report.rejected)} 行被拒）；"
            f"{first_reason(report, tallies).zh}。",
            f"{path} gave no samples ({report.meetings} meetings, {len(report.rejected)} rows rejected); "
            f"{first_reason(report, tallies).say('en')}.",
        )
    return tallies, keys


def admit(tally: Tally, samples: list[Sample], split: Split, options: Options, cutoff_len: int) -> list[Sample]:
    """Count the samples and their tokens; return those that training will not cut (of dev all, to be scored)."""
    limit = cutoff_len if options.count is not tokens.estimate else 2 * cutoff_len  # the estimate is an upper bound
    kept = []
    for sample, target in zip(samples, options.count([sample.output for sample in samples]), strict=True):
        total = sample.input_tokens + target + TEMPLATE_TOKENS
        if split == "train" and total > limit:
            tally.skipped[OVER_CUTOFF] += 1
            continue
        tally.samples += 1
        tally.input_tokens[sample.input_tokens] += 1
        tally.target_tokens[target] += 1
        tally.over_cutoff += total > cutoff_len
        kept.append(sample)
    return kept


def first_reason(report: Report, tallies: dict[str, Tally]) -> Message:
    """Return the most telling reason why there are no samples."""
    if report.rejected:
        first = report.rejected[0]
        return Message(f"第 {first.row} 行：{first.reason.zh}", f"row {first.row}: {first.reason.say('en')}")
    for tally in tallies.values():
        if tally.skipped:
            return tally.skipped.most_common(1)[0][0]
    return Message("文件里没有会议", "there are no meetings in the file")


def check_overlap(args: argparse.Namespace, keys: dict[str, set[str]]) -> None:
    """Refuse a meeting in both splits: a score on it would be worth nothing."""
    both = sorted(keys.get("train", set()) & keys.get("dev", set()))
    if both and not args.allow_overlap:
        shown = ", ".join(both[:3])
        raise InputError(
            f"{len(both)} 个会议同时在 train 与 dev 中（{shown}…），评测会失真；请去掉一边，或加 --allow_overlap。",
            f"{len(both)} meetings are in train and in dev ({shown}…), which makes scores worthless; remove them from "
            "one, or add --allow_overlap.",
        )


def show_progress(split: str, report: Report, seconds: float) -> None:
    """Say on a terminal how far it is and how long it will take."""
    if sys.stderr.isatty() and report.meetings % 5 == 0:
        left = seconds * (1 / max(report.fraction, 1e-6) - 1)
        print(f"\r{split}: {report.meetings}  剩余 / left {left:.0f} s ", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
