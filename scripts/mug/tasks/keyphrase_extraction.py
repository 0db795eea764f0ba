r"""Keyphrase extraction (KPE): a window of the meeting in, its keyphrases out, most important first.

One row::

    {"instruction": "…请提取关键词，…",
     "input": "会议内容：\n[no.0]: 地点上次说的是湿地公园。\n[no.2]: 春游坐大巴去就行。",
     "output": "春游、湿地公园"}

The annotators name keyphrases of the whole meeting; a window's target holds those that it says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mug.errors import Message
from mug.meeting import Meeting
from mug.metrics import official
from mug.tasks import answers
from mug.tasks.base import NONE, Answer, Sample, Skipped, Split, Task, transcript, windows

HEADER = "会议内容：\n"
NO_PHRASES = Message("会议没有关键词", "meeting without keyphrases")


class KeyphraseExtraction(Task):
    """Keyphrases of the meeting."""

    name = "keyphrase_extraction"
    instruction = (
        "你是一个专业的会议助手。请从以下会议内容中提取关键词，按重要程度从高到低输出，用顿号分隔；"
        f"没有则输出“{NONE}”。"
    )
    candidates = {"train": "union", "dev": "union", "test": "union"}

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield one sample a window (one an annotator with ``all``)."""
        lists = [candidate.key_words for candidate in meeting.candidates if candidate.key_words]
        if split != "test" and not lists:
            yield Skipped(f"{meeting.key}/keyphrases", NO_PHRASES)
            return
        head = self.head_tokens(HEADER)
        cut = windows(*transcript(meeting, self.options.count), self.options.max_input_tokens - head)
        for window in cut:
            text = "\n".join(window.lines)
            targets, references = self.targets(lists if len(cut) == 1 else said(text, lists), split)
            part = f"{meeting.key}/keyphrases/{window.start + 1}-{window.stop}"
            for number, target in enumerate(targets, 1):
                yield Sample(
                    id=part if number == 1 else f"{part}#{number}",
                    instruction=self.instruction,
                    input=HEADER + text,
                    output=target,
                    references=references,
                    places=tuple(range(window.start + 1, window.stop + 1)),
                    input_tokens=head + window.tokens,
                )

    def targets(self, lists: Sequence[Sequence[str]], split: Split) -> tuple[list[str], tuple[str, ...]]:
        """Return the targets and references of a prompt in which the annotators' phrases are said."""
        if not lists:
            return [""], ()
        return self._targets(lists, split), tuple("、".join(words) for words in lists if words) or (NONE,)

    def _targets(self, lists: Sequence[Sequence[str]], split: Split) -> list[str]:
        who = self.who(split)
        if who == "all":
            return ["、".join(dict.fromkeys(words)) or NONE for words in lists] or [NONE]
        if who == "first":
            return ["、".join(dict.fromkeys(lists[0])) or NONE] if lists else [NONE]
        # Union: what more annotators name comes first; among equals the first annotator's order stands.
        votes = Counter(word for words in lists for word in dict.fromkeys(words))
        return ["、".join(word for word, _ in votes.most_common()) or NONE]

    def parse(self, text: str, sample: Sample) -> Answer:
        """Read the phrases."""
        found, repairs = answers.phrases(text)
        return Answer(sample, answers.shown(text, found, "、"), phrases=found, repairs=repairs)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``key_word``: what more windows name comes first, then what stood earlier in its window's answer."""
        votes: Counter[str] = Counter()
        rank: dict[str, int] = {}
        for answer in answers:
            for position, phrase in enumerate(answer.phrases):
                votes[phrase] += 1
                rank[phrase] = min(position, rank.get(phrase, position))
        ordered = sorted(votes, key=lambda phrase: (-votes[phrase], rank[phrase]))
        return {"meeting_key": meeting.key, "key_word": ordered}

    def score(self, gold: Sequence[Meeting], rows: Mapping[str, dict[str, Any]]) -> dict[str, float | None]:
        """Return exact and partial F1 at 10, 15 and 20, and their mean."""
        return official.keyphrase_extraction(gold, rows)


def said(text: str, lists: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return each annotator's phrases that ``text`` says."""
    return [[word for word in words if word in text] for words in lists]
