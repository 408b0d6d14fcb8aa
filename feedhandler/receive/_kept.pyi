from typing import Self, final

from feedhandler.session import Framing

@final
class KeptPackets:
    """Live packets that are kept while a recording is played."""

    kept: int
    dropped: int
    refused: int
    def __new__(cls, framings: list[Framing], memory: int) -> Self: ...
