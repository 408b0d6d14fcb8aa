"""What there is to say of a recording, line by line and channel by channel: plain records, ready for JSON.

`Sequences.report()` makes them; the manifest of a day and `feedhandler check` hold them. Numbers are the feed's own
sequence numbers, times are ns since the Unix epoch, durations ns.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = [
    "ChannelReport",
    "ClockStep",
    "Gap",
    "Lead",
    "LineReport",
    "Session",
    "Silence",
    "from_plain",
    "plain",
    "sentence",
]

T = TypeVar("T")

GAP_OPENED, GAP_CLOSED, SESSION, RESTART, END, BAD, CLOCK, LATE, FULL = (1 << bit for bit in range(9))
"""What `Sequences.feed()` answers, together: the SAW_... of `_sequences.pxd`."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers of a channel that no line had brought when they were due."""

    first: int
    count: int
    opened: int
    """When they were first missed: the time of the packet that showed it."""
    closed: int | None
    """When the last of them came; None: some never did."""
    session: str
    missing: int
    """How many of them never came."""
    filled_by: tuple[str, ...]
    """The lines that brought the others."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a channel, or what follows a restart of its numbers under the same session id."""

    id: str
    first: int
    """The lowest number: 1, but for a session that was joined late."""
    next: int
    """One more than the highest number that is known to exist."""
    began: int
    last: int
    """The time of its last packet."""
    ended: int | None
    """When its end was said; None: it was not."""
    missing: int
    """Numbers between the two that no line brought."""
    restart: bool
    """It followed a restart under the same id."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A line said nothing, neither data nor heartbeat."""

    start: int
    end: int
    missing: int
    """Numbers of the line that its next packet showed to be lost."""


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The clock that stamps the packets was set: back, or, as far as send times tell, forward."""

    at: int
    """The time of the first packet after it."""
    by: int
    """Negative: back."""


@dataclass(frozen=True, slots=True)
class Lead:
    """By how much a line was first, where it was: over the packets that another line brought in the same cut."""

    count: int
    p50: int
    p99: int
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReport:
    """What a line brought and what it did not."""

    name: str
    packets: int
    """Datagrams; of a stream, runs of bytes as they were received."""
    bytes: int
    """Of payloads."""
    messages: int
    """With numbers; what came twice counts twice."""
    heartbeats: int
    unsequenced: int
    """Messages without numbers."""
    bad: int
    """Packets whose lengths or counts do not add up, or of another protocol."""
    late: int
    """Packets of a session, or a run of one, that had been left; or with numbers from before the recording."""
    first_ts: int | None
    last_ts: int | None
    first_seq: int | None
    """The first number that came; None: no number did."""
    last_seq: int | None
    """The highest number of the last session."""
    gaps: int
    """Ranges that it did not bring, between its lowest and its highest number."""
    missing: int
    """Numbers in these."""
    before: int
    """Numbers of its channel below its own lowest one: it came later, or not at all."""
    after: int
    """Numbers of its channel above its own highest one: it fell silent, or was not there at all."""
    forgotten: int
    """Ranges for which there was no room; what came of them later counts as duplicates, and as missing."""
    duplicates: int
    """Messages that this very line had brought before."""
    reordered: int
    """Messages that came behind higher numbers of this line."""
    furthest: int
    """The furthest of these: how many numbers ahead the line was already."""
    furthest_ns: int
    """And how long after it was missed the latest of them came."""
    won: int
    """Messages that no other line had brought before."""
    filled: int
    """Of these, such as were missed already: other lines had shown higher numbers."""
    lead: Lead | None
    longest_silence: Silence | None
    """The longest time between two packets; None: there were no two."""
    silences: tuple[Silence, ...]
    """Those of the threshold or more; the longest, if there are many."""
    silence_count: int
    clock_steps: tuple[ClockStep, ...]
    """The largest, if there are many."""
    clock_step_count: int
    clock_steps_back: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReport:
    """What the lines of a channel brought together."""

    name: str
    session: str
    """The session protocol: moldudp64, ..."""
    lines: tuple[LineReport, ...]
    sessions: tuple[Session, ...]
    """In their order; where there are very many, the last one stands for all that came later."""
    session_count: int
    restarts: int
    """Of these, restarts under the same session id."""
    messages: int
    """Numbers that came, each once."""
    first_ts: int | None
    last_ts: int | None
    holes: int
    """Times that a packet was ahead of the channel's next number."""
    bridged: int
    """Numbers that came late, but in time: before their hole was a gap."""
    gaps: tuple[Gap, ...]
    """Holes that were open for the reorder time; where there are very many, those that stayed open, and the newest."""
    gap_count: int
    gap_messages: int
    """Numbers that were missing when their gap opened."""
    filled: int
    """Of these, came after all."""
    closed: int
    """Gaps of which all came."""
    lost: int
    """Numbers that never came, on any line."""
    unlisted: int
    """Gaps for which the list had no room; they are counted."""
    forgotten: int
    """Holes for which there was no room: they count as lost, even if they were filled later."""
    reorder_ns: int
    silence_ns: int

    @property
    def joined_late(self) -> int:
        """Messages of the first session before the first one here: the recording began in its middle."""
        return self.sessions[0].first - 1 if self.sessions else 0

    @property
    def unsequenced(self) -> bool:
        """Whether its messages came without numbers: nothing can be said about what is missing."""
        return not self.sessions and any(line.unsequenced for line in self.lines)


def sentence(flag: int, channel: str, line: str, first: int, count: int, by: int, session: str) -> str:
    """The words for one thing that `Sequences` saw."""
    last = f"..{first + count - 1}" if count > 1 else ""
    match flag:
        case 1:
            return f"gap opened: channel {channel}, {first}{last} missing"
        case 2:
            return f"gap closed: channel {channel}, {first}{last}, by line {line}"
        case 4:
            return f"session: channel {channel}, {session or 'without a name'} begins at {first}"
        case 8:
            return f"restart: channel {channel}, {session or 'without a name'} begins anew at {first}"
        case 16:
            return f"end of session: channel {channel}, {session or 'without a name'}, last number {first}"
        case 32:
            return f"bad packet: channel {channel}, line {line}"
        case 64:
            return f"clock: channel {channel}, line {line}, {'back' if by < 0 else 'forward'} by {abs(by)} ns"
        case 128:
            return f"late: channel {channel}, line {line}, {session or 'without a name'} was left"
        case _:
            return f"too many holes: channel {channel}, {first}{last} given up"


def plain(value: Any) -> Any:
    """A report, or a list of them, as what JSON has: objects, lists, numbers, texts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def from_plain(kind: type[T], value: Any) -> T:
    """What `plain()` made of a record of this kind. Raises KeyError, TypeError for what it did not make."""
    made: T = _read(kind, value)
    return made


def _read(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: _read(hints[field.name], value[field.name]) for field in dataclasses.fields(kind)})
    if typing.get_origin(kind) is tuple:
        return tuple(_read(typing.get_args(kind)[0], item) for item in value)
    if typing.get_origin(kind) is types.UnionType:
        return None if value is None else _read(typing.get_args(kind)[0], value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {value!r}")
    return value
