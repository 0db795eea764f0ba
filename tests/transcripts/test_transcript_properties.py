"""Whatever bytes a file holds, reading gives a recording or an InputError; what was written comes back."""

import io
import json
import tempfile
import zipfile
from pathlib import Path

import docx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mug.errors import InputError
from mug.transcripts.draft import LONG, sentences_of
from mug.transcripts.reading import read_text, read_transcript
from mug.transcripts.recording import Recording

EXAMPLES = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def outcome(content: bytes) -> Recording | InputError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(content)
        try:
            recording = read_transcript(path)
        except InputError as error:
            assert error.message.zh and error.message.en
            return error
    check(recording)
    return recording


def check(recording: Recording) -> None:
    sentences = recording.meeting.sentences
    assert sentences and all(sentence.text.strip() for sentence in sentences)
    assert recording.meeting.paragraph_ends[-1] == len(sentences)
    assert list(recording.meeting.paragraph_ends) == sorted(set(recording.meeting.paragraph_ends))
    for sentence in sentences:
        sentence.text.encode()
        assert "\n" not in sentence.text + sentence.speaker
        assert sentence.end is None or sentence.start is None or sentence.start <= sentence.end


def docx_of(lines: list[str]) -> bytes:
    document = docx.Document()
    for line in lines:
        document.add_paragraph(line)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


SENTENCE_INFO = [{"text": "先定。", "start": 1, "end": 2, "spk": 0}]
PARAGRAPH = {
    "pid": "0",
    "speaker_info": {"username": "甲"},
    "sentences": [{"start_time": 1, "end_time": 2, "words": [{"text": "好"}]}],
}
TEXTS = [
    "WEBVTT\n\n1\n00:05.000 --> 00:07.500\n<v 张三>先定&amp;地点。</v>\n\n2\n00:08.000 --> 00:09.000\n李四: 好\n",
    "1\n00:00:05,000 --> 00:00:07,500\n[SPEAKER_00]: 先定。\n\n2\n00:00:08,000 --> 00:00:09,000\n好\n",
    "2025年3月7日 下午 2:30|12分钟\n关键词:\n春游\n文字记录:\n说话人 1 00:05\n先定。\n\n王 小明 01:00:11\n好。\n",
    "张三(00:00:05): 先定。\n李四(00:00:09): 好\n",
]
VALUES: list[object] = [
    [{"key": "m", "text": "先定。好。", "timestamp": [[1, 2]] * 3, "sentence_info": SENTENCE_INFO}],
    {"segments": [{"start": 1.5, "end": 2.5, "text": "好", "speaker": "SPEAKER_00"}]},
    {"more": True, "minutes": {"paragraphs": [PARAGRAPH]}},
    {"hasNext": True, "paragraphList": [{"nickName": "甲", "startTime": 1, "endTime": 2, "paragraph": "好"}]},
    {"meeting_key": "K", "sentences": [{"id": 1, "speaker": "甲", "s": "好。"}]},
]
DOCX = docx_of(["张三: 先定。", "李四: 好"])
SAMPLES = [
    *(text.encode(encoding) for text in TEXTS for encoding in ("utf-8", "gb18030", "utf-16")),
    *(json.dumps(value).encode() for value in VALUES),
    DOCX,
]


@EXAMPLES
@given(st.binary(max_size=300))
def test_random_bytes(content):
    outcome(content)


@EXAMPLES
@given(st.sampled_from(SAMPLES), st.data())
def test_random_damage(sample, data):
    content = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4), "damages")):
        place = data.draw(st.integers(0, max(0, len(content) - 1)), "place")
        kind = data.draw(st.sampled_from(["change", "insert", "cut"]), "kind")
        if kind == "change":
            content[place : place + 1] = bytes([data.draw(st.integers(0, 255), "byte")])
        elif kind == "insert":
            content[place:place] = data.draw(st.binary(max_size=5), "bytes")
        else:
            del content[place : place + data.draw(st.integers(1, 30), "length")]
    outcome(bytes(content))


@EXAMPLES
@given(st.data())
def test_a_docx_whose_main_part_is_anything(data):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(DOCX)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            part = old.read(entry)
            if entry.filename == "word/document.xml":
                at = data.draw(st.integers(0, len(part)))
                part = part[:at] + data.draw(st.binary(max_size=20)) + part[at + data.draw(st.integers(0, 40)) :]
            new.writestr(entry.filename, part)
    outcome(file.getvalue())


NAMES = (
    "segments word_segments chunks word text start end speaker timestamp key sentence_info spk minutes paragraphs "
    "sentences words speaker_info username start_time end_time pid more paragraphList sentenceList nickName paragraph "
    "startTime hasNext Transcription Paragraphs Words SpeakerId SentenceId Text result data s id"
).split()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)
roots = st.dictionaries(st.sampled_from(["segments", "paragraphList", "minutes", "sentence_info", "result"]), values)


@EXAMPLES
@given(roots | values)
def test_json_of_known_names_and_any_values(value):
    outcome(json.dumps(value).encode())


SHAPES = [
    *(
        "张三 00:05",
        "00:09 李四",
        "说话人 1 01:00",
        "文字记录:",
        "关键词:",
        "张三: 好",
        "[00:10] 走",
        "",
        "WEBVTT",
        "1",
    ),
    *("00:00:01.000 --> 00:00:02.000", "00:00:01,000 --> 00:00:02,000", "2025-03-07", "NOTE x", "---", "说话人2"),
]
lines = st.lists(st.text(max_size=20) | st.sampled_from(SHAPES), max_size=12)


@EXAMPLES
@given(lines)
def test_random_lines_of_known_shapes(found):
    try:
        check(read_text("\n".join(found)))
    except InputError:
        pass


words = st.text(st.characters(whitelist_categories=["Lo", "Lu", "Ll"], max_codepoint=0x9FFF), min_size=1, max_size=12)


@EXAMPLES
@given(st.lists(st.tuples(st.sampled_from(["张三", "王 小明", "说话人 1"]), words), min_size=1, max_size=8))
def test_labelled_lines_come_back(pairs):
    recording = read_text("\n".join(f"{speaker}: {text}" for speaker, text in pairs))
    assert [(s.speaker, s.text) for s in recording.meeting.sentences] == pairs


@EXAMPLES
@given(st.text(st.sampled_from("好a“”。！？!?…；.\"') 1B"), max_size=400))
def test_sentences_joined_are_the_text(text):
    parts = sentences_of(text)
    assert "".join(parts) == text
    assert all(parts)
    assert len(text) > LONG or len(parts) <= max(1, sum(map(text.count, "。！？!?…")) + 1)
