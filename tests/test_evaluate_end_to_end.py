"""scripts/evaluate.py as a user runs it: killed and started again, misled, checked against other models and tools.

Most processes here are forks of one that has imported torch and LLaMA-Factory already, so that ten starts take seconds
instead of minutes. Each is a process of its own all the same: it loads its model, and a SIGKILL ends it for good.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tqdm

import evaluate
import preprocess_data
import score_submission
from mug.evaluation import TRACK_OF
from mug.metrics.submission import read_rows
from mug.tasks import TASKS

if TYPE_CHECKING:
    from conftest import Project, Run, Serve, Server

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "dataset" / "sample" / "dev.csv"
TRACKS = sorted(set(TRACK_OF.values()))
WHEN = ("date", "seconds", "samples_per_second", "answer_tokens_per_second")
"""The settings that may differ between two runs of the same evaluation."""


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def without_times(path: Path) -> dict[str, Any]:
    results = read(path)
    results["settings"] = {key: value for key, value in results["settings"].items() if key not in WHEN}
    return results


def official(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {track: found["scores"] for track, found in results["official"].items()}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def tear_inside_a_character(path: Path) -> None:
    """Cut a file of answers between the bytes of its last hanzi."""
    content = path.read_bytes()
    place = max(index for index, byte in enumerate(content) if 0xE4 <= byte <= 0xE9)
    path.write_bytes(content[: place + 2])
    with pytest.raises(UnicodeDecodeError):
        path.read_text("utf-8")


# ------------------------------------------------------------------------- without a model: in this process, quick


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tasks of the sample corpus."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        inputs = ["--train_input", SAMPLE.with_name("train.csv"), "--dev_input", SAMPLE]
        arguments = [*inputs, "--output_dir", folder, "--task", "all", "--estimate_tokens"]
        patch.setattr(sys, "argv", ["preprocess_data.py", *map(str, arguments)])
        assert preprocess_data.main() == 0
    return folder


@pytest.fixture
def score(run: Callable[..., Run], data: Path, tmp_path: Path) -> Callable[..., Run]:
    """Evaluate the sample corpus, by default by the rules that need no model, into ``output``."""

    def call(output: str, *options: Any, gold: Path | None = SAMPLE, data_path: Path | None = None) -> Run:
        arguments = ["--backend", "baseline", "--output_path", tmp_path / output, *(["--gold", gold] if gold else [])]
        return run(evaluate, *arguments, "--data_path", data_path or data / "dev_alpaca.json", *options)

    return call


def test_torn_inside_a_character_and_started_again_the_results_are_the_same(score, tmp_path):
    assert score("whole.json").status == score("torn.json").status == 0
    answers = tmp_path / "torn.predictions.jsonl"
    whole = answers.read_bytes()
    for share in (0.9, 0.5, 0.1):
        answers.write_bytes(whole[: whole.index(b"\n", int(share * len(whole))) + 1])
        tear_inside_a_character(answers)
        (tmp_path / "torn.json").unlink()
        ran = score("torn.json")
        assert ran.status == 0 and "继续" in ran.out
        assert without_times(tmp_path / "torn.json") == without_times(tmp_path / "whole.json")
        assert answers.read_bytes() == whole


def test_the_speed_is_that_of_the_answers_of_this_run_alone(score, tmp_path):
    score("r.json", "--num_samples", 40)
    answers = tmp_path / "r.predictions.jsonl"
    answers.write_bytes(b"".join(answers.read_bytes().splitlines(keepends=True)[:-2]))
    score("r.json", "--num_samples", 40)
    settings = read(tmp_path / "r.json")["settings"]
    assert settings["samples_per_second"] * settings["seconds"] < 20  # two, but for rounding
    score("r.json", "--num_samples", 40)
    assert not set(read(tmp_path / "r.json")["settings"]) & set(WHEN[1:])


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_answers_to_other_prompts_are_refused_and_stay(score, data, tmp_path, lang):
    score("r.json")
    before = (tmp_path / "r.predictions.jsonl").read_bytes()
    for options in ({"data_path": data / "train_alpaca.json", "gold": None}, {"data_path": data / "dev_alpaca.json"}):
        ran = score("r.json", "--num_samples", 70, "--lang", lang, **options)
        assert ran.status == 2 and len(ran.err.splitlines()) == 1
        assert {"zh": "（不同之处：提示词）", "en": "(differing: prompts)"}[lang] in ran.err
        assert (tmp_path / "r.predictions.jsonl").read_bytes() == before


def test_other_prompts_are_refused_before_a_model_is_loaded(score, tmp_path, monkeypatch):
    score("r.json")
    monkeypatch.setattr(evaluate, "load", lambda *_: pytest.fail("the model is loaded"))
    ran = score("r.json", "--num_samples", 70)
    assert ran.status == 2 and "（不同之处：提示词）" in ran.err


def test_the_answers_of_a_try_with_few_samples_are_not_generated_again(score, tmp_path):
    assert score("r.json", "--num_samples", 50).status == 0
    ran = score("r.json")
    assert ran.status == 0 and "里已有 50 个答案，继续" in ran.out
    score("whole.json")
    assert without_times(tmp_path / "r.json") == without_times(tmp_path / "whole.json")
    rows = [lines_of(tmp_path / f"{name}.predictions.jsonl") for name in ("r", "whole")]
    assert rows[0] == rows[1]


def test_a_run_without_an_answer_does_not_block_the_next(score, tmp_path):
    down = ["--backend", "api", "--api_base", "http://127.0.0.1:9/v1"]
    assert score("r.json", *down).status == 2
    assert score("r.json", *down, "--api_model", "other", "--num_samples", 3).status == 2
    assert score("r.json").status == 0
    assert "engine" in lines_of(tmp_path / "r.predictions.jsonl")[0]["fingerprint"]


def test_the_terminal_calls_the_figures_as_the_readme_does(score):
    said = score("r.json").out
    assert "精确匹配 " in said and "精确匹配 > 10" in said and "ROUGE-L > 40" in said
    assert "topic_segmentation 官方总分：" in said
    assert "exact match " in score("r.json", "--lang", "en").out


def test_our_own_answers_score_as_in_the_run_that_made_them(score, tmp_path):
    score("made.json")
    assert score("read.json", "--predictions", tmp_path / "made.predictions.jsonl").status == 0
    made, found = read(tmp_path / "made.json"), read(tmp_path / "read.json")
    assert {key: value for key, value in found.items() if key != "settings"} == {
        key: value for key, value in made.items() if key != "settings"
    }
    assert "decoding" not in found["settings"] and "max_new_tokens" not in found["settings"]  # nobody knows
    assert not (tmp_path / "read.predictions.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], "缺少 1 个样本的答案（如 S022/actions/"),
        (lambda rows: rows[:1] + rows[2:], "缺少 1 个样本的答案（如 S004/title/12）"),
        (lambda rows: [{"fingerprint": rows[0]["fingerprint"] | {"prompts": "5b1c"}}, *rows[1:]], "另一份数据"),
        (lambda rows: [{"fingerprint": "x"}, *rows[1:]], "已损坏"),
        (lambda rows: [*rows, {"index": 3}], "已损坏"),
        (lambda rows: [*rows, [3]], "已损坏"),
    ],
    ids=["last", "first", "prompts", "fingerprint", "keys", "list"],
)
def test_answers_of_ours_that_do_not_fit_are_one_sentence(score, tmp_path, change, said):
    score("made.json")
    path = tmp_path / "made.predictions.jsonl"
    ran = score("read.json", "--predictions", write_lines(path, change(lines_of(path))))
    assert ran.status == 2 and len(ran.err.splitlines()) == 1
    assert said in ran.err
    assert not (tmp_path / "read.json").exists()


def test_the_submission_files_are_scored_to_the_same_figures(score, run, tmp_path):
    assert score("r.json", "--submission", tmp_path / "submission").status == 0
    results = read(tmp_path / "r.json")
    files = sorted(map(str, (tmp_path / "submission").iterdir()))
    assert sorted(results["submission_files"]) == files == [str(tmp_path / f"submission/{t}.jsonl") for t in TRACKS]
    for track in TRACKS:
        path = tmp_path / "submission" / f"{track}.jsonl"
        rows = lines_of(path)
        assert {row["meeting_key"]: row for row in rows} == results["submissions"][track] == read_rows(path)
        assert len(rows) == 6
        given = ["--task", track, "--gold", SAMPLE, "--predictions", path, "--output", tmp_path / "scores.json"]
        assert run(score_submission, *given).status == 0
        scored = read(tmp_path / "scores.json")
        assert scored["official"] == results["official"][track]["scores"]
        for key in ("intervals", "counts", "per_meeting"):
            assert scored[key] == results["official"][track][key]
        assert scored["official"]["score"] > 0.15  # the rules find something in every track


WRONG = [
    ("action_item_detection", "topic_title_generation", "action_ids"),
    ("keyphrase_extraction", "topic_segmentation", "key_word"),
    ("extractive_summary", "topic_segmentation", "key_sentence"),
    ("title_generation", "topic_segmentation", "title"),
    ("topic_segmentation", "keyphrase_extraction", "topic_segment_ids"),
]


@pytest.mark.parametrize(("task", "track", "key"), WRONG)
def test_a_submission_to_another_track_is_refused(score, run, tmp_path, task, track, key):
    score("r.json", "--submission", tmp_path / "submission")
    path = tmp_path / "submission" / f"{track}.jsonl"
    given = ["--task", task, "--gold", SAMPLE, "--predictions", path, "--output", tmp_path / "scores.json"]
    ran = run(score_submission, *given)
    assert ran.status == 2
    assert ran.err == f"{path} 里没有 {key}：这像是另一个赛道的提交文件；请检查 --task 和 --predictions。\n"
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(("track", "told"), [("topic_title_generation", True), ("topic_segmentation", False)])
def test_a_segmentation_whose_topics_are_the_golds_is_scored_with_a_note(score, run, tmp_path, track, told):
    score("r.json", "--submission", tmp_path / "submission")
    path = tmp_path / "submission" / f"{track}.jsonl"
    given = ["--gold", SAMPLE, "--predictions", path, "--output", tmp_path / "scores.json"]
    ran = run(score_submission, "--task", "topic_segmentation", *given)
    assert ran.status == 0
    assert ("的主题都带标题或关键句；那两个赛道的主题取自标准答案，在这里会得满分。" in ran.err) is told
    assert (json.loads((tmp_path / "scores.json").read_text("utf-8"))["official"]["score"] == 1.0) is told


def test_a_submission_file_is_sent_to_the_script_that_scores_it(score, tmp_path):
    score("r.json", "--submission", tmp_path / "submission")
    ran = score("given.json", "--predictions", tmp_path / "submission" / "topic_segmentation.jsonl")
    assert ran.status == 2 and len(ran.err.splitlines()) == 1
    assert "scripts/score_submission.py" in ran.err


def test_answers_in_llamafactorys_form_with_the_right_labels_are_scored_by_order(score, data, tmp_path):
    rows = [{"prompt": "", "predict": row["output"], "label": row["output"]} for row in read(data / "dev_alpaca.json")]
    assert score("r.json", "--predictions", write_lines(tmp_path / "predicted.jsonl", rows)).status == 0
    scores = official(read(tmp_path / "r.json"))
    assert sorted(scores) == TRACKS
    assert scores["topic_segmentation"]["score"] == scores["action_item_detection"]["score"] == 1

    swapped = [rows[1], rows[0], *rows[2:]]
    for wrong, said in (
        (rows[:-1], "有 75 行，数据有 76 个样本"),
        (swapped, "第 1 行的 label"),
    ):
        ran = score("wrong.json", "--predictions", write_lines(tmp_path / "predicted.jsonl", wrong))
        assert ran.status == 2 and len(ran.err.splitlines()) == 1
        assert said in ran.err
        assert not (tmp_path / "wrong.json").exists()


def test_a_label_that_was_cut_inside_a_character_is_still_the_samples(score, data, tmp_path):
    first, *others = [{"predict": "1", "label": row["output"]} for row in read(data / "dev_alpaca.json")]
    cut = [first | {"label": first["label"][:2] + "\ufffd"}, *others]
    assert score("r.json", "--predictions", write_lines(tmp_path / "predicted.jsonl", cut)).status == 0


@pytest.fixture
def perfect(score, data, tmp_path) -> Path:
    """The results of answers that are the targets themselves."""
    rows = [{"predict": row["output"], "label": row["output"]} for row in read(data / "dev_alpaca.json")]
    assert score("perfect.json", "--predictions", write_lines(tmp_path / "targets.jsonl", rows)).status == 0
    return tmp_path / "perfect.json"


def test_two_evaluations_are_compared_figure_by_figure_with_intervals(score, perfect, tmp_path):
    assert score("r.json", "--compare", perfect).status == 0
    results, best = read(tmp_path / "r.json"), read(perfect)
    assert results["comparison"]["other"] == str(perfect)
    differences = results["comparison"]["differences"]
    assert sorted(differences) == TRACKS
    for track, figures in differences.items():
        ours, theirs = official(results)[track], official(best)[track]
        assert set(figures) == set(ours)
        for key, found in figures.items():
            assert found["difference"] == pytest.approx(ours[key] - theirs[key], abs=1e-12)
            assert found["low"] <= found["difference"] <= found["high"]
        assert figures["score"]["high"] <= 0  # the rules are never better than the targets
    assert f"与 {perfect} 之差" in (tmp_path / "r.md").read_text("utf-8")


def test_an_evaluation_compared_with_itself_differs_by_nothing(score, tmp_path):
    score("r.json")
    assert score("again.json", "--compare", tmp_path / "r.json").status == 0
    differences = read(tmp_path / "again.json")["comparison"]["differences"]
    assert sorted(differences) == TRACKS
    assert {tuple(found.values()) for figures in differences.values() for found in figures.values()} == {(0, 0, 0)}


def test_evaluations_of_other_data_are_not_compared(score, data, perfect, tmp_path):
    changed = tmp_path / "changed"
    changed.mkdir()
    rows = read(data / "dev_alpaca.json")
    (changed / "dev_alpaca.json").write_text(json.dumps(rows), "utf-8")  # the same rows, other bytes
    (changed / "preprocess.json").write_bytes((data / "preprocess.json").read_bytes())
    gold = tmp_path / "gold.csv"
    gold.write_bytes(SAMPLE.read_bytes() + b"\n")
    for options, given, name in (
        ([], {"data_path": changed / "dev_alpaca.json"}, "data_sha256"),
        ([], {"gold": gold}, "gold_sha256"),
        (["--num_samples", 60], {}, "num_samples"),
    ):
        ran = score("other.json", *options, "--compare", perfect, **given)
        assert ran.status == 2 and len(ran.err.splitlines()) == 1
        assert name in ran.err and str(perfect) in ran.err
        assert not list(tmp_path.glob("other.*")), "hours of answers would be lost on it"


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, '{"settings": {}}', '{"settings": 1, "submissions": {"a": 1}}', None]
)
def test_what_holds_no_evaluation_is_not_compared(score, tmp_path, content):
    path = tmp_path / "theirs.json"
    if content is not None:
        path.write_text(content)
    ran = score("r.json", "--compare", path)
    assert ran.status == 2 and len(ran.err.splitlines()) == 1
    assert str(path) in ran.err
    assert not list(tmp_path.glob("r.*"))


def without_a_meeting(other):
    other["submissions"]["topic_segmentation"].popitem()


def without_a_tokenisation(other):
    other["official"]["topic_segmentation"].pop("tokenisation")


def with_a_text_for_a_row(other):
    rows = other["submissions"]["topic_segmentation"]
    rows |= dict.fromkeys(rows, "x")


@pytest.mark.parametrize("change", [without_a_meeting, without_a_tokenisation, with_a_text_for_a_row])
def test_a_comparison_that_fails_late_leaves_the_report(score, perfect, tmp_path, change):
    other = read(perfect)
    change(other)
    perfect.write_text(json.dumps(other), "utf-8")
    ran = score("r.json", "--compare", perfect)
    assert ran.status == 2 and len(ran.err.splitlines()) == 1 and str(perfect) in ran.err
    assert score("alone.json").status == 0
    assert without_times(tmp_path / "r.json") == without_times(tmp_path / "alone.json")
    assert (tmp_path / "r.md").exists() and (tmp_path / "r.html").exists() and "报告：" in ran.out


def test_a_meeting_that_was_cut_is_named_and_left_out_of_the_official_scores(score, tmp_path):
    ids = [row["id"] for row in read_after(score, tmp_path, "all.json")["rows"]]
    first = max(index for index, id in enumerate(ids) if id.startswith("S004/")) + 1  # the first meeting's samples
    alone = read_after(score, tmp_path, "alone.json", "--num_samples", first)
    assert sorted(official(alone)) == TRACKS and alone["incomplete_meetings"] == {}

    second = ids[first].split("/")[0]
    ran = score("cut.json", "--num_samples", first + 2)
    cut = read(tmp_path / "cut.json")
    assert ids[first + 2].startswith(f"{second}/title/"), "the second meeting's titles should be cut"
    assert cut["incomplete_meetings"] == {"topic_title_generation": [second]}
    assert official(cut) == official(alone)
    assert cut["official"]["topic_title_generation"]["counts"]["meetings"] == 1
    assert cut["tasks"]["title_generation"]["n"] == alone["tasks"]["title_generation"]["n"] + 2  # these count all
    assert f"topic_title_generation：1 场会议只答了一部分（如 {second}）" in ran.out
    assert "1 场会议只答了一部分" in (tmp_path / "cut.md").read_text("utf-8")


def read_after(score: Callable[..., Run], folder: Path, output: str, *options: Any) -> dict[str, Any]:
    assert score(output, *options).status == 0
    return read(folder / output)


def test_where_every_meeting_was_cut_there_is_no_official_score(score, tmp_path):
    results = read_after(score, tmp_path, "r.json", "--num_samples", 2)
    assert results["official"] == {} and results["incomplete_meetings"] == {"topic_title_generation": ["S004"]}
    assert results["averages"]["title_generation"]["rouge-1"] > 0


def test_a_closed_port_is_one_sentence(score, tmp_path):
    ran = score("r.json", "--backend", "api", "--api_base", "http://127.0.0.1:9/v1")
    assert ran.status == 2 and len(ran.err.splitlines()) == 1
    assert "连不上 http://127.0.0.1:9/v1" in ran.err
    assert not (tmp_path / "r.json").exists()


def test_parity_of_a_folder_that_is_not_there_is_one_sentence(score, tmp_path):
    given = ["--backend", "api", "--api_base", "http://127.0.0.1:9/v1", "--check_parity", tmp_path / "none"]
    ran = score("r.json", *given)
    assert ran.status == 2 and len(ran.err.splitlines()) == 1
    assert f"没有模型文件夹 {tmp_path / 'none'}" in ran.err


def test_rules_have_no_parity(score, tmp_path):
    assert score("r.json", "--check_parity", tmp_path).status == 2


# -------------------------------------------------------------------------------------- with a model: processes, slow


@dataclass
class Started:
    """An evaluation under way in a process of its own."""

    process: Any
    log: Path

    def wait(self) -> Ended:
        self.process.join(180)
        assert self.process.exitcode is not None, "still running"
        return Ended(self.process.exitcode, self.log.read_text("utf-8", "replace"))


@dataclass
class Ended:
    """Its exit status, below 0 where a signal ended it, and what it said on both streams."""

    status: int
    said: str


def in_child(arguments: list[str], log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    tqdm.tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which would outlive a kill
    sys.argv = ["evaluate.py", *arguments]
    sys.exit(evaluate.main())


@pytest.fixture(scope="module")
def start(project: Project) -> Iterator[Callable[..., Started]]:
    """Start an evaluation of the sample corpus in a new process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["evaluate", "mug.generation.transformers_engine", "peft"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (project.environment | {"PYTHONPATH": str(ROOT / "scripts")}).items():
            patch.setenv(name, value)
        forkserver.ensure_running()  # with this environment; its forks have it too
    running = []

    def call(output: Path, *options: Any) -> Started:
        given = ["--data_path", project.data / "dev_alpaca.json", "--output_path", output, *options]
        log = output.with_suffix(".log")
        log.write_text("")  # it may be killed before it opens it
        process = context.Process(target=in_child, args=(list(map(str, given)), log))
        process.start()
        running.append(process)
        return Started(process, log)

    yield call
    for process in running:
        process.kill()
        process.join()


def command(project: Project, *options: Any) -> subprocess.CompletedProcess[str]:
    """Run the script by itself, as from a shell."""
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "evaluate.py", *map(str, options)],
        cwd=ROOT,
        env=project.environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_as_if_never_killed(project, ending_model, start, tmp_path):
    """Three kills soon after a start, five while it generates, two while it writes, and a line torn by hand.

    An answer may depend on what shares its batch, and each start makes other batches of what is left.
    """
    samples = 40
    options = ["--model_path", ending_model, "--gold", SAMPLE, "--num_samples", samples]
    options += ["--max_new_tokens", 24, "--batch_tokens", 2600]  # four short samples, or a long one
    data = ["--data_path", project.data / "dev_alpaca.json"]
    done = command(project, *options, *data, "--output_path", tmp_path / "whole.json")
    assert done.returncode == 0, done.stderr
    finishes = {row["finish"] for row in read(tmp_path / "whole.json")["rows"]}
    assert finishes == {"stop", "length"}

    moments = random.Random(4)
    answers = tmp_path / "killed.predictions.jsonl"

    def answered() -> int:
        return max(0, answers.read_bytes().count(b"\n") - 1) if answers.exists() else 0

    def kill(more: int, longest: float) -> None:
        """Start, wait for so many more answers, then for a random time, and kill."""
        least = min(answered() + more, samples)
        while True:
            started = start(tmp_path / "killed.json", *options)
            while answered() < least and started.process.is_alive():
                time.sleep(0.001)
            time.sleep(moments.uniform(0, longest))
            started.process.kill()
            ended = started.wait()
            if ended.status == -signal.SIGKILL:
                break
            assert ended.status == 0, ended.said  # it was quicker
            longest /= 2
        killed_at.append(answered())

    killed_at: list[int] = []
    early = moments.sample(range(8), 3)
    for number in range(8):
        kill(0 if number in early else moments.randint(1, 5), 0.3 if number in early else 0.1)
        if number == 5:
            tear_inside_a_character(answers)
    for _ in range(2):
        kill(samples, 1.0)
    print("answers on the disk at the kills:", killed_at)
    assert len(killed_at) == 10 and killed_at[-2:] == [samples, samples]
    assert len({count for count in killed_at if 0 < count < samples}) >= 4, "hardly spread"

    done = command(project, *options, *data, "--output_path", tmp_path / "killed.json")
    assert done.returncode == 0, done.stderr
    assert f"里已有 {samples} 个答案，继续" in done.stdout
    assert without_times(tmp_path / "killed.json") == without_times(tmp_path / "whole.json")
    rows = [lines_of(tmp_path / f"{name}.predictions.jsonl") for name in ("killed", "whole")]
    assert rows[0][0] == rows[1][0]
    assert sorted(row["index"] for row in rows[0][1:]) == list(range(samples))
    assert sorted(rows[0][1:], key=lambda row: row["index"]) == sorted(rows[1][1:], key=lambda row: row["index"])


@pytest.fixture(scope="module")
def begun(project: Project, start: Callable[..., Started], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small evaluation of the tiny model."""
    output = tmp_path_factory.mktemp("begun") / "r.json"
    ended = start(output, "--model_path", project.model, "--num_samples", 2, "--max_new_tokens", 4).wait()
    assert ended.status == 0, ended.said
    return output


@pytest.mark.slow
@pytest.mark.parametrize("differing", ["base", "adapter", "prompts", "max_new_tokens", "template"])
def test_the_answers_of_another_run_are_refused_and_stay(
    project, ending_model, trained, begun, start, tmp_path, differing
):
    path = begun.with_suffix(".predictions.jsonl")
    before, results = path.read_bytes(), begun.read_bytes()
    model = {"base": ending_model, "adapter": trained}.get(differing, project.model)
    options = ["--model_path", model, "--num_samples", 1 if differing == "prompts" else 2]
    options += ["--max_new_tokens", 5 if differing == "max_new_tokens" else 4]
    options += ["--template", "chatml" if differing == "template" else "qwen", "--lang", "en"]
    ended = start(begun, *options).wait()
    assert ended.status == 2, ended.said
    assert ended.said.splitlines()[-1] == (
        f"The answers file {path} is of another run (differing: {differing}); take another --output_path, or delete "
        "it and run again."
    )
    assert "Traceback" not in ended.said
    assert (path.read_bytes(), begun.read_bytes()) == (before, results)


@pytest.mark.slow
def test_another_engine_is_refused_by_name(begun, start):
    before = begun.with_suffix(".predictions.jsonl").read_bytes()
    ended = start(begun, "--backend", "baseline", "--num_samples", 2).wait()
    assert ended.status == 2
    assert "生成方式" in ended.said.splitlines()[-1]
    assert begun.with_suffix(".predictions.jsonl").read_bytes() == before


@pytest.fixture(scope="module")
def merged_server(serve: Serve, merged: Path) -> Iterator[Server]:
    with serve(merged) as server:
        yield server


PARITY = ["--num_samples", 12, "--max_new_tokens", 24]


@pytest.mark.slow
def test_adapter_merged_model_and_served_model_answer_alike(project, trained, merged, merged_server, tmp_path):
    project.environment["MUG_API_KEY"] = merged_server.key
    try:
        options = ["--data_path", project.data / "dev_alpaca.json", "--output_path", tmp_path / "r.json", *PARITY]
        given = ["--backend", "api", "--api_base", merged_server.address, "--check_parity", trained, merged]
        done = command(project, *options, *given)
    finally:
        del project.environment["MUG_API_KEY"]
    assert done.returncode == 0, done.stdout + done.stderr
    labels = [merged_server.address, str(trained), str(merged)]  # the two folders are loaded, not asked for there
    assert read(tmp_path / "r.parity.json") == {"models": labels, "n": 12, "differing": []}
    assert "12 个样本中 0 个答案不同" in done.stdout
    assert not (tmp_path / "r.json").exists()
    assert merged_server.key not in done.stdout + done.stderr


@pytest.mark.slow
def test_another_model_is_no_parity_and_the_differences_are_listed(project, trained, merged, start, tmp_path):
    ended = start(
        tmp_path / "r.json", *PARITY, "--model_path", trained, "--check_parity", merged, project.model
    ).wait()
    assert ended.status == 1, ended.said
    found = read(tmp_path / "r.parity.json")
    assert f"12 个样本中 {len(found['differing'])} 个答案不同" in ended.said
    assert len(found["differing"]) >= 6
    for one in found["differing"]:
        assert list(one["why"]) == [str(project.model)]  # the merged model says the same as the adapter
        said = one["answers"]
        assert said[str(trained)] == said[str(merged)] != said[str(project.model)]
    first = found["differing"][0]
    assert f"{first['id']}  {project.model}: {first['why'][str(project.model)]}" in ended.said


@pytest.mark.slow
def test_a_server_that_goes_on_after_an_end_token_is_told_as_such(project, ending_model, server, tmp_path):
    """llamafactory-cli api stops at <|im_end|> only; the address is what the model's folder is measured by."""
    project.environment["MUG_API_KEY"] = server.key
    try:
        options = ["--data_path", project.data / "dev_alpaca.json", "--output_path", tmp_path / "r.json", *PARITY]
        done = command(project, *options, "--model_path", ending_model, "--check_parity", server.address)
    finally:
        del project.environment["MUG_API_KEY"]
    assert done.returncode == 1, done.stdout + done.stderr
    differing = read(tmp_path / "r.parity.json")["differing"]
    assert {tuple(one["why"].items()) for one in differing} == {((server.address, "goes on after an end token"),)}
    assert 0 < len(differing) < 12
    assert "都只是在我们的结束符之后继续了" in done.stdout


@pytest.fixture(scope="module")
def predicted(project: Project, trained: Path) -> Path:
    """What `llamafactory-cli train configs/predict.yaml` writes for the first six titles."""
    output = project.folder / "predicted"
    project.run(
        project.cli(
            "train",
            "configs/predict.yaml",
            f"model_name_or_path={project.model}",
            f"adapter_name_or_path={trained}",
            f"dataset_dir={project.data}",
            f"output_dir={output}",
            "eval_dataset=mug_title_generation_dev",
            "max_samples=6",
            "max_new_tokens=16",
            "per_device_eval_batch_size=3",
            "preprocessing_num_workers=1",
            "use_cpu=true",
        )
    )
    return output


@pytest.mark.slow
def test_llamafactorys_own_predictions_get_llamafactorys_own_scores(project, predicted, start, tmp_path):
    given = predicted / "generated_predictions.jsonl"
    rows = lines_of(given)
    assert len(rows) == 6 and set(rows[0]) == {"prompt", "predict", "label"}
    options = ["--data_path", project.data / "dev_title_generation.json", "--num_samples", 6, "--gold", SAMPLE]
    ended = start(tmp_path / "r.json", *options, "--predictions", given).wait()
    assert ended.status == 0, ended.said
    results = read(tmp_path / "r.json")
    assert [row["raw"] for row in results["rows"]] == [row["predict"] for row in rows]
    theirs = read(predicted / "predict_results.json")
    raw = results["tasks"]["title_generation"]["llamafactory_raw"]
    for metric in ("rouge-1", "rouge-2", "rouge-l", "bleu-4"):
        assert raw[metric] == pytest.approx(theirs[f"predict_{metric}"], abs=1e-3), metric

    distinct = next(index for index, row in enumerate(rows) if row["label"] != rows[0]["label"])
    swapped = [rows[distinct], *rows[1:distinct], rows[0], *rows[distinct + 1 :]]
    for wrong, said in ((rows[:-1], "有 5 行，数据有 6 个样本"), (swapped, "第 1 行的 label")):
        path = write_lines(tmp_path / "wrong.jsonl", wrong)
        ended = start(tmp_path / "wrong.json", *options, "--predictions", path).wait()
        assert ended.status == 2 and len(ended.said.splitlines()) == 1
        assert said in ended.said


@pytest.mark.slow
def test_a_models_answers_read_back_score_as_when_they_were_made(begun, start, tmp_path):
    given = ["--num_samples", 2, "--predictions", begun.with_suffix(".predictions.jsonl")]
    assert start(tmp_path / "r.json", *given).wait().status == 0
    made, found = read(begun), read(tmp_path / "r.json")
    assert (found["averages"], found["tasks"], found["rows"]) == (made["averages"], made["tasks"], made["rows"])


@pytest.mark.slow
def test_without_vllm_the_backend_vllm_is_one_sentence(project, tmp_path):
    (tmp_path / "vllm.py").write_text("raise ImportError('not here')\n")  # also where one is installed
    project.environment["PYTHONPATH"] = str(tmp_path)
    try:
        given = ["--backend", "vllm", "--model_path", project.model, "--output_path", tmp_path / "r.json"]
        done = command(project, *given, "--data_path", project.data / "dev_alpaca.json")
    finally:
        del project.environment["PYTHONPATH"]
    assert done.returncode == 2
    assert "没有可用的 vLLM（not here）" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r.json").exists()


def test_every_task_has_samples_here(data):
    instructions = {row["instruction"] for row in read(data / "dev_alpaca.json")}
    assert instructions == {task.instruction for task in TASKS.values()}
