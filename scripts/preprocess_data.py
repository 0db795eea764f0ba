r"""Corpus CSV -> Alpaca JSON for one MUG task or all six, and the dataset_info.json for LLaMA-Factory.

    python scripts/preprocess_data.py --task title_generation
    python scripts/preprocess_data.py --task all --train_input dataset/train.csv --dev_input dataset/dev.csv

One task writes train_alpaca.json and dev_alpaca.json; ``all`` puts the samples of all tasks into these and writes
train_<task>.json and dev_<task>.json besides. Dataset names: alimeeting4mug_train, alimeeting4mug_dev,
mug_<task>_train, mug_<task>_dev. Rows that can't be read go to rejected.jsonl, and the exit status is 1 then; with
``--strict`` the first one stops it, and nothing is written.

With ``--layout shared`` a row of train is a conversation: the transcript once, then the questions of all tasks about
it, to all annotators. There are two files only, and dev has a row a question.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from mug import alpaca, command, conversations, prompting
from mug.conversion import CUTOFF_LEN, Gathering, Settings, check_shared, convert
from mug.corpus import Report, read_rows
from mug.errors import InputError, Message
from mug.files import check_outputs, write_json
from mug.report import preprocessing
from mug.report.rejected import RejectedFile, open_rejected
from mug.table import Rejected
from mug.tasks import LAYOUTS, TASKS
from mug.tasks.base import Split
from mug.workers import WorkerLost, in_order

ROOT = Path(__file__).resolve().parent.parent
MOST_WORKERS = 128


def main() -> int:
    """Run the command line; return the exit status."""
    gc.disable()  # nothing here makes cycles, and looking for them takes a tenth of the time
    args = parse_args()
    started = time.monotonic()
    gatherings: dict[str, Gathering] = {}
    try:
        tokenizer = None if args.estimate_tokens else args.tokenizer or configured_model()
        settings = make_settings(args, tokenizer)
        check_outputs(alpaca.outputs(args.output_dir), (path for _, path in inputs(args)))
        info = alpaca.read_dataset_info(args.output_dir)  # a broken one is found before anything is replaced
        with ExitStack() as files:  # nothing takes its place before everything is written
            rejected = files.enter_context(open_rejected(args.output_dir / "rejected.jsonl"))
            for split, path in inputs(args):
                gatherings[split] = Gathering(Report(), others=dict(gatherings))
                write_split(files, args, split, path, settings, gatherings[split], rejected)
            if not args.allow_overlap:
                check_shared(gatherings)
        is_shared = args.layout == "shared"
        datasets = alpaca.dataset_files(gatherings, args.task == "all" and not is_shared)
        alpaca.write_dataset_info(
            args.output_dir, info, datasets, alpaca.CONVERSATION_COLUMNS if is_shared else alpaca.COLUMNS
        )
        needs_tree = any(gathering.needs_tree for gathering in gatherings.values())
        write_json(args.output_dir / prompting.FILE, saved_options(args, tokenizer, needs_tree))
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except (OSError, WorkerLost, KeyboardInterrupt) as error:
        print(not_written(args.output_dir, error).say(args.lang), file=sys.stderr)
        return 1
    print("\n".join(preprocessing.summary(gatherings, counting(tokenizer), args.cutoff_len, args.lang)))
    for note in preprocessing.notes(args.output_dir, datasets, rejected.rows):
        print(note.say(args.lang))
    print(written(args, needs_tree, time.monotonic() - started).say(args.lang))
    return 1 if rejected.rows else 0


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
        "--layout",
        choices=list(LAYOUTS),
        default="separate",
        help="shared：同一段会议内容只写一次，各任务轮流提问 / shared: a transcript once, then all questions",
    )
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
        help="训练时的 cutoff_len，超长的不进训练集，默认 2560，shared 为 4096 / longer samples stay out of train",
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
        "--allow_overlap", action="store_true", help="允许同一会议（或同样的句子）同时在 train 与 dev / accept leakage"
    )
    parser.add_argument("--strict", action="store_true", help="遇到第一行读不了的就停 / stop at the first bad row")
    parser.add_argument("--num_workers", type=int, default=1, help="进程数，结果相同 / processes; same result")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()
    if not 0 <= args.negative_ratio < 1e9:
        parser.error("--negative_ratio 应为不小于 0 的数 / should be a number from 0")
    if not 1 <= args.num_workers <= MOST_WORKERS:
        parser.error(f"--num_workers 应为 1 到 {MOST_WORKERS} / should be from 1 to {MOST_WORKERS}")
    if args.cutoff_len is None:
        args.cutoff_len = conversations.CUTOFF_LEN if args.layout == "shared" else CUTOFF_LEN
    return args


def make_settings(args: argparse.Namespace, tokenizer: Path | None) -> Settings:
    """Return what decides the samples."""
    return Settings(
        tasks=tuple(TASKS) if args.task == "all" else (args.task,),
        tokenizer=str(tokenizer) if tokenizer else None,
        max_input_tokens=args.max_input_tokens,
        candidates=args.candidates,
        es_target=args.es_target,
        negative_ratio=args.negative_ratio,
        seed=args.seed,
        cutoff_len=args.cutoff_len,
        layout=args.layout,
    )


def counting(tokenizer: Path | None) -> Message:
    """Say how tokens are counted."""
    if tokenizer is None:
        return Message("按安全上界估计（未用分词器）", "a safe upper estimate (no tokenizer)")
    return Message(f"由 {tokenizer} 的分词器计数", f"by the tokenizer in {tokenizer}")


def saved_options(args: argparse.Namespace, folder: Path | None, needs_tree: bool) -> dict[str, Any]:
    """Return what evaluate.py needs to make the same prompts again from the corpus."""
    return {
        "tokenizer": str(folder.resolve()) if folder else None,
        "max_input_tokens": args.max_input_tokens,
        "candidates": args.candidates,
        "es_target": args.es_target,
        "negative_ratio": args.negative_ratio,
        "seed": args.seed,
        "layout": args.layout,
        "needs_tree": needs_tree,
    }


def next_command(args: argparse.Namespace, needs_tree: bool) -> tuple[str, Message]:
    """Return the command that trains on these data, and what must be said about it."""
    if args.layout == "separate":
        cutoff = "" if args.cutoff_len == CUTOFF_LEN else f" cutoff_len={args.cutoff_len}"
        return f"python scripts/train.py configs/train_lora.yaml{cutoff}", Message("", "")
    training = "python scripts/train.py configs/train_lora.yaml mug_speed=true mug_tree=true"
    if needs_tree:
        zh = "\n同一问题有多位标注者的答案，须用 mug_tree=true 训练；要用 llamafactory-cli，请加 --candidates first。"
        en = (
            "\nSome questions have several annotators' answers, which needs mug_tree=true; for llamafactory-cli add "
            "--candidates first."
        )
    else:
        zh = "\n也可用 llamafactory-cli 训练，但那样后面的问题会看到前面的问题和答案，与评测时不同。"
        en = (
            "\nllamafactory-cli trains it too, but then later questions see earlier ones with their answers, which "
            "no evaluation shows."
        )
    return f"{training} cutoff_len={args.cutoff_len}", Message(zh, en)


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


def write_split(
    files: ExitStack,
    args: argparse.Namespace,
    split: Split,
    path: Path,
    settings: Settings,
    gathering: Gathering,
    rejected: RejectedFile,
) -> None:
    """Write the samples of one corpus file, a meeting at a time and in its order; what became of them is gathered."""
    joint = files.enter_context(alpaca.open_alpaca(args.output_dir / f"{split}_alpaca.json"))
    own: dict[str, alpaca.AlpacaFile] = {}
    if args.task == "all" and args.layout == "separate":
        own = {
            t: files.enter_context(alpaca.open_alpaca(args.output_dir / f"{split}_{t}.json")) for t in settings.tasks
        }
    report = gathering.report
    started = time.monotonic()
    rows = read_rows(path, report)
    with closing(in_order(partial(convert, split=split, settings=settings), rows, args.num_workers)) as results:
        for converted in results:
            is_new = gathering.add(converted)
            if isinstance(converted, Rejected):
                if args.strict:
                    raise preprocessing.refused(converted)
                rejected.write(converted)
            elif is_new:
                for name, made in converted.rows.items():
                    for row in made:
                        joint.write(row)
                        if own:
                            own[name].write(row)
                show_progress(split, report, time.monotonic() - started)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if not joint.rows:
        raise preprocessing.no_samples(gathering)


def show_progress(split: str, report: Report, seconds: float) -> None:
    """Say on a terminal how far it is and how long it will take."""
    if sys.stderr.isatty() and report.meetings % 5 == 0:
        left = seconds * (1 / max(report.fraction, 1e-6) - 1)
        print(f"\r{split}: {report.meetings}  剩余 / left {left:.0f} s ", end="", file=sys.stderr, flush=True)


def not_written(folder: Path, error: BaseException) -> Message:
    """Say why it failed on the way."""
    if isinstance(error, WorkerLost):
        zh, en = error.message
    else:
        zh = en = str(error) or type(error).__name__
    return Message(f"没有写完 {folder}（{zh}）；旧文件未动。", f"{folder} not written ({en}); older files stay.")


def written(args: argparse.Namespace, needs_tree: bool, seconds: float) -> Message:
    """Say what was written, and which command comes next."""
    folder = args.output_dir
    following, remark = next_command(args, needs_tree)
    if folder.resolve() != ROOT / "data":
        following += f" dataset_dir={shlex.quote(str(folder))}"
    return Message(
        f"{remark.zh}\n已写入 {folder}（{seconds:.1f} 秒）。下一步：{following}",
        f"{remark.en}\nWritten to {folder} ({seconds:.1f} s). Next: {following}",
    )


if __name__ == "__main__":
    command.run(main)
