"""Greedy generation with transformers, in batches of prompts of like length.

As LLaMA-Factory does for chat and predict, an adapter is merged into the base after loading; on a base in 4 bits it
stays beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, DynamicCache, GenerationConfig

from mug.errors import InputError
from mug.generation import chat, grouped_attention
from mug.generation.base import Completion
from mug.generation.model_folder import ModelFolder
from mug.tasks.base import Sample

READ_TOKENS = 32_768
"""Prompt tokens that are read at a time; a GPU is busy with fewer."""

_FOUR_BITS = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)


class TransformersEngine:
    """A model held in memory."""

    name = "transformers"

    def __init__(
        self,
        folder: ModelFolder,
        *,
        template: str = "qwen",
        max_new_tokens: int = 256,
        batch_tokens: int = 0,
        quantization_bit: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            folder: the base, and the adapter on it if there is one.
            template: LLaMA-Factory's name of the chat template.
            max_new_tokens: the longest answer, in tokens.
            batch_tokens: prompt and answer tokens of one batch, padding included; 0 takes what the free memory of the
                GPU holds, and 16,384 on a CPU.
            quantization_bit: 4 loads the base as configs/train_qlora.yaml does (NF4, double quantisation).

        Raises:
            InputError: transformers can't load what is there, or bitsandbytes is missing.
        """
        on_gpu = torch.cuda.is_available()
        if quantization_bit and find_spec("bitsandbytes") is None:
            raise InputError(
                "--quantization_bit 需要 bitsandbytes；请运行 bash setup.sh --extras bitsandbytes。",
                "--quantization_bit needs bitsandbytes; run bash setup.sh --extras bitsandbytes.",
            )
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder.base, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                folder.base,
                dtype=torch.bfloat16 if on_gpu else torch.float32,
                device_map={"": "cuda:0" if on_gpu else "cpu"},
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation=grouped_attention.NAME,
                quantization_config=_FOUR_BITS if quantization_bit else None,
            )
            if folder.adapter is not None:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, str(folder.adapter))
                if not quantization_bit:
                    model = model.merge_and_unload()
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"加载不了模型 {folder.base}（{reason}）；请用 --base_model 指定本地模型文件夹，"
                "或先运行 scripts/download_model.py。",
                f"Can't load the model {folder.base} ({reason}); name a local model folder by --base_model, or run "
                "scripts/download_model.py first.",
            ) from None
        self.model = model.eval()
        self.template = chat.chat_template(self.tokenizer, template)
        self.stop_ids = chat.stop_ids(self.tokenizer)
        self.max_new_tokens = max_new_tokens
        self.batch_tokens = batch_tokens or (_fitting_tokens(self.model.config) if on_gpu else 16_384)
        # In place of the model's own, which samples (Instruct) and stops at one token only (base).
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.stop_ids,
            pad_token_id=self.stop_ids[-1],
        )
        precision = f"{self.model.dtype}, {quantization_bit} bits" if quantization_bit else str(self.model.dtype)
        self.fingerprint = chat.fingerprint(self.name, folder, template, max_new_tokens, precision)

    def encode(self, sample: Sample) -> list[int]:
        """Return the prompt's token ids, those before the answer in training."""
        return chat.encode(self.template, self.tokenizer, sample)

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion), longest prompts first: the largest batch shows at once whether it fits.

        Prompts with the same history go together, and what they begin with is read once.
        """
        prompts = [self.encode(sample) for sample in samples]
        families: dict[Any, list[int]] = {}
        for index, sample in enumerate(samples):
            families.setdefault(sample.history or index, []).append(index)
        order = sorted(families.values(), key=lambda family: -max(len(prompts[index]) for index in family))
        start = 0
        while start < len(order):
            cost = max(len(prompts[index]) for index in order[start]) + self.max_new_tokens
            room, stop = max(1, self.batch_tokens // cost) - len(order[start]), start + 1
            while stop < len(order) and len(order[stop]) <= room:
                room -= len(order[stop])
                stop += 1
            yield from self._batch(order[start:stop], prompts)
            start = stop

    def _batch(self, batch: Sequence[Sequence[int]], prompts: Sequence[list[int]]) -> Iterator[tuple[int, Completion]]:
        """Answer families of prompts; halve them where the memory is full."""
        try:
            completions = self._complete([[prompts[index] for index in family] for family in batch])
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            if len(batch) == 1 and len(batch[0]) == 1:
                raise InputError(
                    f"显存不足：一个 {len(prompts[batch[0][0]])} token 的样本也放不下；请换更小的模型或更大的显卡。",
                    f"Out of GPU memory with a single sample of {len(prompts[batch[0][0]])} tokens; take a smaller "
                    "model or a larger card.",
                ) from None
            self.batch_tokens = max(1, self.batch_tokens // 2)
            parts = [batch] if len(batch) > 1 else [[[index] for index in batch[0]]]
            for half in (parts[0][: len(parts[0]) // 2], parts[0][len(parts[0]) // 2 :]):
                yield from self._batch(half, prompts)
            return
        yield from zip([index for family in batch for index in family], completions, strict=True)

    def _complete(self, families: Sequence[Sequence[list[int]]]) -> list[Completion]:
        """Return the answers to families of prompts, in order; what a family's prompts begin with is read once."""
        trunks = [_common(family) for family in families]
        questions = [prompt[len(trunk) :] for family, trunk in zip(families, trunks, strict=True) for prompt in family]
        rows = [trunk for family, trunk in zip(families, trunks, strict=True) for _ in family]
        with torch.inference_mode():
            cache = self._read(trunks, [len(family) for family in families])
            ids, mask = (
                torch.cat(both, dim=1) for both in zip(self._padded(rows), self._padded(questions), strict=True)
            )
            output = self.model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache)
        answers = output[:, ids.shape[1] :].tolist()
        return [chat.completion(self.tokenizer, self.stop_ids, answer) for answer in answers]

    def _read(self, trunks: Sequence[list[int]], copies: Sequence[int]) -> DynamicCache:
        """Return the keys and values of trunks, each as many times as asked, padded on the left to the longest.

        They are read in groups of like length and padded on the right: what stands behind a token does not change it,
        so attention needs no mask, and its fastest kernel will do.
        """
        width = max(map(len, trunks))
        firsts = [sum(copies[:number]) for number in range(len(copies))]
        whole: torch.Tensor | None = None
        for group in _alike(trunks, min(READ_TOKENS, self.batch_tokens // 2)):
            longest = max(len(trunks[number]) for number in group)
            pad = self.stop_ids[-1]
            ids = [trunks[number] + [pad] * (longest - len(trunks[number])) for number in group]
            found = self.model(
                input_ids=torch.tensor(ids, device=self.model.device), use_cache=True, logits_to_keep=1
            ).past_key_values
            seen = torch.stack([one for layer in found.layers for one in (layer.keys, layer.values)])
            if whole is None:  # [keys and values of all layers, rows, heads, tokens, width of a head]
                whole = seen.new_zeros(len(seen), sum(copies), seen.shape[2], width, seen.shape[4])
            for place, number in enumerate(group):
                length, first = len(trunks[number]), firsts[number]
                whole[:, first : first + copies[number], :, width - length :] = seen[:, place, None, :, :length]
        assert whole is not None
        cache = DynamicCache()
        for layer in range(len(whole) // 2):
            cache.update(whole[2 * layer], whole[2 * layer + 1], layer)
        return cache

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask [rows, longest], padded on the left."""
        width = max(map(len, rows))
        pad = self.stop_ids[-1]
        ids = [[pad] * (width - len(row)) + list(row) for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=self.model.device), torch.tensor(mask, device=self.model.device)


def _common(prompts: Sequence[list[int]]) -> list[int]:
    """Return what all prompts begin with, so much of it that each has something left to read."""
    shortest = min(map(len, prompts)) - 1
    first, last = min(prompts), max(prompts)
    length = next((n for n in range(shortest) if first[n] != last[n]), shortest)
    return list(first[:length])


def _alike(rows: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Yield the rows' numbers, longest first, in groups of no more than ``most`` tokens and an eighth of padding."""
    group: list[int] = []
    for number in sorted(range(len(rows)), key=lambda number: -len(rows[number])):
        longest = len(rows[group[0]]) if group else 0
        if group and (longest * (len(group) + 1) > most or len(rows[number]) < longest * 7 // 8):
            yield group
            group = []
        group.append(number)
    yield group


def _fitting_tokens(config: Any) -> int:
    """Return how many tokens of one batch fit into the GPU's free memory, in bf16.

    A token takes its keys and values in all layers, twice while they are put together, and the activations of one
    layer while its prompt is read, half of the batch at most at a time. For Qwen2.5-7B this makes 203 KiB.
    """
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size
    passing = 10 * config.hidden_size + 3 * config.intermediate_size
    free, _ = torch.cuda.mem_get_info()
    return max(2048, int(0.8 * free / (2 * (2 * cached + passing / 2))))
