"""Two questions that are asked over netlink: what a driver can do with XDP, and which program is on an interface."""

import socket
import struct
from collections.abc import Iterator

NETLINK_ROUTE, NETLINK_GENERIC = 0, 16
REQUEST = 1
ERROR = 2
CONTROL_FAMILY, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2  # linux/genetlink.h
DEVICE_GET, INDEX, XDP_FEATURES, METADATA_FEATURES = 1, 1, 3, 5  # linux/netdev.h
GET_LINK, LINK_XDP, XDP_PROGRAM = 18, 43, 4  # linux/rtnetlink.h, linux/if_link.h


def device(interface: str) -> tuple[int, int] | None:
    """The bits of xdp-features and of xdp-rx-metadata-features; None before Linux 6.3."""
    try:
        index = socket.if_nametoindex(interface)
        with _open(NETLINK_GENERIC) as link:
            name = _attribute(FAMILY_NAME, b"netdev\0")
            found = _ask(link, CONTROL_FAMILY, struct.pack("BBxx", GET_FAMILY, 1) + name, 4)
            if found is None or FAMILY_ID not in found:
                return None
            [family] = struct.unpack("H", found[FAMILY_ID])
            asked = struct.pack("BBxx", DEVICE_GET, 1) + _attribute(INDEX, struct.pack("I", index))
            found = _ask(link, family, asked, 4)
    except OSError:
        return None
    if found is None or XDP_FEATURES not in found:
        return None
    return _u64(found[XDP_FEATURES]), _u64(found.get(METADATA_FEATURES, b""))


def xdp_program(interface: str) -> int | None:
    """The number of the XDP program on an interface, 0 for none."""
    try:
        index = socket.if_nametoindex(interface)
        with _open(NETLINK_ROUTE) as link:
            found = _ask(link, GET_LINK, struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, 0, 0), 16)
    except OSError:
        return None
    if found is None or LINK_XDP not in found:
        return None
    program = dict(_attributes(found[LINK_XDP])).get(XDP_PROGRAM, bytes(4))
    return int(struct.unpack("I", program)[0])


def _open(protocol: int) -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    link.settimeout(1.0)
    link.bind((0, 0))
    return link


def _ask(link: socket.socket, kind: int, body: bytes, head: int) -> dict[int, bytes] | None:
    """The attributes behind the answer's own header of `head` bytes; None for a refusal."""
    link.send(struct.pack("IHHII", 16 + len(body), kind, REQUEST, 1, 0) + body)
    answer = link.recv(1 << 16)
    length, answered, _, _, _ = struct.unpack_from("IHHII", answer)
    return None if answered == ERROR else dict(_attributes(answer[16 + head : length]))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def _u64(value: bytes) -> int:
    return int.from_bytes(value, "little")
