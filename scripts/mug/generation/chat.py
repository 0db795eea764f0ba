"""Samples to token ids and answers back to text, the same for every engine that holds a model itself.

Prompts are made by LLaMA-Factory's own template, so they are the tokens of training to the last byte.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llamafactory.data.template import Template, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from transformers import PreTrainedTokenizerBase

from mug.generation.base import Completion, messages
from mug.generation.model_folder import ADAPTER_WEIGHTS, ModelFolder
from mug.tasks.base import SYSTEM, Sample

END_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""A tuned base ends with the first, an untuned one with the second; its own generation_config knows only one."""


def chat_template(tokenizer: PreTrainedTokenizerBase, name: str) -> Template:
    """Return LLaMA-Factory's template with the system prompt of training; the tokenizer's end token becomes its."""
    return get_template_and_fix_tokenizer(tokenizer, DataArguments(template=name, default_system=SYSTEM))


def encode(template: Template, tokenizer: PreTrainedTokenizerBase, sample: Sample) -> list[int]:
    """Return the prompt's token ids, those before the answer in training."""
    prompt, _ = template.encode_oneturn(tokenizer, [*messages(sample), {"role": "assistant", "content": ""}])
    return prompt


def encode_all(template: Template, tokenizer: PreTrainedTokenizerBase, samples: Sequence[Sample]) -> list[list[int]]:
    """Return each prompt's token ids; what stands in several of them, such as their transcript, is encoded once."""
    once = _Once(tokenizer)
    return [encode(template, once, sample) for sample in samples]


class _Once:
    """A tokenizer that remembers what it has encoded."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self.encode = tokenizer, functools.cache(tokenizer.encode)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids of the end tokens that the tokenizer knows, its own included.

    Known is what comes back from its id as itself. A comparison with the id of the unknown token would not do: a Qwen2
    tokenizer takes <|endoftext|> for it unless its file says null, which saving it again leaves out.
    """
    tokens = dict.fromkeys((*END_TOKENS, tokenizer.eos_token))
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in tokens if token}
    return [id for token, id in ids.items() if id is not None and tokenizer.convert_ids_to_tokens(id) == token]


def completion(tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int], answer: Sequence[int]) -> Completion:
    """Read an answer's token ids up to the first end token; without one it was stopped by its length.

    Special tokens before it stay visible: an answer that holds one is not what was asked for, and parsing says so.
    """
    end = next((place for place, token in enumerate(answer) if token in stop_ids), None)
    kept = list(answer if end is None else answer[:end])
    text = tokenizer.decode(kept, skip_special_tokens=False)
    return Completion(text, "length" if end is None else "stop", len(kept))


def fingerprint(engine: str, folder: ModelFolder, template: str, max_new_tokens: int, dtype: str) -> dict[str, Any]:
    """Return what the answers of a model in memory depend on, beside the prompts."""
    return {
        "engine": engine,
        "base": digest(Path(folder.base)),
        "adapter": digest(folder.adapter) if folder.adapter else None,
        "template": template,
        "system": SYSTEM,
        "max_new_tokens": max_new_tokens,
        "dtype": dtype,
    }


def digest(folder: Path) -> dict[str, Any] | str:
    """Name the weights in a folder by content where they are small (adapters), else by size and time of change."""
    if not folder.is_dir():
        return str(folder)
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        if file.name == ADAPTER_WEIGHTS or file.stat().st_size < 1 << 24:
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        else:
            found[file.name] = [file.stat().st_size, int(file.stat().st_mtime)]
    return found
