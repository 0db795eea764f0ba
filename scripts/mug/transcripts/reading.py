"""A file, or pasted text, of any known form -> `Recording`; what form it is, its content says and not its name."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from mug import table
from mug.corpus import clean_text
from mug.errors import InputError, Message
from mug.transcripts import (
    corpus_file,
    dingtalk,
    funasr,
    grid,
    plain_text,
    subrip,
    tencent_meeting,
    tingwu,
    webvtt,
    whisperx,
    word,
)
from mug.transcripts.draft import Draft, finish
from mug.transcripts.fields import text_of
from mug.transcripts.recording import Recording

LIMIT = 50 << 20
"""Bytes of a file; a meeting of three hours is 1 MB of text."""

LOOKED_FOR = Message(
    "WebVTT（Zoom、Teams）、SRT、"
    "TXT 或 DOCX（腾讯会议、飞书妙记、讯飞听见、Teams、Google Meet，或每行“说话人: 内容”）、"
    "JSON（FunASR、WhisperX、腾讯会议、钉钉、通义听悟）、语料的 CSV / JSON / JSONL",
    "WebVTT (Zoom, Teams), SRT, TXT or DOCX (Tencent Meeting, Feishu, iFlytek, Teams, Google Meet, or a line each "
    "`speaker: words`), JSON (FunASR, WhisperX, Tencent Meeting, DingTalk, Tongyi Tingwu), the corpus's CSV, JSON or "
    "JSONL",
)

_TRANSCRIBE = Message("请先转写成文字", "transcribe it first")
_EXPORT = Message("请导出为 TXT 或 DOCX", "export it as TXT or DOCX")
_SAVE_AS = Message("请用 Word 另存为 .docx", "save it as .docx with Word")
# What people drop by mistake, by the first bytes; `mug.table` knows archives and data bases as well.
_FOREIGN: tuple[tuple[bytes, int, Message, Message], ...] = (
    (b"%PDF", 0, Message("PDF", "a PDF"), _EXPORT),
    (b"\xd0\xcf\x11\xe0", 0, Message("旧版 Office 文件（.doc、.xls）", "an old Office file (.doc, .xls)"), _SAVE_AS),
    (b"{\\rtf", 0, Message("RTF 文件", "an RTF file"), _SAVE_AS),
    (b"<html", 0, Message("网页", "a web page"), _EXPORT),
    (b"<!doctype html", 0, Message("网页", "a web page"), _EXPORT),
    (b"<?xml", 0, Message("XML 文件", "an XML file"), _EXPORT),
    (b"riff", 0, Message("音频或视频", "audio or video"), _TRANSCRIBE),
    (b"id3", 0, Message("音频", "audio"), _TRANSCRIBE),
    (b"\xff\xfb", 0, Message("音频", "audio"), _TRANSCRIBE),
    (b"oggs", 0, Message("音频", "audio"), _TRANSCRIBE),
    (b"flac", 0, Message("音频", "audio"), _TRANSCRIBE),
    (b"ftyp", 4, Message("音频或视频", "audio or video"), _TRANSCRIBE),
    (b"\x1aE\xdf\xa3", 0, Message("视频", "video"), _TRANSCRIBE),
    (b"\x89png", 0, Message("图片", "a picture"), _EXPORT),
    (b"\xff\xd8\xff", 0, Message("图片", "a picture"), _EXPORT),
)


def read_transcript(path: str | Path, meeting: str | None = None) -> Recording:
    """Read a transcript file of any known form.

    The meeting's key is the file's name without its ending, except for the corpus's own files, which carry keys.
    A sentence's speaker is empty where the file names none. ``meeting`` chooses one where a file holds several
    (the corpus's own, and FunASR's results of several recordings); other files have nothing to choose.

    Raises:
        InputError: no such file, over `LIMIT`, of no known form or encoding, without a word, or with several
            meetings and none chosen.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(
                f"{path} 是文件夹或设备，不是文件；请给出一个文件。", f"{path} is a folder or a device; name a file."
            )
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"打不开 {path}（{reason}）；请检查路径。", f"Can't open {path} ({reason}); check the path."
        ) from None
    _check_size(len(content), path.name)
    # Cut behind its first letters, a DOCX is no archive any more; a text may begin with them.
    if word.recognises(content) or (content.startswith(b"PK") and path.suffix.lower() == ".docx"):
        return _finished(word.read(content, path.name), path.name, path.stem)
    _refuse_foreign(content, path.name)
    if not content.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise InputError(f"{path.name} 是空文件；请重新导出。", f"{path.name} is empty; export it again.")
    encoding = table.find_encoding(path)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:  # past the part that told the encoding
        raise table.undecodable(path, encoding) from None
    if _is_binary(text):
        raise InputError(
            f"{path.name} 不是文字文件（不是 UTF-8、GB18030 或 UTF-16，或已损坏）；请另存为 UTF-8 后重试。",
            f"{path.name} is no text (not UTF-8, GB18030 or UTF-16 with its mark, or damaged); save it as UTF-8 and "
            "try again.",
        )
    return _from_text(text, path.name, path.stem, meeting, path, _encoding_note(encoding))


def read_text(text: str, name: str = "pasted", meeting: str | None = None) -> Recording:
    """Read a transcript that somebody pasted; ``name`` becomes the meeting's key.

    Raises:
        InputError: as `read_transcript`.
    """
    _check_size(len(text), name)
    if not text.strip("\ufeff \t\r\n"):
        raise InputError(
            "没有粘贴任何内容；请粘贴会议的文字记录。", "Nothing was pasted; paste the transcript of a meeting."
        )
    return _from_text(text, name, name, meeting, None, [])


def _from_text(
    text: str, name: str, stem: str, meeting: str | None, path: Path | None, notes: list[Message]
) -> Recording:
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff \t\n")
    value = _json(text, name)
    if corpus_file.is_json(value) or (value is None and corpus_file.is_table(text)):
        return _from_corpus(text, name, meeting, path)
    draft = _json_draft(value, name, meeting) if value is not None else _text_draft(text, name)
    if draft:
        draft.notes[:0] = notes
    return _finished(draft, name, stem)


def _finished(draft: Draft | None, name: str, stem: str) -> Recording:
    if draft is None:
        raise InputError(
            f"认不出 {name} 是哪种会议记录；纯文字请每行写成“说话人: 内容”；支持的有：{LOOKED_FOR.zh}。",
            f"Can't tell what kind of transcript {name} is; write each line of a plain text as `speaker: words`; "
            f"looked for: {LOOKED_FOR.en}.",
        )
    return finish(draft, clean_text(" ".join(stem.split()))[:200] or "meeting", name)


def _text_draft(text: str, name: str) -> Draft | None:
    if webvtt.recognises(text):
        return webvtt.read(text)
    if subrip.recognises(text):
        return subrip.read(text, name)
    if lines := grid.lines_of_csv(text):
        return plain_text.read_lines(lines)
    return plain_text.read(text)


def _json_draft(value: Any, name: str, meeting: str | None) -> Draft | None:
    if tencent_meeting.recognises(value):
        return tencent_meeting.read(value)
    if dingtalk.recognises(value):
        return dingtalk.read(value)
    if tingwu.recognises(value):
        return tingwu.read(value)
    if results := funasr.results(value):
        keys = list(dict.fromkeys(text_of(result, "key") for result in results))
        if len(keys) > 1:  # one result a recording
            if meeting not in keys:
                raise corpus_file.choose(name, keys, meeting)
            results = [result for result in results if text_of(result, "key") == meeting]
        return funasr.read(results)
    return whisperx.read(value) if whisperx.recognises(value) else None


def _json(text: str, name: str) -> Any:
    """Return the value of a JSON text, None where the text is none, as `[张三]: 好的。` and JSON lines are.

    Raises:
        InputError: damaged JSON.
    """
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        if corpus_file.is_table(text) or (text[0] == "[" and text[1:].lstrip()[:1] not in ("{", '"', "")):
            return None
        raise InputError(
            f"{name} 像是 JSON，但不完整或已损坏（{error}）；请重新导出。",
            f"{name} looks like JSON but is cut or damaged ({error}); export it again.",
        ) from None


def _from_corpus(text: str, name: str, meeting: str | None, path: Path | None) -> Recording:
    if path:
        return corpus_file.read(path, name, meeting)
    with tempfile.TemporaryDirectory() as folder:  # `mug.corpus` reads files
        pasted = Path(folder) / "pasted"
        pasted.write_bytes(text.encode("utf-8", "replace"))
        try:
            return corpus_file.read(pasted, name, meeting)
        except InputError as error:
            zh, en = (part.replace(str(pasted), name) for part in error.message)
            raise InputError(zh, en) from None


def _check_size(size: int, name: str) -> None:
    if size > LIMIT:
        raise InputError(
            f"{name} 超过 {LIMIT >> 20} MB，不像一场会议的文字记录；请检查文件。",
            f"{name} is over {LIMIT >> 20} MB, too much for the transcript of a meeting; check the file.",
        )


def _refuse_foreign(content: bytes, name: str) -> None:
    head = content[:64].lstrip().lower()
    for mark, place, what, mend in _FOREIGN:
        if mark.lower() in (head[place : place + len(mark)], content[place : place + len(mark)].lower()):
            raise InputError(
                f"{name} 是{what.zh}，不是文字记录；{mend.zh}。", f"{name} is {what.en} and no transcript; {mend.en}."
            )


def _is_binary(text: str) -> bool:
    """Say whether characters that no text has are among those decoded: GB18030 reads nearly any bytes."""
    head = text[:100_000]
    controls = sum(head.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\r\x0b\x0c\x1b")
    private = sum("\ue000" <= char <= "\uf8ff" for char in head)
    return "\0" in text or controls * 100 > len(head) or private * 50 > len(head)


def _encoding_note(encoding: str) -> list[Message]:
    if encoding in ("utf-8", "utf-8-sig"):
        return []
    name = encoding.upper()
    return [Message(f"文件按 {name} 编码读取", f"the file was read as {name}")]
