"""A WebSocket server as a load, in a process of its own: what it sends is the caller's, the rest is here."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from wsproto.utilities import generate_accept_token

START_S = 20.0
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
"""What a client that measures asks with."""


def serve(send: Callable[[socket.socket], None], cpu: int, certificate: str = "", key: str = "") -> None:
    """Print the port, give one upgraded connection after the other to `send`, end when standard input does.

    `cpu`: where it runs, if it may. With a certificate it speaks TLS, in records of 16 KiB at most.
    """
    with contextlib.suppress(OSError, ValueError):
        os.sched_setaffinity(0, {cpu})
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            accepted, _ = listening.accept()
            with contextlib.suppress(OSError), accepted:
                connection = context.wrap_socket(accepted, server_side=True) if context else accepted
                _upgrade(connection)
                send(connection)


def _upgrade(connection: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        if not (more := connection.recv(4096)):
            raise OSError("the client is gone")
        request += more
    fields = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
    key = next(value for name, value in fields.items() if name.lower() == b"sec-websocket-key")
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + generate_accept_token(key) + b"\r\n\r\n"
    )


@contextlib.contextmanager
def running(*program: str) -> Iterator[int]:
    """The port of a program of this interpreter that serves so, for as long as the block runs."""
    process = subprocess.Popen([sys.executable, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(START_S)
