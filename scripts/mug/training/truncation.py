"""Which samples ``cutoff_len`` would cut, counted with the model's tokenizer and LLaMA-Factory's own code.

Past ``cutoff_len`` LLaMA-Factory takes away the end of the prompt, and with it the mark that begins the answer, or of
a long answer its end; it says nothing. A sample of ours:

    <|im_start|>system … <|im_start|>user … [no.6]: 再见。<|im_end|> <|im_start|>assistant     the prompt
    春游地点<|im_end|>                                                                          the answer
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mug.alpaca import COLUMNS, read_alpaca, read_dataset_info
from mug.errors import InputError
from mug.files import atomic_write, write_text
from mug.tasks import TASKS
from mug.training.memory import on
from mug.training.settings import names, place
from mug.training.template_tokens import Pieces, tokens_of

_AT_ONCE = 512  # rows whose texts go to the tokenizer together
READABLE = (".json", ".jsonl")


@dataclass(frozen=True)
class Dataset:
    """A dataset of dataset_info.json whose rows lie in files here."""

    name: str
    entry: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def is_ours(self) -> bool:
        """Whether its rows have the columns that preprocess_data.py writes."""
        columns = self.entry.get("columns") or COLUMNS
        return self.entry.get("formatting", "alpaca") == "alpaca" and columns == COLUMNS

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of all files.

        Raises:
            InputError: a file can't be read, or a row of our form is not complete.
        """
        return [row for file in self.files for row in (read_alpaca(file) if self.is_ours else _read_any(file))]


@dataclass(frozen=True, slots=True)
class Count:
    """A sample's tokens before it is cut, and how many of its prompt and of its answer would be lost.

    ``row`` is its place in the dataset, from 0; ids may repeat, where several annotators answered one prompt.
    """

    row: int
    name: str
    task: str
    total: int
    target: int
    lost_prompt: int
    lost_target: int

    @property
    def is_cut(self) -> bool:
        """Whether anything would be lost."""
        return bool(self.lost_prompt or self.lost_target)


@dataclass(frozen=True, slots=True)
class TaskCount:
    """What one task's samples would lose; ``cut`` names those that would lose anything."""

    task: str
    samples: int
    longest: int
    lose_answer: int
    lose_context: int
    cut: tuple[str, ...]


def find_dataset(folder: Path, name: str) -> Dataset | None:
    """Return a dataset of ``folder/dataset_info.json``; None where its rows come from a hub or a script.

    Raises:
        InputError: there is no such entry, or a file of it is missing.
    """
    info = read_dataset_info(folder)
    if name not in info:
        known = ", ".join(sorted(info)) or "—"
        raise InputError(
            f"{folder / 'dataset_info.json'} 里没有数据集 {name}（有：{known}）；请检查 dataset，"
            "或先运行 python scripts/preprocess_data.py。",
            f"{folder / 'dataset_info.json'} has no dataset {name} (it has: {known}); check dataset, or run "
            "python scripts/preprocess_data.py first.",
        )
    entry = info[name]
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        return None
    path = folder / entry["file_name"]
    files = tuple(sorted(path.iterdir())) if path.is_dir() else (path,)
    if not files or not all(file.is_file() for file in files):
        raise InputError(
            f"数据集 {name} 的文件 {path} 不在；请先运行 python scripts/preprocess_data.py。",
            f"The file {path} of the dataset {name} is not there; run python scripts/preprocess_data.py first.",
        )
    return Dataset(name, entry, files)


def count(
    dataset: Dataset, settings: Mapping[str, Any], tokenizer: Any, template: Any, cutoff: int
) -> Iterator[Count]:
    """Yield the counts of a dataset's samples, in order, as many as ``max_samples`` lets in.

    Args:
        dataset: of files.
        settings: the training's.
        tokenizer: the base model's, as LLaMA-Factory loads it.
        template: LLaMA-Factory's, from `get_template_and_fix_tokenizer`.
        cutoff: ``cutoff_len``.

    Raises:
        InputError: a file or a row can't be read.
    """
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments

    # ``columns`` is what LLaMA-Factory's reader of the entry sets; paths play no part here.
    (attributes,) = get_dataset_list([dataset.name], {dataset.name: dict(dataset.entry)})
    converter = get_dataset_converter(attributes.formatting, attributes, DataArguments(template=None))
    masks_history = on(settings.get("mask_history"))
    by_instruction = {task.instruction: task.name for task in TASKS.values()}
    rows = dataset.rows[: int(settings["max_samples"])] if settings.get("max_samples") else dataset.rows
    for start in range(0, len(rows), _AT_ONCE):
        pieces = Pieces(tokenizer)
        encoded: list[Any] = []
        for row in rows[start : start + _AT_ONCE]:
            made = converter(row)
            if len(made["_prompt"]) % 2 != 1 or len(made["_response"]) != 1:
                encoded.append(None)  # LLaMA-Factory drops it
                continue
            messages = made["_prompt"] + made["_response"]
            discards = masks_history and not template.preserve_thinking
            encoded.append(template.encode_multiturn(pieces, messages, made["_system"], made["_tools"], discards))
        lengths = pieces.counts()
        for place_of, pairs in enumerate(encoded, start):
            if pairs is None:
                continue
            row = rows[place_of]
            turns = [(tokens_of(prompt, lengths), tokens_of(target, lengths)) for prompt, target in pairs]
            lost_prompt, lost_target = lost(turns, cutoff, template.efficient_eos, masks_history)
            yield Count(
                row=place_of,
                name=str(row.get("id") or f"{dataset.name}#{place_of + 1}"),
                task=by_instruction.get(str(row.get("instruction")), "other"),
                total=sum(map(sum, turns)) + bool(template.efficient_eos),
                target=sum(target for _, target in turns) + bool(template.efficient_eos),
                lost_prompt=lost_prompt,
                lost_target=lost_target,
            )


def lost(turns: Sequence[tuple[int, int]], cutoff: int, end_token: bool, last_first: bool) -> tuple[int, int]:
    """Return how many tokens of prompts and of answers are cut.

    The rule of LLaMA-Factory's ``SupervisedDatasetProcessor._encode_data_example``.

    Args:
        turns: tokens of each turn's prompt and answer.
        cutoff: ``cutoff_len``.
        end_token: the template adds one token after the last turn.
        last_first: ``mask_history``: the last turns are kept, not the first.
    """
    from llamafactory.data.processor.processor_utils import infer_seqlen

    taken = 1 if end_token else 0
    lost_prompt = lost_target = 0
    for prompt, target in reversed(turns) if last_first else turns:
        kept = infer_seqlen(prompt, target, cutoff - taken) if taken < cutoff else (0, 0)
        lost_prompt += prompt - kept[0]
        lost_target += target - kept[1]
        taken += sum(kept)
    return lost_prompt, lost_target


def by_task(counts: Sequence[Count]) -> list[TaskCount]:
    """Return the table: what each task's samples would lose, tasks in the project's order."""
    order = [*TASKS, "other"]
    found = []
    for task in sorted({one.task for one in counts}, key=order.index):
        mine = [one for one in counts if one.task == task]
        found.append(
            TaskCount(
                task=task,
                samples=len(mine),
                longest=max(one.total for one in mine),
                lose_answer=sum(one.lost_target > 0 for one in mine),
                lose_context=sum(one.lost_prompt > 0 for one in mine),
                cut=tuple(one.name for one in mine if one.is_cut),
            )
        )
    return found


def filtered_name(dataset: Dataset, cutoff: int) -> str:
    """Return the name of a dataset without the samples that ``cutoff`` would cut."""
    return f"{dataset.name}_max{cutoff}"


def write_filtered(folder: Path, dataset: Dataset, counts: Sequence[Count], cutoff: int) -> Path:
    """Write a dataset's samples that fit beside it, and enter them in dataset_info.json; return the file.

    Raises:
        InputError: no sample fits.
        OSError: the folder can't be written.
    """
    kept = [dataset.rows[one.row] for one in counts if not one.is_cut]
    if not kept:
        raise InputError(
            f"数据集 {dataset.name} 的样本全都超过 cutoff_len {cutoff}；请调大 cutoff_len。",
            f"All samples of {dataset.name} are longer than cutoff_len {cutoff}; raise cutoff_len.",
        )
    name = filtered_name(dataset, cutoff)
    path = folder / f"{name}.json"
    with atomic_write(path) as file:
        file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in kept) + "\n]\n")
    info = read_dataset_info(folder)
    info[name] = {**dataset.entry, "file_name": path.name}
    # ASCII: LLaMA-Factory opens it in the system's encoding.
    write_text(folder / "dataset_info.json", json.dumps(info, indent=2, ensure_ascii=True) + "\n")
    return path


def dataset_folder(settings: Mapping[str, Any]) -> Path | None:
    """Return the folder of dataset_info.json, None where datasets come from a hub."""
    folder = str(settings.get("dataset_dir") or "data")
    return None if folder == "ONLINE" or folder.startswith("REMOTE:") else place(folder)


def dataset_names(settings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names under ``dataset`` and ``eval_dataset``."""
    return {key: names(settings.get(key)) for key in ("dataset", "eval_dataset")}


def _read_any(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file in another form, as the `datasets` library reads JSON.

    Raises:
        InputError: it is no JSON of rows.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        loaded = [json.loads(line) for line in text.split("\n") if line.strip()] if text.lstrip()[:1] == "{" else None
        rows = json.loads(text) if loaded is None else loaded
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise ValueError("no rows")
    except (OSError, ValueError) as error:
        raise InputError(
            f"读不了数据文件 {file}（{error}）；请检查它是否为 JSON。",
            f"Can't read the data file {file} ({error}); check that it is JSON.",
        ) from None
    return rows
