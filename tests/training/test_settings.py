"""Keys and paths of a training as they are read from YAML and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mug.errors import InputError
from mug.training import settings
from mug.training.settings import (
    in_root,
    names,
    number,
    place,
    read_settings,
    resolved,
    take_speed,
    take_tree,
    write_settings,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("lora_rank: 8\nlearning_rate: 2.0e-4\ndataset_dir: data\noutput_dir: outputs/x\n", "utf-8")
    return path


def test_values_are_typed_as_llamafactory_types_them(config: Path) -> None:
    found = read_settings(config, ["lora_rank=16", "bf16=true", "report_to=none", "warmup_ratio=0.1"])
    assert (found["lora_rank"], found["learning_rate"], found["bf16"]) == (16, 2e-4, True)
    assert (found["report_to"], found["warmup_ratio"]) == ("none", 0.1)


def test_the_command_line_reads_as_omegaconf_does_for_llamafactory(config: Path) -> None:
    from omegaconf import OmegaConf

    changes = ["dataset=a,b", "lora_target=q_proj,v_proj", "max_steps=-1", "seed=0x10", "run_name=a=b"]
    theirs = OmegaConf.to_container(OmegaConf.merge(OmegaConf.load(config), OmegaConf.from_cli(changes)))
    found = read_settings(config, changes)
    assert {key: found[key] for key in ("dataset", "lora_target", "max_steps", "seed", "run_name")} == {
        key: theirs[key] for key in ("dataset", "lora_target", "max_steps", "seed", "run_name")
    }


def test_a_configuration_of_the_project_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_settings(Path("configs/train_lora.yaml"), [])
    assert found["output_dir"] == "outputs/qwen2.5-7b-mug-lora"  # of the project, not of tmp_path
    assert found == yaml.safe_load((ROOT / "configs/train_lora.yaml").read_text("utf-8"))


def test_paths_of_the_file_are_the_projects_and_typed_ones_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    found = read_settings(Path("configs/train_lora.yaml"), ["dataset_dir=mine", "output_dir=out"])
    assert (found["dataset_dir"], found["output_dir"]) == (str(tmp_path / "mine"), str(tmp_path / "out"))


def test_a_name_on_a_hub_stays_a_name(tmp_path: Path) -> None:
    assert resolved("Qwen/Qwen2.5-7B", "model_name_or_path", tmp_path, typed=True) == "Qwen/Qwen2.5-7B"


def test_a_folder_beside_the_caller_comes_before_one_of_the_project_when_typed(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    assert resolved("configs", "dataset_dir", tmp_path, typed=True) == str(tmp_path / "configs")
    assert resolved("configs", "dataset_dir", tmp_path, typed=False) == "configs"


def test_each_of_several_adapters_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = resolved("a, owner/b", "adapter_name_or_path", tmp_path, typed=True)
    assert found == f"{tmp_path / 'a'},owner/b"


def test_only_paths_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "qwen").mkdir()
    assert resolved("qwen", "template", tmp_path, typed=True) == "qwen"
    assert resolved(True, "resume_from_checkpoint", tmp_path, typed=True) is True


def test_a_path_inside_the_project_is_written_relative_to_it(tmp_path: Path) -> None:
    assert in_root(ROOT / "outputs" / ".." / "data") == "data"
    assert place(in_root(ROOT / "data")) == ROOT / "data"
    assert in_root(tmp_path) == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (None, [], "missing.yaml"),
        ("- 1\n- 2\n", [], "bad.yaml"),
        ("a: [1\n", [], "bad.yaml"),
        ("a: 1\n", ["--dry"], "key=value"),
        ("a: 1\n", ["lora_rank"], "key=value"),
        ("a: 1\n", ["a=[1"], "a"),
    ],
)
def test_what_can_not_be_read_is_one_sentence(text: str | None, changes: list[str], said: str, tmp_path: Path) -> None:
    path = tmp_path / ("missing.yaml" if text is None else "bad.yaml")
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_settings(path, changes)
    for sentence in caught.value.message:
        assert said in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize(("value", "on"), [("true", True), (True, True), ("1", True), (False, False), ("no", False)])
def test_the_speed_key_is_taken_out(value: object, on: bool) -> None:
    keys = {settings.SPEED_KEY: value, "lora_rank": 8}
    assert take_speed(keys) is on
    assert keys == {"lora_rank": 8}


def test_a_speed_key_that_is_no_switch_is_refused() -> None:
    with pytest.raises(InputError, match="mug_speed=fast"):
        take_speed({settings.SPEED_KEY: "fast"})


def test_the_tree_key_is_taken_out_too() -> None:
    keys = {settings.SPEED_KEY: True, settings.TREE_KEY: "true"}
    assert (take_tree(keys), take_speed(keys), keys) == (True, True, {})
    with pytest.raises(InputError, match="mug_tree=deep"):
        take_tree({settings.TREE_KEY: "deep"})


def test_what_is_written_is_read_back_by_llamafactorys_reader(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    keys = {"default_system": "你好：" + "长" * 300, "lr": 2e-5, "dataset": "a,b", "eval_strategy": "no", "x": None}
    write_settings(tmp_path / "a.yaml", keys)
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "a.yaml")) == keys


def test_numbers_and_names() -> None:
    assert (number({"a": "1e-3"}, "a", 5), number({}, "a", 5)) == (0.001, 5)
    assert names(["a", " b "]) == names("a, b,") == ["a", "b"]
    with pytest.raises(InputError, match="a: many"):
        number({"a": "many"}, "a", 5)
