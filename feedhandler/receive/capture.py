"""Captures: pcap, pcapng and Nasdaq BinaryFILE, plain or compressed, recognised by their first bytes, not by name."""

import mmap
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple

from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive._binaryfile import BinaryFile
from feedhandler.receive._capture import PacketFile
from feedhandler.receive._packets import Packets
from feedhandler.receive._reassembly import Reassembly
from feedhandler.receive.capture_writer import BinaryFileWriter, PcapngWriter, PcapWriter
from feedhandler.receive.compressed import Compression, PlainFile, Unpacker, compression

__all__ = [
    "BinaryFileWriter",
    "Destination",
    "Kind",
    "PcapWriter",
    "PcapngWriter",
    "Stream",
    "kind",
    "open_file",
    "packets",
    "read",
    "receiver",
    "streams",
]

LINES_MAX = 64
HEAD = 4096  # bytes by which a file is recognised
NOT_WANTED = -2  # in the place of a line's number: known, but not asked for
SEGMENTS_LOOKED_AT = 20_000  # of a capture, for the servers of streams
EVER = -(2**63), 2**63 - 1
PCAP_MAGIC = (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1")
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"

Destination = tuple[str, int] | tuple[str, int, str]
"""Where a line's packets go: address, port and, to take those of one sender only, its address."""


class Kind(NamedTuple):
    """What a file is."""

    format: Literal["pcap", "pcapng", "binaryfile"]
    compression: Compression | None


@dataclass(frozen=True)
class Stream:
    """The UDP packets of a capture that go to one destination."""

    address: str
    port: int
    packets: int
    payload_bytes: int
    payloads: tuple[bytes, ...]
    """Those of the first packets, at most 8: by these a protocol can be recognised."""
    first_ts: int
    """Time of the first packet, ns since the Unix epoch."""
    last_ts: int
    """The latest time of a packet."""

    @property
    def destination(self) -> tuple[str, int]:
        """Address and port, as `receiver` takes them."""
        return self.address, self.port


def kind(path: str | Path) -> Kind:
    """What the file at `path` is, by its content. Raises CaptureError when it is none of ours."""
    path = Path(path)
    packed, head = _head(path)
    if head[:4] in PCAP_MAGIC:
        return Kind("pcap", packed)
    if head[:4] == PCAPNG_MAGIC:
        return Kind("pcapng", packed)
    if _is_binaryfile(head):
        return Kind("binaryfile", packed)
    if not head:
        raise CaptureError(f"{path}: byte 0: the file is empty")
    raise CaptureError(
        f"{path}: byte 0: neither pcap, pcapng nor BinaryFILE: it begins with {head[:8].hex(' ')}"
        + (f" (unpacked from {packed})" if packed else "")
    )


def receiver(path: str | Path, lines: Sequence[Destination] | None = None) -> PacketFile | BinaryFile:
    """A receiver of the UDP payloads of a capture, or of the messages of a BinaryFILE.

    `lines`: the destination of each line, in the order of their numbers; packets to others are counted as foreign.
    Without it every destination in the file is a line, in order of appearance; when there are more than 64, the 64
    with most packets. A BinaryFILE is one line, of runs of whole messages with their lengths.

    Raises CaptureError when the file cannot be read or is of an unknown kind, ConfigError when `lines` is wrong. Damage
    further on ends the input: every whole packet before it is given, then `error` says what it was. A plain file is
    mapped: it must not be cut short while it is read.
    """
    path = Path(path)
    what = kind(path)
    if what.format == "binaryfile":
        return BinaryFile(1, source(path, what), str(path))
    if lines is None:
        lines = [s.destination for s in _largest(streams(path))] or [("0.0.0.0", 0)]
    if not 1 <= len(lines) <= LINES_MAX:
        raise ConfigError(f"{path}: a capture has 1 to {LINES_MAX} lines, not {len(lines)}")
    return open_file(path, what, len(lines), list(enumerate(lines)))


def open_file(
    path: Path,
    what: Kind,
    lines: int,
    destinations: Sequence[tuple[int, Destination]],
    interfaces: Callable[[str, str, str], int] | None = None,
    *,
    since: int = EVER[0],
    until: int = EVER[1],
    growing: bool = False,
    reassembly: Reassembly | None = None,
) -> PacketFile:
    """A receiver of a packet capture, of so many `lines`, of which this file may have some only.

    `destinations`: (number of the line, or NOT_WANTED; where its packets go), any number of them for a line.
    `interfaces`, of a pcapng whose interfaces are lines: from name, description and comment of an interface the number
    of its line, NOT_WANTED, or -1 where each packet's destination tells. Packets before `since` and from `until` on
    (ns since the Unix epoch) are passed over, and reading ends a second behind `until`. `growing`: the end of the file
    is an idle turn, until `settle()`. `reassembly` has the lines that are streams; their destinations are the servers.
    """
    rows = [(*_packed(destination), line) for line, destination in destinations]
    unpacked = source(path, what, growing)
    file = PacketFile(lines, unpacked, str(path), rows, interfaces, since=since, until=until, reassembly=reassembly)
    if growing:
        file.grows()
    return file


def streams(path: str | Path, packets: int | None = None) -> list[Stream]:
    """The destinations of a capture's UDP packets, in order of appearance; of its first `packets` datagrams, if given.

    A damaged capture gives those before the damage. Raises CaptureError when the file is no packet capture.
    """
    return survey(path, packets)[0]


def survey(path: str | Path, packets: int | None = None) -> tuple[list[Stream], int]:
    """`streams()`, and the latest time of a TCP segment; 0: there is none."""
    path = Path(path)
    what = kind(path)
    if what.format == "binaryfile":
        raise CaptureError(f"{path}: a BinaryFILE holds messages, not packets: it has no destinations")
    seen: dict[tuple[bytes, int], list[Any]] = {}
    with open_file(path, what, 1, ()) as file:
        file.tally(2**63 if packets is None else packets, seen)
        tcp = file.tcp_latest
    return [
        Stream(_text(address), port, count, size, tuple(payloads), first_ts, last_ts)
        for (address, port), (count, size, payloads, first_ts, last_ts) in seen.items()
    ], tcp


def servers(path: str | Path) -> list[Stream]:
    """Who sends TCP segments in a capture, each as a stream from its address and port, in order of appearance.

    Of the first SEGMENTS_LOOKED_AT segments; `payloads` are those of the first ones with bytes, not put in order.
    """
    path = Path(path)
    seen: dict[tuple[bytes, int], list[Any]] = {}
    looked = 0
    with open_file(path, kind(path), 1, ()) as file:
        while looked < SEGMENTS_LOOKED_AT and (batch := file.segments(1000)):
            looked += len(batch)
            for ts, source, port, _, _, _, _, payload in batch:
                entry = seen.setdefault((source, port), [0, 0, [], ts, ts])
                entry[0] += 1
                entry[1] += len(payload)
                entry[4] = max(entry[4], ts)
                if payload and len(entry[2]) < 8:
                    entry[2].append(payload)
    return [
        Stream(_text(address), port, count, size, tuple(payloads), first_ts, last_ts)
        for (address, port), (count, size, payloads, first_ts, last_ts) in seen.items()
    ]


def read(path: str | Path) -> Iterator[tuple[int, tuple[str, int], bytes]]:
    """Each UDP datagram of a capture as (ts_ns since the Unix epoch, (address, port) it goes to, payload).

    Raises CaptureError, after the last whole packet, when the file is damaged.
    """
    with packets(path) as found:
        targets = found.lines
        for ts, line, payload in found:
            address, port, *_ = targets[line]
            yield ts, (address, port), payload


def packets(path: str | Path, lines: Sequence[Destination] | None = None) -> Packets:
    """The UDP payloads of a capture, the fast way: an iterator over (ts_ns, line, payload).

    `ts_ns` is the packet's time, ns since the Unix epoch, `line` the place in `.lines` of where it goes: (address,
    port). Without `lines` all destinations are numbered as they appear; with them only theirs are given, in that
    numbering. `.batches(n)` gives batches in place of single packets, each a tuple of arrays of the same length but the
    first: `data` (uint8), the memory that holds the payloads: the mapped file itself, or a copy of what was unpacked;
    `times` (int64, ns), `lines` (uint32), and where each payload lies in `data`: `offsets` (int64), `lengths` (uint32,
    bytes). All of them are the caller's; `data` of a mapped file is read-only, and of as much memory as the file.

    Use it in a `with` block, or call close(). Raises CaptureError when the file is no packet capture and, after the
    last whole packet, when it is damaged; ConfigError when `lines` is wrong.
    """
    path = Path(path)
    what = kind(path)
    if what.format == "binaryfile":
        raise CaptureError(f"{path}: a BinaryFILE holds messages, not packets: read it with `receiver`")
    chosen = list(enumerate(lines)) if lines is not None else []
    return Packets(open_file(path, what, max(1, len(chosen)), chosen), lines, _text)


def _head(path: Path) -> tuple[Compression | None, bytes]:
    """How the file is compressed, and its first bytes, unpacked."""
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CaptureError(f"{path}: not a regular file: a capture is read twice; write it to a file first")
            head = file.read(HEAD)
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error
    packed = compression(head)
    if packed is None:
        return None, head
    unpacker = Unpacker(path, packed)
    buffer = bytearray(HEAD)
    try:
        head = bytes(buffer[: unpacker.readinto(memoryview(buffer))])
    except ValueError as error:
        raise CaptureError(f"{path}: {error}") from error
    finally:
        unpacker.close()
    return packed, head


def _is_binaryfile(head: bytes) -> bool:
    """Does `head` look like length-prefixed messages? The format has no magic: the lengths must lead on to each other.

    A message begins with a printable type character; a length of 0 is the mark of the end.
    """
    place = messages = 0
    while place + 3 <= len(head) and messages < 16:
        size = int.from_bytes(head[place : place + 2], "big")
        if size and not 0x20 < head[place + 2] < 0x7F:
            return False
        if size > 2048 and messages < 2:
            return False
        place += 2 + size
        messages += 1
    return messages > 0 and (place <= len(head) or len(head) == HEAD or messages > 1)


def source(path: Path, what: Kind, growing: bool = False) -> mmap.mmap | Unpacker | PlainFile:
    if what.compression is not None:
        return Unpacker(path, what.compression, growing=growing)
    if growing:
        return PlainFile(path)
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapping.madvise(mmap.MADV_SEQUENTIAL)
    return mapping


def _largest(found: list[Stream]) -> list[Stream]:
    if len(found) <= LINES_MAX:
        return found
    kept = {id(s) for s in sorted(found, key=lambda s: -s.packets)[:LINES_MAX]}
    return [s for s in found if id(s) in kept]


def _packed(line: Destination) -> tuple[bytes, int, bytes]:
    address, port, *source = line
    return _mapped(address), port, _mapped(source[0]) if source else bytes(16)


def _mapped(text: str) -> bytes:
    """An address as 16 bytes, IPv4 as ::ffff:a.b.c.d."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no IP address (a capture knows no host names)") from None
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _text(packed: bytes) -> str:
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
