"""JSON of recognisers and meeting products, and the corpus's own files."""

import json

import pytest

from mug.errors import InputError
from mug.transcripts.reading import read_text, read_transcript


def read(value, **options):
    return read_text(json.dumps(value, ensure_ascii=False), **options)


def said(recording):
    return [
        (sentence.speaker, sentence.text, sentence.start, sentence.end) for sentence in recording.meeting.sentences
    ]


def about(recording, words):
    return any(words in note.zh for note in recording.notes)


def funasr(**changes):
    sentence_info = [
        {"text": "先定地点。", "start": 880, "end": 2120, "spk": 0, "timestamp": [[880, 1120]]},
        {"sentence": "好的。", "start": 3000, "end": 3500, "spk": 1},
    ]
    return {
        "key": "m",
        "text": "先定地点。好的。",
        "timestamp": [[880, 1120]],
        "sentence_info": sentence_info,
    } | changes


@pytest.mark.parametrize("wrap", [lambda item: [item], lambda item: item, lambda item: {"code": 0, "data": [item]}])
def test_funasr_in_milliseconds_where_speaker_0_is_a_speaker(wrap):
    recording = read(wrap(funasr()))
    assert recording.format == "FunASR JSON"
    assert said(recording) == [("说话人0", "先定地点。", 0.88, 2.12), ("说话人1", "好的。", 3.0, 3.5)]


def test_funasr_sentence_info_that_is_shorter_than_text_loses_nothing():
    recording = read([funasr(text="先定地点。去公园吧。好的。再见。")])
    assert [part[:2] for part in said(recording)] == [
        ("说话人0", "先定地点。"),
        ("", "去公园吧。"),
        ("说话人1", "好的。"),
        ("", "再见。"),
    ]
    assert about(recording, "少 6 个字")


def test_funasr_without_sentence_info_is_divided_and_timed_by_the_characters():
    stamps = [[100 * place, 100 * place + 90] for place in range(9)]
    recording = read([{"key": "m", "text": "先定地点。去 zoom 公园吧。", "timestamp": stamps}])
    assert said(recording) == [("", "先定地点。", 0.0, 0.39), ("", "去 zoom 公园吧。", 0.4, 0.89)]
    assert about(recording, "没有 sentence_info")


def test_funasr_server_with_stamp_sents_and_sensevoice_tags():
    value = {
        "mode": "offline",
        "text": "<|zh|><|NEUTRAL|>先定，好。",
        "timestamp": "[[10,20]]",
        "stamp_sents": [
            {"text_seg": "先 定", "punc": "，", "start": 10, "end": 20},
            {"text_seg": "好", "punc": "。", "start": 20, "end": 30},
        ],
    }
    assert said(read(value)) == [("", "先定，", 0.01, 0.02), ("", "好。", 0.02, 0.03)]


def test_funasr_of_several_recordings_asks_which():
    value = [funasr(key="a"), funasr(key="b")]
    with pytest.raises(InputError, match="a, b"):
        read(value)
    assert len(said(read(value, meeting="b"))) == 2


def test_whisperx_in_seconds_with_speakers_missing():
    segments = [
        {"start": 5.03, "end": 7.5, "text": " 先定地点。", "speaker": "SPEAKER_00"},
        {"start": 8, "end": 9, "text": " 好", "words": [{"word": "好", "speaker": "SPEAKER_01"}]},
        {"start": 9, "end": 10, "text": " 没有说话人"},
    ]
    recording = read({"segments": segments, "word_segments": [], "language": "zh"})
    assert recording.format == "WhisperX JSON"
    assert said(recording) == [
        ("SPEAKER_00", "先定地点。", 5.03, 7.5),
        ("SPEAKER_01", "好", 8.0, 9.0),
        ("", "没有说话人", 9.0, 10.0),
    ]
    assert said(read(segments)) == said(recording)


def test_whisperx_with_nothing_but_words():
    words = [("先", 1.0, "S0"), ("定。", 1.2, "S0"), ("OK", 1.4, "S1"), ("go", 1.6, "S1"), ("走", 9.0, "S1")]
    value = {"word_segments": [{"word": w, "start": s, "end": s + 0.2, "speaker": who} for w, s, who in words]}
    assert [part[:2] for part in said(read(value))] == [("S0", "先定。"), ("S1", "OK go"), ("S1", "走")]


def test_whisper_of_openai_and_chunks_without_an_end():
    assert said(read({"text": "x", "segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": "先定。"}]})) == [
        ("", "先定。", 0.0, 2.0)
    ]
    chunks = {"chunks": [{"timestamp": [0.0, 2.0], "text": "先定。"}, {"timestamp": [2.0, None], "text": "好"}]}
    assert said(read(chunks)) == [("", "先定。", 0.0, 2.0), ("", "好", 2.0, 3.0)]


def tencent(**changes):
    def words(*texts):
        return [{"wid": str(place), "start_time": 1, "end_time": 2, "text": text} for place, text in enumerate(texts)]

    paragraphs = [
        {
            "pid": "0",
            "start_time": 4400,
            "end_time": 7000,
            "speaker_info": {"userid": "u1", "username": "张三"},
            "sentences": [
                {"sid": "0", "start_time": 4400, "end_time": 6000, "words": words("先定", "地点", "。")},
                {"sid": "1", "start_time": "6000", "end_time": "7000", "words": words("Zoom", "meeting")},
            ],
        },
        {
            "pid": "1",
            "speaker_info": {"userid": "u2"},
            "sentences": [{"sid": "0", "start_time": 9000, "end_time": 9500, "words": words("好", "。")}],
        },
    ]
    return {"more": False, "minutes": {"keywords": [], "paragraphs": paragraphs}} | changes


def test_tencent_meeting_has_text_in_the_words_only():
    recording = read(tencent())
    assert said(recording) == [
        ("张三", "先定地点。", 4.4, 6.0),
        ("张三", "Zoom meeting", 6.0, 7.0),
        ("u2", "好。", 9.0, 9.5),
    ]
    assert recording.meeting.paragraph_ends == (2, 3)
    assert recording.notes == ()


def test_tencent_meeting_says_when_pages_are_missing_before_and_behind():
    value = tencent(more=True)
    value["minutes"]["paragraphs"][0]["pid"] = "20"
    recording = read(value)
    assert about(recording, "其中一页") and about(recording, "从第 20 段开始")


def test_wecom_and_the_share_page_have_other_names_for_the_same():
    minutes = tencent()["minutes"]
    assert said(read({"errcode": 0, "has_more": False, "transcripts": minutes})) == said(read(tencent()))
    for paragraph in minutes["paragraphs"]:
        paragraph["speaker"] = {"user_name": paragraph.pop("speaker_info").get("username", "李四")}
    assert [part[0] for part in said(read({"code": 0, "minutes": minutes}))] == ["张三", "张三", "李四"]


def dingtalk(**changes):
    sentences = [
        {"sentence": "先定地点。", "startTime": 1200, "endTime": 2900, "wordList": []},
        {"sentence": "去公园吧。", "startTime": 2900, "endTime": 5400},
    ]
    first = {"nickName": "张三", "startTime": 1200, "endTime": 5400, "paragraph": "先定地点。去公园吧。"}
    second = {"nickName": "李四", "startTime": 6000, "endTime": 8000, "paragraph": "好。走吧。"}
    return {"hasNext": False, "paragraphList": [first | {"sentenceList": sentences}, second]} | changes


def test_dingtalk_in_milliseconds_by_paragraph():
    recording = read(dingtalk())
    assert said(recording) == [
        ("张三", "先定地点。", 1.2, 2.9),
        ("张三", "去公园吧。", 2.9, 5.4),
        ("李四", "好。", 6.0, 6.8),
        ("李四", "走吧。", 6.8, 8.0),
    ]
    assert recording.meeting.paragraph_ends == (2, 4)


def test_dingtalk_page_1_says_that_it_is_only_page_1():
    assert not about(read(dingtalk()), "其中一页")
    assert about(read({"success": True, "result": dingtalk(hasNext=True)}), "其中一页")


def test_dingtalk_times_since_1970_give_the_date():
    value = {
        "paragraphList": [
            {"nickName": "张三", "startTime": 1741329000000, "endTime": 1741329005000, "paragraph": "定。"}
        ]
    }
    recording = read(value)
    assert said(recording) == [("张三", "定。", 0.0, 5.0)]
    assert recording.date == "2025-03-07T14:30"


def test_tingwu_groups_words_by_sentence():
    words = [(1, 4970, "先定"), (1, 5560, "。"), (2, 5600, "好")]
    paragraph = {
        "SpeakerId": "1",
        "Words": [{"SentenceId": s, "Start": at, "End": at + 40, "Text": text} for s, at, text in words],
    }
    recording = read({"TaskId": "t", "Transcription": {"Paragraphs": [paragraph]}})
    assert said(recording) == [("说话人1", "先定。", 4.97, 5.6), ("说话人1", "好", 5.6, 5.64)]


def test_numbers_as_strings_nan_and_wrong_kinds_are_no_crash():
    segments = '[{"start": NaN, "end": "x", "text": "好", "speaker": 0}, {"start": "1.5", "end": 1e999, "text": 7}, 3]'
    assert said(read_text(segments)) == [("说话人0", "好", None, None), ("", "7", 1.5, 2.5)]


# --- the corpus's own ------------------------------------------------------------------------------------------------


def test_a_corpus_meeting_keeps_its_key_and_labels(corpus_file, case):
    recording = read_transcript(corpus_file(case()))
    assert recording.format == "语料"
    assert recording.meeting.key == "T1"
    assert [topic.end for topic in recording.meeting.topics] == [3, 6]
    assert recording.meeting.paragraph_ends == (3, 6)
    assert recording.meeting.action_ids == (6,)


def test_several_meetings_are_listed_and_one_is_chosen_by_key(corpus_file, case):
    path = corpus_file(case(), case(meeting_key="T2"))
    with pytest.raises(InputError) as error:
        read_transcript(path)
    assert "T1, T2" in error.value.message.zh and "--meeting T1" in error.value.message.zh
    assert read_transcript(path, "T2").meeting.key == "T2"
    with pytest.raises(InputError, match="没有会议 T3；有：T1, T2"):
        read_transcript(path, "T3")


def test_corpus_json_jsonl_and_pasted(tmp_path, case):
    one, two = case(), case(meeting_key="T2")
    for name, text in {
        "one.json": json.dumps(one, ensure_ascii=False, indent=1),
        "two.json": json.dumps([one, two], ensure_ascii=False),
        "two.jsonl": f"{json.dumps(one)}\n{json.dumps(two)}\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_transcript(tmp_path / name, "T1").meeting.key == "T1", name
        assert read_text(text, meeting="T1").meeting.sentences[0].text == "先定春游地点。"


def test_corpus_without_paragraphs_gets_derived_ones(case):
    sentences = [{"id": place, "speaker": "甲", "s": "好。"} for place in range(1, 31)]
    value = case(
        sentences=sentences, paragraph_segment_ids=None, topic_segment_ids=None, action_ids=None, candidate=None
    )
    assert read(value).meeting.paragraph_ends == (15, 30)


def test_a_rejected_row_beside_the_meeting_is_told(corpus_file, case):
    assert about(read_transcript(corpus_file(case(), "NA")), "另有 1 行读不了")
    with pytest.raises(InputError, match="读不出会议"):
        read_transcript(corpus_file("NA"))
