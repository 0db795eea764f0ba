"""Fetch AliMeeting4MUG, or take it from files that you have, into dataset/train.csv and dataset/dev.csv.

    export MODELSCOPE_SDK_TOKEN=...          # from https://modelscope.cn/my/myaccesstoken
    python scripts/download_data.py
    python scripts/download_data.py --from ~/Downloads/Alimeeting4MUG.zip      # or the unpacked folder
    python scripts/download_data.py --from dev_split.csv --split dev

Both files come in the corpus's own form, one meeting a row::

    idx<TAB>content
    0<TAB>"{""meeting_key"": ""M0115"", ""sentences"": [{""id"": 1, ""speaker"": ""no.0"", ""s"": ""好""}, ...], ...}"

Every row is looked at before anything is written; with a bad one the older files stay as they were.
Exit status: 0 done; 2 wrong arguments, unusable input, no network; 1 failed on the way.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mug import command
from mug.download.corpus_files import Row, checked, local_splits, rows_of
from mug.download.hubs import DownloadError, check_reachable, hide_tokens
from mug.errors import InputError, Message
from mug.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent
DATASET, NAMESPACE = "Alimeeting4MUG", "modelscope"
EXPECTED_ROWS = {"train": 295, "dev": 65}
SDK_SPLITS = {"train": "train", "dev": "validation"}
TOKEN_NAMES = ("MODELSCOPE_SDK_TOKEN", "MODELSCOPE_API_TOKEN")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="下载 AliMeeting4MUG 语料 / fetch the AliMeeting4MUG corpus")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="ZIP|DIR|CSV",
        help="已有的数据：压缩包、文件夹或单个 CSV / data that you have (default: ModelScope)",
    )
    parser.add_argument("--split", choices=tuple(EXPECTED_ROWS), help="单个 CSV 是哪一部分 / what a single CSV is")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "dataset", help="default: dataset/")
    parser.add_argument("--lang", choices=("zh", "en"), default="zh", help="提示语言 / language of the messages")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and turn what went wrong into one sentence and an exit status."""
    args = parse_args(argv)
    try:
        run(args)
    except (InputError, DownloadError) as error:
        print(hide_tokens(error.message.say(args.lang)), file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print(
            Message("已停止，原有文件未动。", "Stopped; older files are as they were.").say(args.lang), file=sys.stderr
        )
        return 1
    except OSError as error:
        place = error.filename or args.output_dir
        failed = Message(
            f"读写 {place} 失败（{error.strerror}），原有文件未动；请检查权限与磁盘。",
            f"{place} can't be read or written ({error.strerror}), older files are as they were; check permissions "
            "and disk.",
        )
        print(failed.say(args.lang), file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    """Find the splits, check and write them, and say which command comes next."""
    csv.field_size_limit(1 << 30)
    if args.source is None:
        with tempfile.TemporaryDirectory(prefix="alimeeting4mug-") as cache:
            counts = write_splits(modelscope_splits(cache), args.output_dir)
    else:
        tables = local_splits(args.source.expanduser(), args.split)
        counts = write_splits({split: rows_of(table) for split, table in tables.items()}, args.output_dir)

    for split, count in counts.items():
        expected = EXPECTED_ROWS[split]
        remark = Message("", "")
        if count != expected:
            remark = Message(f"（完整语料为 {expected} 个）", f" (the full corpus has {expected})")
        path = args.output_dir / f"{split}.csv"
        print(Message(f"已写入 {path}：{count} 个会议", f"Wrote {path}: {count} meetings").say(args.lang), end="")
        print(remark.say(args.lang))
    if absent := [split for split in EXPECTED_ROWS if not (args.output_dir / f"{split}.csv").exists()]:
        lacking = Message(
            f"还缺 {absent[0]}.csv；找到后运行 python scripts/download_data.py --from 文件.csv --split {absent[0]}",
            f"{absent[0]}.csv is still missing; when you have it: python scripts/download_data.py --from FILE.csv "
            f"--split {absent[0]}",
        )
        print(lacking.say(args.lang))
        return
    command = "python scripts/preprocess_data.py --task title_generation"
    print(Message("下一步：", "Next: ").say(args.lang) + command)


def write_splits(splits: dict[str, Iterable[Row]], output_dir: Path) -> dict[str, int]:
    """Write all splits or none, and return how many meetings each has.

    Raises:
        InputError: a row that is no meeting, or a split without any.
    """
    counts = dict.fromkeys(splits, 0)
    with contextlib.ExitStack() as stack:
        # All files are open until the last row is checked; leaving the block puts them in their places.
        for split, rows in splits.items():
            file = stack.enter_context(atomic_write(output_dir / f"{split}.csv"))
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(("idx", "content"))
            for row in rows:
                writer.writerow(row)
                counts[split] += 1
            if not counts[split]:
                raise InputError(
                    f"{split} 部分没有任何会议；请检查来源文件。",
                    f"The {split} split has no meetings; check its file.",
                )
    return counts


def modelscope_splits(cache: str) -> dict[str, Iterable[Row]]:
    """Load both splits with ModelScope's SDK, which keeps its files in the folder ``cache``.

    Raises:
        InputError: no token, no network.
    """
    token = next((value for name in TOKEN_NAMES if (value := os.environ.get(name, "").strip())), "")
    if not token:
        raise InputError(
            "下载语料需要 ModelScope 的访问令牌：请在 https://modelscope.cn/my/myaccesstoken 取得后运行 "
            "export MODELSCOPE_SDK_TOKEN=令牌 ；已有数据请用 --from。",
            "The corpus needs a ModelScope token: get one at https://modelscope.cn/my/myaccesstoken and run "
            "export MODELSCOPE_SDK_TOKEN=TOKEN; for data that you have use --from.",
        )
    # The SDK takes the token from here for every request; its login() would leave it on the disk. The other two are
    # where it would leave copies of the corpus, one more each run.
    os.environ |= {"MODELSCOPE_API_TOKEN": token, "MODELSCOPE_CACHE": cache, "HF_DATASETS_CACHE": cache}
    from modelscope_hub.config import get_default_config

    at_hand = Message("用 --from 使用已有数据", "use data that you have with --from")
    check_reachable("modelscope", str(get_default_config().endpoint), at_hand)
    return {split: checked(f"ModelScope {name}", sdk_rows(name, cache)) for split, name in SDK_SPLITS.items()}


def sdk_rows(split: str, cache: str) -> Iterator[tuple[int, str, str]]:
    """Yield (row number, idx, content) of a split as the SDK loads it.

    Raises:
        InputError: the SDK lacks its part for datasets, or the hub refuses.
        DownloadError: the SDK gave up.
    """
    try:
        from modelscope.msdatasets import MsDataset
        from modelscope.utils.constant import DownloadMode
    except ImportError as error:
        raise InputError(
            f"ModelScope 的数据集组件不全（{error}）；请运行 pip install 'modelscope[datasets]'，或用 --from。",
            f"ModelScope's part for datasets is not whole ({error}); run pip install 'modelscope[datasets]', or use "
            "--from.",
        ) from None
    try:
        loaded = MsDataset.load(
            DATASET,
            namespace=NAMESPACE,
            subset_name="default",
            split=split,
            cache_dir=cache,
            # Without this the SDK takes a file that broke off half-way for the whole one when it tries again.
            download_mode=DownloadMode.FORCE_REDOWNLOAD,
            delimiter="\t",
        )
        inner = getattr(loaded, "ds_instance", loaded)
        # The corpus is an archive a split, and the SDK gives such as {split: table}.
        table: Any = inner if "content" in (getattr(inner, "column_names", None) or ()) else inner[split]
        for number, row in enumerate(table, 2):
            yield number, str(row.get("idx", number - 2)), row["content"] or ""
    except Exception as error:  # the SDK and what it stands on raise what they like
        status = getattr(error, "status_code", None)
        if status in (401, 403, 404):
            raise InputError(
                f"ModelScope 没有给出 {NAMESPACE}/{DATASET}（HTTP {status}）；请检查令牌，或用 --from 使用已有数据。",
                f"ModelScope did not give {NAMESPACE}/{DATASET} (HTTP {status}); check the token, or use --from.",
            ) from None
        detail = hide_tokens(f"{type(error).__name__}: {error}".split("\n")[0])
        raise DownloadError(
            f"从 ModelScope 下载 {split} 失败（{detail}），原有文件未动；请稍后再试，或用 --from 使用已有数据。",
            f"Loading {split} from ModelScope failed ({detail}), older files are as they were; try later, or use "
            "--from.",
        ) from None


if __name__ == "__main__":
    command.run(main)
