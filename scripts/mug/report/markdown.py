"""An evaluation's results as a short Markdown page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mug.metrics.baselines import BASELINES, GOOD_TITLES
from mug.metrics.llamafactory import METRICS

SMOKE = (
    "> **微型模型只检验流程，不代表效果。** 分数接近 0 是正常的。 "
    "*The tiny model checks the wiring, not quality; scores near 0 are to be expected.*"
)


def render(results: Mapping[str, Any]) -> str:
    """Return the page for the results that evaluate.py writes as JSON."""
    lines = ["# 评测报告 / Evaluation", ""]
    if results["settings"].get("smoke"):
        lines += [SMOKE, ""]
    for name, task in results["tasks"].items():
        lines += [f"## {name}", "", _counts(task), ""]
        good = GOOD_TITLES if name == "title_generation" else {}
        lines += ["| 指标 | 得分 % | 原始答案 % | 良好 |", "|---|---:|---:|---:|"]
        for metric in METRICS:
            mark = f"> {good[metric]:g}" if metric in good else ""
            lines.append(
                f"| {metric} | {task['llamafactory'][metric]:.2f} | {task['llamafactory_raw'][metric]:.2f} | {mark} |"
            )
        lines.append("")
    for name, track in results.get("official", {}).items():
        counts = track["counts"]
        lines += [
            f"## {name}（官方评分 / official）",
            "",
            f"{counts['meetings']} 场会议，{counts['n']} 个评分单位（{track['unit']}），空答案 {counts['empty']} 个。",
            "",
            "| 指标 | 得分 % | 95 % 区间 | 原始答案 % | 下限 % | 已发表的 dev 基线 % |",
            "|---|---:|---|---:|---:|---|",
        ]
        for key, value in track["scores"].items():
            published = "；".join(f"{b.system} {b.value:g}" for b in BASELINES if b.track == name and b.key == key)
            interval = track.get("intervals", {}).get(key)
            span = f"{100 * interval['low']:.2f} – {100 * interval['high']:.2f}" if interval else ""
            raw = _percent(results.get("official_raw", {}).get(name, {}).get(key))
            floor = _percent(results.get("floor", {}).get(name, {}).get(key))
            lines.append(f"| {key} | {_percent(value) or '未定义'} | {span} | {raw} | {floor} | {published} |")
        unmatched = [b for b in BASELINES if b.track == name and b.key is None]
        if unmatched:
            lines += [
                "",
                "已发表（未说明对应哪一项）：" + "，".join(f"{b.system} {b.metric} {b.value:g}" for b in unmatched),
            ]
        lines += [
            "",
            "区间：按会议自助抽样 1,000 次；原始答案：不作任何修正的读法；下限：不用模型的基线（baseline）。",
        ]
        lines += ["", f"分词：{track['tokenisation']}；算法：{track['library']}；参考：{track['references']}。", ""]
    for name, figures in results.get("comparison", {}).get("differences", {}).items():
        lines += [
            f"## {name}：与 {results['comparison']['other']} 之差",
            "",
            "| 指标 | 差 % | 95 % 区间 |",
            "|---|---:|---|",
        ]
        for key, d in figures.items():
            span = f"{100 * d['low']:+.2f} – {100 * d['high']:+.2f}"
            lines.append(f"| {key} | {100 * d['difference']:+.2f} | {span} |")
        lines.append("")
    lines += ["## 设置 / Settings", ""]
    lines += [f"- {key}: `{value}`" for key, value in results["settings"].items()]
    lines += [f"- {key} {value}" for key, value in results["versions"].items()]
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _counts(task: Mapping[str, Any]) -> str:
    text = (
        f"{task['n']} 个样本；空答案 {task['empty']} 个，修正过格式 {task['repaired']} 个，"
        f"到长度上限才停 {task['stopped_by_length']} 个。"
    )
    if task["repairs"]:
        text += "修正：" + "，".join(f"{name} {times}" for name, times in task["repairs"].items()) + "。"
    return text
