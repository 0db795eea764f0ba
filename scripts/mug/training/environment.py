"""Do a training's settings and this machine go together: cards, packages, GPU memory, disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from mug.errors import InputError
from mug.training import checkpoints
from mug.training.cards import AMPERE, Machine, gpus
from mug.training.findings import Finding, error, info, warning
from mug.training.memory import GIB, estimate, on, plan_of, suggest, zero_optimization
from mug.training.settings import SPEED_KEY, names, number, place
from mug.training.shapes import Shape, shape_of
from mug.training.truncation import Count

_SPARE = 1 << 28  # bytes of logs, plots and whatever else an output folder gets


def dependencies(settings: Mapping[str, Any], machine: Machine, speed: bool) -> Iterator[Finding]:
    """Compare the settings with the cards and the installed packages."""
    on_cpu = on(settings.get("use_cpu"))
    if not on_cpu and not machine.cards:
        why = ("这里的 torch 是 CPU 版", "this torch is a build for CPUs") if machine.cuda is None else ("", "")
        yield error(
            "no_gpu",
            f"没有找到可用的 NVIDIA 显卡{'，' + why[0] if why[0] else ''}：会在 CPU 上训练，7B 要很多天；请检查驱动和 "
            "CUDA_VISIBLE_DEVICES，或（只为试流程）加 use_cpu=true。",
            f"No usable NVIDIA GPU{', ' + why[1] if why[1] else ''}: training would run on the CPU, many days for 7B; "
            "check the driver and CUDA_VISIBLE_DEVICES, or (to try the wiring) add use_cpu=true.",
        )
    old = next((card for card in machine.cards if card.capability < AMPERE), None)
    if old and (on(settings.get("bf16")) or on(settings.get("pure_bf16"))):
        yield error(
            "no_bf16",
            f"{old.name} 没有 bf16；请加 bf16=false pure_bf16=false fp16=true。",
            f"{old.name} has no bf16; add bf16=false pure_bf16=false fp16=true.",
        )
    if old and speed:
        yield error(
            "speed_card",
            f"{SPEED_KEY} 需要 Ampere 或更新的显卡，这里是 {old.name}；请加 {SPEED_KEY}=false。",
            f"{SPEED_KEY} needs Ampere or later, this is {old.name}; add {SPEED_KEY}=false.",
        )
    yield from _speed(settings, speed)
    liger = on(settings.get("enable_liger_kernel")) or (speed and bool(machine.cards))
    if on_cpu and on(settings.get("enable_liger_kernel")):
        yield error(
            "liger_cpu",
            "enable_liger_kernel 只能在显卡上用；请加 enable_liger_kernel=false。",
            "enable_liger_kernel needs a GPU; add enable_liger_kernel=false.",
        )
    trackers = names(settings.get("report_to"))
    if "all" in trackers:
        trackers = []
    needed = {
        "liger_kernel": ("liger-kernel", SPEED_KEY if speed else "enable_liger_kernel", liger and not on_cpu),
        "bitsandbytes": ("bitsandbytes", "quantization_bit", _bitsandbytes(settings)),
        "deepspeed": ("deepspeed", "deepspeed", bool(settings.get("deepspeed"))),
    }
    for module, (package, key, wanted) in needed.items():
        if wanted and module not in machine.packages:
            yield error(
                "package",
                f"{key} 需要 {package}；请运行 bash setup.sh --extras {package}，或去掉 {key}。",
                f"{key} needs {package}; run bash setup.sh --extras {package}, or leave {key} out.",
            )
    if "swanlab" in trackers:
        yield error(
            "swanlab",
            "report_to: swanlab 与 transformers 5.6.0 一起会报错；请改用 report_to=none use_swanlab=true "
            "swanlab_mode=local。",
            "report_to: swanlab fails with transformers 5.6.0; use report_to=none use_swanlab=true "
            "swanlab_mode=local.",
        )
    wanted_trackers = [name for name in trackers if name in ("tensorboard", "wandb")]
    if on(settings.get("use_swanlab")):
        wanted_trackers.append("swanlab")
    for name in wanted_trackers:
        if name not in machine.packages and not (name == "tensorboard" and "tensorboardX" in machine.packages):
            key = "use_swanlab" if name == "swanlab" else "report_to"
            off = "use_swanlab=false" if name == "swanlab" else "report_to=none"
            yield error(
                "tracker",
                f"{key} 要用 {name}，但没有安装；请运行 pip install {name}，或加 {off}。",
                f"{key} asks for {name}, which is not installed; run pip install {name}, or add {off}.",
            )
    if "wandb" in trackers and os.environ.get("WANDB_MODE") not in ("offline", "disabled", "dryrun"):
        yield warning(
            "wandb_online",
            "wandb 会把损失和配置传到它的网站，并要求登录；不想上传请先 export WANDB_MODE=offline。",
            "wandb sends losses and settings to its site and asks for a login; to keep them here, export "
            "WANDB_MODE=offline first.",
        )
    if on(settings.get("use_swanlab")) and str(settings.get("swanlab_mode", "cloud")) == "cloud":
        yield warning(
            "swanlab_online",
            "swanlab 会把损失和配置传到它的网站，并要求登录；不想上传请加 swanlab_mode=local。",
            "swanlab sends losses and settings to its site and asks for a login; to keep them here, add "
            "swanlab_mode=local.",
        )
    if settings.get("deepspeed") and not place(str(settings["deepspeed"])).is_file():
        yield error(
            "deepspeed_file",
            f"没有 DeepSpeed 配置 {settings['deepspeed']}；请检查 deepspeed，可用的在 configs/deepspeed/。",
            f"There is no DeepSpeed file {settings['deepspeed']}; check deepspeed, those of the project are in "
            "configs/deepspeed/.",
        )


def _zero_stage(settings: Mapping[str, Any]) -> int:
    """Return the stage that DeepSpeed's file sets, 0 where none can be read."""
    if not settings.get("deepspeed"):
        return 0
    try:
        return int(zero_optimization({"deepspeed": str(place(str(settings["deepspeed"])))}).get("stage", 0))
    except (InputError, ValueError, TypeError):
        return 0


def _bitsandbytes(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("quantization_bit")) and str(settings.get("quantization_method", "bnb")) in (
        "bnb",
        "bitsandbytes",
    )


def _speed(settings: Mapping[str, Any], speed: bool) -> Iterator[Finding]:
    """See, before the model is loaded, what the speed module refuses once it is."""
    if not speed:
        return
    refused = {
        "lora_dropout=0": number(settings, "lora_dropout", 0) > 0,
        "use_dora=false": on(settings.get("use_dora")),
        "quantization_bit=4": number(settings, "quantization_bit", 4) != 4,
        f"{SPEED_KEY}=false": settings.get("finetuning_type", "lora") != "lora" or on(os.environ.get("USE_RAY")),
    }
    for mend, wrong in refused.items():
        if wrong:
            yield error(
                "speed",
                f"{SPEED_KEY} 不能与这项设置同用；请加 {mend}，或 {SPEED_KEY}=false。",
                f"{SPEED_KEY} does not go with this setting; add {mend}, or {SPEED_KEY}=false.",
            )
    if _zero_stage(settings) == 3 or on(os.environ.get("ACCELERATE_USE_FSDP")):
        yield error(
            "speed",
            f"{SPEED_KEY} 不能与切分参数的 ZeRO-3、FSDP 同用；请加 {SPEED_KEY}=false，或改用 ds_z2.json。",
            f"{SPEED_KEY} does not go with ZeRO-3 or FSDP, which divide parameters; add {SPEED_KEY}=false, or use "
            "ds_z2.json.",
        )


def attention(settings: dict[str, Any], machine: Machine) -> Iterator[Finding]:
    """Lower ``flash_attn`` to SDPA where FlashAttention 2 can't run, and see that packing is told apart."""
    if settings.get("flash_attn") in ("fa2", "fa3"):
        old = next((card for card in machine.cards if card.capability < AMPERE), None)
        asked = settings["flash_attn"]
        if asked == "fa3" or old or "flash_attn" not in machine.packages or on(settings.get("use_cpu")):
            settings["flash_attn"] = "sdpa"
            card = old.name if old else ""
            yield warning(
                "sdpa",
                f"flash_attn: {asked} 在这里不能用（{card + ' 太旧' if card else '没有装 flash-attn'}），改用 "
                "PyTorch 自带的 "
                "SDPA：结果相同，稍慢。",
                f"flash_attn: {asked} can't run here ({card + ' is too old' if card else 'no flash-attn'}); PyTorch's "
                "SDPA is used: the same results, somewhat slower.",
            )
    if on(settings.get("packing")) and not on(settings.get("neat_packing")):
        yield warning(
            "packing",
            "packing 会让拼在一起的样本互相看见；请改用 neat_packing=true。",
            "packing lets the samples of a pack see each other; use neat_packing=true.",
        )


def resources(
    settings: Mapping[str, Any], counted: Mapping[str, list[Count]], machine: Machine, speed: bool
) -> Iterator[Finding]:
    """Compare the memory and the disk that the training takes with what is here."""
    model = str(settings["model_name_or_path"])
    keys = {**settings, SPEED_KEY: speed}
    if settings.get("deepspeed"):
        keys["deepspeed"] = str(place(str(settings["deepspeed"])))
    try:
        shape = shape_of(place(model) if place(model).is_dir() else model)
        adapter = _adapter_parameters(keys, shape)
    except InputError as found:
        yield Finding("warning", "not_estimated", found.message)
        return
    yield from disk(settings, adapter)
    if not machine.cards:
        return
    together = gpus(machine)
    longest = [one.total for one in counted.get("dataset", ())] or None
    targets = max((one.target for one in counted.get("dataset", ())), default=None)
    needed = estimate(keys, shape, longest, together, targets)
    card = min(machine.cards, key=lambda one: one.total)
    said = f"{needed.needed / GIB:.1f} GiB"
    if not needed.fits(card.total / GIB):
        ways = suggest(keys, shape, longest, card.total / GIB, together, targets)
        mend = " ".join(f"{key}={_spelt(value)}" for key, value in ways[0].overrides.items()) if ways else ""
        yield error(
            "memory",
            f"估算要 {said} 显存，{card.name} 只有 {card.total / GIB:.1f} GiB；"
            + (
                f"请加 {mend}（{ways[0].estimate.needed / GIB:.1f} GiB）。"
                if mend
                else "请换小一些的基座或多张显卡（ZeRO-3）。"
            ),
            f"About {said} of GPU memory is needed, {card.name} has {card.total / GIB:.1f} GiB; "
            + (
                f"add {mend} ({ways[0].estimate.needed / GIB:.1f} GiB)."
                if mend
                else "take a smaller base, or several cards (ZeRO-3)."
            ),
        )
        return
    yield info(
        "memory",
        f"估算要 {said} 显存，{card.name} 有 {card.total / GIB:.1f} GiB。",
        f"About {said} of GPU memory is needed, {card.name} has {card.total / GIB:.1f} GiB.",
    )
    free = min(one.free for one in machine.cards)
    if not needed.fits(free / GIB):
        yield error(
            "busy_card",
            f"显卡上只剩 {free / GIB:.1f} GiB，被别的程序占着；请先关掉它们（nvidia-smi 可查），或用 "
            "CUDA_VISIBLE_DEVICES 选一张空的。",
            f"Only {free / GIB:.1f} GiB of the card are free, other programs hold the rest; end them (nvidia-smi "
            "names them), or choose an idle card by CUDA_VISIBLE_DEVICES.",
        )


def _spelt(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _adapter_parameters(settings: Mapping[str, Any], shape: Shape) -> int:
    plan = plan_of(settings, shape, None, 1)
    return plan.rank * shape.layers * sum(sum(shape.projections[name]) for name in plan.adapted)


def disk(settings: Mapping[str, Any], adapter: int) -> Iterator[Finding]:
    """See that the checkpoints will find room: an adapter in fp32, two moments of AdamW, the tokenizer, each time.

    Args:
        settings: the training's.
        adapter: parameters of the adapter.
    """
    output = place(str(settings["output_dir"]))
    model = place(str(settings["model_name_or_path"]))
    tokenizer = sum(file.stat().st_size for file in model.glob("*.json") if "index" not in file.name)
    state = 0 if on(settings.get("save_only_model")) else 8 * adapter
    one = 4 * adapter + state + tokenizer
    # One more than the limit lies there while a new one is written, and the best one is kept beside the newest.
    limit = int(number(settings, "save_total_limit", 10))
    needed = one * (limit + 1) + 4 * adapter + tokenizer + _SPARE
    there = sum(checkpoints.size(folder) for folder in checkpoints.checkpoints(output)) if output.is_dir() else 0
    root = next(folder for folder in (output, *output.parents) if folder.exists())
    free = shutil.disk_usage(root).free
    if free < needed - there:
        yield error(
            "disk",
            f"{root} 所在的磁盘剩 {free / 1e9:.1f} GB，{limit + 1} 个 checkpoint（每个约 {one / 1e9:.2f} GB）放不下；"
            "请腾出空间，或调小 save_total_limit，或换一个 output_dir。",
            f"The disk of {root} has {free / 1e9:.1f} GB left, too little for {limit + 1} checkpoints of about "
            f"{one / 1e9:.2f} GB; make room, lower save_total_limit, or name another output_dir.",
        )
