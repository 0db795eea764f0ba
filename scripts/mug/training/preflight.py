"""What would go wrong in a training, found before it starts; each finding is a sentence with its mend.

    report = check(settings, speed=False, machine=probe(), skip_long=False)
    report.fails          # there is an error
    report.settings       # what to train with: flash_attn lowered to what is here, too long samples left out

LLaMA-Factory itself finds some of this after minutes of loading, and some never: it cuts long samples in silence.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mug.errors import InputError, Message
from mug.generation.adapters import ADAPTER_WEIGHTS
from mug.generation.model_folder import resolve
from mug.generation.weights import WEIGHTS, is_whole_model
from mug.prompting import needs_tree
from mug.tasks.base import SYSTEM
from mug.training import bases, checkpoints, truncation
from mug.training.cards import Machine, gpus, starts_torchrun
from mug.training.environment import attention, dependencies, resources
from mug.training.findings import Finding, error, info, warning
from mug.training.keys import unknown_keys, values
from mug.training.lengths import packs, recommended
from mug.training.memory import on
from mug.training.settings import SPEED_KEY, TREE_KEY, names, number, place
from mug.training.truncation import Count, TaskCount

SAVED_SETTINGS = "train_config.yaml"
"""What train.py writes into the output folder: the settings of its training, which llamafactory-cli takes too."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MARK = re.compile(r"<[|｜][^<>|｜]+[|｜]>|\[/?[A-Z_]{3,}\]|</?s>")  # what in a template looks like a token of its own
_DEFAULTS = {"save_steps": 500.0, "per_device_train_batch_size": 8.0, "num_train_epochs": 3.0}
# Keys that a resumed training should not change silently.
_LASTING = ("dataset", "template", "default_system", "cutoff_len", "packing", "neat_packing", "learning_rate") + (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "lr_scheduler_type",
    "seed",
)


@dataclass
class Report:
    """All findings, the settings to train with, and what each task's samples would lose (by ``dataset`` key)."""

    settings: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    tables: dict[str, list[TaskCount]] = field(default_factory=dict)

    @property
    def fails(self) -> bool:
        """Whether there is an error."""
        return any(one.level == "error" for one in self.findings)


def check(
    settings: Mapping[str, Any],
    *,
    speed: bool,
    machine: Machine,
    skip_long: bool,
    write: bool = True,
    tree: bool = False,
) -> Report:
    """Look at everything that can be known before the model is loaded.

    Args:
        settings: LLaMA-Factory's keys, paths resolved.
        speed: train with the speed module.
        machine: this one.
        skip_long: leave out samples that would be cut, in place of an error.
        write: really write the datasets without them; else only say so.
        tree: let the questions of a conversation share its transcript, see `mug.conversations`.
    """
    report = Report(dict(settings))
    report.findings += known_keys(settings)
    report.findings += values(report.settings)
    if report.fails:  # the rest would be read from keys or values that are none
        return report
    try:
        report.findings += dependencies(report.settings, machine, speed)
        report.findings += attention(report.settings, machine)
        report.findings += conversations_apart(report.settings, speed, tree)
        report.findings += steps(report.settings)
        report.findings += model_folders(report.settings)
        if any(one.code == "model" for one in report.findings):
            return report  # nothing to count tokens with
        counts = samples(report, skip_long=skip_long, write=write)
        report.findings += earlier_runs(report.settings, machine)
        report.findings += amount(report.settings, counts, machine)
        report.findings += resources(report.settings, counts, machine, speed)
    except InputError as found:
        report.findings.append(Finding("error", "input", found.message))
    return report


# ------------------------------------------------------------------------------------------------------- the settings


def known_keys(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """See that every key is one of LLaMA-Factory's and that the training is one of the kind checked here."""
    yield from unknown_keys(settings)
    if settings.get("stage", "sft") != "sft" or not on(settings.get("do_train")):
        yield error(
            "not_sft",
            "这里只检查和运行监督微调；请写 stage: sft、do_train: true，其他用途直接用 llamafactory-cli train。",
            "Only supervised fine-tuning is checked and run here; set stage: sft and do_train: true, or run "
            "llamafactory-cli train.",
        )
    for key in ("model_name_or_path", "dataset", "output_dir", "template"):
        if not settings.get(key):
            yield error("missing_key", f"没有设置 {key}；请写上。", f"{key} is not set; set it.")


def conversations_apart(settings: Mapping[str, Any], speed: bool, tree: bool) -> Iterator[Finding]:
    """See that conversations are trained the way that their data need."""
    if tree and not speed:
        yield error(
            "tree",
            f"{TREE_KEY} 是 {SPEED_KEY} 的一部分；请加 {SPEED_KEY}=true，或 {TREE_KEY}=false。",
            f"{TREE_KEY} is a part of {SPEED_KEY}; add {SPEED_KEY}=true, or {TREE_KEY}=false.",
        )
    folder = truncation.dataset_folder(settings)
    if folder and needs_tree(folder) and not tree:  # read in any case, so that a damaged record shows now
        yield error(
            "tree",
            f"{folder} 里的一段对话有几位标注者的答案，逐句训练会让后一个答案照着前一个学；请加 {SPEED_KEY}=true "
            f"{TREE_KEY}=true，或换一种布局重新预处理。",
            f"A conversation in {folder} asks for several annotators' answers, and the later would learn from the "
            f"earlier; add {SPEED_KEY}=true {TREE_KEY}=true, or preprocess again in another layout.",
        )


def steps(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """See that the best checkpoint, if asked for, can be known."""
    if not on(settings.get("load_best_model_at_end")):
        return
    evaluating = _strategy(settings, "eval_strategy", "no")
    saving = _strategy(settings, "save_strategy", "steps")
    if evaluating == "no" or evaluating != saving:
        yield error(
            "strategies",
            f"load_best_model_at_end 要求 eval_strategy（{evaluating}）与 save_strategy（{saving}）相同；请都设"
            "为 steps。",
            f"load_best_model_at_end needs eval_strategy ({evaluating}) and save_strategy ({saving}) to be the same; "
            "set both to steps.",
        )
    elif evaluating == "steps":
        save = number(settings, "save_steps", _DEFAULTS["save_steps"])
        every = number(settings, "eval_steps", number(settings, "logging_steps", 500))
        if every <= 0 or round(save / every, 6) % 1:
            yield error(
                "save_steps",
                f"save_steps {save:g} 不是 eval_steps {every:g} 的整数倍，load_best_model_at_end 不能用；"
                f"请加 save_steps={max(1, round(save / max(every, 1))) * every:g}。",
                f"save_steps {save:g} is no multiple of eval_steps {every:g}, as load_best_model_at_end needs; add "
                f"save_steps={max(1, round(save / max(every, 1))) * every:g}.",
            )
    if not settings.get("eval_dataset") and not number(settings, "val_size", 0):
        yield error(
            "no_eval_dataset",
            '要评测却没有 eval_dataset；请写上 eval_dataset: alimeeting4mug_dev，或设 eval_strategy: "no"。',
            "An evaluation is wanted but eval_dataset is not set; set eval_dataset: alimeeting4mug_dev, or "
            'eval_strategy: "no".',
        )


def _strategy(settings: Mapping[str, Any], key: str, default: str) -> str:
    value = settings.get(key, default)
    return "no" if value is False else str(value)  # YAML reads a bare no as false


# --------------------------------------------------------------------------------------------- models and the template


def model_folders(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """See that the base is whole and takes the template, and that an adapter to go on from belongs to it."""
    model = str(settings["model_name_or_path"])
    folder = place(model)
    if folder.is_dir():
        if not is_whole_model(folder):
            yield error(
                "model",
                f"模型文件夹 {model} 不完整（缺 config.json 或权重）；请重新运行 python scripts/download_model.py。",
                f"The model folder {model} is not whole (config.json or weights are missing); run "
                "python scripts/download_model.py again.",
            )
    elif not _HUB_ID.fullmatch(model) or model.split("/")[0] in ("models", "outputs", "data", "configs"):
        yield error(
            "model",
            f"没有模型文件夹 {model}；请先运行 python scripts/download_model.py --set_config，或检查 "
            "model_name_or_path。",
            f"There is no model folder {model}; run python scripts/download_model.py --set_config, or check "
            "model_name_or_path.",
        )
    elif not ((found := cached(settings)) and is_whole_model(found)):
        yield error(
            "model",
            f"还没有下载模型 {model}；请先运行 python scripts/download_model.py --model_id {model} --set_config（它把 "
            f"models/{model} 写进 configs/）；要让 LLaMA-Factory 自己下载，请用 llamafactory-cli train。",
            f"The model {model} is not downloaded yet; run python scripts/download_model.py --model_id {model} "
            f"--set_config first (it writes models/{model} into configs/), or llamafactory-cli train, which downloads "
            "by itself.",
        )
    fitting = bases.TEMPLATES.get(_kind(settings), ())
    template = str(settings["template"])
    if fitting and template not in fitting:
        yield warning(
            "template",
            f"基座 {model} 的模板一般是 {fitting[0]}，这里是 {template}；若不是有意的，请加 template={fitting[0]}。",
            f"The base {model} usually takes the template {fitting[0]}, not {template}; unless that is meant, add "
            f"template={fitting[0]}.",
        )
    for adapter in names(settings.get("adapter_name_or_path")):
        try:
            resolve(place(adapter), str(folder) if folder.is_dir() else model)
        except InputError as found:
            zh, en = (
                text.replace("--base_model", "model_name_or_path").replace("--model_path", "adapter_name_or_path")
                for text in found.message
            )
            yield error("adapter", zh, en)


def cached(settings: Mapping[str, Any]) -> Path | None:
    """Return where the hub that LLaMA-Factory takes the base from has it on this disk, None if nowhere."""
    model = str(settings["model_name_or_path"])
    cache = place(str(settings["cache_dir"])) if settings.get("cache_dir") else None
    revision = str(settings.get("model_revision") or "main")
    try:
        if on(os.environ.get("USE_MODELSCOPE_HUB")):
            from modelscope import snapshot_download

            revision = "master" if revision == "main" else revision  # as LLaMA-Factory calls it there
            return Path(snapshot_download(model, revision=revision, cache_dir=cache, local_files_only=True))
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "config.json", cache_dir=cache, revision=revision)
        return Path(found).parent if isinstance(found, str) else None
    except Exception:  # no such name, nothing there: each hub's client has errors of its own
        return None


def _kind(settings: Mapping[str, Any]) -> str:
    """Return the base's ``model_type``, empty where nothing tells it."""
    model = str(settings["model_name_or_path"])
    base = bases.base_of(model)
    return bases.model_type(place(model)) or (base.model_type if base else "")


def load_tokenizer(model: str) -> Any:
    """Return the base's tokenizer as LLaMA-Factory loads it.

    Raises:
        InputError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(place(model)) if place(model).is_dir() else model, use_fast=True)
    except Exception as found:  # what is raised depends on what is missing, and on the hub's client
        reason = (str(found).splitlines() or [type(found).__name__])[0]
        raise InputError(
            f"读不了 {model} 的分词器（{reason}）；请先运行 python scripts/download_model.py --set_config，"
            "或检查 model_name_or_path。",
            f"Can't read the tokenizer of {model} ({reason}); run python scripts/download_model.py --set_config "
            "first, or check model_name_or_path.",
        ) from None


def template_fits(settings: Mapping[str, Any], tokenizer: Any) -> Iterator[Finding]:
    """See that each mark of the template is one token of the model, and that the answer is trained as it is asked."""
    from llamafactory.data.template import TEMPLATES, ReasoningTemplate

    name = str(settings["template"])
    template = TEMPLATES.get(name)
    if template is None:
        near = difflib.get_close_matches(name, TEMPLATES, 1)
        yield error(
            "no_template",
            f"LLaMA-Factory 没有模板 {name}；Qwen2.5 用 qwen，Qwen3 用 qwen3_nothink"
            + (f"（最像的是 {near[0]}）。" if near else "。"),
            f"LLaMA-Factory has no template {name}; Qwen2.5 takes qwen, Qwen3 qwen3_nothink"
            + (f" (the nearest is {near[0]})." if near else "."),
        )
        return
    marks = dict.fromkeys([*template.stop_words, *_marks(template)])
    missing = [mark for mark in marks if not _is_token(tokenizer, mark)]
    if missing:
        yield error(
            "template_tokens",
            f"模板 {name} 的 {' '.join(missing)} 不是这个模型的单个 token，回答不会停；请换成与基座相配的模板"
            "（Qwen2.5 用 qwen，Qwen3 用 qwen3_nothink）。",
            f"{' '.join(missing)} of the template {name} is no single token of this model, answers would not stop; "
            "take the base's own template (Qwen2.5: qwen, Qwen3: qwen3_nothink).",
        )
    if isinstance(template, ReasoningTemplate) and not missing:
        mend = (*bases.TEMPLATES.get(_kind(settings), ()), f"{name}_nothink")[0]
        yield warning(
            "thinking",
            f"模板 {name} 会在每个回答前加一段空的 <think>，而 evaluate.py 的提示里没有它；"
            f"请加 template={mend}，评测时加 --template {mend}。",
            f"The template {name} puts an empty <think> block before each answer, which evaluate.py's prompts do not "
            f"have; add template={mend}, and evaluate with --template {mend}.",
        )
    system = settings.get("default_system")
    if (template.default_system if system is None else system) != SYSTEM:
        yield warning(
            "system",
            f"训练用的系统提示不是“{SYSTEM}”，评测和对话却用它，分数会变差；请照 configs/train_lora.yaml 写 "
            "default_system。",
            f'The system prompt of training is not "{SYSTEM}", which evaluation and chat use; set default_system as '
            "configs/train_lora.yaml does.",
        )


def _marks(template: Any) -> Iterator[str]:
    for formatter in (template.format_user, template.format_assistant, template.format_system, template.format_prefix):
        for slot in formatter.slots:
            if isinstance(slot, str):
                yield from _MARK.findall(slot)
            elif isinstance(slot, dict):
                yield slot["token"]


def _is_token(tokenizer: Any, mark: str) -> bool:
    """Say whether a text is one token: it comes back from its id as itself."""
    number = tokenizer.convert_tokens_to_ids(mark)
    return number is not None and tokenizer.convert_ids_to_tokens(number) == mark


# --------------------------------------------------------------------------------------------------------- the samples


def samples(report: Report, *, skip_long: bool, write: bool) -> dict[str, list[Count]]:
    """Count every sample of the datasets and deal with those that ``cutoff_len`` would cut.

    Findings, tables and, with ``skip_long``, the names of the datasets without them go into the report.

    Returns:
        The counts of the samples that will be trained on, and evaluated on, by the key ``dataset`` or
        ``eval_dataset``.

    Raises:
        InputError: a tokenizer, a dataset or a row can't be read, or no sample would be left.
    """
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    settings = report.settings
    folder = truncation.dataset_folder(settings)
    if folder is None or settings.get("tokenized_path") or on(settings.get("streaming")):
        report.findings.append(
            warning(
                "not_counted",
                "样本来自网站、流或已分词的缓存，没有检查长度；过长的会被截断。",
                "The samples come from a hub, a stream or a cache of tokens: lengths were not checked, long ones "
                "will be cut.",
            )
        )
        return {}
    listing = folder / "dataset_info.json"
    if not listing.is_file():
        raise InputError(
            f"没有 {listing}；请先运行 python scripts/preprocess_data.py，或检查 dataset_dir。",
            f"There is no {listing}; run python scripts/preprocess_data.py first, or check dataset_dir.",
        )
    found = {
        key: [(name, truncation.find_dataset(folder, name)) for name in listed]
        for key, listed in truncation.dataset_names(settings).items()
    }
    model = str(settings["model_name_or_path"])
    tokenizer = load_tokenizer(model if place(model).is_dir() else str(cached(settings) or model))
    problems = list(template_fits(settings, tokenizer))
    report.findings += problems
    if any(one.level == "error" for one in problems):
        return {}
    arguments = DataArguments(template=settings["template"], default_system=settings.get("default_system"))
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    cutoff = int(number(settings, "cutoff_len", 2048))
    counted: dict[str, list[Count]] = {}
    for key, datasets in found.items():
        kept: list[Count] = []
        everything: list[Count] = []
        chosen = []
        for name, dataset in datasets:
            if dataset is None or not all(file.suffix in truncation.READABLE for file in dataset.files):
                report.findings.append(
                    warning(
                        "not_counted",
                        f"数据集 {name} 不是 JSON 文件，没有检查长度；过长的会被截断。",
                        f"The dataset {name} is no JSON file: lengths were not checked, long samples will be cut.",
                    )
                )
                chosen.append(name)
                continue
            counts = list(truncation.count(dataset, settings, tokenizer, template, cutoff))
            everything += counts
            cut = [one for one in counts if one.is_cut]
            if cut and skip_long:
                name = truncation.filtered_name(dataset, cutoff)
                if write:
                    path = truncation.write_filtered(folder, dataset, counts, cutoff)
                    report.findings.append(
                        warning(
                            "skipped",
                            f"数据集 {dataset.name} 的 {len(cut)} 个过长样本不用，其余 {len(counts) - len(cut)} "
                            f"个写到 {path}，"
                            f"以 {name} 为名训练。",
                            f"{len(cut)} samples of {dataset.name} are too long and left out; the other "
                            f"{len(counts) - len(cut)} are in {path}, used as {name}.",
                        )
                    )
                else:
                    report.findings.append(
                        info(
                            "would_skip",
                            f"训练时会去掉数据集 {dataset.name} 的 {len(cut)} 个过长样本。",
                            f"Training would leave out the {len(cut)} samples of {dataset.name} that are too long.",
                        )
                    )
                counts = [one for one in counts if not one.is_cut]
            chosen.append(name)
            kept += counts
        counted[key] = kept
        if any(one.is_cut for one in everything):
            report.tables[key] = truncation.by_task(everything)
        if skip_long and datasets:
            if write:
                settings[key] = ",".join(chosen)
        elif any(one.is_cut for one in everything):
            report.findings.append(_cut(key, everything, cutoff))
    return counted


def _cut(key: str, counts: list[Count], cutoff: int) -> Finding:
    """Say how many samples would be cut; where they are only evaluated, a warning: no training is harmed."""
    cut = [one for one in counts if one.is_cut]
    longest = recommended([one.total for one in counts])
    answers = sum(one.lost_target > 0 for one in cut)
    of = Message("训练集", "training") if key == "dataset" else Message("验证集", "evaluation")
    return Finding(
        "error" if key == "dataset" else "warning",
        "too_long",
        Message(
            f"{of.zh}有 {len(cut)} 个样本超过 cutoff_len {cutoff}，会被截断（{answers} 个丢答案，"
            f"{sum(one.lost_prompt > 0 for one in cut)} 个丢上文）；请加 cutoff_len={longest}，或 --on_long "
            "skip 去掉它们，"
            "或重新预处理（--max_input_tokens）。",
            f"{len(cut)} samples of the {of.en} data are longer than cutoff_len {cutoff} and would be cut ({answers} "
            f"lose their answer, {sum(one.lost_prompt > 0 for one in cut)} context); add cutoff_len={longest}, or "
            "leave them out by --on_long skip, or preprocess again (--max_input_tokens).",
        ),
    )


def amount(settings: Mapping[str, Any], counted: Mapping[str, list[Count]], machine: Machine) -> Iterator[Finding]:
    """Say how many samples make how many steps, and whether any is evaluated or saved."""
    totals = [one.total for one in counted.get("dataset", ())]
    if not totals:
        return
    cutoff = int(number(settings, "cutoff_len", 2048))
    packed = on(settings.get("packing")) or on(settings.get("neat_packing"))
    units = packs(totals, cutoff) if packed else len(totals)
    batch = number(settings, "per_device_train_batch_size", _DEFAULTS["per_device_train_batch_size"])
    batch *= number(settings, "gradient_accumulation_steps", 1) * gpus(machine)
    epochs = number(settings, "num_train_epochs", _DEFAULTS["num_train_epochs"])
    count = number(settings, "max_steps", -1)
    count = count if count > 0 else -(-units // batch) * epochs
    a_step = batch * len(totals) / units
    held = Message(f"（拼成约 {units:,} 包）", f" (about {units:,} packs)") if packed else Message("", "")
    yield info(
        "amount",
        f"训练集 {len(totals):,} 个样本、{sum(totals):,} 个 token{held.zh}，每步约 {a_step:.1f} 个样本，"
        f"{epochs:g} 轮共约 "
        f"{count:,.0f} 步。",
        f"{len(totals):,} training samples, {sum(totals):,} tokens{held.en}: about {a_step:.1f} samples a step, "
        f"{count:,.0f} steps in {epochs:g} epochs.",
    )
    every = number(settings, "eval_steps", number(settings, "logging_steps", 500))
    if _strategy(settings, "eval_strategy", "no") == "steps" and 1 <= every and count < every:
        yield warning(
            "never_evaluated",
            f"一共只有约 {count:,.0f} 步，而 eval_steps 是 {every:g}：训练中不会评测；请加 "
            f"eval_steps={max(1, int(count // 4))} "
            f"save_steps={max(1, int(count // 4))}。",
            f"There are only about {count:,.0f} steps and eval_steps is {every:g}: nothing will be evaluated; add "
            f"eval_steps={max(1, int(count // 4))} save_steps={max(1, int(count // 4))}.",
        )


# ------------------------------------------------------------------------------------------------- the output folder


def earlier_runs(settings: Mapping[str, Any], machine: Machine) -> Iterator[Finding]:
    """See what an earlier training left in the output folder, and whether this one can go on from it."""
    output = place(str(settings["output_dir"]))
    if starts_torchrun(machine) and re.search(r"\s", str(settings["output_dir"])):
        yield error(
            "spaces",
            f"多卡时路径里不能有空格：{settings['output_dir']}；请换一个 output_dir。",
            f"With several GPUs no path may hold a space: {settings['output_dir']}; name another output_dir.",
        )
    explicit = settings.get("resume_from_checkpoint")
    if explicit and not on(explicit):
        why = checkpoints.defect(place(str(explicit)))
        if why:
            yield error(
                "resume",
                f"不能从 {explicit} 续训：它{why.zh}；请换一个 checkpoint。",
                f"Can't resume from {explicit}: it {why.en}; name another checkpoint.",
            )
    if on(settings.get("overwrite_output_dir")) or explicit or not output.is_dir():
        return
    torn = checkpoints.broken(output)
    for one in torn:
        yield warning(
            "torn",
            f"{one.folder.name} {one.why.zh}（写到一半被中断），不能从它续训，训练开始前会改名放到一边。",
            f"{one.folder.name} {one.why.en} (killed while it was written); it is moved aside before training.",
        )
    whole = [one for one in checkpoints.checkpoints(output) if one not in [other.folder for other in torn]]
    if not whole:
        if (output / ADAPTER_WEIGHTS).exists() or (output / WEIGHTS).exists():
            yield error(
                "used_output",
                f"{settings['output_dir']} 已有训练结果而没有 checkpoint；请换一个 output_dir，或加 "
                "overwrite_output_dir=true。",
                f"{settings['output_dir']} holds a result and no checkpoint; name another output_dir, or add "
                "overwrite_output_dir=true.",
            )
        return
    newest = whole[-1]
    yield info(
        "resumes",
        f"从 {newest.name} 接着训练；要重新开始请换一个 output_dir。",
        f"Goes on from {newest.name}; to start over, name another output_dir.",
    )
    other = _other_adapter(settings, checkpoints.adapter_of(newest))
    if other:
        yield error(
            "other_adapter",
            f"{newest.name} 是用别的设置训练的（{other}）；请改回设置，或换一个 output_dir。",
            f"{newest.name} was trained with other settings ({other}); set them back, or name another output_dir.",
        )
    changed = _changed(settings, output / SAVED_SETTINGS)
    if changed:
        yield warning(
            "changed",
            f"与上一次训练相比改了 {changed}：续训会接着旧的步数用新的值；若不是有意的，请换一个 output_dir。",
            f"Changed since the earlier training: {changed}; going on keeps the old step and takes the new values. "
            "Unless that is meant, name another output_dir.",
        )


def _other_adapter(settings: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """Name the first thing in which a checkpoint's adapter differs from the one that the settings make."""
    if not saved:
        return ""
    rank = int(number(settings, "lora_rank", 8))
    wanted: dict[str, Any] = {"r": rank, "lora_alpha": number(settings, "lora_alpha", 2 * rank)}
    targets = names(settings.get("lora_target", "all"))
    if targets != ["all"]:
        wanted["target_modules"] = set(targets)
    for key, value in wanted.items():
        found = set(saved[key]) if isinstance(saved.get(key), list) else saved.get(key)
        if found is not None and found != value:
            return f"{key} {saved[key]} → {sorted(value) if isinstance(value, set) else format(value, 'g')}"
    base, now = str(saved.get("base_model_name_or_path") or ""), str(settings["model_name_or_path"])
    return f"{base} → {now}" if base and Path(base).name != Path(now).name else ""


def _changed(settings: Mapping[str, Any], saved: Path) -> str:
    import yaml

    try:
        before = yaml.safe_load(saved.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    if not isinstance(before, dict):
        return ""
    return ", ".join(
        f"{key} {before.get(key)} → {settings.get(key)}" for key in _LASTING if before.get(key) != settings.get(key)
    )


# --------------------------------------------------------------------------------------------------- for the terminal

_SIGNS = {"error": Message("错误", "error"), "warning": Message("注意", "warning"), "info": Message("说明", "note")}
_SHOWN = 10  # names of samples that a task's row lists


def lines(report: Report, lang: str) -> list[str]:
    """Return the tables of what would be cut, then the findings, errors first, a line each."""
    found = []
    for key, table in report.tables.items():
        of = names(report.settings.get(key))
        found.append(f"{key}: {', '.join(of)}")
        head = Message(
            "  任务                    样本    最长  丢答案  丢上文",
            "  task                 samples longest answers context",
        )
        found.append(head.say(lang))
        for row in table:
            found.append(f"  {row.task:<22}{row.samples:>6}{row.longest:>8}{row.lose_answer:>8}{row.lose_context:>8}")
            if row.cut:
                more = f" … (+{len(row.cut) - _SHOWN})" if len(row.cut) > _SHOWN else ""
                found.append(f"      {' '.join(row.cut[:_SHOWN])}{more}")
    for level in ("error", "warning", "info"):
        found += [
            f"{_SIGNS[level].say(lang)}：{one.message.say(lang)}" if lang == "zh" else f"{level}: {one.message.en}"
            for one in report.findings
            if one.level == level
        ]
    return found
