"""A rehearsal: a stream through the live code without faults and with them, in virtual time, every book compared.

Nothing here reads a clock. The hot thread's part is stepped packet by packet and ticked in the quiet between packets,
the ladder is stepped as its thread would step it (a look every millisecond, at once when an answer comes), and servers
answer after a time that is part of the script. So a source, a script and a seed give the same report on every machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from feedhandler import decode
from feedhandler.config import Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.counters import LINE, by_name
from feedhandler.errors import ConfigError
from feedhandler.handler import Handler
from feedhandler.records import Quality, Reason
from feedhandler.recovery import Rung, Transports
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.rehearse._witness import Comparer, Original, Recorder
from feedhandler.rehearse.report import Gap, LineCounts, Period, Report, WrongBook
from feedhandler.rehearse.sources import Source
from feedhandler.rehearse.venue import NEVER, Venue
from feedhandler.rehearse.wire import Wire
from feedhandler.simulate.faults import Faults

MS = 1_000_000
SECOND = 1_000 * MS
LOOK_NS = MS  # the control thread looks at what the hot thread asks for this often
QUIET_NS = MS // 20  # after a packet, the first idle tick; each next one comes after twice as long ...
QUIET_MAX_NS = 500 * MS  # ... up to this
CALM_LOOK_NS = 100 * MS  # ... this often when nothing is missing
CALM_NS = 5 * MS  # the first when nothing is missing
LAST_BEAT_NS = 100 * MS  # between the heartbeats after the last packet
REPORT_EVERY = 2048  # packets


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the handlers of a rehearsal are. A book's hash is of `depth` levels a side."""

    depth: int = 32
    orders: int = 1_000_000
    instruments: int = 16384
    window_messages: int = 1 << 18


@dataclass
class Hole:
    """Numbers [first, end) that were missing when a packet of `line` showed it; `left` are those still missing."""

    first: int
    end: int
    opened: int
    line: int
    left: list[tuple[int, int]] = field(default_factory=list)

    def fill(self, first: int, end: int) -> bool:
        """Numbers [first, end) have come on a line. True when nothing is left."""
        self.left = [part for a, b in self.left for part in ((a, min(b, first)), (max(a, end), b)) if part[0] < part[1]]
        return not self.left


def rehearse(
    source: Source,
    faults: Faults | None = None,
    *,
    seed: int = 1,
    lines: int = 2,
    sizes: Sizes | None = None,
    settings: RecoverySettings | None = None,
    patience_s: float = 120.0,
    venue: Callable[[Source, Faults, int], Venue] = Venue,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Send `source` through the handler without faults, then with them; what became of it.

    `venue` makes the servers that the handler recovers from; after the last packet they have `patience_s` of virtual
    time for what is still missing. `progress` is called now and then with the packets sent so
    far, both runs together. Raises ConfigError for a script that does not fit.
    """
    faults = Faults.default() if faults is None else faults
    sizes = sizes or Sizes()
    faults.line_faults(lines, seed, source.framing)
    original = Original(sizes.instruments)
    plain = Lossless(source, faults, sizes, original)
    with plain.handler:
        plain.run(progress)
        report = Report(source.name, seed, notes=list(source.notes))
        report.stale_without_faults = plain.not_live()
        report.sessions = [original.session(run) for run in range(original.runs)]
    run = _Faulty(source, faults, seed, lines, sizes, settings, original, venue, round(patience_s * SECOND))
    with run.handler:
        run.run(report, progress, plain.packets)
        comparer = run.comparer
        if comparer.first_wrong is not None:
            report.first_wrong = _first_wrong(source, faults, sizes, original, comparer)
    return report


def _handler(
    source: Source,
    sizes: Sizes,
    lines: int,
    first_packet: int,
    name: str = "lossless",
    settings: RecoverySettings | None = None,
    ways: Transports | None = None,
) -> tuple[Handler, PacketQueue]:
    """A handler of one channel, and the queue that its packets come from."""
    queue = PacketQueue(lines)
    channel = Channel(
        name=name,  # the ladder's dice are thrown by it
        protocol=source.protocol,
        session=source.framing,
        venue=decode.protocol(source.protocol).venue,
        date=source.day,
        lines=tuple(Line(name="ABCDEFGHIJKLMNOP"[n], port=0) for n in range(lines)),
        window_messages=sizes.window_messages,
        recovery=settings,
    )
    config = Config(
        Shm(name="rehearsal"),
        Books(depth=sizes.depth, instruments=sizes.instruments, orders=sizes.orders),
        Ring(events=1024),
        Run(),
        (channel,),
    )
    given = {} if ways is None else {name: ways}
    return Handler(config, receiver=queue, first_packet=first_packet, anonymous=True, transports=given), queue


class Lossless:
    """The run without faults, on one line."""

    def __init__(
        self,
        source: Source,
        faults: Faults,
        sizes: Sizes,
        original: Original,
        until: tuple[int, int, int] | None = None,
    ) -> None:
        self.source, self.faults, self.original, self.packets = source, faults, original, 0
        first = next(iter(faults.stream(source.packets(), framing=source.framing)), None)
        if first is None:
            raise ConfigError(f"rehearse: {source.name} has no packets")
        self.handler, self.queue = _handler(source, sizes, 1, first[0])
        self.recorder = Recorder(original, until)
        arbiter, _, books, _ = self.handler._parts[0]
        self.recorder.attach(self.handler.segment, arbiter, books, sizes.depth)
        self.handler.shard.watch(self.recorder)

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        put, turn = self.queue.put, self.handler.shard.turn_once
        for ts, payload in self.faults.stream(self.source.packets(), framing=self.source.framing):
            put(0, ts, payload)
            turn()
            self.packets += 1
            if progress is not None and self.packets % REPORT_EVERY == 0:
                progress(self.packets)
        self.original.name_books(self.handler.segment.directory, self.handler.segment.part("directory")["used"][0])

    def not_live(self) -> list[str]:
        """The books that are not LIVE now."""
        segment, names = self.handler.segment, []
        channel = segment.channels[0]["quality"] != Quality.LIVE
        for book in range(1, int(segment.part("directory")["used"][0])):
            if channel or self.handler.book(book)[0]["quality"] not in (Quality.LIVE, Quality.INIT):
                names.append(segment.directory[book]["symbol"].decode())
        return names


class _Faulty:
    """The run with faults."""

    def __init__(
        self,
        source: Source,
        faults: Faults,
        seed: int,
        lines: int,
        sizes: Sizes,
        settings: RecoverySettings | None,
        original: Original,
        venue: Callable[[Source, Faults, int], Venue],
        patience: int,
    ) -> None:
        self.source, self.faults, self.seed, self.lines = source, faults, seed, lines
        self.wire = Wire(source.framing)
        self.venue, self.patience = venue(source, faults, seed), patience
        first = next(iter(faults.stream(source.packets(), framing=source.framing)))[0]
        ways = self.venue.transports()
        settings = replace(settings or RecoverySettings(), window_messages=sizes.window_messages)
        self.handler, self.queue = _handler(source, sizes, lines, first, f"seed-{seed}"[:15], settings, ways)
        self.ladder = self.handler.ladders[0] if self.handler.ladders else None
        self.comparer = Comparer(original)
        arbiter, _, books, _ = self.handler._parts[0]
        self.comparer.attach(self.handler.segment, arbiter, books, sizes.depth)
        self.handler.shard.watch(self.comparer)
        self.now = self.begun = first
        self.look = first  # when the ladder is stepped next
        self.wait = LOOK_NS
        self.quiet = QUIET_NS
        self.tick = first
        self.holes: deque[Hole] = deque()
        self.ahead: deque[tuple[int, bytes]] = deque()
        self.gaps: list[Gap] = []
        self.periods: list[Period] = []
        self.word = (int(Quality.INIT), int(Reason.START))
        self.word_since = first
        self.epoch = self.horizon = self.lost = self.snapshots = 0
        self.bad = [0] * lines
        self.last_packet = b""

    # -- time ----------------------------------------------------------------------------------------------------------

    def run(self, report: Report, progress: Callable[[int], None] | None, before: int) -> None:
        packets = 0
        for ts, line, payload in self.faults.wire(
            self._sent(), lines=self.lines, seed=self.seed, framing=self.source.framing
        ):
            self.pass_until(ts)
            self.packet(line, payload)
            packets += 1
            if progress is not None and packets % REPORT_EVERY == 0:
                progress(before + packets // self.lines)
        self._finish()
        self._fill_in(report, packets)

    def _sent(self) -> Iterator[tuple[int, bytes]]:
        """The packets of the exchange, read ahead of time as far as they are lost."""
        for ts, payload in self.faults.stream(self.source.packets(), framing=self.source.framing):
            self.ahead.append((ts, payload))
            self.last_packet = payload
            yield ts, payload

    def _catch_up(self) -> None:
        """The servers have each packet from the moment it is sent, and no sooner."""
        while self.ahead and self.ahead[0][0] <= self.now:
            self.venue.sent(*self.ahead.popleft())

    def packet(self, line: int, payload: bytes) -> None:
        """A packet arrives now."""
        self.queue.put(line, self.now, payload)
        self.handler.shard.turn_once()
        self._observe(line, payload)
        self.quiet = CALM_NS if self._calm() else QUIET_NS
        if self.wait > LOOK_NS and not self._calm():
            self._look_soon()
        self.tick = self.now + self.quiet

    def pass_until(self, ts: int) -> None:
        """Time passes, to `ts`: idle ticks, the control thread, answers."""
        while True:
            due = self.tick
            if self.look < due:
                due = self.look
            if self.venue.wake < due:
                due = self.venue.wake
            if due >= ts:
                break
            self.now = self.queue.clock = max(due, self.now)
            if self.look <= due or self.venue.wake <= due:
                self._step_ladder()
            self.handler.shard.turn_once()
            self._observe()
            self.quiet = min(2 * self.quiet, QUIET_MAX_NS)
            self.tick = self.now + self.quiet
        self.now = self.queue.clock = max(ts, self.now)

    def _calm(self) -> bool:
        """Nothing is missing, and nobody has to do anything."""
        return self.word[0] == Quality.LIVE and not self.holes

    def _step_ladder(self) -> None:
        """What the control thread does when it wakes, and when it will wake again."""
        if self.ladder is None:
            self.look = NEVER
            return
        self.venue.now = self.now
        self._catch_up()
        due = self.ladder.step((self.now - self.begun) / SECOND)
        if self.venue.wake <= self.now:
            self.venue.wake = NEVER  # an answer that nobody waits for any more
        if self.ladder.rung is not Rung.IDLE:
            self.quiet = QUIET_NS
        if self._calm():
            self.wait = CALM_LOOK_NS
        elif self.ladder.rung is Rung.IDLE:  # it would find nothing new: nothing has come
            self.wait = min(2 * self.wait, CALM_LOOK_NS)
        else:
            self.wait = LOOK_NS
        wait = self.wait
        if due != float("inf"):
            wait = min(wait, max(int(due * SECOND) + self.begun - self.now, QUIET_NS))
        self.look = self.now + wait

    def _look_soon(self) -> None:
        self.wait = LOOK_NS
        self.look = min(self.look, self.now + LOOK_NS)

    def _finish(self) -> None:
        """Heartbeats after the last packet, on all lines and without faults, until nothing is missing any more."""
        begun, end = self.now, self.now + self.patience
        while self.now < end:
            self.pass_until(self.now + (LAST_BEAT_NS if self.now < begun + SECOND else SECOND))
            beat = self.wire.heartbeat(self.last_packet, self.now)
            self.ahead.append((self.now, beat))
            for line in range(self.lines):
                self.packet(line, beat)
            if self.word[0] == Quality.LIVE and not self.holes:
                return
            if self.ladder is None:
                self.pass_until(self.now + LAST_BEAT_NS)  # what the heartbeat showed to be missing is due by then
                return

    # -- what is seen --------------------------------------------------------------------------------------------------

    def _observe(self, line: int = 0, payload: bytes | None = None) -> None:
        """After each step: holes opened, holes closed, the channel's word."""
        quality, reason, epoch, number, horizon, lost, bad = self.comparer.state(line)
        if (quality, reason) != self.word:
            self._new_word(quality, reason)
        if epoch != self.epoch:
            spliced = self.comparer.snapshots != self.snapshots
            for hole in self.holes:
                self._close(hole, "snapshot" if spliced else "session")
            self.holes.clear()
            self.epoch, self.snapshots, self.horizon = epoch, self.comparer.snapshots, number
        if payload is not None:
            good, self.bad[line] = bad == self.bad[line], bad
            head = self.wire.head(payload) if good else None
            if head is not None:
                for hole in [h for h in self.holes if h.first < head.end and head.first < h.end]:
                    if head.messages and hole.fill(head.first, head.end):
                        self._close(hole, "reordered" if hole.line == line else "other_line")
                        self.holes.remove(hole)
                if horizon > self.horizon:
                    first = max(self.horizon, number)
                    if head.end == horizon and first < head.first:
                        self.holes.append(Hole(first, head.first, self.now, line, [(first, head.first)]))
                        self._look_soon()
        self.horizon = max(self.horizon, horizon)
        while self.holes and self.holes[0].end <= number:
            hole = self.holes.popleft()
            if any(n in self.comparer.retransmitted for a, b in hole.left for n in range(a, b)):
                self._close(hole, "retransmission")
            else:
                self._close(hole, "given_up" if lost != self.lost else "retransmission")
        self.lost = lost

    def _close(self, hole: Hole, way: str) -> None:
        self.gaps.append(Gap(hole.first, hole.end - hole.first, hole.opened, self.now, way))

    def _new_word(self, quality: int, reason: int) -> None:
        before, since = self.word, self.word_since
        if before[0] not in (Quality.LIVE, Quality.INIT):
            self.periods.append(Period(Quality(before[0]).name, Reason(before[1]).name, since, self.now))
        self.word, self.word_since = (quality, reason), self.now
        self._look_soon()

    def _fill_in(self, report: Report, packets: int) -> None:
        comparer = self.comparer
        self._new_word(-1, -1)
        for hole in self.holes:
            self._close(hole, "open")
        comparer.finish()
        equal, not_live, wrong = comparer.look()
        report.packets, report.messages, report.compared = packets, comparer.messages, comparer.compared
        report.wrong_live, report.gaps, report.periods = comparer.wrong, self.gaps, self.periods
        report.lost_messages, report.snapshots = self.lost, comparer.snapshots
        report.equal, report.not_live, report.wrong_at_end = equal, not_live, wrong
        report.lines = [
            LineCounts(*(by_name(LINE, record)[name] for name in LineCounts.__annotations__))
            for record in self.handler.segment.lines[: self.lines]
        ]
        report.begun, report.ended = self.begun, self.now
        report.notes += self.handler.notes


def _first_wrong(source: Source, faults: Faults, sizes: Sizes, original: Original, comparer: Comparer) -> WrongBook:
    """The first wrong book beside the right one, which takes the lossless run once more to have."""
    found = comparer.first_wrong
    assert found is not None
    run, number, book = found["run"], found["number"], found["book"]
    again = Lossless(source, faults, sizes, Original(sizes.instruments), (run, number, book))
    with again.handler:
        again.run()
        wanted = _sides(again.recorder.copied_book)
    shown = _sides(comparer.copied_book)
    side, level = "bid", 0
    for name, ours, theirs in zip(("bid", "ask"), shown, wanted, strict=True):
        if ours != theirs:
            length = max(len(ours), len(theirs))
            side, level = name, next(i for i in range(length) if ours[i : i + 1] != theirs[i : i + 1]) + 1
            break
    symbol = original.names.get(book, (f"instrument {found['instrument']}", ""))[0]
    protocol = decode.protocol(source.protocol)
    return WrongBook(
        symbol,
        original.session(run),
        run,
        number,
        side,
        level,
        shown,
        wanted,
        protocol.price_exponent,
        protocol.price_decimals,
    )


def _sides(book: Any) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    if book is None:
        return [], []
    bids, asks = ([(int(x["price"]), int(x["size"]), int(x["orders"])) for x in side] for side in book)
    return bids, asks


def load_faults(path: str | Path | None) -> Faults:
    """The script in a file; the default one without."""
    return Faults.default() if path is None else Faults.load(path)
