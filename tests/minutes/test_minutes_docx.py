"""The Word minutes: read back by python-docx, and opened by LibreOffice."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from dataclasses import replace

import docx as word
import pytest
from docx.oxml.ns import qn

from minutes.conftest import HOSTILE
from mug.meeting import Sentence
from mug.minutes import docx


def opened(minutes, lang="zh"):
    return word.Document(io.BytesIO(docx.render(minutes, lang)))


def test_headings_and_tables(minutes):
    document = opened(minutes)
    headings = [(p.style.name, p.text) for p in document.paragraphs if p.style.name.startswith(("Heading", "Title"))]
    assert headings == [
        ("Title", "春游安排（生成）"),
        ("Heading 1", "摘要"),
        ("Heading 1", "行动项"),
        ("Heading 1", "章节"),
        ("Heading 2", "1. 定春游地点（00:10–00:34）"),
        ("Heading 2", "2. 定春游时间（00:40–01:04）"),
        ("Heading 1", "参会人"),
        ("Heading 1", "说明"),
        ("Heading 1", "全文"),
        ("Heading 2", "1. 定春游地点"),
        ("Heading 2", "2. 定春游时间"),
    ]
    actions, people = ([[cell.text for cell in row.cells] for row in table.rows] for table in document.tables)
    assert actions[1] == ["我来订大巴，周三之前把报价发群里。", "乙（推导）", "周三之前（推导）", "乙\u00a001:00"]
    assert people == [["姓名", "句数", "说话时长", "占比"], ["甲", "3", "00:12", "50%"], ["乙", "3", "00:12", "50%"]]


def test_quotes_link_to_bookmarks_around_their_sentence(minutes):
    body = opened(minutes).element.body
    links = [link.get(qn("w:anchor")) for link in body.iter(qn("w:hyperlink"))]
    assert links == ["s2", "s5", "s6", "c1", "s1", "s2", "c2", "s5"]
    marked = {}
    for start in body.iter(qn("w:bookmarkStart")):
        run, end = start.getnext(), start.getnext().getnext()
        assert (end.tag, end.get(qn("w:id"))) == (qn("w:bookmarkEnd"), start.get(qn("w:id")))
        marked[start.get(qn("w:name"))] = "".join(text.text for text in run.iter(qn("w:t")))
    assert set(links) <= marked.keys()
    assert [marked[f"s{place}"] for place in range(1, 7)] == [sentence.text for sentence in minutes.sentences]
    numbers = [start.get(qn("w:id")) for start in body.iter(qn("w:bookmarkStart"))]
    assert len(set(numbers)) == len(numbers) == 8


def test_chinese_has_a_font_in_every_style_that_names_one(minutes):
    styles = opened(minutes).styles.element
    fonts = [found for style in styles.iter(qn("w:style")) for found in style.iter(qn("w:rFonts"))]
    assert len(fonts) > 10
    assert {found.get(qn("w:eastAsia")) for found in fonts} == {"Microsoft YaHei"}
    assert not any("Theme" in name for found in fonts for name in found.attrib)


def test_hostile_text_stays_text_and_control_characters_are_gone(hostile):
    document = opened(hostile)
    text = "\n".join(paragraph.text for paragraph in document.paragraphs)
    for said in HOSTILE:
        assert re.sub(r"[\x07\x0b]", "\ufffd", said) in text
    assert not list(document.element.body.iter(qn("w:drawing")))


def test_half_a_character_is_replaced(minutes):
    (item,) = minutes.action_items
    edited = replace(item, text="半个\ud83d字\ufffe", edited=True)
    assert (
        opened(replace(minutes, action_items=(edited,))).tables[0].rows[1].cells[0].text
        == "半个\ufffd字\ufffd（人工修改）"
    )


def test_the_same_minutes_give_the_same_bytes(minutes):
    assert docx.render(minutes) == docx.render(minutes)


def test_headings_in_english(minutes):
    assert [p.text for p in opened(minutes, "en").paragraphs if p.style.name == "Heading 1"][:2] == [
        "Summary",
        "Action items",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["minutes", "hostile"])
def test_libreoffice_opens_it(which, request, tmp_path):
    program = shutil.which("soffice")
    if program is None:
        pytest.skip("no LibreOffice found; on Debian: apt-get install -y libreoffice-writer")
    minutes = request.getfixturevalue(which)
    (tmp_path / "minutes.docx").write_bytes(docx.render(minutes))
    profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    command = [program, profile, "--headless", "--convert-to", "txt:Text (encoded):UTF8", "--outdir", tmp_path]
    subprocess.run([*command, tmp_path / "minutes.docx"], check=True, capture_output=True, timeout=180)
    text = (tmp_path / "minutes.txt").read_text("utf-8-sig")
    for sentence in minutes.sentences:
        assert re.sub(r"[\x07\x0b]", "\ufffd", sentence.text) in text
    command[4] = "pdf"
    subprocess.run([*command, tmp_path / "minutes.docx"], check=True, capture_output=True, timeout=180)
    pdf = (tmp_path / "minutes.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000


def test_a_long_meeting_is_quick(minutes):
    sentences = tuple(Sentence("甲", f"第{n}句。", float(n), n + 0.5) for n in range(1, 2001))
    people = (replace(minutes.participants[0], name="甲", sentences=2000),)
    chapter = replace(minutes.chapters[0], start=1, end=2000, key_sentences=())
    long = replace(
        minutes,
        sentences=sentences,
        participants=people,
        chapters=(chapter,),
        summary=(),
        action_items=(),
        keyphrases=(),
        generated_keyphrases=(),
    )
    assert opened(long).paragraphs[-1].text.endswith("第2000句。")
