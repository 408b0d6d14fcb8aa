from typing import final

@final
class Sample:
    """One malformed message at a time, kept for people."""

    def take(self) -> tuple[int, int, int, bytes] | None:
        """(number, line, length, first bytes) of a malformed message since the last take(), or None."""
