"""Sending packets one by one, and reading off what became of each."""

import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedhandler import decode
from feedhandler.decode.interpret import encode
from feedhandler.errors import BackendError, FeedError
from feedhandler.latency.cable import RECEIVER, SENDER, Cable, inside
from feedhandler.publish.layout import HISTOGRAMS, PART_INDEX
from feedhandler.read import Feed, attach
from feedhandler.read._reader import WAITS
from feedhandler.receive.sockets import interface_index
from feedhandler.records import HISTOGRAM, TimestampKind

STAGES = ("wire_receive", "receive_publish", "publish_strategy")
WARM_UP = 200  # packets that are not counted
PATIENCE_NS = 200_000_000  # a packet that is not there by then counts as lost
START_SECONDS = 120.0  # an emulated processor takes its time
GROUP, PORT = "239.255.77.1", 26477
SYMBOL, LOCATE, PRICE = "LATENCY", 1, 100_000_000_000


@dataclass(frozen=True, slots=True)
class Rig:
    """One back end in one place: its name for people, what its [handler] and other tables say, the interfaces."""

    name: str
    backend: str
    interface: str = "lo"
    """Whose packets are taken; "" = one end of a veth pair between two namespaces, made for it."""
    settings: str = ""
    """Further tables of the configuration."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one rig; nanoseconds of each packet."""

    name: str
    backend: str
    """As the handler names it, with its mode."""
    timestamps: str
    lost: int
    """Packets that were not there in time."""
    stages: dict[str, NDArray[np.int64]]
    """By the names of STAGES, and "sent_wire": from before the system call to the stamp."""

    @property
    def whole(self) -> NDArray[np.int64]:
        """From the wire to the strategy."""
        total = np.zeros(len(self.stages[STAGES[0]]), np.int64)
        for name in STAGES:
            total += self.stages[name]
        return total

    def median_packet(self) -> dict[str, float]:
        """The stages of the packets around the median one, on average: they add up to it."""
        whole = self.whole
        low, high = np.percentile(whole, [40, 60])
        middle = (whole >= low) & (whole <= high)
        return {name: float(self.stages[name][middle].mean()) for name in STAGES}

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nanoseconds at p50, p90, p99, p99.9 and at most, of each stage and of the whole."""
        every = {**self.stages, "wire_strategy": self.whole}
        return {
            "name": self.name,
            "backend": self.backend,
            "timestamps": self.timestamps,
            "packets": len(self.whole),
            "lost": self.lost,
            "stages": {name: _percentiles(values) for name, values in every.items()},
            "median_packet": {name: round(value) for name, value in self.median_packet().items()},
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All rigs; `left_out` says why a rig is not among them."""

    packets: int
    rate: float
    figures: list[Figures] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    machine: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "machine": self.machine,
            "packets": self.packets,
            "rate": self.rate,
            "rigs": [each.as_dict() for each in self.figures],
            "left_out": self.left_out,
        }


def machine() -> str:
    """What it was measured on."""
    load = os.getloadavg()[0]
    return f"Linux {platform.release()}, {os.cpu_count()} CPUs, load {load:.1f}"


def _percentiles(values: NDArray[np.int64]) -> dict[str, int]:
    names = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
    return {**{name: int(np.percentile(values, at)) for name, at in names.items()}, "max": int(values.max())}


def rigs(rdma: str = "") -> list[Rig]:
    """All that may work somewhere. `rdma`: an interface with an RDMA device, by which datagrams of RoCE may leave."""
    small = "[af_xdp]\nring = 4096\npackets_per_second = 20000\n"
    found = [
        Rig("sockets, loopback", "sockets"),
        Rig("sockets, veth", "sockets", interface=""),
        Rig("af_xdp generic, veth", "af_xdp", interface="", settings=f'{small}mode = "generic"\n'),
        Rig("af_xdp native, veth", "af_xdp", interface="", settings=small),
    ]
    if rdma:
        found.append(Rig(f"rdma roce-ud, {rdma}", "rdma", interface=rdma, settings='[rdma]\nmode = "roce-ud"\n'))
    return found


def measure(
    wanted: Sequence[Rig], packets: int = 5000, rate: float = 2000.0, progress: Callable[[int], None] | None = None
) -> Report:
    """Measure each rig with so many packets, `rate` a second. `progress` is told how many rigs are done.

    What does not work here is left out, with the reason. Raises BackendError where nothing can be measured.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise BackendError("latency is measured with two threads that spin: it needs two CPUs, and this has one")
    report = Report(packets, rate, machine=machine())
    for number, rig in enumerate(wanted):
        try:
            report.figures.append(_one(rig, packets, rate, cpus))
        except FeedError as error:
            report.left_out[rig.name] = str(error)
        if progress is not None:
            progress(number + 1)
    return report


def _one(rig: Rig, packets: int, rate: float, cpus: list[int]) -> Figures:
    name = f"latency-{os.getpid()}-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        cable = None if rig.interface else stack.enter_context(Cable())
        stack.enter_context(_handler(rig, name, cable, cpus[-1]))
        feed = stack.enter_context(attach(name))
        sender = stack.enter_context(_roce(rig.interface) if rig.backend == "rdma" else _sender(cable))
        os.sched_setaffinity(0, {cpus[0]})
        stack.callback(os.sched_setaffinity, 0, set(cpus))
        stages, lost = _send(feed, sender, packets, 1.0 / rate)
        _await(lambda: int(feed.lines[0]["ts_kind"]) != TimestampKind.NONE, "the line table did not say who stamps")
        stamps = TimestampKind(int(feed.lines[0]["ts_kind"])).name.lower()
        return Figures(rig.name, feed.header["backend"].decode(), stamps, lost, stages)


@contextmanager
def _handler(rig: Rig, name: str, cable: Cable | None, cpu: int) -> Iterator[None]:
    """`feedhandler run` until the block ends. Raises BackendError with its last words when it does not start."""
    config = f"""
        [shm]
        name = "{name}"
        mode = 0o600
        [books]
        instruments = 16
        orders = 1000
        [handler]
        backend = "{rig.backend}"
        wait = "spin"
        cpu = [{cpu}]
        latency_sample = 1
        {rig.settings}
        [[channel]]
        name = "itch"
        protocol = "itch50"
        session = "moldudp64"
        [[channel.line]]
        name = "A"
        group = "{GROUP}"
        port = {PORT}
        interface = "{rig.interface or RECEIVER}"
    """
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "latency.toml"
        path.write_text(config)
        with inside(cable.receiver if cable else None):
            child = subprocess.Popen(
                [sys.executable, "-m", "feedhandler", "run", str(path)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        assert child.stderr is not None
        stack.callback(child.stderr.close)
        stack.callback(child.wait)
        stack.callback(child.terminate)
        watch = threading.Timer(START_SECONDS, child.kill)  # of one that neither starts nor ends
        watch.start()
        stack.callback(watch.cancel)
        words = ""
        while "publishing" not in words:  # said when the hot thread has been started
            line = child.stderr.readline()
            if not line:
                reason = words.strip().removeprefix("feedhandler: ").removeprefix("error: ")
                raise BackendError(reason or "the handler ended without a word")
            words = line
        watch.cancel()
        yield


@contextmanager
def _sender(cable: Cable | None) -> Iterator[socket.socket]:
    with inside(cable.sender if cable else None), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        index = interface_index("A", SENDER if cable else "lo")
        request = socket.inet_aton("0.0.0.0") * 2 + index.to_bytes(4, sys.byteorder)  # struct ip_mreqn
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1 if cable else 0)
        udp.connect((GROUP, PORT))
        yield udp


@contextmanager
def _roce(interface: str) -> Iterator[socket.socket]:
    """A socket whose packets a thread sends as datagrams of RoCE: what it takes to do so counts as before the wire."""
    from feedhandler.simulate.rdma import QUEUE_KEY, Relay

    relay = Relay(interface, "", "", QUEUE_KEY, 1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(relay), ours:
        relay.add(IPv4Address(GROUP), theirs)
        relay.start()
        try:
            yield ours
        finally:
            relay.finish()
        relay.check()


def _packets() -> Iterator[bytes]:
    """MoldUDP64 packets of one message: the directory of one stock, then an order that comes and goes."""
    table = decode.protocol("itch50")
    session, number = b"LATENCY   ", 0
    since = time.time_ns() % 86_400_000_000_000
    first = encode(table, "stock_directory", locate=LOCATE, stock=SYMBOL, round_lot_size=100)
    while True:
        if number == 0:
            message = first
        elif number % 2:
            message = encode(table, "add_order", locate=LOCATE, timestamp=since, order_id=number, side="B", shares=100,
                             stock=SYMBOL, price=PRICE)  # fmt: skip
        else:
            message = encode(table, "order_delete", locate=LOCATE, timestamp=since, order_id=number - 1)
        number += 1
        yield session + number.to_bytes(8, "big") + b"\0\1" + len(message).to_bytes(2, "big") + message


def _send(feed: Feed, sender: socket.socket, packets: int, interval: float) -> tuple[dict[str, NDArray[np.int64]], int]:
    """Nanoseconds of each stage of each packet that came, and how many did not."""
    cursor = feed.cursor(start="oldest")
    take, spin = cursor.take, WAITS["spin"]
    words = memoryview(feed.reader.memory).cast("B")
    offset, stride, _ = feed.reader.part(PART_INDEX["histograms"])
    received, published = (
        words[offset + i * stride :][: HISTOGRAM.itemsize].cast("Q")
        for i in map(HISTOGRAMS.index, ("wire_receive", "receive_publish"))
    )
    clock, pause_ns = time.time_ns, int(interval * 1e9)
    wires = _packets()
    sender.send(next(wires))  # names the stock: that is no event
    rows: list[tuple[int, int, int, int]] = []
    lost = 0
    _await(lambda: published[0] >= 1, "the handler took no packet")
    while take(spin, 0, 10_000_000) is not None:  # the beginning of the session
        pass
    due = time.monotonic_ns()
    for number in range(packets + WARM_UP):
        wire, wanted = next(wires), number + 2  # behind the stock's
        count, before = published[0], (received[1], published[1])
        due += pause_ns
        _sleep_until(due)
        sent = clock()
        sender.send(wire)
        batch = take(spin, 0, PATIENCE_NS)
        while batch is not None and int(batch[-1]["channel_seq"]) < wanted:  # one that was given up
            batch = take(spin, 0, PATIENCE_NS)
        seen = clock()
        if batch is None:
            lost += number >= WARM_UP
            due = time.monotonic_ns()
            continue
        stamp = int(batch[-1]["ts_recv"])
        _await(partial(_more, published, count), "the handler did not count a packet")
        if number >= WARM_UP:
            if published[0] > count + 1:  # one that was given up has been counted with it
                lost += 1
                continue
            first, second = received[1] - before[0], published[1] - before[1]
            rows.append((stamp - sent, first, second, seen - stamp - first - second))
    for each in (received, published, words):
        each.release()
    if not rows:
        raise BackendError(f"none of {packets:,} packets came through")
    columns = np.array(rows, np.int64).T
    return dict(zip(("sent_wire", *STAGES), columns, strict=True)), lost


def _more(words: memoryview, than: int) -> bool:
    return bool(words[0] > than)


def _sleep_until(due: int) -> None:
    """Sleep, and spin through the last part: a sleeping thread is late by what it takes to wake it."""
    left = due - time.monotonic_ns()
    if left > 300_000:
        time.sleep((left - 200_000) / 1e9)
    while time.monotonic_ns() < due:
        pass


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + 5.0
    while not condition():
        if time.monotonic() > end:
            raise BackendError(f"{otherwise} within 5 seconds")
