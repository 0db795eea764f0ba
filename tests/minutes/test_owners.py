"""Owner and due date by rule: what is found, and above all what is not."""

from __future__ import annotations

import time

import pytest

from mug.minutes.owners import due_of, owner_of

SPEAKER = "no.0"


@pytest.mark.parametrize(
    "text",
    [
        "我来订大巴。",
        "那课件就我来改。",
        "行，我来弄。",
        "那我来吧，我建个群。",
        "我去找物业谈一下。",
        "我去修，就是那个皮带断了。",
        "这个我负责，你们放心。",
        "这件事交给我。",
        "由我来负责对接。",
        "我回头跟老板申请一下。",
        "我明天跟他们签合同。",
        "我会后把纪要发到群里。",
        "我再确认一下时间。",
        "首页的设计稿我周三出终稿。",
    ],
)
def test_the_speaker_takes_it_over(text):
    assert owner_of(text, SPEAKER) == SPEAKER


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("那小孙你把新的排班表排一下，周五发到群里。", "小孙"),
        ("老赵你这两天去问三家供应商要个报价。", "老赵"),
        ("李医生，你这两天把过敏名单重新核对一遍。", "李医生"),
        ("那李老师，你这周五之前联系一下车队。", "李老师"),
        ("那小郑，麻烦你把今天说的这些写成一页纸。", "小郑"),
        ("请张三把合同发给法务。", "张三"),
        ("由李四负责跟进。", "李四"),
        ("这块由王总牵头。", "王总"),
        ("麻烦陈经理明天确认一下场地。", "陈经理"),
        ("采购的事交给小刘去办。", "小刘"),
        ("小王你周五前能发给我吗？", "小王"),
        ("让小何去联系赞助商。", "小何"),
        ("对，陈姐那你负责拍照。", "陈姐"),
        ("黄晓明来写邀请函。", "黄晓明"),
        ("周总你来定一下预算。", "周总"),
    ],
)
def test_a_named_person_is_the_owner(text, owner):
    assert owner_of(text, SPEAKER) == owner
    assert owner in text


def test_a_participant_is_known_by_name_whatever_it_looks_like():
    assert owner_of("Alice 你把稿子发我。", "甲", ["Alice", "甲"]) == "Alice"
    assert owner_of("请欧阳娜娜明天确认。", "甲", ["欧阳娜娜 (外部)"]) == "欧阳娜娜"
    assert owner_of("请欧阳娜娜明天确认。", "甲") == ""


@pytest.mark.parametrize(
    "text",
    [
        "你周五前把报价发我。",  # nobody is named
        "那你把日程排出来咱们再看一眼。",
        "大家回去把意向表填了。",
        "我们来处理。",
        "咱们下周再碰。",
        "我来之前已经订了。",
        "我来晚了，不好意思。",
        "我来说一下背景。",
        "我来介绍一下。",
        "我去年写过一份。",
        "我去问了，他们不同意。",
        "我负责的部分已经交了。",
        "要不要我来订？",
        "我来订吗？",
        "如果我来订大巴的话，谁收钱？",
        "他说我来订。",
        "不用我来订。",
        "我昨天发给你了。",
        "我今天发现一个问题。",
        "请马上发给我。",
        "请高度重视，周五之前交。",
        "请严格执行。",
        "请周总结发我一份。",
        "由于负责人不在，先放一放。",
        "让小程序来处理。",
        "半小时你就能做完。",
        "小王负责的那块出了问题。",
        "小王来了没有？",
        "老马你别急。",
        "小王你好。",
        "请各位老师把名单发我。",
        "给小王发一份。",
        "我和小王去买。",
        "为什么让小王去买？",
        "小王你发初稿，小李你来定稿。",  # two people
        "小王你周五前发我，我来汇总。",
    ],
)
def test_silence_rather_than_a_guess(text):
    assert owner_of(text, SPEAKER) == ""


@pytest.mark.parametrize(
    "piece", ["我", "我再", "再先", "跟", "我明天跟", "好", "小王", "请小王", "周五", "一", "3月", "1:"]
)
def test_a_long_strange_sentence_takes_no_time(piece):
    started = time.perf_counter()
    owner_of("我明天" + piece * 2000, "甲", ["小王"])
    due_of(piece * 2000)
    assert time.perf_counter() - started < 2


def test_the_numbers_of_speakers_are_no_names():
    assert owner_of("请说话人1把稿子发我。", "说话人2", ["说话人1", "说话人2"]) == ""


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("下周五把报价发我。", "下周五"),
        ("那你这周五之前联系一下车队。", "这周五之前"),
        ("3月5号交初稿。", "3月5号"),
        ("三月五日之前交初稿。", "三月五日之前"),
        ("2025年3月5日前上线。", "2025年3月5日前"),
        ("2025-03-05 前上线。", "2025-03-05"),
        ("月底前定稿。", "月底前"),
        ("下个月20号之前搬完。", "下个月20号之前"),
        ("明天下午给我。", "明天下午"),
        ("后天上午十点前发群里。", "后天上午十点前"),
        ("明天15:30之前发我。", "明天15:30之前"),
        ("本周内完成。", "本周内"),
        ("两天之内给我答复。", "两天之内"),
        ("三个工作日内回复。", "三个工作日内"),
        ("24小时内处理完。", "24小时内"),
        ("国庆节前上线。", "国庆节前"),
        ("今天下班之前报给我。", "今天下班之前"),
        ("二十号之前把退货区搬完。", "二十号之前"),
        ("这周给他们提需求。", "这周"),
        ("这周末给你看样子。", "这周末"),
        ("星期三给我。", "星期三"),
        ("年底之前验收。", "年底之前"),
        ("周三之前发初稿，周五讨论。", "周三之前"),
    ],
)
def test_a_date_as_the_sentence_says_it(text, due):
    assert due_of(text) == due
    assert due in text


@pytest.mark.parametrize(
    "text",
    [
        "下周五的大巴我来订。",
        "把明天的会议室订了。",
        "三月份的报表发我。",
        "上周五说过了，你补一份。",
        "每周五发一次周报。",
        "一周一次发到群里。",
        "从周一开始值班，你排一下。",
        "周一到周五轮着来。",
        "去年三月底就该交了。",
        "在一号楼门口集合，你通知一下。",
        "坐3号线过来。",
        "第五号文件你找一下。",
        "尽快发我。",
        "会后发我。",
        "今天先把这个改了。",
        "周三之前发初稿，周五之前定稿。",  # two dates
        "明天或者后天给我。",
        "把周报写了。",
        "我来订大巴。",
        "",
    ],
)
def test_no_date_rather_than_a_wrong_one(text):
    assert due_of(text) == ""
