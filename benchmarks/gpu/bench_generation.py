r"""Answer real title prompts with a random model of Qwen2.5-7B's shape: one by one, and batched as evaluate.py does.

    python benchmarks/gpu/bench_generation.py --tokenizer ../shared/qwen_tokenizer \
        --data ../shared/data/real_titles.json

Speed does not depend on what the weights are, so no download is needed; the tokenizer and the prompts are real. A
random model does not stop by itself: every answer has ``--max_new_tokens`` tokens in both ways (the longest of
the real titles has 15). Needs one GPU with 20 GB or more. Prints a JSON line for each batch size: machine, versions,
samples a second of both ways, their ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_training import make_model  # noqa: E402

from mug.alpaca import read_alpaca  # noqa: E402
from mug.generation.base import Completion  # noqa: E402
from mug.generation.model_folder import ModelFolder  # noqa: E402
from mug.generation.transformers_engine import TransformersEngine  # noqa: E402
from mug.tasks.base import Sample  # noqa: E402


def main() -> None:
    """Time both ways in one process on one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("/tmp/random-qwen2.5-7b"))
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--max_new_tokens", type=int, default=16)
    parser.add_argument("--num_samples", type=int)
    parser.add_argument("--batch_tokens", type=int, nargs="*", help="sizes to try (default: the engine's own)")
    parser.add_argument("--single_seconds", type=float, default=400, help="stop answering one by one after this long")
    args = parser.parse_args()

    make_model(args)
    rows = read_alpaca(args.data)[: args.num_samples]
    samples = [Sample(str(i), row["instruction"], row["input"], row["output"]) for i, row in enumerate(rows)]
    folder = ModelFolder(str(args.model))
    engine = TransformersEngine(folder, max_new_tokens=args.max_new_tokens)
    list(engine.generate(samples[:4]))  # warm up

    batches = {}
    for batch_tokens in args.batch_tokens or [engine.batch_tokens]:
        engine.batch_tokens = batch_tokens
        torch.cuda.reset_peak_memory_stats()
        batched, seconds = timed(lambda: dict(engine.generate(samples)))
        peak = torch.cuda.max_memory_allocated() / 2**30
        batches[batch_tokens] = (batched, seconds, peak)
        print(f"{batch_tokens}: {len(samples) / seconds:.2f} samples/s, {peak:.1f} GiB", file=sys.stderr)
    single, single_seconds = timed(lambda: one_by_one(engine, samples, args.single_seconds))
    for batch_tokens, (batched, batched_seconds, peak) in batches.items():
        result = {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "date": datetime.now(UTC).date().isoformat(),
            "samples": len(samples),
            "prompt_tokens": sum(len(engine.encode(sample)) for sample in samples),
            "max_new_tokens": args.max_new_tokens,
            "batch_tokens": batch_tokens,
            "one_by_one_samples": len(single),
            "one_by_one_samples_per_second": round(len(single) / single_seconds, 3),
            "batched_samples_per_second": round(len(samples) / batched_seconds, 3),
            "ratio": round(single_seconds / len(single) * len(samples) / batched_seconds, 2),
            "batched_peak_GiB": round(peak, 1),
            # Random weights leave near ties, which rounding decides; a tuned model agrees far more.
            "same_first_token": round(sum(single[i].text[:1] == batched[i].text[:1] for i in single) / len(single), 3),
        }
        print(json.dumps(result))


def one_by_one(engine: TransformersEngine, samples: list[Sample], seconds: float) -> dict[int, Completion]:
    """Answer samples singly in random order, so that those done in ``seconds`` stand for all."""
    done: dict[int, Completion] = {}
    started = time.perf_counter()
    for index in random.Random(0).sample(range(len(samples)), len(samples)):
        if time.perf_counter() - started > seconds:
            break
        done[index] = engine._complete([[engine.encode(samples[index])]])[0]
    return done


def timed(call):
    """Return what ``call`` returns and the seconds that it took on the device."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
