"""What the page says, in Chinese and in English; what the minutes themselves say is in `mug.minutes.wording`."""

from __future__ import annotations

from mug.errors import Message

TEXTS = {
    "page": Message("会议纪要", "Meeting minutes"),
    "lead": Message(
        "把会议的文字记录变成纪要：摘要、行动项、章节、关键词，每一句都能点回原文。",
        "Turn the transcript of a meeting into minutes: summary, action items, chapters and keyphrases, each linked "
        "to what was said.",
    ),
    "local": Message("一切都在这台机器上处理。", "Everything is processed on this machine."),
    "remote": Message(
        "选用“{name}”时，会议内容会发给它的接口。", "With “{name}” the meeting is sent to that model's server."
    ),
    "file": Message("文件", "File"),
    "drop": Message("把文件拖到这里，或点按选择", "Drop a file here, or click to choose one"),
    "formats": Message(
        "VTT、SRT、TXT、DOCX、JSON，来自腾讯会议、飞书、钉钉、讯飞听见、Zoom、Teams、FunASR、WhisperX 等；"
        "不超过 {most} MB",
        "VTT, SRT, TXT, DOCX or JSON from Tencent Meeting, Feishu, DingTalk, iFlytek, Zoom, Teams, FunASR, WhisperX "
        "and others; up to {most} MB",
    ),
    "paste": Message("或者粘贴文字", "Or paste the text"),
    "paste_hint": Message(
        "张三: 先定春游地点。\n李四: 去湿地公园吧。", "Ann: Let us settle the place first.\nBen: The wetland park?"
    ),
    "pasted": Message("粘贴的文字", "pasted text"),
    "meeting": Message("会议编号", "Which meeting"),
    "engine": Message("由谁来写", "Written by"),
    "baseline": Message(
        "基线规则（不用模型，几秒钟，质量最低）", "Baseline rules (no model, a few seconds, the lowest quality)"
    ),
    "model": Message("模型 {name}", "Model {name}"),
    "make": Message("生成纪要", "Make minutes"),
    "sample": Message("看一个示例", "Try a sample"),
    "again": Message("换一场会议", "Another meeting"),
    "stop": Message("停止", "Stop"),
    "read": Message(
        "已读入 {name}：{sentences} 句，{speakers} 位说话人", "{name}: {sentences} sentences, {speakers} speakers"
    ),
    "nothing": Message(
        "还没有文件或文字；请拖入一个文件、粘贴文字，或看一个示例。",
        "No file and no text yet; drop a file, paste a text, or try the sample.",
    ),
    "both": Message(
        "既有文件又有粘贴的文字；请去掉其中一个。", "There is a file and a pasted text; take one of them away."
    ),
    "too_big": Message(
        "文件有 {size} MB，超过上限 {most} MB；会议的文字记录没有这么大，请检查是不是选了录音或录像。",
        "The file has {size} MB, over the limit of {most} MB; no transcript is that large. Is it audio or video?",
    ),
    "expired": Message(
        "这一页闲置太久，内容已从服务器上删去；请重新选择文件。",
        "This page was idle for too long and its content was removed from the server; choose the file again.",
    ),
    "stopped": Message("已停止。", "Stopped."),
    "several": Message("在“会议编号”里填一场，如 ", "name one under “Which meeting”, as in "),
    "waiting": Message("前面还有人在用这个引擎，请稍候", "Somebody else is using this engine; one moment"),
    "loading": Message("正在载入模型，第一次要久一些", "Loading the model; the first time takes longer"),
    "left": Message("约剩 {seconds} 秒", "about {seconds} s left"),
    "download": Message("下载", "Download"),
    "edit_title": Message("修改会议标题", "Edit the meeting's title"),
    "edit_chapter": Message("修改第 {number} 章的标题", "Edit the title of chapter {number}"),
    "edit_action": Message("修改行动项", "Edit the action item"),
    "add_action": Message("标为行动项", "Mark as an action item"),
    "field_title": Message("标题", "Title"),
    "field_action": Message("事项", "What"),
    "field_owner": Message("负责人", "Owner"),
    "field_due": Message("期限", "Due"),
    "save": Message("保存", "Save"),
    "cancel": Message("取消", "Cancel"),
    "delete": Message("不是行动项，删去", "Not an action item: delete"),
    "said": Message("原句", "What was said"),
    "pick": Message("点一句话，可把它标为行动项。", "Click a sentence to mark it as an action item."),
    "consent": Message("记录我的修改，供以后训练", "Keep my edits for later training"),
    "consent_hint": Message(
        "改过的标题和行动项连同所在段落的原文，只存在运行此页面的机器上（{folder}）。不勾选则什么也不存。",
        "Edited titles and action items, with the passage they belong to, kept only on the machine that runs this "
        "page ({folder}). Unticked, nothing is kept.",
    ),
    "unkept": Message(
        "修改已保存在页面上，但没能写进记录（{reason}）。",
        "Your edit is on the page, but it could not be kept for training ({reason}).",
    ),
    "jump": Message("跳到章节", "Jump to a chapter"),
}


def text(which: str, lang: str, **values: object) -> str:
    """Return one of `TEXTS` in a language, its blanks filled."""
    return TEXTS[which].say(lang).format(**values) if values else TEXTS[which].say(lang)
