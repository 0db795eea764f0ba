"""How sure a score is: 95 % intervals by resampling meetings.

Answers of one meeting resemble each other, so the meeting is what is drawn, with replacement, and the corpus score is
computed anew from the drawn meetings' contributions. For two systems on the same meetings the same draws serve both,
and the interval is that of the difference; one that leaves out 0 says that the meetings agree on who is better.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile intervals; Koehn, Statistical
significance tests for machine translation evaluation (2004), the paired form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Part = TypeVar("Part")
Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval around it, in the figure's own unit; ``resamples`` is how many draws defined it."""

    point: float
    low: float
    high: float
    resamples: int


def intervals(
    parts: Sequence[Part],
    combine: Callable[[Sequence[Part]], Figures],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Return the percentile interval of each figure that ``combine`` makes.

    Args:
        parts: one contribution a meeting.
        combine: contributions to figures; it gets ``len(parts)`` of them, some twice, some not at all.
        resamples: how many times to draw.
        seed: of numpy's default generator; the same seed gives the same interval.
        level: the share of draws that the interval holds.

    Returns:
        None where the figure itself is None, where no draw defines it, and for fewer than two meetings, which say
        nothing about other meetings.
    """
    draws = [combine([parts[i] for i in drawn]) for drawn in _draws(len(parts), resamples, seed)]
    points = combine(parts)
    return {name: _interval(point, [draw[name] for draw in draws], level) for name, point in points.items()}


def paired_differences(
    first: Sequence[Part],
    second: Sequence[Part],
    combine: Callable[[Sequence[Part]], Figures],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Return each figure's difference, first minus second, with its paired percentile interval.

    Args:
        first: one contribution a meeting.
        second: the other system's contributions of the same meetings in the same order.
        combine: as in ``intervals``, and so are the other arguments.
        resamples: how many times to draw.
        seed: of numpy's default generator.
        level: the share of draws that the interval holds.

    Returns:
        As ``intervals``; None also where one of the two figures is None.

    Raises:
        ValueError: the two differ in length, so they can't be of the same meetings.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} meetings can't be paired")

    def difference(drawn: Sequence[int]) -> Figures:
        ours, theirs = combine([first[i] for i in drawn]), combine([second[i] for i in drawn])
        return {name: _minus(value, theirs[name]) for name, value in ours.items()}

    draws = [difference(drawn) for drawn in _draws(len(first), resamples, seed)]
    points = difference(range(len(first)))
    return {name: _interval(point, [draw[name] for draw in draws], level) for name, point in points.items()}


def _draws(meetings: int, resamples: int, seed: int) -> list[list[int]]:
    if meetings < 2:
        return []
    drawn: list[list[int]] = np.random.default_rng(seed).integers(meetings, size=(resamples, meetings)).tolist()
    return drawn


def _interval(point: float | None, values: Sequence[float | None], level: float) -> Interval | None:
    known = [value for value in values if value is not None]
    if point is None or not known:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(point, float(low), float(high), len(known))


def _minus(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs
