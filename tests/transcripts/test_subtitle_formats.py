"""WebVTT and SRT, as the products write them."""

import pytest

from mug.transcripts.reading import read_text


def said(text):
    return [(sentence.speaker, sentence.text) for sentence in read_text(text).meeting.sentences]


def times(text):
    return [(sentence.start, sentence.end) for sentence in read_text(text).meeting.sentences]


ZOOM = """WEBVTT

1
00:00:05.000 --> 00:00:07.500
张三: 先定春游地点。

2
00:00:08.000 --> 00:00:09.000
李四: 我看：去湿地公园 --> 好不好

3
00:01:08.000 --> 00:01:09.250
10:30 集合可以吗？

4
01:00:10.000 --> 01:00:11.000
2025
"""

TEAMS = """\ufeffWEBVTT

NOTE 由 Teams 导出

6f1c2f1e-0000-4a6b-9d2c-1f0e5b7a9c11/12-0
00:05.000 --> 00:07.500
<v 张三 (外部)>先定 A&amp;B
春游地点。</v>

6f1c2f1e-0000-4a6b-9d2c-1f0e5b7a9c11/13-1
00:08.000 --> 00:09.000 align:left
<v 李四>没有结尾 a<b &lt;i&gt;

6f1c2f1e-0000-4a6b-9d2c-1f0e5b7a9c11/14-0
00:10.000 --> 00:14.000
<v.loud 甲>一二三。</v><v 乙><c.yellow>四</c>。</v>
"""


def test_zoom_names_the_speaker_in_the_words_and_a_time_of_day_is_no_speaker():
    assert read_text(ZOOM).format == "WebVTT"
    assert said(ZOOM) == [
        ("张三", "先定春游地点。"),
        ("李四", "我看：去湿地公园 --> 好不好"),
        ("", "10:30 集合可以吗？"),
        ("", "2025"),
    ]
    assert times(ZOOM) == [(5.0, 7.5), (8.0, 9.0), (68.0, 69.25), (3610.0, 3611.0)]


def test_teams_voices_entities_two_line_cues_and_missing_end_tags():
    assert said(TEAMS) == [
        ("张三 (外部)", "先定 A&B春游地点。"),
        ("李四", "没有结尾 a＜b ＜i>"),
        ("甲", "一二三。"),
        ("乙", "四。"),
    ]


def test_hours_may_be_left_out_and_two_voices_of_a_cue_share_its_time():
    assert times(TEAMS)[:2] == [(5.0, 7.5), (8.0, 9.0)]
    (_, first_end), (second_start, last_end) = times(TEAMS)[2:]
    assert 10.0 < first_end == second_start < last_end == 14.0


def test_words_that_look_like_markup_stay_text():
    cue = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v 张三><script>alert(1)</script> {预算}</v>\n"
    assert said(cue) == [("张三", "＜script>alert(1)＜/script> {预算}")]


def test_words_behind_a_blank_line_and_a_missing_blank_line_are_kept():
    text = (
        "WEBVTT\n\n1\n00:01.000 --> 00:02.000\n张三: 好\n\n还有\n2\n00:03.000 --> 00:04.000\n李四: 行\nNOTE 也是话\n"
    )
    assert said(text) == [("张三", "好还有"), ("李四", "行NOTE 也是话")]


def test_notes_styles_and_the_header_are_passed_over_and_the_header_gives_the_title():
    text = (
        "WEBVTT - 春游讨论\nKind: captions\n\nSTYLE\n::cue {}\n\nNOTE\n张三: 不是话\n\n"
        "00:01.000 --> 00:02.000\n张三: 好\n"
    )
    assert said(text) == [("张三", "好")]
    assert read_text(text).title == "春游讨论"


def test_an_english_cue_of_two_lines_is_joined_by_a_space():
    assert said("WEBVTT\n\n00:01.000 --> 00:02.000\nAnn: Let us\nstart.\n") == [("Ann", "Let us start.")]


def test_vtt_without_its_first_line_is_still_read():
    assert said("00:01.000 --> 00:02.000\n张三: 好\n") == [("张三", "好")]


WHISPERX_SRT = """1
00:00:05,030 --> 00:00:07,500
[SPEAKER_00]: 先定春游地点。

2
00:00:08,000 --> 00:00:09,000
没有说话人

3
00:00:10,000 --> 00:00:11,000
<i>[SPEAKER_01]: A --> C</i>

4
00:00:12,000 --> 00:00:13,000
2025

"""


def test_srt_of_whisperx():
    assert read_text(WHISPERX_SRT).format == "SRT"
    assert said(WHISPERX_SRT) == [
        ("SPEAKER_00", "先定春游地点。"),
        ("", "没有说话人"),
        ("SPEAKER_01", "A --> C"),
        ("", "2025"),
    ]
    assert times(WHISPERX_SRT)[0] == (5.03, 7.5)


@pytest.mark.parametrize("line", ["说话人 1：好。", "说话人 1: 好。", "【说话人 1】好。", "[说话人 1] 好。"])
def test_srt_of_other_products(line):
    assert said(f"1\r\n00:00:05,000 --> 00:00:07,000\r\n{line}\r\n") == [("说话人 1", "好。")]


def test_a_long_cue_is_divided_into_sentences_and_a_short_one_is_not():
    short, long = "好的。走吧。", "我们先看第一个方案吧。" * 20
    text = f"WEBVTT\n\n00:00.000 --> 00:02.000\n张三: {short}\n\n00:02.000 --> 00:42.000\n张三: {long}\n"
    recording = read_text(text)
    assert [sentence.text for sentence in recording.meeting.sentences] == [short, *["我们先看第一个方案吧。"] * 20]
    assert [sentence.start for sentence in recording.meeting.sentences[:4]] == [0.0, 2.0, 4.0, 6.0]
    assert any("按字数推算" in note.zh for note in recording.notes)
