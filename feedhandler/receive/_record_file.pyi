from collections.abc import Sequence
from typing import Any

from feedhandler.receive._file import FileReceiver

class RecordFile(FileReceiver):
    """A pcap or pcapng file, read record by record."""

    pcapng: bool
    dissector: Any
    described: list[tuple[str, str, str]]
    """(name, description, comment) of each interface that a pcapng has described so far."""
    heads: list[tuple[int, bytes]]
    """(place, block) of each section and interface of a pcapng, once `collect_heads` was called."""
    def collect_heads(self) -> None:
        """Keep the blocks that resume() needs from now on, in `heads`."""
    def resume(self, heads: Sequence[tuple[int, bytes]], place: int, stop: int = ...) -> None:
        """Go on at `place`, where a record begins, and read to the one that begins at `stop`."""
