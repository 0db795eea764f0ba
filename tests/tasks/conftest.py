"""Making samples, and reading targets back as if a model had said them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from mug import tokens
from mug.meeting import Meeting, Sentence
from mug.tasks.base import Sample, Skipped, Task


@pytest.fixture
def samples_of() -> Callable[..., list[Sample]]:
    def made(task: Task, meeting: Meeting, split: Any = "dev") -> list[Sample]:
        return [sample for sample in task.samples(meeting, split) if isinstance(sample, Sample)]

    return made


@pytest.fixture
def skipped_of() -> Callable[..., list[str]]:
    def made(task: Task, meeting: Meeting, split: Any = "dev") -> list[str]:
        return [f"{s.id}: {s.reason.en}" for s in task.samples(meeting, split) if isinstance(s, Skipped)]

    return made


@pytest.fixture
def gold_row(samples_of: Any) -> Callable[[Task, Meeting], dict[str, Any]]:
    """The submission row when every answer is the target itself."""

    def row(task: Task, meeting: Meeting) -> dict[str, Any]:
        return task.submission(meeting, [task.parse(s.output, s) for s in samples_of(task, meeting)])

    return row


@pytest.fixture
def submit() -> Callable[[Task, Meeting, Sequence[tuple[Sample, str]]], dict[str, Any]]:
    def row(task: Task, meeting: Meeting, said: Sequence[tuple[Sample, str]]) -> dict[str, Any]:
        return task.submission(meeting, [task.parse(text, sample) for sample, text in said])

    return row


@pytest.fixture
def long_meeting(case: Any, meeting_of: Any) -> Callable[..., Meeting]:
    """A meeting of ``count`` numbered sentences, a paragraph each three of them; keyword arguments replace labels."""

    def build(count: int = 60, length: int = 20, **labels: Any) -> Meeting:
        sentences = tuple(Sentence("甲乙"[i % 2], f"第{i}句" + "话" * length) for i in range(1, count + 1))
        ends = tuple(range(3, count, 3)) + (count,)
        empty = replace(meeting_of(case()), sentences=sentences, paragraph_ends=ends, topics=(), candidates=())
        return replace(empty, **({"action_ids": ()} | labels))

    return build


@pytest.fixture
def fits() -> Callable[[Sequence[Sample], int], bool]:
    """No prompt costs more than the budget, nor more than the sample says."""

    def check(samples: Sequence[Sample], budget: int) -> bool:
        costs = tokens.estimate([f"{sample.instruction}\n{sample.input}" for sample in samples])
        return all(cost <= sample.input_tokens <= budget for cost, sample in zip(costs, samples, strict=True))

    return check
