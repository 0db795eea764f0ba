from __future__ import annotations

from dataclasses import replace

import pytest

from mug.meeting import Topic
from mug.tasks.base import Options
from mug.tasks.topic_segmentation import TopicSegmentation


def topics(*ends):
    return tuple(Topic(start + 1, end) for start, end in zip((0, *ends), ends, strict=False))


def test_the_prompt_is_a_line_a_paragraph_with_a_speaker_named_once(case, meeting_of, samples_of):
    value = case()
    value["sentences"][1]["speaker"] = "甲"
    (sample,) = samples_of(TopicSegmentation(), meeting_of(value))
    assert sample.instruction == (
        "你是一个专业的会议助手。以下会议内容每段前有编号，其中可能包含多个主题。请找出每个主题的最后一段"
        "（不含本片段的最后一段），按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    )
    assert sample.input == (
        "会议内容：\n1. [甲]: 先定春游地点。去湿地公园吧。同意。\n2. [乙]: 哪天去？ [甲]: 下周五。 [乙]: 我来订大巴。"
    )
    assert (sample.id, sample.output, sample.places) == ("T1/topics/1-2", "1", (3, 6))
    assert sample.references == ("1",)


def test_one_topic_has_no_end_to_be_found(case, meeting_of, samples_of):
    (sample,) = samples_of(TopicSegmentation(), meeting_of(case(topic_segment_ids=[{"id": 6}])))
    assert sample.output == "无"


def test_a_topic_end_inside_a_paragraph_is_no_target(case, meeting_of, samples_of):
    (sample,) = samples_of(TopicSegmentation(), meeting_of(case(topic_segment_ids=[{"id": 2}, {"id": 6}])))
    assert sample.output == "无"


@pytest.mark.parametrize("budget", [300, 500, 900])
@pytest.mark.parametrize("length", [5, 30, 90])
def test_windows_overlap_so_that_every_boundary_is_asked_and_the_gold_answers_are_perfect(
    long_meeting, samples_of, fits, gold_row, budget, length
):
    meeting = long_meeting(90, length, topics=topics(*range(3, 91, 3)))  # every paragraph ends a topic
    task = TopicSegmentation(Options(max_input_tokens=budget))
    made = samples_of(task, meeting)
    assert len(made) > 1
    assert {place for sample in made for place in sample.places[:-1]} == set(range(3, 90, 3))
    assert fits(made, budget)
    row = gold_row(task, meeting)
    assert [topic["id"] for topic in row["topic_segment_ids"]] == list(range(3, 91, 3))
    assert task.score([meeting], {"T1": row})["score"] == pytest.approx(1)


def test_about_a_quarter_of_the_budget_is_seen_twice(long_meeting, samples_of):
    made = samples_of(TopicSegmentation(Options(max_input_tokens=1200)), long_meeting(180, topics=topics(180)))
    twice = sum(len(set(a.places) & set(b.places)) for a, b in zip(made, made[1:], strict=False))
    assert 0.15 < twice / sum(len(sample.places) for sample in made[:-1]) < 0.3


def test_one_enormous_paragraph_does_not_hide_the_boundaries_beside_it(long_meeting, samples_of, fits, gold_row):
    meeting = long_meeting(30, topics=topics(12, 15, 30))
    meeting.sentences[13].text = "长" * 131_073
    task = TopicSegmentation(Options(max_input_tokens=800))
    made = samples_of(task, meeting)
    assert fits(made, 800)
    assert [topic["id"] for topic in gold_row(task, meeting)["topic_segment_ids"]] == [12, 15, 30]
    assert len({sample.id for sample in made}) == len(made)


def test_windows_vote_and_half_is_enough(long_meeting, samples_of, submit):
    meeting = long_meeting(90, topics=topics(90))
    task = TopicSegmentation(Options(max_input_tokens=900))
    first, second, *others = samples_of(task, meeting)
    both = [place for place in first.places[:-1] if place in second.places[:-1]]
    assert both

    def ends(*said):
        return [topic["id"] for topic in submit(task, meeting, said)["topic_segment_ids"]]

    number = str(first.places.index(both[0]) + 1)
    assert ends((first, number), (second, "无")) == [both[0], 90]  # one of two
    assert ends((first, "无"), (second, "无")) == [90]
    assert ends((first, number), (second, "无"), (second, "无")) == [90]  # one of three


def test_the_last_paragraph_of_a_window_is_not_asked_about(long_meeting, samples_of):
    meeting = long_meeting(90, topics=topics(90))
    task = TopicSegmentation(Options(max_input_tokens=900))
    first = samples_of(task, meeting)[0]
    last = len(first.places)
    answer = task.parse(f"1, {last}", first)
    assert answer.numbers == (1,)
    assert answer.repairs == ("numbers outside the prompt dropped",)


def test_the_submission_always_ends_with_the_last_sentence_once(case, meeting_of, samples_of, submit):
    task, meeting = TopicSegmentation(), meeting_of(case())
    (sample,) = samples_of(task, meeting)
    assert submit(task, meeting, [(sample, "1, 2")])["topic_segment_ids"] == [{"id": 3}, {"id": 6}]
    assert submit(task, meeting, [(sample, "")])["topic_segment_ids"] == [{"id": 6}]


def test_test_prompts_have_no_target(case, meeting_of, samples_of):
    meeting = replace(meeting_of(case()), topics=())
    (sample,) = samples_of(TopicSegmentation(), meeting, "test")
    assert (sample.output, sample.references) == ("", ())
