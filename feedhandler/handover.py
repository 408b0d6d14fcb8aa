"""A recording, then the live feed, through one handler: what `feedhandler run --from DAY` puts together.

`Handler(config, handover=Handover(Recording(DAY)))` opens the live lines first and keeps what they bring, plays the
recording as fast as it goes, and goes on with what was kept and then with the lines themselves. How nothing is lost or
doubled on the way stands in `ext/feedhandler/receive/_handover.pyx`.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from feedhandler.errors import ConfigError
from feedhandler.receive._handover import HandoverReceiver
from feedhandler.venue_config import CONTROL

if TYPE_CHECKING:
    from feedhandler.config import Channel, Config, Line
    from feedhandler.line import Arbiter
    from feedhandler.publish import Publisher
    from feedhandler.receive._receiver import Receiver
    from feedhandler.recording import RecordedLine, Recording
    from feedhandler.session import Framing

__all__ = ["MEMORY", "PATIENCE_S", "Handover", "Progress"]

MEMORY = 256 << 20
PATIENCE_S = 10.0
ABANDONED_S = 1.0  # of patience with a day that no recorder of this host holds: another host's may
LOOK_SECONDS = 0.02  # between two looks at what has become of the channels


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a handler has caught up."""

    state: str
    """replay: recorded packets are played; kept: those that came meanwhile; live: the lines' own, and not all channels
    are known to be whole; present: all are."""
    played: int
    """Recorded packets."""
    offset: int
    """Bytes of the recording that are read, beside `Recording.size`."""
    behind_ns: int
    """How long ago the last packet that was played was recorded; 0 before the first, and once the recording is over."""
    waiting: int
    """Live packets that are kept and not played yet."""
    kept: int
    """Live packets that were kept so far, those recorded as well included."""
    overlap: int
    """Of these, copies of what had been recorded."""
    lost: int
    """Live packets for which the memory had no room. What the recording does not bring of them is a gap."""


class Handover:
    """A recording to be played before the live feed, for one `Handler`.

    `memory`: bytes in which live packets may wait meanwhile, rounded up to a power of two; taken as they are needed,
    and given back. `patience_s`: a recording that is still being written is left when it has come to what the live
    lines brought first; when it has not after so long at its end, what is between is a gap. Where its recorder has died
    a second is enough.
    """

    def __init__(self, recording: Recording, *, memory: int = MEMORY, patience_s: float = PATIENCE_S) -> None:
        if not 1 << 20 <= memory <= 1 << 40:
            raise ConfigError(f"memory must be {1 << 20:,} to {1 << 40:,} bytes, not {memory:,}")
        if patience_s < 0:
            raise ConfigError(f"patience_s must not be negative, not {patience_s:g}")
        self.recording = recording
        self.size = recording.size
        self.first_ts = recording.first_ts
        """The time of the first recorded packet, ns since the Unix epoch; 0 = there is none."""
        self._memory, self._patience_s = memory, patience_s
        self._receiver: HandoverReceiver | None = None
        self._names: list[tuple[str, str]] = []
        self._thread: threading.Thread | None = None
        self._leaving = threading.Event()

    def around(self, live: Receiver, config: Config, streaming: bool) -> HandoverReceiver:
        """The receiver of both. Raises ConfigError when the recording is not one of the configured lines."""
        channels, line_of = match(config, self.recording)
        following = _grows(self.recording)
        if following and _abandoned(self.recording):
            self._patience_s = min(self._patience_s, ABANDONED_S)
        self._names = [(channel.name, line.name) for channel in config.channels for line in channel.lines]
        self._receiver = HandoverReceiver(
            len(self._names),
            self.recording.receiver(follow=following, channels=channels),
            live,
            line_of,
            memory=self._memory,
            patience_ns=round(self._patience_s * 1e9),
            streaming=streaming,
        )
        return self._receiver

    def join(
        self,
        framings: list[Framing],
        apart: list[Framing],
        keeping: list[Framing],
        channel_of: list[int],
        arbiters: Sequence[Arbiter],
        publisher: Publisher,
    ) -> None:
        """What the lines lead to in their handler: the shard's framings, and two sets more that share nothing with
        these; `keeping`, of streams, go on live."""
        for arbiter in arbiters:
            arbiter.catch_up()
        self.receiver.join([*keeping, *apart, *framings], channel_of, arbiters, publisher)

    @property
    def receiver(self) -> HandoverReceiver:
        """The receiver of both, once a handler has been made with it."""
        if self._receiver is None:
            raise ConfigError("this handover belongs to no handler yet: make one with Handler(config, handover=...)")
        return self._receiver

    def start(
        self, went_live: Callable[[], None], note: Callable[[str], None], sessions: Callable[[], list[str]]
    ) -> None:
        """Begin to keep what the live lines bring, on a thread of its own.

        It calls `went_live` when the hot thread has gone over to the live lines, and `note` with sentences for people.
        `sessions`: of each line's channel, just now.
        """
        self._thread = threading.Thread(
            target=self._stand_by, args=(went_live, note, sessions), name="feedhandler-handover", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Stopping twice is harmless."""
        self._leaving.set()
        if self._receiver is not None:
            self._receiver.leave()
        if self._thread is not None:
            self._thread.join()

    def progress(self) -> Progress:
        """How far it has come. From any thread."""
        receiver = self.receiver
        state = receiver.state
        behind = time.time_ns() - receiver.last_played if state == "replay" and receiver.last_played else 0
        gone = receiver.given + receiver.overlap + receiver.memory.dropped
        return Progress(
            state=state,
            played=receiver.played,
            offset=receiver.offset,
            behind_ns=max(0, behind),
            waiting=max(0, receiver.memory.kept - gone),
            kept=receiver.memory.kept,
            overlap=receiver.overlap,
            lost=receiver.memory.dropped + receiver.memory.refused,
        )

    def _stand_by(
        self, went_live: Callable[[], None], note: Callable[[str], None], sessions: Callable[[], list[str]]
    ) -> None:
        receiver = self.receiver
        began = time.monotonic()
        try:
            if not receiver.stand_by():
                return
            for sentence in self._became(time.monotonic() - began):
                note(sentence)
            went_live()
        except BaseException as error:
            note(f"the hand-over to the live lines failed: {error}")
            return
        before = [name.decode("latin1").strip() for name in receiver.sessions]
        while not self._leaving.wait(LOOK_SECONDS):
            if receiver.state != "present":
                continue
            for (channel, _), was, now in dict.fromkeys(zip(self._names, before, sessions(), strict=True)):
                if was and was != now:
                    note(f"channel {channel}: the recording ended in session {was}, the live feed is in session {now}")
            return

    def _became(self, seconds: float) -> list[str]:
        """Sentences about what became of the recording."""
        receiver = self.receiver
        fault = getattr(receiver.recording, "error", None)
        sentences = []
        if fault is not None:
            sentences.append(f"the recording is damaged, and was played as far as it is whole: {fault}")
        if receiver.played == 0:
            sentences.append("the recording has no packet of these lines: the books begin with the live feed")
        else:
            sentences.append(
                f"the recording is played: {receiver.played:,} packets in {seconds:.1f} s, then {receiver.given:,} of "
                f"{receiver.memory.kept:,} that came meanwhile"
            )
        if receiver.impatient:
            sentences.append(
                f"the recording did not come to the live feed within {self._patience_s:g} s, though it does not say "
                "that it has ended: what is between is a gap (is its recorder still running?)"
            )
        if receiver.memory.dropped or receiver.memory.refused:
            sentences.append(
                f"{receiver.memory.dropped + receiver.memory.refused:,} live packets found no room in the memory of "
                f"{self._memory >> 20:,} MiB while the recording was played: what it does not have of them is a gap; "
                "give it more with --memory"
            )
        return sentences


def match(config: Config, recording: Recording) -> tuple[list[str], list[int]]:
    """(channels of the recording to play, for each of their lines the configured one's number, -1 = none).

    A recorded line is the configured one of the same channel and name; else, but for WebSockets, the one with the same
    address. Raises ConfigError when a configured channel was not recorded, or was recorded with another protocol.
    """
    lines = [(channel, line) for channel in config.channels for line in channel.lines]
    found = {id(recorded): _match(lines, recorded) for recorded in recording.lines}
    for recorded in recording.lines:
        number = found[id(recorded)]
        if number < 0:
            continue
        channel, line = lines[number]
        if (recorded.protocol, recorded.session) != (channel.protocol, channel.session):
            raise ConfigError(
                f"channel {channel.name}, line {line.name} is configured as {channel.protocol} over {channel.session}, "
                f"and was recorded as {recorded.protocol} over {recorded.session}"
            )
        if channel.websocket:  # the control line names the others by their place
            places = [each.name for each in recording.lines if each.channel == recorded.channel]
            if line.name != CONTROL and places.index(line.name) != channel.lines.index(line):
                raise ConfigError(
                    f"channel {channel.name}: line {line.name} is number {channel.lines.index(line) + 1} in the "
                    f"configuration and {places.index(line.name) + 1} in the recording, whose control line names lines "
                    "by their place: give them in the recorded order"
                )
    for channel in config.channels:
        if not any(at >= 0 and lines[at][0] is channel for at in found.values()):
            there = ", ".join(dict.fromkeys(f"{line.channel}/{line.name}" for line in recording.lines)) or "nothing"
            raise ConfigError(
                f"the recording has no line of channel {channel.name}, neither by its name nor by its addresses; it "
                f"has {there}: record the channel, or leave it out of the configuration"
            )
    matched = {line.channel for line in recording.lines if found[id(line)] >= 0}
    channels = [name for name in recording.channels() if name in matched]
    return channels, [found[id(line)] for name in channels for line in recording.lines if line.channel == name]


def _match(lines: list[tuple[Channel, Line]], recorded: RecordedLine) -> int:
    for number, (channel, line) in enumerate(lines):
        if (channel.name, line.name) == (recorded.channel, recorded.name):
            return number
    for number, (channel, line) in enumerate(lines):
        if channel.websocket:  # lines of a venue go to the same address
            continue
        if recorded.destination is not None and recorded.destination[:2] == (line.host or line.group, line.port):
            return number
    return -1


def _grows(recording: Recording) -> bool:
    """Whether it may still be written to: until its manifest says that it is complete; without one, a file's name."""
    if recording.manifests:
        return any(not manifest.complete for _, manifest in recording.manifests)
    return any(not file.complete for file in recording.files)


def _abandoned(recording: Recording) -> bool:
    """Whether no recorder holds the folder of a day that is not complete: it has died, or runs on another host."""
    for folder, manifest in recording.manifests:
        if manifest.complete:
            continue
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # a recorder has it for itself, or locks cannot be had here
            return False
        finally:
            os.close(held)
    return bool(recording.manifests)
