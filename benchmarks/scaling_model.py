r"""What training the title task should take on 1 to 512 GPUs, worked out from what one and two gave.

    python benchmarks/scaling_model.py                 # print the tables
    python benchmarks/scaling_model.py --write         # and put them into docs/multi_gpu.md

Two kinds of figures go in, both below: `Measured`, each with its command in benchmarks/results.md, and `Assumed`,
which a reader with another cluster changes. Nothing in the tables for more than two GPUs was measured.

The model of a step: every GPU computes its packs, then LoRA's gradients are summed over all GPUs (a ring: each byte
leaves a GPU twice, 2 (N - 1) / N times the size), none of it hidden behind the backward pass, which is the worst
case. What two GPUs cost beyond that (waiting for the slower one, the framework) is added to every step on more than
one GPU.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "multi_gpu.md"
MARKS = "<!-- scaling_model.py -->", "<!-- /scaling_model.py -->"


@dataclass(frozen=True)
class Measured:
    """Figures of one and two GPUs; None is what has not been measured yet, and is then left out of the model."""

    card: str = "H100 80 GB"
    tokens_per_second_1: float = 17_204  # real tokens: mug_speed, rank 32, batches of 8, no checkpointing
    tokens_per_second_2: float | None = 29_671  # both GPUs together, one batch of 8 each a step
    rank: int = 32  # of these two
    nvlink_gb_per_second: float = 329  # GB/s of an all-reduce between two GPUs (bus bandwidth)
    tokens_per_sample: float = 1_251.4  # analyze_data_length.py on 443 real titles
    pack_tokens: int = 10_011  # of a batch of 8 samples, which holds no padding
    pack_fill: float = 1.0


@dataclass(frozen=True)
class Assumed:
    """What nobody measured: the data's size, and the cluster."""

    samples: int = 9_700  # 295 meetings x about 11 topics x 3 annotators
    epochs: int = 3
    packs_per_gpu_step: int = 1  # as measured on two GPUs
    gpus_per_node: int = 8
    network_gbit: tuple[int, ...] = (25, 100, 400)  # of a node, all its GPUs together
    hop_seconds: float = 20e-6  # of one of the 2 (N - 1) hops of a ring


@dataclass(frozen=True)
class Row:
    """One line of the table; ``network_gbit`` is 0 inside one node."""

    gpus: int
    network_gbit: int
    step_seconds: float
    sum_seconds: float
    tokens_per_second: float
    efficiency: float
    samples_per_step: float
    steps: int
    train_seconds: float


def lora_parameters(rank: int, hidden: int = 3_584, inner: int = 18_944, kv: int = 512, layers: int = 28) -> int:
    """Return the LoRA weights on all linear layers but the output layer; the defaults are Qwen2.5-7B's shape.

    A layer of width a to b adds ``rank * (a + b)``: q and o are hidden to hidden, k and v hidden to kv, gate and up
    hidden to inner, down inner to hidden.
    """
    return layers * rank * (2 * (hidden + hidden) + 2 * (hidden + kv) + 3 * (hidden + inner))


def sum_seconds(size: float, gpus: int, nvlink_gb: float, network_gbit: int, assumed: Assumed) -> float:
    """Return the seconds of an all-reduce of ``size`` bytes by one ring through all GPUs.

    Between nodes the ring crosses each node's network once in and once out, so the slower of the two counts.
    """
    if gpus == 1:
        return 0.0
    bandwidth = nvlink_gb * 1e9
    if gpus > assumed.gpus_per_node:
        bandwidth = min(bandwidth, network_gbit * 1e9 / 8)
    return 2 * (gpus - 1) / gpus * size / bandwidth + 2 * (gpus - 1) * assumed.hop_seconds


def predict(gpus: int, network_gbit: int, measured: Measured, assumed: Assumed) -> Row:
    """Return what ``gpus`` GPUs should give, each with the same packs a step as one GPU has alone."""
    packs = math.ceil(assumed.samples * measured.tokens_per_sample / (measured.pack_tokens * measured.pack_fill))
    each = assumed.packs_per_gpu_step if packs >= gpus * assumed.packs_per_gpu_step else 1
    step_tokens = each * measured.pack_tokens * measured.pack_fill
    compute = step_tokens / measured.tokens_per_second_1
    size = 4 * lora_parameters(measured.rank)  # LLaMA-Factory keeps LoRA's weights, and so their gradients, in fp32
    own = sum_seconds(size, gpus, measured.nvlink_gb_per_second, network_gbit, assumed)
    other = 0.0
    if gpus > 1 and measured.tokens_per_second_2:
        pair = (
            2 * assumed.packs_per_gpu_step * measured.pack_tokens * measured.pack_fill / measured.tokens_per_second_2
        )
        alone = assumed.packs_per_gpu_step * measured.pack_tokens * measured.pack_fill / measured.tokens_per_second_1
        other = max(0.0, pair - alone - sum_seconds(size, 2, measured.nvlink_gb_per_second, 0, assumed))
    step = compute + own + other
    steps = assumed.epochs * math.ceil(packs / (each * gpus))
    return Row(
        gpus,
        network_gbit,
        step,
        own,
        gpus * step_tokens / step,
        compute / step,
        gpus * step_tokens / measured.tokens_per_sample,
        steps,
        steps * step,
    )


def tables(measured: Measured, assumed: Assumed) -> str:
    """Return the Markdown that stands in docs/multi_gpu.md."""
    second = f"{measured.tokens_per_second_2:,.0f}" if measured.tokens_per_second_2 else "未测（没有计入）"
    lines = [
        f"输入（实测，{measured.card}，LoRA rank {measured.rank}，{assumed.packs_per_gpu_step} 包 × "
        f"{measured.pack_tokens:,} "
        f"token 一步）：一张卡 {measured.tokens_per_second_1:,.0f} token/秒，两张卡 {second}，两卡间求和 "
        f"{measured.nvlink_gb_per_second:g} GB/s，每个样本 {measured.tokens_per_sample:,} token。",
        "",
        f"输入（假设）：{assumed.samples:,} 个样本，{assumed.epochs} 轮，每台 {assumed.gpus_per_node} 张卡，"
        f"每台网络 {'、'.join(map(str, assumed.network_gbit))} Gb/s。",
        "",
        "| GPU | 网络 Gb/s | 一步 秒 | 其中求和 秒 | token/秒 | 效率 | 一步的样本 | 三轮的步数 | 三轮 分 |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for gpus in (1, 2, 8, 64, 512):
        for gbit in assumed.network_gbit if gpus > assumed.gpus_per_node else (0,):
            row = predict(gpus, gbit, measured, assumed)
            lines.append(
                f"| {gpus} | {gbit or '—'} | {row.step_seconds:.2f} | {row.sum_seconds:.3f} | "
                f"{row.tokens_per_second:,.0f} | "
                f"{100 * row.efficiency:.0f} % | {row.samples_per_step:,.0f} | {row.steps} | "
                f"{row.train_seconds / 60:.1f} |"
            )
    lines += ["", "| LoRA rank | 参数 | 每步求和的字节（fp32 梯度） |", "|---:|---:|---:|"]
    for rank in (32, 64, 128):
        count = lora_parameters(rank)
        lines.append(f"| {rank} | {count:,} | {4 * count:,} |")
    return "\n".join(lines)


def main() -> int:
    """Print the tables; with --write put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens_per_second_1", type=float, default=Measured.tokens_per_second_1)
    parser.add_argument("--tokens_per_second_2", type=float, default=Measured.tokens_per_second_2)
    parser.add_argument("--rank", type=int, default=Measured.rank, help="LoRA rank of these two")
    parser.add_argument("--samples", type=int, default=Assumed.samples, help="samples in the training set")
    parser.add_argument("--network_gbit", type=int, nargs="+", default=list(Assumed.network_gbit))
    parser.add_argument("--write", action="store_true", help="also write the tables into docs/multi_gpu.md")
    args = parser.parse_args()
    measured = Measured(
        tokens_per_second_1=args.tokens_per_second_1, tokens_per_second_2=args.tokens_per_second_2, rank=args.rank
    )
    text = tables(measured, Assumed(samples=args.samples, network_gbit=tuple(args.network_gbit)))
    print(text)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        pattern = re.compile(f"(?<={MARKS[0]}\n).*?(?={MARKS[1]})", re.DOTALL)
        PAGE.write_text(pattern.sub(lambda _: f"\n{text}\n\n", page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
