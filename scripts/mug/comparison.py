"""Two evaluations of the same data: figure by figure how much better the one is, with an interval over meetings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mug.errors import InputError
from mug.evaluation import answered, contributions
from mug.meeting import Meeting
from mug.metrics import bootstrap, official

ALIKE = ("data_sha256", "gold_sha256", "num_samples")
"""Settings that two results must share."""


def read(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return another evaluation's results, once it is known that they are of the data that ``settings`` name.

    Raises:
        InputError: they can't be read, have no official scores, or are of other samples or another gold.
    """
    try:
        other = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(other, dict) or not isinstance(other.get("settings"), dict):
            raise ValueError("no settings")
    except (OSError, ValueError, RecursionError) as error:
        raise _no_evaluation(path, error) from None
    if not isinstance(other.get("submissions"), dict) or not other["submissions"]:
        raise InputError(
            f"{path} 不是带官方评分的评测结果；请先用同一 --gold 运行 evaluate.py 得到它。",
            f"{path} holds no results with official scores; make it by evaluate.py with the same --gold.",
        )
    _refuse(path, [key for key in ALIKE if settings.get(key) != other["settings"].get(key)])
    return other


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], gold: Sequence[Meeting], path: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """Return, by track and key, our figure minus theirs with its paired 95 % interval over meetings.

    Args:
        ours: results as evaluate.py builds them.
        theirs: the same, as `read` returns them.
        gold: the meetings that both were scored on.
        path: the file that they were read from, for the error's sentence.

    Raises:
        InputError: the two were scored differently, or the file was changed by hand.
    """
    try:
        return _differences(ours, theirs, gold, path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_evaluation(path, error) from None


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], gold: Sequence[Meeting], path: Path
) -> dict[str, dict[str, dict[str, float]]]:
    rows = theirs["submissions"]
    differing = []
    for name, track in ours["official"].items():
        other = theirs.get("official", {}).get(name, {})
        differing += [
            f"{name}.{key}" for key in ("tokenisation", "library", "references") if track[key] != other.get(key)
        ]
        if set(ours["submissions"][name]) != set(rows.get(name, {})):
            differing.append(f"{name}.meetings")
    _refuse(path, differing)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in ours["official"]:
        meetings = answered(gold, rows[name])
        pair = [contributions(name, meetings, side[name]) for side in (ours["submissions"], rows)]
        paired = bootstrap.paired_differences(pair[0], pair[1], official.TRACKS[name].combine)
        found[name] = {
            key: {"difference": interval.point, "low": interval.low, "high": interval.high}
            for key, interval in paired.items()
            if interval is not None
        }
    return found


def _refuse(path: Path, differing: Sequence[str]) -> None:
    if differing:
        raise InputError(
            f"{path} 与本次的评分方式不同（{'、'.join(differing)}），差值没有意义；请用同一数据与版本重新评测。",
            f"{path} was scored in another way ({', '.join(differing)}), so a difference means nothing; evaluate "
            "both on the same data with the same version.",
        )


def _no_evaluation(path: Path, error: Exception) -> InputError:
    return InputError(
        f"读不了 --compare 的文件 {path}（{error}）；它应是 evaluate.py 写出的 JSON。",
        f"Can't read the --compare file {path} ({error}); it should be a JSON that evaluate.py wrote.",
    )
