"""Rigs on a cable between two networks: the kernel's sockets, AF_XDP; and sockets on this host alone, without root."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import struct
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from feedhandler.config import Config
from feedhandler.handler import Handler
from feedhandler.receive import choose
from tests.conformance.rig import Flow, Holder, LiveRig, Sent
from tests.frames import Frame, Wire
from tests.namespaces import Network, Veth, veth

JUMBO_MTU = 9000


@functools.cache
def cable(mtu: int) -> Veth:
    """One for all cases: it is gone with this process."""
    return veth(mtu=mtu)


class OnCable(LiveRig):
    """UDP over the cable; a subclass says by which backend."""

    backend: ClassVar[str]
    interface = "rx"

    @abstractmethod
    def options(self, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False) -> dict[str, Any]:
        """Settings of the backend."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prepare()
        for sender, address in zip(self.senders, self.sources, strict=True):
            sender.bind((address, 0))

    sources: ClassVar[Sequence[str]] = (Veth.SENDER, Veth.OTHER)

    def prepare(self) -> None:
        """The cable, and two sockets at its other end."""
        self.world = cable(1500)
        self.network: Network | None = self.world.receiver
        with self.world.sender.inside():
            self.senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]

    def inside(self) -> AbstractContextManager[None]:
        """Where the receiver is."""
        return self.network.inside() if self.network else contextlib.nullcontext()

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        if jumbo:
            self.mtu(JUMBO_MTU)
        with self.inside():
            options = self.options(room, check_udp_checksum, jumbo)
            self._receiver = choose.choose(flows, self.backend, {self.backend: options}).receiver

    def mtu(self, mtu: int) -> None:
        """Let the cable have this MTU until the case is over."""
        self.world.mtu = mtu
        for network, name in ((self.world.sender, "tx"), (self.world.receiver, "rx")):
            network.run("ip", "link", "set", "dev", name, "mtu", str(mtu))

    def send(self, sent: Sent, source: int = 0) -> None:
        for line, payload in sent:
            flow = self.flow(line)
            self.senders[source].sendto(payload, (flow.group, flow.port))

    def frames(self, frames: Sequence[Frame | bytes]) -> None:
        with Wire(self.world.sender) as wire:
            wire.send(frames)

    def hold(self, flows: Sequence[Flow]) -> Holder:
        options = {self.backend: self.options()}
        return Holder(lambda: choose.choose(flows, self.backend, options).receiver, self.network)

    def finish(self) -> None:
        super().finish()
        if self.network and self.world.mtu != 1500:
            self.mtu(1500)
        for sender in self.senders:
            sender.close()

    @contextmanager
    def handler(self, config: Config, room: int = 0) -> Iterator[Handler]:
        run = replace(config.handler, backend=self.backend)
        with contextlib.ExitStack() as stack:
            with self.inside():
                handler = stack.enter_context(
                    Handler(self.configured(replace(config, handler=run), room), anonymous=True)
                )
            assert handler.backend.startswith(self.name.partition(",")[0]), handler.backend
            yield handler

    @abstractmethod
    def configured(self, config: Config, room: int) -> Config:
        """The configuration with the backend's own settings."""


class Sockets(OnCable):
    """The kernel's UDP sockets."""

    name = "sockets"
    backend = "sockets"
    excused: ClassVar[Mapping[str, str]] = {"end": "UDP has no end: a receiver of packets only ends when it is closed."}
    refuses: ClassVar[Mapping[str, str]] = {
        "vlan": "sockets cannot take vlan = '100' on rx; give the VLAN an interface of its own"
    }

    def options(self, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False) -> dict[str, Any]:
        return {"slot_bytes": 65536, "receive_buffer": 4096 if room else 8 << 20}

    def configured(self, config: Config, room: int) -> Config:
        return replace(config, handler=replace(config.handler, receive_buffer=4096 if room else 8 << 20))


class Loopback(Sockets):
    """Sockets on this host, without root: no frame can be made by hand, and groups are this process's own."""

    name = "sockets, loopback"
    interface = "lo"
    source = "127.0.0.1"
    sources: ClassVar[Sequence[str]] = ("127.0.0.1", "127.0.0.2")
    excused: ClassVar[Mapping[str, str]] = {
        **Sockets.excused,
        **dict.fromkeys(
            ("untagged", "ip_checksum", "udp_checksum", "fragments", "options", "runts", "jumbo"),
            "Frames by hand, and other MTUs, are for the cable.",
        ),
    }
    refuses: ClassVar[Mapping[str, str]] = {"vlan": "sockets cannot take vlan = '100' on lo"}

    def prepare(self) -> None:
        self.network = None
        self.senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        way_out = struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo"))
        for sender in self.senders:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, way_out)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)

    def flow(self, number: int = 0) -> Flow:
        own = f"239.{192 + os.getpid() % 60}.{os.getpid() // 60 % 256}.{200 + number}"
        return super().flow(number).but(group=own)


class AfXdp(OnCable):
    """Frames from the driver; `mode` says how."""

    backend = "af_xdp"
    mode: ClassVar[str]
    largest = 1472
    excused: ClassVar[Mapping[str, str]] = {"end": "UDP has no end: a receiver of packets only ends when it is closed."}

    def options(self, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "ring": room or 4096,
            "frame_bytes": 4096 if jumbo else 2048,
            "check_udp_checksum": check_udp_checksum,
            "packets_per_second": 1,
        }

    def configured(self, config: Config, room: int) -> Config:
        return replace(config, af_xdp=replace(config.af_xdp, **self.options(room)))

    def left(self) -> str:
        """The program, were it still on the interface."""
        said = self.world.receiver.run("ip", "-details", "link", "show", "dev", "rx")
        return said if "xdp" in said else ""


class AfXdpNative(AfXdp):
    name = "af_xdp native"
    mode = "native"
    refuses: ClassVar[Mapping[str, str]] = {"jumbo": "the MTU of rx is too large for native XDP on this driver"}


class AfXdpGeneric(AfXdp):
    name = "af_xdp generic"
    mode = "generic"
    jumbo = 3700
