"""Answers survive a stop, and only those of the same engine."""

from __future__ import annotations

import json

import pytest

from mug.generation.base import Completion
from mug.minutes.remembering import RememberingEngine
from mug.tasks.base import Sample

SAMPLES = [Sample(str(n), "问", f"第{n}个") for n in range(4)]


class Counting:
    name = "counting"

    def __init__(self, stop_after=99, fingerprint=None):
        self.fingerprint = fingerprint or {"engine": "counting", "sizes": (1, 2)}
        self.asked: list[str] = []
        self.stop_after = stop_after

    def generate(self, samples):
        for index, sample in enumerate(samples):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(sample.input)
            yield index, Completion(f"答{sample.input}\ud83d", "length", 3)


def answers(engine):
    found = dict(engine.generate(SAMPLES))
    return [found[index] for index in range(4)]


def test_it_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "answers.jsonl"
    stopped = Counting(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        answers(RememberingEngine(stopped, path))
    again = Counting()
    found = answers(RememberingEngine(again, path))
    assert (stopped.asked, again.asked) == (["第0个", "第1个"], ["第2个", "第3个"])
    assert found == [Completion(f"答第{n}个\ud83d", "length", 3) for n in range(4)]
    assert len(path.read_bytes().splitlines()) == 5


def test_the_same_question_about_another_transcript_is_another_prompt(tmp_path):
    asked = [Sample(str(n), "问", "标题？", history=((f"第{n}段", "好的。"),)) for n in range(2)]
    engine = Counting()
    list(RememberingEngine(engine, tmp_path / "answers.jsonl").generate(asked[:1]))
    list(RememberingEngine(engine, tmp_path / "answers.jsonl").generate(asked))
    assert len(engine.asked) == 2  # the first one was known, the second was not


def test_a_torn_last_line_costs_that_answer_only(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers(RememberingEngine(Counting(), path))
    path.write_bytes(path.read_bytes()[:-9])
    again = Counting()
    answers(RememberingEngine(again, path))
    assert again.asked == ["第3个"]
    assert [len(json.loads(line)) for line in path.read_bytes().splitlines()] == [1, 4, 4, 4, 4]


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n", b'{"fingerprint": {"engine": "x"}}\n', b"\xff\n"])
def test_a_damaged_or_foreign_file_is_thrown_away(tmp_path, content):
    path = tmp_path / "answers.jsonl"
    path.write_bytes(content)
    engine = Counting()
    answers(RememberingEngine(engine, path))
    assert len(engine.asked) == 4
    second = Counting()
    answers(RememberingEngine(second, path))
    assert second.asked == []


def test_another_model_starts_anew(tmp_path):
    path = tmp_path / "answers.jsonl"
    answers(RememberingEngine(Counting(), path))
    other = Counting(fingerprint={"engine": "counting", "sizes": [1, 3]})
    answers(RememberingEngine(other, path))
    assert len(other.asked) == 4


def test_forget_removes_the_file(tmp_path):
    engine = RememberingEngine(Counting(), tmp_path / "answers.jsonl")
    answers(engine)
    engine.forget()
    assert list(tmp_path.iterdir()) == []
