r"""Topic segmentation (TS): numbered paragraphs in, the numbers of those that end a topic out.

Consecutive sentences of one speaker are joined; a paragraph is one line. One row::

    {"instruction": "…请找出每个主题的最后一段，…",
     "input": "会议内容：\n1. [no.0]: 先定地点。去哪？\n2. [no.2]: 湿地公园吧。 [no.0]: 行。\n3. [no.0]: 再说大巴。",
     "output": "2"}

Windows overlap, since nobody can say of a window's last paragraph whether what follows is another topic: that
paragraph is never asked about, and the next window shows it again with what follows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
    shorten,
    transcript,
    windows,
)

HEADER = "会议内容：\n"
UNDIVIDED = Message("会议没有主题划分", "meeting without topic labels")
OVERLAP = 0.25  # of the token budget: about three paragraphs in four are seen once, the others twice


class TopicSegmentation(Task):
    """Topic boundaries at paragraph ends."""

    name = "topic_segmentation"
    instruction = (
        "你是一个专业的会议助手。以下会议内容每段前有编号，其中可能包含多个主题。"
        f"请找出每个主题的最后一段（不含本片段的最后一段），按从小到大的顺序输出编号，用逗号分隔；没有则输出“{NONE}”。"
    )

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a window of paragraphs."""
        if split != "test" and not meeting.topics:
            yield Skipped(f"{meeting.key}/topics", UNDIVIDED)
            return
        head = self.head_tokens(HEADER)
        ends = meeting.paragraph_ends
        spans = list(zip((0, *ends), ends, strict=False))
        texts = [_paragraph(meeting, before + 1, end) for before, end in spans]
        # Joining the sentences of a paragraph saves some of their marks, so its cost is at most the sum of theirs.
        sentence_costs = transcript(meeting, self.options.count).costs
        extra = number_cost(len(texts))
        costs = [sum(sentence_costs[before:end]) + extra for before, end in spans]
        budget = self.options.max_input_tokens - head
        for index, cost in enumerate(costs):
            if cost > budget // 2:  # so that a window always has room for a paragraph and the one after it
                texts[index], costs[index] = shorten(texts[index], budget // 2), budget // 2
        boundaries = {topic.end for topic in meeting.topics}
        for window in windows(texts, costs, budget, OVERLAP):
            places = ends[window.start : window.stop]
            found = [number for number, place in enumerate(places[:-1], 1) if place in boundaries]
            output = (", ".join(map(str, found)) or NONE) if meeting.topics else ""
            yield Sample(
                id=f"{meeting.key}/topics/{window.start + 1}-{window.stop}",
                instruction=self.instruction,
                input=HEADER + "\n".join(numbered(window.lines)),
                output=output,
                references=(output,) if output else (),
                places=places,
                input_tokens=head + window.tokens,
            )

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read the paragraph numbers."""
        last = (len(sample.places) or sample.input.count("\n")) - 1
        found, repairs = answers.numbers(text, last)
        return Answer(sample, answers.shown(text, found), numbers=found, repairs=repairs)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``topic_segment_ids``: the paragraph ends that at least half of the windows asked call a boundary."""
        asked: dict[int, int] = defaultdict(int)
        named: dict[int, int] = defaultdict(int)
        for answer in answers:
            for number, place in enumerate(answer.sample.places[:-1], 1):
                asked[place] += 1
                named[place] += number in answer.numbers
        ends = [place for place in sorted(asked) if 2 * named[place] >= asked[place] and named[place]]
        last = len(meeting.sentences)
        return {
            "meeting_key": meeting.key,
            "topic_segment_ids": [{"id": end} for end in (*(end for end in ends if end != last), last)],
        }

    def score(self, gold: Sequence[Meeting], rows: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
        """Return 0.5 F1 + 0.25 (1 - Pk + 1 - WD) over paragraph ends, and its parts."""
        return official.topic_segmentation(gold, rows)


def _paragraph(meeting: Meeting, first: int, last: int) -> str:
    parts: list[str] = []
    speaker: str | None = None
    for sentence in meeting.sentences[first - 1 : last]:
        if sentence.speaker != speaker:
            speaker = sentence.speaker
            parts.append(f" [{speaker}]: ")
        parts.append(sentence.text)
    return "".join(parts)[1:]
