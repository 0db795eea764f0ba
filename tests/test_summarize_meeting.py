"""The command line from a transcript, a folder or a gold CSV to its files."""

from __future__ import annotations

import json

import pytest

import evaluate
import summarize_meeting
from mug.generation.baseline import BaselineEngine
from mug.minutes.json_format import minutes_of
from mug.tasks.shared import SHARED_TASKS

TXT = "张三: 先定春游地点。\n李四: 去湿地公园吧。\n张三: 那李四你周三之前把报价发给我。\n李四: 好。\n"


@pytest.fixture
def transcript(tmp_path):
    path = tmp_path / "周会.txt"
    path.write_text(TXT, "utf-8")
    return path


def test_without_output_markdown_and_html_lie_beside_the_transcript(run, transcript):
    done = run(summarize_meeting, transcript)
    assert (done.status, done.err) == (0, "")
    assert {path.name for path in transcript.parent.iterdir()} == {"周会.txt", "周会.minutes.md", "周会.minutes.html"}
    assert "没有给出模型" in done.out and "1 个行动项" in done.out
    page = (transcript.parent / "周会.minutes.md").read_text("utf-8")
    assert "| 那李四你周三之前把报价发给我。 | 李四（推导） | 周三之前（推导） | [张三](#s3) |" in page
    assert "没有使用模型：由基线规则（baseline）" in page


def test_every_output_by_its_ending(run, transcript, tmp_path):
    outputs = [tmp_path / "out" / f"x.{ending}" for ending in ("md", "html", "docx", "json")]
    done = run(
        summarize_meeting, transcript, *(part for path in outputs for part in ("--output", path)), "--lang", "en"
    )
    assert done.status == 0 and "Written: " in done.out
    assert [path.read_bytes()[:2] for path in outputs] == [b"# ", b"<!", b"PK", b"{\n"]
    minutes = minutes_of(json.loads(outputs[3].read_text("utf-8")))
    assert [sentence.text for sentence in minutes.sentences][2] == "那李四你周三之前把报价发给我。"
    assert (minutes.engine, minutes.source) == ("baseline", "周会.txt")
    assert "## Action items" in outputs[0].read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "x.pdf"], "不认识输出 x.pdf 的后缀"),
        (["--output", "{input}"], "不认识输出"),
    ],
)
def test_a_wrong_output_is_refused_before_the_work(run, transcript, monkeypatch, arguments, sentence):
    monkeypatch.setattr(BaselineEngine, "generate", None)
    done = run(summarize_meeting, transcript, *(part.format(input=transcript) for part in arguments))
    assert done.status == 2 and sentence in done.err and len(done.err.strip().splitlines()) == 1


def test_the_output_of_one_file_needs_a_file_name(run, transcript, tmp_path):
    (tmp_path / "v1.2").mkdir()
    for output in (tmp_path / "minutes", tmp_path / "v1.2"):
        done = run(summarize_meeting, transcript, "--output", output)
        assert done.status == 2 and done.err.count("\n") == 1
        assert f"请写出文件名，如 {output}/会议.docx" in done.err
        assert (
            f"such as {output}/meeting.docx"
            in run(summarize_meeting, transcript, "--output", output, "--lang", "en").err
        )
    assert f"如 {tmp_path}/x.docx" in run(summarize_meeting, transcript, "--output", tmp_path / "x.pdf").err


def test_an_input_that_is_not_there_is_told_before_what_is_wrong_with_the_output(run, tmp_path):
    for output in (tmp_path / "minutes", tmp_path / "x.pdf"):
        done = run(summarize_meeting, tmp_path / "recordings", "--output", output, "--formats", "md,docx")
        assert done.status == 2 and done.err.startswith(f"打不开 {tmp_path / 'recordings'}（")
        assert done.err.count("\n") == 1 and "后缀" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_not_overwritten(run, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    done = run(summarize_meeting, path, "--output", path)
    assert done.status == 2 and "会覆盖输入" in done.err
    assert path.read_text() == "{}"


def test_a_bad_file_gives_one_sentence(run, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\x00\x01")
    done = run(summarize_meeting, tmp_path / "bad.txt")
    assert done.status == 2 and len(done.err.strip().splitlines()) == 1 and "bad.txt" in done.err
    assert not list(tmp_path.glob("*.md"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--backend", "vllm"],
        ["--backend", "transformers"],
        ["--backend", "api"],
        ["--formats", "md,pdf"],
        ["--score"],
    ],
)
def test_wrong_arguments_leave_with_2(run, transcript, arguments):
    assert run(summarize_meeting, transcript, *arguments).status == 2


def test_a_folder(run, transcript, tmp_path):
    (transcript.parent / "坏.txt").write_bytes(b"\x00\x01")
    (transcript.parent / "说明.md").write_text("x")
    output = tmp_path / "minutes"
    done = run(summarize_meeting, transcript.parent, "--output", output, "--formats", "html,json")
    assert done.status == 1 and done.err == ""
    assert "略过：" in done.out and "说明.md" in done.out
    assert "[1/2] 周会.txt  " in done.out and "4 句，1 章，1 个行动项" in done.out
    assert "[2/2] 坏.txt  失败：" in done.out
    assert "完成 1，先前已完成 0，失败 1" in done.out
    assert {path.name for path in output.iterdir()} == {".minutes_state.json", "周会.html", "周会.json"}
    (transcript.parent / "坏.txt").unlink()
    done = run(summarize_meeting, transcript.parent, "--output", output, "--formats", "html,json")
    assert done.status == 0 and "[1/1] 周会.txt  先前已完成，略过" in done.out


def test_a_folders_output_is_another_folder(run, transcript, tmp_path):
    for output in (transcript.parent, transcript, tmp_path / "minutes.html"):
        done = run(summarize_meeting, transcript.parent, "--output", output)
        assert done.status == 2 and "应是另一个文件夹" in done.err
    assert [path.name for path in transcript.parent.iterdir()] == ["周会.txt"]


def test_formats_of_outputs_that_are_not_named(run, transcript):
    assert run(summarize_meeting, transcript, "--formats", "json").status == 0
    assert {path.name for path in transcript.parent.iterdir()} == {"周会.txt", "周会.minutes.json"}


def test_scores_of_a_gold_file(run, sample_corpus, tmp_path):
    done = run(summarize_meeting, sample_corpus / "dev.csv", "--score", "--output", tmp_path / "scores.json")
    assert done.status == 0, done.err
    found = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert found["settings"]["engine"]["engine"] == "baseline"
    for track, one in found["end_to_end"].items():
        line = next(line for line in done.out.splitlines() if line.startswith(track))
        assert f"{100 * one['scores']['score']:.2f}" in line
        assert line.endswith("*") == (track in found["gold_topics"])
    assert "不能与官方得分相比" in done.out


def test_an_interruption_is_one_sentence(run, transcript, monkeypatch):
    def stopped(self, samples):
        raise KeyboardInterrupt

    monkeypatch.setattr(BaselineEngine, "generate", stopped)
    done = run(summarize_meeting, transcript)
    assert done.status == 1 and done.err.startswith("已中断")
    assert [path.name for path in transcript.parent.iterdir()] == ["周会.txt"]


def test_a_disk_that_can_not_be_written(run, transcript, tmp_path):
    (tmp_path / "file").write_text("x")
    done = run(summarize_meeting, transcript, "--output", tmp_path / "file" / "x.md")
    assert done.status == 1 and done.err.startswith("写不了结果")


def test_a_models_answers_outlive_a_stop_and_go_when_the_work_is_done(run, transcript, tmp_path, monkeypatch):
    """A stand-in for a served model that answers as the baseline does, and is stopped after four answers."""
    asked = []

    class Served(BaselineEngine):
        name = "api"
        stop_after = 4

        def generate(self, samples):
            for index, completion in super().generate(samples):
                if len(asked) == self.stop_after:
                    raise KeyboardInterrupt
                asked.append(samples[index].id)
                yield index, completion

    monkeypatch.setattr(summarize_meeting, "load", lambda *_: (Served(), {"engine": "api"}))
    server = ["--api_base", "http://127.0.0.1:1/v1", "--api_model", "qwen"]
    command = [transcript, *server, "--output", tmp_path / "x.json"]
    assert run(summarize_meeting, *command).status == 1
    assert {path.name for path in tmp_path.iterdir()} == {"周会.txt", ".x.json.answers.jsonl"}
    Served.stop_after = 99
    assert run(summarize_meeting, *command).status == 0
    assert len(asked) == len(set(asked)) == 7  # three rounds: 3, 2 and 2 prompts
    assert {path.name for path in tmp_path.iterdir()} == {"周会.txt", "x.json"}
    minutes = minutes_of(json.loads((tmp_path / "x.json").read_text("utf-8")))
    assert minutes.engine == "qwen (127.0.0.1)"


class Served(BaselineEngine):
    """A stand-in for a served model that answers as the baseline does; it keeps what it was asked, and may stop."""

    name = "api"

    def __init__(self, stop_after=99):
        super().__init__()
        self.asked, self.stop_after = [], stop_after

    def generate(self, samples):
        for index, completion in super().generate(samples):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(samples[index])
            yield index, completion


@pytest.fixture
def ask(run, monkeypatch):
    """Run the script with a served model; return the run and what the model was asked."""

    def call(*arguments, stop_after=99):
        engine = Served(stop_after)
        monkeypatch.setattr(summarize_meeting, "load", lambda *_: (engine, {"engine": "api"}))
        server = ["--backend", "api", "--api_base", "http://127.0.0.1:1/v1"]
        return run(summarize_meeting, *arguments, *server), engine.asked

    return call


@pytest.fixture
def trained_on_shared(tmp_path):
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "preprocess.json").write_text('{"tokenizer": null, "layout": "shared", "es_target": "text"}')
    return folder


def test_a_model_of_the_shared_layout_is_asked_its_own_prompts_and_goes_on_with_them_after_a_stop(
    ask, transcript, trained_on_shared, tmp_path
):
    command = [transcript, "--model_path", trained_on_shared, "--output", tmp_path / "x.json"]
    stopped, first = ask(*command, stop_after=4)
    done, second = ask(*command)
    assert (stopped.status, done.status, len(first)) == (1, 0, 4)
    asked = [(sample.history, sample.instruction) for sample in (*first, *second)]
    assert len(asked) == len(set(asked)) == 7
    assert all(history and "会议内容：" in history[0][0] for history, _ in asked)
    by_text = {SHARED_TASKS[name].ask_text for name in ("extractive_summary", "session_summary")}
    assert by_text < {question for _, question in asked}
    assert not list(tmp_path.glob(".*"))


def test_a_served_model_whose_folder_is_not_named_is_asked_the_separate_prompts(ask, transcript, tmp_path):
    done, asked = ask(transcript, "--output", tmp_path / "x.json")
    assert done.status == 0 and asked and not any(sample.history for sample in asked)
    done, asked = ask(transcript, "--output", tmp_path / "x.json", "--model_path", tmp_path / "none")
    assert done.status == 2 and "--model_path" in done.err and asked == []


def test_a_damaged_record_of_the_prompts_is_one_sentence(ask, transcript, trained_on_shared, tmp_path):
    (trained_on_shared / "preprocess.json").write_text('{"tokenizer": null, "layout": "both"}')
    done, asked = ask(transcript, "--output", tmp_path / "x.json", "--model_path", trained_on_shared)
    assert done.status == 2 and done.err.count("\n") == 1 and "已损坏" in done.err and asked == []


def test_a_folder_is_made_again_when_the_model_is_asked_in_another_way(ask, transcript, trained_on_shared, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(TXT, "utf-8")
    command = [folder, "--output", tmp_path / "out", "--formats", "json", "--model_path", trained_on_shared]
    first = ask(*command)[1]
    assert len(first) == 7 and all(sample.history for sample in first)
    assert len(ask(*command)[1]) == 0
    (trained_on_shared / "preprocess.json").unlink()
    again = ask(*command)[1]
    assert len(again) == 7 and not any(sample.history for sample in again)


def test_scores_are_those_of_the_models_own_prompts(ask, sample_corpus, trained_on_shared, tmp_path):
    done, asked = ask(
        sample_corpus / "dev.csv",
        "--score",
        "--output",
        tmp_path / "scores.json",
        "--model_path",
        trained_on_shared,
        stop_after=9999,
    )
    assert done.status == 0, done.err
    assert len(asked) > 50 and all(sample.history for sample in asked)
    found = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert found["settings"]["prompts"] == {
        "layout": "shared", "max_input_tokens": 2400, "es_target": "text", "estimated": True,
    }  # fmt: skip


# ------------------------------------------------------------------------------------ the whole way, with a tiny model


@pytest.mark.slow
def test_from_data_of_the_shared_layout_through_training_and_merging_to_minutes(
    run, project, sample_corpus, tmp_path, monkeypatch
):
    """Each model of the way, a checkpoint too, is asked what the data ask; data of the other layout are warned of."""
    import torch

    from mug.generation.transformers_engine import TransformersEngine

    torch.set_num_threads(1)
    data, output, merged = tmp_path / "data", tmp_path / "lora", tmp_path / "merged"
    inputs = ["--train_input", sample_corpus / "train.csv", "--dev_input", sample_corpus / "dev.csv"]
    project.script(
        "preprocess_data.py", "--layout", "shared", "--task", "all", *inputs, "--output_dir", data, "--tokenizer",
        project.model,
    )  # fmt: skip
    keys = [f"model_name_or_path={project.model}", f"dataset_dir={data}", f"output_dir={output}", "cutoff_len=4096"]
    short = ["max_samples=16", "save_steps=1", "eval_strategy=no", "load_best_model_at_end=false", "logging_steps=1"]
    fast = ["mug_speed=true", "mug_tree=true"]
    project.script("train.py", "configs/train_smoke.yaml", *keys, *short, *fast)
    paths = [f"model_name_or_path={project.model}", f"adapter_name_or_path={output}", f"export_dir={merged}"]
    project.script("export_model.py", "configs/merge.yaml", *paths)
    assert (output / "preprocess.json").read_bytes() == (data / "preprocess.json").read_bytes()
    assert (merged / "preprocess.json").read_bytes() == (data / "preprocess.json").read_bytes()
    assert "`shared`" in (output / "README.md").read_text("utf-8")

    calls = []
    generate = TransformersEngine.generate

    def seen(self, samples):
        calls.append(list(samples))
        yield from generate(self, samples)

    monkeypatch.setattr(TransformersEngine, "generate", seen)
    written = {
        (tuple(map(tuple, row["history"])), row["instruction"])
        for row in json.loads((data / "dev_alpaca.json").read_text("utf-8"))
    }
    key = json.loads((data / "dev_alpaca.json").read_text("utf-8"))[0]["id"].split("/")[0]
    checkpoint = max(output.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    for model in (output, checkpoint, merged):
        calls.clear()
        done = run(
            summarize_meeting, sample_corpus / "dev.csv", "--meeting", key, "--model_path", model, "--output",
            tmp_path / "x.json", "--max_new_tokens", 4,
        )  # fmt: skip
        assert done.status == 0, done.err
        assert len(calls) == 3
        assert {(sample.history, sample.instruction) for sample in calls[0]} <= written
        assert all(sample.history for call in calls for sample in call)
        assert minutes_of(json.loads((tmp_path / "x.json").read_text("utf-8"))).engine == model.name
    evaluation = ["--model_path", checkpoint, "--num_samples", 2, "--max_new_tokens", 2, "--lang", "en"]
    for folder, warned in ((data, False), (project.data, True)):
        to = tmp_path / f"{folder.parent.name}_{warned}.json"
        done = run(evaluate, *evaluation, "--data_path", folder / "dev_alpaca.json", "--output_path", to)
        assert done.status == 0, done.err
        assert ("was trained with shared" in done.err) == warned
