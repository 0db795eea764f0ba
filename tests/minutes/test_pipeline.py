"""From a recording to minutes, with an engine that says what it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest

import preprocess_data
from minutes.conftest import TASK_OF, Scripted
from mug import evaluation
from mug.alpaca import read_alpaca
from mug.corpus import Report, read_meetings
from mug.errors import Message
from mug.generation.baseline import BaselineEngine
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.minutes.checks import verify
from mug.minutes.model import ActionItem, Chapter, Participant, Quote
from mug.minutes.pipeline import make_minutes, participants_of, predict
from mug.minutes.remembering import RememberingEngine
from mug.prompting import Prompting, carry, of_model
from mug.tasks import LAYOUTS
from mug.tasks.base import Options
from mug.transcripts.recording import Recording


def test_minutes_hold_what_the_engine_chose(minutes):
    assert (minutes.title, minutes.title_generated, minutes.date) == ("春游安排", True, "2025-03-07")
    assert minutes.chapters == (
        Chapter(1, 3, "定春游地点", (Quote(1, "先定春游地点。"), Quote(2, "去湿地公园吧。"))),
        Chapter(4, 6, "定春游时间", (Quote(5, "下周五。"),)),
    )
    assert minutes.summary == (Quote(2, "去湿地公园吧。"), Quote(5, "下周五。"))
    text = "我来订大巴，周三之前把报价发群里。"
    assert minutes.action_items == (ActionItem(Quote(6, text), text, owner="乙", due="周三之前"),)
    assert minutes.keyphrases == ("春游", "AI", "湿地公园")
    assert minutes.generated_keyphrases == ("AI",)
    assert minutes.participants == (Participant("甲", 3, 12.0), Participant("乙", 3, 12.0))
    assert (minutes.engine, minutes.source) == ("一个模型", "春游.vtt")


def test_the_files_own_title_stands(recording, scripted):
    made = make_minutes(replace(recording, title="周例会"), scripted, engine_name="x")
    assert (made.title, made.title_generated) == ("周例会", False)


def test_three_rounds_and_a_topics_prompts_side_by_side(recording, scripted):
    make_minutes(recording, scripted, engine_name="x")
    assert [[TASK_OF[sample.instruction] for sample in call] for call in scripted.calls] == [
        ["topic_segmentation", "keyphrase_extraction", "action_item_detection"],
        ["title_generation", "extractive_summary"] * 2,
        ["session_summary", "title_generation"],
    ]
    assert [sample.topic for sample in scripted.calls[1]] == [3, 3, 6, 6]


def test_the_engine_never_sees_the_labels(recording, scripted):
    """The same prompts and minutes whether the row was labelled or not."""
    topics = (Topic(1, 1, (Candidate("标注的标题", (1,)),)), Topic(2, 6, (Candidate("另一个", (6,)),)))
    whole = (Candidate(key_sentences=(6,), key_words=("标注",)),)
    labelled = replace(recording.meeting, topics=topics, action_ids=(1, 2), candidates=whole)
    plain = make_minutes(recording, scripted, engine_name="x")
    again = Scripted(
        topic_segmentation=["1"],
        keyphrase_extraction=["春游、ＡＩ、湿地公园"],
        action_item_detection=["6"],
        title_generation=["定春游地点", "定春游时间", "春游安排"],
        extractive_summary=["1, 2", "2"],
        session_summary=["2, 3"],
    )
    assert make_minutes(replace(recording, meeting=labelled), again, engine_name="x") == plain
    assert [[(s.instruction, s.input, s.output) for s in call] for call in again.calls] == [
        [(s.instruction, s.input, s.output) for s in call] for call in scripted.calls
    ]


def test_gold_topics_in_place_of_predicted_ones(recording):
    engine = Scripted(title_generation=["一", "二", "全"], extractive_summary=["1", "无"], session_summary=["1"])
    topics = (Topic(1, 2, (Candidate("标注", (2,)),)), Topic(3, 6))
    found = predict(recording.meeting, engine, topics=topics)
    assert [(t.start, t.end, t.candidates) for t in found.meeting.topics] == [
        (1, 2, (Candidate("一", (1,)),)),
        (3, 6, (Candidate("二", ()),)),
    ]
    assert (found.summary, found.keyphrases, found.meeting.action_ids) == ((1,), (), ())


def test_progress_tells_each_stage_from_0_to_all(recording, scripted):
    told = []
    make_minutes(recording, scripted, engine_name="x", progress=lambda *state: told.append(state))
    assert [(stage, total) for stage, done, total in told if done == 0] == [
        ("topics", 3),
        ("titles", 4),
        ("summary", 2),
    ]
    assert [done for stage, done, _ in told if stage == "titles"] == [0, 1, 2, 3, 4]


def test_progress_may_stop_the_work(recording, scripted):
    def stop(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_minutes(recording, scripted, engine_name="x", progress=stop)
    assert scripted.calls == []


def test_nonsense_answers_still_give_minutes_that_pass_the_check(recording):
    engine = Scripted(
        topic_segmentation=["没有"],
        keyphrase_extraction=["\ud83d坏\x00字"],
        action_item_detection=["第99句"],
        title_generation=["……", "<think>没想完"],
        extractive_summary=[""],
    )
    made = make_minutes(recording, engine, engine_name="x")
    assert [(c.start, c.end, c.title, c.key_sentences) for c in made.chapters] == [(1, 6, "", ())]
    assert (made.title, made.summary, made.action_items) == ("", (), ())
    assert made.keyphrases == ("\ufffd坏 字",) == made.generated_keyphrases
    lost = next(note for note in made.notes if "用不上" in note.zh)
    assert lost.zh.startswith("2 个回答")
    assert Message("1 章没有得到可用的标题。", "1 chapters got no usable title.") in made.notes


def test_what_a_model_that_does_not_stop_says_makes_short_titles_and_a_note(recording):
    engine = Scripted(
        topic_segmentation=["1"],
        keyphrase_extraction=["春游<|fim_middle|>、<|fim_prefix|>、" + "词" * 300],
        action_item_detection=["6"],
        title_generation=["长" * 300, "<|fim_prefix|>定春游时间<|fim_suffix|><|fim_prefix|>定定", "题" * 60],
        extractive_summary=["1, 2", "2"],
        session_summary=["2, 3"],
    )
    made = make_minutes(recording, engine, engine_name="x")
    assert [chapter.title for chapter in made.chapters] == ["长" * 60 + "…", "定春游时间"]
    assert (made.title, made.keyphrases) == ("题" * 60, ("春游", "词" * 60 + "…"))
    assert "5 个标题或关键词过长，或夹有模型的特殊记号，已截短。" in [note.zh for note in made.notes]
    assert not any("没有得到可用的标题" in note.zh for note in made.notes)


def test_a_title_of_special_tokens_alone_is_no_title(recording):
    engine = Scripted(
        topic_segmentation=["没有"],
        keyphrase_extraction=["无"],
        action_item_detection=["无"],
        title_generation=["<|fim_prefix|>。<|fim_pad|>", "会"],
        extractive_summary=["1"],
        session_summary=["1"],
    )
    made = make_minutes(recording, engine, engine_name="x")
    assert ([chapter.title for chapter in made.chapters], made.title) == ([""], "会")
    assert Message("1 章没有得到可用的标题。", "1 chapters got no usable title.") in made.notes


def test_talking_time_until_the_next_sentence_where_ends_are_missing():
    sentences = [
        Sentence("甲", "一", 0.0),
        Sentence("乙", "二", 4.0),
        Sentence("甲", "三", 5.0),
        Sentence("甲", "四", 9.5),
    ]
    assert participants_of(sentences) == ((Participant("甲", 3, 8.5), Participant("乙", 1, 1.0)), True)


def test_no_times_no_talking_time():
    sentences = [Sentence("甲", "一"), Sentence("乙", "二"), Sentence("乙", "三")]
    assert participants_of(sentences) == ((Participant("乙", 2, None), Participant("甲", 1, None)), False)


def test_a_meeting_of_one_sentence_without_times():
    made = make_minutes(
        Recording(Meeting("T", (Sentence("", "嗯。"),), paragraph_ends=(1,)), "t"),
        BaselineEngine(),
        engine_name="baseline",
    )
    assert [(c.start, c.end) for c in made.chapters] == [(1, 1)]
    assert made.participants == (Participant("", 1, None),)


def _recordings(path):
    return [Recording(meeting, "corpus") for meeting in read_meetings(path, Report())]


def test_the_sample_meetings_go_through(sample_corpus):
    for recording in _recordings(sample_corpus / "dev.csv"):
        made = make_minutes(recording, BaselineEngine(), engine_name="baseline")
        verify(made)
        assert len(made.sentences) == len(recording.meeting.sentences)
        assert made.summary and made.keyphrases and all(c.title and c.key_sentences for c in made.chapters)
        assert made.generated_keyphrases == ()


def test_the_real_meetings_go_through(shared):
    found = {}
    for recording in _recordings(shared / "data" / "real_dev3.csv"):
        made = make_minutes(recording, BaselineEngine(), engine_name="baseline")
        found[recording.meeting.key] = made
    assert {key: len(made.sentences) for key, made in found.items()} == {"M0115": 1181, "M0112": 976, "M4028": 936}
    assert [item.evidence.place for item in found["M0115"].action_items] == [715]


# ----------------------------------------------------------------------------------------------- the layout ``shared``


class Asked(BaselineEngine):
    """The rules, which keep the prompts of each call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def generate(self, samples):
        self.calls.append(list(samples))
        yield from super().generate(samples)


ASKED_BY = TASK_OF | {layout["extractive_summary"].ask_text: "extractive_summary" for layout in LAYOUTS.values()}


def prompts(samples):
    return Counter((one.history, one.instruction, one.input) for one in samples)


@pytest.fixture
def prepared(run, tmp_path, monkeypatch):
    """Preprocess a corpus; return its meetings, its dev prompts by task, and how a model of these data is asked."""
    monkeypatch.setattr(preprocess_data, "ROOT", tmp_path)

    def make(source, *options):
        data = ["--task", "all", "--dev_input", source, "--output_dir", tmp_path / "data"]
        assert run(preprocess_data, *data, *options).status == 0
        rows: dict[str, Counter] = {}
        for item in evaluation.items(read_alpaca(tmp_path / "data" / "dev_alpaca.json"), Options()):
            rows.setdefault(item.task.name, Counter()).update(prompts([item.sample]))
        (tmp_path / "model").mkdir()
        carry(tmp_path / "data", tmp_path / "model")
        return list(read_meetings(source, Report())), rows, of_model(tmp_path / "model")

    return make


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize(
    "options",
    [["--estimate_tokens"], ["--estimate_tokens", "--max_input_tokens", 500, "--es_target", "text"], ["--tokenizer"]],
)
def test_a_model_is_asked_about_a_meeting_what_the_data_of_its_training_ask(
    prepared, shared, sample_corpus, layout, options
):
    if options == ["--tokenizer"]:
        source, options = shared / "data" / "real_dev3.csv", ["--tokenizer", shared / "qwen_tokenizer"]
    else:
        source = sample_corpus / "dev.csv"
    meetings, rows, prompting = prepared(source, "--layout", layout, *options)
    assert prompting.layout == layout
    asked: dict[str, Counter] = {}
    for meeting in meetings:
        whole, given = Asked(), Asked()
        predict(meeting, whole, prompting)
        predict(meeting, given, prompting, topics=meeting.topics)
        for sample in (*whole.calls[0], *given.calls[0]):
            asked.setdefault(ASKED_BY[sample.instruction], Counter()).update(prompts([sample]))
    assert asked == {name: found for name, found in rows.items() if name != "session_summary"}


def test_questions_about_one_transcript_follow_each_other_in_one_call(shared):
    for meeting in read_meetings(shared / "data" / "real_dev3.csv", Report()):
        engine = Asked()
        make_minutes(Recording(meeting, "corpus"), engine, engine_name="x", prompting=Prompting("shared"))
        first, second, third = engine.calls
        for call, together in ((first, 3), (second, 2)):
            turns = [list(group) for _, group in groupby(call, key=lambda sample: sample.history)]
            assert len(turns) == len({sample.history for sample in call}) > 3
            assert {len(group) for group in turns} == {together}
            assert all(len({sample.instruction for sample in group}) == together for group in turns)
        assert [sample.places[0] for sample in first[::3]] == sorted(sample.places[0] for sample in first[::3])
        assert {ASKED_BY[sample.instruction] for sample in third} == {"session_summary", "title_generation"}
        assert all(sample.history for call in engine.calls for sample in call)


def test_minutes_of_the_shared_layout_hold_what_the_engine_chose(recording):
    """Boundaries are named by sentences, and the rest as apart."""
    script = Scripted(
        topic_segmentation=["3"],
        keyphrase_extraction=["春游、ＡＩ、湿地公园"],
        action_item_detection=["6"],
        title_generation=["定春游地点", "定春游时间", "春游安排"],
        extractive_summary=["1, 2", "2"],
        session_summary=["2, 3"],
    )
    made = make_minutes(recording, script, engine_name="一个模型", prompting=Prompting("shared"), source="春游.vtt")
    assert [(c.start, c.end, c.title, [q.place for q in c.key_sentences]) for c in made.chapters] == [
        (1, 3, "定春游地点", [1, 2]),
        (4, 6, "定春游时间", [5]),
    ]
    assert ([q.place for q in made.summary], made.title) == ([2, 5], "春游安排")
    assert [item.evidence.place for item in made.action_items] == [6]
    assert [len(call) for call in script.calls] == [3, 4, 2]


def test_an_answer_kept_in_one_layout_is_not_taken_for_the_other(recording, tmp_path):
    for layout, asked in (("shared", 3), ("separate", 3), ("shared", 0), ("separate", 0)):
        engine = Asked()
        make_minutes(
            recording,
            RememberingEngine(engine, tmp_path / "answers.jsonl"),
            engine_name="x",
            prompting=Prompting(layout),
        )
        assert len(engine.calls) == asked
