from collections.abc import Callable, Sequence
from typing import Any, Self

from feedhandler.receive._file import FileReceiver

class PacketFile(FileReceiver):
    """UDP payloads of a pcap or pcapng file; made by `capture.receiver`."""

    pcapng: bool
    records: int
    foreign: int
    dissector: Any
    described: list[tuple[str, str, str]]
    """(name, description, comment) of each interface that a pcapng has described so far."""
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
    ) -> Self: ...
    @property
    def statistics(self) -> dict[str, int]:
        """What the packets of the file were, by name."""
    heads: list[tuple[int, bytes]]
    """(place, block) of each section and interface of a pcapng, once `collect_heads` was called."""
    def collect_heads(self) -> None:
        """Keep the blocks that resume() needs from now on, in `heads`."""
    def resume(self, heads: Sequence[tuple[int, bytes]], place: int, stop: int = ...) -> None:
        """Go on at `place`, where a record begins, and read to the one that begins at `stop`."""
    def datagrams(self, limit: int = 1000) -> list[tuple[int, bytes, int, bytes, int, bytes]]:
        """The next UDP datagrams: (ts_ns, target, port, source, source port, payload)."""
    def tally(self, limit: int, seen: dict[tuple[bytes, int], list[Any]]) -> bool:
        """Count datagrams by destination into `seen`; False at the end of the file."""
