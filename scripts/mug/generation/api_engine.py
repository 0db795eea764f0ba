"""Greedy generation by any server that speaks OpenAI's chat completions: llamafactory-cli api, vLLM, DashScope.

    POST http://127.0.0.1:8000/v1/chat/completions
    {"model": "…", "messages": [{"role": "system", …}, {"role": "user", …}], "temperature": 0, "max_tokens": 256}

The server puts its own chat template around the messages, and its stop tokens are its own too; so the answers of the
same model may differ from those of the other engines. What is known of llamafactory-cli api 0.9.5:

- ``temperature`` 0 makes it greedy (``do_sample`` false), whatever its own settings are. Nothing else is sent, since
  it takes ``presence_penalty`` for a repetition penalty and does not know ``stop``.
- With the template ``qwen`` it stops at <|im_end|> only, so a base model goes on after <|endoftext|>. Special tokens
  are left out of the text, and the finish reason is then ``length``.
- It answers one request at a time unless MAX_CONCURRENT says otherwise in its environment.

The key comes from the environment, MUG_API_KEY or else OPENAI_API_KEY. It goes into the Authorization header and
nowhere else: no message, fingerprint or repr holds it, and what the server says is cleared of it.
"""

from __future__ import annotations

import json
import os
import queue
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from mug.errors import InputError
from mug.generation.base import Completion, messages
from mug.tasks.base import SYSTEM, Sample

KEY_VARIABLES = ("MUG_API_KEY", "OPENAI_API_KEY")
LONGEST_WAIT = 120.0
"""Seconds between two attempts, also where the server asks for more."""

_TOO_LONG = re.compile(
    r"context[ _]length|context window|maximum.{0,20}(?:length|tokens)|max_model_len|input length|too (?:long|many)",
    re.IGNORECASE,
)


class ApiEngine:
    """A model behind an HTTP address."""

    name = "api"

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        max_new_tokens: int = 256,
        concurrency: int = 8,
        timeout: float = 300.0,
        retries: int = 5,
        backoff: float = 1.0,
    ) -> None:
        """Note how to reach the server; nothing is sent yet.

        Args:
            base_url: the address up to ``/v1``, which is added to an address without a path.
            model: the server's name of the model.
            max_new_tokens: the longest answer, in tokens.
            concurrency: requests under way at the same time.
            timeout: seconds that a request may take, waiting in the server's queue included.
            retries: how often a request is sent again after 429, 5xx, a lost connection or an answer cut short.
            backoff: seconds before the first of them; each further wait is twice as long.

        Raises:
            InputError: the address is none, or holds a secret; the key holds what no header can.
        """
        self.base_url = normalise_address(base_url)
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.concurrency = max(1, concurrency)
        self.timeout = timeout
        self.retries = retries
        self.backoff = backoff
        self._key = key_from_environment()
        self._reached = threading.Event()
        self.fingerprint: dict[str, Any] = {
            "engine": self.name,
            "base_url": self.base_url,
            "model": model,
            "system": SYSTEM,
            "temperature": 0,
            "max_new_tokens": max_new_tokens,
        }

    def __repr__(self) -> str:
        return f"ApiEngine({self.base_url!r}, {self.model!r})"

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield (index, completion) as they come in; stopping the iteration stops the sending at once.

        Raises:
            InputError: the server can't be reached, refuses the key or the prompt, or fails again and again.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(samples)):
            waiting.put(index)
        finished: queue.SimpleQueue[tuple[int, Completion] | Exception] = queue.SimpleQueue()
        stop = threading.Event()

        def work(client: httpx.Client) -> None:
            while not stop.is_set():
                try:
                    index = waiting.get_nowait()
                    completion = self._ask(client, samples[index], stop)
                except queue.Empty:
                    return
                except Exception as error:  # handed to the caller, who is in another thread
                    finished.put(error)
                    return
                if completion is not None:
                    finished.put((index, completion))

        # A proxy of the environment is meant for the world outside, not for a server on this machine.
        local = urlsplit(self.base_url).hostname in ("127.0.0.1", "localhost", "::1")
        limits = httpx.Limits(max_connections=None)
        try:
            made = httpx.Client(timeout=self.timeout, trust_env=not local, limits=limits)
        except (ValueError, ImportError, httpx.InvalidURL) as error:  # without its text: a proxy may hold a password
            raise InputError(
                f"环境变量里的代理用不了（{type(error).__name__}）；请检查 HTTP_PROXY、HTTPS_PROXY、ALL_PROXY。",
                f"The proxy of the environment can't be used ({type(error).__name__}); check HTTP_PROXY, HTTPS_PROXY "
                "and ALL_PROXY.",
            ) from None
        with made as client:
            try:
                for _ in range(min(self.concurrency, len(samples))):
                    # Daemons, not an executor's threads: the interpreter waits for those when it leaves, and a request
                    # that takes minutes would hold up whoever pressed Ctrl-C.
                    threading.Thread(target=work, args=(client,), daemon=True).start()
                for _ in range(len(samples)):
                    result = finished.get()
                    if isinstance(result, Exception):
                        raise result
                    yield result
            finally:
                stop.set()

    def _ask(self, client: httpx.Client, sample: Sample, stop: threading.Event) -> Completion | None:
        """Return the answer, or None when the run was stopped in the meantime."""
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "system", "content": SYSTEM}, *messages(sample)],
                "temperature": 0,
                "max_tokens": self.max_new_tokens,
            }
        ).encode()
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        for attempt in range(self.retries + 1):
            wait = self.backoff * 2**attempt * random.uniform(0.75, 1.25)  # apart, so that not all come back at once
            try:
                response = client.post(f"{self.base_url}/chat/completions", content=body, headers=headers)
                self._reached.set()
                if response.status_code == 200:
                    return read_completion(response.content)
                if response.status_code != 429 and response.status_code < 500:
                    raise self._refusal(response, sample)
                reason = f"HTTP {response.status_code}"
                wait = max(wait, seconds_to_wait(response.headers.get("Retry-After")))
            except httpx.ConnectError as error:
                if not self._reached.is_set():  # a wrong address or no server; waiting would not help
                    raise self._unreachable(error) from None
                reason = type(error).__name__
            except httpx.InvalidURL as error:
                raise self._unreachable(error) from None
            except httpx.TransportError as error:
                reason = type(error).__name__
            except ValueError as error:
                reason = str(error)
            if attempt < self.retries and stop.wait(min(wait, LONGEST_WAIT)):
                return None
        raise InputError(
            f"服务器 {self.base_url} 连续 {self.retries + 1} 次没有回答样本 {sample.id}（{reason}）；"
            "请查看服务器日志，必要时减少并发或延长超时，再运行同一条命令即可继续。",
            f"The server {self.base_url} did not answer sample {sample.id} in {self.retries + 1} attempts ({reason}); "
            "look at its log, lower the concurrency or raise the timeout if need be, and run the same command again.",
        )

    def _refusal(self, response: httpx.Response, sample: Sample) -> InputError:
        """Say why asking again would not help, and what would."""
        status = response.status_code
        if status in (401, 403):
            variables = " / ".join(KEY_VARIABLES)
            return InputError(
                f"服务器 {self.base_url} 不接受密钥（HTTP {status}）；请把正确的密钥放进环境变量 {variables}"
                f"（现在{'已设置' if self._key else '未设置'}）。",
                f"The server {self.base_url} does not accept the key (HTTP {status}); put the right one into the "
                f"environment variable {variables} (now {'set' if self._key else 'not set'}).",
            )
        said = self._said(response)
        if status in (400, 413, 422) and (status == 413 or _TOO_LONG.search(said)):
            return InputError(
                f"样本 {sample.id} 的提示加上 {self.max_new_tokens} 个新 token 超过了服务器的上下文长度（{said}）；"
                "请用更小的 --max_input_tokens 重新运行 preprocess_data.py，或让服务器允许更长的上下文。",
                f"The prompt of sample {sample.id} and {self.max_new_tokens} new tokens exceed the server's context "
                f"({said}); run preprocess_data.py with a smaller --max_input_tokens, or allow the server a longer "
                "context.",
            )
        if status == 404:
            return InputError(
                f"{self.base_url} 没有 chat/completions 或没有模型 {self.model}（{said}）；"
                "请检查地址（通常以 /v1 结尾）和模型名。",
                f"{self.base_url} has no chat/completions or no model {self.model} ({said}); check the address (it "
                "usually ends in /v1) and the model's name.",
            )
        return InputError(
            f"服务器 {self.base_url} 拒绝了样本 {sample.id}（HTTP {status}：{said}）；请按它的说明修改。",
            f"The server {self.base_url} refused sample {sample.id} (HTTP {status}: {said}); do as it says.",
        )

    def _unreachable(self, error: Exception) -> InputError:
        return InputError(
            f"连不上 {self.base_url}（{type(error).__name__}）；请先启动服务"
            "（例如 llamafactory-cli api configs/inference.yaml），或检查地址、端口和代理。",
            f"Can't reach {self.base_url} ({type(error).__name__}); start the server first (such as llamafactory-cli "
            "api configs/inference.yaml), or check address, port and proxy.",
        )

    def _said(self, response: httpx.Response) -> str:
        """Return the server's own words, short, in one line, without the key that some servers repeat."""
        try:
            value = response.json()
            error = value.get("error", value)
            said = str(error.get("message", error) if isinstance(error, dict) else error)
        except (ValueError, AttributeError):
            said = response.text
        if self._key:
            said = said.replace(self._key, "***")
        said = " ".join(said.split())
        return said if len(said) <= 200 else said[:200] + "…"


def normalise_address(base_url: str) -> str:
    """Return the address that ``/chat/completions`` is put behind.

    >>> normalise_address("http://127.0.0.1:8000/")
    'http://127.0.0.1:8000/v1'

    Raises:
        InputError: it is no http(s) address, or has a user, password or query in it.
    """
    try:
        parts = urlsplit(base_url.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    # Without the address in the message: it may hold a secret.
    if not good or parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "API 地址应形如 http://127.0.0.1:8000/v1，不带用户名、密码和参数；密钥请放进环境变量 MUG_API_KEY。",
            "The API address should look like http://127.0.0.1:8000/v1, without user, password or query; the key "
            "belongs into the environment variable MUG_API_KEY.",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def key_from_environment() -> str:
    """Return the key, empty if none is set.

    Raises:
        InputError: it holds characters that no header can carry.
    """
    for variable in KEY_VARIABLES:
        key = os.environ.get(variable, "").strip()
        if key and not re.fullmatch(r"[\x21-\x7e]+", key):
            raise InputError(
                f"环境变量 {variable} 里的密钥含有空白或非 ASCII 字符；请重新设置。",
                f"The key in the environment variable {variable} holds blanks or non-ASCII characters; set it again.",
            )
        if key:
            return key
    return ""


def read_completion(content: bytes) -> Completion:
    """Read a chat completion.

    >>> read_completion(b'{"choices": [{"message": {"content": "ok"}, "finish_reason": "length"}]}').finish
    'length'

    Raises:
        ValueError: it is cut short, or not what OpenAI's interface promises.
    """
    try:
        value = json.loads(content)
        choice = value["choices"][0]
        text = choice["message"].get("content") or ""  # null: the model said nothing, or only thought
        tokens = (value.get("usage") or {}).get("completion_tokens") or 0
        if not isinstance(text, str) or not isinstance(tokens, int):
            raise TypeError
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("no chat completion in the response") from None
    return Completion(text, "length" if choice.get("finish_reason") == "length" else "stop", tokens)


def seconds_to_wait(retry_after: str | None) -> float:
    """Return what a Retry-After header asks for, a number of seconds or a date; 0 if it asks for nothing.

    >>> seconds_to_wait("2"), seconds_to_wait("soon"), seconds_to_wait(None)
    (2.0, 0.0, 0.0)
    """
    if not retry_after:
        return 0.0
    if re.fullmatch(r"\d{1,9}(\.\d*)?", retry_after.strip()):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
