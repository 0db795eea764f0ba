"""What the pages on several GPUs and on serving tell, against the files and programs that they tell of."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import export_model
from mug.tasks.base import SYSTEM

ROOT = Path(__file__).resolve().parent.parent
MULTI_GPU = (ROOT / "docs" / "multi_gpu.md").read_text("utf-8")
SERVING = (ROOT / "docs" / "serving.md").read_text("utf-8")


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling_model", ROOT / "benchmarks" / "scaling_model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# --- the scaling model -----------------------------------------------------------------------------------------------


def test_the_tables_of_the_page_are_those_that_the_model_prints(scaling: ModuleType) -> None:
    begin, end = scaling.MARKS
    told = MULTI_GPU.partition(begin)[2].partition(end)[0].strip()
    assert told == scaling.tables(scaling.Measured(), scaling.Assumed())


def test_one_gpu_gives_what_was_measured_and_so_do_two(scaling: ModuleType) -> None:
    measured = replace(scaling.Measured(), tokens_per_second_1=10_000, tokens_per_second_2=18_500)
    one, two = (scaling.predict(gpus, 0, measured, scaling.Assumed()) for gpus in (1, 2))
    assert (one.tokens_per_second, one.efficiency) == (pytest.approx(10_000), 1.0)
    assert two.tokens_per_second == pytest.approx(18_500)
    assert two.efficiency == pytest.approx(0.925)


def test_a_ring_sends_each_byte_twice_and_the_slower_network_counts(scaling: ModuleType) -> None:
    assumed = replace(scaling.Assumed(), hop_seconds=0.0)
    assert scaling.sum_seconds(8e9, 1, 100, 0, assumed) == 0
    assert scaling.sum_seconds(8e9, 8, 100, 0, assumed) == pytest.approx(2 * 7 / 8 * 8 / 100)
    assert scaling.sum_seconds(8e9, 16, 100, 80, assumed) == pytest.approx(2 * 15 / 16 * 8 / 10)
    assert scaling.sum_seconds(8e9, 16, 100, 8000, assumed) == pytest.approx(2 * 15 / 16 * 8 / 100)


def test_more_gpus_than_packs_leave_one_step_an_epoch(scaling: ModuleType) -> None:
    row = scaling.predict(10_000, 100, scaling.Measured(), scaling.Assumed())
    assert row.steps == scaling.Assumed().epochs


@pytest.mark.slow
@pytest.mark.parametrize("rank", [32, 64, 128])
def test_the_lora_weights_are_those_of_the_real_shape(scaling: ModuleType, rank: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    shape = Qwen2Config(
        hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    linear = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head")
    ]
    expected = sum(rank * (module.in_features + module.out_features) for module in linear)
    assert scaling.lora_parameters(rank) == expected
    assert f"| {rank} | {expected:,} | {4 * expected:,} |" in MULTI_GPU


# --- several GPUs ----------------------------------------------------------------------------------------------------


def test_every_variable_of_the_launcher_is_told_with_its_default() -> None:
    package = importlib.util.find_spec("llamafactory")
    if package is None or package.origin is None:
        pytest.skip("llamafactory is not installed")
    launcher = (Path(package.origin).parent / "launcher.py").read_text("utf-8")
    read = set(re.findall(r'(?:getenv|is_env_enabled)\("(\w+)"', launcher)) - {"USE_MCA"}
    row = re.compile(r"^\| (`[A-Z_]+`(?:、`[A-Z_]+`)*) \| ([^|]+) \|", re.MULTILINE)
    told = {name: default for names, default in row.findall(MULTI_GPU) for name in re.findall(r"`(\w+)`", names)}
    assert set(told) == read
    for name, default in re.findall(r'getenv\("(\w+)", "([^"]+)"\)', launcher):
        assert told[name].strip() == default


def test_the_keys_of_ray_are_told() -> None:
    package = importlib.util.find_spec("llamafactory")
    if package is None or package.origin is None:
        pytest.skip("llamafactory is not installed")
    source = (Path(package.origin).parent / "hparams" / "training_args.py").read_text("utf-8")
    keys = re.findall(r"^    (\w+): ", source.partition("class RayArguments")[2].partition("def ")[0], re.MULTILINE)
    assert keys and [key for key in keys if f"`{key}`" not in MULTI_GPU] == []


# --- serving ---------------------------------------------------------------------------------------------------------


def test_the_system_prompt_told_is_that_of_training() -> None:
    assert f"`{SYSTEM}`" in SERVING


@pytest.mark.slow
def test_the_modelfile_of_an_export_asks_as_training_did(merged: Path) -> None:
    """Its template, with the messages put in, is the prompt of training to the last character."""
    from transformers import AutoTokenizer

    from mug.generation.chat import chat_template, encode
    from mug.tasks.base import Sample

    text = (merged / "Modelfile").read_text("utf-8")
    template = re.search(r'^TEMPLATE """(.*?)"""', text, re.MULTILINE | re.DOTALL)
    assert template
    parts = re.fullmatch(
        r"\{\{ if \.System \}\}(?P<system>.*?)\{\{ end \}\}\{\{ range \.Messages \}\}"
        r'\{\{ if eq \.Role "user" \}\}(?P<user>.*?)\{\{ else if eq \.Role "assistant" \}\}(?P<assistant>.*?)'
        r"\{\{ end \}\}\{\{ end \}\}",
        template[1],
        re.DOTALL,
    )
    assert parts, template[1]
    sample = Sample("x", "写一个标题。", "会议内容：\n[甲]: 去湿地公园。")
    asked = parts["system"].replace("{{ .System }}", SYSTEM)
    asked += parts["user"].replace("{{ .Content }}", f"{sample.instruction}\n{sample.input}")
    tokenizer = AutoTokenizer.from_pretrained(str(merged))
    assert asked == tokenizer.decode(encode(chat_template(tokenizer, "qwen"), tokenizer, sample))
    assert parts["assistant"] == "{{ .Content }}<|im_end|>\n"

    assert re.findall(r'^SYSTEM """(.*?)"""', text, re.MULTILINE) == [SYSTEM]
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert all(line in text.splitlines() for line in export_model.OLLAMA)
    assert re.findall(r"^PARAMETER num_ctx (\d+)", text, re.MULTILINE) == ["4096"]
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["."]
