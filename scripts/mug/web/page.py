"""The page in Gradio: a file or a text in, minutes out, edited and downloaded. What it says is in `mug.web.texts`.

Three states, of which one is seen: ``intake`` (what to read and by whom), ``working``, ``result``; above the last
a window in which one thing is changed. All that belongs to a visitor lies in a `Session`, of which the browser knows
only the token, in Gradio's state and in the links to download.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from mug import corrections
from mug.errors import InputError, Message
from mug.meeting import Meeting
from mug.minutes.model import Minutes
from mug.prompting import Prompting
from mug.transcripts.reading import read_text, read_transcript
from mug.transcripts.recording import Recording
from mug.web import editing, view
from mug.web.running import FAILED, SharedEngine, State, work
from mug.web.sessions import Session, Sessions
from mug.web.texts import TEXTS, text

_BRIDGE = re.compile(r"(?:edit([tca])(\d{1,7})|size(\d{1,15}))\|\d+")
_AT_ONCE = 32  # meetings begun at the same time; an engine takes them one by one, and the page says so
_SYSTEM = ["system-ui", "-apple-system", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC"]

Updates = dict[Any, Any]
"""What changes on the page, by component."""


@dataclass(frozen=True)
class Desk:
    """What the page works with: ``engines`` by the name under which they are chosen, the first chosen at first."""

    engines: Mapping[str, SharedEngine]
    sessions: Sessions
    sample: Path
    corrections: Path
    most_megabytes: int
    lang: str

    @property
    def remote(self) -> str:
        """The model that is asked through an API, empty when there is none."""
        return next((engine.name for engine in self.engines.values() if engine.backend == "api"), "")


def build(desk: Desk) -> gr.Blocks:
    """Return the page."""
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="gray", font=[*_SYSTEM, "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    page = gr.Blocks(
        title=text("page", desk.lang),
        theme=theme,
        head=view.head(desk.most_megabytes << 20),
        analytics_enabled=False,
    )
    with page:
        _Page(desk, page)
    page.queue(max_size=100, default_concurrency_limit=8, api_open=False)
    return page


class _Page:
    """The components, and what happens on them."""

    def __init__(self, desk: Desk, page: gr.Blocks) -> None:
        self.desk = desk
        self.tokens: dict[str, str] = {}  # by Gradio's name of a visitor, to know whose page was closed
        self.token, self.target = gr.State(None), gr.State("")
        self._compose()
        self._connect(page)

    # ------------------------------------------------------------------------------------------------- components

    def _compose(self) -> None:
        lang, says = self.desk.lang, self._says(self.desk.lang)
        with gr.Row(elem_id="m-top"):
            self.heading = gr.HTML(**says["heading"], padding=False)
            self.lang = gr.Radio(
                [("中文", "zh"), ("English", "en")],
                value=lang,
                label="语言 / Language",
                show_label=False,
                container=False,
                elem_id="m-lang",
                scale=0,
            )
        self.notice = gr.HTML(padding=False, elem_id="m-notice")
        with gr.Column(elem_id="m-intake") as self.intake:
            with gr.Row(equal_height=True):
                self.file = gr.File(**says["file"], type="filepath", height=190, elem_id="m-file")
                self.pasted = gr.Textbox(**says["pasted"], lines=7, max_lines=7, elem_id="m-paste")
            self.formats = gr.HTML(**says["formats"], padding=False, elem_id="m-formats")
            self.meeting = gr.Textbox(**says["meeting"], visible=False, elem_id="m-meeting", max_length=200)
            self.engine = gr.Radio(**says["engine"], value=next(iter(self.desk.engines)), elem_id="m-engine")
            with gr.Row(elem_id="m-go"):
                self.make = gr.Button(**says["make"], variant="primary", elem_id="m-make", scale=0, min_width=180)
                self.sample = gr.Button(**says["sample"], elem_id="m-sample", scale=0, min_width=180)
        with gr.Column(visible=False, elem_id="m-working") as self.working:
            self.progress = gr.HTML(padding=False)
            self.stop = gr.Button(**says["stop"], elem_id="m-stop", scale=0, min_width=120)
        with gr.Column(visible=False, elem_id="m-result") as self.result:
            with gr.Row(elem_id="m-bar"):
                self.again = gr.Button(**says["again"], elem_id="m-again", size="sm", scale=0, min_width=140)
                self.consent = gr.Checkbox(**says["consent"], container=False, elem_id="m-consent")
            with gr.Row(elem_id="m-sides"):
                self.minutes = gr.HTML(padding=False, elem_id="m-minutes")
                self.transcript = gr.HTML(padding=False, elem_id="m-said")
        with gr.Column(visible=False, elem_id="m-dialog") as self.dialog:
            self.dialog_head = gr.HTML(padding=False)
            self.field_text = gr.Textbox(lines=2, max_lines=6, elem_id="m-text", max_length=editing.LONGEST)
            with gr.Row():
                size: dict[str, Any] = {"max_length": editing.LONGEST, "min_width": 120}
                self.field_owner = gr.Textbox(**says["field_owner"], **size, elem_id="m-owner")
                self.field_due = gr.Textbox(**says["field_due"], **size, elem_id="m-due")
            self.dialog_notice = gr.HTML(padding=False)
            with gr.Row(elem_id="m-dialog-buttons"):
                small: dict[str, Any] = {"size": "md", "scale": 0, "min_width": 80}
                self.delete = gr.Button(**says["delete"], **small, variant="stop", elem_id="m-delete")
                self.cancel = gr.Button(**says["cancel"], **small, elem_id="m-cancel")
                self.save = gr.Button(**says["save"], **small, variant="primary", elem_id="m-save")
        self.bridge = gr.Textbox(elem_id="m-bridge", label="", show_label=False, container=False)

    def _says(self, lang: str) -> dict[str, dict[str, Any]]:
        """Return what the components say in a language, by their names here."""
        engines = [
            (text("baseline" if one.backend == "baseline" else "model", lang, name=one.name), key)
            for key, one in self.desk.engines.items()
        ]
        formats = text("formats", lang, most=self.desk.most_megabytes)
        kept = text("consent_hint", lang, folder=self.desk.corrections)
        buttons = ("make", "sample", "stop", "again", "delete", "cancel", "save")
        return {
            "heading": {"value": view.heading(lang, self.desk.remote)},
            "file": {"label": text("file", lang), "elem_classes": [lang]},
            "pasted": {"label": text("paste", lang), "placeholder": text("paste_hint", lang)},
            "formats": {"value": f'<p class="mug soft">{formats}</p>'},
            "meeting": {"label": text("meeting", lang)},
            "engine": {"label": text("engine", lang), "choices": engines},
            "consent": {"label": text("consent", lang), "info": kept},
            "field_owner": {"label": text("field_owner", lang)},
            "field_due": {"label": text("field_due", lang)},
            **{name: {"value": text(name, lang)} for name in buttons},
        }

    def _say(self, lang: str) -> Updates:
        return {getattr(self, name): gr.update(**said) for name, said in self._says(lang).items()}

    # ------------------------------------------------------------------------------------------------ what happens

    def _connect(self, page: gr.Blocks) -> None:
        quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "show_api": False, "api_name": False}
        slow = quick | {"queue": True, "concurrency_limit": _AT_ONCE, "concurrency_id": "make"}
        states = [self.notice, self.meeting, self.intake, self.working, self.progress, self.result]
        sides = [self.minutes, self.transcript]
        window = [self.dialog, self.dialog_head, self.field_text, self.field_owner, self.field_due]
        window += [self.dialog_notice, self.delete, self.target]
        back = {"js": _call("mugFromTop")} | quick
        page.load(self.opened, None, [self.token, self.lang, *self._say("zh")], **quick)
        page.unload(self.closed)
        self.lang.input(self.spoken_to, [self.token, self.lang], [*self._say("zh"), *sides, self.dialog], **quick)
        read = [*states, self.file, self.token]
        uploaded = self.file.upload(self.uploaded, [self.file, self.token, self.lang], read, **quick)
        uploaded.failure(self.failed, [self.lang], states, **quick)
        self.file.clear(self.cleared, [self.token], [self.notice, self.meeting], **quick)
        inputs = [self.token, self.pasted, self.meeting, self.engine, self.lang]
        for button, begin in ((self.make, self.begin), (self.sample, self.begin_sample)):
            done = button.click(begin, inputs, [*states, *sides, self.token], **slow)
            done.then(None, None, None, **back)
            done.failure(self.failed, [self.lang], states, **quick)
        self.stop.click(self.stopped, [self.token], None, **quick)
        self.again.click(self.start_again, [self.token], [*states, *sides, self.file, self.pasted], **quick)
        opened = self.bridge.input(self.told, [self.bridge, self.token, self.lang], [*window, self.notice], **quick)
        opened.then(None, None, None, js=_call("mugFocus"), **quick)
        self.cancel.click(lambda: gr.update(visible=False), None, self.dialog, **quick)
        fields = [self.field_text, self.field_owner, self.field_due]
        given = [self.token, self.target, self.consent, self.lang, *fields]
        changed = [*sides, self.dialog, self.dialog_notice, self.notice]
        for event in (self.save.click, self.field_owner.submit, self.field_due.submit):
            saved = event(self.saved, given, changed, **quick)
            saved.then(None, None, None, js=_call("mugKeepPlace"), **quick)
        deleted = self.delete.click(self.deleted, given[:4], changed, **quick)
        deleted.then(None, None, None, js=_call("mugKeepPlace"), **quick)

    def opened(self, request: gr.Request) -> Updates:
        """Begin a visitor's session, in the language of the address (``?lang=en``)."""
        lang = request.query_params.get("lang", self.desk.lang)
        lang = lang if lang in ("zh", "en") else self.desk.lang
        session = self.desk.sessions.new()
        self.tokens[request.session_hash or ""] = session.token
        return {self.token: session.token, self.lang: lang} | self._say(lang)

    def closed(self, request: gr.Request) -> None:
        """Let go of a visitor whose page was closed."""
        self.desk.sessions.closed(self.tokens.pop(request.session_hash or "", None))

    def spoken_to(self, token: str | None, lang: str) -> Updates:
        """Say everything in another language; the minutes too, whose own words stay."""
        session = self.desk.sessions.get(token)
        updates = self._say(lang) | {self.dialog: gr.update(visible=False)}
        return updates | (self._sides(session, lang) if session and session.minutes else {})

    def uploaded(self, path: str | None, token: str | None, lang: str) -> Updates:
        """Read a file at once, so that a wrong one is told while its owner looks at it."""
        updates: Updates = {}
        session = self.desk.sessions.get(token)
        if session is None:
            session = self.desk.sessions.new()
            updates[self.token] = session.token
        self._forget(session)
        if not path:
            return updates or {self.notice: ""}
        try:
            session.upload = session.folder / Path(path).name
            shutil.copyfile(path, session.upload)  # Gradio's own copy has a name that others could come by
            session.recording = read_transcript(session.upload)
        except InputError as error:
            several = "--meeting" in error.message.zh
            if not several:
                self._forget(session)
            shown = {} if several else {self.file: None}
            return (
                updates
                | {self.notice: self._bad(error.message, lang), self.meeting: gr.update(visible=several)}
                | shown
            )
        except OSError:
            self._forget(session)
            return updates | {self.notice: view.notice(text("expired", lang)), self.file: None}
        return updates | {
            self.notice: view.notice(self._described(session.recording, session.upload.name, lang), "good"),
            self.meeting: gr.update(visible=False),
        }

    def cleared(self, token: str | None) -> Updates:
        """Take the file away again."""
        if session := self.desk.sessions.get(token):
            self._forget(session)
        return {self.notice: "", self.meeting: gr.update(visible=False, value="")}

    def begin(
        self, token: str | None, pasted: str | None, meeting: str | None, engine: str, lang: str
    ) -> Iterator[Updates]:
        """Make the minutes of the file or of the pasted text; a box that was never seen gives None."""
        pasted, meeting = (pasted or "").strip(), (meeting or "").strip()
        session = self.desk.sessions.get(token)
        if session is None:
            session = self.desk.sessions.new()
            lost = not pasted
            yield {self.token: session.token} | ({self.notice: view.notice(text("expired", lang))} if lost else {})
            if lost:
                return
        try:
            recording, source = self._recording(session, pasted, meeting, lang)
        except InputError as error:
            yield {self.notice: self._bad(error.message, lang)}
            return
        yield from self._work(session, recording, source, engine, lang)

    def begin_sample(
        self, token: str | None, _: str | None, __: str | None, engine: str, lang: str
    ) -> Iterator[Updates]:
        """Make the minutes of the sample meeting."""
        session = self.desk.sessions.get(token)
        if session is None:
            session = self.desk.sessions.new()
            yield {self.token: session.token}
        yield from self._work(session, read_transcript(self.desk.sample), self.desk.sample.name, engine, lang)

    def _work(self, session: Session, recording: Recording, source: str, engine: str, lang: str) -> Iterator[Updates]:
        chosen = self.desk.engines.get(engine) or next(iter(self.desk.engines.values()))
        shown = {self.intake: gr.update(visible=False), self.working: gr.update(visible=True), self.notice: ""}
        yield shown | {self.progress: view.progress(State("waiting"), lang)}
        hidden = {self.working: gr.update(visible=False), self.progress: ""}
        before = ""
        for news in work(chosen, recording, source, session.stop):
            if isinstance(news, State):
                now = view.progress(news, lang)
                if now != before:
                    yield {self.progress: now}
                before = now
            elif isinstance(news, Minutes):
                session.recording, session.minutes, session.prompting = recording, news, chosen.prompting
                self.desk.sessions.get(session.token)  # it was used until now
                yield hidden | {self.result: gr.update(visible=True)} | self._sides(session, lang)
                return
            else:
                yield hidden | {self.intake: gr.update(visible=True), self.notice: self._bad(news, lang)}
                return
        message = view.notice(text("stopped", lang), "good")
        yield hidden | {self.intake: gr.update(visible=True), self.notice: message}

    def failed(self, lang: str) -> Updates:
        """Say that something went wrong that nobody foresaw; Gradio has written it to the log."""
        return {
            self.notice: view.notice(FAILED.say(lang)),
            self.intake: gr.update(visible=True),
            self.working: gr.update(visible=False),
            self.result: gr.update(visible=False),
        }

    def stopped(self, token: str | None) -> None:
        """Stop the work."""
        if session := self.desk.sessions.get(token):
            session.stop.set()

    def start_again(self, token: str | None) -> Updates:
        """Go back to the beginning; the last meeting is forgotten."""
        if session := self.desk.sessions.get(token):
            self._forget(session)
            session.minutes = None
        return {
            self.result: gr.update(visible=False),
            self.intake: gr.update(visible=True),
            self.meeting: gr.update(visible=False, value=""),
            **dict.fromkeys((self.notice, self.minutes, self.transcript, self.pasted), ""),
            self.file: None,
        }

    def told(self, message: str, token: str | None, lang: str) -> Updates:
        """Open the window for what was clicked on the page, or say that a file is too large."""
        found = _BRIDGE.fullmatch(message)
        if found and found[3]:
            size = f"{int(found[3]) / (1 << 20):.1f}"
            sentence = text("too_big", lang, size=size, most=self.desk.most_megabytes)
            return {self.notice: view.notice(sentence)}
        session = self.desk.sessions.get(token)
        if session is None or session.minutes is None:
            return {self.notice: view.notice(text("expired", lang))}
        target = f"{found[1]}{int(found[2])}" if found else ""
        if not _exists(session.minutes, target):
            return {self.dialog: gr.update()}  # nothing; Gradio takes an empty answer for one without its outputs
        return {self.target: target, self.dialog: gr.update(visible=True)} | self._window(
            session.minutes, target, lang
        )

    def _window(self, minutes: Minutes, target: str, lang: str) -> Updates:
        kind, number = target[0], int(target[1:])
        known = any(item.evidence.place == number for item in minutes.action_items)
        if kind == "a":
            item = editing.action_at(minutes, number)
            title, quote = text("edit_action" if known else "add_action", lang), item.evidence
            words, owner, due = item.text, item.owner, item.due
        else:
            title = text("edit_title", lang) if kind == "t" else text("edit_chapter", lang, number=number)
            words, owner, due, quote = (
                minutes.title if kind == "t" else minutes.chapters[number - 1].title,
                "",
                "",
                None,
            )
        return {
            self.dialog_head: view.dialog(title, quote, lang),
            self.field_text: gr.update(
                value=words, label=text("field_action" if kind == "a" else "field_title", lang)
            ),
            self.field_owner: gr.update(value=owner, visible=kind == "a"),
            self.field_due: gr.update(value=due, visible=kind == "a"),
            self.delete: gr.update(visible=kind == "a" and known),
            self.dialog_notice: "",
        }

    def saved(
        self, token: str | None, target: str, consent: bool, lang: str, words: str, owner: str, due: str
    ) -> Updates:
        """Change the minutes as the window says."""

        def edit(minutes: Minutes, kind: str, number: int) -> Minutes:
            if kind == "t":
                return editing.rename_meeting(minutes, words)
            if kind == "c":
                return editing.rename_chapter(minutes, number, words)
            return editing.set_action(minutes, number, words, owner, due)

        return self._changed(token, target, consent, lang, edit)

    def deleted(self, token: str | None, target: str, consent: bool, lang: str) -> Updates:
        """Take an action item out."""
        return self._changed(
            token, target, consent, lang, lambda minutes, _, number: editing.delete_action(minutes, number)
        )

    def _changed(self, token: str | None, target: str, consent: bool, lang: str, edit: Any) -> Updates:
        session = self.desk.sessions.get(token)
        if session is None or session.minutes is None or session.recording is None:
            return {self.dialog_notice: view.notice(text("expired", lang))}
        before = session.minutes
        if not _exists(before, target):
            return {self.dialog: gr.update(visible=False)}
        kind, number = target[0], int(target[1:])
        try:
            after: Minutes = edit(before, kind, number)
        except InputError as error:
            return {self.dialog_notice: self._bad(error.message, lang)}
        session.minutes = after
        updates = {self.dialog: gr.update(visible=False), self.notice: ""} | self._sides(session, lang)
        if consent and after != before:
            try:
                self._record(before, after, kind, number, session.recording.meeting, session.prompting)
            except OSError as error:
                updates[self.notice] = view.notice(text("unkept", lang, reason=error.strerror or error))
        return updates

    def _record(
        self, before: Minutes, after: Minutes, kind: str, number: int, meeting: Meeting, prompting: Prompting
    ) -> None:
        if kind == "c":
            title = after.chapters[number - 1].title
            if title != before.chapters[number - 1].title:
                edit = corrections.of_title(before, before.chapters[number - 1], title, meeting)
                corrections.record(self.desk.corrections, [edit])
        elif kind == "a":
            edits = corrections.of_action(before, after, number, meeting, prompting)
            corrections.record(self.desk.corrections, edits)

    # ------------------------------------------------------------------------------------------------------ parts

    def _recording(self, session: Session, pasted: str, meeting: str, lang: str) -> tuple[Recording, str]:
        if pasted:
            if session.upload:
                raise InputError(*TEXTS["both"])
            return read_text(pasted, text("pasted", lang), meeting or None), text("pasted", lang)
        if not session.upload:
            raise InputError(*TEXTS["nothing"])
        if session.recording is None or meeting:
            session.recording = read_transcript(session.upload, meeting or None)
        return session.recording, session.upload.name

    def _forget(self, session: Session) -> None:
        if session.upload:
            session.upload.unlink(missing_ok=True)
        session.upload = session.recording = None

    def _sides(self, session: Session, lang: str) -> Updates:
        assert session.minutes
        return {
            self.minutes: view.minutes_side(session.minutes, session.token, lang),
            self.transcript: view.transcript_side(session.minutes, lang),
        }

    def _bad(self, message: Message, lang: str) -> str:
        sentence = message.say(lang)
        if "--meeting" in sentence:  # the readers speak to a command line
            sentence = re.sub(
                r"用 --meeting 指定一场，如 --meeting |choose one with --meeting, as in --meeting ",
                lambda _: text("several", lang),
                sentence,
            )
        return view.notice(sentence)

    def _described(self, recording: Recording, name: str, lang: str) -> str:
        sentences = recording.meeting.sentences
        speakers = len({sentence.speaker for sentence in sentences})
        told = text("read", lang, name=name, sentences=len(sentences), speakers=speakers)
        notes = [note.say(lang) for note in recording.notes]
        return ("；" if lang == "zh" else "; ").join([told, *notes])


def _call(function: str) -> str:
    """Return the script that calls a function of page.js; Gradio wants a list of outputs from it."""
    return f"() => {{ window.{function}(); return []; }}"


def _exists(minutes: Minutes, target: str) -> bool:
    """Say whether what a browser asks to change is there."""
    if not re.fullmatch(r"[tca]\d{1,7}", target):
        return False
    last = {"t": 0, "c": len(minutes.chapters), "a": len(minutes.sentences)}[target[0]]
    return min(1, last) <= int(target[1:]) <= last
