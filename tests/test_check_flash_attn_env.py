"""Without torch, without a card, without flash-attn; and the comparison with SDPA, of right and wrong stand-ins."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import check_flash_attn_env as script

SCRIPT = Path(script.__file__)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def dense(torch: Any, mistake: Callable[[Any], Any] = lambda output: output) -> Callable[..., Any]:
    def function(query: Any, key: Any, value: Any, causal: bool) -> Any:
        parts = [x.transpose(1, 2) for x in (query, key, value)]
        output = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=causal)
        return mistake(output.transpose(1, 2))

    return function


def varlen(torch: Any, borders_kept: bool = True) -> Callable[..., Any]:
    def function(query: Any, key: Any, value: Any, ends: Any, _: Any, longest: int, __: int, causal: bool) -> Any:
        assert longest == max(b - a for a, b in zip(ends.tolist(), ends.tolist()[1:], strict=False))
        borders = ends.tolist() if borders_kept else [0, len(query)]
        runs = zip(borders, borders[1:], strict=False)
        one = dense(torch)
        return torch.cat([one(query[None, a:b], key[None, a:b], value[None, a:b], causal)[0] for a, b in runs])

    return function


def test_right_functions_agree_in_both_precisions(torch: Any) -> None:
    rows = script.agreement_rows(torch, dense(torch), varlen(torch), "cpu")
    assert [row.what.say("en").removeprefix("error against SDPA ") for row in rows] == [
        f"{dtype} {kind}" for dtype in ("float16", "bfloat16") for kind in ("full", "causal", "varlen")
    ]
    assert all(row.good for row in rows), rows


def test_a_small_wrong_scale_is_seen(torch: Any) -> None:
    rows = script.agreement_rows(torch, dense(torch, lambda output: output * 1.05), varlen(torch), "cpu")
    assert [row.good for row in rows] == [False, False, True] * 2


def test_nan_is_no_agreement(torch: Any) -> None:
    rows = script.agreement_rows(torch, dense(torch, lambda output: output * float("nan")), varlen(torch), "cpu")
    assert [row.good for row in rows] == [False, False, True] * 2


def test_nan_in_the_gradients_alone_is_no_agreement(torch: Any) -> None:
    def mistake(output: Any) -> Any:
        return output + (output * 0).abs().sqrt()  # adds 0, whose slope is infinite times 0

    rows = script.agreement_rows(torch, dense(torch, mistake), varlen(torch), "cpu")
    assert [row.good for row in rows] == [False, False, True] * 2


def test_samples_that_see_each_other_are_seen(torch: Any) -> None:
    rows = script.agreement_rows(torch, dense(torch), varlen(torch, borders_kept=False), "cpu")
    assert [row.good for row in rows] == [True, True, False] * 2


def test_a_mask_that_is_left_out_is_seen(torch: Any) -> None:
    def uncausal(query: Any, key: Any, value: Any, causal: bool) -> Any:
        return dense(torch)(query, key, value, False)

    rows = script.agreement_rows(torch, uncausal, varlen(torch), "cpu")
    assert [row.good for row in rows] == [True, False, True] * 2


def test_without_a_card_it_says_so_plainly_and_leaves_with_1(
    run: Callable[..., Any], torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = run(script)
    assert done.status == 1
    assert "✗ GPU: 没有可用的显卡" in done.out and "这里没有可用的 GPU" in done.out
    assert "flash_attn: auto  → SDPA" in done.out


class Card:
    """A stand-in for torch.cuda with a card of some capability."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, torch: Any, capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some Card")


def test_an_old_card_is_told(run: Callable[..., Any], torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Card(monkeypatch, torch, (7, 5))
    done = run(script, "--lang", "en")
    assert done.status == 1 and "Some Card, sm_75" in done.out and "too old" in done.out


def test_a_package_that_is_missing_is_told(
    run: Callable[..., Any], torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Card(monkeypatch, torch, (9, 0))
    monkeypatch.setattr(script, "installed", lambda name: None)
    done = run(script, "--lang", "en")
    assert done.status == 1 and "bash setup.sh --extras flash-attn" in done.out
    assert "fa2   → SDPA (no flash-attn: it only warns)" in done.out


def test_a_package_that_does_not_import_is_told(
    run: Callable[..., Any], torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Card(monkeypatch, torch, (9, 0))
    monkeypatch.setattr(script, "installed", lambda name: "2.8.3")
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    done = run(script, "--lang", "en")
    assert done.status == 1 and "2.8.3 does not import" in done.out
    assert "fails or computes wrongly" in done.out


@pytest.mark.parametrize(("scale", "status"), [(1.0, 0), (1.05, 1)])
def test_a_package_counts_as_usable_only_when_it_agrees(
    run: Callable[..., Any], torch: Any, monkeypatch: pytest.MonkeyPatch, scale: float, status: int
) -> None:
    Card(monkeypatch, torch, (9, 0))
    monkeypatch.setattr(script, "installed", lambda name: "2.8.3")
    package = types.SimpleNamespace(
        flash_attn_func=dense(torch, lambda output: output * scale), flash_attn_varlen_func=varlen(torch)
    )
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    agreement = script.agreement_rows
    monkeypatch.setattr(script, "agreement_rows", lambda *given, device: agreement(*given, device="cpu"))
    done = run(script, "--lang", "en")
    assert done.status == status
    assert ("set flash_attn: fa2" in done.out) == (status == 0)


def test_it_works_where_torch_is_not_installed() -> None:
    """-S leaves out site-packages, so that nothing but Python itself is there."""
    done = subprocess.run([sys.executable, "-S", SCRIPT], capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and done.stderr == ""
    assert "✗ torch: 不能导入" in done.stdout and "bash setup.sh" in done.stdout
    assert "fa2   → SDPA" in done.stdout


@pytest.mark.gpu
def test_on_a_card_the_verdict_is_that_of_the_exit_status() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--lang", "en"], capture_output=True, encoding="utf-8")
    assert done.returncode == (0 if "set flash_attn: fa2" in done.stdout else 1), done.stderr
    assert "GPU: NVIDIA" in done.stdout
