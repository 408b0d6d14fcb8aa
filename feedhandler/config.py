"""The configuration of a handler: one TOML file, checked on load, as frozen dataclasses.

`load(path)` reads a file, `parse(text, source)` a text, `example()` writes a documented sample with every key. Every
mistake is a ConfigError that names file and line, the key, what was expected and what was found.
"""

import datetime
import tomllib
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from feedhandler import venue_config
from feedhandler.credentials import Sources
from feedhandler.errors import ConfigError
from feedhandler.settings import (
    Kind,
    Place,
    address,
    boolean,
    check_keys,
    choice,
    day,
    endpoint,
    example_lines,
    integer,
    kept,
    mode,
    one_of,
    read_table,
    setting,
    several,
    shown,
    text,
    vlan,
)

BACKENDS = ("auto", "sockets", "af_xdp", "rdma")
STALE_ON = ("unknown_order", "over_execution", "duplicate_order", "full", "price_range")
FAULTS = (
    *STALE_ON,
    "crossed",
)  # a call auction crosses books, and not every feed tells when one is on: only if asked for
SAMPLE_DAY = datetime.date(2026, 11, 22)
LINES_MAX = 64  # lines that one hot thread serves
CHANNELS_MAX = 32
_NAME = text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name of letters, digits, '.', '_' and '-', at most 63 of them")
_USER = text(r"[ -~]{0,6}", "at most 6 ASCII characters")
_PASSWORD = text(r"[ -~]{0,10}", "at most 10 ASCII characters")
_SHORT = text(r"[!-~]{1,15}", "a name of 1 to 15 visible ASCII characters")


@dataclass(frozen=True, slots=True)
class Shm:
    """The shared-memory segment: where it lies and who may attach."""

    name: str = setting(MISSING, _NAME, "strategies attach to this name", "nasdaq")
    dir: str = setting("/dev/shm", text(r"/.*", "an absolute path"), "a tmpfs or hugetlbfs")
    mode: int = setting(0o640, mode(), "permissions of the segment")
    group: str = setting(
        "", text(r"[^:\s]*", 'the name of a Unix group, or ""'), 'its Unix group; "" = the writer\'s own'
    )


@dataclass(frozen=True, slots=True)
class Books:
    """Sizes of the order books; memory is taken once, at the start."""

    depth: int = setting(10, integer(1, 64), "price levels published per side")
    instruments: int = setting(16384, integer(1, 1 << 20), "symbols there is room for")
    orders: int = setting(2_000_000, integer(1, 1 << 30), "live orders there is room for")
    stale_on: tuple[str, ...] = setting(STALE_ON, several(choice(*FAULTS)), "faults after which a book is STALE")
    crossed_ms: int = setting(1000, integer(0, 86_400_000), "a book crossed for so long while trading is a fault")


@dataclass(frozen=True, slots=True)
class Ring:
    """The event ring."""

    events: int = setting(65536, integer(64, 1 << 30, power_of_two=True), "slots of 64 bytes; a power of two")


@dataclass(frozen=True, slots=True)
class Run:
    """How the hot thread runs: the table [handler]."""

    backend: str = setting("auto", choice(*BACKENDS), "the way to the wire: " + ", ".join(BACKENDS))
    wait: str = setting("adaptive", choice("spin", "adaptive", "block"), "spin, adaptive (spin, then block) or block")
    spin_us: int = setting(50, integer(0, 1_000_000), "adaptive: microseconds of spinning before it blocks")
    cpu: tuple[int, ...] = setting((), several(integer(0, 4095)), "CPUs for the hot thread; [] = any")
    wake_us: int = setting(50, integer(1, 1_000_000), "sleeping readers are woken at most this often")
    latency_sample: int = setting(64, integer(1, 1 << 20), "latency is measured on one packet in so many")
    priority: int = setting(0, integer(0, 99), "SCHED_FIFO of the hot thread, 1 to 99: docs/backends.md first; 0 = off")
    lock_memory: bool = setting(False, boolean(), "mlockall: nothing is ever paged out")
    busy_poll_us: int = setting(0, integer(0, 1_000_000), "SO_BUSY_POLL on the sockets; 0 = off")
    receive_buffer: int = setting(8_388_608, integer(4096, 1 << 30), "bytes asked of the kernel per socket")


@dataclass(frozen=True, slots=True)
class AfXdp:
    """How the backend af_xdp takes frames from the driver."""

    mode: str = setting("native", choice("native", "generic"), "native, or generic: slower, for any interface")
    ring: int = setting(
        65536, integer(64, 1 << 20, power_of_two=True), "frames per receive queue: all there is to wait in"
    )
    frame_bytes: int = setting(2048, one_of(2048, 4096), "memory of one frame; 4096 for jumbo frames (generic only)")
    zero_copy: bool = setting(True, boolean(), "tried first, where the driver can")
    huge_pages: bool = setting(True, boolean(), "tried first, where some are reserved")
    check_udp_checksum: bool = setting(False, boolean(), "also in software; few NICs let a bad one pass")
    stall_ms: int = setting(100, integer(0, 60_000), "a pause of the hot thread that the ring is to bridge, ...")
    packets_per_second: int = setting(500_000, integer(1, 1_000_000_000), "... at this rate; less is warned of")
    hardware_timestamps: bool = setting(True, boolean(), "tried first, where the driver gives them")


@dataclass(frozen=True, slots=True)
class Rdma:
    """How the backend rdma takes packets from the device."""

    mode: str = setting(
        "raw-eth", choice("raw-eth", "roce-ud"), "raw-eth: UDP frames past the kernel; roce-ud: RoCE datagrams"
    )
    device: str = setting("", text(r"[^\s/]{0,63}", 'the name of an RDMA device, or ""'), '"" = the interface\'s own')
    ring: int = setting(4096, integer(16, 1 << 20, power_of_two=True), "packets that may wait in the device")
    queue_key: int = setting(0x01234567, integer(0, 0xFFFFFFFF, hexadecimal=True), "roce-ud: the senders' Q_Key")
    slot_bytes: int = setting(2048, integer(256, 65536), "memory of one packet, headers included")
    loop: str = setting("auto", choice("auto", "compiled", "pyverbs"), "auto: compiled where pyverbs can be trusted")


SYNC = {"none": -1.0, "file": 0.0}
"""Settings of `Record.sync` that are words."""


def _sync(value: Any) -> str | float:
    if value in SYNC:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 3600:
        raise ValueError
    return float(value)


def _rotation(value: Any) -> int:
    return 0 if value == 0 and type(value) is int else int(integer(1 << 16, 1 << 44).read(value))


def _zone(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        raise ValueError from None
    return value


@dataclass(frozen=True, slots=True)
class Record:
    """How the feed is recorded: `feedhandler record`."""

    format: str = setting("pcapng", choice("pcapng", "pcap"), "pcapng, or plain nanosecond pcap: without names")
    rotate_bytes: int = setting(
        1 << 30, Kind("0, or an integer from 65536 to 17592186044416", _rotation), "a file's most, unpacked; 0 = no end"
    )
    rotate_s: int = setting(0, integer(0, 86_400), "a new file each so many seconds from midnight; 0 = each day")
    keep: int = setting(0, integer(0, 1_000_000), "a ring of so many files, the oldest removed; 0 = all")
    compress: int = setting(0, integer(0, 19), "zstd level, on another core; 0 = none")
    sync: str | float = setting(
        "file",
        Kind('"none", "file" or seconds from 0.01 to 3600', _sync),
        'on the disk for sure: with each "file", every so many seconds, or "none"',
    )
    on_full: str = setting(
        "stop", choice("stop", "drop-oldest"), "the disk is full: stop, or drop-oldest files and go on"
    )
    buffer_bytes: int = setting(
        1 << 26, integer(1 << 20, 1 << 36, power_of_two=True), "what may wait for the disk; a power of two"
    )
    books_s: int = setting(0, integer(0, 86_400), "seconds between snapshots of the books; 0 = none")
    zone: str = setting("UTC", Kind('a time zone, as "UTC" or "America/New_York"', _zone), "a day is one there")


@dataclass(frozen=True, slots=True)
class Line:
    """One copy of a channel's messages: a multicast group, or the server of a stream session."""

    name: str = setting(MISSING, _SHORT, "shown in top and in the line table", "A")
    port: int = setting(0, integer(1, 65535), "UDP port, or the server's TCP port", 26400)
    group: str = setting("", address(multicast=True), "multicast group", "239.192.0.1")
    host: str = setting("", text(r"\S+", "a host name or address"), "the server's name or address", "127.0.0.1")
    interface: str = setting("", text(r"[^\s/]{1,15}", "the name of a network interface, as eth0"), "joins here", "lo")
    source: str = setting("", address(multicast=False), 'source-specific join; "" = any source')
    vlan: str = setting("", vlan(), 'af_xdp, raw-eth: "100", or outer.inner "200.100"; "" = untagged')
    username: str = setting("", _USER, "login")
    password: str = setting("", _PASSWORD, "login", repr=False)
    requested_session: str = setting("", text(r"[ -~]{0,10}", "at most 10 ASCII characters"), '"" = the current one')
    url: str = setting("", venue_config.url("wss", "ws"), "the venue's WebSocket", "wss://127.0.0.1:8443/ws")
    address: str = setting("", venue_config.reach(), 'connect there, "host" or "host:port"; "" = where DNS says')
    ca: str = setting("", venue_config.file(), 'PEM file of the authorities to trust; "" = the system\'s')
    certificate: str = setting("", venue_config.file(), "PEM file of our own certificate, where one is asked for")
    key: str = setting("", venue_config.file(), 'PEM file of its key; "" = it stands with the certificate')


DATAGRAM_KEYS = ("group", "interface", "source", "vlan")
STREAM_KEYS = ("host", "username", "password", "requested_session")
NOT_OF_DATAGRAMS = (*STREAM_KEYS, *venue_config.LINE_KEYS)
NOT_OF_STREAMS = (*DATAGRAM_KEYS, *venue_config.LINE_KEYS)
NOT_OF_WEBSOCKETS = (*DATAGRAM_KEYS, *STREAM_KEYS, "port")


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """How a channel gets back what all of its lines lost: the table [channel.recovery]."""

    servers: tuple[str, ...] = setting(
        (), several(endpoint()), "servers of retransmissions, asked in this order", ("127.0.0.1:26410",)
    )
    request_timeout_ms: int = setting(50, integer(1, 60_000), "a server silent for so long: the next one is asked")
    request_messages: int = setting(1000, integer(1, 65_534), "messages asked for in one request")
    requests_per_second: int = setting(1000, integer(1, 1_000_000), "over all servers")
    attempts: int = setting(3, integer(1, 100), "rounds over all servers, then the next rung")
    gap_limit: int = setting(100_000, integer(1, 1 << 30), "a longer gap is not asked for: it takes a snapshot")
    snapshot: str = setting("", endpoint(optional=True), 'server of snapshots; "" = none', "127.0.0.1:26420")
    username: str = setting("", _USER, "login to the server of snapshots")
    password: str = setting("", _PASSWORD, "login", repr=False)
    join: str = setting("at", choice("at", "after"), "the feed goes on with the snapshot's number, or after it")
    snapshot_session: str = setting(
        "same", choice("same", "any"), "same: a snapshot of another session than the feed's is refused"
    )
    snapshot_timeout_ms: int = setting(30_000, integer(100, 3_600_000), "for a whole snapshot")
    snapshot_retry_ms: int = setting(5000, integer(100, 3_600_000), "STALE: a snapshot is tried again after so long")
    window_messages: int = setting(
        262_144, integer(16, 1 << 22, power_of_two=True), "messages that may wait meanwhile; a power of two"
    )


@dataclass(frozen=True, slots=True)
class Channel:
    """One numbered flow of messages, carried by one or more lines."""

    name: str = setting(MISSING, _SHORT, "shown in top and in the channel table", "itch")
    protocol: str = setting(MISSING, text(r"\w+", "the name of a protocol"), "what the messages are", "itch50")
    session: str = setting(MISSING, text(r"\w+", "the name of a session protocol"), "what carries them", "moldudp64")
    venue: str = setting(
        "", text(r"[!-~]{0,8}", "at most 8 visible ASCII characters"), 'market; "" = the protocol\'s', "XNAS"
    )
    date: datetime.date | None = setting(None, day(), "session date; unset = today at the exchange", SAMPLE_DAY)  # noqa: RUF009
    reorder_us: int = setting(1000, integer(0, 10_000_000), "a hole open for so long is a gap")
    window_messages: int = setting(
        8192, integer(16, 1 << 20, power_of_two=True), "messages that may wait; a power of two"
    )
    silence_ms: int = setting(0, integer(0, 86_400_000), "STALE after so long without a packet; 0 = 3 × heartbeat")
    skew_ms: int = setting(1000, integer(0, 3_600_000), "lines may lie this far apart")
    symbols: tuple[str, ...] = setting(
        (), several(text(r"\S+", "an instrument's name")), "instruments, as the venue names them", ("BTCUSDT",)
    )
    streams: tuple[str, ...] = setting(
        (), several(text(r"\S+", "a stream's name")), "what of them, as the venue names it; [] = book and trades"
    )
    rest: str = setting("", venue_config.url("https", "http", optional=True), 'REST service; "" = the venue\'s own')
    depth: int = setting(0, integer(0, 1_000_000), "levels a side that the venue is asked for; 0 = all it gives")
    deflate: bool = setting(False, boolean(), "offer compression: less to receive, more work for each message")
    max_message_bytes: int = setting(4 << 20, integer(1024, 1 << 26), "a longer message ends the connection, 1009")
    lines: tuple[Line, ...] = ()
    recovery: RecoverySettings | None = None
    credentials: Sources | None = None

    @property
    def websocket(self) -> bool:
        """Its lines are WebSockets of a venue; the last of them is its own control line."""
        return self.session == venue_config.WEBSOCKET


@dataclass(frozen=True, slots=True)
class Config:
    """All there is to say to a handler."""

    shm: Shm
    books: Books
    ring: Ring
    handler: Run
    channels: tuple[Channel, ...]
    af_xdp: AfXdp = AfXdp()
    rdma: Rdma = Rdma()
    record: Record = Record()


def load(path: str | Path) -> Config:
    """The configuration in a TOML file. Raises ConfigError."""
    path = Path(path)
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text, found other bytes") from None


def parse(document: str, source: str = "<config>") -> Config:
    """The configuration in a TOML text; `source` names it in errors. Raises ConfigError."""
    try:
        tables = tomllib.loads(document)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: expected TOML, found: {error}") from None
    place = Place(source, document)
    check_keys(tables, ("shm", "books", "ring", "handler", "af_xdp", "rdma", "record", "channel"), place)
    shm = read_table(Shm, tables.get("shm", {}), place.at("shm"))
    books = read_table(Books, tables.get("books", {}), place.at("books"))
    ring = read_table(Ring, tables.get("ring", {}), place.at("ring"))
    run = read_table(Run, tables.get("handler", {}), place.at("handler"))
    af_xdp = read_table(AfXdp, tables.get("af_xdp", {}), place.at("af_xdp"))
    rdma = read_table(Rdma, tables.get("rdma", {}), place.at("rdma"))
    record = read_table(Record, tables.get("record", {}), place.at("record"))
    found = _tables(tables, "channel", "itch", place)
    channels = tuple(_channel(i, table, place.at("channel", i)) for i, table in enumerate(found))
    _none_twice(
        (c.name for c in channels), "a channel name", [place.at("channel", i, "name") for i in range(len(found))]
    )
    lines = [
        (line, place.at("channel", i, "line", j)) for i, c in enumerate(channels) for j, line in enumerate(c.lines)
    ]
    sources = {i for i, channel in enumerate(channels) if not channel.websocket}
    named = [(line, where) for line, where in lines if where.path[1] in sources]
    targets = [place.at("group" if line.group else "host") for line, place in named]
    _none_twice((_target(line) for line, _ in named), "an address", targets)
    _none_shadowed([line for line, _ in named], targets)
    if len(channels) > CHANNELS_MAX:
        raise place.at("channel", CHANNELS_MAX).error(f"at most {CHANNELS_MAX} channels", f"{len(channels)}")
    if len(lines) > LINES_MAX:
        raise lines[LINES_MAX][1].error(f"at most {LINES_MAX} lines in all", f"{len(lines)}")
    return Config(shm, books, ring, run, channels, af_xdp, rdma, record)


def _channel(number: int, table: Any, place: Place) -> Channel:
    from feedhandler.decode import protocols
    from feedhandler.session import framing

    known = protocols()
    table = venue_config.implied(table, {name: protocol.framing for name, protocol in known.items()})
    check_keys(table, [f.name for f in fields(Channel) if f.name != "lines"] + ["line"], place)
    session = _session(table, place)
    websocket = session == venue_config.WEBSOCKET
    stream = not websocket and framing(session).stream
    lines = []
    for i, entry in enumerate(_tables(table, "line", "A", place)):
        here = place.at("line", i)
        if websocket:
            found = read_table(Line, entry, here, without=NOT_OF_WEBSOCKETS, required=("url",))
            lines.append(venue_config.line(found, here))
        elif stream:
            lines.append(read_table(Line, entry, here, without=NOT_OF_STREAMS, required=("host", "port")))
        else:
            lines.append(
                read_table(Line, entry, here, without=NOT_OF_DATAGRAMS, required=("port", "group", "interface"))
            )
    _none_twice((line.name for line in lines), "a line name", [place.at("line", i, "name") for i in range(len(lines))])
    if websocket:
        lines.append(venue_config.control_line(Line, number))
    nested: dict[str, tuple[str, Any]] = {
        "lines": ("line", tuple(lines)),
        "recovery": ("recovery", _recovery(table, place)),
        "credentials": ("credentials", _credentials(table, place, websocket)),
    }
    without = () if websocket else venue_config.CHANNEL_KEYS
    required = ("symbols",) if websocket else ()
    channel = read_table(Channel, table, place, nested=nested, without=without, required=required)
    if channel.protocol not in known:
        raise place.at("protocol").error(choice(*known).expected, shown(channel.protocol))
    if websocket != (known[channel.protocol].framing == venue_config.WEBSOCKET):
        fitting = [name for name, p in known.items() if websocket == (p.framing == venue_config.WEBSOCKET)]
        raise place.at("protocol").error(
            f"{choice(*fitting).expected} with session = {shown(session)}", shown(channel.protocol)
        )
    if websocket:
        venue_config.check(channel, place)
    return channel if channel.venue else replace(channel, venue=known[channel.protocol].venue)


def _recovery(table: Mapping[str, Any], place: Place) -> RecoverySettings | None:
    """The channel's table of recovery, where its session and its protocol have a way to recover."""
    if "recovery" not in table:
        return None
    here = place.at("recovery")
    if table["session"] != "moldudp64":
        more = " (soupbintcp recovers by itself, by logging in again)" if table["session"] == "soupbintcp" else ""
        raise here.error(f'none, but with session = "moldudp64"{more}', f"it with session = {shown(table['session'])}")
    found = read_table(RecoverySettings, table["recovery"], here)
    if not found.servers and not found.snapshot:
        raise here.error('servers = ["host:port"], or snapshot = "host:port", or both', "neither")
    if found.snapshot and table.get("protocol") != "itch50":
        what = f"a server with protocol = {shown(table.get('protocol'))}"
        raise here.at("snapshot").error('"", but with protocol = "itch50" (GLIMPSE)', what)
    return found


def _credentials(table: Mapping[str, Any], place: Place, websocket: bool) -> Sources | None:
    """Where the channel's credentials stand, where its session has a use for them."""
    if "credentials" not in table:
        return None
    here = place.at("credentials")
    if not websocket:
        raise here.error("none, but with a crypto venue's protocol", f"it with session = {shown(table['session'])}")
    if not isinstance(table["credentials"], Mapping):
        raise here.error("a table", kept(table["credentials"]))
    return read_table(Sources, table["credentials"], here)


def _session(table: Mapping[str, Any], place: Place) -> str:
    """The session protocol of the channel's lines."""
    from feedhandler.session import framings

    live = [name for name in framings() if name != "binaryfile"]  # a BinaryFILE is replayed, not received
    session = table.get("session")
    if session not in live:
        found = "nothing, and the key is required" if session is None else shown(session)
        raise place.at("session").error(choice(*live).expected, found)
    return str(session)


def _tables(table: Mapping[str, Any], key: str, example: str, place: Place) -> list[Any]:
    """The entries of an array of tables that must have at least one."""
    found = table.get(key)
    if not isinstance(found, list) or not found:
        header = ".".join([str(step) for step in place.path if isinstance(step, str)] + [key])
        what = "nothing" if found is None else shown(found)
        raise place.at(key).error(f'at least one [[{header}]] with name = "{example}" and the rest', what)
    return found


def _flow(line: Line) -> str:
    """A multicast flow, whoever sends it."""
    return f"{line.group}:{line.port} on {line.interface}" + (f" VLAN {line.vlan}" if line.vlan else "")


def _target(line: Line) -> str:
    """Where a line's packets come from: no two lines may share it."""
    if line.group:
        return _flow(line) + (f" from {line.source}" if line.source else "")
    return f"{line.host}:{line.port}"


def _none_shadowed(lines: list[Line], places: list[Place]) -> None:
    """No line of any sender beside one of a single sender of the same flow: whose packets they are must be plain."""
    chosen = {_flow(line): line.source for line in lines if line.group and line.source}
    for line, place in zip(lines, places, strict=True):
        if line.group and not line.source and _flow(line) in chosen:
            other = f"another line that takes {chosen[_flow(line)]} of it"
            raise place.error("a flow of its own, or a source for each of its lines", f"{_flow(line)} beside {other}")


def _none_twice(values: Iterable[str], what: str, places: list[Place]) -> None:
    seen: set[str] = set()
    for value, place in zip(values, places, strict=True):
        if value in seen:
            raise place.error(f"{what} of its own", f"{value} a second time")
        seen.add(value)


def example() -> str:
    """A documented sample with every key: two multicast lines; recovery, a stream session, a WebSocket, as comments."""
    second = {"name": "B", "group": "239.192.0.2"}
    line_a = example_lines(Line, without=NOT_OF_DATAGRAMS)
    line_b = [f'{name} = "{value}"' for name, value in second.items()] + ["port = 26400", 'interface = "lo"']
    stream = [f"# {line}" for line in example_lines(Line, without=NOT_OF_STREAMS)]
    crypto = [f"# {line}" for line in _crypto_lines()]
    socket = [f"# {line}" for line in example_lines(Line, without=NOT_OF_WEBSOCKETS)]
    signed = [f"# {line}" for line in example_lines(Sources)]
    again = [f"# {line}" for line in example_lines(RecoverySettings)]
    parts: list[tuple[str, list[str]]] = [
        ("# The feed as strategies see it.\n[shm]", example_lines(Shm)),
        ("[books]", example_lines(Books)),
        ("[ring]", example_lines(Ring)),
        ("[handler]", example_lines(Run)),
        ("[af_xdp]", example_lines(AfXdp)),
        ("[rdma]", example_lines(Rdma)),
        ("# What `feedhandler record` does.\n[record]", example_lines(Record)),
        ("[[channel]]", example_lines(Channel, without=venue_config.CHANNEL_KEYS)),
        (
            "# How messages that no line brought are had again. Without it a gap stays STALE.\n# [channel.recovery]",
            again,
        ),
        ("[[channel.line]]", line_a),
        ("[[channel.line]]", line_b),
        ('# With session = "soupbintcp" a line is the server of a stream instead:\n# [[channel.line]]', stream),
        ("# A crypto venue speaks JSON over WebSockets; the keys above are a channel's, too:\n# [[channel]]", crypto),
        ("# For Coinbase's level2: where what a subscription is signed with stands.\n# [channel.credentials]", signed),
        ("# [[channel.line]]", socket),
    ]
    return "\n\n".join("\n".join([head, *lines]) for head, lines in parts) + "\n"


def _crypto_lines() -> list[str]:
    """The keys of a channel of WebSockets."""
    named = {"name": "crypto", "protocol": "binance"}
    others = [f.name for f in fields(Channel) if f.name not in venue_config.CHANNEL_KEYS]
    return [f'{key} = "{value}"' for key, value in named.items()] + example_lines(Channel, without=others)
