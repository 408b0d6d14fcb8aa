from collections.abc import Iterable, Sequence
from typing import Self, final

from feedhandler.receive._capture import PacketFile
from feedhandler.session import Framing

@final
class Surveyor:
    """Goes through a file once, for its index."""

    def __new__(cls, lines: Sequence[tuple[Framing, int, int]]) -> Self: ...
    def block(
        self, file: PacketFile, packets: int
    ) -> tuple[int, int, int, int, list[int], list[tuple[int, int, int]]] | None:
        """The next packets, at most so many, as one block; None at the end of the file."""
    def find(self, file: PacketFile, lines: Iterable[int], wanted: int) -> int | None:
        """The time of the first packet of these lines that holds number `wanted`, or a later one."""
