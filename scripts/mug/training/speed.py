"""The same training in less time: what LLaMA-Factory computes for a LoRA step, without the parts nobody needs.

Switched on by ``python scripts/train.py CONFIG.yaml mug_speed=true``. Batches, their order, the loss and the
gradients stay those of the plain configuration (up to rounding; the tests compare them); what changes is how they are
computed:

- **No padding, no mask.** A batch is laid end to end; attention gets the samples' borders (the variable-length kernel
  of FlashAttention that PyTorch carries) instead of a mask of length times length.
- **The output layer where it is needed.** Six of a title sample's 1,100 tokens are targets. Logits are made for these,
  and the last layer's queries, output projection and MLP run from each sample's first target on.
- **LoRA inside the matrix product.** One function for projections with the same input: no fp32 copy of the input,
  one product for their A matrices, B added by the product itself, all adapters brought to bf16 once a step.
- **Batches of even length.** The samples of one optimizer step are dealt to its batches so that all are about as long.
- **Liger's kernels** for RMSNorm, rotary embedding and SwiGLU, on a GPU.

It works for Qwen2, Qwen2.5, Qwen3 and Llama shapes under LoRA and QLoRA, on one GPU or several that each hold the
whole model (DDP, DeepSpeed ZeRO-2). `prepare` refuses what it can't compute exactly: dropout, DoRA, 8-bit bases,
divided parameters (ZeRO-3, FSDP). It needs liger-kernel and, for the attention kernel, Ampere (RTX 30, A100) or later.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mug.errors import InputError
from mug.training.even_batches import EvenBatches

ATTENTION = "mug_varlen"
IGNORED = -100


# ---------------------------------------------------------------------------------------- batches without padding


class Part(NamedTuple):
    """A run of tokens whose attention is causal: a sample, or of a tree the trunk or one branch.

    ``trunk`` is the number of the part that a branch goes on from, -1 for others.
    """

    ids: Tensor
    labels: Tensor
    trunk: int = -1


def parts_of(samples: Sequence[Mapping[str, Sequence[int]]], *, tree: bool) -> list[Part]:
    """Take samples apart.

    LLaMA-Factory's neat_packing puts several samples into one and counts them in ``attention_mask`` (1, 1, 2, 2, 2, 0:
    two samples and padding). With ``tree`` a conversation is a trunk, up to the end of its first answer, and branches,
    one for each later question with its answer; the trunk's answer is no target.
    """
    found: list[Part] = []
    for sample in samples:
        numbers = torch.tensor(sample["attention_mask"])
        ids, labels = torch.tensor(sample["input_ids"]), torch.tensor(sample["labels"])
        for number in range(1, int(numbers.max()) + 1):
            part = Part(ids[numbers == number], labels[numbers == number])
            ends = _ends_of_answers(part.labels) if tree else []
            if len(ends) < 2:
                found.append(part)
                continue
            trunk = len(found)
            found.append(Part(part.ids[: ends[0]], torch.full((ends[0],), IGNORED)))
            found += [
                Part(part.ids[first:last], part.labels[first:last], trunk)
                for first, last in zip(ends, ends[1:], strict=False)
            ]
    return found


def _ends_of_answers(labels: Tensor) -> list[int]:
    wanted = functional.pad(labels != IGNORED, (0, 1))
    return [int(place) + 1 for place in (wanted[:-1] & ~wanted[1:]).nonzero().flatten()]


def lay_end_to_end(samples: Sequence[Mapping[str, Sequence[int]]], *, tree: bool = False) -> dict[str, Any]:
    """Make one batch of samples without padding.

    Args:
        samples: ``input_ids``, ``labels`` and ``attention_mask`` of each.
        tree: let the questions of one conversation share its beginning without seeing each other, see `parts_of`.

    Returns:
        What the model's forward takes: ``lengths`` [samples], first, because the Trainer reads a batch's size off the
        first tensor; ``input_ids``, ``labels``, ``position_ids`` [1, tokens]; ``logits_to_keep`` [targets], places
        among the tail tokens, ``shift_labels`` [1, targets]; and ``layout``, the places of parts for attention:
        ``all`` and ``last`` (the tail: what the last layer computes, of each part from its first target on) as
        `runs`, ``tail`` [tail tokens].
    """
    parts = parts_of(samples, tree=tree)
    lengths = torch.tensor([len(part.ids) for part in parts])
    starts = (lengths.cumsum(0) - lengths).tolist()
    wanted = [torch.cat([part.labels[1:], part.labels.new_tensor([IGNORED])]) for part in parts]  # of each the next
    tails = [
        range(int((one != IGNORED).float().argmax()) if (one != IGNORED).any() else len(one), len(one))
        for one in wanted
    ]
    flat = torch.cat([one[tail.start :] for one, tail in zip(wanted, tails, strict=True)])
    kept = (flat != IGNORED).nonzero().flatten()
    before = [len(parts[part.trunk].ids) if part.trunk >= 0 else 0 for part in parts]  # a branch goes on counting
    return {
        "lengths": torch.tensor([len(sample["input_ids"]) for sample in samples]),
        "input_ids": torch.cat([part.ids for part in parts])[None],
        "labels": torch.cat([part.labels for part in parts])[None],
        "position_ids": torch.cat([torch.arange(b, b + len(p.ids)) for b, p in zip(before, parts, strict=True)])[None],
        "logits_to_keep": kept,
        "shift_labels": flat[kept][None],
        "layout": {
            "tail": torch.cat([torch.arange(s + t.start, s + t.stop) for s, t in zip(starts, tails, strict=True)]),
            "all": runs(parts, [range(len(part.ids)) for part in parts]),
            "last": runs(parts, tails),
        },
    }


def runs(parts: Sequence[Part], asked: Sequence[range]) -> dict[str, Any]:
    """Say where attention finds what belongs together.

    Args:
        parts: in the batch's order.
        asked: of each part the tokens that ask, its last ones; keys and values are there for all.

    Returns:
        ``queries`` and ``keys``, borders of the parts [parts + 1] among the asking tokens and among all, and the
        longest of them, ``most_queries`` and ``most_keys``. If there are branches, ``branches``: the same four of the
        trees, with ``asking`` and ``trunks``, the places of the branches' asking tokens and of the trunks' tokens.
    """
    found = _borders([len(one) for one in asked], [len(part.ids) for part in parts])
    trunks = sorted({part.trunk for part in parts if part.trunk >= 0})
    if not trunks:
        return found
    first_asking = torch.tensor([0, *(len(one) for one in asked)]).cumsum(0).tolist()
    first = torch.tensor([0, *(len(part.ids) for part in parts)]).cumsum(0).tolist()
    children = {trunk: [n for n, part in enumerate(parts) if part.trunk == trunk] for trunk in trunks}
    found["branches"] = _borders(
        [sum(len(asked[n]) for n in children[trunk]) for trunk in trunks], [len(parts[trunk].ids) for trunk in trunks]
    ) | {
        "asking": torch.cat(
            [torch.arange(first_asking[n], first_asking[n + 1]) for trunk in trunks for n in children[trunk]]
        ),
        "trunks": torch.cat([torch.arange(first[trunk], first[trunk + 1]) for trunk in trunks]),
    }
    return found


def _borders(queries: Sequence[int], keys: Sequence[int]) -> dict[str, Any]:
    return {
        "queries": torch.tensor([0, *queries]).cumsum(0).to(torch.int32),
        "keys": torch.tensor([0, *keys]).cumsum(0).to(torch.int32),
        "most_queries": max(queries),
        "most_keys": max(keys),
    }


# ------------------------------------------------------------------------------------------------------------ LoRA


class Group:
    """Projections that share their input, and their adapters side by side in the precision of the computation.

    ``bases`` are the frozen layers, ``factors`` the adapters' parameters (down, up, down, up, …), each down [rank, in]
    and each up [out, rank]. `refresh` copies them into ``down`` [all ranks, in] and ``ups``.

    Raises:
        InputError: what one of the projections does in training can't be computed here.
    """

    def __init__(self, *projections: nn.Module) -> None:
        self.bases: list[nn.Linear] = []
        self.factors: list[Tensor] = []
        scales: set[float] = set()
        for module in projections:
            base, down, up, scale = _read(module)
            self.bases.append(base)
            self.factors += [down, up]
            if scale:
                scales.add(scale)
        if len(scales) > 1:
            raise _refused(
                "各投影不同的 lora_alpha 或 rank", "projections of unlike lora_alpha or rank", "mug_speed=false"
            )
        self.scale = scales.pop() if scales else 1.0
        self.ranks = [len(down) for down in self.factors[0::2]]
        self.down = torch.empty(0)
        self.ups: list[Tensor] = []

    def refresh(self, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
        """Return where the adapters go in ``dtype``, and the adapters; who copies all groups at once is quicker."""
        first = self.factors[0]
        if self.down.dtype != dtype or self.down.device != first.device or not self.ups:
            self.down = first.new_empty(sum(self.ranks), first.shape[1], dtype=dtype)
            self.ups = [up.new_empty(up.shape, dtype=dtype) for up in self.factors[1::2]]
        places = [one for pair in zip(self.down.split(self.ranks), self.ups, strict=True) for one in pair]
        return places, self.factors


def _read(module: nn.Module) -> tuple[nn.Linear, Tensor, Tensor, float]:
    """Return a projection's frozen layer, its adapter's down and up, and their scale (0: no adapter, rank 0)."""
    base = getattr(module, "base_layer", module)
    if not isinstance(base, nn.Linear) or "8bit" in type(base).__name__:
        raise _refused(f" {type(base).__name__} 层", f"a layer {type(base).__name__}", "mug_speed=false")
    if base is module:
        like = torch.empty(0, device=base.weight.device)
        return base, like.new_empty(0, base.in_features), like.new_empty(base.out_features, 0), 0.0
    lora: Any = module
    names = lora.active_adapters
    if len(names) != 1 or lora.merged or lora.lora_variant.get(names[0]) is not None:
        raise _refused(
            "多个适配器、已合并的适配器或 DoRA", "several adapters, a merged one, or DoRA", "mug_speed=false"
        )
    dropout = getattr(lora.lora_dropout[names[0]], "p", 0.0)
    if dropout:
        raise _refused(f" lora_dropout {dropout}", f"lora_dropout {dropout}", "lora_dropout=0")
    down, up = lora.lora_A[names[0]], lora.lora_B[names[0]]
    if up.bias is not None:
        raise _refused(" lora_bias", "lora_bias", "mug_speed=false")
    return base, down.weight, up.weight, float(lora.scaling[names[0]])


def _refused(zh: str, en: str, mend: str) -> InputError:
    return InputError(
        f"mug_speed 不支持{zh}；请在命令后加 {mend}。", f"mug_speed does not support {en}; add {mend} to the command."
    )


def project(x: Tensor, group: Group, residual: Tensor | None = None) -> tuple[Tensor, ...]:
    """Apply a group's projections, ``x W^T + b + scale (x down^T) up^T`` each.

    Args:
        x: [..., in].
        group: refreshed since the adapters last changed.
        residual: [..., out], added to the first one's result.
    """
    results: tuple[Tensor, ...] = _Project.apply(x, residual, group, *group.factors)
    return results


class _Project(torch.autograd.Function):
    """Forward and backward of `project`, written out: autograd keeps neither copies nor the products' summands."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, group: Group, *_: Tensor) -> tuple[Tensor, ...]:
        flat = x.reshape(-1, x.shape[-1])
        results: list[Tensor] = []
        with torch.autocast(x.device.type, enabled=False):
            low = (flat @ group.down.t()).mul_(group.scale)
            for base, up, part in zip(group.bases, group.ups, low.split(group.ranks, dim=1), strict=True):
                result = functional.linear(flat, _weight(base, flat.dtype), base.bias)
                results.append(result.addmm_(part, up.t()))
            if residual is not None:
                results[0] += residual.reshape(-1, residual.shape[-1])
        ctx.save_for_backward(flat, low)
        ctx.group, ctx.shape = group, x.shape
        return tuple(result.view(*x.shape[:-1], -1) for result in results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        group: Group = ctx.group
        flat, low = ctx.saved_tensors
        outs = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]
        with torch.autocast(flat.device.type, enabled=False):
            lows = [out @ up for out, up in zip(outs, group.ups, strict=True)]
            low_gradient = (lows[0] if len(lows) == 1 else torch.cat(lows, dim=1)).mul_(group.scale)
            downs = _wide(low_gradient.t(), flat, group.factors[0].dtype).split(group.ranks)
            ups = [
                _wide(out.t(), part, up.dtype)
                for out, part, up in zip(outs, low.split(group.ranks, dim=1), group.factors[1::2], strict=True)
            ]
            x_gradient = None
            if ctx.needs_input_grad[0]:
                x_gradient = low_gradient @ group.down
                for base, out in zip(group.bases, outs, strict=True):
                    x_gradient.addmm_(out, _weight(base, out.dtype))
                x_gradient = x_gradient.view(ctx.shape)
        residual = gradients[0] if ctx.needs_input_grad[1] else None
        return x_gradient, residual, None, *[one for pair in zip(downs, ups, strict=True) for one in pair]


def _wide(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``a @ b`` in the precision in which the adapters are kept."""
    if a.is_cuda and dtype == torch.float32 != a.dtype:
        return torch.mm(a, b, out_dtype=dtype)  # the product adds up in float32 anyway
    return (a @ b).to(dtype)


def _weight(base: nn.Linear, dtype: torch.dtype) -> Tensor:
    """Return a frozen layer's weight [out, in], unpacked if it is kept in 4 bits."""
    weight: Any = base.weight
    packed = getattr(weight, "quant_state", None)  # 4 bits are kept in numbers of any type, floating ones too
    if packed is None:
        return weight.to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, packed).to(dtype)


# ------------------------------------------------------------------------------------------------------- the layers


def attend(query: Tensor, key: Tensor, value: Tensor, run: Mapping[str, Any]) -> Tensor:
    """Let each token see its own part up to itself, and a branch's also the whole trunk.

    ``query`` is [asking tokens, heads, width], ``key`` and ``value`` are [tokens, key heads, width], ``run`` comes
    from `runs`. Returns a tensor like ``query``.
    """
    if "branches" in run:
        result: Tensor = (
            _TreeAttention.apply(query, key, value, run) if query.is_cuda else _masked(query, key, value, run)
        )
        return result
    if query.is_cuda:
        return _flash(query, key, value, run, is_causal=True)[0]
    results = []
    borders = zip(run["queries"][:-1], run["queries"][1:], run["keys"][:-1], run["keys"][1:], strict=True)
    for first, last, begin, end in borders:
        seen = torch.ones(last - first, end - begin, dtype=torch.bool).tril(int((end - begin) - (last - first)))
        results.append(_by_mask(query[first:last], key[begin:end], value[begin:end], seen))
    return torch.cat(results)


def _by_mask(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    q, k, v = (one.transpose(0, 1)[None] for one in (query, key, value))
    result = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    return result[0].transpose(0, 1)


def _masked(query: Tensor, key: Tensor, value: Tensor, run: Mapping[str, Any]) -> Tensor:
    """Attention over a tree by one mask of all tokens: for a CPU, where trees are small."""
    trees = run["branches"]
    part_of_key = torch.repeat_interleave(run["keys"].diff().long())
    part_of_query = torch.repeat_interleave(run["queries"].diff().long())
    place = torch.arange(len(key))
    last = run["keys"][1:][part_of_query] - run["queries"][1:][part_of_query]  # the asking are the last of their part
    seen = (part_of_query[:, None] == part_of_key) & (place <= (torch.arange(len(query)) + last)[:, None])
    tree_of_query = torch.full((len(query),), -1)
    tree_of_query[trees["asking"]] = torch.repeat_interleave(trees["queries"].diff().long())
    tree_of_key = torch.full((len(key),), -2)
    tree_of_key[trees["trunks"]] = torch.repeat_interleave(trees["keys"].diff().long())
    return _by_mask(query, key, value, seen | (tree_of_query[:, None] == tree_of_key))


def _flash(query: Tensor, key: Tensor, value: Tensor, run: Mapping[str, Any], *, is_causal: bool) -> Any:
    """Return output, logarithm of the sum of exponents [heads, asking tokens] and the state that backward wants."""
    return torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        run["queries"],
        run["keys"],
        run["most_queries"],
        run["most_keys"],
        0.0,
        is_causal,
        False,
        scale=query.shape[-1] ** -0.5,
    )


class _TreeAttention(torch.autograd.Function):
    """Attention of parts, joined for branches with that over their trunk.

    Softmax over two sets of keys is the two softmaxes' outputs, weighted by their sums of exponents. The kernel's
    backward takes output and sum as they were over all keys, so it runs on each set with the joint ones, and the
    gradients add up.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, run: Mapping[str, Any]) -> Tensor:
        trees = run["branches"]
        out, sums, *state = _flash(query, key, value, run, is_causal=True)
        asking, trunks = trees["asking"], trees["trunks"]
        far, far_sums, *far_state = _flash(query[asking], key[trunks], value[trunks], trees, is_causal=False)
        near_sums = sums[:, asking]
        joint = torch.logaddexp(near_sums, far_sums)
        weight, far_weight = (torch.exp(one - joint).t()[..., None] for one in (near_sums, far_sums))
        out[asking] = (out[asking] * weight + far * far_weight).to(out.dtype)
        sums[:, asking] = joint
        ctx.save_for_backward(query, key, value, out, sums, *state[:2], *far_state[:2])
        ctx.run = run
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums, *states = ctx.saved_tensors
        trees = ctx.run["branches"]
        asking, trunks = trees["asking"], trees["trunks"]

        def back(run: Any, causal: bool, state: Any, *tensors: Tensor) -> Any:
            return torch.ops.aten._flash_attention_backward(
                *(one.contiguous() for one in tensors),
                run["queries"],
                run["keys"],
                run["most_queries"],
                run["most_keys"],
                0.0,
                causal,
                *state,
                scale=query.shape[-1] ** -0.5,
            )

        to_query, to_key, to_value = back(ctx.run, True, states[:2], gradient, query, key, value, out, sums)
        far = back(
            trees,
            False,
            states[2:],
            gradient[asking],
            query[asking],
            key[trunks],
            value[trunks],
            out[asking],
            sums[:, asking],
        )
        to_query[asking] += far[0]
        to_key[trunks] += far[1]
        to_value[trunks] += far[2]
        return to_query, to_key, to_value, None


def layer_forward(
    self: nn.Module,
    hidden_states: Tensor,
    attention_mask: None = None,
    *,
    position_embeddings: tuple[Tensor, Tensor],
    layout: Mapping[str, Any],
    **_: Any,
) -> Tensor:
    """A decoder layer on samples laid end to end; the last one returns its tail tokens only.

    ``hidden_states`` is [1, tokens, hidden], ``layout`` that of `lay_end_to_end`. Returns [1, tokens, hidden], or
    [1, tail tokens, hidden] from the last layer.
    """
    attention, groups = self.self_attn, self.mug_groups
    normed = norm(self.input_layernorm, hidden_states)
    if "queries" not in groups:
        query, key, value = project(normed, groups["attention"])
        run, places = layout["all"], None
    else:
        run, places = layout["last"], layout["tail"]
        key, value = project(normed, groups["attention"])
        (query,) = project(normed[:, places], groups["queries"])
        hidden_states = hidden_states[:, places]
    query, key, value = (one.unflatten(-1, (-1, attention.head_dim)) for one in (query, key, value))
    if hasattr(attention, "q_norm"):  # Qwen3
        query, key = norm(attention.q_norm, query), norm(attention.k_norm, key)
    query, key = rotate(query, key, *position_embeddings, places)
    seen = attend(query[0], key[0], value[0], run)
    (hidden_states,) = project(seen.flatten(1)[None], groups["output"], hidden_states)
    normed = norm(self.post_attention_layernorm, hidden_states)
    (hidden_states,) = project(gated(*project(normed, groups["gates"])), groups["down"], hidden_states)
    return hidden_states


def norm(module: nn.Module, x: Tensor) -> Tensor:
    """RMSNorm of the last dimension, as ``module`` does it."""
    if not x.is_cuda:
        return module(x)
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return LigerRMSNormFunction.apply(x, module.weight, module.variance_epsilon, 0.0, "llama", False)


def rotate(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rotary embedding of ``query`` and ``key`` [1, tokens, heads, width]; ``places`` are the queries' tokens."""
    if query.is_cuda and places is None:
        from liger_kernel.ops.rope import LigerRopeFunction

        turned = LigerRopeFunction.apply(query.transpose(1, 2), key.transpose(1, 2), cos, sin)
        return turned[0].transpose(1, 2), turned[1].transpose(1, 2)
    cos, sin = cos[:, :, None], sin[:, :, None]
    of_query = (cos, sin) if places is None else (cos[:, places], sin[:, places])
    return _turned(query, *of_query), _turned(key, cos, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """SwiGLU: silu(gate) * up."""
    if not gate.is_cuda:
        return functional.silu(gate) * up
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    return LigerSiLUMulFunction.apply(gate, up)


# ------------------------------------------------------------------------------------------------------- switching on


def prepare(model: nn.Module) -> None:
    """Put the forward above into the layers of a LoRA model.

    Raises:
        InputError: the model is none of the kinds that the module's head names.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = getattr(getattr(base, "model", None), "layers", None)
    if layers is None or base.config.model_type not in ("qwen2", "qwen3", "llama") or base.config.hidden_act != "silu":
        kind = getattr(base.config, "model_type", "?")
        raise _refused(f" {kind} 结构的模型", f"a model of the kind {kind}", "mug_speed=false")
    if any(hasattr(parameter, "ds_id") for parameter in base.parameters()):
        raise _refused("切分参数的 ZeRO-3", "ZeRO-3, which divides the parameters", "mug_speed=false")
    if getattr(base.config, "attention_dropout", 0.0):
        raise _refused(" attention_dropout", "attention_dropout", "mug_speed=false")
    if "sliding_attention" in (getattr(base.config, "layer_types", None) or ()):
        raise _refused("滑动窗口注意力", "sliding window attention", "mug_speed=false")
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
        card = torch.cuda.get_device_name()
        raise _refused(f" {card}（需要 Ampere 或更新的显卡）", f"{card} (it needs Ampere or later)", "mug_speed=false")
    for layer in layers:
        attention, mlp = layer.self_attn, layer.mlp
        layer.mug_groups = {
            "attention": Group(attention.q_proj, attention.k_proj, attention.v_proj),
            "output": Group(attention.o_proj),
            "gates": Group(mlp.gate_proj, mlp.up_proj),
            "down": Group(mlp.down_proj),
        }
        layer.forward = MethodType(layer_forward, layer)
    layer.mug_groups |= {"attention": Group(attention.k_proj, attention.v_proj), "queries": Group(attention.q_proj)}
    groups = [group for layer in layers for group in layer.mug_groups.values()]

    def refresh(module: nn.Module, args: Any, kwargs: Any) -> None:
        device = module.embed_tokens.weight.device.type
        plain = module.embed_tokens.weight.dtype
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else plain
        pairs = [group.refresh(dtype) for group in groups]
        with torch.no_grad():
            torch._foreach_copy_([one for to, _ in pairs for one in to], [one for _, of in pairs for one in of])

    base.model.register_forward_pre_hook(refresh, with_kwargs=True)
    base.config._attn_implementation = ATTENTION  # a name that transformers makes no mask for


def install(*, tree: bool = False) -> None:
    """Make LLaMA-Factory's supervised fine-tuning in this process use the module; call it before ``run_exp``.

    ``tree`` is that of `lay_end_to_end`.

    Raises:
        InputError: there is a GPU, but no liger-kernel.
    """
    if torch.cuda.is_available() and importlib.util.find_spec("liger_kernel") is None:
        raise InputError(
            "mug_speed 需要 liger-kernel；请运行 bash setup.sh --extras liger-kernel，或加 mug_speed=false。",
            "mug_speed needs liger-kernel; run bash setup.sh --extras liger-kernel, or add mug_speed=false.",
        )
    from llamafactory.train.sft import workflow

    load_model, collator = workflow.load_model, workflow.SFTDataCollatorWith4DAttentionMask

    def load(tokenizer: Any, model_args: Any, finetuning_args: Any, is_trainable: bool = False, **kwargs: Any) -> Any:
        model = load_model(tokenizer, model_args, finetuning_args, is_trainable, **kwargs)
        if is_trainable:
            prepare(model)
        return model

    class EndToEnd(collator):  # type: ignore[misc, valid-type]
        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            return lay_end_to_end(features, tree=tree)

    class Evened(workflow.CustomSeq2SeqTrainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            loader = super().get_train_dataloader()
            batches = getattr(loader.batch_sampler, "batch_sampler", loader.batch_sampler)  # inside: of all GPUs
            lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
            number = self.args.world_size * self.args.gradient_accumulation_steps
            batches.sampler = EvenBatches(batches.sampler, lengths, batches.batch_size, number)
            return loader

    workflow.load_model, workflow.SFTDataCollatorWith4DAttentionMask = load, EndToEnd
    workflow.CustomSeq2SeqTrainer = Evened
