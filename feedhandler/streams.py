"""Stream lines of a handler: what the arbiter of their channel needs next, and what their framing makes of it.

And its channels of JSON over WebSockets: where their books stand, and what the hot thread wishes for them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from feedhandler import records, session
from feedhandler.counters import LINE
from feedhandler.decode.venue import Feed, venue
from feedhandler.recording.lines import framing_of
from feedhandler.recovery.rest import RestQueue
from feedhandler.session._websocket import WebSocketFraming
from feedhandler.session.control_line import TEXT_MAX, ControlLine
from feedhandler.session.resync import Wish
from feedhandler.session.stream_lines import StreamControl, StreamLine
from feedhandler.session.websocket_control import ChannelControl, WebSocketControl, rest_queue
from feedhandler.session.websocket_lines import VenueLine
from feedhandler.venue_config import CONTROL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from feedhandler._instruments import Instruments
    from feedhandler.config import Channel, Config, Line
    from feedhandler.control import ControlThread
    from feedhandler.publish import Segment
    from feedhandler.receive.stream import StreamReceiver
    from feedhandler.session import Framing

BAD_PACKETS = [counter.name for counter in LINE].index("bad_packets")
LOOKS = 1000  # at a session's name and number, which change within nanoseconds
LINE_ENDED = 3  # LineRecord.state: the server has said that the session is over


class HandledStream(StreamLine):
    """The line of a handler."""

    def __init__(
        self,
        number: int,
        config: Line,
        receiver: StreamReceiver,
        framing: Framing,
        channel: NDArray[np.void],
        record: NDArray[np.void],
    ) -> None:
        super().__init__(number, config, receiver)
        self.framing, self._channel, self._record = framing, channel, record
        self._session = config.requested_session

    def wanted(self) -> tuple[str, int]:
        """The session that the channel is in and the next number it needs; at first, what is configured."""
        for _ in range(LOOKS):
            present, number = bytes(self._channel["session"]), int(self._channel["next_seq"])
            if number and present == bytes(self._channel["session"]):  # else they were changing: 0, name, 1
                break
        else:
            number = 1
        name = present.decode("latin1").strip("\0 ")
        return (name, number) if name else (self._session, 1)

    def prepare(self, sock: socket.socket) -> None:
        """The framing counts anew."""
        self.framing.begin_connection()

    def received(self) -> int:
        """Runs of bytes received so far that the framing could make something of.

        What it cannot read is no sign of life: a connection of which the framing has lost its place is to be ended.
        """
        bad = int(self._record["counters"][BAD_PACKETS])
        return max(0, int(self.receiver.counts(self.number)["packets"]) - bad)

    def ended(self) -> bool:
        """The server has said that the session is over."""
        return bool(self._record["state"] == LINE_ENDED)


def framing_for(channel: Channel, line: Line) -> Framing:
    """What cuts a line's packets into messages; of a WebSocket, within the size that is configured."""
    if channel.websocket:
        largest = TEXT_MAX if line.name == CONTROL else channel.max_message_bytes
        return session.framing(channel.session, max_message_bytes=largest)
    return framing_of(channel)


class HandledVenueLine(VenueLine):
    """A WebSocket line of a handler."""

    books: Books
    record: NDArray[np.void]

    def prepare(self, sock: socket.socket) -> None:
        """The framing begins with the head of the response. One that is in use the hot thread will reset."""
        if not self.taken() or self.down():
            self.framing.begin_connection()

    def takes_over(self) -> bool:
        """All is confirmed on the new connection, so from here on it brings what the old one does."""
        return self._attempt is not None and self._attempt.confirmed and self.books.live()

    def announced(self) -> bool:
        """The line stage has heard it on the control line, and the connection that it is about has been taken."""
        stands = int(self.record["connection"]), int(self.record["connection_reason"])
        known = stands == (records.Connection.SYNCHRONIZING, records.Cause.PLANNED)
        return known and self.taken() and not (self.down() or self.framing.violation or self.framing.close_code)

    def whole(self) -> bool:
        return self.books.whole()


class Books:
    """Where a channel's books stand, for the control thread: copies of single words, taken without a lock."""

    def __init__(
        self, channel: Channel, feed: Feed, segment: Segment, instruments: Instruments, live: Callable[[], bool]
    ) -> None:
        self._channel, self._feed, self._segment, self._instruments = channel, feed, segment, instruments
        self.live = live
        self._quality = int(records.BOOK.fields["quality"][1])  # type: ignore[index]
        self._wanted = any(stream in venue(channel.protocol).books for stream in feed.streams)

    def whole(self) -> bool:
        """Every book is LIVE, by live texts; of a channel without books, never: the venue's word confirms it."""
        return (
            self._wanted
            and self.live()
            and all(self._stands(symbol) == records.Quality.LIVE for symbol in self._feed.symbols)
        )

    def missing(self) -> list[str]:
        """The symbols of which no book has begun."""
        if not self._wanted:
            return []
        return [symbol for symbol in self._feed.symbols if self._stands(symbol) == records.Quality.INIT]

    def symbol(self, instrument: int) -> str:
        """Of an instrument of the directory, "" of another channel's."""
        found = self._instruments.symbol(instrument)
        return found if found in self._feed.symbols else ""

    def _stands(self, symbol: str) -> int:
        number = self._instruments.lookup(symbol, self._channel.venue)
        return int(self._segment.books[number, self._quality]) if number else int(records.Quality.INIT)


class RestServices:
    """One queue for each REST service, however many channels ask it: its limits are those of all."""

    def __init__(self) -> None:
        self._queues: dict[str, RestQueue] = {}

    def of(self, channel: Channel) -> RestQueue:
        """The queue of a channel's service."""
        known = venue(channel.protocol)
        url = channel.rest or known.rest
        if url not in self._queues:
            self._queues[url] = rest_queue(channel, known)
        return self._queues[url]


def channel_control(
    number: int,
    channel: Channel,
    receiver: StreamReceiver,
    framings: Sequence[Framing],
    segment: Segment,
    instruments: Instruments,
    rest: RestQueue,
    wishes: Callable[[], Sequence[Wish]],
    note: Callable[[str], None],
    live: Callable[[], bool],
) -> ChannelControl:
    """The control of one channel of a handler; `number` is the receiver's of its first line."""
    known = venue(channel.protocol)
    feed = known.feed(channel.symbols, channel.streams, channel.depth)
    books = Books(channel, feed, segment, instruments, live)
    if (seconds := known.first_books_s(feed)) >= 1.0:
        note(
            f"{channel.name}: the first snapshots of {len(feed.symbols)} symbols"
            + (f" at depth {feed.depth}" if feed.depth else "")
            + f" take some {seconds:.0f} s within the limits of {known.name}; books are LIVE one by one"
        )
    lines = []
    for index in range(len(channel.lines) - 1):
        made = framings[index]
        assert isinstance(made, WebSocketFraming)
        line = HandledVenueLine(number + index, index, channel, receiver, made, known, feed)
        line.books, line.record = books, segment.lines[number + index]
        lines.append(line)
    last = len(channel.lines) - 1
    return ChannelControl(
        channel.name,
        known,
        feed,
        lines,
        ControlLine(number + last, receiver, framings[last]),
        rest,
        rest_url=channel.rest,
        wishes=wishes,
        symbol_of=books.symbol,
        missing=books.missing,
        beat_s=channel.silence_ms / 1000,
        note=note,
    )


def stream_controls(
    config: Config,
    receiver: StreamReceiver,
    framings: Sequence[Framing],
    segment: Segment,
    instruments: Instruments,
    wishes: Mapping[int, Callable[[], Sequence[Wish]]],
    notes: list[str],
    sentences: Callable[[str], None],
    live: Callable[[], bool] = lambda: True,
) -> list[ControlThread]:
    """The control threads of a handler's stream lines: one of all sessions that log in, one of all WebSockets.

    `wishes`, by the number of the channel: takes what its hot thread wants. `live`: what the books show has come from
    these lines, and not from a recording before them.
    """
    services = RestServices()
    sessions: list[HandledStream] = []
    venues: list[ChannelControl] = []
    for number, channel in enumerate(config.channels):
        first = int(segment.channels[number]["first_line"])
        own = framings[first : first + len(channel.lines)]
        if channel.websocket:
            rest = services.of(channel)
            take = wishes[number]
            venues.append(
                channel_control(first, channel, receiver, own, segment, instruments, rest, take, sentences, live)
            )
            continue
        for i, (line, framing) in enumerate(zip(channel.lines, own, strict=True), first):
            sessions.append(HandledStream(i, line, receiver, framing, segment.channels[number], segment.lines[i]))
    made: list[ControlThread] = []
    if sessions:
        made.append(StreamControl(receiver, sessions, notes, alone=not venues))
    if venues:
        made.append(WebSocketControl(receiver, venues, notes.append))
    return made
