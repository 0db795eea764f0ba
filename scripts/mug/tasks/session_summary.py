r"""Extractive summarization of the whole session (ES): the topics' key sentences in, the session's key sentences out.

The challenge wants about one sentence a topic out of some 700; its baseline chooses among the topics' key sentences
too, and that is what the prompt shows. One row::

    {"instruction": "…请从中选出最能概括整场会议的关键句，…",
     "input": "会议内容：\n1. [no.0]: 上次说的是湿地公园。\n2. [no.2]: 坐大巴四十分钟。\n3. [no.0]: 大巴谁来订？",
     "output": "1, 3"}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mug.errors import Message
from mug.meeting import Candidate, Meeting
from mug.tasks.base import Answer, Sample, Skipped, Split, annotators
from mug.tasks.extractive_summary import KeySentences


class SessionSummary(KeySentences):
    """Key sentences of the whole meeting."""

    name = "session_summary"
    instruction = (
        "你是一个专业的会议助手。以下是一场会议各主题的关键句，每句话前有编号。"
        "请从中选出最能概括整场会议的关键句，按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    )
    ask_text = (
        "你是一个专业的会议助手。以下是一场会议各主题的关键句，每句话前有编号，"
        "请从中选出最能概括整场会议的关键句，按原文顺序每行输出一句；没有则输出“无”。"
    )
    candidates = {"train": "union", "dev": "first", "test": "first"}

    def samples(self, meeting: Meeting, split: Split) -> Iterator[Sample | Skipped]:
        """Yield the samples of the meeting; the sentences shown are the topics' key sentences.

        The session's key sentences are nearly always key sentences of a topic; those that are not are left out of
        the target, since a prompt made from predicted topics could not show them either.
        """
        id = f"{meeting.key}/session"
        lists = [c.key_sentences for c in meeting.candidates]
        topics = [c for topic in meeting.topics for c in annotators(topic.candidates, self.who(split))]
        shown = sorted({place for candidate in topics for place in candidate.key_sentences})
        if not shown:
            yield Skipped(id, Message("没有主题关键句可供选择", "no topic key sentences to choose from"))
            return
        if split != "test" and not any(lists):
            yield Skipped(id, Message("会议没有全文关键句", "meeting without session key sentences"))
            return
        yield from self.sentence_samples(meeting, id, shown, lists, split)

    def submission(self, meeting: Meeting, answers: Sequence[Answer]) -> dict[str, Any]:
        """Return ``key_sentence`` of the session, all windows' together."""
        places = {answer.sample.places[number - 1] for answer in answers for number in answer.numbers}
        return {"meeting_key": meeting.key, "key_sentence": [str(place) for place in sorted(places)]}


def with_key_sentences(meeting: Meeting, row: dict[str, Any]) -> Meeting:
    """Return the meeting with the key sentences of a submission row as its topics' only candidates.

    So the session is summarized from what a model chose in each topic, not from the annotators' labels.
    """
    chosen = {int(topic["id"]): tuple(map(int, topic["key_sentence"])) for topic in row["topic_segment_ids"]}
    topics = tuple(replace(t, candidates=(Candidate(key_sentences=chosen.get(t.end, ())),)) for t in meeting.topics)
    return replace(meeting, topics=topics)
