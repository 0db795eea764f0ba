"""A row of the corpus made into Alpaca rows by a pure function, and what meetings have to do with each other."""

from __future__ import annotations

import json
import pickle

import pytest

from mug.conversion import Converted, Gathering, Settings, check_shared, convert
from mug.corpus import Report, read_rows
from mug.errors import InputError
from mug.table import Rejected, Row
from mug.tasks import TASKS

ALL = Settings(tasks=tuple(TASKS))


def row_of(value, number=2):
    return Row("dataset/train.csv", number, json.dumps(value, ensure_ascii=False).encode())


def test_the_function_and_all_that_goes_in_and_out_can_be_pickled(case):
    row = row_of(case())
    there = pickle.loads(pickle.dumps(convert))
    made = there(*pickle.loads(pickle.dumps((row, "train", ALL))))
    assert pickle.loads(pickle.dumps(made)) == made == convert(row, "train", ALL)


def test_each_task_gives_its_rows_as_json_and_its_counts(case):
    made = convert(row_of(case()), "train", ALL)
    assert isinstance(made, Converted)
    assert (made.key, made.row.number, made.row.content) == ("T1", 2, b"")
    assert list(made.rows) == list(made.tallies) == list(TASKS)
    assert [json.loads(row)["output"] for row in made.rows["title_generation"]] == ["定春游地点", "定春游时间"]
    assert {name: tally.samples for name, tally in made.tallies.items()} == {
        name: len(rows) for name, rows in made.rows.items()
    }


def test_what_can_not_be_read_comes_back_rejected_and_rejected_rows_pass_through(case):
    rejected = convert(Row("dataset/train.csv", 7, b"NA"), "train", ALL)
    assert isinstance(rejected, Rejected)
    assert (rejected.file, rejected.row, rejected.content) == ("dataset/train.csv", 7, "NA")
    assert convert(rejected, "train", ALL) is rejected


def test_a_tokenizer_that_is_not_there_is_an_error_that_survives_the_way_back_from_a_worker(case):
    with pytest.raises(InputError) as error:
        convert(row_of(case()), "train", Settings(("title_generation",), tokenizer="nowhere"))
    assert pickle.loads(pickle.dumps(error.value)).message == error.value.message


def test_a_file_converts_to_the_same_whether_read_here_or_row_by_row_elsewhere(shared):
    path = shared / "data" / "real_dev3.csv"
    here = [convert(row, "dev", ALL) for row in read_rows(path, Report())]
    there = [convert(pickle.loads(pickle.dumps(row)), "dev", ALL) for row in read_rows(path, Report())]
    assert [made.key for made in here] == ["M0115", "M0112", "M4028"]
    assert here == there


# ------------------------------------------------------------------------------------------------------- gathering


def test_a_repeated_row_is_taken_in_once_and_another_of_its_key_is_an_error(case):
    gathering = Gathering(Report())
    assert gathering.add(convert(row_of(case()), "train", ALL))
    assert not gathering.add(convert(row_of(case(), 3), "train", ALL))
    assert gathering.report.meetings == 1
    assert gathering.tallies["title_generation"].samples == 2
    with pytest.raises(InputError, match="第 4 行：会议 T1 出现两次而内容不同"):
        gathering.add(convert(row_of(case(action_ids=[]), 4), "train", ALL))


def long(case, key, start):
    texts = [f"第{number}条：{'议' * number}。" for number in range(start, start + 20)]
    sentences = [{"id": place, "speaker": "甲", "s": text} for place, text in enumerate(texts, 1)]
    return row_of(case(meeting_key=key, sentences=sentences, topic_segment_ids=None, candidate=None))


@pytest.mark.parametrize(("start", "is_same"), [(0, True), (5, True), (6, False), (30, False)])
def test_three_of_eight_long_sentences_make_two_meetings_one(case, start, is_same):
    train, dev = Gathering(Report()), None
    train.add(convert(long(case, "T1", 0), "train", ALL))
    dev = Gathering(Report(), others={"train": train})
    # The longest eight of T1 are 12 to 19; those of D1 begin at start + 12.
    dev.add(convert(long(case, "D1", start), "dev", ALL))
    assert dev.shared == ([("D1", "train", "T1")] if is_same else [])
    if is_same:
        with pytest.raises(InputError) as error:
            check_shared({"train": train, "dev": dev})
        assert "dev D1 = train T1" in error.value.message.en
    else:
        check_shared({"train": train, "dev": dev})


def test_a_short_meeting_is_the_same_only_when_all_its_sentences_are(case):
    def brief(key, *texts):
        sentences = [{"id": place, "speaker": "甲", "s": text} for place, text in enumerate(texts, 1)]
        return convert(row_of(case(meeting_key=key, sentences=sentences, topic_segment_ids=None)), "train", ALL)

    gathering = Gathering(Report())
    gathering.add(brief("T1", "好的。", "散会。", "我来订大巴。"))
    assert gathering.owner(brief("T2", "好的！", "散会", "我来订大巴").fingerprint) == "T1"
    assert gathering.owner(brief("T3", "好的。", "散会。", "我不去。").fingerprint) == ""
