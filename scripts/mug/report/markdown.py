"""An evaluation's results as a short Markdown page; the HTML page beside it shows the samples too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mug.metrics import llamafactory
from mug.metrics.baselines import BASELINES, GOOD_TITLES
from mug.report.names import METRIC_NAMES, REPAIR_NAMES, TASK_NAMES, TRACK_NAMES, in_chinese
from mug.visible import on_one_line

SMOKE = (
    "> **微型模型只检验流程，不代表效果。** 分数接近 0 是正常的。 "
    "*The tiny model checks the wiring, not quality; scores near 0 are to be expected.*"
)
NOTHING = "—"
# In a path "_" and "." are common and harmless; these make cells, links, pictures, emphasis and headings.
_MARKS = re.compile(r"[\\|\[\]*#!~]")


def render(results: Mapping[str, Any]) -> str:
    """Return the page for the results that evaluate.py writes as JSON."""
    settings = results["settings"]
    model = (
        settings.get("adapter") or settings.get("base_model") or settings.get("api_model") or settings.get("engine")
    )
    lines = ["# 评测报告 / Evaluation", ""]
    about = [model, settings.get("data_path"), settings.get("date")]
    lines += ["；".join(_cell(value) for value in about if value), ""]
    if settings.get("smoke"):
        lines += [SMOKE, ""]
    lines += _averages(results["tasks"])
    for name, track in results.get("official", {}).items():
        lines += _official(name, track, results)
    for name, keys in results.get("incomplete_meetings", {}).items():
        lines += [f"{TRACK_NAMES.get(name, name)}：{len(keys)} 场会议只答了一部分，不计入官方评分。", ""]
    for name, figures in results.get("comparison", {}).get("differences", {}).items():
        lines += [f"## {TRACK_NAMES.get(name, name)} `{name}`：与 {_cell(results['comparison']['other'])} 之差", ""]
        lines += _table(
            ["指标", "差 %", "95 % 区间"],
            [
                [key, f"{100 * d['difference']:+.2f}", f"{100 * d['low']:+.2f} – {100 * d['high']:+.2f}"]
                for key, d in figures.items()
                if _is_main(key)
            ],
        )
    lines += ["## 设置与版本 / Settings", ""]
    known = {key: value for key, value in settings.items() if value is not None} | dict(results["versions"])
    lines += _table(["项", "值"], [[key, _cell(value)] for key, value in known.items()])
    return "\n".join(lines)


def _averages(tasks: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, task in tasks.items():
        label = f"{TASK_NAMES.get(name, name)} `{name}`"
        counts = [task["n"], task["empty"], task["repaired"], task["stopped_by_length"]]
        rows.append([label, *(f"{task['llamafactory'][metric]:.2f}" for metric in llamafactory.METRICS), *counts])
        rows.append(["　原始", *(f"{task['llamafactory_raw'][m]:.2f}" for m in llamafactory.METRICS), *[""] * 4])
        if name == "title_generation":
            good = [f"> {GOOD_TITLES[metric]:g}" if metric in GOOD_TITLES else "" for metric in llamafactory.METRICS]
            rows.append(["　良好的范围", *good, *[""] * 4])
    head = ["任务", *(f"{METRIC_NAMES[metric]} %" for metric in llamafactory.METRICS)]
    lines = ["## LLaMA-Factory 评分", "", *_table([*head, "样本", "空答案", "修正", "超长停止"], rows)]
    for name, task in tasks.items():
        if task["repairs"]:
            repairs = "，".join(f"{REPAIR_NAMES.get(repair, repair)} {n}" for repair, n in task["repairs"].items())
            lines += [f"{TASK_NAMES.get(name, name)}的修正：{repairs}。", ""]
    lines += [
        "“原始”一行取自未整理的答案。"
        f"分词：{in_chinese(llamafactory.TOKENISATION)}；算法：{in_chinese(llamafactory.LIBRARY)}；"
        f"参考答案：{in_chinese(llamafactory.REFERENCES)}。",
        "",
    ]
    return lines


def _official(name: str, track: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    counts = track["counts"]
    rows = []
    for key, value in track["scores"].items():
        if not _is_main(key):
            continue
        interval = track.get("intervals", {}).get(key)
        rows.append(
            [
                key,
                _percent(value) or "未定义",
                f"{100 * interval['low']:.2f} – {100 * interval['high']:.2f}" if interval else "",
                _percent(results.get("official_raw", {}).get(name, {}).get(key)),
                _percent(results.get("floor", {}).get(name, {}).get(key)),
                "；".join(f"{b.system} {b.value:.2f}" for b in BASELINES if b.track == name and b.key == key),
            ]
        )
    lines = [
        f"## {TRACK_NAMES.get(name, name)} `{name}`（官方评分）",
        "",
        f"{counts['meetings']} 场会议，{counts['n']} 个评分单位（{in_chinese(track['unit'])}），"
        f"空答案 {counts['empty']} 个。",
        "",
        *_table(["指标", "得分 %", "95 % 区间", "原始 %", "底线 %", "已发表的 dev 基线 %"], rows),
    ]
    published = [b for b in BASELINES if b.track == name]
    unmatched = "，".join(f"{b.system} {b.metric} {b.value:.2f}" for b in published if b.key is None)
    if unmatched:
        lines += [f"已发表（未说明是平均还是最佳）：{unmatched}。", ""]
    source = f"基线出处：{published[0].source}（{published[0].split}）。" if published else ""
    lines += [
        f"区间：按会议自助抽样 1,000 次。底线：不用模型的规则。{source}",
        f"分词：{in_chinese(track['tokenisation'])}；算法：{in_chinese(track['library'])}；参考答案：{in_chinese(track['references'])}。",
        "",
    ]
    return lines


def _is_main(key: str) -> bool:
    """Leave recall and precision of the many ROUGE figures to the JSON and the HTML page."""
    return not ("rouge" in key and key.endswith(("_r", "_p")))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|"]
    lines += ["| " + " | ".join(str(cell) if cell != "" else NOTHING for cell in row) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    """Return a value that can neither end a table's cell nor become markup, a link or a picture."""
    text = on_one_line(str(value)).replace("`", "'").replace("&", "&amp;").replace("<", "&lt;")
    return _MARKS.sub(r"\\\g<0>", text)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"
