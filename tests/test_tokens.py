"""The estimate must never be below the true count: what it lets through is cut by nobody later."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.tokens import _EVERYDAY, estimate, tokenizer_counter

EVERYDAY = sorted(_EVERYDAY)


@pytest.fixture(scope="module")
def true_counts(shared):
    return tokenizer_counter(shared / "qwen_tokenizer")


def random_texts(alphabet, texts=200, length=80):
    chance = random.Random(7)
    return ["".join(chance.choices(alphabet, k=chance.randint(1, length))) for _ in range(texts)]


def test_everyday_text_costs_a_token_a_character():
    assert estimate(["大家好。", "第12条OK。", "[甲]: 好。\n", ""]) == [4, 7, 8, 0]


def test_a_space_may_cost_one_more_but_for_the_one_after_the_speaker():
    assert estimate([" 哈", "[甲]: 哈 哈"]) == [3, 9]


def test_a_rare_character_costs_its_bytes():
    assert estimate(["é", "麤", "😀", "好😀。"]) == [2, 3, 4, 6]


def test_a_character_that_the_tokenizer_takes_apart_first_costs_what_it_becomes():
    assert estimate(["\U0001d160"]) == [12]  # one musical note is three characters of four bytes


def test_many_kinds_of_rare_characters_are_counted_alike():
    rare = [chr(0x3400 + i) for i in range(17)]
    assert estimate(["".join(rare)]) == [3 * 17]
    assert estimate(["".join(rare[:16]) + "好"]) == [3 * 16 + 1]


def test_half_a_character_has_a_cost_too():
    assert estimate(["\ud83d"]) == [3]


@pytest.mark.parametrize(
    "alphabet",
    [
        EVERYDAY,
        [chr(i) for i in range(0x20, 0x7F)],
        list("0123456789"),
        [chr(i) for i in range(0x1F300, 0x1F700)],
        [chr(i) for i in range(0x3400, 0x3500)] + [chr(i) for i in range(0x20000, 0x20100)],
        EVERYDAY[::40] + list("0123456789 abcXYZ[]().:") + list("😀麤㐂é、\n\t"),
    ],
    ids=["everyday hanzi", "ASCII", "digits", "emoji", "rare hanzi", "mixed"],
)
def test_the_estimate_is_never_below_the_true_count(true_counts, alphabet):
    texts = random_texts(alphabet)
    short = [
        text for text, bound, count in zip(texts, estimate(texts), true_counts(texts), strict=True) if bound < count
    ]
    assert short == []


def test_no_everyday_character_alone_costs_more_than_one_token(true_counts):
    assert [char for char, count in zip(EVERYDAY, true_counts(EVERYDAY), strict=True) if count > 1] == []


def test_no_everyday_character_after_a_space_or_a_letter_costs_more_than_the_estimate(true_counts):
    texts = [before + char for before in (" ", "a", "，", "1", "[甲]: ") for char in EVERYDAY]
    assert [text for text, b, n in zip(texts, estimate(texts), true_counts(texts), strict=True) if b < n] == []


def test_the_estimate_bounds_every_character_of_unicode(true_counts):
    chars = [chr(i) for i in (*range(0x3000), *range(0x3000, 0x30000, 7)) if not 0xD800 <= i < 0xE000]
    bad = [hex(ord(c)) for c, b, n in zip(chars, estimate(chars), true_counts(chars), strict=True) if b < n]
    assert bad == []


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=20))
def test_the_estimate_bounds_any_text(true_counts, texts):
    assert all(bound >= count for bound, count in zip(estimate(texts), true_counts(texts), strict=True))


def test_the_estimate_bounds_each_real_sentence_and_is_about_one_and_a_half_times_as_high(shared, true_counts):
    meetings = read_meetings(shared / "data" / "real_dev3.csv", Report())
    texts = [f"[{s.speaker}]: {s.text}\n" for meeting in meetings for s in meeting.sentences]
    bounds, counts = estimate(texts), true_counts(texts)
    assert [text for text, bound, count in zip(texts, bounds, counts, strict=True) if bound < count] == []
    assert 1.3 < sum(bounds) / sum(counts) < 1.7


def test_the_costs_of_lines_add_up_to_the_cost_of_the_text(shared, true_counts):
    meeting = next(read_meetings(shared / "data" / "real_dev3.csv", Report()))
    lines = [f"[{s.speaker}]: {s.text}\n" for s in meeting.sentences]
    assert sum(true_counts(lines)) == true_counts(["".join(lines)])[0]


def test_a_folder_without_a_tokenizer_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="--tokenizer"):
        tokenizer_counter(tmp_path)


def test_a_broken_tokenizer_is_one_sentence(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer.json"):
        tokenizer_counter(tmp_path)
