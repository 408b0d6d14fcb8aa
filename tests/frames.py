"""Ethernet frames built by hand, right or wrong in any place, and sent as they are."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Self

from tests.namespaces import Network, Veth

SENDER_MAC = b"\x02\0\0\0\0\x01"
ROUTER_ALERT = b"\x94\x04\0\0"
"""An IP option (RFC 2113)."""
C_TAG, S_TAG, IPV4, UDP = 0x8100, 0x88A8, 0x0800, 17


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A UDP datagram in an Ethernet frame. What is None is filled in as it should be.

    `vlan`: tags, the outer one first, each a VLAN id (or a whole tag word, with priority). `cut`: so many bytes are
    sent. `pad`: bytes behind the packet, as Ethernet's least length brings them.
    """

    payload: bytes
    group: str
    port: int
    source: str = Veth.SENDER
    source_port: int = 40000
    vlan: Sequence[int] = ()
    ether_type: int = IPV4
    version: int = 4
    header_words: int | None = None
    options: bytes = b""
    total_length: int | None = None
    identification: int = 0
    fragment: int = 0
    """The word of flags and offset."""
    ttl: int = 8
    protocol: int = UDP
    ip_checksum: int | None = None
    udp_length: int | None = None
    udp_checksum: int | None = None
    cut: int | None = None
    pad: int = 0

    def __bytes__(self) -> bytes:
        return self._framed(self._udp())

    def but(self, **changes: object) -> Self:
        """The same, with other values in these fields."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def with_bad_ip_checksum(self) -> Self:
        """The same, one bit of the header's checksum turned."""
        at = 14 + 4 * len(self.vlan) + 10
        right = int.from_bytes(bytes(self)[at : at + 2], "big")
        return self.but(ip_checksum=right ^ 1)

    def with_bad_udp_checksum(self) -> Self:
        """The same, one bit of the UDP checksum turned."""
        return self.but(udp_checksum=int.from_bytes(self._udp()[6:8], "big") ^ 2)

    def fragments(self, size: int) -> list[bytes]:
        """The frames that carry it in IP fragments of `size` bytes, a multiple of eight."""
        whole = self._udp()
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        return [
            self.but(fragment=at * size // 8 | (0x2000 if at < len(pieces) - 1 else 0))._framed(piece)
            for at, piece in enumerate(pieces)
        ]

    def _udp(self) -> bytes:
        length = len(self.payload) + 8 if self.udp_length is None else self.udp_length
        ports = struct.pack(">HHH", self.source_port, self.port, length)
        checksum = self.udp_checksum
        if checksum is None:
            pseudo = _packed(self.source) + _packed(self.group) + struct.pack(">xBH", self.protocol, length)
            checksum = _checksum(pseudo + ports + b"\0\0" + self.payload) or 0xFFFF
        return ports + struct.pack(">H", checksum) + self.payload

    def _framed(self, body: bytes) -> bytes:
        words = 5 + len(self.options) // 4 if self.header_words is None else self.header_words
        total = 20 + len(self.options) + len(body) if self.total_length is None else self.total_length
        head = struct.pack(">BBHHHBB", self.version << 4 | words, 0, total, self.identification, self.fragment,
                           self.ttl, self.protocol)  # fmt: skip
        addresses = _packed(self.source) + _packed(self.group) + self.options
        checksum = _checksum(head + b"\0\0" + addresses) if self.ip_checksum is None else self.ip_checksum
        tags = b""
        for place, tag in enumerate(self.vlan):
            tags += struct.pack(">HH", C_TAG if place == len(self.vlan) - 1 else S_TAG, tag)
        ethernet = group_mac(self.group) + SENDER_MAC + tags + struct.pack(">H", self.ether_type)
        frame = ethernet + head + struct.pack(">H", checksum) + addresses + body + bytes(self.pad)
        return frame[: self.cut]


def group_mac(group: str) -> bytes:
    """The Ethernet address of a multicast group (RFC 1112, section 6.4)."""
    packed = _packed(group)
    return b"\x01\x00\x5e" + bytes([packed[1] & 0x7F]) + packed[2:]


def _packed(address: str) -> bytes:
    return IPv4Address(address).packed


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of `data`."""
    total: int = sum(struct.unpack(f">{len(data) // 2 + len(data) % 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


class Wire:
    """Sends frames as they are out of an interface of a network: an AF_PACKET socket."""

    def __init__(self, network: Network, interface: str = "tx") -> None:
        with network.inside():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.socket.bind((interface, 0))

    def send(self, frames: Iterable[Frame | bytes]) -> None:
        for frame in frames:
            self.socket.send(bytes(frame))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
