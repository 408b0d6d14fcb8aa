from collections.abc import Sequence
from typing import Self, final

from feedhandler.receive._receiver import Receiver

@final
class Ahead(Receiver):
    """A recording read ahead by a thread of its own: read() and end() are that thread's."""

    def __new__(cls, lines: int = 1, *, room: int = ...) -> Self: ...
    @property
    def packets(self) -> int:
        """Read so far."""
    @property
    def first_ts(self) -> int:
        """Of the first packet, as it is handed out."""
    @property
    def last_ts(self) -> int:
        """Of the last packet read so far, as it is handed out."""
    def read(self, source: Receiver, lines: Sequence[int | None], shift: int = 0) -> None:
        """All packets of `source`, their times moved by `shift` ns; `lines`: which of ours each of its lines is."""
    def join(self, source: Receiver, lines: Sequence[int | None]) -> None:
        """The source, of which something has gone by, will be read from here on: its streams stand as they stand."""
    def end(self) -> None:
        """Nothing more will come."""
    @property
    def stopped(self) -> bool:
        """Whether stop() was called."""
    def stop(self) -> None:
        """Have read() end. From any thread."""
