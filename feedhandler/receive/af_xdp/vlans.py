"""Lines behind VLAN tags: the number the filter knows them by, and where their group is joined."""

import ctypes
import re
import socket
import struct
from dataclasses import dataclass

from feedhandler.errors import ConfigError
from feedhandler.receive import sockets

_SO_ATTACH_FILTER = 26


@dataclass(frozen=True)
class _Joined:
    """A line as its join socket takes it."""

    name: str
    group: str
    port: int
    interface: str
    source: str
    vlan: str = ""


def vlan_of(line: sockets.LineSettings) -> int:
    """The line's VLAN as in fh_frame: 0 untagged, the id of one tag, outer << 16 | inner. Raises ConfigError."""
    if not line.vlan:
        return 0
    tags = line.vlan.split(".")
    if len(tags) > 2 or not all(re.fullmatch("[0-9]{1,4}", tag) and 1 <= int(tag) <= 4094 for tag in tags):
        raise ConfigError(
            f'line {line.name}: vlan must be "", "100" or outer.inner "200.100" (ids 1 to 4094), not {line.vlan!r}'
        )
    return int(tags[0]) if len(tags) == 1 else int(tags[0]) << 16 | int(tags[1])


def joined_on(line: sockets.LineSettings, notes: list[str]) -> tuple[sockets.LineSettings, bool]:
    """Where the line's group is joined, and whether what comes there is the line's.

    Behind a tag that is the VLAN's own interface, by the usual names (eth0.100, vlan100). Where there is none the join
    goes out untagged, for a switch that takes it so, and what the socket gets is not the line's.
    """
    if not line.vlan:
        return line, True
    there = sockets.interfaces()
    for name in (f"{line.interface}.{line.vlan}", f"vlan{line.vlan.rpartition('.')[2]}"):
        if name in there:
            return _Joined(line.name, line.group, line.port, name, line.source), True
    notes.append(
        f"line {line.name}: VLAN {line.vlan} has no interface {line.interface}.{line.vlan} here, so the group is "
        f"joined untagged on {line.interface}, and the line's fragments and packets with IP options are not received"
    )
    return _Joined(line.name, line.group, line.port, line.interface, line.source), False


def silence(sock: socket.socket) -> None:
    """Nothing comes by this socket: it only holds the join."""
    drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0), 8)  # BPF_RET, no bytes
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("=H6xQ", 1, ctypes.addressof(drop_all)))
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return
