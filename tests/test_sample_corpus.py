"""The corpus that we wrote: the corpus's own form, all labels; gold answers give each task its maximum."""

from __future__ import annotations

import pytest

from mug.corpus import Report, read_meetings
from mug.tasks import TASKS
from mug.tasks.base import Options, Sample


def meetings_of(path):
    report = Report()
    return list(read_meetings(path, report)), report


@pytest.fixture(scope="module")
def splits(sample_corpus):
    return {split: meetings_of(sample_corpus / f"{split}.csv") for split in ("train", "dev")}


def test_there_are_22_meetings_and_nothing_to_repair(splits):
    assert {split: len(meetings) for split, (meetings, _) in splits.items()} == {"train": 16, "dev": 6}
    assert sum(len(m.sentences) for meetings, _ in splits.values() for m in meetings) == 1422
    for _, report in splits.values():
        assert (report.rejected, report.warnings) == ([], {})


def test_each_meeting_is_as_the_readme_says(splits):
    for meeting in [meeting for meetings, _ in splits.values() for meeting in meetings]:
        assert 50 <= len(meeting.sentences) <= 75
        assert 2 <= len({sentence.speaker for sentence in meeting.sentences}) <= 4
        assert all(sentence.start is not None and sentence.start < sentence.end for sentence in meeting.sentences)
        assert all(sentence.text.strip() for sentence in meeting.sentences)
        assert len(meeting.topics) >= 2
        assert {topic.end for topic in meeting.topics} <= set(meeting.paragraph_ends)
        assert len(meeting.candidates) == 3
        assert len({candidate.key_words for candidate in meeting.candidates}) > 1
        for topic in meeting.topics:
            assert [bool(c.title) and bool(c.key_sentences) for c in topic.candidates] == [True] * 3
            assert len({(c.title, c.key_sentences) for c in topic.candidates}) > 1


def test_the_meetings_without_action_items_are_those_that_the_readme_names(splits):
    meetings = [meeting for meetings, _ in splits.values() for meeting in meetings]
    assert sorted(meeting.key for meeting in meetings if meeting.action_ids == ()) == ["S006", "S009", "S017", "S021"]


def test_no_meeting_is_in_both_splits(splits):
    train, dev = ({meeting.key for meeting in splits[split][0]} for split in ("train", "dev"))
    assert not train & dev


def gold_rows(meetings, name, **options):
    task = TASKS[name](Options(**options))
    rows = {}
    for meeting in meetings:
        answers = [task.parse(s.output, s) for s in task.samples(meeting, "dev") if isinstance(s, Sample)]
        assert all(answer.repairs == () for answer in answers)
        rows[meeting.key] = task.submission(meeting, answers)
    return task, rows


@pytest.mark.parametrize("budget", [2400, 700])
@pytest.mark.parametrize("where", ["sample", "real"])
@pytest.mark.parametrize("name", TASKS)
def test_gold_answers_make_the_gold_submission(request, sample_corpus, where, budget, name):
    path = (
        sample_corpus / "dev.csv"
        if where == "sample"
        else request.getfixturevalue("shared") / "data" / "real_dev3.csv"
    )
    meetings, _ = meetings_of(path)
    task, rows = gold_rows(meetings, name, max_input_tokens=budget)
    for meeting in meetings:
        row = rows[meeting.key]
        if name == "topic_segmentation":
            assert [topic["id"] for topic in row["topic_segment_ids"]] == [topic.end for topic in meeting.topics]
        elif name == "title_generation":
            titles = [topic["title"] for topic in row["topic_segment_ids"]]
            assert titles == [topic.candidates[0].title for topic in meeting.topics]
        elif name == "extractive_summary":
            for topic, predicted in zip(meeting.topics, row["topic_segment_ids"], strict=True):
                inside = {p for p in topic.candidates[0].key_sentences if topic.start <= p <= topic.end}
                assert predicted == {"id": topic.end, "key_sentence": [str(place) for place in sorted(inside)]}
        elif name == "session_summary":
            shown = {p for topic in meeting.topics for p in topic.candidates[0].key_sentences}
            wanted = sorted(set(meeting.candidates[0].key_sentences) & shown)
            assert row["key_sentence"] == [str(place) for place in wanted]
        elif name == "keyphrase_extraction":
            gold = {word for candidate in meeting.candidates for word in candidate.key_words}
            said = "\n".join(f"[{sentence.speaker}]: {sentence.text}" for sentence in meeting.sentences)
            assert set(row["key_word"]) <= gold
            assert {word for word in gold if word in said and "、" not in word} - set(row["key_word"]) == set()
        else:
            assert [item["id"] for item in row["action_ids"]] == list(meeting.action_ids)


@pytest.mark.parametrize("where", ["sample", "real"])
def test_gold_answers_score_the_maximum(request, sample_corpus, where):
    path = (
        sample_corpus / "dev.csv"
        if where == "sample"
        else request.getfixturevalue("shared") / "data" / "real_dev3.csv"
    )
    meetings, _ = meetings_of(path)
    scores = {}
    for name in TASKS:
        if name != "session_summary":
            task, rows = gold_rows(meetings, name)
            if name == "extractive_summary":
                _, sessions = gold_rows(meetings, "session_summary")
                rows = {key: row | sessions[key] for key, row in rows.items()}
            scores[name] = task.score(meetings, rows)
    assert scores["topic_segmentation"]["score"] == 1
    assert scores["action_item_detection"]["score"] == 1
    # The first annotator's answer is one reference exactly; the others differ, but the best one is always met in full.
    assert scores["title_generation"]["ttg_max_score"] == pytest.approx(1, abs=1e-6)
    assert scores["extractive_summary"]["topic-es_max_score"] == pytest.approx(1, abs=1e-6)
    assert scores["extractive_summary"]["doc-es_max_score"] == pytest.approx(1, abs=1e-6)
    assert scores["keyphrase_extraction"]["exact_f1@20"] == pytest.approx(1, abs=1e-6)
