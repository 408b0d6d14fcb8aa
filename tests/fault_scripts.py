"""Fault scripts at random, each with what must be true of it: for the property test, and for the soak."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from feedhandler.rehearse import Report, Sizes, Venue
from feedhandler.simulate.faults import End, Faults, GlimpseFault, LineFault, Outage, RequestFault, Upstream
from tests.rehearsal import day, tell, two_days

T = TypeVar("T")
MESSAGES, SYMBOLS = 700, 3
APART_NS = 500_000_000  # between two low heartbeats that make a line suspect
SESSIONS = {"one day": b"", "a new session": b"NEXT      ", "a restart": b"DAY       "}


class Pick(Protocol):
    """Where the choices of a case come from: Hypothesis, or a seeded generator."""

    def one_of(self, values: Sequence[T]) -> T: ...
    def number(self, low: int, high: int) -> int: ...


class Dice:
    """A seeded generator's choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one_of(self, values: Sequence[T]) -> T:
        return self._random.choice(values)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


@dataclass(frozen=True)
class Case:
    """One script on one stream, and the servers there are."""

    faults: Faults
    seed: int
    stream: str
    lines: int
    servers: int
    snapshots: bool
    settings: tuple[tuple[str, Any], ...]
    window: int

    @property
    def certain(self) -> bool:
        """Everything must come back: there is a snapshot server, and sooner or later its snapshots are of use."""
        return self.snapshots and not self.faults.glimpse.stale_messages

    def packets(self) -> list[tuple[int, bytes]]:
        """What the exchange sends."""
        if self.stream == "one day":
            return day(messages=MESSAGES, symbols=SYMBOLS)
        return two_days(SESSIONS[self.stream], messages=MESSAGES, symbols=SYMBOLS)

    def report(self) -> Report:
        """The rehearsal."""

        def venue(*arguments: Any) -> Venue:
            return Venue(*arguments, servers=self.servers, snapshots=self.snapshots)

        sizes = Sizes(depth=32, orders=2048, instruments=16, window_messages=self.window)
        return tell(
            self.faults,
            packets=self.packets(),
            seed=self.seed,
            lines=self.lines,
            sizes=sizes,
            venue=venue,
            patience_s=1_200.0 if self.certain else 5.0,
            **dict(self.settings),
        )

    def problem(self) -> str:
        """What is wrong with the outcome; nothing when all is as it must be."""
        report = self.report()
        if not report.ok:
            return f"LIVE and wrong {report.wrong_live} times, {report.wrong_at_end}: {report.first_wrong}: {self}"
        if self.certain and not report.whole:
            return (
                f"not LIVE at the end, though a snapshot can be had: {report.not_live}, {report.periods[-1:]}: {self}"
            )
        return ""


def a_case(pick: Pick) -> Case:
    """A case out of these choices; the mildest come first."""
    every = a_line(pick)
    lines = pick.one_of([2, 2, 1, 3])
    own = tuple(a_line(pick) for _ in range(pick.one_of([0, 0, 1]))) if lines > 1 else ()
    faults = Faults(
        upstream=Upstream(burst_loss=pick.one_of([0.0, 0.0, 0.02, 0.2]), burst_packets=pick.one_of([4.0, 30.0])),
        all=every,
        line=own,
        outage=tuple(an_outage(pick, lines) for _ in range(pick.one_of([0, 0, 1, 2]))),
        end=None if pick.one_of([True, True, False]) else End(lost_packets=pick.number(0, 10), repeats=3),
        requests=a_request_server(pick),
        glimpse=GlimpseFault(
            bytes_per_s=pick.one_of([0.0, 0.0, 50_000.0]),
            cut=pick.one_of([0.0, 0.0, 0.5]),
            refuse=pick.one_of([0.0, 0.0, 0.5]),
            stale_messages=pick.one_of([0, 0, 0, 100]),
        ),
        skew_us=pick.one_of([0.0, 20.0, 5_000.0]),
    )
    stream = pick.one_of(list(SESSIONS))
    case = Case(
        faults=faults,
        seed=pick.number(0, 1 << 32),
        stream=stream,
        lines=lines,
        servers=pick.one_of([1, 2, 0]),
        snapshots=pick.one_of([True, True, False]),
        settings=(
            ("gap_limit", pick.one_of([100_000, 60])),
            ("request_messages", pick.one_of([1_000, 7])),
            ("attempts", pick.one_of([3, 1])),
            ("snapshot_retry_ms", pick.one_of([5_000, 200])),
        ),
        window=pick.one_of([4_096, 64]),
    )
    return seen(case) if stream == "a restart" else case


def hidden(case: Case) -> str:
    """Why no handler could know of this case's restart under the same session id; "" when one can.

    MoldUDP64 packets say session and number, no more. Of a restart one sees low numbers, and takes them for a restart
    when a line shows two low heartbeats half a second apart and nothing that agrees with the run before comes between
    them (the day after the pause is over in milliseconds: its data cannot rise for a second). Lines that slept
    meanwhile, or woke when the new numbers had come as far as the old ones, have seen nothing but a gap. And what the
    old run sent and comes more than half a second into the new one cannot be told from the new run's own.
    """
    packets = case.packets()
    sizes = [struct.unpack_from(">QH", payload, 10) for _, payload in packets]
    restart = next(n for n in range(1, len(sizes)) if sizes[n][0] < sizes[n - 1][0])
    old, new = ({payload for _, payload in part} for part in (packets[:restart], packets[restart:]))
    beat = packets[restart][1]
    first_new, first_beat = None, dict[int, int]()
    apart = False
    for at, line, payload in case.faults.wire(packets, lines=case.lines, seed=case.seed):
        if payload in new:
            first_new = at if first_new is None else first_new
            if payload == beat and not apart:
                apart = at - first_beat.setdefault(line, at) >= APART_NS
        elif payload in old and first_new is not None:
            first_beat.clear()
            if at - first_new >= APART_NS:
                return "a packet of the old run comes more than half a second into the new one"
    return "" if apart else "no line shows two low heartbeats half a second apart"


def seen(case: Case) -> Case:
    """The case, or as much of it as a handler can see (`hidden`)."""

    def timely(line: LineFault) -> LineFault:
        return replace(line, reorder_us=line.reorder_us or 500.0)

    def awake(line: LineFault) -> LineFault:
        return replace(line, burst_loss=0.0, heartbeat_loss=0.0, loss=min(line.loss, 0.2), reorder=0.0)

    def with_lines(faults: Faults, change: Callable[[LineFault], LineFault]) -> Faults:
        return replace(faults, all=change(faults.all), line=tuple(change(line) for line in faults.line))

    faults = case.faults
    if hidden(case):  # packets overtaken by heartbeats are seconds late
        faults = with_lines(faults, timely)
    if hidden(replace(case, faults=faults)):
        faults = replace(faults, outage=())
    if hidden(replace(case, faults=faults)):
        faults = with_lines(replace(faults, upstream=Upstream()), awake)
    return replace(case, faults=faults)


def a_line(pick: Pick) -> LineFault:
    return LineFault(
        loss=pick.one_of([0.0, 0.01, 0.05, 0.2, 0.5]),
        burst_loss=pick.one_of([0.0, 0.0, 0.05, 0.3]),
        burst_packets=pick.one_of([3.0, 12.0, 40.0]),
        heartbeat_loss=pick.one_of([0.0, 0.5]),
        duplicate=pick.one_of([0.0, 0.1, 1.0]),
        duplicate_us=pick.one_of([0.0, 300.0, 20_000.0]),
        reorder=pick.one_of([0.0, 0.1, 0.4]),
        reorder_packets=pick.one_of([1, 3, 12]),
        reorder_us=pick.one_of([0.0, 0.0, 500.0]),
        jitter_us=pick.one_of([0.0, 50.0, 2_000.0]),
        truncate=pick.one_of([0.0, 0.05]),
        corrupt=pick.one_of([0.0, 0.05]),
    )


def an_outage(pick: Pick, lines: int) -> Outage:
    which = pick.one_of([(), (), (0,)]) if lines > 1 else ()
    return Outage(lines=which, from_packet=pick.number(0, 120), for_packets=pick.number(1, 80))


def a_request_server(pick: Pick) -> RequestFault:
    return RequestFault(
        age=pick.one_of([0, 0, 60]),
        rate=pick.one_of([0.0, 0.0, 50.0]),
        mtu=pick.one_of([1_400, 100]),
        silence=pick.one_of([0.0, 0.3]),
        other_session=pick.one_of([0.0, 0.0, 0.2]),
        other_sequence=pick.one_of([0.0, 0.0, 0.2]),
        more=pick.one_of([0.0, 0.0, 0.2]),
        fewer=pick.one_of([0.0, 0.0, 0.2]),
        malformed=pick.one_of([0.0, 0.0, 0.2]),
    )


def random_case(seed: int) -> Case:
    """A case by its seed alone."""
    return a_case(Dice(seed))
