"""Check a training's settings, data and machine, train by LLaMA-Factory, judge the result and write its model card.

    python scripts/train.py configs/gpu/h100_80gb.yaml
    python scripts/train.py configs/gpu/h100_80gb.yaml num_train_epochs=1 output_dir=outputs/try1
    python scripts/train.py configs/gpu/h100_80gb.yaml mug_speed=true         # the same steps in less time
    python scripts/train.py configs/train_lora.yaml --dry_run                 # only check
    python scripts/train.py configs/train_lora.yaml --on_long skip            # leave out what cutoff_len would cut

Works from any folder: paths of the YAML are the project's, those typed here are yours. Training itself is
``llamafactory-cli train`` with the same keys (written to OUTPUT_DIR/train_config.yaml); the YAML files work with it
directly too. The data's preprocess.json is copied there as well, so that the other scripts ask the model as it was
trained. The same command again goes on from the last whole checkpoint. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from mug import command, prompting
from mug.errors import InputError, Message
from mug.training import checkpoints, launch
from mug.training.cards import probe, starts_torchrun
from mug.training.diagnosis import diagnose
from mug.training.diagnosis_page import lines as diagnosis_lines
from mug.training.diagnosis_page import write_report
from mug.training.memory import on
from mug.training.model_card import write_card
from mug.training.preflight import SAVED_SETTINGS, Report, check, lines
from mug.training.settings import in_root, place, read_settings, take_speed, take_tree, write_settings
from mug.training.truncation import dataset_folder


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_arguments()
    environment = dict(os.environ, MUG_LANG=args.lang)
    os.environ["LLAMAFACTORY_VERBOSITY"] = "WARN"  # of this process, while it only checks
    try:
        settings = read_settings(args.config, args.changes)
        speed, tree = take_speed(settings), take_tree(settings)
        say(args, f"检查 {args.config} …", f"Checking {args.config} …")
        machine = probe(cards=not on(settings.get("use_cpu")))
        skip = args.on_long == "skip"
        report = check(settings, speed=speed, tree=tree, machine=machine, skip_long=skip, write=not args.dry_run)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except OSError as error:
        say(args, f"写不了数据集：{error}", f"Can't write the dataset: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines(report, args.lang)), flush=True)
    if report.fails:
        say(args, "有错误，没有开始训练。", "There are errors; nothing was trained.", file=sys.stderr)
        return 2
    if args.dry_run:
        say(args, "检查通过；去掉 --dry_run 就开始训练。", "All is well; without --dry_run it would train.")
        return 0

    output = place(str(report.settings["output_dir"]))
    environment["MUG_TREE"] = str(int(tree))
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # else memory is lost in fragments
    if report.settings.get("deepspeed") and not starts_torchrun(machine):
        environment["FORCE_TORCHRUN"] = "1"  # DeepSpeed needs it, on one GPU too
    is_first = os.environ.get("NODE_RANK", "0") == "0"  # of several machines on one shared disk
    try:
        if is_first:
            clear_way(args, output, report)
            output.mkdir(parents=True, exist_ok=True)
            data = dataset_folder(report.settings)
            has_record = data is not None and prompting.record(data) is not None
            if has_record or not checkpoints.checkpoints(output):  # a training that goes on keeps its own
                prompting.carry(data, output)  # how to ask the model
        write_settings(output / SAVED_SETTINGS, report.settings)
    except OSError as error:
        say(args, f"写不了 {output}：{error}", f"Can't write to {output}: {error}", file=sys.stderr)
        return 1
    status = launch.run(launch.command(in_root(output / SAVED_SETTINGS), speed), environment)
    if status:
        unfinished(args, output, status)
        return status
    return finish(args, output) if is_first else 0


class Parser(argparse.ArgumentParser):
    """Says how a key of LLaMA-Factory is written, to who typed it as an option."""

    def error(self, message: str) -> NoReturn:
        """Leave with the status 2."""
        option = (message.partition("unrecognized arguments: ")[2].split() or [""])[0]
        if not option.startswith("--"):
            super().error(message)
        key, _, value = option[2:].partition("=")
        after = next((after for word, after in itertools.pairwise(sys.argv) if word == option), "--")
        value = value or ("" if after.startswith("--") else after)
        change = f"{key.replace('-', '_')}={value}" if value else "key=value"
        zh = f"不认识选项 {option}；要改 LLaMA-Factory 的键请写 {change}，选项见 --help"
        en = f"unknown option {option}; write {change} to change a key of LLaMA-Factory, --help lists the options"
        self.exit(2, Message(f"{zh} / {en}").say("zh") + "\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="训练用的 YAML / a YAML file for training")
    parser.add_argument("changes", nargs="*", default=[], metavar="key=value", help="改动的键 / keys to change")
    parser.add_argument("--dry_run", action="store_true", help="只检查，不训练 / only check")
    parser.add_argument(
        "--on_long",
        choices=["error", "skip"],
        default="error",
        help="超过 cutoff_len 的样本：报错，或不用它们 / samples that cutoff_len would cut: an error, or left out",
    )
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    return parser.parse_intermixed_args()


def say(args: argparse.Namespace, zh: str, en: str, file: Any = None) -> None:
    """Print a sentence in the user's language, at once: LLaMA-Factory writes to the same terminal."""
    print(Message(zh, en).say(args.lang), file=file, flush=True)


def clear_way(args: argparse.Namespace, output: Path, report: Report) -> None:
    """Move checkpoints that nothing can resume from out of the trainer's way."""
    if on(report.settings.get("overwrite_output_dir")) or report.settings.get("resume_from_checkpoint"):
        return
    for one in checkpoints.broken(output):
        aside = checkpoints.move_aside(one.folder)
        say(args, f"{one.folder.name} 已改名为 {aside.name}。", f"{one.folder.name} is now called {aside.name}.")


def unfinished(args: argparse.Namespace, output: Path, status: int) -> None:
    """Say how the training ended and what it can go on from."""
    whole = [folder.name for folder in checkpoints.checkpoints(output) if checkpoints.defect(folder) is None]
    zh, en = f"训练没有完成（状态 {status}）；", f"The training did not finish (status {status}); "
    if whole:
        zh += f"再运行同一条命令就从 {whole[-1]} 接着训练。"
        en += f"the same command goes on from {whole[-1]}."
    else:
        zh, en = f"{zh}还没有 checkpoint。", f"{en}there is no checkpoint yet."
    say(args, zh, en, file=sys.stderr)


def finish(args: argparse.Namespace, output: Path) -> int:
    """Judge the training and write its card; what can't be written is said, the training stands."""
    try:
        diagnosis = diagnose(output)
        print("\n".join(diagnosis_lines(diagnosis, args.lang)))
        written = [*write_report(diagnosis, output, args.lang), write_card(output)]
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 1
    except OSError as error:
        say(args, f"写不了报告：{error}", f"Can't write the report: {error}", file=sys.stderr)
        return 1
    shown = in_root(output)
    say(args, "已写入 " + " ".join(map(in_root, written)), "Written: " + " ".join(map(in_root, written)))
    following = (
        f"python scripts/evaluate.py --model_path {shown} --data_path data/dev_alpaca.json --gold dataset/dev.csv "
        "--output_path outputs/eval_results.json"
    )
    say(args, f"下一步：{following}", f"Next: {following}")
    return 0


if __name__ == "__main__":
    command.run(main)
