r"""Put a corpus larger than any memory through preprocess_data.py --task all, by one process and by several.

    python benchmarks/bench_load.py --source ../shared/data/real_dev3.csv --meetings 20000 --workers 1 2

Prints one JSON line: wall and processor seconds, meetings a second, and peak memory (MiB, from /proc) of the main
process, of the largest worker and of all together, for each number of workers; and whether all wrote the same bytes.
The corpus and what is made of it take about five times the corpus's size in ``--folder`` and are removed afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Make the corpus, run once for each number of workers, print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=ROOT / "dataset" / "sample" / "train.csv")
    parser.add_argument("--meetings", type=int, default=20000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        corpus = folder / "train.csv"
        maker = [sys.executable, str(ROOT / "benchmarks" / "make_corpus.py"), "--source", str(args.source)]
        subprocess.run([*maker, "--meetings", str(args.meetings), "--output", str(corpus)], check=True)
        size = corpus.stat().st_size
        # Written once, checked for each run: what is on the disk between runs is one output.
        if shutil.disk_usage(folder).free < 4 * size:
            raise SystemExit(f"{folder} has less than {4 * size / 1e9:.0f} GB free; name another --folder")
        runs, outputs = [], []
        for workers in args.workers:
            runs.append(measure(corpus, folder / "data", workers) | {"load_before": round(os.getloadavg()[0], 2)})
            runs[-1]["meetings_per_s"] = round(args.meetings / runs[-1]["wall_s"], 1)
            outputs.append(digests(folder / "data"))
            written = sum(path.stat().st_size for path in (folder / "data").iterdir())
            shutil.rmtree(folder / "data")
    line = {
        "benchmark": "load",
        "meetings": args.meetings,
        "corpus_gb": round(size / 1e9, 2),
        "written_gb": round(written / 1e9, 2),
        "runs": runs,
        "same_bytes": all(output == outputs[0] for output in outputs),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": str(datetime.now(UTC).date()),
    }
    print(json.dumps(line))


def measure(corpus: Path, output: Path, workers: int) -> dict[str, Any]:
    """Run once; memory is looked at ten times a second, and is the sum of what each process holds at its peak."""
    command = [sys.executable, str(ROOT / "scripts" / "preprocess_data.py"), "--task", "all", "--estimate_tokens"]
    command += ["--train_input", str(corpus), "--output_dir", str(output), "--num_workers", str(workers)]
    peaks: dict[int, float] = {}
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        finished, status, usage = os.wait4(process.pid, os.WNOHANG)
        if finished:
            break
        for pid in [process.pid, *children(process.pid)]:
            peaks[pid] = max(peaks.get(pid, 0.0), resident_peak(pid))
        time.sleep(0.1)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    main_peak = peaks.pop(process.pid)
    return {
        "workers": workers,
        "wall_s": round(time.monotonic() - started, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib_main": round(main_peak, 1),
        "peak_mib_worker": round(max(peaks.values(), default=0.0), 1),
        "peak_mib_all": round(main_peak + sum(peaks.values()), 1),
    }


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:  # it ended
        return []


def resident_peak(pid: int) -> float:
    """Return the most memory that a process has held, in MiB."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


if __name__ == "__main__":
    main()
