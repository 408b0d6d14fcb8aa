"""What only a system call can tell of the host. Nothing here changes anything, and nothing needs root.

Each answer is None where the kernel, the driver or the privileges do not give one.
"""

import ctypes
import os
import resource
import socket
import struct
import time
from typing import NamedTuple

from feedhandler.doctor import netlink
from feedhandler.errors import BackendError
from feedhandler.receive.interface import SIOCETHTOOL, request

AF_XDP = 44
SIOCGHWTSTAMP = 0x89B1
ETHTOOL_GDRVINFO, ETHTOOL_GCHANNELS, ETHTOOL_GET_TS_INFO = 0x3, 0x3C, 0x41
HARDWARE_RECEIVE = 1 << 2  # SOF_TIMESTAMPING_RX_HARDWARE
BASIC, REDIRECT, ZERO_COPY, SCATTER = 1, 2, 8, 32  # NETDEV_XDP_ACT_* of linux/netdev.h
METADATA_TIMESTAMP = 1  # NETDEV_XDP_RX_METADATA_TIMESTAMP


class Driver(NamedTuple):
    """Name, version and firmware of an interface's driver; the latter may be ""."""

    name: str
    version: str
    firmware: str


class Channels(NamedTuple):
    """Receive queues of an interface: how many are in use, and how many there may be."""

    used: int
    most: int


class Stamping(NamedTuple):
    """Whether the NIC can stamp what it receives, and the number of its clock (/dev/ptpN), -1 for none."""

    hardware: bool
    clock: int


class Xdp(NamedTuple):
    """What the driver can do for AF_XDP."""

    native: bool
    zero_copy: bool
    scatter: bool
    """Frames of several buffers: jumbo frames."""
    timestamps: bool
    """A program can read the NIC's time of receipt."""


class Kernel:
    """The kernel this process runs on."""

    def driver(self, interface: str) -> Driver | None:
        """The driver, as ethtool -i shows it."""
        answer = _ethtool(interface, ETHTOOL_GDRVINFO, 192)
        if answer is None:
            return None
        name, version, firmware = (
            answer[at : at + 32].split(b"\0")[0].decode("ascii", "replace") for at in (4, 36, 68)
        )
        return Driver(name, version, "" if firmware == "N/A" else firmware)

    def channels(self, interface: str) -> Channels | None:
        """The receive queues, as ethtool -l shows them."""
        answer = _ethtool(interface, ETHTOOL_GCHANNELS, 32)
        if answer is None:
            return None
        _, most_rx, _, _, most_combined, rx, _, _, combined = struct.unpack("9I", answer)
        return Channels(rx + combined, max(most_rx + most_combined, rx + combined))

    def stamping(self, interface: str) -> Stamping | None:
        """What the NIC can stamp, as ethtool -T shows it."""
        answer = _ethtool(interface, ETHTOOL_GET_TS_INFO, 40)
        if answer is None:
            return None
        flags, clock = struct.unpack_from("Ii", answer, 4)
        return Stamping(bool(flags & HARDWARE_RECEIVE), clock)

    def stamping_on(self, interface: str) -> bool | None:
        """Whether the NIC stamps all that it receives now."""
        config = _request(interface, SIOCGHWTSTAMP, bytes(12))  # struct hwtstamp_config: flags, tx_type, rx_filter
        return None if config is None else bool(struct.unpack_from("i", config, 8)[0])

    def clock_offset(self, clock: int) -> float | None:
        """Seconds by which the NIC's clock /dev/ptpN is ahead of the system's."""
        try:
            fd = os.open(f"/dev/ptp{clock}", os.O_RDONLY)
        except OSError:
            return None
        try:
            return time.clock_gettime((~fd << 3) | 3) - time.clock_gettime(time.CLOCK_REALTIME)  # FD_TO_CLOCKID
        except OSError:
            return None
        finally:
            os.close(fd)

    def clock_status(self) -> int | None:
        """The status bits of adjtimex(2), read only."""
        timex = (ctypes.c_char * 512)()  # struct timex of 64-bit Linux is 208 bytes; modes = 0 asks and changes nothing
        try:
            if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
                return None
        except (OSError, AttributeError):
            return None
        return int(struct.unpack_from("i", timex, 40)[0])  # modes, offset, freq, maxerror, esterror, then status

    def xdp(self, interface: str) -> Xdp | None:
        """What the driver can do for AF_XDP, as it says itself; Linux 6.3 and later ask it."""
        found = netlink.device(interface)
        if found is None:
            return None
        features, metadata = found
        native = features & BASIC and features & REDIRECT
        return Xdp(
            bool(native),
            bool(native and features & ZERO_COPY),
            bool(features & SCATTER),
            bool(metadata & METADATA_TIMESTAMP),
        )

    def xdp_program(self, interface: str) -> int | None:
        """The number of the XDP program on the interface, 0 for none."""
        return netlink.xdp_program(interface)

    def xdp_sockets(self) -> bool | None:
        """Whether this kernel has AF_XDP at all. A refusal for want of a capability comes behind that question."""
        try:
            socket.socket(AF_XDP, socket.SOCK_RAW).close()
        except PermissionError:
            return True
        except OSError:
            return False
        return True

    def try_af_xdp(self, interface: str) -> str:
        """Open AF_XDP on the interface and close it again: the mode it had. Raises BackendError with the reason.

        The one question that touches the interface: a driver may set up its queues anew, and lose packets meanwhile.
        No group is joined, no packet sent, and the one flow that is taken, to this host's own loopback address, does
        not come by a wire.
        """
        from feedhandler.receive.choose import choose
        from feedhandler.receive.sockets import UdpLine

        with choose([UdpLine("doctor", "127.0.0.1", 9, interface)], "af_xdp").receiver as opened:
            return opened.describe()

    def rdma_packages(self) -> tuple[str, str]:
        """What is wrong with the RDMA packages of this Python, and the remedy; both "" when nothing is."""
        from feedhandler.receive.rdma import verbs

        try:
            verbs.load()
        except BackendError as error:
            reason, _, mend = str(error).partition("; " if "; " in str(error) else ": ")
            return reason, mend
        return "", ""

    def locked_memory(self) -> tuple[int, int]:
        """RLIMIT_MEMLOCK, soft and hard, in bytes; -1 for no limit."""
        return resource.getrlimit(resource.RLIMIT_MEMLOCK)

    def real_time(self) -> int:
        """The highest SCHED_FIFO priority that RLIMIT_RTPRIO lets an ordinary user take; 0 for none."""
        soft, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
        return 99 if soft == resource.RLIM_INFINITY else soft


def _ethtool(interface: str, command: int, size: int) -> bytes | None:
    """An answer of ethtool's, the command's four bytes first."""
    return _request(interface, SIOCETHTOOL, struct.pack("I", command) + bytes(size))


def _request(interface: str, number: int, structure: bytes) -> bytes | None:
    try:
        return request(interface, number, structure)
    except OSError:
        return None
