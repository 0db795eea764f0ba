"""The engine that a command line names: the options that every script with a model shares, and the loading."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mug.errors import InputError, Message
from mug.generation.base import Engine
from mug.generation.model_folder import ModelFolder, resolve

BACKENDS = ["transformers", "vllm", "api", "baseline"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose and set an engine."""
    parser.add_argument("--model_path", type=Path, help="适配器、合并后的模型或训练目录 / model folder")
    parser.add_argument("--base_model", help="适配器的基座，默认取训练时的 / base of an adapter (default: as trained)")
    parser.add_argument("--backend", choices=BACKENDS, default="transformers")
    parser.add_argument("--api_base", help="OpenAI 兼容接口的地址 / address of an OpenAI-compatible API")
    parser.add_argument("--api_model", default="default", help="接口里的模型名 / the model's name there")
    parser.add_argument("--max_new_tokens", type=int, default=256)
    parser.add_argument(
        "--batch_tokens", type=int, default=0, help="每批 token 数，默认自动 / tokens a batch (default: auto)"
    )
    parser.add_argument(
        "--quantization_bit", type=int, choices=[4], help="以 4 位载入基座，显存小时用 / load the base in 4 bits"
    )
    parser.add_argument("--template", default="qwen", help="LLaMA-Factory 的模板名 / LLaMA-Factory's template name")


def choose(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line of a script that also works without a model: ``baseline`` where none is named.

    What an engine can't do without is an error of the parser.
    """
    parser.set_defaults(backend=None)
    args = parser.parse_args()
    args.backend = args.backend or ("transformers" if args.model_path else "api" if args.api_base else "baseline")
    if args.backend in ("transformers", "vllm") and not args.model_path:
        parser.error(f"--backend {args.backend} 需要 --model_path / needs --model_path")
    if args.backend == "api" and not args.api_base:
        parser.error("--backend api 需要 --api_base / needs --api_base")
    return args


def target_of(args: argparse.Namespace) -> str:
    """Return what is asked: the model's folder, or the server's address."""
    return args.api_base if args.backend == "api" else str(args.model_path)


def load(args: argparse.Namespace, backend: str, target: str) -> tuple[Engine, dict[str, Any]]:
    """Return an engine, and the settings that name it; imports wait until the data are known to be good.

    ``target`` is the model's folder, or for the backend ``api`` the server's address.

    Raises:
        InputError: the folder holds no complete model, the server can't be asked, or an option is out of range.
    """
    if args.max_new_tokens < 1:
        raise InputError(
            f"--max_new_tokens 是 {args.max_new_tokens}；请改为正整数。",
            f"--max_new_tokens is {args.max_new_tokens}; give a positive number.",
        )
    if args.quantization_bit and backend != "transformers":
        raise InputError(
            f"--quantization_bit 只用于 --backend transformers，不用于 {backend}；请去掉其中一个。",
            f"--quantization_bit is for --backend transformers, not for {backend}; leave one out.",
        )
    if backend == "baseline":
        from mug.generation.baseline import BaselineEngine

        return BaselineEngine(), {"engine": "baseline"}
    if backend == "api":
        from mug.generation.api_engine import ApiEngine

        served = ApiEngine(target, args.api_model, max_new_tokens=args.max_new_tokens)
        return served, {"engine": "api", "api_base": target, "api_model": args.api_model}
    folder = resolve(Path(target), args.base_model)
    tell(args.lang, folder)
    settings = {
        "engine": backend,
        "model_path": target,
        "base_model": folder.base,
        "adapter": str(folder.adapter) if folder.adapter else None,
        "smoke": "smoke" in folder.base or "smoke" in target,
        "template": args.template,
    }
    if backend == "vllm":
        from mug.generation.vllm_engine import VllmEngine

        return VllmEngine(folder, template=args.template, max_new_tokens=args.max_new_tokens), settings
    from mug.generation.transformers_engine import TransformersEngine

    engine = TransformersEngine(
        folder,
        template=args.template,
        max_new_tokens=args.max_new_tokens,
        batch_tokens=args.batch_tokens,
        quantization_bit=args.quantization_bit,
    )
    return engine, settings | {"quantization_bit": args.quantization_bit}


def tell(lang: str, folder: ModelFolder) -> None:
    """Say what will be loaded."""
    if folder.adapter is None:
        print(Message(f"模型：{folder.base}", f"Model: {folder.base}").say(lang))
        return
    zh, en = f"基座：{folder.base}；适配器：{folder.adapter}", f"Base: {folder.base}; adapter: {folder.adapter}"
    print(Message(zh, en).say(lang))
    for remark in folder.remarks:
        print(remark.say(lang), file=sys.stderr)
    if folder.checkpoints:
        names = "、".join(folder.checkpoints)
        zh, en = f"可用的 checkpoint：{names}；取最新的一个", f"Usable checkpoints: {names}; the newest is taken"
        print(Message(zh, en).say(lang))
