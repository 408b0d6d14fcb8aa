"""One load measured: a handler on one line over TLS, in the thread that calls, its stages apart.

    python -m feedhandler.stages.line LEVELS RATE MESSAGES FILE

writes the figures of each text to FILE (NumPy) and prints the rest as JSON. Heap allocations are counted where
`_allocations` was preloaded.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from feedhandler import config
from feedhandler.errors import FeedError
from feedhandler.handler import Handler
from feedhandler.receive import stream
from feedhandler.receive.tls import Tls
from feedhandler.records import BOOK, Quality
from feedhandler.session import frames
from feedhandler.session.texts import depth_answer
from feedhandler.simulate.venues.authority import Authority
from feedhandler.stages import _allocations, load, venue
from feedhandler.stages._stopwatch import Stopwatch, tick

WARM = 4096  # texts that are not measured: caches, branches, buffers
PATIENCE_S = 20.0
TURNS = 16
CONFIG = """
[shm]
name = "stages"
[books]
instruments = 64
[[channel]]
name = "binance"
protocol = "binance"
symbols = ["{symbol}"]
[[channel.line]]
name = "A"
url = "wss://localhost:{port}/"
ca = "{ca}"
"""


def measure(levels: int, rate: float, messages: int, rows: Any) -> dict[str, Any]:
    """Fill `rows` (messages, 5); what there is to say beside them. Raises FeedError when the line broke off."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-stages")))
        authority = Authority(folder)
        identity = authority.identity()
        port = stack.enter_context(venue.venue(levels, rate, str(identity.certificate), str(identity.key)))
        settings = config.parse(CONFIG.format(symbol=venue.SYMBOL, port=port, ca=authority.ca))
        receiver = stream.receiver(2)
        handler = stack.enter_context(Handler(settings, receiver=receiver, anonymous=True))
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        stack.callback(ours.close)
        receiver.connect(1, ours.fileno())
        sock = stack.enter_context(socket.create_connection(("localhost", port)))
        tls = Tls("localhost", ca=str(authority.ca))
        tls.handshake(sock, timeout=10)
        theirs.sendall(frames.text(depth_answer(venue.SYMBOL, venue.snapshot()), masked=False))
        tls.write(load.REQUEST)
        receiver.connect(0, sock.fileno(), tls.read(), tls)
        _warm_up(handler, min(WARM, messages))
        if len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        arbiter, decoder, books, _ = handler._parts[0]
        watch = Stopwatch(receiver, 0, handler._framings[0], arbiter, decoder, books, handler.publisher)
        watch.measure(rows[: max(1, min(256, messages))], int(PATIENCE_S * 1e9))
        before, cpu, began = _allocations.so_far(), time.thread_time_ns(), time.monotonic_ns()
        why = watch.measure(rows, int(PATIENCE_S * 1e9))
        after, cpu, wall = _allocations.so_far(), time.thread_time_ns() - cpu, time.monotonic_ns() - began
        if why:
            raise FeedError(f"bench websocket: {why}, after {watch.texts:,} texts")
        slot = handler.segment.books[1, : BOOK.itemsize].view(BOOK)[0]
        return {
            "texts": watch.texts,
            "reads": watch.reads,
            "events": watch.made,
            "others": watch.others,
            "allocations": after - before if _allocations.counted() else None,
            "quality": Quality(int(slot["quality"])).name,
            "channel_seq": int(slot["channel_seq"]),
            "tls": f"{tls.version}, {tls.cipher}",
            "cpu_ns": cpu,
            "wall_ns": wall,
            "clock_ns": tick(),
        }


def _warm_up(handler: Handler, texts: int) -> None:
    """The snapshot, then updates through the shard itself."""
    end = time.monotonic() + PATIENCE_S
    while handler.types.get("S", 0) < 1 or handler.types.get("D", 0) < texts:
        handler.shard.turn_many(TURNS)
        if time.monotonic() > end:
            raise FeedError(f"bench websocket: the line brought only {handler.types} in {PATIENCE_S:g} s")


if __name__ == "__main__":
    _levels, _rate, _messages, _file = sys.argv[1:]
    figures = np.zeros((int(_messages), 5), np.uint32)
    said = measure(int(_levels), float(_rate), int(_messages), figures)
    np.save(_file, figures)
    print(json.dumps(said))
