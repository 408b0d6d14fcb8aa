"""Requests to a MoldUDP64 re-request server: shared/protocols/moldudp64.md.

The socket is connected: the kernel chooses the address that leads to the server as its source, so answers find the
way back, and takes nothing that another sender sends there. It never blocks. What goes wrong on the network, a port
that nobody listens on included, is silence; the ladder knows what to do about that.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from feedhandler.recovery.transport import address_of

REQUEST = struct.Struct(">10sQH")
COUNT_MAX = 0xFFFE  # 0xFFFF is the end of a session
RECEIVE_BUFFER = 4 << 20  # many answers may come at once
LARGEST = 65535
PACKETS_AT_ONCE = 1024


class MoldUdp64Requests:
    """One server, "host:port"; the name is looked up once. Raises ConfigError when it has no address."""

    def __init__(self, server: str) -> None:
        self.name = server
        self._family, self._address = address_of("request server", server, socket.SOCK_DGRAM)
        self._socket: socket.socket | None = None
        self.errors = 0
        """Requests that could not be sent, and refusals of the server's host."""

    def send(self, session: bytes, first: int, count: int) -> None:
        """Ask for messages [first, first + count), `count` at most 65534 of them."""
        request = REQUEST.pack(session[:10].rstrip(b"\0").ljust(10), first, min(count, COUNT_MAX))
        for _ in range(2):  # a refusal of an earlier packet is reported once, and this one then was not sent
            try:
                self._open().send(request)
                return
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                self.errors += 1
            except OSError:  # the interface, or its address, may be another one next time
                self.close()
                break
        self.errors += 1

    def receive(self) -> list[bytes]:
        """The packets that have come."""
        packets: list[bytes] = []
        if self._socket is None:
            return packets
        while len(packets) < PACKETS_AT_ONCE:
            try:
                packets.append(self._socket.recv(LARGEST))
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                self.errors += 1
            except OSError:
                self.errors += 1
                self.close()
                break
        return packets

    def fileno(self) -> int:
        """The socket's descriptor, -1 before the first request."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Close the socket; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(self._family, socket.SOCK_DGRAM)
            try:
                made.setblocking(False)
                with contextlib.suppress(OSError):
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                made.connect(self._address)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket
