"""What the reports call tasks, tracks, metrics and repairs, in Chinese."""

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
    "exact_match": "完全相同",
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
