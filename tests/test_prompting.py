"""How a model was trained to be asked: read beside its data and in its folder, and carried from one to the other."""

from __future__ import annotations

import json

import pytest

import preprocess_data
from mug import tokens
from mug.errors import InputError
from mug.prompting import (
    FILE,
    Prompting,
    carry,
    described,
    layout_of,
    needs_tree,
    of_data,
    of_engine,
    of_model,
    record,
)
from mug.tasks.base import Options

SAVED = {
    "tokenizer": None,
    "max_input_tokens": 700,
    "candidates": "all",
    "es_target": "text",
    "negative_ratio": 2.0,
    "seed": 5,
    "layout": "shared",
    "needs_tree": True,
}
ASKED = Prompting("shared", Options(700, tokens.estimate, "all", "text", 2.0, 5))


@pytest.fixture
def model(tmp_path):
    """A training's folder with a record and a checkpoint."""
    folder = tmp_path / "outputs" / "lora"
    (folder / "checkpoint-200").mkdir(parents=True)
    (folder / FILE).write_text(json.dumps(SAVED))
    return folder


def test_what_preprocess_data_writes_is_read_as_it_was_meant(run, corpus_file, case, tmp_path, monkeypatch):
    monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)
    options = ["--max_input_tokens", 700, "--candidates", "all", "--es_target", "text", "--negative_ratio", 2]
    data = ["--layout", "shared", "--seed", 5, "--output_dir", tmp_path / "data"]
    assert run(preprocess_data, "--train_input", corpus_file(case()), *options, *data).status == 0
    assert of_data(tmp_path / "data") == ASKED
    assert layout_of(tmp_path / "data") == "shared"


def test_without_a_record_the_defaults_hold(tmp_path):
    assert of_data(tmp_path) == of_model(tmp_path) == of_model(tmp_path / "none") == Prompting()
    assert (Prompting().layout, Prompting().options) == ("separate", Options())
    assert layout_of(tmp_path) is None


def test_data_from_before_the_layouts_are_separate(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"tokenizer": None, "max_input_tokens": 700}))
    assert of_model(tmp_path) == Prompting("separate", Options(max_input_tokens=700))
    assert layout_of(tmp_path) == "separate"


def test_a_checkpoint_is_asked_as_its_training_says(model, monkeypatch):
    checkpoint = model / "checkpoint-200"
    assert of_model(model) == of_model(checkpoint) == ASKED
    monkeypatch.chdir(checkpoint)
    assert of_model(checkpoint.relative_to(checkpoint)) == ASKED
    assert layout_of(checkpoint) == "shared"
    (checkpoint / FILE).write_text(json.dumps(SAVED | {"seed": 6}))
    assert of_model(checkpoint).options.seed == 6


def test_no_other_folder_takes_the_record_of_the_one_it_lies_in(model):
    (model / "merged").mkdir()
    assert record(model / "merged") is None and of_model(model / "merged") == Prompting()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", "[" * 100_000, '{"layout": "shared"}']
    + [
        json.dumps(SAVED | change)
        for change in (
            {"layout": "other"},
            {"layout": ["shared"]},
            {"layout": None},
            {"tokenizer": 3},
            {"max_input_tokens": "700"},
            {"max_input_tokens": True},
            {"es_target": "words"},
            {"candidates": "some"},
            {"negative_ratio": None},
            {"seed": "x"},
            {"count": "x"},
            {"unknown": 1},
            {"needs_tree": "yes"},
        )
    ],
)
def test_a_damaged_record_is_one_sentence_wherever_it_is_read(model, content):
    (model / FILE).write_text(content)
    for read in (of_data, of_model, layout_of, needs_tree, lambda path: of_engine("vllm", path)):
        with pytest.raises(InputError) as error:
            read(model)
        assert f"{model / FILE} is damaged" in error.value.message.en and "已损坏" in error.value.message.zh
        assert all("\n" not in text for text in error.value.message)


def test_the_tokenizer_of_the_data_counts_and_the_models_own_where_that_is_not(model, shared, tmp_path):
    (model / FILE).write_text(json.dumps(SAVED | {"tokenizer": str(shared / "qwen_tokenizer")}))
    assert of_model(model).options.count(["大家好"]) == [2]
    (model / FILE).write_text(json.dumps(SAVED | {"tokenizer": "/home/other/models/Qwen2.5-7B"}))
    with pytest.raises(InputError, match="没有 .*preprocess.json 里写的分词器 /home/other/models/Qwen2.5-7B，"):
        of_model(model)
    (model / "tokenizer.json").symlink_to(shared / "qwen_tokenizer" / "tokenizer.json")
    for path in (model, model / "checkpoint-200"):
        assert of_model(path).options.count(["大家好"]) == [2]
    (model / FILE).write_text(json.dumps(SAVED | {"tokenizer": "/home/" + "long" * 100}))  # is_file() raises for it
    assert of_model(model).options.count(["大家好"]) == [2]
    (model / FILE).write_text(json.dumps(SAVED))
    assert of_model(model) == ASKED, "the data's lengths were estimated, so the model's are"
    (model / FILE).write_text(json.dumps(SAVED | {"tokenizer": "/home/other/models/Qwen2.5-7B"}))
    with pytest.raises(InputError, match="Qwen2.5-7B"):
        of_data(model)  # data have none of their own
    assert of_data(model, shared / "qwen_tokenizer").options.count(["大家好"]) == [2]


def test_rules_and_a_served_model_get_the_default_prompts_unless_its_folder_is_named(model, tmp_path):
    for backend in ("transformers", "vllm", "api"):
        assert of_engine(backend, model) == ASKED
    assert of_engine("baseline", model) == of_engine("api", None) == of_engine("baseline", None) == Prompting()
    with pytest.raises(InputError, match="model_path"):
        of_engine("api", tmp_path / "none")


def test_a_record_is_carried_byte_for_byte_and_an_older_one_goes(model, tmp_path):
    target = tmp_path / "merged"
    target.mkdir()
    (model / FILE).write_bytes(b'{"tokenizer":  null,\r\n"max_input_tokens": 700}')
    carry(model / "checkpoint-200", target)
    assert (target / FILE).read_bytes() == (model / FILE).read_bytes()
    carry(tmp_path / "outputs", target)
    assert list(target.iterdir()) == []
    carry(None, target)
    assert list(target.iterdir()) == []


def test_what_prompts_depend_on_is_json(model):
    asked = {"layout": "shared", "max_input_tokens": 700, "es_target": "text", "estimated": True}
    assert json.loads(json.dumps(described(of_model(model)))) == asked
