"""The command line that makes the training data."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import preprocess_data
from mug import tokens
from mug.alpaca import read_alpaca
from mug.report import preprocessing
from mug.tasks import TASKS

SCRIPT = Path(preprocess_data.__file__)
CHINESE = re.compile("[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]")


@pytest.fixture
def preprocess(run, tmp_path, monkeypatch):
    """Run the script with its own root, so that neither data nor a model of this checkout plays a part."""
    monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)

    def call(*arguments, out="data"):
        return run(preprocess_data, "--output_dir", tmp_path / out, *arguments)

    return call


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# -------------------------------------------------------------------------------------------------- what is written


def test_titles_are_exactly_the_predecessors_samples(preprocess, shared, tmp_path):
    source = shared / "data" / "real_dev3.csv"
    ran = preprocess("--task", "title_generation", "--candidates", "first", "--train_input", source)
    assert ran.status == 0
    assert load(tmp_path / "data" / "train_alpaca.json") == load(shared / "data" / "real_titles.json")[:43]


@pytest.mark.parametrize("counting", ["tokenizer", "estimate"])
def test_all_six_tasks_are_written_and_no_prompt_passes_the_budget(preprocess, shared, tmp_path, counting):
    folder = shared / "qwen_tokenizer"
    options = ["--tokenizer", folder] if counting == "tokenizer" else ["--estimate_tokens"]
    ran = preprocess("--task", "all", "--dev_input", shared / "data" / "real_dev3.csv", *options)
    assert ran.status == 0
    rows = {name: load(tmp_path / "data" / f"dev_{name}.json") for name in TASKS}
    assert len(rows["title_generation"]) == 43
    assert all(rows.values())
    assert sum(map(len, rows.values())) == len(load(tmp_path / "data" / "dev_alpaca.json"))
    prompts = [f"{row['instruction']}\n{row['input']}" for made in rows.values() for row in made]
    assert max(tokens.tokenizer_counter(folder)(prompts)) <= 2400


def test_the_qwen_template_adds_no_more_tokens_than_reckoned_with(shared):
    from mug.tasks.base import SYSTEM

    around = (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
    )
    assert tokens.tokenizer_counter(shared / "qwen_tokenizer")([around])[0] <= tokens.TEMPLATE


def test_one_task_writes_two_files_and_how_they_were_made(preprocess, sample_corpus, tmp_path):
    ran = preprocess("--train_input", sample_corpus / "train.csv", "--dev_input", sample_corpus / "dev.csv")
    assert ran.status == 0
    assert sorted(contents(tmp_path / "data")) == [
        "dataset_info.json", "dev_alpaca.json", "preprocess.json", "train_alpaca.json",
    ]  # fmt: skip
    assert list(load(tmp_path / "data" / "dataset_info.json")) == ["alimeeting4mug_train", "alimeeting4mug_dev"]
    assert load(tmp_path / "data" / "preprocess.json") == {
        "tokenizer": None,
        "max_input_tokens": 2400,
        "candidates": None,
        "es_target": "ids",
        "negative_ratio": 1.0,
        "seed": 42,
        "layout": "separate",
        "needs_tree": False,
    }


def test_all_writes_a_file_and_a_name_for_each_task_and_split(preprocess, sample_corpus, tmp_path):
    preprocess("--task", "all", "--train_input", sample_corpus / "train.csv", "--dev_input", sample_corpus / "dev.csv")
    info = load(tmp_path / "data" / "dataset_info.json")
    names = [f"mug_{name}_{split}" for name in TASKS for split in ("train", "dev")]
    assert set(info) == {"alimeeting4mug_train", "alimeeting4mug_dev", *names}
    for entry in info.values():
        assert read_alpaca(tmp_path / "data" / entry["file_name"])
    together = load(tmp_path / "data" / "train_alpaca.json")
    apart = [row for name in TASKS for row in load(tmp_path / "data" / f"train_{name}.json")]
    assert sorted(map(json.dumps, together)) == sorted(map(json.dumps, apart))


def test_titles_have_three_keys_and_the_others_say_which_window_they_are(preprocess, corpus_file, case, tmp_path):
    preprocess("--task", "all", "--train_input", corpus_file(case()))
    assert load(tmp_path / "data" / "train_title_generation.json") == [
        {
            "instruction": TASKS["title_generation"].instruction,
            "input": "会议内容：\n[甲]: 先定春游地点。\n[乙]: 去湿地公园吧。\n[甲]: 同意。",
            "output": "定春游地点",
        },
        {
            "instruction": TASKS["title_generation"].instruction,
            "input": "会议内容：\n[乙]: 哪天去？\n[甲]: 下周五。\n[乙]: 我来订大巴。",
            "output": "定春游时间",
        },
    ]
    (row,) = load(tmp_path / "data" / "train_action_item_detection.json")
    assert list(row) == ["instruction", "input", "output", "id", "references"]
    assert (row["output"], row["id"], row["references"]) == ("6", "T1/actions/1-6", ["6"])


@pytest.mark.parametrize(
    ("candidates", "train", "dev"), [(None, 3, 2), ("first", 2, 2), ("all", 3, 3), ("union", 3, 3)]
)
def test_candidates_decide_how_many_title_samples_there_are(
    preprocess, corpus_file, case, tmp_path, candidates, train, dev
):
    topics = case()["topic_segment_ids"]
    topics[0]["candidate"].append({"title": "春游去哪"})
    files = [corpus_file(case(meeting_key=key, topic_segment_ids=topics), name=f"{key}.csv") for key in ("T1", "T2")]
    options = ["--candidates", candidates] if candidates else []
    options.append("--allow_overlap")  # the same sentences under two keys
    assert preprocess("--train_input", files[0], "--dev_input", files[1], *options).status == 0
    assert len(load(tmp_path / "data" / "train_alpaca.json")) == train
    assert len(load(tmp_path / "data" / "dev_alpaca.json")) == dev


def test_the_same_command_writes_the_same_bytes(preprocess, sample_corpus, tmp_path):
    for out in ("a", "b"):
        preprocess("--task", "all", "--train_input", sample_corpus / "train.csv", out=out)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_seed_keeps_other_windows(preprocess, corpus_file, case, tmp_path):
    sentences = [{"id": i, "speaker": "甲", "s": f"第{i}句" + "话" * 30} for i in range(1, 301)]
    source = corpus_file(case(sentences=sentences, action_ids=[{"id": 1}]))
    kept = []
    for seed in range(3):
        options = ["--seed", seed, "--max_input_tokens", 800]
        assert preprocess("--task", "action_item_detection", "--train_input", source, *options).status == 0
        kept.append([row["id"] for row in load(tmp_path / "data" / "train_alpaca.json")])
    assert [len(ids) for ids in kept] == [2, 2, 2]
    assert len(set(map(tuple, kept))) > 1


def test_half_an_emoji_is_written_as_a_replacement_character(preprocess, corpus_file, case, tmp_path):
    value = case(meeting_key="T\ud83d")
    value["sentences"][0]["s"] = "好的\ud83d"
    value["topic_segment_ids"][0]["candidate"][0]["title"] = "定\ud83d地点"
    ran = preprocess("--task", "all", "--train_input", corpus_file(json.dumps(value)))
    assert ran.status == 0
    assert "半个 emoji" in ran.out
    first = load(tmp_path / "data" / "train_alpaca.json")[0]
    assert (first["input"].splitlines()[1], first["output"]) == ("[甲]: 好的\ufffd", "定\ufffd地点")


# ----------------------------------------------------------------------------------------------------- what is said


def test_the_summary_says_meetings_samples_and_what_was_skipped_and_why(preprocess, corpus_file, case):
    topics = case()["topic_segment_ids"]
    topics[1]["candidate"] = []
    source = corpus_file(case(), case(meeting_key="T2", topic_segment_ids=topics))
    ran = preprocess("--task", "all", "--train_input", source)
    assert ran.status == 0
    assert f"train: {source}（utf-8），2 个会议" in ran.out
    rows = {line.split()[1]: line.split() for line in ran.out.splitlines() if line.startswith("train ")}
    assert {name: row[2] for name, row in rows.items()} == {
        "title_generation": "3",
        "extractive_summary": "3",
        "session_summary": "2",
        "topic_segmentation": "2",
        "keyphrase_extraction": "2",
        "action_item_detection": "2",
    }
    assert rows["title_generation"][-2:] == ["1", "主题没有标题"]
    assert rows["keyphrase_extraction"][-1] == "-"
    assert "下一步：python scripts/train.py configs/train_lora.yaml" in ran.out


def test_the_summary_says_how_tokens_were_counted(preprocess, corpus_file, case, shared):
    source = corpus_file(case())
    assert "按安全上界估计（未用分词器）" in preprocess("--train_input", source).out
    ran = preprocess("--train_input", source, "--tokenizer", shared / "qwen_tokenizer")
    assert "qwen_tokenizer 的分词器计数" in ran.out


def test_the_configured_model_counts_when_it_is_there(preprocess, corpus_file, case, shared, tmp_path):
    source = corpus_file(case())
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train_lora.yaml").write_text(
        "model_name_or_path: models/qwen  # here\n", encoding="utf-8"
    )
    assert "未用分词器" in preprocess("--train_input", source).out
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "qwen").symlink_to(shared / "qwen_tokenizer")
    assert "models/qwen 的分词器计数" in preprocess("--train_input", source).out
    assert "未用分词器" in preprocess("--train_input", source, "--estimate_tokens").out


def test_in_english_no_word_is_chinese(preprocess, corpus_file, case):
    value = case(action_ids=[{"id": 77}], topic_segment_ids=[{"id": 3}, {"id": 6}])
    ran = preprocess(
        "--task", "all", "--train_input", corpus_file(value, "NA", case(meeting_key="T2")), "--lang", "en"
    )
    assert ran.status == 1
    assert "2 meetings" in ran.out
    assert "rejected row 3" in ran.out
    assert "repaired 1: action_ids points to no sentence (first: T1: 77)" in ran.out
    assert not CHINESE.search(ran.out + ran.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--train_input", "nowhere.csv"],
        ["--train_input", "{c}", "--dev_input", "{c}"],
        ["--train_input", "{c}", "--max_input_tokens", "20"],
        ["--train_input", "{c}", "--tokenizer", "nowhere"],
        [],
    ],
)
def test_each_refusal_is_one_sentence_and_exit_2_in_either_language(
    preprocess, corpus_file, case, arguments, tmp_path
):
    source = corpus_file(case())
    given = [part.format(c=source) for part in arguments]
    for lang in ("zh", "en"):
        ran = preprocess(*given, "--lang", lang)
        assert (ran.status, ran.out) == (2, "")
        assert len(ran.err.strip().splitlines()) == 1
        assert bool(CHINESE.search(ran.err)) == (lang == "zh")
    assert not (tmp_path / "data" / "train_alpaca.json").exists()


@pytest.mark.parametrize("ratio", ["-1", "nan", "inf"])
def test_a_ratio_that_is_no_ratio_is_a_wrong_argument(preprocess, corpus_file, case, ratio):
    ran = preprocess("--train_input", corpus_file(case()), "--negative_ratio", ratio)
    assert ran.status == 2
    assert "--negative_ratio" in ran.err


def test_a_script_run_by_itself_needs_no_install(corpus_file, case, tmp_path):
    command = [sys.executable, SCRIPT, "--train_input", corpus_file(case()), "--output_dir", tmp_path / "data"]
    ran = subprocess.run([*command, "--lang", "en"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(load(tmp_path / "data" / "train_alpaca.json")) == 2


# ------------------------------------------------------------------------------------------ what is missing or broken


def test_a_default_that_is_not_there_is_left_out(preprocess, corpus_file, case, tmp_path):
    (tmp_path / "dataset").mkdir()
    corpus_file(case(), name="dataset/train.csv")
    ran = preprocess()
    assert ran.status == 0
    assert (tmp_path / "data" / "train_alpaca.json").exists()
    assert list(load(tmp_path / "data" / "dataset_info.json")) == ["alimeeting4mug_train"]


def test_a_given_dev_that_is_not_there_is_refused_and_train_is_not_written_either(
    preprocess, corpus_file, case, tmp_path
):
    ran = preprocess("--train_input", corpus_file(case()), "--dev_input", tmp_path / "none.csv")
    assert ran.status == 2
    assert "none.csv" in ran.err
    assert list((tmp_path / "data").iterdir()) == []


def test_rejected_rows_are_named_the_others_kept_and_the_status_says_so(preprocess, corpus_file, case, tmp_path):
    ran = preprocess("--train_input", corpus_file(case(), "NA", case(meeting_key="T3", sentences=[])))
    assert ran.status == 1
    assert "拒绝第 3 行" in ran.out
    assert "拒绝第 4 行 T3：会议 T3 没有 sentences" in ran.out
    assert len(load(tmp_path / "data" / "train_alpaca.json")) == 2


def rejected_rows(folder):
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text("utf-8").splitlines()]


def test_rejected_rows_are_kept_with_their_reason_and_their_start(preprocess, corpus_file, case, tmp_path):
    silent = case(meeting_key="T3", sentences=[])
    train = corpus_file(case(), "NA", silent, name="train.csv")
    dev = corpus_file("{" + "长" * 5000, case(meeting_key="T4", sentences=other_sentences(case)), name="dev.csv")
    ran = preprocess("--train_input", train, "--dev_input", dev)
    assert (ran.status, ran.err) == (1, "")
    assert f"有 3 行被拒，见 {tmp_path / 'data' / 'rejected.jsonl'}" in ran.out
    na, third, cut = rejected_rows(tmp_path / "data")
    assert na == {
        "file": str(train),
        "row": 3,
        "meeting": "",
        "reason": "内容为空（'NA'）",
        "reason_en": "content is blank ('NA')",
        "meetings": 1,
        "content": "NA",
    }
    assert (third["row"], third["meeting"], third["reason"]) == (4, "T3", "会议 T3 没有 sentences")
    assert third["content"] == json.dumps(silent, ensure_ascii=False)[:200]
    assert (cut["file"], cut["row"], cut["content"]) == (str(dev), 2, "{" + "长" * 199)
    assert len(load(tmp_path / "data" / "train_alpaca.json")) == len(load(tmp_path / "data" / "dev_alpaca.json")) == 2


def test_an_older_list_of_rejected_rows_goes_when_none_is_rejected(preprocess, corpus_file, case, tmp_path):
    assert preprocess("--train_input", corpus_file(case(), "NA")).status == 1
    assert len(rejected_rows(tmp_path / "data")) == 1
    assert preprocess("--train_input", corpus_file(case())).status == 0
    assert not (tmp_path / "data" / "rejected.jsonl").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_strict_stops_at_the_first_rejected_row_and_writes_nothing(preprocess, corpus_file, case, tmp_path, workers):
    source = corpus_file(case(), "NA", "{broken: " + "x" * 20)
    assert preprocess("--train_input", source).status == 1
    before = contents(tmp_path / "data")
    for lang, said in (
        ("zh", "第 3 行：内容为空（'NA'）；请修好这一行"),
        ("en", "row 3: content is blank ('NA'); mend"),
    ):
        ran = preprocess("--train_input", source, "--strict", "--lang", lang, "--num_workers", workers)
        assert (ran.status, ran.out) == (2, "")
        assert said in ran.err and len(ran.err.strip().splitlines()) == 1
    assert contents(tmp_path / "data") == before
    assert preprocess("--train_input", corpus_file(case(), name="good.csv"), "--strict").status == 0


def test_only_the_first_of_many_rejected_rows_are_printed(preprocess, corpus_file, case, tmp_path):
    ran = preprocess("--train_input", corpus_file(case(), *["NA"] * 50))
    assert ran.out.count("拒绝第") == preprocessing.SHOWN
    assert "共拒绝 50 行" in ran.out
    assert len(rejected_rows(tmp_path / "data")) == 50


# ------------------------------------------------------------------------------------------ what an earlier run left


def test_what_an_earlier_run_wrote_is_not_listed_beside_new_files(preprocess, corpus_file, case, tmp_path):
    train, other = corpus_file(case(), name="train.csv"), case(meeting_key="T2", sentences=other_sentences(case))
    both = ["--train_input", train, "--dev_input", corpus_file(other, name="dev.csv")]
    assert preprocess("--task", "all", *both).status == 0
    ran = preprocess("--train_input", train)
    assert ran.status == 0
    assert list(load(tmp_path / "data" / "dataset_info.json")) == ["alimeeting4mug_train"]
    assert f"{tmp_path / 'data' / 'dev_alpaca.json'} 不是这次写的" in ran.out
    assert (tmp_path / "data" / "dev_alpaca.json").exists()  # it may be somebody's only copy


def test_the_next_command_names_the_folder_when_it_is_not_the_configured_one(preprocess, corpus_file, case, tmp_path):
    source = corpus_file(case())
    assert preprocess("--train_input", source).out.endswith(
        "下一步：python scripts/train.py configs/train_lora.yaml\n"
    )
    ran = preprocess("--train_input", source, out="my data")
    assert ran.out.endswith(f"configs/train_lora.yaml dataset_dir='{tmp_path / 'my data'}'\n")


def test_the_next_command_has_the_cutoff_that_the_samples_were_made_for(preprocess, corpus_file, case):
    ran = preprocess("--train_input", corpus_file(case()), "--cutoff_len", "2048")
    assert ran.out.endswith("下一步：python scripts/train.py configs/train_lora.yaml cutoff_len=2048\n")
    config = (SCRIPT.parent.parent / "configs" / "train_lora.yaml").read_text("utf-8")
    assert f"\ncutoff_len: {preprocess_data.CUTOFF_LEN} " in config, "so that it needs no word where it is the default"


def test_an_output_over_its_own_input_is_refused(preprocess, corpus_file, case, tmp_path):
    (tmp_path / "data").mkdir()
    source = corpus_file(case(), name="data/train_alpaca.json")
    before = source.read_bytes()
    ran = preprocess("--train_input", source)
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)
    assert source.read_bytes() == before


def test_the_columns_of_the_summary_stand_under_each_other_in_either_language(preprocess, corpus_file, case):
    def width(text):
        return sum(2 if CHINESE.match(char) else 1 for char in text)

    for lang, last in (("zh", "跳过"), ("en", "skipped")):
        ran = preprocess("--task", "all", "--train_input", corpus_file(case()), "--lang", lang)
        header, *rows = [line for line in ran.out.splitlines() if line.startswith(("split", "train "))]
        assert {width(row[: row.rindex("-")]) for row in rows} == {width(header[: header.index(last)])}


# --------------------------------------------------------------------------------------------------- several processes


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """A corpus of forty meetings with rejected and repeated rows between them."""
    from conftest import table

    cells = []
    for number in range(40):
        sentences = [
            {"id": i, "speaker": "甲乙丙"[i % 3], "s": f"第{number}场第{i}句" + "话" * (i % 50)} for i in range(1, 200)
        ]
        value = {"meeting_key": f"T{number}", "sentences": sentences, "action_ids": [{"id": 7}, {"id": 300}]}
        value["topic_segment_ids"] = [{"id": end, "candidate": [{"title": f"题{end}"}]} for end in (60, 199)]
        value["candidate"] = [{"key_word": ["话"], "key_sentence": ["3", "9"]}]
        cells += [value, "NA"] if number % 10 == 3 else [value, value] if number % 10 == 5 else [value]
    path = tmp_path_factory.mktemp("forty") / "train.csv"
    path.write_text(table(cells), encoding="utf-8")
    return path


@pytest.mark.parametrize("counting", ["estimate", "tokenizer"])
def test_any_number_of_processes_writes_the_same_bytes_and_says_the_same(
    preprocess, forty, shared, tmp_path, counting
):
    options = ["--estimate_tokens"] if counting == "estimate" else ["--tokenizer", shared / "qwen_tokenizer"]
    said = {}
    for workers in (1, 2, 3):
        out = f"w{workers}"
        ran = preprocess("--task", "all", "--train_input", forty, *options, "--num_workers", workers, out=out)
        assert (ran.status, ran.err) == (1, "")
        said[workers] = re.sub(r"w\d|（[\d.]+ 秒）", "", ran.out)
    assert contents(tmp_path / "w1") == contents(tmp_path / "w2") == contents(tmp_path / "w3")
    assert said[1] == said[2] == said[3]
    assert "40 个会议" in said[1] and "重复的会议" in said[1] and "拒绝第" in said[1]


@pytest.mark.parametrize("number", [0, -1, 129, "x"])
def test_a_number_of_processes_that_is_none_is_a_wrong_argument(preprocess, corpus_file, case, number):
    ran = preprocess("--train_input", corpus_file(case()), "--num_workers", number)
    assert ran.status == 2
    assert "--num_workers" in ran.err


def descendants(pid):
    """Return the worker processes of a process: pid by pid, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                if b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc to find the workers in")
@pytest.mark.parametrize("what", ["Ctrl-C", "a worker is killed", "the parent is killed"])
def test_an_end_on_the_way_leaves_the_older_files_and_no_process(forty, tmp_path, what):
    rows = forty.read_text("utf-8").split("\n", 1)
    source = tmp_path / "long.csv"
    copies = (re.sub(r'(""meeting_key"": ""T)', rf"\g<1>{copy}x", rows[1]) for copy in range(100))
    source.write_text(rows[0] + "\n" + "".join(copies), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train_alpaca.json").write_text("older")
    options = ["--task", "all", "--estimate_tokens", "--num_workers", "2", "--output_dir", tmp_path / "data"]
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "--train_input", source, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while len(workers := descendants(process.pid)) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        if what == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        else:
            os.kill(workers[0] if what == "a worker is killed" else process.pid, signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    while any(map(alive, workers)):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.01)
    assert (tmp_path / "data" / "train_alpaca.json").read_text() == "older"
    if what == "the parent is killed":
        return
    assert (process.returncode, out, len(err.splitlines())) == (1, "", 1)
    assert ("KeyboardInterrupt" if what == "Ctrl-C" else "一个工作进程中途退出") in err
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train_alpaca.json"]


def test_a_file_that_gives_no_sample_is_refused_with_its_reason(preprocess, corpus_file, case):
    ran = preprocess("--train_input", corpus_file(case(topic_segment_ids=[{"id": 6}])))
    assert ran.status == 2
    assert "没有得到任何样本（1 个会议，0 行被拒）；主题没有标题" in ran.err
    ran = preprocess("--train_input", corpus_file("NA"))
    assert "没有得到任何样本（0 个会议，1 行被拒）；第 2 行：内容为空" in ran.err


def test_a_meeting_in_train_and_dev_is_refused_unless_it_is_allowed(preprocess, corpus_file, case, tmp_path):
    train = corpus_file(case(), case(meeting_key="T2"), name="train.csv")
    dev = corpus_file(case(), name="dev.csv")
    ran = preprocess("--train_input", train, "--dev_input", dev)
    assert ran.status == 2
    assert "T1" in ran.err
    assert list((tmp_path / "data").iterdir()) == []
    assert preprocess("--train_input", train, "--dev_input", dev, "--allow_overlap").status == 0


@pytest.mark.parametrize("changed", [0, 4])
def test_the_sentences_of_a_train_meeting_under_another_key_in_dev_are_refused(
    preprocess, shared, corpus_file, tmp_path, changed
):
    import csv

    csv.field_size_limit(1 << 26)
    with (shared / "data" / "real_dev3.csv").open(encoding="utf-8", newline="") as file:
        first, *others = [json.loads(row[1]) for row in csv.reader(file, delimiter="\t") if row[0] != "idx"]
    copy = json.loads(json.dumps(first)) | {"meeting_key": "X1"}
    longest = sorted(copy["sentences"], key=lambda sentence: len(sentence["s"]))[-changed:] if changed else []
    for sentence in longest:
        sentence["s"] = "改过：" + sentence["s"]
    for sentence in copy["sentences"]:
        sentence |= {"id": sentence["id"] + 100, "speaker": "丙", "s": sentence["s"].replace("，", ", ")}
    copy["action_ids"] = [{"id": item["id"] + 100} for item in copy["action_ids"]]
    train = corpus_file(first, others[0], name="train.csv")
    dev = corpus_file(others[1], copy, name="dev.csv")
    inputs = ["--task", "action_item_detection", "--train_input", train, "--dev_input", dev, "--lang", "en"]
    ran = preprocess(*inputs)
    assert ran.status == 2
    assert f"1 meetings are in train and in dev (dev X1 = train {first['meeting_key']}…)" in ran.err
    assert list((tmp_path / "data").iterdir()) == []
    assert preprocess(*inputs, "--allow_overlap").status == 0


def test_the_same_sentences_under_two_keys_of_one_split_are_named(preprocess, corpus_file, case):
    ran = preprocess("--train_input", corpus_file(case(), case(meeting_key="T2")))
    assert ran.status == 0
    assert "修正 1 处：句子与另一个会议相同，只是 key 不同（首例 T2 = T1）" in ran.out


def test_meetings_without_keys_in_train_and_dev_are_not_the_same(preprocess, corpus_file, case):
    train = corpus_file(case(meeting_key=None), name="train.csv")
    dev = corpus_file(case(meeting_key=None, sentences=other_sentences(case)), name="dev.csv")
    assert preprocess("--train_input", train, "--dev_input", dev).status == 0


def other_sentences(case):
    return [sentence | {"s": f"另说：{sentence['s']}"} for sentence in case()["sentences"]]


def other_key(case):
    value = case()
    value["sentences"][0]["s"] = "换一个。"
    return [case(), value]


def test_a_run_that_fails_leaves_every_older_file_as_it_was(preprocess, corpus_file, case, tmp_path, monkeypatch):
    good = corpus_file(case(), name="good.csv")
    assert preprocess("--task", "all", "--train_input", good).status == 0
    before = contents(tmp_path / "data")
    same_key = corpus_file(*other_key(case), name="twice.csv")
    late = corpus_file(case(meeting_key="T9"), name="late.csv")

    assert preprocess("--task", "all", "--train_input", same_key).status == 2
    assert preprocess("--task", "all", "--train_input", late, "--dev_input", late).status == 2
    assert preprocess("--task", "all", "--train_input", late, "--dev_input", tmp_path / "none.csv").status == 2
    assert contents(tmp_path / "data") == before

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        ran = preprocess("--task", "all", "--train_input", late)
    assert (ran.status, len(ran.err.strip().splitlines())) == (1, 1)
    assert "No space left" in ran.err
    assert contents(tmp_path / "data") == before


def test_a_broken_dataset_info_is_refused_before_anything_is_replaced(preprocess, corpus_file, case, tmp_path):
    assert preprocess("--train_input", corpus_file(case())).status == 0
    (tmp_path / "data" / "dataset_info.json").write_text("{broken", encoding="utf-8")
    before = contents(tmp_path / "data")
    ran = preprocess("--train_input", corpus_file(case(meeting_key="T2"), name="other.csv"))
    assert ran.status == 2
    assert "dataset_info.json" in ran.err
    assert contents(tmp_path / "data") == before


# ----------------------------------------------------------------------------------------------- lengths and memory


def test_a_sample_that_training_would_cut_is_left_out_of_train_and_kept_in_dev(
    preprocess, corpus_file, case, tmp_path, shared
):
    def source(key):
        topics = case()["topic_segment_ids"]
        topics[0]["candidate"][0]["title"] = "题" + "长" * 9000
        return corpus_file(case(meeting_key=key, topic_segment_ids=topics), name=f"{key}.csv")

    for options in ([], ["--tokenizer", shared / "qwen_tokenizer"]):
        inputs = ["--train_input", source("T1"), "--dev_input", source("T2"), "--allow_overlap"]
        ran = preprocess(*inputs, *options)
        assert ran.status == 0
        assert [row["output"] for row in load(tmp_path / "data" / "train_alpaca.json")] == ["定春游时间"]
        assert len(load(tmp_path / "data" / "dev_alpaca.json")) == 2
        rows = {line.split()[0]: line.split() for line in ran.out.splitlines() if " title_generation " in line}
        assert "cutoff_len" in " ".join(rows["train"][-2:])
        assert "0.0%" in rows["train"]
        assert "50.0%" in rows["dev"]


def test_a_sentence_of_131073_characters_is_shown_shortened_and_within_the_budget(
    preprocess, corpus_file, case, tmp_path
):
    value = case()
    value["sentences"][1]["s"] = "长" * 131_073
    ran = preprocess("--task", "all", "--train_input", corpus_file(value))
    assert ran.status == 0
    rows = load(tmp_path / "data" / "train_alpaca.json")
    assert max(tokens.estimate([f"{row['instruction']}\n{row['input']}" for row in rows])) <= 2400
    assert max(len(row["output"]) for row in rows) < 100


@pytest.mark.parametrize(
    ("lengths", "said"),
    [({}, "-"), ({7: 1}, "7 / 7 / 7"), ({1: 50, 2: 45, 9: 4, 30: 1}, "1 / 2 / 30"), ({1: 1, 3: 1}, "1 / 3 / 3")],
)
def test_median_95_percent_and_maximum(lengths, said):
    from collections import Counter

    assert preprocessing.quantiles(Counter(lengths)) == said


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system has no /proc to read the peak from")
def test_memory_does_not_grow_with_the_corpus(corpus_file, case, tmp_path):
    def peak(copies):
        sentences = [{"id": i, "speaker": "甲", "s": f"第{i}句" + "话" * 40} for i in range(1, 401)]
        cells = [case(meeting_key=f"T{i}", sentences=sentences) for i in range(copies)]
        source = corpus_file(*cells, name=f"{copies}.csv")
        # Not ru_maxrss: it begins with the size of the process that started this one.
        code = (
            "import re, sys; sys.path.insert(0, sys.argv.pop(1)); import preprocess_data; preprocess_data.main();"
            "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
        )
        command = [sys.executable, "-c", code, SCRIPT.parent, "--task", "all", "--estimate_tokens"]
        command += ["--train_input", source, "--output_dir", tmp_path / f"data{copies}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return int(ran.stderr), source.stat().st_size // 1024

    (small, little), (large, much) = peak(80), peak(240)  # KiB
    assert little > 5 * 1024  # past the head that tells the encoding
    assert large - small < (much - little) / 4
    assert large < 200 * 1024
