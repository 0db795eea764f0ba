"""The layout ``shared``: one transcript for several questions, and the same answers, rows and scores as apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mug import tokens
from mug.corpus import Report, read_meetings
from mug.meeting import Candidate, Topic
from mug.tasks import TASKS
from mug.tasks.base import NONE, Options, Sample
from mug.tasks.shared import ACKNOWLEDGEMENT, MOVED, SHARED_TASKS, TURN_TOKENS, as_input, ends_asked

OF_A_TOPIC = ("title_generation", "extractive_summary")
OF_A_WINDOW = ("topic_segmentation", "keyphrase_extraction", "action_item_detection")


@pytest.fixture(scope="session")
def real(shared):
    return list(read_meetings(shared / "golden" / "gold.csv", Report()))


@pytest.fixture(scope="session")
def count(shared):
    return tokens.tokenizer_counter(shared / "qwen_tokenizer")


def turns(samples):
    return list(dict.fromkeys(sample.history for sample in samples))


# ------------------------------------------------------------------------------------------------------- the prompts


def test_a_topics_questions_go_on_from_one_turn_with_its_numbered_sentences(case, meeting_of, samples_of):
    meeting = meeting_of(case())
    title, summary = (samples_of(SHARED_TASKS[name](), meeting)[0] for name in OF_A_TOPIC)
    said = (
        "你是一个专业的会议助手。以下会议内容片段属于同一个主题，每句话前有编号，之后会有关于它的问题。\n"
        "会议内容：\n1. [甲]: 先定春游地点。\n2. [乙]: 去湿地公园吧。\n3. [甲]: 同意。"
    )
    assert title.history == summary.history == ((said, "好的。"),)
    assert (title.instruction, title.input, title.output) == ("请生成一个简洁准确的主题标题。", "", "定春游地点")
    assert (summary.id, summary.input, summary.output) == ("T1/summary/3", "", "2, 3")
    assert (title.places, title.topic) == ((1, 2, 3), 3)


def test_a_windows_questions_go_on_from_one_turn_with_an_empty_line_between_paragraphs(case, meeting_of, samples_of):
    meeting = meeting_of(case())
    (boundaries,), (phrases,), (actions,) = (samples_of(SHARED_TASKS[name](), meeting) for name in OF_A_WINDOW)
    assert boundaries.history == phrases.history == actions.history
    assert boundaries.history[0][0].split("\n")[1:] == [
        "会议内容：", "1. [甲]: 先定春游地点。", "2. [乙]: 去湿地公园吧。", "3. [甲]: 同意。", "",
        "4. [乙]: 哪天去？", "5. [甲]: 下周五。", "6. [乙]: 我来订大巴。",
    ]  # fmt: skip
    assert [one.output for one in (boundaries, phrases, actions)] == ["3", "春游、湿地公园", "6"]


def test_no_question_is_another_ones_or_an_instruction_of_the_separate_layout():
    asked = [task.instruction for layout in (TASKS, SHARED_TASKS) for task in layout.values()]
    for layout in (TASKS, SHARED_TASKS):
        asked += [layout[name].ask_text for name in ("extractive_summary", "session_summary")]
    assert len(set(asked)) == len(asked) == 16
    assert list(SHARED_TASKS) == list(TASKS)


@pytest.mark.parametrize("budget", [400, 1000, 2400])
def test_real_meetings_have_the_same_trunks_for_all_that_is_asked(real, samples_of, count, budget):
    options = Options(max_input_tokens=budget, count=count, candidates="all")
    for meeting in real:
        for names in (OF_A_TOPIC, OF_A_WINDOW):
            shown = [turns(samples_of(SHARED_TASKS[name](options), meeting)) for name in names]
            assert all(one == shown[0] for one in shown)


@pytest.mark.parametrize("counting", ["tokenizer", "estimate"])
@pytest.mark.parametrize("budget", [400, 2400])
def test_nothing_costs_more_than_is_said_and_no_transcript_more_than_the_budget(
    real, samples_of, count, budget, counting
):
    options = Options(max_input_tokens=budget, count=count if counting == "tokenizer" else tokens.estimate)
    made = [s for task in SHARED_TASKS.values() for meeting in real for s in samples_of(task(options), meeting)]
    trunks = [sample.history[0][0] for sample in made]
    prompts = [
        f"{trunk}<|im_end|>\n<|im_start|>assistant\n{ACKNOWLEDGEMENT}<|im_end|>\n<|im_start|>user\n{sample.instruction}"
        for trunk, sample in zip(trunks, made, strict=True)
    ]
    assert max(count(trunks)) <= budget
    assert all(cost <= sample.input_tokens for cost, sample in zip(count(prompts), made, strict=True))


def test_a_turn_costs_what_is_reckoned_with(count):
    around = f"{ACKNOWLEDGEMENT}<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    assert count([around])[0] <= TURN_TOKENS


# ------------------------------------------------------------------------------------------------------- the windows


@pytest.mark.parametrize("budget", [300, 500, 2400])
def test_windows_show_every_sentence_and_ask_about_every_paragraph_end(real, samples_of, budget):
    task = SHARED_TASKS["topic_segmentation"](Options(max_input_tokens=budget))
    for meeting in real:
        made = samples_of(task, meeting)
        assert {place for s in made for place in s.places} == set(range(1, len(meeting.sentences) + 1))
        asked = {s.places[number - 1] for s in made for number in ends_asked(s.history[0][0])}
        assert asked == set(meeting.paragraph_ends[:-1])
        for before, after in zip(made, made[1:], strict=False):
            assert before.places[0] < after.places[0] <= before.places[-1] < after.places[-1]


def test_a_paragraph_over_half_of_the_budget_goes_in_pieces_and_keeps_all_its_sentences(long_meeting, samples_of):
    meeting = long_meeting(60, 20, topics=(Topic(1, 30), Topic(31, 60)))
    meeting = replace(meeting, paragraph_ends=(30, 60))
    task = SHARED_TASKS["topic_segmentation"](Options(max_input_tokens=500))
    made = samples_of(task, meeting)
    assert len(made) > 3
    assert {place for s in made for place in s.places} == set(range(1, 61))
    assert [s.places[number - 1] for s in made for number in ends_asked(s.history[0][0])] in ([30], [30, 30])
    assert task.submission(meeting, [task.parse(s.output, s) for s in made])["topic_segment_ids"] == [
        {"id": 30}, {"id": 60},
    ]  # fmt: skip


def test_a_sentence_of_100000_characters_is_shown_shortened(case, meeting_of, samples_of):
    value = case()
    value["sentences"][1]["s"] = "长" * 100_000
    meeting = meeting_of(value)
    for task in SHARED_TASKS.values():
        for sample in samples_of(task(Options()), meeting):
            assert tokens.estimate([sample.history[0][0]])[0] <= 2400
            assert sample.places == tuple(sorted(sample.places))


def test_a_topic_over_the_budget_goes_in_windows_that_share_its_title(long_meeting, samples_of):
    meeting = long_meeting(60, 20, topics=(Topic(1, 60, (Candidate("甲题", (2, 59)),)),))
    options = Options(max_input_tokens=600)
    titles, summaries = (samples_of(SHARED_TASKS[name](options), meeting) for name in OF_A_TOPIC)
    assert len(titles) > 1 and {s.output for s in titles} == {"甲题"}
    assert turns(titles) == turns(summaries)
    assert [place for s in titles for place in s.places] == list(range(1, 61))
    assert titles[0].id == f"T1/title/60/1-{titles[0].places[-1]}"
    row = SHARED_TASKS["extractive_summary"](options)
    said = row.submission(meeting, [row.parse(s.output, s) for s in summaries])
    assert said["topic_segment_ids"] == [{"id": 60, "key_sentence": ["2", "59"]}]


def test_a_topic_that_is_over_the_budget_by_the_estimate_alone_stays_whole(long_meeting, samples_of):
    meeting = long_meeting(60, 40, topics=(Topic(1, 60, (Candidate("甲题", (2, 59)),)),))
    for name in OF_A_TOPIC:
        (sample,) = samples_of(SHARED_TASKS[name](Options(max_input_tokens=2800)), meeting)
        assert tokens.estimate([sample.history[0][0]])[0] > 2800
        assert len(samples_of(SHARED_TASKS[name](Options(max_input_tokens=2000)), meeting)) > 1


# ------------------------------------------------------------------------------------------------- answers, and back


@pytest.mark.parametrize("budget", [500, 2400])
@pytest.mark.parametrize("target", ["ids", "text"])
@pytest.mark.parametrize("name", TASKS)
def test_gold_answers_give_the_row_that_they_give_apart(real, gold_row, count, name, target, budget):
    options = Options(max_input_tokens=budget, count=count, es_target=target)
    for meeting in real:
        row, apart = gold_row(SHARED_TASKS[name](options), meeting), gold_row(TASKS[name](options), meeting)
        if name == "keyphrase_extraction":  # the order depends on where windows begin
            row["key_word"], apart["key_word"] = sorted(row["key_word"]), sorted(apart["key_word"])
        assert row == apart


@pytest.mark.parametrize(
    ("said", "numbers", "repairs"),
    [
        ("3", (3,), ()),
        ("2", (3,), (MOVED,)),
        ("1, 3", (3,), (MOVED,)),
        ("5", (), ("numbers outside the prompt dropped",)),
        ("6", (), ("numbers outside the prompt dropped",)),
        (NONE, (), ()),
        ("", (), ()),
    ],
)
def test_a_sentence_inside_a_paragraph_is_moved_to_its_end_and_the_last_paragraph_is_not_asked_about(
    case, meeting_of, samples_of, said, numbers, repairs
):
    task = SHARED_TASKS["topic_segmentation"]()
    (sample,) = samples_of(task, meeting_of(case()))
    answer = task.parse(said, sample)
    assert (answer.numbers, answer.repairs) == (numbers, repairs)
    assert answer.sample == sample


def test_a_window_of_one_paragraph_has_nothing_to_name(case, meeting_of, samples_of):
    task = SHARED_TASKS["topic_segmentation"]()
    meeting = meeting_of(case(paragraph_segment_ids=[{"id": 6}], topic_segment_ids=[{"id": 6}]))
    (sample,) = samples_of(task, meeting)
    assert sample.output == NONE
    assert task.submission(meeting, [task.parse("1-6", sample)])["topic_segment_ids"] == [{"id": 6}]


def test_a_boundary_needs_half_of_the_windows_that_ask_about_it(long_meeting, samples_of, submit):
    meeting = long_meeting(120, 20, topics=(Topic(1, 30), Topic(31, 120)))
    task = SHARED_TASKS["topic_segmentation"](Options(max_input_tokens=2400))
    made = samples_of(task, meeting)
    (twice, *_) = [p for p in meeting.paragraph_ends if sum(_asks(s, p) for s in made) == 2]
    first = next(s for s in made if _asks(s, twice))
    said = [(s, str(s.places.index(twice) + 1) if s is first else NONE) for s in made]
    assert submit(task, meeting, said)["topic_segment_ids"] == [{"id": twice}, {"id": 120}]


def _asks(sample: Sample, place: int) -> bool:
    return place in {sample.places[number - 1] for number in ends_asked(sample.history[0][0])}


def test_a_phrase_that_two_windows_say_in_the_same_place_counts_once(long_meeting, samples_of, submit):
    meeting = long_meeting(60, 20)
    task = SHARED_TASKS["keyphrase_extraction"](Options(max_input_tokens=900))
    first, second, *others = samples_of(task, meeting, "test")
    both = sorted(set(first.places) & set(second.places))
    only = [place for place in second.places if place not in both]
    words = {both[0]: "报价", first.places[0]: "公园", only[0]: "公园"}
    sentences = tuple(
        replace(s, text=s.text[:-2] + words.get(place, s.text[-2:])) for place, s in enumerate(meeting.sentences, 1)
    )
    meeting = replace(meeting, sentences=sentences)
    said = [(first, "报价、公园"), (second, "报价、公园"), *((s, NONE) for s in others)]
    assert submit(task, meeting, said)["key_word"] == ["公园", "报价"]  # 公园 was said in both, 报价 in one place


def test_an_action_that_one_of_two_windows_names_is_one(long_meeting, samples_of, submit):
    meeting = long_meeting(60, 20, action_ids=(3,))
    task = SHARED_TASKS["action_item_detection"](Options(max_input_tokens=900))
    first, second, *others = samples_of(task, meeting)
    place = second.places[0]
    assert place in first.places
    said = [(first, NONE), (second, "1"), *((s, NONE) for s in others)]
    assert submit(task, meeting, said)["action_ids"] == [{"id": place}]


@pytest.mark.parametrize("name", ["extractive_summary", "session_summary"])
def test_quoted_sentences_are_found_in_the_transcripts_turn(case, meeting_of, samples_of, name):
    task = SHARED_TASKS[name](Options(es_target="text"))
    sample = samples_of(task, meeting_of(case()))[0]
    assert sample.instruction == SHARED_TASKS[name].ask_text
    answer = task.parse("去湿地公园吧。", sample)
    assert [answer.sample.places[number - 1] for number in answer.numbers] == [2]


def test_without_a_meeting_the_numbers_asked_about_are_those_of_the_turn(case, meeting_of, samples_of):
    for name in (*OF_A_WINDOW, "extractive_summary"):
        task = SHARED_TASKS[name]()
        sample = replace(samples_of(task, meeting_of(case()))[0], places=())
        if name != "keyphrase_extraction":
            assert task.parse("1, 2, 3, 99", sample).numbers[-1] == 3


# -------------------------------------------------------------------------------------------------- what train leaves


def test_train_asks_for_actions_in_few_windows_without_one_and_shows_the_others_all_the_same(long_meeting, samples_of):
    meeting = long_meeting(300, 20, action_ids=(1,))
    options = Options(max_input_tokens=900)
    asked = samples_of(SHARED_TASKS["action_item_detection"](options), meeting, "train")
    dev = samples_of(SHARED_TASKS["action_item_detection"](options), meeting, "dev")
    assert (len(asked), [s.output for s in asked].count(NONE)) == (2, 1)
    assert set(turns(asked)) < set(turns(dev)) and len(turns(dev)) > 10
    assert samples_of(SHARED_TASKS["keyphrase_extraction"](options), meeting, "test")[0].history == dev[0].history


@pytest.mark.parametrize("name", TASKS)
def test_what_has_no_label_is_left_out_for_the_same_reason_as_apart(case, meeting_of, skipped_of, name):
    bare = meeting_of(case(topic_segment_ids=None, action_ids=None, candidate=None))
    untitled = meeting_of(case(topic_segment_ids=[{"id": 3}, {"id": 6}], candidate=[]))
    for meeting in (bare, untitled):
        assert skipped_of(SHARED_TASKS[name](), meeting) == skipped_of(TASKS[name](), meeting)


@pytest.mark.parametrize("name", TASKS)
def test_a_split_without_labels_is_asked_the_same(case, meeting_of, samples_of, name):
    meeting = meeting_of(case())
    labelled = samples_of(SHARED_TASKS[name](), meeting, "dev")
    assert [(s.history, s.instruction) for s in samples_of(SHARED_TASKS[name](), meeting, "test")] == [
        (s.history, s.instruction) for s in labelled
    ]


def test_a_separate_sample_has_its_own_input():
    assert as_input(Sample("", "问", "会议内容：\n1. [甲]: 好。")) == "会议内容：\n1. [甲]: 好。"
    assert as_input(Sample("", "问", "")) == ""
