r"""Time preprocess_data.py against reading the same corpus with csv and json.loads alone, in one run.

    python benchmarks/bench_preprocess.py --source ../shared/data/real_dev3.csv --meetings 295

Each command is a fresh process; the figures are the least of ``--runs`` (processor seconds, user and system) and the
peak memory of one process. Token counts are estimated, so no tokenizer is needed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
READ_ALONE = """
import csv, json, sys
csv.field_size_limit(1 << 31)
for row in csv.DictReader(open(sys.argv[1], encoding="utf-8", newline=""), delimiter="\\t"):
    json.loads(row["content"])
"""


def main() -> None:
    """Make the corpus, time the three commands in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT / "dataset" / "sample" / "train.csv")
    parser.add_argument("--meetings", type=int, default=295)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "train.csv"
        maker = [sys.executable, str(ROOT / "benchmarks" / "make_corpus.py"), "--source", str(args.source)]
        subprocess.run([*maker, "--meetings", str(args.meetings), "--output", str(corpus)], check=True)
        script = [sys.executable, str(ROOT / "scripts" / "preprocess_data.py"), "--estimate_tokens"]
        written = ["--train_input", str(corpus), "--output_dir", str(Path(folder) / "data"), "--task"]
        commands = {
            "csv and json.loads alone": [sys.executable, "-c", READ_ALONE, str(corpus)],
            "--task title_generation": [*script, *written, "title_generation"],
            "--task all": [*script, *written, "all"],
        }
        best = {name: (float("inf"), 0.0) for name in commands}
        for _ in range(args.runs):  # in turn, so that a slow spell of the machine hits all three
            for name, command in commands.items():
                best[name] = min(best[name], run(command))

    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {datetime.now(UTC).date()}"
    )
    base = best["csv and json.loads alone"][0]
    for name, (seconds, peak) in best.items():
        print(f"{name:26} {seconds:6.2f} s  {seconds / base:5.2f} times  {peak:6.1f} MiB")


def run(command: list[str]) -> tuple[float, float]:
    """Return the processor seconds and the peak memory (MiB) of a command that must succeed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
