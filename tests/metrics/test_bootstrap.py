from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mug.metrics.bootstrap import intervals, paired_differences


def mean(parts: Sequence[float]) -> dict[str, float | None]:
    return {"mean": sum(parts) / len(parts), "undefined": None}


def test_the_interval_of_a_mean_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=200).tolist()
    interval = intervals(values, mean, resamples=2000)["mean"]
    assert interval is not None and interval.point == mean(values)["mean"] and interval.resamples == 2000
    half = 1.96 * np.std(values) / np.sqrt(200)
    assert interval.low == pytest.approx(interval.point - half, abs=0.05)
    assert interval.high == pytest.approx(interval.point + half, abs=0.05)


def test_the_level_sets_the_width() -> None:
    values = [float(i) for i in range(40)]
    wide, narrow = (intervals(values, mean, level=level)["mean"] for level in (0.95, 0.5))
    assert wide is not None and narrow is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [float(i * i) for i in range(20)]
    assert intervals(values, mean, seed=3) == intervals(values, mean, seed=3)
    assert intervals(values, mean, seed=3) != intervals(values, mean, seed=4)


def test_undefined_figures_and_single_meetings_have_no_interval() -> None:
    assert intervals([1.0, 2.0], mean)["undefined"] is None
    assert intervals([1.0], mean) == {"mean": None, "undefined": None}


def test_draws_that_define_nothing_are_left_out_and_counted() -> None:
    def share(parts: Sequence[int]) -> dict[str, float | None]:
        return {"share": 1.0 if sum(parts) else None}

    interval = intervals([0, 0, 1], share, resamples=300)["share"]
    assert interval is not None and 100 < interval.resamples < 300 and interval.low == interval.high == 1.0


def test_a_steady_gain_shows_in_the_pairs_though_the_systems_overlap() -> None:
    base = np.random.default_rng(2).normal(0, 5, size=65)
    better = (base + 0.5 + np.random.default_rng(3).normal(0, 0.1, size=65)).tolist()
    first, second = intervals(better, mean)["mean"], intervals(base.tolist(), mean)["mean"]
    assert first is not None and second is not None and first.low < second.high
    difference = paired_differences(better, base.tolist(), mean)["mean"]
    assert difference is not None and difference.point == pytest.approx(0.5, abs=0.05)
    assert 0.4 < difference.low < difference.point < difference.high < 0.6
    reverse = paired_differences(base.tolist(), better, mean)["mean"]
    assert reverse is not None and reverse.point == -difference.point


def test_a_system_against_itself_differs_by_nothing() -> None:
    difference = paired_differences([1.0, 4.0, 2.0], [1.0, 4.0, 2.0], mean)
    assert difference["undefined"] is None
    assert difference["mean"] is not None and difference["mean"].low == difference["mean"].high == 0.0


def test_different_numbers_of_meetings_can_not_be_paired() -> None:
    with pytest.raises(ValueError, match="3 and 2"):
        paired_differences([1.0, 2.0, 3.0], [1.0, 2.0], mean)
