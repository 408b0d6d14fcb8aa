from typing import Any

from feedhandler.line._holes import Holes

class Sequence(Holes):
    """Frames and sessions of a channel."""

    def __init__(self, *args: Any, **options: Any) -> None: ...
