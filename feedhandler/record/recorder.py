"""A recorder: everything that a configuration's lines bring, into files.

    hot thread (Intake) ──ring──► writer (Encoder) ──blocks──► disk (Disk)

Each arrow is bounded and each thread waits only for the one behind it, but the hot thread, which waits for none: what
does not fit is counted, by line, and said in file and manifest.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from feedhandler import receive
from feedhandler.closing import Closing
from feedhandler.config import Config, Line
from feedhandler.control import ControlThread
from feedhandler.errors import FeedError, RecordingError
from feedhandler.notes import Notes
from feedhandler.receive import stream
from feedhandler.record import frames, lines, websockets
from feedhandler.record._encoder import (
    WHY_CONNECTION,
    WHY_END,
    WHY_FLUSH,
    WHY_FULL,
    WHY_IDLE,
    WHY_OVER,
    WHY_SIZE,
    WHY_STEP,
    WHY_TIME,
    Encoder,
)
from feedhandler.record._intake import Intake
from feedhandler.record.disk import BLOCK_BYTES, Disk
from feedhandler.record.keepers import Keepers
from feedhandler.record.periods import Periods
from feedhandler.record.streams import RecordedStream, Streamed
from feedhandler.recording._sequences import Sequences
from feedhandler.recording.manifest import FileLine
from feedhandler.records import TimestampKind
from feedhandler.session.stream_lines import StreamControl

if TYPE_CHECKING:
    from feedhandler.receive._receiver import Receiver

FLUSH_NS = 200_000_000  # what has come in is in the file so soon
SYNC_NS = 1_000_000_000  # and acknowledged, unless `sync` says otherwise
ALWAYS = -(2**63)
SEGMENT_BYTES = 1 << 12  # of a segment without payload, with all that may be said about it
STATISTICS_BYTES = 160  # of a line at the end of a file, at most


@dataclass(frozen=True, slots=True)
class Status:
    """What a recorder has done so far."""

    packets: int
    """Received, of all lines."""
    bytes: int
    """Of payloads."""
    lost: int
    """Received, and not recorded: no room to wait, or no room on the disk."""
    kernel_drops: int
    """Never received: the kernel or the NIC had no room."""
    written: int
    """Bytes of files."""
    files: int
    file: Path | None
    """The one that is being written, by its final name."""


class Recorder(Closing):
    """Records all lines of `config` into day folders below `folder`: start(), wait(), stop(), or a `with` block.

    `receiver`: packets from there instead of the configured lines; `clock`: ns since the Unix epoch, by which the first
    day is chosen, where those are of another. `notes` holds sentences for people.

    Raises BackendError when a way to the wire cannot be had, RecordingError when the folder cannot be written.
    """

    def __init__(
        self,
        config: Config,
        folder: str | Path,
        *,
        receiver: "Receiver | None" = None,
        write: Any = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.config, self.settings = config, config.record
        self.notes = Notes()
        self._clock = clock
        self.error: BaseException | None = None
        """What ended the recording before its time."""
        self.channels = lines.channels(config)
        self.lines = lines.recorded(self.channels)
        self._pcapng = self.settings.format == "pcapng"
        self._head = lines.head(self.lines, self._pcapng)
        self._periods = Periods(self.settings.zone, self.settings.rotate_s)
        self._threads: list[threading.Thread] = []
        self.streams: Sequence[Streamed] = []
        """Of a configuration of streams: its lines."""
        self._control: ControlThread | None = None
        self._ended = threading.Event()
        self._keepers = Keepers(self.settings.books_s, config.books, self.notes.append)
        with ExitStack() as stack:
            options: dict[str, Any] = {} if write is None else {"write": write}
            self.disk = Disk(
                Path(folder),
                config.shm.name,
                self.settings,
                self.channels,
                self._statistics,
                self._failed,
                self._keepers.begin,
                self.notes.append,
                **options,
            )
            self.sequences = self.new_sequences()
            self.disk.open_day(self._periods.day(clock()), self.sequences)
            stack.callback(self._close_disk)
            self.disk.mend_earlier()
            opened, self.backend = (self._given(receiver), "given") if receiver is not None else self._open()
            self.receiver = stack.enter_context(opened)
            run = config.handler
            self.intake = Intake(self.receiver, buffer_bytes=self._buffer_bytes(), wait=run.wait, spin_us=run.spin_us)
            self._encoder = Encoder(self.intake, self._pcapng, self.sequences)
            for number, line in enumerate(self.lines):
                if not line.line.stream:
                    source = (line.line.source, frames.SOURCE[1]) if line.line.source else frames.SOURCE
                    self._encoder.target(number, frames.udp_head((line.line.group, line.line.port), source))
            if self.settings.rotate_bytes:
                tail = STATISTICS_BYTES * len(self.lines) if self._pcapng else 0
                self._encoder.file_most = self.settings.rotate_bytes - tail
            self._stack = stack.pop_all()

    def new_sequences(self) -> Sequences:
        """What looks at numbers, and has seen none."""
        named = [(channel.name, channel.session, [line.name for line in channel.lines]) for channel in self.channels]
        limits = {c.name: {"max_message_bytes": c.max_message_bytes} for c in self.config.channels if c.websocket}
        reorder_us = max(channel.reorder_us for channel in self.config.channels)
        return Sequences(named, reorder_us=reorder_us, framing_options=limits)

    def _given(self, receiver: "Receiver") -> "Receiver":
        """A receiver that was given: of datagrams, since a stream's connections are known to whom makes them alone."""
        found = next((line for line in self.lines if line.line.stream), None)
        if found is not None:
            raise RecordingError(
                f"channel {found.channel}: a stream is recorded from its server, not from a receiver that is given: "
                "leave `receiver` out; a recording of streams is copied as its files are"
            )
        if receiver.lines != len(self.lines):
            raise RecordingError(
                f"the receiver that is given has {receiver.lines} lines, the configuration {len(self.lines)}: give the "
                "configuration that it was made for"
            )
        return receiver

    def _open(self) -> "tuple[Receiver, str]":
        """The receiver of the configured lines: UDP by the backend asked for, or streams."""
        config = self.config
        wanted = [line for channel in config.channels for line in channel.lines]
        streams = [line.line.stream for line in self.lines]
        if all(streams):
            receiver = stream.receiver(len(wanted))
            venues = [channel.websocket for channel in config.channels]
            if all(venues):
                self.streams, self._control = websockets.controlled(
                    config.channels, receiver, self.sequences, self._held, self.notes.append
                )
                return receiver, "stream"
            if any(venues):
                raise RecordingError(
                    "a recorder takes either WebSocket channels or other streams, not both: give each kind its own "
                    "configuration"
                )
            soup = [
                RecordedStream(number, config, receiver, self._position(self.lines[number].channel, config), self._held)
                for number, config in enumerate(wanted)
            ]
            self.streams = soup
            self._control = StreamControl(receiver, soup, self.notes)
            return receiver, "stream"
        if any(streams):
            raise RecordingError(
                "a recorder takes either datagram or stream channels, not both: give each kind its own configuration"
            )
        choice = receive.choose.configured(self.config, self.notes)
        return choice.receiver, choice.backend

    def _buffer_bytes(self) -> int:
        """Room for what may wait; of streams, for what they may bring at once twice, at least."""
        least = 4 * sum(each.receiver.buffer_bytes for each in self.streams)
        return max(self.settings.buffer_bytes, 1 << (least - 1).bit_length() if least else 0)

    def _held(self) -> int:
        return self.intake.held_ns

    def _position(self, channel: str, line: Line) -> tuple[str, int]:
        """Where the day's recording of a channel of streams has come to: its session and the next number."""
        assert self.disk.day is not None
        for known in self.disk.day.now.channels:
            if known.name == channel and known.sessions and known.last_seq is not None:
                session = known.sessions[-1]
                if line.requested_session in ("", session):
                    return session, known.last_seq + 1
        return "", 1

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start to record. Returns at once."""
        if self._threads:
            raise FeedError("this recorder has been started before; make a new one")
        run = self.config.handler
        if run.lock_memory:
            receive.lock_memory()
        if run.priority:
            self.notes.append(receive.starved(run.wait, run.cpu))
        self.disk.start()
        for name, work in (("writer", self._write), ("hot", self._receive)):
            thread = threading.Thread(target=work, name=f"feedhandler-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._control is not None:
            self._control.start()
        return self

    def stop(self) -> None:
        """Receive nothing more; what has come in is written. Returns at once: wait() for the end."""
        self.intake.stop()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until all is written, at most so long; whether it is. Raises what ended the recording."""
        if not self.wait_quietly(seconds):
            return False
        if self.error is not None:
            raise self.error
        return True

    def wait_quietly(self, seconds: float | None = None) -> bool:
        """wait(), but what ended the recording is only kept in `error`."""
        return self._ended.wait(seconds)

    def close(self) -> None:
        """Stop, write what has come in, give back what is held. Harmless when done twice."""
        self.stop()
        if self._threads:
            if self._control is not None:
                self._control.stop()
            self._ended.wait()
        self._stack.close()

    def status(self) -> Status:
        """What has been done so far; from any thread."""
        counts = [self.intake.counts(number) for number in range(len(self.lines))]
        drops = (self.receiver.counts(number)["kernel_drops"] for number in range(len(self.lines)))
        return Status(
            sum(each[0] for each in counts),
            sum(each[1] for each in counts),
            sum(each[2] for each in counts) + self.disk.dropped,
            sum(drops),
            self.disk.bytes,
            self.disk.files,
            self.disk.path,
        )

    def note(self, sentence: str) -> None:
        """Something that belongs into the manifest, too; called on the writer's thread."""
        self.notes.append(sentence)
        self.disk.errands.put(lambda day: day.damage(sentence))

    def _failed(self, error: RecordingError) -> None:
        """The disk's thread cannot go on."""
        self.error = self.error or error
        self.intake.stop()

    def _close_disk(self) -> None:
        """A recorder that was made, and never started."""
        if not self._threads:
            self.disk.close_day()

    # -- the hot thread ------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        run = self.config.handler

        def work() -> None:
            receive.pin(run.cpu)
            receive.prioritise(run.priority)
            self.intake.run()

        self._guard(work)
        self.intake.run()  # where it was never come to: it returns at once, for the writer to hear that all is over

    def _guard(self, work: Callable[[], object]) -> None:
        """Do a thread's work; what it raises ends the recording."""
        try:
            work()
        except BaseException as error:
            self.error = self.error or error
            self.intake.stop()

    # -- the writer ----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        self._guard(lambda: _Writer(self).run())
        self.disk.blocks.put(None)
        self.disk.join()
        self._keepers.close()
        self.error = self.error or self.disk.error
        self._ended.set()

    def _statistics(self, counts: tuple[FileLine, ...]) -> bytes:
        """Of each line, how much of it the file has and what it lacks, as blocks of pcapng."""
        if not self._pcapng:
            return b""
        now = self._clock()
        return b"".join(
            frames.statistics(
                number, now, line.packets + line.dropped, line.dropped, line.kernel_drops, f"timestamps={line.ts_kind}"
            )
            for number, line in enumerate(counts)
        )


class _Writer:
    """The loop of the writer's thread: what fill() comes back for."""

    def __init__(self, recorder: Recorder) -> None:
        self.r, self.encoder, self.disk = recorder, recorder._encoder, recorder.disk
        sync = recorder.settings.sync
        self.sync_ns = int(sync * 1e9) if isinstance(sync, float) else SYNC_NS
        self.flush_ns = min(FLUSH_NS, self.sync_ns)
        self.block = self.disk.free.get()
        self.open = False
        self.day: date | None = None
        self.start = ALWAYS
        self.sync_due = time.monotonic_ns() + self.sync_ns
        self.drops_before = [0] * len(recorder.lines)
        self.drops_seen = [0] * len(recorder.lines)
        self.written = 0  # packets, at the last acknowledgement

    def run(self) -> None:
        encoder = self.encoder
        encoder.boundary = ALWAYS  # no file is open: the first packet opens one
        encoder.flush_at = time.monotonic_ns() + self.flush_ns
        while True:
            self.block.used, why = encoder.fill(self.block.memory, self.block.used)
            if why == WHY_FULL:
                self._hand_over()
            elif why == WHY_FLUSH:
                self._flush()
            elif why in (WHY_SIZE, WHY_TIME):
                self._end_file()
                self._begin_file(encoder.next_ts)
            elif why == WHY_IDLE:
                self._end_file()
            elif why == WHY_STEP:
                self._step()
            elif why == WHY_CONNECTION:
                self._connection()
            elif why == WHY_END:
                self._connection_ended()
            elif why == WHY_OVER:
                if self.open and self.r.streams:
                    self._room()
                    self.block.used = encoder.hang_up(self.block.memory, self.block.used)
                encoder.settle_losses()
                if held := self.r.intake.held_ns:
                    self.r.note(
                        f"streams were not read for {held / 1e9:,.3f} s in all, for the disk was slow: what came then "
                        "has later times"
                    )
                self._end_file()
                return

    def _begin_file(self, ts: int) -> None:
        day = self.r._periods.day(ts)
        if self.day not in (None, day):
            self.encoder.begin_day(self.r.new_sequences())
        self.day = day
        self.start, self.encoder.boundary = self.r._periods.around(ts)
        head = self.r._head
        self.block.memory[: len(head)] = head
        self.block.used = len(head)
        self.block.begins = day
        self.encoder.begin_file(len(head))
        self.open = True

    def _end_file(self) -> None:
        if self.open:
            self.open = False
            told = self._hand_over(ends=True)
            self.drops_before = [sum(each) for each in zip(self.drops_before, told, strict=True)]
        self.encoder.boundary = ALWAYS

    def _room(self) -> None:
        """Room in the block for the ends of all connections, and a beginning."""
        if self.block.used + (len(self.r.lines) + 2) * SEGMENT_BYTES > BLOCK_BYTES:
            self._hand_over()

    def _connection(self) -> None:
        """The first bytes of a connection are to be written: whose it is."""
        line = self.r.streams[self.encoder.next_line]
        head = frames.tcp_head(*line.ends(self.encoder.next_connection))
        self._room()
        self.block.used = self.encoder.connect(head, self.block.memory, self.block.used)

    def _connection_ended(self) -> None:
        """A connection is written to its end: where its channel stands now is where the next one is to go on."""
        number = self.encoder.next_line
        self._tell_streams()
        session, following = self.encoder.next_number(number)
        if session:
            self.r.streams[number].position = session, following
        self.r.streams[number].written = self.encoder.next_connection

    def _tell_streams(self) -> None:
        """What the control thread is to know of its lines."""
        over = {line.channel for number, line in enumerate(self.r.lines) if self.encoder.ended(number)}
        for number, known in enumerate(self.r.streams):
            known.collect()
            known.over = self.encoder.ended(number) or (self.r.lines[number].channel in over and known.down())

    def _flush(self) -> None:
        now = time.monotonic_ns()
        for number in range(len(self.r.lines)):
            self.r.receiver.line_status(number)  # of rdma, where the device's own count of drops is read
        self._tell_streams()
        self.encoder.flush_at = now + self.flush_ns
        sync = now >= self.sync_due
        if sync:
            self.sync_due = now + self.sync_ns
        if not self.open or (not self.block.used and (not sync or self.encoder.packets == self.written)):
            return
        if sync:
            self.written = self.encoder.packets
            tail = self.r._statistics(self._counts())
            if self.block.used + len(tail) > BLOCK_BYTES:
                self._hand_over()
            self.block.memory[self.block.used : self.block.used + len(tail)] = tail
            self.block.used += len(tail)
            self.encoder.add_bytes(len(tail))
        self._hand_over(sync=sync)

    def _hand_over(self, sync: bool = False, ends: bool = False) -> list[int]:
        """The block goes to the disk, and there is another one. Returns the file's kernel drops so far, by line."""
        block = self.block
        counts = [self.encoder.counts(number) for number in range(len(self.r.lines))]
        block.lines = self._counts()
        block.packets = tuple(each[6] for each in counts)
        block.sync, block.ends = sync, ends
        block.reports = self.encoder.sequences.report() if sync or ends else ()
        told = [line.kernel_drops for line in block.lines]
        self.disk.blocks.put(block)
        self.block = self.disk.free.get()
        self.block.used, self.block.begins = 0, None
        self.encoder.begin_block()
        return told

    def _counts(self) -> tuple[FileLine, ...]:
        """What the present file has of each line."""
        found = []
        for number, line in enumerate(self.r.lines):
            packets, size, lost, first, last, kind, _ = self.encoder.counts(number)
            drops = self._kernel_drops(number) - self.drops_before[number]
            ts_kind = TimestampKind(kind).name.lower()
            found.append(
                FileLine(
                    line.channel,
                    line.line.name,
                    packets,
                    size,
                    first,
                    last,
                    *self.encoder.numbers(number),
                    kernel_drops=drops,
                    dropped=lost,
                    ts_kind=ts_kind,
                )
            )
        return tuple(found)

    def _kernel_drops(self, number: int) -> int:
        """So far; never less than before, whatever moment the hot thread was met at."""
        self.drops_seen[number] = max(self.drops_seen[number], int(self.r.receiver.counts(number)["kernel_drops"]))
        return self.drops_seen[number]

    def _step(self) -> None:
        """The clock that stamps a line went back: it is said, and the time decides anew which file is the right one."""
        encoder = self.encoder
        line = self.r.lines[encoder.next_line]
        back = (encoder.latest(encoder.next_line) - encoder.next_ts) / 1e9
        encoder.stepped()
        sentence = f"the clock of line {line.channel}/{line.line.name} stepped back by {back:,.3f} s"
        self.r.note(f"{sentence}, to {self.r._periods.clock(encoder.next_ts)}")
        if encoder.next_ts < self.start:
            self._end_file()
            self._begin_file(encoder.next_ts)
