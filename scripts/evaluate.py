r"""Answer the samples of an Alpaca file with a model, and score the answers.

    python scripts/evaluate.py --model_path outputs/qwen2.5-7b-mug-lora \
        --data_path data/dev_alpaca.json --output_path outputs/eval_results.json --gold dataset/dev.csv

``--model_path`` is an adapter, a merged model, or a training folder with checkpoints (the newest complete one is
taken). Scores are LLaMA-Factory's (jieba, rouge-chinese, BLEU-4) for any Alpaca file; with ``--gold`` also the
challenge's official ones. Beside the JSON lie a Markdown and an HTML page and the answers as they came in: run the
same command again after an interruption and it goes on where it stopped.

    python scripts/evaluate.py --backend baseline --gold dataset/dev.csv            # no model: the floor
    python scripts/evaluate.py --backend api --api_base http://127.0.0.1:8000/v1    # a served model
    python scripts/evaluate.py --predictions FILE.jsonl                             # answers that are there already
    python scripts/evaluate.py --model_path ADAPTER --check_parity MERGED           # do both say the same?
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mug import command, comparison, evaluation, parity, predictions, prompting
from mug.alpaca import read_alpaca
from mug.corpus import read_gold
from mug.errors import InputError, Message
from mug.files import check_outputs, write_json, write_text
from mug.generation.base import Completion, Engine
from mug.generation.engines import add_options, load, target_of
from mug.generation.model_folder import resolve
from mug.meeting import Meeting
from mug.metrics.baselines import GOOD_TITLES
from mug.report import html, markdown
from mug.report.names import METRIC_NAMES
from mug.submission_files import write_submissions
from mug.tasks.base import Sample
from mug.visible import on_one_line


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_args()
    try:
        check_outputs(outputs_of(args), inputs_of(args))
        rows = read_alpaca(args.data_path)[: args.num_samples]
        items = evaluation.items(rows, evaluation.options_of(args.data_path))
        gold = read_gold(args.gold) if args.gold else []
        if gold:
            items = evaluation.join_gold(items, gold, str(args.gold))
        if args.check_parity:
            return check_parity(args, items)
        samples = [item.sample for item in items]
        other = comparison.read(args.compare, describe(args, items, {})["settings"]) if args.compare else None
        if args.predictions:
            completions = predictions.read_given(args.predictions, samples)
            results = describe(args, items, {"engine": "predictions", "predictions": str(args.predictions)})
        else:
            warn_of_layout(args)
            predictions.check_prompts(answers_of(args), samples)
            engine, settings = load(args, args.backend, target_of(args))
            completions, speed = answer(args, engine, samples)
            results = describe(args, items, settings | speed)
        results |= score(args, items, completions, gold)
        status = compare(args, results, other, gold) if other else 0
        write_reports(args, results, gold)
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
    return status


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--data_path", type=Path, default=Path("data/dev_alpaca.json"))
    parser.add_argument("--output_path", type=Path, default=Path("outputs/eval_results.json"))
    parser.add_argument("--gold", type=Path, help="语料 CSV，用于官方评分 / corpus CSV, for the official scores")
    parser.add_argument("--num_samples", type=int, help="只评前 N 个样本 / the first N samples only")
    parser.add_argument(
        "--predictions", type=Path, help="给已有的答案评分，不再生成 / score answers that are there already"
    )
    parser.add_argument("--submission", type=Path, help="把各赛道的提交文件写到此目录 / write submission files here")
    parser.add_argument("--compare", type=Path, help="另一次评测的 JSON，求差值 / another evaluation's JSON")
    parser.add_argument(
        "--check_parity",
        nargs="+",
        metavar="MODEL",
        help="模型文件夹或接口地址：贪心答案是否一致 / same greedy answers?",
    )
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()
    if args.num_samples is not None and args.num_samples < 1:
        parser.error("--num_samples 应为正整数 / should be a positive number")
    if args.backend in ("transformers", "vllm") and not args.model_path and not args.predictions:
        parser.error("需要 --model_path / --model_path is needed")
    if args.check_parity and args.backend == "baseline":
        parser.error("--check_parity 需要模型 / needs models, not --backend baseline")
    if args.backend == "api" and not args.api_base:
        parser.error("--backend api 需要 --api_base / needs --api_base")
    if (args.submission or args.compare) and not args.gold:
        parser.error("--submission 与 --compare 需要 --gold / need --gold")
    if args.output_path.suffix in (".md", ".html"):
        parser.error("--output_path 应为 .json，报告写在旁边 / should be .json; the pages are written beside it")
    return args


def outputs_of(args: argparse.Namespace) -> list[Path]:
    """Return the files that a run writes."""
    return [args.output_path, *map(args.output_path.with_suffix, (".md", ".html", ".parity.json"))]


def inputs_of(args: argparse.Namespace) -> list[Path]:
    """Return the files that a run reads."""
    return [path for path in (args.data_path, args.gold, args.predictions, args.compare) if path]


# ------------------------------------------------------------------------------------------------------ generation


def warn_of_layout(args: argparse.Namespace) -> None:
    """Say so when the data ask in another layout than the model was trained with, where both are known."""
    if args.backend == "baseline" or args.model_path is None:
        return
    asked, trained = prompting.layout_of(args.data_path.parent), prompting.layout_of(args.model_path)
    if asked and trained and asked != trained:
        zh = (
            f"注意：{args.data_path} 的布局是 {asked}，{args.model_path} 是用 {trained} 训练的，它没有见过这样的提示，"
            f"得分会偏低；请用 preprocess_data.py --layout {trained} 写的数据。"
        )
        en = (
            f"Note: {args.data_path} is of the layout {asked}, and {args.model_path} was trained with {trained}: it "
            "never saw such prompts, and its scores will be too low; take data that preprocess_data.py wrote with "
            f"--layout {trained}."
        )
        print(Message(zh, en).say(args.lang), file=sys.stderr)


def answers_of(args: argparse.Namespace) -> Path:
    """Return the file that takes the answers as they come."""
    return args.output_path.with_suffix(".predictions.jsonl")


def answer(
    args: argparse.Namespace, engine: Engine, samples: Sequence[Sample]
) -> tuple[list[Completion], dict[str, float]]:
    """Return all answers in the samples' order, and how fast those of this run came; goes on from an earlier run."""
    path = answers_of(args)
    fingerprint = engine.fingerprint | {"prompts": predictions.prompts_digest(samples)}
    done = predictions.read_done(path, fingerprint, samples)
    if done:
        zh, en = f"{path} 里已有 {len(done)} 个答案，继续", f"{path} holds {len(done)} answers, going on"
        print(Message(zh, en).say(args.lang))
    left = [index for index in range(len(samples)) if index not in done]
    started = time.monotonic()
    with predictions.append(path, fingerprint) as file:
        for count, (place, completion) in enumerate(engine.generate([samples[index] for index in left]), 1):
            done[left[place]] = completion
            file.answer(left[place], samples[left[place]], completion)
            show_progress(count, len(left), time.monotonic() - started)
    if left and sys.stderr.isatty():
        print(file=sys.stderr)
    speed = throughput([done[index] for index in left], time.monotonic() - started)
    return [done[index] for index in range(len(samples))], speed


def show_progress(count: int, total: int, seconds: float) -> None:
    """Say on a terminal how far it is and how long it will take."""
    if sys.stderr.isatty():
        left = seconds / count * (total - count)
        print(f"\r{count}/{total}  剩余 / left {left:.0f} s ", end="", file=sys.stderr, flush=True)


def throughput(completions: Sequence[Completion], seconds: float) -> dict[str, float]:
    """Return how fast it went; nothing where all answers were there already."""
    if not completions or not seconds:
        return {}
    return {
        "seconds": round(seconds, 2),
        "samples_per_second": round(len(completions) / seconds, 3),
        "answer_tokens_per_second": round(sum(completion.tokens for completion in completions) / seconds, 1),
    }


def check_parity(args: argparse.Namespace, items: Sequence[evaluation.Item]) -> int:
    """Answer the same prompts with each model, list where they differ; status 1 when they do."""
    samples = [item.sample for item in items]
    targets = [target_of(args), *args.check_parity]
    served = [target.startswith(("http://", "https://")) for target in targets]
    for target, is_served in zip(targets, served, strict=True):
        if not is_served:
            resolve(Path(target), args.base_model)  # a wrong path shows before any model is loaded
    answers: dict[str, list[Completion]] = {}
    for target, is_served in zip(targets, served, strict=True):
        own = args.backend if args.backend != "api" else "transformers"
        engine, _ = load(args, "api" if is_served else own, target)
        found = dict(engine.generate(samples))
        answers[target] = [found[index] for index in range(len(samples))]
        del engine  # one model in memory at a time
    differing = parity.differences(samples, answers)
    path = args.output_path.with_suffix(".parity.json")  # an evaluation's results stay
    write_json(path, {"models": list(answers), "n": len(samples), "differing": differing})
    for one in differing[:10]:
        for label, why in one["why"].items():
            print(on_one_line(f"{one['id']}  {label}: {why}"))
        print(on_one_line(f"  {json.dumps(one['answers'], ensure_ascii=False)}"))
    zh = f"{len(samples)} 个样本中 {len(differing)} 个答案不同；明细：{path}"
    en = f"{len(differing)} of {len(samples)} answers differ; details: {path}"
    print(Message(zh, en).say(args.lang))
    if differing and all(why == parity.GOES_ON for one in differing for why in one["why"].values()):
        zh = "这些答案都只是在我们的结束符之后继续了：请让服务器也在 <|endoftext|> 和 <|im_end|> 处停止。"
        en = "All of these only go on after our end token: let the server stop at <|endoftext|> and <|im_end|> too."
        print(Message(zh, en).say(args.lang))
    return 1 if differing else 0


# --------------------------------------------------------------------------------------------------------- scoring


def describe(args: argparse.Namespace, items: Sequence[evaluation.Item], engine: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the results that says how they were made."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "peft", "llamafactory", "vllm", "jieba"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    decoding = {} if args.predictions else {"decoding": "greedy", "max_new_tokens": args.max_new_tokens}
    settings = engine | {
        "data_path": str(args.data_path),
        "data_sha256": sha256(args.data_path),
        "gold": str(args.gold) if args.gold else None,
        "gold_sha256": sha256(args.gold) if args.gold else None,
        "num_samples": len(items),
        **decoding,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {"settings": settings, "versions": found}


def sha256(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def score(
    args: argparse.Namespace,
    items: Sequence[evaluation.Item],
    completions: Sequence[Completion],
    gold: Sequence[Meeting],
) -> dict[str, Any]:
    """Return the scores and the rows."""
    scored = evaluation.score_items(items, completions)
    tasks = evaluation.by_task(scored)
    results: dict[str, Any] = {
        "averages": {name: task["llamafactory"] for name, task in tasks.items()},
        "good_ranges": {"title_generation": GOOD_TITLES},
        "tasks": tasks,
    }
    if gold:
        results |= official_part(args, items, scored, gold)
    results["rows"] = [evaluation.as_row(one) for one in scored]
    return results


def official_part(
    args: argparse.Namespace,
    items: Sequence[evaluation.Item],
    scored: Sequence[evaluation.Scored],
    gold: Sequence[Meeting],
) -> dict[str, Any]:
    """Return the official scores: ours, those of the answers without any repair, and the floor without a model."""
    from mug.generation.baseline import BaselineEngine

    cut = evaluation.incomplete(items, gold)

    def rows_of(answers: Sequence[evaluation.Scored], *, raw: bool = False) -> evaluation.Rows:
        found = evaluation.submissions(answers, gold, raw=raw)
        kept = {t: {key: row for key, row in rows.items() if key not in cut[t]} for t, rows in found.items()}
        return {track: rows for track, rows in kept.items() if rows}

    said = dict(BaselineEngine().generate([item.sample for item in items]))
    floor = evaluation.score_items(items, [said[index] for index in range(len(items))])
    rows = rows_of(scored)
    found: dict[str, Any] = {
        "submissions": rows,
        "official": evaluation.official_scores(rows, gold),
        "official_raw": evaluation.figures(
            evaluation.official_scores(rows_of(scored, raw=True), gold, intervals=False)
        ),
        "floor": evaluation.figures(evaluation.official_scores(rows_of(floor), gold, intervals=False)),
        "incomplete_meetings": {track: sorted(keys) for track, keys in cut.items() if keys},
    }
    if args.submission:
        found["submission_files"] = [str(path) for path in write_submissions(args.submission, rows)]
    return found


def compare(args: argparse.Namespace, results: dict[str, Any], other: dict[str, Any], gold: Sequence[Meeting]) -> int:
    """Add the comparison to the results; where it can't be made, say why, and leave the report without it."""
    try:
        differences = comparison.differences(results, other, gold, args.compare)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    results["comparison"] = {"other": str(args.compare), "differences": differences}
    return 0


def write_reports(args: argparse.Namespace, results: dict[str, Any], gold: Sequence[Meeting]) -> None:
    """Write JSON, Markdown and HTML."""
    write_json(args.output_path, results)
    write_text(args.output_path.with_suffix(".md"), markdown.render(results))
    write_text(args.output_path.with_suffix(".html"), html.render(results, gold))


def label(metric: str, lang: str) -> str:
    """Return what a figure is called on the terminal."""
    return metric.replace("_", " ") if lang == "en" else METRIC_NAMES[metric]


def print_results(args: argparse.Namespace, results: dict[str, Any]) -> None:
    """Print the averages and where the report is."""
    for name, task in results["tasks"].items():
        averages = "  ".join(
            f"{label(metric, args.lang)} {value:.2f}" for metric, value in task["llamafactory"].items()
        )
        print(f"{name}（n={task['n']}）  {averages}")
        if name == "title_generation":
            good = "，".join(f"{label(metric, args.lang)} > {value:g}" for metric, value in GOOD_TITLES.items())
            print(Message(f"  良好的范围：{good}", f"  good: {good}").say(args.lang))
    for name, track in results.get("official", {}).items():
        value = track["scores"]["score"]
        shown = "-" if value is None else f"{100 * value:.2f}"
        print(Message(f"{name} 官方总分：{shown}", f"{name} official: {shown}").say(args.lang))
    for name, keys in results.get("incomplete_meetings", {}).items():
        zh = f"{name}：{len(keys)} 场会议只答了一部分（如 {keys[0]}），不计入官方评分"
        en = f"{name}: {len(keys)} meetings answered in part only (such as {keys[0]}), not in the official score"
        print(Message(zh, en).say(args.lang))
    speed = results["settings"].get("samples_per_second")
    if speed:
        print(Message(f"速度：每秒 {speed} 个样本", f"Speed: {speed} samples a second").say(args.lang))
    if results["settings"].get("smoke"):
        zh, en = (
            "注意：这是微型模型，只检验流程，不代表效果。",
            "Note: a tiny model, which checks the wiring, not quality.",
        )
        print(Message(zh, en).say(args.lang))
    page = args.output_path.with_suffix(".html")
    zh, en = (
        f"报告：{page}（另有 .md）；明细：{args.output_path}",
        f"Report: {page} (.md too); details: {args.output_path}",
    )
    print(Message(zh, en).say(args.lang))


if __name__ == "__main__":
    command.run(main)
