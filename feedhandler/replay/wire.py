"""A recording onto multicast lines: its packets as they were, or its messages in new ones."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from feedhandler.closing import Closing
from feedhandler.errors import ConfigError
from feedhandler.recording import Recording
from feedhandler.replay import backlog
from feedhandler.replay.pacing import PacingReport
from feedhandler.replay.rewrite import Destination, Rewrite, text
from feedhandler.replay.source import Choice, Source
from feedhandler.replay.steps import Steps
from feedhandler.simulate import MulticastSender
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate.faults import Faults
from feedhandler.simulate.multicast import connected


def spins() -> bool:
    """Whether a sender spins unless it is told: where a CPU is left for everything else."""
    return len(os.sched_getaffinity(0)) > 1


class WireReplay(Closing):
    """The UDP lines of a recording, sent to where their packets went, or elsewhere.

    `speed`: times the recorded pace; `rate`: packets a second instead; neither: as fast as it goes. With `choice.rate`,
    messages a second, neither counts. `groups`: destinations of the lines in order, around again when they are fewer;
    `rewrite`: those of single lines. `interface`, `ttl`, `faults`, `seed`, `spin`, `cpu`, `priority`, `spinners`
    as of MulticastSender; unless told, one thread spins where there is a second CPU and no priority.

    The packets of different lines keep their order of time when they are paced and on time; late, or sent as fast as it
    goes, those of one line keep theirs, and lines may be some 64 packets apart. Used once, in a `with` block. Raises
    ConfigError, BackendError, CaptureError, ReceiverError as of its parts.
    """

    def __init__(
        self,
        recording: Recording,
        choice: Choice | None = None,
        *,
        speed: float | None = 1.0,
        rate: float | None = None,
        groups: Sequence[Destination] = (),
        rewrite: Rewrite | None = None,
        interface: str = "lo",
        ttl: int = 0,
        faults: Faults | None = None,
        seed: int = 1,
        spin: bool | None = None,
        cpu: Sequence[int] = (),
        priority: int = 0,
        spinners: int = 1,
    ) -> None:
        choice = choice or Choice()
        if choice.rate is not None:
            speed, rate = 1.0, None  # the times of what was packed anew are by that rate
        self.schedule = Schedule(speed=speed if rate is None else None, rate=rate)
        rewrite = rewrite or Rewrite()
        self.source = Source(recording, choice, along=lambda line: bool(groups) or rewrite.names(line))
        self.lines = self.source.lines
        recorded = rewrite.apply(self.lines)
        self.destinations = [groups[n % len(groups)] for n in range(len(recorded))] if groups else recorded
        self.backlog_drops = 0
        """Packets that this host dropped meanwhile before any socket saw them; of all its traffic."""
        sessions = {line.session for line in self.lines}
        if faults is not None and len(sessions) > 1:
            raise ConfigError(
                f"replay: faults are of one session protocol, the recording has {', '.join(sorted(sessions))}: choose "
                "channels of one"
            )
        self.sender = MulticastSender(
            self.destinations,
            interface=interface,
            ttl=ttl,
            faults=faults,
            seed=seed,
            framing=sessions.pop() if faults is not None else "moldudp64",
            spin=spins() and self.schedule.paced and not priority if spin is None else spin,
            cpu=cpu,
            priority=priority,
            spinners=spinners,
        )

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Send everything; `progress` is called with what `source.done` says.

        Raises CaptureError, after all that came before it, when the recording is damaged.
        """
        before = backlog.drops()
        with self.source:
            self.sender.run(
                self.source.ahead, lambda _: progress(self.source.done) if progress else None, schedule=self.schedule
            )
        self.backlog_drops = backlog.drops() - before
        if self.source.error is not None:
            raise self.source.error

    def stop(self) -> None:
        """End soon, after what is under way. From any thread or signal handler."""
        self.source.stop()
        self.sender.stop()

    def close(self) -> None:
        """Give back the sockets; run() does so by itself."""
        self.sender.close()

    @property
    def report(self) -> PacingReport:
        """How well the times were kept."""
        sender = self.sender
        return PacingReport.of(
            self.schedule,
            starved=sender.stats["starved"],
            preempted=sender.preempted,
            spinners=sender.spinners,
        )

    def outcome(self) -> dict[str, Any]:
        """What was sent, for JSON: passes, lines, pacing."""
        stats = self.sender.stats
        lines = [
            {"line": f"{line.channel}/{line.name}", "address": address, "port": port, **counts}
            for line, (address, port), counts in zip(self.lines, self.destinations, stats["lines"], strict=True)
        ]
        left_out = [text(line) for line in self.source.left_out]
        return {
            "packets": stats["messages"],
            "too_large": stats["too_large"],
            "passes": self.source.passes,
            "backlog_drops": self.backlog_drops,
            "lines": lines,
            "left_out": left_out,
            "pacing": self.report.as_dict(),
        }


class StepReplay:
    """The UDP lines of a recording onto the wire, packet by packet: `steps`.

    In a `with` block, and `source` in another.
    """

    def __init__(
        self,
        recording: Recording,
        choice: Choice,
        *,
        groups: Sequence[Destination] = (),
        rewrite: Rewrite | None = None,
        interface: str = "lo",
        ttl: int = 0,
    ) -> None:
        rewrite = rewrite or Rewrite()
        self.source = Source(recording, choice, along=lambda line: bool(groups) or rewrite.names(line))
        recorded = rewrite.apply(self.source.lines)
        targets = [groups[n % len(groups)] for n in range(len(recorded))] if groups else recorded
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self._sockets = [stack.enter_context(connected(*target, interface, ttl)) for target in targets]
            self._stack = stack.pop_all()
        self.steps = Steps(self.source, lambda line, _, payload: self._send(line, payload))

    def _send(self, line: int, payload: bytes) -> None:
        with contextlib.suppress(ConnectionRefusedError):  # nobody listens at a unicast address
            self._sockets[line].send(payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
