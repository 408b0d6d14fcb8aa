"""What a recording is, and how it is read."""

from feedhandler.recording.day import Recording
from feedhandler.recording.lines import RecordedLine
from feedhandler.recording.window import ALL, Window

__all__ = ["ALL", "RecordedLine", "Recording", "Window"]
