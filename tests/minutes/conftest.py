"""A small meeting, an engine that says what it is told to say, and minutes made of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from mug.generation.base import Completion
from mug.meeting import Meeting, Sentence
from mug.minutes.model import Minutes
from mug.minutes.pipeline import make_minutes
from mug.tasks import LAYOUTS
from mug.tasks.base import Sample
from mug.transcripts.recording import Recording

TEXTS = ("先定春游地点。", "去湿地公园吧。", "同意。", "哪天去？", "下周五。", "我来订大巴，周三之前把报价发群里。")
TASK_OF = {task.instruction: name for layout in LAYOUTS.values() for name, task in layout.items()}


class Scripted:
    """Answers the n-th prompt of a task with the n-th answer given for it, and keeps the prompts."""

    name = "scripted"
    fingerprint = {"engine": "scripted"}

    def __init__(self, **answers: Sequence[str]) -> None:
        self.answers = {task: list(texts) for task, texts in answers.items()}
        self.calls: list[list[Sample]] = []

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        self.calls.append(list(samples))
        said = [self.answers[TASK_OF[sample.instruction]].pop(0) for sample in samples]
        for index in reversed(range(len(samples))):  # engines answer in the order that suits them
            yield index, Completion(said[index])


@pytest.fixture
def recording() -> Recording:
    sentences = tuple(Sentence("乙甲"[i % 2], text, 10.0 * i, 10.0 * i + 4) for i, text in enumerate(TEXTS, 1))
    return Recording(Meeting("T1", sentences, paragraph_ends=(3, 6)), "test", date="2025-03-07")


@pytest.fixture
def scripted() -> Scripted:
    return Scripted(
        topic_segmentation=["1"],
        keyphrase_extraction=["春游、ＡＩ、湿地公园"],
        action_item_detection=["6"],
        title_generation=["定春游地点", "定春游时间", "春游安排"],
        extractive_summary=["1, 2", "2"],
        session_summary=["2, 3"],
    )


@pytest.fixture
def minutes(recording: Recording, scripted: Scripted) -> Minutes:
    return make_minutes(recording, scripted, engine_name="一个模型", source="春游.vtt")


HOSTILE = (
    "<script>alert(1)</script>",
    "</span></style><img src=x onerror=alert(1)>",
    "| a | b |`c` **d** _e_ ~f~ $g$",
    "[点我](javascript:alert(1)) ![x](http://example.com/x.png)",
    "# 标题",
    "1. 列表",
    "- 列表 https://example.com www.example.com",
    "&lt;b&gt; &amp; {{ 7*7 }} {% raw %}",
    "<!-- 注释",
    "<script src=//a.example/x.js",
    "控制\x07字符\x0b和\u202e反向",
)


@pytest.fixture
def hostile(scripted: Scripted) -> Minutes:
    """Minutes in which every text is an attack on some format."""
    sentences = tuple(
        Sentence(f"<b>甲{number % 2}|</b>", text, float(number), float(number + 1))
        for number, text in enumerate(HOSTILE)
    )
    meeting = Meeting("T1", sentences, paragraph_ends=(4, len(sentences)))
    script = Scripted(
        topic_segmentation=["1"],
        keyphrase_extraction=["<b>词</b>"],
        action_item_detection=["1, 3"],
        title_generation=["<i>题</i> | [x](y)", "# 题", "<u>会</u>`"],
        extractive_summary=["1, 2, 3, 4", "1, 2, 3, 4, 5, 6, 7"],
        session_summary=["1-11"],
    )
    made = make_minutes(Recording(meeting, "test"), script, engine_name="<模型>", source="<x>|.vtt")
    return replace(made, title=made.title or "<u>会</u>")
