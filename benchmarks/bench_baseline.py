r"""Time the engine without a model on all six tasks of one long meeting, the start of jieba included.

python benchmarks/bench_baseline.py --source ../shared/data/real_dev3.csv --sentences 4000
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from mug.corpus import Report, read_meetings  # noqa: E402
from mug.generation.baseline import BaselineEngine  # noqa: E402
from mug.meeting import Candidate, Meeting, Topic  # noqa: E402
from mug.tasks import TASKS  # noqa: E402
from mug.tasks.base import Sample  # noqa: E402

TOPIC = 75  # sentences; the corpus's average is about 65


def main() -> None:
    """Join meetings to a long one, answer it, print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT / "dataset" / "sample" / "train.csv")
    parser.add_argument("--sentences", type=int, default=4000)
    args = parser.parse_args()

    meeting = long_meeting(args.source, args.sentences)
    samples = [s for task in TASKS.values() for s in task().samples(meeting, "test") if isinstance(s, Sample)]
    started = time.process_time()
    answers = dict(BaselineEngine().generate(samples))
    seconds = time.process_time() - started
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, jieba {version('jieba')}, {datetime.now(UTC).date()}")
    print(f"{len(meeting.sentences)} sentences, {len(answers)} prompts: {seconds:.2f} processor seconds")


def long_meeting(source: Path, length: int) -> Meeting:
    """Return the source's sentences one after the other, again and again, with a topic every 75 sentences."""
    sentences = [sentence for meeting in read_meetings(source, Report()) for sentence in meeting.sentences]
    joined = tuple(islice(cycle(sentences), length))
    ends = [*range(TOPIC, length, TOPIC), length]
    starts = [1, *(end + 1 for end in ends[:-1])]
    whole = Meeting("long", joined, paragraph_ends=tuple(sorted({*range(5, length, 5), *ends})))
    # The session's prompt shows the topics' key sentences; three a topic, as annotators choose.
    chosen = [Candidate(key_sentences=(a, (a + b) // 2, b)) for a, b in zip(starts, ends, strict=True)]
    topics = tuple(Topic(a, b, (c,)) for a, b, c in zip(starts, ends, chosen, strict=True))
    return replace(whole, topics=topics)


if __name__ == "__main__":
    main()
