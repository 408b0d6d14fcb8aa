"""A server that blasts: after the handshake, text frames that were made beforehand, as fast as the client takes them.

    python benchmarks/websocket_server.py SIZE [CERTIFICATE KEY]

Prints its port, serves one connection after the other, ends when its standard input does. The texts are Binance's depth
updates in form, all of SIZE bytes exactly. With a certificate it speaks TLS, in records of 16 KiB.
"""

from __future__ import annotations

import random
import socket
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from feedhandler.session import frames
from feedhandler.stages import load

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


def block(size: int) -> bytes:
    """Whole frames of different texts, some 256 KiB of them."""
    dice = random.Random(size)
    return b"".join(frames.text(text(size, dice), masked=False) for _ in range(BLOCK // (size + 4) + 1))


def serve(size: int, certificate: str = "", key: str = "") -> None:
    """Serve until standard input ends."""
    run = block(size)

    def blast(connection: socket.socket) -> None:
        # segments as large with TLS as without, or each record wakes the client: its sleeps would be measured
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        while True:
            connection.sendall(run)

    load.serve(blast, SERVER_CPU, certificate, key)


def blasting(size: int, certificate: str = "", key: str = "") -> AbstractContextManager[int]:
    """Such a server in a process of its own; its port."""
    return load.running(str(Path(__file__).resolve()), str(size), *filter(None, (certificate, key)))


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:4])
