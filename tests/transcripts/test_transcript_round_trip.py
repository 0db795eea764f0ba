"""Meetings written out in each layout and read back: the same sentences, the same speakers."""

import html
from collections.abc import Callable, Sequence
from itertools import groupby

import docx
import pytest

from mug.corpus import Report, read_meetings
from mug.meeting import Sentence
from mug.transcripts.reading import read_text, read_transcript


def clock(seconds: float, point: str = "") -> str:
    """Write `01:02:03`, with a point `01:02:03.500`."""
    milliseconds = round(seconds * 1000)
    time = f"{milliseconds // 3600000:02d}:{milliseconds // 60000 % 60:02d}:{milliseconds // 1000 % 60:02d}"
    return f"{time}{point}{milliseconds % 1000:03d}" if point else time


def short(seconds: float) -> str:
    return clock(seconds).removeprefix("00:")


Layout = Callable[[Sequence[Sentence]], str]


def cues(line: Callable[[Sentence], str], point: str) -> Layout:
    return lambda sentences: "\n".join(
        f"{number}\n{clock(s.start, point)} --> {clock(s.end, point)}\n{line(s)}\n"
        for number, s in enumerate(sentences, 1)
    )


def each(line: Callable[[Sentence], str], between: str = "\n") -> Layout:
    return lambda sentences: between.join(map(line, sentences))


def turns(between: str) -> Layout:
    """Write a header for each turn of a speaker and its sentences on lines of their own, or on one."""
    return lambda sentences: "\n\n".join(
        f"{speaker} {short(turn[0].start)}\n" + between.join(s.text for s in turn)
        for speaker, turn in ((speaker, list(group)) for speaker, group in groupby(sentences, lambda s: s.speaker))
    )


FEISHU = "2025年3月7日 下午 2:30|12分钟 8秒\n\n关键词:\n春游、公园\n\n文字记录:\n"
LAYOUTS: dict[str, Layout] = {
    "zoom.vtt": lambda s: "WEBVTT\n\n" + cues(lambda s: f"{s.speaker}: {html.escape(s.text, False)}", ".")(s),
    "teams.vtt": lambda s: "WEBVTT\n\n" + cues(lambda s: f"<v {s.speaker}>{html.escape(s.text, False)}</v>", ".")(s),
    "colon.srt": cues(lambda s: f"{s.speaker}: {s.text}", ","),
    "brackets.srt": cues(lambda s: f"[{s.speaker}]: {s.text}", ","),
    "colon.txt": each(lambda s: f"{s.speaker}: {s.text}"),
    "chinese_colon.txt": each(lambda s: f"{s.speaker}：{s.text}"),
    "tight_colon.txt": each(lambda s: f"{s.speaker}:{s.text}"),
    "brackets.txt": each(lambda s: f"[{s.speaker}]: {s.text}"),
    "time_colon.txt": each(lambda s: f"[{clock(s.start)}] {s.speaker}: {s.text}"),
    "tencent_one_line.txt": each(lambda s: f"{s.speaker}({clock(s.start)}): {s.text}"),
    "tencent_header.txt": each(lambda s: f"{s.speaker} {clock(s.start)}\n{s.text}"),
    "tencent_blank.txt": each(lambda s: f"{s.speaker}  {clock(s.start)}\n{s.text}", "\n\n"),
    "feishu.txt": lambda s: FEISHU + each(lambda s: f"{s.speaker} {short(s.start)}\n{s.text}", "\n\n")(s),
    "feishu_turns.txt": lambda s: FEISHU + turns("\n")(s),
    "time_first.txt": each(lambda s: f"{short(s.start)} {s.speaker}\n{s.text}", "\n\n"),
}


def said(sentences: Sequence[Sentence]) -> list[tuple[str, str]]:
    return [(sentence.speaker, sentence.text) for sentence in sentences]


@pytest.fixture(scope="module")
def real(shared):
    return list(read_meetings(shared / "data" / "real_dev3.csv", Report()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_real_meetings_come_back(real, layout):
    for meeting in real:
        back = read_text(LAYOUTS[layout](meeting.sentences))
        assert said(back.meeting.sentences) == said(meeting.sentences), meeting.key


def test_real_meetings_come_back_from_turns_that_join_their_sentences(real):
    for meeting in real:
        assert said(read_text(turns("")(meeting.sentences)).meeting.sentences) == said(meeting.sentences)


@pytest.mark.parametrize("layout", ["colon.txt", "tencent_one_line.txt", "tencent_header.txt", "feishu.txt"])
def test_a_real_meeting_comes_back_from_docx(real, tmp_path, layout):
    document = docx.Document()
    for line in LAYOUTS[layout](real[0].sentences).split("\n"):
        document.add_paragraph(line)
    document.save(tmp_path / "M0115.docx")
    recording = read_transcript(tmp_path / "M0115.docx")
    assert recording.meeting.key == "M0115"
    assert said(recording.meeting.sentences) == said(real[0].sentences)


def test_times_come_back_exactly_from_subtitles(real):
    for layout in ("teams.vtt", "colon.srt"):
        back = read_text(LAYOUTS[layout](real[0].sentences)).meeting.sentences
        assert [(s.start, s.end) for s in back] == [(s.start, s.end) for s in real[0].sentences]


# Sentences that look like something else.
TRAPS = (
    "10:30 集合可以吗？|比例：三比二。|目标：增长三成。|A --> B 可以吗|2025|李四: 你好|说话人 1 00:05|"
    "集合时间改到 10:30|http://a.b/c 看这个|{预算}定了|[笑声] 好|（笑）|- 一个|NOTE 你好|"
    "WEBVTT|1|关键词:|# 标题|**重点**是这个|> 引用|30元|"
    "下午3:30 走|注意：带伞|“好的|01:00:11|我们 00:00:59|张三(00:00:05): 走吧|[00:05] 走|"
    "no.1|…|说话人2|刚才说话人太多了|$100 / 50%|Q: 问题|文字记录:|"
    "以上内容由AI生成"
).split("|")
SPEAKERS = ("张三", "王 小明", "说话人 1", "Li Lei (外部)", "no.1", "SPEAKER_00")


def trapped() -> list[Sentence]:
    texts = [
        text for trap in TRAPS for text in ("大家好。", "先说第一个问题吧", trap, "行", "我觉得可以，但是要等等。")
    ]
    return [
        Sentence(SPEAKERS[place * 7 % len(SPEAKERS)], text, 3.0 + 4 * place, 6.0 + 4 * place)
        for place, text in enumerate(texts)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sentences_that_look_like_something_else_come_back(layout):
    assert said(read_text(LAYOUTS[layout](trapped())).meeting.sentences) == said(trapped())
