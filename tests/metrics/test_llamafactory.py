from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from mug.errors import InputError
from mug.metrics.bootstrap import intervals
from mug.metrics.llamafactory import METRICS, average, score_pairs


def test_equals_the_golden_file(golden: Path) -> None:
    expected = json.loads((golden / "llamafactory_title_scores.json").read_text(encoding="utf-8"))
    scores = score_pairs([(row["predict"], row["label"]) for row in expected["rows"]])
    for ours, row in zip(scores.rows, expected["rows"], strict=True):
        assert {name: row[name] for name in METRICS if name != "exact_match"} == {
            name: ours[name] for name in METRICS if name != "exact_match"
        }
    assert scores.average == pytest.approx(expected["average"], abs=1e-12, rel=0)
    assert (scores.n, scores.empty) == (43, 0)


def test_equals_the_libraries_on_random_pairs() -> None:
    reason = "what LLaMA-Factory scores with is not installed"
    jieba = pytest.importorskip("jieba", reason=reason)
    rouge_chinese = pytest.importorskip("rouge_chinese", reason=reason)
    bleu = pytest.importorskip("nltk.translate.bleu_score", reason=reason)

    def of_the_libraries(prediction: str, label: str) -> dict[str, float]:
        hypothesis, reference = " ".join(jieba.cut(prediction)), " ".join(jieba.cut(label))
        score = rouge_chinese.Rouge().get_scores(hypothesis, reference)[0]
        result = {name: round(value["f"] * 100, 4) for name, value in score.items()}
        smoothing = bleu.SmoothingFunction().method3
        value = bleu.sentence_bleu([list(label)], list(prediction), smoothing_function=smoothing)
        return {**result, "bleu-4": round(value * 100, 4)}

    rng = random.Random(11)
    alphabets = ("做好宣传线上线下 。！？”’…\n.", "abAI 2.0规划。\n\r\t\u2028", "做好", "做。....... \u3000”\n……！ ")
    checked = 0
    for alphabet in alphabets:
        for _ in range(150):
            prediction, label = ("".join(rng.choices(alphabet, k=rng.randint(1, 30))) for _ in range(2))
            if prediction.strip() and label.strip():
                row = score_pairs([(prediction, label)]).rows[0]
                del row["exact_match"]
                assert row == of_the_libraries(prediction, label), (prediction, label)
                checked += 1
    assert checked > 400


@pytest.mark.parametrize("prediction", ["", "   ", "\n", ".", "。", "......", "\u3000"])
def test_an_empty_prediction_is_zero_kept_and_counted(prediction: str) -> None:
    scores = score_pairs([(prediction, "定春游地点"), ("定春游地点", "定春游地点")])
    assert set(scores.rows[0].values()) == {0.0}
    assert (scores.n, scores.empty) == (2, 1)
    assert scores.average["exact_match"] == 50.0
    assert scores.average["bleu-4"] == 50.0


def test_blank_on_both_sides_is_no_match() -> None:
    assert set(score_pairs([(" ", " "), ("", ""), ("好", "")]).average.values()) == {0.0}


def test_all_empty_is_zero() -> None:
    scores = score_pairs([("", "定春游地点")] * 3)
    assert (scores.n, scores.empty, scores.average["rouge-l"]) == (3, 3, 0.0)


def test_exact_match_needs_the_whole_text_and_ignores_outer_spaces() -> None:
    scores = score_pairs([(" 定春游地点\n", "定春游地点"), ("春游", "定春游地点"), ("定春游地点", "春游")])
    assert [row["exact_match"] for row in scores.rows] == [100.0, 0.0, 0.0]


def test_no_pairs_is_an_error() -> None:
    with pytest.raises(InputError):
        score_pairs([])


def test_long_texts_finish() -> None:
    rng = random.Random(2)
    texts = ["".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(2200)) for _ in range(2)]
    assert score_pairs([(texts[0], texts[1])]).n == 1


def test_groups_a_meeting_serve_the_bootstrap() -> None:
    rows = score_pairs([("定春游地点", "定春游地点"), ("", "a"), ("春游", "定春游地点")]).rows
    assert average([rows[:1], rows[1:]]) == average([rows])
    interval = intervals([rows[:1], rows[1:]], average, resamples=50)["exact_match"]
    assert interval is not None and (interval.low, interval.high) == (0.0, 100.0)


def test_jieba_loads_at_the_first_cut_and_in_silence(tmp_path: Path) -> None:
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    code = (  # an empty folder for temporary files, so that no dictionary is found cached
        "import sys, tempfile; tempfile.tempdir = sys.argv[2]; sys.path.insert(0, sys.argv[1])\n"
        "from mug.metrics.llamafactory import score_pairs\n"
        "assert 'jieba' not in sys.modules\n"
        "score_pairs([('做好线下宣', '做好线下宣传')])\n"
    )
    command = [sys.executable, "-W", "always", "-c", code, str(scripts), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
