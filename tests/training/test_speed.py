"""The speed module computes what the plain model does: losses and LoRA gradients, on tiny models in fp32."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from mug.errors import InputError
from mug.training import speed

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MODELS = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
}


def lora(kind, **changes):
    torch.manual_seed(0)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | changes
    model = get_peft_model(MODELS[kind](), LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide half of the gradients
            torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


def sample(length, targets, seed, turns=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 97, (length,), generator=generator).tolist()
    labels = [speed.IGNORED] * (length - targets) + ids[length - targets :]
    for turn in range(1, turns):  # an earlier answer in the middle of the prompt
        labels[5 * turn : 5 * turn + 2] = ids[5 * turn : 5 * turn + 2]
    return {"input_ids": ids, "labels": labels, "attention_mask": [1] * length}


SAMPLES = [sample(23, 4, 1), sample(9, 2, 2), sample(31, 1, 3), sample(17, 5, 4, turns=2)]


def padded(samples):
    longest = max(len(one["input_ids"]) for one in samples)

    def fill(name, value):
        return torch.tensor([one[name] + [value] * (longest - len(one[name])) for one in samples])

    return {
        "input_ids": fill("input_ids", 0),
        "labels": fill("labels", speed.IGNORED),
        "attention_mask": fill("attention_mask", 0),
    }


def gradients(model):
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.requires_grad}


def both(kind, samples, **changes):
    plain = lora(kind, **changes)
    fast = copy.deepcopy(plain)
    speed.prepare(fast)
    items = sum(label != speed.IGNORED for one in samples for label in one["labels"])
    losses = []
    for model, batch in ((plain, padded(samples)), (fast, speed.lay_end_to_end(samples))):
        loss = model(**batch, num_items_in_batch=items).loss
        loss.backward()
        losses.append(loss.item())
    return losses, gradients(plain), gradients(fast)


@pytest.mark.parametrize("kind", MODELS)
def test_loss_and_gradients_are_those_of_the_plain_model(kind):
    losses, plain, fast = both(kind, SAMPLES)
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    assert len(plain) == 2 * 7 * SHAPE["num_hidden_layers"]
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, atol=1e-5, rtol=1e-4)
        assert gradient.abs().max() > 1e-5  # there is something to compare


def test_projections_without_an_adapter_are_computed_too():
    losses, plain, fast = both("qwen2", SAMPLES, target_modules=["q_proj", "v_proj", "down_proj"])
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, atol=1e-5, rtol=1e-4)


def test_packed_samples_do_not_see_each_other():
    packed = {key: [] for key in SAMPLES[0]}
    for number, one in enumerate(SAMPLES, 1):
        packed["input_ids"] += one["input_ids"]
        packed["labels"] += one["labels"]
        packed["attention_mask"] += [number] * len(one["input_ids"])
    packed = {
        "input_ids": packed["input_ids"] + [0] * 5,
        "labels": packed["labels"] + [speed.IGNORED] * 5,
        "attention_mask": packed["attention_mask"] + [0] * 5,
    }
    one, other = speed.lay_end_to_end([packed]), speed.lay_end_to_end(SAMPLES)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])), name


def test_a_batch_tells_its_size_and_keeps_all_targets():
    batch = speed.lay_end_to_end(SAMPLES)
    assert next(iter(batch)) == "lengths"
    assert batch["lengths"].tolist() == [23, 9, 31, 17]
    assert batch["position_ids"].shape == batch["input_ids"].shape == (1, 80)
    assert batch["shift_labels"][0].tolist() == [label for one in SAMPLES for label in one["labels"] if label >= 0]
    assert batch["tail_borders"].tolist() == [0, 5, 8, 10, 23]  # the last sample's earlier turn begins at token 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"lora_dropout": 0.1}, "lora_dropout=0"), ({"use_dora": True}, "DoRA"), ({"lora_bias": True}, "lora_bias")],
)
def test_what_it_can_not_compute_exactly_is_refused(changes, told):
    with pytest.raises(InputError) as error:
        speed.prepare(lora("qwen2", **changes))
    assert told in error.value.message.en
