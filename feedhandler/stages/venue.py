"""A venue in a process of its own, as a load: Binance's depth updates made beforehand, one by one or in a flood.

    python -m feedhandler.stages.venue LEVELS RATE [CERTIFICATE KEY]

Prints its port. Updates are of LEVELS levels a side, and are numbered without a gap from FIRST on, on each connection
anew. RATE texts a second, each in a TLS record of its own; 0: as fast as they are taken, in records of 16 KiB. Ends
when its standard input does.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

from feedhandler.session import frames
from feedhandler.stages import load

SYMBOL = "BTCUSDT"
FIRST = 500_000_000_001  # numbers of a constant length, so that a text can be numbered in place
TEXTS = 1024  # that are made beforehand
DEPTH = 1000  # levels a side of the snapshot
BID, ASK = 6_100_000, 6_100_001  # best ticks of the snapshot; a tick is 0.01
REACH = 200  # ticks from the best that updates are about


def snapshot() -> bytes:
    """The REST body on which the updates follow."""
    dice = random.Random(1)
    sides = [
        [[_price(best + way * n), _size(dice)] for n in range(DEPTH)]
        for best, way in ((BID, -1), (ASK, 1))
    ]  # fmt: skip
    return json.dumps({"lastUpdateId": FIRST - 1, "bids": sides[0], "asks": sides[1]}, separators=(",", ":")).encode()


def updates(levels: int) -> list[bytes]:
    """Texts with the numbers of the first so many; the books that they make never cross."""
    dice = random.Random(2)
    made = []
    for n in range(TEXTS):
        sides = [
            ",".join(
                f'["{_price(best + way * distance)}","{_size(dice)}"]'
                for distance in sorted(dice.sample(range(1, max(REACH, 2 * levels)), levels))
            )
            for best, way in ((BID, -1), (ASK, 1))
        ]
        head = f'{{"e":"depthUpdate","E":1723161255208,"s":"{SYMBOL}","U":{FIRST + n},"u":{FIRST + n},'
        made.append(f'{head}"b":[{sides[0]}],"a":[{sides[1]}]}}'.encode())
    return made


def _price(ticks: int) -> str:
    return f"{ticks // 100}.{ticks % 100:02}000000"


def _size(dice: random.Random) -> str:
    """Some of them 0: the level is gone."""
    return "0.00000000" if dice.random() < 0.2 else f"{dice.random() * 9 + 0.01:.8f}"


class _Block:
    """Frames of all texts, which are numbered anew each time around."""

    def __init__(self, levels: int) -> None:
        self.frames = bytearray()
        self.places: list[tuple[int, int]] = []
        self.ends: list[int] = []
        for n, text in enumerate(updates(levels)):
            number = str(FIRST + n).encode()
            framed = frames.text(text, masked=False)
            first = framed.index(b'"U":' + number) + 4
            last = framed.index(b'"u":' + number) + 4
            self.places.append((len(self.frames) + first, len(self.frames) + last))
            self.frames += framed
            self.ends.append(len(self.frames))

    def number(self, base: int) -> None:
        for n, (first, last) in enumerate(self.places):
            digits = b"%d" % (base + n)
            self.frames[first : first + len(digits)] = digits
            self.frames[last : last + len(digits)] = digits

    def texts(self) -> Iterator[memoryview]:
        view, begin = memoryview(self.frames), 0
        for end in self.ends:
            yield view[begin:end]
            begin = end


def serve(levels: int, rate: float, certificate: str = "", key: str = "") -> None:
    """Serve one connection after the other until standard input ends."""
    block = _Block(levels)

    def send(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _send(connection, block, rate)

    load.serve(send, min(os.sched_getaffinity(0)), certificate, key)


def _send(connection: socket.socket, block: _Block, rate: float) -> None:
    base, due = FIRST, time.monotonic()
    while True:
        block.number(base)
        base += TEXTS
        if not rate:
            connection.sendall(block.frames)
            continue
        for text in block.texts():
            due += 1 / rate
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            connection.sendall(text)


def venue(levels: int, rate: float, certificate: str = "", key: str = "") -> AbstractContextManager[int]:
    """Such a venue in a process of its own; its port."""
    identity = filter(None, (certificate, key))
    return load.running("-m", "feedhandler.stages.venue", str(levels), str(rate), *identity)


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:5])
