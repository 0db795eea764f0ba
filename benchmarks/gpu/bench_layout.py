r"""Train and evaluate all tasks with the layouts separate and shared, on a random model of Qwen2.5-7B's shape.

    for layout in separate shared; do
        python scripts/preprocess_data.py --layout $layout --task all --candidates all --train_input GOLD.csv \
            --dev_input dataset/sample/dev.csv --tokenizer MODEL --output_dir data/train_$layout
        python scripts/preprocess_data.py --layout $layout --task all --train_input dataset/sample/train.csv \
            --dev_input GOLD.csv --tokenizer MODEL --output_dir data/dev_$layout
    done
    python benchmarks/gpu/bench_layout.py --tokenizer MODEL --data data

``--answers_only --model outputs/smoke_model`` answers on a CPU with the tiny model of scripts/make_smoke_model.py.

Training takes the train file with several annotators, evaluation the dev file with one target a prompt. Both layouts
run with the speed module and batches of about as many tokens. A random model does not stop by itself, so every answer
has ``--max_new_tokens`` tokens. The layouts answer by turns, three times each, and the median counts. Prints a JSON
line each: targets trained a second, prompts and meetings answered a second, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import bench_training  # noqa: E402

SAMPLES = {"separate": 5, "shared": 4}
"""Samples, or conversations, of a batch: about 9,000 tokens both."""

ROUNDS = 3
"""How often each layout's dev file is answered."""


def main() -> None:
    """Train one epoch and answer all dev prompts in both layouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("/tmp/random-qwen2.5-7b"))
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--max_new_tokens", type=int, default=16)
    parser.add_argument("--meetings", type=int, default=3, help="how many the dev file was made of")
    parser.add_argument("--answers_only", action="store_true", help="no training; with a small model a CPU will do")
    args = parser.parse_args()
    bench_training.make_model(args)
    if not args.answers_only:
        trained = {layout: train(args, layout) for layout in SAMPLES}
        for layout, line in trained.items():
            print(json.dumps({"layout": layout} | line), flush=True)
        ratio = trained["shared"]["targets_per_second"] / trained["separate"]["targets_per_second"]
        print(json.dumps({"training_ratio": round(ratio, 2)}), flush=True)
    answered = answer(args)
    print(json.dumps(answered), flush=True)
    times = answered["separate"]["seconds"] / answered["shared"]["seconds"]
    print(json.dumps({"evaluation_ratio": round(times, 2)}))


def train(args: argparse.Namespace, layout: str) -> dict:
    """Train an epoch in a process of its own; return its line."""
    with tempfile.TemporaryDirectory() as folder:
        settings = bench_training.COMMON | bench_training.FAST
        settings |= {
            "mug_tree": layout == "shared",
            "dataset": "alimeeting4mug_train",
            "dataset_dir": str(args.data / f"train_{layout}"),
            "model_name_or_path": str(args.model),
            "output_dir": f"{folder}/out",
            "per_device_train_batch_size": SAMPLES[layout],
            "gradient_accumulation_steps": 1,
            "num_train_epochs": 1.0,
        }
        del settings["max_steps"]
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"name": layout, "settings": settings, "output": f"{folder}/line"}))
        command = [sys.executable, bench_training.__file__, "--job", str(job)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(Path(f"{folder}/line").read_text())


def answer(args: argparse.Namespace) -> dict:
    """Answer both dev files with one engine, by turns; the first samples warm it up."""
    from mug import evaluation
    from mug.alpaca import read_alpaca
    from mug.generation.model_folder import ModelFolder
    from mug.generation.transformers_engine import TransformersEngine

    engine = TransformersEngine(ModelFolder(str(args.model)), max_new_tokens=args.max_new_tokens)
    samples = {}
    for layout in SAMPLES:
        path = args.data / f"dev_{layout}/dev_alpaca.json"
        samples[layout] = [item.sample for item in evaluation.items(read_alpaca(path), evaluation.options_of(path))]
        list(engine.generate(samples[layout][:8]))
    times: dict[str, list[float]] = {layout: [] for layout in SAMPLES}
    for _ in range(ROUNDS):
        for layout in SAMPLES:
            started = time.perf_counter()
            dict(engine.generate(samples[layout]))
            times[layout].append(time.perf_counter() - started)
    found: dict = {}
    for layout in SAMPLES:
        seconds = statistics.median(times[layout])
        found[layout] = {
            "prompts": len(samples[layout]),
            "prompt_tokens": sum(len(engine.encode(sample)) for sample in samples[layout]),
            "seconds": round(seconds, 2),
            "all_seconds": [round(one, 2) for one in times[layout]],
            "prompts_per_second": round(len(samples[layout]) / seconds, 2),
            "meetings_per_second": round(args.meetings / seconds, 3),
        }
    return found


if __name__ == "__main__":
    main()
