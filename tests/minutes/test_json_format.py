"""The JSON minutes: the schema holds, and reading back gives the same minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.generation.baseline import BaselineEngine
from mug.minutes.json_format import json_of, minutes_of, render
from mug.minutes.pipeline import make_minutes
from mug.transcripts.recording import Recording

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "minutes.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("which", ["minutes", "hostile"])
def test_it_fits_the_schema_and_reads_back_equal(which, request):
    minutes = request.getfixturevalue(which)
    value = json.loads(render(minutes))
    VALIDATOR.validate(value)
    assert minutes_of(value) == minutes
    assert minutes_of(json_of(minutes)) == minutes


def test_what_a_person_edited_reads_back_as_edited(minutes):
    (item,), (first, second) = minutes.action_items, minutes.chapters
    edited = replace(
        minutes,
        action_items=(replace(item, text="订大巴", owner="丙", due="周四", edited=True),),
        chapters=(replace(first, title="地点", edited=True), second),
    )
    value = json.loads(render(edited))
    VALIDATOR.validate(value)
    assert minutes_of(value) == edited


def test_the_sample_meetings_fit_the_schema_and_read_back_equal(sample_corpus):
    for meeting in read_meetings(sample_corpus / "dev.csv", Report()):
        minutes = make_minutes(Recording(meeting, "corpus"), BaselineEngine(), engine_name="baseline")
        value = json.loads(render(minutes))
        VALIDATOR.validate(value)
        assert minutes_of(value) == minutes


def test_the_value_is_readable(minutes):
    value = json.loads(render(minutes))
    assert (value["format"], value["version"], value["title"]) == ("mug-minutes", 1, "春游安排")
    assert value["sentences"][1] == {"place": 2, "speaker": "乙", "text": "去湿地公园吧。", "start": 20.0, "end": 24.0}
    assert value["summary"] == [{"place": 2, "text": "去湿地公园吧。"}, {"place": 5, "text": "下周五。"}]


def test_the_schema_names_every_key(minutes):
    assert set(SCHEMA["properties"]) == set(json_of(minutes)) == set(SCHEMA["required"])


@pytest.mark.parametrize(
    "change",
    [
        {"title": None},
        {"sentences": "先定春游地点。"},
        {"sentences": []},
        {"chapters": [{"start": 1}]},
        {"chapters": [1]},
        {"summary": [{"place": "2", "text": "去湿地公园吧。"}]},
        {"summary": [{"place": True, "text": "先定春游地点。"}]},
        {"participants": [{"name": "甲", "sentences": 3, "seconds": float("nan")}]},
        {"title_generated": "yes"},
        {"notes": ["一"]},
        {"version": 2},
        {"format": "x"},
    ],
)
def test_a_damaged_value_is_refused_in_a_sentence(minutes, change):
    with pytest.raises(InputError) as error:
        minutes_of(json.loads(render(minutes)) | change)
    assert error.value.message.zh.endswith("。") and error.value.message.en


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_something_else_is_refused(value):
    with pytest.raises(InputError, match="不是纪要"):
        minutes_of(value)


def test_a_missing_key_is_named(minutes):
    value = json.loads(render(minutes))
    del value["engine"]
    with pytest.raises(InputError, match="engine"):
        minutes_of(value)


def test_a_changed_quote_is_refused(minutes):
    value = json.loads(render(minutes))
    value["summary"][0]["text"] = "去别的公园吧。"
    with pytest.raises(InputError, match="核对"):
        minutes_of(value)


def test_places_must_count_up(minutes):
    value = json.loads(render(minutes))
    value["sentences"][2]["place"] = 7
    with pytest.raises(InputError, match="places"):
        minutes_of(value)
