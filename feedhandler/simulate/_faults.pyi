from collections.abc import Sequence
from typing import Self, final

from feedhandler.simulate.faults import LineFault, Upstream

FRAMINGS: tuple[str, ...]

class WrongChecksum(bytes):
    """A packet as it was sent, in a frame whose UDP checksum is wrong."""

@final
class LineFaults:
    """The faults of one line."""

    packets: int
    lost: int
    duplicated: int
    reordered: int
    truncated: int
    corrupted: int
    wrong_checksums: int
    frames: bool
    little_endian: bool
    def __new__(
        cls,
        settings: LineFault,
        upstream: Upstream,
        outages: Sequence[tuple[int, int, int, bool]],
        *,
        seed: int,
        line: int,
        delay_ns: int = 0,
        framing: str = "moldudp64",
        frames: bool = False,
    ) -> Self: ...
    def offer(self, ts: int, payload: bytes) -> list[tuple[int, bytes]]:
        """(time of arrival, bytes) of all that comes because of this packet."""
    def flush(self, ts: int) -> list[tuple[int, bytes]]:
        """As offer(), at the end: what is still held back."""

def spoiled(payload: bytes, draw: int, *, framing: str = "moldudp64") -> bytes:
    """The packet with lengths or counts that do not add up; `draw` chooses how."""
