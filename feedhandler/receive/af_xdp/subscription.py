"""The payloads of one multicast group as buffers, for Python programs that want nothing else of feedhandler."""

import time
from collections.abc import Iterator

from feedhandler.closing import Closing
from feedhandler.receive.af_xdp.setup import Options, receiver
from feedhandler.receive.sockets import UdpLine


class Subscription(Closing):
    """Payloads in batches; made by `subscribe`. One thread at a time; closed by `close()` or at the end of a `with`."""

    def __init__(self, line: UdpLine, options: Options | None) -> None:
        self.notes: list[str] = []
        """Sentences about what was granted less than asked."""
        self.times: list[int] = []
        """When each payload of the last batch was received, in ns since the Unix epoch."""
        self._receiver = receiver([line], options, self.notes)

    def batch(self, timeout: float | None = None) -> list[memoryview]:
        """The next payloads, at least one and at most 64; none when `timeout` seconds passed without (None: waits on).

        The views are of the memory that the driver writes to, and **valid until the next batch**: they are released
        then (their use raises ValueError), and an array made of one shows other packets. bytes(view) is a copy to keep.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            taken = self._receiver.batch()
            left = 0.1 if end is None else end - time.monotonic()
            if taken or left <= 0 or self._receiver.ended:
                self.times = [when for _, when, _ in taken]
                return [view for _, _, view in taken]
            self._receiver.wait_for(min(left, 0.1))

    def __iter__(self) -> Iterator[list[memoryview]]:
        """Batches until the subscription is closed, each valid until the next."""
        while batch := self.batch():
            yield batch

    @property
    def counters(self) -> dict[str, int]:
        """Packets, bytes, bad_frames (lengths or checksums wrong), kernel_drops (the ring was full), …"""
        return self._receiver.counts(0)

    def describe(self) -> str:
        """How packets come: "native zero-copy", "native copy", "generic"."""
        return self._receiver.describe()

    def close(self) -> None:
        """Leave the group and the interface. What was handed out can still be read, and changes no more."""
        self._receiver.close()


def subscribe(
    group: str, port: int, interface: str, *, source: str = "", vlan: str = "", options: Options | None = None
) -> Subscription:
    """Join a multicast group on an interface and take its packets past the kernel.

    `source`: from this sender only. `vlan`: behind this tag, "100", or two, "200.100"; "" = untagged. Needs
    CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF, and CAP_IPC_LOCK for rings beyond the locked-memory limit. Raises
    ConfigError when an argument is wrong, BackendError, with reason and remedy, when kernel or driver refuse.
    """
    return Subscription(UdpLine(f"{group}:{port}", group, port, interface, source, vlan), options)
