"""The life of a WebSocket line as a machine: every way up, down and across, by a clock that the test moves."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.records import Cause, Connection
from feedhandler.session.websocket import BrokenError, Stage
from feedhandler.session.websocket_life import BACKOFF, Life

C = Connection


class FakeLink:
    """A line whose world the test decides."""

    def __init__(self) -> None:
        self.stage: Stage | BrokenError = Stage.REACHING
        self.dials, self.handed, self.pings, self.asks, self.cancelled = 0, 0, 0, 0, 0
        self.closed: list[tuple[int, str]] = []
        self.count = 0
        self.is_down, self.confirmed, self.wanted, self.allowed = False, True, False, True
        self.takes, self.heard = False, False
        self.refuses: BrokenError | None = None
        self.end = BrokenError("the connection broke", Cause.LOST)
        self.told: list[tuple[Connection, Connection, Cause]] = []

    def may_dial(self, now: float) -> bool:
        return self.allowed

    def dial(self) -> None:
        self.dials += 1
        self.stage = Stage.REACHING

    def dialled(self) -> Stage:
        if isinstance(self.stage, BrokenError):
            raise self.stage
        return self.stage

    def cancel(self) -> None:
        self.cancelled += 1

    def takes_over(self) -> bool:
        return self.takes

    def announced(self) -> bool:
        return self.heard and not self.is_down

    def hand_over(self) -> bool:
        if self.refuses is not None:
            raise self.refuses
        self.handed += 1
        self.is_down = self.wanted = False
        return True

    def down(self) -> bool:
        return self.is_down

    def ending(self) -> BrokenError:
        return self.end

    def received(self) -> int:
        return self.count

    def serves(self) -> bool:
        return self.confirmed

    def replace_wanted(self) -> bool:
        return self.wanted

    def ping(self) -> None:
        self.pings += 1

    def ask(self) -> None:
        self.asks += 1

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def tell(self, before: Connection, state: Connection, cause: Cause, words: str) -> None:
        self.told.append((before, state, cause))

    @property
    def path(self) -> list[tuple[Connection, Cause]]:
        """What was told since the last look, and each begins where the one before ended."""
        told, self.told = self.told, []
        assert all(a[1] is b[0] for a, b in itertools.pairwise(told))
        return [(state, cause) for _, state, cause in told]


def made(**options: float) -> tuple[FakeLink, Life]:
    link = FakeLink()
    return link, Life(link, rng=random.Random(7), **options)  # type: ignore[arg-type]


def up(link: FakeLink, life: Life, now: float) -> float:
    """Step the life until it is CONNECTED; the time then."""
    life.step(now)
    for link.stage in (Stage.UPGRADING, Stage.SUBSCRIBING, Stage.READY):
        now += 0.01
        life.step(now)
    life.step(now + 0.01)
    assert life.state is C.CONNECTED
    return now + 0.01


UP = [
    (C.CONNECTING, Cause.START),
    (C.AUTHENTICATING, Cause.NONE),
    (C.SYNCHRONIZING, Cause.UPGRADED),
    (C.CONNECTED, Cause.SUBSCRIBED),
]


def test_the_way_up() -> None:
    link, life = made()
    up(link, life, 0.0)
    assert link.path == UP
    assert (link.dials, link.handed, life.connections, life.error) == (1, 1, 1, None)


def test_a_stage_that_was_never_seen_is_passed_through() -> None:
    link, life = made()
    life.step(0.0)
    link.stage = Stage.READY
    life.step(0.1)
    life.step(0.2)
    assert [state for state, _ in link.path] == [C.CONNECTING, C.SYNCHRONIZING, C.CONNECTED]


def test_it_is_synchronizing_until_all_is_confirmed() -> None:
    link, life = made()
    link.confirmed = False
    life.step(0.0)
    link.stage = Stage.READY
    for now in (0.1, 0.2, 0.3):
        life.step(now)
        assert life.state is C.SYNCHRONIZING
    link.confirmed = True
    life.step(0.4)
    assert life.state is C.CONNECTED


def test_a_connection_that_ends_is_had_again() -> None:
    link, life = made()
    now = up(link, life, 0.0)
    link.told.clear()
    link.is_down = True
    life.step(now + 1)
    assert link.path == [(C.DISCONNECTED, Cause.LOST)]
    due = life.step(now + 1)
    assert now + 1 <= due <= now + 1 + BACKOFF[Cause.LOST].first_s
    assert link.dials == 1
    life.step(due)
    assert link.path == [(C.CONNECTING, Cause.RETRY)]
    assert link.dials == 2


@pytest.mark.parametrize("cause", list(BACKOFF))
def test_waits_grow_by_cause_and_stay_within_bounds(cause: Cause) -> None:
    how = BACKOFF[cause]
    link, life = made()
    now, waits = 0.0, []
    for _ in range(16):
        life.step(now)
        link.stage = BrokenError("no", cause)
        due = life.step(now)
        assert life.state is C.DISCONNECTED
        waits.append(due - now)
        now = due
    for attempt, wait in enumerate(waits):
        bound = how.floor_s + min(how.most_s, how.first_s * 2**attempt)
        assert 0 <= wait <= bound + 1e-9
        assert wait >= how.floor_s or (how.at_once and attempt == 0)
    assert max(waits) > how.first_s
    if how.at_once:
        assert waits[0] <= 0.1


def test_who_is_asked_to_come_later_comes_later() -> None:
    link, life = made()
    life.step(0.0)
    link.stage = BrokenError("HTTP 429", Cause.RATE_LIMITED, retry_s=120.0)
    assert life.step(0.0) >= 120.0


def test_attempts_count_until_a_connection_has_lasted() -> None:
    link, life = made(beat_s=1000.0)
    now = 0.0
    for attempt in range(4):
        now = up(link, life, now)
        assert life.attempts == attempt
        link.is_down = True
        now = life.step(now + 5) + 0.001
    now = up(link, life, now)
    life.step(now + 31)
    assert life.attempts == 0


def test_silence_is_stale_and_then_dead() -> None:
    link, life = made(beat_s=10.0, misses=3)
    now = up(link, life, 0.0)
    link.told.clear()
    life.step(now + 5.1)
    assert (link.pings, life.state) == (1, C.CONNECTED)
    life.step(now + 10.3)
    assert link.path == [(C.STALE, Cause.HEARTBEAT)]
    assert link.pings == 2
    link.count += 1
    life.step(now + 11)
    assert link.path == [(C.CONNECTED, Cause.HEARD)]
    life.step(now + 21.5)
    life.step(now + 41.5)
    assert link.path == [(C.STALE, Cause.HEARTBEAT), (C.DEAD, Cause.SILENT)]
    assert link.closed == [(1000, "")]
    life.step(now + 41.6)
    assert life.state is C.DEAD
    link.is_down = True
    life.step(now + 41.7)
    assert link.path == [(C.DISCONNECTED, Cause.SILENT)]


def test_a_line_that_answers_pings_is_never_stale() -> None:
    link, life = made(beat_s=10.0)
    now = up(link, life, 0.0)
    link.told.clear()
    for _ in range(1000):
        now += 0.25
        before = link.pings
        life.step(now)
        link.count += link.pings - before
    assert link.path == []
    assert 40 <= link.pings <= 51


def test_our_own_heartbeat_is_said() -> None:
    link, life = made(beat_s=100.0, ask_s=30.0)
    now = up(link, life, 0.0)
    for second in range(1, 100):
        life.step(now + second)
    assert link.asks == 3


def test_a_planned_reconnect_makes_before_it_breaks() -> None:
    link, life = made(lifetime_s=1000.0, beat_s=1e6)
    now = up(link, life, 0.0)
    link.told.clear()
    life.step(now + 899)
    assert link.dials == 1
    life.step(now + 971)
    assert (link.dials, life.state, link.closed) == (2, C.CONNECTED, [])
    link.stage = Stage.SUBSCRIBING
    life.step(now + 972)
    assert link.closed == []
    link.stage = Stage.READY
    life.step(now + 973)
    assert (link.closed, link.handed, life.state) == ([(1000, "replaced")], 1, C.CONNECTED)
    link.is_down = True
    life.step(now + 973.1)
    life.step(now + 973.2)
    assert link.path == [(C.SYNCHRONIZING, Cause.PLANNED), (C.CONNECTED, Cause.SUBSCRIBED)]
    assert (link.dials, link.handed, life.replaced, life.error) == (2, 2, 1, None)


def taking(heard: bool) -> tuple[FakeLink, Life, float]:
    """A replacement that is READY, on a link where it may take over."""
    link, life = made(beat_s=1e6)
    now = up(link, life, 0.0)
    link.told.clear()
    link.takes, link.heard, link.wanted = True, heard, True
    life.step(now + 1)
    link.stage = Stage.READY
    life.step(now + 2)
    assert link.path == [(C.SYNCHRONIZING, Cause.PLANNED)]
    assert (link.closed, link.handed) == ([], 1)
    return link, life, now + 2


def test_a_replacement_takes_over_as_soon_as_it_is_announced() -> None:
    link, life, now = taking(heard=False)
    life.step(now + 0.5)
    assert (link.closed, link.handed, life.state) == ([], 1, C.SYNCHRONIZING)
    link.heard = True
    life.step(now + 0.6)
    life.step(now + 0.7)
    assert link.path == [(C.CONNECTED, Cause.SUBSCRIBED)]
    assert (link.closed, link.handed, life.replaced, life.connections) == ([], 2, 1, 2)


def test_both_flow_for_a_while_before_a_replacement_takes_over() -> None:
    link, life, now = taking(heard=True)
    life.step(now + 0.4)
    assert (link.closed, link.handed) == ([], 1)
    life.step(now + 0.6)
    assert (link.closed, link.handed, life.replaced) == ([], 2, 1)


def test_a_replacement_that_nobody_hears_of_comes_with_the_old_ones_end() -> None:
    link, life, now = taking(heard=False)
    life.step(now + 1.1)
    assert link.closed == [(1000, "replaced")]
    link.is_down = True
    life.step(now + 1.2)
    life.step(now + 1.3)
    assert link.path == [(C.CONNECTED, Cause.SUBSCRIBED)]
    assert (link.handed, life.replaced) == (2, 1)


def test_the_old_one_ends_before_its_replacement_has_taken_over() -> None:
    link, life, now = taking(heard=True)
    link.is_down = True
    life.step(now + 0.1)
    life.step(now + 0.2)
    assert link.path == [(C.CONNECTED, Cause.SUBSCRIBED)]
    assert (link.closed, link.handed, life.replaced) == ([], 2, 1)


def test_a_replacement_that_cannot_take_over_leaves_the_old_one_alone() -> None:
    link, life, now = taking(heard=True)
    link.refuses = BrokenError("no descriptors", Cause.LOST)
    life.step(now + 0.6)
    assert link.path == [(C.CONNECTED, Cause.HEARD)]
    assert (link.closed, link.handed, link.cancelled, life.replaced) == ([], 1, 1, 0)
    assert str(life.error) == "it goes on, and cannot be replaced: no descriptors"
    link.refuses = None
    life.step(now + 60)
    assert link.dials == 3


@pytest.mark.parametrize("why", ["given up", "silent"])
def test_who_is_given_up_while_the_replacement_takes_over_is_not_dead_for_ever(why: str) -> None:
    link, life, now = taking(heard=True)
    if why == "given up":
        life.restart(BrokenError("it cannot bring what it should", Cause.RESYNC))
    else:
        now += 3e6
    life.step(now)
    assert (life.state, link.handed, len(link.closed)) == (C.DEAD, 1, 1)
    link.is_down = True
    for passed in (0.1, 0.2, 0.3):
        life.step(now + passed)
    assert (life.state, link.handed, life.replaced) == (C.CONNECTED, 2, 1)


def test_the_venue_asks_for_another_connection() -> None:
    link, life = made(beat_s=1e6)
    now = up(link, life, 0.0)
    link.wanted = True
    life.step(now + 1)
    assert link.dials == 2
    assert life.state is C.CONNECTED


def test_a_replacement_that_fails_leaves_the_old_one_alone() -> None:
    link, life = made(beat_s=1e6)
    now = up(link, life, 0.0)
    link.told.clear()
    link.wanted = True
    life.step(now + 1)
    link.stage = BrokenError("no", Cause.UNREACHABLE)
    life.step(now + 1.1)
    assert (life.state, link.path, link.cancelled, link.dials) == (C.CONNECTED, [], 1, 2)
    assert str(life.error) == "it goes on, and cannot be replaced: no" and life.error.cause is Cause.UNREACHABLE
    life.step(now + 60)
    assert link.dials == 3
    link.stage, link.takes, link.heard = Stage.READY, True, True
    life.step(now + 61)
    life.step(now + 62)
    assert (life.replaced, life.error) == (1, None)


def test_why_a_line_died_is_said_though_its_replacement_failed_too() -> None:
    link, life = made(beat_s=1.0)
    now = up(link, life, 0.0)
    link.wanted = True
    life.step(now + 3.0)
    assert (life.state, link.dials) == (C.DEAD, 2)
    link.stage = BrokenError("no", Cause.UNREACHABLE)
    life.step(now + 3.1)
    assert str(life.error).endswith("given up")
    link.is_down = True
    life.step(now + 3.2)
    assert (life.state, life.cause) == (C.DISCONNECTED, Cause.SILENT)


def test_the_old_one_ends_while_its_replacement_is_on_its_way() -> None:
    link, life = made(beat_s=1e6)
    now = up(link, life, 0.0)
    link.told.clear()
    link.wanted = True
    life.step(now + 1)
    link.is_down = True
    life.step(now + 1.1)
    link.stage = Stage.READY
    life.step(now + 1.2)
    life.step(now + 1.3)
    assert [state for state, _ in link.path] == [C.CONNECTING, C.SYNCHRONIZING, C.CONNECTED]
    assert link.dials == 2


def test_an_attempt_has_an_end() -> None:
    link, life = made(dial_s=5.0)
    life.step(0.0)
    life.step(4.9)
    assert life.state is C.CONNECTING
    life.step(5.1)
    assert (life.state, life.cause, link.cancelled) == (C.DISCONNECTED, Cause.TIMEOUT, 1)


def test_attempts_wait_for_the_venues_limit() -> None:
    link, life = made()
    link.allowed = False
    due = life.step(0.0)
    assert link.dials == 0
    assert due > 0.0
    link.allowed = True
    life.step(due)
    assert link.dials == 1


def test_stop_says_goodbye() -> None:
    link, life = made()
    up(link, life, 0.0)
    link.told.clear()
    life.stop()
    assert link.closed == [(1000, "")]
    assert link.path == [(C.DISCONNECTED, Cause.STOPPED)]
    assert life.step(1e9) == float("inf") or link.dials == 1


ALLOWED = {
    C.DISCONNECTED: {C.CONNECTING, C.DISCONNECTED},
    C.CONNECTING: {C.AUTHENTICATING, C.SYNCHRONIZING, C.DISCONNECTED},
    C.AUTHENTICATING: {C.SYNCHRONIZING, C.DISCONNECTED},
    C.SYNCHRONIZING: {C.CONNECTED, C.STALE, C.DEAD, C.DISCONNECTED, C.CONNECTING, C.SYNCHRONIZING},
    C.CONNECTED: {C.STALE, C.DEAD, C.DISCONNECTED, C.CONNECTING, C.SYNCHRONIZING},
    C.STALE: {C.CONNECTED, C.SYNCHRONIZING, C.DEAD, C.DISCONNECTED, C.CONNECTING},
    C.DEAD: {C.DISCONNECTED, C.CONNECTING, C.SYNCHRONIZING},
}


def change(name: str, value: object) -> Callable[[FakeLink], None]:
    return lambda link: setattr(link, name, value)


CHANGES = [change("stage", stage) for stage in Stage]
CHANGES += [change("stage", BrokenError("no", cause)) for cause in (Cause.LOST, Cause.POLICY, Cause.RESTARTING)]
CHANGES += [
    change(n, v) for n in ("is_down", "confirmed", "wanted", "allowed", "takes", "heard") for v in (True, False)
]
CHANGES += [lambda link: setattr(link, "count", link.count + 1)]


@given(st.lists(st.tuples(st.sampled_from(range(len(CHANGES))), st.floats(0.0, 40.0)), max_size=80))
def test_whatever_happens_the_states_follow_each_other_as_drawn(happened: list[tuple[int, float]]) -> None:
    link, life = made(beat_s=5.0, lifetime_s=300.0)
    now, state = 0.0, C.DISCONNECTED
    for number, passed in happened:
        CHANGES[number](link)
        now += passed
        assert life.step(now) >= now
        for before, after, _ in link.told:
            assert before is state
            assert after in ALLOWED[before]
            state = after
        link.told.clear()
        assert life.state is state
        assert link.dials >= link.handed
