"""What the reports call tasks, tracks, metrics, repairs and ways to score, in Chinese."""

from __future__ import annotations

TASK_NAMES = {
    "title_generation": "主题标题生成",
    "extractive_summary": "主题关键句",
    "session_summary": "全场关键句",
    "topic_segmentation": "主题切分",
    "keyphrase_extraction": "关键词抽取",
    "action_item_detection": "行动项检测",
    "other": "其他 Alpaca 样本",
}
TRACK_NAMES = {
    "topic_title_generation": "主题标题生成",
    "extractive_summarization": "抽取式摘要",
    "topic_segmentation": "主题切分",
    "keyphrase_extraction": "关键词抽取",
    "action_item_detection": "行动项检测",
}
METRIC_NAMES = {
    "rouge-1": "ROUGE-1",
    "rouge-2": "ROUGE-2",
    "rouge-l": "ROUGE-L",
    "bleu-4": "BLEU-4",
    "exact_match": "精确匹配",
}
REPAIR_NAMES = {
    "cut at an end token": "在结束符处截断",
    "reasoning removed": "去掉思考过程",
    "reasoning left open": "思考过程没有结束",
    "fence removed": "去掉代码围栏",
    "JSON unpacked": "取出 JSON 里的内容",
    "lead-in removed": "去掉开场白",
    "markup removed": "去掉 Markdown 标记",
    "only the first line kept": "只留第一行",
    "quotes removed": "去掉引号",
    "prose around the numbers": "编号之外有文字",
    "range expanded": "展开编号范围",
    "numbers outside the prompt dropped": "去掉超出范围的编号",
    "moved to the paragraph's end": "移到段落末尾",
    "punctuation or width changed": "统一标点和全半角",
    "sentence not in the prompt dropped": "去掉原文没有的句子",
}
NOTES = {
    # of mug.metrics.llamafactory
    "jieba words (ROUGE), characters (BLEU-4)": "jieba 分出的词（ROUGE），单个字符（BLEU-4）",
    "the numbers of rouge-chinese 1.0.3 and nltk sentence_bleu with smoothing method 3": (
        "数值同 rouge-chinese 1.0.3 与 nltk 的 sentence_bleu（平滑方法 3）"
    ),
    "one": "一份",
    # of mug.metrics.official
    "paragraph ends, the last one of a meeting left out": "段末，每场会议的最后一个不算",
    "topic and session summaries": "主题和全场的摘要",
    "titles": "标题",
    "meetings": "会议",
    "sentences": "句子",
    "none": "不分词",
    "one token a CJK character, punctuation mark or symbol; the rest by spaces, lower-cased, no accents": (
        "汉字、标点、符号一个算一词，其余按空格分开，转成小写，去掉重音"
    ),
    "a phrase is a word, cut again at spaces and full stops": "一个短语算一词，在空格和句点处再分开",
    "the numbers of scikit-learn's F1 and segeval 2.0.11's Pk and WindowDiff": (
        "数值同 scikit-learn 的 F1 与 segeval 2.0.11 的 Pk、WindowDiff"
    ),
    "the numbers of rouge 1.0.1 (n-grams as sets, F with 1e-8, ROUGE-L by its own traceback)": (
        "数值同 rouge 1.0.1（n 元组按集合计，F 的分母加 1e-8，ROUGE-L 按它自己的回溯）"
    ),
    "the numbers of rouge 1.0.1 (exact); a common substring of at least 2 characters (partial)": (
        "完全匹配的数值同 rouge 1.0.1；部分匹配要有至少 2 个字的公共子串"
    ),
    "the numbers of scikit-learn's F1 of the positive class": "数值同 scikit-learn 的正类 F1",
    "one; F1 over all meetings together, Pk and WindowDiff averaged over meetings": (
        "一份；F1 把所有会议合在一起算，Pk、WindowDiff 按会议取平均"
    ),
    "all annotators; average = mean over them, max = the one with the best ROUGE-L F": (
        "全部标注者；平均（average）是对他们取平均，最佳（max）取 ROUGE-L F 最高的一位"
    ),
    "all annotators' phrases one after the other, repeats kept": "全部标注者的短语依次相接，重复的保留",
    "one; over the sentences of all meetings together": "一份；把所有会议的句子合在一起算",
}
"""How something was scored, by what the results' JSON says of it."""


def in_chinese(note: str) -> str:
    """Return how something was scored in Chinese.

    >>> in_chinese("titles"), in_chinese("something new")
    ('标题', 'something new')
    """
    return NOTES.get(note, note)
