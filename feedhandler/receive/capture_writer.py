"""Captures written: UDP payloads with made Ethernet, IP and UDP headers; and Nasdaq BinaryFILE."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from feedhandler.closing import Closing
from feedhandler.errors import CaptureError
from feedhandler.receive.compressed import open_packed

Endpoint = tuple[str, int]
"""IP address and UDP port."""

SOURCE: Endpoint = ("192.0.2.1", 49152)  # of the addresses set apart for documentation
PAYLOAD_MAX = 65507  # bytes of UDP payload in one IPv4 packet
SNAP = 1 << 18


class _Writer(Closing):
    """A file, compressed as its name says (.gz, .zst), used in a `with` block."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.file = open_packed(self.path)
        except OSError as error:
            raise CaptureError(f"{self.path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Write what is left and close the file."""
        self.file.close()


class PcapWriter(_Writer):
    """A pcap file of UDP packets over Ethernet; times in ns, or in µs (cut, not rounded) with nanosecond=False."""

    def __init__(self, path: str | Path, nanosecond: bool = True) -> None:
        super().__init__(path)
        self.unit = 1 if nanosecond else 1000
        magic = 0xA1B23C4D if nanosecond else 0xA1B2C3D4
        self.file.write(struct.pack("<IHHiIII", magic, 2, 4, 0, 0, SNAP, 1))

    def write(
        self, ts_ns: int, payload: bytes, target: Endpoint, source: Endpoint = SOURCE, *, wrong_checksum: bool = False
    ) -> None:
        """One datagram, received at `ts_ns` (ns since the Unix epoch). Raises CaptureError when it is too large."""
        frame = udp_frame(payload, target, source, wrong_checksum=wrong_checksum)
        seconds, fraction = divmod(ts_ns, 1_000_000_000)
        self.file.write(struct.pack("<IIII", seconds, fraction // self.unit, len(frame), len(frame)) + frame)


class PcapngWriter(_Writer):
    """A pcapng file of UDP packets over Ethernet, times in ns; each interface carries the name of a line."""

    def __init__(self, path: str | Path, interfaces: Sequence[str] = ("A",)) -> None:
        super().__init__(path)
        self.interfaces = tuple(interfaces)
        self.file.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for name in self.interfaces:
            options = _option(2, name.encode()) + _option(9, b"\x09") + _option(0, b"")
            self.file.write(_block(1, struct.pack("<HHI", 1, 0, SNAP) + options))

    def write(
        self,
        ts_ns: int,
        payload: bytes,
        target: Endpoint,
        source: Endpoint = SOURCE,
        interface: int | str = 0,
        *,
        wrong_checksum: bool = False,
    ) -> None:
        """One datagram, received at `ts_ns` on the interface of that number or name."""
        if isinstance(interface, str):
            if interface not in self.interfaces:
                raise CaptureError(f"{self.path}: no interface {interface!r} among {', '.join(self.interfaces)}")
            interface = self.interfaces.index(interface)
        frame = udp_frame(payload, target, source, wrong_checksum=wrong_checksum)
        head = struct.pack("<IIIII", interface, ts_ns >> 32, ts_ns & 0xFFFFFFFF, len(frame), len(frame))
        self.file.write(_block(6, head + frame))


class BinaryFileWriter(_Writer):
    """A Nasdaq BinaryFILE: each message behind its length, u16 big-endian."""

    def write(self, message: bytes) -> None:
        """One message, without its length."""
        if len(message) > 0xFFFF:
            raise CaptureError(f"{self.path}: a message is at most 65535 bytes, not {len(message)}")
        self.file.write(len(message).to_bytes(2, "big") + message)

    def write_run(self, run: bytes) -> None:
        """Messages that stand behind their lengths already."""
        self.file.write(run)

    def end(self) -> None:
        """The mark of the end of the session: a message of no bytes."""
        self.file.write(b"\0\0")


def udp_frame(payload: bytes, target: Endpoint, source: Endpoint = SOURCE, *, wrong_checksum: bool = False) -> bytes:
    """An Ethernet frame with the payload in UDP over IPv4 or IPv6, all checksums right, or UDP's alone wrong."""
    if len(payload) > PAYLOAD_MAX:
        raise CaptureError(f"a UDP payload is at most {PAYLOAD_MAX} bytes, not {len(payload)}")
    head, pseudo, ip_sum, six = _template(target, source)
    length = len(payload) + 8
    if six:
        ip = struct.pack(">IHBB", 0x60000000, length, 17, 1)
    else:
        total = length + 20
        checksum = 0xFFFF - _fold(ip_sum + total)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, total, 0, 0x4000, 1, 17, checksum)
    ports = struct.pack(">HH", source[1], target[1])
    padded = payload + b"\0" if len(payload) & 1 else payload
    sums = pseudo + 2 * length + int.from_bytes(padded, "big") % 0xFFFF
    checksum = (0xFFFF - _fold(sums)) or 0xFFFF
    if wrong_checksum:
        checksum = checksum ^ 0x1234 or 0x1234
    ethernet, addresses = head
    return ethernet + ip + addresses + ports + struct.pack(">HH", length, checksum) + payload


@lru_cache(maxsize=4096)
def _template(target: Endpoint, source: Endpoint) -> tuple[tuple[bytes, bytes], int, int, bool]:
    """What all packets between two endpoints share: head, and the sums of its parts that enter the checksums."""
    there, here = ip_address(target[0]), ip_address(source[0])
    if there.version != here.version:
        raise CaptureError(f"addresses {here} and {there} are of different kinds")
    addresses = here.packed + there.packed
    six = there.version == 6
    mac = _mac(there)
    ethernet = mac + b"\x02\0\0\0\0\x01" + (b"\x86\xdd" if six else b"\x08\x00")
    words = int.from_bytes(addresses, "big") % 0xFFFF
    ip_sum = 0x4500 + 0x4000 + 0x0111 + words
    return (ethernet, addresses), words + 17 + source[1] + target[1], ip_sum, six


def _mac(address: object) -> bytes:
    """The group's Ethernet address (RFC 1112, RFC 2464); a made one for a host."""
    if isinstance(address, IPv4Address):
        if address.is_multicast:
            return b"\x01\x00\x5e" + bytes([address.packed[1] & 0x7F]) + address.packed[2:]
        return b"\x02\0" + address.packed
    packed: bytes = address.packed  # type: ignore[attr-defined]
    return (b"\x33\x33" if packed[0] == 0xFF else b"\x02\0") + packed[-4:]


def _fold(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
