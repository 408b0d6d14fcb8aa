"""A recording into a handler, at a pace: the very code that runs live, in the recorded times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

from feedhandler.rehearse._packets import PacketQueue
from feedhandler.replay._paced import Paced
from feedhandler.replay.pacing import PacingReport
from feedhandler.replay.source import Choice, Source
from feedhandler.replay.steps import Steps
from feedhandler.simulate._schedule import Schedule

if TYPE_CHECKING:
    from feedhandler.capture_config import CaptureOptions
    from feedhandler.handler import Handler
    from feedhandler.receive._receiver import Receiver
    from feedhandler.recording import Recording

TURNS = 256  # between two looks at progress and stop
LOOK_S = 0.02  # the longest wait for the next packet


class HandlerReplay:
    """A recording as the receiver of a handler, which `open()` makes.

    Events are those of the recording, byte for byte, at any pace. `schedule`: see Schedule; with `steps` none is kept.
    Used once.
    """

    def __init__(
        self, recording: Recording, choice: Choice, schedule: Schedule, *, spin: bool = False, steps: bool = False
    ) -> None:
        self.schedule = schedule
        self.source = Source(recording, choice, "handler")
        lines = len(self.source.lines)
        self.receiver: Receiver = PacketQueue(lines) if steps else Paced(lines, self.source.ahead, schedule, spin=spin)
        self._stopping = threading.Event()

    def open(self, **options: Unpack[CaptureOptions]) -> Handler:
        """The handler, not yet started: pass it to run(), or to steps(), and close it. `options` as of open_recording.

        Where the window begins later than the recording, what came before has taken effect, as of open_recording. With
        symbols chosen it has not: their books say that they were joined late.
        """
        from feedhandler.handler import Handler, open_recording
        from feedhandler.recording import Window

        recording, choice = self.source.recording, self.source.choice
        names = recording.channels(choice.channels)
        if choice.symbols:
            config = recording.config(channels=names, **options)
            anonymous = not options.get("name")
            return Handler(config, receiver=self.receiver, first_packet=recording.first_ts, anonymous=anonymous)
        start = choice.window.start
        streams = start is not None and any(line.stream for line in self.source.lines)
        # the window itself is our receiver's; of streams it goes on behind what was taken
        before = choice.window if start is None or streams else Window(start, start)
        handler = open_recording(recording, before, channels=names, **options)
        try:
            if streams:
                self.source.join(handler.shard.packets_taken)
            handler.go_on(self.receiver)
        except BaseException:
            handler.close()
            raise
        return handler

    def run(self, handler: Handler, progress: Callable[[int], None] | None = None) -> None:
        """Play until the end, or stop(). Raises CaptureError when the recording is damaged."""
        with self.source:
            while not handler.shard.turn_many(TURNS) and not self._stopping.is_set():
                self.receiver.wait_for(LOOK_S)
                if progress is not None:
                    progress(self.source.done)
        handler.shard.finish()
        handler.show_malformed()
        if self.source.error is not None:
            raise self.source.error

    def steps(self, handler: Handler) -> Steps:
        """Of a replay with `steps`, in place of run(): packets into the handler one by one."""
        queue = self.receiver
        assert isinstance(queue, PacketQueue)

        def connect() -> None:
            for line in range(queue.lines):
                status = self.source.ahead.line_status(line)
                if status["connections"]:
                    queue.connect(line, status["connections"], status["state"])

        def act(line: int, ts: int, payload: bytes) -> None:
            connect()
            queue.put(line, ts, payload)
            handler.shard.step()

        def end() -> None:
            connect()
            handler.shard.step()

        return Steps(self.source, act, end)

    def stop(self) -> None:
        """End soon. From any thread or signal handler."""
        self._stopping.set()

    @property
    def report(self) -> PacingReport:
        """How well the times were kept."""
        return PacingReport.of(self.schedule)
