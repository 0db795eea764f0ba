from __future__ import annotations

from dataclasses import replace

import pytest

from mug.meeting import Candidate, Topic
from mug.tasks.base import Options, Sample
from mug.tasks.title_generation import TitleGeneration

THREE = [{"title": "定春游地点"}, {"title": ""}, {"title": "春游去哪"}]


def test_the_prompt_is_the_predecessors(case, meeting_of, samples_of):
    first, second = samples_of(TitleGeneration(), meeting_of(case()))
    assert first.instruction == "你是一个专业的会议助手。请根据以下会议内容片段，生成一个简洁准确的主题标题。"
    assert first.input == "会议内容：\n[甲]: 先定春游地点。\n[乙]: 去湿地公园吧。\n[甲]: 同意。"
    assert (first.id, first.output, first.places, first.topic) == ("T1/title/3", "定春游地点", (1, 2, 3), 3)
    assert (second.id, second.output, second.places, second.topic) == ("T1/title/6", "定春游时间", (4, 5, 6), 6)


@pytest.mark.parametrize(
    ("candidates", "split", "outputs"),
    [
        (
            None,
            "train",
            ["定春游地点", "春游去哪"],
        ),  # the default pools the annotators for train, and takes the first for dev
        (None, "dev", ["定春游地点"]),
        ("first", "train", ["定春游地点"]),
        ("all", "dev", ["定春游地点", "春游去哪"]),
        ("union", "train", ["定春游地点", "春游去哪"]),
    ],
)
def test_whose_titles_are_the_target(case, meeting_of, samples_of, candidates, split, outputs):
    meeting = meeting_of(case(topic_segment_ids=[{"id": 6, "candidate": THREE}]))
    made = samples_of(TitleGeneration(Options(candidates=candidates)), meeting, split)
    assert [sample.output for sample in made] == outputs
    assert [sample.id for sample in made] == ["T1/title/6", "T1/title/6#2"][: len(outputs)]
    assert all(sample.references == ("定春游地点", "春游去哪") for sample in made)


@pytest.mark.parametrize("blank", ["", "\u3000", None])
def test_the_first_title_that_is_not_blank_is_taken(case, meeting_of, samples_of, blank):
    meeting = meeting_of(case(topic_segment_ids=[{"id": 6, "candidate": [{"title": blank}, {"title": "定春游地点"}]}]))
    assert [sample.output for sample in samples_of(TitleGeneration(), meeting, "dev")] == ["定春游地点"]


@pytest.mark.parametrize("candidate", [[], None, [{"title": "\u3000"}]])
def test_a_topic_without_a_title_is_skipped_and_counted(case, meeting_of, samples_of, skipped_of, candidate):
    topics = [{"id": 3, "candidate": candidate}, {"id": 6, "candidate": [{"title": "定春游时间"}]}]
    meeting = meeting_of(case(topic_segment_ids=topics))
    assert [sample.output for sample in samples_of(TitleGeneration(), meeting)] == ["定春游时间"]
    assert skipped_of(TitleGeneration(), meeting) == ["T1/title/3: topic without a title"]


def titled(meeting):
    return replace(meeting, topics=(Topic(1, len(meeting.sentences), (Candidate(title="报数"),)),))


def test_a_topic_over_the_budget_goes_in_windows_that_share_its_title(long_meeting, samples_of, fits):
    meeting = titled(long_meeting(60))
    made = samples_of(TitleGeneration(Options(max_input_tokens=600)), meeting)
    assert [place for sample in made for place in sample.places] == list(range(1, 61))
    assert {(sample.output, sample.topic) for sample in made} == {("报数", 60)}
    assert [sample.id for sample in made][0] == f"T1/title/60/1-{made[0].places[-1]}"
    assert fits(made, 600)


def test_speech_a_little_over_by_the_estimate_alone_stays_whole(long_meeting, samples_of):
    meeting = titled(long_meeting(60, length=40))  # 60 lines of 50 characters; real speech costs 3/4 token each
    (sample,) = samples_of(TitleGeneration(Options(max_input_tokens=2600)), meeting)
    assert sample.input_tokens > 2600
    assert (
        len(
            samples_of(TitleGeneration(Options(max_input_tokens=2600, count=lambda ts: [len(t) for t in ts])), meeting)
        )
        == 2
    )


@pytest.mark.parametrize("text", ["1234567890" * 4, "😀" * 20, "麤" * 20])
def test_what_costs_its_estimate_is_cut_at_the_budget(long_meeting, samples_of, shared, text):
    from mug.tokens import tokenizer_counter

    meeting = long_meeting(60)
    for sentence in meeting.sentences:
        sentence.text = text
    made = samples_of(TitleGeneration(Options(max_input_tokens=2400)), titled(meeting))
    counts = tokenizer_counter(shared / "qwen_tokenizer")([f"{s.instruction}\n{s.input}" for s in made])
    assert max(counts) <= 2400


def test_submission_takes_the_title_most_like_the_others(case, meeting_of, submit):
    task, meeting = TitleGeneration(), meeting_of(case())
    sample = Sample(id="x", instruction="", input="", topic=3)
    said = [(sample, "订大巴"), (sample, "定春游地点"), (sample, "春游地点"), (replace(sample, topic=6), "定时间")]
    assert submit(task, meeting, said) == {
        "meeting_key": "T1",
        "topic_segment_ids": [{"id": 3, "title": "定春游地点"}, {"id": 6, "title": "定时间"}],
    }


def test_an_empty_answer_is_an_empty_title_that_is_scored(case, meeting_of, submit, samples_of):
    task, meeting = TitleGeneration(), meeting_of(case())
    first, second = samples_of(task, meeting)
    row = submit(task, meeting, [(first, "<think>还没想完"), (second, "定春游时间")])
    assert row["topic_segment_ids"][0] == {"id": 3, "title": ""}
    assert task.score([meeting], {"T1": row})["score"] == pytest.approx(0.5, abs=1e-6)


def test_gold_answers_score_the_maximum(case, meeting_of, gold_row):
    task, meeting = TitleGeneration(), meeting_of(case())
    assert task.score([meeting], {"T1": gold_row(task, meeting)})["score"] == pytest.approx(1, abs=1e-6)
