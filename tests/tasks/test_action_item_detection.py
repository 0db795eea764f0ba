from __future__ import annotations

from dataclasses import replace

import pytest

from mug.tasks.action_item_detection import ActionItemDetection
from mug.tasks.base import Options


def test_the_prompt_numbers_the_sentences(case, meeting_of, samples_of):
    (sample,) = samples_of(ActionItemDetection(), meeting_of(case()))
    assert sample.instruction == (
        "你是一个专业的会议助手。以下会议内容每句话前有编号。请找出包含行动项（会后需要有人完成的具体任务）的句子，"
        "按从小到大的顺序输出编号，用逗号分隔；没有则输出“无”。"
    )
    assert sample.input == (
        "会议内容：\n1. [甲]: 先定春游地点。\n2. [乙]: 去湿地公园吧。\n3. [甲]: 同意。\n"
        "4. [乙]: 哪天去？\n5. [甲]: 下周五。\n6. [乙]: 我来订大巴。"
    )
    assert (sample.id, sample.output) == ("T1/actions/1-6", "6")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_meeting_without_action_items_says_none(case, meeting_of, samples_of, split):
    (sample,) = samples_of(ActionItemDetection(), meeting_of(case(action_ids=[])), split)
    assert (sample.output, sample.references) == ("无", ("无",))


def test_dev_keeps_every_window_and_covers_every_sentence(long_meeting, samples_of, skipped_of, fits):
    task, meeting = ActionItemDetection(Options(max_input_tokens=600)), long_meeting(120, action_ids=(1, 2, 60))
    made = samples_of(task, meeting)
    assert [place for sample in made for place in sample.places] == list(range(1, 121))
    assert skipped_of(task, meeting) == []
    assert made[0].output == "1, 2"
    assert sum(sample.output != "无" for sample in made) == 2
    assert fits(made, 600)


def kept(samples_of, meeting, **options):
    made = samples_of(ActionItemDetection(Options(max_input_tokens=400, **options)), meeting, "train")
    return [s.id for s in made if s.output != "无"], [s.id for s in made if s.output == "无"]


@pytest.mark.parametrize(("ratio", "negatives"), [(0.0, 0), (0.5, 1), (1.0, 2), (2.0, 4), (1.1, 3), (1000.0, 9)])
def test_train_keeps_windows_without_an_action_at_the_ratio(long_meeting, samples_of, ratio, negatives):
    meeting = long_meeting(80, action_ids=(1, 80))
    windows = len(samples_of(ActionItemDetection(Options(max_input_tokens=400)), meeting))
    positive, negative = kept(samples_of, meeting, negative_ratio=ratio)
    assert len(positive) == 2
    assert len(negative) == min(negatives, windows - 2)


def test_a_meeting_without_any_action_counts_as_one(long_meeting, samples_of):
    assert [len(ids) for ids in kept(samples_of, long_meeting(80), negative_ratio=2.0)] == [0, 2]


def test_what_is_not_kept_is_counted(long_meeting, samples_of, skipped_of):
    meeting, task = long_meeting(80, action_ids=(1,)), ActionItemDetection(Options(max_input_tokens=400))
    windows = len(samples_of(task, meeting))
    skipped = skipped_of(task, meeting, "train")
    assert len(skipped) == windows - 2
    assert all(reason.endswith("window without an action item, not kept by the ratio") for reason in skipped)


def test_the_choice_is_the_same_for_a_seed_and_another_for_another(long_meeting, samples_of):
    meeting = long_meeting(400, action_ids=(1, 2, 3))
    options = {"negative_ratio": 5.0}
    assert kept(samples_of, meeting, seed=1, **options) == kept(samples_of, meeting, seed=1, **options)
    assert len({tuple(kept(samples_of, meeting, seed=seed, **options)[1]) for seed in range(5)}) > 1
    other = replace(meeting, key="T2")
    choice = [id.split("/", 1)[1] for id in kept(samples_of, meeting, seed=1, **options)[1]]
    assert choice != [id.split("/", 1)[1] for id in kept(samples_of, other, seed=1, **options)[1]]


def test_the_choice_does_not_depend_on_the_interpreter(long_meeting, samples_of):
    meeting = long_meeting(80, action_ids=(1,))
    chosen = [kept(samples_of, meeting, seed=seed)[1] for seed in (42, 43, 44)]
    assert chosen == [["T1/actions/64-72"], ["T1/actions/28-36"], ["T1/actions/10-18"]]


def test_submission_joins_the_windows_and_maps_numbers_to_sentences(long_meeting, gold_row):
    task, meeting = ActionItemDetection(Options(max_input_tokens=600)), long_meeting(120, action_ids=(1, 60, 119))
    row = gold_row(task, meeting)
    assert row == {"meeting_key": "T1", "action_ids": [{"id": 1}, {"id": 60}, {"id": 119}]}
    assert task.score([meeting], {"T1": row})["score"] == 1


def test_with_nothing_to_find_and_nothing_found_the_score_is_undefined(case, meeting_of, gold_row):
    task, meeting = ActionItemDetection(), meeting_of(case(action_ids=[]))
    assert task.score([meeting], {"T1": gold_row(task, meeting)})["score"] is None
