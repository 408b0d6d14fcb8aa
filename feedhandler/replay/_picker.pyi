from collections.abc import Sequence
from typing import Self, final

@final
class Picker:
    """Which messages belong to some symbols, read off the protocol's table."""

    def __new__(cls, protocol: str, symbols: Sequence[str]) -> Self: ...
    @property
    def unmet(self) -> list[str]:
        """The symbols that no message has named so far."""
    def picks(self, message: bytes) -> bool:
        """Whether the message is one of ours."""
