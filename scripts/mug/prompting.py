"""How a data set's prompts were made, and so how a model that was trained on it must be asked.

preprocess_data.py writes it beside the data, train.py copies it into the training's folder, export_model.py into that
of the merged model::

    {"tokenizer": "/home/me/models/Qwen/Qwen2.5-7B", "max_input_tokens": 2400, "candidates": null, "es_target": "ids",
     "negative_ratio": 1.0, "seed": 42, "layout": "shared", "needs_tree": true}
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mug import tokens
from mug.errors import InputError
from mug.files import atomic_write
from mug.tasks import LAYOUTS
from mug.tasks.base import Options

FILE = "preprocess.json"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Prompting:
    """How meetings become prompts: one of `LAYOUTS`, and the options of its tasks."""

    layout: str = "separate"
    options: Options = field(default_factory=Options)


def of_data(folder: Path, tokenizer: str | Path | None = None) -> Prompting:
    """Return how the data in ``folder`` were made; the defaults where no file says so.

    Args:
        folder: where preprocess_data.py wrote them.
        tokenizer: the folder of one to count with in place of theirs.

    Raises:
        InputError: the file is damaged, or there is no tokenizer where it says.
    """
    return _prompting(folder / FILE, tokenizer)


def of_model(path: Path) -> Prompting:
    """Return how a model was trained to be asked; the defaults where its folder does not say so.

    On a machine that has no such tokenizer as the data were counted with, the model's own counts.

    Raises:
        InputError: the file is damaged, or no tokenizer is left to count with.
    """
    file = record(path)
    if file is None:
        return Prompting()
    _, counted, _ = _saved(file)
    is_gone = counted is not None and not os.path.isfile(Path(counted) / TOKENIZER)  # or it is another user's
    own = next((one for one in (path, file.parent) if (one / TOKENIZER).is_file()), None)
    if is_gone and own is None:
        raise InputError(
            f"没有 {file} 里写的分词器 {counted}，{path} 里也没有 {TOKENIZER}；请把基座的 {TOKENIZER} 复制到 {path}。",
            f"There is neither the tokenizer {counted} that {file} names nor a {TOKENIZER} in {path}; copy the base's "
            f"{TOKENIZER} into {path}.",
        )
    return _prompting(file, own if is_gone else None)


def of_engine(backend: str, model_path: Path | None) -> Prompting:
    """Return how the engine of a command line must be asked.

    Rules take any prompt and get the default ones, and so does a served model, unless ``model_path`` names its folder.

    Raises:
        InputError: as `of_model`, or a served model's folder is not there.
    """
    if backend == "baseline" or model_path is None:
        return Prompting()
    if backend == "api" and not model_path.is_dir():
        raise InputError(
            f"没有模型文件夹 {model_path}；--backend api 只从它读取提问方式（{FILE}），请改正路径，"
            "或去掉 --model_path。",
            f"There is no model folder {model_path}; --backend api reads only from it how to ask ({FILE}): mend the "
            "path, or leave --model_path out.",
        )
    return of_model(model_path)


def layout_of(path: Path) -> str | None:
    """Return the layout that the folder of data or of a model records, None where it records none.

    Raises:
        InputError: the file is damaged.
    """
    file = record(path)
    return _saved(file)[0].layout if file else None


def needs_tree(folder: Path) -> bool:
    """Say whether only ``mug_tree=true`` can train the data: several annotators answer a conversation's question.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / FILE
    return file.is_file() and _saved(file)[2]


def record(path: Path) -> Path | None:
    """Return the file that says how a folder's prompts were made, a checkpoint's in its training's folder, if any."""
    folder = path.resolve()
    folders = (folder, folder.parent) if folder.name.startswith("checkpoint-") else (folder,)
    return next((one / FILE for one in folders if (one / FILE).is_file()), None)


def carry(source: Path | None, target: Path) -> None:
    """Give a model's folder the record of what it was made of; where that has none, an older one is removed.

    Raises:
        OSError: the file can't be read or written.
    """
    file = record(source) if source else None
    if file is None:
        (target / FILE).unlink(missing_ok=True)
        return
    content = file.read_bytes()
    with atomic_write(target / FILE) as copy:
        copy.buffer.write(content)


def described(prompting: Prompting) -> dict[str, Any]:
    """Return what the prompts of a meeting without labels depend on, as JSON's own types."""
    options = prompting.options
    return {
        "layout": prompting.layout,
        "max_input_tokens": options.max_input_tokens,
        "es_target": options.es_target,
        "estimated": options.count is tokens.estimate,
    }


def _prompting(file: Path, tokenizer: str | Path | None) -> Prompting:
    found, own, _ = _saved(file) if file.exists() else (Prompting(), None, False)
    folder = tokenizer or own
    count = tokens.tokenizer_counter(folder) if folder else tokens.estimate
    return replace(found, options=replace(found.options, count=count))


def _saved(file: Path) -> tuple[Prompting, str | None, bool]:
    """Return what a file says, each value looked at: the prompts, the tokenizer to count with, `needs_tree`."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        tokenizer, layout = saved.pop("tokenizer"), saved.pop("layout", "separate")
        tree = saved.pop("needs_tree", False)
        options = Options(**saved)
        known = (
            (tokenizer is None or isinstance(tokenizer, str))
            and isinstance(tree, bool)
            and layout in LAYOUTS
            and options.count is tokens.estimate
            and type(options.max_input_tokens) is int
            and options.candidates in (None, "first", "all", "union")
            and options.es_target in ("ids", "text")
            and type(options.negative_ratio) in (int, float)
            and type(options.seed) is int
        )
        if not known:
            raise ValueError("a value that preprocess_data.py never writes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file} 已损坏（{error}）；请重新运行 scripts/preprocess_data.py，"
            "模型文件夹里的则从训练数据的目录重新复制。",
            f"{file} is damaged ({error}); run scripts/preprocess_data.py again, or copy it anew from the training "
            "data if it is a model's.",
        ) from None
    return Prompting(layout, options), tokenizer, tree
