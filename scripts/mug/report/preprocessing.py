"""What preprocessing tells at its end: what was read, repaired, rejected, skipped, and how long the samples are."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from mug.conversion import Gathering
from mug.errors import InputError, Message
from mug.table import Rejected

SHOWN = 20  # rejected rows
_WIDTHS = (5, 22, 8, 19, 15, 6)


def summary(
    gatherings: Mapping[str, Gathering],
    counting: Message,
    cutoff_len: int,
    lang: str,
) -> list[str]:
    """Return the lines of the summary; ``gatherings`` are by split."""
    lines: list[str] = []

    def say(zh: str, en: str) -> None:
        lines.append(Message(zh, en).say(lang))

    for split, gathering in gatherings.items():
        report = gathering.report
        say(
            f"{split}: {report.path}（{report.encoding}），{report.meetings} 个会议",
            f"{split}: {report.path} ({report.encoding}), {report.meetings} meetings",
        )
        for kind, (times, first) in report.warnings.items():
            say(
                f"  修正 {times} 处：{kind.zh}（首例 {first}）",
                f"  repaired {times}: {kind.say('en')} (first: {first})",
            )
        for rejected in report.rejected[:SHOWN]:
            say(
                f"  拒绝第 {rejected.row} 行 {rejected.meeting}：{rejected.reason.zh}",
                f"  rejected row {rejected.row} {rejected.meeting}: {rejected.reason.say('en')}",
            )
        if report.rejections > SHOWN:
            say(f"  …… 共拒绝 {report.rejections} 行", f"  ... {report.rejections} rows rejected in all")
    say(
        f"\ntoken 数{counting.zh}；每项为 中位数 / 95 % / 最大；cutoff_len = {cutoff_len}",
        f"\ntokens: {counting.say('en')}; median / 95 % / maximum; cutoff_len = {cutoff_len}",
    )
    heads = {
        "zh": ("split", "task", "样本", "输入 token", "目标 token", "超长", "跳过"),
        "en": ("split", "task", "samples", "input tokens", "target tokens", "over", "skipped"),
    }
    lines.append(_line(heads[lang]))
    for split, gathering in gatherings.items():
        for name, tally in gathering.tallies.items():
            over = f"{100 * tally.over_cutoff / max(1, tally.samples):.1f}%"
            skipped = "; ".join(f"{times} {reason.say(lang)}" for reason, times in tally.skipped.items())
            lengths = (quantiles(tally.input_tokens), quantiles(tally.target_tokens))
            lines.append(_line((split, name, str(tally.samples), *lengths, over, skipped or "-")))
    return lines


def _line(cells: tuple[str, ...]) -> str:
    """Put cells in columns, the first two to the left; a Chinese character is as wide as two letters."""
    padded = []
    for place, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=False)):
        room = " " * (width - sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in cell))
        padded.append(cell + room if place < 2 else room + cell)
    return f"{' '.join(padded)}  {cells[-1]}"


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


def notes(folder: Path, datasets: Mapping[str, str | None], rejections: int) -> Iterator[Message]:
    """Yield what needs attention: samples in ``folder`` that this run did not write, and rejected rows."""
    for split in ("train", "dev"):
        older = folder / f"{split}_alpaca.json"
        if datasets[f"alimeeting4mug_{split}"] is None and older.exists():
            yield Message(
                f"\n{older} 不是这次写的，已从 dataset_info.json 中去掉；train 与 dev 请一次写出。",
                f"\n{older} is of an earlier run and not listed any more; write train and dev in one run.",
            )
    if rejections:
        listed = folder / "rejected.jsonl"
        yield Message(
            f"\n有 {rejections} 行被拒，见 {listed}；其余已写入。",
            f"\n{rejections} rows were rejected, see {listed}; the others are written.",
        )


def refused(rejected: Rejected) -> InputError:
    """Return the error that ``--strict`` makes of a rejected row."""
    return InputError(
        f"{rejected.file} 第 {rejected.row} 行：{rejected.reason.zh}；请修好这一行，或去掉 --strict 以略过它。",
        f"{rejected.file} row {rejected.row}: {rejected.reason.say('en')}; mend this row, or leave it out by running "
        "without --strict.",
    )


def no_samples(gathering: Gathering) -> InputError:
    """Return the error for a corpus file that gave no samples, with the most telling reason."""
    report = gathering.report
    reason = _first_reason(gathering)
    return InputError(
        f"{report.path} 没有得到任何样本（{report.meetings} 个会议，{report.rejections} 行被拒）；{reason.zh}。",
        f"{report.path} gave no samples ({report.meetings} meetings, {report.rejections} rows rejected); "
        f"{reason.say('en')}.",
    )


def _first_reason(gathering: Gathering) -> Message:
    if gathering.report.rejected:
        first = gathering.report.rejected[0]
        return Message(f"第 {first.row} 行：{first.reason.zh}", f"row {first.row}: {first.reason.say('en')}")
    for tally in gathering.tallies.values():
        if tally.skipped:
            return tally.skipped.most_common(1)[0][0]
    return Message("文件里没有会议", "there are no meetings in the file")
