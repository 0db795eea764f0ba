"""The one interface behind which the five MUG tasks stand.

Preprocessing, generation and evaluation use only `Task`, so the prompt that a model is scored on is the prompt
that it was trained on. A task goes both ways:

    meeting  --samples-->  prompts and targets  --model-->  texts  --parse-->  answers  --submission-->  challenge row
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, ClassVar, Literal, NamedTuple

from mug import tokens
from mug.errors import InputError, Message
from mug.meeting import Candidate, Meeting

Split = Literal["train", "dev", "test"]

SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
"""The system prompt of training, chat, merge and evaluation: that of LLaMA-Factory's template `qwen`, so that its
web UI and API, which set none, agree with it. The configs repeat it as `default_system`; a test compares them."""

NONE = "无"
"""The target, and the accepted answer, when there is nothing to name."""


@dataclass(frozen=True)
class Options:
    """How meetings become samples.

    ``max_input_tokens`` bounds instruction and input together (in the layout ``shared`` the turn with the transcript),
    counted by ``count``. ``candidates`` is None for each
    task's own default. ``negative_ratio`` is the number of action item windows without an action that are kept in
    train for each window with one. ``es_target`` is ``ids`` or ``text``.
    """

    max_input_tokens: int = 2400
    count: tokens.Counter = tokens.estimate
    candidates: str | None = None
    es_target: str = "ids"
    negative_ratio: float = 1.0
    seed: int = 42


@dataclass(slots=True)
class Sample:
    """One prompt with its target.

    ``references`` holds the target as each annotator would have it; ``places`` the place in the meeting of each
    numbered line of the prompt (of a paragraph its last sentence); ``topic`` the last sentence of the topic asked
    about; ``input_tokens`` what instruction and input cost, numbers before lines at their most. ``output``
    is empty when the meeting carries no label for it (split ``test``). ``history`` are earlier turns, what the user
    said and what was answered: in the layout ``shared`` the transcript, which several questions go on from.
    """

    id: str
    instruction: str
    input: str
    output: str = ""
    references: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    topic: int = 0
    input_tokens: int = 0
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Skipped:
    """A sample that was not made, and why."""

    id: str
    reason: Message


@dataclass(frozen=True)
class Answer:
    """What a model said to a sample: the cleaned text, the numbers or phrases read from it, and what was repaired."""

    sample: Sample
    text: str
    numbers: tuple[int, ...] = ()
    phrases: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


class Task(ABC):
    """One MUG task."""

    name: ClassVar[str]
    instruction: ClassVar[str]
    candidates: ClassVar[Mapping[str, str]] = {"train": "first", "dev": "first", "test": "first"}
    """Whose labels are the target, by split, as the official baselines do."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    @abstractmethod
    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield the samples of one meeting in order; what a labelled split can't use is yielded as `Skipped`.

        ``dev`` yields a sample for whatever is scored; ``test`` the same prompts without needing labels.

        Raises:
            InputError: ``max_input_tokens`` leaves no room beside the instruction.
        """

    @abstractmethod
    def parse(self, text: str, sample: Sample) -> Answer:
        """Read a model's answer; never raises, whatever ``text`` is."""

    @abstractmethod
    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Merge the answers to a meeting's samples into its row of the challenge's submission file."""

    @abstractmethod
    def score(self, gold: Sequence[Meeting], rows: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
        """Return the challenge's official scores of submission rows by meeting key.

        Raises:
            InputError: a meeting has no row, or a row no meeting.
        """

    def who(self, split: Split) -> str:
        """Say whose labels are the target: ``first``, ``all`` or ``union``."""
        return self.options.candidates or self.candidates[split]

    def head_tokens(self, header: str, instruction: str = "") -> int:
        """Return what the instruction (the task's own by default) and the input's first line cost."""
        tokens = self.options.count([f"{instruction or self.instruction}\n{header}"])[0]
        if self.options.max_input_tokens < tokens + 64:
            raise InputError(
                f"--max_input_tokens {self.options.max_input_tokens} 太小，除去指令后不足 64 个 token；请调大。",
                f"--max_input_tokens {self.options.max_input_tokens} leaves fewer than 64 tokens beside the "
                "instruction; raise it.",
            )
        return tokens


# ---------------------------------------------------------------------------------- what several tasks share


class Transcript(NamedTuple):
    """A meeting's sentences as prompts show them, and what each costs in tokens with the line break after it."""

    lines: list[str]
    costs: list[int]


@lru_cache(maxsize=1)  # the tasks take one meeting after the other, and each would count the same lines again
def transcript(meeting: Meeting, count: tokens.Counter) -> Transcript:
    """Return the meeting's lines and their costs.

    A line break ends a token in Qwen's tokenizer, so the costs of lines add up to the cost of the text.

    >>> transcript(Meeting("T1", (Sentence("no.0", "大家好。"),)), tokens.estimate)
    Transcript(lines=['[no.0]: 大家好。'], costs=[13])
    """
    lines = [f"[{sentence.speaker}]: {sentence.text}" for sentence in meeting.sentences]
    return Transcript(lines, count([f"{line}\n" for line in lines]))


def numbered(texts: Sequence[str]) -> list[str]:
    """Put numbers before lines.

    >>> numbered(["[甲]: 好。", "[乙]: 走。"])
    ['1. [甲]: 好。', '2. [乙]: 走。']
    """
    return [f"{number}. {text}" for number, text in enumerate(texts, 1)]


def number_cost(count: int) -> int:
    """Return the most tokens that a number before one of ``count`` lines costs: its digits, the point, a space."""
    return len(str(count)) + 2


class Window(NamedTuple):
    """The lines ``[start, stop)`` of a transcript as a prompt shows them, and what they cost."""

    start: int
    stop: int
    lines: list[str]
    tokens: int


def windows(texts: Sequence[str], costs: Sequence[int], budget: int, overlap: float = 0.0) -> list[Window]:
    """Cut a transcript into runs of lines that cost at most ``budget`` tokens each.

    Each run goes on until the next line would not fit. With ``overlap`` the next run starts so far before this
    one's end that about that share of the budget is seen twice, and at least one line, if the line after it still
    fits. A line over the budget stands alone, shortened.

    >>> [(w.start, w.stop) for w in windows("abcd", [3, 3, 3, 3], 6)]
    [(0, 2), (2, 4)]
    >>> [(w.start, w.stop) for w in windows("abcd", [3, 3, 3, 3], 9, overlap=0.4)]
    [(0, 3), (2, 4)]
    """
    runs: list[Window] = []
    before = [0, *accumulate(costs)]  # what the lines before each line cost together
    start = 0
    while start < len(costs):
        stop = max(start + 1, bisect_right(before, before[start] + budget) - 1)
        total = before[stop] - before[start]
        shown = list(texts[start:stop])
        if total > budget:
            shown, total = [shorten(shown[0], budget)], budget
        runs.append(Window(start, stop, shown, total))
        if stop == len(costs):
            break
        back, twice = stop, 0
        while overlap and back > start + 1:
            more = twice + costs[back - 1]
            if more + costs[stop] > budget or (twice and more > overlap * budget):
                break
            back, twice = back - 1, more
        start = back
    return runs


def shorten(text: str, budget: int) -> str:
    """Return ``text`` with its middle replaced by …… so that it fits ``budget`` tokens with a number before it.

    A sentence of 100,000 characters exists in no meeting but in some files; its head and tail say enough. Whatever
    counter is used, the estimate decides: it is a bound of every text, also of one whose ends cost the most.
    """
    room = budget - 10  # a number of up to seven digits, the point, the space, the line break
    keep = max(1, min(len(text), room - 2) // 2)
    while keep > 1 and tokens.estimate([f"{text[:keep]}……{text[-keep:]}"])[0] > room:
        keep = keep * 7 // 8
    return f"{text[:keep]}……{text[-keep:]}"


def annotators(candidates: Sequence[Candidate], who: str) -> Sequence[Candidate]:
    """Return the candidates that ``first`` or ``all`` (and ``union``) names."""
    return candidates[:1] if who == "first" else candidates


def choose(lists: Sequence[Sequence[int]], who: str) -> list[tuple[int, ...]]:
    """Turn the annotators' choices of places into targets: one for ``first`` and ``union``, one each for ``all``.

    Empty choices are passed over; a target is in order, each place once.

    >>> choose([(5, 2), (), (2, 9)], "union")
    [(2, 5, 9)]
    """
    chosen = [tuple(sorted(set(places))) for places in lists if places]
    if who == "all" or not chosen:
        return chosen
    return chosen[:1] if who == "first" else [tuple(sorted({place for places in chosen for place in places}))]
