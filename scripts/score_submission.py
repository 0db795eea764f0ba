r"""Score a submission file of the MUG challenge as its official evaluator does.

    python scripts/score_submission.py --task topic_segmentation --gold gold.csv \
        --predictions submission.jsonl --output scores.json

``--task`` is a track of the challenge, or the task of this project that belongs to it. The figures under "official"
equal the official evaluator's; beside them stand 95 % intervals over meetings, what was counted, and the same figures
after the answers were cleaned (NFKC, outer punctuation), since a wide "ＡＩ" costs an honest system its points.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mug import command, evaluation
from mug.corpus import read_gold
from mug.errors import InputError, Message
from mug.files import check_outputs, write_json
from mug.metrics import official
from mug.metrics.baselines import BASELINES
from mug.metrics.submission import borrows_topics, check_track, read_rows


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=sorted({*official.TRACKS, *evaluation.TRACK_OF}))
    parser.add_argument("--gold", type=Path, required=True, help="带标注的语料 CSV / corpus CSV with labels")
    parser.add_argument("--predictions", type=Path, required=True, help="提交文件 JSONL / submission file")
    parser.add_argument("--output", type=Path, required=True, help="得分 JSON / scores, as JSON")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()

    track = evaluation.TRACK_OF.get(args.task, args.task)
    try:
        check_outputs([args.output], [args.gold, args.predictions])
        gold = read_gold(args.gold)
        rows = {key: dict(row) for key, row in read_rows(args.predictions).items()}
        check_track(track, rows, args.predictions)
        scored = evaluation.official_scores({track: rows}, gold)[track]
        cleaned = evaluation.cleaned_scores(track, rows, gold)
        result = {"task": args.task, "track": track, "official": scored.pop("scores"), "cleaned": cleaned, **scored}
        write_json(args.output, result)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except OSError as error:
        zh, en = f"写不了 {args.output}：{error}", f"Can't write {args.output}: {error}"
        print(Message(zh, en).say(args.lang), file=sys.stderr)
        return 1
    if borrows_topics(track, rows):
        zh = f"注意：{args.predictions} 的主题都带标题或关键句；那两个赛道的主题取自标准答案，在这里会得满分。"
        en = f"Note: all topics of {args.predictions} have titles or key sentences; in those tracks topics are the "
        print(Message(zh, f"{en}gold's, which score 100 here.").say(args.lang), file=sys.stderr)
    for key, value in result["official"].items():
        interval = result["intervals"].get(key)
        span = f"  [{100 * interval['low']:.2f}, {100 * interval['high']:.2f}]" if interval else ""
        published = "；".join(f"{b.system} {b.value:g}" for b in BASELINES if b.track == track and b.key == key)
        shown = Message("未定义", "undefined").say(args.lang) if value is None else f"{100 * value:.2f}"
        print(f"{key:28} {shown:>9}{span}{'   dev: ' + published if published else ''}")
    print(Message(f"已写入 {args.output}", f"Written to {args.output}").say(args.lang))
    return 0


if __name__ == "__main__":
    command.run(main)
