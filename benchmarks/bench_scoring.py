"""Time the official scores of 65 dev-sized meetings: this project's way beside the challenge's own way.

    python benchmarks/bench_scoring.py [--meetings 65] [--gold gold.csv] [--predictions folder of TASK.jsonl files]

The meetings are three real ones repeated, each copy with some characters exchanged and its predictions moved. Both
sides start from the same meetings and rows in memory; reading and imports are not timed. "rouge 1.0.1" is the
challenge's way: the ``rouge`` package in pure Python for each answer and reference, segeval for Pk and WindowDiff, the
plain double loops for keyphrases. Its tokenizer is replaced by ours, which is quicker, so its figure is rather too
good. The seconds are processor time, which other programs on the machine hardly lengthen. Nothing is extrapolated
unless --official_meetings says so, and then the output does.

Needs: pip install rouge==1.0.1 segeval==2.0.11
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import segeval  # noqa: E402
from rouge import Rouge  # noqa: E402

from mug.corpus import Report, read_meetings  # noqa: E402
from mug.meeting import Meeting  # noqa: E402
from mug.metrics import official  # noqa: E402
from mug.metrics.rouge import FIELDS, tokenize  # noqa: E402
from mug.metrics.submission import Row, read_rows  # noqa: E402

Scores = dict[str, float]


# ------------------------------------------------------------------------------------------------ material


def perturbed(meeting: Meeting, copy: int, rng: random.Random) -> Meeting:
    """Return the meeting under a new key, with two characters of every tenth sentence exchanged."""
    sentences = list(meeting.sentences)
    for i in range(copy % 10, len(sentences), 10):
        text = list(sentences[i].text)
        if len(text) > 3:
            a, b = rng.sample(range(len(text)), 2)
            text[a], text[b] = text[b], text[a]
            sentences[i] = replace(sentences[i], text="".join(text))
    return replace(meeting, key=f"{meeting.key}-{copy}", sentences=tuple(sentences))


def perturbed_row(row: Row, meeting: Meeting, track: str, rng: random.Random) -> Row:
    """Return the row with some of its answers moved, its topics still the gold ones."""
    last = len(meeting.sentences)
    new = json.loads(json.dumps(row))
    new["meeting_key"] = meeting.key
    if track == "topic_segmentation":
        ends = meeting.paragraph_ends
        for topic in new["topic_segment_ids"]:
            topic["id"] = rng.choice(ends) if rng.random() < 0.2 else topic["id"]
    elif track == "extractive_summarization":
        for topic in [*new["topic_segment_ids"], new]:
            topic["key_sentence"] = [
                str(min(last, int(i) + rng.randint(0, 2))) if rng.random() < 0.3 else i for i in topic["key_sentence"]
            ]
    elif track == "topic_title_generation":
        for topic in new["topic_segment_ids"]:
            cut = rng.randint(0, len(topic["title"]))
            topic["title"] = topic["title"][cut:] + topic["title"][:cut]
    elif track == "keyphrase_extraction":
        rng.shuffle(new["key_word"])
    else:
        new["action_ids"] = [{"id": min(last, item["id"] + rng.randint(0, 1))} for item in new["action_ids"]]
    return new


def material(gold_file: Path, predictions: Path, count: int) -> tuple[list[Meeting], dict[str, dict[str, Row]]]:
    """Return ``count`` meetings and a row of each track for each of them."""
    rng = random.Random(0)
    originals = list(read_meetings(gold_file, Report()))
    rows = {
        track: [read_rows(predictions / f"{name}.{track}.jsonl") for name in ("noisy", "first_annotator")]
        for track in official.TRACKS
    }
    gold: list[Meeting] = []
    submissions: dict[str, dict[str, Row]] = {track: {} for track in official.TRACKS}
    for copy in range(count):
        original = originals[copy % len(originals)]
        meeting = perturbed(original, copy, rng)
        gold.append(meeting)
        for track in official.TRACKS:
            row = rows[track][copy // len(originals) % 2][original.key]
            submissions[track][meeting.key] = perturbed_row(row, meeting, track, rng)
    return gold, submissions


# ------------------------------------------------------------------------------------------------ the official way


def rouge_of_texts(prediction: str, reference: str) -> Scores:
    """The nine numbers of one pair as the evaluator gets them, one ``get_scores`` a pair."""
    scores = Rouge().get_scores([" ".join(tokenize(prediction))], [" ".join(tokenize(reference))], avg=True)
    return {f"{kind}_{part}": scores[kind][part] for kind in scores for part in scores[kind]}


def multi_reference(prefix: str, answers: Sequence[tuple[str, Sequence[str]]]) -> Scores:
    """Average and best reference of each answer, averaged over the answers."""
    best: list[Scores] = []
    average: list[Scores] = []
    for prediction, references in answers:
        scores = [rouge_of_texts(prediction, reference) for reference in references]
        best.append(max(scores, key=lambda score: score["rouge-l_f"]))
        average.append({field: sum(score[field] for score in scores) / len(scores) for field in FIELDS})
    return {
        f"{prefix}_{policy}_{field}": sum(row[field] for row in rows) / len(rows)
        for policy, rows in (("max", best), ("average", average))
        for field in FIELDS
    }


def slow_extractive_summarization(gold: Sequence[Meeting], rows: dict[str, Row]) -> Scores:
    """Track 2 with the ``rouge`` package."""
    topics, sessions = [], []
    for meeting in gold:
        row = rows[meeting.key]

        def text(ids: Sequence[Any], meeting: Meeting = meeting) -> str:
            return "".join(meeting.sentences[int(i) - 1].text for i in ids)

        for topic, answer in zip(meeting.topics, row["topic_segment_ids"], strict=True):
            topics.append((text(answer["key_sentence"]), [text(c.key_sentences) for c in topic.candidates]))
        sessions.append((text(row["key_sentence"]), [text(c.key_sentences) for c in meeting.candidates]))
    return {**multi_reference("topic-es", topics), **multi_reference("doc-es", sessions)}


def slow_topic_title_generation(gold: Sequence[Meeting], rows: dict[str, Row]) -> Scores:
    """Track 3 with the ``rouge`` package."""
    answers = [
        (answer["title"], [candidate.title for candidate in topic.candidates])
        for meeting in gold
        for topic, answer in zip(meeting.topics, rows[meeting.key]["topic_segment_ids"], strict=True)
    ]
    return multi_reference("ttg", answers)


def slow_topic_segmentation(gold: Sequence[Meeting], rows: dict[str, Row]) -> Scores:
    """Pk and WindowDiff of track 1 with segeval; the rest of the track takes no time."""

    def masses(ends: set[int], places: Sequence[int]) -> list[int]:
        lengths, current = [], 0
        for place in places:
            current += 1
            if place in ends:
                lengths.append(current)
                current = 0
        return [*lengths, current] if current else lengths

    pk, wd = [], []
    for meeting in gold:
        places = meeting.paragraph_ends[:-1]
        predicted = masses({topic["id"] for topic in rows[meeting.key]["topic_segment_ids"]}, places)
        reference = masses({topic.end for topic in meeting.topics}, places)
        pk.append(1 - segeval.pk(predicted, reference))
        wd.append(1 - segeval.window_diff(predicted, reference))
    return {"test_1-pk": round(float(sum(pk) / len(pk)), 4), "test_1-wd": round(float(sum(wd) / len(wd)), 4)}


def slow_keyphrase_extraction(gold: Sequence[Meeting], rows: dict[str, Row]) -> Scores:
    """Track 4 with the ``rouge`` package and a common-substring table a pair of phrases."""

    def match(one: str, two: str) -> bool:
        one, two = one.strip(), two.strip()
        table = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
        longest = 0
        for i in range(1, len(one) + 1):
            for j in range(1, len(two) + 1):
                if one[i - 1] == two[j - 1]:
                    table[i][j] = table[i - 1][j - 1] + 1
                    longest = max(longest, table[i][j])
        return longest >= 2

    figures = {}
    references = [[word for c in meeting.candidates for word in c.key_words] for meeting in gold]
    for cut in (10, 15, 20):
        predictions = [rows[meeting.key]["key_word"][:cut] for meeting in gold]
        partial = []
        for predicted, reference in zip(predictions, references, strict=True):
            p = sum(any(match(word, other) for other in reference) for word in predicted) / len(predicted)
            r = sum(any(match(word, other) for word in predicted) for other in reference) / len(reference)
            partial.append(2 * p * r / (p + r) if p + r else 0.0)
        figures[f"partial_f1@{cut}"] = sum(partial) / len(partial)
        exact = Rouge().get_scores([" ".join(p) for p in predictions], [" ".join(r) for r in references], avg=True)
        figures[f"exact_f1@{cut}"] = exact["rouge-1"]["f"]
    return figures


def slow_action_item_detection(gold: Sequence[Meeting], rows: dict[str, Row]) -> Scores:
    """Track 5 over one label a sentence."""
    hits = predicted_count = actual_count = 0
    for meeting in gold:
        predicted = [0] * len(meeting.sentences)
        actual = [0] * len(meeting.sentences)
        for item in rows[meeting.key]["action_ids"]:
            predicted[item["id"] - 1] = 1
        for place in meeting.action_ids or ():
            actual[place - 1] = 1
        hits += sum(p and a for p, a in zip(predicted, actual, strict=True))
        predicted_count += sum(predicted)
        actual_count += sum(actual)
    return {"score": 2 * hits / (predicted_count + actual_count)}


SLOW: dict[str, Callable[[Sequence[Meeting], dict[str, Row]], Scores]] = {
    "topic_segmentation": slow_topic_segmentation,
    "extractive_summarization": slow_extractive_summarization,
    "topic_title_generation": slow_topic_title_generation,
    "keyphrase_extraction": slow_keyphrase_extraction,
    "action_item_detection": slow_action_item_detection,
}


# ------------------------------------------------------------------------------------------------ timing


def processor() -> str:
    """Name the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print one row a track and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meetings", type=int, default=65)
    parser.add_argument("--official_meetings", type=int, help="time the official way on fewer and extrapolate")
    parser.add_argument("--gold", type=Path, default=ROOT.parent / "shared" / "golden" / "gold.csv")
    parser.add_argument("--predictions", type=Path, default=ROOT.parent / "shared" / "golden")
    args = parser.parse_args()
    if not args.gold.is_file():
        parser.error(f"no gold file at {args.gold}; name one with --gold, and its predictions with --predictions")
    # As the official evaluator does: the package walks its LCS path by recursion.
    sys.setrecursionlimit(100_000)

    gold, rows = material(args.gold, args.predictions, args.meetings)
    sample = gold[: args.official_meetings or len(gold)]
    factor = len(gold) / len(sample)
    print(f"date       {date.today().isoformat()}")
    print(f"machine    {processor()}, {platform.system()}, Python {platform.python_version()}")
    print(f"versions   rouge {version('rouge')}, segeval {version('segeval')}")
    print(
        f"material   {len(gold)} meetings, {sum(len(m.sentences) for m in gold):,} sentences, "
        f"{sum(len(m.topics) for m in gold)} topics, {len(gold[0].candidates)} annotators"
    )
    if factor > 1:
        print(f"EXTRAPOLATED: the official way was timed on {len(sample)} meetings and multiplied by {factor:.2f}")
    print(f"\n{'track':26}{'rouge 1.0.1 way, s':>20}{'this project, s':>18}{'times':>9}{'largest difference':>21}")
    slow_total = quick_total = 0.0
    for track, slow in SLOW.items():
        start = time.process_time()
        official.score(track, gold, rows[track])
        quick_seconds = time.process_time() - start
        sample_rows = {meeting.key: rows[track][meeting.key] for meeting in sample}
        start = time.process_time()
        expected = slow(sample, sample_rows)
        slow_seconds = (time.process_time() - start) * factor
        ours = official.score(track, sample, sample_rows)
        difference = max(abs(value - (ours[name] or 0.0)) for name, value in expected.items())
        slow_total, quick_total = slow_total + slow_seconds, quick_total + quick_seconds
        times = slow_seconds / quick_seconds
        print(f"{track:26}{slow_seconds:20.3f}{quick_seconds:18.4f}{times:9.0f}{difference:21.1e}", flush=True)
    print(f"{'all five':26}{slow_total:20.3f}{quick_total:18.4f}{slow_total / quick_total:9.0f}")


if __name__ == "__main__":
    main()
