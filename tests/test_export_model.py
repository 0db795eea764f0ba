"""What export_model.py does after LLaMA-Factory's export; test_training.py has the real run."""

from __future__ import annotations

import json
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


def test_a_folder_without_a_model_is_one_sentence_and_status_2(run: Any, tmp_path: Path) -> None:
    done = run(export_model, "--skip_export", f"export_dir={tmp_path}", "--lang", "en")
    assert done.status == 2 and done.err.count("\n") == 1
    assert "holds no exported model (no generation_config.json)" in done.err


def test_a_missing_configuration_is_one_sentence_and_status_2(run: Any, tmp_path: Path) -> None:
    done = run(export_model, tmp_path / "none.yaml", "export_dir=x")
    assert done.status == 2 and done.err.count("\n") == 1 and "none.yaml" in done.err
