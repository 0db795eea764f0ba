"""The engine that holds a model itself, on the tiny one."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from mug.alpaca import read_alpaca
from mug.errors import InputError
from mug.generation.base import Completion
from mug.generation.model_folder import ModelFolder
from mug.tasks.base import Sample

pytestmark = pytest.mark.slow

NEW_TOKENS = 24


@pytest.fixture(scope="module")
def samples(project) -> list[Sample]:
    rows = read_alpaca(project.data / "dev_title_generation.json")[:9]
    return [Sample(str(number), row["instruction"], row["input"]) for number, row in enumerate(rows)]


@pytest.fixture(scope="module")
def engine(ending_model):
    from mug.generation.transformers_engine import TransformersEngine

    return TransformersEngine(ModelFolder(str(ending_model)), max_new_tokens=NEW_TOKENS)


@pytest.fixture
def batches(engine, monkeypatch) -> list[list[int]]:
    """The prompt lengths of each batch that the model gets."""
    seen: list[list[int]] = []
    complete = engine._complete

    def watched(prompts):
        seen.append([len(prompt) for family in prompts for prompt in family])
        return complete(prompts)

    monkeypatch.setattr(engine, "_complete", watched)
    monkeypatch.setattr(engine, "batch_tokens", engine.batch_tokens)  # put back afterwards
    return seen


def test_batched_answers_equal_single_ones(engine, samples):
    single = {i: next(iter(engine.generate([sample])))[1] for i, sample in enumerate(samples)}
    assert dict(engine.generate(samples)) == single
    assert {completion.finish for completion in single.values()} == {"stop", "length"}  # the model does both
    assert all(completion.tokens <= NEW_TOKENS for completion in single.values())
    assert not any(end in completion.text for completion in single.values() for end in ("<|im_end|>", "<|endoftext|>"))


def test_answers_are_those_of_the_models_own_generate(engine, samples, monkeypatch):
    from mug.generation import chat, transformers_engine

    monkeypatch.setattr(transformers_engine, "READ_TOKENS", 1200)  # prompts are read in several groups
    found = dict(engine.generate(samples))
    stops = engine.stop_ids
    settings = GenerationConfig(max_new_tokens=NEW_TOKENS, eos_token_id=stops, pad_token_id=stops[-1])
    for number, sample in enumerate(samples):
        prompt = engine.encode(sample)
        ids = torch.tensor([prompt])
        output = engine.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        answer = output[0, len(prompt) :].tolist()
        assert found[number] == chat.completion(engine.tokenizer, engine.stop_ids, answer)


@pytest.mark.parametrize("asking", [1, 5])
def test_grouped_heads_see_what_repeated_keys_would_show_them(asking):
    from transformers import Qwen2Config
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

    from mug.generation.grouped_attention import grouped_attention

    torch.manual_seed(0)
    shape = Qwen2Config(hidden_size=48, num_attention_heads=6, num_key_value_heads=2)
    module = Qwen2Attention(shape, layer_idx=0).eval()
    query, key, value = torch.randn(3, 6, asking, 8), torch.randn(3, 2, 11, 8), torch.randn(3, 2, 11, 8)
    mask = torch.ones(3, 1, asking, 11, dtype=torch.bool).tril(11 - asking)
    mask[1, :, :, :4] = False  # padding
    found, _ = grouped_attention(module, query, key, value, mask, scaling=0.3)
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(found, expected)


def test_longest_prompts_go_first_and_batches_keep_to_the_budget(engine, samples, batches):
    engine.batch_tokens = 3 * (max(len(engine.encode(sample)) for sample in samples) + NEW_TOKENS)
    found = dict(engine.generate(samples))
    assert sorted(found) == list(range(len(samples)))
    lengths = [length for batch in batches for length in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(batch) * (max(batch) + NEW_TOKENS) <= engine.batch_tokens for batch in batches)
    assert len(batches[0]) == 3


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_all_answers_come(engine, samples, monkeypatch):
    whole = dict(engine.generate(samples))
    complete, tried = engine._complete, []

    def small_card(prompts):
        tried.append(sum(map(len, prompts)))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return complete(prompts)

    monkeypatch.setattr(engine, "_complete", small_card)
    monkeypatch.setattr(engine, "batch_tokens", engine.batch_tokens)
    assert dict(engine.generate(samples)) == whole
    assert tried[0] == 9 and tried[1] == 4 and max(size for size in tried[tried.index(2) :]) <= 5


def test_what_a_batch_that_did_not_fit_had_taken_is_free_before_its_halves_are_tried(engine, samples, monkeypatch):
    from mug.generation import greedy

    whole = dict(engine.generate(samples))
    read, taken = greedy._read, []

    def small_card(model, trunks, *settings):
        cache = read(model, trunks, *settings)
        taken.append((len(trunks), weakref.ref(cache.layers[0].keys)))
        if sum(rows for rows, keys in taken if keys() is not None) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cache

    monkeypatch.setattr(greedy, "_read", small_card)
    monkeypatch.setattr(engine, "batch_tokens", engine.batch_tokens)
    assert dict(engine.generate(samples)) == whole
    assert [rows for rows, _ in taken] == [9, 4, 5]


def test_one_sample_that_does_not_fit_is_one_sentence(engine, samples, monkeypatch):
    def no_card(prompts):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "_complete", no_card)
    monkeypatch.setattr(engine, "batch_tokens", engine.batch_tokens)
    with pytest.raises(InputError, match="显存不足：一个 .* token 的样本也放不下"):
        list(engine.generate(samples))


def test_the_models_own_sampling_settings_do_not_reach_the_answers(engine, ending_model, samples, tmp_path: Path):
    from mug.generation.transformers_engine import TransformersEngine

    instruct = tmp_path / "like_instruct"  # Qwen2.5-Instruct samples, with a repetition penalty
    shutil.copytree(ending_model, instruct)
    settings = json.loads((instruct / "generation_config.json").read_text("utf-8"))
    settings |= {"do_sample": True, "temperature": 2.0, "top_k": 50, "repetition_penalty": 1.8, "min_new_tokens": 20}
    (instruct / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    other = TransformersEngine(ModelFolder(str(instruct)), max_new_tokens=NEW_TOKENS)
    assert dict(other.generate(samples[:4])) == dict(engine.generate(samples[:4]))


def test_an_answer_ends_before_the_first_end_token_of_either_kind(engine):
    from mug.generation import chat

    words = engine.tokenizer.encode("定春游地点")
    for end in ("<|im_end|>", "<|endoftext|>"):
        ids = [*words, engine.tokenizer.convert_tokens_to_ids(end), *words]
        assert chat.completion(engine.tokenizer, engine.stop_ids, ids) == Completion("定春游地点", "stop", len(words))
    assert chat.completion(engine.tokenizer, engine.stop_ids, words).finish == "length"


def test_a_base_in_four_bits_answers_and_goes_under_a_name_of_its_own(engine, samples, ending_model):
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.nn import Linear4bit

    from mug.generation.transformers_engine import TransformersEngine

    small = TransformersEngine(ModelFolder(str(ending_model)), max_new_tokens=NEW_TOKENS, quantization_bit=4)
    assert any(isinstance(module, Linear4bit) for module in small.model.modules())
    assert small.fingerprint != engine.fingerprint  # its answers do not go on in the other's file
    assert sorted(index for index, _ in small.generate(samples[:3])) == [0, 1, 2]


@pytest.fixture
def families(samples) -> list[Sample]:
    """Three questions about each of two transcripts, and two prompts of their own between them."""
    asked = ["标题是什么？", "请选出关键句，按从小到大的顺序输出编号。", "关键词"]
    made = [
        Sample(f"{place}/{question}", question, "", history=((samples[place].input, "好的。"),))
        for question in asked
        for place in (0, 5)
    ]
    return [made[0], samples[1], *made[1:4], samples[2], *made[4:]]


def test_what_prompts_begin_with_is_read_once_and_the_answers_stay_the_same(engine, families, monkeypatch):
    apart = {i: next(iter(engine.generate([sample])))[1] for i, sample in enumerate(families)}
    read: list[tuple[int, int]] = []
    forward = engine.model.forward

    def counted(*args, **kwargs):
        read.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model, "forward", counted)
    together = dict(engine.generate(families))
    assert together == apart
    asked = next(place for place, (_, tokens) in enumerate(read) if tokens < 3 * 60)
    assert sum(rows for rows, _ in read[:asked]) == 4  # two transcripts and two prompts of their own
    assert read[asked][0] == 4 and all(rows <= 4 and tokens == 3 for rows, tokens in read[asked + 1 :])


def test_a_transcript_is_encoded_once_for_all_questions_and_prompts_stay_the_same(engine, families, monkeypatch):
    from mug.generation import chat

    prompts = [engine.encode(sample) for sample in families]
    encoded: list[str] = []
    encode = engine.tokenizer.encode

    def watched(text, **kwargs):
        encoded.append(text)
        return encode(text, **kwargs)

    monkeypatch.setattr(engine.tokenizer, "encode", watched)
    assert chat.encode_all(engine.template, engine.tokenizer, families) == prompts
    transcripts = {sample.history[0][0] for sample in families if sample.history}
    assert [sum(transcript in text for text in encoded) for transcript in transcripts] == [1, 1]
    assert len(encoded) == len(set(encoded))


def test_a_family_that_does_not_fit_is_divided(engine, families, monkeypatch):
    whole = dict(engine.generate(families))
    complete = engine._complete

    def small_card(prompts):
        if sum(map(len, prompts)) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return complete(prompts)

    monkeypatch.setattr(engine, "_complete", small_card)
    monkeypatch.setattr(engine, "batch_tokens", engine.batch_tokens)
    assert dict(engine.generate(families)) == whole


def test_a_family_over_the_budget_is_divided_before_it_is_tried(engine, families, batches):
    from mug.generation import greedy

    whole = dict(engine.generate(families))
    batches.clear()
    largest = max(
        greedy.shape([engine.encode(sample) for sample in families if sample.history == history]).tokens(NEW_TOKENS)
        for history in {sample.history for sample in families if sample.history}
    )
    engine.batch_tokens = largest - 1
    assert dict(engine.generate(families)) == whole
    assert sorted(map(len, batches)) == [1, 1, 1, 2, 3], "one and two of the larger, the other whole, two of their own"


def test_a_model_with_sliding_windows_is_one_sentence(ending_model, tmp_path):
    from mug.generation.transformers_engine import TransformersEngine

    sliding = tmp_path / "sliding"
    shutil.copytree(ending_model, sliding)
    settings = json.loads((sliding / "config.json").read_text("utf-8"))
    settings |= {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}
    settings.pop("layer_types", None)
    (sliding / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(InputError, match="sliding 的注意力有滑动窗口.*请用 --backend vllm 或 api。"):
        TransformersEngine(ModelFolder(str(sliding)))
