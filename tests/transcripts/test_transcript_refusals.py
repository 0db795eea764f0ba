"""Encodings, and what is refused: each in one sentence that names the file and what to do."""

import io
import zipfile

import docx
import pytest

from mug.errors import InputError
from mug.transcripts import reading, word
from mug.transcripts.reading import read_text, read_transcript

TEXT = "张三: 先定春游地点。\n李四: 好的😀㐂\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, line_end):
    path = tmp_path / "记录.txt"
    path.write_bytes(TEXT.replace("\n", line_end).encode(encoding))
    recording = read_transcript(path)
    assert [s.text for s in recording.meeting.sentences] == ["先定春游地点。", "好的😀㐂"]
    told = [note.zh for note in recording.notes]
    assert told == ([] if encoding.startswith("utf-8") else [f"文件按 {encoding.upper()} 编码读取"])


def test_the_content_decides_and_not_the_name(tmp_path):
    path = tmp_path / "a.docx"
    path.write_text("WEBVTT\n\n00:01.000 --> 00:02.000\n张三: 好\n", encoding="utf-8")
    assert read_transcript(path).format == "WebVTT"


REFUSED = {
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), ".docx"),
    "rtf": (b"{\\rtf1\\ansi", "RTF"),
    "mp3": (b"ID3\x03\x00" + bytes(100), "转写"),
    "mp4": (b"\x00\x00\x00\x20ftypisom" + bytes(100), "转写"),
    "html": (b"<!DOCTYPE html><html>", "网页"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "图片"),
    "empty": (b"", "空文件"),
    "blank": (b"\xef\xbb\xbf \r\n\t\n", "空文件"),
    "bytes": (bytes(range(1, 32)) * 9, "不是文字文件"),
    "zeros": ("张三: 好\0\n".encode(), "不是文字文件"),
    "neither": (b"\xff\x81\x20 abc \x80\xff", "编码"),
    "prose": ("今天天气很好。我们去公园。\n没有别的。".encode(), "支持的有"),
    "settings": ("".join(f"key{place}: {place}\n" for place in range(9)).encode(), "支持的有"),
    "other json": (b'{"a": 1}', "支持的有"),
    "cut json": (b'{"segments": [{"start": 1, ', "不完整"),
    "no cues": (b"WEBVTT\n\nNOTE nothing\n", "没有任何发言"),
    "empty cue": (b"1\n00:00:05,000 --> 00:00:07,500\n", "没有任何发言"),
    "no words": ("2025年3月7日 下午 2:30|8秒\n文字记录:\n".encode(), "没有任何发言"),
    "no paragraphs": (b'{"more": false, "minutes": {"paragraphs": [], "keywords": []}}', "没有任何发言"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_transcript_is_refused_with_its_name(tmp_path, kind):
    content, words = REFUSED[kind]
    path = tmp_path / "input.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_transcript(path)
    assert words in error.value.message.zh
    assert "input.txt" in error.value.message.zh and "input.txt" in error.value.message.en
    assert "\n" not in error.value.message.zh


def test_the_refusal_lists_what_was_looked_for():
    with pytest.raises(InputError) as error:
        read_text("随便写的一行")
    for form in (
        "WebVTT",
        "SRT",
        "TXT",
        "DOCX",
        "FunASR",
        "WhisperX",
        "腾讯会议",
        "飞书妙记",
        "讯飞听见",
        "钉钉",
        "CSV",
    ):
        assert form in error.value.message.zh
    written = error.value.message.zh.split("TXT", 1)[1].split("JSON", 1)[0]
    assert "Teams" in written and "Google Meet" in written


def test_a_text_without_speakers_is_told_how_to_write_its_lines(tmp_path):
    path = tmp_path / "plain.txt"
    path.write_text("今天天气很好。\n我们去公园。\n", "utf-8")
    with pytest.raises(InputError) as error:
        read_transcript(path)
    zh, en = error.value.message
    assert zh.startswith("认不出 plain.txt 是哪种会议记录；纯文字请每行写成“说话人: 内容”；支持的有：WebVTT")
    assert "write each line of a plain text as `speaker: words`" in en
    path.write_text("甲: 今天天气很好。\n乙: 我们去公园。\n", "utf-8")
    assert [s.speaker for s in read_transcript(path).meeting.sentences] == ["甲", "乙"]


@pytest.mark.parametrize("name", ["missing.txt", ".", "nul\0.txt"])
def test_no_such_file(tmp_path, name):
    with pytest.raises(InputError):
        read_transcript(tmp_path / name)


def test_nothing_pasted():
    with pytest.raises(InputError, match="没有粘贴"):
        read_text(" \n")


def test_a_file_over_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LIMIT", 1 << 20)
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="超过 1 MB"):
        read_transcript(path)


def test_a_sentence_of_a_megabyte_is_read():
    (sentence,) = read_text("张三: " + "好" * 1_000_000).meeting.sentences
    assert len(sentence.text) == 1_000_000


# --- DOCX ------------------------------------------------------------------------------------------------------------


def document(*lines):
    made = docx.Document()
    for line in lines:
        made.add_paragraph(line)
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


def with_main(content, change):
    """Return the document with its main part changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            part = old.read(entry)
            new.writestr(entry.filename, change(part) if entry.filename == "word/document.xml" else part)
    return file.getvalue()


def refusal(tmp_path, content):
    path = tmp_path / "a.docx"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_transcript(path)
    return error.value.message.zh


def test_a_docx_of_prose_lists_what_was_looked_for(tmp_path):
    assert "支持的有" in refusal(tmp_path, document("没有人说话"))


def test_a_docx_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    small = document("张三: 好")
    bomb = with_main(small, lambda part: part.replace(b"<w:body>", b"<w:body>" + b" " * (30 << 20)))
    assert len(bomb) < 1 << 20
    monkeypatch.setattr(word.docx, "Document", lambda file: pytest.fail("opened"))
    assert "解压后过大" in refusal(tmp_path, bomb)
    monkeypatch.setattr(word, "LARGEST", 1000)
    assert "解压后过大" in refusal(tmp_path, small)


def test_entities_are_not_expanded(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("张三: 秘密", encoding="utf-8")
    doctype = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{secret}">]>'.encode()

    def change(part):
        head, body = part.split(b"?>", 1)
        return head + b"?>" + doctype + body.replace("好".encode(), b"&x;")

    message = refusal(tmp_path, with_main(document("张三: 好"), change))
    assert "DOCTYPE" in message and "秘密" not in message


@pytest.mark.parametrize(
    ("entry", "words"), [("xl/workbook.xml", "Excel"), ("ppt/a.xml", "PowerPoint"), ("a.txt", "zip")]
)
def test_other_zip_archives_are_named(tmp_path, entry, words):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(entry, "x")
    assert words in refusal(tmp_path, file.getvalue())


def test_a_cut_docx_is_refused(tmp_path):
    whole = document("张三: 好")
    assert "不是完好的 DOCX" in refusal(tmp_path, whole[: len(whole) // 2])


@pytest.mark.parametrize("content", [b"PK", b"PK\n", b"PK\x03", "PK 坏了".encode()])
def test_what_is_called_docx_and_has_only_a_docxs_first_letters_is_damaged(tmp_path, content):
    message = refusal(tmp_path, content)
    assert message.startswith("a.docx 不是完好的 DOCX（已损坏，打不开：") and "重新导出" in message


def test_a_text_may_begin_with_the_letters_of_a_zip_archive(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("PK组: 先定春游地点。\n李四: 好。\n", "utf-8")
    assert [s.speaker for s in read_transcript(path).meeting.sentences] == ["PK组", "李四"]
