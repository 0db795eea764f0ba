"""Alpaca rows and answers -> scores: which task a row is of, what was answered, how good it was."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

from mug import conversations, prompting
from mug.errors import InputError
from mug.generation.base import Completion
from mug.meeting import Meeting
from mug.metrics import bootstrap, keyphrases, llamafactory, official
from mug.metrics.submission import as_list
from mug.tasks import LAYOUTS, answers
from mug.tasks.base import Answer, Options, Sample, Split, Task
from mug.tasks.extractive_summary import KeySentences
from mug.tasks.shared import as_input

TRACK_OF = {
    "title_generation": "topic_title_generation",
    "extractive_summary": "extractive_summarization",
    "session_summary": "extractive_summarization",
    "topic_segmentation": "topic_segmentation",
    "keyphrase_extraction": "keyphrase_extraction",
    "action_item_detection": "action_item_detection",
}
"""The challenge's track of each task; topic and session summaries are one track."""

SPLITS: tuple[Split, ...] = ("dev", "train")
"""Where a prompt may come from: nearly always dev; the session prompts and action item windows of train are others."""


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
    """Return the options that preprocess_data.py wrote beside the data, or the defaults.

    Raises:
        InputError: what it wrote is damaged.
    """
    return prompting.of_data(data_path.parent).options


def items(rows: Sequence[Mapping[str, Any]], options: Options) -> list[Item]:
    """Turn Alpaca rows into items; the instruction tells the task. A conversation of train gives one a question."""
    tasks = [task(options) for layout in LAYOUTS.values() for task in layout.values()]
    by_instruction: dict[str, Task] = {task.instruction: task for task in tasks}
    by_instruction |= {task.ask_text: task for task in tasks if isinstance(task, KeySentences)}
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
                history=tuple((said, answered) for said, answered in row.get("history") or ()),
            ),
            by_instruction.get(row["instruction"]),
        )
        for number, row in enumerate(chain.from_iterable(map(conversations.questions, rows)), 1)
    ]


Prompt = tuple[tuple[tuple[str, str], ...], str, str]


def prompt(sample: Sample) -> Prompt:
    """Return all that a sample shows to a model."""
    return sample.history, sample.instruction, sample.input


def join_gold(found: Sequence[Item], gold: Sequence[Meeting], source: str) -> list[Item]:
    """Give items the meeting, places and references that the gold meetings say, joined by the prompt itself.

    Raises:
        InputError: an item's prompt comes from none of these meetings under the options that it was made with.
    """
    known: dict[Prompt, tuple[Meeting, Sample]] = {}
    tasks = {item.task.name: item.task for item in found if item.task}
    for split in SPLITS:
        for task, meeting in product(tasks.values(), gold):
            for sample in task.samples(meeting, split):
                if isinstance(sample, Sample):
                    known.setdefault(prompt(sample), (meeting, sample))
        if all(prompt(item.sample) in known for item in found):
            break
    joined: list[Item] = []
    missing: list[str] = []
    for item in found:
        hit = known.get(prompt(item.sample))
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
    said = [
        item.task.parse(completion.text, item.sample) if item.task else Answer(item.sample, completion.text.strip())
        for item, completion in zip(found, completions, strict=True)
    ]
    pairs = [(answer.text, item.sample.output) for item, answer in zip(found, said, strict=True)]
    scores = llamafactory.score_pairs(pairs).rows
    return [Scored(*parts) for parts in zip(found, completions, said, scores, strict=True)]


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


Rows = dict[str, dict[str, dict[str, Any]]]
"""Submission rows by track and meeting key."""


def submissions(scored: Sequence[Scored], gold: Sequence[Meeting], *, raw: bool = False) -> Rows:
    """Return submission rows from the answers to joined items; ``raw`` reads them without any repair."""
    given: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    tasks = {one.item.task.name: one.item.task for one in scored if one.item.task}
    for one in scored:
        if one.item.task:
            given[one.item.task.name, one.item.meeting].append(_unrepaired(one) if raw else one.answer)
    rows: Rows = defaultdict(lambda: defaultdict(dict))
    for name, task in tasks.items():
        for meeting in gold:
            if (name, meeting.key) in given:
                rows[TRACK_OF[name]][meeting.key] |= task.submission(meeting, given[name, meeting.key])
    return {track: dict(by_meeting) for track, by_meeting in rows.items()}


def _unrepaired(one: Scored) -> Answer:
    if not one.answer.repairs:
        return one.answer
    text = one.completion.text.strip()
    return Answer(one.item.sample, text, phrases=tuple(text.split("、")))


def official_scores(rows: Rows, gold: Sequence[Meeting], *, intervals: bool = True) -> dict[str, dict[str, Any]]:
    """Return the official figures of each track with what stands behind them, over the meetings that were answered."""
    found: dict[str, dict[str, Any]] = {}
    for name, by_meeting in rows.items():
        track = official.TRACKS[name]
        meetings = answered(gold, by_meeting)
        parts = contributions(name, meetings, by_meeting)
        scores = _asked_only(name, track.combine(parts), by_meeting)
        found[name] = {
            "scores": scores,
            "counts": official.counts(parts),
            "per_meeting": {
                meeting.key: _asked_only(name, track.combine([part]), by_meeting)["score"]
                for meeting, part in zip(meetings, parts, strict=True)
            },
            "unit": track.unit,
            "tokenisation": track.tokenisation,
            "library": track.library,
            "references": track.references,
            "source": track.source,
        }
        if intervals:
            found[name]["intervals"] = {
                key: {"low": interval.low, "high": interval.high}
                for key, interval in bootstrap.intervals(parts, track.combine).items()
                if interval is not None and scores[key] is not None
            }
    return found


def contributions(track: str, meetings: Sequence[Meeting], by_meeting: Mapping[str, dict[str, Any]]) -> list[Any]:
    """Return each meeting's contribution; where no row has topic summaries at all, they count as not asked for."""
    if track == "extractive_summarization" and not _asked(by_meeting, "topic_segment_ids"):
        empty = {m.key: [{"id": topic.end, "key_sentence": []} for topic in m.topics] for m in meetings}
        by_meeting = {key: row | {"topic_segment_ids": empty[key]} for key, row in by_meeting.items()}
    return official.contributions(track, meetings, by_meeting)


def _asked(by_meeting: Mapping[str, dict[str, Any]], key: str) -> bool:
    return any(key in row for row in by_meeting.values())


def _asked_only(
    track: str, scores: Mapping[str, float | None], by_meeting: Mapping[str, dict[str, Any]]
) -> dict[str, float | None]:
    """Leave undefined what was not asked: a session summary that nobody made is no summary of 0 %."""
    unasked: tuple[str, ...] = ()
    if track == "extractive_summarization":
        unasked += ("doc-es", "score") if not _asked(by_meeting, "key_sentence") else ()
        unasked += ("topic-es", "score") if not _asked(by_meeting, "topic_segment_ids") else ()
    return {key: None if unasked and key.startswith(unasked) else value for key, value in scores.items()}


def incomplete(found: Sequence[Item], gold: Sequence[Meeting]) -> dict[str, set[str]]:
    """Return, by track, the meetings of which only some prompts are among the items (``--num_samples`` cut them).

    Their missing answers would count as empty ones and make the official figures too low.
    """
    tasks = {item.task.name: item.task for item in found if item.task}
    asked: dict[tuple[str, str], set[Prompt]] = defaultdict(set)
    for item in found:
        if item.task:
            asked[item.task.name, item.meeting].add(prompt(item.sample))
    cut: dict[str, set[str]] = defaultdict(set)
    for name, task in tasks.items():
        touched = {key for other, key in asked if TRACK_OF[other] == TRACK_OF[name]}
        for meeting in gold:
            if meeting.key not in touched:
                continue
            whole = (
                {prompt(made) for made in task.samples(meeting, split) if isinstance(made, Sample)} for split in SPLITS
            )
            if not any(prompts <= asked[name, meeting.key] for prompts in whole):
                cut[TRACK_OF[name]].add(meeting.key)
    return cut


def answered(gold: Sequence[Meeting], by_meeting: Mapping[str, Any]) -> list[Meeting]:
    """Return the gold meetings that have a row."""
    return [meeting for meeting in gold if meeting.key in by_meeting]


def figures(official: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return the bare figures of official scores, by track."""
    return {name: dict(track["scores"]) for name, track in official.items()}


def as_row(one: Scored) -> dict[str, Any]:
    """Return one scored answer as the results file keeps it."""
    sample, answer = one.item.sample, one.answer
    numbered = one.item.task is not None and one.item.task.name not in ("title_generation", "keyphrase_extraction")
    return {
        "id": sample.id,
        "task": one.item.task.name if one.item.task else None,
        "meeting": one.item.meeting or None,
        "input": as_input(sample),
        "label": sample.output,
        "references": list(sample.references),
        "raw": one.completion.text,
        "predict": answer.text,
        "numbers": list(answer.numbers),
        "places": list(sample.places) if numbered else [],
        "topic": sample.topic,
        "repairs": list(answer.repairs),
        "finish": one.completion.finish,
        "tokens": one.completion.tokens,
        **one.scores,
    }


def cleaned_scores(
    track: str, rows: Mapping[str, dict[str, Any]], gold: Sequence[Meeting]
) -> dict[str, float | None] | None:
    """Return the official figures after titles or keyphrases were cleaned; None for tracks whose answers are ids."""
    if track == "keyphrase_extraction":
        cleaned = {key: dict(keyphrases.clean_row(row)) for key, row in rows.items()}
        return official.score(track, [keyphrases.clean_gold(meeting) for meeting in gold], cleaned)
    if track == "topic_title_generation":
        cleaned = {
            key: row
            | {
                "topic_segment_ids": [
                    topic | {"title": answers.title(str(topic.get("title") or ""))[0]}
                    for topic in as_list(row.get("topic_segment_ids"))
                ]
            }
            for key, row in rows.items()
        }
        return official.score(track, gold, cleaned)
    return None
