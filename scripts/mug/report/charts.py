"""Plots as SVG text that stands in the page: drawn by the reader's browser with the reader's own fonts.

No image library and no font file is needed, and Chinese labels stay text that can be searched and copied. Colours are
classes (``target``, ``answer``, …) that the page's style sheet fills in, so that they follow light and dark.

>>> svg = histogram([Series("答案", "answer", [1, 2, 2])], title="答案长度", x_label="字数", y_label="样本数")
>>> svg.startswith("<svg"), "答案长度" in svg
(True, True)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

BINS = 12
"""About as many groups as fit under a phone's width with two bars each."""

# In units of the drawing; the page shows it at about one unit a CSS pixel, so that text keeps its size on a phone.
_WIDTH, _HEIGHT = 350, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 46, 44


@dataclass(frozen=True, slots=True)
class Series:
    """One set of values; ``style`` is a class of the style sheet."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Values from ``low`` up to, not including, ``high``; ``high`` is None for the last one when it is open."""

    low: float
    high: float | None

    def holds(self, value: float) -> bool:
        """Say whether ``value`` belongs here."""
        return self.low <= value and (self.high is None or value < self.high)

    @property
    def label(self) -> str:
        """What stands under the bin."""
        return f"≥{self.low:g}" if self.high is None else f"{self.low:g}"

    @property
    def range(self) -> str:
        """What the bin holds, in full."""
        if self.high is None:
            return f"≥ {self.low:g}"
        return f"{self.low:g}" if self.high - self.low == 1 else f"[{self.low:g}, {self.high:g})"


def count_bins(values: Sequence[float], top: float | None = None) -> list[Bin]:
    """Return bins of a round, whole width for counts such as lengths.

    Args:
        values: whole numbers from 0.
        top: what lies above it is gathered in one last open bin, so that one runaway answer does not flatten the rest.

    >>> [(b.low, b.high) for b in count_bins([3, 9, 400], top=20)][-2:]
    [(20, 22), (22, None)]
    """
    largest = max(values, default=0)
    end = largest if top is None else min(largest, top)
    width = next(w for w in _round_widths() if (end + 1) / w <= BINS)
    bins = [Bin(low, low + width) for low in range(0, int(end) + 1, width)]
    beyond = len(bins) * width
    return [*bins, Bin(beyond, None)] if largest >= beyond else bins


def percent_bins() -> list[Bin]:
    """Return ten bins from 0 to 100, the last with 100 in it."""
    return [Bin(low, low + 10 if low < 90 else None) for low in range(0, 100, 10)]


def histogram(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, bins: Sequence[Bin] | None = None
) -> Markup:
    """Return a histogram of one or two sets of values, side by side in each bin.

    Args:
        series: the sets; the first is drawn first and named first.
        title: stands above the plot and is what a screen reader says.
        x_label: what the values are.
        y_label: what is counted.
        bins: the groups, by default ``count_bins`` of all values.
    """
    if bins is None:
        bins = count_bins([value for one in series for value in one.values])
    counts = [[sum(bin.holds(value) for value in one.values) for bin in bins] for one in series]
    ticks = _ticks(max(map(max, counts)))
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    base, step = _TOP + plot_height, plot_width / len(bins)
    parts = [_text(8, 14, title, "title", "start"), *_legend(series, 33)]
    for tick in ticks:
        y = base - plot_height * tick / ticks[-1]
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "axis" if tick == 0 else "grid"))
        parts.append(_text(_LEFT - 5, y + 4, f"{tick}", "tick", "end"))
    bar = step * 0.8 / len(series)
    for place, bin in enumerate(bins):
        left = _LEFT + place * step
        for index, one in enumerate(series):
            count = counts[index][place]
            height = plot_height * count / ticks[-1]
            said = f"{bin.range}：{one.name} {count}"
            if count:
                parts.append(_bar(left + step * 0.1 + index * bar, base - height, bar, height, one.style, said))
    # Where they don't fit under every bin, under every second or third.
    every = math.ceil(max(len(bin.label) for bin in bins) * 8 / step)
    for place in range(0, len(bins), every):
        bin = bins[place]
        # A bin of one value, and an open one, is named at its middle, any other at its lower edge.
        shift = step / 2 if bin.high is None or bin.high - bin.low == 1 else 0
        parts.append(_text(_LEFT + place * step + shift, base + 15, bin.label, "tick", "middle"))
    parts.append(_text(_LEFT + plot_width / 2, _HEIGHT - 8, x_label, "label", "middle"))
    parts.append(_text(_WIDTH - _RIGHT, 14, f"纵轴：{y_label}", "label", "end"))
    said = f"{title}（{x_label}，{y_label}）"
    return _svg(_WIDTH, _HEIGHT, "histogram", said, parts)


def interval(
    value: float, low: float | None, high: float | None, others: Sequence[tuple[str, str, float]] = ()
) -> Markup:
    """Return a score's place between 0 and 100 percent as a dot, its interval as a line through it.

    Args:
        value: percent.
        low: percent, None when there is no interval.
        high: percent, None when there is no interval.
        others: (name, style, percent) of figures to compare with, each an upright stroke of its own form.
    """
    width, height, middle = 160, 20, 10

    def x(percent: float) -> float:
        return 6 + (width - 12) * min(100.0, max(0.0, percent)) / 100

    parts = [_line(x(tick), 4, x(tick), 16, "grid") for tick in (0, 50, 100)]
    parts.append(_line(x(0), middle, x(100), middle, "grid"))
    said = [f"本次 {value:.2f}"]
    if low is not None and high is not None:
        parts.append(_line(x(low), middle, x(high), middle, "whisker"))
        parts += [_line(x(end), 6, x(end), 14, "whisker") for end in (low, high)]
        said.append(f"95 % 区间 {low:.2f}–{high:.2f}")
    for name, style, percent in others:
        parts.append(_line(x(percent), 2, x(percent), 18, style))
        said.append(f"{name} {percent:.2f}")
    parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="{middle}" r="4"/>')
    return _svg(width, height, "interval", "；".join(said), parts)


def _svg(width: int, height: int, style: str, said: str, parts: Sequence[str]) -> Markup:
    head = f'<svg class="{style}" viewBox="0 0 {width} {height}" role="img"><title>{escape(said)}</title>'
    return Markup(head + "".join(parts) + "</svg>")


def _legend(series: Sequence[Series], y: float) -> list[str]:
    parts, x = [], float(_LEFT)
    for one in series:
        parts.append(f'<rect class="bar {one.style}" x="{x:.1f}" y="{y - 9}" width="10" height="10"/>')
        label = f"{one.name}（n={len(one.values)}）"
        parts.append(_text(x + 15, y, label, "label", "start"))
        x += 30 + sum(6.5 if character.isascii() else 12 for character in label)
    return parts


def _bar(x: float, y: float, width: float, height: float, style: str, said: str) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="bar {style}" {size}><title>{escape(said)}</title></rect>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(largest: int) -> list[int]:
    """Return about four whole numbers from 0 to at least ``largest``.

    >>> _ticks(7), _ticks(130)
    ([0, 2, 4, 6, 8], [0, 50, 100, 150])
    """
    step = next(width for width in _round_widths() if largest / width <= 4)
    return list(range(0, max(1, math.ceil(largest / step)) * step + 1, step))


def _round_widths() -> list[int]:
    return [factor * 10**power for power in range(12) for factor in (1, 2, 5)]
