"""One suite for every receiver: what is sent arrives, in order, whole, counted, and is valid until it is let go.

A backend is a `Rig`: it makes a receiver of so many lines and sends payloads to them. What a backend cannot do by its
nature stands in its `excused`, one sentence each.
"""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from feedhandler.receive import capture, sockets, stream
from feedhandler.receive._receiver import Receiver
from feedhandler.records import TimestampKind

Sent = list[tuple[int, bytes]]
FIRST_TS = 1_700_000_000_000_000_000


class Rig(ABC):
    """A receiver of `lines` lines, and the other end of each."""

    excused: ClassVar[dict[str, str]] = {}
    datagrams = True  # what was sent as one payload arrives as one packet
    live = True

    def __init__(self, lines: int, folder: Path) -> None:
        self.lines = lines

    @abstractmethod
    def send(self, sent: Sent) -> Receiver:
        """Send (line, payload) in this order, and give the receiver that will have them."""

    @abstractmethod
    def end(self) -> None:
        """Nothing more will come."""

    @abstractmethod
    def close(self) -> None: ...


class Sockets(Rig):
    excused: ClassVar[dict[str, str]] = {"end": "UDP has no end: a socket only ends when it is closed."}

    def __init__(self, lines: int, folder: Path) -> None:
        super().__init__(lines, folder)
        settings = [sockets.UdpLine(f"line {i}", "127.0.0.1", 0) for i in range(lines)]
        options = sockets.Options(slot_bytes=65536)
        self.opened = [sockets.open_socket(line, options, []) for line in settings]
        self.ports = [one.getsockname()[1] for one in self.opened]
        self.receiver = sockets.SocketReceiver(lines, self.opened, [b""] * lines, 64, 65536)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, sent: Sent) -> Receiver:
        for line, payload in sent:
            self.sender.sendto(payload, ("127.0.0.1", self.ports[line]))
        return self.receiver

    def end(self) -> None:
        raise AssertionError("excused")

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()


class Stream(Rig):
    datagrams = False
    excused: ClassVar[dict[str, str]] = {
        "boundaries": "TCP has no packets: a run of bytes may hold parts of several of the sender's writes.",
        "empty": "TCP cannot carry an empty payload.",
    }

    def __init__(self, lines: int, folder: Path) -> None:
        super().__init__(lines, folder)
        self.receiver = stream.receiver(lines)
        self.pairs = [socket.socketpair() for _ in range(lines)]
        for line, (ours, there) in enumerate(self.pairs):
            there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            assert self.receiver.connect(line, ours.fileno())

    def send(self, sent: Sent) -> Receiver:
        for line, payload in sent:
            self.pairs[line][1].sendall(payload)
        return self.receiver

    def end(self) -> None:
        self.receiver.finish()
        for _, there in self.pairs:
            there.close()

    def close(self) -> None:
        self.receiver.close()
        for pair in self.pairs:
            for one in pair:
                one.close()


class Capture(Rig):
    live = False
    suffix = ".pcap"
    excused: ClassVar[dict[str, str]] = {"more": "A file holds all its packets when it is opened."}

    def __init__(self, lines: int, folder: Path) -> None:
        super().__init__(lines, folder)
        self.path = folder / f"capture{self.suffix}"

    def send(self, sent: Sent) -> Receiver:
        with capture.PcapWriter(self.path) as file:
            for i, (line, payload) in enumerate(sent):
                file.write(FIRST_TS + i, payload, ("239.0.0.1", 1000 + line))
        self.receiver = capture.receiver(self.path, [("239.0.0.1", 1000 + i) for i in range(self.lines)])
        return self.receiver

    def end(self) -> None: ...

    def close(self) -> None:
        self.receiver.close()


class PackedCapture(Capture):
    suffix = ".pcap.zst"


class BinaryFile(Rig):
    datagrams = False
    live = False
    excused: ClassVar[dict[str, str]] = {
        "more": "A file holds all its messages when it is opened.",
        "boundaries": "BinaryFILE has no packets: a run holds as many whole messages as fit.",
        "lines": "A BinaryFILE is one line.",
        "empty": "An empty message is the mark of the end.",
        "stamps": "BinaryFILE records no times.",
    }

    def __init__(self, lines: int, folder: Path) -> None:
        super().__init__(lines, folder)
        self.path = folder / "messages"

    def send(self, sent: Sent) -> Receiver:
        with capture.BinaryFileWriter(self.path) as file:
            for _, payload in sent:
                file.write(payload)
        self.receiver = capture.receiver(self.path)
        return self.receiver

    def end(self) -> None: ...

    def close(self) -> None:
        self.receiver.close()


RIGS: list[type[Rig]] = [Sockets, Stream, Capture, PackedCapture, BinaryFile]


@pytest.fixture(params=RIGS, ids=lambda rig: rig.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    kind: type[Rig] = request.param
    for mark in request.node.iter_markers("needs"):
        for need in mark.args:
            if need in kind.excused:
                pytest.skip(kind.excused[need])
    one = kind(1 if "lines" in kind.excused else 3, tmp_path)
    yield one
    one.close()


def collect(rig: Rig, receiver: Receiver, sent: Sent) -> list[tuple[int, int, bytes]]:
    """Everything that was sent; fails when it does not come."""
    expected = sum(len(p) for _, p in sent), len(sent) if rig.datagrams else 0
    taken: list[tuple[int, int, bytes]] = []
    end = time.monotonic() + 20
    while sum(len(t[2]) for t in taken) < expected[0] or len(taken) < expected[1]:
        taken += receiver.drain()
        if receiver.ended:
            break
        receiver.wait_for(0.05)
        assert time.monotonic() < end, f"{len(taken)} packets came"
    return taken


def content(rig: Rig, taken: list[tuple[int, int, bytes]], line: int) -> bytes | list[bytes]:
    """What a line brought, in the form in which it can be compared."""
    mine = [data for at, _, data in taken if at == line]
    return mine if rig.datagrams else b"".join(mine)


def wanted(rig: Rig, sent: Sent, line: int) -> bytes | list[bytes]:
    mine = [data for at, data in sent if at == line]
    if rig.datagrams:
        return mine
    return b"".join(len(m).to_bytes(2, "big") + m for m in mine) if isinstance(rig, BinaryFile) else b"".join(mine)


def check(rig: Rig, sent: Sent) -> tuple[Receiver, list[tuple[int, int, bytes]]]:
    receiver = rig.send(sent)
    taken = collect(rig, receiver, sent)
    for line in range(rig.lines):
        assert content(rig, taken, line) == wanted(rig, sent, line)
        counts = receiver.counts(line)
        assert counts["packets"] == sum(at == line for at, _, _ in taken)
        assert counts["bytes"] == sum(len(data) for at, _, data in taken if at == line)
        assert counts["foreign"] == counts["truncated"] == counts["kernel_drops"] == 0
    return receiver, taken


def test_order_over_several_lines(rig: Rig) -> None:
    check(rig, [(i % rig.lines, b"A%06d" % i) for i in range(200)])


def test_lengths_from_one_to_the_largest(rig: Rig) -> None:
    check(rig, [(0, b"A" * size) for size in (1, 2, 1458, 9000, 65507)])


@pytest.mark.needs("empty")
def test_an_empty_payload_is_a_packet(rig: Rig) -> None:
    check(rig, [(0, b"A"), (0, b""), (0, b"B")])


def test_more_than_a_batch_waits(rig: Rig) -> None:
    check(rig, [(0, b"A%04d" % i) for i in range(150)])


@pytest.mark.needs("lines")
def test_a_busy_line_does_not_hide_the_others(rig: Rig) -> None:
    receiver, taken = check(rig, [(0, b"A" * 20)] * 100 + [(1, b"B"), (2, b"C")])
    assert {line for line, _, _ in taken} == {0, 1, 2}
    assert receiver.lines == 3


def test_packets_stay_until_release(rig: Rig) -> None:
    """drain() copies after each poll(): were slots reused within one, copies of its packets would be alike."""
    check(rig, [(0, bytes([65 + i % 26]) * (i % 50 + 1)) for i in range(130)])


@pytest.mark.needs("stamps")
def test_stamps_rise_and_say_their_kind(rig: Rig) -> None:
    before = time.time_ns()
    receiver, taken = check(rig, [(0, b"A%d" % i) for i in range(20)])
    kind = receiver.line_status(0)["ts_kind"]
    if rig.live:
        assert kind in (TimestampKind.CLOCK, TimestampKind.KERNEL, TimestampKind.HARDWARE)
        assert all(before <= ts <= time.time_ns() for _, ts, _ in taken)
    else:
        assert kind == TimestampKind.FILE
        assert [ts for _, ts, _ in taken] == [FIRST_TS + i for i in range(20)]


@pytest.mark.needs("more")
def test_more_comes_later(rig: Rig) -> None:
    check(rig, [(0, b"first")])
    receiver = rig.send([])
    assert receiver.drain() == [] and not receiver.ended
    later = [(0, b"later %d" % i) for i in range(10)]
    assert content(rig, collect(rig, rig.send(later), later), 0) == wanted(rig, later, 0)


@pytest.mark.needs("end")
def test_the_end_is_said_once_everything_is_given(rig: Rig) -> None:
    sent = [(i % rig.lines, b"A%d" % i) for i in range(100)]
    receiver = rig.send(sent)
    rig.end()
    taken = collect(rig, receiver, sent)
    end = time.monotonic() + 20
    while not receiver.ended:
        assert receiver.drain() == [] and time.monotonic() < end
    for line in range(rig.lines):
        assert content(rig, taken, line) == wanted(rig, sent, line)
    assert receiver.drain() == [] and receiver.error is None


def test_a_limit_is_kept(rig: Rig) -> None:
    receiver = rig.send([(0, b"A%d" % i) for i in range(10)])
    first = receiver.drain(1)
    assert len(first) == 1
    assert receiver.drain(0) == []


def test_closed_gives_nothing_more(rig: Rig) -> None:
    receiver = rig.send([(0, b"A"), (0, b"B")])
    receiver.close()
    receiver.close()
    assert receiver.drain() == []


@pytest.mark.parametrize("kind", RIGS, ids=lambda rig: rig.__name__)
def test_what_is_excused_has_its_sentence(kind: type[Rig]) -> None:
    assert all(sentence.endswith(".") for sentence in kind.excused.values())
