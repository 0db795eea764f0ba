r"""The layout ``shared``: the transcript once, as a turn of its own, and each task's question after it.

One prompt (a row of dev, or a branch of a row of train)::

    {"history": [["…之后会有关于它的问题。\n会议内容：\n1. [no.0]: 去湿地公园吧。\n2. [no.2]: 行。", "好的。"]],
     "instruction": "请生成一个简洁准确的主题标题。",
     "input": "",
     "output": "确定春游地点"}

Titles and key sentences are asked about the same topic; boundaries, keyphrases and action items about the same window
of the session, in which an empty line stands between paragraphs. So a model reads a transcript once for all of them:
system prompt, transcript and acknowledgement are the same tokens, whatever is asked, and nothing asked depends on
which other tasks are asked.

The classes here only ask. Targets, the reading of answers, merging and scores are those of the separate tasks, but
for what overlapping windows of sentences change: a boundary is named by its sentence, and a phrase that two windows
show in the same place is counted once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from mug.meeting import Meeting, Topic
from mug.tasks import answers
from mug.tasks.action_item_detection import ActionItemDetection
from mug.tasks.base import (
    NONE,
    Answer,
    Sample,
    Skipped,
    Split,
    Task,
    Window,
    number_cost,
    numbered,
    transcript,
    windows,
)
from mug.tasks.extractive_summary import HEADER, NO_SUMMARY, ExtractiveSummary, inside
from mug.tasks.keyphrase_extraction import NO_PHRASES, KeyphraseExtraction, said
from mug.tasks.session_summary import SessionSummary
from mug.tasks.title_generation import UNTITLED, TitleGeneration
from mug.tasks.topic_segmentation import UNDIVIDED, TopicSegmentation

TOPIC = "你是一个专业的会议助手。以下会议内容片段属于同一个主题，每句话前有编号，之后会有关于它的问题。"
WINDOW = "你是一个专业的会议助手。以下会议内容每句话前有编号，段落之间有空行，之后会有关于它的问题。"
SESSION = "你是一个专业的会议助手。以下是一场会议各主题的关键句，每句话前有编号，之后会有关于它们的问题。"
ACKNOWLEDGEMENT = "好的。"

OVERLAP = 0.125
"""Of the token budget: half of `topic_segmentation`'s, since what is seen twice is paid for by three tasks."""

TURN_TOKENS = 16
"""What a turn after the transcript costs beside its question and answer; the acknowledgement counts as the first's."""

MOVED = "moved to the paragraph's end"


class Block(NamedTuple):
    """A piece of transcript that several tasks ask about.

    ``places`` are those of its ``lines``; ``turn`` is what the user says, of ``tokens`` tokens.
    """

    places: tuple[int, ...]
    lines: list[str]
    turn: str
    tokens: int


class Asking(Task):
    """What the tasks of this layout share: prompts whose transcript is an earlier turn."""

    opening: ClassVar[str]
    """The sentence before the transcript."""

    def head_tokens(self, header: str, instruction: str = "") -> int:
        """Return what the opening (no instruction stands before the transcript) and the input's first line cost."""
        return super().head_tokens(header, instruction or self.opening)

    def asked(
        self,
        block: Block,
        id: str,
        targets: Sequence[str],
        references: Sequence[str],
        topic: int = 0,
        question: str = "",
    ) -> Iterator[Sample]:
        """Yield the question about a block (the task's own by default), once for each target."""
        question = question or self.instruction
        cost = block.tokens + TURN_TOKENS + self.options.count([question])[0]
        for number, target in enumerate(targets, 1):
            yield Sample(
                id=id if number == 1 else f"{id}#{number}",
                instruction=question,
                input="",
                output=target,
                references=tuple(references),
                places=block.places,
                topic=topic,
                input_tokens=cost,
                history=((block.turn, ACKNOWLEDGEMENT),),
            )

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read an answer as the separate task does, to which the transcript is the input."""
        return replace(super().parse(text, replace(sample, input=as_input(sample))), sample=sample)  # type: ignore[safe-super]


def as_input(sample: Sample) -> str:
    """Return what a separate prompt would have as its input: header and numbered lines, no empty ones between."""
    if sample.input or not sample.history:
        return sample.input
    return "\n".join(line for line in sample.history[0][0].split("\n")[1:] if line)


# ------------------------------------------------------------------------------------------------- about a topic


class AskingTopic(Asking):
    """Tasks that ask about a topic."""

    opening = TOPIC

    def topic_blocks(self, meeting: Meeting, topic: Topic) -> list[Block]:
        """Return the topic's numbered sentences; several blocks if they are likely to be over the budget."""
        head = self.head_tokens(HEADER)
        all_lines, all_costs = transcript(meeting, self.options.count)
        lines = all_lines[topic.start - 1 : topic.end]
        extra = number_cost(len(lines))
        costs = [cost + extra for cost in all_costs[topic.start - 1 : topic.end]]
        cut = TitleGeneration(self.options).topic_windows(lines, costs, self.options.max_input_tokens - head)
        return [
            Block(
                places=tuple(range(topic.start + window.start, topic.start + window.stop)),
                lines=window.lines,
                turn=f"{self.opening}\n{HEADER}" + "\n".join(numbered(window.lines)),
                tokens=head + window.tokens,
            )
            for window in cut
        ]

    def part(self, id: str, block: Block, topic: Topic) -> str:
        """Name the sample; of a topic in several blocks the sentences, too."""
        whole = len(block.places) == topic.end - topic.start + 1
        return id if whole else f"{id}/{block.places[0]}-{block.places[-1]}"


class AskTitle(AskingTopic, TitleGeneration):
    """The title of a topic."""

    instruction = "请生成一个简洁准确的主题标题。"

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a topic and target, several where a topic is over the token budget."""
        for topic in meeting.topics:
            id = f"{meeting.key}/title/{topic.end}"
            titles, references = self.titles(topic, split)
            if not titles and split != "test":
                yield Skipped(id, UNTITLED)
                continue
            for block in self.topic_blocks(meeting, topic):
                yield from self.asked(block, self.part(id, block, topic), titles or [""], references, topic.end)


class AskSummary(AskingTopic, ExtractiveSummary):
    """The key sentences of a topic."""

    instruction = "请选出最能概括该主题的关键句，按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    ask_text = "请选出最能概括该主题的关键句，按原文顺序每行输出一句；没有则输出“无”。"

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a topic and target, several where a topic is over the token budget."""
        for topic in meeting.topics:
            id = f"{meeting.key}/summary/{topic.end}"
            lists = inside(topic)
            if split != "test" and not any(lists):
                yield Skipped(id, NO_SUMMARY)
                continue
            for block in self.topic_blocks(meeting, topic):
                targets, references = self.targets(meeting, block.places, block.lines, lists, split)
                part = self.part(id, block, topic)
                yield from self.asked(block, part, targets or [""], references, topic.end, self.question())


# --------------------------------------------------------------------------------------- about a window of the session


class AskingWindow(Asking):
    """Tasks that ask about a window of the session."""

    opening = WINDOW

    def window_blocks(self, meeting: Meeting) -> list[Block]:
        """Cut the session into windows of whole paragraphs that overlap, as `topic_segmentation` needs it.

        The last paragraph of a window is in the next one, with what follows it. A paragraph over half of the budget,
        after which no other might fit, goes in pieces.
        """
        head = self.head_tokens(HEADER)
        budget = self.options.max_input_tokens - head
        ends = set(meeting.paragraph_ends)
        lines, bare = transcript(meeting, self.options.count)
        extra = number_cost(min(len(lines), budget // min(bare)))  # more lines no window has
        costs = [cost + extra + (place in ends) for place, cost in enumerate(bare, 1)]  # the empty line
        pieces = [
            Window(first + piece.start, first + piece.stop, piece.lines, piece.tokens)
            for first, last in zip((0, *meeting.paragraph_ends), meeting.paragraph_ends, strict=False)
            for piece in windows(lines[first:last], costs[first:last], budget // 2)
        ]
        blocks: list[Block] = []
        for run in windows([""] * len(pieces), [piece.tokens for piece in pieces], budget, OVERLAP):
            shown = pieces[run.start : run.stop]
            here = [line for piece in shown for line in piece.lines]
            places = tuple(range(shown[0].start + 1, shown[-1].stop + 1))
            texts = [
                f"{line}\n" if place in ends and place != places[-1] else line
                for place, line in zip(places, numbered(here), strict=True)
            ]
            blocks.append(Block(places, here, f"{self.opening}\n{HEADER}" + "\n".join(texts), head + run.tokens))
        return blocks

    def part(self, id: str, block: Block) -> str:
        """Name the sample."""
        return f"{id}/{block.places[0]}-{block.places[-1]}"


class AskBoundaries(AskingWindow, TopicSegmentation):
    """The last sentences of topics."""

    instruction = (
        "其中可能包含多个主题。请找出每个主题的最后一句（不含最后一段），按从小到大的顺序输出编号，用逗号分隔；"
        f"没有则输出“{NONE}”。"
    )

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a window."""
        id = f"{meeting.key}/topics"
        if split != "test" and not meeting.topics:
            yield Skipped(id, UNDIVIDED)
            return
        boundaries = {topic.end for topic in meeting.topics}
        for block in self.window_blocks(meeting):
            found = [number for number in ends_asked(block.turn) if block.places[number - 1] in boundaries]
            output = (", ".join(map(str, found)) or NONE) if meeting.topics else ""
            yield from self.asked(block, self.part(id, block), [output], [output] if output else [])

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read the sentence numbers; one inside a paragraph is moved to the paragraph's end."""
        ends = ends_asked(sample.history[0][0])
        found, repairs = answers.numbers(text, ends[-1] if ends else 0)
        moved = tuple(sorted({ends[bisect_left(ends, number)] for number in found}))
        if moved != found:
            repairs += (MOVED,)
        return Answer(sample, answers.shown(text, moved), numbers=moved, repairs=repairs)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``topic_segment_ids``, merged as those of the separate task after sentences became paragraphs."""
        return super().submission(meeting, list(map(_by_paragraph, answers)))


def ends_asked(turn: str) -> list[int]:
    r"""Return the numbers of the lines that end a paragraph, without the last one's.

    >>> ends_asked("…\n会议内容：\n1. [甲]: 去哪？\n2. [甲]: 说说。\n\n3. [乙]: 公园。\n\n4. [甲]: 行。")
    [2, 3]
    """
    count, ends = 0, []
    for line in turn.split("\n")[2:]:
        count += bool(line)
        if not line:
            ends.append(count)
    return ends


def _by_paragraph(answer: Answer) -> Answer:
    sample = answer.sample
    ends = ends_asked(sample.history[0][0])
    places = (*(sample.places[number - 1] for number in ends), sample.places[-1])
    numbers = tuple(paragraph for paragraph, number in enumerate(ends, 1) if number in answer.numbers)
    return replace(answer, sample=replace(sample, places=places), numbers=numbers)


class AskPhrases(AskingWindow, KeyphraseExtraction):
    """Keyphrases."""

    instruction = f"请提取关键词，按重要程度从高到低输出，用顿号分隔；没有则输出“{NONE}”。"

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a window and target."""
        id = f"{meeting.key}/keyphrases"
        lists = [candidate.key_words for candidate in meeting.candidates if candidate.key_words]
        if split != "test" and not lists:
            yield Skipped(id, NO_PHRASES)
            return
        blocks = self.window_blocks(meeting)
        for block in blocks:
            here = lists if len(blocks) == 1 else said("\n".join(block.lines), lists)
            yield from self.asked(block, self.part(id, block), *self.targets(here, split))

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``key_word``, merged as those of the separate task.

        A window has no vote for a phrase that it says only in what the window before it showed and named as well.
        """
        votes: list[Answer] = []
        named: set[str] = set()
        shown = 0  # the last place of the windows before
        for answer in sorted(answers, key=lambda answer: answer.sample.places):
            places = answer.sample.places
            old, new = (
                "\n".join(meeting.sentences[place - 1].text for place in places if (place > shown) == is_new)
                for is_new in (False, True)
            )
            counted = {phrase for phrase in named if phrase in old and phrase not in new}
            votes.append(replace(answer, phrases=tuple(phrase for phrase in answer.phrases if phrase not in counted)))
            shown, named = places[-1], set(answer.phrases)
        return super().submission(meeting, votes)


class AskActions(AskingWindow, ActionItemDetection):
    """Action items."""

    instruction = (
        "请找出包含行动项（会后需要有人完成的具体任务）的句子，按从小到大的顺序输出编号，用逗号分隔；"
        f"没有则输出“{NONE}”。"
    )

    def prompts(self, meeting: Meeting) -> list[Sample]:
        """Return a sample without a target for each window."""
        id = f"{meeting.key}/actions"
        return [
            sample
            for block in self.window_blocks(meeting)
            for sample in self.asked(block, self.part(id, block), [""], [])
        ]


# ------------------------------------------------------------------------------------------ about the key sentences


class AskSession(Asking, SessionSummary):
    """The key sentences of the session, of the topics' key sentences: a conversation of its own."""

    opening = SESSION
    instruction = "请从中选出最能概括整场会议的关键句，按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    ask_text = "请从中选出最能概括整场会议的关键句，按原文顺序每行输出一句；没有则输出“无”。"

    def prompt(self, id: str, places: tuple[int, ...], lines: list[str], cost: int) -> Sample:
        """Return the question without a target about a turn that shows these lines."""
        turn = f"{self.opening}\n{HEADER}" + "\n".join(numbered(lines))
        (sample,) = self.asked(Block(places, lines, turn, cost), id, [""], [], question=self.question())
        return sample


SHARED_TASKS: dict[str, type[Task]] = {
    task.name: task for task in (AskTitle, AskSummary, AskSession, AskBoundaries, AskPhrases, AskActions)
}
"""The tasks of this layout by the name that ``--task`` takes."""
