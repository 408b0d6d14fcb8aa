"""The rig of the conformance suite for roce-ud: soft-RoCE in the guest, sender and receiver on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from feedhandler.config import Config
from feedhandler.handler import Handler
from feedhandler.receive import rdma
from tests.conformance.feed import GROUPS
from tests.conformance.rig import Flow, Holder, LiveRig, Sent
from tests.guest.world import ADDRESS, DATAGRAM_MAX, INTERFACE, OTHER, Sender

_FRAMES = "Only the device sees frames: it hands on datagrams that it has found whole and sound."


class RoceUd(LiveRig):
    """Datagrams of RoCE version 2."""

    name = "rdma roce-ud"
    interface = INTERFACE
    source = ADDRESS
    largest = DATAGRAM_MAX
    loop: ClassVar[str] = "compiled"
    excused: ClassVar[Mapping[str, str]] = {
        "end": "UDP has no end: a receiver of packets only ends when it is closed.",
        "drops": "Soft-RoCE does not count a datagram that finds no slot; NICs do (out_of_buffer).",
        "jumbo": "A datagram of RoCE is at most 4096 bytes, and never in fragments.",
        **dict.fromkeys(("ip_checksum", "udp_checksum", "fragments", "options", "runts", "untagged"), _FRAMES),
    }
    refuses: ClassVar[Mapping[str, str]] = {"vlan": "roce-ud sees no tags: give VLAN 100 an interface of its own"}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._senders: dict[int, Sender] = {}

    def options(self, room: int = 0) -> dict[str, Any]:
        """Settings of the backend."""
        return {"mode": "roce-ud", "ring": room or 1024, "loop": self.loop}

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self._receiver = rdma.receiver(flows, rdma.Options(**self.options(room)))

    def send(self, sent: Sent, source: int = 0) -> None:
        if source not in self._senders:
            self._senders[source] = Sender(GROUPS, (ADDRESS, OTHER)[source])
        self._senders[source].send([(self.flow(line).group, payload) for line, payload in sent])

    def finish(self) -> None:
        super().finish()
        while self._senders:
            self._senders.popitem()[1].close()

    def hold(self, flows: Sequence[Flow]) -> Holder:
        return Holder(lambda: rdma.receiver(flows, rdma.Options(**self.options())))

    @contextmanager
    def handler(self, config: Config, room: int = 0) -> Iterator[Handler]:
        run = replace(config.handler, backend="rdma")
        own = replace(config.rdma, **self.options(room))
        with Handler(replace(config, handler=run, rdma=own), anonymous=True) as handler:
            assert handler.backend == self.name
            yield handler


class RoceUdByPyverbs(RoceUd):
    """The same with the loop that is in pyverbs alone."""

    name = "rdma roce-ud pyverbs"
    loop = "pyverbs"
