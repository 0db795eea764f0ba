"""The sizes of a base model that memory and speed follow from.

They come from the ``config.json`` of a model's folder, or, since a hub may be out of reach, from a table of the
models that this project's documents name: Qwen2.5 0.5B to 32B and Qwen3 0.6B to 32B, base and instruct.

>>> shape_of("Qwen/Qwen2.5-7B-Instruct").parameters
7615616512
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mug.errors import InputError


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense decoder of Qwen2's, Qwen3's or Llama's kind."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int  # rows of the embedding, padding included
    tied: bool  # the output layer is the embedding
    attention_bias: bool  # Qwen2: q, k and v have one
    qk_norm: bool  # Qwen3: queries and keys are normed, head by head

    @property
    def attention(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def key_value(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.key_value_heads * self.head_dim

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of a layer's projections, those that ``lora_target: all`` adapts."""
        return {
            "q_proj": (self.hidden, self.attention),
            "k_proj": (self.hidden, self.key_value),
            "v_proj": (self.hidden, self.key_value),
            "o_proj": (self.attention, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def projected(self) -> int:
        """Weights of all layers' projections, without biases: what a quantisation makes smaller."""
        return self.layers * sum(width * out for width, out in self.projections.values())

    @property
    def embedded(self) -> int:
        """Weights of the embedding and of the output layer, which no quantisation touches."""
        return (1 if self.tied else 2) * self.vocabulary * self.hidden

    @property
    def small(self) -> int:
        """Norms and biases."""
        layer = 2 * self.hidden
        layer += (self.attention + 2 * self.key_value) * self.attention_bias + 2 * self.head_dim * self.qk_norm
        return self.layers * layer + self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.projected + self.embedded + self.small


# hidden, intermediate, layers, heads, key and value heads, rows of the embedding, tied; heads of 64 only in 0.5B
_QWEN25 = {
    "0.5B": (896, 4864, 24, 14, 2, 151_936, True),
    "1.5B": (1536, 8960, 28, 12, 2, 151_936, True),
    "3B": (2048, 11_008, 36, 16, 2, 151_936, True),
    "7B": (3584, 18_944, 28, 28, 4, 152_064, False),
    "14B": (5120, 13_824, 48, 40, 8, 152_064, False),
    "32B": (5120, 27_648, 64, 40, 8, 152_064, False),
}
_QWEN3 = {  # heads of 128 in all, whatever the hidden size
    "0.6B": (1024, 3072, 28, 16, 8, 151_936, True),
    "1.7B": (2048, 6144, 28, 16, 8, 151_936, True),
    "4B": (2560, 9728, 36, 32, 8, 151_936, True),
    "8B": (4096, 12_288, 36, 32, 8, 151_936, False),
    "14B": (5120, 17_408, 40, 40, 8, 151_936, False),
    "32B": (5120, 25_600, 64, 64, 8, 151_936, False),
}


def shape_of(model: str | Path) -> Shape:
    """Return the shape of a model's folder or of a name on a hub (``Qwen/Qwen2.5-7B``, ``Qwen/Qwen3-8B-Base``).

    Raises:
        InputError: the folder has no usable ``config.json``, or the name is not in the table.
    """
    path = Path(model) / "config.json"
    if path.exists():
        try:
            return from_config(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"读不懂 {path}（{error}）；请换一个 Qwen2、Qwen3 或 Llama 结构的模型文件夹。",
                f"Can't read {path} ({error}); name the folder of a model of Qwen2's, Qwen3's or Llama's kind.",
            ) from None
    name = re.sub(r"(-Instruct|-Base)?$", "", str(model).rstrip("/").rsplit("/", 1)[-1])
    family, _, size = name.rpartition("-")
    if family == "Qwen2.5" and size in _QWEN25:
        hidden, intermediate, layers, heads, groups, rows, tied = _QWEN25[size]
        return Shape(
            hidden,
            intermediate,
            layers,
            heads,
            groups,
            hidden // heads,
            rows,
            tied,
            attention_bias=True,
            qk_norm=False,
        )
    if family == "Qwen3" and size in _QWEN3:
        hidden, intermediate, layers, heads, groups, rows, tied = _QWEN3[size]
        return Shape(hidden, intermediate, layers, heads, groups, 128, rows, tied, attention_bias=False, qk_norm=True)
    raise InputError(
        f"不知道 {model} 的结构：那里没有 config.json，名字也不在 Qwen2.5（{', '.join(_QWEN25)}）"
        f"和 Qwen3（{', '.join(_QWEN3)}）之列；请给出模型文件夹。",
        f"The shape of {model} is not known: no config.json there, and the name is none of Qwen2.5 "
        f"({', '.join(_QWEN25)}) or Qwen3 ({', '.join(_QWEN3)}); name a model's folder.",
    )


def from_config(config: Mapping[str, Any]) -> Shape:
    """Return the shape that a model's ``config.json`` describes.

    Raises:
        KeyError: a size is missing.
        ValueError: the model is of a kind whose sizes mean something else, such as a mixture of experts.
    """
    kind = config.get("model_type") if isinstance(config, dict) else type(config).__name__
    if kind not in ("qwen2", "qwen3", "llama"):
        raise ValueError(f"model_type {kind}")
    heads = int(config["num_attention_heads"])
    return Shape(
        hidden=int(config["hidden_size"]),
        intermediate=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        key_value_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or int(config["hidden_size"]) // heads),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        attention_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
    )
