"""Rigs of what is no network: captures, BinaryFILE; and streams, which have no packets."""

from __future__ import annotations

import socket
import struct
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

from feedhandler import simulate
from feedhandler.config import Config, Line
from feedhandler.handler import Handler, play, run_capture
from feedhandler.receive import capture, stream
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.capture_writer import SOURCE, udp_frame
from feedhandler.recording import Recording, manifest
from tests.background import beside
from tests.conformance.feed import DAY, MARKET, RING, Feed
from tests.conformance.rig import FIRST_TS, Flow, LiveRig, Rig, Sent
from tests.frames import Frame

_NO_ROOM = "A file is read at the reader's pace: nothing is lost for want of room."
_DEAD = "A file is the same before and after its reader was killed."


class File(Rig):
    """A rig that writes everything into a file, and opens it then."""

    live = False

    @abstractmethod
    def written(self) -> Receiver:
        """Write what was sent; what reads it."""

    @property
    def receiver(self) -> Receiver:
        if self._receiver is None:
            self._receiver = self.written()
        return self._receiver

    def end(self) -> None: ...


class Capture(File):
    """A pcap, written before it is read."""

    name = "capture"
    source = SOURCE[0]
    suffix: ClassVar[str] = ".pcap"
    excused: ClassVar[Mapping[str, str]] = {
        "more": "A file holds all its packets when it is opened.",
        "untagged": "Lines of a capture are told apart by group and port: tags are stepped over.",
        "vlan": "Lines of a capture are told apart by group and port: tags are stepped over.",
        "ip_checksum": "A capture taken where packets were sent has checksums that the NIC had yet to fill in.",
        "udp_checksum": "A capture taken where packets were sent has checksums that the NIC had yet to fill in.",
        "exhaustion": _NO_ROOM,
        "drops": _NO_ROOM,
        "kill": _DEAD,
    }

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self.flows, self.path = flows, self.folder / f"capture{self.suffix}"
        self.packets: list[Frame | bytes | tuple[bytes, tuple[str, int], tuple[str, int]]] = []

    def send(self, sent: Sent, source: int = 0) -> None:
        sender = ("192.0.2.2", SOURCE[1]) if source else SOURCE
        self.packets += [(payload, (self.flow(line).group, self.flow(line).port), sender) for line, payload in sent]

    def frames(self, frames: Sequence[Frame | bytes]) -> None:
        self.packets += frames

    def written(self) -> Receiver:
        with capture.PcapWriter(self.path) as file:
            for i, packet in enumerate(self.packets):
                if isinstance(packet, tuple):
                    file.write(FIRST_TS + i, *packet)
                else:
                    seconds, rest = divmod(FIRST_TS + i, 1_000_000_000)
                    size = len(bytes(packet))
                    file.file.write(struct.pack("<IIII", seconds, rest, size, size) + bytes(packet))
        return capture.receiver(
            self.path, [(f.group, f.port, f.source) if f.source else (f.group, f.port) for f in self.flows]
        )

    @contextmanager
    def handled(self, feed: Feed) -> Iterator[Handler]:
        flows = [self.flow(0), self.flow(1)]
        self.open(flows)
        for packet in feed.packets:
            self.send([(0, packet), (1, packet)])
        with Handler(feed.config(flows), receiver=self.receiver, first_packet=FIRST_TS, anonymous=True) as handler:
            assert play(handler) is None
            yield handler


class PackedCapture(Capture):
    """A compressed pcap."""

    name = "capture, zstd"
    suffix = ".pcap.zst"


class Followed(Rig):
    """A recorded day, read while it is written: its manifest names the lines, and says when it is complete."""

    name = "recording, followed"
    live = False
    source = SOURCE[0]
    excused: ClassVar[Mapping[str, str]] = {case: why for case, why in Capture.excused.items() if case != "more"}

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self.day = self.folder / "day"
        lines = tuple(manifest.Line(f.name, f.group, f.port, "", f.source, "", False) for f in flows)
        channel = manifest.Channel("itch", "itch50", "moldudp64", "XNAS", None, lines)
        self.manifest = manifest.Manifest("day", "2023-11-14", "UTC", FIRST_TS, (channel,))
        self.day.mkdir(exist_ok=True)
        manifest.save(self.manifest, self.day, sync=False)
        self.file, self.sent = self.day / "day-0001.pcap.partial", 0
        self.file.write_bytes(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1))
        self._receiver = Recording(self.day).receiver(follow=True)

    def send(self, sent: Sent, source: int = 0) -> None:
        sender = ("192.0.2.2", SOURCE[1]) if source else SOURCE
        targets = [(self.flow(line).group, self.flow(line).port) for line, _ in sent]
        self.frames([udp_frame(data, target, sender) for (_, data), target in zip(sent, targets, strict=True)])

    def frames(self, frames: Sequence[Frame | bytes]) -> None:
        with self.file.open("ab") as file:
            for frame in map(bytes, frames):
                seconds, rest = divmod(FIRST_TS + self.sent, 1_000_000_000)
                file.write(struct.pack("<IIII", seconds, rest, len(frame), len(frame)) + frame)
                self.sent += 1

    def end(self) -> None:
        self.file.rename(self.file.with_suffix(""))
        manifest.save(replace(self.manifest, complete=True), self.day, sync=False)

    @contextmanager
    def handled(self, feed: Feed) -> Iterator[Handler]:
        flows = [self.flow(0), self.flow(1)]
        self.open(flows)
        for packet in feed.packets:
            self.send([(0, packet), (1, packet)])
        self.end()
        with Handler(feed.config(flows), receiver=self.receiver, first_packet=FIRST_TS, anonymous=True) as handler:
            assert play(handler) is None
            yield handler


class BinaryFile(File):
    """A Nasdaq BinaryFILE."""

    name = "binaryfile"
    datagrams = False
    lines = 1
    excused: ClassVar[Mapping[str, str]] = {
        "busy": "A BinaryFILE is one line.",
        "empty": "An empty message is the mark of the end.",
        "more": "A file holds all its messages when it is opened.",
        "stamps": "BinaryFILE records no times.",
        **dict.fromkeys(("two_groups", "unjoined", "source"), "A BinaryFILE is one line, without addresses."),
        **dict.fromkeys(
            ("untagged", "vlan", "ip_checksum", "udp_checksum", "fragments", "options", "runts", "jumbo"),
            "A BinaryFILE holds messages, not frames.",
        ),
        "exhaustion": _NO_ROOM,
        "drops": _NO_ROOM,
        "kill": _DEAD,
    }

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self.messages: list[bytes] = []

    def send(self, sent: Sent, source: int = 0) -> None:
        self.messages += [payload for _, payload in sent]

    def within(self, payload: bytes) -> bytes:
        return len(payload).to_bytes(2, "big") + payload

    def written(self) -> Receiver:
        with capture.BinaryFileWriter(self.folder / "messages") as file:
            for message in self.messages:
                file.write(message)
        return capture.receiver(self.folder / "messages")

    @contextmanager
    def handled(self, feed: Feed) -> Iterator[Handler]:
        simulate.write(self.folder / "day.itch", simulate.Exchange(MARKET))
        result = run_capture(self.folder / "day.itch", day=DAY, ring_events=RING)
        with result.handler as handler:
            assert result.error is None
            yield handler


class Stream(LiveRig):
    """TCP, on this host."""

    name = "stream"
    datagrams = False
    excused: ClassVar[Mapping[str, str]] = {
        "empty": "TCP cannot carry an empty payload.",
        **dict.fromkeys(
            ("two_groups", "unjoined", "source"), "A stream is a connection to one server, without groups."
        ),
        **dict.fromkeys(
            ("untagged", "vlan", "ip_checksum", "udp_checksum", "fragments", "options", "runts", "jumbo"),
            "A stream is bytes: frames are the kernel's business.",
        ),
        **dict.fromkeys(("exhaustion", "drops"), "TCP makes the sender wait: nothing is lost for want of room."),
        "kill": "The connection goes with the process; logging in again is `soupbintcp`'s part, tested there.",
    }

    def open(
        self, flows: Sequence[Flow], *, room: int = 0, check_udp_checksum: bool = False, jumbo: bool = False
    ) -> None:
        self.close()
        self._receiver = self.stream = stream.receiver(len(flows))
        self.pairs = [socket.socketpair() for _ in flows]
        for line, (ours, there) in enumerate(self.pairs):
            there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            assert self.stream.connect(line, ours.fileno())

    pairs: Sequence[tuple[socket.socket, socket.socket]] = ()

    def send(self, sent: Sent, source: int = 0) -> None:
        for line, payload in sent:
            self.pairs[line][1].sendall(payload)

    def end(self) -> None:
        self.stream.finish()
        for _, there in self.pairs:
            there.close()

    def close(self) -> None:
        super().close()
        for pair in self.pairs:
            for one in pair:
                one.close()
        self.pairs = ()

    def handler(self, config: Config, room: int = 0) -> Handler:
        return Handler(config, anonymous=True)

    @contextmanager
    def handled(self, feed: Feed) -> Iterator[Handler]:
        """The same day from a SoupBinTCP server: packets cannot be put on a stream."""
        server = simulate.SoupServer()
        line = Line(name="A", host="127.0.0.1", port=server.port, username="user", password="secret")
        config = feed.config([])
        channel = replace(config.channels[0], session="soupbintcp", lines=(line,))
        with self.handler(replace(config, channels=(channel,))) as handler:
            handler.start()
            with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
                yield handler
