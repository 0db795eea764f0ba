"""The speed module computes what the plain model does: losses and LoRA gradients, on tiny models in fp32."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from mug.errors import InputError
from mug.training import speed
from mug.training.even_batches import EvenBatches

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
    del one["lengths"], other["lengths"]  # one packed sample, or four
    assert str(one) == str(other)


def test_a_batch_tells_its_size_and_keeps_all_targets():
    batch = speed.lay_end_to_end(SAMPLES)
    assert next(iter(batch)) == "lengths"
    assert batch["lengths"].tolist() == [23, 9, 31, 17]
    assert batch["position_ids"].shape == batch["input_ids"].shape == (1, 80)
    assert batch["shift_labels"][0].tolist() == [label for one in SAMPLES for label in one["labels"] if label >= 0]
    assert batch["layout"]["last"]["queries"].tolist() == [
        0,
        5,
        8,
        10,
        23,
    ]  # the last sample's earlier turn begins at token 5


@pytest.mark.filterwarnings("ignore:.lora_bias=True")  # what peft says of the last one
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora_dropout": 0.1}, "lora_dropout=0"),
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"alpha_pattern": {"k_proj": 16}}, "unlike lora_alpha"),
    ],
)
def test_what_it_can_not_compute_exactly_is_refused(changes, told):
    with pytest.raises(InputError) as error:
        speed.prepare(lora("qwen2", **changes))
    assert told in error.value.message.en


def test_batches_of_a_step_are_about_equally_long_and_hold_the_same_samples():
    lengths = [5, 90, 10, 20, 80, 15, 60, 40, 7, 7]
    order = [3, 1, 0, 4, 2, 6, 5, 7, 9, 8]
    even = list(EvenBatches(order, lengths, 2, 4))
    assert len(even) == 10
    assert sorted(even[:8]) == sorted(order[:8])
    assert even[8:] == order[8:]  # not a whole step
    totals = [lengths[a] + lengths[b] for a, b in zip(even[:8:2], even[1:8:2], strict=True)]
    assert totals == [95, 90, 75, 60]  # 320 in pairs, and 90 goes with the shortest
    assert max(totals) < max(lengths[a] + lengths[b] for a, b in zip(order[:8:2], order[1:8:2], strict=True))


# ------------------------------------------------------------------------------------------------------------- trees


def conversation(trunk, *answers, seed=7):
    """A trunk (a question with its short answer), then questions with answers of some lengths."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count):
        return torch.randint(3, 97, (count,), generator=generator).tolist()

    ids, labels, turns = draw(trunk), [], []
    labels = [speed.IGNORED] * (trunk - 2) + ids[-2:]
    for question, answer in answers:
        turn = draw(question + answer)
        turns.append((turn, [speed.IGNORED] * question + turn[question:]))
    whole = {
        "input_ids": ids + [one for turn, _ in turns for one in turn],
        "labels": labels + [one for _, turn in turns for one in turn],
    }
    whole["attention_mask"] = [1] * len(whole["input_ids"])
    apart = [
        {"input_ids": ids + turn, "labels": [speed.IGNORED] * trunk + wanted, "attention_mask": [1] * len(ids + turn)}
        for turn, wanted in turns
    ]
    return whole, apart


@pytest.mark.parametrize("kind", MODELS)
def test_a_tree_gives_the_losses_and_gradients_of_its_samples_apart(kind):
    one, apart = conversation(20, (5, 3), (4, 1), (6, 4), seed=1)
    two, others = conversation(11, (3, 2), (5, 5), seed=2)
    plain = lora(kind)
    fast = copy.deepcopy(plain)
    speed.prepare(fast)
    separate = [SAMPLES[0], *apart, *others]
    items = sum(label != speed.IGNORED for sample in separate for label in sample["labels"])
    expected = plain(**padded(separate), num_items_in_batch=items).loss
    expected.backward()
    batch = speed.lay_end_to_end([one, SAMPLES[0], two], tree=True)
    assert (batch["labels"] != speed.IGNORED).sum() == items
    loss = fast(**batch, num_items_in_batch=items).loss
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    wanted = gradients(plain)
    for name, gradient in gradients(fast).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4)


def test_a_tree_reads_its_trunk_once():
    whole, apart = conversation(50, (4, 2), (4, 2), (4, 2))
    assert speed.lay_end_to_end([whole], tree=True)["input_ids"].shape == (1, 50 + 3 * 6)
    assert speed.lay_end_to_end(apart)["input_ids"].shape == (1, 3 * 56)


def test_without_trees_a_conversation_stays_one_sample():
    whole, _ = conversation(20, (5, 3), (4, 1))
    batch = speed.lay_end_to_end([whole])
    assert "branches" not in batch["layout"]["all"]
    assert (batch["labels"] != speed.IGNORED).sum() == 2 + 3 + 1  # every answer is a target, the first one too
