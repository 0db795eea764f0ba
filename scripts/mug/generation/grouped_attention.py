"""Attention to cached keys and values without copying them for each query head.

Qwen2.5-7B has 28 query heads and 4 key heads. Where there is a mask, which padded batches need, transformers repeats
keys and values seven times before PyTorch's attention: at each token of an answer, for the whole cache. Query heads
that share a key head can as well be rows of one larger query; the results are the same.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "mug_grouped"
"""For ``attn_implementation``."""


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend as transformers' ``sdpa`` does, in evaluation.

    Args:
        module: the attention layer.
        query: [rows, query heads, asking tokens, width].
        key: [rows, key heads, tokens, width].
        value: likewise.
        attention_mask: [rows, 1, asking tokens, tokens], or None for a causal one, which has a kernel of its own.
        kwargs: ``scaling`` among others.

    Returns:
        [rows, asking tokens, query heads, width], and None for the weights.
    """
    if attention_mask is None or module.training:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    heads = key.shape[1]
    grouped = query.unflatten(1, (heads, -1)).flatten(2, 3)
    mask = attention_mask.repeat(1, 1, query.shape[1] // heads, 1)
    seen = functional.scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=kwargs.get("scaling"))
    return seen.unflatten(2, (-1, query.shape[2])).flatten(1, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
