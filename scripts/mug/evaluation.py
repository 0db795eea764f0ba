"""Alpaca rows and answers -> scores: which task a row is of, what was answered, how good it was."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from mug import tokens
from mug.errors import InputError
from mug.generation.base import Completion
from mug.meeting import Meeting
from mug.metrics import llamafactory, official
from mug.tasks import TASKS
from mug.tasks.base import Answer, Options, Sample, Split, Task
from mug.tasks.extractive_summary import ASK_TEXT

TRACK_OF = {
    "title_generation": "topic_title_generation",
    "extractive_summary": "extractive_summarization",
    "session_summary": "extractive_summarization",
    "topic_segmentation": "topic_segmentation",
    "keyphrase_extraction": "keyphrase_extraction",
    "action_item_detection": "action_item_detection",
}
"""The challenge's track of each task; topic and session summaries are one track."""


@dataclass(frozen=True)
class Item:
    """A row to be answered: its sample, its task (None for a row that is none of ours), its meeting if known."""

    sample: Sample
    task: Task | None
    meeting: str = ""


@dataclass(frozen=True)
class Scored:
    """An item with what was said to it and how good that was; ``scores`` are LLaMA-Factory's, in percent."""

    item: Item
    completion: Completion
    answer: Answer
    scores: Mapping[str, float]


def options_of(data_path: Path) -> Options:
    """Return the options that preprocess_data.py wrote beside the data, or the defaults."""
    path = data_path.parent / "preprocess.json"
    if not path.exists():
        return Options()
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        folder = saved.pop("tokenizer")
        return Options(count=tokens.tokenizer_counter(folder) if folder else tokens.estimate, **saved)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} 已损坏（{error}）；请重新运行 scripts/preprocess_data.py。",
            f"{path} is damaged ({error}); run scripts/preprocess_data.py again.",
        ) from None


def items(rows: Sequence[Mapping[str, Any]], options: Options) -> list[Item]:
    """Turn Alpaca rows into items; the instruction tells the task."""
    tasks = {name: task(options) for name, task in TASKS.items()}
    by_instruction = {task.instruction: task for task in tasks.values()}
    by_instruction[ASK_TEXT] = tasks["extractive_summary"]
    return [
        Item(
            Sample(
                id=str(row.get("id") or f"row-{number}"),
                instruction=row["instruction"],
                input=row.get("input", ""),
                output=row["output"],
                references=tuple(refs)
                if isinstance(refs := row.get("references"), list) and refs
                else (row["output"],),
            ),
            by_instruction.get(row["instruction"]),
        )
        for number, row in enumerate(rows, 1)
    ]


def join_gold(found: Sequence[Item], gold: Sequence[Meeting], source: str) -> list[Item]:
    """Give items the meeting, places and references that the gold meetings say, joined by the prompt itself.

    Raises:
        InputError: an item's prompt comes from none of these meetings under the options that it was made with.
    """
    known: dict[tuple[str, str], tuple[Meeting, Sample]] = {}
    splits: tuple[Split, ...] = ("dev", "train")  # the data may be train_alpaca.json: its session prompts differ
    for task in {item.task.name: item.task for item in found if item.task}.values():
        for split, meeting in product(splits, gold):
            for sample in task.samples(meeting, split):
                if isinstance(sample, Sample):
                    known.setdefault((sample.instruction, sample.input), (meeting, sample))
    joined: list[Item] = []
    missing: list[str] = []
    for item in found:
        hit = known.get((item.sample.instruction, item.sample.input))
        if hit is None:
            missing.append(item.sample.id)
            continue
        meeting, sample = hit
        # The row's own target stays: with --candidates all the same prompt stands once for each annotator.
        joined.append(Item(replace(sample, output=item.sample.output), item.task, meeting.key))
    if missing:
        raise InputError(
            f"{len(missing)} 个样本的输入（如 {missing[0]}）不来自 {source}；请用生成这份数据的 CSV 作 --gold，"
            "并保留数据目录里的 preprocess.json。",
            f"The prompts of {len(missing)} samples (such as {missing[0]}) do not come from {source}; give the CSV "
            "that the data were made of as --gold, and keep preprocess.json beside the data.",
        )
    return joined


def score_items(found: Sequence[Item], completions: Sequence[Completion]) -> list[Scored]:
    """Read each answer by its task, and score its text against the target as LLaMA-Factory does."""
    answers = [
        item.task.parse(completion.text, item.sample) if item.task else Answer(item.sample, completion.text.strip())
        for item, completion in zip(found, completions, strict=True)
    ]
    pairs = [(answer.text, item.sample.output) for item, answer in zip(found, answers, strict=True)]
    scores = llamafactory.score_pairs(pairs).rows
    return [Scored(*parts) for parts in zip(found, completions, answers, scores, strict=True)]


def by_task(scored: Sequence[Scored]) -> dict[str, dict[str, Any]]:
    """Return, for each task, what was counted and LLaMA-Factory's averages of the cleaned and of the raw answers."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        groups[one.item.task.name if one.item.task else "other"].append(one)
    return {
        name: {
            "n": len(group),
            "empty": sum(not one.answer.text.strip() for one in group),
            "repaired": sum(bool(one.answer.repairs) for one in group),
            "repairs": dict(Counter(repair for one in group for repair in one.answer.repairs).most_common()),
            "stopped_by_length": sum(one.completion.finish == "length" for one in group),
            "llamafactory": llamafactory.average([[dict(one.scores) for one in group]]),
            "llamafactory_raw": llamafactory.score_pairs(
                [(one.completion.text, one.item.sample.output) for one in group]
            ).average,
        }
        for name, group in groups.items()
    }


def submissions(scored: Sequence[Scored], gold: Sequence[Meeting]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return submission rows by track and meeting key, from the answers to joined items."""
    answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    tasks = {one.item.task.name: one.item.task for one in scored if one.item.task}
    for one in scored:
        if one.item.task:
            answers[one.item.task.name, one.item.meeting].append(one.answer)
    rows: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    for name, task in tasks.items():
        for meeting in gold:
            if (name, meeting.key) in answers:
                rows[TRACK_OF[name]][meeting.key] |= task.submission(meeting, answers[name, meeting.key])
    return {track: dict(by_meeting) for track, by_meeting in rows.items()}


def official_scores(
    rows: Mapping[str, Mapping[str, dict[str, Any]]], gold: Sequence[Meeting]
) -> dict[str, dict[str, Any]]:
    """Return the official figures of each track with what stands behind them, over the meetings that were answered."""
    found: dict[str, dict[str, Any]] = {}
    for name, by_meeting in rows.items():
        answered = [meeting for meeting in gold if meeting.key in by_meeting]
        parts = official.contributions(name, answered, by_meeting)
        track = official.TRACKS[name]
        found[name] = {
            "scores": track.combine(parts),
            "counts": official.counts(parts),
            "unit": track.unit,
            "tokenisation": track.tokenisation,
            "library": track.library,
            "references": track.references,
            "source": track.source,
        }
    return found
