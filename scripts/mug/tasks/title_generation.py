r"""Topic title generation (TTG): one topic's sentences in, its title out.

One row, in the form that the predecessor wrote::

    {"instruction": "你是一个专业的会议助手。请根据以下会议内容片段，生成一个简洁准确的主题标题。",
     "input": "会议内容：\n[no.0]: 地点上次说的是湿地公园。\n[no.2]: 我觉得湿地公园挺好的。",
     "output": "确定春游地点"}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mug import tokens
from mug.errors import Message
from mug.meeting import Meeting, Topic
from mug.metrics import official
from mug.tasks import answers
from mug.tasks.base import Answer, Sample, Skipped, Split, Task, Window, annotators, transcript, windows

HEADER = "会议内容：\n"
UNTITLED = Message("主题没有标题", "topic without a title")


class TitleGeneration(Task):
    r"""Topic title generation."""

    name = "title_generation"
    instruction = "你是一个专业的会议助手。请根据以下会议内容片段，生成一个简洁准确的主题标题。"
    candidates = {"train": "all", "dev": "first", "test": "first"}

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a topic, and one an annotator where ``all`` is asked for.

        A topic over the token budget goes in several windows that share its title.
        """
        head = self.head_tokens(HEADER)
        lines, all_costs = transcript(meeting, self.options.count)
        for topic in meeting.topics:
            id = f"{meeting.key}/title/{topic.end}"
            titles, references = self.titles(topic, split)
            if not titles and split != "test":
                yield Skipped(id, UNTITLED)
                continue
            texts, costs = lines[topic.start - 1 : topic.end], all_costs[topic.start - 1 : topic.end]
            for window in self.topic_windows(texts, costs, self.options.max_input_tokens - head):
                first, last = topic.start + window.start, topic.start + window.stop - 1
                part = id if (first, last) == (topic.start, topic.end) else f"{id}/{first}-{last}"
                for number, title in enumerate(titles or [""], 1):
                    yield Sample(
                        id=part if number == 1 else f"{part}#{number}",
                        instruction=self.instruction,
                        input=HEADER + "\n".join(window.lines),
                        output=title,
                        references=references,
                        places=tuple(range(first, last + 1)),
                        topic=topic.end,
                        input_tokens=head + window.tokens,
                    )

    def titles(self, topic: Topic, split: Split) -> tuple[list[str], tuple[str, ...]]:
        """Return a topic's targets and references."""
        references = tuple(c.title for c in topic.candidates if c.title)
        titles = [c.title for c in annotators(topic.candidates, self.who(split)) if c.title]
        return titles or list(references[:1]), references  # the first title that isn't blank

    def topic_windows(self, texts: list[str], costs: list[int], budget: int) -> list[Window]:
        """Cut a topic only if it is likely to be over the budget."""
        total = sum(costs)
        if total <= budget or (self.options.count is tokens.estimate and _likely_tokens(texts, total) <= budget):
            return [Window(0, len(texts), texts, total)]
        return windows(texts, costs, budget)

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read the title."""
        title, repairs = answers.title(text)
        return Answer(sample, title, repairs=repairs)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``topic_segment_ids`` with a title each; of several windows' titles the one most like the others."""
        by_topic: dict[int, list[str]] = {topic.end: [] for topic in meeting.topics}
        for answer in answers:
            if answer.text:
                by_topic[answer.sample.topic].append(answer.text)
        return {
            "meeting_key": meeting.key,
            "topic_segment_ids": [{"id": end, "title": _consensus(titles)} for end, titles in by_topic.items()],
        }

    def score(self, gold: Sequence[Meeting], rows: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
        """Return ROUGE-1/2/L, average and best over the references, and their mean."""
        return official.topic_title_generation(gold, rows)


def _likely_tokens(texts: Sequence[str], estimate: int) -> float:
    """Return what a topic costs when a character of ordinary speech costs 3/4 token, and any other its estimate.

    None of 443 real topics costs more; so one that is over the budget by the estimate alone stays the one sample that
    the predecessor made of it, while one full of digits (a token each), rare characters or emoji is cut.
    """
    text = "\n".join(texts)
    other = sum(map(text.count, "0123456789")) + estimate - len(text)
    return estimate - max(0, len(text) - other) / 4


def _consensus(titles: Sequence[str]) -> str:
    def alikeness(title: str) -> float:
        return sum(len(set(title) & set(other)) / len(set(title) | set(other)) for other in titles)

    return max(titles, key=alikeness, default="")
