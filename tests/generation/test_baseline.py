"""The floor of every table: no model, answers in the form asked for, the same each time, in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mug import evaluation
from mug.corpus import Report, read_meetings
from mug.generation.base import Completion
from mug.generation.baseline import (
    BLOCK,
    TITLE_LENGTH,
    BaselineEngine,
    answer,
    cohesion_depths,
    is_action,
    names_matter,
    weight,
    words,
)
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


def test_a_session_gets_about_a_quarter_of_what_is_shown():
    said = prompt(*[f"第{number}件事说完了。" for number in "一二三四五六七八九十"], "好。", "行。")
    assert len(answer(TASKS["session_summary"].instruction, said).split(", ")) == 3


def test_a_sentence_of_fillers_is_no_key_sentence():
    said = prompt("然后就是那个那个那个那个对对对对，嗯，这个这个。", "大巴周三之前订好。")
    assert weight("然后就是那个那个那个那个对对对对，嗯，这个这个。") < weight("大巴周三之前订好。")
    assert answer(TASKS["session_summary"].instruction, said) == "2"


def test_a_stutter_in_a_full_sentence_costs_nothing():
    text = "那个大巴我觉得还是要要提前一个星期跟公司订好。"
    assert weight(text) == len(text)


BUS = ["大巴公司报价太高", "司机和大巴都要检查", "大巴座位够不够", "司机的证件和报价", "大巴几点出发"] * 4
FOOD = ["食堂午餐分两拨", "过敏的孩子单独午餐", "食堂座位和菜单", "菜单里有牛奶过敏", "午餐以后洗手"] * 4


def test_a_topic_ends_where_the_words_change():
    assert answer(TS, prompt(*BUS, *FOOD)) == "20"


def test_it_ends_there_whatever_a_paragraph_is():
    by_four = ["，".join([*BUS, *FOOD][at : at + 4]) for at in range(0, 40, 4)]
    assert answer(TS, prompt(*by_four)) == "5"


def test_a_topic_is_no_shorter_than_a_few_words():
    assert answer(TS, prompt(*BUS[:5], *FOOD[:5])) == "无"


def test_a_paragraph_that_opens_a_matter_may_begin_a_topic():
    mixed = [text for pair in zip(BUS, FOOD, strict=True) for text in pair]
    opened = [*mixed[:20], f"好，接下来{mixed[20]}", *mixed[21:]]
    assert answer(TS, prompt(*mixed)) != "20"
    assert "20" in answer(TS, prompt(*opened)).split(", ")


def test_one_matter_all_along_has_no_end():
    assert answer(TS, prompt(*["大巴公司报价太高"] * 40)) == "无"


def test_a_dip_is_as_deep_as_the_likeness_rises_around_it():
    depths = cohesion_depths([["大巴"] * BLOCK] * 8 + [["午餐"] * BLOCK] * 8)
    assert max(range(len(depths)), key=depths.__getitem__) == 7 and depths[7] == pytest.approx(2.0)
    assert cohesion_depths([["大巴"]]) == [] and cohesion_depths([]) == []


@pytest.mark.parametrize("word", ["大巴", "抖音", "旗舰店", "带货", "怀孕"])
def test_a_title_may_name(word):
    assert names_matter(word)


@pytest.mark.parametrize("word", ["刚才", "直接", "好像", "必要", "合适", "不用", "多少"])
def test_a_title_does_not_name(word):
    assert not names_matter(word)


@pytest.mark.parametrize(
    "text",
    [
        "我来订大巴。",
        "那你这周五之前联系一下车队，让他们报个价。",
        "麻烦你把合同带上。",
        "记得把证件发我。",
        "会后我们整理一份名单。",
        "好，我下周三之前把大巴订好。",
        "会议室我来订。",
        "你把合同扫描件上传到系统里。",
        "请财务这周五之前把预算表提交上来。",
        "服务器迁移由小李负责。",
        "会后我把纪要同步给大家。",
        "麻烦小王把投影仪带过来。",
        "我明天去租两台音响。",
        "小陈你回头收集一下大家的意见。",
        "那我今晚把代码弄好发你。",
        "打印的事情我来安排。",
        "名单你周四下班前反馈给我。",
        "我月底之前完成测试报告。",
        "你去跟供应商谈一下付款方式。",
        "辛苦你把发票整理一下。",
        "别忘了给李总回复邮件。",
        "行，那我去买水和面包。",
        "我跟物业借一把梯子，明天带过来。",
        "老周，你负责联系场地。",
        "待会儿我就把链接发到群里。",
        "我们下周一之前把方案做好交给客户。",
        "这个接口我这两天搞定。",
        "请王芳把证书复印三份。",
        "那就小刘你来写初稿吧。",
        "我回去查一下去年的数据，明天给你。",
        "记得把身份证带上。",
        "好的，我尽快跟进。",
        "海报就交给我吧。",
        "小赵，你通知一下各部门周五下午开会。",
        "采购单由我来提交。",
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
        "下周五吧，天气预报说是晴天。",
        "他们会把货直接发给客户。",
        "我觉得把价格写清楚比较好。",
        "上周我把合同发给他了。",
        "如果你把报价发给他，他肯定不同意。",
        "你把大巴订好了吗？",
        "谁负责写方案呢？",
        "客户一般都会打电话来问。",
        "我之前在一家公司做过销售。",
        "我把文件已经发到群里了。",
        "明天可能会下雨。",
        "你比如说你把门打开，冷气就跑了。",
        "我们公司每年都会安排体检。",
        "我去过两次，那边的菜不错。",
        "万一到时候没人写呢。",
        "要不我们去买点喝的？",
        "我给你讲，这个东西卖得特别好。",
        "顾客买东西的时候会看评价。",
        "请大家看一下屏幕上的图。",
        "我刚才跟他打了个电话，他说没问题。",
        "你把它当成一个普通的手机就行。",
        "他去年负责华东市场。",
        "那个活动是学生会负责的。",
        "我记得去年给大家发过奖金。",
        "之前给我们报的价是三百。",
        "我去，这么贵啊。",
        "我有一个问题，就是价格谁来定。",
        "下个月二十号上线，这个日期不能再动了。",
        "我给你们举个例子。",
        "星期五下午申请的，要等到星期一。",
        "你带孩子去的话，得排很久的队。",
        "我想问一下，这个功能什么时候做完？",
        "直播的时候主播要把产品介绍清楚。",
    ],
)
def test_no_action_item(text):
    assert not is_action(text)


def test_action_items_of_the_sample_corpus(sample_corpus):
    meetings = [m for name in ("train.csv", "dev.csv") for m in read_meetings(sample_corpus / name, Report())]
    found = {(m.key, n) for m in meetings for n, one in enumerate(m.sentences, 1) if is_action(one.text)}
    gold = {(m.key, n) for m in meetings for n in m.action_ids or ()}
    # 50 of 54 found are right, of 64; the rules were written with these sentences in view.
    assert len(found & gold) / len(found) >= 0.9 and len(found & gold) / len(gold) >= 0.7


@pytest.mark.parametrize("text", ["我" * 5000, "我就" * 5000, "请" * 5000, "会后" * 5000, "然后就是" * 5000])
def test_a_stuttering_sentence_takes_no_long_time(text):
    started = time.process_time()
    is_action(text)
    weight(text)
    answer(TS, prompt(text, text))
    assert time.process_time() - started < 10  # jieba takes a second; an expression that goes back and forth, for ever


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
    # What it had when it was written; a change that loses a point should be a choice.
    assert found == pytest.approx(
        {
            "topic_title_generation": 16.9,
            "extractive_summarization": 62.5,
            "topic_segmentation": 46.8,
            "keyphrase_extraction": 17.7,
            "action_item_detection": 50.0,
        },
        abs=1.0,
    )


def by_turns(meeting: Meeting) -> Meeting:
    """Return the meeting with a paragraph a turn, as transcripts without paragraphs have them."""
    said, ends = meeting.sentences, {topic.end for topic in meeting.topics}
    turns = [n for n in range(1, len(said)) if said[n].speaker != said[n - 1].speaker or n in ends]
    return replace(meeting, paragraph_ends=(*turns, len(said)))


def topics_found(meeting: Meeting) -> int:
    task = TASKS["topic_segmentation"](Options())
    answers = [task.parse(answer(one.instruction, one.input), one) for one in samples(task, [meeting])]
    return len(task.submission(meeting, answers)["topic_segment_ids"])


@pytest.mark.slow
def test_about_as_many_topics_as_annotators_found(real):
    gold = sum(len(meeting.topics) for meeting in real)
    for meeting in real:
        assert len(meeting.topics) / 1.4 <= topics_found(meeting) <= 1.4 * len(meeting.topics)
    # Of single meetings by turns one has 1.8 times as many.
    assert gold / 1.4 <= sum(topics_found(by_turns(meeting)) for meeting in real) <= 1.4 * gold


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
