from typing import Self, final

from feedhandler.recording._sequences import Sequences

@final
class Scan:
    """A recorded file read again: what is whole in it, and how much of each line."""

    pcapng: bool
    lines: int
    damaged: bool
    blocks: int
    def __new__(cls, pcapng: bool, places: list[tuple[bytes, int]], sequences: Sequences | None = None) -> Self: ...
    def counts(self, line: int) -> tuple[int, int, int, int | None, int | None]:
        """What was found of a line: (packets, bytes, lost, first_ts, last_ts)."""
    def walk(self, data: bytes | bytearray | memoryview, start: bool = False) -> int:
        """The bytes of `data` that are whole blocks. `start`: it is the beginning of the file."""
