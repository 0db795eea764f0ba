r"""Time LoRA steps of LLaMA-Factory under many configurations, on a random model of Qwen2.5-7B's shape.

    python benchmarks/gpu/bench_training.py --tokenizer ../shared/qwen_tokenizer \
        --data ../shared/data/real_titles.json predecessor fast_8

Speed and memory do not depend on what the weights are, so no download is needed; the tokenizer and the samples are
real. A name is one of ``CONFIGURATIONS`` or a YAML file of ours; keys may follow it: ``fast_8,logging_steps=10``. Each
runs in a process of its own through LLaMA-Factory's ``run_exp``; with ``--gpus 2`` or DeepSpeed through torchrun.
Prints and writes a JSON line each: real tokens (no padding) and samples a second after the first two steps, peak
memory of the first GPU, the losses that were logged, machine and versions. No configuration is started when
``--seconds`` are over. ``--profile`` adds to the line how long the GPU worked in the last two steps, and at what.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

SHAPE = {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4}
COMMON = {
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 32,
    "lora_alpha": 64,
    "lora_dropout": 0.0,
    "lora_target": "all",
    "dataset": "titles",
    "template": "qwen",
    "cutoff_len": 4096,
    "overwrite_cache": True,
    "preprocessing_num_workers": 4,
    "dataloader_num_workers": 2,
    "logging_steps": 1,
    "save_strategy": "no",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "learning_rate": 3.0e-5,
    "max_steps": 12,
    "bf16": True,
    "report_to": "none",
    "flash_attn": "sdpa",
    "seed": 42,
}
PROFILED = 2
"""Steps at the end that --profile looks at."""

QLORA = {"quantization_method": "bnb", "quantization_bit": 4, "double_quantization": True}
LONG = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "max_steps": 30}
FLOW = {"logging_nan_inf_filter": False, "accelerator_config": {"non_blocking": True}, "logging_steps": 10}
FAST = {**FLOW, "mug_speed": True, "disable_gradient_checkpointing": True}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    # What this project's predecessor trained with.
    "predecessor": {"lora_dropout": 0.15, "flash_attn": "fa2"},
    # The same thirty steps, plain and fast: their losses are compared.
    "plain_30": LONG,
    "fast_30": {**LONG, "mug_speed": True},
    # What keys alone reach.
    "liger": {"enable_liger_kernel": True},
    "liger_no_checkpointing": {"enable_liger_kernel": True, "disable_gradient_checkpointing": True},
    # The speed module.
    "fast_4": FAST,
    "fast_8": {**FAST, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    "fast_8_rank_128": {
        **FAST,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "lora_rank": 128,
        "lora_alpha": 256,
    },
    "fast_2_rank_64": {
        **FAST,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "lora_rank": 64,
        "lora_alpha": 128,
    },
    "fast_8_checkpointing": {"mug_speed": True, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2},
    # In 4 bits.
    "qlora_1x2048": {**QLORA, "cutoff_len": 2048, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 16},
    "qlora_1x2048_liger": {
        **QLORA,
        "enable_liger_kernel": True,
        "cutoff_len": 2048,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 16,
    },
    "qlora_4_checkpointing_fast": {**QLORA, "mug_speed": True, "lora_rank": 64, "lora_alpha": 128},
    "qlora_1_fast": {
        **QLORA,
        **FAST,
        "lora_rank": 64,
        "lora_alpha": 128,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 16,
    },
    # Several GPUs (--gpus 2): the global batch stays 16.
    "fast_8_two": {**FAST, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
    "liger_two": {"enable_liger_kernel": True, "gradient_accumulation_steps": 2},
    "zero2_fast_two": {
        **FAST,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "deepspeed": "configs/deepspeed/ds_z2.json",
    },
    "zero3_two": {
        "enable_liger_kernel": True,
        "gradient_accumulation_steps": 2,
        "deepspeed": "configs/deepspeed/ds_z3.json",
    },
    "fsdp_qlora_two": {
        **QLORA,
        "enable_liger_kernel": True,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 8,
        "accelerate": "configs/fsdp/fsdp_qlora.yaml",
    },
}


def main() -> None:
    """Run each configuration that was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME[,key=value…]", help="default: all of CONFIGURATIONS")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("/tmp/random-qwen2.5-7b"))
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=540, help="start no configuration after this long")
    parser.add_argument("--keep", type=Path, help="keep what the trainings write in this folder")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for every configuration")
    parser.add_argument("--profile", action="store_true", help="slows the last two steps, which are not timed then")
    parser.add_argument("--output", type=Path, default=Path("outputs/bench_training.jsonl"))
    args = parser.parse_args()

    started = time.monotonic()
    make_model(args)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        entry = {"file_name": "titles.json"}
        shutil.copy(args.data, Path(folder) / "titles.json")
        (Path(folder) / "dataset_info.json").write_text(json.dumps({"titles": entry}))
        for name in args.names or CONFIGURATIONS:
            if time.monotonic() - started > args.seconds:
                print(f"{name}: not started, time is over", file=sys.stderr)
                continue
            base, *changes = name.split(",")
            settings = settings_of(base)
            settings |= {
                key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in args.set + changes)
            }
            settings |= {
                "model_name_or_path": str(args.model),
                "dataset_dir": folder,
                "output_dir": str((args.keep or Path(folder)) / Path(base).stem),
            }
            job = Path(folder) / "job.json"
            shutil.rmtree(settings["output_dir"], ignore_errors=True)  # LLaMA-Factory refuses a full one
            launcher = [sys.executable]
            torchrun = settings.pop("torchrun", False) or args.gpus > 1 or "deepspeed" in settings
            if "accelerate" in settings:
                launcher += ["-m", "accelerate.commands.launch", f"--num_processes={args.gpus}"]
                launcher += ["--config_file", settings.pop("accelerate")]
            elif torchrun:
                launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={args.gpus}"]
            job.write_text(
                json.dumps({"name": name, "settings": settings, "output": str(args.output), "profile": args.profile})
            )
            log = args.output.with_suffix(f".{Path(name).name}.log")
            with log.open("w") as file:
                status = subprocess.run([*launcher, __file__, "--job", str(job)], stdout=file, stderr=file).returncode
            last = args.output.read_text().splitlines()[-1] if args.output.exists() else ""
            print(last if not status else f"{name}: failed, see {log}", flush=True)


def settings_of(name: str) -> dict[str, Any]:
    """Return a configuration's keys; a YAML file keeps its own, but trains on the benchmark's data for some steps."""
    if name in CONFIGURATIONS:
        return COMMON | CONFIGURATIONS[name]
    own = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    for key in (
        "eval_dataset",
        "eval_strategy",
        "eval_steps",
        "load_best_model_at_end",
        "metric_for_best_model",
        "greater_is_better",
        "plot_loss",
        "num_train_epochs",
        "save_steps",
        "per_device_eval_batch_size",
    ):
        own.pop(key, None)
    kept = ("dataset", "save_strategy", "max_steps", "report_to", "overwrite_cache")
    return own | {key: COMMON[key] for key in kept}


def run_job(job: dict[str, Any]) -> None:
    """Train one configuration in this process and append its line."""
    import torch
    import transformers
    from llamafactory.train.sft import workflow
    from llamafactory.train.tuner import run_exp

    settings = dict(job["settings"])
    tree = settings.pop("mug_tree", False)
    if settings.pop("mug_speed", False):
        from mug.training import speed

        speed.install(tree=tree)
    counts: list[torch.Tensor] = []  # real tokens and targets of each batch, in the loader's order
    ends: list[torch.cuda.Event] = []  # of steps; nothing here waits for the GPU, which would slow what is measured
    losses: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ends.append(torch.cuda.Event(enable_timing=True))
            ends[-1].record()
            if job.get("profile") and state.global_step == state.max_steps - PROFILED:
                profiler.start()
            if job.get("profile") and state.global_step == state.max_steps:
                profiler.stop()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            losses.extend([logs["loss"]] if logs and "loss" in logs else [])

    step = workflow.CustomSeq2SeqTrainer.training_step

    def counted(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **kwargs: Any) -> Any:
        real = inputs.get("attention_mask", inputs["input_ids"] + 1) != 0
        if real.dim() == 4:  # of packs: 0 where a token sees another, so on the diagonal where it is none of padding
            real = ~real.diagonal(dim1=-2, dim2=-1)
        wanted = (inputs["labels"] != -100).flatten()
        counts.append(torch.stack([real.sum(), (wanted[1:] & ~wanted[:-1]).sum()]))  # a target follows its question
        return step(self, model, inputs, *rest, **kwargs)

    workflow.CustomSeq2SeqTrainer.training_step = counted
    profiler = torch.profiler.profile()
    run_exp(args=settings, callbacks=[Clock()])
    if int(os.environ.get("RANK", "0")):
        return
    profile = work_of(profiler) if job.get("profile") else None
    world = int(os.environ.get("WORLD_SIZE", "1"))
    micro = len(counts) // len(ends)
    if profile:
        del ends[-PROFILED:], counts[-PROFILED * micro :]
    torch.cuda.synchronize()
    step_seconds = ends[1].elapsed_time(ends[-1]) / 1000 / (len(ends) - 2)  # the first two steps warm up
    tokens, targets = (torch.stack(counts)[2 * micro :].sum(0) * world / (len(ends) - 2)).tolist()  # of a step
    line = {
        "name": job["name"],
        "gpus": world,
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "steps": len(ends),
        "real_tokens_per_second": round(tokens / step_seconds, 1),
        "samples_per_second": round(micro * world * settings["per_device_train_batch_size"] / step_seconds, 3),
        "targets_per_second": round(targets / step_seconds, 3),
        "tokens_per_step": round(tokens),
        "step_seconds": round(step_seconds, 4),
        "peak_GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        "reserved_GiB": round(torch.cuda.max_memory_reserved() / 2**30, 2),
        "losses": losses,
        "profile": profile,
        "settings": {
            key: value
            for key, value in job["settings"].items()
            if COMMON.get(key) != value and "_dir" not in key and key != "model_name_or_path"
        },
    }
    with Path(job["output"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def work_of(profiler: Any) -> dict[str, Any]:
    """Say how long the GPU worked and waited between its first and its last kernel, at what and between which."""
    import torch

    kernels = sorted(
        (one.time_range.start, one.time_range.end, one.name)
        for one in profiler.events()
        if one.device_type == torch.autograd.DeviceType.CUDA and not one.is_user_annotation
    )
    totals: dict[str, float] = {}
    waits: list[tuple[float, str, str]] = []
    until, before = kernels[0][0], ""
    for start, end, name in kernels:
        totals[name[:90]] = totals.get(name[:90], 0.0) + end - start
        if start > until:
            waits.append((start - until, before, name))
        if end > until:
            until, before = end, name
    waited = sum(one[0] for one in waits)
    return {
        "seconds": round((until - kernels[0][0]) / 1e6, 4),
        "waited": round(waited / 1e6, 4),
        "longest_waits_ms": [(round(one[0] / 1e3, 1), one[1][:60], one[2][:60]) for one in sorted(waits)[:-9:-1]],
        "kernels_ms": {
            name: round(total / 1e3, 1) for name, total in sorted(totals.items(), key=lambda item: -item[1])[:25]
        },
    }


def make_model(args: argparse.Namespace) -> None:
    """Write the random model once."""
    if (args.model / "config.json").exists():
        return
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=152_064,
        num_hidden_layers=args.layers,
        max_position_embeddings=32_768,
        tie_word_embeddings=False,
        eos_token_id=151_645,
        pad_token_id=151_643,
        **SHAPE,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(args.model, max_shard_size="5GB")
    del model  # this process stays while others need the whole GPU
    torch.cuda.empty_cache()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):  # a model's folder holds more
        if (args.tokenizer / name).exists():
            shutil.copy(args.tokenizer / name, args.model)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        run_job(json.loads(Path(sys.argv[2]).read_text()))
    else:
        main()
