"""The rig of the conformance suite for raw-eth, by hand: a NIC with flow steering, and another port cabled to it.

    FEEDHANDLER_NICS=RECEIVER,SENDER python -m tests.conformance "rdma raw-eth"

as root, with the names of two network interfaces of this host, both up: the suite sends frames out of SENDER (any NIC)
and takes them from RECEIVER. Nothing else should come there; no address or route is changed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from feedhandler.config import Config
from feedhandler.handler import Handler
from feedhandler.receive import choose
from feedhandler.receive._receiver import Receiver
from tests.conformance.rig import Flow, Holder, LiveRig, Sent
from tests.frames import Frame

VARIABLE = "FEEDHANDLER_NICS"
OTHER = "10.77.0.3"


class RawEth(LiveRig):
    """Whole frames by an RDMA device."""

    name = "rdma raw-eth"
    backend = "rdma"
    largest = 1472
    excused: ClassVar[Mapping[str, str]] = {
        "end": "UDP has no end: a receiver of packets only ends when it is closed.",
        "udp_checksum": "UDP's checksum is left to the NIC.",
        "jumbo": "The MTU of an interface in use is left alone.",
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        names = os.environ.get(VARIABLE, "").split(",")
        if len(names) != 2 or not all(names):
            raise ValueError(f"{VARIABLE}=RECEIVER,SENDER names two network interfaces with a cable between them")
        self._interface, sender = names
        self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._wire.bind((sender, 0))

    def flow(self, number: int = 0) -> Flow:
        return super().flow(number).but(interface=self._interface)

    def options(self, room: int = 0) -> dict[str, Any]:
        """Settings of the backend."""
        return {"mode": "raw-eth", "ring": room or 4096}

    def _open(self, flows: Sequence[Flow], room: int = 0) -> Receiver:
        return choose.choose(flows, self.backend, {self.backend: self.options(room)}).receiver

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self._receiver = self._open(flows, room)

    def send(self, sent: Sent, source: int = 0) -> None:
        for line, payload in sent:
            flow = self.flow(line)
            frame = Frame(payload=payload, group=flow.group, port=flow.port)
            self.frames([frame.but(source=OTHER) if source else frame])

    def frames(self, frames: Sequence[Frame | bytes]) -> None:
        for frame in frames:
            self._wire.send(bytes(frame))

    def hold(self, flows: Sequence[Flow]) -> Holder:
        return Holder(lambda: self._open(flows))

    def finish(self) -> None:
        super().finish()
        self._wire.close()

    @contextmanager
    def handler(self, config: Config, room: int = 0) -> Iterator[Handler]:
        run = replace(config.handler, backend=self.backend)
        own = replace(config.rdma, **self.options(room)) if self.backend == "rdma" else config.rdma
        with Handler(replace(config, handler=run, rdma=own), anonymous=True) as handler:
            assert handler.backend.startswith(self.backend)
            yield handler
