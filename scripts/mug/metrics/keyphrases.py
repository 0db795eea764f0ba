"""Track 4, keyphrase extraction: the mean of exact and partial F1 of the first 10, 15 and 20 phrases.

The gold phrases are those of all annotators one after the other; a phrase that two annotators chose stands twice.

- partial: two phrases match when they have two neighbouring characters in common (a common substring of at least 2);
  precision is the share of predicted phrases that match a gold one, recall the share of gold phrases matched;
- exact: ROUGE-1's F of the phrases as words. The evaluator joins them with spaces and lets the ``rouge`` package cut
  the string again, at spaces and at ".", so "AI 2.0" is the three words "AI", "2" and "0"; repeats count once.

Both are averaged over the meetings. Source: ``kpe_compute`` and the functions under it in SpokenNLP
alimeeting4mug/src/utils/challenge_evaluate.py. Where that stops with an exception, no predicted phrases is 0 and
counted as empty, and a meeting without gold phrases is left out and counted as skipped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mug.meeting import Meeting
from mug.metrics.rouge import rouge_1_f, sentences
from mug.metrics.submission import Row, as_list, is_empty_answer

CUTS = (10, 15, 20)
"""How many of the first phrases each F1 looks at."""

_SEPARATORS = re.compile(r"[、,;\r\n]")  # the full-width ，；have become , ; by NFKC


@dataclass(frozen=True, slots=True)
class Keyphrases:
    """One meeting's share of the score: F1 at each of CUTS; ``n`` is 1, or 0 where there are no gold phrases."""

    n: int
    empty: int
    skipped: int
    partial: tuple[float, ...] = (0.0,) * len(CUTS)
    exact: tuple[float, ...] = (0.0,) * len(CUTS)


def per_meeting(meeting: Meeting, row: Row) -> Keyphrases:
    """Score one meeting's ``key_word``.

    The phrases are taken as they are, and a string in place of a list as the list of its characters, since that is
    what the official evaluator scores; ``clean_row`` and ``clean_gold`` mend both sides for a second, cleaned score.
    """
    gold = [phrase for candidate in meeting.candidates for phrase in candidate.key_words]
    raw = row.get("key_word")
    predicted = list(raw) if isinstance(raw, str) else [str(phrase) for phrase in as_list(raw) if phrase is not None]
    empty = int(is_empty_answer("".join(predicted)))
    if not gold:
        return Keyphrases(n=0, empty=0, skipped=1)
    gold_words = sentences(" ".join(gold))
    return Keyphrases(
        n=1,
        empty=empty,
        skipped=0,
        partial=tuple(_partial_f1(predicted[:cut], gold) for cut in CUTS),
        exact=tuple(rouge_1_f(sentences(" ".join(predicted[:cut])), gold_words) for cut in CUTS),
    )


def combine(meetings: Sequence[Keyphrases]) -> dict[str, float | None]:
    """Return the official figures of the meetings together; None when no meeting has gold phrases."""
    scored = [meeting for meeting in meetings if meeting.n]
    figures: dict[str, float | None] = {}
    total = 0.0
    for i, cut in enumerate(CUTS):
        for name, values in (
            ("partial", [meeting.partial[i] for meeting in scored]),
            ("exact", [meeting.exact[i] for meeting in scored]),
        ):
            mean = sum(values) / len(values) if values else None
            figures[f"{name}_f1@{cut}"] = mean
            total += mean or 0.0
    return {"score": total / len(figures) if scored else None, **figures}


def clean_phrases(value: Any) -> list[str]:
    """Return phrases as a person would list them, from whatever a model or a file gave.

    NFKC (full-width letters become ordinary ones), split at 、，,；; and line breaks, punctuation and spaces around a
    phrase stripped, blank ones dropped.

    >>> clean_phrases("预算、排期。")
    ['预算', '排期']
    >>> clean_phrases(["ＡＩ", "预算。"])
    ['AI', '预算']
    """
    phrases = []
    for item in as_list(value):
        for part in _SEPARATORS.split(unicodedata.normalize("NFKC", str(item))) if item is not None else ():
            if phrase := _strip_punctuation(part):
                phrases.append(phrase)
    return phrases


def clean_row(row: Row) -> Row:
    """Return the row with its ``key_word`` cleaned."""
    return {**row, "key_word": clean_phrases(row.get("key_word"))}


def clean_gold(meeting: Meeting) -> Meeting:
    """Return the meeting with its annotators' key words cleaned in the same way."""
    return replace(
        meeting,
        candidates=tuple(
            replace(candidate, key_words=tuple(clean_phrases(list(candidate.key_words))))
            for candidate in meeting.candidates
        ),
    )


def _partial_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    if not predicted:
        return 0.0
    predicted_pairs, gold_pairs = [_pairs(p) for p in predicted], [_pairs(g) for g in gold]
    all_predicted, all_gold = set().union(*predicted_pairs), set().union(*gold_pairs)
    precision = sum(not pairs.isdisjoint(all_gold) for pairs in predicted_pairs) / len(predicted)
    recall = sum(not pairs.isdisjoint(all_predicted) for pairs in gold_pairs) / len(gold)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _pairs(phrase: str) -> set[str]:
    phrase = phrase.strip()
    return {phrase[i : i + 2] for i in range(len(phrase) - 1)}


def _strip_punctuation(text: str) -> str:
    start, end = 0, len(text)
    while start < end and _is_outer(text[start]):
        start += 1
    while end > start and _is_outer(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_outer(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] == "P"
