"""What preprocessing tells at its end: what was read, repaired, rejected, skipped, and how long the samples are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mug.corpus import Report
from mug.errors import Message


@dataclass
class Tally:
    """What became of one task's samples in one split; lengths are kept as value -> how often, in bounded memory."""

    samples: int = 0
    skipped: Counter[Message] = field(default_factory=Counter)
    input_tokens: Counter[int] = field(default_factory=Counter)
    target_tokens: Counter[int] = field(default_factory=Counter)
    over_cutoff: int = 0


def summary(
    reports: Mapping[str, Report],
    tallies: Mapping[str, Mapping[str, Tally]],
    counting: Message,
    cutoff_len: int,
    lang: str,
) -> list[str]:
    """Return the lines of the summary; ``reports`` and ``tallies`` are by split, the latter by task below that."""
    lines: list[str] = []

    def say(zh: str, en: str) -> None:
        lines.append(Message(zh, en).say(lang))

    for split, report in reports.items():
        say(
            f"{split}: {report.path}（{report.encoding}），{report.meetings} 个会议",
            f"{split}: {report.path} ({report.encoding}), {report.meetings} meetings",
        )
        for kind, (times, first) in report.warnings.items():
            say(
                f"  修正 {times} 处：{kind.zh}（首例 {first}）",
                f"  repaired {times}: {kind.say('en')} (first: {first})",
            )
        for rejected in report.rejected:
            say(
                f"  拒绝第 {rejected.row} 行 {rejected.meeting}：{rejected.reason.zh}",
                f"  rejected row {rejected.row} {rejected.meeting}: {rejected.reason.say('en')}",
            )
    say(
        f"\ntoken 数{counting.zh}；每项为 中位数 / 95 % / 最大；cutoff_len = {cutoff_len}",
        f"\ntokens: {counting.say('en')}; median / 95 % / maximum; cutoff_len = {cutoff_len}",
    )
    say(
        f"{'split':5} {'task':22} {'样本':>6} {'输入 token':>17} {'目标 token':>13} {'超长':>5}  跳过",
        f"{'split':5} {'task':22} {'samples':>8} {'input tokens':>19} {'target tokens':>15} {'over':>6}  skipped",
    )
    for split, by_task in tallies.items():
        for name, tally in by_task.items():
            over = f"{100 * tally.over_cutoff / max(1, tally.samples):.1f}%"
            skipped = "; ".join(f"{times} {reason.say(lang)}" for reason, times in tally.skipped.items())
            lines.append(
                f"{split:5} {name:22} {tally.samples:>8} {quantiles(tally.input_tokens):>19} "
                f"{quantiles(tally.target_tokens):>15} {over:>6}  {skipped or '-'}"
            )
    return lines


def quantiles(lengths: Counter[int]) -> str:
    """Return median / 95 % / maximum of lengths counted as value -> how often.

    >>> quantiles(Counter({10: 3, 50: 1}))
    '10 / 50 / 50'
    """
    total, seen, found = sum(lengths.values()), 0, list[int]()
    for length, times in sorted(lengths.items()):
        seen += times
        while len(found) < 2 and seen >= (0.5, 0.95)[len(found)] * total:
            found.append(length)
    return " / ".join(map(str, [*found, max(lengths)])) if lengths else "-"
