"""What the kernel grants a UDP socket: tried on one that is bound to nothing."""

import errno
import socket
import sys
from collections.abc import Iterator
from os.path import realpath

from feedhandler.doctor.findings import Host, Row
from feedhandler.receive.sockets import SO_BUSY_POLL, SO_RCVBUFFORCE, SO_TIMESTAMPNS


def sockets(host: Host, receive_buffer: int) -> Iterator[Row]:
    """Receive buffer, timestamps, busy polling, groups."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        try:
            udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
        except OSError:  # without cap_net_admin
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        granted = udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel doubles it for its own use
        found = f"asked {receive_buffer:,} bytes, granted {granted:,}"
        if granted >= receive_buffer:
            yield Row("sockets", "receive buffer", "yes", found)
        else:
            limit = host.number("proc/sys/net/core/rmem_max")
            seen = "" if limit is not None else " (net.core.rmem_max cannot be seen from here: set it on the host)"
            mend = f"sysctl -w net.core.rmem_max={receive_buffer}"
            yield Row("sockets", "receive buffer", "no", f"{found}: a burst may be dropped{seen}", mend)
        yield _option(udp, SO_TIMESTAMPNS, 1, "kernel timestamps", "packets are stamped in nanoseconds", "")
        mend = f"setcap cap_net_admin+ep {realpath(sys.executable)}\nsysctl -w net.core.busy_read=50"
        yield _option(udp, SO_BUSY_POLL, 50, "busy poll", "busy_poll_us may be set", mend)
    groups = host.number("proc/sys/net/ipv4/igmp_max_memberships")
    if groups is None:
        yield Row("sockets", "groups", "unseen", "net.ipv4.igmp_max_memberships cannot be seen from here")
    else:
        yield Row("sockets", "groups", "yes", f"{groups} multicast groups may be joined per socket")


def _option(udp: socket.socket, option: int, value: int, check: str, found: str, mend: str) -> Row:
    """A row for a socket option, tried."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, option, value)
    except OSError as error:
        reason = "not permitted" if error.errno in (errno.EPERM, errno.EACCES) else error.strerror
        return Row("sockets", check, "no", f"the kernel refuses: {reason}", mend)
    return Row("sockets", check, "yes", found)
