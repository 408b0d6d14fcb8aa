"""The cases. Each asserts; none knows which receiver it has before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feedhandler.counters import CHANNEL, by_name
from feedhandler.records import Quality, TimestampKind
from tests.conformance.feed import GROUPS, PORT, events_of, recorded
from tests.conformance.rig import FIRST_TS, LiveRig, Rig, Sent, check, collect, content, until, wanted
from tests.frames import ROUTER_ALERT, Frame

REOPENED = 100
ROOM = 64


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    sentence: str
    run: Callable[[Rig], None]


CASES: dict[str, Case] = {}


def case(sentence: str) -> Callable[[Callable[[Rig], None]], Callable[[Rig], None]]:
    """Enter the decorated function; `sentence` says what it shows."""

    def enter(run: Callable[[Rig], None]) -> Callable[[Rig], None]:
        CASES[run.__name__] = Case(run.__name__, sentence, run)
        return run

    return enter


# -- what every packet may expect -------------------------------------------------------------------------------------


@case("Packets of three lines arrive whole, in order, counted.")
def order(rig: Rig) -> None:
    flows = open_lines(rig)
    check(rig, [(i % flows, b"A%06d" % i) for i in range(200)])


@case("Payloads from one byte to the largest.")
def lengths(rig: Rig) -> None:
    open_lines(rig)
    sizes = [size for size in (1, 2, 999, 1024, 1458, 1472, 9000, 65507) if size < rig.largest]
    check(rig, [(0, b"A" * size) for size in (*sizes, rig.largest)])


@case("An empty payload is a packet.")
def empty(rig: Rig) -> None:
    open_lines(rig)
    check(rig, [(0, b"A"), (0, b""), (0, b"B")])


@case("More waits than one poll() takes.")
def batch(rig: Rig) -> None:
    open_lines(rig)
    check(rig, [(0, b"A%04d" % i) for i in range(150)])


@case("A busy line does not hide the others.")
def busy(rig: Rig) -> None:
    open_lines(rig)
    taken = check(rig, [(0, b"A" * 20)] * 100 + [(1, b"B"), (2, b"C")])
    assert {line for line, _, _ in taken} == {0, 1, 2}


@case("Packets stay until release().")
def release(rig: Rig) -> None:
    """drain() copies after each poll(): were slots reused within one, copies of its packets would be alike."""
    open_lines(rig)
    check(rig, [(0, bytes([65 + i % 26]) * (i % 50 + 1)) for i in range(130)])


@case("Receive times rise and say where they were taken.")
def stamps(rig: Rig) -> None:
    open_lines(rig)
    before = time.time_ns()
    taken = check(rig, [(0, b"A%d" % i) for i in range(20)])
    kind = rig.receiver.line_status(0)["ts_kind"]
    times = [ts for _, ts, _ in taken]
    if rig.live:
        assert kind in (TimestampKind.CLOCK, TimestampKind.KERNEL, TimestampKind.HARDWARE)
        assert times == sorted(times) and before <= times[0] <= times[-1] <= time.time_ns()
    else:
        assert kind == TimestampKind.FILE
        assert times == [FIRST_TS + i for i in range(20)]


@case("More comes later.")
def more(rig: Rig) -> None:
    open_lines(rig)
    check(rig, [(0, b"first")])
    assert rig.receiver.drain() == [] and not rig.receiver.ended
    later: Sent = [(0, b"later %d" % i) for i in range(10)]
    rig.send(later)
    assert content(rig, collect(rig, later), 0) == wanted(rig, later, 0)


@case("The end is said once everything is given.")
def end(rig: Rig) -> None:
    flows = open_lines(rig)
    sent = [(i % flows, b"A%d" % i) for i in range(100)]
    rig.send(sent)
    rig.end()
    taken = collect(rig, sent)
    until(lambda: rig.receiver.drain() == [] and rig.receiver.ended, "the end")
    for line in range(flows):
        assert content(rig, taken, line) == wanted(rig, sent, line)
    assert rig.receiver.drain() == [] and rig.receiver.error is None


@case("A limit of packets is kept.")
def limit(rig: Rig) -> None:
    open_lines(rig)
    rig.send([(0, b"A%d" % i) for i in range(10)])
    rig.receiver.wait_for(5)
    assert len(rig.receiver.drain(1)) == 1
    assert rig.receiver.drain(0) == []


@case("Closed, it gives nothing more; closing twice is harmless.")
def closed(rig: Rig) -> None:
    open_lines(rig)
    rig.send([(0, b"A"), (0, b"B")])
    receiver = rig.receiver
    receiver.close()
    receiver.close()
    assert receiver.drain() == []
    until(lambda: not rig.left(), "an interface as it was before")


# -- the feed ---------------------------------------------------------------------------------------------------------


@case("The recorded feed gives byte-identical events through a Handler.")
def feed(rig: Rig) -> None:
    day = recorded()
    with rig.handled(day) as handler:
        until(lambda: int(handler.segment.rings["head"][0]) >= len(day.events), "the last event")
        assert np.array_equal(events_of(handler), day.events)
        assert handler.segment.channels["quality"][0] == Quality.LIVE


# -- what is ours and what is not -------------------------------------------------------------------------------------


@case("Two groups at once, on one port.")
def two_groups(rig: Rig) -> None:
    rig.open([rig.flow(0), rig.flow(1)])
    check(rig, [(i % 2, b"group %d: %d" % (i % 2, i)) for i in range(100)])


@case("A group that was not joined gives nothing.")
def unjoined(rig: Rig) -> None:
    """The sender reaches all three; the receiver was told of the first alone."""
    rig.open([rig.flow(0)])
    rig.send([(1, b"unjoined"), (0, b"ours"), (2, b"unjoined"), (0, b"last")])
    only(rig, [b"ours", b"last"])


@case("Of a line with a source, other senders' packets are not taken.")
def source(rig: Rig) -> None:
    rig.open([rig.flow(0).but(source=rig.source)])
    rig.send([(0, b"ours")])
    rig.send([(0, b"foreign")] * 5, source=1)
    rig.send([(0, b"last")])
    only(rig, [b"ours", b"last"])


@case("A line without VLAN takes no tagged frame, but for tags of priority only.")
def untagged(rig: Rig) -> None:
    rig.open([rig.flow(0)])
    good = frame(b"good")
    rig.frames([good, good.but(vlan=(100,)), good.but(vlan=(200, 100)), good.but(vlan=(0,)), good.but(vlan=(5 << 13,))])
    rig.frames([frame(b"last")])
    only(rig, [b"good"] * 3 + [b"last"])


@case("A line of one VLAN, or of two stacked ones, takes their frames only.")
def vlan(rig: Rig) -> None:
    rig.open([rig.flow(0).but(vlan="100"), rig.flow(1).but(vlan="200.100")])
    first, second = frame(b"first"), frame(b"second").but(group=rig.flow(1).group)
    rig.frames([first, second, first.but(vlan=(101,)), first.but(vlan=(200, 100)), second.but(vlan=(100,))])
    rig.frames([second.but(vlan=(100, 200)), second.but(vlan=(200, 100)), first.but(vlan=(100,))])
    taken = collect(rig, [(1, b"second"), (0, b"first")])
    assert sorted((line, data) for line, _, data in taken) == [(0, b"first"), (1, b"second")]


# -- frames that are wrong, or rare -----------------------------------------------------------------------------------


@case("A wrong checksum of the IP header: not taken.")
def ip_checksum(rig: Rig) -> None:
    rig.open([rig.flow(0)])
    rig.frames([frame(b"good"), frame(b"bad").with_bad_ip_checksum(), frame(b"last")])
    only(rig, [b"good", b"last"])


@case("A wrong UDP checksum: not taken, where it is looked at; none at all: taken.")
def udp_checksum(rig: Rig) -> None:
    rig.open([rig.flow(0)], check_udp_checksum=True)
    rig.frames([frame(b"good"), frame(b"bad").with_bad_udp_checksum(), frame(b"none").but(udp_checksum=0)])
    rig.frames([frame(b"last")])
    only(rig, [b"good", b"none", b"last"])


@case("A datagram in IP fragments arrives whole.")
def fragments(rig: Rig) -> None:
    rig.open([rig.flow(0)])
    whole = bytes(range(250)) * 8
    rig.frames([*frame(whole).but(identification=7).fragments(800), frame(b"last")])
    taken = collect(rig, [(0, whole), (0, b"last")])
    assert sorted(data for _, _, data in taken) == sorted([whole, b"last"])


@case("A header with IP options.")
def options(rig: Rig) -> None:
    rig.open([rig.flow(0)])
    rig.frames([frame(b"with options").but(options=ROUTER_ALERT), frame(b"last")])
    taken = collect(rig, [(0, b"with options"), (0, b"last")])
    assert sorted(data for _, _, data in taken) == [b"last", b"with options"]


@case("Frames cut short, and lengths that lie: not taken.")
def runts(rig: Rig) -> None:
    rig.open([rig.flow(0)])
    good = frame(b"cut short")
    lying = [
        good.but(total_length=19), good.but(total_length=27), good.but(total_length=200), good.but(udp_length=7),
        good.but(header_words=4), good.but(version=5), good.but(protocol=6), good.but(ether_type=0x86DD),
        good.but(header_words=15), good.but(vlan=(0, 0), cut=20),
    ]  # fmt: skip
    rig.frames([good.but(cut=length) for length in range(14, len(bytes(good)))])
    rig.frames([*lying, frame(b"padded").but(pad=18), frame(b"last")])
    only(rig, [b"padded", b"last"])


@case("Jumbo frames, on an interface with an MTU of 9000.")
def jumbo(rig: Rig) -> None:
    rig.open([rig.flow(0)], jumbo=True)
    check(rig, [(0, b"A" * size) for size in (100, 2000, rig.jumbo)])


# -- more than it can hold; again and again; killed -------------------------------------------------------------------


@case("A full ring loses packets: a gap, counted as missing, and everything that comes later.")
def exhaustion(rig: Rig) -> None:
    assert isinstance(rig, LiveRig)
    day = recorded()
    with rig.handler(day.config([rig.flow(0)], reorder_us=2000), ROOM) as handler:
        rig.send([(0, packet) for packet in day.packets[:-20]])  # nobody takes them yet
        handler.start()
        channel = handler.segment.channels[0]

        def whole() -> bool:
            rig.send([(0, packet) for packet in day.packets[-20:]])
            return bool(channel["next_seq"] == day.messages + 1)

        until(whole, lambda: f"the last message (now {channel['next_seq']} of {day.messages})")
        counters = by_name(CHANNEL, channel)
        assert counters["gaps"] >= 1 and counters["missing"] > 0
        assert channel["quality"] == Quality.STALE
        assert handler.error is None


@case("What a full ring has lost is counted: received + dropped = sent.")
def drops(rig: Rig) -> None:
    rig.open([rig.flow(0)], room=ROOM)
    sent: Sent = [(0, b"A%04d" % i) for i in range(3000)]
    rig.send(sent)
    taken = len(rig.receiver.drain())
    assert 0 < taken < len(sent)
    last: Sent = [(0, b"last")]
    rig.send(last)
    taken += len(collect(rig, last))

    def counted() -> bool:
        """Whoever shares memory with the kernel asks for its counts now and then, while it polls."""
        assert rig.receiver.drain() == []
        return bool(taken + rig.receiver.counts(0)["kernel_drops"] == len(sent) + 1)

    until(counted, lambda: f"{len(sent) + 1} of {taken} + {rig.receiver.counts(0)['kernel_drops']}")


@case(f"Closed and opened again {REOPENED} times; nothing is left open.")
def reopen(rig: Rig) -> None:
    rig.open([rig.flow(0)])
    check(rig, [(0, b"first")])
    rig.close()
    before = open_files()
    for _ in range(REOPENED - 1):
        rig.open([rig.flow(0)], room=ROOM)
        rig.close()
    assert open_files() == before
    until(lambda: not rig.left(), "an interface as it was before")
    rig.open([rig.flow(0)])
    check(rig, [(0, b"last")])


@case("Killed with -9 and started again at once.")
def kill(rig: Rig) -> None:
    holder = rig.hold([rig.flow(0)])
    rig.send([(0, b"never read")] * 10)
    holder.kill()
    rig.open([rig.flow(0)])
    check(rig, [(0, b"%d" % i) for i in range(100)])
    rig.close()
    until(lambda: not rig.left(), "an interface as it was before")


# -- words that cases share -------------------------------------------------------------------------------------------


def open_lines(rig: Rig) -> int:
    """Open three lines, or the one that there can be; their number."""
    flows = [rig.flow(number) for number in range(rig.lines)]
    rig.open(flows)
    return len(flows)


def frame(payload: bytes) -> Frame:
    """A good frame for line 0."""
    return Frame(payload=payload, group=GROUPS[0], port=PORT)


def only(rig: Rig, payloads: Sequence[bytes]) -> None:
    """Line 0 gives these and nothing else; the last of them was sent last."""
    taken = collect(rig, [(0, payload) for payload in payloads])
    taken += rig.receiver.drain()
    assert [data for _, _, data in taken] == list(payloads)


def open_files() -> int:
    """Descriptors that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
