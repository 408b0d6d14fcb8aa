"""A recording packet by packet, as a person asks for them, each told as it goes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feedhandler.errors import FeedError
from feedhandler.figures import duration, kinds_text
from feedhandler.recording.lines import framing_of
from feedhandler.replay.rewrite import text
from feedhandler.replay.source import Source

if TYPE_CHECKING:
    from feedhandler.recording import RecordedLine

WAIT_S = 0.05
HELP = "Enter: one packet; a number: so many; q: end"
KEYS = "any key: one packet; 1 to 9: so many; q: end"


class Steps:
    """The packets of a source, some at each step; `act` does what is to be done with one (line, time, payload)."""

    def __init__(
        self, source: Source, act: Callable[[int, int, bytes], None], end: Callable[[], None] = lambda: None
    ) -> None:
        self.source, self.act, self.end = source, act, end
        self.packets = 0
        self._framings = [framing_of(line) if line.protocol else None for line in source.lines]
        self._last = 0

    def step(self, count: int = 1) -> Iterator[str]:
        """At most so many packets; what was done, a sentence each. Nothing at the end of the recording."""
        for _ in range(count):
            packet = self._next()
            if packet is None:
                self.end()
                return
            line, ts, payload = packet
            self.act(line, ts, payload)
            self.packets += 1
            yield self.describe(line, ts, payload)
        return

    def _next(self) -> tuple[int, int, bytes] | None:
        ahead = self.source.ahead
        while True:
            if packets := ahead.drain(1):
                return packets[0]
            if ahead.ended:
                return None
            ahead.wait_for(WAIT_S)

    def describe(self, number: int, ts: int, payload: bytes) -> str:
        """A packet for people: its number, time, line, session, numbers and types of messages."""
        line = self.source.lines[number]
        later = f" (+{duration(ts - self._last)})" if self._last and ts >= self._last else ""
        self._last = ts
        when = f"{_clock(ts)}{later}  " if ts else ""
        return f"{self.packets:>6}  {when}{text(line)}  {len(payload):,} bytes{self._content(number, line, payload)}"

    def _content(self, number: int, line: RecordedLine, payload: bytes) -> str:
        framing = self._framings[number]
        if framing is None:
            return ""
        said = []
        for frame, messages in framing.feed(payload):
            session = bytes(frame["session"]).strip(b"\0 ").decode("latin1")
            first = frame["first_seq"]
            if messages:
                last = f"..{first + len(messages) - 1}" if len(messages) > 1 else ""
                kinds = kinds_text(Counter(chr(message[0]) if message else "" for message in messages))
                said.append(f"  {session} {first}{last}  {kinds}" if first else f"  {kinds}")
            else:
                said.append(f"  {session} {frame['kind']}, next {first}" if first else f"  {frame['kind']}")
        return "".join(said)


def counts() -> Iterator[int]:
    """How many packets each step is to have, as the person says it, until they say that it is enough.

    From a terminal a key press is a step; from anywhere else a line of standard input is. Raises FeedError for a line
    that is neither empty, a number, nor q.
    """
    if sys.stdin.isatty():
        yield from _keys()
        return
    for line in sys.stdin:
        word = line.strip()
        if word in ("q", "quit"):
            return
        if word and not word.isdigit():
            raise FeedError(f"--step: expected an empty line, a number of packets, or q; found {word!r}")
        yield int(word or 1)


def _keys() -> Iterator[int]:
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    with contextlib.ExitStack() as stack:
        stack.callback(termios.tcsetattr, fd, termios.TCSADRAIN, before)
        while (key := os.read(fd, 8)) not in (b"q", b"\x04", b""):
            yield int(key) if key.isdigit() and len(key) == 1 and key != b"0" else 1


def _clock(ts: int) -> str:
    seconds, rest = divmod(ts, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09}"
