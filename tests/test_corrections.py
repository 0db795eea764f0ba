"""Edits of minutes on their way to samples for the next training."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace

import pytest

import export_corrections
import preprocess_data
from mug import corrections, tokens
from mug.alpaca import read_alpaca
from mug.meeting import Candidate, Meeting, Topic
from mug.minutes.checks import verify
from mug.minutes.model import Chapter, Minutes
from mug.minutes.pipeline import participants_of
from mug.prompting import Prompting
from mug.tasks.action_item_detection import ActionItemDetection
from mug.tasks.base import NONE, Options, Sample
from mug.tasks.shared import SHARED_TASKS
from mug.tasks.title_generation import TitleGeneration
from mug.transcripts.reading import read_transcript
from mug.web import editing

MEETING = read_transcript(export_corrections.ROOT / "dataset" / "sample" / "sample_meeting.vtt").meeting


@pytest.fixture(scope="module")
def minutes():
    recording = read_transcript(export_corrections.ROOT / "dataset" / "sample" / "sample_meeting.vtt")
    sentences = recording.meeting.sentences
    made = Minutes(
        title=recording.title,
        title_generated=False,
        date="",
        engine="baseline",
        sentences=sentences,
        participants=participants_of(sentences)[0],
        keyphrases=(),
        generated_keyphrases=(),
        chapters=(Chapter(1, 35, "公司和老板"), Chapter(36, 60, "财务"), Chapter(61, 75, "押金")),
        summary=(),
        action_items=(),
    )
    found = [editing.action_at(made, place) for place in (15, 34, 41, 73)]
    made = replace(made, action_items=tuple(found))
    verify(made)
    return made


def edit_title(minutes, number, title):
    return corrections.of_title(minutes, minutes.chapters[number - 1], title, MEETING)


def edit_actions(before, after, place):
    return corrections.of_action(before, after, place, MEETING)


def read(folder):
    reading = corrections.Reading()
    return list(corrections.read(sorted(folder.glob("*.jsonl")), reading)), reading


def plain(edits):
    return [replace(edit, time="") for edit in edits]


# --- keeping ---------------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_read_back_the_same(minutes, tmp_path):
    after = editing.delete_action(minutes, 15)
    edits = [edit_title(minutes, 2, "宽带与工位"), *edit_actions(minutes, after, 15)]
    for edit in edits:
        path = corrections.record(tmp_path / "kept", [edit])
    found, reading = read(tmp_path / "kept")
    assert plain(found) == edits and all(edit.time for edit in found)
    assert (reading.edits, reading.damaged) == (2, [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # it holds what people said


def test_a_title_is_kept_with_its_chapter_alone(minutes):
    edit = edit_title(minutes, 2, "宽带与工位")
    chapter = minutes.chapters[1]
    assert (edit.start, edit.end) == (chapter.start, chapter.end)
    assert edit.sentences == tuple((s.speaker, s.text) for s in minutes.sentences[chapter.start - 1 : chapter.end])
    assert (edit.before, edit.after) == (chapter.title, "宽带与工位")


def test_a_line_that_a_killed_process_left_does_not_take_the_next_one_with_it(minutes, tmp_path):
    path = corrections.record(tmp_path, [edit_title(minutes, 1, "一")])
    path.write_bytes(path.read_bytes()[:-40])  # within its line
    corrections.record(tmp_path, [edit_title(minutes, 2, "二")])
    found, reading = read(tmp_path)
    assert [edit.after for edit in found] == ["二"]
    assert [number for _, number, _ in reading.damaged] == [1]


def test_a_full_disk_leaves_the_file_as_it_was(minutes, tmp_path, monkeypatch):
    path = corrections.record(tmp_path, [edit_title(minutes, 1, "一")])
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        corrections.record(tmp_path, [edit_title(minutes, 2, "二")])
    assert path.read_bytes() == before


def test_many_at_once_write_whole_lines(minutes, tmp_path):
    edits = [edit_title(minutes, 1, f"标题{number}") for number in range(40)]
    threads = [threading.Thread(target=corrections.record, args=(tmp_path, [edit])) for edit in edits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, reading = read(tmp_path)
    assert {edit.after for edit in found} == {f"标题{number}" for number in range(40)}
    assert reading.damaged == []


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"task": "keyphrase_extraction"},
        {"after": "  "},
        {"after": 3},
        {"start": 2},
        {"start": True},
        {"sentences": [["甲"]]},
        {"sentences": None},
        {"paragraph_ends": [36]},
        {"paragraph_ends": "35"},
        {"task": "action_item_detection", "before": [], "after": [99]},
    ],
)
def test_a_line_that_is_no_edit_is_named_and_passed_over(minutes, tmp_path, change):
    path = corrections.record(tmp_path, [edit_title(minutes, 1, "一")])
    good = path.read_text("utf-8")
    path.write_text(json.dumps(json.loads(good) | change) + "\n" + good + "[]\nnull\n{\n", "utf-8")
    found, reading = read(tmp_path)
    assert [edit.after for edit in found] == ["一"]
    assert [number for _, number, _ in reading.damaged] == [1, 3, 4, 5]


# --- samples ---------------------------------------------------------------------------------------------------------


def test_an_edited_title_is_asked_for_with_the_prompt_of_training(minutes):
    (sample,) = corrections.samples(edit_title(minutes, 2, "宽带与工位"), Prompting())
    chapters = tuple(Topic(c.start, c.end, (Candidate(title="宽带与工位"),)) for c in minutes.chapters)
    expected = list(TitleGeneration().samples(Meeting("T1", minutes.sentences, topics=chapters), "train"))[1]
    assert (sample.instruction, sample.input, sample.output) == (
        expected.instruction,
        expected.input,
        "宽带与工位",
    )


def test_a_deleted_and_an_added_item_correct_the_window_that_training_would_show(minutes):
    after = editing.set_action(editing.delete_action(minutes, 15), 72, "搬家前后拍照", "", "")
    (edit,) = edit_actions(minutes, after, 72)
    (sample,) = corrections.samples(edit, Prompting())
    (expected,) = ActionItemDetection().samples(Meeting("T1", minutes.sentences, action_ids=(34, 41, 72, 73)), "dev")
    assert (sample.instruction, sample.input) == (expected.instruction, expected.input)
    assert sample.output == expected.output == "34, 41, 72, 73"


def test_a_window_without_any_item_left_teaches_none(minutes):
    after = minutes
    for item in minutes.action_items:
        after = editing.delete_action(after, item.evidence.place)
    (edit,) = edit_actions(minutes, after, 15)
    (sample,) = corrections.samples(edit, Prompting(options=Options(negative_ratio=0)))
    assert sample.output == NONE


def test_an_edit_in_a_long_meeting_is_kept_with_its_windows_alone(minutes):
    long = replace(minutes, sentences=minutes.sentences * 8, action_items=())
    after = editing.set_action(long, 300, "x", "", "")
    edits = edit_actions(long, after, 300)
    windows = [
        sample.places
        for sample in ActionItemDetection().samples(Meeting("T1", long.sentences), "test")
        if isinstance(sample, Sample) and 300 in sample.places
    ]
    assert [(edit.start, edit.end) for edit in edits] == [(places[0], places[-1]) for places in windows]
    assert all(len(edit.sentences) < len(long.sentences) for edit in edits)
    (sample,) = corrections.samples(edits[0], Prompting())
    number = int(sample.output)
    assert sample.input.split("\n")[number].startswith(f"{number}. [")
    assert sample.input.split("\n")[number].endswith(long.sentences[299].text)


def test_the_last_of_several_edits_counts(minutes):
    other = replace(minutes, sentences=minutes.sentences[::-1])
    edits = [edit_title(minutes, 1, "一"), edit_title(other, 1, "别的会"), edit_title(minutes, 1, "二")]
    assert [edit.after for edit in corrections.settled(iter(edits))] == ["二", "别的会"]


def test_the_last_edit_of_an_item_counts_in_every_window_that_shows_its_place(minutes):
    narrow = Prompting("shared", Options(max_input_tokens=600))
    without = editing.delete_action(minutes, 15)
    again = editing.set_action(without, 15, "签合同", "", "")
    early = corrections.of_action(minutes, without, 15, MEETING, narrow)
    late = corrections.of_action(without, again, 15, MEETING, Prompting())
    assert [15 in edit.after for edit in early] == [False, False] and [edit.after for edit in late] == [
        (15, 34, 41, 73)
    ]
    settled = corrections.settled(iter([*early, *late]))
    for edit in settled:
        assert edit.after == tuple(place for place in (15, 34, 41, 73) if edit.start <= place <= edit.end)
    assert len(settled) == 3
    assert not any(15 in edit.after for edit in corrections.settled(iter([*late, *early])))


PARTS = replace(MEETING, paragraph_ends=(*range(5, len(MEETING.sentences), 5), len(MEETING.sentences)))
"""The sample meeting in paragraphs of five sentences."""


def shared_samples(name, options, **labels):
    task = SHARED_TASKS[name](options)
    return [s for s in task.samples(replace(PARTS, **labels), "dev") if isinstance(s, Sample)]


def test_edits_teach_the_questions_of_the_shared_layout_to_the_last_empty_line(minutes, tmp_path):
    how = Prompting("shared", Options(max_input_tokens=600))
    after = editing.set_action(editing.delete_action(minutes, 15), 72, "搬家前后拍照", "", "")
    title = corrections.of_title(minutes, minutes.chapters[1], "宽带与工位", PARTS)
    corrections.record(tmp_path, [title])
    for place in (15, 72):
        corrections.record(tmp_path, corrections.of_action(minutes, after, place, PARTS, how))
    found, _ = read(tmp_path)
    made = [corrections.samples(edit, how) for edit in corrections.settled(iter(found))]
    chapters = tuple(Topic(c.start, c.end, (Candidate(title="宽带与工位"),)) for c in minutes.chapters)
    titles = [s for s in shared_samples(TitleGeneration.name, how.options, topics=chapters) if s.topic == 60]
    windows = shared_samples(ActionItemDetection.name, how.options, action_ids=(34, 41, 72, 73))
    touched = [window for window in windows if {15, 72} & set(window.places)]
    assert len(windows) > len(touched) > 1 and len(made) == 1 + len(touched)
    assert [(s.history, s.instruction, s.output) for samples in made for s in samples] == [
        (s.history, s.instruction, s.output) for s in (*titles, *touched)
    ]
    assert "\n\n" in touched[0].history[0][0]


def test_an_edit_from_before_paragraphs_were_kept_is_one_paragraph(minutes, tmp_path):
    path = corrections.record(tmp_path, edit_actions(minutes, editing.delete_action(minutes, 15), 15))
    line = json.loads(path.read_text("utf-8"))
    assert line.pop("paragraph_ends") == list(MEETING.paragraph_ends)
    path.write_text(json.dumps(line) + "\n", "utf-8")
    (edit,), reading = read(tmp_path)
    assert edit.paragraph_ends == () and reading.damaged == []
    (sample,) = corrections.samples(edit, Prompting("shared"))
    assert "\n\n" not in sample.history[0][0] and sample.output == "34, 41, 73"


# --- the script ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(minutes, tmp_path):
    """A folder with a title that was edited twice and an action item that was deleted."""
    folder = tmp_path / "corrections"
    corrections.record(folder, [edit_title(minutes, 2, "宽带")])
    corrections.record(folder, [edit_title(minutes, 2, "宽带与工位")])
    corrections.record(folder, edit_actions(minutes, editing.delete_action(minutes, 15), 15))
    return folder


def test_the_script_writes_the_samples_and_their_name(run, kept, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    others = {"alimeeting4mug_train": {"file_name": "train_alpaca.json"}}
    (data / "dataset_info.json").write_text(json.dumps(others))
    done = run(export_corrections, "--input", kept, "--output_dir", data)
    assert done.status == 0, done.err
    assert "读到 3 次修改：标题样本 1 条，行动项样本 1 条" in done.out
    assert f"dataset=alimeeting4mug_train,mug_corrections dataset_dir={data}" in done.out
    rows = read_alpaca(data / "mug_corrections.json")
    assert [row["output"] for row in rows] == ["宽带与工位", "34, 41, 73"]
    assert [row["instruction"] for row in rows] == [TitleGeneration.instruction, ActionItemDetection.instruction]
    assert len({row["id"] for row in rows}) == 2
    info = json.loads((data / "dataset_info.json").read_text("ascii"))
    assert info["mug_corrections"]["file_name"] == "mug_corrections.json"
    assert info["alimeeting4mug_train"] == others["alimeeting4mug_train"]


def test_the_script_writes_the_layout_of_the_data_that_it_writes_beside(run, kept, tmp_path, corpus_file, case):
    data = tmp_path / "data"
    options = ["--layout", "shared", "--max_input_tokens", 600, "--estimate_tokens", "--output_dir", data]
    assert run(preprocess_data, "--train_input", corpus_file(case()), *options).status == 0
    before = json.loads((data / "dataset_info.json").read_text())
    done = run(export_corrections, "--input", kept, "--output_dir", data)
    assert done.status == 0, done.err
    assert (
        "scripts/train.py" in done.out and "mug_tree=true cutoff_len=4096 dataset=alimeeting4mug_train,mug" in done.out
    )
    rows = read_alpaca(data / "mug_corrections.json")
    asked = [SHARED_TASKS[name].instruction for name in (TitleGeneration.name, ActionItemDetection.name)]
    assert list(dict.fromkeys(row["instruction"] for row in rows)) == asked
    assert len(rows) > 2  # of the window of the separate layout several were made, of 600 tokens each
    for row in rows:
        ((trunk, answer),) = row["history"]
        assert tokens.estimate([trunk])[0] <= 600 and answer == "好的。" and len(row["ids"]) == 1
    assert len({row["ids"][0] for row in rows}) == len(rows)
    info = json.loads((data / "dataset_info.json").read_text())
    assert info["mug_corrections"]["columns"] == info["alimeeting4mug_train"]["columns"]
    assert info["alimeeting4mug_train"] == before["alimeeting4mug_train"]
    assert run(export_corrections, "--input", kept, "--output_dir", data, "--max_input_tokens", 2400).status == 0
    assert len(read_alpaca(data / "mug_corrections.json")) == 2


def test_a_damaged_record_of_the_data_is_one_sentence(run, kept, tmp_path):
    (tmp_path / "preprocess.json").write_text("{")
    done = run(export_corrections, "--input", kept, "--output_dir", tmp_path, "--lang", "en")
    assert done.status == 2 and done.err.count("\n") == 1 and "preprocess.json is damaged" in done.err


def test_meetings_of_the_dev_set_are_left_out_and_the_old_data_set_with_them(run, kept, tmp_path, sample_corpus):
    data = tmp_path / "data"
    assert run(export_corrections, "--input", kept, "--output_dir", data).status == 0
    done = run(export_corrections, "--input", kept, "--output_dir", data, "--dev_input", sample_corpus / "dev.csv")
    assert done.status == 0
    assert "会议在验证集里，未取: 2" in done.out
    assert not (data / "mug_corrections.json").exists()
    assert "mug_corrections" not in json.loads((data / "dataset_info.json").read_text())


def test_what_training_would_cut_is_left_out_and_counted(run, kept, tmp_path):
    done = run(export_corrections, "--input", kept, "--output_dir", tmp_path / "data", "--cutoff_len", 400)
    assert "标题样本 1 条，行动项样本 0 条" in done.out and "超过 cutoff_len" in done.out


def test_a_damaged_line_is_named_and_the_status_says_so(run, kept, tmp_path):
    (path,) = kept.glob("*.jsonl")
    path.write_bytes(path.read_bytes() + b'{"version": 1, "task"')
    done = run(export_corrections, "--input", kept, "--output_dir", tmp_path / "data")
    assert done.status == 1
    assert f"{path} 第 4 行略过" in done.err
    assert len(read_alpaca(tmp_path / "data" / "mug_corrections.json")) == 2


def test_no_edits_is_an_error_that_says_where_they_come_from(run, tmp_path):
    done = run(export_corrections, "--input", tmp_path, "--output_dir", tmp_path / "data", "--lang", "en")
    assert done.status == 2
    assert "holds no edits" in done.err and "webapp.py" in done.err
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["separate", "shared"])
def test_llamafactory_loads_them_beside_the_training_set(run, kept, tmp_path, sample_corpus, monkeypatch, layout):
    pytest.importorskip("llamafactory")
    from llamafactory.data.data_utils import merge_dataset
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments

    data = tmp_path / "data"
    train = [
        "--layout",
        layout,
        "--train_input",
        sample_corpus / "train.csv",
        "--task",
        "all",
        "--estimate_tokens",
        "--output_dir",
        data,
    ]
    assert run(preprocess_data, *train).status == 0
    assert run(export_corrections, "--input", kept, "--output_dir", data).status == 0
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    names = ["alimeeting4mug_train", "mug_corrections"]
    data_args = DataArguments(template="qwen", dataset=",".join(names), dataset_dir=str(data), overwrite_cache=True)
    training_args = Seq2SeqTrainingArguments(output_dir=str(tmp_path / "out"), do_train=True, report_to=[])
    model_args = ModelArguments(model_name_or_path="none", cache_dir=str(tmp_path / "cache"))
    parts = [
        _load_single_dataset(attributes, model_args, data_args, training_args)
        for attributes in get_dataset_list(names, str(data))
    ]
    merged = merge_dataset(parts, data_args, seed=42)
    assert len(merged) == len(read_alpaca(data / "train_alpaca.json")) + 2
    assert merged[len(merged) - 2]["_response"] == [{"role": "assistant", "content": "宽带与工位"}]
