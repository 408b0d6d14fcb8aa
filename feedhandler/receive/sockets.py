"""UDP over the kernel's sockets: joins, buffers, timestamps, busy polling. The receiving itself is compiled."""

import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Literal, Protocol

from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive._sockets import SocketReceiver

__all__ = ["Options", "SocketReceiver", "UdpLine", "interfaces", "open_socket", "receiver"]

# of <asm/socket.h>, <linux/in.h> and <linux/net_tstamp.h>; Python has no names for them
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SO_TIMESTAMPING = 37
SO_RXQ_OVFL = 40
SO_BUSY_POLL = 46
MCAST_JOIN_SOURCE_GROUP = 46
IP_MULTICAST_ALL = 49
HARDWARE_STAMPS = 1 << 2 | 1 << 6  # SOF_TIMESTAMPING_RX_HARDWARE, _RAW_HARDWARE
KERNEL_STAMPS = 1 << 3 | 1 << 4  # SOF_TIMESTAMPING_RX_SOFTWARE, _SOFTWARE

Timestamps = Literal["hardware", "kernel", "clock"]


class LineSettings(Protocol):
    """What a line says about itself; `feedhandler.config.Line` is one, `UdpLine` another."""

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def interface(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def vlan(self) -> str: ...


@dataclass(frozen=True)
class UdpLine:
    """One UDP flow: a multicast group on an interface, or a unicast address of this host."""

    name: str
    group: str
    port: int
    interface: str = ""
    """Needed for a multicast group; of a unicast address, packets by other interfaces are not taken."""
    source: str = ""
    """The one sender that is listened to; of a group, by a source-specific join. "" = any."""
    vlan: str = ""
    """The VLAN tags before its packets, "100" or "200.100" (outer, inner); "" = untagged or priority-tagged only."""


@dataclass(frozen=True)
class Options:
    """How the sockets of a receiver are set up."""

    receive_buffer: int = 8 << 20
    """Bytes asked of the kernel per socket. What was granted stands in the line's status and, when less, in `notes`."""
    timestamps: Timestamps = "hardware"
    """The best to be had: "hardware" falls back to "kernel", that to "clock"; the line's ts_kind says what it was."""
    busy_poll_us: int = 0
    """SO_BUSY_POLL: the kernel polls the NIC for so long before a receive gives up; 0 = off."""
    slots: int = 64
    slot_bytes: int = 9216
    """Room for one datagram; longer ones are counted as truncated and refused."""
    spin_us: int = 0
    """wait() spins so long before it sleeps."""


def receiver(
    lines: Sequence[LineSettings], options: Options | None = None, notes: list[str] | None = None
) -> SocketReceiver:
    """A receiver with one socket for each line, joined and listening.

    Sentences about what was granted less than asked are appended to `notes`. Raises ConfigError when a line is wrong,
    BackendError, with the remedy, when the kernel refuses.
    """
    options = options or Options()
    notes = [] if notes is None else notes
    if not 1 <= len(lines) <= 64:
        raise ConfigError(f"a receiver has 1 to 64 lines, not {len(lines)}")
    for line in lines:
        _refuse_vlan(line)
    opened: list[socket.socket] = []
    try:
        for line in lines:
            opened.append(open_socket(line, options, notes))
        sources = [socket.inet_aton(line.source) if line.source else b"" for line in lines]
        return SocketReceiver(len(lines), opened, sources, options.slots, options.slot_bytes, options.spin_us * 1000)
    except BaseException:
        for each in opened:
            each.close()
        raise


def open_socket(line: LineSettings, options: Options, notes: list[str]) -> socket.socket:
    """A socket bound to the line's address, not to any, so that other groups on the port stay out."""
    group = _address(line.name, "group", line.group)
    if line.source:
        _address(line.name, "source", line.source)
    if group.is_multicast or line.interface:
        index = interface_index(line.name, line.interface)
    with _Refusals(line, "make a socket"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        with _Refusals(line, f"bind {line.group}:{line.port}"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((line.group, line.port))
        if group.is_multicast:
            with _Refusals(line, f"join {line.group} on {line.interface}"):
                _join(sock, group, index, line.source)
        elif line.interface:
            with _Refusals(line, f"bind to the interface {line.interface}"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, line.interface.encode() + b"\0")
        with _Refusals(line, "count the kernel's drops"):
            sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        _buffer(sock, line, options.receive_buffer, notes)
        _stamps(sock, line, options.timestamps, notes)
        if options.busy_poll_us:
            _busy_poll(sock, line, options.busy_poll_us, notes)
    except BaseException:
        sock.close()
        raise
    return sock


def interfaces() -> list[str]:
    """The names of this host's network interfaces."""
    return [name for _, name in socket.if_nameindex()]


def interface_index(line: str, name: str) -> int:
    """The kernel's number of an interface. Raises ConfigError naming those there are."""
    there = ", ".join(interfaces())
    if not name:
        raise ConfigError(f"line {line}: a multicast group needs the interface to join it on; one of: {there}")
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise ConfigError(f"line {line}: no interface {name!r} here; there are: {there}") from None


def _refuse_vlan(line: LineSettings) -> None:
    """Sockets see no tags: the kernel takes them off, on an interface made for that."""
    if not line.vlan:
        return
    name, made = line.interface, []
    for tag in line.vlan.split("."):
        made.append(f"ip link add link {name} name {name}.{tag} type vlan id {tag}")
        name = f"{name}.{tag}"
    raise ConfigError(
        f"line {line.name}: sockets cannot take vlan = {line.vlan!r} on {line.interface}; give the VLAN an interface "
        f'of its own ({"; ".join(made)}) and write interface = "{name}" without vlan, or use af_xdp'
    )


def _join(sock: socket.socket, group: IPv4Address, index: int, source: str) -> None:
    if source:
        # by the interface's number, which unlike IP_ADD_SOURCE_MEMBERSHIP needs no address on it
        request = struct.pack("I4x128s128s", index, _sockaddr(group), _sockaddr(IPv4Address(source)))
        sock.setsockopt(socket.IPPROTO_IP, MCAST_JOIN_SOURCE_GROUP, request)
    else:
        request = struct.pack("4s4si", group.packed, bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    # the default also delivers groups that other programs of this host have joined, on whatever interface
    sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)


def _sockaddr(address: IPv4Address) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, address.packed)


def _buffer(sock: socket.socket, line: LineSettings, wanted: int, notes: list[str]) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it for its own needs
    if granted < wanted:
        notes.append(
            f"line {line.name}: asked for a receive buffer of {wanted} bytes, got {granted}; "
            f"raise the limit with: sysctl -w net.core.rmem_max={wanted}"
        )


def _stamps(sock: socket.socket, line: LineSettings, wanted: Timestamps, notes: list[str]) -> None:
    if wanted == "clock":
        return
    flags = KERNEL_STAMPS | (HARDWARE_STAMPS if wanted == "hardware" else 0)
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
    except OSError:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError as error:
            notes.append(f"line {line.name}: no kernel timestamps ({error.strerror}): the clock is read instead")


def _busy_poll(sock: socket.socket, line: LineSettings, microseconds: int, notes: list[str]) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_BUSY_POLL, microseconds)
    except OSError as error:
        notes.append(
            f"line {line.name}: no busy polling ({error.strerror}); "
            "it needs CAP_NET_ADMIN, or: sysctl -w net.core.busy_read=50 net.core.busy_poll=50"
        )


def _address(line: str, key: str, text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ConfigError(f"line {line}: {key} must be an IPv4 address, not {text!r}") from None


class _Refusals:
    """Turns an OSError into a BackendError with line, step and remedy."""

    def __init__(self, line: LineSettings, step: str) -> None:
        self.line, self.step = line, step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = os.strerror(error.errno) if error.errno else str(error)
            remedy = self._remedy(error.errno)
            sentence = f"line {self.line.name}: cannot {self.step}: {reason}{remedy and f' ({remedy})'}"
            raise BackendError(sentence) from error

    def _remedy(self, number: int | None) -> str:
        if number == errno.EADDRNOTAVAIL:
            return "the address is not of this host: see ip address"
        if number == errno.EADDRINUSE:
            return f"another program has the port to itself: see ss -lunp sport = :{self.line.port}"
        if number == errno.ENOBUFS:
            return "too many groups: raise net.ipv4.igmp_max_memberships"
        if number == errno.ENODEV:
            return f"the interface may be down: ip link set {self.line.interface} up multicast on"
        if number in (errno.EPERM, errno.EACCES):
            return "run as root, or choose a port above 1023"
        if number == errno.EMFILE:
            return "too many open files: raise ulimit -n"
        return ""
