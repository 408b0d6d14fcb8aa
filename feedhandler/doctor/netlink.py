"""Two questions that are asked over netlink: what a driver can do with XDP, and which program is on an interface."""

import socket
import struct

from feedhandler.receive.interface import NETLINK_GENERIC, ask, attribute, attributes, link

CONTROL_FAMILY, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2  # linux/genetlink.h
DEVICE_GET, INDEX, XDP_FEATURES, METADATA_FEATURES = 1, 1, 3, 5  # linux/netdev.h
LINK_XDP, XDP_PROGRAM = 43, 4  # linux/if_link.h


def device(interface: str) -> tuple[int, int] | None:
    """The bits of xdp-features and of xdp-rx-metadata-features; None before Linux 6.3."""
    try:
        index = socket.if_nametoindex(interface)
        name = attribute(FAMILY_NAME, b"netdev\0")
        found = ask(NETLINK_GENERIC, CONTROL_FAMILY, struct.pack("BBxx", GET_FAMILY, 1) + name, 4)
        if FAMILY_ID not in found:
            return None
        [family] = struct.unpack("H", found[FAMILY_ID])
        asked = struct.pack("BBxx", DEVICE_GET, 1) + attribute(INDEX, struct.pack("I", index))
        found = ask(NETLINK_GENERIC, family, asked, 4)
    except OSError:
        return None
    if XDP_FEATURES not in found:
        return None
    return _u64(found[XDP_FEATURES]), _u64(found.get(METADATA_FEATURES, b""))


def xdp_program(interface: str) -> int | None:
    """The number of the XDP program on an interface, 0 for none."""
    try:
        found = link(socket.if_nametoindex(interface))
    except OSError:
        return None
    if LINK_XDP not in found:
        return None
    program = dict(attributes(found[LINK_XDP])).get(XDP_PROGRAM, bytes(4))
    return int(struct.unpack("I", program)[0])


def _u64(value: bytes) -> int:
    return int.from_bytes(value, "little")
