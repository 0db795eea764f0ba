"""Every link of the minutes checked against the transcript, before anything is shown.

A quote that is not word for word at its place is worse than none: the reader trusts it.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from mug.errors import InputError
from mug.meeting import Sentence
from mug.minutes.model import Minutes, Quote


def verify(minutes: Minutes) -> None:
    """Check that the minutes hold nothing but what was said, and what is marked as generated, derived or edited.

    Raises:
        InputError: a quote is not the sentence at its place, chapters leave a gap, an owner or a date is not in its
            sentence, a keyphrase that nobody said is not marked, or participants are not those who spoke.
    """
    last = len(minutes.sentences)
    if not last:
        raise _wrong("没有句子", "there are no sentences")
    expected = 1
    for number, chapter in enumerate(minutes.chapters, 1):
        if chapter.start != expected or not chapter.start <= chapter.end <= last:
            raise _wrong(
                f"第 {number} 章是第 {chapter.start} 到 {chapter.end} 句，应从第 {expected} 句开始，不超过 {last}",
                f"chapter {number} runs from sentence {chapter.start} to {chapter.end}, and should begin at "
                f"{expected} and stay within {last}",
            )
        expected = chapter.end + 1
        _check_quotes(minutes, chapter.key_sentences, chapter.start, chapter.end)
    if expected != last + 1:
        raise _wrong(f"章节止于第 {expected - 1} 句，全文有 {last} 句", f"chapters end at {expected - 1} of {last}")
    _check_quotes(minutes, minutes.summary, 1, last)
    for item in minutes.action_items:
        _check_quotes(minutes, [item.evidence], 1, last)
        if item.edited:
            continue
        said, speaker = item.evidence.text, minutes.sentences[item.evidence.place - 1].speaker
        if item.text != said or item.due not in said or not (item.owner in said or item.owner == speaker):
            raise _wrong(
                f"第 {item.evidence.place} 句的行动项与原句不符，又没有标为人工修改",
                f"the action item of sentence {item.evidence.place} differs from it and is not marked as edited",
            )
    said_all = spoken(minutes.sentences)
    unsaid = tuple(phrase for phrase in minutes.keyphrases if not is_said(phrase, said_all))
    if unsaid != minutes.generated_keyphrases:
        raise _wrong("关键词的“原文未出现”标记不对", "the marks of keyphrases that nobody said are wrong")
    counts = Counter(sentence.speaker for sentence in minutes.sentences)
    if {one.name: one.sentences for one in minutes.participants} != dict(counts):
        raise _wrong("参会人与说话人不符", "the participants are not those who spoke")


def _check_quotes(minutes: Minutes, quotes: Sequence[Quote], first: int, last: int) -> None:
    for quote in quotes:
        if not first <= quote.place <= last:
            raise _wrong(
                f"引文指向第 {quote.place} 句，不在 {first} 到 {last} 之间",
                f"a quote points to sentence {quote.place}, which is not within {first} to {last}",
            )
        if minutes.sentences[quote.place - 1].text != quote.text:
            raise _wrong(
                f"第 {quote.place} 句的引文与原句不符", f"the quote of sentence {quote.place} is not what it says"
            )


def spoken(sentences: Sequence[Sentence]) -> str:
    """Return all that was said, in one form of width and case, a line a sentence."""
    return _folded("\n".join(sentence.text for sentence in sentences))


def is_said(phrase: str, said: str) -> bool:
    """Say whether a phrase stands in what `spoken` returned, whatever its width and case.

    >>> is_said("ai", spoken([Sentence("甲", "用ＡＩ写。")]))
    True
    """
    return _folded(phrase) in said


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _wrong(zh: str, en: str) -> InputError:
    return InputError(f"纪要没有通过核对：{zh}；请重新生成。", f"The minutes fail their check: {en}; make them again.")
