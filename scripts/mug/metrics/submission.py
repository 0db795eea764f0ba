"""Submission rows as the challenge asks for them, checked before anything is scored.

One JSON object a line, one line a meeting; which keys count depends on the track::

    {"meeting_key": "M0115", "topic_segment_ids": [{"id": 79}, {"id": 146}]}                       topic segmentation
    {"meeting_key": "M0115", "topic_segment_ids": [{"id": 79, "title": "做好网上宣传"}]}           titles
    {"meeting_key": "M0115", "topic_segment_ids": [{"id": 79, "key_sentence": ["4", "54"]}],
     "key_sentence": ["4", "80"]}                                                                  summaries
    {"meeting_key": "M0115", "key_word": ["洗发水", "抖音"]}                                       keyphrases
    {"meeting_key": "M0115", "action_ids": [{"id": 715}]}                                          action items

The official evaluator pairs rows by their order and fails in the middle when something does not fit. Here rows are
joined by meeting and topic, and what does not fit is an error that says what is missing and what is too much.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mug.errors import InputError
from mug.meeting import Meeting

Row = Mapping[str, Any]

KEYS = {
    "topic_segmentation": "topic_segment_ids",
    "topic_title_generation": "title",
    "extractive_summarization": "key_sentence",
    "keyphrase_extraction": "key_word",
    "action_item_detection": "action_ids",
}
"""What only a submission to this track needs to have, in the row or in its topics."""

_NAMED = 10  # so many names make a readable sentence; the rest is counted


def read_rows(path: str | Path) -> dict[str, Row]:
    """Read a submission file into one row a meeting; a byte order mark and blank lines do no harm.

    Raises:
        InputError: the file can't be opened, is not UTF-8, has a line that is no JSON object, has no rows, or has
            two rows for one meeting.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(
            f"打不开预测文件 {path}（{error.strerror}）；请检查路径。",
            f"Can't open the predictions file {path} ({error.strerror}); check the path.",
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"预测文件 {path} 不是 UTF-8 编码；请另存为 UTF-8 后重试。",
            f"The predictions file {path} is not UTF-8; save it as UTF-8 and try again.",
        ) from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"{path} 第 {number} 行不是一个 JSON 对象；每行应是一场会议的提交。",
                f"{path} line {number} is no JSON object; each line should be one meeting's submission.",
            )
        rows.append(row)
    return rows_by_key(rows, str(path))


def rows_by_key(rows: Iterable[Row], source: str = "submission") -> dict[str, Row]:
    """Index submission rows by their ``meeting_key``.

    Args:
        rows: the rows in any order.
        source: where they come from, for the error's sentence.

    Raises:
        InputError: no rows, a row without ``meeting_key``, or two rows for one meeting.
    """
    found: dict[str, Row] = {}
    for number, row in enumerate(rows, 1):
        key = row.get("meeting_key")
        if key is None or key == "":
            raise InputError(
                f"{source} 的第 {number} 条预测没有 meeting_key；请补上。",
                f"{source}: row {number} has no meeting_key; add it.",
            )
        if str(key) in found:
            raise InputError(
                f"{source} 中会议 {key} 有两条预测；请只留一条。",
                f"{source}: two rows for meeting {key}; keep one.",
            )
        found[str(key)] = row
    if not found:
        raise InputError(f"{source} 里没有一条预测。", f"{source} holds no rows.")
    return found


def check_track(track: str, rows: Mapping[str, Row], source: str | Path) -> None:
    """Make sure that a submission is one to this track: of another it would count as answers that are all empty.

    Raises:
        InputError: no row has the track's key.
    """
    key = KEYS[track]
    for row in rows.values():
        topics = as_list(row.get("topic_segment_ids"))
        if key in row or any(isinstance(topic, Mapping) and key in topic for topic in topics):
            return
    raise InputError(
        f"{source} 里没有 {key}：这像是另一个赛道的提交文件；请检查 --task 和 --predictions。",
        f"{source} holds no {key}: it looks like a submission to another track; check --task and --predictions.",
    )


def borrows_topics(track: str, rows: Mapping[str, Row]) -> bool:
    """Say whether a segmentation reads as a submission of titles or key sentences, whose topics are the gold ones."""
    topics = [topic for row in rows.values() for topic in as_list(row.get("topic_segment_ids"))]
    found = [topic for topic in topics if isinstance(topic, Mapping)]
    return track == "topic_segmentation" and bool(found) and all({"title", "key_sentence"} & {*one} for one in found)


def check_meetings(gold: Sequence[Meeting], rows: Mapping[str, Row]) -> None:
    """Make sure that gold and submission speak of the same meetings.

    Raises:
        InputError: there is nothing to score, or meetings are missing from ``rows`` or unknown to ``gold``.
    """
    if not gold:
        raise InputError("标准答案里没有会议，无从评分。", "The gold file holds no meetings, nothing can be scored.")
    if not rows:
        raise InputError("提交里没有一条预测。", "The submission holds no rows.")
    expected = [meeting.key for meeting in gold]
    known = set(expected)
    _check_same(
        "会议",
        "meetings",
        "",
        missing=[key for key in expected if key not in rows],
        extra=[key for key in rows if key not in known],
    )


def sentence_ids(meeting: Meeting, row: Row, field: str) -> list[int]:
    """Return the sentence ids of ``row[field]`` in their order, repeats included; a missing field has none.

    Ids may be written as ``{"id": 4}``, ``4`` or ``"4"``.

    Raises:
        InputError: something is no id, or lies outside the meeting (the official evaluator stops there, or, for 0,
            marks the last sentence).
    """
    last = len(meeting.sentences)
    found = []
    for value in as_list(row.get(field)):
        label = value.get("id") if isinstance(value, Mapping) else value
        number = _integer(label)
        if number is None or not 1 <= number <= last:
            raise InputError(
                f"会议 {meeting.key} 的预测 {field} 里有 {label!r}，不是 1 到 {last} 之间的句子 id；请更正。",
                f"Meeting {meeting.key}: {field} of the submission holds {label!r}, which is no sentence id from 1 to "
                f"{last}; correct it.",
            )
        found.append(number)
    return found


def topic_rows(meeting: Meeting, row: Row) -> list[Row]:
    """Return the row's topics in the order of the gold topics, joined by id.

    Rows without ids are taken in their order, as the official evaluator does. The last topic may carry the id that
    its gold file had before the reader stretched it to the end of the meeting.

    Raises:
        InputError: topics are missing, unknown or repeated.
    """
    given: list[Row] = [item if isinstance(item, Mapping) else {} for item in as_list(row.get("topic_segment_ids"))]
    expected = [topic.end for topic in meeting.topics]
    if len(given) == len(expected) and not any("id" in item for item in given):
        return given
    found: dict[int | str, Row] = {}
    for item in given:
        number = _integer(item.get("id"))
        label = str(item.get("id")) if number is None else number
        if label in found:
            raise InputError(
                f"会议 {meeting.key} 的预测里主题 {label} 出现两次；请只留一个。",
                f"Meeting {meeting.key}: topic {label} stands twice in the submission; keep one.",
            )
        found[label] = item
    if expected and expected[-1] not in found:
        before = expected[-2] if len(expected) > 1 else 0
        late = [label for label in found if isinstance(label, int) and label > before]
        if len(late) == 1:
            found[expected[-1]] = found.pop(late[0])
    _check_same(
        "主题",
        "topics",
        meeting.key,
        missing=[str(end) for end in expected if end not in found],
        extra=[str(label) for label in found if label not in set(expected)],
    )
    return [found[end] for end in expected]


def is_empty_answer(text: str) -> bool:
    """Say whether an answer has neither letter nor number: nothing, spaces, "。" or "......"."""
    return not any(char.isalnum() for char in text)


def as_list(value: Any) -> list[Any]:
    """Return a JSON list as it is, nothing for null, and anything else as the only item."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _check_same(zh: str, en: str, key: str, missing: Sequence[str], extra: Sequence[str]) -> None:
    if not missing and not extra:
        return
    parts_zh = [f"缺少{zh} {_names(missing, '、', '等 {} 个')}"] if missing else []
    parts_en = [f"{en} missing: {_names(missing, ', ', 'and {} in all')}"] if missing else []
    if extra:
        parts_zh.append(f"多出{zh} {_names(extra, '、', '等 {} 个')}")
        parts_en.append(f"{en} unknown: {_names(extra, ', ', 'and {} in all')}")
    where_zh, where_en = (f"会议 {key} 的", f"Meeting {key}: ") if key else ("", "")
    raise InputError(
        f"{where_zh}预测与标准答案对不上：{'；'.join(parts_zh)}；请用同一份数据重新生成预测。",
        f"{where_en}the submission does not fit the gold file: {'; '.join(parts_en)}; predict on the same data again.",
    )


def _names(names: Sequence[str], comma: str, more: str) -> str:
    shown = comma.join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} {more.format(len(names))}"


def _integer(value: Any) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None
