from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.tasks.base import Options, Sample
from mug.tasks.extractive_summary import ASK_TEXT, ExtractiveSummary

THREE = [{"key_sentence": ["3"]}, {"key_sentence": []}, {"key_sentence": ["5", "3"]}]


def test_the_prompt_numbers_the_topics_sentences_from_one(case, meeting_of, samples_of):
    first, second = samples_of(ExtractiveSummary(), meeting_of(case()))
    assert first.instruction == (
        "你是一个专业的会议助手。以下会议内容片段属于同一个主题，每句话前有编号。"
        "请选出最能概括该主题的关键句，按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    )
    assert first.input == "会议内容：\n1. [甲]: 先定春游地点。\n2. [乙]: 去湿地公园吧。\n3. [甲]: 同意。"
    assert (first.id, first.output, first.places) == ("T1/summary/3", "2, 3", (1, 2, 3))
    assert second.input == "会议内容：\n1. [乙]: 哪天去？\n2. [甲]: 下周五。\n3. [乙]: 我来订大巴。"
    assert (second.id, second.output, second.places) == ("T1/summary/6", "2", (4, 5, 6))


@pytest.mark.parametrize(
    ("candidates", "split", "outputs"),
    [
        (None, "train", ["3, 5"]),
        (None, "dev", ["3"]),
        ("first", "train", ["3"]),
        ("all", "train", ["3", "3, 5"]),
        ("union", "dev", ["3, 5"]),
    ],
)
def test_whose_key_sentences_are_the_target(case, meeting_of, samples_of, candidates, split, outputs):
    meeting = meeting_of(case(topic_segment_ids=[{"id": 6, "candidate": THREE}]))
    made = samples_of(ExtractiveSummary(Options(candidates=candidates)), meeting, split)
    assert [sample.output for sample in made] == outputs
    assert made[0].references == ("3", "3, 5")


@pytest.mark.parametrize(("labels", "output"), [(["2", "6"], "2"), (["2", "77"], "2"), (["3", "2", "2"], "2, 3")])
def test_the_target_names_only_what_the_prompt_shows_in_order_and_once(case, meeting_of, samples_of, labels, output):
    topics = [{"id": 3, "candidate": [{"key_sentence": labels}]}, {"id": 6}]
    meeting = meeting_of(case(topic_segment_ids=topics))
    assert [sample.output for sample in samples_of(ExtractiveSummary(), meeting)] == [output]


@pytest.mark.parametrize("labels", [[], ["6"], ["77"]])
def test_a_topic_without_key_sentences_of_its_own_is_skipped(case, meeting_of, samples_of, skipped_of, labels):
    topics = [{"id": 3, "candidate": [{"key_sentence": labels}]}, {"id": 6, "candidate": [{"key_sentence": ["5"]}]}]
    meeting = meeting_of(case(topic_segment_ids=topics))
    assert [sample.id for sample in samples_of(ExtractiveSummary(), meeting)] == ["T1/summary/6"]
    assert skipped_of(ExtractiveSummary(), meeting) == ["T1/summary/3: topic without key sentences"]


def key(meeting, *places):
    return replace(meeting, topics=(Topic(1, len(meeting.sentences), (Candidate(key_sentences=places),)),))


def test_windows_show_every_sentence_and_number_their_own_targets(long_meeting, samples_of, fits):
    meeting = key(long_meeting(60), 1, 30, 60)
    made = samples_of(ExtractiveSummary(Options(max_input_tokens=600)), meeting)
    assert [place for sample in made for place in sample.places] == list(range(1, 61))
    named = [
        sample.places[int(number) - 1] for sample in made for number in sample.output.split(", ") if number != "无"
    ]
    assert named == [1, 30, 60]
    assert "无" in {sample.output for sample in made}
    assert fits(made, 600)


def test_submission_joins_the_windows_and_maps_numbers_to_sentences(long_meeting, gold_row):
    meeting = key(long_meeting(60), 1, 30, 60)
    task = ExtractiveSummary(Options(max_input_tokens=600))
    assert gold_row(task, meeting) == {
        "meeting_key": "T1", "topic_segment_ids": [{"id": 60, "key_sentence": ["1", "30", "60"]}],
    }  # fmt: skip


def test_text_targets_are_the_sentences_themselves_and_read_back(case, meeting_of, samples_of):
    task = ExtractiveSummary(Options(es_target="text"))
    first, _ = samples_of(task, meeting_of(case()))
    assert first.instruction == ASK_TEXT
    assert first.input == "会议内容：\n1. [甲]: 先定春游地点。\n2. [乙]: 去湿地公园吧。\n3. [甲]: 同意。"
    assert first.output == "去湿地公园吧。\n同意。"
    answer = task.parse(first.output, first)
    assert (answer.numbers, answer.text, answer.repairs) == ((2, 3), "去湿地公园吧。\n同意。", ())


WORDS = st.text("好的，我们先说地点：湿地[]: 123.5", min_size=1, max_size=12).filter(
    lambda t: any(c.isalnum() for c in t)
)


@given(
    texts=st.lists(WORDS, min_size=1, max_size=8, unique_by=lambda t: "".join(filter(str.isalnum, t))), data=st.data()
)
def test_text_targets_go_round_whatever_the_sentences_look_like(texts, data):
    chosen = data.draw(st.sets(st.integers(1, len(texts)), min_size=1))
    sentences = tuple(Sentence("甲", " ".join(text.split())) for text in texts)
    topics = (Topic(1, len(texts), (Candidate(key_sentences=tuple(chosen)),)),)
    task = ExtractiveSummary(Options(es_target="text"))
    (sample,) = [s for s in task.samples(Meeting("T", sentences, topics), "dev") if isinstance(s, Sample)]
    answer = task.parse(sample.output, sample)
    assert (answer.numbers, answer.text, answer.repairs) == (tuple(sorted(chosen)), sample.output, ())


def test_a_sentence_that_is_shortened_in_the_prompt_is_the_same_in_the_text_target(case, meeting_of, samples_of):
    value = case()
    value["sentences"][1]["s"] = "长" * 131_073
    task = ExtractiveSummary(Options(es_target="text", max_input_tokens=500, candidates="first"))
    made = [sample for sample in samples_of(task, meeting_of(value)) if 2 in sample.places]
    assert len(made) == 1
    assert made[0].output.startswith("长长")
    assert len(made[0].output) < 500
    assert task.parse(made[0].output, made[0]).numbers == (1,)


def test_gold_answers_score_the_maximum_on_the_topics(case, meeting_of, gold_row):
    task, meeting = ExtractiveSummary(), meeting_of(case())
    row = gold_row(task, meeting)
    assert row["topic_segment_ids"] == [{"id": 3, "key_sentence": ["2", "3"]}, {"id": 6, "key_sentence": ["5"]}]
    scores = task.score([meeting], {"T1": row | {"key_sentence": ["2", "5"]}})
    assert scores["score"] == pytest.approx(1, abs=1e-6)
