"""What the curves of a training say, and what to change.

The bounds are a rule of thumb of supervised fine-tuning, in nats a target token:

    start 2 to 5   normal          end 0.5 to 1.5   converged      end above 2     has not learned
                                   end 0.3 to 0.8   ideal          end below 0.1   over-fitted

They know nothing of the task: a title has about ten tokens, and where several annotators' titles are all targets of
one prompt, no model can get below their disagreement. Every diagnosis says so; scores decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

from mug.errors import Message
from mug.training.curves import Curves, finite, read_curves, smooth

Level = Literal["good", "note", "warn", "bad"]
LEVELS: tuple[Level, ...] = ("good", "note", "warn", "bad")

START = (2.0, 5.0)
CONVERGED = (0.5, 1.5)
IDEAL = (0.3, 0.8)
OVERFITTED, UNLEARNED = 0.1, 2.0

ENDS = 0.1  # the share of the logged steps that is averaged at either end: one batch says little
BEGINNING = 3  # but of these at most so many at the start, where the loss falls fastest
FLAT = 0.05  # a loss that fell by less than this share of itself has not fallen
RISING = 0.02  # an evaluation loss this share above its least is more than noise
STALE = 600.0  # seconds without a line in the log; an evaluation of the corpus takes less

NOTHING = Message("")
RULE_OF_THUMB = Message(
    "这些界限是经验值（每个目标 token 的损失），与任务无关。标题只有十来个字，同一段又常有几位标注者的不同标题，"
    "损失降不到他们的分歧以下；答案是编号或“无”的任务又可以很低。模型好不好，以 scripts/evaluate.py 的分数为准。",
    "These bounds are a rule of thumb (loss a target token) and know nothing of the task. A title has some ten "
    "tokens, and "
    "several annotators often wrote different ones for the same topic: no loss gets below their disagreement; where "
    "the "
    "answers are numbers or “none” it can be very low. The scores of scripts/evaluate.py decide.",
)


@dataclass(frozen=True)
class Finding:
    """One verdict; ``change`` is what to set in the training's YAML, key to value."""

    code: str
    level: Level
    what: Message
    todo: Message = NOTHING
    change: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All verdicts on one training, the worst level among them, and the figures that they rest on.

    ``start`` and ``end`` are mean training losses of the first tenth (at most three) and the last tenth of the logged
    steps; ``best`` is the step and the loss of the best evaluation. None where nothing finite was logged.
    """

    curves: Curves
    level: Level
    findings: tuple[Finding, ...]
    start: float | None
    end: float | None
    best: tuple[int, float] | None


def diagnose(folder: Path, now: float | None = None) -> Diagnosis:
    """Read the training in ``folder`` and judge it.

    Raises:
        InputError: as ``read_curves``.
    """
    return judge(read_curves(folder, now))


def judge(curves: Curves) -> Diagnosis:
    """Judge what a training has recorded."""
    losses = list(finite(curves.series("loss")))
    size = max(1, round(ENDS * len(losses)))
    start = fmean(value for _, value in losses[: min(size, BEGINNING)]) if losses else None
    end = fmean(value for _, value in losses[-size:]) if losses else None
    best = min(finite(curves.series("eval_loss")), key=lambda pair: pair[1], default=None)

    findings = list(_progress(curves))
    diverged = list(_not_finite(curves))
    findings += diverged
    if not any(finding.level == "bad" for finding in diverged):  # what follows would be read from a ruined curve
        findings += _gradients(curves)
        if start is not None and end is not None:
            findings += _training_loss(curves, [value for _, value in losses], start, end)
        evaluated = list(_evaluation(curves, size))
        if any(finding.code == "evaluation_rising" for finding in evaluated):
            # It knows from which step on; the other's guess at the epochs would contradict it.
            findings = [replace(f, todo=NOTHING, change=()) if f.code == "overfitted" else f for f in findings]
        findings += evaluated
    findings += [Finding("file", "note", note) for note in curves.notes]
    findings.append(Finding("rule_of_thumb", "note", RULE_OF_THUMB))
    level = max((finding.level for finding in findings if finding.code != "rule_of_thumb"), key=LEVELS.index)
    return Diagnosis(curves, level, tuple(findings), start, end, best)


# ------------------------------------------------------------------------------------------------ verdicts


def _progress(curves: Curves) -> Iterator[Finding]:
    of = f"/{curves.total_steps}" if curves.total_steps else ""
    if curves.finished:
        yield Finding(
            "finished",
            "good",
            Message(f"训练已结束：第 {curves.step}{of} 步。", f"The training is over: step {curves.step}{of}."),
        )
        return
    idle = curves.idle
    if idle is None:  # only a checkpoint's state: it can't tell whether anything goes on
        yield Finding(
            "unfinished",
            "note",
            Message(
                f"训练没有结束：最新的 checkpoint 在第 {curves.step}{of} 步。",
                f"The training is not over: the newest checkpoint is of step {curves.step}{of}.",
            ),
            Message(
                "若已中断，再运行同一条训练命令即可续训。",
                "If it was interrupted, the same command takes it up again.",
            ),
        )
    elif idle < STALE:
        left = Message("未知", "unknown")
        if curves.remaining is not None:
            left = Message(_clock(curves.remaining))
        yield Finding(
            "running",
            "note",
            Message(
                f"训练进行中：第 {curves.step}{of} 步，约剩 {left.zh}；以下是到目前为止的判断。",
                f"The training is running: step {curves.step}{of}, about {left.say('en')} left; what follows is so "
                "far.",
            ),
        )
    else:
        yield Finding(
            "stalled",
            "warn",
            Message(
                f"训练停在第 {curves.step}{of} 步：{_clock(idle)} 没有新的记录。",
                f"The training stands at step {curves.step}{of}: nothing was logged for {_clock(idle)}.",
            ),
            Message(
                "若进程已不在，再运行同一条训练命令，从最后一个 checkpoint 续训。",
                "If its process is gone, the same command goes on from the last checkpoint.",
            ),
        )


def _not_finite(curves: Curves) -> Iterator[Finding]:
    """Find NaN and infinity, also behind the zeros that the Trainer logs in their place.

    With `logging_nan_inf_filter`, its default, a loss of NaN is replaced by the mean of the others since the last
    line, which is 0 when there are none: what is left to see is a loss of exactly 0 beside a gradient norm of NaN.
    """
    norms = dict(curves.series("grad_norm"))
    losses = curves.series("loss")
    lost = [step for step, loss in losses if not math.isfinite(loss)]
    hidden = [step for step, loss in losses if loss == 0 and not math.isfinite(norms.get(step, 0.0))]
    bad = sorted({*lost, *hidden})
    if bad:
        first = bad[0]
        forever = all(step in bad for step, _ in losses if step >= first)
        rate = curves.settings.get("learning_rate")
        change = (("bf16", "true"), ("fp16", "false"), ("learning_rate", _figure(rate / 2) if rate else "减半 / half"))
        if forever:
            zh, en = "此后一直如此，之后的权重不可用", "and ever since; the weights after it are ruined"
        else:
            zh, en = f"共 {len(bad)} 次，之后又恢复", f"{len(bad)} times, and recovered after it"
        shown = Message("NaN（记成了 0）", "NaN (logged as 0)") if hidden and not lost else Message("NaN")
        yield Finding(
            "diverged",
            "bad",
            Message(
                f"第 {first} 步发散（diverged at step {first}）：损失为 {shown.zh}，{zh}。",
                f"Diverged at step {first}: the loss is {shown.say('en')}, {en}.",
            ),
            Message(
                f"用第 {first} 步之前的 checkpoint，或重训：用 bf16 不用 fp16，学习率减半，warmup_ratio 加大；"
                "仍然如此就查数据里有没有"
                "目标为空或被截断的样本（cutoff_len）。",
                f"Take a checkpoint from before step {first}, or train again: bf16 and not fp16, half the learning "
                "rate, more "
                "warmup; if it stays, look for samples whose target is blank or cut (cutoff_len).",
            ),
            (*change, ("warmup_ratio", "0.1")),
        )
    odd = [step for step, norm in norms.items() if not math.isfinite(norm) and step not in bad]
    if odd:
        often = len(odd) > max(1, 0.1 * len(norms))
        yield Finding(
            "gradient_not_finite",
            "bad" if often else "note",
            Message(
                f"梯度范数在第 {odd[0]} 步起有 {len(odd)} 次为 NaN 或无穷，损失仍正常。",
                f"The gradient norm is NaN or infinite {len(odd)} times from step {odd[0]} on, the loss is not.",
            ),
            Message(
                "fp16 开头偶尔出现是正常的（该步被跳过）；经常出现就改用 bf16，或学习率减半。",
                "Now and then at the start of fp16 that is normal (the step is skipped); if often, use bf16 or half "
                "the "
                "learning rate.",
            ),
            (("bf16", "true"), ("fp16", "false")) if often else (),
        )
    wrong = [step for step, loss in curves.series("eval_loss") if not math.isfinite(loss)]
    if wrong and not bad:
        yield Finding(
            "evaluation_not_finite",
            "bad",
            Message(f"第 {wrong[0]} 步的评估损失为 NaN。", f"The evaluation loss is NaN at step {wrong[0]}."),
            Message(
                "检查验证集里有没有目标被截断的样本；把 cutoff_len "
                "调到能容下最长的样本（scripts/analyze_data_length.py）。",
                "Look for samples of the evaluation set whose target is cut; raise cutoff_len to the longest "
                "(scripts/analyze_data_length.py).",
            ),
        )


def _gradients(curves: Curves) -> Iterator[Finding]:
    norms = [norm for _, norm in finite(curves.series("grad_norm"))]
    zeros = sum(norm == 0 for norm in norms)
    if norms and zeros >= max(2, len(norms) / 2):
        yield Finding(
            "no_gradient",
            "bad",
            Message(
                f"梯度范数有 {zeros}/{len(norms)} 次恰为 0：没有可学的东西。",
                f"The gradient norm is exactly 0 {zeros} times of {len(norms)}: there is nothing to learn from.",
            ),
            Message(
                "多半是目标全被截掉，或没有可训练的参数：cutoff_len 调到能容下最长的样本，finetuning_type 用 lora，"
                "lora_target 用 all。",
                "Probably all targets are cut, or nothing is trainable: cutoff_len as long as the longest sample, "
                "finetuning_type lora, lora_target all.",
            ),
            (("cutoff_len", "analyze_data_length.py"), ("finetuning_type", "lora"), ("lora_target", "all")),
        )


def _training_loss(curves: Curves, losses: Sequence[float], start: float, end: float) -> Iterator[Finding]:
    yield _start(start)
    yield from _spike(curves)
    rate = curves.settings.get("learning_rate")
    if len(losses) >= 5:
        fall = (start - end) / start if start > 0 else 0.0
        if fall < -FLAT:
            yield Finding(
                "rising",
                "bad",
                Message(
                    f"训练损失在上升：{start:.2f} → {end:.2f}。", f"The training loss rises: {start:.2f} to {end:.2f}."
                ),
                Message("学习率减半，warmup_ratio 加大。", "Half the learning rate, more warmup."),
                (("learning_rate", _figure(rate / 2) if rate else "减半 / half"), ("warmup_ratio", "0.1")),
            )
            return
        if fall < FLAT and end > IDEAL[1]:
            low = rate is None or rate < 1e-4
            yield Finding(
                "not_falling",
                "bad",
                Message(
                    f"训练损失不降：{start:.2f} → {end:.2f}（{len(losses)} 次记录）。",
                    f"The training loss does not fall: {start:.2f} to {end:.2f} ({len(losses)} lines).",
                ),
                Message(
                    "学习率太小：LoRA 常用 1e-4 到 2e-4。"
                    if low
                    else "学习率不小了：检查 template、数据的目标是否正确，再加大 lora_rank。",
                    "The learning rate is low: LoRA usually takes 1e-4 to 2e-4."
                    if low
                    else "The learning rate is not low: check the template and the targets, then raise lora_rank.",
                ),
                (("learning_rate", "2.0e-4"),)
                if low
                else (("template", "qwen"), ("lora_rank", f"{2 * curves.settings.get('lora_rank', 32):.0f}")),
            )
            return
    yield _end(curves, start, end, rate)


def _start(start: float) -> Finding:
    low, high = START
    if start < low:
        zh = f"起始损失 {start:.2f}，低于常见的 {low:g}–{high:g}：接着训练的、指令微调过的或目标很短的模型会这样。"
        en = f"The loss starts at {start:.2f}, below the usual {low:g} to {high:g}: so it is after an earlier "
        en += "training, with an instruction-tuned base, or short targets."
        return Finding("start", "note", Message(zh, en))
    if start <= high:
        zh = f"起始损失 {start:.2f}，在正常的 {low:g}–{high:g} 之内。"
        return Finding(
            "start", "good", Message(zh, f"The loss starts at {start:.2f}, in the normal {low:g} to {high:g}.")
        )
    return Finding(
        "start",
        "warn",
        Message(
            f"起始损失 {start:.2f}，高于正常的 {low:g}–{high:g}。",
            f"The loss starts at {start:.2f}, above the normal {low:g} to {high:g}.",
        ),
        Message(
            "检查 model_name_or_path 的权重是否完整，template 与模型是否相配（Qwen2.5 用 qwen）；"
            "随机权重的模型也会这样。",
            "Check that the weights of model_name_or_path are whole and that the template fits the model (qwen for "
            "Qwen2.5); "
            "random weights look like this too.",
        ),
        (("template", "qwen"),),
    )


def _end(curves: Curves, start: float, end: float, rate: float | None) -> Finding:
    def found(code: str, level: Level, zh: str, en: str, todo: Message = NOTHING, **change: str) -> Finding:
        now = Message("结束时" if curves.finished else "目前", "At the end" if curves.finished else "So far")
        what = Message(f"{now.zh}训练损失 {end:.2f}：{zh}。", f"{now.en} the training loss is {end:.2f}: {en}.")
        return Finding(code, level, what, todo, tuple(change.items()))

    epochs = curves.settings.get("num_train_epochs")
    if end < OVERFITTED:
        evaluations = list(finite(curves.series("eval_loss")))
        if len(evaluations) > 1 and evaluations[-1][1] <= min(value for _, value in evaluations) * (1 + RISING):
            return found(
                "below_0.1",
                "note",
                f"低于 {OVERFITTED:g}，多为过拟合；但评估损失没有上升，也可能是目标短而好猜",
                f"below {OVERFITTED:g}, mostly over-fitting; but the evaluation loss has not risen, so the targets "
                "may just be "
                "short and easy",
            )
        return found(
            "overfitted",
            "warn",
            f"低于 {OVERFITTED:g}，过拟合",
            f"below {OVERFITTED:g}, over-fitted",
            Message("减少轮数，减小 rank，加大 dropout。", "Fewer epochs, a smaller rank, more dropout."),
            num_train_epochs=_figure(max(1.0, math.floor(epochs / 2))) if epochs else "1.0",
            **_smaller_adapter(curves),
        )
    if end < IDEAL[0]:
        return found(
            "low",
            "note",
            f"低于理想的 {IDEAL[0]:g}–{IDEAL[1]:g}，留意评估损失",
            f"below the ideal {IDEAL[0]:g} to {IDEAL[1]:g}; mind the evaluation loss",
        )
    if end <= IDEAL[1]:
        return found(
            "ideal", "good", f"在理想的 {IDEAL[0]:g}–{IDEAL[1]:g} 之内", f"in the ideal {IDEAL[0]:g} to {IDEAL[1]:g}"
        )
    if end <= CONVERGED[1]:
        return found(
            "converged",
            "good",
            f"已收敛（{CONVERGED[0]:g}–{CONVERGED[1]:g}）",
            f"converged ({CONVERGED[0]:g} to {CONVERGED[1]:g})",
        )
    if end <= UNLEARNED:
        return found(
            "high",
            "note",
            f"略高于收敛的 {CONVERGED[0]:g}–{CONVERGED[1]:g}",
            f"a little above the {CONVERGED[0]:g} to {CONVERGED[1]:g} of convergence",
            Message("还在下降就多训一轮。", "If it still falls, train one more epoch."),
            num_train_epochs=_figure(epochs + 1 if epochs else 4.0),
        )
    if not curves.finished:
        return found(
            "above_2_so_far",
            "note",
            f"仍高于 {UNLEARNED:g}，等训练结束再看",
            f"still above {UNLEARNED:g}; wait for the end",
        )
    # More than 4e-4 is beyond what LoRA usually bears: from there on only the length is left to change.
    faster = {"learning_rate": "2.0e-4" if rate is None or rate < 1e-4 else _figure(2 * rate)}
    return found(
        "unlearned",
        "bad",
        f"高于 {UNLEARNED:g}，没有学到",
        f"above {UNLEARNED:g}, it has not learned",
        Message(
            "先确认数据和 template 正确；再加大学习率、轮数。",
            "First make sure of the data and the template; then raise the learning rate and the epochs.",
        ),
        num_train_epochs=_figure(2 * epochs if epochs else 6.0),
        **(faster if rate is None or rate <= 2e-4 else {}),
    )


def _smaller_adapter(curves: Curves) -> dict[str, str]:
    rank, dropout = curves.settings.get("lora_rank"), curves.settings.get("lora_dropout")
    change = {"lora_dropout": _figure(max(0.1, min(0.3, 2 * (dropout or 0.05))))}
    if rank and rank > 8:
        change |= {"lora_rank": f"{rank / 2:.0f}", "lora_alpha": f"{rank:.0f}"}
    return change


def _spike(curves: Curves) -> Iterator[Finding]:
    """Find losses far above the ten before them: twice their median, and more than 1."""
    losses = list(finite(curves.series("loss")))
    spikes = [
        (step, value)
        for place, (step, value) in enumerate(losses)
        if place >= 3 and value > 1 + 2 * median(before for _, before in losses[max(0, place - 10) : place])
    ]
    if spikes:
        step, value = spikes[0]
        rate = curves.settings.get("learning_rate")
        yield Finding(
            "spike",
            "warn",
            Message(
                f"训练损失在第 {step} 步突然升到 {value:.2f}（共 {len(spikes)} 次）。",
                f"The training loss jumps to {value:.2f} at step {step} ({len(spikes)} times in all).",
            ),
            Message("学习率减半，或把 max_grad_norm 减到 0.5。", "Half the learning rate, or max_grad_norm 0.5."),
            (("learning_rate", _figure(rate / 2) if rate else "减半 / half"), ("max_grad_norm", "0.5")),
        )


def _evaluation(curves: Curves, size: int) -> Iterator[Finding]:
    evaluations = list(finite(curves.series("eval_loss")))
    if not evaluations:
        if curves.finished or curves.step > 200:
            yield Finding(
                "no_evaluation",
                "note",
                Message(
                    "没有评估记录（no evaluation recorded），看不出是否过拟合。",
                    "No evaluation recorded: over-fitting can't be seen.",
                ),
                Message("设好验证集和评估间隔。", "Set an evaluation set and how often to evaluate."),
                (("eval_dataset", "alimeeting4mug_dev"), ("eval_strategy", "steps"), ("eval_steps", "100")),
            )
        return
    best_step, best = min(evaluations, key=lambda pair: pair[1])
    last_step, last = evaluations[-1]
    if len(evaluations) == 1:
        yield Finding(
            "one_evaluation",
            "note",
            Message(
                f"只评估了一次（第 {best_step} 步，{best:.3f}），看不出走势。",
                f"There is one evaluation only (step {best_step}, {best:.3f}), which shows no trend.",
            ),
            Message("评估得勤一些。", "Evaluate more often."),
            (("eval_steps", f"{max(1, (curves.total_steps or curves.step) // 5)}"),),
        )
        return
    if last <= best * (1 + RISING):
        zh = f"评估损失最低 {best:.3f}（第 {best_step} 步），最后 {last:.3f}，没有上升。"
        en = f"The evaluation loss is least at step {best_step} ({best:.3f}), the last {last:.3f}: it has not risen."
        yield Finding("evaluation", "good", Message(zh, en))
        return
    losses = [value for _, value in finite(curves.series("loss"))]
    before = [value for step, value in finite(curves.series("loss")) if step <= best_step]
    then, end = fmean(before[-size:] or losses[:1] or [0.0]), fmean(losses[-size:] or [0.0])
    what = Message(
        f"评估损失从第 {best_step} 步的 {best:.3f} 升到第 {last_step} 步的 {last:.3f}，而训练损失",
        f"The evaluation loss rises from {best:.3f} at step {best_step} to {last:.3f} at step {last_step}, while the "
        "training loss ",
    )
    if end > then * (1 + FLAT):
        rate = curves.settings.get("learning_rate")
        yield Finding(
            "evaluation_worse",
            "warn",
            Message(f"{what.zh}也在上升。", f"{what.en}rises too."),
            Message(
                f"用第 {best_step} 步的 checkpoint；下次学习率减半。",
                f"Take the checkpoint of step {best_step}; next time half the learning rate.",
            ),
            (("learning_rate", _figure(rate / 2)),) if rate else (),
        )
        return
    falls = Message("仍在下降", "falls") if end < then else Message("没有上升", "does not")
    epoch = next((point.epoch for point in curves.points if point.step == best_step and point.epoch is not None), None)
    epochs = (("num_train_epochs", _figure(max(1.0, math.ceil(2 * epoch) / 2))),) if epoch else ()
    yield Finding(
        "evaluation_rising",
        "warn",
        Message(f"{what.zh}{falls.zh}：过拟合。", f"{what.en}{falls.en}: over-fitting."),
        Message(
            f"用第 {best_step} 步的 checkpoint（load_best_model_at_end 会自动取它）；下次减少轮数，加大 dropout。",
            f"Take the checkpoint of step {best_step} (load_best_model_at_end does); next time fewer epochs, more "
            "dropout.",
        ),
        (*epochs, ("load_best_model_at_end", "true"), *_smaller_adapter(curves).items()),
    )


# ------------------------------------------------------------------------------------------------ writing


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return what diagnosis.json holds; NaN and infinity are null, since JSON has neither."""
    curves = diagnosis.curves

    def series(name: str) -> list[list[float | None]]:
        return [[step, value if math.isfinite(value) else None] for step, value in curves.series(name)]

    steps, losses = zip(*curves.series("loss"), strict=True) if curves.series("loss") else ((), ())
    smoothed = [[step, v if math.isfinite(v) else None] for step, v in zip(steps, smooth(losses), strict=True)]
    return {
        "folder": str(curves.folder),
        "sources": list(curves.sources),
        "level": diagnosis.level,
        "finished": curves.finished,
        "step": curves.step,
        "total_steps": curves.total_steps or None,
        "remaining_seconds": curves.remaining,
        "start_loss": diagnosis.start,
        "end_loss": diagnosis.end,
        "best_evaluation": dict(zip(("step", "eval_loss"), diagnosis.best, strict=True)) if diagnosis.best else None,
        "settings": curves.settings,
        "findings": [
            {
                "code": finding.code,
                "level": finding.level,
                "zh": finding.what.zh,
                "en": finding.what.say("en"),
                "todo_zh": finding.todo.zh,
                "todo_en": finding.todo.say("en"),
                "change": dict(finding.change),
            }
            for finding in diagnosis.findings
        ],
        "curves": {name: series(name) for name in ("loss", "eval_loss", "grad_norm", "learning_rate")}
        | {"loss_smoothed": smoothed},
    }


def _figure(value: float) -> str:
    """Write a setting as the YAML files do.

    >>> _figure(1e-4), _figure(3.0), _figure(0.15)
    ('1.0e-4', '3.0', '0.15')
    """
    if 0 < value < 0.01:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.1f}" if value == int(value) else f"{value:g}"


def _clock(seconds: float) -> str:
    """Write seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
