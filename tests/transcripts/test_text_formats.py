"""Plain text and DOCX of 腾讯会议, 飞书妙记, 讯飞听见, Teams, Google Meet, and what people type."""

import docx
import pytest

from mug.transcripts.reading import read_text, read_transcript


def said(recording):
    return [(sentence.speaker, sentence.text) for sentence in recording.meeting.sentences]


def starts(recording):
    return [sentence.start for sentence in recording.meeting.sentences]


FEISHU = """2025年3月7日 下午 2:30|12分钟 8秒
关键词:
春游、湿地公园
文字记录:
说话人 1 00:05
先定春游地点。好吗？

王 小明 01:00:11
去湿地公园吧。
集合时间改到 10:30
目标：增长三成。
"""


def test_feishu():
    recording = read_text(FEISHU)
    assert said(recording) == [
        ("说话人 1", "先定春游地点。"),
        ("说话人 1", "好吗？"),
        ("王 小明", "去湿地公园吧。"),
        ("王 小明", "集合时间改到 10:30"),
        ("王 小明", "目标：增长三成。"),
    ]
    assert recording.date == "2025-03-07T14:30"
    assert starts(recording)[0] == 5.0 and starts(recording)[2] == 3611.0
    assert any("之前的 4 行" in note.zh for note in recording.notes)


@pytest.mark.parametrize(
    "text",
    [
        "张三(00:00:05): 先定春游地点。\n李四(00:00:09): 去湿地公园吧：好。",
        "张三（00:00:05）：先定春游地点。\n\n李四（00:00:09）：去湿地公园吧：好。\n",
        "张三 00:00:05\n先定春游地点。\n李四 00:00:09\n去湿地公园吧：好。",
        "张三  00:05\n\n先定春游地点。\n\n李四  00:09\n\n去湿地公园吧：好。",
        "[张三] 00:00:05\n先定春游地点。\n[李四] 00:00:09\n去湿地公园吧：好。",
        "【张三】00:00:05\n先定春游地点。\n【李四】00:00:09\n去湿地公园吧：好。",
        "**张三** [00:00:05]\n先定春游地点。\n\n**李四** [00:00:09]\n去湿地公园吧：好。",
        "## 张三 00:00:05\n先定春游地点。\n## 李四 00:00:09\n去湿地公园吧：好。",
        "00:05 张三\n先定春游地点。\n\n00:09 李四\n去湿地公园吧：好。",
        "[00:00:05] 张三: 先定春游地点。\n[00:00:09] 李四: 去湿地公园吧：好。",
        "00:00:05 张三：先定春游地点。\n00:00:09 李四：去湿地公园吧：好。",
        "[00:05.000 --> 00:08.000] 张三: 先定春游地点。\n[00:09.000 --> 00:10.000] 李四: 去湿地公园吧：好。",
        "张三 2025-03-07 14:30:05\n先定春游地点。\n李四 2025-03-07 14:30:09\n去湿地公园吧：好。",
        "[张三] 10:05:05\n先定春游地点。\n\n[李四] 10:05:09\n去湿地公园吧：好。",
        "时间\t发言人\t内容\n00:05\t张三\t先定春游地点。\n00:09\t李四\t去湿地公园吧：好。\n",
    ],
)
def test_layouts_with_times(text):
    recording = read_text(text)
    assert said(recording) == [("张三", "先定春游地点。"), ("李四", "去湿地公园吧：好。")]
    first, second = starts(recording)
    assert second - first == 4.0
    assert first in (0.0, 5.0)  # 0 where the times are those of the clock


@pytest.mark.parametrize(
    "text",
    [
        "张三: 先定春游地点。\n李四: 10:30 集合。",
        "张三：先定春游地点。\n李四：10:30 集合。",
        "[张三]: 先定春游地点。\n[李四]: 10:30 集合。",
        "张三：\n先定春游地点。\n\n李四：\n10:30 集合。",
        "- 张三: 先定春游地点。\n- 李四: 10:30 集合。",
        "**张三**: 先定春游地点。\n\n**李四**: 10:30 集合。",
        "speaker,text\n张三,先定春游地点。\n李四,10:30 集合。\n",
    ],
)
def test_layouts_without_times(text):
    recording = read_text(text)
    assert said(recording) == [("张三", "先定春游地点。"), ("李四", "10:30 集合。")]
    assert starts(recording) == [None, None]


def test_iflytek_and_words_that_mention_a_speaker():
    recording = read_text(
        "春游的讨论\n说话人1 00:00\n刚才说话人太多了\n\n说话人2 00:23\n好\n\n以上内容由AI生成，仅供参考\n"
    )
    assert said(recording) == [("说话人1", "刚才说话人太多了"), ("说话人2", "好")]
    assert recording.title == "春游的讨论"
    assert any("软件声明" in note.zh for note in recording.notes)


def test_iflytek_without_times():
    assert said(read_text("说话人1\n刚才说话人太多了\n说话人2\n好")) == [
        ("说话人1", "刚才说话人太多了"),
        ("说话人2", "好"),
    ]


def test_a_name_and_words_glued_to_the_time():
    text = "说话人 1 00:00:00先定地点。\n\n说话人 2 00:09:44好的。\n"
    assert said(read_text(text)) == [("说话人 1", "先定地点。"), ("说话人 2", "好的。")]


def test_the_english_form_of_teams():
    recording = read_text(
        "Spring outing\nMarch 7, 2025, 2:30PM\n12m 8s\n\nAnn Li started transcription\n\n"
        "Ann Li   0:05\nLet us start.\n\n"
        "Bo Wu (Guest)   1:12\nFine.\n\nAnn Li stopped transcription"
    )
    assert said(recording) == [("Ann Li", "Let us start."), ("Bo Wu (Guest)", "Fine.")]
    assert (recording.title, recording.date) == ("Spring outing", "2025-03-07T14:30")


def test_the_form_of_google_meet():
    recording = read_text(
        "春游讨论 (2025-03-07 14:30 GMT+8) - Transcript\nAttendees\n张三, 李四\nTranscript\n"
        "00:00:00\n张三: 先定。\n李四: 好。\n00:05:00\n张三: 走。\nMeeting ended after 00:12:08"
    )
    assert said(recording) == [("张三", "先定。"), ("李四", "好。"), ("张三", "走。")]
    assert (recording.title, recording.date, starts(recording)[2]) == ("春游讨论", "2025-03-07T14:30", 300.0)


def test_lines_about_the_meeting_are_no_speakers():
    recording = read_text(
        "会议主题：春游\n时间：2025-03-07 14:30\n参会人：张三、李四\n\n张三：先定。\n接着说。\n李四：好的"
    )
    assert said(recording) == [("张三", "先定。"), ("张三", "接着说。"), ("李四", "好的")]
    assert (recording.title, recording.date) == ("春游", "2025-03-07T14:30")


def test_a_second_recording_in_the_file_starts_again_at_zero():
    text = "张三 00:05\n一\n李四 10:00\n二\n张三 20:00\n三\n张三 00:07\n四\n李四 00:30\n五"
    assert said(read_text(text)) == [("张三", "一"), ("李四", "二"), ("张三", "三"), ("张三", "四"), ("李四", "五")]


def test_ends_are_the_next_start_and_a_silence_is_no_talking():
    recording = read_text("张三 00:05\n一二三四\n李四 00:06\n好\n张三 30:00\n走")
    assert [sentence.end for sentence in recording.meeting.sentences] == [6.0, 7.0, 1801.0]


def test_a_known_name_is_a_speaker_though_the_number_behind_it_looks_like_a_time():
    text = "no.1：你好\nno.1：30元\n下午3：30走"
    assert said(read_text(text)) == [("no.1", "你好"), ("no.1", "30元"), ("no.1", "下午3：30走")]


def write_docx(path, paragraphs, title=""):
    document = docx.Document()
    document.core_properties.title = title
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    document.save(path)
    return path


def test_docx_holds_the_same_lines_as_paragraphs(tmp_path):
    recording = read_transcript(write_docx(tmp_path / "周会.docx", FEISHU.split("\n"), title="Word Document"))
    assert said(recording) == said(read_text(FEISHU))
    assert recording.meeting.key == "周会"
    assert (recording.date, recording.title) == ("2025-03-07T14:30", "")


def test_docx_of_teams_breaks_the_line_inside_a_paragraph(tmp_path):
    path = write_docx(tmp_path / "a.docx", ["张三   0:05\n先定春游地点。", "李四   0:09\n好。"], title="春游讨论")
    assert said(read_transcript(path)) == [("张三", "先定春游地点。"), ("李四", "好。")]
    assert read_transcript(path).title == "春游讨论"


@pytest.mark.parametrize("header", [["序号", "发言时间", "发言人", "内容"], None])
def test_docx_with_a_table(tmp_path, header):
    rows = [["1", "00:05", "张三", "先定春游地点。"], ["2", "00:09", "李四", "目标：好。"]]
    rows = [header, *rows] if header else [row[1:] for row in rows]
    document = docx.Document()
    document.add_paragraph("会议记录")
    table = document.add_table(len(rows), len(rows[0]))
    for row, cells in zip(table.rows, rows, strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.save(tmp_path / "a.docx")
    recording = read_transcript(tmp_path / "a.docx")
    assert said(recording) == [("张三", "先定春游地点。"), ("李四", "目标：好。")]
    assert starts(recording) == [5.0, 9.0]


def test_paragraphs_end_at_a_change_of_speaker_after_five_sentences_and_at_the_end():
    lines = [f"{'甲乙'[place // 6 % 2]}: 好。" for place in range(20)]
    assert read_text("\n".join(lines)).meeting.paragraph_ends == (6, 12, 18, 20)


def test_one_speaker_without_pauses_still_gets_paragraphs():
    assert read_text("\n".join(["甲: 好。"] * 40)).meeting.paragraph_ends == (15, 30, 40)


def test_a_silence_of_three_seconds_ends_a_paragraph():
    cues = [f"{start:02d}" for start in (0, 2, 4, 6, 8, 14, 16)]
    text = "WEBVTT\n\n" + "\n\n".join(f"00:{at}.000 --> 00:{int(at) + 2:02d}.000\n甲: 好" for at in cues)
    assert read_text(text).meeting.paragraph_ends == (5, 7)


def test_half_characters_and_template_tokens_are_made_harmless_and_told():
    recording = read_text("张三: 好的\ud83d\n张三: <|im_end|>走\x07吧\n")
    assert said(recording) == [("张三", "好的\ufffd"), ("张三", "＜|im_end|>走 吧")]
    assert len(recording.notes) == 3
