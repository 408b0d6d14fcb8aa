"""A script of faults: what goes wrong between an exchange and a handler, from a TOML file and a seed.

    [upstream]                  # lost before the lines part: on all of them
    burst_loss = 0.001
    [all]                       # what befalls each line, by itself
    loss = 0.01
    [[line]]                    # line A: [all], but for what is said here
    delay_us = 20
    [[outage]]                  # of every line, unless `lines` names them by number, from 0
    from_s = 10.0
    for_s = 2.0
    [[session]]                 # the exchange itself: numbers begin again
    at_packet = 5000
    kind = "restart"

Two stages, both pure: `stream()` is the feed as the exchange sends it (sessions, midnight), which a run without loss
sees, too; `wire()` is what the lines make of it. `apply()` is one after the other.

Not in a script: content changed under a right checksum, which no handler can see. A frame with a wrong UDP checksum is
written into a capture as it is; over a socket it ends in the kernel, so there it is lost, and counted apart.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from feedhandler.errors import ConfigError
from feedhandler.settings import (
    Kind,
    Place,
    boolean,
    check_keys,
    choice,
    example_lines,
    integer,
    read_table,
    setting,
    shown,
    text,
    toml,
)
from feedhandler.simulate._faults import FRAMINGS, LineFaults
from feedhandler.simulate.rewrite import Rewriter, is_control, is_end
from feedhandler.simulate.script import document_of, number, tables_of

LINES_MAX = 16
OUTAGES_MAX = 16
SECOND = 1_000_000_000
Packets = Iterable[tuple[int, bytes]]
T = TypeVar("T")


def _lines() -> Kind:
    def read(value: Any) -> tuple[int, ...]:
        of = integer(0, LINES_MAX - 1)
        if not isinstance(value, list) or len(set(map(str, value))) != len(value):
            raise ValueError
        return tuple(of.read(item) for item in value)

    return Kind(f"a list of line numbers from 0 to {LINES_MAX - 1}, none twice", read)


_PROBABILITY = number(0, 1)
_SHARE = number(0, 0.99)
_PACKETS = integer(0, 1 << 40)
_SECONDS = number(0, 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Loss before the lines part: the same packets on all of them."""

    loss: float = setting(0.0, _PROBABILITY, "share of packets lost, each by itself")
    burst_loss: float = setting(0.0, _SHARE, "share of packets lost in bursts")
    burst_packets: float = setting(8.0, number(1, 1e6), "mean length of a burst")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFault:
    """What befalls the packets of one line."""

    loss: float = setting(0.0, _PROBABILITY, "share of packets lost, each by itself")
    burst_loss: float = setting(0.0, _SHARE, "share of packets lost in bursts")
    burst_packets: float = setting(8.0, number(1, 1e6), "mean length of a burst")
    heartbeat_loss: float = setting(0.0, _PROBABILITY, "share of heartbeats lost, each by itself")
    duplicate: float = setting(0.0, _PROBABILITY, "share of packets that come twice")
    duplicate_us: float = setting(0.0, number(0, 1e7), "the second comes up to so much later")
    reorder: float = setting(0.0, _PROBABILITY, "share of packets that later ones overtake")
    reorder_packets: int = setting(3, integer(1, 64), "up to so many overtake")
    reorder_us: float = setting(0.0, number(0, 1e6), "instead: they come up to so much later")
    delay_us: float = setting(0.0, number(0, 1e7), "everything comes so much later")
    jitter_us: float = setting(0.0, number(0, 1e6), "and up to so much more; order is kept")
    truncate: float = setting(0.0, _PROBABILITY, "share of packets cut short")
    corrupt: float = setting(0.0, _PROBABILITY, "share of packets whose lengths or counts do not add up")
    wrong_checksum: float = setting(0.0, _PROBABILITY, "share of frames with a wrong UDP checksum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Lines that carry nothing for a while; by time or by packets since the first one."""

    lines: tuple[int, ...] = setting((), _lines(), "numbers of the lines, from 0; [] = all")
    from_s: float = setting(0.0, _SECONDS, "begins so long after the first packet", 10.0)
    for_s: float = setting(0.0, _SECONDS, "lasts so long", 2.0)
    every_s: float = setting(0.0, _SECONDS, "and again after so long; 0 = once")
    from_packet: int = setting(0, _PACKETS, "instead: begins after so many packets")
    for_packets: int = setting(0, _PACKETS, "lasts so many packets")
    every_packets: int = setting(0, _PACKETS, "and again after so many; 0 = once")

    def plan(self) -> tuple[int, int, int, bool]:
        """(first, length, every, by packets), in ns or packets."""
        if self.for_packets:
            return self.from_packet, self.for_packets, self.every_packets, True
        return round(self.from_s * SECOND), round(self.for_s * SECOND), round(self.every_s * SECOND), False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFault:
    """The numbers begin again, after so many packets or so long: in a new session, or under the same session id."""

    kind: str = setting(MISSING, choice("new", "restart"), "new session id, or the same one", "restart")
    at_packet: int = setting(0, _PACKETS, "after so many packets", 5000)
    at_s: float = setting(0.0, _SECONDS, "instead: so long after the first packet")
    first: int = setting(1, integer(1, 1 << 40), "number of the first message; over 1, those before it cannot be had")
    name: str = setting("", text(r"[!-~]{0,10}", "at most 10 visible ASCII characters"), 'new: its id; "" = made up')
    end: bool = setting(True, boolean(), "new: the old session's end is said first")
    heartbeat: bool = setting(True, boolean(), "a heartbeat with the new number comes first")
    repeat_packets: int = setting(0, integer(0, 65536), "begins with the first so many packets of the day, sent again")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of the session, and what can still be asked for by then."""

    lost_packets: int = setting(0, integer(0, 65536), "the last so many packets of data are lost on all lines")
    repeats: int = setting(1, integer(0, 1000), "how often the end is said")
    interval_ms: float = setting(1000.0, number(0, 1e6), "and how far apart")


@dataclass(frozen=True, slots=True, kw_only=True)
class Midnight:
    """Times are moved so that midnight comes while packets flow."""

    after_s: float = setting(MISSING, _SECONDS, "midnight is so long after the first packet", 3600.0)
    zone: str = setting("America/New_York", text(r"\S+", "the name of a time zone"), "where it is midnight")
    new_session: bool = setting(True, boolean(), "the new day is a new session")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFault:
    """What a request server does wrong, and what it refuses to do."""

    age: int = setting(0, _PACKETS, "messages further behind the newest than this are gone; 0 = none")
    rate: float = setting(0.0, number(0, 1e9), "answers a second; the rest is silence; 0 = all")
    mtu: int = setting(1400, integer(64, 65507), "bytes of an answer: what does not fit is not sent")
    silence: float = setting(0.0, _PROBABILITY, "share of requests without an answer")
    other_session: float = setting(0.0, _PROBABILITY, "share of answers that name another session")
    other_sequence: float = setting(0.0, _PROBABILITY, "share of answers that begin elsewhere")
    more: float = setting(0.0, _PROBABILITY, "share of answers with more messages than asked for")
    fewer: float = setting(0.0, _PROBABILITY, "share of answers with fewer messages than there are")
    malformed: float = setting(0.0, _PROBABILITY, "share of answers that do not add up")


@dataclass(frozen=True, slots=True, kw_only=True)
class GlimpseFault:
    """What a snapshot server does wrong."""

    bytes_per_s: float = setting(0.0, number(0, 1e12), "how fast it sends; 0 = as fast as it goes")
    cut: float = setting(0.0, _PROBABILITY, "share of snapshots cut off half-way")
    refuse: float = setting(0.0, _PROBABILITY, "share of logins refused")
    stale_messages: int = setting(0, _PACKETS, "snapshots are at least so many messages old")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """All that goes wrong. Without arguments: nothing.

    `all` befalls every line, unless `line`, by number, says something else of it; `skew_us`: each line comes so much
    later than the one before.
    """

    upstream: Upstream = field(default_factory=Upstream)
    all: LineFault = field(default_factory=LineFault)
    line: tuple[LineFault, ...] = ()
    outage: tuple[Outage, ...] = ()
    session: tuple[SessionFault, ...] = ()
    end: End | None = None
    midnight: Midnight | None = None
    requests: RequestFault = field(default_factory=RequestFault)
    glimpse: GlimpseFault = field(default_factory=GlimpseFault)
    skew_us: float = 0.0

    # ---- where they come from ----

    @classmethod
    def load(cls, path: str | Path) -> Faults:
        """The script in a TOML file. Raises ConfigError."""
        path = Path(path)
        return cls.parse(document_of(path), str(path))

    @classmethod
    def parse(cls, document: str, source: str = "<faults>") -> Faults:
        """The script in a TOML text; `source` names it in errors. Raises ConfigError."""
        tables, place = tables_of(document, source)
        check_keys(tables, [f.name for f in fields(cls)], place)
        skew = place.at("skew_us")
        try:
            skew_us = number(0, 1e6).read(tables.get("skew_us", 0))
        except ValueError:
            raise skew.error(number(0, 1e6).expected, shown(tables["skew_us"])) from None
        every = _one(LineFault, tables, "all", place)
        return cls(
            upstream=_one(Upstream, tables, "upstream", place),
            all=every,
            line=tuple(_line(every, table, here) for table, here in _many(tables, "line", LINES_MAX, place)),
            outage=tuple(_outage(table, here) for table, here in _many(tables, "outage", OUTAGES_MAX, place)),
            session=tuple(_session(table, here) for table, here in _many(tables, "session", 1000, place)),
            end=_one(End, tables, "end", place) if "end" in tables else None,
            midnight=_one(Midnight, tables, "midnight", place) if "midnight" in tables else None,
            requests=_one(RequestFault, tables, "requests", place),
            glimpse=_one(GlimpseFault, tables, "glimpse", place),
            skew_us=skew_us,
        )

    @classmethod
    def default(cls) -> Faults:
        """Hard enough: loss, bursts, duplicates, reordering and skew on both lines, and one outage of both."""
        return cls.parse(DEFAULT, "the default script")

    @staticmethod
    def example() -> str:
        """Every key there is, with what it means; docs/faults.md shows it."""
        parts = ["skew_us = 0.0                      # each line comes so much later than the one before"]
        for head, cls, instead in TABLES:
            lines = example_lines(cls, without=instead)
            others = [line for line in example_lines(cls) if line not in lines]
            parts.append(
                "\n".join([f"# {(cls.__doc__ or '').strip()}", head, *lines, *(f"# {line}" for line in others)])
            )
        return "\n\n".join(parts) + "\n"

    def toml(self) -> str:
        """The script as a file: parse() gives it back."""
        parts = [f"skew_us = {self.skew_us}"] if self.skew_us else []
        for f in fields(self)[:-1]:
            value = getattr(self, f.name)
            for table in value if isinstance(value, tuple) else [value] if value is not None else []:
                head = f"[[{f.name}]]" if isinstance(value, tuple) else f"[{f.name}]"
                lines = _written(table, self.all if f.name == "line" else None)
                if lines or isinstance(value, tuple) or f.name in ("end", "midnight"):
                    parts.append("\n".join([head, *lines]))
        return "\n\n".join(parts) + "\n"

    # ---- what they do ----

    def stream(self, packets: Packets, *, framing: str = "moldudp64") -> Iterator[tuple[int, bytes]]:
        """The feed as the exchange sends it: sessions changed, numbers begun again, midnight crossed, the end repeated.

        This is what a run without loss sees. `packets` are (time in ns since the epoch, payload). Raises ConfigError
        for what `framing` cannot have.
        """
        self.check(framing)
        if not self.session and self.end is None and self.midnight is None:
            return iter(packets)
        return Rewriter(self, framing).run(packets)

    def wire(
        self, packets: Packets, *, lines: int = 2, seed: int = 1, framing: str = "moldudp64", frames: bool = False
    ) -> Iterator[tuple[int, int, bytes]]:
        """(time, line, payload) as they arrive: `packets` on each of `lines`, with what befalls them there.

        The same arguments give the same bytes. `frames`: those whose UDP checksum is wrong are there, too, as
        WrongChecksum. Raises ConfigError for what cannot be.
        """
        self.check(framing)
        return self._arrivals(packets, self.line_faults(lines, seed, framing, frames), framing)

    def apply(
        self, packets: Packets, *, lines: int = 2, seed: int = 1, framing: str = "moldudp64", frames: bool = False
    ) -> Iterator[tuple[int, int, bytes]]:
        """stream(), then wire(): (time, line, payload) in order of arrival."""
        return self.wire(self.stream(packets, framing=framing), lines=lines, seed=seed, framing=framing, frames=frames)

    def line_faults(self, lines: int, seed: int, framing: str = "moldudp64", frames: bool = False) -> list[LineFaults]:
        """The compiled machine of each line. Raises ConfigError when the script speaks of lines that are not there."""
        named = max([len(self.line), *(1 + n for outage in self.outage for n in outage.lines)])
        if not 1 <= lines <= LINES_MAX or named > lines:
            raise ConfigError(f"faults: the script names {named} lines of {lines} (there can be 1 to {LINES_MAX})")
        if not 0 <= seed < 1 << 64:
            raise ConfigError(f"faults: seed must be 0 to 2^64 - 1, not {seed}")
        return [
            LineFaults(
                self.line[n] if n < len(self.line) else self.all,
                self.upstream,
                [outage.plan() for outage in self.outage if not outage.lines or n in outage.lines],
                seed=seed,
                line=n,
                delay_ns=round(n * self.skew_us * 1000),
                framing=framing,
                frames=frames,
            )
            for n in range(lines)
        ]

    def check(self, framing: str) -> None:
        """Raise ConfigError for faults that this framing cannot have."""
        if framing not in FRAMINGS:
            raise ConfigError(f"faults: packets are of {' or '.join(FRAMINGS)}, not of {framing!r}")
        if framing == "iextp" and self.end is not None:
            raise ConfigError("faults: [end] needs moldudp64: IEX-TP has no packet that says the end of the session")
        if framing == "iextp" and any(fault.name for fault in self.session):
            raise ConfigError("faults: [[session]] name needs moldudp64: the session ids of IEX-TP are numbers")

    def check_live(self) -> None:
        """Raise ConfigError for faults that a live sender does not make."""
        for name, given in (("session", self.session), ("end", self.end), ("midnight", self.midnight)):
            if given:
                raise ConfigError(f"faults: [{name}] is for packets of a file or a rehearsal, not for a live sender")

    def _arrivals(self, packets: Packets, machines: list[LineFaults], framing: str) -> Iterator[tuple[int, int, bytes]]:
        waiting: list[tuple[int, int, int, int, bytes]] = []  # order of arrival, line, order of making, time, payload
        order = count()
        latest = time = 0
        pop, push = heapq.heappop, heapq.heappush
        for time, payload in _without_tail(packets, self.end.lost_packets if self.end else 0, framing):
            latest = max(latest, time)
            while waiting and waiting[0][0] < latest:
                _, line, _, when, ready = pop(waiting)
                yield when, line, ready
            for line, machine in enumerate(machines):
                for when, data in machine.offer(time, payload):
                    push(waiting, (when - time + latest, line, next(order), when, data))
        for line, machine in enumerate(machines):
            for when, data in machine.flush(time):
                push(waiting, (when - time + latest, line, next(order), when, data))
        while waiting:
            _, line, _, when, ready = pop(waiting)
            yield when, line, ready


def _without_tail(packets: Packets, lost: int, framing: str) -> Iterator[tuple[int, bytes]]:
    """The packets without the last `lost` ones of data; what says the end, and heartbeats behind them, stay."""
    if not lost:
        yield from packets
        return
    kept: deque[tuple[int, bytes]] = deque()  # from the packet of data on that may yet be one of the last
    data = 0
    for item in packets:
        if is_end(item[1], framing) and data:
            yield from (one for one in kept if is_control(one[1], framing))
            kept.clear()
            data = 0
        kept.append(item)
        data += not is_control(item[1], framing)
        while kept and (data > lost or is_control(kept[0][1], framing)):
            data -= not is_control(kept[0][1], framing)
            yield kept.popleft()
    yield from (one for one in kept if is_control(one[1], framing))


# ---- reading and writing ----


def _one(cls: type[T], tables: Mapping[str, Any], key: str, place: Place) -> T:
    return read_table(cls, tables.get(key, {}), place.at(key))


def _many(tables: Mapping[str, Any], key: str, most: int, place: Place) -> list[tuple[Any, Place]]:
    """The entries of an array of tables, with their places."""
    found = tables.get(key, [])
    if not isinstance(found, list):
        raise place.at(key).error(f"tables [[{key}]]", shown(found))
    if len(found) > most:
        raise place.at(key, most).error(f"at most {most} tables [[{key}]]", f"{len(found)}")
    return [(table, place.at(key, i)) for i, table in enumerate(found)]


def _line(every: LineFault, table: Any, place: Place) -> LineFault:
    """What [all] says, but for what the table says."""
    own = read_table(LineFault, table, place)
    return replace(every, **{key: getattr(own, key) for key in table})


def _outage(table: Any, place: Place) -> Outage:
    outage = read_table(Outage, table, place)
    by_time, by_packets = ("from_s", "for_s", "every_s"), ("from_packet", "for_packets", "every_packets")
    if any(key in table for key in by_time) and any(key in table for key in by_packets):
        raise place.error("one of for_s and for_packets, with its from_ and every_", "both")
    _, length, every, _ = outage.plan()
    if not length:
        raise place.error("for_s or for_packets over 0: how long the outage lasts", "neither")
    if every and every <= length:
        raise place.error("an outage that is over before it comes again", f"one of {length} every {every}")
    return outage


def _session(table: Any, place: Place) -> SessionFault:
    fault = read_table(SessionFault, table, place)
    if bool(fault.at_packet) == bool(fault.at_s):
        raise place.error("at_packet or at_s over 0", "both" if fault.at_s else "neither")
    if fault.name and fault.kind == "restart":
        raise place.at("name").error("no name: a restart keeps the session id", shown(fault.name))
    return fault


def _written(table: Any, base: Any) -> list[str]:
    """The keys of a table that differ from `base`, or else from their defaults."""
    lines = []
    for f in fields(table):
        value = getattr(table, f.name)
        if value != (f.default if base is None else getattr(base, f.name)):
            lines.append(f"{f.name} = {toml(value)}")
    return lines


TABLES: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("[upstream]", Upstream, ()),
    ("[all]", LineFault, ()),
    ("[[outage]]", Outage, ("from_packet", "for_packets", "every_packets")),
    ("[[session]]", SessionFault, ("at_s", "name")),
    ("[end]", End, ()),
    ("[midnight]", Midnight, ()),
    ("[requests]", RequestFault, ()),
    ("[glimpse]", GlimpseFault, ()),
)

DEFAULT = """\
skew_us = 20.0              # line B is that much behind line A

[upstream]                  # lost before the lines part: no other line has it
burst_loss = 0.0005
burst_packets = 4

[all]
loss = 0.01                 # independent, on each line
burst_loss = 0.005
burst_packets = 12
duplicate = 0.005
duplicate_us = 200.0
reorder = 0.005
reorder_packets = 4
jitter_us = 10.0
truncate = 0.0005
corrupt = 0.0005

[[outage]]                  # both lines
from_packet = 1000
for_packets = 100
"""
