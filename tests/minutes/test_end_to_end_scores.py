"""The pipeline's own scores: perfect answers score 1, and topics are paired by overlap."""

from __future__ import annotations

import pytest

from minutes.conftest import Scripted
from mug.corpus import read_gold
from mug.errors import InputError
from mug.generation.baseline import BaselineEngine
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.minutes.pipeline import Predicted, predict
from mug.minutes.scoring import align, end_to_end, submission
from mug.prompting import Prompting


def test_perfect_answers_score_1(meeting_of, case):
    gold = meeting_of(case())
    answers = {
        "title_generation": ["定春游地点", "定春游时间", "x"] * 2,
        "extractive_summary": ["2, 3", "2"] * 2,
        "session_summary": ["1, 3"] * 2,
    }
    engine = Scripted(
        topic_segmentation=["1"],
        keyphrase_extraction=["春游、湿地公园"],
        action_item_detection=["6"],
        **answers,
    )
    found = end_to_end([gold], engine)
    scores = {track: one["scores"]["score"] for track, one in found["end_to_end"].items()}
    # Exact F1 of two phrases at 10, 15, 20 is 1; ROUGE has its 1e-8.
    assert scores == {track: pytest.approx(1.0, abs=1e-6) for track in scores} and len(scores) == 5
    assert {track: one["scores"]["score"] for track, one in found["gold_topics"].items()} == {
        "topic_title_generation": pytest.approx(1.0, abs=1e-6),
        "extractive_summarization": pytest.approx(1.0, abs=1e-6),
    }
    assert found["topics"] == {"gold": 2, "predicted": 2, "overlap": 1.0}


def _meeting(*spans, title="x"):
    topics = tuple(Topic(a, b, (Candidate(f"{title}{b}", (b,)),)) for a, b in spans)
    return Meeting("T", (Sentence("甲", "好。"),) * 10, topics, candidates=(Candidate(),))


@pytest.mark.parametrize(
    ("predicted", "given"),
    [
        ([(1, 10)], [10, 10, 10]),  # one for all
        ([(1, 3), (4, 6), (7, 10)], [3, 6, 10]),
        ([(1, 2), (3, 10)], [2, 10, 10]),
        ([(1, 1), (2, 2), (3, 4), (5, 5), (6, 10)], [1, 4, 10]),  # of equals the earlier
    ],
)
def test_a_gold_topic_takes_the_predicted_one_it_overlaps_most(predicted, given):
    gold = _meeting((1, 3), (4, 6), (7, 10))
    assert [topic.end for topic in align(gold, _meeting(*predicted))] == given


def test_the_rows_stand_at_the_gold_topics():
    gold, said = _meeting((1, 3), (4, 10)), _meeting((1, 8), (9, 10), title="题")
    rows = submission(gold, Predicted(said, "", {}, 0))
    assert rows["topic_segmentation"]["topic_segment_ids"] == [{"id": 8}, {"id": 10}]
    assert rows["topic_title_generation"]["topic_segment_ids"] == [
        {"id": 3, "title": "题8"},
        {"id": 10, "title": "题8"},
    ]
    assert rows["extractive_summarization"]["topic_segment_ids"] == [
        {"id": 3, "key_sentence": ["8"]},
        {"id": 10, "key_sentence": ["8"]},
    ]


def test_a_meeting_without_labels_is_refused_before_the_work(recording):
    engine = Scripted()
    with pytest.raises(InputError, match="T1 没有主题标注"):
        end_to_end([recording.meeting], engine)
    assert engine.calls == []


def test_the_sample_corpus(sample_corpus):
    """Tracks that do not rest on the alignment equal the official scores of the same answers by gold means."""
    gold = read_gold(sample_corpus / "dev.csv")
    found = end_to_end(gold, BaselineEngine())
    assert found["topics"]["gold"] == 26 == found["gold_topics"]["topic_title_generation"]["counts"]["n"]
    assert found["end_to_end"]["topic_title_generation"]["counts"]["n"] == 26
    assert found["submissions"]["keyphrase_extraction"].keys() == {meeting.key for meeting in gold}
    assert list(found["submissions"]["action_item_detection"]["S004"]["action_ids"]) == [
        {"id": place} for place in predict(gold[0], BaselineEngine()).meeting.action_ids
    ]


def test_a_model_of_the_shared_layout_is_scored_on_its_own_prompts(sample_corpus):
    """The rules read a topic's sentences out of either layout's prompt, so they say the same of gold topics."""
    gold = read_gold(sample_corpus / "dev.csv")
    apart, together = (end_to_end(gold, BaselineEngine(), Prompting(layout)) for layout in ("separate", "shared"))
    assert together["gold_topics"]["extractive_summarization"] == apart["gold_topics"]["extractive_summarization"]
    asked = []

    class Asked(BaselineEngine):
        def generate(self, samples):
            asked.extend(samples)
            yield from super().generate(samples)

    assert end_to_end(gold, Asked(), Prompting("shared")) == together
    assert all(sample.history for sample in asked)
