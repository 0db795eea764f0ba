"""Merge the adapter into the base, and give the result the stop tokens and the system prompt that it was tuned with.

    python scripts/export_model.py
    python scripts/export_model.py configs/merge.yaml export_dir=outputs/merged
    python scripts/export_model.py --skip_export        # after a plain `llamafactory-cli export configs/merge.yaml`

`llamafactory-cli export` copies two things from the base that no longer fit a tuned model, and has no key for them:

- generation_config.json stops only at <|endoftext|>, but a tuned answer ends with <|im_end|>, so that
  `model.generate` runs on past the answer;
- the chat template's own system prompt, "You are a helpful assistant.", but training used `default_system`.

Both are set here, and the Modelfile for Ollama gets the second stop token and greedy decoding; running it again
changes nothing. The preprocess.json of the training, which says how the model must be asked, goes along.

What LLaMA-Factory would only find after a minute of loading, and say in stack traces, is looked for before it starts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mug import command, prompting
from mug.errors import InputError, Message
from mug.files import check_overlap, write_json, write_text
from mug.training import merging
from mug.training.settings import names

ROOT = Path(__file__).resolve().parent.parent
BASE_SYSTEM = "You are a helpful assistant."  # in the chat template of the Qwen2.5 base models
READ = ("model_name_or_path", "adapter_name_or_path")
OLLAMA = ('PARAMETER stop "<|endoftext|>"', "PARAMETER temperature 0", "PARAMETER repeat_penalty 1")

DONE = Message(
    "已写入合并后的模型 {folder}：遇到 {stops} 停止，对话模板的系统提示与训练时相同。\n"
    "下一步：python scripts/evaluate.py --model_path {folder} --data_path data/dev_alpaca.json "
    "--gold dataset/dev.csv --output_path outputs/eval_results.json",
    "Wrote the merged model {folder}: it stops at {stops}, and its chat template has the system prompt of training.\n"
    "Next: python scripts/evaluate.py --model_path {folder} --data_path data/dev_alpaca.json "
    "--gold dataset/dev.csv --output_path outputs/eval_results.json",
)


def main() -> int:
    """Run the command line and return its exit status."""
    args = parse_arguments()
    try:
        config = read_config(args.config, args.overrides)
        folder = Path(config["export_dir"])
        if not args.skip_export:
            merging.check(config)
            export = [sys.executable, "-m", "llamafactory.cli", "export", str(args.config), *args.overrides]
            if subprocess.run(export).returncode != 0:
                zh, en = "llamafactory-cli export 失败，原因见上。", "llamafactory-cli export failed, see above."
                print(Message(zh, en).say(args.lang), file=sys.stderr)
                return 1
        stops = set_stop_tokens(folder)
        set_system_prompt(folder, config["default_system"])
        set_ollama_parameters(folder)
        named = any(change.partition("=")[0] in READ for change in args.overrides)
        # A model that is merged already may be of another adapter than the YAML's, and has the record of its own.
        if not args.skip_export or named or not (folder / prompting.FILE).is_file():
            carry_record(config, folder)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except OSError as error:
        print(Message(f"写不了模型：{error}", f"Can't write the model: {error}").say(args.lang), file=sys.stderr)
        return 1
    print(DONE.say(args.lang).format(folder=folder, stops=" ".join(stops)))
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=ROOT / "configs" / "merge.yaml", help="the YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="what llamafactory-cli export also takes")
    parser.add_argument("--skip_export", action="store_true", help="the model is merged already: only finish it")
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="language of the messages")
    args = parser.parse_intermixed_args()
    if "=" in str(args.config):  # only overrides were given
        args.overrides.insert(0, str(args.config))
        args.config = parser.get_default("config")
    return args


def read_config(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Return the YAML's keys with the overrides, read as LLaMA-Factory reads them.

    Raises:
        InputError: there is no such file, ``export_dir`` or ``default_system`` is not set, or ``export_dir`` is the
            folder of the base or the adapter, which would be lost.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not path.is_file():
        raise InputError(
            f"没有配置文件 {path}；请检查路径。", f"There is no configuration file {path}; check the path."
        )
    try:
        config = dict(OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_cli(overrides)))
    except (OSError, ValueError, TypeError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        mark = getattr(error, "problem_mark", None)  # of a YAML error: it lies in the file, or in a value
        if mark and mark.name == os.path.abspath(path):
            raise InputError(
                f"{path} 第 {mark.line + 1} 行不是正确的 YAML（{error.problem}）；请改正后重试。",
                f"{path} line {mark.line + 1} is no YAML ({error.problem}); mend it and try again.",
            ) from None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"读不了配置 {path} 或命令行上的 key=value（{reason}）；请改正后重试。",
            f"Can't read the configuration {path} or the key=value on the command line ({reason}); mend it and try "
            "again.",
        ) from None
    for key in ("export_dir", "default_system"):
        if not isinstance(config.get(key), str) or not config[key]:
            raise InputError(
                f"{path} 没有设置 {key}；请在文件里或命令行上写 {key}=…。",
                f"{path} does not set {key}; write {key}=… in the file or on the command line.",
            )
    read = [str(config.get("model_name_or_path")), *names(config.get("adapter_name_or_path"))]
    check_overlap([config["export_dir"]], read)
    return config


def set_stop_tokens(folder: Path) -> list[str]:
    """Let generation_config.json stop at the tokenizer's end token and wherever the base stopped; return the tokens.

    Raises:
        InputError: ``folder`` holds no exported model, or a damaged one.
    """
    file = folder / "generation_config.json"
    try:
        settings = json.loads(file.read_text("utf-8"))
        tokenizer_settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        added_tokens = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
        ids = {token["content"]: token["id"] for token in added_tokens}
        before = settings.get("eos_token_id")
        before = before if isinstance(before, list) else [before]
        # The order of the Qwen2.5-Instruct models: the end of an answer, then the end of a document.
        end_of_answer = ids[tokenizer_settings["eos_token"]]
        stops = [end_of_answer, *(stop for stop in before if stop not in (None, end_of_answer))]
        settings["eos_token_id"] = stops
        settings["pad_token_id"] = ids[tokenizer_settings["pad_token"]]
    except OSError as error:
        raise InputError(
            f"{folder} 里没有导出的模型（缺 {Path(error.filename).name}）；"
            "请先运行 llamafactory-cli export configs/merge.yaml。",
            f"{folder} holds no exported model (no {Path(error.filename).name}); "
            "run llamafactory-cli export configs/merge.yaml first.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{folder} 里的分词器或生成配置已损坏（{error!r}）；请重新导出。",
            f"The tokenizer or the generation settings in {folder} are damaged ({error!r}); export again.",
        ) from None
    write_json(file, settings)
    return [next((content for content, number in ids.items() if number == stop), str(stop)) for stop in stops]


def carry_record(config: dict[str, Any], folder: Path) -> None:
    """Copy the record of how the model was trained to be asked; of several adapters the last was trained last."""
    trained = str(config.get("adapter_name_or_path") or config.get("model_name_or_path")).split(",")[-1].strip()
    if os.path.isdir(trained):  # else it was moved since, or is a hub's
        prompting.carry(Path(trained), folder)


def set_ollama_parameters(folder: Path) -> None:
    """Let the Modelfile stop and decode as evaluation does; Ollama's own defaults sample and penalise repetition."""
    file = folder / "Modelfile"
    text = file.read_text("utf-8") if file.is_file() else ""
    missing = [line for line in OLLAMA if line not in text.splitlines()]
    if text and missing:
        write_text(file, text.rstrip("\n") + "\n" + "\n".join(missing) + "\n")


def set_system_prompt(folder: Path, system: str) -> None:
    """Put ``system`` into the chat template: in place of the base's own, or, where it has none (Qwen3), before it.

    Raises:
        InputError: there is no chat template, or it is not of Qwen's form and its system prompt is another.
    """
    file = folder / "chat_template.jinja"
    template = file.read_text("utf-8") if file.is_file() else ""
    literal = system.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    if literal in template:
        return
    if BASE_SYSTEM in template:
        write_text(file, template.replace(BASE_SYSTEM, literal))
    elif "<|im_start|>" in template and "You are" not in template:
        turn = f"{{{{- '<|im_start|>system\\n{literal}<|im_end|>\\n' }}}}"
        write_text(file, f"{{%- if not tools and messages[0].role != 'system' %}}{turn}{{%- endif %}}{template}")
    else:
        raise InputError(
            f"{file} 里找不到系统提示“{BASE_SYSTEM}”，无法换成训练时的；请手工修改，或在每次请求里写明系统提示。",
            f'{file} does not hold the system prompt "{BASE_SYSTEM}", so it can\'t be replaced by that of training; '
            "edit it, or send the system prompt with every request.",
        )


if __name__ == "__main__":
    command.run(main)
