from collections.abc import Iterable
from typing import Self

class Reassembly:
    """Streams out of captured TCP segments, of a chain of files."""

    lines: int
    holes: list[tuple[int, int, int, int]]
    """(line, ts, place in the stream, bytes) of each hole, the first thousand."""
    def __new__(cls, lines: int, streams: Iterable[int]) -> Self: ...
    def statistics(self, line: int) -> dict[str, int] | None:
        """What came of the segments of a line; None of one that is no stream."""
    def settle(self) -> list[int]:
        """Nothing more comes: what still waits behind a hole waits for good. The lines of which that is so."""
