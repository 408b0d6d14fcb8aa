"""TCP lines: connecting, with the options that market data want. Receiving is compiled; login is the session's."""

import errno
import os
import socket
import time
from dataclasses import dataclass

from feedhandler.errors import ConfigError, ReceiverError
from feedhandler.receive._stream import StreamReceiver

__all__ = ["Options", "StreamReceiver", "connect", "receiver"]


@dataclass(frozen=True)
class Options:
    """How a connection is set up."""

    timeout_s: float = 5.0
    """To connect within, over all addresses of the host."""
    receive_buffer: int = 0
    """Bytes asked of the kernel; 0 leaves it to its own tuning."""
    keepalive_idle_s: int = 10
    """A silent connection is probed after so long ..."""
    keepalive_interval_s: int = 5
    """... so often ..."""
    keepalive_probes: int = 3
    """... and given up when so many probes were not answered."""
    buffer_bytes: int = 131072
    """The most that one run of bytes holds; with twice as many, what is parsed has left the nearest cache."""
    quickack: bool = True
    spin_us: int = 0
    """wait() spins so long before it sleeps."""


def receiver(lines: int, options: Options | None = None) -> StreamReceiver:
    """A receiver of so many TCP lines, all down until `connect()` hands one over."""
    options = options or Options()
    if not 1 <= lines <= 64:
        raise ConfigError(f"a receiver has 1 to 64 lines, not {lines}")
    return StreamReceiver(lines, options.buffer_bytes, options.quickack, options.spin_us * 1000)


def connect(host: str, port: int, options: Options | None = None, line: str = "") -> socket.socket:
    """A connected socket, blocking, with TCP_NODELAY, TCP_QUICKACK and keep-alive.

    Each address of the host is tried in turn. Raises ReceiverError naming line, host and reason.
    """
    options = options or Options()
    name = f"line {line}: " if line else ""
    end = time.monotonic() + options.timeout_s
    last: OSError | None = None
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ReceiverError(f"{name}no address of {host!r} is known: {error.strerror}") from error
    for family, kind, protocol, _, address in addresses:
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            last = error
            continue
        try:
            _prepare(sock, options)
            sock.settimeout(max(end - time.monotonic(), 0.001))
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
            continue
        sock.settimeout(None)
        return sock
    if isinstance(last, TimeoutError):
        raise ReceiverError(f"{name}{host}:{port} did not answer within {options.timeout_s:g} s") from last
    reason = os.strerror(last.errno) if last and last.errno else str(last)
    refused = " (nobody listens there)" if last and last.errno == errno.ECONNREFUSED else ""
    raise ReceiverError(f"{name}cannot connect to {host}:{port}: {reason}{refused}") from last


def _prepare(sock: socket.socket, options: Options) -> None:
    """All before connecting: the window that is offered depends on the buffer of that moment."""
    tcp = socket.IPPROTO_TCP
    sock.setsockopt(tcp, socket.TCP_NODELAY, 1)
    sock.setsockopt(tcp, socket.TCP_QUICKACK, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(tcp, socket.TCP_KEEPIDLE, options.keepalive_idle_s)
    sock.setsockopt(tcp, socket.TCP_KEEPINTVL, options.keepalive_interval_s)
    sock.setsockopt(tcp, socket.TCP_KEEPCNT, options.keepalive_probes)
    if options.receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.receive_buffer)
