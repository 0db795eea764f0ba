from __future__ import annotations

import pytest

from mug.tasks.base import Options
from mug.tasks.extractive_summary import ExtractiveSummary
from mug.tasks.session_summary import SessionSummary, with_key_sentences

TOPICS = [
    {"id": 3, "candidate": [{"key_sentence": ["2"]}, {"key_sentence": ["3"]}]},
    {"id": 6, "candidate": [{"key_sentence": ["5"]}, {"key_sentence": ["6", "5"]}]},
]
SESSION = [{"key_sentence": ["2", "4"]}, {"key_sentence": ["6"]}]


def test_the_prompt_shows_the_topics_key_sentences(case, meeting_of, samples_of):
    (sample,) = samples_of(SessionSummary(), meeting_of(case()))
    assert sample.instruction == (
        "你是一个专业的会议助手。以下是一场会议各主题的关键句，每句话前有编号。"
        "请从中选出最能概括整场会议的关键句，按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    )
    assert sample.input == "会议内容：\n1. [乙]: 去湿地公园吧。\n2. [甲]: 同意。\n3. [甲]: 下周五。"
    assert (sample.id, sample.output, sample.places) == ("T1/session", "1, 3", (2, 3, 5))


@pytest.mark.parametrize(
    ("candidates", "split", "places", "outputs"),
    [
        (None, "train", (2, 3, 5, 6), ["1, 4"]),
        (None, "dev", (2, 5), ["1"]),
        ("first", "train", (2, 5), ["1"]),
        ("all", "dev", (2, 3, 5, 6), ["1", "4"]),
        ("union", "dev", (2, 3, 5, 6), ["1, 4"]),
    ],
)
def test_whose_key_sentences_are_shown_and_asked_for(case, meeting_of, samples_of, candidates, split, places, outputs):
    meeting = meeting_of(case(topic_segment_ids=TOPICS, candidate=SESSION))
    made = samples_of(SessionSummary(Options(candidates=candidates)), meeting, split)
    assert [sample.output for sample in made] == outputs
    assert {sample.places for sample in made} == {places}


def test_a_meeting_without_topic_key_sentences_or_its_own_is_skipped(case, meeting_of, skipped_of):
    none = meeting_of(case(topic_segment_ids=[{"id": 6}]))
    assert skipped_of(SessionSummary(), none) == ["T1/session: no topic key sentences to choose from"]
    unlabelled = meeting_of(case(candidate=[]))
    assert skipped_of(SessionSummary(), unlabelled) == ["T1/session: meeting without session key sentences"]


def test_the_submission_row_names_sentences_of_the_meeting(case, meeting_of, gold_row):
    task, meeting = SessionSummary(), meeting_of(case())
    assert gold_row(task, meeting) == {"meeting_key": "T1", "key_sentence": ["2", "5"]}


def test_the_session_can_be_made_from_what_a_model_chose_in_the_topics(case, meeting_of, samples_of):
    row = {"topic_segment_ids": [{"id": 3, "key_sentence": ["1"]}, {"id": 6, "key_sentence": ["4", "6"]}]}
    meeting = with_key_sentences(meeting_of(case()), row)
    (sample,) = samples_of(SessionSummary(), meeting, "test")
    assert sample.places == (1, 4, 6)


def test_text_targets_read_back(case, meeting_of, samples_of):
    task = SessionSummary(Options(es_target="text"))
    (sample,) = samples_of(task, meeting_of(case()))
    assert sample.output == "去湿地公园吧。\n下周五。"
    assert sample.instruction not in (SessionSummary.instruction, ExtractiveSummary.ask_text)
    answer = task.parse(sample.output, sample)
    assert (answer.numbers, answer.text) == ((1, 3), sample.output)
