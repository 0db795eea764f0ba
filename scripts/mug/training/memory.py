"""The memory of a LoRA training on one GPU, worked out from its settings, the model's shape and the data's lengths.

    estimate(settings, shape_of("Qwen/Qwen2.5-7B"), lengths).total  # bytes; / GIB is what PyTorch's peak will show

Nothing is fitted: the figures count the tensors that transformers 5.6, peft 0.18.1, liger-kernel 0.8.5, bitsandbytes
0.50 and LLaMA-Factory 0.9.5 keep, and the tests count them too, on the real code. One constant is measured
(`WORKSPACES`), and what a card needs beside the tensors is an allowance (`CONTEXT`, `FRAGMENTATION`).

**What stays.** Weights in 2 bytes (or 4 bits), the adapter and its gradients in 4, AdamW's two moments in 8. peft
keeps an adapter in fp32 under ``pure_bf16`` too (``autocast_adapter_dtype``); DeepSpeed makes it bf16 with an fp32
master.

**What a decoder layer keeps for its backward pass**, in bytes a token; h hidden, i intermediate, a width of the query
heads, k of the key heads, r rank:

    RMSNorm          4 h + 4   an fp32 copy of its input and 1/rms; Liger keeps the bf16 input: 2 h + 4; twice a layer
    attention        2 a q, 2 a out, 2 k k, 2 k v, 4 a head of log-sums; with a mask SDPA gets k and v repeated for all
                     heads: 2 a each, and a bf16 mask of its own (2 bytes a pair of tokens); no mask where a batch has
                     no padding or flash-attn is there; one mask for all layers with neat_packing
    SwiGLU           gate, silu(gate), up: 6 i; Liger makes silu(gate) again: 4 i
    each projection  its input for lora_A, of the width w: 2 w, since peft copies the input to fp32 and autocast back
                     to bf16, once for each projection; without autocast the fp32 copy itself, 4 w; under bitsandbytes
                     the projections share their input. lora_A's output: 2 r, or 4 r in fp32. Dropout: 1 w of mask

**With gradient checkpointing** a layer keeps its input, 2 h, and only the layer that is being computed again keeps the
rest. **The loss** of transformers holds 12 bytes a logit (log-softmax, its gradient and the logits' gradient, fp32);
Liger's fused loss holds only a piece of them, ``mug_speed`` only those of the targets.

The peak is the largest of a few moments: the loss, the layer under way, the optimizer's step, an evaluation.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mug.errors import InputError, Message
from mug.training.even_batches import EvenBatches
from mug.training.shapes import Shape

GIB = 2**30
WORKSPACES = GIB // 5
"""cuBLAS' workspaces and small tensors. Measured: what an H100's peaks exceed the sum of the tensors by, 0.1 to 0.25
GiB in eleven configurations of Qwen2.5-7B."""
CONTEXT = 6 * GIB // 10
"""An allowance for what CUDA takes of a card before the first tensor."""
FRAGMENTATION = 0.05
"""An allowance: the share that PyTorch's allocator reserves beyond what tensors take."""
TARGETS = 32
"""Target tokens a sample where nobody counted them; a title has about ten."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What lies on one GPU at the moment of its peak, in bytes; the parts add up to ``total``.

    ``moment`` names it: loss, layer, step, evaluation. ``tokens`` are those of the largest batch, padding included.
    ``notes`` are sentences on what the figures assume.
    """

    weights: int
    lora: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    temporary: int
    moment: str
    tokens: int
    notes: tuple[Message, ...] = field(default=())

    @property
    def total(self) -> int:
        """The peak of ``torch.cuda.max_memory_allocated``."""
        return (
            self.weights
            + self.lora
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
            + self.temporary
        )

    @property
    def needed(self) -> int:
        """What the card must have: the peak, what the allocator reserves beyond it, and CUDA's own."""
        return int(self.total * (1 + FRAGMENTATION)) + CONTEXT

    def fits(self, gib: float) -> bool:
        """Whether a card of ``gib`` GiB is large enough."""
        return self.needed <= gib * GIB


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Keys to change, and the estimate that follows."""

    overrides: dict[str, Any]
    estimate: Estimate


def estimate(
    settings: Mapping[str, Any],
    shape: Shape,
    longest: Sequence[int] | None,
    gpus: int = 1,
    targets: int | None = None,
) -> Estimate:
    """Estimate the peak memory of one GPU.

    Args:
        settings: LLaMA-Factory's keys, and ``mug_speed``; values may be strings, as a command line gives them.
        shape: of the base model.
        longest: tokens of the samples, all of them or the longest; None: every sample fills ``cutoff_len``.
        gpus: that train together.
        targets: the most target tokens of a sample, where the settings make the logits of targets only.

    Raises:
        InputError: the settings train something other than LoRA, or name a DeepSpeed file that can't be read.
    """
    plan = plan_of(settings, shape, longest, gpus)
    tokens = plan.batch * plan.sequence
    if plan.fast and not plan.packing and longest:
        tokens = _largest(longest, plan)
    # A pack holds several samples; where nobody said how long they are, about as many as titles.
    typical = sum(longest) // len(longest) if longest else 1024
    samples = plan.batch * (max(1, plan.cutoff // typical) if plan.packing else 1)
    return peak(plan, shape, tokens, samples * (targets or TARGETS))


def peak(plan: Plan, shape: Shape, tokens: int, targets: int) -> Estimate:
    """Return the largest of the moments.

    Args:
        plan: what the settings come down to.
        shape: of the base model.
        tokens: of the largest batch, padding included.
        targets: target tokens of the batch, where the logits of targets only are made.
    """
    adapter = plan.rank * sum(sum(shape.projections[name]) for name in plan.adapted) * shape.layers
    lora, gradients, optimizer, buffers = _states(plan, adapter)
    pairs = plan.batch * plan.sequence**2
    layer = _kept(plan, shape) * tokens * plan.widened + pairs * plan.own_mask
    copies = 2 * adapter if plan.casts else 0  # the adapter in bf16, which its backward pass needs
    working = _working(plan, shape, tokens) * plan.widened
    head, logits = _loss(plan, shape, tokens, targets)
    always = pairs * plan.shared_mask + WORKSPACES + buffers
    # With accumulation the gradients of earlier batches are there all the time; else they come as the layers go.
    early = gradients if plan.accumulation > 1 else 0
    if plan.checkpointing:
        inputs = 2 * shape.hidden * tokens * plan.widened
        stored = inputs * shape.layers
        computed = layer + copies // shape.layers + inputs
        moments = {
            "loss": (early, stored + head, max(logits, logits * 10 // 12 + copies), always),
            "layer": (early, stored + computed, 0, always + working),
            "first layer": (gradients, inputs + computed, 0, always + working),
        }
    else:
        stored = layer * shape.layers + copies
        if plan.fast:  # the last layer computes queries and the rest only from each sample's first target on
            stored -= layer - (4 * shape.hidden + 4 * shape.key_value) * tokens
        moments = {
            "loss": (early, stored + head, logits, always),
            "layer": (early, stored, 0, always + working),
        }
    moments["step"] = (gradients, 0, 0, WORKSPACES + buffers + 4 * adapter * plan.foreach)
    if plan.evaluated:  # Liger does not fuse its loss: logits in bf16, in fp32, and their log-softmax
        seen = plan.evaluated * plan.sequence
        rows = plan.evaluated * targets // plan.batch if plan.fast else seen
        moments["evaluation"] = (0, 4 * shape.hidden * seen, 10 * shape.vocabulary * rows, WORKSPACES + buffers)
    name = max(moments, key=lambda one: sum(moments[one]))
    held, activations, logits, temporary = moments[name]
    moment = "layer" if name == "first layer" else name
    return Estimate(
        weights=_weights(plan, shape),
        lora=lora,
        gradients=held,
        optimizer=optimizer,
        activations=activations,
        logits=logits,
        temporary=temporary,
        moment=moment,
        tokens=tokens,
        notes=_notes(plan, moment),
    )


# ------------------------------------------------------------------------------------------------ reading the settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What the settings come down to."""

    batch: int
    accumulation: int
    sequence: int  # tokens of the longest sequence of a batch, padding included
    cutoff: int
    packing: bool
    rank: int
    adapted: tuple[str, ...]  # names of projections
    dropout: bool
    casts: bool  # autocast, and an adapter in fp32
    wide: bool  # no autocast, and an adapter in fp32: peft widens the input
    shares: bool  # the projections' adapters take the layer's input as it is
    bits: int  # of the projections' weights
    double: bool
    widened: int  # 2 where all that a layer passes on is fp32
    liger: bool
    checkpointing: bool
    attention: str  # masked, unmasked, eager
    own_mask: int  # bytes a pair of tokens, in each layer
    shared_mask: int  # bytes a pair of tokens, once
    fast: bool  # mug_speed
    stage: int  # DeepSpeed's ZeRO, 0: none
    zero: Mapping[str, Any]
    gpus: int
    hidden: int
    upcast: bool  # upcast_layernorm: transformers' norms then give fp32
    moments: int  # bytes of the optimizer's two moments of a parameter
    foreach: bool  # the older AdamW, which makes one more tensor of each parameter; the fused one does not
    evaluated: int  # samples at a time in an evaluation, 0: there is none
    pure: bool
    unmeasured: bool  # no lengths were given


def on(value: Any) -> bool:
    """Whether a switch is on, in YAML's spelling or in the command line's."""
    return str(value).lower() in ("true", "1", "yes", "on")


def plan_of(settings: Mapping[str, Any], shape: Shape, longest: Sequence[int] | None, gpus: int) -> Plan:
    """Return what the settings come down to.

    Raises:
        InputError: as `estimate` does.
    """
    kind = "DoRA" if on(settings.get("use_dora")) else settings.get("finetuning_type", "lora")
    if kind != "lora":
        raise InputError(
            f"显存估算只支持 finetuning_type: lora，这里是 {kind}；请改配置，或跳过估算。",
            f"The memory estimate knows finetuning_type: lora only, not {kind}; change it, or do without.",
        )
    batch = _number(settings, "per_device_train_batch_size", 8)
    cutoff = _number(settings, "cutoff_len", 2048)
    neat = on(settings.get("neat_packing"))
    packing = neat or on(settings.get("packing"))
    zero = zero_optimization(settings)
    stage = int(zero.get("stage", 0))
    bits = _number(settings, "quantization_bit", 16)
    fast = on(settings.get("mug_speed"))
    # DeepSpeed runs the model in bf16 by itself, without autocast, and so makes the adapter bf16.
    mixed = (on(settings.get("bf16")) or on(settings.get("fp16"))) and not on(settings.get("pure_bf16")) and not stage
    attention, own_mask, shared_mask = "masked", 2, 1
    chosen = str(settings.get("flash_attn", "auto"))
    if fast or chosen in ("fa2", "fa3", "fa4") or (packing and not neat):
        attention, own_mask, shared_mask = "unmasked", 0, 0
    elif neat:
        own_mask, shared_mask = 0, 2
    if chosen == "disabled" and not fast:
        attention, own_mask, shared_mask = "eager", 0, 2
    target = settings.get("lora_target", "all")
    names = target if isinstance(target, list | tuple) else [name.strip() for name in str(target).split(",")]
    adapted = (
        tuple(shape.projections) if "all" in names else tuple(name for name in shape.projections if name in names)
    )
    length = cutoff if packing or not longest else -(-min(cutoff, max(longest)) // 8) * 8
    return Plan(
        batch=batch,
        accumulation=_number(settings, "gradient_accumulation_steps", 1),
        sequence=length,
        cutoff=cutoff,
        packing=packing,
        rank=_number(settings, "lora_rank", 8),
        adapted=adapted,
        dropout=str(settings.get("lora_dropout") or 0) not in ("0", "0.0"),
        casts=mixed,
        wide=not mixed and not stage and not fast,
        shares=fast or bool(stage) or (bits < 16 and mixed),
        bits=bits,
        double=on(settings.get("double_quantization", True)),
        # LLaMA-Factory loads what is not packed in the checkpoint's bf16; that and an fp16 adapter add up in fp32.
        widened=2 if bits == 4 and mixed and on(settings.get("fp16")) and not fast else 1,
        liger=fast or on(settings.get("enable_liger_kernel")),
        checkpointing=not on(settings.get("disable_gradient_checkpointing")),
        attention=attention,
        own_mask=own_mask,
        shared_mask=shared_mask,
        fast=fast,
        stage=stage,
        zero=zero,
        gpus=gpus,
        hidden=shape.hidden,
        upcast=on(settings.get("upcast_layernorm")),
        moments=2 if "8bit" in str(settings.get("optim")) else 8,
        foreach=settings.get("optim") == "adamw_torch" and not stage,
        evaluated=_number(settings, "per_device_eval_batch_size", 8) if _evaluates(settings) else 0,
        pure=on(settings.get("pure_bf16")),
        unmeasured=not longest and not packing,
    )


def _number(settings: Mapping[str, Any], key: str, default: int) -> int:
    value = settings.get(key)
    try:
        number = default if value is None else int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise InputError(
            f"{key}: {value} 应为正整数；请改正。", f"{key}: {value} should be a positive integer; mend it."
        )
    return number


def _evaluates(settings: Mapping[str, Any]) -> bool:
    return str(settings.get("eval_strategy", "no")) not in ("no", "False")  # YAML reads a bare no as False


def zero_optimization(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part ``zero_optimization`` of DeepSpeed's settings, empty without DeepSpeed.

    Raises:
        InputError: the file that ``deepspeed`` names is no JSON object.
    """
    given = settings.get("deepspeed")
    if not given:
        return {}
    if not isinstance(given, Mapping):
        try:
            given = json.loads(Path(str(given)).read_text(encoding="utf-8"))
            if not isinstance(given, Mapping):
                raise ValueError("not an object")
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"读不了 DeepSpeed 配置 {settings['deepspeed']}（{error}）；请检查 deepspeed 这一项。",
                f"Can't read DeepSpeed's settings {settings['deepspeed']} ({error}); check the key deepspeed.",
            ) from None
    zero = given.get("zero_optimization")
    return zero if isinstance(zero, Mapping) else {}


def _largest(lengths: Sequence[int], plan: Plan) -> int:
    """Return the tokens of the largest batch without padding.

    With many samples, the largest of some shuffles' batches, dealt as the speed module does: that the longest all
    meet does not happen. With few, they are taken for the longest, and those of one batch are added up, the longest
    again for each that is missing.
    """
    cut = [min(length, plan.cutoff) for length in lengths]
    if len(cut) < 8 * plan.batch:
        return sum(sorted(cut)[-plan.batch :]) + max(0, plan.batch - len(cut)) * max(cut)
    draw = random.Random(42)
    found = 0
    for _ in range(3):  # epochs, as trainings have
        draw.shuffle(cut)
        dealt = [cut[n] for n in EvenBatches(range(len(cut)), cut, plan.batch, plan.accumulation * plan.gpus)]
        found = max(found, *(sum(dealt[at : at + plan.batch]) for at in range(0, len(dealt), plan.batch)))
    return found


# ------------------------------------------------------------------------------------------------------- what stays


def _weights(plan: Plan, shape: Shape) -> int:
    """Bytes of the base model on one GPU."""
    if plan.bits == 4:  # NF4 in blocks of 64 with an absmax in fp32, or in 8 bits with an fp32 for 256 of them
        projected = shape.projected * (1 / 2 + ((1 + 4 / 256) / 64 if plan.double else 4 / 64))
    elif plan.bits == 8:  # a scale in fp32 a row
        projected = shape.projected + 4 * shape.layers * sum(out for _, out in shape.projections.values())
    else:
        projected = 2 * shape.projected
    total = int(projected) + 2 * (shape.embedded + shape.small)
    offloads = _offloads(plan, "offload_param")
    if plan.stage < 3 or (plan.gpus == 1 and not offloads):
        return total
    # ZeRO-3 divides the weights, and holds those gathered for the layers under way, at most so many.
    live = float(plan.zero.get("stage3_max_live_parameters", 1e9))
    divided = 0 if offloads else total // plan.gpus
    return divided + int(min(2 * live, total))


def _states(plan: Plan, adapter: int) -> tuple[int, int, int, int]:
    """Bytes of the adapter, its gradients, the optimizer, and of what carries gradients from GPU to GPU."""
    if not plan.stage:
        # DDP keeps a second copy of the gradients, in buckets.
        return 4 * adapter, 4 * adapter, plan.moments * adapter, 4 * adapter if plan.gpus > 1 else 0
    size = plan.zero.get("reduce_bucket_size", 5e8)
    bucket = plan.hidden**2 if size == "auto" else float(size)
    buffers = int(2 * bucket) * (2 if on(plan.zero.get("overlap_comm", False)) else 1)
    optimizer = 0 if _offloads(plan, "offload_optimizer") else (4 + plan.moments) * adapter // plan.gpus
    lora = 2 * adapter // (plan.gpus if plan.stage == 3 else 1)
    return lora, 2 * adapter // (plan.gpus if plan.stage > 1 else 1), optimizer, buffers


def _offloads(plan: Plan, part: str) -> bool:
    return (plan.zero.get(part) or {}).get("device", "none") != "none"


# -------------------------------------------------------------------------------------------- what comes with a batch


def _kept(plan: Plan, shape: Shape) -> int:
    """Bytes a token that one layer keeps for its backward pass, without a mask."""
    inputs = [name for name in ("q_proj", "k_proj", "v_proj") if name in plan.adapted]
    gates = [name for name in ("gate_proj", "up_proj") if name in plan.adapted]
    kept = 2 * _norm(plan, shape.hidden, 1)
    if shape.qk_norm:
        kept += _norm(plan, shape.attention, shape.heads) + _norm(plan, shape.key_value, shape.key_value_heads)
    heads = shape.key_value if plan.attention == "unmasked" else shape.attention
    kept += 2 * shape.attention + 2 * 2 * heads  # q, k, v
    if plan.attention == "eager":
        kept += 6 * shape.heads * plan.sequence  # the softmax in fp32, and in bf16 for the product with v
    else:
        kept += 2 * shape.attention + 4 * shape.heads
    kept += (4 if plan.liger else 6) * shape.intermediate
    for name in plan.adapted:
        width = shape.projections[name][0]
        # A norm's fp32 output goes to each adapter by a bf16 copy of its own, whatever the base does.
        own = plan.dropout or not plan.shares or (plan.upcast and not plan.liger and name in (*inputs, *gates))
        kept += (4 if plan.wide else 2) * width * own + width * plan.dropout
        kept += (4 if plan.wide else 2) * plan.rank
    if plan.shares and (not plan.dropout or plan.bits == 8):  # LLM.int8 keeps its input itself
        kept += 2 * shape.hidden * (bool(inputs) + bool(gates)) * (plan.liger or not plan.upcast)
        kept += 2 * shape.intermediate * ("down_proj" in plan.adapted)
        # o_proj takes what attention keeps anyway, except eager attention
        kept += 2 * shape.attention * ("o_proj" in plan.adapted and plan.attention == "eager")
    return kept


def _norm(plan: Plan, width: int, groups: int) -> int:
    return (2 if plan.liger else 4) * width + 4 * groups


def _working(plan: Plan, shape: Shape, tokens: int) -> int:
    """Bytes that the layer under way needs beside what it keeps: the most is in the MLP's down projection."""
    hidden, wide = shape.hidden, shape.intermediate
    if plan.fast:
        forward = 4 * hidden
        backward = 2 * wide + 4 * hidden
    elif plan.wide:  # the product in bf16, the result in bf16, and three of its size in fp32
        forward = 2 * wide + 14 * hidden + (4 * wide if plan.dropout else 0)
        backward = 4 * wide + 8 * hidden
    elif plan.shares:  # the result, lora_B's output and the scaled one
        forward = 6 * hidden + (2 * wide if plan.dropout else 0)
        backward = 4 * wide + 2 * hidden
    else:  # and the product in bf16 and in fp32; dropout makes one more
        forward = max(6 * wide + 6 * hidden, 10 * wide + 2 * hidden if plan.dropout else 0)
        backward = 4 * wide + 4 * hidden
    if not plan.liger:
        forward += 2 * hidden  # the residual, of which Liger's norm keeps nothing but itself
    if plan.bits == 16:
        return max(forward, backward) * tokens
    unpacked = 2 * wide * hidden  # a weight made bf16 for one product
    forward += 2 * hidden  # the result's clone
    if plan.bits == 8:
        forward += 3 * wide  # the input in fp16 and in 8 bits
    return max(forward * tokens, (backward - 2 * wide) * tokens + max(2 * wide * tokens, unpacked))


def _loss(plan: Plan, shape: Shape, tokens: int, targets: int) -> tuple[int, int]:
    """Bytes of what the final norm keeps, and of the logits with all that is made of them."""
    norm = _norm(plan, shape.hidden, 1) * tokens
    if plan.fast:
        return norm, 12 * shape.vocabulary * targets
    if not plan.liger:
        return norm, 12 * shape.vocabulary * tokens
    # Liger's pieces: as many rows as make the logits about as large as the hidden states.
    rows = -(-tokens // -(-shape.vocabulary // shape.hidden))
    rows = min(1 << (rows - 1).bit_length(), tokens)
    return norm + 4 * shape.hidden * tokens, 2 * shape.vocabulary * rows


def _notes(plan: Plan, moment: str) -> tuple[Message, ...]:
    notes = []
    if plan.unmeasured:
        notes.append(
            Message(
                f"没有样本长度，按每个样本都占满 cutoff_len {plan.cutoff} 估算。",
                f"No lengths of samples: all are taken to fill cutoff_len {plan.cutoff}.",
            )
        )
    if moment == "loss" and not plan.liger:
        notes.append(
            Message(
                "峰值在损失：每个 logit 12 字节；enable_liger_kernel: true 可以省掉大部分。",
                "The peak is the loss, 12 bytes a logit; enable_liger_kernel: true does without most of it.",
            )
        )
    if moment == "evaluation":
        notes.append(
            Message(
                "峰值在评测：那里 Liger 不融合损失；per_device_eval_batch_size: 1 可以降下来。",
                "The peak is the evaluation, where Liger does not fuse the loss; take per_device_eval_batch_size: 1.",
            )
        )
    if plan.pure and plan.wide:
        notes.append(
            Message(
                "pure_bf16 比 bf16 占得多：peft 仍用 fp32 的适配器，没有 autocast 就要保留 fp32 的输入。",
                "pure_bf16 takes more than bf16: peft keeps the adapter in fp32, and without autocast its inputs too.",
            )
        )
    if plan.stage == 3:
        notes.append(
            Message(
                "ZeRO-3 按 stage3_max_live_parameters 的上限计。",
                "ZeRO-3 is counted at the limit of stage3_max_live_parameters.",
            )
        )
    return tuple(notes)


# --------------------------------------------------------------------------------------------------- what would fit


def suggest(
    settings: Mapping[str, Any],
    shape: Shape,
    longest: Sequence[int] | None,
    gib: float,
    gpus: int = 1,
    targets: int | None = None,
) -> list[Suggestion]:
    """Return changes under which the training fits a card of ``gib`` GiB, the least first, at most three.

    Each is tried upon the one before: Liger's kernels, an evaluation of one sample at a time, then smaller batches
    (the same number of samples a step), gradient checkpointing and a base in 4 bits, in three orders, then a shorter
    ``cutoff_len`` (with packing only, and as long as the longest sample).

    Returns:
        The ways that fit. One without changes: it fits as it is. An empty list: nothing fits.

    Raises:
        InputError: as `estimate` does.
    """
    present = estimate(settings, shape, longest, gpus, targets)
    if present.fits(gib):
        return [Suggestion({}, present)]
    found: list[Suggestion] = []
    for order in (("batch", "checkpointing", "bits"), ("checkpointing", "batch", "bits"), ("bits", "batch")):
        overrides: dict[str, Any] = {}
        best, left = present, _changes(settings, longest, order)
        while not best.fits(gib):
            tried = ((one, estimate({**settings, **overrides, **one}, shape, longest, gpus, targets)) for one in left)
            # What does not lower the peak now is passed over: it would cost time and bring nothing, as yet.
            change, after = next(((one, then) for one, then in tried if then.total < best.total), (None, best))
            if change is None:
                break
            overrides, best = overrides | change, after
            left.remove(change)
        if best.fits(gib):
            found.append(Suggestion(overrides, best))
    found.sort(key=lambda one: len(one.overrides))
    return [one for place, one in enumerate(found) if one not in found[:place]]


def _changes(settings: Mapping[str, Any], longest: Sequence[int] | None, order: Sequence[str]) -> list[dict[str, Any]]:
    """The changes to try, one upon the other, without those that are so already."""
    first: list[dict[str, Any]] = []
    if not on(settings.get("enable_liger_kernel")) and not on(settings.get("mug_speed")):
        first.append({"enable_liger_kernel": True})
    if _evaluates(settings) and _number(settings, "per_device_eval_batch_size", 8) > 1:
        first.append({"per_device_eval_batch_size": 1})
    batch = _number(settings, "per_device_train_batch_size", 8)
    samples = batch * _number(settings, "gradient_accumulation_steps", 1)
    kinds: dict[str, list[dict[str, Any]]] = {"batch": [], "checkpointing": [], "bits": []}
    while batch > 1:
        batch = batch // 2
        smaller = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": -(-samples // batch)}
        kinds["batch"].append(smaller)
    if on(settings.get("disable_gradient_checkpointing")):
        kinds["checkpointing"].append({"disable_gradient_checkpointing": False})
    if (
        not settings.get("quantization_bit") and int(zero_optimization(settings).get("stage", 0)) < 3
    ):  # ZeRO-3 can't divide it
        kinds["bits"].append({"quantization_bit": 4, "quantization_method": "bnb", "double_quantization": True})
    last: list[dict[str, Any]] = []
    if on(settings.get("packing")) or on(settings.get("neat_packing")):
        cutoff = _number(settings, "cutoff_len", 2048)
        last += [{"cutoff_len": size} for size in (4096, 2560, 2048) if max(longest or [0]) <= size < cutoff]
    return [*first, *(change for kind in order for change in kinds[kind]), *last]
