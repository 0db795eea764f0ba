r"""Reading what a model said: tolerant of reasoning, fences, prose, full-width digits and ranges.

Each reader returns what it read and the names of the repairs that it needed, so that a report can say how many
answers were not given in the form asked for:

>>> clean("<think>先看地点</think>\n定春游地点")
('定春游地点', ('reasoning removed',))
>>> numbers("第3句、5-7，以及③", last=9)
((3, 5, 6, 7), ('prose around the numbers', 'range expanded'))
>>> phrases("预算。、ＡＩ；排期")
(('预算', 'AI', '排期'), ('punctuation or width changed',))
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mug.metrics.keyphrases import clean_phrases
from mug.tasks.base import NONE

_THINK = re.compile(r"<think>.*?</think>|\A.*</think>", re.DOTALL)  # some templates open the reasoning themselves
_OPEN_THINK = re.compile(r"<think>.*\Z", re.DOTALL)
_END_TOKENS = re.compile(r"<\|(?:im_end|endoftext|im_start)\|>")
_FENCE = re.compile(r"```(?:[\w+-]*\n|json\b)?(.*?)(?:```|\Z)", re.DOTALL)
# "好的，标题如下：" on a line of its own, or "标题：" before the answer.
_LEAD_IN = re.compile(r"\A(?:好的|当然|以下|根据|答案|标题|主题|关键)[^\n：:]{0,30}[：:]\s*")
_MARKUP = re.compile(r"\A(?:[#>*\-\s]+|\*\*|__)|(?:\*\*|__)\Z")
_ASKED = {"title", "标题", "主题", "answer", "答案", "output", "keywords", "keyphrases", "关键词", "ids", "编号"}
_QUOTES = "\"'“”‘’「」『』《》"
_RANGE = re.compile(r"(?<!\d)(\d++)\s*+[-~–—～至到]\s*(\d+)")  # ++: an answer may be 10,000 digits


def clean(text: str) -> tuple[str, tuple[str, ...]]:
    """Remove what is not the answer: end tokens and what follows, reasoning, fences, lead-ins, markup."""
    repairs: list[str] = []

    def step(name: str, after: str) -> None:
        nonlocal text
        if after.strip() != text.strip():
            repairs.append(name)
        text = after.strip()

    step("cut at an end token", _END_TOKENS.split(text, maxsplit=1)[0])
    closed, end, rest = text.rpartition("</think>")  # each <think> behind the last end would be tried in vain
    step("reasoning removed", _THINK.sub("", closed + end) + rest)
    step("reasoning left open", _OPEN_THINK.sub("", text))
    fence = _FENCE.search(text)
    if fence:
        step("fence removed", fence.group(1))
    value = _json(text)
    if value is not None:
        step("JSON unpacked", _from_json(value))
    step("lead-in removed", _LEAD_IN.sub("", text))
    stripped = text
    while (shorter := _MARKUP.sub("", stripped)) != stripped:
        stripped = shorter
    step("markup removed", stripped)
    return text, tuple(repairs)


def title(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the title: the first line of the cleaned text, without quotes around it."""
    text, repairs = clean(text)
    first = text.split("\n", 1)[0].strip()
    if first != text:
        repairs += ("only the first line kept",)
    if len(first) > 1 and first[0] in _QUOTES and first[-1] in _QUOTES and not set(first[1:-1]) & set(_QUOTES):
        first, repairs = first[1:-1].strip(), (*repairs, "quotes removed")
    if not any(character.isalnum() for character in first):
        first = ""  # "……", "。": nothing was said
    return first, repairs


def numbers(text: str, last: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the numbers from 1 to ``last`` named in ``text``, in order, each once.

    A circled digit after prose stands for its number; one bad piece does not lose the others.
    """
    text, repairs = clean(text)
    plain = unicodedata.normalize("NFKC", re.sub("([①-⑳])", r"\1 ", text)).strip()  # ３－５ -> 3-5, ③⑤ -> 3 5
    if plain in {"", NONE, "没有", "none", "None"}:
        return (), repairs
    if re.search(r"[^\d\s,，、;；.。\-~–—～至到\[\]\"]", plain):
        repairs += ("prose around the numbers",)
    found = {int(digits[:9]) for digits in re.findall(r"\d+", plain)}
    for ends in _RANGE.findall(plain):
        begin, end = sorted(int(digits[:9]) for digits in ends)
        # Bounded by the prompt: "1-999999999" must not fill the memory.
        found.update(range(max(1, begin), min(last, end) + 1))
    if _RANGE.search(plain):
        repairs += ("range expanded",)
    if any(not 1 <= number <= last for number in found):
        repairs += ("numbers outside the prompt dropped",)
    return tuple(sorted(number for number in found if 1 <= number <= last)), repairs


def phrases(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the phrases in the order given, each once: NFKC, split on 、，,；; and line breaks, outer marks off."""
    text, repairs = clean(text)
    if text in {"", NONE}:
        return (), repairs
    # "1. 预算", or "1、预算" on a line of its own: a numbered list is a way of answering, not a part of the phrase.
    pieces = [
        piece.strip()
        for piece in re.split(r"[、，,；;\n]+", re.sub(r"(?m)^\s*\d{1,2}、(?=[^、，,；;\n]+$)", "", text))
        if piece.strip()
    ]
    tidy = clean_phrases([re.sub(r"\A\d+\s*[.)．](?!\d)\s*", "", piece) for piece in pieces])
    if tidy != pieces:
        repairs += ("punctuation or width changed",)
    return tuple(dict.fromkeys(piece for piece in tidy if piece != NONE)), repairs


def shown(text: str, found: Sequence[object], separator: str = ", ") -> str:
    """Return what was read as a report shows it: 无 where the answer names nothing, blank where it says nothing."""
    return separator.join(map(str, found)) or (NONE if clean(text)[0] else "")


def quoted(text: str, lines: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the numbers of the prompt's ``lines`` ("1. [甲]: 去湿地公园吧。") that the answer quotes."""
    said: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines, 1):
        said[_letters(line.split("]: ", 1)[-1])].append(number)

    def find(quotes: Sequence[str]) -> tuple[set[int], bool]:
        found: set[int] = set()
        complete = True
        for quote in quotes:
            unnumbered = re.sub(r"\A\s*\d+\.\s*", "", quote)
            ways = map(_letters, (quote, unnumbered, quote.split("]: ", 1)[-1], unnumbered.split("]: ", 1)[-1]))
            same = next((said[way] for way in ways if way and way in said), [])
            # Said twice and quoted twice: the second quote is the second sentence.
            found.update([number for number in same if number not in found][:1])
            complete = complete and bool(same)
        return found, complete

    # As it is first: a sentence may itself begin like a lead-in ("好的，我们先说地点：…").
    exact, complete = find([line for line in text.split("\n") if line.strip()])
    if complete and exact:
        return tuple(sorted(exact)), ()
    text, repairs = clean(text)
    if text in {"", NONE}:
        return (), repairs
    found, complete = find([line for line in text.split("\n") if line.strip()])
    if not complete:
        repairs += ("sentence not in the prompt dropped",)
    return tuple(sorted(found)), repairs


def _letters(text: str) -> str:
    return "".join(character for character in unicodedata.normalize("NFKC", text) if character.isalnum())


def _json(text: str) -> Any:
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_json(value: Any) -> str:
    if isinstance(value, dict):
        usable = {key: item for key, item in value.items() if isinstance(item, str | list)}
        asked = [item for key, item in usable.items() if key.lower() in _ASKED]
        value = next(iter([*asked, *usable.values()]), "")
    if isinstance(value, list):
        return "、".join(str(item) for item in value if isinstance(item, str | int))
    return str(value)
