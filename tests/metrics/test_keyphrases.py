from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mug.meeting import Candidate, Meeting
from mug.metrics.keyphrases import _partial_f1, clean_gold, clean_phrases, clean_row, combine, per_meeting


def gold_of(meeting: Callable[..., Meeting], *annotators: tuple[str, ...]) -> Meeting:
    return meeting(candidates=tuple(Candidate(key_words=words) for words in annotators))


def test_repeats_across_annotators_weigh_in_partial_recall(meeting: Callable[..., Meeting]) -> None:
    gold = gold_of(meeting, ("春游", "大巴"), ("春游",))
    scores = combine([per_meeting(gold, {"key_word": ["春游"]})])
    assert scores["partial_f1@10"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert scores["exact_f1@10"] == pytest.approx(2 * 1 * 0.5 / 1.5, abs=1e-7)  # as a set: 1 of 2


def test_only_the_first_phrases_count(meeting: Callable[..., Meeting]) -> None:
    gold = gold_of(meeting, ("春游",))
    scores = combine([per_meeting(gold, {"key_word": [f"x{i}" for i in range(14)] + ["春游"]})])
    assert scores["exact_f1@10"] == scores["partial_f1@10"] == 0
    assert scores["exact_f1@15"] > 0 and scores["partial_f1@15"] > 0


def test_a_phrase_is_cut_at_spaces_and_full_stops(meeting: Callable[..., Meeting]) -> None:
    scores = combine([per_meeting(gold_of(meeting, ("AI 2.0",)), {"key_word": ["AI", "0"]})])
    assert scores["exact_f1@10"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3), abs=1e-7)
    assert combine([per_meeting(gold_of(meeting, ("AI",)), {"key_word": ["ai"]})])["score"] == 0  # case is kept


def test_full_width_letters_and_punctuation_fail_raw_and_match_cleaned(meeting: Callable[..., Meeting]) -> None:
    gold, row = gold_of(meeting, ("AI", "预算")), {"key_word": ["ＡＩ", "预算。"]}
    raw = combine([per_meeting(gold, row)])
    cleaned = combine([per_meeting(clean_gold(gold), clean_row(row))])
    assert raw["exact_f1@10"] == 0 and raw["partial_f1@10"] == pytest.approx(0.5)
    assert cleaned["exact_f1@10"] == pytest.approx(1, abs=1e-7) and cleaned["partial_f1@10"] == 1


def test_a_string_is_its_characters_raw_and_its_phrases_cleaned(meeting: Callable[..., Meeting]) -> None:
    gold, row = gold_of(meeting, ("预算", "排期")), {"key_word": "预算、排期"}
    assert combine([per_meeting(gold, row)])["score"] == 0
    assert combine([per_meeting(clean_gold(gold), clean_row(row))])["score"] == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("value", [[], None, "", ["  "], ["。", "..."]])
def test_no_phrases_is_zero_kept_and_counted(meeting: Callable[..., Meeting], value: object) -> None:
    part = per_meeting(gold_of(meeting, ("春游",)), {"key_word": value})
    assert (part.n, part.empty, part.skipped) == (1, 1, 0)
    assert set(combine([part]).values()) == {0.0}


def test_no_gold_is_skipped_and_counted(meeting: Callable[..., Meeting]) -> None:
    nothing = per_meeting(gold_of(meeting, ()), {"key_word": ["春游"]})
    assert (nothing.n, nothing.skipped) == (0, 1)
    assert set(combine([nothing]).values()) == {None}
    perfect = per_meeting(gold_of(meeting, ("春游",)), {"key_word": ["春游"]})
    assert combine([nothing, perfect])["partial_f1@10"] == 1.0


@pytest.mark.parametrize(
    ("value", "phrases"),
    [
        ("预算、排期，人手,场地；车；时间;\n天气", ["预算", "排期", "人手", "场地", "车", "时间", "天气"]),
        (["ＡＩ 平台", "「预算」", "C++", "…"], ["AI 平台", "预算", "C++"]),
        ([None, 3], ["3"]),
        (None, []),
    ],
)
def test_clean_phrases(value: object, phrases: list[str]) -> None:
    assert clean_phrases(value) == phrases


phrase_lists = st.lists(st.text("abcd ", max_size=5), max_size=6)


@settings(max_examples=150, deadline=None)
@given(phrase_lists, phrase_lists.filter(bool))
def test_partial_match_is_a_common_substring_of_two(predicted: list[str], gold: list[str]) -> None:
    def match(one: str, two: str) -> bool:
        pairs = {"".join(pair) for pair in pairwise(one.strip())}
        return any(pair in two.strip() for pair in pairs)

    expected = 0.0
    if predicted:
        precision = sum(any(match(p, g) for g in gold) for p in predicted) / len(predicted)
        recall = sum(any(match(p, g) for p in predicted) for g in gold) / len(gold)
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert _partial_f1(predicted, gold) == expected
