"""The control thread's part: wakes readers that sleep on the segment's futex word."""

import threading
from types import TracebackType
from typing import Self

from feedhandler.publish._control import WakeLoop
from feedhandler.publish.segment import Segment


class Waker:
    """A thread that looks at the ring heads every `wake_us` microseconds and wakes sleepers when one has moved.

    The hot thread never wakes anybody: a system call would cost it more than a message. A sleeping reader therefore
    hears of an event at most `wake_us` plus one thread switch after it was published. The thread also stores the
    control heartbeat. It costs one short timer wake-up every `wake_us`.
    """

    def __init__(self, segment: Segment, wake_us: int = 50) -> None:
        self._loop = WakeLoop(segment.memory, wake_us)
        self._thread = threading.Thread(target=self._loop.run, name="feedhandler-waker", daemon=True)

    def start(self) -> Self:
        """Begin to wake; once."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread and wake all sleepers once more. Stopping twice is harmless."""
        self._loop.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._loop.wake()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
