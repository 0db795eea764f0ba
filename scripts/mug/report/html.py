"""An evaluation's results as one self-contained HTML page: scores, distributions, samples, marked transcripts.

The page loads nothing and runs no script; folding is ``<details>``, plots are SVG text. What a model or a transcript
says is foreign text: the template escapes all of it, `_visible` shows control characters as pictures, and ``<bdi>``
keeps right-to-left marks from turning the text around them.

>>> settings = {"base_model": "Qwen2.5-7B", "data_path": "data/dev_alpaca.json", "num_samples": 0}
>>> page = render({"tasks": {}, "settings": settings, "versions": {}, "rows": []})
>>> page.startswith("<!doctype html>"), "Qwen2.5-7B" in page, "<script" in page
(True, True, False)
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mug.evaluation import TRACK_OF
from mug.meeting import Meeting
from mug.metrics import llamafactory
from mug.metrics.baselines import BASELINES
from mug.report import charts
from mug.report.names import METRIC_NAMES, REPAIR_NAMES, TASK_NAMES, TRACK_NAMES, in_chinese
from mug.report.transcripts import MARKED, TEXT, Row, answered, f1_of, known, state, transcripts
from mug.tasks.base import NONE
from mug.visible import visible

SHOWN_SAMPLES = 20
"""So many of the worst, and of the best, samples of a task are shown."""


def render(results: Mapping[str, Any], gold: Sequence[Meeting] = ()) -> str:
    """Return the page.

    Args:
        results: what evaluate.py writes as JSON. ``official[track]["intervals"]``, ``official[track]["per_meeting"]``
            (meeting key to official score from 0 to 1), ``official_raw`` and ``floor`` (track to official figures),
            and ``comparison`` may be absent.
        gold: the gold meetings; without them the page holds no transcripts.
    """
    rows = list(results.get("rows") or ())
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get("task") or "other"].append(row)
    official = results.get("official") or {}
    raw, floor = results.get("official_raw") or {}, results.get("floor") or {}
    settings = results["settings"]
    shown, meetings = transcripts(groups, gold, official)
    template = _environment().get_template("report.html.j2")
    return template.render(
        css=Markup((Path(__file__).parent / "report.css").read_text(encoding="utf-8")),
        model=_model(settings),
        summary=_summary(settings),
        smoke=bool(settings.get("smoke")),
        metrics=METRIC_NAMES,
        notes=llamafactory,
        tasks=[
            _task(name, task, groups.get(name, []), results.get("good_ranges") or {}, official)
            for name, task in results["tasks"].items()
        ],
        tracks=[_track(name, track, raw.get(name), floor.get(name)) for name, track in official.items()],
        comparison=_comparison(results.get("comparison") or {}),
        transcripts=shown,
        meetings=meetings,
        marked=MARKED,
        shown_samples=SHOWN_SAMPLES,
        settings=settings,
        versions=results.get("versions") or {},
        repair_names=REPAIR_NAMES,
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= {
        "percent": _percent,
        "signed": _signed,
        "cut": _cut,
        "setting": _setting,
        "chinese": in_chinese,
    }
    return environment


def _visible(value: Any) -> Any:
    """Return a string with pictures (␀, ␛) in place of control characters; what is markup already is our own."""
    if value is None:
        return "—"
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _percent(value: Any) -> str:
    return f"{value:.2f}" if known(value) else "未定义"


def _signed(value: Any) -> str:
    return f"{value:+.2f}" if known(value) else "未定义"


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "是" if value else "否"
    return "—" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class _Cut:
    shown: str
    characters: int
    """How many there were, when not all are shown; else 0."""


def _cut(text: Any) -> _Cut:
    text = "" if text is None else str(text)
    return _Cut(text, 0) if len(text) <= TEXT else _Cut(text[:TEXT] + "…", len(text))


def _model(settings: Mapping[str, Any]) -> str:
    # Without a folder: a served model, or the engine that needs none.
    keys = ("adapter", "base_model", "model_path", "api_model", "model", "predictions", "engine")
    path = next((settings[key] for key in keys if settings.get(key)), "—")
    path = Path(str(path))
    # "checkpoint-400" alone says nothing.
    name = f"{path.parent.name}/{path.name}" if path.name.startswith("checkpoint-") else path.name
    return name or str(path)


def _summary(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (label, value) of the line under the heading."""
    base = str(settings.get("base_model") or "")
    model = _model(settings)
    found = [
        ("模型", model),
        ("基座", base if base and Path(base).name != model else ""),
        ("数据", str(settings.get("data_path") or "")),
        ("标准答案", str(settings.get("gold") or "")),
        ("日期", str(settings.get("date") or "").replace("T", " ").replace("+00:00", " UTC")),
        ("样本", f"{settings.get('num_samples', 0):,} 个"),
    ]
    return [(label, value) for label, value in found if value]


# --------------------------------------------------------------------------------------------- scores of a task


def _task(
    name: str, task: Mapping[str, Any], rows: Sequence[Row], good: Mapping[str, Any], official: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the template shows of one task."""
    ranked = sorted((row for row in rows if known(_rank(row)[0])), key=_rank)
    # No sample stands in both lists: with fewer than twice SHOWN_SAMPLES each gets half.
    half = min(SHOWN_SAMPLES, (len(ranked) + 1) // 2)
    by_f1 = any(_f1_percent(row) is not None for row in rows)
    return {
        "name": name,
        "title": TASK_NAMES.get(name, name),
        "track": TRACK_OF.get(name),
        "counts": task,
        "scores": task.get("llamafactory") or {},
        "raw": task.get("llamafactory_raw") or {},
        "good": good.get(name) or {},
        "plots": list(_plots(name, rows, official.get(TRACK_OF.get(name, "")) or {})),
        "ordered_by": "编号的 F1" if by_f1 else " ROUGE-L（相同时按 BLEU-4）",
        "worst": [_sample(row) for row in ranked[:half]],
        "best": [_sample(row) for row in reversed(ranked[half:][-SHOWN_SAMPLES:])],
        "unranked": len(rows) - len(ranked),
    }


def _plots(name: str, rows: Sequence[Row], track: Mapping[str, Any]) -> Iterable[Markup]:
    if rows:
        yield _lengths(rows)
        yield _percentages("每个样本的 ROUGE-L", "ROUGE-L（%）", [row.get("rouge-l") for row in rows])
    f1 = [value for row in rows if (value := _f1_percent(row)) is not None]
    if f1:
        yield _percentages("每个样本的编号 F1", "编号 F1（%）", f1)
    scores = [100 * score for score in (track.get("per_meeting") or {}).values() if known(score)]
    if scores:
        title = f"每场会议的官方总分：{TRACK_NAMES.get(TRACK_OF.get(name, ''), name)}"
        yield _percentages(title, "官方总分（%）", scores, "会议数")


def _lengths(rows: Sequence[Row]) -> Markup:
    pairs = [(_gold_numbers(row), row) for row in rows]
    if all(numbers is not None for numbers, _ in pairs):
        unit = "编号个数"
        target, answer = [len(numbers or ()) for numbers, _ in pairs], [len(answered(row)) for row in rows]
    else:
        unit = "字数"
        target, answer = [len(str(row["label"])) for row in rows], [len(str(row["predict"])) for row in rows]
    return charts.histogram(
        [charts.Series("标准答案", "target", target), charts.Series("模型答案", "answer", answer)],
        title="答案长度",
        x_label=unit,
        y_label="样本数",
        bins=charts.count_bins([*target, *answer], top=max(4, 2 * max(target))),
    )


def _percentages(title: str, x_label: str, values: Iterable[Any], y_label: str = "样本数") -> Markup:
    series = [charts.Series("模型答案", "answer", [value for value in values if known(value)])]
    return charts.histogram(series, title=title, x_label=x_label, y_label=y_label, bins=charts.percent_bins())


def _rank(row: Row) -> tuple[float, float, float]:
    """Return what samples are ordered by; of equal ones, a longer target says more about the model."""
    f1 = _f1_percent(row)
    score = row.get("rouge-l") if f1 is None else f1
    bleu = row.get("bleu-4")
    size = len(str(row["label"]))
    if not known(score):
        return math.nan, 0.0, 0.0
    return score, bleu if f1 is None and known(bleu) else 0.0, size if score > 50 else -size


_NUMBERS = re.compile(r"\d+(?:, \d+)*\Z")


def _gold_numbers(row: Row) -> tuple[int, ...] | None:
    """Return the target as line numbers, None where the task has none (a title, or key sentences as text)."""
    label = str(row["label"])
    if row.get("task") not in MARKED or row.get("numbers") is None:
        return None
    if label == NONE:
        return ()
    return tuple(map(int, label.split(", "))) if _NUMBERS.match(label) else None


def _f1_percent(row: Row) -> float | None:
    expected = _gold_numbers(row)
    return None if expected is None else 100 * f1_of(set(expected), set(answered(row)))


def _sample(row: Row) -> dict[str, Any]:
    """Return what the template shows of one sample."""
    f1 = _f1_percent(row)
    scores = [(name, row[metric]) for metric, name in METRIC_NAMES.items() if metric in row]
    return {
        "row": row,
        "scores": scores if f1 is None else [("编号 F1", f1), *scores],
        # The scores are against the label alone; of keyphrases it is the union of what the annotators wrote.
        "references": list(dict.fromkeys([row["label"], *(row.get("references") or ())])),
        "same": row.get("raw") == row["predict"],
        "repairs": [REPAIR_NAMES.get(name, name) for name in row.get("repairs") or ()],
        "by_length": row.get("finish") == "length",
        "lines": [] if f1 is None else _marked_lines(row),
    }


def _marked_lines(row: Row) -> list[tuple[str, str]]:
    """Return (state, line) of the prompt's lines that the target or the answer names."""
    lines: list[str] = []
    for line in str(row.get("input") or "").split("\n"):
        if line.startswith(f"{len(lines) + 1}. "):
            lines.append(line)
        elif lines:
            lines[-1] += f"\n{line}"  # a sentence that holds a line break
    expected, found = set(_gold_numbers(row) or ()), set(answered(row))
    named = sorted(expected | found)
    return [(state(n, expected, found), lines[n - 1]) for n in named if 1 <= n <= len(lines)][:50]


# ---------------------------------------------------------------------------------------- the official figures


@dataclass(frozen=True, slots=True)
class _Figure:
    """One official figure in percent, with what it is compared with."""

    key: str
    label: str
    value: float | None
    interval: tuple[float, float] | None
    raw: float | None
    floor: float | None
    published: list[str]
    plot: Markup | None


Figures = Mapping[str, Any]


def _track(name: str, track: Mapping[str, Any], raw: Figures | None, floor: Figures | None) -> dict[str, Any]:
    """Return what the template shows of one track."""
    figures = [_figure(name, key, track, raw or {}, floor or {}) for key in track["scores"]]
    listed = [baseline for baseline in BASELINES if baseline.track == name]
    return {
        "name": name,
        "title": TRACK_NAMES.get(name, name),
        "track": track,
        "overall": next((figure for figure in figures if figure.key == "score"), None),
        "figures": [figure for figure in figures if not figure.key.endswith(("_r", "_p"))],
        "parts": [figure for figure in figures if figure.key.endswith(("_r", "_p"))],
        "has": {"raw": bool(raw), "floor": bool(floor)},
        "unmatched": [baseline for baseline in listed if baseline.key is None],
        "sources": list(dict.fromkeys((baseline.split, baseline.source) for baseline in listed)),
    }


def _figure(name: str, key: str, track: Mapping[str, Any], raw: Figures, floor: Figures) -> _Figure:
    value = _hundredfold(track["scores"][key])
    interval = (track.get("intervals") or {}).get(key) or {}
    low, high = _hundredfold(interval.get("low")), _hundredfold(interval.get("high"))
    lowest = _hundredfold(floor.get(key))
    published = [baseline for baseline in BASELINES if baseline.track == name and baseline.key == key]
    others = [(baseline.system, "published", baseline.value) for baseline in published]
    if lowest is not None:
        others.insert(0, ("底线", "floor", lowest))
    return _Figure(
        key,
        _label(key),
        value,
        None if low is None or high is None else (low, high),
        _hundredfold(raw.get(key)),
        lowest,
        [f"{baseline.system} {baseline.value:.2f}" for baseline in published],
        None if value is None else charts.interval(value, low, high, others),
    )


def _comparison(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows of the differences from another evaluation; recall and precision are left out."""
    return {
        "other": comparison.get("other"),
        "tracks": [
            {
                "title": TRACK_NAMES.get(name, name),
                "rows": [
                    (key, _label(key), *(_hundredfold(one.get(part)) for part in ("difference", "low", "high")))
                    for key, one in differences.items()
                    if not key.endswith(("_r", "_p"))
                ],
            }
            for name, differences in (comparison.get("differences") or {}).items()
        ],
    }


def _hundredfold(value: Any) -> float | None:
    return 100 * value if known(value) else None


_PARTS = {"topic-es": "主题关键句", "doc-es": "全场关键句", "ttg": "标题"}
_POLICIES = {"average": "平均", "max": "最佳"}
_SIDES = {"r": "召回率", "p": "精确率", "f": "F"}
_PLAIN = {
    "score": "官方总分",
    "test_1-pk": "1 − Pk",
    "test_1-wd": "1 − WindowDiff",
    "test_precision": "精确率",
    "test_recall": "召回率",
    "test_f1": "F1",
    "precision": "精确率",
    "recall": "召回率",
    "f1-score": "F1",
}


def _label(key: str) -> str:
    """Return a figure's name in words.

    >>> _label("topic-es_max_rouge-l_f"), _label("exact_f1@10")
    ('主题关键句 · 最佳 · ROUGE-L F', '完全匹配 F1，前 10 个')
    """
    if match := re.fullmatch(r"(topic-es|doc-es|ttg)_(average|max)_(?:score|rouge-(\w)_([rpf]))", key):
        part, policy, kind, side = match.groups()
        figure = f"ROUGE-{kind.upper()} {_SIDES[side]}" if kind else "小计"
        return f"{_PARTS[part]} · {_POLICIES[policy]} · {figure}"
    if match := re.fullmatch(r"(exact|partial)_f1@(\d+)", key):
        return f"{'完全' if match[1] == 'exact' else '部分'}匹配 F1，前 {match[2]} 个"
    return _PLAIN.get(key, key)
