r"""Time a long meeting from its sentences to minutes in all four formats, without a model; one JSON line.

taskset -c 0 python benchmarks/bench_minutes.py --source ../shared/data/real_dev3.csv --sentences 4000

The sentences are those of the source's meetings one after the other, again and again, with times that run on. The
start of jieba is counted, that of Python and the reading of the source are not; ``process_seconds`` counts them too.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
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
from mug.meeting import Meeting  # noqa: E402
from mug.minutes.pipeline import make_minutes  # noqa: E402
from mug.minutes.writing import FORMATS, write  # noqa: E402
from mug.transcripts.recording import Recording  # noqa: E402

SECONDS = 2.7  # a sentence: 4,000 of them make three hours
PARAGRAPH = 5  # sentences; the corpus's average


def main() -> None:
    """Make the meeting, its minutes and the files; print processor seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT / "dataset" / "sample" / "train.csv")
    parser.add_argument("--sentences", type=int, default=4000)
    args = parser.parse_args()

    recording = Recording(long_meeting(args.source, args.sentences), "corpus")
    started = time.process_time()
    minutes = make_minutes(recording, BaselineEngine(), engine_name="baseline")
    made = time.process_time()
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for ending in FORMATS:
            path = Path(folder) / f"minutes.{ending}"
            write(minutes, [path])
            sizes[ending] = path.stat().st_size
    written = time.process_time()
    result = {
        "sentences": len(minutes.sentences),
        "chapters": len(minutes.chapters),
        "action_items": len(minutes.action_items),
        "pipeline_seconds": round(made - started, 2),
        "formats_seconds": round(written - made, 2),
        "process_seconds": round(written, 2),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "bytes": sizes,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "jieba": version("jieba"),
        "date": str(datetime.now(UTC).date()),
    }
    print(json.dumps(result))


def long_meeting(source: Path, length: int) -> Meeting:
    """Return the source's sentences one after the other, again and again, as one meeting."""
    found = [sentence for meeting in read_meetings(source, Report(), times=False) for sentence in meeting.sentences]
    sentences = tuple(
        replace(sentence, start=round(place * SECONDS, 1), end=round((place + 1) * SECONDS, 1))
        for place, sentence in enumerate(islice(cycle(found), length))
    )
    return Meeting("long", sentences, paragraph_ends=(*range(PARAGRAPH, length, PARAGRAPH), length))


if __name__ == "__main__":
    main()
