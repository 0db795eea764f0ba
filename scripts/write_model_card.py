"""Write the model card (README.md) of a training again, with the scores of an evaluation.

    python scripts/write_model_card.py outputs/qwen2.5-7b-mug-lora
    python scripts/write_model_card.py outputs/qwen2.5-7b-mug-lora --eval_results outputs/eval_results.json

scripts/train.py writes the card when training ends; scores come later. Without --eval_results the newest eval*.json
in the folder or beside it that is of this adapter is taken. A card without its marked line is a person's, and stays.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mug import command
from mug.errors import InputError, Message
from mug.training.model_card import MARK, write_card


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUTPUT_DIR", help="训练的 output_dir / a training's output_dir")
    parser.add_argument("--eval_results", type=Path, metavar="FILE", help="evaluate.py 写的 JSON / its results")
    parser.add_argument("--lang", choices=["zh", "en"], default="zh")
    args = parser.parse_args()
    try:
        card = write_card(args.folder, args.eval_results)
        kept = MARK not in card.read_text(encoding="utf-8")
    except InputError as error:
        print(error.message.say(args.lang), file=sys.stderr)
        return 2
    except OSError as error:
        print(Message(f"写不了模型卡：{error}", f"Can't write the card: {error}").say(args.lang), file=sys.stderr)
        return 1
    if kept:
        print(Message(f"{card} 是手写的，没有改动。", f"{card} is a person's and was left as it is.").say(args.lang))
    else:
        print(Message(f"已写入 {card}", f"Wrote {card}").say(args.lang))
    return 0


if __name__ == "__main__":
    command.run(main)
