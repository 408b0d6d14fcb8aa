from typing import Any

class Word:
    """The channel's word: how far its books can be trusted."""

    first_line: int
    lines: int
    def __init__(self, *args: Any, **options: Any) -> None: ...
    def catch_up(self) -> None:
        """What comes from now on is a recording: RECOVERING, CATCHING_UP where it would be LIVE."""
    def go_live(self, now: int) -> None:
        """The recording is over, lines that were opened at `now` (ns since the Unix epoch) go on; for tests."""
