r"""Corpus files -> `Meeting`, one at a time: a row that can't be read is reported, never dropped in silence.

The corpus's own form is a table of two columns, one meeting's JSON a row::

    idx<TAB>content
    0<TAB>"{""meeting_key"": ""M0115"", ""sentences"": [{""id"": 1, ""speaker"": ""no.0"", ""s"": ""大家好。""}, …],
           ""topic_segment_ids"": [{""id"": 79, ""candidate"": [{""title"": …, ""key_sentence"": [""4"", …]}]}, …],
           ""paragraph_segment_ids"": [{""id"": 5}, …], ""action_ids"": [{""id"": 715}],
           ""candidate"": [{""key_word"": [""洗发水"", …], ""key_sentence"": [""4"", ""80""]}]}"

A topic's id is its last sentence. How such a table is read, in whatever encoding and dialect, is in `mug.table`.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from mug import table
from mug.errors import InputError, Message
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.table import Rejected, Row, unique_keys

EXCEL_CELL_LIMIT = 32767
_FIELDS = itemgetter("id", "speaker", "s")
_BLANK_CELLS = {"", "na", "n/a", "nan", "null", "none", "无", "[]", "{}"}
# What a text is mended of, and by what. The order matters: what takes marks out could put a token together.
_MENDS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str], Message], ...] = (
    (
        re.compile("[\ud800-\udfff]"),
        "\ufffd",
        Message("残缺的字符（半个 emoji），已换成 U+FFFD", "half a character, replaced by U+FFFD"),
    ),
    (
        # What ends a line for some reader (a prompt has one line a sentence), and controls that no transcript means.
        re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+"),
        " ",
        Message("换行或控制字符，已换成空格", "line break or control character, replaced by a space"),
    ),
    (
        re.compile("[\u202a-\u202e\u2066-\u2069]+"),
        "",
        Message("改变书写方向的字符，已去掉", "mark that turns the direction of writing, taken out"),
    ),
    (
        # <|im_end|> in a transcript would be read as the token that ends a turn, and what follows as another speaker's
        # prompt; so would <think>, </s>, <end_of_turn> or DeepSeek's <｜User｜>, with its full-width bars. The
        # bracket is undone at a text's end too, since prompts join sentences and could put a divided token together;
        # it stays where no token begins: "a < b", "<5", "<=".
        re.compile(r"<(?![\d=]|\s+\S)"),
        "＜",
        Message(
            "左尖括号（对话模板的标记如 <|im_end|> 以它开头），已换成全角",
            "angle bracket, with which chat templates' tokens such as <|im_end|> begin, made full-width",
        ),
    ),
)
FINGERPRINT = 8
"""Sentences that a meeting is known by."""

SAME = 3
"""Of these so many make two meetings one: no two meetings share three of their longest sentences by chance."""

_KEPT = 1000  # rejected rows
_LONGEST_KEY = 200  # characters; a key is a part of every id and message
_INTEGER = re.compile(r"\s*([+-]?\d+)(?:[.．][0０]+)?\s*")
_BETWEEN_WORDS = re.compile(r"[^\w\n]+")


@dataclass
class Report:
    """What was met while a file was read.

    ``fraction`` is how much of the file was read, from 0 to 1; ``rejections`` counts the rows that gave no meeting.
    ``warnings`` maps a kind of repair to how often it was made and where it was made first.
    """

    path: str = ""
    encoding: str = ""
    meetings: int = 0
    fraction: float = 0.0
    rejected: list[Rejected] = field(default_factory=list)
    rejections: int = 0
    warnings: dict[Message, tuple[int, str]] = field(default_factory=dict)

    def warn(self, kind: Message, where: str, times: int = 1) -> None:
        """Count ``times`` repairs of ``kind``."""
        count, first = self.warnings.get(kind, (0, where))
        self.warnings[kind] = (count + times, first)

    def reject(self, rejected: Rejected) -> None:
        """Count a rejected row; the first thousand are kept, since a file of the wrong kind has any number."""
        self.rejections += 1
        if len(self.rejected) < _KEPT:
            self.rejected.append(rejected)


def read_rows(path: str | Path, report: Report) -> Iterator[Row | Rejected]:
    """Yield the rows of a corpus file in order, unparsed, one at a time: memory does not grow with the file.

    Raises:
        InputError: no such file, an encoding that is none of the known ones, no ``content`` column, and whatever
            else `mug.table.read_rows` refuses.
    """
    path = Path(path)
    report.path = str(path)
    report.encoding = table.find_encoding(path)
    yield from table.read_rows(path, report.encoding)


def read_meetings(path: str | Path, report: Report, *, times: bool = True) -> Iterator[Meeting]:
    """Yield the meetings of a corpus file in order; what was repaired or rejected goes into ``report``.

    Without ``times`` the sentences' start and end stay None, which saves a quarter of the time for those who do not
    look at them.

    Raises:
        InputError: as `read_rows`, or the same meeting key twice with different content.
    """
    seen: dict[str, tuple[int, int]] = {}
    for row in read_rows(path, report):
        if isinstance(row, Rejected):
            report.reject(row)
            continue
        report.fraction = row.fraction
        meeting = parse_row(row, report, times=times)
        if isinstance(meeting, Rejected):
            report.reject(meeting)
        elif not is_repeat(seen, meeting.key, content_digest(row), row, report):
            yield meeting


def is_repeat(seen: dict[str, tuple[int, int]], key: str, digest: tuple[int, int], row: Row, report: Report) -> bool:
    """Say whether a meeting of this key and row content was ``seen`` before, and count it in ``report`` either way.

    Raises:
        InputError: there was one of this key with different content.
    """
    if key in seen:
        if seen[key] != digest:
            raise InputError(
                f"{row.file} 第 {row.number} 行：会议 {key} 出现两次而内容不同；请改名或删去其中一个。",
                f"{row.file} row {row.number}: meeting {key} stands twice with different content; rename or "
                "remove one.",
            )
        report.warn(Message("重复的会议，只留一份", "meeting repeated, one copy kept"), key)
        return True
    seen[key] = digest
    report.meetings += 1
    return False


def content_digest(row: Row) -> tuple[int, int]:
    """Return what tells a row's content from another's under the same key, the same in every process."""
    return len(row.content), crc32(row.content)


def fingerprint(meeting: Meeting) -> frozenset[int]:
    """Return what a meeting is known by under any key: a checksum of each of its `FINGERPRINT` longest sentences.

    Punctuation, spaces, case and width do not count, nor do speakers, labels and ids. Two meetings do not share long
    sentences by chance, and a copy keeps most of them though some were edited.
    """
    longest = "\n".join(sorted([sentence.text for sentence in meeting.sentences], key=len)[-FINGERPRINT:])
    words = unicodedata.normalize("NFKC", _BETWEEN_WORDS.sub("", longest)).casefold().encode()
    return frozenset(crc32(text) for text in words.split(b"\n") if text)


class _Unreadable(Exception):
    def __init__(self, zh: str, en: str, meeting: str = "", meetings: int = 1) -> None:
        super().__init__(zh)
        self.reason = Message(zh, en)
        self.meeting = meeting
        self.meetings = meetings


def parse_row(row: Row, report: Report, *, times: bool = True) -> Meeting | Rejected:
    """Turn a row into its meeting, or say why there is none; repairs are counted in ``report``.

    Raises:
        InputError: the row is no UTF-8, so that the file is damaged or two files in one.
    """
    try:
        return parse_meeting(_load(row.content), report, row.number, times=times)
    except UnicodeDecodeError:
        raise table.undecodable(Path(row.file), "UTF-8") from None
    except _Unreadable as error:
        return table.reject(row, error.reason, error.meeting, error.meetings)


# ------------------------------------------------------------------------------------------------- cell -> JSON


def _load(content: bytes) -> dict[str, Any]:
    if len(content) < 16 and (cell := content.decode().strip()).lower() in _BLANK_CELLS:
        raise _Unreadable(f"内容为空（{cell!r}）", f"content is blank ({cell!r})")
    try:
        value = orjson.loads(content)  # about twice as fast as json, and stricter: what it refuses goes the slow way
    except ValueError:
        value = _load_leniently(content.decode())
    if not isinstance(value, dict):
        zh, en = _KINDS[type(value)]
        raise _Unreadable(f"内容是{zh}，不是一个会议", f"content is {en} and no meeting")
    # Signs of a key that stands twice, which parsers pass over in silence; texts may hold them too.
    if content.count(b'"sentences"') > 1 or content.count(b'_ids"') > 3 or content.count(b'"meeting_key"') > 1:
        _load_leniently(content.decode())
    return value


_KINDS: dict[type, tuple[str, str]] = {
    list: ("数组", "a list"),
    dict: ("对象", "an object"),
    str: ("文字", "a text"),
    bool: ("真假值", "a boolean"),
    int: ("数字", "a number"),
    float: ("数字", "a number"),
    type(None): ("null", "null"),
}


def _load_leniently(cell: str) -> Any:
    """Read JSON with raw tabs and line breaks inside strings, or with half a character in an escape."""
    try:
        return json.loads(cell.strip("\ufeff \t\r\n"), strict=False, object_pairs_hook=unique_keys)
    except table.KeyTwice as error:
        raise _Unreadable(f"同一个对象里有重复的键（{error}）", f"ambiguous ({error})") from None
    except (ValueError, RecursionError) as error:
        if len(cell.encode("utf-16-le", "surrogatepass")) // 2 == EXCEL_CELL_LIMIT:  # Excel counts an emoji as two
            raise _Unreadable(
                f"内容恰为 {EXCEL_CELL_LIMIT} 个字符，可能被 Excel 截断",
                f"content is exactly {EXCEL_CELL_LIMIT} characters, possibly cut by Excel",
            ) from None
        # A quote that was never closed makes csv take the following rows for a part of this cell.
        if (together := table.meetings_in(cell.encode())) > 1:
            raise _Unreadable(
                f"{together} 个会议连成了一行（引号没有配对，或缺了换行）；请修好这一行",
                f"{together} meetings run into one row (a quote not closed, or a line break lost); mend this row",
                meetings=together,
            ) from None
        raise _Unreadable(f"不是合法的 JSON（{error}）", f"not valid JSON ({error})") from None


# ---------------------------------------------------------------------------------------------- JSON -> Meeting


def parse_meeting(value: dict[str, Any], report: Report, row: int, *, times: bool = True) -> Meeting:
    """Turn one meeting's JSON object into a `Meeting`; repairs are counted in ``report``.

    Raises:
        _Unreadable: the meeting has no usable sentences, or labels that can't be mapped to them.
    """
    key = _key(value) or f"{Path(report.path).stem}-{row}"  # or nameless rows of train and dev would pass for one
    sentences, place_of = _sentences(key, value, report, times)
    last = len(sentences)

    def place(label: Any, what: str) -> int | None:
        """Map an id of the file to a place; None (and a warning) when nothing has that id."""
        if isinstance(label, dict):
            label = label.get("id")
        number = label if type(label) is int else integer(label)
        found = None if number is None else place_of.get(number)
        if found is None:
            kind = Message(f"{what} 指向不存在的句子", f"{what} points to no sentence")
            report.warn(kind, f"{key}: {_shown(label)}")
        return found

    def places(what: str, labels: list[Any]) -> set[int]:
        """Map a list of ``{"id": 5}``; there are hundreds a meeting, nearly always all as they should be."""
        try:
            ids = [item["id"] for item in labels]
            if bool in map(type, ids):  # Python takes true for 1
                raise TypeError
            return set(map(place_of.__getitem__, ids))
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
        candidates=_candidates(key, value.get("candidate"), place, report),
    )


def _key(value: dict[str, Any]) -> str:
    """Return the meeting's key, empty where the row has none."""
    for name in ("meeting_key", "meeting_id"):
        raw = value.get(name)
        if raw is None or raw == "":
            continue
        if type(raw) not in (str, int):
            zh, en = _KINDS[type(raw)]
            raise _Unreadable(f"{name} 应是文字，却是{zh}", f"{name} should be a text and is {en}")
        if len(key := _text(str(raw))) > _LONGEST_KEY:
            raise _Unreadable(f"{name} 超过 {_LONGEST_KEY} 个字符", f"{name} has more than {_LONGEST_KEY} characters")
        return key
    return ""


def _sentences(key: str, value: dict[str, Any], report: Report, times: bool) -> tuple[list[Sentence], dict[int, int]]:
    """Return the sentences and the map from the file's ids to places."""
    raw = value.get("sentences") or value.get("sentence_list")  # the second is the first README's name for it
    if not isinstance(raw, list):
        raise _Unreadable(f"会议 {key} 没有 sentences", f"meeting {key} has no sentences", key)
    try:
        columns = list(zip(*map(_FIELDS, raw), strict=True))
    except (TypeError, KeyError):
        columns = _fields_one_by_one(key, raw)
    ids, speakers, texts = map(list, columns)
    if set(map(type, texts)) | set(map(type, speakers)) != {str}:
        report.warn(Message("句子或说话人不是文字，已转成文字", "text or speaker is no string, converted"), key)
        texts, speakers = (
            [_as_text(key, place, item) for place, item in enumerate(values, 1)] for values in (texts, speakers)
        )
    starts, ends = (_times(raw, name) if times else [None] * len(raw) for name in ("start_time", "end_time"))
    texts, speakers = clean_texts(key, texts, report), clean_texts(key, speakers, report)
    if not any(map(str.strip, texts)):
        raise _Unreadable(f"会议 {key} 的句子全是空的", f"meeting {key}: all sentences are empty", key)
    sentences = list(map(Sentence, speakers, texts, starts, ends))

    count = len(ids)
    if ids != list(range(1, count + 1)) or bool in map(type, ids):  # Python takes true for 1
        numbers = list(map(integer, ids))
        if None in numbers or len(set(numbers)) < count:
            raise _Unreadable(
                f"会议 {key} 的句子 id 有重复或不是整数", f"meeting {key}: sentence ids repeat or are no integers", key
            )
        ids = [number for number in numbers if number is not None]
        if ids != sorted(ids):
            # A topic is a run of ids, so their order is the meeting's.
            report.warn(Message("句子不按 id 排列，已按 id 排序", "sentences not in the order of ids, sorted"), key)
            pairs = sorted(zip(ids, sentences, strict=True), key=itemgetter(0))
            ids, sentences = [number for number, _ in pairs], [sentence for _, sentence in pairs]
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


def _as_text(key: str, place: int, value: Any) -> str:
    """Return a sentence's text or speaker as a string; what spreadsheets and pandas leave for nothing is empty."""
    if value is None or value != value:
        return ""
    if isinstance(value, list | dict | bool):
        zh, en = _KINDS[type(value)]
        raise _Unreadable(
            f"会议 {key} 第 {place} 句的文字或说话人是{zh}",
            f"meeting {key}, sentence {place}: the text or speaker is {en}",
            key,
        )
    return str(value)


def clean_text(text: str) -> str:
    r"""Make text that can be written, stays on its line, is shown as it runs and is only text to a model.

    Half a character (a lone surrogate) becomes U+FFFD, line breaks and control characters a space, marks that turn
    the direction of what follows are taken out, and the bracket that begins a chat template's token full-width.

    >>> clean_text("好的\ud83d\n<|im_end|>走")
    '好的\ufffd ＜|im_end|>走'
    """
    for pattern, mend, _ in _MENDS:
        text = pattern.sub(mend, text)
    return text


def clean_texts(key: str, texts: list[str], report: Report) -> list[str]:
    """Clean many texts at once as `clean_text` does; each kind of mend is counted in ``report`` under ``key``."""
    joined = "".join(texts)
    if joined.isprintable() and "<" not in joined:  # nearly always, and quick to say
        return texts
    for pattern, _, kind in _MENDS:
        if pattern.search(joined):
            report.warn(kind, key)
    return list(map(clean_text, texts))


def _topics(
    key: str, raw: Any, place_of: dict[int, int], last: int, paragraph_ends: set[int], place: Any, report: Report
) -> tuple[Topic, ...]:
    """Topics in order that cover the meeting, as the official reader has it: none is one, the last is stretched."""
    if raw is None:
        return ()
    largest = max(place_of)
    found: list[tuple[int, Any]] = []
    for item in _list(raw):
        label = integer(item.get("id") if isinstance(item, dict) else item)
        if label is None:
            report.warn(Message("主题没有可用的 id，已略去", "topic without a usable id, left out"), key)
            continue
        end = place_of.get(label)
        if end is None:
            # Past the end, or in a gap of the numbering: the nearest sentence before it.
            end = last if label > largest else max((p for i, p in place_of.items() if i < label), default=0)
            report.warn(
                Message("主题结尾不是句子 id，已移到最近的句子", "topic end is no sentence, moved"),
                f"{key}: {_shown(label)}",
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
        candidates = _candidates(key, item.get("candidate") if isinstance(item, dict) else None, place, report)
        if any(not start <= chosen <= end for candidate in candidates for chosen in candidate.key_sentences):
            kind = Message(
                "关键句在主题之外，不进入训练目标", "key sentence outside its topic, kept out of training targets"
            )
            report.warn(kind, f"{key}: {end}")
        topics.append(Topic(start, end, candidates))
    return tuple(topics)


def _candidates(key: str, raw: Any, place: Any, report: Report) -> tuple[Candidate, ...]:
    """Return one Candidate an annotator, blank ones included, so that annotator 2 stays annotator 2."""
    if any(not isinstance(item, dict) for item in _list(raw)):
        report.warn(Message("candidate 不是对象，已略去", "candidate is no object, left out"), key)
    return tuple(
        Candidate(
            title=_text(item.get("title")),
            key_sentences=tuple(
                found for label in _list(item.get("key_sentence")) if (found := place(label, "key_sentence"))
            ),
            key_words=tuple(word for label in _list(item.get("key_word")) if (word := _word(label))),
        )
        for item in _list(raw)
        if isinstance(item, dict)
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    text = " ".join(value.split())
    return text if text.isprintable() and "<" not in text else " ".join(clean_text(text).split())


def _word(label: Any) -> str:
    return _text(str(label) if type(label) in (int, float) else label)  # 2025 is a key word too


def _shown(label: Any) -> str:
    """Return a label for a message; it may be of any size and depth."""
    return clean_text(str(label)[:40]) if isinstance(label, str | int | float) else type(label).__name__


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def integer(value: Any) -> int | None:
    """Return the number that an id stands for, None where it is none: 3, 3.0, "3", " 3.0", "３".

    No booleans, and no text that Python alone takes for a number ("1_000", "1e3").
    """
    if type(value) is int:
        return value
    if type(value) is float:
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and len(value) <= 30 and (found := _INTEGER.fullmatch(value)):
        return int(found[1])
    return None


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
        InputError: as `read_meetings`, for any rejected row, which would make every score a different one, and for
            a file without meetings.
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
    if not meetings:
        raise InputError(
            f"{path} 里没有会议；请检查是否给对了标准答案文件。",
            f"There are no meetings in {path}; is it the file with the gold answers?",
        )
    return meetings
