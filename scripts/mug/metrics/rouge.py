"""ROUGE-1/2/L with the numbers of the ``rouge`` 1.0.1 package, without its recursion and its quadratic Python.

The challenge scores Chinese text in two steps. Its tokenizer puts a space around every CJK character, punctuation
mark and symbol, lower-cases the rest and drops accents::

    "AI 2.0规划"  ->  "ai 2 . 0 规 划"

and the ``rouge`` package then cuts that string into sentences at "." and each sentence into words at spaces::

    [["ai", "2"], ["0", "规", "划"]]

What makes the package's numbers its own, and what this module therefore keeps:

- n-grams are a set, so a repeated one counts once; bigrams run across the sentences' borders;
- ROUGE-L is neither the length of a longest common subsequence nor a subsequence at all in the end: it counts the
  distinct words on the LCS paths of all sentence pairs, and of the many equally long paths it takes the one that its
  traceback happens to walk. The path is found here with a bit-parallel LCS that keeps its rows;
- F is 2pr / (p + r + 1e-8), so that two equal texts score 0.999999995;
- a sentence of spaces only is one empty word.

It differs in one thing: the package raises on an empty text, which is 0 here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from mug.errors import InputError

Sentences = list[list[str]]
"""A text as the ``rouge`` package sees it: sentences of words."""

FIELDS = tuple(f"rouge-{kind}_{part}" for kind in ("1", "2", "l") for part in ("r", "p", "f"))
"""The order of the nine numbers of a score, under the names that the official evaluator prints."""

Score = tuple[float, ...]
"""Nine numbers from 0 to 1 in the order of FIELDS."""

ZERO: Score = (0.0,) * len(FIELDS)

# The blocks that the official tokenizer (and BERT's before it) calls Chinese; later extensions are not among them.
_CJK_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
# Letters and numbers by Unicode's category which the official tokenizer still treats as symbols.
_EXTRA_SYMBOLS = frozenset((0x00AD, 0x00B2, 0x00BA, 0x3007, 0x00B5, 0x00D8, 0x014B, 0x01B1))


class _Spaced(dict[int, str]):
    """str.translate table, filled as characters turn up: what a character becomes, with spaces where it is a token."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if char in "\t\n\r" or category == "Zs":
            replacement = " "
        elif code in (0, 0xFFFD) or category[0] == "C":
            replacement = ""
        else:
            # Σ waits for its word: only the last one of a word becomes ς.
            small = char if char == "Σ" else char.lower()
            replacement = "".join(map(_part, unicodedata.normalize("NFD", small)))
            if any(first <= code <= last for first, last in _CJK_BLOCKS):
                replacement = f" {replacement} "
        self[code] = replacement
        return replacement


def _part(char: str) -> str:
    """One character of a decomposed one: accents vanish, punctuation and symbols stand alone."""
    category = unicodedata.category(char)
    if category == "Mn":
        return ""
    return f" {char} " if category[0] in "PS" or ord(char) in _EXTRA_SYMBOLS else char


_SPACED = _Spaced()


def tokenize(text: str) -> list[str]:
    """Cut ``text`` into the official evaluator's tokens.

    Source: SpokenNLP alimeeting4mug/src/utils/tokenizer.py (BasicTokenizer with its defaults). Its passes over the
    text, over the words and over their characters are one here, since what each does to a character depends on that
    character alone (Σ excepted, and the order of combining signs that are no accents, as in musical notes).

    >>> tokenize("AI 2.0规划")
    ['ai', '2', '.', '0', '规', '划']
    """
    spaced = text.translate(_SPACED)
    return (spaced.lower() if "Σ" in spaced else spaced).split()


def sentences(text: str) -> Sentences:
    """Cut a text whose words stand between spaces as the ``rouge`` package does.

    Source: ``Rouge.get_scores`` and ``_split_into_words`` of rouge 1.0.1.

    >>> sentences("ai 2 . 0 规 划")
    [['ai', '2'], ['0', '规', '划']]
    """
    return [part.split() or [""] for part in text.split(".") if part]


def tokenized_sentences(text: str) -> Sentences:
    """Cut raw text into the official evaluator's sentences of tokens; empty when there is nothing to score."""
    tokens = tokenize(text)
    if "." not in tokens:
        return [tokens] if tokens else []
    return sentences(" ".join(tokens))


def f_measure(precision: float, recall: float) -> float:
    """The package's F: the 1e-8 keeps it from dividing by zero, and keeps a perfect score just under 1."""
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


def rouge(hypothesis: Sentences, references: Sequence[Sentences]) -> list[Score]:
    """Score one hypothesis against each of several references.

    Args:
        hypothesis: from ``tokenized_sentences`` or ``sentences``.
        references: the same, one a reference.

    Returns:
        One score a reference, nine numbers from 0 to 1 in the order of FIELDS; all 0 where the hypothesis or that
        reference is empty.
    """
    hypothesis_words = _words(hypothesis)
    hypothesis_bigrams = _bigrams(hypothesis_words)
    hypothesis_set = set(hypothesis_words)
    # A sentence's masks serve all references, so they are made once.
    columns = [(len(sentence), positions(sentence)) for sentence in hypothesis]
    scores = []
    for reference in references:
        reference_words = _words(reference)
        reference_set = set(reference_words)
        reference_bigrams = _bigrams(reference_words)
        shared = len(hypothesis_set & reference_set)
        on_paths: set[str] = set()
        if shared:
            for sentence in reference:
                for length, masks in columns:
                    on_paths.update(_lcs_path(sentence, length, masks))
        scores.append(
            _recall_precision_f(shared, len(reference_set), len(hypothesis_set))
            + _recall_precision_f(
                len(hypothesis_bigrams & reference_bigrams), len(reference_bigrams), len(hypothesis_bigrams)
            )
            + _recall_precision_f(len(on_paths), len(reference_set), len(hypothesis_set))
        )
    return scores


def rouge_1_f(hypothesis: Iterable[Iterable[str]], reference: Iterable[Iterable[str]]) -> float:
    """ROUGE-1's F alone, of two texts as ``sentences`` gives them; 0 when one of them is empty."""
    ours, theirs = set(_words(hypothesis)), set(_words(reference))
    return _recall_precision_f(len(ours & theirs), len(theirs), len(ours))[2]


def positions(words: Iterable[str]) -> dict[str, int]:
    """Where each word stands: bit j of a word's mask is set when the word is at place j."""
    masks: dict[str, int] = {}
    bit = 1
    for word in words:
        masks[word] = masks.get(word, 0) | bit
        bit <<= 1
    return masks


def lcs_rows(rows: Iterable[int], length: int) -> list[int]:
    """The table of the longest common subsequence, one integer a row.

    With L[i][j] the LCS length of the first i row words and the first j column words, bit j of row i is set when
    L[i+1][j+1] > L[i+1][j], a step; so the number of set bits of the last row is the LCS length.

    Source: Hyyrö, Bit-parallel LCS-length computation revisited (2004); his vector is the complement of a row.

    Args:
        rows: for each word of the one text its mask in ``positions`` of the other, 0 for a word that is not there.
        length: the number of words of the other text.
    """
    full = (1 << length) - 1
    vector = full
    table = []
    for matches in rows:
        hits = vector & matches
        vector = ((vector + hits) | (vector - hits)) & full
        table.append(vector ^ full)
    return table


LARGEST_TABLE = 1 << 32
"""Bits, half a gigabyte: two texts of 65,000 words. The longest summaries of the corpus have about 3,000."""


def _lcs_path(sentence: Sequence[str], length: int, masks: dict[str, int]) -> set[str]:
    """The distinct words on the LCS path that ``_recon_lcs`` of rouge 1.0.1 walks from the table's end.

    Its rule at a cell: words equal, take the word and go diagonally; else go up if the cell above is strictly
    greater than the cell to the left, else go left. Two facts make it short:

    - Where the words differ, the cell above is the greater one exactly where the row has a step. So a walk to the
      left ends at the nearest step or match, and one look at the highest set bit replaces it.
    - It may look for steps alone. Left of a match without a step, the nearest step is itself a match: of the same
      word, and the cells that the walk can reach from there hold the same values. For the same reason a row without
      a match, which equals the row above it, can be left out from the beginning.
    """
    words = [word for word in sentence if word in masks]
    rows = [masks[word] for word in words]
    if len(rows) * length > LARGEST_TABLE:
        raise InputError(
            f"要评分的一段摘要有 {len(sentence)} 个词，与另一段 {length} 个词相比内存不够；"
            "请检查语料或答案里是否有异常长的句子。",
            f"A summary of {len(sentence)} words is to be compared with one of {length}, which no memory holds; "
            "look for a sentence of abnormal length in the corpus or the answers.",
        )
    table = lcs_rows(rows, length)
    path = set()
    below = (1 << length) - 1  # the columns still to the left
    for i in range(len(rows) - 1, -1, -1):
        column = (table[i] & below).bit_length()
        if not column:
            break
        bit = 1 << (column - 1)
        if rows[i] & bit:
            path.add(words[i])
            below = bit - 1
        # Else up, in the same column: the row above has no step to the right of it either, so ``below`` may stay.
    return path


def _words(text: Iterable[Iterable[str]]) -> list[str]:
    return [word for sentence in text for word in sentence]


def _bigrams(words: list[str]) -> set[tuple[str, str]]:
    return set(zip(words, words[1:], strict=False))


def _recall_precision_f(shared: int, in_reference: int, in_hypothesis: int) -> Score:
    recall = shared / in_reference if in_reference else 0.0
    precision = shared / in_hypothesis if in_hypothesis else 0.0
    return recall, precision, f_measure(precision, recall)
