"""What models say in place of what was asked for, and what is read from it."""

from __future__ import annotations

import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mug.tasks import answers

# Text as models write it: pieces of markup, numbers and JSON more often than chance would have them.
PIECES = ["<think>", "</think>", "```", "```json\n", "**", "\n", "1-5", "第3句", "③", "、", "，", "[", "]", "{", "}"]
PIECES += ['"', "无", "：", "好的", "标题", "<|im_end|>", "\ud83d", "\x00", "９", "٣", "²", "1. ", "]: ", "9" * 30]
ANYTHING = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=15).map("".join))


@pytest.mark.parametrize(
    ("said", "title", "repairs"),
    [
        ("定春游地点", "定春游地点", ()),
        ("<think>先看地点</think>\n定春游地点", "定春游地点", ("reasoning removed",)),
        ("先看地点</think>\n定春游地点", "定春游地点", ("reasoning removed",)),
        ("<think>还没想完", "", ("reasoning left open",)),
        ('```json\n{"title": "定春游地点"}\n```', "定春游地点", ("fence removed", "JSON unpacked")),
        ('```json {"title": "定春游地点"}```', "定春游地点", ("fence removed", "JSON unpacked")),
        ('{"reason": "说的是地点", "title": "定春游地点"}', "定春游地点", ("JSON unpacked",)),
        ('{"id": 3, "name": "定春游地点"}', "定春游地点", ("JSON unpacked",)),
        ("```\n```", "", ("fence removed",)),
        ("```\n定春游地点\n```", "定春游地点", ("fence removed",)),
        ("```定春游地点```", "定春游地点", ("fence removed",)),
        ("```\n定春游地点", "定春游地点", ("fence removed",)),
        ("好的，标题如下：\n**定春游地点**", "定春游地点", ("lead-in removed", "markup removed")),
        ("标题：定春游地点", "定春游地点", ("lead-in removed",)),
        ("## 定春游地点", "定春游地点", ("markup removed",)),
        ("“定春游地点”", "定春游地点", ("quotes removed",)),
        ("“春游”与“团建”", "“春游”与“团建”", ()),
        ("定春游地点\n因为大家都在说地点。", "定春游地点", ("only the first line kept",)),
        ("定春游地点<|endoftext|>定春游地点定春游地点", "定春游地点", ("cut at an end token",)),
        ("定春游地点<|im_end|>\n<|im_start|>user", "定春游地点", ("cut at an end token",)),
        ("", "", ()),
        ("   ", "", ()),
        ("\n", "", ()),
        (".", "", ()),
        ("。", "", ()),
        ("......", "", ()),
    ],
)
def test_a_title_is_read(said, title, repairs):
    assert answers.title(said) == (title, repairs)


def test_no_real_title_is_changed_by_reading_it(shared):
    titles = [row["output"] for row in json.loads((shared / "data" / "real_titles.json").read_text(encoding="utf-8"))]
    assert [title for title in titles if answers.title(title) != (title, ())] == []


@pytest.mark.parametrize(
    ("said", "numbers", "repairs"),
    [
        ("2, 3", (2, 3), ()),
        ("第3句", (3,), ("prose around the numbers",)),
        ("3-5", (3, 4, 5), ("range expanded",)),
        ("3～5", (3, 4, 5), ("range expanded",)),
        ("３－５", (3, 4, 5), ("range expanded",)),
        ("3 至 5", (3, 4, 5), ("range expanded",)),
        ("5-3", (3, 4, 5), ("range expanded",)),
        ("3-5-7", (3, 4, 5, 7), ("range expanded",)),
        ("3、5，", (3, 5), ()),
        ("③", (3,), ()),
        ("③⑤", (3, 5), ()),
        ('[3, "5"]', (3, 5), ("JSON unpacked",)),
        ('```json\n{"ids": [3, 5]}\n```', (3, 5), ("fence removed", "JSON unpacked")),
        ("5, 3, 3", (3, 5), ()),
        ("3, 五, 5", (3, 5), ("prose around the numbers",)),
        ("0, 3, 99", (3,), ("numbers outside the prompt dropped",)),
        ("8-99", (8, 9), ("range expanded", "numbers outside the prompt dropped")),
        ("无", (), ()),
        ("没有", (), ()),
        ("", (), ()),
        ("[]", (), ("JSON unpacked",)),
        ("<think>3 和 5</think>7", (7,), ("reasoning removed",)),
    ],
)
def test_numbers_are_read_in_order_and_once(said, numbers, repairs):
    assert answers.numbers(said, last=9) == (numbers, repairs)


def test_a_range_is_bounded_by_the_prompt():
    found, repairs = answers.numbers("1-999999999", last=4)
    assert found == (1, 2, 3, 4)
    assert "numbers outside the prompt dropped" in repairs


def test_a_number_of_ten_thousand_digits_is_outside_the_prompt():
    assert answers.numbers("3, " + "9" * 10_000, last=5)[0] == (3,)


@pytest.mark.parametrize(
    ("said", "phrases", "repairs"),
    [
        ("预算、排期", ("预算", "排期"), ()),
        ("ＡＩ", ("AI",), ("punctuation or width changed",)),
        ("预算。", ("预算",), ("punctuation or width changed",)),
        ("预算，排期；大巴\n门票,午饭;水", ("预算", "排期", "大巴", "门票", "午饭", "水"), ()),
        ('["预算", "排期"]', ("预算", "排期"), ("JSON unpacked",)),
        ('{"关键词": ["预算", "排期"]}', ("预算", "排期"), ("JSON unpacked",)),
        ("关键词：预算、排期", ("预算", "排期"), ("lead-in removed",)),
        ("1. 预算\n2. 排期", ("预算", "排期"), ("punctuation or width changed",)),
        ("1. 预算，2. 排期", ("预算", "排期"), ("punctuation or width changed",)),
        ("1、预算\n2、排期", ("预算", "排期"), ()),
        ("2.0版本、1.5倍", ("2.0版本", "1.5倍"), ()),
        ("预算、预算、排期", ("预算", "排期"), ()),
        ("预算、、排期、", ("预算", "排期"), ()),
        ("[]", (), ("JSON unpacked",)),
        ("无", (), ()),
        ("无。", (), ("punctuation or width changed",)),
        ("", (), ()),
        ("......", (), ("punctuation or width changed",)),
    ],
)
def test_phrases_are_read_in_the_order_given_and_once(said, phrases, repairs):
    assert answers.phrases(said) == (phrases, repairs)


LINES = [
    "1. [甲]: 先定春游地点。",
    "2. [乙]: 3.5 万够了。",
    "3. [甲]: 好的，我们先说地点：湿地公园。",
    "4. [乙]: 看[图]: 这里。",
    "5. [甲]: 同意。",
    "6. [乙]: 同意。",
    "7. [乙]: ……",
]


@pytest.mark.parametrize(
    ("said", "numbers", "repairs"),
    [
        ("先定春游地点。", (1,), ()),
        ("先定春游地点", (1,), ()),
        ("[甲]: 先定春游地点。", (1,), ()),
        ("1. [甲]: 先定春游地点。", (1,), ()),
        ("3.5 万够了。", (2,), ()),
        ("好的，我们先说地点：湿地公园。", (3,), ()),
        ("看[图]: 这里。", (4,), ()),
        ("同意。", (5,), ()),
        ("同意。\n同意。", (5, 6), ()),
        ("先定春游地点。\n\n同意。", (1, 5), ()),
        ("先定春游地点。\n去爬山。", (1,), ("sentence not in the prompt dropped",)),
        ("<think>x</think>先定春游地点。", (1,), ("reasoning removed",)),
        ("无", (), ()),
        ("", (), ()),
    ],
)
def test_quoted_sentences_are_found_again(said, numbers, repairs):
    assert answers.quoted(said, LINES) == (numbers, repairs)


@given(said=ANYTHING, last=st.integers(0, 40))
def test_numbers_never_raise_and_stay_inside_the_prompt(said, last):
    found, repairs = answers.numbers(said, last)
    assert list(found) == sorted(set(found))
    assert all(1 <= number <= last for number in found)
    assert all(isinstance(repair, str) for repair in repairs)


@given(said=ANYTHING)
def test_titles_and_phrases_never_raise_and_are_clean(said):
    title, _ = answers.title(said)
    assert "\n" not in title
    assert title == title.strip()
    phrases, _ = answers.phrases(said)
    assert len(set(phrases)) == len(phrases)
    assert all(phrase.strip() and "、" not in phrase for phrase in phrases)


@given(said=ANYTHING)
def test_quoting_never_raises(said):
    found, _ = answers.quoted(said, LINES)
    assert set(found) <= set(range(1, 8))


@given(numbers=st.sets(st.integers(1, 30), min_size=1))
def test_what_a_target_says_is_read_back_without_a_repair(numbers):
    assert answers.numbers(", ".join(map(str, sorted(numbers))), 30) == (tuple(sorted(numbers)), ())


def test_the_examples_in_the_docstring_hold():
    assert doctest.testmod(answers).failed == 0
