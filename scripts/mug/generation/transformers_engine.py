"""Greedy generation with transformers, in batches; questions about one transcript go together.

As LLaMA-Factory does for chat and predict, an adapter is merged into the base after loading; on a base in 4 bits it
stays beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

from mug.errors import InputError
from mug.generation import chat, greedy, grouped_attention
from mug.generation.base import Completion
from mug.generation.model_folder import ModelFolder
from mug.tasks.base import Sample

READ_TOKENS = 32_768
"""Prompt tokens that are read at a time; a GPU is busy with fewer."""

_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's, which PyTorch takes first on an H100: it builds a plan for each new shape, so at each token."""

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
        if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
            raise InputError(
                f"{folder.base} 的注意力有滑动窗口，或缓存是别的形式，--backend transformers 不支持；"
                "请用 --backend vllm 或 api。",
                f"{folder.base} has sliding windows, or another kind of cache, which --backend transformers does not "
                "do; take --backend vllm or api.",
            )
        self.model = model.eval()
        self.template = chat.chat_template(self.tokenizer, template)
        self.stop_ids = chat.stop_ids(self.tokenizer)
        self.max_new_tokens = max_new_tokens
        self.batch_tokens = batch_tokens or (_fitting_tokens(self.model.config) if on_gpu else 16_384)
        precision = f"{self.model.dtype}, {quantization_bit} bits" if quantization_bit else str(self.model.dtype)
        self.fingerprint = chat.fingerprint(self.name, folder, template, max_new_tokens, precision)

    def encode(self, sample: Sample) -> list[int]:
        """Return the prompt's token ids, those before the answer in training."""
        return chat.encode(self.template, self.tokenizer, sample)

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion): families of most questions first, and of these the longest.

        Prompts with the same history go together, and what they begin with is read and kept once.
        """
        prompts = chat.encode_all(self.template, self.tokenizer, samples)
        families: dict[Any, list[int]] = {}
        for index, sample in enumerate(samples):
            families.setdefault(sample.history or index, []).append(index)
        shaped = [one for family in families.values() for one in self._divided(family, prompts)]
        # The families of a batch are padded to the one with most questions, and to the longest.
        shaped.sort(key=lambda one: (-one[0].questions, -one[0].tokens(self.max_new_tokens)))
        start = 0
        while start < len(shaped):
            stop, padded = start + 1, shaped[start][0]
            while stop < len(shaped):
                wider = greedy.shape_of_batch((padded, shaped[stop][0]))
                if (stop + 1 - start) * wider.tokens(self.max_new_tokens) > self.batch_tokens:
                    break
                stop, padded = stop + 1, wider
            yield from self._batch([family for _, family in shaped[start:stop]], prompts)
            start = stop

    def _divided(self, family: list[int], prompts: Sequence[list[int]]) -> Iterator[tuple[greedy.Shape, list[int]]]:
        """Yield a family and its shape, in parts where it passes the budget by itself."""
        shape = greedy.shape([prompts[index] for index in family])
        if len(family) == 1 or shape.tokens(self.max_new_tokens) <= self.batch_tokens:
            yield shape, family
        else:
            half = len(family) // 2
            yield from self._divided(family[:half], prompts)
            yield from self._divided(family[half:], prompts)

    def _batch(self, batch: Sequence[Sequence[int]], prompts: Sequence[list[int]]) -> Iterator[tuple[int, Completion]]:
        """Answer families of prompts; halve them where the memory is full."""
        completions: list[Completion] | None = None
        try:
            completions = self._complete([[prompts[index] for index in family] for family in batch])
        except torch.OutOfMemoryError:
            pass  # nothing here: while it is handled, its traceback keeps all tensors of the attempt
        if completions is None:
            torch.cuda.empty_cache()
            if len(batch) == 1 and len(batch[0]) == 1:
                raise InputError(
                    f"显存不足：一个 {len(prompts[batch[0][0]])} token 的样本也放不下；请换更小的模型或更大的显卡。",
                    f"Out of GPU memory with a single sample of {len(prompts[batch[0][0]])} tokens; take a smaller "
                    "model or a larger card.",
                )
            self.batch_tokens = max(1, self.batch_tokens // 2)
            parts = [batch] if len(batch) > 1 else [[[index] for index in batch[0]]]
            for half in (parts[0][: len(parts[0]) // 2], parts[0][len(parts[0]) // 2 :]):
                yield from self._batch(half, prompts)
            return
        yield from zip([index for family in batch for index in family], completions, strict=True)

    def _complete(self, families: Sequence[Sequence[list[int]]]) -> list[Completion]:
        """Return the answers to families of prompts, in order; what a family's prompts begin with is read once."""
        with torch.inference_mode(), sdpa_kernel(_KERNELS):
            answers = greedy.answer(
                self.model,
                families,
                stop_ids=self.stop_ids,
                max_new_tokens=self.max_new_tokens,
                read_tokens=min(READ_TOKENS, self.batch_tokens // 2),
            )
        return [chat.completion(self.tokenizer, self.stop_ids, answer) for answer in answers]


def _fitting_tokens(config: Any) -> int:
    """Return how many tokens of one batch fit into the GPU's free memory, in bf16.

    A token takes its keys and values in all layers and, while its prompt is read, half of the batch at most at a time,
    those again and the activations of one layer. For Qwen2.5-7B this makes 174 KiB.
    """
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * head_size
    passing = 10 * config.hidden_size + 3 * config.intermediate_size
    free, _ = torch.cuda.mem_get_info()
    return max(2048, int(0.8 * free / (2 * (cached + (cached + passing) / 2))))
