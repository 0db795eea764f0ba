from __future__ import annotations

import pytest

from mug.meeting import Candidate
from mug.tasks.base import Options
from mug.tasks.keyphrase_extraction import KeyphraseExtraction

THREE = [{"key_word": ["春游", "大巴"]}, {"key_word": []}, {"key_word": ["湿地公园", "大巴", "大巴"]}]


def test_the_prompt_is_the_meeting_and_the_target_its_phrases(case, meeting_of, samples_of):
    (sample,) = samples_of(KeyphraseExtraction(), meeting_of(case()))
    assert sample.instruction == (
        "你是一个专业的会议助手。请从以下会议内容中提取关键词，按重要程度从高到低输出，用顿号分隔；没有则输出“无”。"
    )
    assert sample.input == (
        "会议内容：\n[甲]: 先定春游地点。\n[乙]: 去湿地公园吧。\n[甲]: 同意。\n"
        "[乙]: 哪天去？\n[甲]: 下周五。\n[乙]: 我来订大巴。"
    )
    assert (sample.id, sample.output) == ("T1/keyphrases/1-6", "春游、湿地公园")


@pytest.mark.parametrize(
    ("candidates", "outputs"),
    [
        (None, ["大巴、春游、湿地公园"]),  # what two annotators name comes first
        ("union", ["大巴、春游、湿地公园"]),
        ("first", ["春游、大巴"]),
        ("all", ["春游、大巴", "湿地公园、大巴"]),
    ],
)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_whose_phrases_are_the_target(case, meeting_of, samples_of, candidates, outputs, split):
    meeting = meeting_of(case(candidate=THREE))
    made = samples_of(KeyphraseExtraction(Options(candidates=candidates)), meeting, split)
    assert [sample.output for sample in made] == outputs


@pytest.mark.parametrize("candidate", [[], [{"key_word": []}], [{"key_word": ["\u3000", ""]}]])
def test_a_meeting_without_phrases_is_skipped(case, meeting_of, skipped_of, candidate):
    meeting = meeting_of(case(candidate=candidate))
    assert skipped_of(KeyphraseExtraction(), meeting) == ["T1/keyphrases: meeting without keyphrases"]


def test_a_window_asks_only_for_what_it_says(long_meeting, samples_of, fits):
    meeting = long_meeting(60, candidates=(Candidate(key_words=("第1句", "第60句", "第1句话", "别处")),))
    made = samples_of(KeyphraseExtraction(Options(max_input_tokens=600)), meeting)
    assert [place for sample in made for place in sample.places] == list(range(1, 61))
    assert made[0].output == "第1句、第1句话"
    assert made[-1].output == "第60句"
    assert {sample.output for sample in made[1:-1]} == {"无"}
    assert fits(made, 600)


def test_submission_ranks_by_windows_then_by_rank(case, meeting_of, samples_of, submit):
    task, meeting = KeyphraseExtraction(), meeting_of(case())
    (sample,) = samples_of(task, meeting)
    said = [(sample, "预算、大巴、门票"), (sample, "排期、大巴"), (sample, "无"), (sample, "")]
    assert submit(task, meeting, said) == {"meeting_key": "T1", "key_word": ["大巴", "预算", "排期", "门票"]}


def test_gold_answers_score_the_maximum(case, meeting_of, gold_row):
    task, meeting = KeyphraseExtraction(), meeting_of(case())
    row = gold_row(task, meeting)
    assert row == {"meeting_key": "T1", "key_word": ["春游", "湿地公园"]}
    assert task.score([meeting], {"T1": row})["score"] == pytest.approx(1, abs=1e-6)
