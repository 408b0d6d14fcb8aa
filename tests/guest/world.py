"""Inside the guest: one dummy interface with soft-RoCE on it, and a sender. Multicast sent there comes back to us.

Two devices on a veth pair would not do: within one namespace the way to a local address leads through lo, and this
kernel's soft-RoCE listens in the first namespace only.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from ipaddress import IPv4Address

from feedhandler.simulate.rdma import QUEUE_KEY, Relay
from tests.guest import packages

INTERFACE, DEVICE = "d0", "rxe0"
ADDRESS, OTHER = "10.77.0.1", "10.77.0.2"
NETLINK_RDMA, NEW_LINK = 20, (5 << 10) + 3  # RDMA_NL_NLDEV, RDMA_NLDEV_CMD_NEWLINK
REQUEST_ACK = 5
DEVICE_NAME, LINK_TYPE, NETDEV_NAME = 2, 65, 51  # RDMA_NLDEV_ATTR_*
DATAGRAM_MAX = 1024  # of soft-RoCE over an MTU of 1500


def make_network() -> None:
    """The interface, with two addresses and the route of all groups."""
    for command in (
        "link set lo up",
        f"link add {INTERFACE} type dummy",
        f"link set {INTERFACE} up multicast on",
        f"addr add {ADDRESS}/24 dev {INTERFACE}",
        f"addr add {OTHER}/24 dev {INTERFACE}",
        f"route add 224.0.0.0/4 dev {INTERFACE}",
    ):
        subprocess.run([str(packages.TREE / "bin/busybox"), "ip", *command.split()], check=True)


def make_device() -> None:
    """What `rdma link add rxe0 type rxe netdev d0` does."""
    attributes = ((DEVICE_NAME, DEVICE), (LINK_TYPE, "rxe"), (NETDEV_NAME, INTERFACE))
    body = b"".join(_attribute(kind, text) for kind, text in attributes)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_RDMA) as link:
        link.send(struct.pack("=IHHII", 16 + len(body), NEW_LINK, REQUEST_ACK, 1, 0) + body)
        (number,) = struct.unpack_from("=i", link.recv(4096), 16)
    if number:
        raise OSError(-number, "soft-RoCE cannot be added")


def _attribute(kind: int, text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


class Sender:
    """Datagrams of RoCE to groups, from one address."""

    def __init__(self, groups: Sequence[str], address: str = ADDRESS, queue_key: int = QUEUE_KEY) -> None:
        self._relay = Relay(INTERFACE, "", address, queue_key, 0)
        self._ways: dict[str, socket.socket] = {}
        self._written = 0
        for group in groups:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._relay.add(IPv4Address(group), theirs)
            self._ways[group] = ours
        self._relay.start()

    def send(self, sent: Sequence[tuple[str, bytes]]) -> None:
        """Send (group, payload), each group's in this order; all have left the device when it returns."""
        for group, payload in sent:
            self._ways[group].send(payload)
        self._written += len(sent)
        end = time.monotonic() + 20
        while self._relay.sent + self._relay.too_large < self._written:
            self._relay.check()
            assert time.monotonic() < end, "the device does not send"
            time.sleep(0.0005)

    def close(self) -> None:
        self._relay.finish()
        for way in self._ways.values():
            way.close()
        self._relay.close()
        self._relay.check()
