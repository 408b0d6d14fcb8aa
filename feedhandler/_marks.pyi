from collections.abc import Sequence

class Marks:
    """Where in a recording a shard is: for book snapshots."""

    step: int
    slack: int
    begin: int
    latest: int
    earliest: int
    due: bool

    def __new__(cls, step: int = ..., slack: int = ...) -> Marks: ...
    def seen(self, lines: int) -> list[tuple[int, int]]:
        """Of each line (packets, bytes) at or behind `begin` so far."""
    def cut(self) -> None:
        """The cut is made now."""
    def took_earliest(self) -> None:
        """`earliest` has been looked at; from here on again."""
    def skip(self, begin: int, seen: Sequence[tuple[int, int]], latest: int) -> None:
        """Go on behind a cut: of each line leave out so many packets from `begin` on."""
    @property
    def left_to_skip(self) -> int:
        """Packets that are still to be left out."""
