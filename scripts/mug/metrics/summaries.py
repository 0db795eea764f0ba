"""Tracks 2 and 3, extractive summaries and topic titles: ROUGE against several annotators.

Each answer is compared with each annotator's. "average" takes the mean of the nine ROUGE figures over the annotators;
"max" takes the annotator with the best ROUGE-L F and all nine figures from that one. Both are then averaged over the
answers. An extractive summary is the text of its sentences, put together without a space in the order given.

- extractive summarization: the mean of 12 F, {topics, session} x {average, max} x ROUGE-1/2/L;
- titles: the mean of 6 F, {average, max} x ROUGE-1/2/L.

Source: ``compute_es_rouge`` and its callers in SpokenNLP alimeeting4mug/src/utils/challenge_evaluate.py. Where that
stops with an exception, an empty answer is 0 and counted as empty, and an answer without any written reference is
left out and counted as skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mug.meeting import Meeting
from mug.metrics.rouge import FIELDS, ZERO, Score, rouge, tokenized_sentences
from mug.metrics.submission import Row, is_empty_answer, sentence_ids, topic_rows

_ROUGE_L_F = FIELDS.index("rouge-l_f")
_F = tuple(field for field in FIELDS if field.endswith("_f"))


@dataclass(frozen=True, slots=True)
class RougeSums:
    """Sums over answers: ``best`` and ``average`` in the order of rouge.FIELDS, over the ``n`` answers scored.

    ``empty`` of the ``n`` had neither letter nor number in them; ``skipped`` more had no reference.
    """

    n: int = 0
    empty: int = 0
    skipped: int = 0
    best: Score = ZERO
    average: Score = ZERO


@dataclass(frozen=True, slots=True)
class Summaries:
    """One meeting's share of track 2."""

    topics: RougeSums
    session: RougeSums

    @property
    def n(self) -> int:
        """Answers scored, topics and sessions together."""
        return self.topics.n + self.session.n

    @property
    def empty(self) -> int:
        """Empty answers among them."""
        return self.topics.empty + self.session.empty

    @property
    def skipped(self) -> int:
        """Answers left out for want of a reference."""
        return self.topics.skipped + self.session.skipped


def summaries_per_meeting(meeting: Meeting, row: Row) -> Summaries:
    """Score one meeting's topic summaries and session summary.

    Raises:
        InputError: the row's topics are not the gold ones, or an id lies outside the meeting.
    """
    answers = topic_rows(meeting, row)
    return Summaries(
        topics=score_answers(
            (
                _text(meeting, sentence_ids(meeting, answer, "key_sentence")),
                [_text(meeting, candidate.key_sentences) for candidate in topic.candidates],
            )
            for topic, answer in zip(meeting.topics, answers, strict=True)
        ),
        session=score_answers(
            [
                (
                    _text(meeting, sentence_ids(meeting, row, "key_sentence")),
                    [_text(meeting, candidate.key_sentences) for candidate in meeting.candidates],
                )
            ]
        ),
    )


def titles_per_meeting(meeting: Meeting, row: Row) -> RougeSums:
    """Score one meeting's titles; a title that is missing or no text is an empty one.

    Raises:
        InputError: the row's topics are not the gold ones.
    """
    titles = [answer.get("title") for answer in topic_rows(meeting, row)]
    return score_answers(
        (title if isinstance(title, str) else "", [candidate.title for candidate in topic.candidates])
        for topic, title in zip(meeting.topics, titles, strict=True)
    )


def combine_summaries(meetings: Sequence[Summaries]) -> dict[str, float | None]:
    """Return the official figures of track 2; a part without any reference is None, and so is the score then."""
    figures = {
        **_figures("topic-es", [m.topics for m in meetings]),
        **_figures("doc-es", [m.session for m in meetings]),
    }
    return {"score": _mean_of_f(figures, ("topic-es", "doc-es")), **figures}


def combine_titles(meetings: Sequence[RougeSums]) -> dict[str, float | None]:
    """Return the official figures of track 3; None when no topic has a reference title."""
    figures = _figures("ttg", meetings)
    return {"score": _mean_of_f(figures, ("ttg",)), **figures}


def score_answers(answers: Iterable[tuple[str, Sequence[str]]]) -> RougeSums:
    """Add up the ROUGE figures of answers, each a text and its reference texts."""
    n = empty = skipped = 0
    best_rows, average_rows = [], []
    for text, references in answers:
        written = [sentences for sentences in map(tokenized_sentences, references) if sentences]
        if not written:
            skipped += 1
            continue
        n += 1
        empty += is_empty_answer(text)
        scores = rouge(tokenized_sentences(text), written)
        best_rows.append(max(scores, key=lambda score: score[_ROUGE_L_F]))
        average_rows.append(tuple(sum(column) / len(scores) for column in zip(*scores, strict=True)))
    return RougeSums(n, empty, skipped, _sum(best_rows), _sum(average_rows))


def _text(meeting: Meeting, places: Iterable[int]) -> str:
    return "".join(meeting.sentences[place - 1].text for place in places)


def _sum(rows: Sequence[Score]) -> Score:
    return tuple(sum(column) for column in zip(*rows, strict=True)) if rows else ZERO


def _figures(prefix: str, parts: Sequence[RougeSums]) -> dict[str, float | None]:
    n = sum(part.n for part in parts)
    figures: dict[str, float | None] = {}
    for policy, sums in (("max", _sum([p.best for p in parts])), ("average", _sum([p.average for p in parts]))):
        means = [total / n if n else None for total in sums]
        # The official evaluator calls ROUGE-1's F "score" here; the ranking does not use it.
        figures[f"{prefix}_{policy}_score"] = means[FIELDS.index("rouge-1_f")]
        figures.update((f"{prefix}_{policy}_{field}", mean) for field, mean in zip(FIELDS, means, strict=True))
    return figures


def _mean_of_f(figures: dict[str, float | None], prefixes: Sequence[str]) -> float | None:
    names = [f"{prefix}_{policy}_{field}" for prefix in prefixes for policy in ("average", "max") for field in _F]
    values = [figures[name] for name in names]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
