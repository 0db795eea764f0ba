"""scripts/train.py as a user runs it: settings from anywhere, and real trainings of the tiny model on a CPU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import train
from mug.errors import InputError
from mug.training import launch
from mug.training.preflight import SAVED_SETTINGS
from mug.training.settings import ROOT, read_settings, take_speed, write_settings

if TYPE_CHECKING:
    from conftest import Project

CLI = Path(sys.executable).with_name("llamafactory-cli")
SCRIPT = ROOT / "scripts" / "train.py"

pytest.importorskip("llamafactory")
slow = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLI.exists(), reason="llamafactory-cli is not installed beside this Python"),
]


# ------------------------------------------------------------------------------------------------------- settings


def test_the_yaml_is_found_and_its_paths_are_the_projects_from_any_folder(tmp_path: Path) -> None:
    for config in ("configs/train_smoke.yaml", ROOT / "configs" / "train_smoke.yaml"):
        found = read_settings(Path(config), [], here=tmp_path)
        assert (found["output_dir"], found["dataset_dir"]) == ("outputs/smoke/lora", "data")
    assert found == read_settings(Path("train_smoke.yaml"), [], here=ROOT / "configs")


def test_what_is_typed_is_taken_from_the_current_folder_first(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    changes = [
        "dataset_dir=mine",
        "output_dir=out",
        "deepspeed=configs/deepspeed/ds_z2.json",
        "model_name_or_path=Qwen/Q",
    ]
    found = read_settings(Path("configs/train_lora.yaml"), changes, here=tmp_path)
    assert found["dataset_dir"] == str(tmp_path / "mine")
    assert found["output_dir"] == str(tmp_path / "out")
    assert found["deepspeed"] == "configs/deepspeed/ds_z2.json", "it is the project's"
    assert found["model_name_or_path"] == "Qwen/Q", "a hub's name stays one"


def test_in_the_project_the_settings_are_those_that_llamafactory_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    from llamafactory.hparams.parser import read_args

    changes = ["learning_rate=1e-5", "num_train_epochs=1", "output_dir=outputs/x", "dataset=a,b", "bf16=false"]
    for config in sorted((ROOT / "configs").glob("train_*.yaml")):
        monkeypatch.setattr(sys, "argv", ["llamafactory", str(config), *changes])
        assert read_settings(config, changes, here=ROOT) == read_args()


def test_a_strategy_of_no_is_no_and_not_false(tmp_path: Path) -> None:
    found = read_settings(Path("configs/train_lora.yaml"), ["eval_strategy=no", "save_strategy=no"], here=tmp_path)
    assert (found["eval_strategy"], found["save_strategy"]) == ("no", "no")
    write_settings(tmp_path / "saved.yaml", found)
    assert yaml.safe_load((tmp_path / "saved.yaml").read_text())["eval_strategy"] == "no"


def test_settings_survive_the_file_that_hands_them_over(tmp_path: Path) -> None:
    settings = read_settings(Path("configs/gpu/gpu_16gb.yaml"), ["learning_rate=1e-5"], here=ROOT)
    write_settings(tmp_path / "train_config.yaml", settings)
    assert read_settings(tmp_path / "train_config.yaml", [], here=ROOT) == settings


@pytest.mark.parametrize("change", ["--lora_rank", "lora_rank", "=3", "a b=3"])
def test_a_change_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(InputError, match="key=value"):
        read_settings(Path("configs/train_lora.yaml"), [change], here=ROOT)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\ufffe", ""])
def test_a_file_that_is_no_yaml_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(text.encode("utf-16") if "\ufffe" in text else text.encode())
    if text == "":
        assert read_settings(Path("bad.yaml"), [], here=tmp_path) == {}
        return
    with pytest.raises(InputError):
        read_settings(Path("bad.yaml"), [], here=tmp_path)


def test_the_speed_switch_is_taken_out(tmp_path: Path) -> None:
    for value, expected in (("true", True), ("false", False), ("1", True)):
        settings = read_settings(Path("configs/train_lora.yaml"), [f"mug_speed={value}"], here=tmp_path)
        assert take_speed(settings) is expected
        assert "mug_speed" not in settings
    with pytest.raises(InputError, match="mug_speed"):
        take_speed({"mug_speed": "fast"})


def test_without_the_switch_the_stock_command_trains() -> None:
    assert launch.command("x.yaml", False) == [sys.executable, "-m", "llamafactory.cli", "train", "x.yaml"]
    fast = launch.command("x.yaml", True)
    assert fast[2:] == ["train", "x.yaml"] and Path(fast[1]).name == "fast_process.py"


def test_a_wrong_configuration_is_one_sentence(run: Any, tmp_path: Path) -> None:
    done = run(train, tmp_path / "none.yaml")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "none.yaml" in done.err and "Traceback" not in done.err


def test_a_folder_that_was_searched_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_settings(Path("configs/train_lor.yaml"), [], here=ROOT)
    assert caught.value.message.zh == f"没有配置文件 configs/train_lor.yaml（在 {ROOT} 里找过）；请检查路径。"
    with pytest.raises(InputError, match=f"（在 {tmp_path} 和 {ROOT} 里找过）"):
        read_settings(Path("configs/train_lor.yaml"), [], here=tmp_path)


def test_an_error_of_syntax_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("stage: sft\nlora_rank: 8\n  lora_alpha: 16\n")
    with pytest.raises(InputError) as caught:
        read_settings(Path("bad.yaml"), [], here=tmp_path)
    assert f"{tmp_path / 'bad.yaml'}（第 3 行：" in caught.value.message.zh
    assert "(line 3: " in caught.value.message.en
    (tmp_path / "good.yaml").write_text("stage: sft\n")
    with pytest.raises(InputError, match="命令行上的 a=\\[1（") as caught:
        read_settings(Path("good.yaml"), ["lora_rank=8", "a=[1"], here=tmp_path)
    assert "good.yaml" not in caught.value.message.zh


def test_without_arguments_only_the_configuration_is_missed(run: Any) -> None:
    done = run(train)
    assert done.status == 2 and done.err.endswith("required: config\n")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--num_train_epochs", 1], "num_train_epochs=1"),
        (["lora_rank=8", "--num-train-epochs=1", "--dry_run"], "num_train_epochs=1"),
        (["--learning_rate", "-1"], "learning_rate=-1"),
        (["--dryrun", "--lang", "en"], "key=value"),
    ],
)
def test_a_key_typed_as_an_option_is_said_as_it_should_be(run: Any, typed: list[Any], meant: str) -> None:
    for arguments in (["configs/train_lora.yaml", *typed], [*typed, "configs/train_lora.yaml"]):
        done = run(train, *arguments)
        assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
        assert f"请写 {meant}，" in done.err and f"write {meant} " in done.err


# ------------------------------------------------------------------------------------------------- the child process


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_childs_exit_status_is_passed_on() -> None:
    assert launch.run(python("raise SystemExit(7)"), dict(os.environ)) == 7
    assert launch.run(python("import os; os.kill(os.getpid(), 9)"), dict(os.environ)) == 137


def test_a_child_runs_in_the_projects_root_and_finds_what_lies_beside_python(tmp_path: Path) -> None:
    wanted = "os.getcwd() + ' ' + str(shutil.which('python'))"
    text = f"import os, shutil; open({str(tmp_path / 'seen')!r}, 'w').write({wanted})"
    assert launch.run(python(text), {**os.environ, "PATH": "/usr/bin"}) == 0
    folder, found = (tmp_path / "seen").read_text().split(" ")
    assert folder == str(ROOT) and Path(found).parent == Path(sys.executable).parent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_child_and_its_children_once(tmp_path: Path, number: int) -> None:
    seen = tmp_path / "seen"
    child = (
        "import signal, sys, time\n"
        f"def hear(number, frame): open({str(seen)!r}, 'a').write(sys.argv[1] + str(int(number)) + ' '); sys.exit(3)\n"
        "signal.signal(signal.SIGINT, hear); signal.signal(signal.SIGTERM, hear)\n"
        f"open({str(tmp_path)!r} + '/ready' + sys.argv[1], 'w').close()\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "child.py").write_text(child)
    both = (
        "import subprocess, sys, runpy\n"
        f"subprocess.Popen([sys.executable, {str(tmp_path / 'child.py')!r}, 'b'])\n"
        f"sys.argv = ['x', 'a']; runpy.run_path({str(tmp_path / 'child.py')!r})\n"
    )
    (tmp_path / "both.py").write_text(both)
    parent = (
        f"import sys, os; sys.path.insert(0, {str(ROOT / 'scripts')!r}); from mug.training import launch\n"
        f"sys.exit(launch.run([sys.executable, {str(tmp_path / 'both.py')!r}], dict(os.environ)))\n"
    )
    process = subprocess.Popen(python(parent))
    try:
        deadline = time.monotonic() + 60
        while not all((tmp_path / f"ready{name}").exists() for name in "ab"):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=30) == 3
        while len(seen.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert sorted(seen.read_text().split()) == [f"a{int(number)}", f"b{int(number)}"]


# ------------------------------------------------------------------------------------ trainings, on the tiny model


def command(project: Project, output: Path, *more: str) -> list[str]:
    keys = [f"model_name_or_path={project.model}", f"dataset_dir={project.data}", f"output_dir={output}"]
    short = ["max_samples=40", "save_steps=1", "eval_strategy=no", "load_best_model_at_end=false", "logging_steps=1"]
    return [sys.executable, str(SCRIPT), "configs/train_smoke.yaml", *keys, *short, *more]


def start(project: Project, arguments: list[str], here: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=here, env=project.environment, capture_output=True, text=True, errors="replace", timeout=600
    )


@pytest.fixture(scope="module")
def finished(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A training from a folder that is not the project's, and what it said."""
    here = tmp_path_factory.mktemp("elsewhere")
    done = start(project, command(project, Path("out")), here)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return here / "out", done.stdout


class TestTraining:
    pytestmark = slow

    def test_from_another_folder_it_trains_judges_and_writes_the_card(self, finished: tuple[Path, str]) -> None:
        output, said = finished
        assert (output / "adapter_model.safetensors").is_file()
        assert json.loads((output / "trainer_state.json").read_text())["global_step"] == 5
        for written in ("diagnosis.json", "diagnosis.html", "training_curves.png", "README.md"):
            assert (output / written).is_file() and written in said
        assert "训练集 40 个样本" in said and "训练已结束：第 5/5 步" in said and "下一步：" in said
        assert "mug model card" in (output / "README.md").read_text("utf-8")

    def test_how_the_data_were_made_goes_along(self, project: Project, finished: tuple[Path, str]) -> None:
        output, _ = finished
        assert (output / "preprocess.json").read_bytes() == (project.data / "preprocess.json").read_bytes()
        assert "layout of the prompts：`separate`" in (output / "README.md").read_text("utf-8")

    def test_what_was_handed_over_is_stock(self, finished: tuple[Path, str]) -> None:
        output, _ = finished
        saved = yaml.safe_load((output / SAVED_SETTINGS).read_text("utf-8"))
        assert saved["output_dir"] == str(output) and "mug_speed" not in saved

    def test_a_torn_checkpoint_is_moved_aside_and_training_goes_on_from_the_one_before(
        self, project: Project, finished: tuple[Path, str], tmp_path: Path
    ) -> None:
        output, _ = finished
        torn = output / "checkpoint-5"
        (torn / "trainer_state.json").unlink()
        moved = tmp_path / "data"  # without the record of how the prompts were made, which the training keeps
        shutil.copytree(project.data, moved, ignore=shutil.ignore_patterns("preprocess.json"))
        done = start(project, command(project, output, f"dataset_dir={moved}"), ROOT)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "checkpoint-5 已改名为 incomplete-checkpoint-5" in done.stdout
        assert "从 checkpoint-4 接着训练" in done.stdout and f"Resuming training from {output / 'checkpoint-4'}" in (
            done.stdout + done.stderr
        )
        assert (output / "incomplete-checkpoint-5").is_dir()
        assert (output / "preprocess.json").read_bytes() == (project.data / "preprocess.json").read_bytes()
        assert json.loads((torn / "trainer_state.json").read_text())["global_step"] == 5

    def test_a_dry_run_leaves_nothing_and_says_so_by_its_status(self, project: Project, tmp_path: Path) -> None:
        before = sorted(project.data.iterdir())
        good = start(project, command(project, Path("out"), "--dry_run", "--lang", "en"), tmp_path)
        assert good.returncode == 0 and "would train" in good.stdout
        bad = start(project, command(project, Path("out"), "--dry_run", "cutoff_len=64", "--lang", "en"), tmp_path)
        assert bad.returncode == 2 and "error: " in bad.stdout and "nothing was trained" in bad.stderr
        assert "Traceback" not in bad.stdout + bad.stderr
        assert not list(tmp_path.iterdir()) and sorted(project.data.iterdir()) == before

    def test_without_a_gpu_it_does_not_start_by_mistake(self, project: Project, tmp_path: Path) -> None:
        done = start(project, command(project, Path("out"), "use_cpu=false"), tmp_path)
        assert done.returncode == 2 and "use_cpu=true" in done.stdout
        assert not (tmp_path / "out").exists()

    def test_ctrl_c_stops_it_and_the_same_command_goes_on(self, project: Project, tmp_path: Path) -> None:
        output = tmp_path / "out"
        long = command(project, output, "max_samples=400")
        process = subprocess.Popen(
            long, cwd=tmp_path, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            deadline = time.monotonic() + 300
            while not list(output.glob("checkpoint-*/trainer_state.json")):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert process.returncode not in (0, None)
        assert "再运行同一条命令就从 checkpoint-" in said
        assert not (output / "adapter_model.safetensors").exists()
        left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        assert str(output) not in left.replace(" ".join(long), ""), "nothing goes on training"

    def test_the_fast_process_reads_the_same_settings_and_trains(self, project: Project, tmp_path: Path) -> None:
        done = start(project, command(project, Path("fast"), "mug_speed=true"), tmp_path)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        assert (tmp_path / "fast" / "adapter_model.safetensors").is_file()
        refused = start(project, command(project, Path("refused"), "mug_speed=true", "lora_dropout=0.1"), tmp_path)
        assert refused.returncode == 2 and "lora_dropout=0" in refused.stdout
