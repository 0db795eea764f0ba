r"""An engine whose answers are kept while the work goes on, so that a stop loses only what was under way.

JSON lines, the first naming what the answers depend on beside the prompt::

    {"fingerprint": {"engine": "vllm", "base": {…}, …}}
    {"prompt": "9f2c…", "raw": "做好网上宣传", "finish": "stop", "tokens": 5}

The file is of use only to the same command run again, and is removed when the work is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mug.generation.base import Completion, Engine
from mug.predictions import append, prompts_digest, whole_lines
from mug.tasks.base import Sample


class RememberingEngine:
    """Asks another engine what the file does not answer yet, and adds what it says."""

    def __init__(self, engine: Engine, path: Path) -> None:
        """Read what an earlier run left; answers of another model, or a damaged file, are thrown away."""
        self.engine, self.path = engine, path
        self.name, self.fingerprint = engine.name, engine.fingerprint
        self._known = _read(path, engine.fingerprint)
        if not self._known:
            path.unlink(missing_ok=True)

    def generate(self, samples: Sequence[Sample]) -> Iterator[tuple[int, Completion]]:
        """Yield what is known, then what the engine says."""
        prompts = [prompts_digest([sample]) for sample in samples]
        yield from ((index, self._known[prompt]) for index, prompt in enumerate(prompts) if prompt in self._known)
        asked = [index for index, prompt in enumerate(prompts) if prompt not in self._known]
        if not asked:
            return
        with append(self.path, self.fingerprint) as file:
            for place, completion in self.engine.generate([samples[index] for index in asked]):
                index = asked[place]
                self._known[prompts[index]] = completion
                said = {"raw": completion.text, "finish": completion.finish, "tokens": completion.tokens}
                file.write({"prompt": prompts[index], **said})
                yield index, completion

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _read(path: Path, fingerprint: dict[str, Any]) -> dict[str, Completion]:
    """Return the answers by prompt; a torn last line is cut off the file."""
    try:
        head, *rows = map(json.loads, whole_lines(path))
        if head["fingerprint"] != json.loads(json.dumps(fingerprint)):
            return {}
        return {row["prompt"]: Completion(row["raw"], row["finish"], row["tokens"]) for row in rows}
    except (ValueError, KeyError, TypeError):
        return {}
