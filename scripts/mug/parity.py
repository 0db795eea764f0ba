"""Do an adapter on its base, the merged model and a served model give the same greedy answers?

They should; where they do not, it is mostly the system prompt or the stop tokens that differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mug.generation.base import Completion
from mug.tasks.base import Sample


def differences(samples: Sequence[Sample], answers: Mapping[str, Sequence[Completion]]) -> list[dict[str, Any]]:
    """Return the samples to which the engines do not all say the same, with the place where the first two part.

    ``answers`` maps an engine's label to its completions in the order of ``samples``; the first is the measure.
    """
    labels = list(answers)
    found: list[dict[str, Any]] = []
    for index, sample in enumerate(samples):
        texts = {label: answers[label][index].text for label in labels}
        first = texts[labels[0]]
        if any(text != first for text in texts.values()):
            other = next(text for text in texts.values() if text != first)
            part = next(
                (i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), min(len(first), len(other))
            )
            found.append({"id": sample.id, "parts_at_character": part, "answers": texts})
    return found
