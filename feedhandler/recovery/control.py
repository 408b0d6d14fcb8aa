"""The control thread of recovery: steps the ladders of all channels of one handler."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Sequence

from feedhandler.control import ControlThread
from feedhandler.recovery.ladder import Ladder

IDLE_S = 0.001  # between two looks at what the hot thread asks: it makes no system call, so nobody wakes us
SENTENCES_AT_ONCE = 8  # for people; then one a second, with the number of those left out


class RecoveryControl(ControlThread):
    """Steps the ladders on a thread of their own, from start() to stop()."""

    def __init__(self, ladders: Sequence[Ladder], note: Callable[[str], None]) -> None:
        super().__init__("feedhandler-recovery")
        self.ladders = list(ladders)
        self._note = note

    def stop(self) -> None:
        """End the thread, and what is under way on the other side. Stopping twice is harmless."""
        super().stop()
        for ladder in self.ladders:
            ladder.stop()
            for way in (*ladder.requests, *ladder.snapshots):
                close = getattr(way, "close", None)
                if close is not None:
                    close()

    def _run(self) -> None:
        ladders = list(self.ladders)
        while not self._stopping.is_set():
            due = now = time.monotonic()
            due += IDLE_S
            for ladder in list(ladders):
                try:
                    due = min(due, ladder.step(now))
                except Exception as error:  # a fault of ours: the channel stays as it is, which is not LIVE
                    ladders.remove(ladder)
                    self._note(f"channel {ladder.name}: its recovery has failed and is off: {error!r}")
            self._wait([number for ladder in ladders for number in ladder.filenos()], due - time.monotonic())

    def _wait(self, descriptors: list[int], seconds: float) -> None:
        """Until an answer comes, or so long."""
        if seconds <= 0:
            return
        if not descriptors:
            time.sleep(seconds)  # a fifth of what waiting for the event costs; stop() waits for a millisecond at most
            return
        waiting = select.poll()
        for number in descriptors:
            waiting.register(number, select.POLLIN)
        with contextlib.suppress(OSError):
            waiting.poll(seconds * 1000)


class Sentences:
    """Lets sentences through to people at a bounded rate: some at once, then one a second."""

    def __init__(self, note: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._note, self._clock = note, clock
        self._left, self._at, self._dropped = float(SENTENCES_AT_ONCE), clock(), 0

    def __call__(self, sentence: str) -> None:
        now = self._clock()
        self._left = min(float(SENTENCES_AT_ONCE), self._left + max(0.0, now - self._at))
        self._at = now
        if self._left < 1.0:
            self._dropped += 1
            return
        self._left -= 1.0
        more = f" ({self._dropped} sentences before this one were left out)" if self._dropped else ""
        self._dropped = 0
        self._note(sentence + more)
