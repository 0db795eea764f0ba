r"""Compare losses and LoRA gradients: the speed module's with the plain model's, a tree's with its samples' apart.

    python benchmarks/gpu/compare_gradients.py --tokenizer ../shared/qwen_tokenizer --layers 28

The samples are random tokens: two trunks of 1,100 and 700 tokens, each with six questions and answers. On a GPU it
takes a random model of Qwen2.5-7B's shape in bf16, as in bench_training.py; ``--model FOLDER`` takes another, on a
CPU in fp32. ``apart`` against ``one by one`` is what rounding alone does: the same samples in other batches. Prints a
JSON line a pair: both losses, and the cosine of all gradients.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench_training  # noqa: E402

from mug.training import speed  # noqa: E402

PAIRS = [("plain", "apart"), ("apart", "one by one"), ("apart", "tree")]

TURNS = [(20, 7), (20, 9), (20, 6), (50, 20), (50, 14), (50, 30)]
"""Tokens of each question and its answer."""


def main() -> None:
    """Compute each way's loss and gradients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--model", type=Path, default=Path("/tmp/random-qwen2.5-7b"))
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--trunks", type=int, nargs="+", default=[1100, 700])
    args = parser.parse_args()
    bench_training.make_model(args)
    torch.manual_seed(0)
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    base = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, device_map=device)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=64, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
            if "lora_B" in name:  # zero at the start, which would hide half of the gradients
                torch.nn.init.normal_(parameter, std=0.02)
    model.train()
    generator = torch.Generator().manual_seed(3)
    made = [conversation(trunk, generator) for trunk in args.trunks]
    trees, apart = [whole for whole, _ in made], [one for _, ones in made for one in ones]
    targets = sum(label != speed.IGNORED for one in apart for label in one["labels"])
    losses, gradients = {}, {}
    losses["plain"], gradients["plain"] = step(model, [padded(one) for one in apart], targets)
    speed.prepare(model)
    for way, batches in {
        "apart": [speed.lay_end_to_end(apart)],
        "one by one": [speed.lay_end_to_end([one]) for one in apart],
        "tree": [speed.lay_end_to_end(trees, tree=True)],
    }.items():
        losses[way], gradients[way] = step(model, batches, targets)
    for one, other in PAIRS:
        cosine = torch.nn.functional.cosine_similarity(gradients[one], gradients[other], dim=0).item()
        line = {"pair": f"{one} / {other}", "losses": [losses[one], losses[other]], "cosine": round(cosine, 7)}
        print(json.dumps(line), flush=True)


def conversation(trunk: int, generator: torch.Generator) -> tuple[dict[str, list[int]], list[dict[str, list[int]]]]:
    """Return a conversation of random tokens as one sample, and its questions as samples apart."""
    ids, parts = draw(trunk, generator), []
    labels = [speed.IGNORED] * (trunk - 2) + ids[-2:]
    for question, answer in TURNS:
        turn = draw(question + answer, generator)
        parts.append(sample(ids[:trunk] + turn, [speed.IGNORED] * (trunk + question) + turn[question:]))
        ids, labels = ids + turn, labels + [speed.IGNORED] * question + turn[question:]
    return sample(ids, labels), parts


def draw(count: int, generator: torch.Generator) -> list[int]:
    """Return random tokens that every vocabulary of ours has."""
    ids: list[int] = torch.randint(3, 1000, (count,), generator=generator).tolist()
    return ids


def sample(ids: list[int], labels: list[int]) -> dict[str, list[int]]:
    """Return a sample as LLaMA-Factory's data set has it."""
    return {"input_ids": ids, "labels": labels, "attention_mask": [1] * len(ids)}


def padded(one: dict[str, list[int]]) -> dict[str, Any]:
    """Return a batch of one sample for the plain model."""
    return {name: torch.tensor([values]) for name, values in one.items()}


def step(model: Any, batches: list[dict[str, Any]], targets: int) -> tuple[float, torch.Tensor]:
    """Return the loss of one optimizer step, and all LoRA gradients [parameters]."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.device.type == "cuda"):
            loss = model(**moved(batch, model.device), num_items_in_batch=targets).loss
        loss.backward()
        total += loss.item()
    return total, torch.cat([one.grad.flatten().double().cpu() for one in model.parameters() if one.requires_grad])


def moved(value: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on the device."""
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


if __name__ == "__main__":
    main()
