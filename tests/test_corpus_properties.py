"""Random meetings in every accepted dialect read back equal; random damage is never a crash or a silent loss."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mug.corpus import Report, read_meetings
from mug.errors import InputError
from mug.meeting import Candidate, Meeting, Sentence, Topic

# The same examples in every run: a rare find should not stop somebody's other work.
EXAMPLES = settings(max_examples=1000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
# Long enough that its GB18030 bytes are no UTF-8; what is shorter can honestly be taken for the other.
OPENING = Sentence("主持人", "我们今天讨论春游的地点和时间，先请大家说说自己的想法。")

# Everything that stays as it is: no control characters (they become spaces), no halves of characters, no edges of a
# chat template's token (they become full-width).
words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="|"), max_size=30
)
texts = st.one_of(words, st.sampled_from(['他说："好，行"。', "a,b;c", '""', "\\n", "，", "😀㐂", "'", "a|b"]))
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
    encoding: str
    delimiter: str
    quoting: int
    line_end: str
    content_first: bool
    escaped: bool
    indent: int | None

    def write(self, found: list[Meeting]) -> bytes:
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter=self.delimiter, quoting=self.quoting, lineterminator=self.line_end)
        writer.writerow(["content", "idx"] if self.content_first else ["idx", "content"])
        for number, meeting in enumerate(found):
            cell = json.dumps(as_json(meeting), ensure_ascii=self.escaped, indent=self.indent)
            writer.writerow([cell, number] if self.content_first else [number, cell])
        return file.getvalue().encode(self.encoding)


dialects = st.builds(
    Dialect,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    st.sampled_from("\t,;"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 1]),
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
@given(corpora, dialects, st.data())
def test_random_damage_is_never_a_crash_and_never_a_silent_loss(found, dialect, data):
    content = bytearray(dialect.write(found))
    for _ in range(data.draw(st.integers(1, 4), "damages")):
        place = data.draw(st.integers(0, len(content) - 1), "place")
        kind = data.draw(st.sampled_from(["change", "insert", "remove"]), "kind")
        byte = data.draw(st.integers(0, 255), "byte")
        if kind == "change":
            content[place] = byte
        elif kind == "insert":
            content.insert(place, byte)
        else:
            del content[place]
    try:
        back, report = read(bytes(content))
    except InputError:
        return
    assert len(back) >= len(found) or report.rejected or report.warnings
