"""Alpaca files: what is written, what is refused, and that LLaMA-Factory reads what the engine will ask."""

from __future__ import annotations

import json

import pytest

from mug.alpaca import open_alpaca, read_alpaca, read_dataset_info, row, write_dataset_info
from mug.errors import InputError
from mug.generation.base import user_message
from mug.tasks import TASKS
from mug.tasks.base import SYSTEM, Sample

SAMPLE = Sample(
    id="T1/title/3",
    instruction="写标题。",
    input="会议内容：\n[甲]: 好。",
    output="定地点",
    references=("定地点", "去哪"),
)
GOOD = {"instruction": "写标题。", "input": "会议内容：\n[甲]: 好。", "output": "定地点"}


def encoded(value):
    return json.dumps(value, ensure_ascii=False).encode()


# ------------------------------------------------------------------------------------------------------------ writing


def test_a_title_row_has_the_three_keys_only_and_the_others_id_and_references():
    assert row(SAMPLE, with_id=False) == GOOD
    assert list(row(SAMPLE, with_id=False)) == ["instruction", "input", "output"]
    assert row(SAMPLE, with_id=True) == GOOD | {"id": "T1/title/3", "references": ["定地点", "去哪"]}


def test_the_file_is_one_json_array_in_utf8_without_a_bom(tmp_path):
    path = tmp_path / "a.json"
    with open_alpaca(path) as file:
        file.write(encoded(GOOD))
        file.write(encoded({"output": "😀"}))
    assert path.read_bytes().startswith(b"[\n{")
    assert json.loads(path.read_bytes().decode("utf-8")) == [GOOD, {"output": "😀"}]


def test_a_file_without_rows_is_never_left_behind(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with open_alpaca(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_older_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("older")
    with pytest.raises(RuntimeError), open_alpaca(path) as file:
        file.write(encoded(GOOD))
        raise RuntimeError
    assert path.read_text() == "older"


# ------------------------------------------------------------------------------------------------- dataset_info.json


def test_dataset_info_is_ascii_keeps_foreign_entries_and_drops_ours_without_a_file(tmp_path):
    (tmp_path / "train.json").write_text("[]")
    before = {"外来": {"file_name": "其他.json"}, "ours_dev": {"file_name": "dev.json"}, "ours_train": {"old": 1}}
    write_dataset_info(tmp_path, before, {"ours_train": "train.json", "ours_dev": "dev.json"})
    content = (tmp_path / "dataset_info.json").read_bytes()
    assert content.isascii()
    assert json.loads(content) == {
        "外来": {"file_name": "其他.json"},
        "ours_train": {
            "file_name": "train.json",
            "columns": {"prompt": "instruction", "query": "input", "response": "output"},
        },
    }
    assert read_dataset_info(tmp_path) == json.loads(content)


def test_no_dataset_info_is_an_empty_one(tmp_path):
    assert read_dataset_info(tmp_path) == {}


def test_a_bom_before_dataset_info_does_no_harm(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"a": {}}', encoding="utf-8-sig")
    assert read_dataset_info(tmp_path) == {"a": {}}


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"\xff\xfe{}", b""])
def test_a_dataset_info_that_is_no_json_object_is_one_sentence(tmp_path, content):
    (tmp_path / "dataset_info.json").write_bytes(content)
    with pytest.raises(InputError, match="dataset_info.json"):
        read_dataset_info(tmp_path)


# ------------------------------------------------------------------------------------------------------------ reading


def written(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "a.json"
    path.write_text(
        content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding=encoding
    )
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_an_array_is_read_with_or_without_a_bom(tmp_path, encoding):
    assert read_alpaca(written(tmp_path, [GOOD], encoding)) == [GOOD]


def test_json_lines_are_read_too_whatever_unicode_calls_a_line_end(tmp_path):
    strange = GOOD | {"output": "定\u2028地\x85点"}
    lines = "\n".join(json.dumps(item, ensure_ascii=False) for item in (GOOD, strange)) + "\n\n"
    assert read_alpaca(written(tmp_path, lines)) == [GOOD, strange]


def test_a_row_without_input_is_an_alpaca_row(tmp_path):
    assert read_alpaca(written(tmp_path, [{"instruction": "写。", "output": "好"}]))[0]["output"] == "好"


@pytest.mark.parametrize("output", ["", "\u3000\n", None, ["定地点"], 7, "missing"])
def test_an_output_that_is_no_text_is_refused_with_its_number(tmp_path, output):
    bad = {key: value for key, value in (GOOD | {"output": output}).items() if value != "missing"}
    with pytest.raises(InputError) as error:
        read_alpaca(written(tmp_path, [GOOD, bad]))
    assert "sample 2: output is missing, blank or no string" in error.value.message.en


@pytest.mark.parametrize(
    ("change", "named"),
    [({"instruction": " "}, "instruction"), ({"instruction": 3}, "instruction"), ({"input": None}, "input")],
)
def test_any_other_field_that_is_no_text_is_named(tmp_path, change, named):
    with pytest.raises(InputError) as error:
        read_alpaca(written(tmp_path, [GOOD | change]))
    assert f"sample 1: {named} is missing" in error.value.message.en


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "holds no samples"),
        ("{}", "sample 1: instruction"),
        ("7", "holds no samples"),
        ("null", "holds no samples"),
        ("[7]", "sample 1: instruction"),
        ("", "is no complete JSON"),
        ('[{"instruction": "写', "is no complete JSON"),
        ('[{"instruction": "写。", "input": "", "output": "好"},', "is no complete JSON"),
    ],
)
def test_a_file_that_is_no_alpaca_file_is_one_sentence(tmp_path, content, said):
    with pytest.raises(InputError) as error:
        read_alpaca(written(tmp_path, content))
    assert said in error.value.message.en


def test_a_file_that_is_missing_or_not_utf8_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="preprocess_data.py"):
        read_alpaca(tmp_path / "none.json")
    with pytest.raises(InputError, match="不是 UTF-8"):
        read_alpaca(written(tmp_path, [GOOD], "gb18030"))


# ------------------------------------------------------------------------------------------------ LLaMA-Factory itself


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    """A byte-level tokenizer of 259 entries: what a prompt's tokens are does not depend on its merges."""
    pytest.importorskip("transformers")
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: index for index, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(special, special=True) for special in specials])
    folder = tmp_path_factory.mktemp("tokenizer")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tokenizer_folder, tmp_path_factory):
    """The sample corpus through preprocess_data.py, and each dataset name through LLaMA-Factory's own loader."""
    pytest.importorskip("llamafactory")
    import sys

    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import AutoTokenizer, Seq2SeqTrainingArguments

    import preprocess_data

    folder = tmp_path_factory.mktemp("data")
    sample = preprocess_data.ROOT / "dataset" / "sample"
    with pytest.MonkeyPatch.context() as patch:
        inputs = ["--train_input", sample / "train.csv", "--dev_input", sample / "dev.csv", "--estimate_tokens"]
        patch.setattr(
            sys, "argv", ["preprocess_data.py", "--task", "all", "--output_dir", str(folder), *map(str, inputs)]
        )
        assert preprocess_data.main() == 0
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
        model_args = ModelArguments(model_name_or_path=str(tokenizer_folder))
        training_args = Seq2SeqTrainingArguments(output_dir=str(folder / "out"), do_train=True, report_to=[])
        found = {}
        for name in json.loads((folder / "dataset_info.json").read_text()):
            data_args = DataArguments(
                template="qwen", default_system=SYSTEM, dataset=name, dataset_dir=str(folder), cutoff_len=100_000,
                preprocessing_num_workers=None, overwrite_cache=True,
            )  # fmt: skip
            template = get_template_and_fix_tokenizer(tokenizer, data_args)
            module = get_dataset(template, model_args, data_args, training_args, stage="sft", tokenizer=tokenizer)
            found[name] = module["train_dataset"]
        yield folder, tokenizer, template, found


@pytest.mark.slow
def test_llamafactory_loads_every_dataset_name_with_every_row(loaded):
    folder, _, _, datasets = loaded
    assert len(datasets) == 2 + 2 * len(TASKS)
    info = json.loads((folder / "dataset_info.json").read_text())
    assert {name: len(dataset) for name, dataset in datasets.items()} == {
        name: len(read_alpaca(folder / entry["file_name"])) for name, entry in info.items()
    }


@pytest.mark.slow
def test_the_engine_asks_with_exactly_the_tokens_that_training_showed(loaded):
    from mug.generation.transformers_engine import TransformersEngine

    folder, tokenizer, template, datasets = loaded
    engine = object.__new__(TransformersEngine)  # what encodes needs no model
    engine.tokenizer, engine.template = tokenizer, template
    for name in TASKS:
        rows = read_alpaca(folder / f"dev_{name}.json")
        for made, trained in zip(rows, datasets[f"mug_{name}_dev"], strict=True):
            sample = Sample(id="", instruction=made["instruction"], input=made["input"])
            prompt = [
                token for token, label in zip(trained["input_ids"], trained["labels"], strict=True) if label == -100
            ]
            assert engine.encode(sample) == prompt
            target = [label for label in trained["labels"] if label != -100]
            assert tokenizer.decode(target).removesuffix("\n") == made["output"] + "<|im_end|>"


@pytest.mark.slow
def test_the_prompt_is_the_qwen_chat_form_to_the_last_byte(loaded):
    _, tokenizer, template, _ = loaded
    from mug.generation.transformers_engine import TransformersEngine

    engine = object.__new__(TransformersEngine)
    engine.tokenizer, engine.template = tokenizer, template
    assert tokenizer.decode(engine.encode(SAMPLE)) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user_message(SAMPLE)}<|im_end|>\n<|im_start|>assistant\n"
    )
