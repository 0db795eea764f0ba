"""Random meetings in every accepted dialect read back equal; random damage is never a crash or a silent loss."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mug.corpus import Report, read_meetings, read_rows
from mug.errors import InputError
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.table import Rejected

# The same examples in every run: a rare find should not stop somebody's other work.
EXAMPLES = settings(max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
if LONG_RUN := os.environ.get("MUG_EXAMPLES"):  # a number, for a run that is noted: others in every process
    EXAMPLES = settings(
        EXAMPLES, max_examples=int(LONG_RUN), derandomize=False, database=None, phases=[Phase.generate]
    )
# Long enough that its GB18030 bytes are no UTF-8; what is shorter can honestly be taken for the other.
OPENING = Sentence("主持人", "我们今天讨论春游的地点和时间，先请大家说说自己的想法。")

# Everything that stays as it is: no control characters (they become spaces), no halves of characters, no marks that
# turn the direction of writing (they are taken out), no angle bracket (it may become full-width).
TURNS = "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="<" + TURNS),
    max_size=30,
)
texts = st.one_of(words, st.sampled_from(['他说："好，行"。', "a,b;c", '""', "\\n", "，", "😀㐂", "'", "a|b", "<5"]))
labels = st.text("春游湿地公园大巴AI 2.0", min_size=1, max_size=12).map(lambda s: " ".join(s.split())).filter(bool)


@st.composite
def meetings(draw: st.DrawFn, key: str) -> Meeting:
    said = draw(st.lists(st.builds(Sentence, texts, texts), min_size=0, max_size=6))
    sentences = (OPENING, *said)
    last = len(sentences)
    ends = sorted(draw(st.sets(st.integers(1, last), max_size=3)) | {last})
    places = st.lists(st.integers(1, last), max_size=3).map(tuple)
    topics = tuple(
        Topic(start, end, tuple(draw(st.lists(st.builds(Candidate, labels, places), max_size=3))))
        for start, end in zip([1, *(end + 1 for end in ends)], ends, strict=False)
    )
    return Meeting(
        key,
        sentences,
        draw(st.sampled_from([(), topics])),
        tuple(sorted(draw(st.sets(st.integers(1, last))) | {last})),
        draw(st.one_of(st.none(), st.sets(st.integers(1, last)).map(lambda s: tuple(sorted(s))))),
        tuple(draw(st.lists(st.builds(Candidate, st.just(""), places, st.lists(labels).map(tuple)), max_size=3))),
    )


def as_json(meeting: Meeting) -> dict[str, Any]:
    value: dict[str, Any] = {
        "meeting_key": meeting.key,
        "sentences": [{"id": i, "speaker": s.speaker, "s": s.text} for i, s in enumerate(meeting.sentences, 1)],
        "paragraph_segment_ids": [{"id": end} for end in meeting.paragraph_ends],
        "candidate": [
            {"key_sentence": list(map(str, c.key_sentences)), "key_word": list(c.key_words)}
            for c in meeting.candidates
        ],
    }
    if meeting.topics:
        value["topic_segment_ids"] = [
            {
                "id": topic.end,
                "candidate": [
                    {"title": c.title, "key_sentence": list(map(str, c.key_sentences))} for c in topic.candidates
                ],
            }
            for topic in meeting.topics
        ]
    if meeting.action_ids is not None:
        value["action_ids"] = [{"id": place} for place in meeting.action_ids]
    return value


@dataclass(frozen=True)
class Dialect:
    """How a corpus file is written; the form is a table, JSON lines, or one JSON array."""

    form: str
    encoding: str
    delimiter: str
    quoting: int
    line_end: str
    content_first: bool
    escaped: bool
    indent: int | None
    alias: bool

    def write(self, found: list[Meeting]) -> bytes:
        values = [as_json(meeting) for meeting in found]
        if self.alias:
            values = [
                {{"sentences": "sentence_list"}.get(name, name): item for name, item in value.items()}
                for value in values
            ]
        if self.form == "array":
            text = json.dumps(values, ensure_ascii=self.escaped, indent=self.indent)
            return text.replace("\n", self.line_end).encode(self.encoding)
        if self.form == "lines":
            lines = [json.dumps(value, ensure_ascii=self.escaped) for value in values]
            return self.line_end.join([*lines, ""]).encode(self.encoding)
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter=self.delimiter, quoting=self.quoting, lineterminator=self.line_end)
        writer.writerow(["content", "idx"] if self.content_first else ["idx", "content"])
        for number, value in enumerate(values):
            cell = json.dumps(value, ensure_ascii=self.escaped, indent=self.indent)
            writer.writerow([cell, number] if self.content_first else [number, cell])
        return file.getvalue().encode(self.encoding)


dialects = st.builds(
    Dialect,
    st.sampled_from(["table", "table", "lines", "array"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"]),
    st.sampled_from("\t,;"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
corpora = st.integers(1, 3).flatmap(lambda n: st.tuples(*(meetings(f"M{i}") for i in range(n))).map(list))


def read(content: bytes) -> tuple[list[Meeting], Report]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.csv"
        path.write_bytes(content)
        report = Report()
        return list(read_meetings(path, report)), report


@EXAMPLES
@given(corpora, dialects)
def test_a_random_corpus_in_any_accepted_dialect_and_encoding_reads_back_equal(found, dialect):
    back, report = read(dialect.write(found))
    assert back == found
    assert report.rejected == []


@EXAMPLES
@given(st.text('"\t{} \ra7', max_size=12), st.sampled_from(["0\t", '"0"\t', '"0\t', "\t", "x\t", '0\t"']))
def test_a_line_is_read_as_the_csv_module_reads_it(text, start):
    line = f'{start}"{text}"\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.csv"
        path.write_text(f"idx\tcontent\n{line}", encoding="utf-8", newline="")
        rows = list(read_rows(path, Report()))
    cells = [cells for cells in csv.reader(io.StringIO(line, newline=""), delimiter="\t") if any(cells)]
    assert len(rows) == len(cells)
    for row, found in zip(rows, cells, strict=True):
        if isinstance(row, Rejected):
            assert len(found) < 2
        elif len(found) == 2:
            assert row.content.decode() == found[1]


def damaged(content: bytes, data: st.DataObject, times: int) -> bytes:
    damage = bytearray(content)
    for _ in range(times):
        if not damage:
            break
        place = data.draw(st.integers(0, len(damage) - 1), "place")
        kind = data.draw(st.sampled_from(["change", "insert", "remove", "cut"]), "kind")
        byte = data.draw(st.integers(0, 255), "byte")
        if kind == "change":
            damage[place] = byte
        elif kind == "insert":
            damage.insert(place, byte)
        elif kind == "remove":
            del damage[place]
        elif place:
            del damage[place:]
    return bytes(damage)


def repeated(report: Report) -> int:
    return sum(count for kind, (count, _) in report.warnings.items() if kind.en == "meeting repeated, one copy kept")


@EXAMPLES
@given(corpora, dialects, st.data())
def test_random_damage_is_never_a_crash_and_never_a_silent_loss(found, dialect, data):
    # In wide encodings two bytes, one too many and one too few, make other letters of all between them, line ends and
    # quotes too; where both fall into texts, what comes out is a meeting like any other.
    most = 1 if dialect.encoding.startswith(("utf-16", "utf-32")) else 4
    given = damaged(dialect.write(found), data, data.draw(st.integers(1, most), "damages"))
    try:
        back, report = read(given)
    except InputError as error:
        assert error.message.zh and "\n" not in error.message.zh + error.message.en
        return
    assert len(back) >= begun(given, dialect, found) or report.rejected or repeated(report)


@EXAMPLES
@given(corpora, dialects, st.data())
def test_after_one_damage_the_meetings_read_and_named_are_all_that_were_written(found, dialect, data):
    given = damaged(dialect.write(found), data, 1)
    try:
        back, report = read(given)
    except InputError:
        return
    named = sum(rejected.meetings for rejected in report.rejected) + repeated(report)
    assert len(back) + named >= begun(given, dialect, found)


def begun(given: bytes, dialect: Dialect, found: list[Meeting]) -> int:
    """Return how many meetings begin in a file that may be cut: one cut between rows can't be told from a whole."""
    if dialect.form == "array":
        return len(found)
    few = 20  # bytes that damage may have added or taken, and a row's number before its content
    return sum(len(given) > len(dialect.write(found[:number])) + few for number in range(len(found)))
