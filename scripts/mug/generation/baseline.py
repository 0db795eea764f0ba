r"""Answers without a model: the row of every table that a model has to beat.

It sees what a model sees, the prompt and nothing else (no labels, no other window of the meeting), and answers in the
form that the task asks for:

    title_generation        洗发水和抖音的问题: the words that most sentences say
    extractive_summary      4, 35, 64: the longest sentence of each third of the topic
    session_summary         1, 4, 7, …: the longest of every four of the sentences shown
    topic_segmentation      9, 16: where the words before and after are least alike, or somebody opens a matter
    keyphrase_extraction    抖音、洗发水、…: nouns by TextRank
    action_item_detection   43: sentences in which somebody takes a task over or gets one

Nothing is trained. The constants, the stop words and the cues were chosen by looking at the sample corpus and at three
real meetings, so on those the scores are better than they would be elsewhere. Cues of action items that
often misled in other real topics were dropped too. An Alpaca row that is none of our tasks gets a title.

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
from itertools import accumulate
from typing import Any

from mug.generation.base import Completion
from mug.tasks import TASKS
from mug.tasks.base import NONE, Sample
from mug.tasks.extractive_summary import ASK_TEXT, HEADER
from mug.tasks.session_summary import SessionSummary
from mug.tasks.shared import SHARED_TASKS, AskBoundaries, AskSession, AskSummary, as_input, ends_asked

VERSION = 2
"""Part of the fingerprint; raise it with every change that may change an answer."""

TITLE_LENGTH = 11
"""Characters: the average of the real titles."""
TITLE_END = "的问题"
"""Makes a title of a list of words. It earns 1 point of ROUGE on 43 real titles and 3.5 on 400 others, which a model
should earn too."""
KEY_SENTENCES = 3
"""An annotator marks three in nearly every topic, about one in each third of it."""
SESSION_SHARE = 4
"""One in so many of the topics' key sentences is one of the session's: of predicted topics that makes 11 to 20 in a
meeting of 1,000 sentences, as many as annotators choose (11 to 18)."""
TOLD = 0.7
"""A sentence of which less than this share is left without fillers and stutters counts with what is left only. A
higher share, or what is left of every sentence, lowers the topics' score: annotators do mark stuttered sentences."""
KEYPHRASES = 10
NOUNS = ("n", "ns", "nz", "nt", "vn")
"""jieba's marks of the words that may be keyphrases."""
BLOCK = 90
"""Telling words on each side of a gap that are compared: about two thirds of a topic of the real meetings (140).
Words rather than paragraphs, since a paragraph may be one turn of three words or a talk of five minutes."""
TOPIC_WORDS = 35
"""A topic has at least so many telling words, a quarter of a real topic. More would hide the topics of the sample
corpus, which have 46 on average."""
DEPTH_CUT = 1.5
"""A dip that is so many standard deviations deeper than the average of the prompt's gaps ends a topic."""
OPENING = 3.0
"""So many standard deviations deeper counts a dip before a paragraph that opens a matter in so many words. Before a
topic of the three real meetings one paragraph in four does, elsewhere one in sixty."""

# What is said in every meeting. Words of one character and those that begin with a numeral are never counted, so they
# need not stand here.
_SPOKEN = frozenset(
    "就是 然后 这个 那个 那种 这种 这样 那样 这么 那么 这些 那些 我们 你们 他们 咱们 大家 "
    "自己 别人 什么 怎么 怎样 为什么 多少 有点 有点儿 可以 可能 应该 肯定 觉得 感觉 认为 "
    "知道 看看 没有 还有 还是 就是说 比如 比如说 其实 因为 所以 但是 不过 而且 或者 如果 "
    "要是 的话 不是 是不是 是吧 对吧 现在 时候 东西 时间 之后 之前 以后 以前 里面 上面 这边 "
    "那边 这块 那块 不会 不能 不要 需要 进行 出来 起来 过来 过去 下来 下去 已经 还要 还会 "
    "非常 比较 特别 真的 反正 基本 基本上 确实 当然 对对 对对对 嗯嗯 好的 好好 你看 你说 "
    "我说 他说 来说 方面 情况 问题 好多 哦哦哦 刚才 刚刚 直接 好像 必要 合适 主要 之类".split()
)

# Nouns and verbs that name no matter in a title, though they may tell one stretch of talk from another.
_EMPTY = frozenset(
    "一点 一点儿 人家 地方 意思 样子 事情 部分 方式 关键 到时候 效果 重点 想法 原因 结果 程度 过程 有人 大概 一块 "
    "一块儿 总的来说 全部 那块儿 这块儿 那一块 喜欢 进来 进去 出去 回来 回去 看到 看过 听到 说话 发现 了解 "
    "起来 变成 属于 希望 建议 增加 实在 只是 差不多 没准儿 准备 一下 昨天 今天 明天 上午 下午 晚上 早上 要么 "
    "理解".split()
)
_NAMING = frozenset(("n", "ns", "nz", "nt", "nr", "nrt", "nrfg", "vn", "an", "v", "s", "b", "j", "l", "i", "eng"))
"""jieba's marks of words that a title may list; a word without a mark is mostly a name (抖音) and may be listed."""
_NO_NAME = frozenset("不没很别他她你我您这那有")
"""A word that begins so is a piece of a sentence: 不用, 没算, 他会."""

_NUMERALS = frozenset("一二两三四五六七八九十百几半0123456789")

_NUMBER = re.compile(r"\A\d+\. ")
_SPEAKER = re.compile(r" ?\[[^\]\n]*\]: ")

_FILLER = re.compile(r"然后|就是说?|那个|这个|那种|这种|对吧|是吧|[嗯啊呃哦唉哎诶哈]|对对+|(.{1,3})\1+")

# What opens a matter: 还有一个问题, 然后讲一下客服, 接下来, 最后.
_OPENS = re.compile(
    r"(?:[嗯啊呃哦唉哎诶对好行哈额]|是的|可以|那么|那|然后|就是|对吧|所以|[，。、！？ ])*"
    r"(?:我?还有(?:一[个件点]|就是|个|那|什么)|另外|接下来|下面|下一[个项步]|首先|第[二三四五]|最后|咱们?(?:再|来|先|说)"
    r"|我们?(?:再|来|先|接着|其实也)|大家|再[说来看讲聊]|[先还再]?(?:讲|说|聊|谈|讨论|看)(?:一下|说|到|一说)|今天"
    r"|我(?:想|有个?(?:问题|想法|事))|这个.{0,6}(?:来了|呢|怎么)|关于|至于|你们?(?:觉得|看|说)|回到|刚才)"
)

# An action item, clause by clause: somebody who is there (我, 你, a name) and a verb of doing, in a frame of taking a
# task over or of giving it. A verb alone is no cue: 报 stands in 天气预报, 发 in 发现, and customers buy all day.
_DO = (
    r"(?:联系|通知|确认|核对|整理|统计|准备|安排|落实|跟进|对接|申请|登记|起草|汇总|收集|打印|复印|提交|上传|回复|反馈|同步"
    r"|汇报|完成|搞定|弄好|做好|写好|敲定|定下来|订好|催|采购|预订|预约|约[她他它个一]|打个?电话|弄个|弄一[份个]|设计"
    r"|发[我你给到群个一新出布]|发(?=全|大家)|给[我你您][们]?(?:一[份个]|答复|看|回|个)|给出"
    r"|出[一个终初方份]|交[给到上]|报[给上个]|补|订|买|租|借|印|签|写|改|拿[回来到过给一]|带[来过上给一去]|搬完|换[上完好]|谈|排[一出好班]|拍[照一]|开个|配上"
    r"|画[一个好]|测[一试]|修|建[个一起]|找[人她他个]|问[一问她他下三])"
)
_WHEN = (
    r"(?:[这下本]?(?:周|星期|礼拜)[一二三四五六日天末之]|这周|下周|[今明后][天晚早]|[上下]午|[一二三四五六七八九十\d]+[号点]|月底"
    r"|月初|这两天|这几天|尽快|马上|回头|回去|会后|散会|待会儿?|等会儿?|稍后|年底)"
)
_BY = (
    r"(?:(?:(?:周|星期|礼拜)[一二三四五六日天末]|[今明后]天|号|月底|年底|下班|开会|会议)[^，。]{0,2}?(?:之前|以前|前)"
    r"|以内|之内)"
)
_HOW = rf"(?:那|就|也|再|先|都|会|要|得|来|去|可以|亲自|负责|帮[你我您他]|{_WHEN}|之?前|的?时候){{0,6}}"
_TO = r"(?:(?:把|将|跟|和|给|找|拉|让|用|向|约)[^，。？了]{1,12}?)?"
_NAME = r"(?:[小老阿][\u4e00-\u9fff]|[\u4e00-\u9fff]{1,2}(?:总|工|哥|姐|老师|经理|主任|医生|书记))"
_TAKEN = re.compile(
    # 我来订, 会议室我来订, 我明天去租音响, 我跟物业借梯子, 我们下周一之前做好
    rf"(?:(?:我|咱)们?{_HOW}{_WHEN}{_HOW}|我(?!们){_HOW}(?:来|去|把|跟|就|再|先|找)){_HOW}{_TO}{_HOW}{_DO}"
    rf"|(?:^|[那行好])我(?:把|跟|给|找|用)[^，。？了]{{1,12}}?{_DO}"
    rf"|{_WHEN}{_HOW}(?:我|咱)(?:们)?{_HOW}{_TO}{_HOW}{_DO}"
    rf"|{_WHEN}(?:之前|前)?{_HOW}{_TO}{_HOW}(?:发[我你给群]|给你|给大家|报给)"
    r"|我(?:来|去)(?:弄|做|办|盯|提|负责)|我(?:发群|发[到给][^，]{1,6}|约[她他])"
    rf"|^那我{_DO}|我来吧|归我|我负责(?!的)|交给我(?!们)|包在我"
)
_GIVEN = re.compile(
    rf"(?:麻烦|辛苦|拜托|(?<![申邀去])请)(?:[你您]|{_NAME}|[\u4e00-\u9fff]{{2,3}}).{{0,12}}?{_DO}"
    r"|(?:麻烦|辛苦|拜托|(?<![申邀去])请)[^，。？]{1,6}把"
    rf"|{_NAME}，?你(?!们?[们说看觉是不有])[^了，。？]{{0,14}}?(?:{_DO}|负责)"
    rf"|你(?:来|去|负责)(?:跟[^，]{{1,8}})?{_DO}"
    rf"|你(?:们)?{_HOW}{_WHEN}{_HOW}(?:把|{_TO}{_HOW}{_DO})|拜托你"
    rf"|你把[^，。？了]{{1,12}}(?:发[我给到群]|上传|提交|给我|打印|整理|排出来|写出来)"
    rf"|你{_HOW}{_DO}一下"
    r"|由(?:[你我](?:来|去|负责)|[^，。？]{1,5}负责)|归你|交给你|你来[做办弄盯管]"
    rf"|(?:记得|别忘了?)(?:把|给|跟|去|带|{_DO})"
    rf"|(?:{_BY}|会后|散会)[^，。？了]{{0,12}}?{_DO}"
)
# Said of what is past, supposed, thought, asked or usual, or of people who are not there.
_NEVER = re.compile(r"如果|假如|要是|假设|万一|比如|的话|好像|？|吗[。？]?\Z|呢。?\Z")
_NOT_HERE = re.compile(
    r"[咱我]们[^，]{0,4}(?:开个|谈)|给你叫?过来|家长|领导|觉|认为|感觉|可能|估计|不能|不会|不用|没有?|上次|上个?[周月]|去年(?!的)|前年|刚才|刚刚|已经|以前|当时|的时候|一般|每年"
    r"|经常|平时|之前[在给我你他就有是]|上回|上学期|怎么|什么|谁|[去做来看用买说吃写问发谈]过(?![来去])|(?<![忘们])了"
    r"|的\Z|他们会|客户会|顾客|消费者|用户"
)
_CLAUSE = re.compile(r"[，。！；,!;]")


class BaselineEngine:
    """Rules in place of a model."""

    name = "baseline"

    def __init__(self) -> None:
        self.fingerprint: dict[str, Any] = {"engine": self.name, "version": VERSION}

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) in order; the completions' ``tokens`` are 0."""
        for index, sample in enumerate(samples):
            yield index, Completion(answer(sample.instruction, transcript_of(sample)))


def answer(instruction: str, input: str) -> str:
    r"""Return the answer to a prompt; the instruction says of which task it is.

    >>> answer(TASKS["action_item_detection"].instruction, "会议内容：\n1. [甲]: 大巴谁来订？\n2. [乙]: 我来订吧。")
    '2'
    """
    return _ANSWERS.get(instruction, title)([line for line in input.removeprefix(HEADER).split("\n") if line])


def transcript_of(sample: Sample) -> str:
    """Return what is asked about; in the layout ``shared`` boundaries are looked for among paragraphs, too."""
    if sample.instruction != AskBoundaries.instruction:
        return as_input(sample)
    lines, ends = as_input(sample).removeprefix(HEADER).split("\n"), ends_asked(sample.history[0][0])
    borders = zip((0, *ends), (*ends, len(lines)), strict=True)
    # A paragraph has the number of its last sentence, which is the answer that is wanted.
    return "\n".join(f"{last}. " + "".join(map(said, lines[first:last])) for first, last in borders)


# ------------------------------------------------------------------------------------------- one function a task


def title(lines: Sequence[str]) -> str:
    """Return the nouns, names and verbs that most lines say, as many as the length of a title allows."""
    counts = Counter(word for line in lines for word in dict.fromkeys(words(said(line))) if names_matter(word))
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
    """Return the numbers of the paragraphs behind which the words change most, the deepest dips first.

    A topic never has fewer than `TOPIC_WORDS` words, those at the ends of the prompt included.
    """
    texts = [said(line) for line in lines]
    paragraphs = [words(text) for text in texts]
    depths = cohesion_depths(paragraphs)
    if not depths:
        return NONE
    mean = sum(depths) / len(depths)
    deviation = math.sqrt(sum((depth - mean) ** 2 for depth in depths) / len(depths))
    opened = [
        depth + OPENING * deviation * bool(_OPENS.match(text)) for depth, text in zip(depths, texts[1:], strict=True)
    ]
    before = [0, *accumulate(map(len, paragraphs))]  # the words before each paragraph
    ends = [0, before[-1]]
    found = []
    for gap in sorted(range(len(opened)), key=lambda gap: -opened[gap]):
        if opened[gap] <= mean + DEPTH_CUT * deviation:
            break
        if all(abs(before[gap + 1] - end) >= TOPIC_WORDS for end in ends):
            ends.append(before[gap + 1])
            found.append(gap)
    return _numbers(sorted(found))


def sentence_segmentation(lines: Sequence[str]) -> str:
    """Return what `segmentation` does by the numbers that the lines have."""
    found = segmentation(lines)
    return found if found == NONE else ", ".join(lines[int(n) - 1].partition(".")[0] for n in found.split(", "))


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
_ANSWERS |= {task.instruction: _ANSWERS[TASKS[name].instruction] for name, task in SHARED_TASKS.items()} | {
    AskSummary.ask_text: summary_text,
    AskSession.ask_text: session_text,
    AskBoundaries.instruction: sentence_segmentation,
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


def names_matter(word: str) -> bool:
    """Say whether a title may list a word: a noun, a name or a verb with content.

    >>> [names_matter(word) for word in ("大巴", "抖音", "怀孕", "直接", "合适", "不用")]
    [True, True, True, False, False, False]
    """
    mark = _marks().get(word)
    return (mark is None or mark in _NAMING) and word not in _EMPTY and is_telling(word) and word[0] not in _NO_NAME


def listed(names: Sequence[str]) -> str:
    """Return names as a list in words.

    >>> listed(["大巴", "午餐", "保险"])
    '大巴、午餐和保险'
    """
    return "和".join(["、".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def longest_of_each(lines: Sequence[str], parts: int) -> list[int]:
    """Cut the lines in ``parts`` equal runs, at least one, and return the place of the weightiest line of each.

    Annotators mark long sentences and spread them over the topic. Choosing so scored higher on the three real
    meetings than choosing by shared words, with or without the runs.

    >>> longest_of_each(["[甲]: 嗯。", "[乙]: 去湿地公园。", "[甲]: 好。", "[甲]: 走吧。"], 2)
    [1, 3]
    """
    parts = min(max(1, parts), len(lines))
    bounds = [len(lines) * part // parts for part in range(parts + 1)] if lines else []
    return [
        max(range(start, stop), key=lambda place: weight(said(lines[place])))
        for start, stop in zip(bounds, bounds[1:], strict=False)
    ]


def weight(text: str) -> int:
    """Return the length of a sentence, without fillers and stutters where it consists mostly of them.

    >>> weight("然后就是那个那个那个大巴。"), weight("然后大巴下周三之前要订好。")
    (3, 13)
    """
    left = len(_FILLER.sub(lambda found: found[1] or "", text))
    return left if left < TOLD * len(text) else len(text)


def cohesion_depths(paragraphs: Sequence[Sequence[str]]) -> list[float]:
    """Return for each gap between paragraphs how deep the likeness of its two sides dips there.

    The likeness is the cosine of the counts of up to `BLOCK` words on each side (Hearst's blocks; his pseudo-sentences
    too make them independent of paragraphs); the depth is how far it rises from the gap to the next peak on the left
    and to that on the right, added up (his boundary identification).
    """
    flat = [word for paragraph in paragraphs for word in paragraph]
    gaps = list(accumulate(map(len, paragraphs)))[:-1]
    likeness = [_cosine(Counter(flat[max(0, gap - BLOCK) : gap]), Counter(flat[gap : gap + BLOCK])) for gap in gaps]
    # To hundredths, since where one matter goes on all along only what blocks cut off at their ends would stand out.
    return [round(_rise(likeness[gap::-1]) + _rise(likeness[gap:]), 2) for gap in range(len(likeness))]


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
    if _NEVER.search(text):
        return False
    return any(
        (_TAKEN.search(clause) or _GIVEN.search(clause)) and not _NOT_HERE.search(clause)
        for clause in _CLAUSE.split(text)
    )


@lru_cache(maxsize=1)
def _marks() -> dict[str, str]:
    """Return the part of speech of each word of jieba's dictionary.

    Looked up for the words that the plain cut gives: jieba.posseg cuts by itself and guesses marks for unknown words,
    and loses 抖音 so.
    """
    marks = _jieba().posseg.dt
    marks.initialize()
    return dict(marks.word_tag_tab)


@lru_cache(maxsize=1)
def _jieba() -> Any:
    """Import jieba when it is first needed, since its dictionary takes a second, and without its start-up lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its regular expressions, of newer Pythons
        import jieba
        import jieba.analyse
        import jieba.posseg
    jieba.setLogLevel(logging.WARNING)
    return jieba
