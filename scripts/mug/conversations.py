r"""Questions about one transcript -> the rows of train in the layout ``shared``, a conversation each, and back.

    {"history": [["…\n会议内容：\n1. [no.0]: 去湿地公园吧。", "好的。"],
                 ["请生成一个简洁准确的主题标题。", "确定春游地点"]],
     "instruction": "请选出最能概括该主题的关键句，…", "input": "", "output": "1",
     "ids": ["M0115/title/79", "M0115/summary/79"]}

LLaMA-Factory trains on every turn. By itself it shows a question those before it and their answers, which no
evaluation does; with ``mug_tree=true`` (`mug.training.speed`) each is trained as if it stood alone after the
transcript. The same question to several annotators can't be trained in any other way: the second answer would learn to
differ from the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mug import tokens
from mug.tasks.base import Sample
from mug.tasks.shared import TURN_TOKENS

CUTOFF_LEN = 4096
"""The default ``cutoff_len``: the transcript at its longest, and room for the turns of six tasks and annotators."""


def conversations(samples: Sequence[Sample], count: tokens.Counter, room: int) -> list[list[Sample]]:
    """Put samples with the same transcript together, in the order in which the transcripts come.

    LLaMA-Factory drops without a word what passes ``cutoff_len``, so turns that don't fit begin another conversation.

    Args:
        samples: of one meeting, with ``history``.
        count: what ``input_tokens`` were counted by.
        room: the tokens that a conversation may have, template not included; a sample alone is never refused.
    """
    targets = count([sample.output for sample in samples])
    questions = count([sample.instruction for sample in samples])
    found: dict[tuple[tuple[str, str], ...], list[list[Sample]]] = {}
    used: dict[tuple[tuple[str, str], ...], int] = {}
    for sample, target, question in zip(samples, targets, questions, strict=True):
        turn = TURN_TOKENS + question + target
        those = found.setdefault(sample.history, [])
        if those and used[sample.history] + turn <= room:
            those[-1].append(sample)
            used[sample.history] += turn
        else:
            those.append([sample])
            used[sample.history] = sample.input_tokens + target
    return [one for those in found.values() for one in those]


def row(conversation: Sequence[Sample]) -> dict[str, Any]:
    """Return a conversation as an Alpaca row: the last question and answer, and what was said before as history."""
    last = conversation[-1]
    earlier = [*last.history, *((sample.instruction, sample.output) for sample in conversation[:-1])]
    return {
        "instruction": last.instruction,
        "input": last.input,
        "output": last.output,
        "history": [list(turn) for turn in earlier],
        "ids": [sample.id for sample in conversation],
    }


def repeats(conversation: Sequence[Sample]) -> bool:
    """Say whether a question is asked twice, for several annotators' answers."""
    return len({sample.instruction for sample in conversation}) < len(conversation)


def questions(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the single prompts of a row, each question after the transcript alone; any other row as it is."""
    ids = row.get("ids")
    if not isinstance(ids, list) or len(ids) != len(row.get("history") or ()):
        yield row
        return
    trunk, *earlier = row["history"]
    for id, (question, answer) in zip(ids, [*earlier, (row["instruction"], row["output"])], strict=True):
        yield {"id": id, "history": [trunk], "instruction": question, "input": "", "output": answer}
