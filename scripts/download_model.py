"""Download the base model, and write its path into the configurations.

    python scripts/download_model.py --set_config
    python scripts/download_model.py --model_id Qwen/Qwen2.5-3B --source huggingface --cache_dir /data/models

The model comes to CACHE_DIR/OWNER/NAME (by default models/Qwen/Qwen2.5-7B in the project's folder), as plain files.
Run again after a break: what is there whole is kept. The free disk is checked before, files and sizes after.
Tokens come from the environment only: MODELSCOPE_API_TOKEN, HF_TOKEN; mirrors too: MODELSCOPE_ENDPOINT, HF_ENDPOINT.

Exit status: 0 done; 2 wrong arguments, no such model, no network, too little disk; 1 failed on the way.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from mug import command
from mug.download.hubs import (
    DownloadError,
    Hub,
    HuggingFace,
    ModelScope,
    bytes_missing,
    check_disk,
    check_names,
    check_reachable,
    faults,
    gigabytes,
    hide_tokens,
    without_pickles,
)
from mug.errors import InputError, Message
from mug.files import write_text

ROOT = Path(__file__).resolve().parent.parent
# A value that is "folder/name" in one of these is a path of the project, not a hub's "owner/name".
PROJECT_FOLDERS = ("configs", "data", "dataset", "models", "outputs")
# The key at the left edge, its value (quoted or plain), and a comment behind it; the line's end is not touched.
MODEL_LINE = re.compile(
    r"""^(model_name_or_path[ \t]*:[ \t]*)("(?:[^"\\\r\n]|\\.)*"|'(?:[^'\r\n]|'')*'|[^\r\n]*?)"""
    r"""((?<=[ \t])\#[^\r\n]*|[ \t]+\#[^\r\n]*|[ \t]*)(?=\r?\n|\r?\Z)""",
    re.MULTILINE,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="下载基座模型 / download the base model")
    parser.add_argument(
        "--model_id", default="Qwen/Qwen2.5-7B", help="模型编号 / the hub's OWNER/NAME (default: %(default)s)"
    )
    parser.add_argument(
        "--source",
        choices=("modelscope", "huggingface"),
        default="modelscope",
        help="来源 / the hub (default: %(default)s)",
    )
    parser.add_argument(
        "--cache_dir", type=Path, default=ROOT / "models", help="存放位置 / where models are kept (default: models/)"
    )
    parser.add_argument("--revision", help="分支、标签或提交 / branch, tag or commit (default: the hub's)")
    parser.add_argument(
        "--set_config",
        nargs="*",
        type=Path,
        metavar="YAML",
        help="把本地路径写进这些 YAML 的 model_name_or_path；不列文件则写 configs/ 里使用模型库编号的各个文件"
        " / write the path into these files; without names, into those of configs/ that name a hub's model",
    )
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="提示语言 / language of the messages")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and turn what went wrong into one sentence and an exit status."""
    args = parse_args(argv)
    try:
        run(args)
    except (InputError, DownloadError) as error:
        print(hide_tokens(error.message.say(args.lang)), file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        stopped = Message("已停止；再运行同一条命令即可接着下载。", "Stopped; run the same command again to go on.")
        print(stopped.say(args.lang), file=sys.stderr)
        return 1
    except OSError as error:
        place = error.filename or args.cache_dir
        failed = Message(
            f"写不了 {place}（{error.strerror}）；请检查权限与磁盘。",
            f"Can't write {place} ({error.strerror}); check permissions and disk.",
        )
        print(failed.say(args.lang), file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Download, check, write the configurations, and say which command comes next."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", args.model_id) or ".." in args.model_id:
        raise InputError(
            f"--model_id {args.model_id!r} 不是“所有者/名称”的形式；例如 Qwen/Qwen2.5-7B。",
            f"--model_id {args.model_id!r} is not of the form OWNER/NAME; for example Qwen/Qwen2.5-7B.",
        )
    cache_dir = args.cache_dir.expanduser().resolve()
    folder = cache_dir / args.model_id
    # The files named for --set_config are looked at first: 15 GB are a long way to a misspelt name.
    configs = None if args.set_config is None else named_configs(args.set_config)

    hub: Hub = ModelScope() if args.source == "modelscope" else HuggingFace()
    check_reachable(hub.name, hub.endpoint)
    download(hub, args.model_id, args.revision, folder, args.lang)

    print(Message(f"模型在 {folder}", f"The model is in {folder}").say(args.lang))
    if configs is not None:
        set_configs(configs or default_configs(args.model_id, cache_dir), path_for_config(folder), args.lang)
    else:
        hint = Message(
            "要让 configs/ 里的各个配置使用它，请加上 --set_config 再运行一次（不会重新下载）。",
            "To make the files of configs/ use it, run again with --set_config (nothing is downloaded twice).",
        )
        print(hint.say(args.lang))
    print(Message("下一步：", "Next: ").say(args.lang) + "python scripts/download_data.py")


def download(hub: Hub, model_id: str, revision: str | None, folder: Path, lang: str) -> None:
    """Bring the model's files into ``folder``.

    Raises:
        InputError: no such model, no network, too little disk.
        DownloadError: the transfer broke off, or what arrived is not what the hub lists.
    """
    listed = hub.files(model_id, revision)
    check_names(listed)
    files, left_out = without_pickles(listed)
    if not any(file.path.endswith((".safetensors", ".bin", ".pt", ".pth")) for file in files):
        raise InputError(
            f"{hub.name} 上的 {model_id} 里没有权重文件；请检查 --model_id。",
            f"{model_id} on {hub.name} holds no weights; check --model_id.",
        )
    if any(file.path.endswith((".bin", ".pt", ".pth")) for file in files):
        warning = Message(
            "注意：该模型只有 pickle 格式的权重，加载它会执行文件里的代码，请确认来源可信。",
            "Note: this model has pickled weights only; loading them runs code of theirs, so be sure of the source.",
        )
        print(warning.say(lang), file=sys.stderr)
    missing = bytes_missing(folder, files)
    check_disk(folder, missing)
    total = gigabytes(sum(file.size for file in files))
    plan = Message(
        f"{model_id}（{hub.name}）：{len(files)} 个文件，共 {total}，还需下载 {gigabytes(missing)}",
        f"{model_id} ({hub.name}): {len(files)} files, {total}, {gigabytes(missing)} still to come",
    )
    print(plan.say(lang), flush=True)
    if left_out:
        skipped = Message(
            f"不下载 pickle 权重：{'、'.join(file.path for file in left_out)}（已有 safetensors）",
            f"Not downloaded, since safetensors are there: {', '.join(file.path for file in left_out)}",
        )
        print(skipped.say(lang), flush=True)
    # Asked even when nothing is missing: the SDK knows by hash a file of another revision that has the same size.
    hub.fetch(model_id, revision, files, folder)
    if found := faults(folder, files):
        raise DownloadError(
            f"下载后核对不符：{'；'.join(fault.zh for fault in found[:5])}（共 {len(found)} 处，在 {folder}）；"
            "请再运行一次，仍不符请换 --source。",
            f"What arrived is not what the hub lists: {'; '.join(fault.en for fault in found[:5])} ({len(found)} in "
            f"all, in {folder}); run again, and if it stays so use the other --source.",
        )
    checked = Message(f"已核对 {len(files)} 个文件的大小", f"Sizes of {len(files)} files checked")
    print(checked.say(lang))


def path_for_config(folder: Path) -> str:
    """Write a path inside the project relative to it, where llamafactory-cli is run; any other as it is."""
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.as_posix()


def named_configs(paths: Sequence[Path]) -> list[Path]:
    """Check the files that the user named.

    Raises:
        InputError: a file that is not there, or has no line for the model.
    """
    for path in paths:
        if model_of(path) is None:
            raise InputError(
                f"{path} 里没有 model_name_or_path 一行；请检查 --set_config 的文件名。",
                f"{path} has no line model_name_or_path; check the names after --set_config.",
            )
    return list(paths)


def default_configs(model_id: str, cache_dir: Path) -> list[Path]:
    """Find the files of configs/ that name a hub's model or one that this script brought; the smoke test's stay."""
    owner_and_name = tuple(model_id.split("/"))
    found = []
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        model = model_of(path)
        if model is None or "smoke" in path.name:
            continue
        parts = Path(model).parts
        is_hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", model) and parts[0] not in (*PROJECT_FOLDERS, ".", "..")
        is_download = parts[-2:] == owner_and_name or (ROOT / model).resolve().parent.parent == cache_dir
        if is_hub_id or is_download:
            found.append(path)
    return found


def model_of(path: Path) -> str | None:
    """Return the value of ``model_name_or_path``, None without such a line.

    Raises:
        InputError: the file can't be read.
    """
    match = MODEL_LINE.search(read_exactly(path))
    return None if match is None else str(yaml.safe_load(match[2]) or "")


def set_configs(paths: Sequence[Path], model: str, lang: str) -> None:
    """Write ``model`` into the files and say which ones."""
    for path in paths:
        text = read_exactly(path)
        changed = with_model(text, model)
        if changed != text:
            write_text(path.resolve(), changed)
        shown = path.resolve().relative_to(ROOT) if path.resolve().is_relative_to(ROOT) else path
        print(f"{shown}: model_name_or_path: {model}")
    if not paths:
        nothing = Message("configs/ 里没有需要改的文件。", "No file of configs/ names a hub's model.")
        print(nothing.say(lang))


def with_model(text: str, model: str) -> str:
    r"""Replace the value of ``model_name_or_path``; every other byte stays.

    >>> with_model("model_name_or_path: Qwen/Qwen2.5-7B  # the base\nrank: 64\n", "models/Qwen/Qwen2.5-7B")
    'model_name_or_path: models/Qwen/Qwen2.5-7B  # the base\nrank: 64\n'
    """
    plain = re.fullmatch(r"[\w./][\w./ -]*", model) and yaml.safe_load(model) == model
    value = model if plain else "'" + model.replace("'", "''") + "'"

    def line(match: re.Match[str]) -> str:
        key = match[1] if match[1].endswith((" ", "\t")) else match[1] + " "
        comment = " " + match[3] if match[3].startswith("#") else match[3]
        return key + value + comment

    return MODEL_LINE.sub(line, text)


def read_exactly(path: Path) -> str:
    """Read a YAML file with its line ends as they are.

    Raises:
        InputError: the file can't be opened, or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        raise InputError(
            f"打不开 {path}（{error.strerror}）；请检查 --set_config 的文件名。",
            f"Can't open {path} ({error.strerror}); check the names after --set_config.",
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path} 不是 UTF-8；请另存为 UTF-8。", f"{path} is not UTF-8; save it as UTF-8.") from None


if __name__ == "__main__":
    command.run(main)
