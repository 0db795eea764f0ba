r"""Make the samples of many corpus files on a Ray cluster: preprocess_data.py for more than one machine.

    pip install "ray[data]==2.60.0"
    python examples/preprocess_on_ray.py --split train --inputs part1.csv part2.csv --output data/train_alpaca.json

Reading and converting run wherever Ray puts them, one meeting at a time, by the functions that preprocess_data.py
calls; only what meetings have to do with each other (repeats, copies under another key) is decided here, in order.
So the output is byte for byte that of preprocess_data.py for one file with the same rows. `datasets.map` would do as
well: `convert` needs nothing but its arguments. With --address the files, and this repository, must lie where every
machine of the cluster sees them.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

try:
    import ray
    import ray.data
except ModuleNotFoundError:
    sys.exit(
        '缺少 Ray；请先运行 pip install "ray[data]==2.60.0"。\nRay is missing; run pip install "ray[data]==2.60.0".'
    )

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from mug.alpaca import open_alpaca  # noqa: E402
from mug.conversion import Gathering, Settings, convert  # noqa: E402
from mug.corpus import Report, read_rows  # noqa: E402
from mug.errors import InputError  # noqa: E402
from mug.report.rejected import open_rejected  # noqa: E402
from mug.table import Rejected  # noqa: E402
from mug.tasks import TASKS  # noqa: E402
from mug.tasks.base import Split  # noqa: E402


def rows_of(file: dict[str, Any]) -> Iterator[dict[str, bytes]]:
    """Read one corpus file; rows travel pickled, since a column of Ray's is of one plain type."""
    for row in read_rows(file["path"], Report()):
        yield {"row": pickle.dumps(row)}


def convert_row(item: dict[str, bytes], split: Split, settings: Settings) -> dict[str, bytes]:
    """Make the Alpaca rows of one meeting."""
    return {"converted": pickle.dumps(convert(pickle.loads(item["row"]), split, settings))}


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, nargs="+", required=True)
    parser.add_argument("--split", choices=["train", "dev"], default="train")
    parser.add_argument("--task", choices=[*TASKS, "all"], default="all")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--address", help="of a running cluster; without it one is started on this machine")
    parser.add_argument("--num_cpus", type=int, help="of the cluster that is started; all cores by default")
    args = parser.parse_args()

    settings = Settings(tasks=tuple(TASKS) if args.task == "all" else (args.task,))
    environment = {"env_vars": {"PYTHONPATH": str(SCRIPTS), "TOKENIZERS_PARALLELISM": "false"}}
    ray.init(address=args.address, num_cpus=None if args.address else args.num_cpus, runtime_env=environment)
    ray.data.DataContext.get_current().execution_options.preserve_order = True

    paths = [{"path": str(path.resolve())} for path in args.inputs]
    rows = ray.data.from_items(paths, override_num_blocks=len(paths)).flat_map(rows_of)
    converted = rows.map(partial(convert_row, split=args.split, settings=settings))

    gathering = Gathering(Report())
    try:
        with open_alpaca(args.output) as samples, open_rejected(args.output.with_name("rejected.jsonl")) as rejected:
            for item in converted.iter_rows():
                result = pickle.loads(item["converted"])
                if gathering.add(result):
                    for made in result.rows.values():
                        for row in made:
                            samples.write(row)
                elif isinstance(result, Rejected):
                    rejected.write(result)
    except (InputError, ray.exceptions.RayTaskError) as error:
        found = error if isinstance(error, InputError) else error.cause
        if not isinstance(found, InputError):
            raise
        print(found.message.say("en"), file=sys.stderr)
        return 2
    print(f"{args.output}: {gathering.report.meetings} meetings, {samples.rows} samples, {rejected.rows} rejected")
    return 1 if rejected.rows else 0


if __name__ == "__main__":
    sys.exit(main())
