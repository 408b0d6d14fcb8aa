"""Follows a recording and keeps snapshots and hashes of its books, every so many seconds of recorded time.

The keeper has a handler of its own, on the recording's own files, and it runs in a process of its own, niced: what it
does can neither slow nor stop the receiver. It is a reader like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from feedhandler._marks import Marks
from feedhandler.errors import CaptureError, ConfigError, FeedError, RecordingError
from feedhandler.recording import books_state
from feedhandler.recording.books_file import LAST, SUFFIX, BooksFile, Entry, Kind, Writer
from feedhandler.recording.window import Window

if TYPE_CHECKING:
    from feedhandler.capture_config import CaptureOptions
    from feedhandler.handler import Handler
    from feedhandler.recording import Recording

__all__ = ["Keeper", "Keeping", "Kept", "books_path", "keep", "open_handler", "refuse_others", "resume"]

SLACK_NS = 250_000_000  # so far behind a grid point, what came before it has been written: lines wait for each other
SECONDS_MAX = 86_400
PACKETS_AT_ONCE = 4096
SETTLE_PACKETS = 1000  # that a cut waits for the end of an event of many messages
IDLE_SECONDS = 0.02  # between two looks at a recording that grows
PATIENCE_SECONDS = 1.0  # a recording that grows shows within it what lies in its files
NICE = 15
SIZES = ("depth", "orders", "instruments")  # of the keeper's books, as the head of its file has them
NEVER = 2**63 - 1
TRIES = 3  # snapshots that are tried, the latest first


@dataclass
class Kept:
    """What a keeper has done."""

    path: str
    snapshots: int = 0
    bytes: int = 0
    """Written, after compression."""
    packets: int = 0
    """Of the recording, followed so far."""
    resumed: bool = False
    """It went on behind the snapshots that were there."""
    longest_ms: float = 0.0
    """The longest time that one snapshot took."""
    notes: list[str] = field(default_factory=list)


def books_path(recording: Recording) -> Path | None:
    """Where the book snapshots of a recording are: NAME.books in its folder, FILE.books beside a capture.

    None for several recordings read as one: each has its own.
    """
    if len(recording.paths) != 1:
        return None
    path = recording.paths[0]
    if not path.is_dir():
        return path.with_name(path.name.removesuffix(".partial") + SUFFIX)
    names = {manifest.name for folder, manifest in recording.manifests if folder == path}
    if len(names) == 1 and len(recording.manifests) == 1:
        return path / (names.pop() + SUFFIX)
    return None if recording.manifests else path / (path.name + SUFFIX)


def refuse_others(recording: Recording, file: BooksFile) -> None:
    """Raise RecordingError for snapshots that lie where the recording's would, and are of another one.

    A capture may have been replaced by another of the same name, and numbers begin at 1 each day: its books would be
    those of the day before. A capture keeps its first packet as it grows; of a day, whose ring may have removed that,
    the latest snapshot has seen some packet that there still is.
    """
    found = file.head.get("first_ts")
    seen = [entry.until for entry in file.cuts(Kind.SNAPSHOT)]
    replaced = not recording.paths[0].is_dir() and bool(file.entries) and found != recording.first_ts
    if replaced or (seen and max(seen) < recording.first_ts):
        raise RecordingError(
            f"{file.path}: book snapshots of another recording, which was here before; remove the file"
        )


def open_handler(
    recording: Recording, start: int | None = None, *, follow: bool = False, **options: Unpack[CaptureOptions]
) -> Handler:
    """A handler on all channels of a recording, not started, whose packets begin at `start`."""
    from feedhandler.handler import Handler

    return Handler(
        recording.config(**options),
        receiver=recording.receiver(Window(start), follow=follow),
        first_packet=recording.first_ts,
        anonymous=True,
    )


def beginning(recording: Recording, entry: Entry) -> int | None:
    """Where the packets of a handler must begin that is to be put behind a snapshot; None: where the recording does,
    since a stream is put together from its very beginning."""
    return None if any(line.stream for line in recording.lines) else entry.begin


def resume(handler: Handler, file: BooksFile, entry: Entry, marks: Marks) -> None:
    """Put a fresh handler, whose packets begin at beginning(), behind a snapshot. Raises RecordingError."""
    state, parts = file.load(entry)
    if any(framing.stream for framing in handler.shard.framings):
        if sum(len(channel["lines"]) for channel in state["shape"]) != handler.shard.line_count:
            raise RecordingError(
                "the book snapshots are of more channels: with streams among them, some are played from their beginning"
            )
        _pass_over(handler, entry)
        if books_state.receives(handler) != books_state.received(state):
            raise RecordingError(
                "the book snapshot cannot be used: the recording does not begin with the packets that it has seen; the "
                "oldest files were removed, or are damaged"
            )
        state = {**state, "seen": []}  # they do not come by once more
    seen = books_state.restore(handler, state, parts)
    marks.skip(entry.begin, seen, entry.until)
    handler.shard.mark(marks)


def _pass_over(handler: Handler, entry: Entry) -> None:
    """Let go by what the snapshot has seen, without a look at it."""
    passed, idle = 0, 0
    while passed < entry.packets:
        more = handler.shard.pass_over(entry.packets - passed)
        passed, idle = passed + more, 0 if more else idle + 1
        if passed < entry.packets and (handler.receiver.ended or idle * IDLE_SECONDS >= PATIENCE_SECONDS):
            raise RecordingError(
                f"the book snapshot cannot be used: it has seen {entry.packets} packets, the recording has {passed}"
            )
        if not more:
            time.sleep(IDLE_SECONDS)


class Keeper:
    """Keeper(recording, seconds): `run()` reads the recording and writes NAME.books, snapshots and hashes.

    `follow`: as it grows, until its manifest says that it is complete, or stop(). What is there already is gone on
    with; snapshots that time going back has made ambiguous are declared void. `options` are those of a capture's
    handler.

    Raises ConfigError for a wrong number of seconds, RecordingError when the file cannot be had, or is of another
    recording.
    """

    def __init__(
        self,
        recording: Recording,
        seconds: float,
        *,
        path: str | Path | None = None,
        follow: bool = False,
        progress: Callable[[int], None] | None = None,
        **options: Unpack[CaptureOptions],
    ) -> None:
        if not 0.001 <= seconds <= SECONDS_MAX:
            raise ConfigError(f"book snapshots every {seconds} seconds: expected 0.001 to {SECONDS_MAX}")
        found = Path(path) if path is not None else books_path(recording)
        if found is None:
            raise RecordingError("book snapshots are kept for one recording at a time: name one folder, or one file")
        self.path = found
        self._recording, self._follow, self._progress, self._options = recording, follow, progress, options
        self._step = int(seconds * 1e9)
        self._slack = min(SLACK_NS, self._step // 4)
        self._stopped = threading.Event()
        self._writer: Writer
        self._handler: Handler
        self._marks = Marks(self._step, self._slack)
        self._valid: list[int] = []  # begins of the snapshots that may be used, rising
        self._last_cut = -1  # packets at the last cut
        self.kept = Kept(str(found))

    def stop(self) -> None:
        """End behind what there is of the recording by now. Safe from any thread."""
        self._stopped.set()

    def run(self) -> Kept:
        """Keep snapshots until the end of the recording, or stop()."""
        if not self._recording.first_ts and not self._await_first():
            return self.kept
        config = self._recording.config(**self._options)
        sizes = {name: getattr(config.books, name) for name in SIZES}
        head = {"channels": books_state.channels_of(config), "sizes": sizes, "first_ts": self._recording.first_ts}
        if self.path.exists():
            with BooksFile(self.path) as file:
                if file.head.get("channels") == head["channels"]:  # others are refused by the writer
                    refuse_others(self._recording, file)
        self._writer = Writer(self.path, head)
        try:
            if self._writer.dropped:
                self.kept.notes.append(
                    f"{self.path}: its last {self._writer.dropped} bytes were no whole record, and are cut off"
                )
            self._open()
            with self._handler:
                self._go()
        finally:
            self.kept.bytes = self._writer.written
            self._writer.close()
        return self.kept

    def _await_first(self) -> bool:
        """Wait for the first packet: it dates the session. A fresh look each time: a recording keeps what it found."""
        while self._follow and not self._stopped.wait(IDLE_SECONDS):
            again = type(self._recording)(*self._recording.paths, protocol=self._recording.protocol)
            if again.first_ts:
                self._recording = again
                return True
        return False

    def _open(self) -> None:
        """The handler, behind the last snapshot that is whole, else at the beginning."""
        if len(self._writer.entries) > 1:
            with BooksFile(self.path) as file:
                snapshots = file.cuts(Kind.SNAPSHOT)
                self._valid = [entry.begin for entry in snapshots]
                streams = any(line.stream for line in self._recording.lines)  # each try reads what it has seen
                for entry in reversed(snapshots[-TRIES:] if streams else snapshots):
                    start = beginning(self._recording, entry)
                    handler = open_handler(self._recording, start, follow=self._follow, **self._options)
                    try:
                        resume(handler, file, entry, self._marks)
                    except RecordingError as error:
                        handler.close()
                        self.kept.notes.append(str(error))
                        continue
                    self._handler, self._last_cut, self.kept.resumed = handler, entry.packets, True
                    return
            self._valid = []
            self._writer.append(Kind.VOID, 0, 0, 0, {})  # of packets that may be gone: all is kept anew
        self._handler = open_handler(self._recording, follow=self._follow, **self._options)
        self._handler.shard.mark(self._marks)

    def _go(self) -> None:
        shard, receiver = self._handler.shard, self._handler.receiver
        while True:
            before = shard.packets_taken
            ended = shard.turn_to_cut(PACKETS_AT_ONCE)
            self.kept.packets = shard.packets_taken
            self._look_back()
            if self._marks.due:
                self._settle()
                self._cut(self._marks.begin)
                continue
            if self._progress is not None:
                self._progress(receiver.offset)  # type: ignore[attr-defined]
            if ended or (self._stopped.is_set() and shard.packets_taken == before):
                break
            if shard.packets_taken == before and self._marks.left_to_skip == 0:
                self._stopped.wait(IDLE_SECONDS)
        if shard.packets_taken > max(self._last_cut, 0):
            self._cut(self._marks.latest + 1, LAST)
        error = receiver.error
        if error is not None:
            self.kept.notes.append(str(error))

    def _settle(self) -> None:
        """Go on to where no book is in the middle of an event: such a snapshot can be shown at any depth."""
        shard = self._handler.shard
        for _ in range(SETTLE_PACKETS):
            taken = shard.packets_taken
            if books_state.settled(self._handler) or shard.turn_to_packet(taken + 1, 1) or shard.packets_taken == taken:
                return

    def _look_back(self) -> None:
        """A packet is older than a snapshot that had not seen it: who plays from there would not see it either."""
        earliest = self._marks.earliest
        if earliest == NEVER:
            return
        if self._valid and self._valid[-1] > earliest:
            self._valid = [begin for begin in self._valid if begin <= earliest]
            self._writer.append(Kind.VOID, earliest, self._marks.latest, self._handler.shard.packets_taken, {})
            self.kept.notes.append(
                f"{self.path}: time went back to {earliest} ns; the snapshots behind that are not used"
            )
        self._marks.took_earliest()

    def _cut(self, begin: int, flags: int = 0) -> None:
        """A snapshot and its hashes, of this very moment."""
        started = time.perf_counter()
        packets, until = self._handler.shard.packets_taken, self._marks.latest
        seen = (
            [(0, 0)] * self._handler.shard.line_count
            if flags & LAST
            else self._marks.seen(self._handler.shard.line_count)
        )
        self._marks.cut()
        if books_state.whole(self._handler):  # else a line was amid compressed messages all the while: hashes alone
            self._writer.append(Kind.SNAPSHOT, begin, until, packets, *books_state.dump(self._handler, seen), flags)
            self._valid.append(begin)
            self.kept.snapshots += 1
        found = books_state.hashes(self._handler)
        self._writer.append(Kind.HASHES, begin, until, packets, *books_state.pack_hashes(found), flags)
        self._last_cut = packets
        self.kept.longest_ms = max(self.kept.longest_ms, (time.perf_counter() - started) * 1e3)


# ---- beside a recorder


def keep(day_folder: str | Path, seconds: float, **options: Unpack[CaptureOptions]) -> Keeping:
    """Start a keeper for a day that is being recorded, in a process of its own; it ends when the day is complete.

    Returns at once. Close it (or use it as a context manager) when the recorder has written its last manifest; should
    the recorder die, the keeper ends by itself behind what was written. Raises ConfigError for a wrong number
    of seconds.
    """
    if not 0.001 <= seconds <= SECONDS_MAX:
        raise ConfigError(f"book snapshots every {seconds} seconds: expected 0.001 to {SECONDS_MAX}")
    return Keeping(Path(day_folder), seconds, dict(options))


class Keeping:
    """A keeper at work in another process; made by keep()."""

    def __init__(self, folder: Path, seconds: float, options: dict[str, Any]) -> None:
        self.folder = folder
        if options.get("day") is not None:
            options["day"] = options["day"].isoformat()
        job = json.dumps({"folder": str(folder), "seconds": seconds, "options": options})
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the recorder
        )
        self._kept: Kept | None = None

    @property
    def running(self) -> bool:
        """Whether the keeper still follows the recording."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Let it end behind what has been recorded by now, whether or not the day is complete."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def close(self, timeout: float | None = 60.0) -> Kept:
        """Wait until it has kept all there is, and end it; what it has done. After `timeout` seconds it is killed: what
        it has written is whole. Raises RecordingError when it failed, with its reason."""
        if self._kept is None:
            self.stop()
            assert self._process.stdout is not None
            try:
                self._process.wait(timeout)
                late = ""
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                late = f"it had not followed to the end within {timeout:g} s, and was ended"
            told = self._process.stdout.read()
            self._process.stdout.close()
            lines = told.splitlines()
            said = (
                json.loads(lines[-1]) if lines else {"error": late or f"it ended with code {self._process.returncode}"}
            )
            if "error" in said:
                raise RecordingError(f"book snapshots of {self.folder}: {said['error']}")
            self._kept = Kept(**said)
        return self._kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(RecordingError):
                self.close()


def main(job: str) -> int:
    """The keeper's process: `job` says what to keep; what it did, or why it could not, is one line of JSON."""
    from datetime import date

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    told = json.loads(job)
    options = told["options"]
    if options.get("day"):
        options["day"] = date.fromisoformat(options["day"])
    asked = threading.Event()
    keepers: list[Keeper] = []

    def listen() -> None:
        """The recorder closes our input when it is done, or dead."""
        while os.read(0, 4096):
            pass
        asked.set()
        for keeper in keepers:
            keeper.stop()

    threading.Thread(target=listen, daemon=True).start()
    said: dict[str, Any]
    try:
        recording = _there(told["folder"], asked)
        keeper = Keeper(recording, told["seconds"], follow=True, **options)
        keepers.append(keeper)
        if asked.is_set():
            keeper.stop()
        said = asdict(keeper.run())
    except FeedError as error:
        said = {"error": str(error)}
    print(json.dumps(said), flush=True)
    return int("error" in said)


def _there(folder: str, asked: threading.Event) -> Recording:
    """The recording, once its recorder has begun it. Raises CaptureError when it has not until `asked`."""
    from feedhandler.recording import Recording

    while True:
        last = asked.wait(IDLE_SECONDS)
        try:
            return Recording(folder)
        except CaptureError:
            if last:
                raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
