"""Transcripts in plain text, as meeting products export them and as people type them.

    张三(00:00:05): 先定春游地点。          腾讯会议: name, time and words on one line
    张三 00:00:05                          腾讯会议, 飞书妙记, 讯飞听见, 通义听悟, Teams: a header line,
    先定春游地点。                           and the words below it
    00:05 张三                             the same, the time first
    [00:00:05] 张三: 先定春游地点。          Zoom and recognisers: the time before each line
    张三: 先定春游地点。                     no times; also `张三：`, `[张三]: ` and `【张三】`
    说话人1                                讯飞听见 without times: a recogniser's name alone on its line
    先定春游地点。

The layout is found by counting lines of each kind, so that a sentence which looks like a header of another layout
stays a sentence. In the layout found, a header whose time does not fit in order, and whose name stands at no other
header, is a sentence too (`集合时间改到 10:30`). What stands before the first header is title, date and key words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mug.errors import Message
from mug.transcripts.clock import RANGE, before_date, date_in, seconds
from mug.transcripts.draft import Draft, Piece, likely_end, shares
from mug.transcripts.labels import GENERIC, label_lines, may_be_name

_DATE = r"(?P<day>(?:19|20)\d{2}[-/.年]\d{1,2}[-/.月]\d{1,2}日?[ T])?"
_NAME_TIME = re.compile(
    rf"(?P<name>\S.{{0,60}}?)\s{{0,20}}(?P<open>[\s(（\[【@]|(?<=[\]】])){_DATE}\s{{0,20}}{RANGE}\s*(?P<close>[)）\]】]?)"
    r"\s*(?P<colon>[:：]?)(?P<text>.*)"
)
_GENERIC_GLUED = re.compile(rf"(?P<name>{GENERIC.pattern})\s+{RANGE}\s*(?P<text>\S.*)", re.IGNORECASE)
_TIME_FIRST = re.compile(rf"[\[(（【]?{_DATE}{RANGE}[\])）】]?\s*[:：]?\s*(?P<text>.*)")
_GENERIC_ALONE = re.compile(rf"(?P<name>{GENERIC.pattern})\s*[:：]?", re.IGNORECASE)
_MARKDOWN = re.compile(r"(?:#{1,6}\s+|>\s+)?(?:\*\*(?P<bold>[^*\n]{1,80})\*\*)?")  # of a heading, of a bold name
# Lines that belong to the product and not to the meeting.
_BODY = re.compile(
    r"(?:文字记录|(?:会议)?转写(?:全文|结果|内容|文本)?|逐字稿|原文|(?:full |meeting )?transcript(?:ion)?)\s*[:：]?",
    re.I,
)
_NAMED_TITLE = re.compile(
    r"(?:会议(?:主题|名称|标题)|主题|标题|文件名|title|topic|subject|文字记录)\s*[:：]\s*(?P<title>\S.*)", re.I
)
_ABOUT = re.compile(
    r"(?:会议(?:主题|名称|标题|时间|日期|号|ID|地点|时长)|主题|标题|文件名|(?:开始|结束|录制|创建|会议)?时间|日期|时长|"
    r"关键词|参会(?:人|人员|者)|与会(?:人|人员|者)|出席(?:人|人员|者)|主持人|发起人|记录人|地点|全文(?:摘要|总结|概要)|摘要|总结|"
    r"title|topic|subject|date|time|duration|keywords|summary|attendees|participants|host|organizer)\s*(?:[:：].*)?",
    re.I,
)
_CLOCK = 7200  # seconds; a recording does not begin after two hours, so a first time above is one of the clock
_LENGTH = re.compile(r"\W*(?:\d+\s*(?:小时|分钟|分|秒|h|m|s|min|sec)\s*)+", re.I)
_BOILERPLATE = re.compile(
    r"\W*(?:以上|本|该)?.{0,6}(?:内容|文档|结果)?由\s*(?:AI|人工智能|.{0,8}智能).{0,6}生成.{0,20}|"
    r".{1,40} (?:started|stopped) transcription|(?:Transcription|Meeting) ended after .{1,30}|"
    r"This editable transcript was computer generated.*",
    re.I,
)


@dataclass(slots=True)
class _Header:
    line: int
    name: str
    start: float | None
    end: float | None
    text: str
    day: str = ""  # where the time is one of the clock and not of the recording


def read(text: str) -> Draft | None:
    """Return what a text says, None where no line names a speaker or a time."""
    return read_lines(re.split(r"\r\n|[\r\n\x0b\x0c\u2028\u2029]", text))


def read_lines(lines: Sequence[str]) -> Draft | None:
    """Return what lines say, None where no line names a speaker or a time; blank lines end paragraphs."""
    lines = [line.replace("\u00a0", " ").strip(" \t\u3000\ufeff") for line in lines]
    notes: list[Message] = []
    while lines and (not lines[-1] or _BOILERPLATE.fullmatch(lines[-1])):
        if lines.pop():
            notes.append(Message("文末的软件声明不算发言，已略去", "the software's own closing line was left out"))
    bare = list(map(_without_markdown, lines))
    layouts: list[tuple[int, Callable[[], Draft]]] = []

    named = _in_order(_headers(bare, _name_time), bare)
    inline = sum(1 for header in named if header.text)
    layouts.append((inline + 2 * (len(named) - inline), lambda: _blocks(lines, named, "TXT（说话人 时间）")))

    timed = _headers(bare, _time_first)
    filled = sum(1 for line in lines if line)
    bare_times = [header for header in timed if not header.text]
    names = [header for header in timed if _is_name(header.text)]
    first = _in_order(sorted([*bare_times, *map(_text_as_name, names)], key=lambda header: header.line), bare)
    # Where nearly every line has its time, or most of them go on with a sentence, what follows is no name.
    if len(timed) * 5 < filled * 4 and len(timed) <= len(bare_times) + 2 * len(names):
        layouts.append((2 * len(first), lambda: _blocks(lines, first, "TXT（时间 说话人）")))
    else:
        layouts.append((len(timed), lambda: _blocks(lines, timed, "TXT（时间）")))

    labelled = label_lines(bare)
    speakers = [speaker for speaker, _ in labelled if speaker]
    labels = len(speakers)
    if labels >= 6 and len(set(speakers)) == labels and not any(map(GENERIC.fullmatch, speakers)):
        labels = 0  # settings, a dictionary or a program: in a meeting of six turns somebody speaks twice
    layouts.append((labels, lambda: _labelled_lines(lines, bare)))

    alone = _headers(bare, _generic_alone)
    layouts.append((2 * len(alone), lambda: _blocks(lines, alone, "TXT（说话人）")))

    score, layout = max(layouts, key=lambda pair: pair[0])
    if score == 0:  # an export in which nobody speaks is no unknown form
        return Draft("TXT", []) if any(map(_BODY.fullmatch, bare)) else None
    draft = layout()
    draft.notes += notes
    return draft


# ------------------------------------------------------------------------------------------------- kinds of lines


def _without_markdown(line: str) -> str:
    return _MARKDOWN.sub(lambda marks: marks["bold"] or "", line, count=1)


def _headers(lines: Sequence[str], kind: Callable[[str], _Header | None]) -> list[_Header]:
    found = []
    for number, line in enumerate(lines):
        if header := kind(line):
            header.line = number
            found.append(header)
    return found


def _name_time(line: str) -> _Header | None:
    """Match `张三 00:00:05`, `张三(00:00:05): 好。`, `[张三] 00:05`, `说话人 1 00:05好。`."""
    if match := _GENERIC_GLUED.fullmatch(line):
        if not match["text"].startswith((":", "：")):
            return _header(match["name"], match)
    match = _NAME_TIME.fullmatch(line)
    if not match:
        return None
    name = match["name"].strip(" \t\u3000[]【】:：@-—–|,，")
    if not may_be_name(name) or re.search(r"[:：]", name):
        return None
    bracketed = match["open"] in tuple("(（[【") and bool(match["close"])
    if match["text"].strip() and not match["colon"] and not bracketed:
        return None
    return _header(name, match)


def _time_first(line: str) -> _Header | None:
    """Match `00:05 张三`, `[00:00:05] 张三: 好。`, `00:05`."""
    match = _TIME_FIRST.fullmatch(line)
    return _header("", match) if match else None


def _is_name(text: str) -> bool:
    return may_be_name(text.rstrip(" :：")) and not re.search("[:：].", text)


def _text_as_name(header: _Header) -> _Header:
    return replace(header, name=header.text.rstrip(" :："), text="")


def _generic_alone(line: str) -> _Header | None:
    match = _GENERIC_ALONE.fullmatch(line)
    return _Header(0, match["name"], None, None, "") if match else None


def _header(name: str, match: re.Match[str]) -> _Header | None:
    parts = match.groupdict()
    start = seconds(parts["start"])
    end = seconds(parts["end"]) if parts["end"] else None
    return None if start is None else _Header(0, name, start, end, parts["text"].strip(), parts.get("day") or "")


def _in_order(headers: list[_Header], lines: Sequence[str]) -> list[_Header]:
    """Leave out the sentences that only look like headers.

    Times run on through a meeting, so the headers are the heaviest run of lines whose times never fall; a line weighs
    more when its name comes back, when it follows a blank line, and when words stand below it. Lines out of the run
    are headers where their name stands in it: a second recording in the same file starts again at zero.
    A name that comes once must moreover not follow a header directly, where the words should stand, and, where
    headers come after blank lines, must come after one.
    """
    counts = Counter(header.name for header in headers)
    at = {header.line for header in headers}

    def is_known(header: _Header) -> bool:
        return counts[header.name] > 1 or not header.name or GENERIC.fullmatch(header.name) is not None

    def opens(header: _Header) -> bool:
        before = lines[header.line - 1] if header.line else ""
        return not before or _BODY.fullmatch(before) is not None

    def has_words(header: _Header) -> bool:
        below = header.line + 1
        return bool(header.text) or (below < len(lines) and bool(lines[below]) and below not in at)

    weights = [1 + 2 * is_known(header) + opens(header) + has_words(header) for header in headers]
    run = _heaviest_rise([header.start or 0.0 for header in headers], weights)
    names = {headers[place].name for place in run}
    opening = sum(map(opens, headers))
    kept: list[_Header] = []
    for place, header in enumerate(headers):
        follows = bool(kept) and not kept[-1].text and not any(lines[kept[-1].line + 1 : header.line])
        if place not in run and (follows or not header.name or header.name not in names):
            continue
        if not is_known(header):
            regular = len(headers) > 2 and (opening - opens(header)) * 10 >= (len(headers) - 1) * 8
            if follows or (regular and not opens(header)):
                continue
        kept.append(header)
    return kept


def _heaviest_rise(values: Sequence[float], weights: Sequence[int]) -> set[int]:
    """Return the places of a subsequence that never falls, of the greatest weight."""
    ranks = {value: rank for rank, value in enumerate(sorted(set(values)), 1)}
    best: list[tuple[int, int]] = [(0, -1)] * (len(ranks) + 1)  # a Fenwick tree of (weight, last place) by rank
    before: list[int] = []
    for place, (value, weight) in enumerate(zip(values, weights, strict=True)):
        rank = ranks[value]
        heaviest = (0, -1)
        at = rank
        while at:
            heaviest = max(heaviest, best[at])
            at &= at - 1
        before.append(heaviest[1])
        at = rank
        while at < len(best):
            best[at] = max(best[at], (heaviest[0] + weight, place))
            at += at & -at
    places: set[int] = set()
    place = -1
    at = len(ranks)
    last = (0, -1)
    while at:
        last = max(last, best[at])
        at &= at - 1
    place = last[1]
    while place >= 0:
        places.add(place)
        place = before[place]
    return places


# ------------------------------------------------------------------------------------------------- layouts


def _blocks(lines: Sequence[str], headers: Sequence[_Header], layout: str) -> Draft:
    """Read headers with the words on the same line or on the lines below."""
    title, date, notes = _preamble(lines[: headers[0].line])
    if headers[0].day or (headers[0].start or 0) >= _CLOCK:
        headers, date = _since_first(headers), date or date_in(f"{headers[0].day} {_clock(headers[0].start)}")
    pieces: list[Piece] = []
    estimated = False
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        stop = following.line if following else len(lines)
        said = [header.text, *lines[header.line + 1 : stop]]
        block = [Piece(header.name, text, prose=bool(header.name)) for text in said if text]
        if not block:
            continue
        block[-1].closes = True
        end = header.end
        if header.start is not None and end is None:
            until = following.start if following else None
            end = likely_end(header.start, sum(len(piece.text) for piece in block), until)
            estimated = True
        for piece, time in zip(block, shares([len(piece.text) for piece in block], header.start, end), strict=True):
            piece.start, piece.end = time
        pieces += block
    if not headers[0].name:
        _name_speakers(pieces)  # only times: the speakers may stand before the words
    return Draft(layout, pieces, title, date, notes=notes, estimated=estimated)


def _since_first(headers: Sequence[_Header]) -> list[_Header]:
    """Turn times of the clock into times since the first header; past midnight a day is added."""
    first, added, last = headers[0].start or 0.0, 0, 0.0
    changed = []
    for header in headers:
        start, end = header.start, header.end
        if start is not None:
            added += 86400 * (start + added < last - 43200)
            last = start = start + added
            end = None if end is None else end + added - first
            changed.append(replace(header, start=round(start - first, 3), end=end))
        else:
            changed.append(header)
    return changed


def _clock(seconds_of_day: float | None) -> str:
    minutes = int(seconds_of_day or 0) // 60
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _name_speakers(pieces: Sequence[Piece]) -> None:
    """Take the speakers off the words; a line of a block that names none goes on with the one before."""
    speaker = ""
    for piece, (name, said) in zip(pieces, label_lines([piece.text for piece in pieces]), strict=True):
        speaker = piece.speaker = name or speaker
        piece.text = said
        if piece.closes:
            speaker = ""


def _labelled_lines(lines: Sequence[str], bare: Sequence[str]) -> Draft:
    """Read `speaker: words`, a line without a speaker going on with the one before; a line may be only a time."""
    first = _end_of_preamble(bare)
    title, date, notes = _preamble(lines[:first])
    pieces: list[Piece] = []
    speaker, awaited = "", False
    start: float | None = None
    for line, (name, said) in zip(lines[first:], label_lines(bare[first:]), strict=True):
        if not line:
            if pieces:
                pieces[-1].closes = True
            continue
        only_time = None if name or awaited else _time_first(line)
        if only_time and not only_time.text:
            start = only_time.start
            continue
        speaker = name or speaker
        awaited = bool(name) and not said  # `张三：` alone: the words stand below
        if not awaited:
            pieces.append(Piece(speaker, said if name else line, start))
            start = None
    return Draft("TXT（说话人: 内容）", pieces, title, date, notes=notes)


def _end_of_preamble(lines: Sequence[str]) -> int:
    """Return where the transcript begins: behind the line `文字记录`, or behind the lines about the meeting."""
    names = [speaker for speaker, _ in label_lines(lines)]
    for number, line in enumerate(lines[:200]):
        if _BODY.fullmatch(line) and not set(names[:number]) & set(filter(None, names[number:])):
            return number + 1
    number = 0
    while number < len(lines) and (
        not lines[number] or _ABOUT.fullmatch(lines[number]) or (date_in(lines[number]) and len(lines[number]) < 60)
    ):
        number += 1
    labelled = [speaker for speaker, _ in label_lines(lines[number:])]
    # One short line that is no sentence, before the first speaker, is the title.
    if len(labelled) > 1 and not labelled[0] and any(labelled[1:3]) and len(lines[number]) <= 40:
        if not re.search(r"[。！？!?，,]", lines[number]):
            number += 1
            while number < len(lines) and (not lines[number] or _ABOUT.fullmatch(lines[number])):
                number += 1
    return number


def _preamble(lines: Sequence[str]) -> tuple[str, str, list[Message]]:
    """Return title and date that the lines before the transcript hold, and a note that these were no speech."""
    title = date = ""
    after_heading = False
    for line in filter(None, lines):
        plain = _without_markdown(line)
        date = date or date_in(plain)
        if named := _NAMED_TITLE.fullmatch(plain):
            title = before_date(named["title"])
            continue
        about = _ABOUT.fullmatch(plain) or _BODY.fullmatch(plain) or _LENGTH.fullmatch(plain.rpartition("|")[2])
        if about or _BOILERPLATE.fullmatch(plain) or (date_in(plain) and len(plain) < 60):
            after_heading = after_heading or (bool(_ABOUT.fullmatch(plain)) and not re.search("[:：].", plain))
            plain = before_date(plain) if date_in(plain) and not about else ""
        if plain and not title and not after_heading and len(plain) <= 80:
            title = plain
    kept = sum(1 for line in lines if line)
    if not kept:
        return title, date, []
    return (
        title,
        date,
        [
            Message(
                f"文字记录之前的 {kept} 行（标题、日期、关键词等）不算发言",
                f"the {kept} lines before the transcript (title, date, key words) are not speech",
            )
        ],
    )
