"""The MUG tasks by the name that ``--task`` takes."""

from __future__ import annotations

from mug.tasks.action_item_detection import ActionItemDetection
from mug.tasks.base import Task
from mug.tasks.extractive_summary import ExtractiveSummary
from mug.tasks.keyphrase_extraction import KeyphraseExtraction
from mug.tasks.session_summary import SessionSummary
from mug.tasks.shared import SHARED_TASKS
from mug.tasks.title_generation import TitleGeneration
from mug.tasks.topic_segmentation import TopicSegmentation

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        TitleGeneration,
        ExtractiveSummary,
        SessionSummary,
        TopicSegmentation,
        KeyphraseExtraction,
        ActionItemDetection,
    )
}

LAYOUTS: dict[str, dict[str, type[Task]]] = {"separate": TASKS, "shared": SHARED_TASKS}
"""The tasks by name, for each ``--layout`` of preprocess_data.py."""
