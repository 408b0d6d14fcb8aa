from typing import Any

class Word:
    """The channel's word: how far its books can be trusted."""

    first_line: int
    lines: int
    def __init__(self, *args: Any, **options: Any) -> None: ...
    def catch_up(self) -> None:
        """What comes from now on is a recording: RECOVERING, CATCHING_UP where it would be LIVE."""
