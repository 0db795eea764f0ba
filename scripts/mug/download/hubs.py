"""A model hub's files -> a folder, with the checks before and after; the SDKs do the transfer.

A `Hub` lists files with their sizes and fetches them. The list is taken once, and everything else is measured
against it: the disk before, every file after.

>>> wanted, left_out = without_pickles([RemoteFile("model.safetensors", 10), RemoteFile("pytorch_model.bin", 10)])
>>> [file.path for file in wanted], [file.path for file in left_out]
(['model.safetensors'], ['pytorch_model.bin'])
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote, quote_plus

from mug.errors import InputError, Message

TOKEN_VARIABLES = ("MODELSCOPE_API_TOKEN", "MODELSCOPE_SDK_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s?#]*@", re.IGNORECASE)  # up to the last @, which a password may hold
_QUERY = re.compile(r"(https?://[^\s?#]+)\?\S+", re.IGNORECASE)
# torch.load runs code that such a file carries; safetensors holds numbers only.
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What the system, the SDK's records and the logs need beside the model.
SPARE_BYTES = 512 * 1024**2


class DownloadError(Exception):
    """The download broke on the way; scripts print ``error.message.say(lang)`` and leave with exit status 1."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(zh)
        self.message = Message(zh, en)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the hub's list: path in the repository, size in bytes, SHA-256 where the hub names one."""

    path: str
    size: int
    sha256: str | None = None


class Hub(Protocol):
    """Where a model comes from."""

    name: str
    endpoint: str

    def files(self, model_id: str, revision: str | None) -> list[RemoteFile]:
        """List the files of a model.

        Raises:
            InputError: no such model or revision, no access to it, or the hub does not answer.
        """
        ...

    def fetch(self, model_id: str, revision: str | None, files: Sequence[RemoteFile], folder: Path) -> None:
        """Bring ``files`` into ``folder``; files that are there whole are kept.

        Raises:
            DownloadError: the transfer broke; what came so far is kept.
        """
        ...


class ModelScope:
    """modelscope.cn, or what MODELSCOPE_ENDPOINT names; a broken file goes on at the byte where it broke."""

    name = "modelscope"

    def __init__(self) -> None:
        # The SDK gives each file one hour in all; a 4 GB shard on a 1 MB/s line takes longer. A line that really
        # stands still is still noticed, by the SDK's lowest speed.
        os.environ.setdefault("MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT", "86400")
        from modelscope_hub import HubApi
        from modelscope_hub.config import get_default_config

        self._api = HubApi()
        self.endpoint = str(get_default_config().endpoint)

    def files(self, model_id: str, revision: str | None) -> list[RemoteFile]:
        """List the files, as `Hub.files` says."""
        from modelscope_hub.errors import APIError, HubError, NetworkError, ServerError

        try:
            found = self._api.list_repo_files(model_id, "model", revision=revision)
        except (NetworkError, ServerError) as error:
            raise no_network(self.name, self.endpoint, error) from None
        except APIError as error:
            raise _refused(self.name, self.endpoint, model_id, revision, error.status_code, error) from None
        except HubError as error:
            raise _refused(self.name, self.endpoint, model_id, revision, None, error) from None
        return [RemoteFile(file.path, file.size, file.sha256) for file in found if not file.is_dir]

    def fetch(self, model_id: str, revision: str | None, files: Sequence[RemoteFile], folder: Path) -> None:
        """Bring the files, as `Hub.fetch` says."""
        from modelscope_hub.errors import HubError

        listed = [{"Path": file.path, "Size": file.size, "Sha256": file.sha256, "Type": "blob"} for file in files]
        try:
            self._api.download_repo(model_id, "model", revision=revision, local_dir=folder, file_list=listed)
        except (HubError, OSError) as error:
            raise _broke_off(error) from None


class HuggingFace:
    """huggingface.co, or the mirror that HF_ENDPOINT names.

    Within a run a cut connection goes on where it broke. After a killed run whole files are kept and the file in
    hand starts again: this SDK gives each process a partial file of its own.
    """

    name = "huggingface"

    def __init__(self) -> None:
        from huggingface_hub import HfApi, constants

        self.endpoint = constants.ENDPOINT
        self._api = HfApi(endpoint=self.endpoint)

    def files(self, model_id: str, revision: str | None) -> list[RemoteFile]:
        """List the files, as `Hub.files` says."""
        import httpx
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            info = self._api.model_info(model_id, revision=revision, files_metadata=True, timeout=30)
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else None
            if status is not None and status >= 500:
                raise no_network(self.name, self.endpoint, error) from None
            raise _refused(self.name, self.endpoint, model_id, revision, status, error) from None
        except HFValidationError as error:
            raise _refused(self.name, self.endpoint, model_id, revision, None, error) from None
        except (
            httpx.TransportError,
            OSError,
        ) as error:  # OSError: also what requests raises under releases before 1.0
            raise no_network(self.name, self.endpoint, error) from None
        return [
            RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
            for file in info.siblings or []
        ]

    def fetch(self, model_id: str, revision: str | None, files: Sequence[RemoteFile], folder: Path) -> None:
        """Bring the files, as `Hub.fetch` says."""
        import httpx
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(
                model_id,
                revision=revision,
                local_dir=folder,
                allow_patterns=[_literal(file.path) for file in files],
                endpoint=self.endpoint,
            )
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise _broke_off(error) from None
        # Whole files have left these partial ones; what remains is of runs that were killed.
        for orphan in (folder / ".cache" / "huggingface" / "download").rglob("*.incomplete"):
            orphan.unlink(missing_ok=True)


def check_reachable(name: str, url: str, instead: Message | None = None) -> None:
    """Ask the host once, and once more; the SDKs themselves would try for minutes before they give up.

    Args:
        name: the hub's name.
        url: what is asked; any answer will do.
        instead: what else the user can do; another ``--source``, when not given.

    Raises:
        InputError: nothing answers.
    """
    import requests

    error: Exception | None = None
    for _ in range(2):
        try:
            requests.head(url, timeout=(5, 10), allow_redirects=False).close()
            return
        except requests.RequestException as failure:
            error = failure
    raise no_network(name, url, error, instead)


def no_network(name: str, url: str, error: Exception | None, instead: Message | None = None) -> InputError:
    """Make the one sentence for a hub that can't be reached."""
    other = "huggingface" if name == "modelscope" else "modelscope"
    mirror = "MODELSCOPE_ENDPOINT" if name == "modelscope" else "HF_ENDPOINT"
    instead = instead or Message(f"换 --source {other}", f"use --source {other}")
    what = type(error).__name__
    url = hide_tokens(url)
    return InputError(
        f"连不上 {name}（试过 {url}：{what}）；请检查网络，或设置代理 HTTPS_PROXY，或用 {mirror} 指定镜像，"
        f"或{instead.zh}。",
        f"Can't reach {name} (tried {url}: {what}); check the network, or set a proxy in HTTPS_PROXY, or name a "
        f"mirror in {mirror}, or {instead.en}.",
    )


def _refused(
    name: str, url: str, model_id: str, revision: str | None, status: int | None, error: Exception
) -> InputError:
    version = f"@{revision}" if revision else ""
    url = hide_tokens(url)
    reason = f"HTTP {status}" if status else hide_tokens(str(error).split("\n")[0])
    token = "MODELSCOPE_API_TOKEN" if name == "modelscope" else "HF_TOKEN"
    return InputError(
        f"{url} 没有给出模型 {model_id}{version}（{reason}）；请检查 --model_id 与 --revision，"
        f"需要授权的模型请把令牌放在环境变量 {token} 里。",
        f"{url} did not give the model {model_id}{version} ({reason}); check --model_id and --revision, and for a "
        f"model that needs permission put your token into the environment variable {token}.",
    )


def _broke_off(error: Exception) -> DownloadError:
    reasons = getattr(error, "failed_files", None) or {"": error}
    path, first = next(iter(reasons.items()))
    detail = hide_tokens(f"{path} {type(first).__name__}: {first}".strip().split("\n")[0])
    return DownloadError(
        f"下载中断（{detail}）；再运行同一条命令即可接着下载。",
        f"The download broke off ({detail}); run the same command again and it goes on from here.",
    )


def hide_tokens(text: str) -> str:
    """Put *** where a secret stands in ``text``: a token of the environment, or what an address carries.

    An address may hold a user and a password (a mirror, a proxy), or a signature behind its question mark (the
    storage that a hub sends to).

    >>> hide_tokens("https://me:secret@host/file?Signature=abc: timed out")
    'https://***@host/file?*** timed out'
    """
    for variable in TOKEN_VARIABLES:
        token = os.environ.get(variable, "").strip()
        for form in {token, quote(token, safe=""), quote_plus(token)} if token else ():
            text = text.replace(form, "***")
    text = _USER.sub(r"\1***@", text)
    return _QUERY.sub(r"\1?***", text)


def without_pickles(files: Sequence[RemoteFile]) -> tuple[list[RemoteFile], list[RemoteFile]]:
    """Split into the files to fetch and the pickles that safetensors make needless (none without safetensors)."""
    if not any(file.path.endswith(".safetensors") for file in files):
        return list(files), []
    left_out = [file for file in files if file.path.endswith(PICKLE_SUFFIXES)]
    return [file for file in files if file not in left_out], left_out


def check_names(files: Sequence[RemoteFile]) -> None:
    """Refuse a list that names a file outside its own folder.

    Raises:
        InputError: an absolute path, or one with ``..``.
    """
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or "\\" in file.path:
            raise InputError(
                f"模型库的文件清单里有越界的路径 {file.path!r}，已停止；请换一个来源。",
                f"The hub lists a path outside the model's folder, {file.path!r}; use another source.",
            )


def bytes_missing(folder: Path, files: Sequence[RemoteFile]) -> int:
    """Count the bytes that are still to come; a broken file's first part (``*.incomplete``) counts as there."""
    missing = 0
    for file in files:
        if _size(folder / file.path) != file.size:
            missing += max(0, file.size - _size(folder / f"{file.path}.incomplete"))
    return missing


def check_disk(folder: Path, missing: int) -> None:
    """Refuse to start what can't end.

    Raises:
        InputError: fewer than ``missing`` bytes, and some to spare, are free where ``folder`` is to be.
    """
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if missing and missing + SPARE_BYTES > free:
        need, have = gigabytes(missing + SPARE_BYTES), gigabytes(free)
        raise InputError(
            f"磁盘空间不足：还需 {need}，{place} 只剩 {have}；请清理磁盘，或用 --cache_dir 换一个位置。",
            f"Too little disk: {need} are needed and {place} has {have}; free some, or name another --cache_dir.",
        )


def faults(folder: Path, files: Sequence[RemoteFile]) -> list[Message]:
    """Compare the folder with the hub's list, and the shards with their index; no fault is an empty list."""
    found: list[Message] = []
    for file in files:
        path = folder / file.path
        if not path.is_file():
            found.append(Message(f"{file.path} 不在", f"{file.path} is missing"))
        elif (size := _size(path)) != file.size:
            found.append(
                Message(
                    f"{file.path} 是 {size} 字节，应为 {file.size}", f"{file.path} has {size} of {file.size} bytes"
                )
            )
    for index in (file.path for file in files if file.path.endswith(".safetensors.index.json")):
        found += _missing_shards(folder / index)
    return found


def _missing_shards(index: Path) -> list[Message]:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if not all(isinstance(shard, str) for shard in shards):
            raise ValueError("not names")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return [Message(f"{index.name} 读不出分片清单", f"{index.name} has no readable list of shards")]
    return [
        Message(f"{index.name} 列出的分片 {shard} 不在", f"the shard {shard} of {index.name} is missing")
        for shard in shards
        if not (index.parent / shard).is_file()
    ]


def gigabytes(count: int) -> str:
    """Say a number of bytes as people do: ``15.2 GB``, ``3.1 MB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.1f} KB"


def _literal(path: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
