#!/usr/bin/env python3
"""Can flash-attn be used here, does it compute the right thing, and what will LLaMA-Factory use?

Usage:
    python scripts/check_flash_attn_env.py [--lang zh|en]

Prints one table and what to do. Leaves with 0 when flash-attn imports and agrees with PyTorch's own attention (SDPA)
on the card, with 1 when it can't be used. That is no fault: ``flash_attn: auto`` then takes SDPA. It stands alone: it
works, and says so, where neither flash-attn nor torch is installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mug import command
from mug.errors import Message
from mug.flash_attn_wheel import VERSION, wheel_name_here, wheel_url

OLDEST_CARD = (8, 0)  # compute capability: flash-attn 2 is built for Ampere and later
MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``good`` is None where it does not decide."""

    what: Message
    found: Message
    good: bool | None = None


def main() -> int:
    """Print the table and what to do; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    lang = parser.parse_args().lang
    rows, todo = examine()
    for row in rows:
        print(f"{MARKS[row.good]} {row.what.say(lang)}: {row.found.say(lang)}")
    usable = not any(row.good is False for row in rows)
    print("\n" + Message("LLaMA-Factory 会用：", "LLaMA-Factory will use:").say(lang))
    for setting, used in llamafactory_choices(installed("flash-attn") is not None, usable):
        print(f"  flash_attn: {setting:5} → {used.say(lang)}")
    print("\n" + todo.say(lang))
    return 0 if usable else 1


def examine() -> tuple[list[Row], Message]:
    """Look at everything in the order in which it can fail; return the table and the advice for the first failure."""
    rows = [
        Row(Message("Python"), Message(platform.python_version())),
        Row(Message("系统", "platform"), Message(f"{platform.system()} {platform.machine()}")),
    ]
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken shared library raises OSError, not ImportError
        rows.append(Row(Message("torch"), Message(f"不能导入（{first_line(error)}）", first_line(error)), False))
        return rows, Message("先装好环境：bash setup.sh", "Set the environment up first: bash setup.sh")
    cuda = torch.version.cuda
    abi = "TRUE" if torch.compiled_with_cxx11_abi() else "FALSE"
    rows += [
        Row(Message("torch"), Message(torch.__version__)),
        Row(
            Message("CUDA（torch 的）", "CUDA of torch"), Message(cuda or "无（CPU 版）", cuda or "none (a CPU build)")
        ),
        Row(Message("C++11 ABI"), Message(abi)),
    ]
    rows.append(wheel_row())
    if not torch.cuda.is_available():
        rows.append(Row(Message("GPU"), Message("没有可用的显卡", "no usable card"), False))
        return rows, Message(
            "这里没有可用的 GPU：flash-attn 只在 NVIDIA 显卡上运行。CPU 上什么都不用装，flash_attn: auto 就是 SDPA。",
            "No usable GPU here: flash-attn runs on NVIDIA cards only. On a CPU there is nothing to install; "
            "flash_attn: auto is SDPA.",
        )
    capability = torch.cuda.get_device_capability()
    fits = capability >= OLDEST_CARD
    name = f"{torch.cuda.get_device_name()}, sm_{capability[0]}{capability[1]}"
    rows.append(Row(Message("GPU"), Message(name), fits))
    rows.append(torch_varlen_row())
    if not fits:
        return rows, Message(
            "这块卡太旧：flash-attn 2 需要 Ampere（sm_80）或更新的卡。用 flash_attn: auto（SDPA）。",
            "This card is too old: flash-attn 2 needs Ampere (sm_80) or later. Use flash_attn: auto (SDPA).",
        )
    version = installed("flash-attn")
    if version is None:
        rows.append(Row(Message("flash-attn"), Message("未安装", "not installed"), False))
        return rows, Message(
            "要装：bash setup.sh --extras flash-attn。不装也可以：SDPA 结果相同，稍慢。",
            "To install it: bash setup.sh --extras flash-attn. You need not: SDPA gives the same, a little slower.",
        )
    try:
        flash_attn = importlib.import_module("flash_attn")
        functions = flash_attn.flash_attn_func, flash_attn.flash_attn_varlen_func
    except Exception as error:
        found = Message(
            f"{version}，不能导入（{first_line(error)}）", f"{version} does not import ({first_line(error)})"
        )
        rows.append(Row(Message("flash-attn"), found, False))
        return rows, Message(
            "它是给别的 torch、CUDA 或 ABI 编译的：pip uninstall flash-attn，再装上面那个文件名的 wheel。",
            "It was built for another torch, CUDA or ABI: pip uninstall flash-attn, then install the wheel named "
            "above.",
        )
    rows.append(Row(Message("flash-attn"), Message(version), True))
    agreed = agreement_rows(torch, *functions, device="cuda")
    rows += agreed
    if not all(row.good for row in agreed):
        return rows, Message(
            "flash-attn 能导入，但结果与 SDPA 不一致：不要用它，设 flash_attn: sdpa，并重装。",
            "flash-attn imports but does not agree with SDPA: don't use it, set flash_attn: sdpa, and install it "
            "again.",
        )
    return rows, Message(
        "可以使用：在训练的 YAML 里设 flash_attn: fa2。", "Usable: set flash_attn: fa2 in the training's YAML."
    )


def wheel_row() -> Row:
    """Return the row of the prebuilt wheel that fits, and where it would lie."""
    try:
        name = wheel_name_here()
    except ValueError as error:
        return Row(Message("wheel"), Message(f"没有合适的（{error}）", f"none fits ({error})"))
    where = f"{name}\n    {wheel_url(name)}"
    zh, en = (
        f"\n    名字由版本推出，{VERSION} 未必真有",
        f"\n    worked out from the versions; {VERSION} may not have it",
    )
    return Row(Message("wheel"), Message(where + zh, where + en))


def torch_varlen_row() -> Row:
    """Say whether this torch has variable-length attention of its own, which packing can use without flash-attn."""
    try:
        importlib.import_module("torch.nn.attention.varlen")
    except ImportError:
        return Row(Message("torch 自带的变长注意力", "varlen attention of torch"), Message("无", "none"))
    return Row(Message("torch 自带的变长注意力", "varlen attention of torch"), Message("有", "there"))


def llamafactory_choices(there: bool, usable: bool) -> list[tuple[str, Message]]:
    """Return what each value of ``flash_attn`` leads to (configure_attn_implementation of LLaMA-Factory 0.9.5).

    It asks only whether the package is installed, not whether it works.
    """
    if not there:
        fa2 = Message("SDPA（没有 flash-attn，只警告一句）", "SDPA (no flash-attn: it only warns)")
    elif usable:
        fa2 = Message("flash-attn")
    else:
        fa2 = Message("flash-attn，会失败或算错，先不要用", "flash-attn, which fails or computes wrongly: don't")
    return [("auto", Message("SDPA")), ("sdpa", Message("SDPA")), ("fa2", fa2)]


# --- does it compute the right thing ---------------------------------------------------------------------------------


def agreement_rows(torch: Any, dense: Callable[..., Any], varlen: Callable[..., Any], device: str) -> list[Row]:
    """Compare flash-attn's two functions with SDPA in fp32, in both half precisions, outputs and gradients.

    The bound is that of flash-attn's own tests (tests/test_flash_attn.py): its largest error may be twice that of
    PyTorch's plain attention in the same precision, plus 1e-4 for the outputs that are zero.
    """
    rows = []
    for dtype in (torch.float16, torch.bfloat16):
        for causal, lengths in ((False, None), (True, None), (True, (7, 64, 1, 56))):
            error, bound = agreement(torch, dense, varlen, device, dtype, causal, lengths)
            kind = "varlen" if lengths else "causal" if causal else "full"
            found = f"{error:.1e} ≤ {bound:.1e}" if error <= bound else f"{error:.1e} > {bound:.1e}"
            what = Message(f"与 SDPA 的差 {str(dtype)[6:]} {kind}", f"error against SDPA {str(dtype)[6:]} {kind}")
            rows.append(Row(what, Message(found), error <= bound))
    return rows


def agreement(
    torch: Any,
    dense: Callable[..., Any],
    varlen: Callable[..., Any],
    device: str,
    dtype: Any,
    causal: bool,
    lengths: tuple[int, ...] | None,
) -> tuple[float, float]:
    """Return flash-attn's largest error against fp32, and the bound.

    Queries, keys and values have the shape [batch, 128 tokens, 4 heads, 64]; with ``lengths`` the 128 tokens are
    samples of these lengths that must not see each other.
    """
    generator = torch.Generator().manual_seed(42)
    batch, size = (1, sum(lengths)) if lengths else (2, 128)
    given = [torch.randn(batch, size, 4, 64, generator=generator).to(device, dtype) for _ in range(3)]

    def by_sample(function: Callable[..., Any]) -> Callable[..., Any]:
        ends = torch.tensor(lengths or (size,)).cumsum(0).tolist()
        runs = list(zip([0, *ends], ends, strict=False))
        return lambda *given: torch.cat(
            [function(*(x[:, a:b].transpose(1, 2) for x in given)).transpose(1, 2) for a, b in runs], 1
        )

    def sdpa(query: Any, key: Any, value: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)

    def plain(query: Any, key: Any, value: Any) -> Any:
        scores = query @ key.transpose(2, 3) / 8  # the root of 64
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
        return scores.softmax(3) @ value

    def flash(query: Any, key: Any, value: Any) -> Any:
        if not lengths:
            return dense(query, key, value, causal=causal)
        ends = torch.tensor([0, *lengths], device=device).cumsum(0).to(torch.int32)
        longest = max(lengths)
        return varlen(query[0], key[0], value[0], ends, ends, longest, longest, causal=causal)[None]

    def with_gradients(function: Callable[..., Any], tensors: list[Any]) -> list[Any]:
        leaves = [x.detach().clone().requires_grad_() for x in tensors]
        output = function(*leaves)
        output.float().square().sum().backward()
        return [output.detach().float(), *(leaf.grad.float() for leaf in leaves)]

    truth = with_gradients(by_sample(sdpa), [x.float() for x in given])
    usual = with_gradients(by_sample(plain), given)
    found = with_gradients(flash, given)
    errors = [((answer - right).abs().max().item()) for right, answer in zip(truth, found, strict=True)]
    bounds = [2 * (half - right).abs().max().item() + 1e-4 for right, half in zip(truth, usual, strict=True)]
    # Of output and gradients the one that is worst against its bound; NaN is worse than anything.
    return max(zip(errors, bounds, strict=True), key=lambda pair: pair[0] / pair[1] if pair[0] >= 0 else float("inf"))


def installed(name: str) -> str | None:
    """Return the installed version of a distribution, None when it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its type's name where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


if __name__ == "__main__":
    command.run(main)
