"""Assembly: one part of each stage, joined into a handler, started, stopped.

`Handler(config)` is what `feedhandler run` runs: a hot thread that turns packets into books, and beside it the threads
that serve readers and servers. `run_capture(path)` sends a file through the very same parts.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from feedhandler import decode, receive, session
from feedhandler._handler import Shard
from feedhandler._instruments import Instruments
from feedhandler.book import FAULTS, LevelBook, OrderBook
from feedhandler.capture_config import CaptureOptions
from feedhandler.closing import Closing
from feedhandler.config import RecoverySettings
from feedhandler.control import ControlThread
from feedhandler.counters import CHANNEL
from feedhandler.decode._text import TextDecoder
from feedhandler.decode.session_date import date_of, session_date, start_of
from feedhandler.decode.venue import venue
from feedhandler.errors import BackendError, CaptureError, FeedError
from feedhandler.line import Arbiter, Recovery, Resyncs, Splicer
from feedhandler.malformed import Malformed
from feedhandler.notes import Notes
from feedhandler.publish import Publisher, Segment, Waker
from feedhandler.receive import stream
from feedhandler.recording import ALL, Recording, Window, books
from feedhandler.recording.lines import framing_of
from feedhandler.records import Quality, Reason, TimestampKind
from feedhandler.recovery import Ladder, RecoveryControl, Sentences, Transports, transports
from feedhandler.session.websocket_control import WebSocketControl
from feedhandler.streams import framing_for, stream_controls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from feedhandler.book import Books
    from feedhandler.config import Channel, Config
    from feedhandler.decode import Protocol
    from feedhandler.decode._decoder import Decoder
    from feedhandler.handover import Handover
    from feedhandler.receive._receiver import Receiver

__all__ = ["CaptureResult", "Handler", "open_capture", "open_recording", "play", "run_capture"]

DAYS_BEFORE, DAYS_AFTER = 2, 400  # session dates are known this far around the start
SUSPECTED = (int(Quality.STALE), int(Reason.RESTART))  # a restart under the same session id that is not certain
NEVER_MS = 86_400_000  # of a protocol without heartbeats: a day of silence
TURNS_AT_ONCE = 256  # of a capture, between two looks at its progress
IDLE_SECONDS = 0.001  # between two looks at a recording that grows
HOUSE_SECONDS = 0.2  # between two looks at the receiver's word on its lines


class Handler(Closing):
    """A feed handler: all that `config` names, published in one segment.

    `receiver`: packets from there instead of the configured lines (a capture). `first_packet`: ns since the Unix epoch
    by which a capture's session is dated, 0 when it has no times. `anonymous`: a segment without a name. Use it as a
    context manager, or call `close()`.

    `transports`, by the name of the channel, recover in place of the servers that are configured (rehearsals, tests):
    no thread steps the `ladders` then, the caller does, with a clock of its own, between turns of the shard.

    `handover`: a recording to be played first, while the lines (those of `receiver`, if given) are open already.

    Raises BackendError when a way to the wire cannot be had, SegmentError when the segment cannot be made, ConfigError
    for what only now shows to be wrong.
    """

    def __init__(
        self,
        config: Config,
        *,
        receiver: Receiver | None = None,
        first_packet: int = 0,
        anonymous: bool = False,
        transports: Mapping[str, Transports] | None = None,
        handover: Handover | None = None,
    ) -> None:
        self.config = config
        self.handover = handover
        self.notes = Notes()
        """Sentences for people: the backend chosen and why, and what was granted less than asked."""
        self.error: BaseException | None = None
        self._live = receiver is None or handover is not None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._streams: list[ControlThread] = []
        self._websockets: WebSocketControl | None = None
        self._resyncs: dict[int, Resyncs] = {}
        self._housekeeper: threading.Thread | None = None
        self._sentences, self._details = Sentences(self.notes.append), Sentences(self.notes.append)
        self._transports = transports
        self._recovery: RecoveryControl | None = None
        self._framings = self._more_framings()
        """Of the live lines; the shard's, too, but for streams while a recording is played before them."""
        with contextlib.ExitStack() as stack:
            opened, self.backend = (receiver, "capture") if receiver is not None else self._open()
            if handover is not None:
                stack.callback(opened.close)
                opened = handover.around(opened, config, self._is_stream())
            self.receiver = stack.enter_context(opened)
            self.segment = stack.enter_context(self._make_segment(anonymous))
            self.publisher = Publisher(self.segment.memory)
            self.instruments = Instruments(self.segment.directory, self.segment.symbols, self.segment.part("directory"))
            moment = time.time_ns() if self._live else first_packet
            if handover is not None:
                moment = handover.first_ts or moment
            self._name()
            self.ladders: list[Ladder] = []
            """Of the channels that recover, in their order."""
            self._parts = [self._channel(number, channel, moment) for number, channel in enumerate(config.channels)]
            arbiters = [arbiter for arbiter, *_ in self._parts]
            names = [channel.name for channel in config.channels]
            self._malformed = Malformed(names, arbiters, self.segment.lines, self.notes.append)
            numbers = [number for number, channel in enumerate(config.channels) for _ in channel.lines]
            run = config.handler
            before = handover is not None and self._is_stream()
            framings = self._more_framings() if before else self._framings
            self.shard = Shard(
                self.receiver,
                self.publisher,
                list(zip(framings, numbers, strict=True)),
                self._parts,
                wait=run.wait,
                spin_us=run.spin_us,
                latency_sample=run.latency_sample if self._live and handover is None else 0,
            )
            if handover is not None:
                live = self._framings if before else self._more_framings()
                handover.join(framings, self._more_framings(), live, numbers, arbiters, self.publisher)
                if before:
                    handover.receiver.lead(self.shard)
            for number, channel in enumerate(config.channels):
                protocol = decode.protocol(channel.protocol)
                day = session_date(protocol, stated=channel.date, first_packet=moment)
                if day is not None:
                    self.shard.set_date(number, *start_of(protocol, day))
            self._stack = stack.pop_all()

    # -- assembly ------------------------------------------------------------------------------------------------------

    def _open(self) -> tuple[Receiver, str]:
        """The receiver of the configured lines, and its name and mode: UDP by the backend asked for, or streams."""
        if self._is_stream():
            return stream.receiver(len(self._framings)), "stream"
        if any(framing.stream for framing in self._framings):
            raise BackendError(
                "a handler takes either datagram or stream channels, not both: give each kind its own configuration"
            )
        choice = receive.choose.configured(self.config, self.notes)
        return choice.receiver, choice.backend

    def _more_framings(self) -> list[session.Framing]:
        return [framing_for(channel, line) for channel in self.config.channels for line in channel.lines]

    def _make_segment(self, anonymous: bool) -> Segment:
        config = self.config
        lines = sum(len(channel.lines) for channel in config.channels)
        sizes: dict[str, Any] = {
            "depth": config.books.depth,
            "instruments": config.books.instruments,
            "channels": len(config.channels),
            "lines": lines,
            "ring_events": config.ring.events,
            "backend": self.backend,
        }
        if anonymous:
            return Segment.anonymous(**sizes)
        shm = config.shm
        return Segment.create(shm.name, dir=shm.dir, mode=shm.mode, group=shm.group, **sizes)

    def _name(self) -> None:
        """Write the names of channels and lines into their tables."""
        first = 0
        for number, channel in enumerate(self.config.channels):
            record = self.segment.channels[number]
            record["name"], record["protocol"] = channel.name.encode(), channel.protocol.encode()
            record["first_line"], record["lines"] = first, len(channel.lines)
            for line in channel.lines:
                entry = self.segment.lines[first]
                entry["name"], entry["channel"] = line.name.encode(), number
                if not self._live:
                    entry["ts_kind"] = TimestampKind.FILE
                first += 1
        self.segment.part("channels")["used"] = len(self.config.channels)
        self.segment.part("lines")["used"] = first

    def _channel(
        self, number: int, channel: Channel, moment: int
    ) -> tuple[Arbiter, Decoder, Books, list[tuple[int, int]]]:
        """Arbiter, decoder and books of one channel, and the local days around `moment`."""
        protocol = decode.protocol(channel.protocol)
        decoder = decode.decoder(channel.protocol, self.instruments, number, channel.venue)
        first = int(self.segment.channels[number]["first_line"])
        silence_ms = channel.silence_ms or 3 * self._heartbeat_ms(channel, first) or NEVER_MS
        if channel.websocket:
            return (
                self._spliced(number, channel, decoder, silence_ms),
                decoder,
                self._level_book(True),
                _days(protocol, moment),
            )
        recovery, window_messages = self._recover(number, channel, silence_ms)
        arbiter = Arbiter(
            len(channel.lines),
            first_line=first,
            reorder_us=channel.reorder_us,
            window_messages=window_messages,
            silence_ms=silence_ms,
            skew_ms=channel.skew_ms,
            offline=not self._live,
            decoder=decoder,
            recovery=recovery,
        )
        books: Books
        sizes = self.config.books
        if protocol.book == "orders":
            books = OrderBook(
                self.segment.books,
                depth=sizes.depth,
                orders=sizes.orders,
                policy=self._policy(),
                crossed_ms=sizes.crossed_ms,
                price_quantum=10 ** (-protocol.price_exponent - protocol.price_decimals),
            )
        else:
            books = self._level_book()
        return arbiter, decoder, books, _days(protocol, moment)

    def _policy(self) -> int:
        """The faults that turn a book STALE: those chosen, and what cannot be chosen away."""
        always = FAULTS["MALFORMED"] | FAULTS["CHECKSUM"]
        return sum(FAULTS[fault.upper()] for fault in set(self.config.books.stale_on)) | always

    def _level_book(self, by_snapshot: bool = False) -> LevelBook:
        sizes = self.config.books
        return LevelBook(
            self.segment.books,
            depth=sizes.depth,
            policy=self._policy(),
            crossed_ms=sizes.crossed_ms,
            by_snapshot=by_snapshot,
        )

    def _heartbeat_ms(self, channel: Channel, first: int) -> int:
        """Something is heard of a line of the channel at least so often; 0 = nobody says."""
        if channel.websocket:
            return round(1000 * max(1.0, venue(channel.protocol).heartbeat.every_s))
        return self._framings[first].heartbeat_ms

    def _spliced(self, number: int, channel: Channel, decoder: Decoder, silence_ms: int) -> Arbiter:
        """The line stage of a channel of JSON texts, whose last line is the control line."""
        assert isinstance(decoder, TextDecoder)
        if self._live:
            self._resyncs[number] = Resyncs()
        splicer = Splicer(
            len(channel.lines),
            first_line=int(self.segment.channels[number]["first_line"]),
            reorder_us=channel.reorder_us,
            silence_ms=silence_ms,
            decoder=decoder,
            resyncs=self._resyncs.get(number),
        )
        return cast("Arbiter", splicer)  # in all that a shard asks of one

    def _recover(self, number: int, channel: Channel, silence_ms: int) -> tuple[Recovery | None, int]:
        """The hot thread's end of a channel's recovery, if it has one, and the messages that may wait."""
        if self._transports is not None:
            ways = self._transports.get(channel.name)
            rng = random.Random(channel.name)  # stepped by hand, it is to be repeatable
        else:
            ways = transports(channel.recovery) if self._live and channel.recovery is not None else None
            rng = random.Random()
        if ways is None:
            return None, channel.window_messages
        settings = channel.recovery or RecoverySettings()
        recovery = Recovery(snapshot=bool(ways.snapshots), gap_limit=settings.gap_limit)
        record = self.segment.channels[number]
        counters = record["counters"]
        first = int(record["first_line"])
        lines = self.segment.lines["next_seq"][first : first + len(channel.lines)]
        faults = [i for i, c in enumerate(CHANNEL) if c.name in ("unknown_order", "duplicate_order")]
        self.ladders.append(
            Ladder(
                recovery,
                settings,
                ways.requests,
                ways.snapshots,
                rng,
                framing=framing_of(channel),
                state=lambda: (int(record["epoch"]), int(record["next_seq"])),
                horizon=lambda: int(lines.max()),
                faults=lambda: sum(int(counters[i]) for i in faults),
                suspected=lambda: (int(record["quality"]), int(record["reason"])) == SUSPECTED,
                session=lambda: bytes(record["session"]).ljust(16, b"\0"),
                doubt_s=silence_ms / 1000,
                note=self._sentences,
                detail=self._details,
                name=channel.name,
            )
        )
        return recovery, max(settings.window_messages, channel.window_messages)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the hot thread, and the thread that wakes sleeping readers. Returns at once."""
        if self._thread is not None:
            raise FeedError("this handler has been started before; make a new one")
        run = self.config.handler
        if run.lock_memory:
            receive.lock_memory()
        if run.priority:
            self.notes.append(receive.starved(run.wait, run.cpu))
        self._stack.enter_context(Waker(self.segment, run.wake_us))
        if self._live and self._is_stream():
            self._make_streams()
            for control in self._streams:
                if self.handover is None or control is self._websockets:
                    control.start()
        if self.ladders and self._transports is None:
            self._recovery = RecoveryControl(self.ladders, self.notes.append)
            self._recovery.start()
        if self.handover is not None:
            self.handover.start(self._went_live, self.notes.append, self._sessions)
        self._housekeeper = threading.Thread(target=self._keep_house, name="feedhandler-house", daemon=True)
        self._housekeeper.start()
        self._thread = threading.Thread(target=self._hot, name="feedhandler-hot", daemon=True)
        self._thread.start()
        return self

    def _went_live(self) -> None:
        """The recording is over, and packets are those of the lines: their latency means something."""
        self.shard.measure(self.config.handler.latency_sample)
        for control in self._streams:
            if control is not self._websockets:
                control.start()

    def _sessions(self) -> list[str]:
        """The session of each line's channel."""
        channels = self.segment.channels
        return [channels[int(line["channel"])]["session"].decode("latin1").strip() for line in self.segment.lines]

    def _hot(self) -> None:
        try:
            run = self.config.handler
            receive.pin(run.cpu)
            receive.prioritise(run.priority)
            self.shard.run()
        except BaseException as error:
            self.error = error
        finally:
            self.segment.stop()  # however it ended: from here on the books only grow old
            self._ended.set()

    def _keep_house(self) -> None:
        """Bring what the receiver says of its lines into the line table, until the hot thread has ended."""
        while True:
            self.show_malformed()
            for number, record in enumerate(self.segment.lines):
                status = self.receiver.line_status(number)
                record["ts_kind"], record["receive_buffer"] = status["ts_kind"], status["receive_buffer"]
            if self._ended.wait(HOUSE_SECONDS):
                return

    def show_malformed(self) -> None:
        """A note of a malformed message of each channel that has had any, now and then."""
        self._malformed.show()

    def _is_stream(self) -> bool:
        return all(framing.stream for framing in self._framings)

    def _stream_receiver(self) -> stream.StreamReceiver:
        receiver = self.receiver if self.handover is None else self.handover.receiver.live
        assert isinstance(receiver, stream.StreamReceiver)
        return receiver

    def _make_streams(self) -> None:
        """The control threads: one of all sessions that log in, one of all WebSockets."""
        wishes = {number: resyncs.take for number, resyncs in self._resyncs.items()}
        handover = self.handover  # and not self: a handler that is closed and let go gives its memory back at once
        made = stream_controls(
            self.config,
            self._stream_receiver(),
            self._framings,
            self.segment,
            self.instruments,
            wishes,
            self.notes,
            self._sentences,
            lambda: handover is None or handover.receiver.state in ("live", "present"),
        )
        self._streams = made
        self._websockets = next((control for control in made if isinstance(control, WebSocketControl)), None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the hot thread: True when it has ended. Raises what ended it, if that was an error."""
        ended = self._ended.wait(timeout)
        if ended and self.error is not None:
            raise self.error
        return ended

    def run(self, seconds: float | None = None) -> None:
        """Start, and wait for `seconds`, for stop(), or for the end of the input. Raises what the hot thread raised."""
        self.start()
        self.wait(seconds)
        self.stop()

    def stop(self) -> None:
        """End the hot thread after the packet it is at, and the connections. Stopping twice is harmless."""
        self.shard.stop()
        if self.handover is not None:
            self.handover.stop()
        for control in self._streams:
            control.stop()
        if self._recovery is not None:
            self._recovery.stop()
        for thread in (self._thread, self._housekeeper):
            if thread is not None:
                thread.join()

    def go_on(self, receiver: Receiver) -> None:
        """Take packets from this receiver from now on; the one before is closed. Not while the hot thread runs."""
        self.shard.go_on(self._stack.enter_context(receiver))
        self.receiver.close()
        self.receiver = receiver

    def close(self) -> None:
        """Stop, and give up the segment: readers see that the writer has stopped."""
        self.stop()
        self._stack.close()

    def status(self) -> dict[str, Any]:
        """What is in effect: backend, lines with their buffers and time stamps, notes for people."""
        lines = []
        for entry in self.segment.lines:
            lines.append(
                {
                    "name": entry["name"].decode(),
                    "channel": self.config.channels[int(entry["channel"])].name,
                    "timestamps": TimestampKind(int(entry["ts_kind"])).name,
                    "receive_buffer": int(entry["receive_buffer"]),
                }
            )
        return {
            "segment": self.segment.name,
            "backend": self.backend,
            "wait": self.config.handler.wait,
            "cpu": list(self.config.handler.cpu),
            "priority": self.config.handler.priority,
            "lines": lines,
            "recovery": {ladder.name: {"rung": ladder.rung.value, **ladder.stats} for ladder in self.ladders},
            "connections": self._websockets.status() if self._websockets is not None else {},
            "handover": asdict(self.handover.progress()) if self.handover is not None else None,
            "notes": list(self.notes),
        }

    def book(self, instrument: int) -> tuple[np.void, NDArray[np.void], NDArray[np.void]]:
        """(head, bids, asks) of one instrument's book as it stands, levels in use only: BOOK, LEVEL, LEVEL; copies.

        For use while the hot thread does not run, as between steps of a capture; others attach and use snapshot().
        """
        channel = int(self.segment.directory[instrument]["channel"])
        return self._parts[channel][2].book(instrument)

    @property
    def decoders(self) -> list[Decoder]:
        """Of each channel, in their order."""
        return [decoder for _, decoder, _, _ in self._parts]

    @property
    def types(self) -> dict[str, int]:
        """Messages decoded so far, by type character."""
        total: dict[str, int] = {}
        for _, decoder, _, _ in self._parts:
            for kind, count in decoder.counts.items():
                total[kind] = total.get(kind, 0) + count
        return dict(sorted(total.items()))


def _days(protocol: Protocol, moment: int) -> list[tuple[int, int]]:
    """The local days around `moment` as (first ns, yyyymmdd), ascending; none when no time is known."""
    if not moment:
        return []
    first = date_of(moment, protocol.clock.zone) - timedelta(days=DAYS_BEFORE)
    days = (first + timedelta(days=n) for n in range(DAYS_BEFORE + DAYS_AFTER))
    return [start_of(protocol, day) for day in days]


@dataclass(frozen=True)
class CaptureResult:
    """What became of a capture. The handler is kept: its segment holds the books."""

    handler: Handler
    messages: int
    types: dict[str, int]
    error: CaptureError | None
    """Why the file could not be read to its end; all that was whole before the damage has gone through."""

    @property
    def segment(self) -> Segment:
        """The segment with the final books, events and counters."""
        return self.handler.segment


def run_capture(
    path: str | Path,
    protocol: str | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[CaptureOptions],
) -> CaptureResult:
    """A recording through handler and shared memory, as fast as it goes.

    `protocol` is recognised where it can be, when not given; `options` are those of CaptureOptions. `progress` is
    called now and then with the bytes read so far. Close `result.handler` when done. Raises ConfigError when the
    protocol is not known, CaptureError when the file is no capture at all; damage further on stands in `result.error`.
    """
    handler = open_capture(path, protocol, **options)
    try:
        error = play(handler, progress)
    except BaseException:
        handler.close()
        raise
    return CaptureResult(handler, sum(handler.types.values()), handler.types, error)


def open_capture(path: str | Path, protocol: str | None = None, **options: Unpack[CaptureOptions]) -> Handler:
    """A handler whose packets come from a recording, not yet started; arguments and errors as of `run_capture`."""
    return open_recording(Recording(path, protocol=protocol), **options)


def open_recording(
    recording: Recording | str | Path,
    window: Window = ALL,
    protocol: str | None = None,
    *,
    channels: Iterable[str] | None = None,
    follow: bool = False,
    **options: Unpack[CaptureOptions],
) -> Handler:
    """A handler whose packets come from a recording, not yet started: `play()` it, or `start()` it.

    `recording`: one that is open, or its path; of a path, `protocol` says what cannot be recognised. `window`,
    `channels` and `follow` as of `Recording.receiver`, `options` those of CaptureOptions. Where the window begins
    later than the recording, what came before has taken effect: books and events go on as if it had been played from
    the beginning, which it is where there is no book snapshot to begin with (`recording.books`). Raises ConfigError
    when there is no line of a known protocol, CaptureError when the path is no recording at all.
    """
    if not isinstance(recording, Recording):
        recording = Recording(recording, protocol=protocol)
    elif protocol is not None and protocol != recording.protocol:
        recording = Recording(*recording.paths, protocol=protocol)
    config = recording.config(channels=channels, **options)
    names = [channel.name for channel in config.channels]
    first = recording.first_ts or (time.time_ns() if follow else 0)  # a day that has just begun
    opened, anonymous = recording, not options.get("name")

    def handler(part: Window) -> Handler:
        receiver = opened.receiver(part, follow=follow, channels=names)
        return Handler(config, receiver=receiver, first_packet=first, anonymous=anonymous)

    if window.start is None or not opened.first_ts or window.start <= first:
        return handler(window)
    return books.begun(opened, window, handler)


def play(handler: Handler, progress: Callable[[int], None] | None = None) -> CaptureError | None:
    """Run a recording's handler to the end of its input; the error of a file that is damaged further on.

    A recording that is followed goes on until it is complete, or `handler.receiver.stop_following()`.
    """
    receiver: Any = handler.receiver
    taken = -1
    while not handler.shard.turn_many(TURNS_AT_ONCE):
        if progress is not None:
            progress(receiver.offset)
        if taken == (taken := handler.shard.packets_taken):
            receiver.wait_for(IDLE_SECONDS)
    handler.shard.finish()
    handler.show_malformed()
    error: CaptureError | None = receiver.error
    return error
