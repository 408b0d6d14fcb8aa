from collections.abc import Collection, Sequence
from typing import Any, Protocol, Self, final

from feedhandler.receive._frame import Steering
from feedhandler.receive._receiver import Receiver
from feedhandler.receive._sockets import SocketReceiver

COPY: int
ZERO_COPY: int
HEADROOM: int

class Memory:
    """Memory for frames; its buffer is read-only."""

    size: int
    pages: str
    def __new__(cls, size: int, huge: bool = True) -> Self: ...

class Queue:
    """One AF_XDP socket, set up in steps: open, register, rings, bind."""

    memory: Memory | None
    def open(self) -> None:
        """Make the socket."""
    def register(self, memory: Memory, chunk: int, headroom: int, anywhere: bool) -> None:
        """Frames go into chunks of this memory."""
    def rings(self, ring: int, chunk: int) -> None:
        """Map the rings and give all chunks to the kernel."""
    def bind(self, interface: int, queue: int, zero_copy: bool) -> None:
        """Take the queue of the interface of this number."""
    def fileno(self) -> int:
        """The socket's file descriptor; -1 = closed."""
    def close(self) -> None:
        """Unmap the rings, close the socket."""

class _Closes(Protocol):
    def close(self) -> None: ...

@final
class AfXdpReceiver(Receiver):
    """AF_XDP sockets, one per receive queue; made by `af_xdp.receiver`."""

    queues: int
    spin_ns: int
    def __new__(
        cls,
        lines: int,
        queues: Sequence[tuple[Queue, int]],
        tables: Sequence[Steering],
        interfaces: Sequence[int],
        joined: SocketReceiver,
        attached: Sequence[_Closes],
        mode: str,
        check_udp_checksum: bool = False,
        hardware: Collection[int] = (),
    ) -> Self: ...
    def batch(self, limit: int = ...) -> list[tuple[int, int, memoryview[Any]]]:
        """What waits now, as (line, ts_recv, memoryview of the payload), valid until the next batch()."""
