"""Greedy generation with vLLM in this process: the fastest engine on a GPU, for whole evaluations.

Prompts go in and answers come back as token ids, made and read as `TransformersEngine` does. The adapter stays beside
the base (LoRARequest), while the other engine merges it: in bfloat16 the two round differently, so now and then an
answer differs after a close choice between two tokens.

Written for vllm 0.16; only arguments that have been there since 0.6 are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from mug.errors import InputError
from mug.generation import chat
from mug.generation.base import Completion
from mug.generation.model_folder import ModelFolder
from mug.tasks.base import Sample

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes as max_lora_rank (MaxLoRARanks in its config/lora.py; 1 is left out, since older ones
refuse it)."""
CONTEXT = 16_384
"""Tokens of the longest prompt with its answer. Qwen2.5's 131,072 would ask for 7 GB of cache beside the weights."""
CHUNK = 256
"""Prompts handed over at once: vLLM returns when all are done, and what is finished should be on the disk by then."""


class VllmEngine:
    """A model held by vLLM."""

    name = "vllm"

    def __init__(
        self, folder: ModelFolder, *, template: str = "qwen", max_new_tokens: int = 256, dtype: str = "bfloat16"
    ) -> None:
        """Load the model.

        Args:
            folder: the base, and the adapter on it if there is one.
            template: LLaMA-Factory's name of the chat template.
            max_new_tokens: the longest answer, in tokens.
            dtype: vLLM's name of the weights' type; ``half`` for cards without bfloat16.

        Raises:
            InputError: vLLM is not installed, or can't load what is there.
        """
        rank = lora_rank(folder.adapter) if folder.adapter else None
        try:
            from vllm import LLM, SamplingParams
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise InputError(
                f"没有可用的 vLLM（{error}）；请运行 bash setup.sh --extras vllm，或改用 --backend transformers。",
                f"vLLM can't be used ({error}); run bash setup.sh --extras vllm, or take --backend transformers.",
            ) from None
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder.base, trust_remote_code=False)
            config = AutoConfig.from_pretrained(folder.base, trust_remote_code=False)
            self.context = min(CONTEXT, getattr(config, "max_position_embeddings", CONTEXT))
            self.llm = LLM(
                model=folder.base,
                dtype=dtype,
                max_model_len=self.context,
                enable_prefix_caching=True,
                trust_remote_code=False,
                **({"enable_lora": True, "max_loras": 1, "max_lora_rank": rank} if rank else {}),
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"vLLM 加载不了模型 {folder.base}（{reason}）；请检查模型文件夹和显存，"
                "或改用 --backend transformers。",
                f"vLLM can't load the model {folder.base} ({reason}); check the model's folder and the GPU's memory, "
                "or take --backend transformers.",
            ) from None
        self.template = chat.chat_template(self.tokenizer, template)
        self.stop_ids = chat.stop_ids(self.tokenizer)
        self.max_new_tokens = max_new_tokens
        # The answer is read from its ids, so vLLM need not make text of them.
        self.sampling = SamplingParams(
            temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=self.stop_ids, detokenize=False
        )
        self.lora = LoRARequest("adapter", 1, str(folder.adapter)) if folder.adapter else None
        self.fingerprint = chat.fingerprint(self.name, folder, template, max_new_tokens, dtype)

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion), prompts that begin alike one after the other, so that the cache still holds them.

        Raises:
            InputError: a prompt is too long for the model.
        """
        prompts = chat.encode_all(self.template, self.tokenizer, samples)
        for sample, prompt in zip(samples, prompts, strict=True):
            if len(prompt) + self.max_new_tokens > self.context:
                raise InputError(
                    f"样本 {sample.id} 有 {len(prompt)} 个 token，加上 {self.max_new_tokens} 个新 token "
                    f"超过了 {self.context}；请用更小的 --max_input_tokens 重新运行 preprocess_data.py。",
                    f"Sample {sample.id} has {len(prompt)} tokens, with {self.max_new_tokens} new ones more than "
                    f"{self.context}; run preprocess_data.py with a smaller --max_input_tokens.",
                )
        order = sorted(range(len(prompts)), key=prompts.__getitem__)
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            outputs = self.llm.generate(
                [{"prompt_token_ids": prompts[index]} for index in chunk],
                self.sampling,
                use_tqdm=False,
                lora_request=self.lora,
            )
            for index, output in zip(chunk, outputs, strict=True):
                yield index, chat.completion(self.tokenizer, self.stop_ids, output.outputs[0].token_ids)


def lora_rank(adapter: Path) -> int:
    """Return the smallest max_lora_rank that vLLM takes and that has room for the adapter.

    Raises:
        InputError: adapter_config.json can't be read, or describes what vLLM can't serve beside a base.
    """
    file = adapter / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        special = [name for name in ("use_dora", "modules_to_save") if config.get(name)]
        fitting = next((allowed for allowed in RANKS if rank <= allowed), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"读不了 {file}（{error}）；请重新训练或换一个 checkpoint。",
            f"Can't read {file} ({error}); train again or take another checkpoint.",
        ) from None
    if special or fitting is None:
        what = "、".join(special) or f"r={rank}"
        raise InputError(
            f"vLLM 不能直接加载适配器 {adapter}（{what}）；请先合并"
            "（python scripts/export_model.py configs/merge.yaml），再把合并后的模型作为 --model_path。",
            f"vLLM can't load the adapter {adapter} beside its base ({what}); merge it first (python "
            "scripts/export_model.py configs/merge.yaml) and give the merged model as --model_path.",
        )
    return fitting
