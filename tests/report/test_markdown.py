"""The Markdown page from small results."""

from __future__ import annotations

from typing import Any

from mug.report import markdown

SCORES = {"rouge-1": 12.34, "rouge-2": 5.678, "rouge-l": 11.0, "bleu-4": 7.5, "exact_match": 0.0}
RAW = {"rouge-1": 2.0, "rouge-2": 1.0, "rouge-l": 1.5, "bleu-4": 0.5, "exact_match": 0.0}


def results(**changes: Any) -> dict[str, Any]:
    return {
        "tasks": {
            "title_generation": {
                "n": 7,
                "empty": 3,
                "repaired": 2,
                "repairs": {"lead-in removed": 2},
                "stopped_by_length": 1,
                "llamafactory": SCORES,
                "llamafactory_raw": RAW,
            }
        },
        "settings": {"base_model": "models/Qwen2.5-7B", "smoke": False},
        "versions": {"python": "3.11.9"},
    } | changes


def official(scores: dict[str, float | None], name: str = "topic_segmentation") -> dict[str, Any]:
    return {
        name: {
            "scores": scores,
            "counts": {"meetings": 2, "n": 9, "empty": 4, "skipped": 1},
            "unit": "UNIT",
            "tokenisation": "TOKENS",
            "library": "LIBRARY",
            "references": "REFERENCES",
        }
    }


def table_rows(page: str) -> list[list[str]]:
    lines = [line for line in page.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_cleaned_stand_beside_raw_averages_and_good_ranges() -> None:
    rows = table_rows(markdown.render(results()))
    assert ["rouge-l", "11.00", "1.50", "> 40"] in rows
    assert ["rouge-1", "12.34", "2.00", ""] in rows
    assert ["bleu-4", "7.50", "0.50", "> 30"] in rows


def test_counts_and_repairs_are_told() -> None:
    page = markdown.render(results())
    for part in ("7 个样本", "空答案 3 个", "2 个", "1 个", "lead-in removed 2"):
        assert part in page


def test_official_figures_stand_beside_the_published_ones() -> None:
    page = markdown.render(results(official=official({"score": 0.5, "test_f1": 0.3, "test_1-pk": None})))
    rows = table_rows(page)
    assert ["score", "50.00"] in [row[:2] for row in rows]
    assert any(row[:2] == ["test_f1", "30.00"] and "PoNet 25.1" in "".join(row[2:]) for row in rows)
    assert any(row[:2] == ["test_1-pk", "未定义"] for row in rows)
    for part in ("UNIT", "TOKENS", "LIBRARY", "REFERENCES"):
        assert part in page


def test_baselines_of_unknown_figure_are_listed_apart() -> None:
    page = markdown.render(results(official=official({"score": 0.5}, "topic_title_generation")))
    assert "PALM 2.0 ROUGE-1 31.28" in page


def test_every_table_has_as_many_cells_as_its_head() -> None:
    page = markdown.render(results(official=official({"score": 0.5, "test_f1": 0.3})))
    width = 0
    for before, line in zip(["", *page.split("\n")], page.split("\n"), strict=False):
        if line.startswith("|"):
            width = line.count("|") if not before.startswith("|") else width
            assert line.count("|") == width, line


def test_the_tiny_model_is_called_what_it_is() -> None:
    assert "不代表效果" not in markdown.render(results())
    settings = {"base_model": "outputs/smoke_model", "smoke": True}
    assert "不代表效果" in markdown.render(results(settings=settings))


def test_settings_and_versions_are_listed() -> None:
    page = markdown.render(results())
    assert "models/Qwen2.5-7B" in page
    assert "3.11.9" in page


def test_no_python_value_shows_through() -> None:
    page = markdown.render(results(official=official({"score": None})))
    assert "nan" not in page.lower()
    assert "None" not in page
