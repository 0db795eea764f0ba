"""The verdicts on made-up curves, and the files that curves are read from."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from mug.errors import InputError
from mug.training.curves import read_curves, smooth
from mug.training.diagnosis import Diagnosis, as_json, diagnose

NAN = math.nan
NORMAL = [3.0, 2.0, 1.4, 1.0, 0.8, 0.7, 0.65, 0.6, 0.6, 0.6]


def state(losses: list[Any], evals: dict[int, float] | None = None, **changes: Any) -> dict[str, Any]:
    """A trainer_state.json with a loss every ten steps."""
    rows: list[dict[str, Any]] = []
    for number, loss in enumerate(losses, 1):
        rows.append({"step": 10 * number, "loss": loss, "grad_norm": 1.5, "learning_rate": 2e-4, "epoch": number / 5})
        if evals and 10 * number in evals:
            rows.append({"step": 10 * number, "eval_loss": evals[10 * number], "epoch": number / 5})
    steps = 10 * len(losses)
    return {"global_step": steps, "max_steps": steps, "num_train_epochs": 4, "log_history": rows} | changes


def log(losses: list[float], total: int = 100, first: int = 10, seconds: int = 60) -> list[dict[str, Any]]:
    """Lines of trainer_log.jsonl with a loss every ten steps, a minute apart."""
    return [
        {
            "current_steps": first + 10 * place,
            "total_steps": total,
            "loss": loss,
            "lr": 2e-4,
            "epoch": (first + 10 * place) / 50,
            "elapsed_time": f"0:{(place + 1) * seconds // 60:02}:00",
            "remaining_time": "0:00:07",
        }
        for place, loss in enumerate(losses)
    ]


def write(folder: Path, value: Any, name: str = "trainer_state.json") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) for row in value] if name.endswith("jsonl") else [json.dumps(value)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def codes(diagnosis: Diagnosis) -> dict[str, str]:
    return {finding.code: finding.level for finding in diagnosis.findings}


def change(diagnosis: Diagnosis, code: str) -> dict[str, str]:
    return dict(next(finding for finding in diagnosis.findings if finding.code == code).change)


def said(diagnosis: Diagnosis, code: str, lang: str = "en") -> str:
    return next(finding for finding in diagnosis.findings if finding.code == code).what.say(lang)


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_a_good_training_is_good_and_the_rule_of_thumb_is_told(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state(NORMAL, {50: 0.9, 100: 0.8})))
    assert found.level == "good"
    assert codes(found) == {
        "finished": "good", "start": "good", "ideal": "good", "evaluation": "good", "rule_of_thumb": "note"
    }  # fmt: skip
    assert (found.start, found.end, found.best) == (3.0, 0.6, (100, 0.8))


@pytest.mark.parametrize(
    ("end", "code", "level"),
    [
        (0.05, "overfitted", "warn"),
        (0.2, "low", "note"),
        (0.3, "ideal", "good"),
        (0.8, "ideal", "good"),
        (1.5, "converged", "good"),
        (1.9, "high", "note"),
        (2.1, "unlearned", "bad"),
    ],
)
def test_the_end_is_judged_by_the_table(tmp_path: Path, end: float, code: str, level: str) -> None:
    found = diagnose(write(tmp_path, state([3.0, 2.8, 2.6, 2.4, end, end, end, end, end, end])))
    assert codes(found)[code] == level
    assert found.end == pytest.approx(end)


@pytest.mark.parametrize(("start", "level"), [(1.2, "note"), (2.0, "good"), (5.0, "good"), (11.9, "warn")])
def test_the_start_is_judged_by_the_table(tmp_path: Path, start: float, level: str) -> None:
    assert codes(diagnose(write(tmp_path, state([start, *NORMAL[4:]]))))["start"] == level


def test_ends_are_means_of_a_tenth_so_that_one_batch_does_not_decide(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state([3.0, 5.0, *[1.0] * 16, 0.2, 1.0])))
    assert (found.start, found.end) == (4.0, pytest.approx(0.6))
    found = diagnose(write(tmp_path, state([3.0, 5.0, 4.6, *[1.0] * 997])))  # at most three at the start
    assert found.start == pytest.approx(4.2)


def test_over_fitting_names_fewer_epochs_a_smaller_rank_and_more_dropout(tmp_path: Path) -> None:
    folder = write(tmp_path, state([3.0, 1.0, 0.3, *[0.02] * 7]))
    write(folder, {"r": 64, "lora_alpha": 128, "lora_dropout": 0.05}, "adapter_config.json")
    assert change(diagnose(folder), "overfitted") == {
        "num_train_epochs": "2.0",
        "lora_dropout": "0.1",
        "lora_rank": "32",
        "lora_alpha": "64",
    }


def test_a_loss_below_a_tenth_with_a_good_evaluation_is_only_noted(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state([3.0, 1.0, 0.3, *[0.02] * 7], {50: 0.05, 100: 0.04})))
    assert codes(found)["below_0.1"] == "note" and found.level == "note"


def test_an_evaluation_loss_that_rises_while_the_training_loss_falls_is_over_fitting(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state(NORMAL, {20: 1.2, 40: 1.0, 70: 1.3, 100: 1.6})))
    assert codes(found)["evaluation_rising"] == "warn"
    assert "1.000 at step 40 to 1.600 at step 100" in said(found, "evaluation_rising")
    assert change(found, "evaluation_rising")["num_train_epochs"] == "1.0"  # the best was at epoch 0.8


def test_two_signs_of_over_fitting_give_one_advice(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state([3.0, 1.0, 0.3, *[0.02] * 7], {20: 1.2, 40: 1.0, 100: 1.6})))
    assert codes(found)["overfitted"] == "warn" and change(found, "overfitted") == {}
    assert change(found, "evaluation_rising")["num_train_epochs"] == "1.0"


def test_where_both_losses_rise_the_learning_rate_is_halved(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state([3.0, 2.0, 1.0, 0.8, 1.0, 1.3, 1.5, 1.6, 1.7, 1.8], {40: 1.0, 100: 1.6})))
    assert change(found, "evaluation_worse") == {"learning_rate": "1.0e-4"}


def test_an_evaluation_loss_that_only_trembles_has_not_risen(tmp_path: Path) -> None:
    assert codes(diagnose(write(tmp_path, state(NORMAL, {50: 1.0, 100: 1.015}))))["evaluation"] == "good"


@pytest.mark.parametrize(("rate", "key", "value"), [(1e-6, "learning_rate", "2.0e-4"), (2e-4, "lora_rank", "64")])
def test_a_loss_that_does_not_fall_asks_for_what_is_too_small(
    tmp_path: Path, rate: float, key: str, value: str
) -> None:
    values = state([3.0, 3.1, 2.9, 3.0, 3.05, 2.95, 3.0, 3.0, 3.0, 2.99])
    for row in values["log_history"]:
        row["learning_rate"] = rate
    found = diagnose(write(tmp_path, values))
    assert codes(found)["not_falling"] == "bad"
    assert change(found, "not_falling")[key] == value


def test_a_loss_that_rises_halves_the_learning_rate(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state([2.0, 2.1, 2.3, 2.6, 2.9, 3.1])))
    assert change(found, "rising")["learning_rate"] == "1.0e-4"


def test_a_jump_is_found_at_its_step(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state([3.0, 2.0, 1.4, 1.0, 0.8, 9.0, 0.8, 0.7, 0.6, 0.6])))
    assert "9.00 at step 60 (1 times" in said(found, "spike")


def test_nan_names_its_first_step_and_leaves_no_nan_in_our_json(tmp_path: Path) -> None:
    values = state([2.5, NAN, NAN], {30: NAN})
    for place, row in enumerate(row for row in values["log_history"] if "loss" in row):
        row["step"] = 4 + place
        row["grad_norm"] = NAN if place else 1.0
    found = diagnose(write(tmp_path, values))
    assert "diverged at step 5" in said(found, "diverged", "zh") and "ever since" in said(found, "diverged")
    assert change(found, "diverged")["bf16"] == "true"
    assert change(found, "diverged")["learning_rate"] == "1.0e-4"
    assert found.level == "bad"
    written = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert written["curves"]["loss"] == [[4, 2.5], [5, None], [6, None]]


def test_nan_that_the_trainer_logged_as_zero_is_seen_by_its_gradient_norm(tmp_path: Path) -> None:
    values = state([2.5, 2.0, 0.0, 0.0])
    for row in values["log_history"][2:]:
        row["grad_norm"] = NAN
    found = diagnose(write(tmp_path, values))
    assert "Diverged at step 30: the loss is NaN (logged as 0)" in said(found, "diverged")
    assert "overfitted" not in codes(found)


def test_infinite_gradients_now_and_then_are_fp16_and_often_are_a_fault(tmp_path: Path) -> None:
    values = state(NORMAL)
    values["log_history"][0]["grad_norm"] = math.inf
    assert codes(diagnose(write(tmp_path, values)))["gradient_not_finite"] == "note"
    for row in values["log_history"][:5]:
        row["grad_norm"] = math.inf
    assert codes(diagnose(write(tmp_path, values)))["gradient_not_finite"] == "bad"


def test_gradients_of_zero_say_that_there_is_nothing_to_learn(tmp_path: Path) -> None:
    values = state([0.0] * 6)
    for row in values["log_history"]:
        row["grad_norm"] = 0.0
    found = diagnose(write(tmp_path, values))
    assert codes(found)["no_gradient"] == "bad"
    assert "lora_target" in change(found, "no_gradient")


def test_without_an_evaluation_it_says_so(tmp_path: Path) -> None:
    found = diagnose(write(tmp_path, state(NORMAL)))
    assert "no evaluation recorded" in said(found, "no_evaluation", "zh")
    assert change(found, "no_evaluation")["eval_strategy"] == "steps"


@pytest.mark.parametrize("losses", [NORMAL, [NAN] * 4, [2.5], [2.1] * 9], ids=["normal", "nan", "one", "flat"])
def test_every_key_that_is_to_be_changed_is_one_of_llamafactory(tmp_path: Path, losses: list[float]) -> None:
    hparams = pytest.importorskip("llamafactory.hparams")
    known = {
        key for kind in ("Model", "Data", "Finetuning") for key in getattr(hparams, f"{kind}Arguments").__annotations__
    }
    known |= {"lora_rank", "lora_alpha", "lora_dropout", "lora_target", "template", "cutoff_len", "eval_dataset"}
    known |= set(hparams.TrainingArguments.__dataclass_fields__)
    found = diagnose(write(tmp_path, state(losses, {10: 1.0})))
    assert {key for finding in found.findings for key, _ in finding.change} <= known


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trainer_state.json", "", "empty file"),
        ("trainer_log.jsonl", "", "empty file"),
        ("trainer_state.json", '{"log_history": [{"step"', "cut or damaged"),
        ("trainer_state.json", "[]", "cut or damaged"),
        ("trainer_state.json", '{"log_history": [], "global_step": 0}', "No steps are recorded"),
        ("other.json", "{}", "holds no trainer_log.jsonl"),
    ],
)
def test_a_file_without_a_training_in_it_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        diagnose(tmp_path)
    assert message in caught.value.message.say("en")


def test_a_broken_state_beside_a_good_log_is_told_and_passed_over(tmp_path: Path) -> None:
    write(tmp_path, log(NORMAL), "trainer_log.jsonl")
    (tmp_path / "trainer_state.json").write_text("", encoding="utf-8")
    found = diagnose(tmp_path)
    assert found.end == pytest.approx(0.6)
    assert "is an empty file" in said(found, "file")


def test_a_running_training_tells_its_step_and_the_time_left(tmp_path: Path) -> None:
    path = write(tmp_path, log(NORMAL[:4]), "trainer_log.jsonl") / "trainer_log.jsonl"
    found = diagnose(tmp_path, now=path.stat().st_mtime + 5)
    assert found.curves.remaining == 360  # 60 steps at ten a minute
    assert "step 40/100, about 0:06:00 left" in said(found, "running")
    assert "no_evaluation" not in codes(found)


def test_a_log_that_nobody_writes_to_is_said_to_stand_still(tmp_path: Path) -> None:
    path = write(tmp_path, log(NORMAL[:4]), "trainer_log.jsonl") / "trainer_log.jsonl"
    found = diagnose(tmp_path, now=path.stat().st_mtime + 7200)
    assert "nothing was logged for 2:00:00" in said(found, "stalled")


def test_a_loss_above_two_is_no_fault_while_the_training_runs(tmp_path: Path) -> None:
    path = write(tmp_path, log([4.0, 3.5, 3.0, 2.8, 2.6]), "trainer_log.jsonl") / "trainer_log.jsonl"
    found = diagnose(tmp_path, now=path.stat().st_mtime)
    assert "unlearned" not in codes(found) and codes(found)["above_2_so_far"] == "note"


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, log(NORMAL[:4]), "trainer_log.jsonl") / "trainer_log.jsonl"
    path.write_bytes(path.read_bytes()[:-25])
    curves = read_curves(tmp_path)
    assert [point.step for point in curves.points] == [10, 20, 30]
    assert curves.notes == ()


def test_after_a_resume_the_line_that_was_joined_to_a_torn_one_is_read_and_the_lost_steps_are_replaced(
    tmp_path: Path,
) -> None:
    before, after = log([3.0, 2.0, 9.0, 9.0]), log([1.4, 1.0], first=30, seconds=120)
    text = "".join(f"{json.dumps(row)}\n" for row in before) + '{"current_steps": 50, "tot'
    text += "".join(f"{json.dumps(row)}\n" for row in after)
    (tmp_path / "trainer_log.jsonl").write_text(text, encoding="utf-8")
    curves = read_curves(tmp_path)
    assert curves.series("loss") == [(10, 3.0), (20, 2.0), (30, 1.4), (40, 1.0)]
    assert curves.remaining == 720  # 60 steps at the pace since the resume, ten in two minutes
    assert curves.notes == ()


def test_steps_that_a_resume_has_not_reached_again_are_forgotten(tmp_path: Path) -> None:
    write(tmp_path, [*log([3.0, 2.0, 9.0, 9.0]), *log([1.4], first=30)], "trainer_log.jsonl")
    curves = read_curves(tmp_path)
    assert curves.series("loss") == [(10, 3.0), (20, 2.0), (30, 1.4)]
    assert curves.step == 30


def test_the_log_is_ahead_of_the_checkpoint_and_takes_its_gradient_norms(tmp_path: Path) -> None:
    write(tmp_path, log(NORMAL[:4]), "trainer_log.jsonl")
    write(tmp_path, state(NORMAL[:2], max_steps=100), "checkpoint-20/trainer_state.json")
    write(tmp_path, state([5.0], max_steps=100), "checkpoint-10/trainer_state.json")
    curves = read_curves(tmp_path)
    assert curves.series("grad_norm") == [(10, 1.5), (20, 1.5)]
    assert (curves.step, curves.finished) == (40, False)
    assert curves.sources == ("trainer_log.jsonl", "checkpoint-20/trainer_state.json")


def test_gradient_norms_of_another_training_are_not_taken(tmp_path: Path) -> None:
    write(tmp_path, log(NORMAL[:4]), "trainer_log.jsonl")
    write(tmp_path, state([7.0, 6.0], max_steps=100), "checkpoint-20/trainer_state.json")
    assert read_curves(tmp_path).series("grad_norm") == []


def test_without_a_log_the_newest_usable_checkpoint_speaks(tmp_path: Path) -> None:
    write(tmp_path, state(NORMAL[:9], max_steps=100), "checkpoint-90/trainer_state.json")
    write(tmp_path, state(NORMAL[:5], max_steps=100), "checkpoint-50/trainer_state.json")
    (tmp_path / "checkpoint-100").mkdir()
    (tmp_path / "checkpoint-100" / "trainer_state.json").write_text("", encoding="utf-8")
    found = diagnose(tmp_path)
    assert found.curves.sources == ("checkpoint-90/trainer_state.json",)
    assert codes(found)["unfinished"] == "note"


def test_early_stopping_is_an_end(tmp_path: Path) -> None:
    write(tmp_path, log(NORMAL[:6]), "trainer_log.jsonl")
    assert read_curves(write(tmp_path, state(NORMAL[:6], max_steps=100))).finished


def test_smoothing_keeps_a_constant_and_follows_llamafactory() -> None:
    ploting = pytest.importorskip("llamafactory.extras.ploting")
    values = [3.0, 1.0, 2.0, 0.5, 0.7]
    assert smooth(values) == pytest.approx(ploting.smooth(values))
    assert smooth([]) == []


# --- trainings that took place ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_training_and_one_that_was_killed_are_told_apart(trainings: Any, tmp_path: Path) -> None:
    checkpoint = min(trainings.whole.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    steps = int(checkpoint.name.split("-")[1])
    # What a kill leaves; the folder of the training that was killed has been trained to its end by another test.
    shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    logged = (trainings.whole / "trainer_log.jsonl").read_text("utf-8").splitlines(keepends=True)
    until = [line for line in logged if json.loads(line)["current_steps"] <= steps]
    (tmp_path / "trainer_log.jsonl").write_text("".join(until), "utf-8")
    whole, killed = diagnose(trainings.whole), diagnose(tmp_path)
    assert whole.curves.finished and whole.curves.step == whole.curves.total_steps
    assert not killed.curves.finished and killed.curves.step >= steps
    assert killed.curves.series("grad_norm")
    for found in (whole, killed):
        assert found.start is not None and 7 < found.start < 10  # a random model of 4,096 tokens begins at ln 4096
        assert codes(found)["start"] == "warn"
    assert codes(whole)["unlearned"] == "bad"
