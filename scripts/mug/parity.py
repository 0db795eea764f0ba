"""Do an adapter on its base, the merged model and a served model give the same greedy answers?

They should; where they do not, it is mostly the system prompt or the stop tokens that differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mug.generation.base import Completion
from mug.tasks.base import Sample

GOES_ON = "goes on after an end token"
"""llamafactory-cli api stops at <|im_end|> only, we at <|endoftext|> too; what is said up to there is the same."""

_SPECIAL = re.compile(r"<\|[^|<>\s]+\|>")  # servers leave these out of their text


def differences(samples: Sequence[Sample], answers: Mapping[str, Sequence[Completion]]) -> list[dict[str, Any]]:
    """Return the samples to which the engines do not all say the same, special tokens aside.

    ``answers`` maps an engine's label to its completions in the order of ``samples``; the first is the measure. Each
    sample found says ``why`` for each engine that differs from it::

        {"id": "T1/title/3", "why": {"http://…/v1": "goes on after an end token"},
         "answers": {"outputs/lora": "定春游地点", "http://…/v1": "定春游地点定春游"}}
    """
    measure, *others = answers
    found: list[dict[str, Any]] = []
    for index, sample in enumerate(samples):
        hints = {other: why(answers[measure][index], answers[other][index]) for other in others}
        if any(hints.values()):
            texts = {label: answers[label][index].text for label in answers}
            found.append({"id": sample.id, "why": {k: hint for k, hint in hints.items() if hint}, "answers": texts})
    return found


def why(first: Completion, other: Completion) -> str:
    """Say in what ``other`` differs from ``first``; empty where it does not.

    >>> why(Completion("定春游地点"), Completion("定春游时间"))
    'differs from character 4'
    """
    a, b = (_SPECIAL.sub("", text) for text in (first.text, other.text))
    if a == b:
        return ""
    # An answer may be stopped between the bytes of a character, of which half is shown as U+FFFD.
    if b.startswith(a.rstrip("\ufffd")):
        return GOES_ON if first.finish == "stop" else "is longer than the token limit of the first"
    if a.startswith(b.rstrip("\ufffd")):
        return f"ends {'at a lower token limit' if other.finish == 'length' else 'earlier'}, after character {len(b)}"
    place = next(i for i, (one, two) in enumerate(zip(a, b, strict=False), 1) if one != two)
    return f"differs from character {place}"
