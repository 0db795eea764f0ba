r"""Corpus files -> `Meeting`, one at a time: a row that can't be read is reported, never dropped in silence.

The corpus's own form is a table of two columns, one meeting's JSON a row::

    idx<TAB>content
    0<TAB>"{""meeting_key"": ""M0115"", ""sentences"": [{""id"": 1, ""speaker"": ""no.0"", ""s"": ""大家好。""}, …],
           ""topic_segment_ids"": [{""id"": 79, ""candidate"": [{""title"": …, ""key_sentence"": [""4"", …]}]}, …],
           ""paragraph_segment_ids"": [{""id"": 5}, …], ""action_ids"": [{""id"": 715}],
           ""candidate"": [{""key_word"": [""洗发水"", …], ""key_sentence"": [""4"", ""80""]}]}"

A topic's id is its last sentence. Spreadsheets rewrite such files, so the encoding is found out (UTF-8, UTF-16 by
its mark, GB18030), and so is the delimiter (from the header line). JSONL, one meeting a line, is read too.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from mug.errors import InputError, Message
from mug.meeting import Candidate, Meeting, Sentence, Topic

EXCEL_CELL_LIMIT = 32767
_FIELDS = itemgetter("id", "speaker", "s")
_BLANK_CELLS = {"", "na", "n/a", "nan", "null", "none", "无", "[]", "{}"}
_SURROGATE = re.compile("[\ud800-\udfff]")
# What ends a line for some reader (a prompt has one line a sentence), and the controls that no transcript means.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# <|im_end|> in a transcript would be read as the token that ends a turn, and what follows as another speaker's prompt.
# Its two halves are undone apart, since prompts join sentences and could put a divided token together again.
_TOKEN_EDGE = re.compile(r"<\||\|>")
_ROW_START = re.compile(r'\n\d+[\t,;]"?\{')
_HEAD = 4 << 20  # bytes looked at to find the encoding


@dataclass(frozen=True)
class Rejected:
    """A row that gave no meeting: its number (the header is row 1), the meeting if it is known, and why."""

    row: int
    meeting: str
    reason: Message


@dataclass
class Report:
    """What was met while a file was read.

    ``fraction`` is how much of the file was read, from 0 to 1. ``warnings`` maps a kind of repair to how often it was
    made and where it was made first.
    """

    path: str = ""
    encoding: str = ""
    meetings: int = 0
    fraction: float = 0.0
    rejected: list[Rejected] = field(default_factory=list)
    warnings: dict[Message, tuple[int, str]] = field(default_factory=dict)

    def warn(self, kind: Message, where: str) -> None:
        """Count one repair of ``kind``."""
        count, first = self.warnings.get(kind, (0, where))
        self.warnings[kind] = (count + 1, first)


def read_meetings(path: str | Path, report: Report, *, times: bool = True) -> Iterator[Meeting]:
    """Yield the meetings of a corpus file in order; what was repaired or rejected goes into ``report``.

    Only one row is held at a time, so memory does not grow with the file. Without ``times`` the sentences' start and
    end stay None, which saves a quarter of the time for those who do not look at them.

    Raises:
        InputError: no such file, an encoding that is none of the known ones, no ``content`` column, or the same
            meeting key twice with different content.
    """
    path = Path(path)
    report.path = str(path)
    report.encoding = _encoding(path)
    seen: dict[str, int] = {}
    size = path.stat().st_size
    with path.open(encoding=report.encoding, newline="") as file:
        cells = _cells(path, file, report)
        while True:
            try:
                row, cell = next(cells)
            except StopIteration:
                return
            except UnicodeDecodeError:  # past the part that told the encoding
                raise _undecodable(path, report.encoding) from None
            except csv.Error as error:
                read = report.meetings + len(report.rejected)
                raise InputError(
                    f"{path} 在第 {read} 场会议之后不是合法的表格（{error}）；请重新下载。",
                    f"{path} is no table after its first {read} meetings ({error}); download it again.",
                ) from None
            try:
                meeting = parse_meeting(_load(cell), report, row, times=times)
            except _Unreadable as error:
                report.rejected.append(Rejected(row, error.meeting, error.reason))
                continue
            report.fraction = file.buffer.tell() / size  # type: ignore[attr-defined]
            digest = hash(cell)
            if meeting.key in seen:
                if seen[meeting.key] != digest:
                    raise InputError(
                        f"{path} 第 {row} 行：会议 {meeting.key} 出现两次而内容不同；请改名或删去其中一个。",
                        f"{path} row {row}: meeting {meeting.key} stands twice with different content; rename or "
                        "remove one.",
                    )
                report.warn(Message("重复的会议，只留一份", "meeting repeated, one copy kept"), meeting.key)
                continue
            seen[meeting.key] = digest
            report.meetings += 1
            yield meeting


class _Unreadable(Exception):
    def __init__(self, zh: str, en: str, meeting: str = "") -> None:
        super().__init__(zh)
        self.reason = Message(zh, en)
        self.meeting = meeting


# ---------------------------------------------------------------------------------------------- file -> cells


def _encoding(path: Path) -> str:
    """Name the encoding by trying; guessing by statistics takes short GBK for other things."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError(
            f"打不开语料文件 {path}（{error.strerror}）；请先运行 scripts/download_data.py，或检查路径。",
            f"Can't open the corpus file {path} ({error.strerror}); run scripts/download_data.py, or check the path.",
        ) from None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    elif head.startswith(codecs.BOM_UTF8):
        candidates = ["utf-8-sig"]
    else:
        candidates = ["utf-8", "gb18030"]
    for encoding in candidates:
        try:
            # An incremental decoder leaves a character that the end of the head cuts in two alone.
            codecs.getincrementaldecoder(encoding)("strict").decode(head, final=len(head) < _HEAD)
        except UnicodeDecodeError:
            continue
        return encoding
    raise _undecodable(path, " / ".join(candidates))


def _undecodable(path: Path, encodings: str) -> InputError:
    return InputError(
        f"{path} 的编码不是 {encodings}，或文件已损坏；请另存为 UTF-8 后重试。",
        f"{path} is not {encodings}, or it is damaged; save it as UTF-8 and try again.",
    )


def _cells(path: Path, file: Any, report: Report) -> Iterator[tuple[int, str]]:
    """Yield (row number, cell with a meeting's JSON); rows too short are rejected here."""
    csv.field_size_limit(1 << 31)
    header = file.readline()
    while header and not header.strip():
        header = file.readline()
    if not header:
        raise InputError(f"{path} 是空文件；请重新下载。", f"{path} is empty; download it again.")
    if header.lstrip().startswith("{"):
        yield from ((row, line.strip()) for row, line in enumerate(chain([header], file), 1) if line.strip())
        return
    # The header alone decides: the cells are full of commas and quotes.
    delimiter = max("\t,;", key=header.count)
    columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter))]
    if "content" not in columns:
        shown = [name[:30] for name in columns[:10]]  # without a header line the first row stands here
        raise InputError(
            f"{path} 没有 content 列（找到的列：{', '.join(shown)}）；语料的表头应为 idx 与 content，以制表符分隔。",
            f"{path} has no content column (found: {', '.join(shown)}); the header should be idx<TAB>content.",
        )
    place = columns.index("content")
    for row, cells in enumerate(csv.reader(file, delimiter=delimiter), 2):
        if not any(cells):
            continue
        if len(cells) <= place:
            reason = Message(f"只有 {len(cells)} 列", f"has only {len(cells)} columns")
            report.rejected.append(Rejected(row, "", reason))
            continue
        if len(cells) > len(columns) and delimiter == "\t" and cells[place][:1] == "{":
            yield row, delimiter.join(cells[place : len(cells) - (len(columns) - 1 - place)])  # unquoted, tab inside
            continue
        yield row, cells[place]


def _load(cell: str) -> dict[str, Any]:
    if len(cell) < 16 and cell.strip().lower() in _BLANK_CELLS:
        raise _Unreadable(f"内容为空（{cell.strip()!r}）", f"content is blank ({cell.strip()!r})")
    try:
        value = orjson.loads(cell)  # about twice as fast as json, and stricter: what it refuses goes the slow way
    except ValueError:
        value = _load_leniently(cell)
    if not isinstance(value, dict):
        raise _Unreadable(f"内容是 {type(value).__name__}，不是一个会议", f"content is a {type(value).__name__}")
    return value


def _load_leniently(cell: str) -> Any:
    """Read JSON with raw tabs and line breaks inside strings, or with half a character in an escape."""
    try:
        return json.loads(cell, strict=False)
    except (ValueError, RecursionError) as error:
        if len(cell.encode("utf-16-le", "surrogatepass")) // 2 == EXCEL_CELL_LIMIT:  # Excel counts an emoji as two
            raise _Unreadable(
                f"内容恰为 {EXCEL_CELL_LIMIT} 个字符，可能被 Excel 截断",
                f"content is exactly {EXCEL_CELL_LIMIT} characters, possibly cut by Excel",
            ) from None
        # A quote that was never closed makes csv take the following rows for a part of this cell.
        if swallowed := len(_ROW_START.findall(cell)):
            raise _Unreadable(
                f"引号没有配对，后面 {swallowed} 行被并入这一行；请修好这一行",
                f"a quote is not closed, so {swallowed} following rows run into this one; mend this row",
            ) from None
        raise _Unreadable(f"不是合法的 JSON（{error}）", f"not valid JSON ({error})") from None


# ---------------------------------------------------------------------------------------------- JSON -> Meeting


def parse_meeting(value: dict[str, Any], report: Report, row: int, *, times: bool = True) -> Meeting:
    """Turn one meeting's JSON object into a `Meeting`; repairs are counted in ``report``.

    Raises:
        _Unreadable: the meeting has no usable sentences, or labels that can't be mapped to them.
    """
    # The file's name in place of a key, or nameless rows of train and dev would pass for one meeting.
    key = _text(str(value.get("meeting_key") or value.get("meeting_id") or "")) or f"{Path(report.path).stem}-{row}"
    sentences, place_of = _sentences(key, value, report, times)
    last = len(sentences)

    def place(label: Any, what: str) -> int | None:
        """Map an id of the file to a place; None (and a warning) when nothing has that id."""
        if isinstance(label, dict):
            label = label.get("id")
        number = label if type(label) is int else _integer(label)
        found = None if number is None else place_of.get(number)
        if found is None:
            report.warn(Message(f"{what} 指向不存在的句子", f"{what} points to no sentence"), f"{key}: {label}")
        return found

    def places(what: str, labels: list[Any]) -> set[int]:
        """Map a list of ``{"id": 5}``; there are hundreds a meeting, nearly always all as they should be."""
        try:
            return {place_of[item["id"]] for item in labels}
        except (KeyError, TypeError):
            return {found for item in labels if (found := place(item, what))}

    paragraphs = value.get("paragraph_segment_ids") or value.get("org_segment_id")
    paragraph_ends = places("paragraph_segment_ids", _list(paragraphs)) | {last}
    action_ids = value.get("action_ids")
    return Meeting(
        key=key,
        sentences=tuple(sentences),
        topics=_topics(key, value.get("topic_segment_ids"), place_of, last, paragraph_ends, place, report),
        paragraph_ends=tuple(sorted(paragraph_ends)),
        action_ids=None if action_ids is None else tuple(sorted(places("action_ids", _list(action_ids)))),
        candidates=_candidates(value.get("candidate"), place),
    )


def _sentences(key: str, value: dict[str, Any], report: Report, times: bool) -> tuple[list[Sentence], dict[int, int]]:
    """Return the sentences and the map from the file's ids to places."""
    raw = value.get("sentences")
    if raw is None:
        raw = value.get("sentence_list")  # the name that the first README of this road used
    if not isinstance(raw, list) or not raw:
        raise _Unreadable(f"会议 {key} 没有 sentences", f"meeting {key} has no sentences", key)
    try:
        columns = list(zip(*map(_FIELDS, raw), strict=True))
    except (TypeError, KeyError):
        columns = _fields_one_by_one(key, raw)
    ids, speakers, texts = map(list, columns)
    if set(map(type, texts)) | set(map(type, speakers)) != {str}:
        report.warn(Message("句子或说话人不是文字，已转成文字", "text or speaker is no string, converted"), key)
        texts, speakers = (["" if v is None else str(v) for v in values] for values in (texts, speakers))
    starts, ends = (_times(raw, name) if times else [None] * len(raw) for name in ("start_time", "end_time"))
    texts, speakers = _clean(key, texts, report), _clean(key, speakers, report)
    sentences = list(map(Sentence, speakers, texts, starts, ends))

    count = len(ids)
    if ids != list(range(1, count + 1)):
        numbers = [_integer(label) for label in ids]
        if None in numbers or len(set(numbers)) < count:
            raise _Unreadable(
                f"会议 {key} 的句子 id 有重复或不是整数", f"meeting {key}: sentence ids repeat or are no integers", key
            )
        ids = [number for number in numbers if number is not None]
        if ids != list(range(1, count + 1)):
            report.warn(Message("句子 id 不是 1 到 n，已重新编号", "sentence ids are not 1 to n, renumbered"), key)
    return sentences, dict(zip(ids, range(1, count + 1), strict=True))


def _fields_one_by_one(key: str, raw: list[Any]) -> list[tuple[Any, ...]]:
    """Return ids, speakers and texts where some sentence lacks a speaker or a text."""
    try:
        return list(zip(*((s["id"], s.get("speaker"), s.get("s")) for s in raw), strict=True))
    except (TypeError, KeyError, AttributeError):
        raise _Unreadable(
            f"会议 {key} 的 sentences 里有的句子不是带 id 的对象",
            f"meeting {key}: a sentence is no object with an id",
            key,
        ) from None


def _clean(key: str, texts: list[str], report: Report) -> list[str]:
    """Make text that can be written, stays on its line and is only text to a model."""
    joined = "".join(texts)
    if joined.isprintable() and "<|" not in joined and "|>" not in joined:  # nearly always, and quick to say
        return texts
    if _SURROGATE.search(joined):
        report.warn(Message("残缺的字符（半个 emoji），已换成 U+FFFD", "half a character, replaced by U+FFFD"), key)
        texts = [_SURROGATE.sub("\ufffd", text) for text in texts]
    if _CONTROL.search(joined):
        report.warn(Message("换行或控制字符，已换成空格", "line break or control character, replaced by a space"), key)
        texts = [_CONTROL.sub(" ", text) for text in texts]
    if _TOKEN_EDGE.search(joined):
        report.warn(
            Message(
                "对话模板的标记（如 <|im_end|>），竖线已换成全角", "a chat template's token, bars made full-width"
            ),
            key,
        )
        texts = [_undone(text) for text in texts]
    return texts


def _topics(
    key: str, raw: Any, place_of: dict[int, int], last: int, paragraph_ends: set[int], place: Any, report: Report
) -> tuple[Topic, ...]:
    """Topics in order that cover the meeting, as the official reader has it: none is one, the last is stretched."""
    if raw is None:
        return ()
    largest = max(place_of)
    found: list[tuple[int, Any]] = []
    for item in _list(raw):
        label = _integer(item.get("id") if isinstance(item, dict) else item)
        if label is None:
            report.warn(Message("主题没有可用的 id，已略去", "topic without a usable id, left out"), key)
            continue
        end = place_of.get(label)
        if end is None:
            # Past the end, or in a gap of the numbering: the nearest sentence before it.
            end = last if label > largest else max((p for i, p in place_of.items() if i < label), default=0)
            report.warn(
                Message("主题结尾不是句子 id，已移到最近的句子", "topic end is no sentence, moved"), f"{key}: {label}"
            )
        if end:
            found.append((end, item))
    if [end for end, _ in found] != sorted(end for end, _ in found):
        report.warn(Message("主题次序颠倒，已排序", "topics out of order, sorted"), key)
        found.sort(key=lambda pair: pair[0])
    if not found:
        return (Topic(1, last),)
    if found[-1][0] < last:
        report.warn(Message("最后一个主题没到会议结尾，已延长", "last topic stretched to the meeting's end"), key)
        found[-1] = (last, found[-1][1])
    topics: list[Topic] = []
    for end, item in found:
        start = topics[-1].end + 1 if topics else 1
        if end < start:
            report.warn(
                Message("两个主题的结尾相同，已略去后一个", "two topics end together, the later one left out"),
                f"{key}: {end}",
            )
            continue
        if end not in paragraph_ends:
            report.warn(
                Message("主题结尾不在段落结尾，官方评分会忽略它", "topic end is no paragraph end"), f"{key}: {end}"
            )
        candidates = _candidates(item.get("candidate") if isinstance(item, dict) else None, place)
        if any(not start <= chosen <= end for candidate in candidates for chosen in candidate.key_sentences):
            kind = Message(
                "关键句在主题之外，不进入训练目标", "key sentence outside its topic, kept out of training targets"
            )
            report.warn(kind, f"{key}: {end}")
        topics.append(Topic(start, end, candidates))
    return tuple(topics)


def _candidates(raw: Any, place: Any) -> tuple[Candidate, ...]:
    """Return one Candidate an annotator, blank ones included, so that annotator 2 stays annotator 2."""
    return tuple(
        Candidate(
            title=_text(item.get("title")),
            key_sentences=tuple(
                found for label in _list(item.get("key_sentence")) if (found := place(label, "key_sentence"))
            ),
            key_words=tuple(word for label in _list(item.get("key_word")) if (word := _text(label))),
        )
        for item in _list(raw)
        if isinstance(item, dict)
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return _undone(_SURROGATE.sub("\ufffd", " ".join(value.split())))


def _undone(text: str) -> str:
    return _TOKEN_EDGE.sub(lambda edge: edge.group().replace("|", "｜"), text)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _integer(value: Any) -> int | None:
    if type(value) is int:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def _times(raw: list[dict[str, Any]], name: str) -> list[float | None]:
    """Return a time of each sentence in seconds; None where it is missing or no number."""
    return [_seconds(item.get(name)) for item in raw]


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) else None


def read_gold(path: str | Path) -> list[Meeting]:
    """Return all meetings of a file that is scored against.

    Raises:
        InputError: as `read_meetings`, and for any rejected row, which would make every score a different one.
    """
    report = Report()
    meetings = list(read_meetings(path, report, times=False))
    if report.rejected:
        first = report.rejected[0]
        raise InputError(
            f"{path} 第 {first.row} 行读不了（{first.reason.zh}）；评分需要完整的标准答案，请先修正。",
            f"{path} row {first.row} can't be read ({first.reason.say('en')}); scoring needs all gold meetings, "
            "mend it first.",
        )
    return meetings
