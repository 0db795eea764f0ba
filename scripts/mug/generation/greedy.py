"""Greedy answers to families of prompts: what a family's prompts begin with is read once and kept once.

A family is one row of the model's batch: its trunk, which is what all its prompts begin with, then the questions side
by side, then at each step one token of every answer. A mask shows a question and its answer the trunk and themselves;
positions go on from the trunk in each. So the trunk's keys and values, nearly all that a step of decoding loads, are
neither copied for each question nor loaded for each. Training does the same (``mug_tree``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class Shape(NamedTuple):
    """What a family needs, or the most that a family of a batch needs."""

    trunk: int
    """Tokens that its prompts begin with."""
    questions: int
    """How many prompts."""
    question: int
    """Tokens of the longest, without the trunk."""

    def tokens(self, max_new_tokens: int) -> int:
        """Return the keys that a family is given room for."""
        return self.trunk + self.questions * (self.question + max_new_tokens)


def shape(family: Sequence[list[int]]) -> Shape:
    """Return the shape of a family of prompts, given as token ids."""
    trunk = trunk_length(family)
    return Shape(trunk, len(family), max(map(len, family)) - trunk)


def shape_of_batch(shapes: Iterable[Shape]) -> Shape:
    """Return the shape that each family of a batch is padded to."""
    return Shape(*map(max, zip(*shapes, strict=True)))


def trunk_length(family: Sequence[list[int]]) -> int:
    """Return how many tokens all prompts begin with, at most so many that each has something left to read."""
    shortest = min(map(len, family)) - 1
    first, last = min(family), max(family)
    return next((n for n in range(shortest) if first[n] != last[n]), shortest)


def answer(
    model: Any,
    families: Sequence[Sequence[list[int]]],
    *,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    read_tokens: int,
) -> list[list[int]]:
    """Return the answers' token ids, of all prompts in order; what follows an end token means nothing.

    Args:
        model: a causal language model of transformers, without sliding windows, whose attention takes a 4-D mask.
        families: token ids of prompts; those of a family begin alike.
        stop_ids: the ids that end an answer; the last one pads.
        max_new_tokens: the longest answer, in tokens.
        read_tokens: how many tokens of trunks are read at a time.

    Raises:
        torch.OutOfMemoryError: the families do not fit together.
    """
    device, pad = model.device, stop_ids[-1]
    trunk, questions, question = shape_of_batch(map(shape, families))
    trunks = [family[0][: trunk_length(family)] for family in families]
    cache = _read(model, trunks, questions * (question + max_new_tokens), pad, read_tokens)
    ids, positions, told, asked = _side_by_side(families, trunks, questions, question, pad)
    ids, positions, told, asked = (one.to(device) for one in (ids, positions, told, asked))
    mask = torch.cat((_trunk_mask(trunks, trunk, questions * question, device), _tree_mask(told, questions)), dim=-1)

    keep = torch.arange(1, questions + 1, device=device) * question - 1  # where a question ends
    own = torch.eye(questions, dtype=torch.bool, device=device)
    stops = torch.tensor(stop_ids, device=device)
    rows = torch.arange(len(families), device=device)
    said = torch.full((len(families), questions, max_new_tokens), pad, device=device)
    ended = ~asked
    for step in range(max_new_tokens):
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=keep
        ).logits
        ids = logits.argmax(dim=-1)
        said[rows, :, step] = ids
        ended = ended | torch.isin(ids, stops)
        going = ~ended.all(dim=1)
        left = int(going.sum())
        if not left:
            break
        positions, mask = positions[:, keep] + 1, mask[:, :, keep]
        if left <= len(rows) // 2:  # what goes on alone need not take the others along
            rows, ids, positions, mask, ended = (one[going] for one in (rows, ids, positions, mask, ended))
            cache.batch_select_indices(going.nonzero()[:, 0])
        mask = torch.cat((mask, own.expand(len(rows), 1, -1, -1)), dim=-1)
        keep = torch.arange(questions, device=device)
    return said[asked].tolist()


def alike(rows: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Yield the rows' numbers, longest first, in groups of no more than ``most`` tokens and an eighth of padding."""
    group: list[int] = []
    for number in sorted(range(len(rows)), key=lambda number: -len(rows[number])):
        longest = len(rows[group[0]]) if group else 0
        if group and (longest * (len(group) + 1) > most or len(rows[number]) < longest * 7 // 8):
            yield group
            group = []
        group.append(number)
    yield group


class _Layer(DynamicLayer):
    """Keys and values [rows, heads, tokens, width] with room for those to come: a step copies no others."""

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.length = keys, values, length

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        before, self.length = self.length, self.length + key_states.shape[2]
        self.keys[:, :, before : self.length] = key_states
        self.values[:, :, before : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        return self.length


def _read(model: Any, trunks: Sequence[list[int]], room: int, pad: int, read_tokens: int) -> Cache:
    """Return the keys and values of trunks, a row each, with room for so many more behind the longest.

    They are read in groups of like length, padded on the right: what stands behind a token does not change it, so
    attention needs no mask and its fastest kernel will do. A mask hides the padding later.
    """
    longest = max(map(len, trunks))
    layers: list[_Layer] = []
    for group in alike(trunks, read_tokens):
        width = len(trunks[group[0]])
        ids = [trunks[number] + [pad] * (width - len(trunks[number])) for number in group]
        found = model(input_ids=torch.tensor(ids, device=model.device), use_cache=True, logits_to_keep=1)
        read = found.past_key_values.layers
        if not layers:
            sizes = [(len(trunks), one.keys.shape[1], longest + room, one.keys.shape[3]) for one in read]
            layers = [
                _Layer(one.keys.new_zeros(size), one.values.new_zeros(size), longest)
                for one, size in zip(read, sizes, strict=True)
            ]
        rows = torch.tensor(group, device=model.device)
        for layer, one in zip(layers, read, strict=True):
            layer.keys[:, :, :width].index_copy_(0, rows, one.keys)
            layer.values[:, :, :width].index_copy_(0, rows, one.values)
    return Cache(layers=layers)


def _side_by_side(
    families: Sequence[Sequence[list[int]]], trunks: Sequence[list[int]], questions: int, question: int, pad: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ids, positions and which of them are tokens [rows, questions x question], and which questions there are.

    Each question is padded before its first token, a family with fewer has others of nothing but padding.
    """
    ids = torch.full((len(families), questions, question), pad)
    positions = torch.zeros_like(ids)
    told = torch.zeros_like(ids, dtype=torch.bool)
    for row, (family, trunk) in enumerate(zip(families, trunks, strict=True)):
        for place, prompt in enumerate(family):
            start = question - (len(prompt) - len(trunk))
            ids[row, place, start:] = torch.tensor(prompt[len(trunk) :])
            positions[row, place, start:] = torch.arange(len(trunk), len(prompt))
            told[row, place, start:] = True
    asked = told.any(dim=2)
    return ids.flatten(1), positions.flatten(1), told.flatten(1), asked


def _trunk_mask(trunks: Sequence[list[int]], longest: int, asking: int, device: Any) -> Tensor:
    """Return [rows, 1, asking, longest]: every token sees its row's trunk, without the padding behind it."""
    lengths = torch.tensor([len(trunk) for trunk in trunks], device=device)
    seen = torch.arange(longest, device=device) < lengths[:, None]
    return seen[:, None, None].expand(-1, -1, asking, -1)


def _tree_mask(told: Tensor, questions: int) -> Tensor:
    """Return [rows, 1, tokens, tokens]: a token sees those of its own question up to itself, without padding."""
    tokens = told.shape[1]
    place = torch.arange(tokens, device=told.device)
    of = place // (tokens // questions)
    tree = (of[:, None] == of) & (place[:, None] >= place)
    return (tree & told[:, None, :])[:, None]
