r"""Turn the transcript of a meeting into minutes: summary, action items, chapters, keyphrases, full text with links.

    python scripts/summarize_meeting.py meeting.vtt --model_path outputs/qwen2.5-7b-mug-lora \
        --output minutes.docx --output minutes.html

INPUT is a transcript of any known form (VTT, SRT, TXT, DOCX, JSON, the corpus's CSV), or a folder of them. Without
``--output`` a Markdown and an HTML file are written beside it. Without a model, rules make the minutes (`baseline`),
and the minutes say so. A model is asked as it was trained, which the preprocess.json in its folder says; for a served
one (``--backend api``) name that folder by ``--model_path``, or it is asked the prompts of the default layout.

    python scripts/summarize_meeting.py meeting.vtt                                       # no model
    python scripts/summarize_meeting.py recordings/ --output minutes/ --formats md,docx   # goes on after a stop
    python scripts/summarize_meeting.py dataset/dev.csv --meeting M0115                   # one of several
    python scripts/summarize_meeting.py dataset/dev.csv --score --output scores.json      # end-to-end MUG scores
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from mug import command
from mug.corpus import read_gold
from mug.errors import InputError, Message
from mug.files import write_json
from mug.generation.base import Engine
from mug.generation.engines import add_options, choose, load, target_of
from mug.minutes import batch, scoring
from mug.minutes.model import Minutes
from mug.minutes.pipeline import STAGES, VERSION, make_minutes
from mug.minutes.remembering import RememberingEngine
from mug.minutes.writing import FORMATS, format_of, write
from mug.prompting import Prompting, described, of_engine
from mug.transcripts.reading import read_transcript

SMOKE = Message("微型模型只检验流程，不代表效果。", "A tiny model, which checks the wiring, not quality.")
BASELINE = Message(
    "没有给出模型（--model_path 或 --backend api）：用基线规则生成，质量是底线。",
    "No model given (--model_path, or --backend api): made by baseline rules, the floor of quality.",
)


def main() -> int:
    """Run the command line; return the exit status."""
    args = parse_args()
    try:
        if args.score:
            return score(args)
        if args.input.is_dir():
            return summarize_folder(args)
        return summarize_file(args)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)
        again = Message("已中断；再运行同一条命令即可继续。", "Stopped; run the same command again to go on.")
        print(again.say(args.lang), file=sys.stderr)
        return 1
    except OSError as error:
        print(Message(f"写不了结果：{error}", f"Can't write the results: {error}").say(args.lang), file=sys.stderr)
        return 1


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="会议记录，或放它们的文件夹 / transcript, or a folder"
    )
    parser.add_argument(
        "--output",
        type=Path,
        action="append",
        help="输出，可重复；后缀 md、html、docx、json 决定格式；INPUT 是文件夹时为文件夹 / files, or a folder",
    )
    parser.add_argument("--formats", help="没有指明输出文件时的格式 / of outputs not named (default: md,html)")
    parser.add_argument("--meeting", help="文件里有几场会议时，取哪一场 / which of several meetings")
    parser.add_argument(
        "--score", action="store_true", help="INPUT 是带标注的 CSV：给全流程评分 / labelled CSV: end-to-end scores"
    )
    add_options(parser)
    parser.add_argument(
        "--lang", choices=["zh", "en"], default="zh", help="标题与消息的语言 / of headings and messages"
    )
    args = choose(parser)
    args.formats = list(dict.fromkeys(name.strip() for name in (args.formats or "md,html").split(",")))
    if unknown := [name for name in args.formats if name not in FORMATS]:
        parser.error(f"--formats：{', '.join(unknown)}；可用 / known: {', '.join(FORMATS)}")
    if (args.score or args.input.is_dir()) and len(args.output or ()) != 1:
        parser.error("需要一个 --output / exactly one --output is needed")
    return args


# ------------------------------------------------------------------------------------------------- one meeting, many


def summarize_file(args: argparse.Namespace) -> int:
    """Write the minutes of one transcript."""
    if not args.input.exists():
        read_transcript(args.input)  # says so; a folder's --output would else be called a wrong file
    outputs = args.output or [args.input.with_suffix(f".minutes.{ending}") for ending in args.formats]
    for path in outputs:
        format_of(path)  # a wrong ending shows before the work
        if path.resolve() == args.input.resolve():
            raise InputError(
                f"--output {path} 会覆盖输入；请换一个名字。", f"--output {path} is the input; rename it."
            )
    recording = read_transcript(args.input, args.meeting)
    started = time.monotonic()
    with loaded(args, outputs[0]) as (engine, name, notes, prompting):
        minutes = make_minutes(
            replace(recording, notes=recording.notes + notes),
            engine,
            engine_name=name,
            prompting=prompting,
            source=args.input.name,
            progress=Progress(args.lang),
        )
        write(minutes, outputs, args.lang)
    print(outline(minutes, args.lang))
    for note in minutes.notes:
        print(f"  {note.say(args.lang)}")
    written = "、".join(map(str, outputs)) if args.lang == "zh" else ", ".join(map(str, outputs))
    seconds = time.monotonic() - started
    print(Message(f"已写入 {written}（{seconds:.1f} 秒）", f"Written: {written} ({seconds:.1f} s)").say(args.lang))
    return 0


def summarize_folder(args: argparse.Namespace) -> int:
    """Write the minutes of each transcript in a folder; status 1 when any failed."""
    (output,) = args.output
    if output.resolve() == args.input.resolve() or output.is_file() or output.suffix.removeprefix(".") in FORMATS:
        raise InputError(
            f"{args.input} 是文件夹，所以 --output 应是另一个文件夹，不能是 {output}。",
            f"{args.input} is a folder, so --output should be another folder, not {output}.",
        )
    paths, aside = batch.transcripts_in(args.input)
    if aside:
        names = ", ".join(aside[:5]) + (" …" if len(aside) > 5 else "")
        print(Message(f"不是会议记录，略过：{names}", f"No transcripts, left aside: {names}").say(args.lang))
    results: Counter[str] = Counter()
    with loaded(args, output / "minutes") as (engine, name, notes, prompting):

        def make(path: Path) -> Minutes:
            recording = read_transcript(path, args.meeting)
            recording = replace(recording, notes=recording.notes + notes)
            return make_minutes(
                recording,
                engine,
                engine_name=name,
                prompting=prompting,
                source=path.name,
                progress=Progress(args.lang, f"{path.name}  "),
            )

        settings = {"engine": engine.fingerprint, "pipeline": VERSION, "prompts": described(prompting)}
        for number, outcome in enumerate(batch.run(paths, output, args.formats, settings, make, args.lang), 1):
            results[outcome.result] += 1
            print(f"[{number}/{len(paths)}] {outcome.name}  {told(outcome, args.lang)}", flush=True)
    done, kept, failed = (results[key] for key in ("done", "kept", "failed"))
    zh = f"完成 {done}，先前已完成 {kept}，失败 {failed}；纪要在 {output}"
    en = f"{done} done, {kept} done before, {failed} failed; the minutes are in {output}"
    print(Message(zh, en).say(args.lang))
    return 1 if failed else 0


def told(outcome: batch.Outcome, lang: str) -> str:
    """Say what became of a file."""
    if outcome.result == "kept":
        return Message("先前已完成，略过", "done before").say(lang)
    if outcome.reason:
        return Message(f"失败：{outcome.reason.zh}", f"failed: {outcome.reason.say('en')}").say(lang)
    assert outcome.minutes
    return f"{outline(outcome.minutes, lang)}  {outcome.seconds:.1f} s"


def outline(minutes: Minutes, lang: str) -> str:
    """Say in a line what the minutes hold."""
    sentences, chapters, actions = len(minutes.sentences), len(minutes.chapters), len(minutes.action_items)
    zh = f"{minutes.title or '会议纪要'}：{sentences} 句，{chapters} 章，{actions} 个行动项"
    en = f"{minutes.title or 'Minutes'}: {sentences} sentences, {chapters} chapters, {actions} action items"
    return Message(zh, en).say(lang)


class Loaded(NamedTuple):
    """An engine, what the minutes call it, what they must note of it, and how it was trained to be asked."""

    engine: Engine
    name: str
    notes: tuple[Message, ...]
    prompting: Prompting


@contextmanager
def loaded(args: argparse.Namespace, beside: Path) -> Iterator[Loaded]:
    """Load the engine; a model's answers are kept in a hidden file until the block ends well."""
    prompting = of_engine(args.backend, args.model_path)
    engine, settings = load(args, args.backend, target_of(args))
    if args.backend == "baseline":
        print(BASELINE.say(args.lang))
        yield Loaded(engine, "baseline", (), prompting)
        return
    named = f"{args.api_model} ({urlsplit(args.api_base).hostname})" if args.backend == "api" else ""
    kept = RememberingEngine(engine, beside.with_name(f".{beside.name}.answers.jsonl"))
    notes = (SMOKE,) if settings.get("smoke") else ()
    yield Loaded(kept, named or args.model_path.resolve().name, notes, prompting)
    kept.forget()


class Progress:
    """Says on a terminal which stage it is, how far, and how long the stage will take."""

    def __init__(self, lang: str, prefix: str = "") -> None:
        self.lang, self.prefix, self.started = lang, prefix, time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage's state; the last state of all is wiped."""
        if not sys.stderr.isatty():
            return
        if done == 0:
            self.started = time.monotonic()
        left = f"剩余 / left {(time.monotonic() - self.started) / done * (total - done):.0f} s" if done else ""
        number = list(STAGES).index(stage) + 1
        text = f"{self.prefix}{number}/{len(STAGES)} {STAGES[stage].say(self.lang)}  {done}/{total}  {left}"
        finished = done == total and number == len(STAGES)
        print("\r\x1b[K" + ("" if finished else text), end="", file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------------------------- scoring


def score(args: argparse.Namespace) -> int:
    """Run gold meetings through the pipeline and write their end-to-end scores."""
    (output,) = args.output
    gold = read_gold(args.input)
    shown = [Progress(args.lang, f"{number}/{len(gold)} {one.key}  ") for number, one in enumerate(gold, 1)]
    with loaded(args, output) as (engine, name, _, prompting):
        results = scoring.end_to_end(gold, engine, prompting, lambda index, *state: shown[index](*state))
        settings = {"engine": engine.fingerprint, "name": name, "gold": str(args.input), "pipeline": VERSION}
        settings["prompts"] = described(prompting)
        write_json(output, {"settings": settings, **results})
    print(Message(f"{'赛道':26}全流程   给定标准主题", f"{'track':28}end-to-end   gold topics").say(args.lang))
    for track, found in results["end_to_end"].items():
        given = results["gold_topics"].get(track)
        cells = [percent(one["scores"]["score"]) if one else "" for one in (found, given)]
        print(f"{track:28}{cells[0]:>10}{cells[1]:>14}{'  *' if track in scoring.ALIGNED else ''}".rstrip())
    topics = results["topics"]
    zh = (
        f"* 每个标准主题取重叠最多的预测主题的标题和关键句；不能与官方得分相比。主题 {topics['gold']} 个，预测 "
        f"{topics['predicted']} 个，平均重叠（交并比）{topics['overlap']:.2f}\n已写入 {output}"
    )
    en = (
        "* Each gold topic takes title and key sentences of the predicted topic that overlaps most; not comparable "
        f"with official scores. {topics['gold']} topics, {topics['predicted']} predicted, mean overlap (intersection "
        f"over union) {topics['overlap']:.2f}\nWritten to {output}"
    )
    print(Message(zh, en).say(args.lang))
    return 0


def percent(value: float | None) -> str:
    """Return a figure in percent."""
    return "-" if value is None else f"{100 * value:.2f}"


if __name__ == "__main__":
    command.run(main)
