"""What export_model.py does after LLaMA-Factory's export; test_training.py has the real run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import export_model

TRAINING = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A merged Qwen2.5-7B as LLaMA-Factory leaves it, but for the weights."""
    folder = tmp_path / "merged"
    folder.mkdir()
    tokens = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
    files: dict[str, Any] = {
        "generation_config.json": {"bos_token_id": 151643, "do_sample": False, "eos_token_id": 151643},
        "tokenizer_config.json": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "tokenizer.json": {"added_tokens": [{"id": number, "content": token} for token, number in tokens.items()]},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    own = "'You are a helpful assistant.'"
    template = f"{{{{ 'system\\n' + {own} }}}}{{% if tools %}}{{{{ {own} }}}}{{% endif %}}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def settings(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "generation_config.json").read_text("utf-8"))


def test_a_merged_model_stops_at_the_end_of_an_answer_and_of_a_document(merged: Path) -> None:
    assert export_model.set_stop_tokens(merged) == ["<|im_end|>", "<|endoftext|>"]
    assert settings(merged) == {
        "bos_token_id": 151643,
        "do_sample": False,
        "eos_token_id": [151645, 151643],
        "pad_token_id": 151643,
    }


def test_finishing_twice_changes_nothing(run: Any, merged: Path) -> None:
    assert run(export_model, "--skip_export", f"export_dir={merged}").status == 0
    before = {path.name: path.read_bytes() for path in merged.iterdir()}
    done = run(export_model, "--skip_export", f"export_dir={merged}", "--lang", "en")
    assert done.status == 0 and f"evaluate.py --model_path {merged}" in done.out
    assert {path.name: path.read_bytes() for path in merged.iterdir()} == before


def test_the_chat_template_gets_the_system_prompt_of_training_wherever_the_base_had_its_own(merged: Path) -> None:
    export_model.set_system_prompt(merged, TRAINING)
    template = (merged / "chat_template.jinja").read_text("utf-8")
    assert template.count(TRAINING) == 2
    assert template.count("You are a helpful assistant.") == 2  # only as the end of the longer one


def test_a_system_prompt_with_quotes_and_line_breaks_stays_one_string_of_the_template(merged: Path) -> None:
    jinja2 = pytest.importorskip("jinja2")
    system = "It's a meeting.\nBe \\brief."
    export_model.set_system_prompt(merged, system)
    template = (merged / "chat_template.jinja").read_text("utf-8")
    assert jinja2.Template(template).render() == "system\n" + system


def test_a_template_without_a_system_prompt_of_its_own_gets_one_where_the_messages_have_none(merged: Path) -> None:
    jinja2 = pytest.importorskip("jinja2")
    own = "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
    (merged / "chat_template.jinja").write_text(own, encoding="utf-8")  # as Qwen3's begins
    for _ in range(2):  # twice changes nothing
        export_model.set_system_prompt(merged, TRAINING)
    template = jinja2.Template((merged / "chat_template.jinja").read_text("utf-8"))
    asked = [{"role": "user", "content": "问"}]
    told = f"<|im_start|>system\n{TRAINING}<|im_end|>\n<|im_start|>user\n问<|im_end|>\n"
    assert template.render(messages=asked) == told
    assert template.render(messages=[{"role": "system", "content": TRAINING}, *asked]) == told


def test_an_unknown_chat_template_is_reported_and_left_alone(run: Any, merged: Path) -> None:
    (merged / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    done = run(export_model, "--skip_export", f"export_dir={merged}", "--lang", "en")
    assert done.status == 2 and done.err.count("\n") == 1
    assert "does not hold the system prompt" in done.err
    assert (merged / "chat_template.jinja").read_text("utf-8") == "{{ messages }}"


def test_how_the_adapter_was_trained_to_be_asked_goes_along(run: Any, merged: Path, tmp_path: Path) -> None:
    record = '{"tokenizer": null,  "layout": "shared"}\n'
    checkpoint = tmp_path / "lora" / "checkpoint-200"
    checkpoint.mkdir(parents=True)
    (tmp_path / "lora" / "preprocess.json").write_text(record)
    (tmp_path / "other").mkdir()
    export = ["--skip_export", f"export_dir={merged}"]
    for adapter in (tmp_path / "lora", checkpoint, f"{tmp_path / 'other'},{checkpoint}"):
        assert run(export_model, *export, f"adapter_name_or_path={adapter}").status == 0
        assert (merged / "preprocess.json").read_text() == record
        (merged / "preprocess.json").unlink()
    full = ["adapter_name_or_path=null", f"model_name_or_path={tmp_path / 'lora'}"]
    assert run(export_model, *export, *full).status == 0
    assert (merged / "preprocess.json").read_text() == record
    assert run(export_model, *export, f"adapter_name_or_path={tmp_path / 'moved'}").status == 0
    assert (merged / "preprocess.json").read_text() == record, "nothing is known of an adapter that is gone"
    assert run(export_model, *export, f"adapter_name_or_path={tmp_path / 'other'}").status == 0
    assert not (merged / "preprocess.json").exists(), "that of an earlier merge"


def test_a_merged_models_own_record_stays_unless_what_it_was_made_of_is_named(
    run: Any, merged: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "base", tmp_path / "lora"]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "lora" / "preprocess.json").write_text('{"tokenizer": null}\n')
    config = tmp_path / "merge.yaml"
    text = (export_model.ROOT / "configs" / "merge.yaml").read_text("utf-8")
    text = text.replace("outputs/qwen2.5-7b-mug-lora\n", f"{tmp_path / 'lora'}\n")
    config.write_text(text.replace("Qwen/Qwen2.5-7B\n", f"{tmp_path / 'base'}\n"), "utf-8")
    record = merged / "preprocess.json"
    finish = [config, "--skip_export", f"export_dir={merged}"]
    assert run(export_model, *finish).status == 0
    assert record.read_text() == '{"tokenizer": null}\n', "there was none"
    record.write_text('{"tokenizer": null, "layout": "shared"}\n')
    assert run(export_model, *finish).status == 0
    assert record.read_text() == '{"tokenizer": null, "layout": "shared"}\n'
    assert run(export_model, *finish, f"adapter_name_or_path={tmp_path / 'lora'}").status == 0
    assert record.read_text() == '{"tokenizer": null}\n'


def test_the_next_command_gives_the_official_scores_too(run: Any, merged: Path) -> None:
    done = run(export_model, "--skip_export", f"export_dir={merged}")
    assert "--data_path data/dev_alpaca.json --gold dataset/dev.csv --output_path" in done.out


def test_a_fault_of_the_yaml_is_told_with_its_line(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text("template: qwen\nexport_dir: x\n  default_system: y\n", "utf-8")
    done = run(export_model, path)
    assert done.status == 2 and done.err.count("\n") == 1
    assert f"{path} 第 3 行不是正确的 YAML" in done.err
    done = run(export_model, "export_dir=[1")
    assert done.status == 2 and done.err.count("\n") == 1
    assert "命令行上的 key=value" in done.err


# --------------------------------------------------------------------------------- before LLaMA-Factory is started


def weights(file: Path, **shapes: tuple[int, int]) -> None:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    numpy = pytest.importorskip("numpy")
    save_file({name: numpy.zeros(shape, "float32") for name, shape in shapes.items()}, file)


QUERY = "model.layers.0.self_attn.q_proj"


def base_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    weights(folder / "model.safetensors", **{f"{QUERY}.weight": (4, 4)})
    return folder


def adapter_in(folder: Path, width: int = 4) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 2, "target_modules": ["q_proj"]}')
    layer = f"base_model.model.{QUERY}"
    weights(
        folder / "adapter_model.safetensors",
        **{f"{layer}.lora_A.weight": (2, width), f"{layer}.lora_B.weight": (width, 2)},
    )
    return folder


@pytest.fixture
def export(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Export a base and an adapter that fit; LLaMA-Factory's own part only fails."""
    pytest.importorskip("llamafactory")
    started: list[list[str]] = []
    monkeypatch.setattr(
        "subprocess.run", lambda command: started.append(command) or subprocess.CompletedProcess(command, 1)
    )
    base, adapter = base_in(tmp_path / "base"), adapter_in(tmp_path / "lora")
    given = [f"model_name_or_path={base}", f"adapter_name_or_path={adapter}", f"export_dir={tmp_path / 'out'}"]

    def call(*changes: Any) -> Any:
        started.clear()
        done = run(export_model, *given, *changes)
        assert done.err.count("\n") == 1
        return done, bool(started)

    return call


def test_a_base_and_an_adapter_that_fit_go_to_llamafactory(export: Any, tmp_path: Path) -> None:
    two = f"adapter_name_or_path={tmp_path / 'lora'}, {tmp_path / 'lora'}"
    for changes in ([], [two], ["adapter_name_or_path=null"]):
        done, started = export(*changes)
        assert started and done.status == 1 and "llamafactory-cli export 失败" in done.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("export_dri=outputs/m1", "llamafactory-cli export 没有 export_dri 这个键；是不是 export_dir？"),
        ("output_dir=outputs/m1", "没有 output_dir 这个键"),
        (
            "model_name_or_path=outputs/nomodel",
            "没有模型 outputs/nomodel：没有这个文件夹，本机缓存里也没有；请先运行 ",
        ),
        ("model_name_or_path=Qwen/NoSuchModel", "python scripts/download_model.py --set_config，或改正"),
        ("model_name_or_path=a/b/c", "没有模型 a/b/c"),
        ("model_name_or_path=null", "没有模型 model_name_or_path"),
        ("model_name_or_path=W/empty", "模型 W/empty 不完整"),
        ("adapter_name_or_path=outputs/none", "outputs/none 里没有完整的适配器"),
        ("adapter_name_or_path=W/lora,W/empty", "W/empty 里没有完整的适配器"),
        ("adapter_name_or_path=W/cut", "W/cut 里没有完整的适配器"),
        ("adapter_name_or_path=W/wide", "请用 model_name_or_path 指定训练时的基座"),
        ("export_dir=null", "没有设置 export_dir"),
    ],
)
def test_what_would_fail_there_is_one_sentence_here(export: Any, tmp_path: Path, change: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    adapter_in(tmp_path / "wide", width=8)
    cut = adapter_in(tmp_path / "cut") / "adapter_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-1])
    done, started = export(change.replace("W/", f"{tmp_path}/"))
    assert done.status == 2 and not started
    assert said.replace("W/", f"{tmp_path}/") in done.err


def test_a_base_in_the_cache_of_hugging_face_will_do(export: Any, tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--Qwen--Qwen2.5-7B"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("b968826d")
    base_in(cached / "snapshots" / "b968826d")
    hub = ["model_name_or_path=Qwen/Qwen2.5-7B", f"cache_dir={tmp_path / 'hub'}"]
    assert export(*hub)[1]
    done, started = export(*hub, f"adapter_name_or_path={adapter_in(tmp_path / 'wide', width=8)}")
    assert not started and "指定训练时的基座" in done.err


def test_a_folder_without_a_model_is_one_sentence_and_status_2(run: Any, tmp_path: Path) -> None:
    done = run(export_model, "--skip_export", f"export_dir={tmp_path}", "--lang", "en")
    assert done.status == 2 and done.err.count("\n") == 1
    assert "holds no exported model (no generation_config.json)" in done.err


def test_a_missing_configuration_is_one_sentence_and_status_2(run: Any, tmp_path: Path) -> None:
    done = run(export_model, tmp_path / "none.yaml", "export_dir=x")
    assert done.status == 2 and done.err.count("\n") == 1 and "none.yaml" in done.err
