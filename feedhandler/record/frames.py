"""What is not packets in a recorded file: the headers of a flow, and the blocks of pcapng around the packets."""

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

Endpoint = tuple[str, int]
"""IP address and port."""

SOURCE: Endpoint = ("192.0.2.1", 49152)  # of the addresses set apart for documentation
SNAP = 1 << 18
ETHERNET = 1
UDP, TCP = 17, 6
TTL = 1  # of multicast on its own network; and what is made here is not to travel
NO_FRAGMENTS = 0x4000
WINDOW = 0xFFFF


def udp_head(target: Endpoint, source: Endpoint = SOURCE) -> bytes:
    """Ethernet, IP and UDP headers of a flow of datagrams; lengths and sums are zero."""
    return _head(target, source, UDP) + struct.pack(">HHHH", source[1], target[1], 0, 0)


def tcp_head(server: Endpoint, client: Endpoint) -> bytes:
    """Ethernet, IP and TCP headers of what a server sends; number, flags, lengths and sums are zero."""
    return _head(client, server, TCP) + struct.pack(">HHIIBBHHH", server[1], client[1], 0, 1, 5 << 4, 0, WINDOW, 0, 0)


def _head(target: Endpoint, source: Endpoint, protocol: int) -> bytes:
    there, here = ip_address(target[0]), ip_address(source[0])
    ethernet = _mac(there) + _mac(here)
    if isinstance(there, IPv6Address):
        return ethernet + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, 0, protocol, TTL) + here.packed + there.packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, NO_FRAGMENTS, TTL, protocol, 0)
    return ethernet + b"\x08\x00" + head + here.packed + there.packed


def _mac(address: IPv4Address | IPv6Address) -> bytes:
    """The group's Ethernet address (RFC 1112); a made one for a host."""
    if address.is_multicast and isinstance(address, IPv4Address):
        return b"\x01\x00\x5e" + bytes([address.packed[1] & 0x7F]) + address.packed[2:]
    return b"\x02\x00" + address.packed[-4:]


def pcap_head() -> bytes:
    """The head of a pcap file with times in ns."""
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, SNAP, ETHERNET)


def section(application: str) -> bytes:
    """A section header block: the beginning of a pcapng file."""
    return _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), [(4, application.encode())])


def interface(name: str, description: str, comment: str) -> bytes:
    """An interface description block: a line. Its times are ns."""
    options = [(1, comment.encode()), (2, name.encode()), (3, description.encode()), (9, b"\x09")]
    return _block(1, struct.pack("<HHI", ETHERNET, 0, SNAP), options)


def packet(number: int, ts: int, frame: bytes) -> bytes:
    """An enhanced packet block: a whole frame of an interface, received at `ts` (ns since the Unix epoch)."""
    head = struct.pack("<IIIII", number, ts >> 32, ts & 0xFFFFFFFF, len(frame), len(frame))
    return _block(6, head + frame + bytes(-len(frame) % 4), [])


def statistics(number: int, ts: int, received: int, dropped: int, kernel_drops: int, comment: str) -> bytes:
    """An interface statistics block: at `ts` (ns), packets received, of these not recorded, dropped by the kernel."""
    counts = [(4, received), (5, dropped), (7, kernel_drops)]
    options = [(1, comment.encode()), *((code, struct.pack("<Q", count)) for code, count in counts)]
    return _block(5, struct.pack("<III", number, ts >> 32, ts & 0xFFFFFFFF), options)


def _block(kind: int, body: bytes, options: Sequence[tuple[int, bytes]]) -> bytes:
    for code, value in options:
        body += struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
    if options:
        body += bytes(4)  # opt_endofopt
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size
