"""Token lengths against LLaMA-Factory's own encoding, and what is told about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import analyze_data_length
from mug.tasks import TASKS
from mug.training import lengths

TITLE = TASKS["title_generation"].instruction
ACTION = TASKS["action_item_detection"].instruction


@pytest.fixture
def data(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: Any) -> Path:
        path = tmp_path / "data.json"
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def no_local_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that someone has downloaded must not change what is tested."""
    monkeypatch.setattr(analyze_data_length, "configured_model", lambda: None)


def row(size: int, instruction: str = TITLE) -> dict[str, str]:
    return {"instruction": instruction, "input": "议" * size, "output": "春游"}


# --- figures ---------------------------------------------------------------------------------------------------------


def test_coverage_percentiles_and_recommendation() -> None:
    totals = [*range(1, 100), 2000]
    assert [lengths.percentile(totals, percent) for percent in lengths.PERCENTILES] == [50, 90, 95, 99, 2000]
    assert [lengths.over(totals, limit) for limit in (50, 99, 2000)] == [50, 1, 0]
    assert lengths.recommended(totals) == 2048


def test_packs_are_those_of_llamafactory() -> None:
    utils = pytest.importorskip("llamafactory.data.processor.processor_utils")
    totals = [(7919 * place) % 2000 + 200 for place in range(300)]
    assert lengths.packs(totals, 4096) == len(utils.greedy_knapsack(list(totals), 4096))
    assert lengths.packs([5000], 4096) == 0


def test_padding_is_none_for_equal_lengths_and_single_samples() -> None:
    assert lengths.padding_share([700] * 10, 4) == 0
    assert lengths.padding_share([100, 900, 300], 1) == 0
    assert lengths.padding_share([100, 300], 2) == pytest.approx(1 / 3)


# --- the command line ------------------------------------------------------------------------------------------------


def test_without_a_tokenizer_it_says_that_it_estimates(
    run: Callable[..., Any], data: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row(100), row(1500), row(3000)]
    done = run(analyze_data_length, "--data", data(rows), "--output", tmp_path / "out.json")
    assert done.status == 0, done.err
    assert "估计的上界" in done.out
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert result["estimated"] is True and result["tokenizer"] is None
    assert result["over"] == {"1024": 2, "2048": 1, "2560": 1, "4096": 0, "8192": 0, "16384": 0}
    # instruction, line break and template around 3,000 characters, and a target of two with its end
    assert result["all"]["percentiles"]["100"] == len(TITLE) + 1 + 3000 + 40 + 4
    assert result["recommended_cutoff_len"] == 3328
    assert result["next_smaller"] == {"cutoff_len": 3072, "over": 1}
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_mixed_tasks_are_told_apart(run: Callable[..., Any], data: Callable[..., Path], tmp_path: Path) -> None:
    rows = [row(100), row(200), row(900, ACTION), row(50, "别的指令")]
    done = run(analyze_data_length, "--data", data(rows), "--output", tmp_path / "out.json", "--lang", "en")
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert {name: task["samples"] for name, task in result["tasks"].items()} == {
        "title_generation": 2,
        "action_item_detection": 1,
        "other": 1,
    }
    assert result["all"]["samples"] == 4
    assert all(name in done.out for name in ("title_generation", "action_item_detection", "other", "all "))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("[]", "没有样本"),
        ('[{"instruction": "x"', "不是完整的 JSON"),
        ([{"instruction": TITLE, "input": "议", "output": " "}], "第 1 个样本的 output"),
        ([row(5), {**row(5), "input": 7}], "第 2 个样本的 input"),
    ],
)
def test_bad_rows_are_one_sentence_and_status_2(
    run: Callable[..., Any], data: Callable[..., Path], tmp_path: Path, rows: Any, message: str
) -> None:
    done = run(analyze_data_length, "--data", data(rows), "--output", tmp_path / "out.json")
    assert done.status == 2 and message in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_the_data_is_not_overwritten_by_the_figures(run: Callable[..., Any], data: Callable[..., Path]) -> None:
    path = data([row(5)])
    before = path.read_bytes()
    done = run(analyze_data_length, "--data", path, "--output", path)
    assert done.status == 2 and path.read_bytes() == before


def test_a_missing_file_and_a_missing_tokenizer_are_named(
    run: Callable[..., Any], data: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = run(analyze_data_length, "--data", tmp_path / "none.json")
    assert missing.status == 2 and "scripts/preprocess_data.py" in missing.err
    (tmp_path / "model").mkdir()
    broken = run(analyze_data_length, "--data", data([row(5)]), "--tokenizer", tmp_path / "model")
    assert broken.status == 2 and str(tmp_path / "model") in broken.err and broken.err.count("\n") == 1


# --- with the real tokenizer -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_titles_are_as_long_as_llamafactory_encodes_them(
    run: Callable[..., Any], shared: Path, tmp_path: Path
) -> None:
    titles, tokenizer = shared / "data" / "real_titles.json", shared / "qwen_tokenizer"
    done = run(
        analyze_data_length, "--data", titles, "--tokenizer", tokenizer, "--output", tmp_path / "out.json"
    )  # fmt: skip
    assert done.status == 0, done.err
    result = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert result["all"]["samples"] == 443
    # 550,629 prompt tokens is also what benchmarks/results.md says of these prompts.
    assert result["all"]["mean_prompt"] == round(550_629 / 443, 1)
    assert result["over"]["2048"] == 4 and result["over"]["2560"] == 0
    assert result["recommended_cutoff_len"] == 2304

    from transformers import AutoTokenizer

    from mug.generation.chat import chat_template, encode
    from mug.tasks.base import Sample

    tokens = AutoTokenizer.from_pretrained(str(tokenizer))
    template = chat_template(tokens, "qwen")
    rows = json.loads(titles.read_text("utf-8"))[:40]
    measured = list(lengths.measure_with(tokenizer, "qwen")(rows))
    for one, length in zip(rows, measured, strict=True):
        assert length.prompt == len(encode(template, tokens, Sample("x", one["instruction"], one["input"])))
        assert length.target == len(tokens.encode(f"{one['output']}<|im_end|>\n"))


@pytest.mark.slow
@pytest.mark.parametrize("template", ["qwen", "qwen3", "llama3", "default"])
def test_every_template_counts_as_it_encodes(shared: Path, template: str) -> None:
    from transformers import AutoTokenizer

    from mug.generation.chat import chat_template

    tokens = AutoTokenizer.from_pretrained(str(shared / "qwen_tokenizer"))
    made = chat_template(tokens, template)
    for one in (row(3), {"instruction": "写标题", "input": "\n  甲：好 😀", "output": "<think>\n\n</think>\n\n定"}):
        text = f"{one['instruction']}\n{one['input']}"
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": one["output"]}]
        prompt, target = made.encode_oneturn(tokens, messages)
        (length,) = lengths.measure_with(shared / "qwen_tokenizer", template)([one])
        assert (length.prompt, length.target) == (len(prompt), len(target) + bool(made.efficient_eos))


@pytest.mark.slow
def test_an_unknown_template_is_named(run: Callable[..., Any], data: Callable[..., Path], shared: Path) -> None:
    path, tokenizer = data([row(5)]), shared / "qwen_tokenizer"
    done = run(analyze_data_length, "--data", path, "--tokenizer", tokenizer, "--template", "qwne")
    assert done.status == 2 and "qwne" in done.err and done.err.count("\n") == 1
