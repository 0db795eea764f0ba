"""The bases that one key changes: their templates are LLaMA-Factory's, their shapes ours, and each kind trains."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from mug.training.bases import BASES, TEMPLATES, Base, base_of, model_type
from mug.training.memory import GIB, estimate
from mug.training.shapes import shape_of

if TYPE_CHECKING:
    from conftest import Project

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "bases.md"
PRESETS = {"h100_80gb": 79.1, "a100_40gb": 39.4, "rtx4090_24gb": 23.5, "gpu_16gb": 15.6}
TOKENS = [1251, 2242]  # of a title sample, on average and at most
CLI = Path(sys.executable).with_name("llamafactory-cli")


def part(name: str) -> str:
    found = re.search(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


def memory_table() -> str:
    settings = {name: yaml.safe_load((ROOT / f"configs/gpu/{name}.yaml").read_text("utf-8")) for name in PRESETS}
    lines = ["| 基座 | " + " | ".join(f"`{name}`" for name in PRESETS) + " |", "|---|" + "---:|" * len(PRESETS)]
    for base in BASES:
        if base.name.endswith(("-Instruct", "-Base")):
            continue
        cells = []
        for name, gib in PRESETS.items():
            found = []
            for off in {settings[name]["disable_gradient_checkpointing"]: 0, False: 0}:  # as it is, with checkpointing
                keys = settings[name] | {"disable_gradient_checkpointing": off}
                needed = estimate(keys, shape_of(base.name), TOKENS)
                found.append(f"{needed.needed / GIB:.1f}" if needed.fits(gib) else f"**{needed.needed / GIB:.1f}**")
            cells.append(" / ".join(found))
        lines.append(f"| {base.name.removeprefix('Qwen/')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def template_table() -> str:
    lines = ["| 基座 | `template` | 未训练时在哪里停 | 许可 |", "|---|---|---|---|"]
    for base in BASES:
        stops = " ".join(f"`{token.replace('|', chr(92) + '|')}`" for token in base.ends_with)
        lines.append(f"| {base.name} | `{base.template}` | {stops} | {base.licence_name} |")
    return "\n".join(lines) + "\n"


def test_the_page_has_the_memory_that_the_estimate_gives() -> None:
    assert part("memory") == memory_table()


def test_the_page_has_every_bases_template() -> None:
    assert part("templates") == template_table()


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
class TestBase:
    def test_its_template_is_in_llamafactory(self, base: Base) -> None:
        pytest.importorskip("llamafactory")
        from llamafactory.data.template import TEMPLATES as KNOWN

        assert base.template in KNOWN
        assert base.template == TEMPLATES[base.model_type][0]

    def test_llamafactory_has_the_model_under_that_name(self, base: Base) -> None:
        pytest.importorskip("llamafactory")
        from llamafactory.extras.constants import DEFAULT_TEMPLATE, SUPPORTED_MODELS

        names = {source: key for key, sources in SUPPORTED_MODELS.items() for source in sources.values()}
        assert base.name in names
        # Its own choice differs only by the empty <think> block, which we leave out.
        assert DEFAULT_TEMPLATE.get(names[base.name]) in (None, "", base.template, "qwen3")

    def test_its_shape_is_known(self, base: Base) -> None:
        size = float(re.search(r"-([\d.]+)B", base.name)[1])
        assert math.isclose(shape_of(base.name).parameters / 1e9, size, rel_tol=0.25)

    def test_it_is_found_by_its_folders(self, base: Base) -> None:
        name = base.name.rpartition("/")[2]
        for path in (base.name, f"models/{base.name}", f"/data/{name.lower()}", f"models--Qwen--{name}/snapshots/b96"):
            assert base_of(path) == base


def test_what_is_none_of_them_is_none() -> None:
    assert base_of("outputs/qwen2.5-7b-mug-merged") is None
    assert base_of("meta-llama/Llama-3.1-8B") is None
    assert model_type(Path("nowhere")) is None


def test_the_prompts_are_the_evaluations_and_begin_the_answer_at_once() -> None:
    pytest.importorskip("llamafactory")
    from llamafactory.data.template import TEMPLATES as KNOWN

    for base in BASES:
        template = KNOWN[base.template]
        assert template.format_user.slots == ["<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"]
        assert template.format_assistant.slots == ["{{content}}<|im_end|>\n"]
        assert (template.stop_words, template.replace_eos) == (["<|im_end|>"], True)
        assert type(template).__name__ == "Template", "no <think> block"


# ------------------------------------------------------------------------------------------- each architecture trains


def save_model(folder: Path, tokenizer: Any, kind: str, tied: bool) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    classes = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
    configuration, model = classes[kind]
    torch.manual_seed(1)
    config = configuration(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32 if kind == "qwen3" else 16,
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.slow
@pytest.mark.skipif(not CLI.exists(), reason="llamafactory-cli is not installed beside this Python")
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_a_tiny_model_of_each_architecture_trains_by_changing_its_keys(
    project: Project, tmp_path: Path, kind: str, tied: bool
) -> None:
    from transformers import AutoTokenizer

    save_model(tmp_path / "model", AutoTokenizer.from_pretrained(project.model), kind, tied)
    output = tmp_path / "out"
    keys = [
        f"model_name_or_path={tmp_path / 'model'}",
        f"template={TEMPLATES[kind][0]}",
        f"dataset_dir={project.data}",
    ]
    keys += [f"output_dir={output}", "max_samples=8", "logging_steps=1", "eval_strategy=no", "cutoff_len=4096"]
    keys += ["load_best_model_at_end=false", "save_strategy=no"]
    command = [sys.executable, ROOT / "scripts" / "train.py", "configs/train_smoke.yaml", *keys]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=project.environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    history = json.loads((output / "trainer_state.json").read_text("utf-8"))["log_history"]
    assert math.isfinite(history[0]["loss"]) and history[0]["grad_norm"] > 0
    config = json.loads((output / "adapter_config.json").read_text("utf-8"))
    assert "lm_head" not in config["target_modules"] and len(config["target_modules"]) == 7
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert tokenizer.eos_token == "<|im_end|>"
    assert f"template=`{TEMPLATES[kind][0]}`" in (output / "README.md").read_text("utf-8").replace(
        "模板是 ", "template="
    )
