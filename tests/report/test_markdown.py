"""The Markdown page from small results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mug.metrics import llamafactory
from mug.metrics.official import TRACKS
from mug.report import markdown
from mug.report.names import NOTES

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


def test_one_table_shows_cleaned_and_raw_averages_good_ranges_and_counts() -> None:
    rows = table_rows(markdown.render(results()))
    assert ["主题标题生成 `title_generation`", "12.34", "5.68", "11.00", "7.50", "0.00", "7", "3", "2", "1"] in rows
    assert ["原始", "2.00", "1.00", "1.50", "0.50", "0.00", "—", "—", "—", "—"] in rows
    assert ["良好的范围", "—", "—", "> 40", "> 30", "> 10", "—", "—", "—", "—"] in rows


def test_figures_have_the_names_of_the_readme() -> None:
    page = markdown.render(results(official=official({"score": 0.5})))
    assert [row for row in table_rows(page) if row[0] == "任务"] == [
        ["任务", "ROUGE-1 %", "ROUGE-2 %", "ROUGE-L %", "BLEU-4 %", "精确匹配 %", "样本", "空答案", "修正", "超长停止"]
    ]
    assert "原始 %" in next(row for row in table_rows(page) if row[0] == "指标")
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    for name in ("精确匹配", "原始", "超长停止", "整理"):
        assert name in readme


def test_every_way_to_score_is_told_in_chinese() -> None:
    fields = ("unit", "tokenisation", "library", "references")
    said = {getattr(track, field) for track in TRACKS.values() for field in fields}
    said |= {llamafactory.TOKENISATION, llamafactory.LIBRARY, llamafactory.REFERENCES}
    assert said == set(NOTES)
    page = markdown.render(results())
    assert "分词：jieba 分出的词（ROUGE），单个字符（BLEU-4）；算法：数值同 rouge-chinese 1.0.3" in page
    assert "参考答案：一份。" in page


def test_repairs_are_told_in_chinese() -> None:
    assert "去掉开场白 2" in markdown.render(results())


def test_official_figures_stand_beside_interval_raw_floor_and_published_ones() -> None:
    tracks = official({"score": 0.5, "test_f1": 0.3, "test_1-pk": None})
    tracks["topic_segmentation"]["intervals"] = {"test_f1": {"low": 0.21, "high": 0.39}}
    beside = {
        "official_raw": {"topic_segmentation": {"test_f1": 0.25}},
        "floor": {"topic_segmentation": {"test_f1": 0.1}},
    }
    page = markdown.render(results(official=tracks, **beside))
    rows = table_rows(page)
    assert ["test_f1", "30.00", "21.00 – 39.00", "25.00", "10.00", "PoNet 25.10"] in rows
    assert ["test_1-pk", "未定义", "—", "—", "—", "—"] in rows
    for part in ("UNIT", "TOKENS", "LIBRARY", "REFERENCES", "SpokenNLP"):
        assert part in page


def test_recall_and_precision_of_rouge_are_left_to_the_other_reports() -> None:
    scores = {"ttg_max_rouge-1_r": 0.1, "ttg_max_rouge-1_p": 0.2, "ttg_max_rouge-1_f": 0.3}
    keys = [
        row[0] for row in table_rows(markdown.render(results(official=official(scores, "topic_title_generation"))))
    ]
    assert "ttg_max_rouge-1_f" in keys
    assert not {"ttg_max_rouge-1_r", "ttg_max_rouge-1_p"} & set(keys)


def test_meetings_answered_in_part_are_told() -> None:
    page = markdown.render(results(incomplete_meetings={"topic_segmentation": ["S004"]}))
    assert "主题切分：1 场会议只答了一部分，不计入官方评分。" in page


def test_foreign_text_stays_in_its_cell() -> None:
    page = markdown.render(results(settings={"base_model": "a|b`c`<img>", "engine": "transformers"}))
    assert "| base_model | a\\|b'c'&lt;img> |" in page


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
