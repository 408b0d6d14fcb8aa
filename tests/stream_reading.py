"""What comes on the lines of a StreamReceiver: taken by the test itself, or by a thread that polls beside it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from feedhandler.receive._stream import StreamReceiver

Waiting = Callable[..., Any]


def collect(receiver: StreamReceiver, count: int, wait_for: Waiting, line: int = 0) -> bytes:
    """The next `count` plain bytes of a line."""
    got = bytearray()

    def enough() -> bool:
        receiver.wait_for(0.01)
        got.extend(b"".join(data for at, _, data in receiver.drain() if at == line))
        return len(got) >= count

    wait_for(enough, what=f"{count} bytes")
    return bytes(got)


@contextlib.contextmanager
def polled(receiver: StreamReceiver) -> Iterator[bytearray]:
    """A thread polls meanwhile: all bytes of all lines so far."""
    got = bytearray()
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            receiver.wait_for(0.01)
            for _, _, run in receiver.drain():
                got.extend(run)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield got
    finally:
        stop.set()
        thread.join()
