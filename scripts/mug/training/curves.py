"""What a training has recorded so far, read from the files that LLaMA-Factory and the Trainer write.

``trainer_log.jsonl`` (LLaMA-Factory) grows by a line every ``logging_steps`` while the training runs:

    {"current_steps": 10, "total_steps": 900, "loss": 2.1, "lr": 2e-4, "epoch": 0.03, "elapsed_time": "0:01:02", …}

``trainer_state.json`` (transformers) is written with each checkpoint and at the end; its ``log_history`` has the
gradient norms too. Both write NaN as ``NaN``, which is no JSON; neither is written atomically.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mug.errors import InputError, Message

LOG, STATE = "trainer_log.jsonl", "trainer_state.json"


@dataclass(frozen=True, slots=True)
class Point:
    """What was logged at one optimizer step; None is what was not logged, NaN and infinity are kept."""

    step: int
    loss: float | None = None
    eval_loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None


@dataclass(frozen=True)
class Curves:
    """A training's record: ``points`` in the order of their steps, a step once.

    ``total_steps`` is 0 when no file says it. ``remaining`` and ``idle`` are seconds: what is left by the pace of the
    last start, and how long ago the log was written to; None when the training is over or nothing tells.
    ``settings`` holds YAML keys as far as the files give them away. ``notes`` says which files were not usable.
    """

    folder: Path
    sources: tuple[str, ...]
    points: tuple[Point, ...]
    step: int
    total_steps: int
    finished: bool
    remaining: float | None = None
    idle: float | None = None
    settings: dict[str, float] = field(default_factory=dict)
    notes: tuple[Message, ...] = ()

    def series(self, name: str) -> list[tuple[int, float]]:
        """Return the steps and values of one field of `Point`, where it was logged."""
        return [(point.step, value) for point in self.points if (value := getattr(point, name)) is not None]


def read_curves(folder: Path, now: float | None = None) -> Curves:
    """Read the record of the training that writes, or wrote, into ``folder``.

    The log is followed where there is one, since it is ahead of the newest checkpoint; the state adds what the log
    lacks, and stands in for a log that is missing or of an earlier training.

    Args:
        folder: the training's ``output_dir``, or one of its checkpoints.
        now: seconds since the epoch, for ``idle``.

    Raises:
        InputError: there is no such folder, none of the two files is there or usable, or no step was logged.
    """
    if not folder.is_dir():
        raise InputError(
            f"没有训练目录 {folder}；请检查路径（YAML 里的 output_dir）。",
            f"There is no training folder {folder}; check the path (output_dir in the YAML).",
        )
    notes: list[Message] = []
    log, state = _read_log(folder / LOG, notes), _newest_state(folder, notes)
    if log is None and state is None:
        if notes:
            problems = Message("；".join(n.zh for n in notes), "; ".join(n.say("en") for n in notes))
            raise InputError(
                f"{problems.zh}。没有别的记录可看；请确认训练写到了这里，或重新训练。",
                f"{problems.en}. There is no other record; check that the training writes here, or train again.",
            )
        raise InputError(
            f"{folder} 里没有 {LOG} 或 {STATE}；请确认这是训练的 output_dir，刚开始的训练请等第一次记录。",
            f"{folder} holds no {LOG} and no {STATE}; is it a training's output_dir? One that has just begun has not "
            "logged yet.",
        )
    curves = _join(folder, log, state, now if now is not None else time.time())
    if not curves.points:
        sources = "、".join(curves.sources)
        raise InputError(
            f"{folder} 的 {sources} 里没有记录任何一步（no steps）；训练还没有开始，或 logging_steps 大于总步数，"
            "请调小它。",
            f"No steps are recorded in {', '.join(curves.sources)} of {folder}: the training has not begun, or "
            "logging_steps is more than all its steps; lower it.",
        )
    return replace(curves, settings=_settings(folder, curves, state), notes=tuple(notes))


def smooth(values: Sequence[float]) -> list[float]:
    """Return an exponential moving average, weighted as LLaMA-Factory's plots are (``smooth`` of extras/ploting.py).

    What is not finite gives NaN in its place and is left out of the average.

    >>> smooth([4.0, 4.0, math.nan, 4.0])
    [4.0, 4.0, nan, 4.0]
    """
    weight = 1.8 * (1 / (1 + math.exp(-0.05 * len(values))) - 0.5)
    smoothed: list[float] = []
    last: float | None = None
    for value in values:
        if math.isfinite(value):
            last = value if last is None else last * weight + (1 - weight) * value
            smoothed.append(last)
        else:
            smoothed.append(math.nan)
    return smoothed


# --------------------------------------------------------------------------------------------- the two files


@dataclass
class _Log:
    points: dict[int, Point]
    step: int
    total_steps: int
    ended: bool
    changed: float
    clock: list[tuple[int, float]]  # (step, seconds since the last start)
    promised: float | None  # the log's own remaining_time


def _read_log(path: Path, notes: list[Message]) -> _Log | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if not data.strip():
        notes.append(Message(f"{path} 是空文件（empty file）", f"{path} is an empty file"))
        return None
    log = _Log({}, 0, 0, False, path.stat().st_mtime, [], None)
    lost = 0
    lines = data.decode("utf-8", "replace").split("\n")
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is None:
            # What a kill tore, or what is being written at this moment: the last line alone may be broken.
            lost += bool(line.strip()) and number < len(lines)
            continue
        step = _integer(row.get("current_steps"))
        if step is None or "epoch" not in row:  # the progress of a prediction has no epoch
            continue
        if step < log.step or (step == log.step and step in log.points and "loss" in row):
            # Started again, from a checkpoint or from nothing: what came after it did not lead to this model.
            log.points = {old: point for old, point in log.points.items() if old < step}
            log.clock = []
        if {"loss", "eval_loss"} & row.keys():
            old = log.points.get(step, Point(step))
            log.points[step] = _update(old, row, learning_rate="lr")
        log.step, log.total_steps = step, _integer(row.get("total_steps")) or log.total_steps
        log.ended = "loss" not in row and "eval_loss" not in row and step >= log.total_steps
        if (elapsed := seconds(row.get("elapsed_time"))) is not None:
            if log.clock and elapsed < log.clock[-1][1]:  # taken up again exactly where it stopped
                log.clock = []
            log.clock.append((step, elapsed))
        log.promised = seconds(row.get("remaining_time"))
    if lost:
        notes.append(
            Message(
                f"{path} 有 {lost} 行读不出，已略过", f"{lost} lines of {path} could not be read and were passed over"
            )
        )
    return log if log.points or log.step else None


def _row(line: str) -> dict[str, Any] | None:
    """Read a line; of two that a kill in the first one joined, the second. A row holds no object, so no other "{"."""
    try:
        row = json.loads(line[line.rfind("{") :])
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


@dataclass
class _State:
    name: str
    values: dict[str, Any]
    points: dict[int, Point]
    step: int
    total_steps: int
    changed: float
    final: bool


def _newest_state(folder: Path, notes: list[Message]) -> _State | None:
    """Return the folder's own state, or of its checkpoints' the newest that can be read."""
    numbered = sorted(
        (
            (int(match[1]), path)
            for path in folder.glob("checkpoint-*")
            if (match := re.search(r"-(\d+)\Z", path.name))
        ),
        reverse=True,
    )
    found = [state for path in (folder / STATE,) if (state := _read_state(path, folder, notes))]
    for _, checkpoint in numbered:
        if state := _read_state(checkpoint / STATE, folder, notes):
            found.append(state)
            break
    # A finished training that was taken up again has a newer checkpoint than its final state.
    return max(found, key=lambda state: (state.step, state.final), default=None)


def _read_state(path: Path, folder: Path, notes: list[Message]) -> _State | None:
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("log_history"), list):
        empty = not text.strip()
        zh, en = ("是空文件（empty file）", "is an empty file") if empty else ("不完整或已损坏", "is cut or damaged")
        notes.append(Message(f"{path} {zh}", f"{path} {en}"))
        return None
    points: dict[int, Point] = {}
    for row in values["log_history"]:
        step = _integer(row.get("step")) if isinstance(row, dict) else None
        if step is not None and {"loss", "eval_loss"} & row.keys():
            points[step] = _update(points.get(step, Point(step)), row, learning_rate="learning_rate")
    step = max([_integer(values.get("global_step")) or 0, *points])
    total = _integer(values.get("max_steps")) or 0
    # save_state() writes the folder's own after the last step, which early stopping can put before max_steps.
    final = not re.search(r"checkpoint-\d+\Z", path.parent.name) or (0 < total <= step)
    return _State(str(path.relative_to(folder)), values, points, step, total, path.stat().st_mtime, final)


def _update(point: Point, row: dict[str, Any], *, learning_rate: str) -> Point:
    names = {"loss": "loss", "eval_loss": "eval_loss", "grad_norm": "grad_norm", "epoch": "epoch"}
    names["learning_rate"] = learning_rate
    read: dict[str, Any] = {name: value for name, key in names.items() if (value := _number(row.get(key))) is not None}
    return replace(point, **read)


def _join(folder: Path, log: _Log | None, state: _State | None, now: float) -> Curves:
    if state and (log is None or (log.step < state.step and log.changed <= state.changed)):
        # The log is missing, or of a training before this one.
        points = tuple(state.points[step] for step in sorted(state.points))
        return Curves(folder, (state.name,), points, state.step, state.total_steps, state.final)
    assert log is not None
    norms = _matching(log, state) if state else {}
    points = tuple(
        replace(log.points[step], grad_norm=norms.get(step, log.points[step].grad_norm)) for step in sorted(log.points)
    )
    sources = (LOG, state.name) if state and norms.keys() & log.points.keys() else (LOG,)
    finished = log.ended or bool(state and state.final and state.step == log.step)
    if finished:
        return Curves(folder, sources, points, log.step, log.total_steps, True)
    idle = max(0.0, now - log.changed)
    return Curves(folder, sources, points, log.step, log.total_steps, False, _remaining(log), idle)


def _matching(log: _Log, state: _State) -> dict[int, float]:
    """Return the state's gradient norms by step, where its losses show that it belongs to this training."""
    both = log.points.keys() & state.points.keys()
    same = [step for step in both if _equal(log.points[step].loss, state.points[step].loss)]
    return {step: norm for step in same if (norm := state.points[step].grad_norm) is not None}


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == other or (math.isnan(one) and math.isnan(other))


def _remaining(log: _Log) -> float | None:
    """Return the seconds left by the pace since the last start.

    The log's own figure divides the time since the last start by all steps, so that a resumed training seems nearly
    done; it stands in while the pace is not known.
    """
    if len(log.clock) > 1 and log.clock[-1][0] > log.clock[0][0]:
        (first, began), (last, now) = log.clock[0], log.clock[-1]
        return (log.total_steps - last) * (now - began) / (last - first)
    return log.promised


def _settings(folder: Path, curves: Curves, state: _State | None) -> dict[str, float]:
    """Return the settings that the files give away, by YAML key; the learning rate is the highest one logged."""
    found: dict[str, float] = {}
    rates = [rate for _, rate in curves.series("learning_rate") if math.isfinite(rate)]
    if rates:
        found["learning_rate"] = max(rates)
    for key in ("num_train_epochs", "logging_steps", "eval_steps") if state else ():
        value = _number(state.values.get(key)) if state else None
        if value:
            found[key] = value
    for file in (folder / "adapter_config.json", *sorted(folder.glob("checkpoint-*/adapter_config.json"))):
        try:
            adapter = json.loads(file.read_text("utf-8"))
            for key, name in {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}.items():
                if (value := _number(adapter.get(name))) is not None:
                    found[key] = value
            break
        except (OSError, ValueError, AttributeError):
            continue
    return found


# --------------------------------------------------------------------------------------------- values


def seconds(text: Any) -> float | None:
    """Return the seconds of a time as Python's timedelta prints it, None for anything else.

    >>> seconds("0:01:02"), seconds("1 day, 2:00:00"), seconds(None)
    (62.0, 93600.0, None)
    """
    match = re.fullmatch(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", text) if isinstance(text, str) else None
    if not match:
        return None
    days, hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + rest


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and math.isfinite(number) else None


def finite(values: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """Yield the pairs whose value is a number."""
    return ((step, value) for step, value in values if math.isfinite(value))
