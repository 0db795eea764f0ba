r"""Extractive summarization of a topic (ES): one topic's numbered sentences in, the numbers of its key sentences out.

One row::

    {"instruction": "…请选出最能概括该主题的关键句，…",
     "input": "会议内容：\n1. [no.0]: 地点上次说的是湿地公园。\n2. [no.2]: 坐大巴四十分钟就到。\n3. [no.1]: 对对。",
     "output": "1, 2"}

With ``--es_target text`` the output is the sentences themselves, a line each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from mug.errors import Message
from mug.meeting import Meeting, Topic
from mug.metrics import official
from mug.tasks import answers
from mug.tasks.base import (
    NONE,
    Answer,
    Sample,
    Skipped,
    Split,
    Task,
    choose,
    number_cost,
    numbered,
    transcript,
    windows,
)

HEADER = "会议内容：\n"
NO_SUMMARY = Message("主题没有关键句", "topic without key sentences")
ASK_TEXT = (
    "你是一个专业的会议助手。以下会议内容中每句话前有编号，"
    "请选出最能概括内容的关键句，按原文顺序每行输出一句；没有则输出“无”。"
)


class KeySentences(Task):
    """What the summaries of a topic and of a session share: numbered sentences, and the key ones among them."""

    ask_text: ClassVar[str]
    """The instruction with ``--es_target text``."""

    def sentence_samples(
        self,
        meeting: Meeting,
        id: str,
        shown: Sequence[int],
        lists: Sequence[Sequence[int]],
        split: Split,
        topic: int = 0,
    ) -> Iterator[Sample]:
        """Yield a sample for each window of the ``shown`` places and each target made of the annotators' ``lists``."""
        head = self.head_tokens(HEADER)
        lines, costs = transcript(meeting, self.options.count)
        extra = number_cost(len(shown))
        budget = self.options.max_input_tokens - head
        for window in windows([lines[p - 1] for p in shown], [costs[p - 1] + extra for p in shown], budget):
            places = tuple(shown[window.start : window.stop])
            part = id if len(places) == len(shown) else f"{id}/{places[0]}-{places[-1]}"
            made = self.prompt(part, places, window.lines, head + window.tokens)
            targets, references = self.targets(meeting, places, window.lines, lists, split)
            for number, target in enumerate(targets or [""], 1):
                id_of_target = part if number == 1 else f"{part}#{number}"
                yield replace(made, id=id_of_target, output=target, references=references, topic=topic)

    def prompt(self, id: str, places: tuple[int, ...], lines: list[str], cost: int) -> Sample:
        """Return a sample without a target that shows these lines."""
        return Sample(
            id=id,
            instruction=self.question(),
            input=HEADER + "\n".join(numbered(lines)),
            places=places,
            input_tokens=cost,
        )

    def question(self) -> str:
        """Return the instruction that ``--es_target`` asks for."""
        return self.ask_text if self.options.es_target == "text" else self.instruction

    def targets(
        self,
        meeting: Meeting,
        places: Sequence[int],
        lines: Sequence[str],
        lists: Sequence[Sequence[int]],
        split: Split,
    ) -> tuple[list[str], tuple[str, ...]]:
        """Return the targets and references of a prompt that shows these places in these lines."""
        number_of = {place: number for number, place in enumerate(places, 1)}
        texts = {}
        if self.options.es_target == "text":
            texts = {p: _text(meeting, p, line) for p, line in zip(places, lines, strict=True)}
        targets = [self._target(chosen, number_of, texts) for chosen in choose(lists, self.who(split))]
        return targets, tuple(self._target(chosen, number_of, texts) for chosen in choose(lists, "all"))

    def _target(self, chosen: Sequence[int], number_of: Mapping[int, int], texts: Mapping[int, str]) -> str:
        shown = [place for place in chosen if place in number_of]  # what the window does not show can't be asked for
        if self.options.es_target == "text":
            return "\n".join(texts[place] for place in shown) or NONE
        return ", ".join(str(number_of[place]) for place in shown) or NONE

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read the numbers, or find the prompt's lines that the answer quotes."""
        if sample.instruction == self.ask_text:
            shown = sample.input.removeprefix(HEADER).split("\n")
            found, repairs = answers.quoted(text, shown)
            said = "\n".join(shown[number - 1].split("]: ", 1)[-1] for number in found)
        else:
            found, repairs = answers.numbers(text, len(sample.places) or sample.input.count("\n"))
            said = ", ".join(map(str, found))
        return Answer(sample, said or answers.shown(text, found), numbers=found, repairs=repairs)

    def score(self, gold: Sequence[Meeting], rows: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
        """Return the track's ROUGE of topics and session, average and best over the references, and their mean."""
        return official.extractive_summarization(gold, rows)


def inside(topic: Topic) -> list[list[int]]:
    """Return each annotator's key sentences that lie in the topic."""
    return [[p for p in c.key_sentences if topic.start <= p <= topic.end] for c in topic.candidates]


def _text(meeting: Meeting, place: int, line: str) -> str:
    """Return a sentence as its line in the prompt has it: shortened, if it is one of 100,000 characters."""
    return line.removeprefix(f"[{meeting.sentences[place - 1].speaker}]: ")


class ExtractiveSummary(KeySentences):
    """Key sentences of each topic."""

    name = "extractive_summary"
    instruction = (
        "你是一个专业的会议助手。以下会议内容片段属于同一个主题，每句话前有编号。"
        "请选出最能概括该主题的关键句，按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    )
    ask_text = ASK_TEXT
    candidates = {"train": "union", "dev": "first", "test": "first"}

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield the samples of each topic; key sentences outside their topic are left out of the target."""
        for topic in meeting.topics:
            id = f"{meeting.key}/summary/{topic.end}"
            lists = inside(topic)
            if split != "test" and not any(lists):
                yield Skipped(id, NO_SUMMARY)
                continue
            shown = range(topic.start, topic.end + 1)
            yield from self.sentence_samples(meeting, id, shown, lists, split, topic.end)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``topic_segment_ids`` with the key sentences of each topic, all windows' together."""
        by_topic: dict[int, set[int]] = {topic.end: set() for topic in meeting.topics}
        for answer in answers:
            by_topic[answer.sample.topic].update(answer.sample.places[number - 1] for number in answer.numbers)
        return {
            "meeting_key": meeting.key,
            "topic_segment_ids": [
                {"id": end, "key_sentence": [str(place) for place in sorted(places)]}
                for end, places in by_topic.items()
            ],
        }
