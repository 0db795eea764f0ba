"""How long the samples are in tokens, as training will see them, and what a ``cutoff_len`` would lose.

A sample is what LLaMA-Factory makes of an Alpaca row: system prompt, role marks, prompt, target, end token. Past
``cutoff_len`` the end of the prompt is cut, the mark that begins the answer with it; with packing the sample is
dropped.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mug import tokens
from mug.errors import InputError
from mug.files import atomic_write
from mug.training.template_tokens import Pieces, tokens_of

LIMITS = (1024, 2048, 2560, 4096, 8192, 16384)
PERCENTILES = (50, 90, 95, 99, 100)
STEP = 256  # a cutoff_len is rounded up to a multiple of it

Measure = Callable[[Sequence[Mapping[str, Any]]], Iterator["Length"]]
"""Alpaca rows to their lengths, in order."""


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of a sample's prompt, all before the answer, and of its target with the end token."""

    prompt: int
    target: int

    @property
    def total(self) -> int:
        """What has to fit into ``cutoff_len``."""
        return self.prompt + self.target


def estimate(rows: Sequence[Mapping[str, Any]]) -> Iterator[Length]:
    """Yield upper bounds, without a tokenizer."""
    prompts = tokens.estimate([_message(row) for row in rows])
    targets = tokens.estimate([row["output"] for row in rows])
    for prompt, target in zip(prompts, targets, strict=True):
        yield Length(prompt + tokens.TEMPLATE, target + 2)  # <|im_end|> and the line break after it


def measure_with(model: str | Path, template: str) -> Measure:
    """Return a measure that encodes as LLaMA-Factory does, by the tokenizer of ``model`` and the template's own code.

    Raises:
        InputError: there is no such tokenizer, or no such template.
    """
    from transformers import AutoTokenizer

    from mug.generation.chat import chat_template

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model))
    except Exception as error:  # what is raised depends on what is missing, and on the hub's client
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"读不了 {model} 的分词器（{reason}）；请检查 --tokenizer，或先运行 python scripts/download_model.py。",
            f"Can't read the tokenizer of {model} ({reason}); check --tokenizer, or run scripts/download_model.py "
            "first.",
        ) from None
    try:
        made = chat_template(tokenizer, template)
    except ValueError as error:
        raise InputError(
            f"LLaMA-Factory 没有模板 {template}（{error}）；请检查 --template，Qwen2.5 用 qwen。",
            f"LLaMA-Factory has no template {template} ({error}); check --template, Qwen2.5 takes qwen.",
        ) from None

    def measure(rows: Sequence[Mapping[str, Any]]) -> Iterator[Length]:
        for start in range(0, len(rows), 256):
            some = rows[start : start + 256]
            pieces = Pieces(tokenizer)
            encoded = []
            for row in some:
                messages = [
                    {"role": "user", "content": _message(row)},
                    {"role": "assistant", "content": row["output"]},
                ]
                encoded.append(made.encode_oneturn(pieces, messages))
            counts = pieces.counts()
            for prompt, target in encoded:
                yield Length(tokens_of(prompt, counts), tokens_of(target, counts) + bool(made.efficient_eos))

    return measure


def _message(row: Mapping[str, Any]) -> str:
    """Return the user's turn as LLaMA-Factory's Alpaca converter makes it."""
    return f"{row['instruction']}\n{row['input']}" if row.get("input") else str(row["instruction"])


# ------------------------------------------------------------------------------------------- what follows from them


def percentile(lengths: Sequence[int], percent: float) -> int:
    """Return the least length that at least ``percent`` of the samples do not exceed.

    >>> percentile([1, 2, 3, 10], 50), percentile([1, 2, 3, 10], 100)
    (2, 10)
    """
    ordered = sorted(lengths)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def statistics(lengths: Sequence[Length]) -> dict[str, Any]:
    """Return count, means and percentiles of some samples."""
    totals = [length.total for length in lengths]
    return {
        "samples": len(totals),
        "mean": round(sum(totals) / len(totals), 1),
        "percentiles": {str(percent): percentile(totals, percent) for percent in PERCENTILES},
        "mean_prompt": round(sum(length.prompt for length in lengths) / len(totals), 1),
        "mean_target": round(sum(length.target for length in lengths) / len(totals), 1),
        "longest_target": max(length.target for length in lengths),
    }


def over(totals: Sequence[int], limit: int) -> int:
    """Return how many samples are longer than ``limit``."""
    return sum(total > limit for total in totals)


def recommended(totals: Sequence[int]) -> int:
    """Return the least multiple of 256 that cuts no sample.

    >>> recommended([1800, 2242]), recommended([256])
    (2304, 256)
    """
    return -(-max(totals) // STEP) * STEP


def packs(totals: Sequence[int], capacity: int) -> int:
    """Return into how many packs of ``capacity`` tokens the samples go, longer ones left out.

    The rule of LLaMA-Factory's ``greedy_knapsack``: a pack takes the longest sample that still fits, again and again.

    >>> packs([3, 3, 2, 9], 5)
    2
    """
    left = sorted(total for total in totals if total <= capacity)
    count = 0
    while left:
        room, count = capacity, count + 1
        while (place := bisect_right(left, room)) > 0:
            room -= left.pop(place - 1)
    return count


def padding_share(totals: Sequence[int], batch: int, seed: int = 42) -> float:
    """Return the share of padding when samples are drawn into batches at random, each padded to its longest."""
    order = list(totals)
    random.Random(seed).shuffle(order)
    groups = [order[start : start + batch] for start in range(0, len(order), batch)]
    padded = sum(len(group) * max(group) for group in groups)
    return 1 - sum(order) / padded


def write_picture(by_task: Mapping[str, Sequence[int]], cutoff_len: int, path: Path) -> None:
    """Draw histogram and cumulative share as a PNG; its words are English, since fonts may lack Chinese."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    count, share = figure.subplots(2, 1, sharex=True)
    names, values = list(by_task), [list(totals) for totals in by_task.values()]
    largest = max(max(totals) for totals in values)
    width = next(step for step in (16, 32, 64, 128, 256, 512, 1024, 4096, 1 << 30) if largest / step <= 60)
    edges = list(range(0, (largest // width + 2) * width, width))
    count.hist(values, bins=edges, stacked=True, label=names)
    ordered = sorted(total for totals in values for total in totals)
    share.step(ordered, [100 * (place + 1) / len(ordered) for place in range(len(ordered))], where="post")
    for axes in (count, share):
        axes.axvline(cutoff_len, color="tab:red", linestyle="--", label=f"recommended cutoff_len {cutoff_len}")
        for limit in LIMITS:
            if limit < 1.3 * largest:
                axes.axvline(limit, color="tab:gray", linewidth=0.6, alpha=0.6)
        axes.grid(alpha=0.25)
    count.set_ylabel("samples")
    share.set_ylabel("share of samples up to this length, %")
    share.set_xlabel("tokens of prompt and target (gray: 1024, 2048, 2560, 4096, ...)")
    figure.legend(*count.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=9)
    with atomic_write(path) as file:
        figure.savefig(file.buffer, format="png", dpi=120)
