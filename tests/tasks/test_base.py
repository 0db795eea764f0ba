"""What the tasks share: windows, shortening, and whose labels are the target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mug import tokens
from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.tasks import TASKS
from mug.tasks.base import Options, Sample, Skipped, choose, number_cost, shorten, transcript, windows

COSTS = st.lists(st.integers(1, 120), min_size=1, max_size=40)


def cut(costs, budget, overlap=0.0):
    return windows([f"{i}号" * 40 for i in range(len(costs))], costs, budget, overlap)


@given(costs=COSTS, budget=st.integers(64, 200), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_windows_show_every_line_in_order_within_the_budget(costs, budget, overlap):
    runs = cut(costs, budget, overlap)
    assert sorted({i for run in runs for i in range(run.start, run.stop)}) == list(range(len(costs)))
    assert all(
        after.start > before.start and after.stop > before.stop for before, after in zip(runs, runs[1:], strict=False)
    )
    for run in runs:
        assert run.tokens <= budget
        assert len(run.lines) == run.stop - run.start
        if run.stop - run.start > 1 or costs[run.start] <= budget:
            assert run.tokens == sum(costs[run.start : run.stop])


@given(costs=COSTS, budget=st.integers(64, 200))
def test_without_overlap_every_line_is_seen_once_and_no_window_could_take_one_more(costs, budget):
    runs = cut(costs, budget)
    assert [i for run in runs for i in range(run.start, run.stop)] == list(range(len(costs)))
    assert all(sum(costs[run.start : run.stop + 1]) > budget for run in runs[:-1])


@given(costs=st.lists(st.integers(1, 50), min_size=2, max_size=40))
def test_with_overlap_every_pair_of_neighbours_is_seen_together(costs):
    runs = cut(costs, 100, overlap=0.25)
    for first in range(len(costs) - 1):
        assert any(run.start <= first and first + 1 < run.stop for run in runs)


def test_the_overlap_is_about_the_share_asked_for():
    assert [(run.start, run.stop) for run in cut([10] * 20, 100, overlap=0.25)] == [(0, 10), (8, 18), (16, 20)]
    assert [(run.start, run.stop) for run in cut([10] * 20, 100)] == [(0, 10), (10, 20)]


def test_a_line_over_the_budget_stands_alone_and_shortened():
    runs = windows(["甲", "长" * 1000, "乙"], [10, 1000, 10], 100)
    assert [(run.start, run.stop) for run in runs] == [(0, 1), (1, 2), (2, 3)]
    assert runs[1].lines == [f"{'长' * 44}……{'长' * 44}"]
    assert runs[1].tokens == 100


@pytest.mark.parametrize("text", ["龘" * 1000 + "a" * 100_000, "长" * 3000, "😀" * 3000, "a b" * 3000, "长 " * 99])
def test_a_shortened_line_fits_with_its_number_whatever_its_ends_cost(text):
    text = f"[甲]: {text}"
    short = shorten(text, 200)
    assert tokens.estimate([f"9999999. {short}\n"])[0] <= 200
    assert text.startswith(short.split("……")[0])
    assert text.endswith(short.split("……")[1])
    assert len(short) > 40


def test_a_number_costs_its_digits_a_point_and_a_space():
    assert [number_cost(n) for n in (9, 10, 1000)] == [3, 4, 6]


def test_a_transcript_is_a_line_a_sentence_with_its_cost(case, meeting_of):
    lines, costs = transcript(meeting_of(case()), tokens.estimate)
    assert lines[:2] == ["[甲]: 先定春游地点。", "[乙]: 去湿地公园吧。"]
    assert costs == [len(line) + 1 for line in lines]


@pytest.mark.parametrize(("who", "targets"), [("first", [(2, 5)]), ("all", [(2, 5), (2, 9)]), ("union", [(2, 5, 9)])])
def test_targets_are_in_order_each_place_once_and_blank_annotators_passed_over(who, targets):
    assert choose([(), (5, 2, 2), (2, 9)], who) == targets


@pytest.fixture(scope="module")
def real(shared):
    return list(read_meetings(shared / "data" / "real_dev3.csv", Report()))


@pytest.mark.parametrize("budget", [2400, 500])
@pytest.mark.parametrize("counting", ["exact", "estimate"])
@pytest.mark.parametrize("name", TASKS)
def test_input_tokens_bound_what_a_real_prompt_costs_and_the_budget_bounds_both(shared, real, name, counting, budget):
    true = tokens.tokenizer_counter(shared / "qwen_tokenizer")
    task = TASKS[name](Options(max_input_tokens=budget, count=true if counting == "exact" else tokens.estimate))
    made = [sample for m in real for sample in task.samples(m, "dev") if isinstance(sample, Sample)]
    costs = true([f"{sample.instruction}\n{sample.input}" for sample in made])
    assert [s.id for s, cost in zip(made, costs, strict=True) if cost > s.input_tokens] == []
    assert max(costs) <= budget
    if counting == "exact" and name == "title_generation":
        assert all(
            sample.input_tokens - cost <= 1 for sample, cost in zip(made, costs, strict=True)
        )  # a last line break


def test_nobody_chose_anything():
    assert [choose([(), ()], who) for who in ("first", "all", "union")] == [[], [], []]


def test_there_are_six_tasks_by_their_names():
    assert list(TASKS) == [
        "title_generation",
        "extractive_summary",
        "session_summary",
        "topic_segmentation",
        "keyphrase_extraction",
        "action_item_detection",
    ]
    assert len({task.instruction for task in TASKS.values()}) == 6


@pytest.mark.parametrize("name", TASKS)
def test_a_budget_too_small_is_one_sentence(case, meeting_of, name):
    with pytest.raises(InputError, match="--max_input_tokens 70"):
        list(TASKS[name](Options(max_input_tokens=70)).samples(meeting_of(case()), "train"))


@pytest.mark.parametrize("name", TASKS)
def test_the_test_split_needs_no_labels_of_its_own(case, meeting_of, name):
    topics = [{"id": 3}, {"id": 6}]
    if name == "session_summary":  # its prompt is made of what was chosen in the topics
        topics = [{"id": 3, "candidate": [{"key_sentence": ["2", "3"]}]}, {"id": 6}]
    value = case(topic_segment_ids=topics, action_ids=None, candidate=None)
    labelled = case()
    made = list(TASKS[name]().samples(meeting_of(value), "test"))
    assert made
    assert all(isinstance(sample, Sample) for sample in made)
    assert {sample.output for sample in made} == {"1" if name == "topic_segmentation" else ""}  # it has its label here
    if name != "session_summary":
        same = [s.input for s in TASKS[name](Options(candidates="first")).samples(meeting_of(labelled), "dev")]
        assert [sample.input for sample in made] == same


@pytest.mark.parametrize("name", TASKS)
def test_without_labels_train_and_dev_say_what_was_skipped(case, meeting_of, name):
    value = case(topic_segment_ids=None, action_ids=None, candidate=None)
    for split in ("train", "dev"):
        made = list(TASKS[name]().samples(meeting_of(value), split))
        assert all(isinstance(skipped, Skipped) for skipped in made)
        assert len(made) == (0 if name in ("title_generation", "extractive_summary") else 1)


@pytest.mark.parametrize("name", TASKS)
def test_ids_are_unique_and_stable(case, meeting_of, name):
    task = TASKS[name](Options(candidates="all", max_input_tokens=300))
    first = [sample.id for sample in task.samples(meeting_of(case()), "dev")]
    assert len(set(first)) == len(first)
    assert all(id.startswith("T1/") for id in first)
    assert [sample.id for sample in task.samples(meeting_of(case()), "dev")] == first


@given(said=st.text(max_size=40), name=st.sampled_from(list(TASKS)))
def test_no_answer_makes_a_task_raise(said, name):
    task = TASKS[name]()
    answer = task.parse(
        said, Sample(id="x", instruction=task.instruction, input="会议内容：\n1. [甲]: 好。\n2. [乙]: 行。")
    )
    assert set(answer.numbers) <= {1, 2}
    assert isinstance(answer.text, str)
