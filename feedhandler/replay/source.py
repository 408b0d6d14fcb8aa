"""What of a recording is replayed, and the thread that reads it ahead of whoever sends it."""

from __future__ import annotations

import contextlib
import itertools
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from feedhandler import session
from feedhandler.errors import ConfigError
from feedhandler.line import Arbiter
from feedhandler.recording import ALL, RecordedLine, Recording, Window
from feedhandler.recording.lines import framing_of
from feedhandler.replay._ahead import Ahead
from feedhandler.replay._picker import Picker
from feedhandler.replay._repacked import Repacked

if TYPE_CHECKING:
    from feedhandler.receive._receiver import Receiver

Kind = Literal["packets", "session", "handler"]
REORDER_US = 100_000  # how late the other line's copy may be, where messages are packed anew ...
WINDOW = 1 << 16  # ... and how many messages wait for it
MOLD = struct.Struct(">10sQH")  # MoldUDP64's header: session, number of the first message, messages
END_OF_SESSION = 0xFFFF
GAP_NS = 1_000_000  # between two passes of a recording of one packet


@dataclass(frozen=True)
class Choice:
    """What of a recording is replayed: packets in `window`, of `channels` (None: all), so many times (0: for ever).

    `symbols`: only messages of these, packed anew. `rate`: messages a second, which packs them anew, too.
    """

    window: Window = ALL
    channels: tuple[str, ...] | None = None
    symbols: tuple[str, ...] = ()
    rate: float | None = None
    loops: int = 1

    def __post_init__(self) -> None:
        if self.loops < 0:
            raise ConfigError(f"replay: a recording is played so many times, or 0 for ever, not {self.loops} times")

    @property
    def repacks(self) -> bool:
        """Whether messages leave in other packets than they came in."""
        return bool(self.symbols) or self.rate is not None


def channels_of(lines: Sequence[RecordedLine]) -> list[list[RecordedLine]]:
    """The lines of each channel together; the channels, and the lines of each, in order of appearance."""
    found: dict[str, list[RecordedLine]] = {}
    for line in lines:
        found.setdefault(line.channel, []).append(line)
    return list(found.values())


class Source:
    """A recording for a sender: `ahead` is the receiver, read by a thread that runs while the block does.

    `kind`: "packets" are those of UDP lines, of unknown protocols, too; "session" all messages of one channel as
    MoldUDP64 packets on one line; "handler" what the configuration of the recording's channels wants. Lines in `lines`
    are those of `ahead`. `error` is what was damaged in the recording, once it has been read. `along`:
    whether a line of an unknown protocol goes along although its packets went to one host.

    Raises ConfigError when nothing is left to replay, or when what is asked for cannot be done with it.
    """

    def __init__(
        self,
        recording: Recording,
        choice: Choice,
        kind: Kind = "packets",
        *,
        along: Callable[[RecordedLine], bool] = lambda line: False,
    ) -> None:
        self.recording, self.choice, self.kind = recording, choice, kind
        self.passes = 0
        """Passes over the recording that have begun."""
        self.error: Exception | None = None
        self.missing = 0
        """Where messages are packed anew: numbers of which no line had the message, in the last pass."""
        self._everything = kind == "packets" and choice.channels is None and not choice.repacks
        names = recording.channels(choice.channels)
        every = [line for name in names for line in recording.lines if line.channel == name]
        wanted = channels_of(every)
        if kind == "packets":
            wanted = [lines for lines in wanted if not any(line.stream or not line.destination for line in lines)]
        self._channels = [lines[0].channel for lines in wanted]
        self._incoming = [line for lines in wanted for line in lines]
        self._known = len(self._incoming)
        self.left_out = [line for line in every if line not in self._incoming]
        """Lines that do not go this way: TCP streams among packets, and what nobody knows and went to one host only."""
        if self._everything:
            self._incoming += [line for line in recording.unknown if _is_multicast(line) or along(line)]
            self.left_out += [line for line in recording.unknown if line not in self._incoming]
        if not self._incoming:
            reason = "there is nothing to replay in it"
            if any(line.stream for line in self.left_out):
                reason = "there are no packets of UDP lines in it; serve its messages: --onto soupbintcp"
            elif self.left_out:
                places = ", ".join(line.name for line in self.left_out[:4])
                reason = (
                    f"all its packets went to single hosts, in no known protocol ({places}): name a --group for them"
                )
            raise ConfigError(f"{recording.paths[0]}: {reason}")
        if kind == "session" and len(wanted) > 1:
            there = ", ".join(self._channels)
            raise ConfigError(f"replay: one channel becomes one session; choose it with --channels: {there}")
        for lines in wanted if choice.symbols else ():
            Picker(lines[0].protocol, choice.symbols)  # says what is wrong with them, before anything is sent
        self.lines: list[RecordedLine] = self._incoming[:1] if kind == "session" else self._incoming
        self.ahead = Ahead(len(self.lines))
        self._receiver: Receiver | None = None
        self._joined: Receiver | None = None
        self._pickers: list[Picker] = []
        self._before = 0  # bytes of the passes that are over
        self._thread = threading.Thread(target=self._read, name="feedhandler-ahead", daemon=True)

    @property
    def unmet(self) -> list[str]:
        """Of the symbols chosen, those that no message has named so far."""
        return [symbol for symbol in self.choice.symbols if all(symbol in picker.unmet for picker in self._pickers)]

    @property
    def done(self) -> int:
        """What has been sent so far: bytes of the recording where `size` is known, else packets.

        Only packets are counted there; the bytes are those read, less what is still waiting.
        """
        sent = sum(self.ahead.counts(line)["packets"] for line in range(len(self.lines)))
        if self.size is None:
            return sent
        read = self._before + int(getattr(self._receiver, "offset", 0))
        return read * sent // max(1, self.ahead.packets)

    @property
    def size(self) -> int | None:
        """Bytes of all passes; None: for ever, or of a window, whose bytes nobody has counted."""
        return self.recording.size * self.choice.loops or None if self.choice.window == ALL else None

    def join(self, packets: int) -> None:
        """Begin behind so many packets of the recording: streams are read from their beginning. Before the block."""
        if self.choice.loops != 1:
            raise ConfigError("replay: of TCP streams a part is played once: leave out --from, or --loop")
        window = Window(None, self.choice.window.end)
        self._joined = self.recording.receiver(window, channels=self._channels, everything=self._everything)
        self._joined.skim(packets)
        self.ahead.join(self._joined, self._table(self._joined.lines))

    def stop(self) -> None:
        """Read no further. From any thread."""
        self.ahead.stop()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join()

    # -- on the reading thread -----------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            shift = 0
            for n in itertools.count() if self.choice.loops == 0 else range(self.choice.loops):
                self.passes = n + 1
                with contextlib.closing(self._open()) as receiver:
                    self._receiver = receiver
                    self.ahead.read(receiver, self._table(receiver.lines), shift)
                    self.error = self.error or receiver.error
                    self._before, self._receiver = self._before + self.recording.size, None
                    if isinstance(receiver, Repacked):
                        self.missing = receiver.missing
                if self.ahead.stopped or not self.ahead.packets:
                    break
                shift = (n + 1) * self._period(n + 1)
        except Exception as error:
            self.error = error
        finally:
            self.ahead.end()

    def _period(self, passes: int) -> int:
        """From the first packet of one pass to the first of the next: the recording's span, and a packet's distance."""
        if passes == 1:
            span, packets = self.ahead.last_ts - self.ahead.first_ts, self.ahead.packets
            self._span = span + (span // (packets - 1) if packets > 1 and span else GAP_NS)
        return self._span

    def _table(self, lines: int) -> list[int | None]:
        """Which of ours each of the receiver's lines is."""
        if not self._everything:
            return list(range(lines))
        unknown = [self.lines.index(line) if line in self.lines else None for line in self.recording.unknown]
        return [*range(self._known), *unknown]

    def _open(self) -> Receiver:
        recording, choice, kind = self.recording, self.choice, self.kind
        if self._joined is not None:
            return self._joined
        if not choice.repacks and kind != "session":
            return recording.receiver(choice.window, channels=self._channels, everything=self._everything)
        channels = [self._repack(lines) for lines in channels_of(self._incoming)]
        total = sum(channel[4] for channel in channels)
        window, begin = choice.window, None
        if choice.symbols or any(line.stream for line in self._incoming):
            window, begin = Window(None, window.end), window.start  # directories and logins, whose words hold later
        receiver = recording.receiver(window, channels=self._channels)
        return Repacked(total, receiver, channels, rate=None if kind == "session" else choice.rate, begin=begin)

    def _repack(self, lines: list[RecordedLine]) -> tuple[list[session.Framing], Arbiter, Picker | None, str, int]:
        """A channel as Repacked takes it."""
        first = lines[0]
        place = self._incoming.index(first)
        arbiter = Arbiter(len(lines), first_line=place, reorder_us=REORDER_US, window_messages=WINDOW, offline=True)
        picker = Picker(first.protocol, self.choice.symbols) if self.choice.symbols else None
        if picker is not None:
            self._pickers.append(picker)
        out = first.session if self.kind != "session" and first.session == "iextp" else "moldudp64"
        return [framing_of(line) for line in lines], arbiter, picker, out, 1 if self.kind == "session" else len(lines)


def _is_multicast(line: RecordedLine) -> bool:
    return line.destination is not None and ip_address(line.destination[0]).is_multicast


def opening(recording: Recording, choice: Choice) -> tuple[str, int]:
    """Name of the session that the choice begins in, and the number of its first message; "" and 1: there is none."""
    with Source(recording, choice, "session") as source:
        while not source.ahead.ended:
            for _, _, packet in source.ahead.drain(64):
                name, number, count = MOLD.unpack_from(packet)
                if count not in (0, END_OF_SESSION):
                    return name.decode("latin1").strip() if name.isascii() else "", max(1, number)
    return "", 1
