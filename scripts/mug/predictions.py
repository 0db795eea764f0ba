r"""The file of answers that an evaluation writes while it runs, and goes on from when it was stopped.

JSON lines; the first names what the answers depend on, each further one holds an answer::

    {"fingerprint": {"engine": "transformers", "base": {…}, "adapter": {…}, "prompts": "5b1c…"}}
    {"index": 17, "id": "M0115/title/79", "raw": "做好网上宣传", "finish": "stop", "tokens": 5}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from mug.errors import InputError
from mug.files import write_text
from mug.generation.base import Completion, user_message
from mug.tasks.base import Sample

LONGEST_ANSWER = 50_000
"""Characters that an answer of a given file may have; 8,192 tokens of any language are fewer. Segmentation into words
takes time with the square of what no dictionary knows, so a file of megabytes in one answer would never end."""

_NAMES = {
    "prompts": "提示词",
    "engine": "生成方式",
    "base": "基座",
    "adapter": "适配器",
    "template": "模板",
    "system": "系统提示",
    "max_new_tokens": "答案长度上限",
    "dtype": "精度",
    "base_url": "接口地址",
    "model": "模型名",
    "version": "规则的版本",
}
"""What the parts of a fingerprint are called in Chinese."""

_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def prompts_digest(samples: Sequence[Sample]) -> str:
    """Return a digest of all prompts in order."""
    return _digests(samples)[-1]


def _digests(samples: Sequence[Sample]) -> list[str]:
    """Return the digests of the first 0, 1, 2, … prompts."""
    digest = hashlib.sha256()
    found = [digest.hexdigest()[:16]]
    for sample in samples:
        for turn in chain.from_iterable(sample.history):
            digest.update(turn.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(user_message(sample).encode("utf-8", "surrogatepass") + b"\0")
        found.append(digest.hexdigest()[:16])
    return found


def check_prompts(path: Path, samples: Sequence[Sample]) -> None:
    """See that the answers that are already there are to these prompts, before a model is loaded for the rest.

    Raises:
        InputError: they are to others, or the file is damaged.
    """
    found, done, _ = _read(path)
    if done and found.get("prompts") not in _digests(samples):
        raise _of_another_run(path, ["prompts"])


def read_done(path: Path, fingerprint: dict[str, Any], samples: Sequence[Sample]) -> dict[int, Completion]:
    """Return the answers that are already there, by index; a torn last line is cut off the file.

    A file of the first of these samples (``--num_samples``) becomes one of all. A file of another run without a single
    answer, as a server that was down leaves behind, is removed.

    Raises:
        InputError: the file holds the answers of another model, adapter, data or prompt.
    """
    found, done, lines = _read(path)
    expected = json.loads(json.dumps(fingerprint))
    if lines and found != expected:
        if not done:
            path.unlink()
            return {}
        names = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
        if names != ["prompts"] or found.get("prompts") not in _digests(samples):
            raise _of_another_run(path, names)
        head = json.dumps({"fingerprint": fingerprint}, ensure_ascii=False)
        write_text(path, "\n".join([head, *(line.decode("utf-8") for line in lines[1:])]) + "\n")
    return {index: completion for index, completion in done.items() if 0 <= index < len(samples)}


def _read(path: Path) -> tuple[dict[str, Any], dict[int, Completion], list[bytes]]:
    """Return a file's fingerprint, its answers by index, and its lines; nothing of a file that is not there."""
    lines = whole_lines(path)
    if not lines:
        return {}, {}, []
    try:
        rows = [json.loads(line) for line in lines]
        return dict(rows[0]["fingerprint"]), _by_index(rows), lines
    except _DAMAGE as error:
        raise InputError(
            f"答案文件 {path} 已损坏（{error}）；请删除它后重新运行。",
            f"The answers file {path} is damaged ({error}); delete it and run again.",
        ) from None


def _of_another_run(path: Path, names: Iterable[str]) -> InputError:
    names = sorted(names)
    return InputError(
        f"答案文件 {path} 来自另一次运行（不同之处：{'、'.join(_NAMES.get(name, name) for name in names)}）；"
        "请换 --output_path，或删除它后重新运行。",
        f"The answers file {path} is of another run (differing: {', '.join(names)}); take another --output_path, or "
        "delete it and run again.",
    )


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that grows by lines; a torn last one is cut off it, so that none is joined to it."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return whole.split(b"\n")[:-1]


def _by_index(rows: list[dict[str, Any]]) -> dict[int, Completion]:
    return {_kind(row["index"], int): _completion(row) for row in rows[1:]}


def _completion(row: dict[str, Any]) -> Completion:
    return Completion(_kind(row["raw"], str), _kind(row["finish"], str), _kind(row["tokens"], int))


def _kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:40]!r} in place of {kind.__name__}")
    return value


def read_given(path: Path, samples: Sequence[Sample]) -> list[Completion]:
    """Return the answers of a finished file, in the samples' order: ours, or LLaMA-Factory's.

    Ours are joined by index after the prompts were compared. Those of LLaMA-Factory's generated_predictions.jsonl
    (``{"prompt", "predict", "label"}`` a line) can be joined by order only, so their number and their labels must be
    those of the samples.

    Raises:
        InputError: the file can't be read, is neither of the two, or is not of these samples.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except OSError as error:
        raise InputError(
            f"打不开预测文件 {path}（{error.strerror}）；请检查路径。",
            f"Can't open the predictions file {path} ({error.strerror}); check the path.",
        ) from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError too
        raise InputError(
            f"{path} 不是完整的 UTF-8 JSONL（{error}）；请重新生成。",
            f"{path} is no complete UTF-8 JSONL ({error}); make it again.",
        ) from None
    if rows and isinstance(rows[0], dict) and "fingerprint" in rows[0]:
        return _of_some_length(path, _ours(path, rows, samples))
    if rows and all(isinstance(row, dict) and {"predict", "label"} <= row.keys() for row in rows):
        return _of_some_length(path, _llamafactorys(path, rows, samples))
    raise InputError(
        f"{path} 既不是 evaluate.py 的答案文件，也不是 LLaMA-Factory 的 generated_predictions.jsonl；"
        "提交格式的文件请用 scripts/score_submission.py 评分。",
        f"{path} is neither an answers file of evaluate.py nor LLaMA-Factory's generated_predictions.jsonl; score a "
        "submission file by scripts/score_submission.py.",
    )


def _of_some_length(path: Path, completions: list[Completion]) -> list[Completion]:
    for number, completion in enumerate(completions, 1):
        if len(completion.text) > LONGEST_ANSWER:
            raise InputError(
                f"{path} 第 {number} 个答案有 {len(completion.text)} 个字符，超过 {LONGEST_ANSWER}，"
                "不会是模型的答案；请检查文件。",
                f"Answer {number} of {path} has {len(completion.text)} characters, more than {LONGEST_ANSWER}; no "
                "model says so much. Check the file.",
            )
    return completions


def _ours(path: Path, rows: list[dict[str, Any]], samples: Sequence[Sample]) -> list[Completion]:
    try:
        prompts = rows[0]["fingerprint"].get("prompts")
        done = _by_index(rows)
    except _DAMAGE as error:
        raise InputError(
            f"答案文件 {path} 已损坏（{error}）；请重新评测。",
            f"The answers file {path} is damaged ({error}); evaluate again.",
        ) from None
    if prompts != prompts_digest(samples):
        raise InputError(
            f"{path} 的答案来自另一份数据或另一种提示词；请用生成它的 --data_path。",
            f"The answers in {path} are of other data or prompts; give the --data_path that they were made of.",
        )
    missing = [sample.id for index, sample in enumerate(samples) if index not in done]
    if missing:
        raise InputError(
            f"{path} 缺少 {len(missing)} 个样本的答案（如 {missing[0]}）；请先把那次评测跑完。",
            f"{path} lacks the answers to {len(missing)} samples (such as {missing[0]}); finish that "
            "evaluation first.",
        )
    return [done[index] for index in range(len(samples))]


def _llamafactorys(path: Path, rows: list[dict[str, Any]], samples: Sequence[Sample]) -> list[Completion]:
    if len(rows) != len(samples):
        raise InputError(
            f"{path} 有 {len(rows)} 行，数据有 {len(samples)} 个样本，无法按次序对应；请用预测时的数据文件。",
            f"{path} has {len(rows)} rows and the data {len(samples)} samples, so they can't be joined by order; give "
            "the data file that was predicted on.",
        )
    for number, (row, sample) in enumerate(zip(rows, samples, strict=True), 1):
        # predict cuts labels at cutoff_len, maybe between the bytes of a character; so the beginning is compared.
        label = str(row["label"]).strip().rstrip("\ufffd")
        if not sample.output.strip().startswith(label):
            raise InputError(
                f"{path} 第 {number} 行的 label 是 {label[:20]!r}，数据中是 {sample.output[:20]!r}，次序不符；"
                "请用预测时的数据文件。",
                f"{path} line {number} has the label {label[:20]!r}, the data have {sample.output[:20]!r}; give the "
                "data file that was predicted on.",
            )
    return [Completion(str(row["predict"] or "")) for row in rows]


@contextmanager
def append(path: Path, fingerprint: dict[str, Any]) -> Iterator[Appender]:
    """Open the file for further answers; a new file gets the fingerprint first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        appender = Appender(file)
        if file.tell() == 0:
            appender.write({"fingerprint": fingerprint})
        yield appender


class Appender:
    """Writes one JSON line at a time, each brought to the disk, so that a kill loses at most the line under way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def answer(self, index: int, sample: Sample, completion: Completion) -> None:
        """Append one answer."""
        self.write(
            {
                "index": index,
                "id": sample.id,
                "raw": completion.text,
                "finish": completion.finish,
                "tokens": completion.tokens,
            }
        )

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; half characters in a model's answer are escaped, not refused."""
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
