"""The file of answers survives a kill at any byte, and never mixes two runs."""

from __future__ import annotations

import json

import pytest

from mug.errors import InputError
from mug.generation.base import Completion
from mug.predictions import LONGEST_ANSWER, append, check_prompts, prompts_digest, read_done, read_given
from mug.tasks.base import Sample

FINGERPRINT = {"engine": "transformers", "adapter": {"adapter_model.safetensors": "5b1c"}, "prompts": "77"}
SAMPLES = [
    Sample(id=f"T1/title/{i}", instruction="请写标题。", input=f"会议内容：\n[甲]: 第{i}句。") for i in range(4)
]
ANSWERS = [Completion("定春游地点", "stop", 5), Completion("", "stop", 0), Completion("订大巴\n😀", "length", 9)]


def written(path, answers=ANSWERS):
    with append(path, FINGERPRINT) as file:
        for index, answer in enumerate(answers):
            file.answer(index, SAMPLES[index], answer)
    return path.read_bytes()


def test_answers_come_back_by_index(tmp_path):
    written(tmp_path / "a.jsonl")
    assert read_done(tmp_path / "a.jsonl", FINGERPRINT, SAMPLES) == dict(enumerate(ANSWERS))


def test_each_line_names_the_sample_and_the_first_the_run(tmp_path):
    lines = written(tmp_path / "a.jsonl").decode().splitlines()
    assert json.loads(lines[0]) == {"fingerprint": FINGERPRINT}
    assert json.loads(lines[1]) == {
        "index": 0, "id": "T1/title/0", "raw": "定春游地点", "finish": "stop", "tokens": 5,
    }  # fmt: skip


def test_no_file_is_no_answers(tmp_path):
    assert read_done(tmp_path / "none.jsonl", FINGERPRINT, SAMPLES) == {}


def test_cut_at_any_byte_the_whole_lines_stay_and_going_on_ends_as_if_never_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # hundreds of them would take seconds
    whole = written(tmp_path / "whole.jsonl")
    path = tmp_path / "torn.jsonl"
    for length in range(len(whole) + 1):  # also inside the three bytes of a hanzi
        path.write_bytes(whole[:length])
        done = read_done(path, FINGERPRINT, SAMPLES)
        assert done == {i: ANSWERS[i] for i in range(max(0, whole[:length].count(b"\n") - 1))}
        assert path.read_bytes() == whole[: whole[:length].rfind(b"\n") + 1]
        with append(path, FINGERPRINT) as file:
            for index in range(len(done), len(ANSWERS)):
                file.answer(index, SAMPLES[index], ANSWERS[index])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(("name", "zh"), [("engine", "生成方式"), ("adapter", "适配器"), ("prompts", "提示词")])
def test_a_file_of_another_run_is_refused_and_left_as_it_is(tmp_path, name, zh):
    before = written(tmp_path / "a.jsonl")
    with pytest.raises(InputError) as error:
        read_done(tmp_path / "a.jsonl", FINGERPRINT | {name: "other"}, SAMPLES)
    assert f"differing: {name})" in error.value.message.en
    assert f"不同之处：{zh}）" in error.value.message.zh
    assert (tmp_path / "a.jsonl").read_bytes() == before


@pytest.mark.parametrize("torn", [b"", b'{"index": 0, "ra'])
def test_a_file_without_an_answer_is_no_obstacle(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    path.write_bytes(written(path, []) + torn)
    check_prompts(path, SAMPLES)
    other = FINGERPRINT | {"engine": "api", "prompts": "other"}
    assert read_done(path, other, SAMPLES) == {}
    with append(path, other) as file:
        file.answer(0, SAMPLES[0], ANSWERS[0])
    assert read_done(path, other, SAMPLES) == {0: ANSWERS[0]}


def of_first(count):
    return FINGERPRINT | {"prompts": prompts_digest(SAMPLES[:count])}


def test_the_answers_of_fewer_samples_go_on_being_used_for_more(tmp_path):
    path = tmp_path / "a.jsonl"
    said = [*ANSWERS, Completion("好\ud83d", "length", 2)]
    with append(path, of_first(2)) as file:
        for index in (1, 0):
            file.answer(index, SAMPLES[index], said[index])
    check_prompts(path, SAMPLES)
    assert read_done(path, of_first(4), SAMPLES) == {0: said[0], 1: said[1]}
    with append(path, of_first(4)) as file:
        for index in (2, 3):
            file.answer(index, SAMPLES[index], said[index])
    assert read_done(path, of_first(4), SAMPLES) == dict(enumerate(said))
    assert read_given(path, SAMPLES) == said


def test_the_answers_of_more_samples_or_of_another_engine_are_not_those_of_fewer(tmp_path):
    path = tmp_path / "a.jsonl"
    with append(path, of_first(3)) as file:
        file.answer(2, SAMPLES[2], ANSWERS[2])
    before = path.read_bytes()
    with pytest.raises(InputError, match="不同之处：提示词）"):
        check_prompts(path, SAMPLES[:2])
    with pytest.raises(InputError, match="不同之处：提示词）"):
        read_done(path, of_first(2), SAMPLES[:2])
    with pytest.raises(InputError, match="不同之处：生成方式、提示词）"):
        read_done(path, of_first(4) | {"engine": "vllm"}, SAMPLES)
    assert path.read_bytes() == before


def test_a_fingerprint_with_a_tuple_is_the_same_after_json(tmp_path):
    fingerprint = {"sizes": (1, 2)}
    with append(tmp_path / "a.jsonl", fingerprint) as file:
        file.answer(0, SAMPLES[0], ANSWERS[0])
    assert read_done(tmp_path / "a.jsonl", fingerprint, SAMPLES) == {0: ANSWERS[0]}


@pytest.mark.parametrize(
    "line",
    ["{broken", '{"index": 1}', "[]", "7", '{"index": 0, "raw": "x"}', "[" * 100_000, "\\xff"]
    + [
        '{"index": "0", "raw": "x", "finish": "stop", "tokens": 1}',
        '{"index": true, "raw": "", "finish": "", "tokens": 1}',
    ]
    + [
        '{"index": 0, "raw": null, "finish": "stop", "tokens": 1}',
        '{"index": 0, "raw": "x", "finish": 1, "tokens": 1}',
    ]
    + [
        '{"index": 0, "raw": "x", "finish": "stop", "tokens": "1"}',
        '{"index": 0, "raw": ["x"], "finish": "", "tokens": 1}',
    ],
    ids=[
        "JSON",
        "keys",
        "list",
        "int",
        "few",
        "nested",
        "bytes",
        "index",
        "boolean",
        "null",
        "finish",
        "tokens",
        "raw",
    ],
)
def test_a_damaged_whole_line_is_one_sentence(tmp_path, line):
    written(tmp_path / "a.jsonl")
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="已损坏"):
        read_done(tmp_path / "a.jsonl", FINGERPRINT, SAMPLES)


@pytest.mark.parametrize("first", ['{"index": 0}', '{"fingerprint": "x"}', '{"fingerprint": [1]}', "null"])
def test_a_file_that_does_not_begin_with_a_fingerprint_is_one_sentence(tmp_path, first):
    (tmp_path / "a.jsonl").write_text(first + "\n")
    with pytest.raises(InputError, match="已损坏"):
        read_done(tmp_path / "a.jsonl", FINGERPRINT, SAMPLES)


def test_half_a_character_in_an_answer_is_kept(tmp_path):
    written(tmp_path / "a.jsonl", [Completion("好\ud83d", "length", 2)])
    assert read_done(tmp_path / "a.jsonl", FINGERPRINT, SAMPLES)[0].text == "好\ud83d"


def test_an_answer_beyond_the_samples_is_passed_over(tmp_path):
    written(tmp_path / "a.jsonl")
    assert sorted(read_done(tmp_path / "a.jsonl", FINGERPRINT, SAMPLES[:2])) == [0, 1]


def test_the_digest_changes_with_any_prompt_and_with_their_order():
    other = [*SAMPLES[:3], Sample(id="T1/title/3", instruction="请写标题。", input="会议内容：\n[甲]: 换一句。")]
    digests = {
        prompts_digest(SAMPLES),
        prompts_digest(other),
        prompts_digest(SAMPLES[::-1]),
        prompts_digest(SAMPLES[:3]),
    }
    assert len(digests) == 4
    assert prompts_digest(list(SAMPLES)) == prompts_digest(SAMPLES)


def given(path, *answers):
    rows = [{"prompt": "", "predict": answer, "label": ""} for answer in answers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_given_answer_of_abnormal_length_is_refused_by_its_number(tmp_path):
    longest = "好" * LONGEST_ANSWER
    assert read_given(given(tmp_path / "a.jsonl", "x", longest), SAMPLES[:2])[1].text == longest
    with pytest.raises(InputError) as error:
        read_given(given(tmp_path / "a.jsonl", "x", longest + "。"), SAMPLES[:2])
    assert error.value.message.en.startswith("Answer 2 of ") and "50001 characters" in error.value.message.en


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{" * 100_000, '{"fingerprint": ' + "[" * 50_000 + "]" * 50_000 + "}"]
)
def test_a_given_file_nested_without_end_is_one_sentence(tmp_path, content):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(InputError):
        read_given(tmp_path / "a.jsonl", SAMPLES)
