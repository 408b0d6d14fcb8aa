"""A server that blasts: after the handshake, text frames that were made beforehand, as fast as the client takes them.

    python benchmarks/websocket_server.py SIZE [CERTIFICATE KEY]

Prints its port, serves one connection after the other, ends when its standard input does. The texts are Binance's depth
updates in form, all of SIZE bytes exactly. With a certificate it speaks TLS, in records of 16 KiB.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BLOCK = 1 << 18  # bytes handed to the kernel at once
SERVER_CPU, CLIENT_CPU = 0, 1


def text(size: int, dice: random.Random) -> bytes:
    """A depth update of so many bytes."""
    first = dice.randrange(10**9, 10**10)
    head = f'{{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":{first},"u":{first + 13},"b":['
    end = '],"a":[]}'
    levels: list[str] = []
    while len(head) + len(",".join(levels)) + len(end) < size:
        levels.append(f'["{dice.randrange(60000, 62000)}.{dice.randrange(100):02}","{dice.random():.8f}"]')
    while levels and len(head) + len(",".join(levels)) + len(end) > size:
        levels.pop()
    body = (head + ",".join(levels) + end).encode()
    assert len(body) <= size
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


def frame(payload: bytes) -> bytes:
    """A server's whole text frame: RFC 6455, section 5.2."""
    size = len(payload)
    if size < 126:
        return struct.pack(">BB", 0x81, size) + payload
    return struct.pack(">BBH", 0x81, 126, size) + payload


def block(size: int) -> bytes:
    """Whole frames of different texts, some 256 KiB of them."""
    dice = random.Random(size)
    return b"".join(frame(text(size, dice)) for _ in range(BLOCK // (size + 4) + 1))


def serve(size: int, certificate: str = "", key: str = "") -> None:
    """Serve until standard input ends."""
    with contextlib.suppress(OSError, ValueError):
        os.sched_setaffinity(0, {SERVER_CPU})
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    frames = block(size)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            accepted, _ = listening.accept()
            with contextlib.suppress(OSError), accepted:
                connection = context.wrap_socket(accepted, server_side=True) if context else accepted
                _answer(connection)
                while True:
                    connection.sendall(frames)


def _answer(connection: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        if not (more := connection.recv(4096)):
            raise OSError("the client is gone")
        request += more
    fields = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
    key = next(value for name, value in fields.items() if name.lower() == b"sec-websocket-key").decode()
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    connection.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


@contextlib.contextmanager
def blasting(size: int, certificate: str = "", key: str = "") -> Iterator[int]:
    """Such a server in a process of its own; its port."""
    command = [sys.executable, str(Path(__file__).resolve()), str(size), *filter(None, (certificate, key))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:4])
