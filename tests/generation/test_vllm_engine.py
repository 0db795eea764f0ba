"""The vLLM engine up to vLLM's door, and on a GPU behind it.

vLLM takes gigabytes and a GPU, so all tests but the last put a small stand-in where `import vllm` looks. It has the
parameters of the real ones by name (LLM and its EngineArgs, LLM.generate, SamplingParams, LoRARequest, as documented
for vllm 0.16 at docs.vllm.ai) and refuses others, notes what it is given, and answers with token ids set beforehand;
tokenizer and template are real. So it shows that the right things are handed over, not that vLLM makes the right thing
of them: that is for the test marked `gpu`, which runs the real vLLM wherever one is installed.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mug.errors import InputError
from mug.generation import chat
from mug.generation.base import Completion, user_message
from mug.generation.model_folder import ModelFolder
from mug.tasks.base import SYSTEM, Sample

pytestmark = pytest.mark.slow  # importing LLaMA-Factory and making a model take a while

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def smoke_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vllm") / "smoke_model"
    command = [sys.executable, "scripts/make_smoke_model.py", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def vllm_engine() -> ModuleType:
    from mug.generation import vllm_engine

    return vllm_engine


# ------------------------------------------------------------------------------------------------ the stand-in


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    seed: int | None = None


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str = ""


@dataclass
class Fake:
    """What was handed over, and what is to be answered."""

    llm: dict[str, Any] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[list[int]], tuple[list[int], str]] = lambda prompt: ([], "stop")
    fails: Exception | None = None

    def prompts(self) -> list[list[int]]:
        return [prompt["prompt_token_ids"] for call in self.calls for prompt in call["prompts"]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    note = Fake()

    class LLM:
        def __init__(
            self,
            model: str,
            *,
            tokenizer: str | None = None,
            trust_remote_code: bool = False,
            tensor_parallel_size: int = 1,
            dtype: str = "auto",
            seed: int = 0,
            gpu_memory_utilization: float = 0.9,
            enforce_eager: bool = False,
            max_model_len: int | None = None,
            enable_prefix_caching: bool | None = None,
            enable_lora: bool = False,
            max_loras: int = 1,
            max_lora_rank: int = 16,
        ) -> None:
            note.llm = {name: value for name, value in locals().items() if name not in ("self", "note")}
            if note.fails:
                raise note.fails
            assert max_lora_rank in (1, 8, 16, 32, 64, 128, 256, 320, 512)

        def generate(
            self,
            prompts: Sequence[dict[str, list[int]]],
            sampling_params: SamplingParams | None = None,
            *,
            use_tqdm: bool = True,
            lora_request: LoRARequest | None = None,
        ) -> list[SimpleNamespace]:
            note.calls.append(
                {"prompts": prompts, "sampling": sampling_params, "lora": lora_request, "use_tqdm": use_tqdm}
            )
            said = [note.answer(prompt["prompt_token_ids"]) for prompt in prompts]
            return [
                SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids), finish_reason=reason, text="")])
                for ids, reason in said
            ]

    modules = {name: ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request")}
    modules["vllm"].LLM, modules["vllm"].SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    modules["vllm.lora.request"].LoRARequest = LoRARequest  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return note


def adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "rank_pattern": {}} | config))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


SAMPLES = [
    Sample("a", "找出行动项。", "会议内容：\n1. [甲]: 大巴谁来订？"),
    Sample("b", "生成标题。", "会议内容：\n[甲]: 先定春游地点。"),
    Sample("c", "找出行动项。", "会议内容：\n1. [甲]: 大巴谁来订？\n2. [乙]: 我来。"),
]

# ------------------------------------------------------------------------------------------------ what is handed over


def test_the_base_alone(vllm_engine, fake, smoke_model):
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model)), max_new_tokens=64)
    assert fake.llm["model"] == str(smoke_model) and fake.llm["dtype"] == "bfloat16"
    assert fake.llm["enable_prefix_caching"] is True and fake.llm["trust_remote_code"] is False
    assert fake.llm["enable_lora"] is False and fake.llm["max_model_len"] == vllm_engine.CONTEXT
    assert len(dict(engine.generate(SAMPLES))) == 3
    (call,) = fake.calls
    assert call["lora"] is None and call["use_tqdm"] is False
    sampling = call["sampling"]
    assert (sampling.temperature, sampling.max_tokens) == (0.0, 64)
    names = engine.tokenizer.convert_ids_to_tokens(sampling.stop_token_ids)
    assert set(names) == {"<|im_end|>", "<|endoftext|>"}


@pytest.mark.parametrize(
    ("config", "rank"),
    [({"r": 4}, 8), ({"r": 16}, 16), ({"r": 17}, 32), ({"r": 257}, 320), ({"rank_pattern": {"q_proj": 64}}, 64)],
)
def test_an_adapter_goes_in_with_room_for_its_rank(vllm_engine, fake, smoke_model, tmp_path, config, rank):
    lora = adapter(tmp_path / "lora", **config)
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model), lora))
    assert (fake.llm["enable_lora"], fake.llm["max_lora_rank"]) == (True, rank)
    list(engine.generate(SAMPLES))
    assert fake.calls[0]["lora"] == LoRARequest("adapter", 1, str(lora))


def test_prompts_are_the_tokens_of_training(vllm_engine, fake, smoke_model):
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model)))
    list(engine.generate(SAMPLES))
    prompts = [chat.encode(engine.template, engine.tokenizer, sample) for sample in SAMPLES]
    assert sorted(fake.prompts()) == sorted(prompts)
    assert engine.tokenizer.decode(prompts[1]) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{user_message(SAMPLES[1])}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_prompts_that_begin_alike_follow_each_other_and_answers_find_their_way_back(vllm_engine, fake, smoke_model):
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model)))
    tokens = {len(chat.encode(engine.template, engine.tokenizer, s)): s.id for s in SAMPLES}
    fake.answer = lambda prompt: (engine.tokenizer.encode(tokens[len(prompt)]), "length")
    found = dict(engine.generate(SAMPLES))
    assert [found[index].text for index in range(3)] == ["a", "b", "c"]
    order = "".join(tokens[len(prompt)] for prompt in fake.prompts())
    assert "ac" in order or "ca" in order


def test_many_prompts_go_in_several_calls(vllm_engine, fake, smoke_model, monkeypatch):
    monkeypatch.setattr(vllm_engine, "CHUNK", 2)
    answers = vllm_engine.VllmEngine(ModelFolder(str(smoke_model))).generate(SAMPLES)
    next(answers)
    assert len(fake.calls) == 1  # what is finished is yielded before more is asked for
    assert len(list(answers)) == 2 and [len(call["prompts"]) for call in fake.calls] == [2, 1]


def test_answers_are_read_as_the_other_engine_reads_them(vllm_engine, fake, smoke_model):
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model)))
    end, base_end = engine.stop_ids[:2]
    words = engine.tokenizer.encode("定春游地点")
    for ids, reason in [
        ([*words, end], "stop"),
        ([*words, base_end, *words], "stop"),
        (words, "length"),
        ([end], "stop"),
        ([*words, engine.tokenizer.convert_tokens_to_ids("<|im_start|>")], "length"),
    ]:
        fake.answer = lambda prompt, ids=ids, reason=reason: (ids, reason)
        ((_, found),) = engine.generate(SAMPLES[:1])
        assert found == chat.completion(engine.tokenizer, engine.stop_ids, ids)
    fake.answer = lambda prompt: ([*words, end], "stop")
    assert dict(engine.generate(SAMPLES[:1])) == {0: Completion("定春游地点", "stop", len(words))}


def test_the_fingerprint_tells_models_apart(vllm_engine, fake, smoke_model, tmp_path):
    base = ModelFolder(str(smoke_model))
    plain = vllm_engine.VllmEngine(base).fingerprint
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(vllm_engine.VllmEngine(base).fingerprint))
    with_adapter = vllm_engine.VllmEngine(ModelFolder(str(smoke_model), adapter(tmp_path / "lora"))).fingerprint
    assert plain != with_adapter
    assert plain != vllm_engine.VllmEngine(base, dtype="half").fingerprint


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "config", [{"r": 513}, {"use_dora": True}, {"modules_to_save": ["embed_tokens"]}], ids=lambda c: next(iter(c))
)
def test_an_adapter_that_vllm_cannot_serve_is_to_be_merged(vllm_engine, fake, smoke_model, tmp_path, config):
    lora = adapter(tmp_path / "lora", **config)
    with pytest.raises(InputError, match=r"configs/merge\.yaml"):
        vllm_engine.VllmEngine(ModelFolder(str(smoke_model), lora))
    assert fake.llm == {}  # before anything is loaded


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"r": "many"}', '{"r": 8, "rank_pattern": {"q": null}}'])
def test_an_adapter_config_that_cannot_be_read(vllm_engine, tmp_path, text):
    lora = adapter(tmp_path / "lora")
    (lora / "adapter_config.json").write_text(text)
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        vllm_engine.lora_rank(lora)


def test_without_vllm_it_says_how_to_get_it(vllm_engine, smoke_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError) as caught:
        vllm_engine.VllmEngine(ModelFolder(str(smoke_model)))
    assert all("bash setup.sh --extras vllm" in text for text in caught.value.message)


def test_a_model_that_does_not_load_is_one_sentence(vllm_engine, fake, smoke_model):
    fake.fails = ValueError("No available memory for the cache blocks.\nTry increasing `gpu_memory_utilization`")
    with pytest.raises(InputError) as caught:
        vllm_engine.VllmEngine(ModelFolder(str(smoke_model)))
    assert "No available memory" in caught.value.message.zh and "\n" not in caught.value.message.zh


def test_a_prompt_longer_than_the_context_names_its_sample(vllm_engine, fake, smoke_model, monkeypatch):
    monkeypatch.setattr(vllm_engine, "CONTEXT", 80)
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model)), max_new_tokens=60)
    assert fake.llm["max_model_len"] == 80
    with pytest.raises(InputError, match="样本 a .*--max_input_tokens"):
        list(engine.generate(SAMPLES))
    assert fake.calls == []


# ------------------------------------------------------------------------------------------------ the real one


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_the_real_vllm_answers_every_prompt(vllm_engine, smoke_model):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    engine = vllm_engine.VllmEngine(ModelFolder(str(smoke_model)), max_new_tokens=16)
    found = dict(engine.generate(SAMPLES * 10))
    assert sorted(found) == list(range(30))
    assert all(0 <= one.tokens <= 16 and one.finish in ("stop", "length") for one in found.values())
    assert [found[index] for index in range(3)] == [found[index] for index in range(27, 30)]
