from __future__ import annotations

from mug.metrics import official
from mug.metrics.baselines import BASELINES, GOOD_TITLES
from mug.metrics.llamafactory import METRICS


def test_every_key_is_a_figure_of_its_track() -> None:
    for baseline in BASELINES:
        figures = official.TRACKS[baseline.track].combine([])
        assert baseline.key is None or baseline.key in figures
        assert baseline.split == "dev" and "SpokenNLP" in baseline.source and 0 < baseline.value < 100


def test_no_figure_stands_twice() -> None:
    assert len({(b.track, b.system, b.metric) for b in BASELINES}) == len(BASELINES) == 24


def test_known_figures() -> None:
    by_key = {b.key: b.value for b in BASELINES if b.key}
    assert by_key["test_f1"] == 25.10 and by_key["topic-es_max_rouge-l_f"] == 63.03
    assert by_key["doc-es_average_rouge-2_f"] == 29.73 and by_key["partial_f1@15"] == 52.2 and by_key["score"] == 69.43


def test_good_titles_are_named_as_the_scores_are() -> None:
    assert set(GOOD_TITLES) <= set(METRICS)
