"""Which RDMA device stands behind a network interface: read from sysfs, without opening anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from feedhandler.errors import BackendError
from feedhandler.receive.rdma import verbs

EMPTY_PLACES = 64


@dataclass(frozen=True)
class DevicePort:
    """A port of a device, by name and number; ports count from 1."""

    device: str
    port: int

    @property
    def folder(self) -> Path:
        """Where the kernel tells of it."""
        return verbs.SYSFS / self.device / "ports" / str(self.port)

    def __str__(self) -> str:
        return f"{self.device} port {self.port}"


def find(interface: str, device: str = "") -> DevicePort:
    """The device port behind an interface, VLANs included; `device` says which of several. Raises BackendError."""
    ports = _ports()
    names = ", ".join(map(str, ports)) or "none"
    if device and device not in (port.device for port in ports):
        raise BackendError(f"there is no RDMA device {device}; there are: {names}")
    for port in ports:
        if device in ("", port.device) and interface in _table(port, "gid_attrs/ndevs"):
            return port
    if device:
        raise BackendError(f"{device} does not belong to {interface}; see: rdma link show {device}")
    raise BackendError(
        f"no RDMA device belongs to {interface} (devices: {names}); one in software: "
        f"rdma link add rxe0 type rxe netdev {interface}"
    )


def gid_index(port: DevicePort, address: IPv4Address) -> int:
    """The place of an IPv4 address in the port's table of GIDs, as RoCE v2. Raises BackendError."""
    wanted = gid(address)
    for number, found in enumerate(_table(port, "gids")):
        if found == wanted and _read(port.folder / "gid_attrs" / "types" / str(number)) == "RoCE v2":
            return number
    raise BackendError(f"{port} has no GID for {address}: ip address add {address}/24 dev INTERFACE")


def gid(address: IPv4Address) -> str:
    """An IPv4 address, a group or not, as a GID: ::ffff:a.b.c.d, in eight groups of four digits as pyverbs wants it."""
    digits = (bytes(10) + b"\xff\xff" + address.packed).hex()
    return ":".join(digits[i : i + 4] for i in range(0, 32, 4))


def multicast_mac(group: IPv4Address) -> str:
    """The Ethernet address of a group: 01:00:5e and its low 23 bits (RFC 1112, section 6.4)."""
    low = int(group) & 0x7FFFFF
    return "01:00:5e:" + ":".join(f"{low >> shift & 0xFF:02x}" for shift in (16, 8, 0))


def drops(port: DevicePort) -> int | None:
    """Packets the device had no posted memory for, since it started; None where it does not count them."""
    text = _read(port.folder / "hw_counters" / "out_of_buffer")
    return int(text) if text.isdecimal() else None


def _ports() -> list[DevicePort]:
    found = []
    for name in verbs.kernel_devices():
        folder = verbs.SYSFS / name / "ports"
        numbers = sorted(int(path.name) for path in folder.iterdir()) if folder.is_dir() else []
        found += [DevicePort(name, number) for number in numbers]
    return found


def _table(port: DevicePort, name: str) -> Iterator[str]:
    """The entries of a table in order, until so many places are empty that the rest is, too: there may be a thousand.

    The kernel gives each new address the first empty place.
    """
    empty = 0
    for number in itertools.count():
        path = port.folder / name / str(number)
        entry = _read(path)
        empty = 0 if entry.strip("0:") else empty + 1
        if empty == EMPTY_PLACES:
            return
        yield entry


def _read(path: Path) -> str:
    """What the kernel says there; "" where it refuses: an empty place in a table is EINVAL."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
