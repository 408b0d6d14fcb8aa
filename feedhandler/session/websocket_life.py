"""The life of one line that is a WebSocket: connect, subscribe, keep alive, come back; and be replaced before its end.

```
              ┌────────────── backoff by cause, full jitter ◄──────────────┐
              ▼                                                            │
DISCONNECTED ─► CONNECTING ─► AUTHENTICATING ─► SYNCHRONIZING ─► CONNECTED ─┤ closed, lost
              name, TCP, TLS   HTTP upgrade,     subscribed      ▲   │      │
                               signed subscription               │   │      │
                                                            heard│   ▼      │
                                                             STALE (a heartbeat missed)
                                                               └─► DEAD (several) ─► given up
```
A machine without sockets, clock and thread: `step(now)` does what is due and says when to come again. What it knows of
the world and does to it is a `Link`. Times are seconds of any clock that does not step back.

A planned reconnect (the venue cuts connections after a day, or asks for a new one) makes before it breaks: the new
connection is dialled, subscribed and confirmed while the old one flows; then the new one takes its place, where the hot
thread can do that and has heard of it, else with the old one's end. Both flow for a while before: what was sent on the
old one before the new one was subscribed may be late, and no book would show that it is missing until its next change.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from feedhandler.records import Cause, Connection
from feedhandler.recovery.pace import full_jitter
from feedhandler.session.websocket import BrokenError, Stage

__all__ = ["BACKOFF", "Life", "Link", "Wait"]

PLANNED_EARLY = (0.90, 0.97)  # of a connection's lifetime: when it is replaced
SETTLED_S = 30.0  # a connection that lasted so long was a good one: the next failure is a first one
OVERLAP_S = 0.5  # of both connections, before one takes the line from the other: longer than TCP needs to send again
TAKE_S = 1.0  # for the hot thread to have heard that the line will be taken over
PACE_S = 0.1  # until the venue's limit of attempts is looked at again
POLL_S = 0.01  # between two looks at what another thread does
NEVER = float("inf")


@dataclass(frozen=True)
class Wait:
    """How long to wait after a failure: a random time up to `first_s`, doubled each time, up to `most_s`.

    `floor_s` comes before it. `at_once`: the first time there is no wait but a short random one.
    """

    first_s: float
    most_s: float
    floor_s: float = 0.0
    at_once: bool = False


AT_ONCE_S = 0.1
NETWORK = Wait(0.25, 30.0)
BACKOFF: dict[Cause, Wait] = {
    Cause.UNREACHABLE: NETWORK,
    Cause.LOST: NETWORK,
    Cause.TIMEOUT: NETWORK,
    Cause.SILENT: NETWORK,
    Cause.CLOSED: NETWORK,
    Cause.RESTARTING: Wait(0.25, 30.0, at_once=True),
    Cause.PLANNED: Wait(0.25, 30.0, at_once=True),
    Cause.AUTHENTICATION: Wait(5.0, 300.0, at_once=True),
    Cause.OVERLOADED: Wait(2.0, 120.0),
    Cause.SERVER_ERROR: Wait(1.0, 60.0),
    Cause.HANDSHAKE: Wait(1.0, 120.0),
    Cause.PROTOCOL: Wait(1.0, 120.0),
    Cause.TOO_BIG: Wait(1.0, 120.0),
    Cause.TLS: Wait(5.0, 300.0),
    Cause.REFUSED: Wait(5.0, 300.0),
    Cause.RATE_LIMITED: Wait(30.0, 900.0, floor_s=5.0),
    Cause.POLICY: Wait(60.0, 3600.0, floor_s=5.0),
}
"""By cause. Whoever is asked to come later (Retry-After) waits at least so long."""


class Link(Protocol):
    """What a life knows of its line, and does to it. All are called on the control thread, and none waits."""

    def may_dial(self, now: float) -> bool:
        """The venue's limit of attempts allows one now."""

    def dial(self) -> None:
        """Begin another connection; one may be up meanwhile."""

    def dialled(self) -> Stage:
        """How far it has come. Raises BrokenError when it has failed."""

    def cancel(self) -> None:
        """Give the attempt up."""

    def hand_over(self) -> bool:
        """Make the connection that is READY the line's; the line is down, or announced(). False: not now, ask again.
        Raises BrokenError."""

    def takes_over(self) -> bool:
        """The connection that is READY may take the place of the one that is up."""

    def announced(self) -> bool:
        """The hot thread has heard of it, and the one that is up still flows."""

    def down(self) -> bool:
        """The connection handed over last has ended."""

    def ending(self) -> BrokenError:
        """Why it has."""

    def received(self) -> int:
        """A count that grows with every sign of life."""

    def serves(self) -> bool:
        """The venue has confirmed all that we asked of it, or it flows."""

    def replace_wanted(self) -> bool:
        """The venue has asked for a new connection since the last hand-over."""

    def ping(self) -> None: ...

    def ask(self) -> None:
        """Say what the venue answers, where it says nothing by itself."""

    def close(self, code: int, reason: str) -> None:
        """Say close, then end the connection; down() will say that it has."""

    def tell(self, before: Connection, state: Connection, cause: Cause, words: str) -> None:
        """A transition. `words` is for people."""


class Life:
    """One line's connections: call step() whenever the time it gave has come, or more often.

    `beat_s`: something is heard at least so often; half of it silent, we ping; all of it, the line is STALE; `misses`
    times, DEAD. `ask_s`: between two of our own heartbeats, 0 = none. `lifetime_s`: the venue cuts connections then,
    0 = never. `rng` decides the jitter. `error` is the last failure, of a replacement, too; None while all is well.
    """

    def __init__(
        self,
        link: Link,
        *,
        beat_s: float = 10.0,
        misses: int = 3,
        ask_s: float = 0.0,
        lifetime_s: float = 0.0,
        dial_s: float = 20.0,
        first_s: float = 0.0,
        rng: random.Random | None = None,
    ) -> None:
        self.link = link
        self.state = Connection.DISCONNECTED
        self.cause = Cause.START
        self.attempts = 0
        self.connections = 0
        """Handed over so far."""
        self.replaced = 0
        """Of them, those that took the place of one that was up."""
        self.error: BrokenError | None = None
        self.beat_s, self.misses, self.ask_s, self.lifetime_s, self.dial_s = beat_s, misses, ask_s, lifetime_s, dial_s
        self._random = rng or random.Random()
        self._due = first_s  # DISCONNECTED: the next attempt
        self._up = False  # a connection was handed over, and its end not seen yet
        self._dialling = False
        self._late = NEVER  # the end of patience with the attempt
        self._ready = False  # it is to take the place of the one that is up, as soon as that is down
        self._taking = False  # or sooner: as soon as that is announced,
        self._overlapped = NEVER  # and both have flowed until then
        self._plan = NEVER  # when the connection is to be replaced
        self._count, self._heard, self._pinged, self._asked, self._since = 0, 0.0, 0.0, 0.0, 0.0
        self._plan_again = 0.0  # after a replacement that failed: not before
        self._planned_attempts = 0

    def step(self, now: float) -> float:
        """Do what is due; the time of the next step at the latest."""
        if self._up:
            self._watch(now)
        if self._taking:
            self._take(now)
        if self._dialling:
            self._follow(now)
        elif self._up:
            if not self._ready and now >= self._plan_again and (now >= self._plan or self.link.replace_wanted()):
                self._dial(now)
        elif now >= self._due:
            self._dial(now)
        if self._dialling or self._ready or self.state in (Connection.DEAD, Connection.SYNCHRONIZING):
            return now + POLL_S
        if not self._up:
            return max(self._due, now)
        return now + min(0.25, self.beat_s / 8)

    def stop(self) -> None:
        """Say goodbye; nothing more is to be done."""
        if self._dialling or self._ready:
            self.link.cancel()
        self._dialling = self._ready = self._taking = False
        if self._up:
            self.link.close(1000, "")
        self._up = False
        self._turn(Connection.DISCONNECTED, Cause.STOPPED, "stopped")
        self._due = NEVER

    def restart(self, error: BrokenError) -> None:
        """Give the connection that is up, up: it cannot bring what it should."""
        if self._up and self.state is not Connection.DEAD:
            self._die(error)

    # -- the way up ------------------------------------------------------------------------------------------------

    def _dial(self, now: float) -> None:
        if not self.link.may_dial(now):
            self._due = now + PACE_S
            return
        if not self._up:
            self._turn(Connection.CONNECTING, Cause.RETRY if self.error else Cause.START, "")
        self._dialling, self._late = True, now + self.dial_s
        self.link.dial()

    def _follow(self, now: float) -> None:
        try:
            stage = self.link.dialled()
            if stage is not Stage.READY and now >= self._late:
                raise BrokenError(f"no connection within {self.dial_s:g} s", Cause.TIMEOUT)
            if not self._up:
                if stage in (Stage.UPGRADING, Stage.AUTHENTICATING) and self.state is Connection.CONNECTING:
                    self._turn(Connection.AUTHENTICATING, Cause.NONE, "")
                elif stage in (Stage.SUBSCRIBING, Stage.READY) and self.state is not Connection.SYNCHRONIZING:
                    self._turn(Connection.SYNCHRONIZING, Cause.UPGRADED, "")
            if stage is Stage.READY:
                if self._up:
                    self._dialling, self._ready = False, True
                    if self.link.takes_over():
                        self._taking, self._overlapped, self._late = True, now + OVERLAP_S, now + TAKE_S
                        self._turn(Connection.SYNCHRONIZING, Cause.PLANNED, "a new connection takes over")
                    else:
                        self.link.close(1000, "replaced")
                    return
                self._hand_over(now)
        except BrokenError as error:
            self.link.cancel()
            self._dialling = False
            if self._up:
                self._replace_later(now, error)
            else:
                self._back_off(now, error)

    def _take(self, now: float) -> None:
        """The new connection in the place of the one that is up."""
        try:
            if now >= self._overlapped and self.link.announced() and self._hand_over(now):
                self.replaced += 1
                return
        except BrokenError as error:
            self.link.cancel()
            self._ready = self._taking = False
            self._replace_later(now, error)
            self._turn(self._rightly(), Cause.HEARD, "the old connection goes on")
            return
        if now >= self._late:
            self._taking = False
            self.link.close(1000, "replaced")

    def _replace_later(self, now: float, error: BrokenError) -> None:
        """The one that is up goes on."""
        self._plan_again = now + self._wait(error, self._planned_attempts)
        self._planned_attempts += 1
        if self.state is not Connection.DEAD:  # else it does not, and why is the error
            self.error = BrokenError(
                f"it goes on, and cannot be replaced: {error}", error.cause, error.retry_s, error.status
            )

    def _hand_over(self, now: float) -> bool:
        if not self.link.hand_over():
            return False
        self._dialling = self._ready = self._taking = False
        self._up, self.error = True, None
        self.connections += 1
        self._planned_attempts = 0
        self._count, self._heard = self.link.received(), now
        self._pinged = self._asked = self._since = now
        early = self._random.uniform(*PLANNED_EARLY)
        self._plan = now + self.lifetime_s * early if self.lifetime_s else NEVER
        return True

    # -- while it is up --------------------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        if self.link.down():
            self._ended(now)
            return
        if self.state is Connection.DEAD:
            return
        count = self.link.received()
        if count != self._count:
            self._count, self._heard = count, now
            if self.state is Connection.STALE:
                self._turn(self._rightly(), Cause.HEARD, "it speaks again")
        quiet = now - self._heard
        if quiet >= self.beat_s * self.misses:
            self._die(BrokenError(f"nothing came for {quiet:.1f} s: given up", Cause.SILENT))
            return
        if quiet >= self.beat_s and self.state is not Connection.STALE:
            self._turn(Connection.STALE, Cause.HEARTBEAT, f"nothing came for {quiet:.1f} s")
        if quiet >= self.beat_s / 2 and now - self._pinged >= self.beat_s / 2:
            self._pinged = now
            self.link.ping()
        if self.ask_s and now - self._asked >= self.ask_s:
            self._asked = now
            self.link.ask()
        if self.state is Connection.SYNCHRONIZING and not self._taking and self.link.serves():
            self._turn(Connection.CONNECTED, Cause.SUBSCRIBED, "")
        if self.attempts and now - self._since >= SETTLED_S:
            self.attempts = 0

    def _die(self, error: BrokenError) -> None:
        """End the connection that is up; only when it is down does one that is READY come, which would be DEAD, too."""
        self.error, self._taking = error, False
        self._turn(Connection.DEAD, error.cause, str(error))
        self.link.close(1000, "")

    def _rightly(self) -> Connection:
        return Connection.CONNECTED if self.link.serves() else Connection.SYNCHRONIZING

    def _ended(self, now: float) -> None:
        """The connection handed over last is down."""
        self._up = self._taking = False
        planned = self._ready
        if planned:
            self._ready = False
            self.replaced += 1
            self._turn(Connection.SYNCHRONIZING, Cause.PLANNED, "replaced by a new connection")
            self._dialling, self._late = True, now + self.dial_s
            return
        error = self.error if self.state is Connection.DEAD and self.error else self.link.ending()
        if self._dialling:  # the one that was to replace it is on its way
            self.error = error
            self._turn(Connection.CONNECTING, error.cause, str(error))
            return
        self._back_off(now, error)

    # -- the way down ----------------------------------------------------------------------------------------------

    def _back_off(self, now: float, error: BrokenError) -> None:
        self.error = error
        self._due = now + self._wait(error, self.attempts)
        self.attempts += 1
        self._turn(Connection.DISCONNECTED, error.cause, f"{error}; again in {self._due - now:.1f} s")

    def _wait(self, error: BrokenError, attempt: int) -> float:
        """Seconds until the next attempt."""
        how = BACKOFF.get(error.cause, NETWORK)
        if how.at_once and attempt == 0:
            return max(error.retry_s, self._random.uniform(0.0, AT_ONCE_S))
        return max(error.retry_s, how.floor_s) + full_jitter(self._random, how.first_s, attempt, how.most_s)

    def _turn(self, state: Connection, cause: Cause, words: str) -> None:
        if state is self.state and cause is self.cause and state is not Connection.DISCONNECTED:
            return
        before, self.state, self.cause = self.state, state, cause
        self.link.tell(before, state, cause, words)
