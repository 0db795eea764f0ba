"""The README.md of a training's output folder: what the adapter is, of what, how trained, how good, how to load.

LLaMA-Factory and the Trainer leave a README.md of their own there, in English and nearly empty; it is replaced. A card
that a person has edited stays: who removes the line with `MARK` keeps the file as it is.

Nothing of this machine goes in: a base is called by its name on the hubs or its folder's last name, paths are those of
the project (a command has ``/path/to/`` for one outside), tokens and addresses are in none of the files that it is
made of.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from mug import prompting
from mug.errors import InputError
from mug.files import write_text
from mug.generation.adapters import ADAPTER_CONFIG
from mug.report.names import TASK_NAMES, TRACK_NAMES
from mug.training.bases import Base, base_of
from mug.training.curves import finite, read_curves
from mug.training.preflight import SAVED_SETTINGS
from mug.training.settings import ROOT, in_root, names, place

MARK = "<!-- mug model card: 删去这一行，本文件就不再自动更新 / remove this line to keep the file as it is -->"
CARD = "README.md"
CORPUS = "modelscope/Alimeeting4MUG"
PACKAGES = ("llamafactory", "transformers", "peft", "accelerate", "datasets", "torch", "liger-kernel", "bitsandbytes")
SETTINGS = {
    "lora_rank": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "lora_target": "LoRA 加在 / targets",
    "quantization_bit": "基座量化位数 / base in bits",
    "cutoff_len": "cutoff_len",
    "neat_packing": "样本打包 / packing",
    "per_device_train_batch_size": "每卡批量 / batch a GPU",
    "gradient_accumulation_steps": "梯度累积 / accumulation",
    "learning_rate": "学习率 / learning rate",
    "lr_scheduler_type": "调度 / schedule",
    "warmup_ratio": "预热 / warm-up",
    "num_train_epochs": "轮数 / epochs",
    "bf16": "bf16",
    "fp16": "fp16",
    "seed": "随机种子 / seed",
}
_OF_OTHERS = re.compile(
    r"^(This model is a fine-tuned version|# Model Card for Model ID|<!-- This model card has been generated)",
    re.MULTILINE,
)


def write_card(output: Path, results: Path | None = None) -> Path:
    """Write the card of a finished training, or leave the one that a person has taken over; return its path.

    Args:
        output: the training's folder, with an adapter.
        results: the JSON that evaluate.py wrote; without it, one in `near` that names this adapter.

    Raises:
        InputError: there is no adapter, its record of the prompts is damaged, or ``results`` can't be read or is of
            another model.
        OSError: the folder can't be written.
    """
    card = output / CARD
    if card.exists():
        text = card.read_text(encoding="utf-8", errors="replace")
        if MARK not in text and not _OF_OTHERS.search(text):
            return card
    write_text(card, render(output, _scores(output, results)))
    return card


def render(output: Path, results: Mapping[str, Any] | None) -> str:
    """Return the card's Markdown.

    Raises:
        InputError: there is no adapter, or its record of the prompts is damaged.
    """
    adapter = _read(output / ADAPTER_CONFIG)
    if not adapter:
        raise InputError(
            f"{output} 里没有训练好的适配器（{ADAPTER_CONFIG}）；请先完成训练。",
            f"{output} holds no trained adapter ({ADAPTER_CONFIG}); finish the training first.",
        )
    settings = _settings(output)
    model = str(settings.get("model_name_or_path") or adapter.get("base_model_name_or_path") or "")
    base = base_of(model)
    called = base.name if base else Path(model).name
    datasets = names(settings.get("dataset"))
    # The tiny model is only ever trained on the sample corpus, under the same names.
    of_corpus = "smoke" not in model and any(name.startswith(("alimeeting4mug", "mug_")) for name in datasets)
    parts = [
        _front_matter(base, called, of_corpus),
        MARK,
        f"\n# {output.name}\n",
        f"{f'[{called}](https://modelscope.cn/models/{called})' if base else called} 的 LoRA 适配器，"
        "用于中文会议理解（标题生成、抽取式摘要、主题切分、关键词抽取、行动项检测）。"
        "由 LLaMA-Factory 监督微调。\n",
        "*A LoRA adapter for understanding Chinese meetings, tuned by LLaMA-Factory. Figures and commands below "
        "need no "
        "translation.*\n",
        _data(datasets, of_corpus, base, prompting.layout_of(output)),
        _figures(output, results),
        _training(settings, adapter),
        _loading(
            output,
            _where(model, called if base else f"/path/to/{called}"),
            adapter,
            str(settings.get("template") or "qwen"),
        ),
    ]
    return "\n".join(parts)


def _front_matter(base: Base | None, called: str, of_corpus: bool) -> str:
    matter: dict[str, Any] = {
        "base_model": called,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "language": ["zh"],
        "license": base.licence if base else "other",
    }
    if base and base.licence == "other":
        matter["license_name"] = base.licence_name.lower().replace(" ", "-")
    if of_corpus:
        matter["datasets"] = [CORPUS]
    matter["tags"] = ["llama-factory", "lora", "meeting", "summarization", "alimeeting4mug"]
    return "---\n" + yaml.safe_dump(matter, allow_unicode=True, sort_keys=False) + "---\n"


def _data(datasets: list[str], of_corpus: bool, base: Base | None, layout: str | None) -> str:
    lines = [
        "## 数据与许可 / Data and licence\n",
        f"- 数据集 / datasets：{', '.join(f'`{name}`' for name in datasets) or '—'}",
    ]
    if layout:
        lines.append(f"- 提示的布局 / layout of the prompts：`{layout}`（`preprocess_data.py --layout`）")
    if of_corpus:
        lines.append(
            f"- 语料 / corpus：AliMeeting4MUG（ModelScope `{CORPUS}`），CC BY 4.0，使用时请署名 / attribution "
            "required；"
            "若用的是自带的样例语料，则与它无关"
        )
    licence = f"{base.licence_name}（{base.name}）" if base else "见基座的说明 / see the base's card"
    lines.append(f"- 基座许可 / licence of the base：{licence}；适配器与合并后的模型都受它约束 / it binds both")
    return "\n".join(lines) + "\n"


def _figures(output: Path, results: Mapping[str, Any] | None) -> str:
    lines = ["## 结果 / Results\n"]
    try:
        curves = read_curves(output)
        losses = list(finite(curves.series("loss")))
        evaluated = list(finite(curves.series("eval_loss")))
    except InputError:
        losses = evaluated = []
    if losses:
        lines.append(
            f"- 训练损失 / training loss：{losses[0][1]:.3f}（第 {losses[0][0]} 步）→ "
            f"{losses[-1][1]:.3f}（第 {losses[-1][0]} 步）"
        )
    if evaluated:
        step, least = min(evaluated, key=lambda pair: pair[1])
        lines.append(f"- 验证损失 / evaluation loss：最低 {least:.3f}（第 {step} 步）")
    if not results:
        lines.append(
            "- 分数 / scores：还没有评测 / not evaluated yet"
            "（`scripts/evaluate.py`，再运行 `scripts/write_model_card.py`）"
        )
        return "\n".join(lines) + "\n"
    made = results.get("settings") or {}
    lines.append(
        f"- 评测 / evaluation：{made.get('num_samples', '?')} 个样本，贪心解码，{str(made.get('date', ''))[:10]}\n"
    )
    lines += ["| | 分数 / score |", "|---|---|"]
    for track, found in (results.get("official") or {}).items():
        score = (found.get("scores") or {}).get("score")
        if score is not None:
            lines.append(f"| {TRACK_NAMES.get(track, track)}，官方 / official | {100 * score:.2f} |")
    for task, averages in (results.get("averages") or {}).items():
        shown = ", ".join(
            f"{name} {100 * value:.2f}" for name, value in averages.items() if isinstance(value, int | float)
        )
        lines.append(f"| {TASK_NAMES.get(task, task)}，LLaMA-Factory | {shown} |")
    return "\n".join(lines) + "\n"


def _training(settings: Mapping[str, Any], adapter: Mapping[str, Any]) -> str:
    shown = {"lora_rank": adapter.get("r"), "lora_alpha": adapter.get("lora_alpha")} | dict(settings)
    lines = ["## 训练 / Training\n", "| | |", "|---|---|"]
    lines += [f"| {label} | {shown[key]} |" for key, label in SETTINGS.items() if shown.get(key) not in (None, False)]
    lines.append(f"| 版本 / versions | Python {platform.python_version()}, {', '.join(_versions(PACKAGES))} |")
    return "\n".join(lines) + "\n"


def _versions(packages: Iterable[str]) -> Iterable[str]:
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _where(model: str, elsewhere: str) -> str:
    """Return what a command names the base by: a hub's name or a path of the project, and else ``elsewhere``."""
    found = in_root(place(model))
    return elsewhere if not model or Path(found).is_absolute() else found


def _loading(output: Path, model: str, adapter: Mapping[str, Any], template: str) -> str:
    folder = output.resolve()
    place = folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name
    rank = adapter.get("r") or 64
    return f"""## 怎么用 / How to load

提示词的格式、系统提示和停止符（`<|im_end|>`）必须与训练时相同；模板是 `{template}`。
The prompt's form, the system prompt and the stop token must be those of training.

transformers + peft：

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{model}", dtype="auto", device_map="auto")
model = PeftModel.from_pretrained(model, "{place}")
tokenizer = AutoTokenizer.from_pretrained("{place}")
stop = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
```

LLaMA-Factory，终端对话 / chat；合并 / merge：

```bash
llamafactory-cli chat configs/inference.yaml model_name_or_path={model} adapter_name_or_path={place} \\
    template={template}
python scripts/export_model.py configs/merge.yaml model_name_or_path={model} adapter_name_or_path={place} \\
    template={template}
```

vLLM（合并后的模型更稳妥，见 docs/serving.md / the merged model is safer）：

```bash
vllm serve {model} --enable-lora --max-lora-rank {rank} --lora-modules mug={place} --host 127.0.0.1
```

评测 / evaluation：

```bash
python scripts/evaluate.py --model_path {place} --template {template} --data_path data/dev_alpaca.json \\
    --gold dataset/dev.csv --output_path outputs/eval_results.json
```
"""


def _settings(output: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load((output / SAVED_SETTINGS).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def near(output: Path) -> list[Path]:
    """Return the JSON files beside a training and in it that may be results of evaluate.py, newest first."""
    found = [*output.glob("eval*.json"), *output.parent.glob("eval*.json")]
    return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)


def _scores(output: Path, results: Path | None) -> dict[str, Any] | None:
    if results is not None:
        found = _read(results)
        if not _is_of(found, output):
            raise InputError(
                f"{results} 不是 {output} 的评测结果；请给出 evaluate.py 为它写的 JSON。",
                f"{results} is no evaluation of {output}; name the JSON that evaluate.py wrote for it.",
            )
        return found
    return next((found for file in near(output) if _is_of(found := _read(file), output)), None)


def _is_of(results: Mapping[str, Any], output: Path) -> bool:
    made = results.get("settings")
    adapter = made.get("adapter") if isinstance(made, dict) else None
    if not isinstance(adapter, str):
        return False
    # Paths of an evaluation are of the folder that it ran in, which is the project's by habit.
    paths = {(folder / adapter).resolve() for folder in (Path.cwd(), ROOT)}
    return any(path == output.resolve() or path.is_relative_to(output.resolve()) for path in paths)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
