from typing import Any

from feedhandler.line._recovery import Recovery
from feedhandler.line._sample import Sample
from feedhandler.line._window import Window
from feedhandler.line._word import Word

class Holes(Word):
    """Messages that wait, holes before them, and what becomes of holes."""

    window: Window
    malformed: Sample
    recovery: Recovery | None
    def __init__(self, *args: Any, **options: Any) -> None: ...
