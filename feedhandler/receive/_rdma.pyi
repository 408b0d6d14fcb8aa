from collections.abc import Sequence
from typing import Any, Self

from feedhandler.receive._receiver import Receiver
from feedhandler.receive._sockets import SocketReceiver

class Pointers:
    """Addresses of the C structures behind pyverbs' objects."""

    cq: int
    qp: int
    channel: int
    get_event: int
    ack_events: int
    def __init__(self, cq: int, qp: int, channel: int, get_event: int, ack_events: int) -> None: ...

def pointers(
    kinds: Sequence[tuple[type, int]],
    cq: Any,
    qp: Any,
    channel: Any,
    get_event: int,
    ack_events: int,
    *,
    wakes: bool = True,
) -> Pointers:
    """The Pointers of a queue pair, its completion queue and channel."""

def channel_fd(channel: Any, size: int) -> int:
    """The descriptor of a pyverbs CompChannel."""

def queue_pair_address(kind: type, size: int, qp: Any) -> int:
    """The address of the structure behind a pyverbs QP."""

def parse_grh(header: bytes) -> tuple[bytes, bytes] | None:
    """(source, group) of the 40 bytes before a datagram."""

class RdmaReceiver(Receiver):
    """Ports of RDMA devices, all polled in turn; made by `rdma.receiver`."""

    ports: int
    def __new__(
        cls, lines: int, places: Sequence[Any], joined: SocketReceiver, *, raw: bool = False, mode: str = ""
    ) -> Self: ...
    def count_drops(self) -> None:
        """Bring the devices' own count of drops into the counters."""
