from types import TracebackType
from typing import Any, Self

class Receiver:
    """Packets in: the contract of every backend."""

    lines: int
    ended: bool
    def __new__(cls, lines: int = ..., *args: Any, **kwargs: Any) -> Self: ...
    def describe(self) -> str:
        """The mode in a few words, shown behind the backend's name ("native copy"); "" where there is but one."""
    @property
    def error(self) -> Exception | None:
        """What ended the input before its end, to be raised by the caller; None when nothing did."""
    def close(self) -> None:
        """Give back what is held. Harmless when done twice."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def drain(self, limit: int = 1000000) -> list[tuple[int, int, bytes]]:
        """All packets that wait now, as (line, ts_recv, bytes), at most `limit`."""
    def skim(self, limit: int = ...) -> tuple[int, int]:
        """Receive and let go what waits now, without the GIL: (packets, bytes)."""
    def wait_for(self, seconds: float) -> bool:
        """Sleep until a packet may be there, at most so long; True when one may be."""
    def counts(self, line: int) -> dict[str, int]:
        """The line's counters that receiving writes, by name."""
    def line_status(self, line: int) -> dict[str, int]:
        """The line's state, ts_kind, receive_buffer (bytes), error (errno), connections."""
