r"""Edits that were made on the page of webapp.py -> Alpaca samples for the next training.

    python scripts/export_corrections.py
    llamafactory-cli train configs/train_lora.yaml dataset=alimeeting4mug_train,mug_corrections

Reads outputs/corrections/*.jsonl, which the page writes only where somebody ticked the box for it, and writes
data/mug_corrections.json and its entry mug_corrections in data/dataset_info.json. An edited title becomes a sample of
title_generation, a deleted, added or reworded action item one of action_item_detection: the window around it, with
the items that stood there in the end. Of several edits of one thing the last counts. Meetings of the dev set are left
out, since training on them would make their scores worthless. Layout and token budget are those of the data that
preprocess_data.py wrote there, for they are trained on together.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson

from mug import alpaca, conversations, corrections, prompting, tokens
from mug.command import run
from mug.conversion import CUTOFF_LEN, OVER_CUTOFF
from mug.corpus import Report, read_meetings
from mug.errors import InputError, Message

ROOT = Path(__file__).resolve().parent.parent
NAME = "mug_corrections"
LONG = 12  # characters
IN_DEV = Message("会议在验证集里，未取", "of a meeting of the dev set, left out")


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_args()
    try:
        return export(args)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except OSError as error:
        zh, en = f"写不了 {args.output_dir}：{error}", f"Can't write {args.output_dir}: {error}"
        print(Message(zh, en).say(args.lang), file=sys.stderr)
        return 1


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", type=Path, default=ROOT / "outputs" / "corrections", help="修改记录的文件夹 / folder of edits"
    )
    parser.add_argument("--output_dir", type=Path, default=ROOT / "data", help="输出目录 / output folder")
    parser.add_argument(
        "--dev_input", type=Path, help="验证集 CSV，其中的会议不取 / dev CSV, to leave out (default: dataset/dev.csv)"
    )
    parser.add_argument(
        "--max_input_tokens",
        type=int,
        help="输入超过此 token 数则分窗，默认同训练数据 / longer inputs go in windows (default: as in the data there)",
    )
    parser.add_argument(
        "--cutoff_len",
        type=int,
        help="训练时的 cutoff_len，超长的不取，默认 2560，shared 为 4096 / longer ones are left out",
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        help="用此模型文件夹的分词器计数，默认同训练数据 / model folder to count with (default: as in the data there)",
    )
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    return parser.parse_args()


def export(args: argparse.Namespace) -> int:
    """Write the samples and say what became of the edits; status 1 when a line could not be read."""
    paths = sorted(args.input.glob("*.jsonl"))
    if not paths:
        raise InputError(
            f"{args.input} 里没有修改记录（*.jsonl）；在 scripts/webapp.py 的页面上勾选“记录我的修改”后才会有。",
            f"{args.input} holds no edits (*.jsonl); the page of scripts/webapp.py keeps them once its box is ticked.",
        )
    how = prompting.of_data(args.output_dir, args.tokenizer)
    if args.max_input_tokens is not None:
        how = replace(how, options=replace(how.options, max_input_tokens=args.max_input_tokens))
    is_shared, count = how.layout == "shared", how.options.count
    cutoff_len = args.cutoff_len or (conversations.CUTOFF_LEN if is_shared else CUTOFF_LEN)
    # The estimate is an upper bound; what preprocess_data.py admits by it is admitted here.
    limit = 2 * cutoff_len if count is tokens.estimate else cutoff_len
    info = alpaca.read_dataset_info(args.output_dir)  # a broken one is found before anything is replaced
    dev = dev_sentences(args)
    reading = corrections.Reading()
    made: Counter[str] = Counter()
    skipped: Counter[Message] = Counter()
    file = f"{NAME}.json"
    with alpaca.open_alpaca(args.output_dir / file) as rows:
        for correction in corrections.settled(corrections.read(paths, reading)):
            if is_known(correction, dev):
                skipped[IN_DEV] += 1
                continue
            for sample in corrections.samples(correction, how):
                if sample.input_tokens + count([sample.output])[0] + tokens.TEMPLATE > limit:
                    skipped[OVER_CUTOFF] += 1
                    continue
                row = conversations.row([sample]) if is_shared else alpaca.row(sample, with_id=True)
                rows.write(orjson.dumps(row))
                made[correction.task] += 1
    columns = alpaca.CONVERSATION_COLUMNS if is_shared else alpaca.COLUMNS
    alpaca.write_dataset_info(args.output_dir, info, {NAME: file if made else None}, columns)
    following = f"llamafactory-cli train configs/train_lora.yaml dataset=alimeeting4mug_train,{NAME}"
    if is_shared:
        following = (
            "python scripts/train.py configs/train_lora.yaml mug_speed=true mug_tree=true "
            f"cutoff_len={cutoff_len} dataset=alimeeting4mug_train,{NAME}"
        )
    if args.output_dir.resolve() != ROOT / "data":
        following += f" dataset_dir={shlex.quote(str(args.output_dir))}"
    tell(args, reading, made, skipped, following)
    return 1 if reading.damaged else 0


def dev_sentences(args: argparse.Namespace) -> set[str]:
    """Return the long sentences of the dev set, which no two meetings share by chance; empty without a dev set."""
    path = args.dev_input or ROOT / "dataset" / "dev.csv"
    if not args.dev_input and not path.exists():
        return set()
    meetings = read_meetings(path, Report(), times=False)
    return {sentence.text for meeting in meetings for sentence in meeting.sentences if len(sentence.text) >= LONG}


def is_known(correction: corrections.Correction, dev: set[str]) -> bool:
    """Say whether half of an edit's long sentences are of the dev set."""
    long = [text for _, text in correction.sentences if len(text) >= LONG]
    return bool(long) and 2 * sum(text in dev for text in long) >= len(long)


def tell(
    args: argparse.Namespace,
    reading: corrections.Reading,
    made: Counter[str],
    skipped: Counter[Message],
    following: str,
) -> None:
    """Say what was read, made, left out and damaged, and which command comes next."""
    for path, number, reason in reading.damaged:
        zh, en = f"{path} 第 {number} 行略过：{reason.zh}", f"{path} line {number} passed over: {reason.en}"
        print(Message(zh, en).say(args.lang), file=sys.stderr)
    titles, actions = (made[task] for task in corrections.TASKS)
    zh = f"读到 {reading.edits} 次修改：标题样本 {titles} 条，行动项样本 {actions} 条"
    en = f"{reading.edits} edits read: {titles} title samples, {actions} action item samples"
    print(Message(zh, en).say(args.lang))
    for reason, times in skipped.items():
        print(f"  {reason.say(args.lang)}: {times}")
    if not made:
        print(Message("没有样本，没有写数据集。", "No samples, so no data set was written.").say(args.lang))
        return
    path = args.output_dir / f"{NAME}.json"
    zh, en = f"已写入 {path}；下一步：{following}", f"Written: {path}; next: {following}"
    print(Message(zh, en).say(args.lang))


if __name__ == "__main__":
    run(main)
