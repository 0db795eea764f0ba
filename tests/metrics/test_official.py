from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.meeting import Meeting
from mug.metrics import official
from mug.metrics.submission import read_rows

SUBMISSIONS = ("first_annotator", "noisy")


@pytest.fixture(scope="module")
def gold(golden: Path) -> list[Meeting]:
    return list(read_meetings(golden / "gold.csv", Report()))


@pytest.mark.parametrize("track", official.TRACKS)
@pytest.mark.parametrize("submission", SUBMISSIONS)
def test_every_key_equals_the_official_evaluator(
    golden: Path, gold: list[Meeting], submission: str, track: str
) -> None:
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))[submission][track]
    scores = getattr(official, track)(gold, read_rows(golden / f"{submission}.{track}.jsonl"))
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, abs=1e-12, rel=0)


@pytest.mark.parametrize("track", official.TRACKS)
def test_contributions_make_the_score_in_any_order(golden: Path, gold: list[Meeting], track: str) -> None:
    rows = read_rows(golden / f"noisy.{track}.jsonl")
    parts = official.contributions(track, gold, rows)
    whole = official.score(track, gold, rows)
    combine = official.TRACKS[track].combine
    assert combine(parts) == whole
    assert combine(parts[::-1]) == pytest.approx(whole, abs=1e-12)
    assert combine(parts * 3) == pytest.approx(whole, abs=1e-12)
    alone = official.score(track, gold[1:2], {gold[1].key: rows[gold[1].key]})
    assert combine(parts[1:2]) == alone


def test_counts_say_what_was_scored(golden: Path, gold: list[Meeting]) -> None:
    n = {
        track: official.counts(official.contributions(track, gold, read_rows(golden / f"noisy.{track}.jsonl")))
        for track in official.TRACKS
    }
    assert n["topic_segmentation"] == {"meetings": 3, "n": 238 + 194 + 136, "empty": 0, "skipped": 0}
    assert n["extractive_summarization"]["n"] == 43 + 3
    assert n["topic_title_generation"]["n"] == 43
    assert n["keyphrase_extraction"]["n"] == 3
    assert n["action_item_detection"]["n"] == 3093


def test_rows_are_joined_by_meeting_and_not_by_order(meeting: Callable[..., Meeting]) -> None:
    first, second = meeting(), meeting(key="T2", action_ids=(1,))
    rows = {"T2": {"action_ids": [{"id": 1}]}, "T1": {"action_ids": [{"id": 6}]}}
    assert official.action_item_detection([first, second], rows)["score"] == 1.0


@pytest.mark.parametrize("track", official.TRACKS)
def test_missing_and_extra_meetings_are_an_error_that_names_them(track: str, meeting: Callable[..., Meeting]) -> None:
    with pytest.raises(InputError) as caught:
        official.score(track, [meeting(), meeting(key="T2")], {"T1": {}, "T9": {}})
    assert "T2" in caught.value.message.zh and "T9" in caught.value.message.zh and "T1" not in caught.value.message.zh
    assert "missing: T2" in caught.value.message.en and "unknown: T9" in caught.value.message.en


@pytest.mark.parametrize("track", official.TRACKS)
def test_nothing_to_score_is_an_error(track: str, meeting: Callable[..., Meeting]) -> None:
    with pytest.raises(InputError):
        official.score(track, [], {})
    with pytest.raises(InputError):
        official.score(track, [meeting()], {})


def test_empty_predictions_are_zero_kept_and_counted(meeting: Callable[..., Meeting]) -> None:
    row = {"topic_segment_ids": [{"id": 3}, {"id": 6}]}
    for track in ("topic_title_generation", "extractive_summarization", "keyphrase_extraction"):
        parts = official.contributions(track, [meeting()], {"T1": row})
        scores = official.TRACKS[track].combine(parts)
        counts = official.counts(parts)
        assert set(scores.values()) == {0.0}
        assert counts["empty"] == counts["n"] > 0
    assert official.action_item_detection([meeting()], {"T1": row})["score"] == 0.0


def test_undefined_figures_are_none(meeting: Callable[..., Meeting]) -> None:
    nobody = official.action_item_detection([meeting(action_ids=())], {"T1": {"action_ids": []}})
    assert set(nobody.values()) == {None}
    one_topic = meeting(topics=(replace(meeting().topics[1], start=1),), paragraph_ends=(1, 2, 3, 4, 5, 6))
    scores = official.topic_segmentation([one_topic], {"T1": {"topic_segment_ids": [{"id": 6}]}})
    assert scores["score"] is scores["test_f1"] is scores["test_precision"] is scores["test_recall"] is None
    assert scores["test_1-pk"] == scores["test_1-wd"] == 1.0
    unlabelled = meeting(topics=(), candidates=())
    assert set(official.topic_title_generation([unlabelled], {"T1": {}}).values()) == {None}
    assert set(official.extractive_summarization([unlabelled], {"T1": {}}).values()) == {None}
    assert set(official.keyphrase_extraction([unlabelled], {"T1": {}}).values()) == {None}


def test_every_track_says_how_it_is_scored() -> None:
    for track in official.TRACKS.values():
        assert track.tokenisation and track.library and track.references and track.unit and track.source
