from __future__ import annotations

from collections.abc import Callable

import pytest

from mug.meeting import Candidate, Meeting, Topic
from mug.metrics.rouge import FIELDS, rouge, tokenized_sentences
from mug.metrics.summaries import (
    combine_summaries,
    combine_titles,
    score_answers,
    summaries_per_meeting,
    titles_per_meeting,
)


def nine(hypothesis: str, reference: str) -> tuple[float, ...]:
    return rouge(tokenized_sentences(hypothesis), [tokenized_sentences(reference)])[0]


def test_max_takes_all_nine_figures_from_the_best_rouge_l() -> None:
    # The first reference has the better ROUGE-1 (all characters, in a wrong order), the second the better ROUGE-L.
    references = ["点地游春定", "定春游"]
    one, two = (nine("定春游地点", reference) for reference in references)
    assert one[FIELDS.index("rouge-1_f")] > two[FIELDS.index("rouge-1_f")]
    sums = score_answers([("定春游地点", references)])
    assert sums.best == two
    assert sums.average == tuple((a + b) / 2 for a, b in zip(one, two, strict=True))


def test_of_equally_good_references_the_first_counts() -> None:
    references = ["甲乙丙", "甲乙丁戊", "丙丁甲乙"]
    scores = [nine("甲乙丙丁", reference) for reference in references]
    best = max(score[FIELDS.index("rouge-l_f")] for score in scores)
    expected = next(score for score in scores if score[FIELDS.index("rouge-l_f")] == best)
    assert score_answers([("甲乙丙丁", references)]).best == expected


def test_a_summary_is_its_sentences_in_the_order_given_with_repeats(meeting: Callable[..., Meeting]) -> None:
    gold = meeting(topics=(Topic(1, 6, (Candidate(key_sentences=(6, 2, 2)),)),))
    part = summaries_per_meeting(
        gold, {"topic_segment_ids": [{"id": 6, "key_sentence": ["2", 6]}], "key_sentence": [2]}
    )
    assert part.topics.best == nine("去湿地公园吧。我来订大巴。", "我来订大巴。去湿地公园吧。去湿地公园吧。")
    assert part.session.best == nine("去湿地公园吧。", "去湿地公园吧。下周五。")
    assert part.n == 2


def test_key_sentences_outside_the_topic_are_kept(meeting: Callable[..., Meeting]) -> None:
    gold = meeting(topics=(Topic(1, 3, (Candidate(key_sentences=(2, 6)),)), Topic(4, 6)))
    row = {"topic_segment_ids": [{"id": 3, "key_sentence": ["2", "6"]}, {"id": 6, "key_sentence": []}]}
    part = summaries_per_meeting(gold, row)
    assert part.topics.best[FIELDS.index("rouge-l_r")] == 1.0
    assert (part.topics.n, part.topics.skipped) == (1, 1)


@pytest.mark.parametrize("title", ["", "   ", "\n", ".", "。", "......", None, 7])
def test_an_empty_title_is_zero_kept_and_counted(meeting: Callable[..., Meeting], title: object) -> None:
    row = {"topic_segment_ids": [{"id": 3, "title": title}, {"id": 6, "title": "定春游时间"}]}
    part = titles_per_meeting(meeting(), row)
    assert (part.n, part.empty, part.skipped) == (2, 1, 0)
    assert combine_titles([part])["ttg_max_rouge-l_r"] == 0.5


def test_blank_references_are_no_references(meeting: Callable[..., Meeting]) -> None:
    topics = (
        Topic(1, 3, (Candidate(title=""), Candidate(title="定春游地点"))),
        Topic(4, 6, (Candidate(title="\u3000"),)),
    )
    row = {"topic_segment_ids": [{"id": 3, "title": "定春游地点"}, {"id": 6, "title": "定春游时间"}]}
    part = titles_per_meeting(meeting(topics=topics), row)
    assert (part.n, part.skipped) == (1, 1)
    assert combine_titles([part])["ttg_average_rouge-1_r"] == 1.0


def test_scores_are_means_over_answers_and_not_over_meetings(meeting: Callable[..., Meeting]) -> None:
    row = {"topic_segment_ids": [{"id": 3, "title": "定春游地点"}, {"id": 6, "title": ""}]}
    two = titles_per_meeting(meeting(), row)
    one = titles_per_meeting(
        meeting(topics=(Topic(1, 6, meeting().topics[0].candidates),)),
        {"topic_segment_ids": [row["topic_segment_ids"][0]]},
    )
    assert combine_titles([two, one])["ttg_max_rouge-1_p"] == 2 / 3


def test_without_session_references_the_topics_figures_remain(meeting: Callable[..., Meeting]) -> None:
    row = {
        "topic_segment_ids": [{"id": 3, "key_sentence": [2, 3]}, {"id": 6, "key_sentence": [5]}],
        "key_sentence": [2],
    }
    scores = combine_summaries([summaries_per_meeting(meeting(candidates=()), row)])
    assert scores["score"] is scores["doc-es_max_rouge-1_f"] is None
    assert scores["topic-es_max_rouge-1_r"] == 1.0
