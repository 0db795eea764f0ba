"""The floor of every table: no model, answers in the form asked for, the same each time, in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mug import evaluation
from mug.corpus import Report, read_meetings
from mug.generation.base import Completion
from mug.generation.baseline import TITLE_LENGTH, BaselineEngine, answer, cohesion_depths, is_action, words
from mug.meeting import Candidate, Meeting, Topic
from mug.tasks import TASKS
from mug.tasks.base import Options, Sample, Task
from mug.tasks.extractive_summary import ASK_TEXT, ExtractiveSummary

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TS = TASKS["topic_segmentation"].instruction
ES = TASKS["extractive_summary"].instruction


@pytest.fixture(scope="module")
def meetings(sample_corpus: Path) -> list[Meeting]:
    return list(read_meetings(sample_corpus / "dev.csv", Report()))


def samples(task: Task, meetings: list[Meeting]) -> list[Sample]:
    return [sample for meeting in meetings for sample in task.samples(meeting, "dev") if isinstance(sample, Sample)]


def prompt(*texts: str) -> str:
    return "会议内容：\n" + "\n".join(f"{number}. [甲]: {text}" for number, text in enumerate(texts, 1))


@pytest.mark.parametrize("name", TASKS)
def test_each_task_is_answered_in_its_form(name, meetings):
    task = TASKS[name](Options())
    asked = samples(task, meetings)
    completions = dict(BaselineEngine().generate(asked))
    assert list(completions) == list(range(len(asked))) and asked
    answers = [task.parse(completions[index].text, sample) for index, sample in enumerate(asked)]
    assert [found.repairs for found in answers if found.repairs] == []
    assert any(found.numbers or found.phrases or name == "title_generation" for found in answers)
    assert all(found.text for found in answers)


def test_the_same_prompts_get_the_same_answers(meetings):
    asked = [sample for task in TASKS.values() for sample in samples(task(Options()), meetings[:1])]
    assert list(BaselineEngine().generate(asked)) == list(BaselineEngine().generate(asked))


def test_it_sees_the_prompt_only(meetings):
    asked = samples(TASKS["extractive_summary"](Options()), meetings)
    bare = [Sample("x", sample.instruction, sample.input) for sample in asked]
    assert list(BaselineEngine().generate(asked)) == list(BaselineEngine().generate(bare))


def test_the_fingerprint_goes_into_json():
    assert json.loads(json.dumps(BaselineEngine().fingerprint))["engine"] == "baseline"


def test_a_title_has_the_length_of_a_title(meetings):
    titles = [answer(s.instruction, s.input) for s in samples(TASKS["title_generation"](Options()), meetings)]
    assert all(2 <= len(title) <= TITLE_LENGTH for title in titles)


def test_the_title_names_what_is_said_most():
    said = prompt("大巴谁订？", "大巴我订，午餐呢？", "午餐去食堂，大巴要两辆。")
    assert answer(TASKS["title_generation"].instruction, said) == "大巴和午餐的问题"


def test_one_key_sentence_of_each_third():
    said = prompt(
        "去湿地公园春游怎么样。", "嗯。", "好。", "大巴要提前一个星期订好。", "对。", "午餐在公园食堂分两拨吃。"
    )
    assert answer(ES, said) == "1, 4, 6"


def test_key_sentences_as_text_are_found_in_the_prompt_again(meetings):
    task = ExtractiveSummary(Options(es_target="text"))
    for sample in samples(task, meetings):
        assert sample.instruction == ASK_TEXT
        found = task.parse(answer(sample.instruction, sample.input), sample)
        assert found.repairs == () and len(found.numbers) == 3


def test_a_session_gets_about_a_third_of_what_is_shown():
    said = prompt(*[f"第{number}件事说完了。" for number in "一二三四五六七八九十"])
    assert len(answer(TASKS["session_summary"].instruction, said).split(", ")) == 3


def test_a_topic_ends_where_the_words_change():
    bus = ["大巴公司报价太高", "司机和大巴都要检查", "大巴座位够不够", "司机的证件和报价", "大巴几点出发"]
    food = ["食堂午餐分两拨", "过敏的孩子单独午餐", "食堂座位和菜单", "菜单里有牛奶过敏", "午餐以后洗手"]
    assert answer(TS, prompt(*bus, *food)) == "5"


def test_one_matter_all_along_has_no_end():
    assert answer(TS, prompt(*["大巴公司报价太高"] * 8)) == "无"


def test_a_dip_is_as_deep_as_the_likeness_rises_around_it():
    left, right = Counter({"大巴": 1}), Counter({"午餐": 1})
    depths = cohesion_depths([left] * 8 + [right] * 8)
    assert max(range(len(depths)), key=depths.__getitem__) == 7 and depths[7] == pytest.approx(2.0)
    assert cohesion_depths([left]) == [] and cohesion_depths([]) == []


@pytest.mark.parametrize(
    "text",
    [
        "我来订大巴。",
        "那你这周五之前联系一下车队，让他们报个价。",
        "麻烦你把合同带上。",
        "记得把证件发我。",
        "会后我们整理一份名单。",
    ],
)
def test_cues_of_an_action_item(text):
    assert is_action(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "对对对。",
        "去年十二号晚上车在外头排了三公里。",
        "如果明天上午发给客服的话，就说坏了。",
        "我来说一下。",
        "谁来联系车队，周五之前能报价吗？",
    ],
)
def test_no_action_item(text):
    assert not is_action(text)


@pytest.mark.parametrize(
    "input", ["", "会议内容：\n", "会议内容：\n1. [甲]: ", "没有编号的一行", "。。。", "\n\n\n", "😀" * 40]
)
@pytest.mark.parametrize("instruction", [*(task.instruction for task in TASKS.values()), ASK_TEXT, "翻译成英文"])
def test_a_strange_prompt_gets_a_short_answer(instruction, input):
    said = answer(instruction, input)
    assert said.strip() and len(said) <= max(40, len(input))


def test_words_are_those_that_tell_matters_apart():
    assert words("然后我们就是觉得这个大巴要三百多块。") == ("大巴",)


def test_it_says_nothing_while_it_starts():
    code = (
        "from mug.generation.baseline import answer; from mug.tasks import TASKS;"
        "print(answer(TASKS['keyphrase_extraction'].instruction, '[甲]: 大巴公司在公园门口。'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "") and "大巴" in done.stdout and "\n" not in done.stdout.strip()


# ------------------------------------------------------------------------------------------------ real meetings


@pytest.fixture(scope="module")
def real(shared: Path) -> list[Meeting]:
    return list(read_meetings(shared / "data" / "real_dev3.csv", Report(), times=False))


@pytest.mark.slow
def test_what_it_scores_on_three_real_meetings(real):
    items = [
        evaluation.Item(sample, task, meeting.key)
        for task in [task(Options()) for task in TASKS.values()]
        for meeting in real
        for sample in samples(task, [meeting])
    ]
    said = dict(BaselineEngine().generate([item.sample for item in items]))
    scored = evaluation.score_items(items, [said[index] for index in range(len(items))])
    assert [one.answer.repairs for one in scored if one.answer.repairs] == []
    official = evaluation.official_scores(evaluation.submissions(scored, real), real)
    found = {track: 100 * values["scores"]["score"] for track, values in official.items()}
    # What it had when it was written (summaries 63.2, before a longer instruction cut one more topic in two windows);
    # a change that loses a point should be a choice.
    assert found == pytest.approx(
        {
            "topic_title_generation": 16.7,
            "extractive_summarization": 62.0,
            "topic_segmentation": 41.6,
            "keyphrase_extraction": 17.7,
            "action_item_detection": 66.7,
        },
        abs=1.0,
    )


@pytest.mark.slow
def test_a_three_hour_meeting_takes_seconds(real):
    sentences = tuple(sentence for meeting in real for sentence in meeting.sentences) * 2
    long = Meeting(
        "long",
        sentences[:4000],
        topics=tuple(
            Topic(at, at + 79, (Candidate(key_sentences=(at, at + 30, at + 60)),)) for at in range(1, 4000, 80)
        ),
        paragraph_ends=tuple(range(5, 4001, 5)),
    )
    asked = [s for task in TASKS.values() for s in task(Options()).samples(long, "test") if isinstance(s, Sample)]
    started = time.process_time()
    completions = [completion for _, completion in BaselineEngine().generate(asked)]
    assert time.process_time() - started < 20
    assert len(completions) == len(asked) and all(isinstance(one, Completion) for one in completions)


def test_a_meeting_without_labels_is_answered_too(meetings):
    bare = replace(meetings[0], topics=(), action_ids=None, candidates=())
    asked = [s for task in TASKS.values() for s in task(Options()).samples(bare, "test") if isinstance(s, Sample)]
    assert asked and all(completion.text for _, completion in BaselineEngine().generate(asked))
