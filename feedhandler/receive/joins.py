"""The ordinary sockets beside a backend that goes past the kernel: they hold the joins, and take what is left to it.

Of a line behind a VLAN tag that is the VLAN's own interface; elsewhere it would take packets of another VLAN.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from feedhandler import settings
from feedhandler.errors import ConfigError
from feedhandler.receive import sockets
from feedhandler.receive._sockets import SocketReceiver

VLANS = Path("/proc/thread-self/net/vlan/config")
"""The VLANs' interfaces here: a line "name | id | below" each, behind two lines of title."""
_SO_ATTACH_FILTER = 26
_OPTIONS = sockets.Options(timestamps="kernel", receive_buffer=1 << 20)


def tags(line: sockets.LineSettings) -> tuple[int, ...]:
    """The ids of the VLAN tags before a line's packets, outer first. Raises ConfigError."""
    try:
        ids = settings.vlan_tags(line.vlan)
    except ValueError:
        ids = (0,)
    if not all(1 <= one <= 4094 for one in ids):
        raise ConfigError(
            f'line {line.name}: vlan must be "", "100" or outer.inner "200.100" (ids 1 to 4094), not {line.vlan!r}'
        )
    return ids


def vlan_of(line: sockets.LineSettings) -> int:
    """The line's VLAN as in fh_frame: 0 untagged, the id of one tag, outer << 16 | inner. Raises ConfigError."""
    vlan = 0
    for one in tags(line):
        vlan = vlan << 16 | one
    return vlan


def join(lines: Sequence[sockets.LineSettings], notes: list[str]) -> SocketReceiver:
    """The joined sockets of these lines. Raises ConfigError, BackendError; everything is undone then."""
    opened: list[socket.socket] = []
    try:
        for line in lines:
            where, ours = _joined_on(line, notes)
            opened.append(sockets.open_socket(where, _OPTIONS, []))
            if not ours:
                _silence(opened[-1])
        sources = [socket.inet_aton(line.source) if line.source else b"" for line in lines]
        return SocketReceiver(len(lines), opened, sources, 64, 65536)
    except BaseException:
        for each in opened:
            each.close()
        raise


def _joined_on(line: sockets.LineSettings, notes: list[str]) -> tuple[sockets.LineSettings, bool]:
    """Where the line's group is joined, and whether what comes there is the line's.

    Where the VLAN has no interface the join goes out untagged, for a switch that takes it so, and what the socket gets
    is not the line's.
    """
    if not line.vlan:
        return line, True
    if name := vlan_interface(line.interface, tags(line)):
        return sockets.UdpLine(line.name, line.group, line.port, name, line.source), True
    notes.append(
        f"line {line.name}: VLAN {line.vlan} has no interface {line.interface}.{line.vlan} here, so the group is "
        f"joined untagged on {line.interface}, and the line's fragments and packets with IP options are not received"
    )
    return sockets.UdpLine(line.name, line.group, line.port, line.interface, line.source), False


def vlan_interface(below: str, ids: Sequence[int]) -> str:
    """The interface of a VLAN (of one in another: outer first) on the interface `below`, however named; "" for none."""
    made = {(lower, number): name for name, number, lower in _vlans()}
    name = below
    for one in ids:
        name = made.get((name, str(one)), "")
    named = ".".join((below, *map(str, ids)))  # of those that the kernel does not list there, by its name
    return named if not name and named in set(sockets.interfaces()) - set(made.values()) else name


def vlans_on(below: str) -> list[str]:
    """The interfaces of VLANs on the interface `below`."""
    return [name for name, _, lower in _vlans() if lower == below]


def _vlans() -> list[tuple[str, str, str]]:
    """Name, id, and the interface below of each VLAN's interface."""
    try:
        rows = [[word.strip() for word in row.split("|")] for row in VLANS.read_text().splitlines()[2:]]
    except OSError:
        return []
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


def _silence(sock: socket.socket) -> None:
    """Nothing comes by this socket: it only holds the join."""
    drop_all = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0), 8)  # BPF_RET, no bytes
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("=H6xQ", 1, ctypes.addressof(drop_all)))
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return
