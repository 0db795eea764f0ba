r"""Answers without a model: the row of every table that a model has to beat.

It sees what a model sees, the prompt and nothing else (no labels, no other window of the meeting), and answers in the
form that the task asks for:

    title_generation        洗发水和抖音的问题: the words said most often
    extractive_summary      4, 35, 64: the longest sentence of each third of the topic
    session_summary         1, 4, 7, …: the longest of every three of the sentences shown
    topic_segmentation      9, 16: where the words of the paragraphs before and after are least alike
    keyphrase_extraction    抖音、洗发水、…: nouns by TextRank
    action_item_detection   43: sentences with a cue of somebody taking or giving a task

Nothing is trained. The constants were chosen by looking at the sample corpus and at three real meetings, so on those
the scores are a little better than they would be elsewhere. An Alpaca row that is none of our tasks gets a title.

Sources: M. Hearst, "TextTiling", Computational Linguistics 23(1), 1997, for the depth of a dip; R. Mihalcea and
P. Tarau, "TextRank", EMNLP 2004, as jieba.analyse has it.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from mug.generation.base import Completion
from mug.tasks import TASKS
from mug.tasks.base import NONE, Sample
from mug.tasks.extractive_summary import ASK_TEXT, HEADER
from mug.tasks.session_summary import SessionSummary

VERSION = 1
"""Part of the fingerprint; raise it with every change that may change an answer."""

TITLE_LENGTH = 11
"""Characters: the average of the real titles."""
TITLE_END = "的问题"
"""Makes a title of a list of words. It earns about two points of ROUGE by itself, which a model should earn too."""
KEY_SENTENCES = 3
"""An annotator marks three in nearly every topic, about one in each third of it."""
SESSION_SHARE = 3
"""About one in so many of the topics' key sentences is one of the session's."""
KEYPHRASES = 10
NOUNS = ("n", "ns", "nz", "nt", "vn")
"""jieba's marks of the words that may be keyphrases."""
BLOCK = 6
"""Paragraphs on each side of a gap whose words are compared: about half a topic."""
DEPTH_CUT = 1.25
"""A dip that is so many standard deviations deeper than the average of the prompt's gaps ends a topic."""

# What is said in every meeting. Words of one character and those that begin with a numeral are never counted, so they
# need not stand here.
_SPOKEN = frozenset(
    "就是 然后 这个 那个 那种 这种 这样 那样 这么 那么 这些 那些 我们 你们 他们 咱们 大家 "
    "自己 别人 什么 怎么 怎样 为什么 多少 有点 有点儿 可以 可能 应该 肯定 觉得 感觉 认为 "
    "知道 看看 没有 还有 还是 就是说 比如 比如说 其实 因为 所以 但是 不过 而且 或者 如果 "
    "要是 的话 不是 是不是 是吧 对吧 现在 时候 东西 时间 之后 之前 以后 以前 里面 上面 这边 "
    "那边 这块 那块 不会 不能 不要 需要 进行 出来 起来 过来 过去 下来 下去 已经 还要 还会 "
    "非常 比较 特别 真的 反正 基本 基本上 确实 当然 对对 对对对 嗯嗯 好的 好好 你看 你说 "
    "我说 他说 来说 方面 情况 问题 好多 哦哦哦".split()
)

_NUMERALS = frozenset("一二两三四五六七八九十百几半0123456789")

_NUMBER = re.compile(r"\A\d+\. ")
_SPEAKER = re.compile(r" ?\[[^\]\n]*\]: ")

# An action item says by when and what, asks somebody for it, or takes it over.
_WHEN = (
    r"(?:[这下本]?周[一二三四五六日天末]|[今明后][天晚早]|[一二三四五六七八九十\d]+号|月底|以内|这两天|尽快"
    r"|回头|会后|散会|待会|等会|稍后)"
)
_WHAT = (
    r"(?:发[我你给到群个一]|给[我你您他她]|给大家|交|报|出[一个终初]|拿|联系|打个?电话|通知|确认|核对|整理|统计|准备"
    r"|写|改|定下来|敲定|对接|落实|跟进|催|申请|谈|签|印|搬|补|排|约|问|登记|起草)"
)
_ACTION = re.compile(
    rf"{_WHEN}[^。？]{{0,25}}?{_WHAT}|之前[给发交报]|麻烦[你您]|拜托|辛苦[你您]|别忘|记得[把给跟去发带]"
    r"|我来[^过说讲看吧的了，。！？]|归我|我负责|交给我"
)
_NO_ACTION = re.compile(r"如果|假如|要是|假设|去年|前年|上次|上个月|？\Z")


class BaselineEngine:
    """Rules in place of a model."""

    name = "baseline"

    def __init__(self) -> None:
        self.fingerprint: dict[str, Any] = {"engine": self.name, "version": VERSION}

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) in order; the completions' ``tokens`` are 0."""
        for index, sample in enumerate(samples):
            yield index, Completion(answer(sample.instruction, sample.input))


def answer(instruction: str, input: str) -> str:
    r"""Return the answer to a prompt; the instruction says of which task it is.

    >>> answer(TASKS["action_item_detection"].instruction, "会议内容：\n1. [甲]: 大巴谁来订？\n2. [乙]: 我来订吧。")
    '2'
    """
    return _ANSWERS.get(instruction, title)([line for line in input.removeprefix(HEADER).split("\n") if line])


# ------------------------------------------------------------------------------------------- one function a task


def title(lines: Sequence[str]) -> str:
    """Return the words that the lines say most often, as many as the length of a title allows."""
    counts = Counter(word for line in lines for word in words(said(line)))
    ranked = counts.most_common(TITLE_LENGTH)
    repeated = [word for word, count in ranked if count > 1] or [word for word, _ in ranked[:1]]
    best = ""
    for number in range(1, len(repeated) + 1):
        longer = listed(repeated[:number]) + TITLE_END
        if len(longer) > TITLE_LENGTH and best:
            break
        best = longer
    return (best or "".join(map(said, lines)) or NONE)[:TITLE_LENGTH]


def summary(lines: Sequence[str]) -> str:
    """Return the numbers of the topic's key sentences."""
    return _numbers(longest_of_each(lines, KEY_SENTENCES))


def summary_text(lines: Sequence[str]) -> str:
    """Return the sentences that `summary` returns the numbers of."""
    return _sentences(lines, longest_of_each(lines, KEY_SENTENCES))


def session(lines: Sequence[str]) -> str:
    """Return the numbers of the session's key sentences."""
    return _numbers(longest_of_each(lines, round(len(lines) / SESSION_SHARE)))


def session_text(lines: Sequence[str]) -> str:
    """Return the sentences that `session` returns the numbers of."""
    return _sentences(lines, longest_of_each(lines, round(len(lines) / SESSION_SHARE)))


def segmentation(lines: Sequence[str]) -> str:
    """Return the numbers of the paragraphs behind which the words change most."""
    depths = cohesion_depths([Counter(words(said(line))) for line in lines])
    if not depths:
        return NONE
    mean = sum(depths) / len(depths)
    deviation = math.sqrt(sum((depth - mean) ** 2 for depth in depths) / len(depths))
    return _numbers([gap for gap, depth in enumerate(depths) if depth > mean + DEPTH_CUT * deviation])


def keyphrases(lines: Sequence[str]) -> str:
    """Return the nouns most linked to others by standing near them."""
    ranked = _jieba().analyse.textrank("\n".join(map(said, lines)), topK=None, allowPOS=NOUNS)
    return "、".join([word for word in ranked if is_telling(word)][:KEYPHRASES]) or NONE


def actions(lines: Sequence[str]) -> str:
    """Return the numbers of the sentences that give somebody something to do."""
    return _numbers([place for place, line in enumerate(lines) if is_action(said(line))])


def _sentences(lines: Sequence[str], places: Sequence[int]) -> str:
    return "\n".join(said(lines[place]) for place in places) or NONE


_ANSWERS: dict[str, Callable[[Sequence[str]], str]] = {
    TASKS["title_generation"].instruction: title,
    TASKS["extractive_summary"].instruction: summary,
    ASK_TEXT: summary_text,
    TASKS["session_summary"].instruction: session,
    SessionSummary.ask_text: session_text,
    TASKS["topic_segmentation"].instruction: segmentation,
    TASKS["keyphrase_extraction"].instruction: keyphrases,
    TASKS["action_item_detection"].instruction: actions,
}


def _numbers(places: Sequence[int]) -> str:
    return ", ".join(str(place + 1) for place in places) or NONE


# ------------------------------------------------------------------------------------------- what they stand on


def said(line: str) -> str:
    """Return what was said in a line of a prompt, without its number and its speakers.

    >>> said("2. [no.2]: 湿地公园吧。 [no.0]: 行。")
    '湿地公园吧。行。'
    """
    return _SPEAKER.sub("", _NUMBER.sub("", line, count=1))


@lru_cache(maxsize=1 << 14)  # a meeting is asked about by several tasks, and windows overlap
def words(text: str) -> tuple[str, ...]:
    """Return the words that can tell one matter from another: two characters or more, none of what everybody says."""
    return tuple(word for word in _jieba().lcut(text) if len(word) > 1 and word.isalnum() and is_telling(word))


def is_telling(word: str) -> bool:
    """Say whether a word is neither an amount nor what everybody says in any meeting."""
    return word not in _SPOKEN and word[0] not in _NUMERALS


def listed(names: Sequence[str]) -> str:
    """Return names as a list in words.

    >>> listed(["大巴", "午餐", "保险"])
    '大巴、午餐和保险'
    """
    return "和".join(["、".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def longest_of_each(lines: Sequence[str], parts: int) -> list[int]:
    """Cut the lines in ``parts`` equal runs, at least one, and return the place of the longest line of each.

    Annotators mark long sentences and spread them over the topic. Choosing so scored higher on the three real
    meetings than choosing by shared words, with or without the runs.

    >>> longest_of_each(["[甲]: 嗯。", "[乙]: 去湿地公园。", "[甲]: 好。", "[甲]: 行行。"], 2)
    [1, 3]
    """
    parts = min(max(1, parts), len(lines))
    bounds = [len(lines) * part // parts for part in range(parts + 1)] if lines else []
    return [
        max(range(start, stop), key=lambda place: len(said(lines[place])))
        for start, stop in zip(bounds, bounds[1:], strict=False)
    ]


def cohesion_depths(paragraphs: Sequence[Counter[str]]) -> list[float]:
    """Return for each gap between paragraphs how deep the likeness of its two sides dips there.

    The likeness is the cosine of the words of up to `BLOCK` paragraphs on each side; the depth is how far it rises
    from the gap to the next peak on the left and to that on the right, added up (Hearst's boundary identification).
    """
    likeness = [
        _cosine(sum(paragraphs[max(0, gap - BLOCK) : gap], Counter()), sum(paragraphs[gap : gap + BLOCK], Counter()))
        for gap in range(1, len(paragraphs))
    ]
    return [_rise(likeness[gap::-1]) + _rise(likeness[gap:]) for gap in range(len(likeness))]


def _cosine(left: Counter[str], right: Counter[str]) -> float:
    product = sum(count * right[word] for word, count in left.items())
    squares = sum(count**2 for count in left.values()) * sum(count**2 for count in right.values())
    return product / math.sqrt(squares) if squares else 0.0


def _rise(likeness: Sequence[float]) -> float:
    peak = likeness[0]
    for value in likeness[1:]:
        if value < peak:
            break
        peak = value
    return peak - likeness[0]


def is_action(text: str) -> bool:
    """Say whether a sentence has a cue of an action item, and none of a question, a supposition or the past.

    >>> [is_action(text) for text in ("那你周三之前把报价发群里。", "如果周三之前发群里呢？", "对对对。")]
    [True, False, False]
    """
    return bool(_ACTION.search(text)) and not _NO_ACTION.search(text)


@lru_cache(maxsize=1)
def _jieba() -> Any:
    """Import jieba when it is first needed, since its dictionary takes a second, and without its start-up lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its regular expressions, of newer Pythons
        import jieba
        import jieba.analyse
    jieba.setLogLevel(logging.WARNING)
    return jieba
