"""From a meeting to its minutes, and the minutes as Markdown, HTML, DOCX and JSON."""
