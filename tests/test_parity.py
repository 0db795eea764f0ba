"""What differs between two engines' answers, and what only looks so."""

from __future__ import annotations

import pytest

from mug import parity
from mug.generation.base import Completion
from mug.tasks.base import Sample

SAMPLES = [Sample(id=f"T1/title/{i}", instruction="请写标题。", input=f"[甲]: 第{i}句。") for i in range(2)]


@pytest.mark.parametrize(
    ("first", "other", "why"),
    [
        (("订大巴", "stop"), ("订大巴", "length"), ""),
        (("订大巴<|quad_start|>", "length"), ("订大巴", "length"), ""),
        (("订<|im_start|>大巴", "stop"), ("订大<|fim_pad|>巴", "stop"), ""),
        (("订大巴", "stop"), ("订大巴，订午餐", "length"), parity.GOES_ON),
        (("", "stop"), ("订午餐", "stop"), parity.GOES_ON),
        (("订大\ufffd", "stop"), ("订大巴，订午餐", "length"), parity.GOES_ON),  # it ended inside a character
        (("订大巴", "length"), ("订大巴，订午餐", "stop"), "is longer than the token limit of the first"),
        (("订大巴，订午餐", "stop"), ("订大巴", "stop"), "ends earlier, after character 3"),
        (("订大巴，订午餐", "stop"), ("订大巴", "length"), "ends at a lower token limit, after character 3"),
        (("订大巴", "stop"), ("定大巴", "stop"), "differs from character 1"),
        (("<|im_start|>订大巴", "stop"), ("订大车", "stop"), "differs from character 3"),
        (("a <| b |> c", "stop"), ("a  c", "stop"), "differs from character 3"),  # no special token
    ],
)
def test_why_two_answers_differ(first, other, why):
    assert parity.why(Completion(*first), Completion(*other)) == why


def test_each_engine_that_differs_from_the_first_is_named_with_its_reason():
    said = {
        "lora": [Completion("订大巴"), Completion("定时间")],
        "merged": [Completion("订大巴"), Completion("定时间<|im_start|>")],
        "http://127.0.0.1/v1": [Completion("订大巴"), Completion("定时间，散会", "length")],
    }
    assert parity.differences(SAMPLES, said) == [
        {
            "id": "T1/title/1",
            "why": {"http://127.0.0.1/v1": "goes on after an end token"},
            "answers": {"lora": "定时间", "merged": "定时间<|im_start|>", "http://127.0.0.1/v1": "定时间，散会"},
        }
    ]


def test_the_same_answers_are_no_difference():
    said = [Completion("订大巴"), Completion("")]
    assert parity.differences(SAMPLES, {"lora": said, "merged": said}) == []
