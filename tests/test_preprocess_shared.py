"""``--layout shared``: conversations that lose nothing, fit ``cutoff_len`` and train what evaluation asks."""

from __future__ import annotations

import json
import re
import sys

import pytest

import preprocess_data
from mug import conversations, evaluation, prompting, tokens
from mug.alpaca import read_alpaca
from mug.corpus import Report, read_meetings
from mug.tasks import TASKS
from mug.tasks.base import SYSTEM, Options, Sample
from mug.tasks.shared import ACKNOWLEDGEMENT, SHARED_TASKS, TURN_TOKENS

CHINESE = re.compile("[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]")


@pytest.fixture
def preprocess(run, tmp_path, monkeypatch):
    """Run the script with its own root, so that neither data nor a model of this checkout plays a part."""
    monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)

    def call(*arguments, out="data"):
        return run(preprocess_data, "--layout", "shared", "--output_dir", tmp_path / out, *arguments)

    return call


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def two_annotators(case, **changes):
    topics = case()["topic_segment_ids"]
    topics[0]["candidate"].append({"title": "春游去哪", "key_sentence": ["1"]})
    return case(topic_segment_ids=topics, **changes)


# -------------------------------------------------------------------------------------------------- what is written


def test_a_row_of_train_is_a_conversation_and_a_row_of_dev_one_question_of_it(preprocess, corpus_file, case, tmp_path):
    train, dev = corpus_file(case(), name="train.csv"), corpus_file(case(), name="dev.csv")
    assert preprocess("--task", "all", "--train_input", train, "--dev_input", dev, "--allow_overlap").status == 0
    first, second, session, window = load(tmp_path / "data" / "train_alpaca.json")
    asked = {name: task.instruction for name, task in SHARED_TASKS.items()}
    trunk = first["history"][0]
    assert first == {
        "instruction": asked["extractive_summary"],
        "input": "",
        "output": "2, 3",
        "history": [trunk, [asked["title_generation"], "定春游地点"]],
        "ids": ["T1/title/3", "T1/summary/3"],
    }
    assert (trunk[0].split("\n")[2], trunk[1]) == ("1. [甲]: 先定春游地点。", ACKNOWLEDGEMENT)
    assert second["ids"] == ["T1/title/6", "T1/summary/6"]
    assert session["ids"] == ["T1/session"]
    assert window["ids"] == ["T1/topics/1-6", "T1/keyphrases/1-6", "T1/actions/1-6"]
    assert load(tmp_path / "data" / "dev_alpaca.json")[0] == {
        "instruction": asked["title_generation"],
        "input": "",
        "output": "定春游地点",
        "history": [trunk],
        "id": "T1/title/3",
        "references": ["定春游地点"],
    }


def test_there_are_two_files_and_two_names_and_the_history_is_a_column(preprocess, sample_corpus, tmp_path):
    inputs = ["--train_input", sample_corpus / "train.csv", "--dev_input", sample_corpus / "dev.csv"]
    assert preprocess("--task", "all", *inputs).status == 0
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "dataset_info.json", "dev_alpaca.json", "preprocess.json", "train_alpaca.json",
    ]  # fmt: skip
    info = load(tmp_path / "data" / "dataset_info.json")
    assert set(info) == {"alimeeting4mug_train", "alimeeting4mug_dev"}
    assert all(entry["columns"]["history"] == "history" for entry in info.values())


def test_one_task_asks_its_question_only(preprocess, corpus_file, case, tmp_path):
    assert preprocess("--task", "keyphrase_extraction", "--train_input", corpus_file(case())).status == 0
    (row,) = load(tmp_path / "data" / "train_alpaca.json")
    assert (row["ids"], len(row["history"])) == (["T1/keyphrases/1-6"], 1)


@pytest.mark.parametrize("counting", ["tokenizer", "estimate"])
@pytest.mark.parametrize("cutoff_len", [2700, 4096])
def test_no_turn_is_lost_and_no_conversation_passes_cutoff_len(preprocess, shared, tmp_path, counting, cutoff_len):
    count = tokens.tokenizer_counter(shared / "qwen_tokenizer")
    options = ["--tokenizer", shared / "qwen_tokenizer"] if counting == "tokenizer" else ["--estimate_tokens"]
    source = shared / "golden" / "gold.csv"
    ran = preprocess(
        "--task", "all", "--candidates", "all", "--train_input", source, *options, "--cutoff_len", cutoff_len
    )
    assert ran.status == 0
    rows = load(tmp_path / "data" / "train_alpaca.json")
    made_with = Options(candidates="all", count=count if counting == "tokenizer" else tokens.estimate)
    samples = {
        (sample.id, sample.history, sample.instruction, sample.output)
        for meeting in read_meetings(source, Report())
        for task in SHARED_TASKS.values()
        for sample in task(made_with).samples(meeting, "train")
        if isinstance(sample, Sample)
    }
    asked = [
        (one["id"], tuple(map(tuple, one["history"])), one["instruction"], one["output"])
        for row in rows
        for one in conversations.questions(row)
    ]
    assert set(asked) == samples and len(asked) == len(samples) > 400
    lengths = count([_chat(row) for row in rows])
    assert max(lengths) <= cutoff_len


def _chat(row):
    turns = [*row["history"], [row["instruction"], row["output"]]]
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n" + "".join(
        f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n{answered}<|im_end|>\n"
        for said, answered in turns
    )


def test_turns_that_do_not_fit_begin_another_conversation_with_the_same_transcript(
    preprocess, corpus_file, case, tmp_path
):
    source = corpus_file(two_annotators(case))
    options = ["--task", "all", "--candidates", "all", "--train_input", source]
    assert preprocess(*options).status == 0
    whole = load(tmp_path / "data" / "train_alpaca.json")
    assert whole[0]["ids"] == ["T1/title/3", "T1/title/3#2", "T1/summary/3", "T1/summary/3#2"]
    assert preprocess(*options, "--cutoff_len", 270).status == 0
    divided = load(tmp_path / "data" / "train_alpaca.json")
    assert [id for row in divided for id in row["ids"]] == [id for row in whole for id in row["ids"]]
    assert len(divided) > len(whole)
    assert divided[0]["history"][0] == divided[1]["history"][0]


def test_a_conversation_is_divided_only_when_it_would_be_cut(preprocess, corpus_file, case, meeting_of, tmp_path):
    tasks = [SHARED_TASKS[name]() for name in ("title_generation", "extractive_summary")]
    first, second = (next(iter(task.samples(meeting_of(case()), "train"))) for task in tasks)
    cost = first.input_tokens + TURN_TOKENS + sum(tokens.estimate([first.output, second.instruction, second.output]))
    fits = cost + 40  # what is reckoned for the template
    for cutoff_len, conversations_of_the_topic in (
        (fits, [[first.id, second.id]]),
        (fits - 1, [[first.id], [second.id]]),
    ):
        options = ["--task", "all", "--train_input", corpus_file(case()), "--cutoff_len", cutoff_len]
        assert preprocess(*options).status == 0
        ids = [row["ids"] for row in load(tmp_path / "data" / "train_alpaca.json")]
        assert [one for one in ids if one[0].endswith("/3")] == conversations_of_the_topic


def test_the_same_command_writes_the_same_bytes(preprocess, sample_corpus, tmp_path):
    for out in ("a", "b"):
        preprocess("--task", "all", "--train_input", sample_corpus / "train.csv", out=out)
    for name in ("train_alpaca.json", "dataset_info.json", "preprocess.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# ----------------------------------------------------------------------------------------- what needs the speed module


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        (["--task", "all"], True),  # titles of all annotators are the default
        (["--task", "all", "--candidates", "all"], True),
        (["--task", "all", "--candidates", "first"], False),
        (["--task", "topic_segmentation"], False),
    ],
)
def test_a_question_asked_twice_needs_the_tree_and_it_is_said_and_kept(
    preprocess, corpus_file, case, tmp_path, options, needs
):
    ran = preprocess(*options, "--train_input", corpus_file(two_annotators(case)))
    assert ran.status == 0
    assert prompting.needs_tree(tmp_path / "data") is needs
    assert load(tmp_path / "data" / "preprocess.json")["layout"] == "shared"
    assert ("--candidates first" in ran.out) is needs
    assert "mug_speed=true mug_tree=true cutoff_len=4096" in ran.out


def test_a_folder_that_is_not_ours_needs_no_tree(tmp_path):
    assert prompting.needs_tree(tmp_path) is False


def test_the_separate_layout_stays_the_default_and_needs_no_tree(run, corpus_file, case, tmp_path, monkeypatch):
    monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)
    ran = run(preprocess_data, "--train_input", corpus_file(two_annotators(case)), "--output_dir", tmp_path / "data")
    assert ran.status == 0
    assert all(set(row) == {"instruction", "input", "output"} for row in load(tmp_path / "data" / "train_alpaca.json"))
    assert load(tmp_path / "data" / "preprocess.json")["layout"] == "separate"
    assert not prompting.needs_tree(tmp_path / "data")
    assert "cutoff_len = 2560" in ran.out


def test_in_english_no_word_is_chinese(preprocess, corpus_file, case):
    for options in ([], ["--candidates", "first"]):
        ran = preprocess("--task", "all", "--train_input", corpus_file(two_annotators(case)), "--lang", "en", *options)
        assert ran.status == 0
        assert "Next: python scripts/train.py" in ran.out
        assert not CHINESE.search(ran.out + ran.err)


# ------------------------------------------------------------------------------------------------ LLaMA-Factory itself


@pytest.fixture(scope="module")
def loaded(shared, tmp_path_factory):
    """Real meetings of three annotators through preprocess_data.py and LLaMA-Factory's own loader."""
    pytest.importorskip("llamafactory")
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import AutoTokenizer, Seq2SeqTrainingArguments

    folder, model = tmp_path_factory.mktemp("conversations"), shared / "qwen_tokenizer"
    with pytest.MonkeyPatch.context() as patch:
        source = shared / "golden" / "gold.csv"
        arguments = ["--layout", "shared", "--task", "all", "--tokenizer", model, "--output_dir", folder]
        arguments += ["--train_input", source, "--dev_input", source, "--allow_overlap"]
        patch.setattr(sys, "argv", ["preprocess_data.py", *map(str, arguments)])
        assert preprocess_data.main() == 0
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        tokenizer = AutoTokenizer.from_pretrained(model)
        found = {}
        for split in ("train", "dev"):
            data_args = DataArguments(
                template="qwen", default_system=SYSTEM, dataset=f"alimeeting4mug_{split}", dataset_dir=str(folder),
                cutoff_len=conversations.CUTOFF_LEN, preprocessing_num_workers=None, overwrite_cache=True,
            )  # fmt: skip
            template = get_template_and_fix_tokenizer(tokenizer, data_args)
            module = get_dataset(
                template,
                ModelArguments(model_name_or_path=str(model)),
                data_args,
                Seq2SeqTrainingArguments(output_dir=str(folder / "out"), do_train=True, report_to=[]),
                stage="sft",
                tokenizer=tokenizer,
            )
            found[split] = module["train_dataset"]
        yield folder, tokenizer, template, found


def branches(row):
    """Take a tokenized conversation apart as training does; return the prompt and the target of each branch."""
    from mug.training.speed import parts_of

    trunk, *rest = parts_of([row], tree=True)
    assert (trunk.labels == -100).all()
    assert all(part.trunk == 0 for part in rest)
    return [
        (
            trunk.ids.tolist() + part.ids[part.labels == -100].tolist(),
            part.labels[part.labels != -100].tolist(),
        )
        for part in rest
    ]


def encoded(template, tokenizer, row):
    """Return the tokens that an engine asks with."""
    from mug.generation.chat import encode

    (item,) = evaluation.items([row], Options())
    return encode(template, tokenizer, item.sample)


@pytest.mark.slow
def test_each_branch_of_training_is_the_prompt_that_evaluation_asks_to_the_last_token(loaded):
    folder, tokenizer, template, datasets = loaded
    count = 0
    for made, trained in zip(read_alpaca(folder / "train_alpaca.json"), datasets["train"], strict=True):
        single = list(conversations.questions(made))
        for row, (prompt, target) in zip(single, branches(trained), strict=True):
            assert encoded(template, tokenizer, row) == prompt
            assert tokenizer.decode(target).removesuffix("\n") == row["output"] + "<|im_end|>"
            count += 1
    assert count > 200
    prompts = {tuple(prompt) for trained in datasets["train"] for prompt, _ in branches(trained)}
    asked = [tuple(encoded(template, tokenizer, row)) for row in read_alpaca(folder / "dev_alpaca.json")]
    shown = [
        row["id"] for row, one in zip(read_alpaca(folder / "dev_alpaca.json"), asked, strict=True) if one in prompts
    ]
    left = {id.split("/")[1] for id in {row["id"] for row in read_alpaca(folder / "dev_alpaca.json")} - set(shown)}
    assert left == {"actions", "session"}  # windows that sampling leaves out; other key sentences are shown in dev


@pytest.mark.slow
def test_a_dev_row_is_one_branch_too_and_nothing_is_cut(loaded):
    folder, tokenizer, template, datasets = loaded
    for made, trained in zip(read_alpaca(folder / "dev_alpaca.json"), datasets["dev"], strict=True):
        ((prompt, target),) = branches(trained)
        assert prompt == encoded(template, tokenizer, made)
        assert tokenizer.decode(target).removesuffix("\n") == made["output"] + "<|im_end|>"
    for split in ("train", "dev"):
        assert len(datasets[split]) == len(read_alpaca(folder / f"{split}_alpaca.json"))
        assert max(map(len, datasets[split]["input_ids"])) <= conversations.CUTOFF_LEN


@pytest.mark.slow
def test_the_tree_reads_far_fewer_tokens_a_target_than_separate_samples(shared, tmp_path, run, monkeypatch):
    monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)
    count = tokens.tokenizer_counter(shared / "qwen_tokenizer")
    cost = {}
    for layout in ("separate", "shared"):
        options = [
            "--layout",
            layout,
            "--task",
            "all",
            "--candidates",
            "all",
            "--tokenizer",
            shared / "qwen_tokenizer",
        ]
        source = ["--train_input", shared / "golden" / "gold.csv", "--output_dir", tmp_path / layout]
        assert run(preprocess_data, *options, *source).status == 0
        rows = load(tmp_path / layout / "train_alpaca.json")
        targets = sum(len(row.get("ids", [1])) for row in rows)
        cost[layout] = sum(count([_chat({"history": [], **row, "instruction": _said(row)}) for row in rows])) / targets
    assert len(TASKS) == 6
    assert cost["separate"] > 2.5 * cost["shared"]


def _said(row):
    return f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
