"""Training, chat and export as a user runs them: real llamafactory-cli processes on the tiny model, on a CPU.

One training is shared by all tests (see conftest.py); another is killed and started again, and must end where the
first did.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Project, Trainings

ROOT = Path(__file__).resolve().parent.parent
CLI = Path(sys.executable).with_name("llamafactory-cli")
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

# One line each, since `chat` reads line by line.
QUESTIONS = [
    "请根据以下会议内容片段，生成一个简洁准确的主题标题。[no.0]: 春游去哪儿，大家先说说。",
    "请从以下会议内容中提取关键词。[no.1]: 那大巴车怎么订？[no.2]: 我来联系车队。",
    "你好",
    "[no.0]: 下周一再碰一次，散会。",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLI.exists(), reason="llamafactory-cli is not installed beside this Python"),
]


@pytest.fixture(scope="module")
def tuned_answers(project: Project, trained: Path) -> list[list[int]]:
    """What base + adapter answer to QUESTIONS, as token ids without the stop token."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(project.model)
    return answers(peft.PeftModel.from_pretrained(base, str(trained)), tokenizer_of(project.model))


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def prompt(question: str) -> str:
    """Write the qwen template out by hand, so that nobody's template is checked against itself."""
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def answers(model: Any, tokenizer: Any) -> list[list[int]]:
    import torch

    stops = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    found = []
    for question in QUESTIONS:
        inputs = tokenizer(prompt(question), return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(
                **inputs, do_sample=False, max_new_tokens=24, eos_token_id=stops, pad_token_id=stops[1]
            )
        found.append([token for token in ids[0, inputs["input_ids"].shape[1] :].tolist() if token not in stops])
    return found


def state_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "trainer_state.json").read_text("utf-8"))


def adapter_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_the_loss_falls_and_stays_fallen_on_unseen_meetings(trained: Path) -> None:
    history = state_of(trained)["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) >= 10
    assert losses[-1] < 0.7 * losses[0]
    evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert evaluated[-1] < 0.7 * losses[0]


def test_adapter_checkpoints_and_plots_are_written(trained: Path) -> None:
    config = json.loads((trained / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (8, 16, "LORA")
    layers = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert set(config["target_modules"]) == layers  # "all" leaves the output layer out
    assert any(tensor.abs().sum() > 0 for name, tensor in adapter_of(trained).items() if "lora_B" in name)
    for plot in ("training_loss.png", "training_eval_loss.png"):
        assert (trained / plot).read_bytes().startswith(b"\x89PNG")
    steps = state_of(trained)["global_step"]
    assert (trained / f"checkpoint-{steps}" / "optimizer.pt").is_file(), "without it nothing could resume"


def test_killed_and_started_again_it_resumes_and_ends_as_if_never_killed(
    project: Project, trainings: Trainings
) -> None:
    trained, output, steps = trainings.whole, trainings.killed, trainings.steps
    log = project.run(project.train(output))
    assert f"Resuming training from {output / f'checkpoint-{steps}'}" in log
    assert f"global step {steps}" in log

    expected, found = state_of(trained), state_of(output)
    assert found["global_step"] == expected["global_step"] > steps
    assert found["max_steps"] == expected["max_steps"] == found["global_step"]
    import torch

    whole, resumed = adapter_of(trained), adapter_of(output)
    assert whole.keys() == resumed.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-3, atol=1e-5)


def test_a_finished_training_started_again_leaves_the_adapter_as_it_is(project: Project, trained: Path) -> None:
    before = (trained / "adapter_model.safetensors").read_bytes()
    steps = state_of(trained)["global_step"]
    project.run(project.train(trained))
    assert (trained / "adapter_model.safetensors").read_bytes() == before
    assert state_of(trained)["global_step"] == steps


def test_chat_answers_through_standard_input_and_stops_at_exit(
    project: Project, trained: Path, tuned_answers: list[list[int]]
) -> None:
    paths = [f"model_name_or_path={project.model}", f"adapter_name_or_path={trained}", "max_new_tokens=24"]
    lines = [line for question in QUESTIONS for line in (question, "clear")] + ["exit", "never read"]
    log = project.run(
        project.cli("chat", "configs/inference.yaml", *paths),
        input="\n".join(lines) + "\n",
        stderr=subprocess.DEVNULL,
        timeout=300,
    )
    # "User: Assistant: the answer", a blank line, "User: History has been removed."
    answered = re.findall(r"User: Assistant: (.*?)\n\nUser: History has been removed\.", log, re.DOTALL)
    tokenizer = tokenizer_of(project.model)
    assert answered == [tokenizer.decode(ids, skip_special_tokens=True) for ids in tuned_answers]
    assert any(text.strip() for text in answered)


def test_the_merged_model_answers_token_for_token_as_base_and_adapter(
    merged: Path, tuned_answers: list[list[int]]
) -> None:
    from transformers import AutoModelForCausalLM

    assert (merged / "model.safetensors").is_file()
    model = AutoModelForCausalLM.from_pretrained(merged)
    assert answers(model, tokenizer_of(merged)) == tuned_answers
    assert any(tuned_answers)


def test_the_merged_model_stops_by_itself_at_both_ends(merged: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(merged), tokenizer_of(merged)
    inputs = tokenizer(prompt(QUESTIONS[0]), return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    word = tokenizer("会").input_ids[0]
    for stop in ("<|im_end|>", "<|endoftext|>"):
        script = [word, word, tokenizer.convert_tokens_to_ids(stop)] + [word] * 5

        def forced(_: int, ids: Any, script: list[int] = script) -> list[int]:
            return [script[len(ids) - length]]

        generated = model.generate(**inputs, max_new_tokens=8, prefix_allowed_tokens_fn=forced)
        assert generated[0, length:].tolist() == script[:3], stop


def test_the_merged_models_chat_template_is_the_prompt_of_training(merged: Path) -> None:
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    text = tokenizer_of(merged).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == prompt(QUESTIONS[0])


def test_llamafactorys_own_export_still_leaves_the_stop_tokens_to_us(project: Project, tmp_path: Path) -> None:
    """When this fails, LLaMA-Factory mends it itself and export_model.py may go."""
    paths = [f"model_name_or_path={project.model}", "adapter_name_or_path=null", f"export_dir={tmp_path}"]
    project.run(project.cli("export", "configs/merge.yaml", *paths))
    settings = json.loads((tmp_path / "generation_config.json").read_text("utf-8"))
    tokenizer = tokenizer_of(tmp_path)
    assert tokenizer.eos_token == "<|im_end|>"
    assert settings["eos_token_id"] == tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_training_runs_on_the_real_meetings(project: Project, shared: Path, tmp_path: Path) -> None:
    meetings = shared / "data" / "real_dev3.csv"
    inputs = ["--train_input", meetings, "--dev_input", ROOT / "dataset" / "sample" / "dev.csv"]
    project.script("preprocess_data.py", "--task", "all", *inputs, "--output_dir", tmp_path / "data")
    output = tmp_path / "lora"
    project.run([*project.train(output), f"dataset_dir={tmp_path / 'data'}", "max_samples=24"])
    assert (output / "adapter_model.safetensors").is_file()
    assert state_of(output)["global_step"] == 3


def test_the_smoke_run_is_long_enough_to_be_killed_in_the_middle(trained: Path) -> None:
    config = yaml.safe_load((ROOT / "configs" / "train_smoke.yaml").read_text("utf-8"))
    assert state_of(trained)["global_step"] > 2 * config["save_steps"]
