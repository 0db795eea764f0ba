r"""Repeat a corpus file to a given number of meetings under new keys, for measuring.

The long sentences of each copy are numbered, so that no copy passes for the same meeting under another key.

    python benchmarks/make_corpus.py --source ../shared/data/real_dev3.csv --meetings 295 --output /tmp/train295.csv
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from pathlib import Path

LONG = 60  # characters; a meeting has some tens of such sentences


def main() -> None:
    """Write the corpus, one meeting at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("dataset/sample/train.csv"))
    parser.add_argument("--meetings", type=int, default=295)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    csv.field_size_limit(1 << 30)
    with args.source.open(encoding="utf-8", newline="") as file:
        meetings = [json.loads(row["content"]) for row in csv.DictReader(file, delimiter="\t")]
    with args.output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["idx", "content"])
        for number, meeting in enumerate(itertools.islice(itertools.cycle(meetings), args.meetings)):
            sentences = [
                sentence | {"s": f"{sentence['s']}（{number}）"} if len(sentence["s"]) > LONG else sentence
                for sentence in meeting["sentences"]
            ]
            copy = meeting | {"meeting_key": f"{meeting['meeting_key']}x{number:05d}", "sentences": sentences}
            writer.writerow([number, json.dumps(copy, ensure_ascii=False)])
    print(f"{args.output}: {args.meetings} meetings, {args.output.stat().st_size / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
