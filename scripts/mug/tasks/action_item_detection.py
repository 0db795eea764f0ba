r"""Action item detection (AID): a window of numbered sentences in, the numbers of the action sentences out, or 无.

One row::

    {"instruction": "…请找出包含行动项的句子，…",
     "input": "会议内容：\n1. [no.0]: 大巴谁来订？\n2. [no.1]: 我来订吧。\n3. [no.0]: 那周三之前把报价发群里。",
     "output": "2, 3"}

One sentence in 200 is an action item, and most windows hold none: in train only as many of those are kept as
``negative_ratio`` says, in dev all of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mug.errors import Message
from mug.meeting import Meeting
from mug.metrics import official
from mug.tasks import answers
from mug.tasks.base import (
    NONE,
    Answer,
    Sample,
    Skipped,
    Split,
    Task,
    number_cost,
    numbered,
    transcript,
    windows,
)

HEADER = "会议内容：\n"
UNLABELLED = Message("会议没有行动项标注", "meeting without action item labels")
NOT_KEPT = Message("没有行动项的窗口，按比例未取", "window without an action item, not kept by the ratio")


class ActionItemDetection(Task):
    """Sentences that give somebody something to do."""

    name = "action_item_detection"
    instruction = (
        "你是一个专业的会议助手。以下会议内容每句话前有编号。请找出包含行动项（会后需要有人完成的具体任务）的句子，"
        f"按从小到大的顺序输出编号，用逗号分隔；没有则输出“{NONE}”。"
    )

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a window; in train windows without an action item by ``negative_ratio``."""
        if split != "test" and meeting.action_ids is None:
            yield Skipped(f"{meeting.key}/actions", UNLABELLED)
            return
        prompts = self.prompts(meeting)
        actions = set(meeting.action_ids or ())
        kept = self.kept(meeting.key, prompts, actions) if split == "train" else set(range(len(prompts)))
        for index, sample in enumerate(prompts):
            if index not in kept:
                yield Skipped(sample.id, NOT_KEPT)
                continue
            found = [number for number, place in enumerate(sample.places, 1) if place in actions]
            output = "" if meeting.action_ids is None else ", ".join(map(str, found)) or NONE
            yield replace(sample, output=output, references=(output,) if output else ())

    def prompts(self, meeting: Meeting) -> list[Sample]:
        """Return a sample without a target for each window of sentences."""
        head = self.head_tokens(HEADER)
        lines, costs = transcript(meeting, self.options.count)
        extra = number_cost(len(lines))
        return [
            Sample(
                id=f"{meeting.key}/actions/{window.start + 1}-{window.stop}",
                instruction=self.instruction,
                input=HEADER + "\n".join(numbered(window.lines)),
                places=tuple(range(window.start + 1, window.stop + 1)),
                input_tokens=head + window.tokens,
            )
            for window in windows(lines, [cost + extra for cost in costs], self.options.max_input_tokens - head)
        ]

    def kept(self, key: str, prompts: Sequence[Sample], actions: set[int]) -> set[int]:
        """Return which windows train asks about.

        They are chosen by meeting, so that the choice needs no second pass and does not depend on the other meetings.
        """
        positive = {index for index, sample in enumerate(prompts) if not actions.isdisjoint(sample.places)}
        negative = [index for index in range(len(prompts)) if index not in positive]
        # A meeting without any action item still says what an ordinary meeting looks like: it counts as one.
        number = min(len(negative), math.ceil(self.options.negative_ratio * max(1, len(positive))))
        return positive | set(random.Random(f"{self.options.seed}/{key}").sample(negative, number))

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read the sentence numbers."""
        found, repairs = answers.numbers(text, len(sample.places) or sample.input.count("\n"))
        return Answer(sample, answers.shown(text, found), numbers=found, repairs=repairs)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``action_ids``, all windows' together."""
        places = {answer.sample.places[number - 1] for answer in answers for number in answer.numbers}
        return {"meeting_key": meeting.key, "action_ids": [{"id": place} for place in sorted(places)]}

    def score(self, gold: Sequence[Meeting], rows: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
        """Return precision, recall and F1 of the positive class, pooled over all sentences."""
        return official.action_item_detection(gold, rows)
