r"""Answer the samples of an Alpaca file with a model, and score the answers.

    python scripts/evaluate.py --model_path outputs/qwen2.5-7b-mug-lora \
        --data_path data/dev_alpaca.json --output_path outputs/eval_results.json --gold dataset/dev.csv

``--model_path`` is an adapter, a merged model, or a training folder with checkpoints (the newest complete one is
taken). Scores are LLaMA-Factory's (jieba, rouge-chinese, BLEU-4) for any Alpaca file; with ``--gold`` also the
challenge's official ones. Beside the JSON lie a Markdown page and the answers as they came in: run the same command
again after an interruption and it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mug import evaluation, predictions
from mug.alpaca import read_alpaca
from mug.corpus import Report, read_meetings
from mug.errors import InputError, Message
from mug.files import write_json, write_text
from mug.generation.base import Completion, Engine
from mug.generation.model_folder import ModelFolder, resolve
from mug.meeting import Meeting
from mug.metrics.baselines import GOOD_TITLES
from mug.report import markdown


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_args()
    try:
        found = evaluation.items(
            read_alpaca(args.data_path)[: args.num_samples], evaluation.options_of(args.data_path)
        )
        gold = read_gold(args.gold) if args.gold else []
        if gold:
            found = evaluation.join_gold(found, gold, str(args.gold))
        folder = resolve(args.model_path, args.base_model)
        tell(args.lang, folder)
        engine = load(args, folder)
        completions, seconds = answer(args, engine, found)
        results = score(args, folder, engine, found, gold, completions, seconds)
        write_json(args.output_path, results)
        write_text(args.output_path.with_suffix(".md"), markdown.render(results))
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = Message("已中断；再运行同一条命令即可继续。", "Stopped; run the same command again to go on.")
        print(again.say(args.lang), file=sys.stderr)
        return 1
    except OSError as error:
        print(Message(f"写不了结果：{error}", f"Can't write the results: {error}").say(args.lang), file=sys.stderr)
        return 1
    print_results(args, results)
    return 0


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", type=Path, required=True, help="适配器、合并后的模型或训练目录 / model folder")
    parser.add_argument("--base_model", help="适配器的基座，默认取训练时的 / base of an adapter (default: as trained)")
    parser.add_argument("--data_path", type=Path, default=Path("data/dev_alpaca.json"))
    parser.add_argument("--output_path", type=Path, default=Path("outputs/eval_results.json"))
    parser.add_argument("--gold", type=Path, help="语料 CSV，用于官方评分 / corpus CSV, for the official scores")
    parser.add_argument("--num_samples", type=int, help="只评前 N 个样本 / the first N samples only")
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument(
        "--batch_tokens", type=int, default=0, help="每批 token 数，默认自动 / tokens a batch (default: auto)"
    )
    parser.add_argument("--template", default="qwen", help="LLaMA-Factory 的模板名 / LLaMA-Factory's template name")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()
    if args.num_samples is not None and args.num_samples < 1:
        parser.error("--num_samples 应为正整数 / should be a positive number")
    return args


def read_gold(path: Path) -> list[Meeting]:
    """Return the gold meetings; a rejected row would make every score a different one, so it is refused."""
    report = Report()
    meetings = list(read_meetings(path, report, times=False))
    if report.rejected:
        first = report.rejected[0]
        raise InputError(
            f"{path} 第 {first.row} 行读不了（{first.reason.zh}）；评分需要完整的标准答案，请先修正。",
            f"{path} row {first.row} can't be read ({first.reason.say('en')}); scoring needs all gold meetings, "
            "mend it first.",
        )
    return meetings


def tell(lang: str, folder: ModelFolder) -> None:
    """Say what will be loaded."""
    if folder.adapter is None:
        print(Message(f"模型：{folder.base}", f"Model: {folder.base}").say(lang))
        return
    print(
        Message(
            f"基座：{folder.base}；适配器：{folder.adapter}", f"Base: {folder.base}; adapter: {folder.adapter}"
        ).say(lang)
    )
    if folder.checkpoints:
        names = "、".join(folder.checkpoints)
        zh, en = f"可用的 checkpoint：{names}；取最新的一个", f"Usable checkpoints: {names}; the newest is taken"
        print(Message(zh, en).say(lang))


def load(args: argparse.Namespace, folder: ModelFolder) -> Engine:
    """Load the model; the import waits until the arguments and the data are known to be good."""
    from mug.generation.transformers_engine import TransformersEngine

    return TransformersEngine(
        folder, template=args.template, max_new_tokens=args.max_new_tokens, batch_tokens=args.batch_tokens
    )


def answer(args: argparse.Namespace, engine: Engine, found: list[evaluation.Item]) -> tuple[list[Completion], float]:
    """Return all answers in the items' order, and the seconds that generating took; goes on from an earlier run."""
    samples = [item.sample for item in found]
    path = args.output_path.with_suffix(".predictions.jsonl")
    fingerprint = engine.fingerprint | {"prompts": predictions.prompts_digest(samples)}
    done = predictions.read_done(path, fingerprint, samples)
    if done:
        print(
            Message(f"{path} 里已有 {len(done)} 个答案，继续", f"{path} holds {len(done)} answers, going on").say(
                args.lang
            )
        )
    left = [index for index in range(len(samples)) if index not in done]
    started = time.monotonic()
    with predictions.append(path, fingerprint) as file:
        for count, (place, completion) in enumerate(engine.generate([samples[index] for index in left]), 1):
            done[left[place]] = completion
            file.answer(left[place], samples[left[place]], completion)
            show_progress(count, len(left), time.monotonic() - started)
    if left and sys.stderr.isatty():
        print(file=sys.stderr)
    return [done[index] for index in range(len(samples))], time.monotonic() - started


def show_progress(count: int, total: int, seconds: float) -> None:
    """Say on a terminal how far it is and how long it will take."""
    if sys.stderr.isatty():
        left = seconds / count * (total - count)
        print(f"\r{count}/{total}  剩余 / left {left:.0f} s ", end="", file=sys.stderr, flush=True)


def score(
    args: argparse.Namespace,
    folder: ModelFolder,
    engine: Engine,
    found: list[evaluation.Item],
    gold: list[Meeting],
    completions: list[Completion],
    seconds: float,
) -> dict[str, Any]:
    """Return everything that the reports show."""
    scored = evaluation.score_items(found, completions)
    tasks = evaluation.by_task(scored)
    results: dict[str, Any] = {
        "averages": {name: task["llamafactory"] for name, task in tasks.items()},
        "good_ranges": {"title_generation": GOOD_TITLES},
        "tasks": tasks,
        "settings": {
            "model_path": str(args.model_path),
            "base_model": folder.base,
            "adapter": str(folder.adapter) if folder.adapter else None,
            "smoke": "smoke" in Path(folder.base).name,
            "data_path": str(args.data_path),
            "data_sha256": hashlib.sha256(args.data_path.read_bytes()).hexdigest(),
            "gold": str(args.gold) if args.gold else None,
            "num_samples": len(found),
            "engine": engine.name,
            "decoding": "greedy",
            "max_new_tokens": args.max_new_tokens,
            "template": args.template,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "samples_per_second": round(len(found) / seconds, 3) if seconds > 0.01 else None,
        },
        "versions": versions(),
    }
    if gold:
        results["official"] = evaluation.official_scores(evaluation.submissions(scored, gold), gold)
    results["rows"] = [
        {
            "id": one.item.sample.id,
            "task": one.item.task.name if one.item.task else None,
            "meeting": one.item.meeting or None,
            "input": one.item.sample.input,
            "label": one.item.sample.output,
            "references": list(one.item.sample.references),
            "raw": one.completion.text,
            "predict": one.answer.text,
            "repairs": list(one.answer.repairs),
            "finish": one.completion.finish,
            **one.scores,
        }
        for one in scored
    ]
    return results


def versions() -> dict[str, str]:
    """Return the versions of what the figures depend on."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "peft", "llamafactory", "jieba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "-"
    return found


def print_results(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Print the averages and where the report is."""
    for name, task in results["tasks"].items():
        averages = "  ".join(f"{metric} {value:.2f}" for metric, value in task["llamafactory"].items())
        print(f"{name}（n={task['n']}）  {averages}")
        if name == "title_generation":
            good = "，".join(f"{metric} > {value:g}" for metric, value in GOOD_TITLES.items())
            print(Message(f"  良好的范围：{good}", f"  good: {good}").say(args.lang))
    for name, track in results.get("official", {}).items():
        value = track["scores"]["score"]
        print(f"{name} official: {'-' if value is None else f'{100 * value:.2f}'}")
    if results["settings"]["smoke"]:
        print(
            Message(
                "注意：这是微型模型，只检验流程，不代表效果。",
                "Note: a tiny model, which checks the wiring, not quality.",
            ).say(args.lang)
        )
    report = args.output_path.with_suffix(".md")
    print(
        Message(f"报告：{report}，明细：{args.output_path}", f"Report: {report}, details: {args.output_path}").say(
            args.lang
        )
    )


if __name__ == "__main__":
    sys.exit(main())
