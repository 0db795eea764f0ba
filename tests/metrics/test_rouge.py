from __future__ import annotations

import random
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mug.metrics.rouge import (
    FIELDS,
    ZERO,
    lcs_rows,
    positions,
    rouge,
    rouge_1_f,
    sentences,
    tokenize,
    tokenized_sentences,
)

package = pytest.importorskip("rouge", reason="the rouge package is what these scores must equal; it is not installed")


def of_the_package(hypothesis: str, reference: str) -> tuple[float, ...]:
    """The nine numbers of rouge 1.0.1; zeros where it raises."""
    try:
        score = package.Rouge().get_scores(hypothesis, reference)[0]
    except ValueError:
        return ZERO
    return tuple(score[kind][part] for kind in ("rouge-1", "rouge-2", "rouge-l") for part in ("r", "p", "f"))


def ours(hypothesis: str, reference: str) -> tuple[float, ...]:
    return rouge(sentences(hypothesis), [sentences(reference)])[0]


# Few letters make many equally long paths, which is where the traceback's choice shows.
few_words = st.lists(st.sampled_from(["甲", "乙", "丙", "."]), max_size=40).map(" ".join)
many_words = st.lists(st.sampled_from([*"abcdefghij", ".", "..", " ", "2.0"]), max_size=60).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(few_words, many_words), st.one_of(few_words, many_words))
def test_equals_the_package_bit_for_bit(hypothesis: str, reference: str) -> None:
    assert ours(hypothesis, reference) == of_the_package(hypothesis, reference)


def test_equals_the_package_on_seeded_pairs_of_every_shape() -> None:
    rng = random.Random(7)
    for alphabet in ("ab", "abc.", "abcdef ", "abcdefghijklmnopqrst."):
        for _ in range(60):
            texts = [" ".join(rng.choices(alphabet, k=rng.randint(1, 50))) for _ in range(2)]
            assert ours(*texts) == of_the_package(*texts), texts


def test_follows_the_packages_path_and_not_the_lcs_length() -> None:
    # "a a" and "a b" are both longest; the package walks the first, with one distinct word of the reference's two.
    assert ours("a a b", "a b a") == of_the_package("a a b", "a b a")
    assert ours("a a b", "a b a")[FIELDS.index("rouge-l_r")] == 0.5
    assert ours("a b a", "a a b")[FIELDS.index("rouge-l_r")] == 1.0


def test_several_references_give_what_each_gives_alone() -> None:
    texts = [sentences(text) for text in ("a b c . d", "c d", "x", "a . b")]
    assert rouge(texts[0], texts[1:]) == [rouge(texts[0], [text])[0] for text in texts[1:]]


@pytest.mark.parametrize("text", ["", "   ", "\n", ".", "。", "......", "\u3000"])
def test_an_empty_hypothesis_is_zero_and_never_raises(text: str) -> None:
    assert rouge(tokenized_sentences(text), [tokenized_sentences("定春游地点")]) == [ZERO]
    assert rouge(tokenized_sentences("定春游地点"), [tokenized_sentences(text)]) == [ZERO]
    assert rouge_1_f(tokenized_sentences(text), tokenized_sentences("定春游地点")) == 0.0
    assert rouge(tokenized_sentences(text), []) == []


def test_a_perfect_title_stays_just_below_one() -> None:
    score = rouge(tokenized_sentences("定春游地点"), [tokenized_sentences("定春游地点")])[0]
    assert score[FIELDS.index("rouge-l_f")] == 2 * (1 / (2 + 1e-8)) < 1


def test_more_distinct_words_than_the_recursion_limit() -> None:
    count = sys.getrecursionlimit() + 100
    left = [[f"l{i}" for i in range(count)]]
    right = [[f"r{i}" for i in range(count)]]
    assert rouge(left, [right]) == [ZERO]
    shared = [[*left[0], "x", *right[0]]]
    assert rouge(shared, [shared])[0][FIELDS.index("rouge-l_r")] == 1.0


def test_lcs_rows_hold_the_table() -> None:
    rng = random.Random(3)
    for _ in range(30):
        x, y = (rng.choices("abcd", k=rng.randint(1, 70)) for _ in range(2))
        table = [[0] * (len(y) + 1)]
        for word in x:
            row = [0]
            for j, other in enumerate(y):
                row.append(table[-1][j] + 1 if word == other else max(row[j], table[-1][j + 1]))
            table.append(row)
        for row, bits in zip(table[1:], lcs_rows([positions(y).get(word, 0) for word in x], len(y)), strict=True):
            assert [row[j + 1] - row[j] for j in range(len(y))] == [bits >> j & 1 for j in range(len(y))]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("AI 2.0规划", ["ai", "2", ".", "0", "规", "划"]),
        ("抓重AI 2.0规划", ["抓", "重", "ai", "2", ".", "0", "规", "划"]),
        ("A+B股，3%", ["a", "+", "b", "股", "，", "3", "%"]),
        ("Café ＡＩ２", ["cafe", "ａｉ２"]),  # full-width letters are letters: they stay together and full-width
        ("〇〇", ["〇", "〇"]),  # U+3007 is a number to Unicode, a symbol to the evaluator
        ("ひらがな한국", ["ひらかな" + unicodedata.normalize("NFD", "한국")]),  # が loses its mark, Hangul falls apart
        ("a\u0000b\u200bc\ufffdd\te\u3000f", ["abcd", "e", "f"]),
        ("ΟΔΟΣ ΣΟΣ中", ["οδος", "σος", "中"]),
        ("A\ufa0eB", ["a", "\ufa0e", "b"]),
        ("\U00020000\U00030000", ["\U00020000", "\U00030000"]),
        ("", []),
    ],
)
def test_tokens_of_the_official_tokenizer(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_tokens_equal_a_plain_step_by_step_tokenizer(text: str) -> None:
    """The official steps one character and one word at a time, as its description reads."""
    blocks = "\u4e00\u9fff \u3400\u4dbf \U00020000\U0002a6df \U0002a700\U0002b73f \U0002b740\U0002b81f"
    blocks += " \U0002b820\U0002ceaf \uf900\ufaff \U0002f800\U0002fa1f"
    spaced = ""
    for char in text:
        if char in "\t\n\r":
            spaced += " "
        elif char == "\ufffd" or unicodedata.category(char).startswith("C"):
            continue
        elif unicodedata.category(char) == "Zs":
            spaced += " "
        elif any(block[0] <= char <= block[1] for block in blocks.split(" ")):
            spaced += f" {char} "
        else:
            spaced += char
    tokens = []
    for word in spaced.split():
        decomposed = unicodedata.normalize("NFD", word.lower())
        cut = ""
        for char in decomposed:
            category = unicodedata.category(char)
            if category == "Mn":
                continue
            alone = category[0] in "PS" or char in "\u00ad\u00b2\u00ba\u3007\u00b5\u00d8\u014b\u01b1"
            cut += f" {char} " if alone else char
        tokens.extend(cut.split())
    assert tokenize(text) == tokens
