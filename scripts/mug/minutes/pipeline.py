"""A meeting -> its minutes: each of the six tasks asked once, in three rounds, with one engine.

    round 1    topic_segmentation, keyphrase_extraction, action_item_detection    the sentences alone
    round 2    title_generation, extractive_summary                               the topics of round 1
    round 3    session_summary, and title_generation for the meeting's title      the key sentences of round 2

What does not wait for an answer is asked in one round, so that an engine fills its batches. Prompts are those of
`mug.tasks` with the split ``test``, in the layout that the model was trained with; nothing of a meeting's labels is
shown to the engine.

In the layout ``shared`` all questions about one topic, or about one window, follow each other in one round, so that an
engine reads their transcript once. In the layout ``separate`` a topic's two prompts have only the system prompt and
the first words of the instruction in common, 30 tokens of Qwen's: the instructions stand before the transcript and
differ. So vLLM's prefix cache saves the 47 to 82 tokens before the transcript, 4 to 8 % of a prompt of 1,100 tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mug.errors import Message
from mug.generation.base import Engine
from mug.meeting import Candidate, Meeting, Sentence, Topic
from mug.minutes import owners
from mug.minutes.checks import is_said, spoken, verify
from mug.minutes.model import ActionItem, Chapter, Minutes, Participant, Quote
from mug.prompting import Prompting
from mug.tasks import LAYOUTS
from mug.tasks.base import Answer, Sample, Task
from mug.transcripts.recording import Recording

VERSION = 2
"""Raise it with every change that may change the minutes of the same answers."""

LOSSES = ("numbers outside the prompt dropped", "reasoning left open", "sentence not in the prompt dropped")
"""Repairs of an answer that the minutes mention; the others change only its form."""

SHORTENED = "title or keyphrase shortened"
"""A repair as well, which the minutes mention by itself."""

LONGEST = 60
"""Characters of a title or keyphrase that a model said, the rest is cut off; annotators' titles have up to 16."""

KEYPHRASES = 20
"""So many are shown; the challenge looks at the first 20 too."""

STAGES = {
    "topics": Message("主题、关键词、行动项", "topics, keyphrases, action items"),
    "titles": Message("各主题的标题和关键句", "titles and key sentences"),
    "summary": Message("全场摘要", "session summary"),
}
"""The rounds in their order, under the names that ``progress`` gets."""

_UNWRITABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile(r"<\|\w{1,40}\|>")  # a model's tokens that are no text: <|fim_prefix|>
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how many of its prompts are answered, and how many there are; first with 0. What it
raises stops the work."""

Asked = Sequence[tuple[Task, Meeting]]
Rows = dict[str, dict[str, Any]]
"""Submission rows by task name."""


@dataclass(frozen=True)
class Predicted:
    """A meeting whose labels are what an engine said: one candidate a topic and one of the meeting.

    ``keyphrases`` are all of them, for scoring too. ``title`` is of the meeting, empty when the engine said nothing
    usable. ``repairs`` counts what had to be repaired in the answers, ``cut`` the answers that reached the limit of
    their length.
    """

    meeting: Meeting
    title: str
    repairs: Counter[str]
    cut: int

    @property
    def summary(self) -> tuple[int, ...]:
        """Places of the session's key sentences."""
        return self.meeting.candidates[0].key_sentences

    @property
    def keyphrases(self) -> tuple[str, ...]:
        """Keyphrases, most important first."""
        return self.meeting.candidates[0].key_words


def make_minutes(
    recording: Recording,
    engine: Engine,
    *,
    engine_name: str,
    prompting: Prompting | None = None,
    source: str = "",
    progress: Progress | None = None,
) -> Minutes:
    """Return the minutes of a recording, every quote checked against its sentence.

    Args:
        recording: the meeting, with title and date where its file has them.
        engine: what answers the prompts.
        engine_name: what the minutes call it: a model's folder, or ``baseline``.
        prompting: how the meeting becomes prompts; the defaults are those of preprocess_data.py.
        source: the file's name, as the minutes show it.
        progress: told how far each stage is.

    Raises:
        InputError: the meeting has no sentences, or the engine can't be asked.
    """
    predicted = predict(recording.meeting, engine, prompting, progress)
    meeting = predicted.meeting
    sentences = meeting.sentences
    said = spoken(sentences)
    names = tuple(dict.fromkeys(sentence.speaker for sentence in sentences))
    keyphrases = predicted.keyphrases[:KEYPHRASES]
    notes = [*recording.notes, *_notes(predicted)]
    participants, guessed = participants_of(sentences)
    if guessed:
        notes.append(
            Message(
                "文件没有每句结束的时间，说话时长按到下一句开始为止推算。",
                "The file lacks the ends of sentences; talking time is counted until the next sentence begins.",
            )
        )
    minutes = Minutes(
        title=recording.title or predicted.title,
        title_generated=not recording.title,
        date=recording.date,
        engine=engine_name,
        sentences=sentences,
        participants=participants,
        keyphrases=keyphrases,
        generated_keyphrases=tuple(phrase for phrase in keyphrases if not is_said(phrase, said)),
        chapters=tuple(
            Chapter(
                topic.start, topic.end, topic.candidates[0].title, _quotes(meeting, topic.candidates[0].key_sentences)
            )
            for topic in meeting.topics
        ),
        summary=_quotes(meeting, predicted.summary),
        action_items=tuple(_action_item(meeting, place, names) for place in meeting.action_ids or ()),
        source=source,
        notes=tuple(notes),
    )
    verify(minutes)
    return minutes


def predict(
    meeting: Meeting,
    engine: Engine,
    prompting: Prompting | None = None,
    progress: Progress | None = None,
    *,
    topics: Sequence[Topic] | None = None,
) -> Predicted:
    """Ask an engine everything about a meeting, and return the meeting with the answers as its labels.

    With ``topics`` their spans are taken in place of predicted ones (their labels are not looked at), and neither
    keyphrases nor action items are asked for: so the loss by predicted topics can be measured.
    """
    bare = replace(meeting, topics=(), action_ids=None, candidates=())
    prompting = prompting or Prompting()
    tasks = {name: task(prompting.options) for name, task in LAYOUTS[prompting.layout].items()}
    run = _Run(engine, progress)
    first: Rows = {}
    if topics is None:
        asked = ("topic_segmentation", "keyphrase_extraction", "action_item_detection")
        first = run.ask("topics", [(tasks[name], bare) for name in asked])
        ends = [topic["id"] for topic in first["topic_segmentation"]["topic_segment_ids"]]
    else:
        ends = [topic.end for topic in topics]
    starts = [1, *(end + 1 for end in ends[:-1])]
    bare = replace(bare, topics=tuple(map(Topic, starts, ends)))
    second = run.ask("titles", [(tasks[name], bare) for name in ("title_generation", "extractive_summary")])
    titles = {row["id"]: row["title"] for row in second["title_generation"]["topic_segment_ids"]}
    chosen = {
        row["id"]: tuple(map(int, row["key_sentence"])) for row in second["extractive_summary"]["topic_segment_ids"]
    }
    labelled = [replace(t, candidates=(Candidate(run.short(titles[t.end]), chosen[t.end]),)) for t in bare.topics]
    told = replace(bare, topics=tuple(labelled))
    third = run.ask("summary", [(tasks["session_summary"], told), (tasks["title_generation"], _gist(told))])
    (whole,) = third["title_generation"]["topic_segment_ids"]
    phrases = map(run.short, first.get("keyphrase_extraction", {}).get("key_word", ()))
    summary = Candidate(
        key_sentences=tuple(map(int, third["session_summary"]["key_sentence"])),
        key_words=tuple(dict.fromkeys(filter(None, phrases))),
    )
    actions = first.get("action_item_detection", {}).get("action_ids", ())
    found = replace(told, candidates=(summary,), action_ids=tuple(action["id"] for action in actions))
    return Predicted(found, run.short(whole["title"]), run.repairs, run.cut)


class _Run:
    """An engine, and what its answers needed so far."""

    def __init__(self, engine: Engine, progress: Progress | None) -> None:
        self.engine, self.progress = engine, progress
        self.repairs: Counter[str] = Counter()
        self.cut = 0

    def ask(self, stage: str, asked: Asked) -> Rows:
        """Ask the samples of all tasks at once, those of one topic or transcript side by side; return the rows."""
        samples = [
            (task, sample)
            for task, meeting in asked
            for sample in task.samples(meeting, "test")
            if isinstance(sample, Sample)
        ]
        turns = {history: place for place, history in enumerate(dict.fromkeys(one.history for _, one in samples))}
        samples.sort(key=lambda pair: (pair[1].topic, turns[pair[1].history]))  # stable: windows stay in order
        given: dict[int, Answer] = {}
        self._tell(stage, 0, len(samples))
        for index, completion in self.engine.generate([sample for _, sample in samples]):
            task, sample = samples[index]
            given[index] = task.parse(completion.text, sample)
            self.repairs.update(given[index].repairs)
            self.cut += completion.finish == "length"
            self._tell(stage, len(given), len(samples))
        return {
            task.name: task.submission(
                meeting, [given[index] for index, (asked_task, _) in enumerate(samples) if asked_task is task]
            )
            for task, meeting in asked
        }

    def short(self, text: str) -> str:
        """Return a title or keyphrase that a model said, without its special tokens, of `LONGEST` characters at most.

        A model that does not stop goes on behind such a token with something else: the first part with a word counts.
        """
        line = _line(text)
        parts = _SPECIAL.split(line)
        kept = line if len(parts) == 1 else next((part.strip() for part in parts if re.search(r"\w", part)), "")
        if len(kept) > LONGEST:
            kept = kept[:LONGEST] + "…"
        self.repairs[SHORTENED] += kept != line
        return kept

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.progress:
            self.progress(stage, done, total)


def _line(text: str) -> str:
    """Return what a model said as text that can be written: no half characters, no controls."""
    return " ".join(_UNWRITABLE.sub("\ufffd", _CONTROL.sub(" ", text)).split())


def _gist(meeting: Meeting) -> Meeting:
    """Return the topics' key sentences as a meeting of one topic, whose title is the whole meeting's.

    Where no topic has a key sentence the beginning must do: a meeting opens with what it is about.
    """
    places = sorted({place for topic in meeting.topics for place in topic.candidates[0].key_sentences})
    sentences = tuple(meeting.sentences[place - 1] for place in places) or meeting.sentences[:20]
    return Meeting(f"{meeting.key}/title", sentences, topics=(Topic(1, len(sentences)),))


def _quotes(meeting: Meeting, places: Sequence[int]) -> tuple[Quote, ...]:
    return tuple(Quote(place, meeting.sentences[place - 1].text) for place in places)


def _action_item(meeting: Meeting, place: int, names: Sequence[str]) -> ActionItem:
    sentence = meeting.sentences[place - 1]
    return ActionItem(
        evidence=Quote(place, sentence.text),
        text=sentence.text,
        owner=owners.owner_of(sentence.text, sentence.speaker, names),
        due=owners.due_of(sentence.text),
    )


def participants_of(sentences: Sequence[Sentence]) -> tuple[tuple[Participant, ...], bool]:
    """Return who spoke, most first, and whether any talking time had to be counted until the next sentence's start.

    Seconds are None for all when no sentence has a start.
    """
    counts = Counter(sentence.speaker for sentence in sentences)
    if not any(sentence.start is not None for sentence in sentences):
        return tuple(Participant(name, count, None) for name, count in counts.most_common()), False
    seconds: dict[str, float] = dict.fromkeys(counts, 0.0)
    guessed = False
    following: float | None = None  # the start of the next sentence that has one
    for sentence in reversed(sentences):
        if sentence.start is None:
            continue
        end = sentence.end
        if end is None and following is not None:
            end, guessed = following, True
        if end is not None:
            seconds[sentence.speaker] += max(0.0, end - sentence.start)
        following = sentence.start
    order = sorted(counts, key=lambda name: (-seconds[name], -counts[name]))
    return tuple(Participant(name, counts[name], round(seconds[name], 3)) for name in order), guessed


def _notes(predicted: Predicted) -> list[Message]:
    found = []
    lost = sum(predicted.repairs[name] for name in LOSSES)
    if lost:
        found.append(
            Message(
                f"{lost} 个回答里有用不上的内容（不存在的编号、没有写完的思考等），已略去。",
                f"{lost} answers held something of no use (numbers that do not exist, unfinished thoughts), left out.",
            )
        )
    if predicted.cut:
        found.append(
            Message(
                f"{predicted.cut} 个回答到了长度上限而中断，可能不全。",
                f"{predicted.cut} answers stopped at the length limit and may be incomplete.",
            )
        )
    shortened = predicted.repairs[SHORTENED]
    if shortened:
        found.append(
            Message(
                f"{shortened} 个标题或关键词过长，或夹有模型的特殊记号，已截短。",
                f"{shortened} titles or keyphrases were too long or held special tokens of the model, and were cut.",
            )
        )
    untitled = sum(not topic.candidates[0].title for topic in predicted.meeting.topics)
    if untitled:
        found.append(Message(f"{untitled} 章没有得到可用的标题。", f"{untitled} chapters got no usable title."))
    return found
