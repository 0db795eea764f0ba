"""Who speaks, where a line says it in front of the words: `张三: 好的。`, `张三：好的。`, `[SPEAKER_00]: 好的。`.

A colon alone tells nothing: `10:30 集合可以吗？` and `目标：增长` have one too. So all lines are looked at
together: a name has no punctuation and a letter in it, and either it comes back or most lines have one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

GENERIC = re.compile(
    r"(?:(?:说话人|发言人|讲话人|讲者|未知说话人|与会者|参会人)\s*\d+|(?:speaker|spk)[\s_-]*(?:\d+|[A-Z]))",
    re.IGNORECASE,
)
"""The names that recognisers give to voices that they don't know."""

_LABEL = re.compile(
    r"\s*(?:[-–—•]\s+)?"
    r"(?:[\[【](?P<inside>[^\[\]【】\n]{1,60})[\]】]\s*(?P<after>[:：]?)|(?P<name>[^:：\n]{1,60}?)\s*(?P<colon>[:：]))"
    r"(?P<text>.*)",
    re.DOTALL,
)
_NO_NAME = re.compile(r"[。！？；，、…“”\"!?;<>=|\\{}]|,(?! ?[A-Z])|https?$")
_TIME_LIKE = re.compile(r"\s*\d{1,3}\s*[:：]\s*\d{2}")
_MOST_OF_A_NAME = 40
# Words before a colon that announce what is said and never who says it.
_LEAD_INS = frozenset(
    "注意 例如 比如 比如说 譬如 就是 也就是说 总之 总结 结论 目标 目的 原因 结果 备注 说明 提示 问题 重点 要点 建议 "
    "第一 第二 第三 首先 其次 最后 另外 还有 包括 如下 以下 即 所以 但是 因此 补充 时间 地点 日期 主题 关键词 "
    "文字记录 note notes example eg summary todo action warning time date title".split()
)


class Labelled(NamedTuple):
    """A line with its speaker taken off; the speaker is empty where the line names none."""

    speaker: str
    text: str


def label_lines(lines: Sequence[str]) -> list[Labelled]:
    """Take the speakers off all lines of a transcript, or off none where they are no speakers.

    >>> label_lines(["张三: 先定春游地点。", "10:30 集合可以吗？", "李四: 可以：走吧。"])
    [Labelled(speaker='张三', text='先定春游地点。'), Labelled(speaker='', text='10:30 集合可以吗？'), \
Labelled(speaker='李四', text='可以：走吧。')]
    """
    found = [_candidate(line) for line in lines]
    counts = Counter(candidate[0] for candidate in found if candidate and candidate[1] != "3:2")
    kinds = Counter(candidate[1] for candidate in found if candidate and candidate[1] != "3:2")
    filled = sum(1 for line in lines if line.strip())
    mostly = 2 * sum(1 for candidate in found if candidate and counts[candidate[0]]) >= filled
    usual = {kind for kind, count in kinds.items() if count == max(kinds.values())}  # `目标：` among `张三: ` is none

    def is_speaker(name: str, kind: str) -> bool:
        if GENERIC.fullmatch(name):
            return True
        if name.casefold() in _LEAD_INS:
            return False
        if kind == "3:2":
            return counts[name] > 0
        if kind not in usual or kind == "[":  # `[笑声] 好的` once is no speaker, `[张三] 好的` comes back
            return counts[name] > 1 and (mostly or counts[name] * 10 >= filled)
        return mostly or (counts[name] > 1 and sum(counts.values()) * 10 >= filled)

    return [
        Labelled(candidate[0], candidate[2])
        if candidate and is_speaker(candidate[0], candidate[1])
        else Labelled("", line)
        for candidate, line in zip(found, lines, strict=True)
    ]


def may_be_name(text: str) -> bool:
    """Say whether a text has the shape of a name: short, with a letter, without the punctuation of a sentence."""
    return 0 < len(text) <= _MOST_OF_A_NAME and any(map(str.isalpha, text)) and not _NO_NAME.search(text)


def _candidate(line: str) -> tuple[str, str, str] | None:
    """Return name, kind of separator and text of a line that may have a label."""
    match = _LABEL.match(line)
    if not match or _TIME_LIKE.match(line):
        return None
    name = (match["inside"] or match["name"] or "").strip(" \t\u3000*")
    text = match["text"]
    if not may_be_name(name):
        return None
    if match["name"] and text.startswith("//"):
        return None  # an address
    if match["inside"]:
        kind = "[:" if match["after"] else "["
    elif name[-1].isdigit() and text[:1].isdigit():
        kind = "3:2"  # a ratio, 下午3:30, or `no.1:30元` where no.1 is known from other lines
    else:
        kind = match["colon"]
    return name, kind, text.strip()
