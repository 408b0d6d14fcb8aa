"""Questions to the kernel about a network interface: by netlink, and by ethtool of its driver. They change nothing.

Structures and numbers of <linux/netlink.h>, <linux/rtnetlink.h> and <linux/ethtool.h>, which are fixed for good. Every
question raises OSError, with the kernel's errno, where there is no answer.
"""

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

NETLINK_ROUTE, NETLINK_GENERIC = 0, 16
SIOCETHTOOL = 0x8946
_REQUEST, _ERROR = 1, 2  # NLM_F_REQUEST, NLMSG_ERROR
_GET_LINK = 18  # RTM_GETLINK


def ask(protocol: int, kind: int, body: bytes, head: int) -> dict[int, bytes]:
    """The attributes behind the answer's own header of `head` bytes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as link:
        link.settimeout(1.0)
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST, 1, 0) + body)
        answer = link.recv(1 << 16)
    length, answered, _, _, _ = struct.unpack_from("=IHHII", answer)
    if answered == _ERROR:
        number = -struct.unpack_from("=i", answer, 16)[0]
        raise OSError(number, os.strerror(number))
    return dict(attributes(answer[16 + head : length]))


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute of a question."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes that stand in a row, or nested in another."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def link(index: int) -> dict[int, bytes]:
    """What rtnetlink says of an interface, by the numbers of <linux/if_link.h>."""
    return ask(NETLINK_ROUTE, _GET_LINK, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0), 16)


def ethtool(interface: str, command: bytes) -> bytes:
    """What the driver answers to a command of <linux/ethtool.h>: the same structure, filled in."""
    return request(interface, SIOCETHTOOL, command)


def request(interface: str, number: int, structure: bytes) -> bytes:
    """What an ioctl of interfaces leaves in the structure that struct ifreq points to."""
    space = ctypes.create_string_buffer(structure, len(structure))
    ifreq = struct.pack("=16sQ16x", interface.encode()[:15], ctypes.addressof(space))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, number, ifreq)
    return space.raw
