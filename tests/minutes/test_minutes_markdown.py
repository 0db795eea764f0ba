"""The Markdown minutes: the whole page once, and foreign text through a Markdown reader."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from minutes.conftest import HOSTILE
from mug.minutes import markdown

PAGE = """\
# 春游安排（生成）

- 日期：2025-03-07
- 时长：00:54
- 来源：春游.vtt
- 关键词：春游、AI（原文未出现）、湿地公园

## 摘要

- 去湿地公园吧。（[乙 00:20](#s2)）
- 下周五。（[甲 00:50](#s5)）

## 行动项

| 事项 | 负责人 | 期限 | 出处 |
| --- | --- | --- | --- |
| 我来订大巴，周三之前把报价发群里。 | 乙（推导） | 周三之前（推导） | [乙 01:00](#s6) |

## 章节

### [1. 定春游地点](#c1)（00:10–00:34）

- 先定春游地点。（[甲 00:10](#s1)）
- 去湿地公园吧。（[乙 00:20](#s2)）

### [2. 定春游时间](#c2)（00:40–01:04）

- 下周五。（[甲 00:50](#s5)）

## 参会人

| 姓名 | 句数 | 说话时长 | 占比 |
| --- | --- | --- | --- |
| 甲 | 3 | 00:12 | 50% |
| 乙 | 3 | 00:12 | 50% |

## 说明

- 章节、选句和标题由 一个模型 产生。
- 会议标题、各章标题是生成的；标有“人工修改”的由人改过。摘要、关键句和行动项是原文中的句子，逐字引用，可点到原处。
- 标有“原文未出现”的关键词是生成的。
- 行动项的负责人和期限按规则从句中推导，请核对。

## 全文

### <a id="c1"></a>1. 定春游地点

**甲** 00:10\x20\x20
<a id="s1"></a>先定春游地点。

**乙** 00:20\x20\x20
<a id="s2"></a>去湿地公园吧。

**甲** 00:30\x20\x20
<a id="s3"></a>同意。

### <a id="c2"></a>2. 定春游时间

**乙** 00:40\x20\x20
<a id="s4"></a>哪天去？

**甲** 00:50\x20\x20
<a id="s5"></a>下周五。

**乙** 01:00\x20\x20
<a id="s6"></a>我来订大巴，周三之前把报价发群里。
"""


def test_the_whole_page(minutes):
    assert markdown.render(minutes) == PAGE


def test_headings_in_english(minutes):
    page = markdown.render(minutes, "en")
    assert page.startswith("# 春游安排 (generated)\n")
    assert [line for line in page.split("\n") if line.startswith("## ")] == [
        "## Summary",
        "## Action items",
        "## Chapters",
        "## Participants",
        "## How these minutes were made",
        "## Transcript",
    ]
    assert "| 乙 (derived) | 周三之前 (derived) | [乙 01:00](#s6) |" in page


def test_without_a_model_the_page_says_so(minutes):
    assert "没有使用模型：由基线规则（baseline）" in markdown.render(replace(minutes, engine="baseline"))


def test_an_edit_is_marked_in_place_of_derived(minutes):
    (item,) = minutes.action_items
    edited = replace(item, text="订大巴", owner="丙", due="周四", edited=True)
    page = markdown.render(replace(minutes, action_items=(edited,)))
    assert "| 订大巴（人工修改） | 丙（人工修改） | 周四（人工修改） | [乙 01:00](#s6) |" in page


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        found = dict(attributes)
        self.links += [found["href"]] if "href" in found else []
        self.anchors |= {found["id"]} if "id" in found else set()

    def handle_data(self, data):
        self.text += data


def _read(page):
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = _Tags()
    found.feed(reader.render(page))
    return found


def test_every_link_has_its_anchor(minutes):
    found = _read(markdown.render(minutes))
    assert len(found.links) == 8
    assert {link.removeprefix("#") for link in found.links} <= found.anchors
    assert found.anchors >= {f"s{place}" for place in range(1, 7)}


def test_hostile_text_stays_text(hostile):
    found = _read(markdown.render(hostile))
    assert found.tags == {
        "a",
        "h1",
        "h2",
        "h3",
        "ul",
        "li",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "br",
        "strong",
    }
    assert all(re.fullmatch(r"#[sc]\d+", link) for link in found.links)
    for text in HOSTILE:
        shown = re.sub(r"[\x07\x0b\u202e]", " ", text)
        assert found.text.count(shown) >= 2, text  # as a key sentence and in the transcript


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("# 一", "\\# 一"),
        ("1. 一", "1\\. 一"),
        ("12) 一", "12\\) 一"),
        ("3.5 元", "3\\.5 元"),
        ("- 一", "\\- 一"),
        ("+ 一", "\\+ 一"),
        ("===", "\\==="),
        ("a|b", "a\\|b"),
        ("a*b_c`d", "a\\*b\\_c\\`d"),
        ("C:\\new", "C:\\\\new"),
        ("一\n二", "一 二"),
        ("https://a.b", "https\\://a.b"),
        ("你好。", "你好。"),
    ],
)
def test_escape(text, escaped):
    assert markdown.escape(text) == escaped
