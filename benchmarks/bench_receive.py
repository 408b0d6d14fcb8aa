"""From the wire, back end beside back end: receive only, to the published book, and how long a packet is under way.

Two networks joined by a veth pair; the sender is an XDP program with packets of its own (`live_frames.py`), on the
first CPU, where the kernel's part of receiving runs too, as on the core that a NIC interrupts. The receiver spins on
the last CPU. Each packet is a MoldUDP64 packet of one ITCH message of a simulated day.

- *drain*: packets wait already; what the application's core pays for each, and nothing else.
- *live*: packets come as fast as the sending core can bring them; packets per second, and what was lost.
- *age*: one packet every 50 us; from the program that let it go to the end of the poll() that gave it.

    sudo python benchmarks/bench_receive.py --rounds 9

prints the tables, and the ratios of each round to recvmmsg. Needs root (namespaces, XDP) and two CPUs for itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from live_frames import LiveFrames

    from feedhandler.config import Config
    from feedhandler.handler import Handler
    from feedhandler.receive._receiver import Receiver

TARGET = ("239.1.1.1", 26400)
BASE = "recvmmsg"
BUFFER = 256 << 20  # bytes: what waits in a socket is counted in whole pages
SESSION = b"BENCHMARK "
SYMBOLS = 50
WARM = 2  # drains of a new handler that are not counted: its memory is touched for the first time
LONGEST = 42  # bytes of a message
REPEATED = 16_384  # packets that are sent over and over, under new numbers, where nobody looks into them
PATIENCE_NS = 200_000_000
PRIORITY = (30, 40)  # SCHED_FIFO of sender and receiver

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "recvmsg": ("recvmsg", {}),
    "recvmmsg": ("sockets", {}),
    "recvmmsg, no stamps": ("sockets", {"timestamps": "clock"}),
    "af_xdp generic": ("af_xdp", {"mode": "generic", "ring": 65536}),
    "af_xdp native": ("af_xdp", {"mode": "native", "ring": 65536}),
    "af_xdp native, ring 4096": ("af_xdp", {"mode": "native", "ring": 4096}),
}
"""Contestant → backend and its settings. "recvmsg" is no backend of ours: one system call a packet.

A ring of 65536 is the default. The kernel goes round all of it, and what it writes there is in no cache; a smaller one
stays in its caches, and bridges less. Here it shows in the sending core: each frame goes back to the sender under a
lock, and taking that waits for the stores before it.
"""
FED = ("recvmmsg", "recvmmsg, no stamps", "af_xdp generic", "af_xdp native")
"""Those that feed a handler: a small ring overflows there, for the sender is faster than decoder and books."""


def lacks() -> str:
    """What keeps the benchmark from running here."""
    if os.geteuid() != 0:
        return "needs root: network namespaces and XDP"
    if len(os.sched_getaffinity(0)) < 2:
        return "needs two CPUs"
    return ""


def day(messages: int) -> list[bytes]:
    """A simulated day, one message a packet, without the few messages that are too long (imbalances, hidden trades)."""
    from feedhandler import simulate

    exchange = simulate.Exchange(symbols=SYMBOLS, messages=messages + messages // 8, seed=1)
    buffer, packets = bytearray(1 << 20), list[bytes]()
    while size := exchange.produce(buffer):
        at = 0
        while at < size:
            end = at + 2 + int.from_bytes(buffer[at : at + 2], "big")
            if end - at <= 2 + LONGEST:
                packets.append(struct.pack(">10sQH", SESSION, len(packets) + 1, 1) + buffer[at:end])
            at = end
    return packets[:messages]


class Lane:
    """A contestant's own cable, sender and CPUs."""

    def __init__(self, way: str, payloads: Sequence[bytes], *, paced: bool = False, fifo: bool) -> None:
        from live_frames import LiveFrames

        from tests.namespaces import Veth

        self.backend, self.options = WAYS[way]
        self.world = Veth()
        self.sender: LiveFrames = LiveFrames(self.world, payloads, TARGET, paced=paced)
        self.fifo = fifo
        self.first, *_, self.last = sorted(os.sched_getaffinity(0))

    def receiver(self) -> Receiver:
        """The receiver of this way, open."""
        from feedhandler.receive import choose, sockets
        from feedhandler.receive._gauge import Recvmsg

        line = sockets.UdpLine("A", *TARGET, "rx")
        with self.world.receiver.inside():
            if self.backend == "recvmsg":
                return Recvmsg(1, sockets.open_socket(line, sockets.Options(BUFFER, timestamps="clock"), []))
            return choose.choose([line], self.backend, {self.backend: self.settings()}).receiver

    def settings(self) -> dict[str, Any]:
        """Those of the backend."""
        room = {"receive_buffer": BUFFER, "slot_bytes": 2048} if self.backend == "sockets" else {}
        return self.options | room

    def handler(self) -> Handler:
        """A handler by this way, to be turned by hand."""
        from dataclasses import replace

        from feedhandler.config import AfXdp, Books, Channel, Config, Line, Ring, Run, Shm
        from feedhandler.handler import Handler

        line = Line(name="A", group=TARGET[0], port=TARGET[1], interface="rx")
        channel = Channel(name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=date(2026, 11, 20),
                          lines=(line,))  # fmt: skip
        run = Run(backend=self.backend, wait="spin", receive_buffer=BUFFER)
        books = Books(instruments=256, orders=1 << 18)
        config: Config = Config(Shm(name="unused"), books, Ring(events=1 << 16), run, (channel,))
        if self.backend == "af_xdp":
            config = replace(config, af_xdp=AfXdp(**self.settings()))
        with self.world.receiver.inside():
            return Handler(config, anonymous=True)

    @contextlib.contextmanager
    def receiving(self) -> Iterator[None]:
        """This thread is the application's core."""
        with _placed(self.last, PRIORITY[1] if self.fifo else 0):
            yield

    @contextlib.contextmanager
    def sending(self, packets: int, interval_ns: int = 0) -> Iterator[list[int]]:
        """Send meanwhile; the list will hold the ns that the sending core took for each packet."""
        took: list[int] = []

        def send() -> None:
            with _placed(self.first, PRIORITY[0] if self.fifo else 0):
                took.append(self.sender.send(packets, interval_ns))

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield took
        finally:
            thread.join()

    def fill(self, packets: int) -> None:
        """Send so many, which nobody takes yet."""
        with self.sending(packets):
            pass


@contextlib.contextmanager
def _placed(cpu: int, priority: int) -> Iterator[None]:
    """This thread on one CPU, and with SCHED_FIFO of that priority, if any."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    if priority:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    try:
        yield
    finally:
        if priority:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


receive = harness.Contest("receive", unit="packet", floor=BASE, options={"drain": 4000, "live": 300_000, "fifo": True})


def _receive(way: str, drain: int, live: int, fifo: bool) -> harness.Round:
    from feedhandler.receive._gauge import gauge

    lane = Lane(way, day(REPEATED), fifo=fifo)
    receiver = lane.receiver()

    def one_round() -> harness.Sample:
        receiver.skim()  # what the round before had left
        lane.sender.rewind()
        lane.fill(drain)
        with lane.receiving():
            begin = time.perf_counter_ns()
            kept, _ = receiver.skim()
            took = time.perf_counter_ns() - begin
        lane.sender.rewind()
        with lane.sending(live) as sender, lane.receiving():
            came = gauge(receiver, live, 10.0)
        extra = {
            "kept": kept,
            "kpps": came["packets"] / max(came["wall_ns"], 1) * 1e6,
            "busy_ns": came["busy_ns"] / max(came["packets"], 1),
            "batch": came["packets"] / max(came["polls"], 1),
            "lost": 100 * (1 - came["packets"] / live),
            "sender_ns": sender[0],
        }
        return harness.Sample(kept, took, extra)

    return one_round


book = harness.Contest("book", unit="packet", floor=BASE, options={"drain": 20_000, "live": 300_000, "fifo": True})


def _book(way: str, drain: int, live: int, fifo: bool) -> harness.Round:
    lane = Lane(way, day((WARM + 1) * drain + live), fifo=fifo)

    def one_round() -> harness.Sample:
        lane.sender.rewind()
        with lane.handler() as handler:
            shard, channel = handler.shard, handler.segment.channels[0]
            for _ in range(WARM + 1):
                lane.fill(drain)
                before = shard.packets_taken
                with lane.receiving():
                    begin = time.perf_counter_ns()
                    shard.turn_many(1 << 20)
                    took = time.perf_counter_ns() - begin
            seen = shard.packets_taken
            kept = seen - before
            with lane.sending(live) as sender, lane.receiving():
                wall = _turned(shard, seen + live)
            came = shard.packets_taken - seen
            extra = {"kept": kept, "kpps": came / max(wall, 1) * 1e6, "lost": 100 * (1 - came / live)}
            extra |= {"missing": int(seen + live + 1 - channel["next_seq"]), "sender_ns": sender[0]}
        return harness.Sample(kept, took, extra)

    return one_round


def _turned(shard: Any, packets: int) -> int:
    """Turn until it has had so many packets, or no more come: ns from the first to the last."""
    begin = last = time.perf_counter_ns()
    first, before = 0, shard.packets_taken
    while shard.packets_taken < packets:
        shard.turn_many(64)
        now = time.perf_counter_ns()
        if shard.packets_taken != before:
            first, last, before = first or now, now, shard.packets_taken
        elif (first and now - last > PATIENCE_NS) or now - begin > 10_000_000_000:
            break
    return last - first


age = harness.Contest("age", unit="packet", floor="recvmsg", options={"packets": 8000, "interval_us": 50, "fifo": True})


def _age(way: str, packets: int, interval_us: int, fifo: bool) -> harness.Round:
    import numpy as np
    from live_frames import STAMP_AT

    from feedhandler.receive._gauge import gauge

    lane = Lane(way, day(REPEATED), paced=True, fifo=fifo)
    receiver = lane.receiver()
    ages = np.zeros(packets, np.int64)

    def one_round() -> harness.Sample:
        receiver.skim()
        lane.sender.rewind()
        with lane.sending(packets, interval_us * 1000), lane.receiving():
            came = gauge(receiver, packets, 10.0, ages, STAMP_AT)["packets"]
        p50, p99 = np.percentile(ages[came // 10 : came], (50, 99))
        return harness.Sample(1, p50, {"p99": p99, "lost": 100 * (1 - came / packets)})

    return one_round


for _way in WAYS:
    receive.contestant(_way, lacks=lacks, cpu=None, way=_way)(_receive)
    if _way in FED:
        book.contestant(_way, lacks=lacks, cpu=None, way=_way)(_book)
    age.contestant(_way, lacks=lacks, cpu=None, way=_way)(_age)

COLUMNS = {
    receive: ("receive only", {"kpps": 1, "busy_ns": 1, "sender_ns": 0, "batch": 1, "lost": 2}),
    book: ("wire to published book, one message a packet", {"kpps": 1, "sender_ns": 0, "lost": 2}),
    age: ("driver to user", {"p99": 0, "lost": 2}),
}
HEADS = {
    "kpps": "live, 1000 packets/s",
    "busy_ns": "live, core busy, ns/packet",
    "sender_ns": "live, sending core, ns/packet",
    "batch": "packets a poll",
    "lost": "lost, %",
    "p99": "p99, ns",
}


def table(contest: harness.Contest, results: Sequence[harness.Result]) -> str:
    """Medians [least–most] over the rounds, and the median of each round's ratio to the floor."""
    title, columns = COLUMNS[contest]
    first = "p50, ns" if contest is age else "drain, core, ns/packet"
    heads = [title, first, f"× {contest.floor}"]
    for name in columns:
        heads += [HEADS[name], f"× {contest.floor}"] if name == "kpps" else [HEADS[name]]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)]]
    floor = next((r for r in results if r.contestant.name == contest.floor), None)
    for result in results:
        if result.absent:
            lines.append([result.contestant.name, result.absent, *[""] * (len(heads) - 2)])
            continue
        costs = [s.nanoseconds / max(s.operations, 1) for s in result.samples]
        row = [result.contestant.name, _range(costs, 1), _ratio(costs, floor, None)]
        for name, digits in columns.items():
            each = [s.extra[name] for s in result.samples]
            row.append(_range(each, digits))
            if name == "kpps":
                row.append(_ratio(each, floor, name))
        lines.append(row)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _range(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}–{max(values):,.{digits}f}]"


def _ratio(values: Sequence[float], floor: harness.Result | None, name: str | None) -> str:
    """Round by round, beside the floor of the same round."""
    if floor is None or floor.absent:
        return ""
    theirs = [s.extra[name] if name else s.nanoseconds / max(s.operations, 1) for s in floor.samples]
    each = [mine / its for mine, its in zip(values, theirs, strict=True) if its]
    return _range(each, 2 if statistics.median(each) > 0.5 else 3)


def main() -> None:
    """All three, one after the other, in one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each contestant (9; at least 7 for a claim)")
    parser.add_argument("--only", choices=[c.name for c in COLUMNS], help="this one alone")
    parser.add_argument("--way", choices=list(WAYS), action="append", help="this way (repeatable); all, if not given")
    parser.add_argument("--json", metavar="FILE", help="every round's figures, too")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="live=300000 drain=20000 fifo=false ...")
    arguments = parser.parse_args()
    given = dict(harness._key_value(text) for text in arguments.options)
    kept: dict[str, Any] = {"machine": harness.machine()}
    for contest in COLUMNS:
        if arguments.only in (None, contest.name):
            options = {key: value for key, value in given.items() if key in contest.options}
            for name in set(contest.contestants) - set(arguments.way or WAYS):
                del contest.contestants[name]
            results = contest.run(Path(__file__).resolve(), arguments.rounds, options)
            kept[contest.name] = {r.contestant.name: [vars(s) for s in r.samples] or r.absent for r in results}
            print(f"\n{table(contest, results)}", flush=True)
    about = kept["machine"]
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"\n{about['cpu']}, {about['cpus']} cpus, Linux {about['kernel']}; {load}; {about['flags']}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(kept, indent=1, default=str) + "\n")


test_receive = receive.test()
test_book = book.test()
test_age = age.test()

if __name__ == "__main__":
    main()
