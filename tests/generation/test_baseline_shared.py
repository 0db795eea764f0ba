"""The floor in the layout ``shared``: the rules see the same transcripts, so they say nearly the same."""

from __future__ import annotations

import pytest

from mug import evaluation
from mug.corpus import Report, read_meetings
from mug.generation.baseline import BaselineEngine
from mug.tasks import LAYOUTS, TASKS
from mug.tasks.base import Options, Sample


@pytest.fixture(scope="module")
def floors(shared):
    gold = list(read_meetings(shared / "data" / "real_dev3.csv", Report()))
    found = {}
    for layout, tasks in LAYOUTS.items():
        items = [
            evaluation.Item(sample, task, meeting.key)
            for task in (kind(Options()) for kind in tasks.values())
            for meeting in gold
            for sample in task.samples(meeting, "dev")
            if isinstance(sample, Sample)
        ]
        said = dict(BaselineEngine().generate([item.sample for item in items]))
        scored = evaluation.score_items(items, [said[index] for index in range(len(items))])
        rows = evaluation.submissions(scored, gold)
        scores = evaluation.official_scores(rows, gold, intervals=False)
        found[layout] = scored, {name: track["scores"]["score"] for name, track in scores.items()}
    return found


def test_every_task_is_answered_in_its_own_form(floors):
    scored, _ = floors["shared"]
    assert {one.item.task.name for one in scored if one.answer.text not in ("", "无")} == set(TASKS)
    assert not [one.answer.repairs for one in scored if one.answer.repairs]


def test_the_floor_is_about_as_high_as_apart(floors):
    for name, score in floors["separate"][1].items():
        assert floors["shared"][1][name] == pytest.approx(score, abs=0.1), (
            name
        )  # windows are cut elsewhere, and boundaries stand out from their window
