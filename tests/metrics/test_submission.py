from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mug.errors import InputError
from mug.meeting import Meeting
from mug.metrics.submission import check_meetings, read_rows, rows_by_key, sentence_ids, topic_rows


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\ufeff\n{"meeting_key": "T1", "s": "a\u2028b"}\r\n\n   \n{"meeting_key": "T2"}'.encode())
    assert list(read_rows(path)) == ["T1", "T2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "rows.jsonl"),
        (b"\n\n", "rows.jsonl"),
        (b'{"meeting_key": "T1"}\n{"meeting_key": "T', "2"),  # torn
        (b"[1]\n", "1"),
        (b'{"key": "T1"}\n', "meeting_key"),
        (b'{"meeting_key": "T1"}\n{"meeting_key": "T1"}\n', "T1"),
        ("预测".encode("gb18030"), "UTF-8"),
    ],
)
def test_an_unusable_file_is_an_error_that_says_where(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert words in caught.value.message.zh and words in caught.value.message.en


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.jsonl"):
        read_rows(tmp_path / "none.jsonl")


def test_two_rows_for_one_meeting_are_an_error() -> None:
    with pytest.raises(InputError, match="T1"):
        rows_by_key([{"meeting_key": "T1"}, {"meeting_key": "T1"}])


def test_many_missing_meetings_are_counted_rather_than_listed(meeting: Callable[..., Meeting]) -> None:
    with pytest.raises(InputError) as caught:
        check_meetings([meeting(key=f"M{i:03}") for i in range(65)], {"X": {}})
    assert "M009" in caught.value.message.en and "M010" not in caught.value.message.en
    assert "65" in caught.value.message.en and "65" in caught.value.message.zh


def test_topics_are_joined_by_id(meeting: Callable[..., Meeting]) -> None:
    row = {"topic_segment_ids": [{"id": "6", "title": "b"}, {"id": 3, "title": "a"}]}
    assert [topic["title"] for topic in topic_rows(meeting(), row)] == ["a", "b"]


def test_topics_without_ids_are_taken_in_their_order(meeting: Callable[..., Meeting]) -> None:
    assert [t["title"] for t in topic_rows(meeting(), {"topic_segment_ids": [{"title": "a"}, {"title": "b"}]})] == [
        "a",
        "b",
    ]


def test_the_last_topic_may_carry_its_id_from_before_it_was_stretched(meeting: Callable[..., Meeting]) -> None:
    for last in (5, 99):
        rows = topic_rows(meeting(), {"topic_segment_ids": [{"id": last, "title": "b"}, {"id": 3, "title": "a"}]})
        assert [topic["title"] for topic in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("topics", "missing", "extra"),
    [
        ([{"id": 3}], "missing: 6", ""),
        ([{"id": 3}, {"id": 6}, {"id": 5}], "", "unknown: 5"),
        ([{"id": 2}, {"id": 6}], "missing: 3", "unknown: 2"),
        ([{"id": "?"}, {"id": 6}], "missing: 3", "unknown: ?"),
        ([{"title": "a"}], "missing: 3, 6", "unknown: None"),
        (None, "missing: 3, 6", ""),
        ([{"id": 3}, {"id": 3}, {"id": 6}], "stands twice", ""),
    ],
)
def test_topics_that_do_not_fit_are_an_error(
    meeting: Callable[..., Meeting], topics: Any, missing: str, extra: str
) -> None:
    with pytest.raises(InputError) as caught:
        topic_rows(meeting(), {"topic_segment_ids": topics})
    english = caught.value.message.en
    assert "T1" in english and "T1" in caught.value.message.zh and missing in english and extra in english


def test_ids_may_be_written_in_three_ways_and_keep_order_and_repeats(meeting: Callable[..., Meeting]) -> None:
    assert sentence_ids(meeting(), {"x": [{"id": 3}, "2", 2, 6]}, "x") == [3, 2, 2, 6]
    assert sentence_ids(meeting(), {"x": None}, "x") == sentence_ids(meeting(), {}, "x") == []


@pytest.mark.parametrize("value", [0, -1, 7, "第3句", None, 2.5, True, {"id": None}, [1]])
def test_what_is_no_id_of_the_meeting_is_an_error(meeting: Callable[..., Meeting], value: object) -> None:
    with pytest.raises(InputError, match="T1"):
        sentence_ids(meeting(), {"x": [value]}, "x")
