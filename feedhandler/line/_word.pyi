from typing import Any

class Word:
    """The channel's word: how far its books can be trusted."""

    first_line: int
    lines: int
    def __init__(self, *args: Any, **options: Any) -> None: ...
