"""The control thread of channels that are JSON over WebSockets, of handler and recorder alike.

Of each channel it leads the lives of its lines, answers the hot thread's wishes (a snapshot over REST, a subscription
made anew), and speaks on the control line: what REST answered and how the connections do, so that a recording of the
lines is all that a handler needs.
"""

from __future__ import annotations

import random
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from feedhandler.control import ControlThread
from feedhandler.decode.venue import Feed, Venue
from feedhandler.errors import SessionError
from feedhandler.records import Cause, Connection
from feedhandler.recovery.pace import TokenBucket, full_jitter
from feedhandler.recovery.rest import HttpTransport, RestQueue
from feedhandler.session.control_line import ControlLine
from feedhandler.session.resync import Kind, ResyncControl, Wanted, Wish
from feedhandler.session.websocket import BrokenError
from feedhandler.session.websocket_life import Life

if TYPE_CHECKING:
    from feedhandler.config import Channel
    from feedhandler.receive.stream import StreamReceiver
    from feedhandler.session.websocket_lines import VenueLine

__all__ = ["ChannelControl", "WebSocketControl", "rest_queue"]

LONGEST_STEP_S = 0.02  # between two looks at what the hot thread wishes: it makes no system call, so nobody wakes us
DIRECTORY_S = 5.0  # the lines wait so long for the instruments' ticks and lots, and then go without
NUDGE_S, NUDGE_MAX_S = 5.0, 300.0  # a book of which nothing comes is asked for after so long, wished or not, and again
BEAT_FACTOR, BEAT_LEAST_S = 1.5, 2.0  # of the venue's heartbeat
NEVER = float("inf")

Answer = TypeVar("Answer", bytes, BrokenError)


@dataclass
class _Ear:
    heard: float
    pinged: float
    count: int = -1


class ChannelControl:
    """One channel's connections, snapshots and control line, as a machine: `step(now)`, `now` of time.monotonic().

    `wishes` takes what the hot thread wants; None: nobody wishes (a recorder), and every new connection has all books
    fetched once. `symbol_of` gives the symbol of an instrument's number, `missing` those of which no book is there
    yet.
    """

    def __init__(
        self,
        name: str,
        venue: Venue,
        feed: Feed,
        lines: Sequence[VenueLine],
        control: ControlLine,
        rest: RestQueue,
        *,
        rest_url: str = "",
        wishes: Callable[[], Sequence[Wish]] | None = None,
        symbol_of: Callable[[int], str] = lambda number: "",
        missing: Callable[[], Sequence[str]] = lambda: (),
        beat_s: float = 0.0,
        note: Callable[[str], None] = lambda sentence: None,
        rng: random.Random | None = None,
    ) -> None:
        self.name, self.venue, self.feed, self.lines, self.control, self.rest = name, venue, feed, lines, control, rest
        self._rest_url, self._wishes, self._symbol_of, self._missing = rest_url, wishes, symbol_of, missing
        if wishes is None:
            self._symbol_of = lambda number: feed.symbols[number - 1]
        self._note = note
        self._random = rng or random.Random()
        beat = beat_s or max(BEAT_LEAST_S, venue.heartbeat.every_s * BEAT_FACTOR)
        self.lives = [
            Life(
                line,
                beat_s=beat,
                ask_s=venue.heartbeat.ask_every_s if venue.heartbeat.ask else 0.0,
                lifetime_s=venue.limits.lifetime_s,
                rng=self._random,
            )
            for line in lines
        ]
        for line in lines:
            line.told = self._teller(line)
        self.resync = ResyncControl(self._ask, self._give_up, self._replace, rng=self._random)
        self._connections = [0] * len(lines)
        self._begun: float | None = None
        self._described = False
        self._nudge, self._nudges = NEVER, 0
        self._said: dict[int, str] = {}
        self.error: Exception | None = None
        """Why it is led no more."""
        self._fault: Exception | None = None  # of ours, on an answer's way
        self._stands: list[Connection] = []  # of a channel that is led no more: its lines, as last said
        self._ears: dict[int, _Ear] = {}  # ... and what was heard of them

    def step(self, now: float) -> float:
        """Do what is due; the time of the next step at the latest."""
        if self._begun is None:
            self._begin(now)
        assert self._begun is not None
        due = self.rest.step(now)
        if self._fault is not None:
            raise self._fault
        self.control.check()
        if self._described or now >= self._begun + DIRECTORY_S:
            for number, (line, life) in enumerate(zip(self.lines, self.lives, strict=True)):
                due = min(due, life.step(now))
                line.tend(now)
                if life.connections != self._connections[number]:
                    self._connections[number] = life.connections
                    self._connected(number, now)
                self._say(number, life)
        if self._wishes is not None:
            self.resync.take(self._wishes(), now)
        if now >= self._nudge:
            self._nudge = NEVER
            self._nudge_all(now)
        due = min(due, self.resync.step(now), self._nudge)
        if not self.control.flush():
            due = min(due, now + 0.001)
        return due

    def abandon(self, error: Exception) -> None:
        """It is led no more: what flows goes on, and a book that needs help stays STALE.

        The control line says so: a line that is not DISCONNECTED and yet STOPPED. Where nothing can be said, the lines
        are cut, so that their books do not seem to be kept.
        """
        self.error = error
        self._note(f"channel {self.name}: its connections are led no more: {error!r}")
        for line, life in zip(self.lines, self.lives, strict=True):
            flows = life.state in (Connection.SYNCHRONIZING, Connection.CONNECTED, Connection.STALE)
            state = life.state if flows and life.connections and not line.down() else Connection.DISCONNECTED
            self._stands.append(state)
            line.cancel()
            self.control.life(line.index, life.state, state, Cause.STOPPED, time.time_ns())
            if self.control.broken:
                line.hang_up()

    def linger(self, now: float) -> None:
        """What is left to be done for a channel that is led no more. Who says nothing is ended here, too."""
        self.control.flush()
        if self._wishes is not None:
            self._wishes()  # nobody hears them
        for number, line in enumerate(self.lines):
            line.tend(now)
            before = self._stands[number]
            if before is Connection.DISCONNECTED:
                continue
            if line.down():
                self._stands[number] = Connection.DISCONNECTED
                self.control.life(line.index, before, Connection.DISCONNECTED, Cause.STOPPED, time.time_ns())
                continue
            ear = self._ears.setdefault(number, _Ear(now, now))
            if (count := line.received()) != ear.count:
                ear.count, ear.heard = count, now
            beat = self.lives[number].beat_s
            if now - ear.heard >= beat * self.lives[number].misses:
                line.hang_up()
            elif now - max(ear.heard, ear.pinged) >= beat / 2:
                ear.pinged = now
                line.ping()

    def stop(self) -> None:
        """Say goodbye to the venue."""
        for life in self.lives:
            life.stop()

    def close(self) -> None:
        """Give back what is held."""
        for line in self.lines:
            line.release()
        self.control.close()

    def status(self, now: float) -> dict[str, Any]:
        """What a person may want to know: of each line its state, what is asked for, and how REST does."""
        return {
            "lines": {
                line.config.name: {
                    "state": life.state.name,
                    "reason": life.cause.name,
                    "connections": life.connections,
                    "replaced": life.replaced,
                    "attempts": life.attempts,
                    "error": self._trouble(line, life),
                }
                for line, life in zip(self.lines, self.lives, strict=True)
            },
            "led": self.error is None,
            "dropped": self.control.dropped,
            "resync": {**self.resync.counts, "open": len(self.resync.open)},
            "rest": self.rest.status(now),
        }

    # -- within ----------------------------------------------------------------------------------------------------

    def _teller(self, line: VenueLine) -> Callable[[Connection, Connection, Cause], None]:
        def tell(before: Connection, state: Connection, cause: Cause) -> None:
            self.control.life(line.index, before, state, cause, time.time_ns())

        return tell

    def _begin(self, now: float) -> None:
        self._begun = now
        self.control.open()
        request = self.venue.instruments(self.feed, self._rest_url)
        self.rest.ask(request, self._guarded(self._directory), self._guarded(self._no_directory), (self, ""))

    def _guarded(self, hear: Callable[[Answer], None]) -> Callable[[Answer], None]:
        """One that raises nothing: the queue is not ours alone. What went wrong our own step() raises."""

        def heard(said: Answer) -> None:
            if self.error is None and self._fault is None:
                try:
                    hear(said)
                except Exception as error:
                    self._fault = error

        return heard

    def _directory(self, body: bytes) -> None:
        try:
            text = self.venue.instruments_text(self.feed, body)
            if not self.control.say(text):
                raise SessionError(f"no room for {len(text)} bytes that describe the instruments")
        except SessionError as error:
            self._no_directory(error)
        self._described = True

    def _no_directory(self, error: Exception) -> None:
        self._note(
            f"channel {self.name}: instruments cannot be described: {error}; they have the protocol's "
            "exponents, no tick and no lot"
        )
        self._described = True

    def _connected(self, number: int, now: float) -> None:
        """The line has a new connection."""
        self.resync.forget(number)
        self._nudge, self._nudges = now + NUDGE_S, 0
        if self._wishes is None and self.venue.snapshots == "rest":
            self.resync.anew()  # else they would wait, as for books that do not last
            self.resync.take([Wanting(Kind.SNAPSHOT, n) for n in range(1, len(self.feed.symbols) + 1)], now)

    def _nudge_all(self, now: float) -> None:
        """Books that have not begun: nobody wishes for what nothing has come of."""
        missing = self._missing()
        for symbol in missing:
            if not self._fetch(symbol, 0):
                for line in self.lines:
                    line.resubscribe((symbol,))
        if missing:
            self._nudges += 1
            self._nudge = now + NUDGE_S + full_jitter(self._random, NUDGE_S, self._nudges, NUDGE_MAX_S)

    def _ask(self, wanted: Wanted) -> bool:
        """Fetch a snapshot, or subscribe anew."""
        symbols = self.feed.symbols if not wanted.instrument else (self._symbol_of(wanted.instrument),)
        if wanted.subscribe:
            return wanted.line < len(self.lines) and self.lines[wanted.line].resubscribe(symbols)
        return all(self._fetch(symbol, wanted.instrument) for symbol in symbols if symbol)

    def _fetch(self, symbol: str, instrument: int) -> bool:
        request = self.venue.snapshot(self.feed, symbol, self._rest_url)
        if request is None:
            return False

        def done(body: bytes) -> None:
            try:
                text = self.venue.depth_text(symbol, body)
            except SessionError as error:
                failed(BrokenError(str(error), Cause.PROTOCOL))
                return
            if not self.control.say(text):
                failed(BrokenError(f"no room on the control line for {len(text)} bytes", Cause.OVERLOADED))
                return
            if self._wishes is None:
                self.resync.take([Wanting(Kind.OVER, instrument)], time.monotonic())

        def failed(error: BrokenError) -> None:
            self._note(f"channel {self.name}: no snapshot of {symbol}: {error}")
            self.resync.failed(instrument, time.monotonic())

        self.rest.ask(request, self._guarded(done), self._guarded(failed), (self, symbol))
        return True

    def _give_up(self, line: int) -> None:
        error = BrokenError("subscribing anew did not bring a book back", Cause.RESYNC)
        self.lives[line].restart(error)

    def _replace(self, line: int) -> None:
        if line < len(self.lines):
            self.lines[line].replace_soon()

    @staticmethod
    def _trouble(line: VenueLine, life: Life) -> str:
        error = life.error  # once: status() is asked on other threads
        return str(error) if error is not None else line.unsigned

    def _say(self, number: int, life: Life) -> None:
        """Each trouble of a line once, until it is another one."""
        sentence = self._trouble(self.lines[number], life)
        if self._said.get(number, "") != sentence:
            self._said[number] = sentence
            if sentence:
                self._note(f"line {self.name}/{self.lines[number].config.name}: {sentence}")


class Wanting(NamedTuple):
    """A wish of our own."""

    kind: int
    instrument: int
    line: int = 0


class Doors:
    """How often connections may be attempted, over all lines that go to the same place."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}

    def may(self, url: str, venue: Venue, now: float) -> bool:
        """One attempt, if the venue's limit allows it."""
        limits = venue.limits
        if not limits.connections:
            return True
        bucket = self._buckets.get(url)
        if bucket is None:
            rate = limits.connections / limits.connections_s
            bucket = self._buckets[url] = TokenBucket(rate, float(limits.connections))
        return bucket.take(now)


def rest_queue(channel: Channel, venue: Venue) -> RestQueue:
    """The queue of a channel's REST service. The authorities that the lines trust are trusted there, too."""
    ca = tuple(dict.fromkeys(line.ca for line in channel.lines if line.ca))
    return RestQueue(HttpTransport(ca), venue.rest_limit)


class WebSocketControl(ControlThread):
    """Steps the channels, from start() to stop(), which says goodbye on all connections."""

    def __init__(
        self, receiver: StreamReceiver, channels: Sequence[ChannelControl], note: Callable[[str], None]
    ) -> None:
        super().__init__("feedhandler-websockets")
        self.receiver, self.channels = receiver, list(channels)
        doors = Doors()
        for channel in channels:
            for line in channel.lines:
                line.door = doors.may
        self._note = note
        self._said: set[str] = set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            now = time.monotonic()
            due = now + LONGEST_STEP_S
            for channel in self.channels:
                due = min(due, self._step(channel, now))
            self._wait(due - time.monotonic())
        for channel in self.channels:
            self._despite(channel.name, channel.stop)
        end = time.monotonic() + 0.2  # for the goodbyes
        while time.monotonic() < end and not all(line.down() for c in self.channels for line in c.lines):
            for channel in self.channels:
                channel.control.flush()
            time.sleep(0.005)
        for channel in self.channels:
            self._despite(channel.name, channel.close)
        for rest, name in {id(channel.rest): (channel.rest, channel.name) for channel in self.channels}.values():
            self._despite(name, rest.close)
        self.receiver.finish()

    def _step(self, channel: ChannelControl, now: float) -> float:
        """Lead one channel; a fault of ours is that channel's alone."""
        if channel.error is not None:
            self._despite(channel.name, channel.linger, now)
            return NEVER
        try:
            return channel.step(now)
        except Exception as error:
            self._despite(channel.name, channel.abandon, error)
            return now

    def _despite(self, name: str, act: Callable[..., None], *about: object) -> None:
        """Do it; what it raises keeps nothing else from being done."""
        try:
            act(*about)
        except Exception as error:
            sentence = f"channel {name}: {error!r}"
            if sentence not in self._said:
                self._said.add(sentence)
                self._note(sentence)

    def _wait(self, seconds: float) -> None:
        """So long, or until there is room on a control line that waits for it."""
        full = [c.control.socket for c in self.channels if not c.control.flush()]
        sockets = [each for each in full if each is not None]
        seconds = max(0.0, min(seconds, LONGEST_STEP_S))
        if sockets:
            room = select.poll()  # select() takes no descriptor above 1023
            for each in sockets:
                room.register(each, select.POLLOUT)
            room.poll(seconds * 1000)
        else:
            self._stopping.wait(seconds)

    def status(self) -> dict[str, Any]:
        """Of each channel."""
        now = time.monotonic()
        return {channel.name: channel.status(now) for channel in self.channels}
