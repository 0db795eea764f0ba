"""The interface of an engine: prompts in, completions out, in whatever order suits the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mug.tasks.base import Sample


@dataclass(frozen=True)
class Completion:
    """What a model said; ``finish`` is ``length`` when it was stopped by the token limit, not by an end token."""

    text: str
    finish: Literal["stop", "length"] = "stop"
    tokens: int = 0


class Engine(Protocol):
    """Something that answers samples."""

    name: str
    fingerprint: dict[str, Any]
    """What the answers depend on beside the prompts: two runs with the same fingerprint may share a file."""

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index into ``samples``, completion), each index once, as they are finished."""
        ...


def user_message(sample: Sample) -> str:
    """Return the user's turn exactly as LLaMA-Factory's Alpaca converter makes it in training."""
    return f"{sample.instruction}\n{sample.input}" if sample.input else sample.instruction


def messages(sample: Sample) -> list[dict[str, str]]:
    """Return the turns of a prompt in order, the question last; the system prompt is the engine's."""
    turns: list[dict[str, str]] = []
    for question, answer in sample.history:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": user_message(sample)}]
