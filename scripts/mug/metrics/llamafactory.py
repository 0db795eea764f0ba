"""The scores that LLaMA-Factory's own ``predict`` prints, for any list of (prediction, label).

ROUGE-1/2/L are F of the words that jieba cuts, BLEU-4 is that of the characters; all are percent, rounded to four
digits a row, and the average is the plain mean of the rows::

    >>> scores = score_pairs([("做好线下宣", "做好线下宣传线上请明星带货")])
    >>> scores.rows[0]["rouge-1"], scores.rows[0]["bleu-4"], scores.rows[0]["exact_match"]
    (40.0, 20.1897, 0.0)

Source: ``ComputeSimilarity`` in LLaMA-Factory 0.9.5's src/llamafactory/train/sft/metric.py, which calls jieba 0.42.1,
rouge-chinese 1.0.3 and ``sentence_bleu`` of nltk with smoothing method 3. The numbers are computed here without the
last two: rouge-chinese is quadratic pure Python, nltk counts in fractions. ROUGE-L of rouge-chinese is not that of
``rouge``: it is the LCS length over all words, repeats included, so the two share only the LCS table.

``exact_match`` is ours: 100 where prediction and label are the same text but for spaces around them, else 0.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mug.errors import InputError
from mug.metrics.rouge import f_measure, lcs_rows, positions
from mug.metrics.submission import is_empty_answer

METRICS = ("rouge-1", "rouge-2", "rouge-l", "bleu-4", "exact_match")
"""The keys of a row and of the average, all in percent."""

TOKENISATION = "jieba words (ROUGE), characters (BLEU-4)"
LIBRARY = "the numbers of rouge-chinese 1.0.3 and nltk sentence_bleu with smoothing method 3"
REFERENCES = "one"

# Where rouge-chinese breaks a text into lines: after a sentence's end, six dots or a double ellipsis, unless a closing
# quotation mark follows, and after that mark unless more punctuation follows.
_BREAKS = (
    re.compile(r"([。！？?])([^”’])"),
    re.compile(r"(\.{6})([^”’])"),
    re.compile(r"(…{2})([^”’])"),
    re.compile(r"([。！？?][”’])([^，。！？?])"),
)


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores of ``n`` pairs in their order; ``empty`` predictions had neither letter nor number in them."""

    rows: list[dict[str, float]]
    average: dict[str, float]
    n: int
    empty: int


def score_pairs(pairs: Sequence[tuple[str, str]]) -> PairScores:
    """Score predictions against labels.

    Args:
        pairs: (prediction, label) one a sample. A blank prediction or label is 0 throughout, and stays in the mean;
            LLaMA-Factory gives such a row a BLEU-4 above 0 where the two have a space in common.

    Returns:
        Percent, with the keys of METRICS.

    Raises:
        InputError: there are no pairs.
    """
    if not pairs:
        raise InputError("没有可评分的样本。", "There are no samples to score.")
    rows = [_score(prediction, label) for prediction, label in pairs]
    return PairScores(rows, average([rows]), len(rows), sum(is_empty_answer(prediction) for prediction, _ in pairs))


def average(groups: Sequence[Sequence[dict[str, float]]]) -> dict[str, float]:
    """Return the mean of all groups' rows; with one group a meeting this is the ``combine`` that ``bootstrap`` wants.

    Raises:
        ZeroDivisionError: there are no rows.
    """
    n = sum(map(len, groups))
    return {name: sum(row[name] for rows in groups for row in rows) / n for name in METRICS}


def _score(prediction: str, label: str) -> dict[str, float]:
    if not prediction.strip() or not label.strip():
        return dict.fromkeys(METRICS, 0.0)
    fractions = (*_rouge(_words(prediction), _words(label)), bleu_4(prediction, label))
    exact = 100.0 if prediction.strip() == label.strip() else 0.0
    return dict(zip(METRICS, (*(round(value * 100, 4) for value in fractions), exact), strict=True))


def bleu_4(hypothesis: str, reference: str) -> float:
    """Return the BLEU-4 of two texts' characters, from 0 to 1.

    A precision without a match is 1 / (2^k x its number of n-grams), k counting such precisions from 1.

    Source: Papineni et al. 2002; nltk's ``sentence_bleu`` with ``SmoothingFunction().method3`` (NIST's mteval-v13a).
    """
    if not set(hypothesis) & set(reference):
        return 0.0
    logarithms = []
    misses = 0
    for n in (1, 2, 3, 4):
        total = max(1, len(hypothesis) - n + 1)
        theirs = Counter(reference[i : i + n] for i in range(len(reference) - n + 1))
        ours = Counter(hypothesis[i : i + n] for i in range(len(hypothesis) - n + 1))
        matches = sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
        if not matches:
            misses += 1
        logarithms.append(0.25 * math.log(matches / total if matches else 1 / (2**misses * total)))
    # A hypothesis longer than the reference is not punished; nltk's comparison is strict, and exp(0) is 1 anyway.
    penalty = 1.0 if len(hypothesis) > len(reference) else math.exp(1 - len(reference) / len(hypothesis))
    return penalty * math.exp(math.fsum(logarithms))


def _rouge(hypothesis: list[str], reference: list[str]) -> tuple[float, float, float]:
    """Return F of ROUGE-1, ROUGE-2 (n-grams as sets) and ROUGE-L (LCS length over all words)."""
    masks = positions(hypothesis)
    common = lcs_rows([masks.get(word, 0) for word in reference], len(hypothesis))[-1].bit_count()
    return (
        _f_of_sets(set(hypothesis), set(reference)),
        _f_of_sets(
            set(zip(hypothesis, hypothesis[1:], strict=False)), set(zip(reference, reference[1:], strict=False))
        ),
        f_measure(common / len(hypothesis), common / len(reference)),
    )


def _f_of_sets(hypothesis: set[Any], reference: set[Any]) -> float:
    shared = len(hypothesis & reference)
    return f_measure(shared / len(hypothesis) if hypothesis else 0.0, shared / len(reference) if reference else 0.0)


def _words(text: str) -> list[str]:
    """Return the words as rouge-chinese sees them: jieba's, and one empty word for a line that is blank."""
    joined = " ".join(_jieba().cut(text))
    for pattern in _BREAKS:
        joined = pattern.sub(r"\1\n\2", joined)
    return [word for line in joined.rstrip().split("\n") if line for word in (line.split() or [""])]


@lru_cache(maxsize=1)
def _jieba() -> Any:
    # Loaded at the first cut: it takes a second, which no command that scores nothing should pay. On the way it
    # writes "Building prefix dict ..." to the terminal, and newer Pythons warn about its regular expressions.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba
