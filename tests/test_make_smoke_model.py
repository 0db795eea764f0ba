"""The tiny model: made by its command line, the same bytes each time, shaped like Qwen2.5 where it matters."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "make_smoke_model.py"
SAMPLE = ROOT / "dataset" / "sample" / "train.csv"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, encoding="utf-8"
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smoke") / "model"
    done = run("--output", folder, "--corpus", SAMPLE)
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout and "llamafactory-cli train configs/train_smoke.yaml" in done.stdout
    return folder


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(model)


@pytest.mark.slow
def test_two_runs_write_the_same_bytes(model: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert run("--output", again, "--corpus", SAMPLE).returncode == 0
    names = sorted(path.name for path in model.iterdir())
    assert "model.safetensors" in names and "tokenizer.json" in names
    assert [name for name in names if (model / name).read_bytes() != (again / name).read_bytes()] == []


@pytest.mark.slow
def test_a_second_run_replaces_its_own_model(model: Path) -> None:
    before = (model / "model.safetensors").read_bytes()
    assert run("--output", model, "--corpus", SAMPLE, "--lang", "en").returncode == 0
    assert (model / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_it_loads_as_a_qwen2_with_every_token_id_in_its_tables(model: Path, tokenizer: Any) -> None:
    import transformers

    loaded = transformers.AutoModelForCausalLM.from_pretrained(model)
    assert loaded.config.model_type == "qwen2"
    assert loaded.config.vocab_size == len(tokenizer) <= 4096
    assert loaded.num_parameters() < 2_000_000
    assert loaded.get_input_embeddings() is not loaded.get_output_embeddings()  # not tied, as in the 7B


@pytest.mark.slow
def test_like_the_true_base_it_stops_only_at_the_end_of_text(model: Path, tokenizer: Any) -> None:
    settings = json.loads((model / "generation_config.json").read_text("utf-8"))
    assert settings["eos_token_id"] == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert settings["eos_token_id"] != tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|endoftext|>")


@pytest.mark.slow
def test_any_text_survives_the_tokenizer(tokenizer: Any) -> None:
    text = "[no.0]: 呃，2024年它's OK吗？😀 矽\n\n  龘\t<tool_call>"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.slow
def test_control_tokens_are_single_and_vanish_from_answers(tokenizer: Any) -> None:
    ids = tokenizer("<|im_start|>好<|im_end|>").input_ids
    assert ids == [
        tokenizer.convert_tokens_to_ids("<|im_start|>"),
        *tokenizer("好").input_ids,
        tokenizer.convert_tokens_to_ids("<|im_end|>"),
    ]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "好"


@pytest.mark.slow
def test_the_chat_template_is_the_base_models_with_its_own_system_prompt(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "开会"}], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n开会<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_folder_with_anything_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Qwen2.5-7B\n", encoding="utf-8")
    done = run("--output", tmp_path, "--corpus", SAMPLE, "--lang", "en")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "is not overwritten" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_missing_corpus_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    done = run("--output", tmp_path / "model", "--corpus", tmp_path / "none.csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "none.csv" in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_corpus_without_a_readable_meeting_is_refused(tmp_path: Path) -> None:
    corpus = tmp_path / "broken.csv"
    with corpus.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["idx", "content"], [0, "{not json"]])
    done = run("--output", tmp_path / "model", "--corpus", corpus, "--lang", "en")
    assert done.returncode == 2
    assert "no readable meeting" in done.stderr
    assert not (tmp_path / "model").exists()
