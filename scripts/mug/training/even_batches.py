"""The samples of an optimizer step, dealt to its batches so that all are about as long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any


class EvenBatches:
    """A sampler's places in another order: the batches of one optimizer step hold about the same number of tokens.

    Which samples a step sees does not change, so neither do its loss and gradients; but no batch is much longer than
    the others, which bounds memory, and no GPU waits for another one's long batch.

    Args:
        sampler: yields places in the data set.
        lengths: of all samples, in tokens.
        batch_size: samples of a batch.
        batches: of one step, those of all GPUs together.
    """

    def __init__(self, sampler: Any, lengths: Sequence[int], batch_size: int, batches: int) -> None:
        self.sampler, self.lengths, self.batch_size, self.batches = sampler, lengths, batch_size, batches

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        """Yield places, those of a batch together; what is left at the end stays as it is."""
        places = iter(self.sampler)
        while step := list(islice(places, self.batch_size * self.batches)):
            if len(step) < self.batch_size * self.batches:
                yield from step
                return
            batches: list[list[int]] = [[] for _ in range(self.batches)]
            totals = [0] * self.batches
            for place in sorted(step, key=lambda place: -self.lengths[place]):
                number = min(
                    (n for n in range(self.batches) if len(batches[n]) < self.batch_size), key=totals.__getitem__
                )
                batches[number].append(place)
                totals[number] += self.lengths[place]
            for batch in batches:
                yield from batch

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch's number on, which shuffles anew."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
