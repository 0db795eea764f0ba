"""Published figures to put beside one's own, as plain data.

All are of the dev split, in percent as published; our own official figures go from 0 to 1, so multiply those by 100.
The splits differ in difficulty, so a figure of the test set does not belong in this table.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "SpokenNLP alimeeting4mug/readme.md, https://github.com/alibaba-damo-academy/SpokenNLP"


@dataclass(frozen=True, slots=True)
class Baseline:
    """One published figure.

    ``key`` is the figure's name among the official figures of ``track`` (see ``official``), None when the source does
    not say which of them it is. ``value`` is percent.
    """

    track: str
    system: str
    metric: str
    key: str | None
    value: float
    split: str = "dev"
    source: str = SOURCE


def _rouge_rows(part: str, prefix: str, average: tuple[float, ...], best: tuple[float, ...]) -> list[Baseline]:
    return [
        Baseline(
            "extractive_summarization",
            "PoNet",
            f"{part} ROUGE-{kind} F, {policy}",
            f"{prefix}_{key}_rouge-{kind.lower()}_f",
            value,
        )
        for policy, key, values in (("average", "average", average), ("best", "max", best))
        for kind, value in zip(("1", "2", "L"), values, strict=True)
    ]


BASELINES: tuple[Baseline, ...] = (
    Baseline("topic_segmentation", "PoNet", "F1", "test_f1", 25.10),
    *_rouge_rows("topic", "topic-es", (52.52, 35.50, 45.87), (66.43, 53.77, 63.03)),
    *_rouge_rows("session", "doc-es", (56.82, 29.73, 37.52), (61.66, 36.89, 46.20)),
    # The source says neither whether these are averages or best ones, nor by which tokens.
    Baseline("topic_title_generation", "PALM 2.0", "ROUGE-1", None, 31.28),
    Baseline("topic_title_generation", "PALM 2.0", "ROUGE-L", None, 29.43),
    Baseline("topic_title_generation", "BART", "ROUGE-1", None, 31.06),
    Baseline("topic_title_generation", "BART", "ROUGE-L", None, 28.92),
    Baseline("keyphrase_extraction", "StructBERT-CRF", "exact F1 at 10", "exact_f1@10", 35.9),
    Baseline("keyphrase_extraction", "StructBERT-CRF", "partial F1 at 10", "partial_f1@10", 47.7),
    Baseline("keyphrase_extraction", "StructBERT-CRF", "exact F1 at 15", "exact_f1@15", 40.1),
    Baseline("keyphrase_extraction", "StructBERT-CRF", "partial F1 at 15", "partial_f1@15", 52.2),
    Baseline("keyphrase_extraction", "StructBERT-CRF", "exact F1 at 20", "exact_f1@20", 39.4),
    Baseline("keyphrase_extraction", "StructBERT-CRF", "partial F1 at 20", "partial_f1@20", 51.1),
    Baseline("action_item_detection", "StructBERT", "F1", "score", 69.43),
)

GOOD_TITLES: dict[str, float] = {"rouge-l": 40.0, "bleu-4": 30.0, "exact_match": 10.0}
"""Titles above these are good by this project's own rule of thumb; keys and percent as in ``llamafactory``."""
