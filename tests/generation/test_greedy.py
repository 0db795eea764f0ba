"""Answers to prompts that begin alike, by a random model, against those of transformers' own generate."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from mug.generation import greedy, grouped_attention

pytestmark = pytest.mark.slow

STOPS = [7, 9]
NEW_TOKENS = 20
SIZES = {
    "vocab_size": 60,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,  # answers that differ
    "attn_implementation": grouped_attention.NAME,
}


@pytest.fixture(scope="module", params=["qwen2", "qwen3"])
def model(request):
    torch.manual_seed(1)
    if request.param == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval()
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)).eval()


@pytest.fixture(scope="module")
def families() -> list[list[list[int]]]:
    """Families of one to four prompts whose trunks and questions are of all lengths."""
    chance = torch.Generator().manual_seed(0)

    def words(number: int) -> list[int]:
        return torch.randint(10, 60, (number,), generator=chance).tolist()

    made = []
    for trunk, questions in [(30, [5, 1, 9]), (70, [3]), (12, [2, 2, 6, 4]), (65, [1, 12]), (3, [8]), (31, [4, 4])]:
        begun = words(trunk)
        made.append([begun + words(question) for question in questions])
    made[3].append(made[3][1][:70])  # a prompt that another one begins with
    return made


def until(answer: list[int], stops: list[int]) -> list[int]:
    end = next((place for place, token in enumerate(answer) if token in stops), len(answer))
    return answer[:end]


def test_answers_are_those_to_each_prompt_alone(model, families):
    settings = GenerationConfig(max_new_tokens=NEW_TOKENS, eos_token_id=STOPS, pad_token_id=STOPS[-1])
    alone = []
    for prompt in (prompt for family in families for prompt in family):
        ids = torch.tensor([prompt])
        output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        alone.append(until(output[0, len(prompt) :].tolist(), STOPS))
    assert len({tuple(answer) for answer in alone}) > len(alone) // 2
    with torch.inference_mode():
        found = greedy.answer(model, families, stop_ids=STOPS, max_new_tokens=NEW_TOKENS, read_tokens=80)
    assert [until(answer, STOPS) for answer in found] == alone


def test_families_whose_answers_have_ended_leave_the_batch(model, families, monkeypatch):
    with torch.inference_mode():
        endless = greedy.answer(model, families, stop_ids=[1], max_new_tokens=NEW_TOKENS, read_tokens=80)
    first = sum(map(len, families[:4]))
    stops = [answer[2] for answer in endless[:first]]  # four of the six families end at their third token or before
    shapes: list[tuple[int, int]] = []
    forward = model.forward

    def watched(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", watched)
    with torch.inference_mode():
        found = greedy.answer(model, families, stop_ids=stops, max_new_tokens=NEW_TOKENS, read_tokens=80)
    assert [until(answer, stops) for answer in found] == [until(answer, stops) for answer in endless]
    widest = max(map(len, families))
    asking = [rows for rows, tokens in shapes if tokens == widest]
    assert asking[:2] == [6, 6] and len(asking) > 4 and max(asking[2:]) <= 3


def test_a_family_takes_its_trunk_once_and_room_for_each_answer():
    family = [[1, 2, 3, 4, 5], [1, 2, 3, 9], [1, 2, 3, 4, 6, 7]]
    assert greedy.shape(family) == greedy.Shape(trunk=3, questions=3, question=3)
    assert greedy.shape(family).tokens(10) == 3 + 3 * 13
    assert greedy.shape([[1, 2, 3]]) == greedy.Shape(2, 1, 1)  # its last token is left to read
    assert greedy.shape([[1, 2], [1, 2, 3]]) == greedy.Shape(1, 2, 2)
    assert greedy.shape_of_batch([greedy.Shape(9, 1, 1), greedy.Shape(4, 3, 7)]) == greedy.Shape(9, 3, 7)


def test_prompts_are_read_longest_first_with_little_padding():
    rows = [[0] * length for length in (100, 60, 99, 88, 87, 86, 10)]
    assert list(greedy.alike(rows, 250)) == [[0, 2], [3, 4], [5], [1], [6]]
    assert list(greedy.alike(rows, 400)) == [[0, 2, 3, 4], [5], [1], [6]]
    assert list(greedy.alike(rows[:1], 50)) == [[0]]  # a prompt over the limit goes alone
