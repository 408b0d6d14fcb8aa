from collections.abc import Sequence
from typing import Any, Self

from feedhandler.receive._receiver import Receiver

class FileReceiver(Receiver):
    """A window of bytes onto a file."""

    path: str
    @property
    def offset(self) -> int:
        """Bytes of the file (unpacked) that have been read; for progress bars."""
    def refill(self) -> bool:
        """Bring more of a compressed file into the window; poll() does it by itself."""

class PacketFile(FileReceiver):
    """UDP payloads of a pcap or pcapng file; made by `capture.receiver`."""

    pcapng: bool
    records: int
    foreign: int
    dissector: Any
    def __new__(cls, lines: int, source: Any, path: str, destinations: Sequence[tuple[bytes, int, bytes]]) -> Self: ...
    @property
    def statistics(self) -> dict[str, int]:
        """What the packets of the file were, by name."""
    def datagrams(self, limit: int = 1000) -> list[tuple[int, bytes, int, bytes, int, bytes]]:
        """The next UDP datagrams: (ts_ns, target, port, source, source port, payload)."""
    def tally(self, limit: int, seen: dict[tuple[bytes, int], list[int | bytes]]) -> bool:
        """Count datagrams by destination into `seen`; False at the end of the file."""

class BinaryFile(FileReceiver):
    """Whole messages of a Nasdaq BinaryFILE, as runs; made by `capture.receiver`."""

    messages: int
    def __new__(cls, lines: int, source: Any, path: str) -> Self: ...
