"""LLaMA-Factory's training in processes that have the speed module installed.

    python scripts/mug/training/fast_process.py train outputs/x/train_config.yaml

LLaMA-Factory's launcher decides whether to train here or to start torchrun, and by which variables (NNODES, RDZV_ID,
…); it starts torchrun with its own file, which is why that file is replaced by this one. With ``train`` as the first
word this is the launcher, without it one of torchrun's processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> int:
    """Run the command line; return the exit status."""
    # torchrun puts this file's folder first, whose names (memory, settings, …) should shadow nobody's.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from llamafactory import launcher
    from llamafactory.extras.misc import get_device_count, is_env_enabled

    from mug.errors import InputError
    from mug.training.speed import install

    is_launcher = sys.argv[1] == "train"
    try:
        if not (is_launcher and (is_env_enabled("FORCE_TORCHRUN") or get_device_count() > 1)):
            install(tree=os.environ.get("MUG_TREE") == "1")
        if is_launcher:
            launcher.__file__ = __file__
            launcher.launch()
        else:
            from llamafactory.train.tuner import run_exp

            run_exp()
    except InputError as error:
        print(error.message.say(os.environ.get("MUG_LANG", "zh")), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
