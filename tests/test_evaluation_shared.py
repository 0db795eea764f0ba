"""Evaluation of the layout ``shared``: questions find their meetings by transcript and question together."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

import evaluate
import preprocess_data
from mug import evaluation, predictions
from mug.alpaca import read_alpaca
from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.generation.base import Completion
from mug.tasks import TASKS
from mug.tasks.base import Options
from mug.tasks.shared import SHARED_TASKS


@pytest.fixture
def prepared(run, tmp_path, monkeypatch):
    """Preprocess a corpus file; return the Alpaca file and the gold meetings."""

    def make(source, *options, split="dev", layout="shared"):
        monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)
        out = tmp_path / f"data_{layout}"
        arguments = ["--layout", layout, "--task", "all", f"--{split}_input", source, "--output_dir", out]
        assert run(preprocess_data, *arguments, *options).status == 0
        return out / f"{split}_alpaca.json", list(read_meetings(source, Report()))

    return make


def items_of(path):
    return evaluation.items(read_alpaca(path), evaluation.options_of(path))


def official(items, gold):
    scored = evaluation.score_items(items, [Completion(item.sample.output) for item in items])
    rows = evaluation.submissions(scored, gold)
    found = evaluation.official_scores(rows, gold, intervals=False)
    return {name: track["scores"]["score"] for name, track in found.items()}


def test_the_question_tells_the_task_in_either_layout():
    asked = [
        {"instruction": task.instruction, "output": "1", "history": [["会议内容：", "好的。"]]}
        for task in SHARED_TASKS.values()
    ]
    found = evaluation.items(
        [*asked, {"instruction": TASKS["title_generation"].instruction, "output": "1"}], Options()
    )
    assert [item.task.name for item in found] == [*TASKS, "title_generation"]
    assert [type(item.task) for item in found] == [*SHARED_TASKS.values(), TASKS["title_generation"]]
    assert [item.sample.history for item in found] == [(("会议内容：", "好的。"),)] * 6 + [()]


def test_options_are_those_that_the_data_were_made_with(prepared, corpus_file, case):
    path, _ = prepared(corpus_file(case()), "--max_input_tokens", 700, "--candidates", "all", "--es_target", "text")
    assert json.loads((path.parent / "preprocess.json").read_text())["layout"] == "shared"
    assert evaluation.options_of(path) == Options(max_input_tokens=700, candidates="all", es_target="text")


@pytest.mark.parametrize(
    "options", [(), ("--candidates", "all"), ("--es_target", "text"), ("--max_input_tokens", "300")]
)
@pytest.mark.parametrize("split", ["dev", "train"])
def test_every_question_finds_its_meeting_again_by_transcript_and_question(
    prepared, corpus_file, case, options, split
):
    path, gold = prepared(corpus_file(case()), *options, split=split)
    items = items_of(path)
    joined = evaluation.join_gold(items, gold, "gold.csv")
    assert [item.sample.output for item in joined] == [item.sample.output for item in items]
    assert [item.sample.id for item in joined] == [item.sample.id for item in items]
    assert {item.meeting for item in joined} == {"T1"}
    assert all(item.sample.places for item in joined)


def test_questions_are_told_apart_by_their_transcripts(prepared, corpus_file, case):
    path, gold = prepared(corpus_file(case()))
    titles = [item for item in items_of(path) if item.task.name == "title_generation"]
    assert len({(item.sample.instruction, item.sample.input) for item in titles}) == 1
    assert [item.sample.topic for item in evaluation.join_gold(titles, gold, "gold.csv")] == [3, 6]


def test_questions_about_another_transcript_are_refused(prepared, corpus_file, case):
    path, _ = prepared(corpus_file(case()))
    value = case()
    value["sentences"][0]["s"] = "换一句。"
    gold = list(read_meetings(corpus_file(value, name="other.csv"), Report()))
    with pytest.raises(InputError) as error:
        evaluation.join_gold(items_of(path), gold, "other.csv")
    assert "do not come from other.csv" in error.value.message.en


def test_a_meeting_asked_in_part_is_left_out_though_its_questions_are_the_same(prepared, corpus_file, case):
    path, gold = prepared(corpus_file(case()))
    joined = evaluation.join_gold(items_of(path), gold, "gold.csv")
    assert evaluation.incomplete(joined, gold) == {}
    without = [item for item in joined if item.sample.id != "T1/title/6"]
    assert evaluation.incomplete(without, gold) == {"topic_title_generation": {"T1"}}


@pytest.mark.parametrize("target", ["ids", "text"])
def test_gold_answers_score_the_maximum_on_all_tracks(prepared, corpus_file, case, target):
    path, gold = prepared(corpus_file(case()), "--es_target", target)
    scores = official(evaluation.join_gold(items_of(path), gold, "gold.csv"), gold)
    assert scores == {name: pytest.approx(1, abs=1e-6) for name in set(evaluation.TRACK_OF.values())}


@pytest.mark.parametrize("source", ["real", "sample"])
@pytest.mark.parametrize("options", [("--estimate_tokens",), ("--estimate_tokens", "--max_input_tokens", 600)])
def test_gold_answers_score_on_meetings_what_they_score_apart(prepared, request, source, options):
    if source == "real":
        corpus = request.getfixturevalue("shared") / "data" / "real_dev3.csv"
    else:
        corpus = request.getfixturevalue("sample_corpus") / "dev.csv"
    scores = {}
    for layout in ("separate", "shared"):
        path, gold = prepared(corpus, *options, layout=layout)
        scores[layout] = official(evaluation.join_gold(items_of(path), gold, str(corpus)), gold)
    assert len(scores["shared"]) == 5
    for name, score in scores["shared"].items():
        assert score == pytest.approx(scores["separate"][name], abs=0.02 if "keyphrase" in name else 1e-9)
    for name in ("topic_segmentation", "action_item_detection"):
        assert scores["shared"][name] == 1


def test_answers_to_other_transcripts_are_not_taken_for_these(prepared, corpus_file, case):
    path, _ = prepared(corpus_file(case()))
    samples = [item.sample for item in items_of(path) if item.task.name == "title_generation"]
    assert predictions.prompts_digest(samples) != predictions.prompts_digest(samples[::-1])
    separate, _ = prepared(corpus_file(case()), layout="separate")
    assert predictions.prompts_digest([item.sample for item in items_of(separate)])


def test_a_results_row_shows_the_transcript_that_was_asked_about(prepared, corpus_file, case):
    path, gold = prepared(corpus_file(case()))
    items = evaluation.join_gold(items_of(path), gold, "gold.csv")
    rows = list(map(evaluation.as_row, evaluation.score_items(items, [Completion("1")] * len(items))))
    assert rows[0]["input"] == "会议内容：\n1. [甲]: 先定春游地点。\n2. [乙]: 去湿地公园吧。\n3. [甲]: 同意。"
    (window,) = [row for row in rows if row["task"] == "action_item_detection"]
    assert len(window["input"].split("\n")) == 7  # the header and six sentences
    assert len(window["places"]) == 6


@pytest.mark.parametrize(
    "history", ["会议", {"a": 1}, ["会议"], [["会议"]], [["会议", 1]], [["会议", "好的。", "好"]], [["会议", None]]]
)
def test_a_history_that_is_no_list_of_pairs_is_refused(tmp_path, history):
    path = tmp_path / "dev_alpaca.json"
    path.write_text(json.dumps([{"instruction": "问", "input": "", "output": "答", "history": history}]))
    with pytest.raises(InputError) as error:
        read_alpaca(path)
    assert "sample 1: history" in error.value.message.en


@pytest.mark.parametrize("history", [[], None, "", [["会议", "好的。"]]])
def test_an_empty_history_is_none(tmp_path, history):
    path = tmp_path / "dev_alpaca.json"
    path.write_text(json.dumps([{"instruction": "问", "input": "", "output": "答", "history": history}]))
    (item,) = evaluation.items(read_alpaca(path), Options())
    assert item.sample.history == ((("会议", "好的。"),) if history else ())


@pytest.mark.parametrize(
    ("data", "model", "warned"),
    [
        ("shared", "separate", True),
        ("separate", "shared", True),
        ("shared", "shared", False),
        ("separate", None, False),
        (None, "shared", False),
    ],
)
def test_data_of_another_layout_than_the_models_are_one_sentence(tmp_path, capsys, data, model, warned):
    for name, layout in (("data", data), ("lora", model)):
        (tmp_path / name / "checkpoint-8").mkdir(parents=True)
        if layout:
            (tmp_path / name / "preprocess.json").write_text(json.dumps({"tokenizer": None, "layout": layout}))
    args = Namespace(data_path=tmp_path / "data" / "dev_alpaca.json", model_path=tmp_path / "lora", lang="en")
    for path in (args.model_path, args.model_path / "checkpoint-8"):
        for backend in ("transformers", "vllm", "api"):
            evaluate.warn_of_layout(Namespace(**vars(args) | {"model_path": path, "backend": backend}))
            said = capsys.readouterr().err
            assert said.count("\n") == warned
            assert not warned or (f"--layout {model}" in said and f"of the layout {data}" in said)
    evaluate.warn_of_layout(Namespace(**vars(args) | {"backend": "baseline"}))
    evaluate.warn_of_layout(Namespace(**vars(args) | {"backend": "api", "model_path": None}))
    assert capsys.readouterr().err == ""
