r"""One row of the corpus -> its Alpaca rows for all tasks: a pure function, the same here, in many processes, on Ray.

    Row("dataset/train.csv", 2, b'{"meeting_key": "M0115", …}')
      --convert-->  Converted(key="M0115", rows={"title_generation": [b'{"instruction": …}', …], …}, …)
      --Gathering.add-->  what the meetings have to do with each other: repeats, and copies under another key

`convert` needs nothing but its arguments, which can be pickled; everything that depends on another meeting is done in
order by one `Gathering` a split, so that the result does not depend on how many processes converted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import orjson

from mug import alpaca, conversations, tokens
from mug.corpus import FINGERPRINT, SAME, Report, content_digest, fingerprint, is_repeat, parse_row
from mug.errors import InputError, Message
from mug.meeting import Meeting
from mug.table import Rejected, Row
from mug.tasks import LAYOUTS
from mug.tasks.base import Options, Sample, Skipped, Split, Task

CUTOFF_LEN = 2560
"""The default ``cutoff_len`` of separate samples, as in configs/train_lora.yaml; of conversations see there."""

OVER_CUTOFF = Message(
    "超过 cutoff_len，训练会截断它，未取；可调小 --max_input_tokens",
    "over cutoff_len, training would cut it, left out; a smaller --max_input_tokens helps",
)


@dataclass(frozen=True)
class Settings:
    """What decides which samples a meeting gives: names of tasks, one of `LAYOUTS` and the fields of `Options`.

    ``tokenizer`` is the folder of a tokenizer, None to estimate; ``cutoff_len`` is that of the training.
    """

    tasks: tuple[str, ...]
    tokenizer: str | None = None
    max_input_tokens: int = 2400
    candidates: str | None = None
    es_target: str = "ids"
    negative_ratio: float = 1.0
    seed: int = 42
    cutoff_len: int = CUTOFF_LEN
    layout: str = "separate"


@dataclass
class Tally:
    """What became of one task's samples in one split; lengths are kept as value -> how often, in bounded memory."""

    samples: int = 0
    skipped: Counter[Message] = field(default_factory=Counter)
    input_tokens: Counter[int] = field(default_factory=Counter)
    target_tokens: Counter[int] = field(default_factory=Counter)
    over_cutoff: int = 0

    def add(self, other: Tally) -> None:
        """Count what another tally counted, too."""
        self.samples += other.samples
        self.skipped.update(other.skipped)
        self.input_tokens.update(other.input_tokens)
        self.target_tokens.update(other.target_tokens)
        self.over_cutoff += other.over_cutoff


@dataclass(slots=True)
class Converted:
    """What one meeting gave: for each task its Alpaca rows as UTF-8 JSON, and what was skipped and repaired.

    Conversations of the layout ``shared`` are of no task and stand under that name; ``needs_tree`` says that one of
    them asks a question twice. ``row`` is the corpus row without its content; ``digest`` and ``fingerprint`` are
    those of `mug.corpus`.
    """

    row: Row
    key: str
    digest: tuple[int, int]
    fingerprint: frozenset[int]
    rows: dict[str, list[bytes]]
    tallies: dict[str, Tally]
    warnings: dict[Message, tuple[int, str]]
    needs_tree: bool = False


def convert(row: Row | Rejected, split: Split, settings: Settings) -> Converted | Rejected:
    """Make the Alpaca rows of one corpus row; a row that gives no meeting comes back as `Rejected`.

    Raises:
        InputError: the tokenizer can't be read, or ``max_input_tokens`` leaves no room beside an instruction.
    """
    if isinstance(row, Rejected):
        return row
    report = Report(path=row.file)
    meeting = parse_row(row, report, times=False)
    if isinstance(meeting, Rejected):
        return meeting
    rows: dict[str, list[bytes]] = {}
    tallies: dict[str, Tally] = {}
    kept: dict[str, list[Sample]] = {}
    for task in _tasks(settings):
        tally = tallies[task.name] = Tally()
        kept[task.name] = admit(tally, task, meeting, split, settings.cutoff_len)
    talks: list[list[Sample]] = []
    if settings.layout == "shared" and split == "train":
        turns = [sample for samples in kept.values() for sample in samples]
        talks = conversations.conversations(turns, task.options.count, settings.cutoff_len - tokens.TEMPLATE)
        rows[settings.layout] = [orjson.dumps(conversations.row(talk)) for talk in talks]
    else:
        for name, samples in kept.items():
            # Titles keep the predecessor's three keys; the other tasks say which window a row is.
            with_id = name != "title_generation" or settings.layout == "shared"
            rows[name] = [orjson.dumps(alpaca.row(sample, with_id=with_id)) for sample in samples]
    return Converted(
        row=replace(row, content=b""),
        key=meeting.key,
        digest=content_digest(row),
        fingerprint=fingerprint(meeting),
        rows=rows,
        tallies=tallies,
        warnings=report.warnings,
        needs_tree=any(map(conversations.repeats, talks)),
    )


@lru_cache(maxsize=1)  # a process has one set of settings, and a tokenizer takes a second to load
def _tasks(settings: Settings) -> list[Task]:
    count = tokens.tokenizer_counter(settings.tokenizer) if settings.tokenizer else tokens.estimate
    options = Options(
        max_input_tokens=settings.max_input_tokens,
        count=count,
        candidates=settings.candidates,
        es_target=settings.es_target,
        negative_ratio=settings.negative_ratio,
        seed=settings.seed,
    )
    return [LAYOUTS[settings.layout][name](options) for name in settings.tasks]


def admit(tally: Tally, task: Task, meeting: Meeting, split: Split, cutoff_len: int) -> list[Sample]:
    """Count the samples and their tokens; return those that training will not cut (of dev all, to be scored)."""
    samples: list[Sample] = []
    for made in task.samples(meeting, split):
        if isinstance(made, Skipped):
            tally.skipped[made.reason] += 1
        else:
            samples.append(made)
    count = task.options.count
    limit = 2 * cutoff_len if count is tokens.estimate else cutoff_len  # the estimate is an upper bound
    kept = []
    for sample, target in zip(samples, count([sample.output for sample in samples]), strict=True):
        total = sample.input_tokens + target + tokens.TEMPLATE
        if split == "train" and total > limit:
            tally.skipped[OVER_CUTOFF] += 1
            continue
        tally.samples += 1
        tally.input_tokens[sample.input_tokens] += 1
        tally.target_tokens[target] += 1
        tally.over_cutoff += total > cutoff_len
        kept.append(sample)
    return kept


# ---------------------------------------------------------------------------- what meetings have to do with others


@dataclass
class Gathering:
    """The meetings of one split as they come: what was read, counted, repeated, and found in another split.

    Memory grows by about 1 KB a meeting, whatever its length. ``others`` are the splits that must share no meeting
    with this one; ``shared`` lists what they do share, as (key here, split there, key there).
    """

    report: Report
    others: Mapping[str, Gathering] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    shared: list[tuple[str, str, str]] = field(default_factory=list)
    digests: dict[str, tuple[int, int]] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    needs_tree: bool = False

    def add(self, converted: Converted | Rejected) -> bool:
        """Take in the next row of the corpus file; say whether its Alpaca rows belong into the output.

        Raises:
            InputError: its key was there before with other content.
        """
        if isinstance(converted, Rejected):
            self.report.reject(converted)
            return False
        self.report.fraction = converted.row.fraction
        for kind, (count, first) in converted.warnings.items():
            self.report.warn(kind, first, count)
        if is_repeat(self.digests, converted.key, converted.digest, converted.row, self.report):
            return False
        for name, other in self.others.items():
            there = converted.key if converted.key in other.digests else other.owner(converted.fingerprint)
            if there:
                self.shared.append((converted.key, name, there))
        if twin := self.owner(converted.fingerprint):
            kind = Message("句子与另一个会议相同，只是 key 不同", "same sentences as a meeting of another key")
            self.report.warn(kind, f"{converted.key} = {twin}")
        for sentence in converted.fingerprint:
            self.owners.setdefault(sentence, converted.key)
        self.needs_tree = self.needs_tree or converted.needs_tree
        for name, tally in converted.tallies.items():
            self.tallies.setdefault(name, Tally()).add(tally)
        return True

    def owner(self, fingerprint: frozenset[int]) -> str:
        """Return the key of the meeting that a fingerprint belongs to, empty when there is none.

        `SAME` of `FINGERPRINT` long sentences are enough; of a meeting with fewer sentences all are needed.
        """
        found = Counter(self.owners[sentence] for sentence in fingerprint if sentence in self.owners)
        key, times = found.most_common(1)[0] if found else ("", 0)
        enough = SAME if len(fingerprint) == FINGERPRINT else max(1, len(fingerprint))
        return key if times >= enough else ""


def check_shared(gatherings: Mapping[str, Gathering]) -> None:
    """Refuse a meeting in two splits, under whatever key: a score on it would be worth nothing.

    Raises:
        InputError: there are some; the first are named.
    """
    shared = [(name, *found) for name, gathering in gatherings.items() for found in gathering.shared]
    if not shared:
        return
    shown = ", ".join(
        f"{here} {key}" + (f" = {there} {other}" if other != key else "") for here, key, there, other in shared[:3]
    )
    raise InputError(
        f"{len(shared)} 个会议同时在 train 与 dev 中（{shown}…），评测会失真；请去掉一边，或加 --allow_overlap。",
        f"{len(shared)} meetings are in train and in dev ({shown}…), which makes scores worthless; remove them from "
        "one, or add --allow_overlap.",
    )
