"""A diagnosis as files to look at: diagnosis.json, training_curves.png and one self-contained HTML page.

The page is styled as the evaluation's report and loads nothing. The picture's words are English, since matplotlib
draws boxes for Chinese where no Chinese font is installed; the page's plots are SVG text in the reader's own fonts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mug.errors import Message
from mug.files import atomic_write, write_json, write_text
from mug.training.curves import Curves, finite, smooth
from mug.training.diagnosis import IDEAL, Diagnosis, as_json

FILES = ("diagnosis.json", "training_curves.png", "diagnosis.html")
LEVEL_NAMES = {
    "good": Message("正常", "good"),
    "note": Message("说明", "note"),
    "warn": Message("注意", "mind"),
    "bad": Message("要改", "change"),
}
MARKS = {"good": "✓", "note": "·", "warn": "!", "bad": "✗"}

_SHOWN = 300  # points of a curve; more than a phone has columns of pixels
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 260, 58, 24, 46, 40


def write_report(diagnosis: Diagnosis, folder: Path, lang: str = "zh") -> list[Path]:
    """Write the three files into ``folder``, each whole or not at all; return their paths.

    Raises:
        OSError: a file can't be written.
    """
    paths = [folder / name for name in FILES]
    write_json(paths[0], as_json(diagnosis))
    write_picture(diagnosis.curves, paths[1])
    write_text(paths[2], render(diagnosis, lang))
    return paths


def lines(diagnosis: Diagnosis, lang: str) -> list[str]:
    """Return the verdicts as lines for a terminal."""
    told = []
    for finding in diagnosis.findings:
        told.append(f"{MARKS[finding.level]} {finding.what.say(lang)}")
        if finding.todo.zh:
            told.append(f"    {finding.todo.say(lang)}")
        if finding.change:
            settings = Message("YAML：", "YAML: ").say(lang)
            told.append("    " + settings + "  ".join(f"{key}: {value}" for key, value in finding.change))
    return told


def write_picture(curves: Curves, path: Path) -> None:
    """Draw losses, gradient norm and learning rate against the step as a PNG."""
    # Not pyplot: it keeps figures in a global state and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    FigureCanvasAgg(figure)
    loss, norm, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    loss.axhspan(*IDEAL, color="tab:green", alpha=0.12, label=f"ideal {IDEAL[0]:g}-{IDEAL[1]:g} (rule of thumb)")
    for name, style in (("loss", {"alpha": 0.35}), ("smoothed", {}), ("eval_loss", {"marker": "o", "markersize": 4})):
        points = _smoothed(curves) if name == "smoothed" else curves.series(name)
        if points:
            label = {"loss": "training loss", "smoothed": "training loss, smoothed", "eval_loss": "evaluation loss"}[
                name
            ]
            colour = "tab:orange" if name == "eval_loss" else "tab:blue"
            loss.plot(*zip(*points, strict=True), color=colour, label=label, **style)
    for step, value in curves.series("loss"):
        if not math.isfinite(value):
            loss.axvline(step, color="tab:red", linestyle=":", label="first NaN")
            break
    loss.set_ylabel("loss a target token")
    figure.legend(loc="outside upper center", ncols=4, fontsize=9)  # beside the curves: they go anywhere
    for axes, name, label in ((norm, "grad_norm", "gradient norm"), (rate, "learning_rate", "learning rate")):
        points = list(finite(curves.series(name)))
        if points:
            axes.plot(*zip(*points, strict=True), color="tab:gray")
        else:
            axes.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axes.transAxes, color="tab:gray")
        axes.set_ylabel(label)
    rate.set_xlabel("step")
    for axes in (loss, norm, rate):
        axes.grid(alpha=0.25)
    with atomic_write(path) as file:
        figure.savefig(file.buffer, format="png", dpi=120)


def render(diagnosis: Diagnosis, lang: str) -> str:
    """Return the HTML page."""
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    curves = diagnosis.curves

    def say(zh: str, en: str) -> str:
        return Message(zh, en).say(lang)

    plots = [
        line_plot(
            [
                Line(say("训练损失", "training loss"), "raw", curves.series("loss")),
                Line(say("平滑后", "smoothed"), "smooth", _smoothed(curves)),
                Line(say("评估损失", "evaluation loss"), "eval", curves.series("eval_loss"), dots=True),
            ],
            title=say("损失", "Loss"),
            x_label=say("步", "step"),
            band=IDEAL,
        ),
        line_plot(
            [Line(say("梯度范数", "gradient norm"), "smooth", curves.series("grad_norm"))],
            title=say("梯度范数", "Gradient norm"),
            x_label=say("步", "step"),
        ),
        line_plot(
            [Line(say("学习率", "learning rate"), "smooth", curves.series("learning_rate"))],
            title=say("学习率", "Learning rate"),
            x_label=say("步", "step"),
        ),
    ]
    return environment.get_template("diagnosis.html.j2").render(
        css=Markup((here.parent / "report" / "report.css").read_text(encoding="utf-8")),
        lang=lang,
        language="en" if lang == "en" else "zh-CN",
        say=say,
        diagnosis=diagnosis,
        curves=curves,
        level_names={level: name.say(lang) for level, name in LEVEL_NAMES.items()},
        marks=MARKS,
        plots=[plot for plot in plots if plot],
    )


@dataclass(frozen=True)
class Line:
    """One curve of a plot; ``style`` is a class of the page's style sheet."""

    name: str
    style: str
    points: Sequence[tuple[int, float]]
    dots: bool = False


def line_plot(curves: Sequence[Line], *, title: str, x_label: str, band: tuple[float, float] | None = None) -> Markup:
    """Return curves over the step as SVG text, "" where nothing finite is to be drawn.

    A long curve is drawn as the means of equal runs of steps; what is not finite leaves a gap.

    Args:
        curves: drawn in this order, so that the last lies on top.
        title: stands above the plot and is what a screen reader says.
        x_label: what the steps are.
        band: a range of values that is shaded.
    """
    drawn = [Line(one.name, one.style, _thinned(one.points), one.dots) for one in curves if list(finite(one.points))]
    if not drawn:
        return Markup("")
    values = [value for one in drawn for _, value in finite(one.points)]
    steps = [step for one in drawn for step, _ in one.points]
    low, high = min(0.0, *values), max(values) or 1.0
    ticks = _ticks(low, high)
    first, last = min(steps), max(max(steps), min(steps) + 1)
    base, width, height = _HEIGHT - _BOTTOM, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + width * (step - first) / (last - first)

    def y(value: float) -> float:
        return base - height * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = [f'<text class="title" x="8" y="14">{escape(title)}</text>']
    if band and band[0] < ticks[-1]:
        top = y(min(band[1], ticks[-1]))
        parts.append(f'<rect class="band" x="{_LEFT}" y="{top:.1f}" width="{width}" height="{y(band[0]) - top:.1f}"/>')
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + width}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for step in (tick for tick in _ticks(first, last) if first <= tick <= last and tick == int(tick)):
        parts.append(f'<text class="tick" x="{x(step):.1f}" y="{base + 15}" text-anchor="middle">{step:.0f}</text>')
    parts.append(
        f'<text class="label" x="{_LEFT + width / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    at = float(_LEFT)
    for one in drawn:
        parts.append(f'<line class="curve {one.style}" x1="{at:.0f}" x2="{at + 18:.0f}" y1="29" y2="29"/>')
        parts.append(f'<text class="label" x="{at + 23:.0f}" y="33">{escape(one.name)}</text>')
        at += 40 + sum(6.5 if character.isascii() else 12 for character in one.name)
        for run in _runs(one.points):
            path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in run)
            parts.append(f'<polyline class="curve {one.style}" points="{path}"/>')
            for step, value in run if one.dots or len(run) == 1 else ():
                said = f"{one.name} {step}: {value:.4g}"
                dot = f'class="point {one.style}" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3"'
                parts.append(f"<circle {dot}><title>{escape(said)}</title></circle>")
    head = f'<svg class="lines" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>'
    return Markup(head + "".join(parts) + "</svg>")


def _smoothed(curves: Curves) -> list[tuple[int, float]]:
    losses = curves.series("loss")
    return list(zip([step for step, _ in losses], smooth([loss for _, loss in losses]), strict=True))


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= _SHOWN:
        return list(points)
    size = math.ceil(len(points) / _SHOWN)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _runs(points: Sequence[tuple[int, float]]) -> list[list[tuple[int, float]]]:
    """Split a curve where it is not finite."""
    runs: list[list[tuple[int, float]]] = [[]]
    for step, value in points:
        if math.isfinite(value):
            runs[-1].append((step, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round values around low to high.

    >>> _ticks(0, 3.2), _ticks(0, 0.0002)
    ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 5e-05, 0.0001, 0.00015, 0.0002])
    """
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if (high - low) / (factor * power) <= 4 * (1 + 1e-9))
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.6g}") for number in range(start, end + 1)]
