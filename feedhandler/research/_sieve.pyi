from collections.abc import Collection, Sequence

from feedhandler.receive._receiver import Receiver
from feedhandler.research._measures import Measures
from feedhandler.session import Framing

class Sieve:
    """The messages of a recording, every copy on every line, of which a few are wanted."""

    @property
    def refused(self) -> int: ...
    @property
    def read(self) -> int: ...
    @property
    def shown(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    def __new__(
        cls, receiver: Receiver, lines: Sequence[tuple[Framing, int, int]], big_endian: Sequence[bool]
    ) -> Sieve: ...
    def describe(
        self, table: int, kind: int, length: int, id_offset: int, symbol_offset: int, symbol_size: int
    ) -> None:
        """Where a type of message has the feed's id of its instrument and its symbol; sizes of 0: it has none."""
    def only_types(self, table: int, kinds: Collection[int]) -> None:
        """Of this table only messages of these types."""
    def only_lines(self, lines: Collection[int]) -> None:
        """Only what these lines brought."""
    def only_numbers(self, first: int, last: int) -> None:
        """Only messages of these numbers of the feed, both included."""
    def only_symbols(self, symbols: Collection[bytes]) -> None:
        """Only messages about these instruments."""
    def rule(
        self,
        index: int,
        table: int,
        kind: int,
        offset: int,
        size: int,
        signed: bool,
        lo: int,
        hi: int,
        outside: bool,
    ) -> None:
        """A message of this type passes if the number at `offset` lies within lo..hi, or outside of it."""
    def take(self, most: int = 256) -> list[tuple[int, int, int, bytes, bytes]]:
        """The next messages that are wanted: (seq, ts_recv, line, symbol, message)."""
    @property
    def types(self) -> dict[int, int]:
        """Messages read so far, by the byte of their type; -1: those without a byte."""
    @property
    def symbols_named(self) -> set[bytes]:
        """The symbols that ids of the feed were given, in any channel."""
    def measure(self, measures: Measures, start: int = ...) -> bool:
        """Have the next messages that are wanted measured; False: all is read."""
    def names_of(self, other: Sieve) -> None:
        """Take over what ids another one has learned, which went through the same channels."""
