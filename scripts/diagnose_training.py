"""Judge a training, finished or running, by its curves, and say what to change.

    python scripts/diagnose_training.py outputs/qwen2.5-7b-mug-lora
    python scripts/diagnose_training.py outputs/qwen2.5-7b-mug-lora --output outputs/diagnosis --lang en

Reads trainer_log.jsonl and trainer_state.json (or the newest checkpoint's), and writes diagnosis.json,
training_curves.png and diagnosis.html into the training's folder or into ``--output``. It changes nothing else, so it
can be run beside a training as often as you like. The exit status says whether there was something to judge, not what
the verdict is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mug import command
from mug.errors import InputError, Message
from mug.training.diagnosis import diagnose
from mug.training.diagnosis_page import lines, write_report


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUTPUT_DIR", help="训练的 output_dir / a training's output_dir")
    parser.add_argument("--output", type=Path, help="写到哪里，默认 OUTPUT_DIR / where to write, default OUTPUT_DIR")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()

    try:
        diagnosis = diagnose(args.folder)
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    print("\n".join(lines(diagnosis, args.lang)))
    output = args.output or args.folder
    try:
        written = write_report(diagnosis, output, args.lang)
    except OSError as error:
        zh = f"写不了 {output}（{error.strerror or error}）；请用 --output 换一个目录。"
        en = f"Can't write to {output} ({error.strerror or error}); name another folder by --output."
        print(Message(zh, en).say(args.lang), file=sys.stderr)
        return 1
    print(Message("已写入 ", "Written: ").say(args.lang) + " ".join(map(str, written)))
    return 0


if __name__ == "__main__":
    command.run(main)
