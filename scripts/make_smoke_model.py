"""Make a tiny Qwen2-shaped model with random weights, so that the whole road runs on a CPU without any download.

    python scripts/make_smoke_model.py
    python scripts/make_smoke_model.py --output outputs/smoke_model --corpus dataset/sample/train.csv

It checks the wiring, never the quality: it knows no word of Chinese before training. What it copies from
Qwen2.5-7B (base) is what our code must cope with:

- the byte-level BPE with Qwen's pre-tokenizer and control tokens, but 4k entries trained on the corpus (152k
  entries make a CPU run ten times slower);
- a chat template whose own system prompt is not the one that we train with;
- a generation_config that stops only at <|endoftext|>, while a tuned model ends its answer with <|im_end|>.

The same corpus gives the same bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mug import command
from mug.corpus import Report, read_meetings
from mug.errors import InputError, Message
from mug.files import write_text
from mug.meeting import Meeting

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VOCABULARY = 4096
SEED = 42

# Qwen2.5's control tokens in its own order; the last eight are ordinary text to `skip_special_tokens`.
SPECIAL_TOKENS = (
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"]
    + ["<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"]
    + ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
)
PLAIN_TOKENS = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>"] + [
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
]

# The base model's own template without its part about tools.
CHAT_TEMPLATE = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'system' and loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

CARD_TITLE = "# Smoke-test model: random weights"
CARD = f"""{CARD_TITLE}

Written by `scripts/make_smoke_model.py` from {{corpus}} ({{meetings}} meetings). It has Qwen2.5's shape in
miniature and knows nothing: use it to check that training, chat, export and evaluation run, not to judge results.
"""

DONE = Message(
    "已写入微型模型 {output}：{parameters:,} 个参数，词表 {vocabulary:,}，语料 {corpus} 的 {meetings} 场会议。\n"
    "它的权重是随机的：只用来检查流程能否跑通，不代表效果。\n"
    "下一步：python scripts/preprocess_data.py --train_input dataset/sample/train.csv "
    "--dev_input dataset/sample/dev.csv --task all，然后 llamafactory-cli train configs/train_smoke.yaml",
    "Wrote the tiny model {output}: {parameters:,} parameters, {vocabulary:,} vocabulary entries, {meetings} meetings "
    "of {corpus}.\n"
    "Its weights are random: it checks that the road runs, and says nothing about quality.\n"
    "Next: python scripts/preprocess_data.py --train_input dataset/sample/train.csv "
    "--dev_input dataset/sample/dev.csv --task all, then llamafactory-cli train configs/train_smoke.yaml",
)


def main() -> int:
    """Run the command line and return its exit status."""
    args = parse_arguments()
    try:
        check_output(args.output)
        report = Report()
        texts = [text for meeting in read_meetings(args.corpus, report) for text in meeting_texts(meeting)]
        if not texts:
            raise InputError(
                f"{args.corpus} 里没有一场可读的会议；请换一个语料文件（--corpus）。",
                f"{args.corpus} holds no readable meeting; name another corpus (--corpus).",
            )
        tokenizer = train_tokenizer(texts)
        model = random_model(tokenizer)
        # The card first: a run that dies in the middle leaves a folder that the next run knows as its own.
        write_text(args.output / "README.md", CARD.format(corpus=args.corpus, meetings=report.meetings))
        tokenizer.save_pretrained(args.output)
        model.save_pretrained(args.output)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    print(
        DONE.say(args.lang).format(
            output=args.output,
            parameters=model.num_parameters(),
            vocabulary=len(tokenizer),
            corpus=args.corpus,
            meetings=report.meetings,
        )
    )
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/smoke_model"), help="folder of the new model")
    parser.add_argument(
        "--corpus", type=Path, default=Path("dataset/sample/train.csv"), help="corpus for the tokenizer"
    )
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="language of the messages")
    return parser.parse_args()


def check_output(output: Path) -> None:
    """Refuse to write into a folder that holds anything but an earlier smoke model.

    Raises:
        InputError: ``output`` is a file, or a folder with other things in it.
    """
    card = output / "README.md"
    if output.is_dir() and (not any(output.iterdir()) or (card.is_file() and CARD_TITLE in card.read_text("utf-8"))):
        return
    if output.exists():
        raise InputError(
            f"{output} 已有别的内容，不能覆盖；请用 --output 换一个文件夹，或先删除它。",
            f"{output} holds something else and is not overwritten; name another --output, or remove it first.",
        )


def meeting_texts(meeting: Meeting) -> Iterator[str]:
    """Yield what the tokenizer should know of a meeting: its lines as a prompt has them, and the labels."""
    for sentence in meeting.sentences:
        yield f"[{sentence.speaker}]: {sentence.text}\n"
    for topic in meeting.topics:
        for candidate in topic.candidates:
            yield candidate.title
    for candidate in meeting.candidates:
        yield from candidate.key_words


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE of at most `VOCABULARY` entries and give it Qwen2.5's tokens and template."""
    # Training merges word counts from all threads; one thread keeps ties in one order.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import AddedToken, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    added = len(SPECIAL_TOKENS) + len(PLAIN_TOKENS)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - added,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),  # every byte, so that no text is unknown
        show_progress=False,
    )
    # transformers builds an untrained Qwen2 pipeline (normaliser, pre-tokenizer pattern); only its BPE is missing.
    pipeline = Qwen2Tokenizer().backend_tokenizer
    pipeline.train_from_iterator(texts, trainer)
    vocabulary, merges = bpe_of(pipeline.to_str())
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=131072,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[1:]})
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN_TOKENS])
    return tokenizer


def bpe_of(tokenizer_json: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return vocabulary and merges of a trained tokenizer's JSON."""
    import json

    bpe = json.loads(tokenizer_json)["model"]
    return bpe["vocab"], [(left, right) for left, right in bpe["merges"]]


def random_model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return a seeded Qwen2 model that fits ``tokenizer``; two cores train it some dozen steps a minute."""
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # there is one file to write

    end_of_text = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        # Wider than Qwen's 0.02: the output layer stays frozen under LoRA, and with 0.02 at this width no logit
        # could rise far enough for the loss to fall.
        initializer_range=0.1,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        dtype="float32",
    )
    torch.manual_seed(SEED)
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=end_of_text, eos_token_id=end_of_text, do_sample=False, max_new_tokens=2048
    )
    return model


if __name__ == "__main__":
    command.run(main)
