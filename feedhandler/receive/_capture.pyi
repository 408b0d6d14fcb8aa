from collections.abc import Callable, Sequence
from typing import Any, Self

from feedhandler.receive._reassembly import Reassembly
from feedhandler.receive._record_file import RecordFile

class PacketFile(RecordFile):
    """UDP payloads of a pcap or pcapng file; made by `capture.receiver`."""

    records: int
    foreign: int
    tcp_latest: int
    """The latest time of a TCP segment that was passed over; 0: none."""
    def __new__(
        cls,
        lines: int,
        source: Any,
        path: str,
        destinations: Sequence[tuple[bytes, int, bytes, int]],
        interfaces: Callable[[str, str, str], int] | None = ...,
        *,
        since: int = ...,
        until: int = ...,
        reassembly: Reassembly | None = ...,
    ) -> Self: ...
    @property
    def statistics(self) -> dict[str, int]:
        """What the packets of the file were, by name."""
    def peek(self) -> int | None:
        """The time of the next packet that could be of a line, ns since the Unix epoch; None: there is none."""
    def segments(self, limit: int = 1000) -> list[tuple[int, bytes, int, bytes, int, int, int, bytes]]:
        """The next TCP segments: (ts_ns, source, port, target, port, number, flags, payload)."""
    def tally(self, limit: int, seen: dict[tuple[bytes, int], list[Any]]) -> bool:
        """Count datagrams by destination into `seen`; False at the end of the file."""
