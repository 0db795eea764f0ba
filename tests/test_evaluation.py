"""From Alpaca rows and answers to scores: by the prompt itself, nothing lost, nothing guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import evaluate
import preprocess_data
from mug import evaluation, tokens
from mug.alpaca import read_alpaca
from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.generation.base import Completion
from mug.tasks import TASKS
from mug.tasks.base import Options

TITLE = {
    "instruction": TASKS["title_generation"].instruction,
    "input": "会议内容：\n[甲]: 先定春游地点。\n[乙]: 去湿地公园吧。\n[甲]: 同意。",
    "output": "定春游地点",
}
FOREIGN = {"instruction": "翻译。", "input": "好", "output": "good"}


@pytest.fixture
def prepared(run, corpus_file, case, tmp_path, monkeypatch):
    """Preprocess the case's meeting as dev; return the folder, the gold meetings and the gold file."""

    def make(*options, value=None, split="dev"):
        source = corpus_file(value or case(), name="gold.csv")
        monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)
        ran = run(preprocess_data, f"--{split}_input", source, "--output_dir", tmp_path / "data", *options)
        assert ran.status == 0
        return tmp_path / "data", list(read_meetings(source, Report())), source

    return make


def items_of(path):
    return evaluation.items(read_alpaca(path), evaluation.options_of(path))


def golden(items):
    return [Completion(item.sample.output, "stop", 1) for item in items]


# ------------------------------------------------------------------------------------------------------- rows -> items


def test_the_instruction_tells_the_task_and_a_foreign_row_has_none():
    asked = [task.instruction for task in TASKS.values()]
    asked += [TASKS[name].ask_text for name in ("extractive_summary", "session_summary")]
    rows = [TITLE, FOREIGN, *({"instruction": instruction, "output": "1"} for instruction in asked)]
    names = ["title_generation", None, *TASKS, "extractive_summary", "session_summary"]
    found = evaluation.items(rows, Options())
    assert [item.task.name if item.task else None for item in found] == names


def test_a_plain_row_gets_a_number_for_an_id_and_its_output_for_a_reference():
    (item,) = evaluation.items([TITLE], Options())
    assert (item.sample.id, item.sample.references) == ("row-1", ("定春游地点",))


@pytest.mark.parametrize(
    ("references", "read_as"),
    [(["甲题", "乙题"], ("甲题", "乙题")), ([], ("定春游地点",)), ("甲题", ("定春游地点",)), (None, ("定春游地点",))],
)
def test_references_are_a_list_or_the_output(references, read_as):
    (item,) = evaluation.items([TITLE | {"references": references, "id": "T1/title/3"}], Options())
    assert (item.sample.id, item.sample.references) == ("T1/title/3", read_as)


def test_options_are_those_that_the_data_were_made_with(prepared, shared):
    data, _, _ = prepared("--max_input_tokens", 700, "--candidates", "all", "--es_target", "text", "--seed", 5)
    assert evaluation.options_of(data / "dev_alpaca.json") == Options(
        max_input_tokens=700, count=tokens.estimate, candidates="all", es_target="text", seed=5
    )
    data, _, _ = prepared("--tokenizer", shared / "qwen_tokenizer")
    assert evaluation.options_of(data / "dev_alpaca.json").count(["大家好"]) == [2]


def test_without_saved_options_the_defaults_hold(tmp_path):
    assert evaluation.options_of(tmp_path / "dev_alpaca.json") == Options()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"tokenizer": null, "unknown": 1}', "null"])
def test_damaged_options_are_one_sentence(tmp_path, content):
    (tmp_path / "preprocess.json").write_text(content)
    with pytest.raises(InputError, match="已损坏"):
        evaluation.options_of(tmp_path / "dev_alpaca.json")


# ------------------------------------------------------------------------------------------------------ items + gold


@pytest.mark.parametrize(
    "options", [(), ("--candidates", "all"), ("--es_target", "text"), ("--max_input_tokens", "300")]
)
@pytest.mark.parametrize("split", ["dev", "train"])
def test_every_row_finds_its_meeting_again_by_its_prompt(prepared, options, split):
    data, gold, source = prepared("--task", "all", *options, split=split)
    items = items_of(data / f"{split}_alpaca.json")
    joined = evaluation.join_gold(items, gold, str(source))
    assert [item.sample.output for item in joined] == [item.sample.output for item in items]
    assert {item.meeting for item in joined} == {"T1"}
    assert all(item.sample.places for item in joined)


def test_with_all_annotators_each_row_keeps_its_own_target(prepared, case):
    topics = [{"id": 6, "candidate": [{"title": "甲题"}, {"title": "乙题"}]}]
    data, gold, source = prepared("--candidates", "all", value=case(topic_segment_ids=topics))
    joined = evaluation.join_gold(items_of(data / "dev_alpaca.json"), gold, str(source))
    assert [item.sample.output for item in joined] == ["甲题", "乙题"]


def test_rows_of_another_corpus_or_another_budget_are_refused(prepared, case):
    data, gold, source = prepared("--task", "all")
    items = items_of(data / "dev_alpaca.json")
    other = replace(gold[0], sentences=(replace(gold[0].sentences[0], text="换一句。"), *gold[0].sentences[1:]))
    with pytest.raises(InputError) as error:
        evaluation.join_gold(items, [other], "other.csv")
    assert "do not come from other.csv" in error.value.message.en
    sentences = [{"id": i, "speaker": "甲", "s": f"第{i}句" + "话" * 30} for i in range(1, 61)]
    data, gold, source = prepared(
        "--task", "action_item_detection", "--max_input_tokens", 500, value=case(sentences=sentences)
    )
    (data / "preprocess.json").unlink()
    with pytest.raises(InputError, match="preprocess.json"):
        evaluation.join_gold(items_of(data / "dev_alpaca.json"), gold, str(source))


# -------------------------------------------------------------------------------------------------- answers -> scores


@pytest.mark.parametrize("target", ["ids", "text"])
def test_gold_answers_score_the_maximum_on_all_tracks(prepared, target):
    data, gold, source = prepared("--task", "all", "--es_target", target)
    joined = evaluation.join_gold(items_of(data / "dev_alpaca.json"), gold, str(source))
    scored = evaluation.score_items(joined, golden(joined))
    rows = evaluation.submissions(scored, gold)
    scores = {name: track["scores"]["score"] for name, track in evaluation.official_scores(rows, gold).items()}
    assert scores == {
        "topic_title_generation": pytest.approx(1, abs=1e-6),
        "extractive_summarization": pytest.approx(1, abs=1e-6),
        "topic_segmentation": 1,
        "keyphrase_extraction": pytest.approx(1, abs=1e-6),
        "action_item_detection": 1,
    }
    assert all(one.scores["rouge-l"] == pytest.approx(100, abs=1e-3) for one in scored)


def test_topic_and_session_summaries_are_one_row_of_one_track(prepared):
    data, gold, source = prepared("--task", "all")
    joined = evaluation.join_gold(items_of(data / "dev_alpaca.json"), gold, str(source))
    rows = evaluation.submissions(evaluation.score_items(joined, golden(joined)), gold)
    assert rows["extractive_summarization"]["T1"] == {
        "meeting_key": "T1",
        "topic_segment_ids": [{"id": 3, "key_sentence": ["2", "3"]}, {"id": 6, "key_sentence": ["5"]}],
        "key_sentence": ["2", "5"],
    }


@pytest.mark.parametrize("said", ["", "   ", "\n", ".", "。", "......", "<think>还没想完", "```\n```"])
def test_an_empty_answer_scores_0_stays_in_the_denominator_and_is_counted(said):
    items = evaluation.items([TITLE, TITLE], Options())
    scored = evaluation.score_items(items, [Completion("定春游地点"), Completion(said)])
    assert set(scored[1].scores.values()) == {0}
    (task,) = evaluation.by_task(scored).values()
    assert (task["n"], task["empty"]) == (2, 1)
    assert task["llamafactory"]["rouge-l"] == pytest.approx(50, abs=1e-3)


def test_the_raw_answer_is_scored_beside_the_cleaned_and_repairs_are_counted():
    items = evaluation.items([TITLE], Options())
    said = "好的，标题如下：\n**定春游地点**"
    scored = evaluation.score_items(items, [Completion(said)])
    assert (scored[0].answer.text, scored[0].completion.text) == ("定春游地点", said)
    task = evaluation.by_task(scored)["title_generation"]
    assert task["llamafactory"]["rouge-l"] == pytest.approx(100, abs=1e-3)
    assert task["llamafactory_raw"]["rouge-l"] < 90
    assert (task["repaired"], task["repairs"]) == (1, {"lead-in removed": 1, "markup removed": 1})


def test_an_answer_stopped_by_its_length_is_counted():
    items = evaluation.items([TITLE, TITLE], Options())
    scored = evaluation.score_items(items, [Completion("定春游地点", "length"), Completion("定春游地点", "stop")])
    assert evaluation.by_task(scored)["title_generation"]["stopped_by_length"] == 1


def test_a_foreign_row_is_scored_as_it_is_said():
    (one,) = evaluation.score_items(evaluation.items([FOREIGN], Options()), [Completion(" good ")])
    assert one.answer.text == "good"
    assert list(evaluation.by_task([one])) == ["other"]


def test_answers_and_items_must_be_of_one_number():
    with pytest.raises(ValueError):
        evaluation.score_items(evaluation.items([TITLE], Options()), [])


# ------------------------------------------------------------------------------------------------------- evaluate.py


@pytest.fixture
def model(tmp_path):
    """A folder that looks like an adapter until it is loaded."""
    from struct import pack

    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "nowhere"}')
    head = b'{"w": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}'
    (folder / "adapter_model.safetensors").write_bytes(pack("<Q", len(head)) + head + bytes(4))
    return folder


@pytest.fixture
def alpaca(tmp_path):
    path = tmp_path / "dev_alpaca.json"
    path.write_text(json.dumps([TITLE]), encoding="utf-8")
    return path


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("missing", ["model", "data", "gold", "weights"])
def test_what_is_missing_is_one_sentence_and_exit_2(run, tmp_path, model, alpaca, missing, lang):
    arguments = {
        "--model_path": model,
        "--data_path": alpaca,
        "--output_path": tmp_path / "out" / "r.json",
        "--lang": lang,
    }
    if missing == "model":
        arguments["--model_path"] = tmp_path / "none"
    elif missing == "data":
        arguments["--data_path"] = tmp_path / "none.json"
    elif missing == "gold":
        arguments["--gold"] = tmp_path / "none.csv"
    else:
        (model / "adapter_model.safetensors").write_bytes(b"")
    ran = run(evaluate, *(part for pair in arguments.items() for part in pair))
    assert ran.status == 2
    assert len(ran.err.strip().splitlines()) == 1
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out" / "r.json").exists()


def test_a_gold_file_with_a_rejected_row_is_refused(run, tmp_path, model, alpaca, corpus_file, case):
    gold = corpus_file(case(), "NA")
    ran = run(
        evaluate, "--model_path", model, "--data_path", alpaca, "--gold", gold, "--output_path", tmp_path / "r.json"
    )
    assert ran.status == 2
    assert "第 3 行" in ran.err


@pytest.mark.parametrize("number", ["0", "-3"])
def test_a_number_of_samples_that_is_none_is_a_wrong_argument(run, model, number):
    assert run(evaluate, "--model_path", model, "--num_samples", number).status == 2


@pytest.mark.slow
def test_run_by_itself_a_missing_model_leaves_no_traceback(tmp_path, alpaca):
    command = [sys.executable, Path(evaluate.__file__), "--model_path", tmp_path / "none", "--data_path", alpaca]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2
    assert len(ran.stderr.strip().splitlines()) == 1
