"""LLaMA-Factory's own training with the speed module and without it: the same losses, step by step."""

import json
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

pytestmark = pytest.mark.slow

RUN = """
import sys, yaml
sys.path.insert(0, "scripts")
settings = yaml.safe_load(open(sys.argv[1], encoding="utf-8"))
if sys.argv[2] == "fast":
    from mug.training import speed
    speed.install()
from llamafactory.train.tuner import run_exp
run_exp(args=settings)
"""


@pytest.fixture(scope="module")
def histories(project):
    """The log of a training of fourteen steps with evaluation, by way of computing it."""
    settings = yaml.safe_load((ROOT / "configs/train_smoke.yaml").read_text("utf-8"))
    settings |= {
        "model_name_or_path": str(project.model),
        "dataset_dir": str(project.data),
        "max_steps": 14,
        "logging_steps": 1,
        "eval_steps": 7,
        "save_steps": 7,
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
        "plot_loss": False,
    }
    settings.pop("num_train_epochs", None)
    found = {}
    for way in ("plain", "fast"):
        output = project.folder / f"speed_{way}"
        config = project.folder / f"speed_{way}.yaml"
        config.write_text(yaml.safe_dump(settings | {"output_dir": str(output)}), "utf-8")
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(config), way],
            cwd=ROOT,
            env=project.environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[way] = json.loads((output / "trainer_state.json").read_text("utf-8"))["log_history"]
    return found


def series(history, name):
    return [entry[name] for entry in history if name in entry]


def test_losses_and_gradient_norms_agree_in_every_step(histories):
    plain, fast = histories["plain"], histories["fast"]
    losses = series(plain, "loss")
    assert len(losses) == 14
    assert losses[-1] < losses[0]
    assert series(fast, "loss") == pytest.approx(losses, rel=1e-5)
    assert series(fast, "grad_norm") == pytest.approx(series(plain, "grad_norm"), rel=1e-3)


def test_the_evaluation_loss_is_the_same(histories):
    assert len(series(histories["plain"], "eval_loss")) == 2
    assert series(histories["fast"], "eval_loss") == pytest.approx(series(histories["plain"], "eval_loss"), rel=1e-5)
