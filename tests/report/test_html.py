"""The HTML report from small results: every value where it belongs, foreign text as text, missing parts left out."""

from __future__ import annotations

import copy
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mug import evaluation
from mug.generation.base import Completion
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.report import charts, html
from mug.tasks import TASKS
from mug.tasks.base import Sample

VOID = {"meta", "link", "br", "input", "img"}


class Element:
    """One element of a parsed page."""

    def __init__(self, tag: str, attributes: dict[str, str], parent: Element | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element | str] = []

    def all(self, tag: str, **wanted: str) -> list[Element]:
        """Return the elements below this one with the tag, and with each wanted class or id."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                matches = all(value in child.attributes.get(name, "").split() for name, value in wanted.items())
                found += [child] * (child.tag == tag and matches) + child.all(tag, **wanted)
        return found

    def one(self, tag: str, **wanted: str) -> Element:
        found = self.all(tag, **wanted)
        assert found, (tag, wanted)
        return found[0]

    @property
    def raw(self) -> str:
        return "".join(child if isinstance(child, str) else child.raw for child in self.children)

    @property
    def text(self) -> str:
        return " ".join(self.raw.split())

    @property
    def cells(self) -> list[str]:
        return [child.text for child in self.children if isinstance(child, Element)]


class Tree(HTMLParser):
    """Builds elements, and insists that what is opened is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.here = self.root = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"class_" if name == "class" else name: value or "" for name, value in attrs}
        element = Element(tag, names, self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.here = self.here.parent if tag not in VOID and self.here.parent else self.here

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.here.tag, f"</{tag}> closes <{self.here.tag}>"
        assert self.here.parent
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.children.append(data)


def parse(page: str) -> Element:
    tree = Tree()
    tree.feed(page)
    tree.close()
    assert tree.here is tree.root
    return tree.root


SCORES = {"rouge-1": 12.34, "rouge-2": 5.678, "rouge-l": 11.0, "bleu-4": 7.5, "exact_match": 0.0}
RAW = {"rouge-1": 2.0, "rouge-2": 1.0, "rouge-l": 1.5, "bleu-4": 0.5, "exact_match": 0.0}


def title_row(number: int, *, rouge_l: float | None = 50.0, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"T1/title/{number}",
        "task": "title_generation",
        "meeting": "T1",
        "input": "会议内容：\n[甲]: 先定春游地点。",
        "label": "定春游地点",
        "references": ["定春游地点", "春游去哪"],
        "raw": "标题：春游",
        "predict": "春游",
        "numbers": [],
        "places": [1, 2, 3],
        "topic": 3,
        "repairs": ["lead-in removed"],
        "finish": "stop",
        "tokens": 4,
        **SCORES,
        "rouge-l": rouge_l,
    } | changes


def number_row(task: str, label: str, numbers: list[int], places: list[int], **changes: Any) -> dict[str, Any]:
    lines = "\n".join(f"{n}. [甲]: 第{place}句。" for n, place in enumerate(places, 1))
    return (
        title_row(
            1,
            id=f"T1/{task}",
            task=task,
            input=f"会议内容：\n{lines}",
            label=label,
            references=[label],
            raw=", ".join(map(str, numbers)),
            predict=", ".join(map(str, numbers)) or "无",
            numbers=numbers,
            places=places,
            topic=0,
            repairs=[],
        )
        | changes
    )


def make(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return results as evaluate.py writes them, for these rows."""
    names = list(dict.fromkeys(row["task"] or "other" for row in rows))
    task = {
        "n": len(rows),
        "empty": 3,
        "repaired": 2,
        "repairs": {"lead-in removed": 2},
        "stopped_by_length": 1,
        "llamafactory": SCORES,
        "llamafactory_raw": RAW,
    }
    return {
        "averages": {name: SCORES for name in names},
        "good_ranges": {"title_generation": {"rouge-l": 40.0, "bleu-4": 30.0, "exact_match": 10.0}},
        "tasks": {name: task for name in names},
        "settings": {
            "model_path": "outputs/lora",
            "base_model": "models/Qwen2.5-7B",
            "adapter": "outputs/lora/checkpoint-40",
            "smoke": False,
            "data_path": "data/dev_alpaca.json",
            "gold": None,
            "num_samples": len(rows),
            "date": "2025-03-07T06:30:00+00:00",
        },
        "versions": {"python": "3.11.9"},
        "rows": rows,
    } | changes


def track(name: str, scores: dict[str, float | None], **changes: Any) -> dict[str, Any]:
    """Return ``official`` with one track."""
    return {
        name: {
            "scores": scores,
            "counts": {"meetings": 2, "n": 9, "empty": 4, "skipped": 1},
            "unit": "UNIT",
            "tokenisation": "TOKENS",
            "library": "LIBRARY",
            "references": "REFERENCES",
            "source": "SOURCE",
        }
        | changes
    }


def meeting(count: int = 12, key: str = "T1", **changes: Any) -> Meeting:
    first = Candidate("定春游地点", (2, 3))
    second = Candidate("地点", (3, 4))
    given: dict[str, Any] = {
        "topics": (Topic(1, 4, (first, second)), Topic(5, 8, (Candidate("定时间", (6,)),)), Topic(9, count)),
        "paragraph_ends": (2, 4, 8, count),
        "action_ids": (6, 7),
        "candidates": (Candidate("", (2, 6)),),
    }
    return Meeting(key, tuple(Sentence("甲", f"第{n}句。") for n in range(1, count + 1)), **given | changes)


# ------------------------------------------------------------------------------------------------ head and scores


def test_the_head_says_what_was_evaluated() -> None:
    page = parse(html.render(make([title_row(1)])))
    assert page.one("title").text == "评测报告 · lora/checkpoint-40"
    said = page.one("p", class_="summary").text
    for part in ("lora/checkpoint-40", "Qwen2.5-7B", "data/dev_alpaca.json", "2025-03-07 06:30:00 UTC", "1 个"):
        assert part in said
    assert not page.all("p", class_="warning")


def test_without_a_model_folder_the_engine_is_named() -> None:
    results = make([title_row(1)]) | {"settings": {"engine": "baseline", "num_samples": 1}}
    assert parse(html.render(results)).one("title").text == "评测报告 · baseline"


def test_the_tiny_model_is_called_what_it_is() -> None:
    results = make([title_row(1)])
    results["settings"]["smoke"] = True
    assert "不代表效果" in parse(html.render(results)).one("p", class_="warning").text


def test_averages_stand_beside_those_of_the_raw_answers_with_good_ranges() -> None:
    table = parse(html.render(make([title_row(1)]))).one("table", class_="overview")
    assert table.one("thead").all("th")[2].text == "ROUGE-1"
    row = table.one("tbody").one("tr")
    assert row.cells == [
        "主题标题生成 title_generation",
        "1",
        "12.34 原始 2.00",
        "5.68 原始 1.00",
        "11.00 原始 1.50 良好 > 40",
        "7.50 原始 0.50 良好 > 30",
        "0.00 原始 0.00 良好 > 10",
        "空 3 修正 2 超长停止 1",
    ]
    section = parse(html.render(make([title_row(1)]))).one("section", id="task-1")
    assert "空答案 3 个，修正过格式 2 个，超长停止 1 个。 修正：去掉开场白 2。" in section.text


def test_the_notes_under_the_tables_are_chinese() -> None:
    official = track("topic_title_generation", {"score": 0.5})
    official["topic_title_generation"]["unit"] = "titles"
    page = parse(html.render(make([title_row(1)], official=official)))
    note = page.one("section", id="scores").all("p", class_="note")[0].text
    assert "大字的分数取自整理后的答案，小字“原始”取自未整理的。" in note
    assert "分词：jieba 分出的词（ROUGE），单个字符（BLEU-4）；算法：数值同 rouge-chinese 1.0.3" in note
    assert note.endswith("参考答案：一份。")
    assert "评分单位：标题；" in page.one("section", id="official").one("p", class_="note").text


def test_official_figures_have_intervals_floor_and_published_baselines() -> None:
    scores = {"score": 0.75, "test_f1": 0.3, "test_1-pk": None, "test_x_r": 0.2}
    official = track(
        "topic_segmentation",
        scores,
        intervals={"score": {"low": 0.7, "high": 0.81234}, "test_f1": None},
        per_meeting={"T1": 0.7, "T2": None},
    )
    floor = {"topic_segmentation": {"score": 0.5, "test_f1": 0.1}}
    page = parse(html.render(make([title_row(1)], official=official, floor=floor)))
    overview = page.one("table", class_="official").one("tbody").all("tr")
    assert overview[0].cells[:3] == ["主题切分 topic_segmentation", "75.00", "[70.00, 81.23]"]
    assert overview[0].cells[4] == "2 场会议 9 个单位 空 4 跳过 1"
    assert overview[1].cells[:2] == ["底线 floor: no model, simple rules", "50.00"]
    figures = page.one("section", id="official").one("table", class_="figures").one("tbody").all("tr")
    assert [row.cells[:4] for row in figures] == [
        ["官方总分 score", "75.00 [70.00, 81.23]", "50.00", "—"],
        ["F1 test_f1", "30.00", "10.00", "PoNet 25.10"],
        ["1 − Pk test_1-pk", "未定义", "—", "—"],
    ]
    note = page.one("section", id="official").one("p", class_="note").text
    for part in ("dev", "SpokenNLP", "UNIT", "TOKENS", "LIBRARY", "REFERENCES", "SOURCE"):
        assert part in note
    plot = figures[0].one("svg", class_="interval")
    assert plot.one("title").text == "本次 75.00；95 % 区间 70.00–81.23；底线 50.00"


def test_official_figures_of_the_raw_answers_stand_beside() -> None:
    official = track("action_item_detection", {"score": 0.75, "recall": 0.5})
    results = make([title_row(1)], official=official, official_raw={"action_item_detection": {"score": 0.125}})
    page = parse(html.render(results))
    assert page.one("table", class_="official").one("tbody").one("tr").cells[1] == "75.00 原始 12.50"
    figures = page.one("table", class_="figures").one("tbody").all("tr")
    assert [row.cells[1:3] for row in figures] == [["75.00", "12.50"], ["50.00", "—"]]


def test_a_comparison_shows_the_differences_and_which_are_sure() -> None:
    differences = {
        "score": {"difference": 0.05, "low": 0.01, "high": 0.09},
        "test_f1": {"difference": -0.02, "low": -0.1, "high": 0.04},
    }
    comparison = {"other": "outputs/<base>.json", "differences": {"topic_segmentation": differences}}
    section = parse(html.render(make([title_row(1)], comparison=comparison))).one("section", id="comparison")
    rows = section.one("tbody").all("tr")
    assert [row.cells for row in rows] == [
        ["官方总分 score", "+5.00 [+1.00, +9.00]"],
        ["F1 test_f1", "-2.00 [-10.00, +4.00]"],
    ]
    assert [row.attributes.get("class_") for row in rows] == ["overall", None]
    assert "outputs/<base>.json" in section.text


def test_baselines_of_unknown_figure_are_listed_apart() -> None:
    official = track("topic_title_generation", {"score": 0.5})
    note = parse(html.render(make([title_row(1)], official=official))).one("section", id="official").text
    assert "没有说明对应哪一项：PALM 2.0 ROUGE-1 31.28，" in note


def test_without_floor_there_is_no_column_for_it() -> None:
    page = parse(html.render(make([title_row(1)], official=track("action_item_detection", {"score": 0.5}))))
    assert "底线" not in page.one("table", class_="figures").text
    assert page.one("table", class_="figures").one("tbody").one("tr").cells[2] == "StructBERT 69.43"


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_a_figure_that_is_not_there_is_undefined_and_never_nan(nothing: float | None) -> None:
    results = make([title_row(1, rouge_l=nothing)], official=track("action_item_detection", {"score": nothing}))
    results["tasks"]["title_generation"]["llamafactory"] = dict.fromkeys(SCORES, nothing)
    page = html.render(results)
    assert not re.search(r"\b(nan|inf|none)\b", parse(page).one("main").text, re.IGNORECASE)
    assert "未定义" in page
    assert "1 个样本没有分数，未列出" in page


def test_results_with_no_sample_make_a_page() -> None:
    results = make([]) | {"rows": []}
    assert "没有样本" in parse(html.render(results)).one("section", id="scores").text


def test_the_input_is_left_as_it_was() -> None:
    results = make([title_row(1)], official=track("action_item_detection", {"score": 0.5}))
    before = copy.deepcopy(results)
    html.render(results, [meeting()])
    assert results == before


# -------------------------------------------------------------------------------------------------------- samples


def ids(element: Element) -> list[str]:
    return [heading.text for heading in element.all("h5")]


def folds(page: Element, section: str = "task-1") -> list[Element]:
    return page.one("section", id=section).all("details", class_="fold")


def test_the_worst_come_first_and_no_sample_is_shown_twice() -> None:
    rows = [title_row(n, rouge_l=float(n)) for n in (3, 1, 4, 2, 5)]
    worst, best = folds(parse(html.render(make(rows))))
    assert ids(worst) == ["T1/title/1", "T1/title/2", "T1/title/3"]
    assert ids(best) == ["T1/title/5", "T1/title/4"]


def test_twenty_of_each_at_most() -> None:
    worst, best = folds(parse(html.render(make([title_row(n, rouge_l=float(n)) for n in range(100)]))))
    assert ids(worst) == [f"T1/title/{n}" for n in range(20)]
    assert ids(best) == [f"T1/title/{n}" for n in range(99, 79, -1)]


def test_a_sample_shows_input_references_answer_raw_and_scores() -> None:
    sample = folds(parse(html.render(make([title_row(1)]))))[0].one("article")
    assert dict(zip((e.text for e in sample.all("dt")), (e.text for e in sample.all("dd")), strict=True)) == {
        "目标": "定春游地点",
        "参考": "春游去哪",
        "答案": "春游",
        "原始": "标题：春游",
    }
    assert sample.one("p", class_="scores").text == (
        "ROUGE-1 12.34 ROUGE-2 5.68 ROUGE-L 50.00 BLEU-4 7.50 精确匹配 0.00 去掉开场白"
    )
    assert sample.one("details").one("div", class_="input").text == "会议内容： [甲]: 先定春游地点。"
    assert "open" not in sample.one("details").attributes


def test_an_empty_and_a_runaway_answer_are_called_so() -> None:
    empty = title_row(1, raw="", predict="", rouge_l=0.0)
    endless = title_row(2, raw="春" * 9000, finish="length", rouge_l=1.0)
    worst, best = folds(parse(html.render(make([empty, endless]))))
    assert worst.one("article").all("dd")[2].text == "（空）"
    assert "超长停止" in best.text
    assert "只显示开头，共 9000 字" in best.text


def test_numbers_are_ordered_by_their_own_f1_and_show_the_lines_meant() -> None:
    right = number_row("action_item_detection", "无", [], [1, 2, 3], id="right")
    half = number_row("action_item_detection", "2, 3", [1, 2], [1, 2, 3], id="half")
    page = parse(html.render(make([right, half])))
    worst, best = folds(page)
    assert (ids(worst), ids(best)) == (["half"], ["right"])
    assert worst.one("p", class_="scores").text.startswith("编号 F1 50.00 ")
    assert [line.text for line in worst.one("ul", class_="lines").all("li")] == [
        "△ 1. [甲]: 第1句。",
        "● 2. [甲]: 第2句。",
        "○ 3. [甲]: 第3句。",
    ]


def test_key_sentences_as_text_fall_back_to_rouge() -> None:
    row = number_row("extractive_summary", "去湿地公园吧。", [2], [1, 2])
    page = parse(html.render(make([row])))
    assert "按 ROUGE-L" in page.one("section", id="task-1").text
    assert not page.one("section", id="task-1").all("ul", class_="lines")


# ---------------------------------------------------------------------------------------------------------- plots


def plots(page: Element, section: str = "task-1") -> list[Element]:
    return page.one("section", id=section).all("svg", class_="histogram")


def bars(plot: Element) -> list[str]:
    return [bar.text for bar in plot.all("rect", class_="bar") if bar.children]


def test_distributions_count_every_sample() -> None:
    rows = [title_row(1, rouge_l=5.0), title_row(2, rouge_l=100.0, predict="定春游的地点"), title_row(3, rouge_l=95.0)]
    official = track("topic_title_generation", {"score": 0.5}, per_meeting={"T1": 0.55, "T2": 0.0, "T3": None})
    lengths, rouge, by_meeting = plots(parse(html.render(make(rows, official=official))))
    assert bars(lengths) == ["2：模型答案 2", "5：标准答案 3", "6：模型答案 1"]
    assert bars(rouge) == ["[0, 10)：模型答案 1", "≥ 90：模型答案 2"]
    assert bars(by_meeting) == ["[0, 10)：模型答案 1", "[50, 60)：模型答案 1"]
    assert "字数" in lengths.text and "纵轴：样本数" in lengths.text and "标准答案（n=3）" in lengths.text


def test_of_numbers_how_many_is_plotted() -> None:
    rows = [number_row("topic_segmentation", "1, 2", [1], [2, 4, 8]), number_row("topic_segmentation", "无", [], [4])]
    lengths, _, f1 = plots(parse(html.render(make(rows))))
    assert "编号个数" in lengths.text
    assert bars(lengths) == ["0：标准答案 1", "0：模型答案 1", "1：模型答案 1", "2：标准答案 1"]
    assert bars(f1) == ["[60, 70)：模型答案 1", "≥ 90：模型答案 1"]


def test_one_runaway_answer_does_not_flatten_the_plot() -> None:
    rows = [title_row(n) for n in range(9)] + [title_row(9, predict="春" * 30_000)]
    lengths = plots(parse(html.render(make(rows))))[0]
    assert bars(lengths)[-1] == "≥ 11：模型答案 1"


@pytest.mark.parametrize("values", [[], [0], [0, 0], [1], [7, 99, 100], list(range(2000))])
def test_every_value_is_in_one_bin(values: list[int]) -> None:
    for bins in (charts.count_bins(values), charts.count_bins(values, top=10)):
        assert [sum(bin.holds(value) for bin in bins) for value in values] == [1] * len(values)
        assert len(bins) <= charts.BINS + 1


def test_an_interval_outside_0_to_100_stays_in_the_drawing() -> None:
    plot = parse(charts.interval(100.0, -5.0, 105.0, [("底线", "floor", 130.0)])).one("svg")
    assert all(0 <= float(line.attributes[x]) <= 160 for line in plot.all("line") for x in ("x1", "x2"))


def test_labels_of_plots_are_escaped() -> None:
    plot = charts.histogram([charts.Series("<b>", "answer", [1])], title="<i>", x_label="&", y_label='"')
    assert {element.tag for element in parse(plot).one("svg").all("b") + parse(plot).one("svg").all("i")} == set()
    assert "<i>" in parse(plot).text


# ---------------------------------------------------------------------------------------------------- transcripts


def transcript_rows() -> list[dict[str, Any]]:
    return [
        number_row("topic_segmentation", "2, 3", [1, 2], [2, 4, 8, 12]),
        number_row("extractive_summary", "2, 3", [3, 1], [1, 2, 3, 4], topic=4),
        number_row("session_summary", "1", [1, 2], [2, 3]),
        number_row("action_item_detection", "6, 7", [7, 9], list(range(1, 13))),
        title_row(1, topic=4, predict="去哪春游"),
    ]


def marks_of(page: Element) -> dict[int, list[str]]:
    """Return the marks of each sentence, and of the line under it where a topic ends."""
    found: dict[int, list[str]] = {}
    place = 0
    for line in page.one("div", class_="transcript").all("p"):
        if "s" in line.attributes["class_"].split():
            place = int(line.one("i").text)
        found.setdefault(place, []).extend(mark.text for mark in line.all("span", class_="mark"))
    return {place: marks for place, marks in found.items() if marks}


def test_the_transcript_marks_what_gold_and_prediction_say() -> None:
    page = parse(html.render(make(transcript_rows()), [meeting()]))
    assert marks_of(page) == {
        1: ["△ 主题关键句"],
        2: ["○ 主题关键句 1/2", "● 全场关键句", "△ 主题结束"],
        3: ["● 主题关键句 2/2", "△ 全场关键句"],
        4: ["○ 主题关键句 1/2", "● 主题结束"],
        6: ["○ 全场关键句", "○ 行动项"],
        7: ["● 行动项"],
        8: ["○ 主题结束"],
        9: ["△ 行动项"],
    }
    states = {mark.text[0]: mark.attributes["class_"] for mark in page.one("p", class_="legend").all("span")}
    assert states == {"●": "mark both", "○": "mark gold", "△": "mark predicted"}
    cut = page.one("div", class_="transcript").all("p", class_="cut")[1].text
    assert cut == "● 主题结束 标注标题 定春游地点 预测标题 去哪春游"


def test_the_tally_agrees_with_the_marks() -> None:
    page = parse(html.render(make(transcript_rows()), [meeting()]))
    assert [row.cells for row in page.one("table", class_="tally").one("tbody").all("tr")] == [
        ["主题结束", "1", "1", "1"],
        ["主题关键句", "1", "2", "1"],  # the second topic was not asked about, so its key sentence is not missed
        ["全场关键句", "1", "1", "1"],
        ["行动项", "1", "1", "1"],
    ]
    assert "标记 F1 50.00" in page.one("details", class_="meeting").one("summary").text


def test_marks_are_those_of_the_submission() -> None:
    gold = [meeting(60, topics=(Topic(1, 30), Topic(31, 60)), paragraph_ends=tuple(range(5, 61, 5)))]
    task = TASKS["topic_segmentation"]()
    samples = [one for one in task.samples(gold[0], "dev") if isinstance(one, Sample)]
    items = [evaluation.Item(sample, task, "T1") for sample in samples]
    scored = evaluation.score_items(items, [Completion("6、7")] * len(items))
    rows = [
        number_row(
            "topic_segmentation", one.item.sample.output, list(one.answer.numbers), list(one.item.sample.places)
        )
        for one in scored
    ]
    submitted = evaluation.submissions(scored, gold)["topic_segmentation"]["T1"]["topic_segment_ids"]
    shown = marks_of(parse(html.render(make(rows), gold)))
    assert {place for place, marks in shown.items() if marks[0][0] in "●△"} == {t["id"] for t in submitted} - {60}


def test_long_stretches_without_a_mark_are_folded() -> None:
    row = number_row("action_item_detection", "20", [20], list(range(1, 41)))
    page = parse(html.render(make([row]), [meeting(40, topics=(), action_ids=(20,))]))
    runs = page.one("div", class_="transcript").all("details", class_="run")
    assert [run.one("summary").text for run in runs] == ["第 1–17 句，没有标记", "第 23–40 句，没有标记"]
    assert len(page.one("div", class_="transcript").all("p", class_="s")) == 40


def test_only_the_worst_meetings_are_shown_and_the_page_says_so() -> None:
    rows, gold = [], []
    for number in range(30):
        gold.append(meeting(key=f"M{number}"))
        found = [6, 7] if number % 3 else [1]
        rows.append(number_row("action_item_detection", "6, 7", found, list(range(1, 13)), meeting=f"M{number}"))
    section = parse(html.render(make(rows), gold)).one("section", id="transcripts")
    assert "共 30 场会议，只列出标记 F1 最低的 20 场" in section.text
    shown = [one.one("h3").text for one in section.all("details", class_="meeting")]
    assert len(shown) == 20
    assert shown[:10] == [f"M{number}" for number in range(0, 30, 3)]


def test_official_scores_of_the_meeting_stand_beside_it() -> None:
    official = track("action_item_detection", {"score": 0.5}, per_meeting={"T1": 0.25})
    page = parse(html.render(make(transcript_rows(), official=official), [meeting()]))
    assert "官方行动项检测 25.00" in page.one("details", class_="meeting").one("summary").text


@pytest.mark.parametrize(
    ("rows", "gold"),
    [
        (transcript_rows(), []),
        ([title_row(1)], [meeting()]),
        ([number_row("action_item_detection", "1", [1], [1])], [meeting(action_ids=None)]),
        ([number_row("action_item_detection", "1", [1], [99])], [meeting()]),
        ([number_row("extractive_summary", "1", [1], [1], topic=5)], [meeting()]),
        ([number_row("topic_segmentation", "1", [1], [2, 4])], [meeting(topics=())]),
        ([number_row("action_item_detection", "1", [1], [1], meeting=None)], [meeting()]),
    ],
)
def test_without_gold_places_or_labels_there_is_no_transcript(rows: list[dict[str, Any]], gold: list[Meeting]) -> None:
    page = parse(html.render(make(rows), gold))
    assert not page.all("section", id="transcripts")
    assert page.one("section", id="task-1")


def test_rows_of_an_older_file_are_shown_without_places() -> None:
    row = transcript_rows()[0]
    for key in ("numbers", "places", "topic", "tokens"):
        del row[key]
    assert ids(folds(parse(html.render(make([row]), [meeting()])))[0]) == ["T1/topic_segmentation"]


def test_numbers_outside_the_prompt_mark_nothing() -> None:
    row = number_row("action_item_detection", "1", [0, 3, 99], [5, 6, 7])
    assert marks_of(parse(html.render(make([row]), [meeting()])))[7] == ["● 行动项"]


# --------------------------------------------------------------------------------------------------- foreign text

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</bdi></p></details></main><script>alert(1)</script>",
    "{{ 7 * 7 }} {% raw %} {# x #}",
    "<|im_end|>&amp;&#60;",
    "\"'><svg onload=alert(1)>",
    "--></style><!--",
    "\u202e反向\u2066",
    "]]>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_stays_text(text: str) -> None:
    row = title_row(1, id=text, input=text, label=text, references=[text], raw=text + "!", predict=text)
    action = number_row("action_item_detection", "1", [1], [1], input=f"会议内容：\n1. {text}", meeting=text)
    gold = meeting(key=text)
    gold.sentences[0].text = gold.sentences[0].speaker = text
    results = make([row, action])
    results["settings"]["base_model"] = results["settings"]["data_path"] = text
    results["tasks"]["title_generation"] = results["tasks"]["title_generation"] | {"repairs": {text: 1}}
    plain = make([title_row(1), number_row("action_item_detection", "1", [1], [1])])
    page = parse(html.render(results, [gold]))
    usual = parse(html.render(plain, [meeting()]))
    for tag in ("img", "script", "svg", "style", "main", "details", "section"):
        assert len(page.all(tag)) == len(usual.all(tag)), tag
    sentence = page.one("div", class_="transcript").one("p", class_="s")
    assert [part.raw for part in sentence.all("bdi")] == [text, text]
    for part in (page.one("h5").one("bdi"), page.one("div", class_="input").one("bdi")):
        assert part.raw == text


def test_control_characters_are_shown_and_can_be_written() -> None:
    row = title_row(1, predict="a\0b\x1bc\x7fd\x85e\ud83df\r\ng\rh\ti", raw="\x08")
    page = html.render(make([row]))
    page.encode("utf-8")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", page)
    assert parse(page).one("article").all("dd")[2].raw.strip() == "a␀b␛c␡d\ufffde\ufffdf\ng␍h\ti"


def test_nothing_is_loaded_and_no_script_is_run() -> None:
    page = html.render(make(transcript_rows()), [meeting()])
    tree = parse(page)
    policy = next(meta for meta in tree.all("meta") if meta.attributes.get("http-equiv"))
    assert policy.attributes["content"].startswith("default-src 'none'")
    assert not tree.all("script") + tree.all("img") + tree.all("iframe")
    assert "url(" not in page and "@import" not in page
    assert [link.attributes["href"] for link in tree.all("link")] == ["data:,"]
    assert all(link.attributes["href"].startswith("#") for link in tree.all("a"))


def test_links_lead_somewhere_and_ids_are_unique() -> None:
    results = make(transcript_rows(), official=track("action_item_detection", {"score": 0.5}))
    page = html.render(results, [meeting()])
    named = re.findall(r' id="([^"]+)"', page)
    assert len(named) == len(set(named))
    assert {link.attributes["href"][1:] for link in parse(page).all("a")} <= set(named)


# ----------------------------------------------------------------------------------------------------------- size


def test_a_huge_meeting_is_cut_and_says_so() -> None:
    count = 20_000
    row = number_row("action_item_detection", "1", [1, count], list(range(1, count + 1)))
    gold = meeting(count, topics=())
    gold.sentences[0].text = "长" * 200_000
    page = html.render(make([row]), [gold])
    assert len(page.encode()) < 1_000_000
    left_out = re.search(r"原文太长，其余 (\d+) 句未列出", page)
    assert left_out
    assert int(left_out[1]) + len(parse(page).one("div", class_="transcript").all("p", class_="s")) == count
    assert "只显示开头，共 200000 字" in page


def test_a_page_of_65_meetings_stays_small() -> None:
    gold = [meeting(710, key=f"M{n}") for n in range(65)]
    for one in gold:
        for sentence in one.sentences:
            sentence.text = "我觉得湿地公园挺好的，坐大巴四十分钟就到。"
    rows = [
        number_row("action_item_detection", "1", [1], list(range(1, 711)), meeting=one.key, input="字" * 4000)
        for one in gold
    ]
    rows += [title_row(n, input="字" * 4000) for n in range(700)]
    assert len(html.render(make(rows), gold).encode()) < 5_000_000
