"""What all formats of the minutes say alike: headings, how the minutes were made, times, and turns of speaking."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from mug.errors import Message
from mug.meeting import Sentence
from mug.minutes.model import ActionItem, Chapter, Minutes

TEXTS = {
    "contents": Message("目录", "Contents"),
    "summary": Message("摘要", "Summary"),
    "actions": Message("行动项", "Action items"),
    "chapters": Message("章节", "Chapters"),
    "participants": Message("参会人", "Participants"),
    "keyphrases": Message("关键词", "Keyphrases"),
    "transcript": Message("全文", "Transcript"),
    "made": Message("说明", "How these minutes were made"),
    "date": Message("日期", "Date"),
    "length": Message("时长", "Length"),
    "source": Message("来源", "Source"),
    "sentences": Message("句数", "Sentences"),
    "share": Message("占比", "Share"),
    "talking": Message("说话时长", "Talking time"),
    "name": Message("姓名", "Name"),
    "owner": Message("负责人", "Owner"),
    "due": Message("期限", "Due"),
    "what": Message("事项", "What"),
    "where": Message("出处", "Source"),
    "none_actions": Message("没有找到行动项。", "No action items found."),
    "none_summary": Message("没有选出摘要句。", "No sentences chosen for a summary."),
    "untitled": Message("未命名", "Untitled"),
    "unsaid": Message("原文未出现", "not in the transcript"),
    "edited": Message("人工修改", "edited"),
    "generated": Message("生成", "generated"),
    "derived": Message("推导", "derived"),
    "unnamed": Message("未说明", "unnamed"),
    "comma": Message("、", ", "),
    "colon": Message("：", ": "),
}
"""Short texts by the name that the renderers call them."""


class Turn(NamedTuple):
    """Sentences that one speaker said in a row, with their places."""

    speaker: str
    sentences: list[tuple[int, Sentence]]


def turns(minutes: Minutes, chapter: Chapter) -> list[Turn]:
    """Cut a chapter into turns of speaking."""
    placed = [(place, minutes.sentences[place - 1]) for place in range(chapter.start, chapter.end + 1)]
    return [Turn(speaker, list(group)) for speaker, group in groupby(placed, key=lambda pair: pair[1].speaker)]


def clock(seconds: float | None) -> str:
    """Return a time of the meeting as a reader finds it in a player, or nothing.

    >>> clock(65.4), clock(3725), clock(None)
    ('01:05', '1:02:05', '')
    """
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes:02}:{whole % 60:02}"


def time_of(minutes: Minutes, place: int) -> str:
    """Return when a sentence begins, or nothing."""
    return clock(minutes.sentences[place - 1].start)


def span(minutes: Minutes, chapter: Chapter) -> str:
    """Return from when to when a chapter goes, or nothing where there are no times."""
    inside = minutes.sentences[chapter.start - 1 : chapter.end]
    first = next((sentence.start for sentence in inside if sentence.start is not None), None)
    ends = [sentence.end if sentence.end is not None else sentence.start for sentence in reversed(inside)]
    last = next((end for end in ends if end is not None), None)
    return f"{clock(first)}–{clock(last)}" if first is not None else ""


def length(minutes: Minutes) -> str:
    """Return how long the meeting was, from its first sentence to its last, or nothing."""
    times = [time for s in minutes.sentences for time in (s.start, s.end) if time is not None]
    return clock(max(times) - min(times)) if times else ""


def title_of(chapter: Chapter, lang: str) -> str:
    """Return a chapter's title, or what stands for it."""
    return chapter.title or TEXTS["untitled"].say(lang)


def title_of_minutes(minutes: Minutes, lang: str) -> str:
    """Return the minutes' title, or what stands for it."""
    return minutes.title or Message("会议纪要", "Minutes").say(lang)


def talked(minutes: Minutes) -> list[tuple[str, int, str, float | None]]:
    """Return name, sentences, talking time and its share by participant; without times the share of sentences."""
    seconds = [one.seconds or 0.0 for one in minutes.participants]
    parts: Sequence[float] = seconds if sum(seconds) else [float(one.sentences) for one in minutes.participants]
    return [
        (one.name, one.sentences, clock(one.seconds), part / sum(parts))
        for one, part in zip(minutes.participants, parts, strict=True)
    ]


def aside(text: str, lang: str) -> str:
    """Return a remark in brackets as the language writes them, or nothing."""
    return text and (f"（{text}）" if lang == "zh" else f" ({text})")


def marks(item: ActionItem, lang: str) -> str:
    """Return how owner and date of an action item came about: derived, edited, or nothing where there is neither."""
    if item.edited:
        return TEXTS["edited"].say(lang)
    return TEXTS["derived"].say(lang) if item.owner or item.due else ""


def how_made(minutes: Minutes, lang: str) -> list[str]:
    """Return what is quoted, what is generated by what, what is derived, and what is in doubt, a sentence each."""
    by = minutes.engine
    if by == "baseline":
        found = [
            Message(
                "没有使用模型：由基线规则（baseline）划分章节、选句、拟标题，质量是底线，只供参考。",
                "No model was used: baseline rules cut chapters, chose sentences and made titles; the floor of "
                "quality.",
            )
        ]
    else:
        found = [Message(f"章节、选句和标题由 {by} 产生。", f"Chapters, choices and titles were made by {by}.")]
    what = "会议标题、各章标题" if minutes.title_generated else "各章标题"
    en = "The titles of the meeting and of its chapters are" if minutes.title_generated else "Chapter titles are"
    found.append(
        Message(
            f"{what}是生成的；标有“人工修改”的由人改过。摘要、关键句和行动项是原文中的句子，逐字引用，可点到原处。",
            f"{en} generated, except those marked as edited. Summary, key sentences and action items are sentences of "
            "the transcript, quoted word for word and linked to their place.",
        )
    )
    if minutes.generated_keyphrases:
        found.append(
            Message("标有“原文未出现”的关键词是生成的。", "Keyphrases marked as not in the transcript are generated.")
        )
    if any((item.owner or item.due) and not item.edited for item in minutes.action_items):
        found.append(
            Message(
                "行动项的负责人和期限按规则从句中推导，请核对。",
                "Owners and due dates of action items are derived from their sentences by rule; check them.",
            )
        )
    return [message.say(lang) for message in (*found, *minutes.notes)]
