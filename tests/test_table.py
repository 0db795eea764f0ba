"""Kinds of files: what is read whatever program saved it, and what is named in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile

import pytest

from mug.corpus import Report, read_meetings
from mug.errors import InputError


@pytest.fixture
def body(corpus_file, case):
    return corpus_file(case(), case(meeting_key="T2")).read_text(encoding="utf-8")


@pytest.fixture
def content(tmp_path, read):
    """Read the meetings of a file of these bytes; return their keys and the report."""

    def keys(given: bytes):
        path = tmp_path / "file.csv"
        path.write_bytes(given)
        meetings, report = read(path)
        return [meeting.key for meeting in meetings], report

    return keys


def refusal(content, given):
    with pytest.raises(InputError) as error:
        content(given)
    message = error.value.message
    assert len(message.zh) < 250 and len(message.en) < 400
    assert "\n" not in message.zh + message.en
    assert message.zh.endswith("。") and message.en.endswith(".")
    return message.en


# ---------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"])
def test_wide_encodings_are_known_with_and_without_a_mark(content, body, encoding):
    keys, report = content(body.encode(encoding))
    assert (keys, report.encoding, report.rejected) == (["T1", "T2"], encoding, [])


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_every_line_end_ends_a_row(content, body, line_end, encoding):
    keys, report = content(body.replace("\n", line_end).encode(encoding))
    assert (keys, report.rejected) == (["T1", "T2"], [])


def test_line_ends_may_be_mixed(content, body):
    header, first, second, _ = body.split("\n")
    assert content(f"{header}\r{first}\r\n\r{second}\r".encode())[0] == ["T1", "T2"]


@pytest.mark.parametrize(
    "header",
    ['"idx"\t"content"', "IDX\tContent", " idx \t content ", "\ufeff\ufeffidx\tcontent", "\n \t\nidx\tcontent"],
)
def test_a_header_may_be_quoted_spaced_in_capitals_marked_twice_or_below_blank_lines(content, body, header):
    assert content(body.replace("idx\tcontent", header).encode())[0] == ["T1", "T2"]


def test_files_that_were_joined_with_their_headers_and_marks_are_read_whole(content, body, corpus_file, case):
    second = corpus_file(case(meeting_key="T3"), name="second.csv").read_text(encoding="utf-8")
    keys, report = content((body + "\ufeff" + second).encode())
    assert (keys, report.rejected) == (["T1", "T2", "T3"], [])


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_of_meetings_is_read(content, case, indent):
    found = [case(), case(meeting_key="T2"), 3, {"meeting_key": "T3"}]
    keys, report = content(json.dumps(found, indent=indent, ensure_ascii=False).encode())
    assert keys == ["T1", "T2"]
    assert [(rejected.row, rejected.meeting) for rejected in report.rejected] == [(3, ""), (4, "T3")]


@pytest.mark.parametrize("line_break", ["{\n", '{"meeting_key": "T1",\n'])
def test_one_meeting_over_many_lines_is_read(content, case, line_break):
    text = json.dumps(case(), ensure_ascii=False)
    start = '{"meeting_key": "T1", ' if "meeting" in line_break else "{"
    assert content(text.replace(start, line_break, 1).replace("}, {", "},\n{").encode())[0] == ["T1"]


def test_json_lines_may_have_a_mark_in_the_middle(content, case):
    lines = [json.dumps(case(meeting_key=key)) for key in ("T1", "T2")]
    assert content("\n\ufeff".join(lines).encode())[0] == ["T1", "T2"]


def test_an_unquoted_cell_that_holds_the_delimiter_is_put_together_again(content, case):
    text = json.dumps(case(), ensure_ascii=False)
    assert content(f"idx,content,note\n0,{text},好\n".encode())[0] == ["T1"]


# ------------------------------------------------------------------------------------------- what is rejected by row


def test_zero_bytes_at_the_end_as_after_a_power_cut_are_a_rejected_row(content, body):
    keys, report = content(body.encode() + b"\0" * 5000)
    assert keys == ["T1", "T2"]
    assert [(rejected.row, rejected.reason.en) for rejected in report.rejected] == [(4, "has only 1 columns")]


def test_two_meetings_in_one_line_are_rejected_and_counted_as_two(content, case):
    line = json.dumps(case()) + json.dumps(case(meeting_key="T2"))
    keys, report = content(f"{line}\n{json.dumps(case(meeting_key='T3'))}".encode())
    assert keys == ["T3"]
    (rejected,) = report.rejected
    assert (rejected.row, rejected.meetings, rejected.content) == (1, 2, line[:200])
    assert rejected.reason.en.startswith("2 meetings run into one row")


# --------------------------------------------------------------------------------------------------- what is refused


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (gzip.compress(b"idx\tcontent\n"), "a gzip archive"),
        (archive(), "a zip archive or an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "an old Office file"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\n <!DOCTYPE html><html>404</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
        (b"\0" * 4096, "no content column"),
        (b"\x1e\r\n[]", "no content column"),  # Python alone takes it for a blank line
        (b"\t\t\n\n", "is empty"),
        (b"idx|content\n0|{}\n", "no content column (found: idx|content)"),
        (b"content\tcontent\n{}\t{}\n", "2 content columns"),
    ],
)
def test_another_kind_of_file_is_named(content, given, said):
    assert said in refusal(content, given)


TRADITIONAL = "我們今天討論的是春遊的地點，大家好，先請大家說說自己的想法。"


def test_big5_is_named_and_not_read_as_other_characters(content, case):
    sentences = [{"id": number, "speaker": "A", "s": TRADITIONAL} for number in range(1, 7)]
    text = json.dumps(case(sentences=sentences, topic_segment_ids=None, candidate=None), ensure_ascii=False)
    given = f"idx\tcontent\n0\t{text}\n".encode("big5")
    given.decode("gb18030")  # it can be read as that, and gives garbage
    assert "looks like Big5" in refusal(content, given)


def test_utf8_with_a_damaged_byte_is_not_read_as_gb18030(content, body):
    given = body.encode()
    place = given.index("先".encode())
    # Two bytes off and one on: the characters behind it fall into other pairs.
    damaged = given[:place] + b"\xb0" + given[place + 2 :]
    assert f"damaged from byte {place + 1}" in refusal(content, damaged)


def test_a_json_array_that_was_cut_is_refused_and_so_is_one_too_large(content, case, monkeypatch):
    text = json.dumps([case(), case(meeting_key="T2")])
    assert "no complete JSON" in refusal(content, text[:-30].encode())
    monkeypatch.setattr("mug.table.LARGEST_ARRAY", 1000)
    assert "jq -c '.[]'" in refusal(content, text.encode())


def test_a_line_or_cell_without_an_end_is_refused_before_it_fills_the_memory(content, body, monkeypatch):
    monkeypatch.setattr("mug.table.LONGEST", 5000)
    assert content(body.encode())[0] == ["T1", "T2"]
    assert "a line of more than" in refusal(content, body.encode() + b"3\t{" + b"x" * 6000)
    assert "at row 4" in refusal(content, body.encode() + b'3\t"' + b"x\n" * 6000)


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(InputError, match="不是普通文件"):
            list(read_meetings(path, Report()))
