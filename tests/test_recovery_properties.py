"""The ladder, its requests and its sets of numbers under whatever the other side does."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st
from recovery_world import Server, Source, World, answer, snapshot

from feedhandler.line import ASK_OVER, ASK_SNAPSHOT
from feedhandler.recovery import Rung, Snapshot
from feedhandler.recovery.ranges import Ranges

PIECES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.booleans()), max_size=30)


@given(PIECES)
def test_ranges_are_sets_of_numbers(pieces: list[tuple[int, int, bool]]) -> None:
    ranges, numbers = Ranges(), set()
    for first, length, put in pieces:
        some = set(range(first, first + length))
        if put:
            ranges.add(first, first + length)
            numbers |= some
        else:
            taken = {n for a, b in ranges.remove(first, first + length) for n in range(a, b)}
            assert taken == numbers & some
            numbers -= some
        listed = list(ranges)
        assert {n for a, b in listed for n in range(a, b)} == numbers
        assert all(a < b for a, b in listed) and all(x[1] < y[0] for x, y in itertools.pairwise(listed))
    while ranges:
        first, end = ranges.take(5)
        assert 0 < end - first <= 5 and first == min(numbers)
        numbers -= set(range(first, end))
    assert not numbers


@given(st.data())
def test_whatever_the_servers_do_the_end_is_filled_or_given_up_and_nothing_is_asked_twice(data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
    fault = data.draw(st.floats(0, 1), label="faults")
    timeout = 0.05
    servers = [Server(f"server:{n}", most=rng.randint(1, 40), delay=rng.choice([0, 0.001, 0.03]))
               for n in range(data.draw(st.integers(1, 3), label="servers"))]  # fmt: skip
    under_way: list[tuple[float, int, int, int]] = []
    late: set[tuple[int, int]] = set()

    def respond_as(number: int, server: Server):
        def respond(first: int, count: int) -> list[bytes]:
            now = server.now
            for until, a, b, whose in under_way:  # answered or out of time, before it is asked for again
                if (whose, a) in late:  # its answer cannot be told from a late one to the same request before
                    continue
                assert now >= until or b <= first or first + count <= a, "asked twice"
            kind = rng.random() < fault and rng.choice(["silent", "late", "stray", "malformed", "session", "more"])
            if kind in ("silent", "stray", "malformed", "session"):
                under_way.append((now + timeout, first, first + count, number))
            if kind == "late":
                late.add((number, first))
                under_way.append((now + timeout, first, first + count, number))
                server.waiting.append((now + 3 * timeout, answer(first, min(count, server.most))))
                return []
            if kind == "silent":
                return []
            if kind == "stray":
                return [answer(10**7, 3)]
            if kind == "malformed":
                return [answer(first, count)[:-1]]
            if kind == "session":
                return [answer(first, count, b"OTHER     ".ljust(16, b"\0"))]
            under_way.append((now + server.delay, first, first + count, number))
            return [answer(first, min(count, server.most) + (kind == "more"))]

        return respond

    for number, server in enumerate(servers):
        server.respond = respond_as(number, server)
    holes = Ranges()
    for _ in range(data.draw(st.integers(1, 6), label="holes")):
        first = rng.randint(10, 400)
        holes.add(first, first + rng.randint(1, 90))
    world = World(servers, request_messages=rng.choice([1, 20, 1000]), requests_per_second=rng.choice([200, 5000]))
    for number in range(10, 600):
        if not any(first <= number < end for first, end in holes):
            world.given.add(number)
    while world.next_seq in world.given:
        world.next_seq += 1
    for first, end in holes:
        world.ask(first, end)
        world.run(rng.choice([0, 0.004]))
    world.run(40, step=1.0, until=lambda: world.ladder.rung is Rung.IDLE)
    if world.answers:
        assert world.answers == [("give_up", 0)] and fault > 0
    else:
        assert world.next_seq >= max(end for _, end in holes)
        assert world.ladder.rung is Rung.IDLE


@given(st.integers(0, 2**32))
def test_whatever_happens_it_ends_live_once_the_other_side_behaves(seed: int) -> None:
    """Holes, sessions, freezing, damage, sources that fail in every way; then a good one: nothing stays frozen."""
    rng = random.Random(seed)
    bad = True

    class Whimsical(Source):
        def poll(self, now: float) -> Snapshot | None:
            kind = rng.choice(["late", "refused", "stale", "session", "good"]) if bad else "good"
            if kind == "late":
                return None
            if kind == "refused":
                self.answers = ["refused"]
            else:
                number = world.next_seq + 40 if kind != "stale" else max(1, world.next_seq - 5)
                self.answers = [snapshot(number, "OTHER" if kind == "session" else "TODAY")]
            return super().poll(now)

    sources = [Whimsical(f"source:{n}", delay=0) for n in range(rng.randint(1, 2))]
    servers = [Server(f"server:{n}") for n in range(rng.randint(0, 2))]
    for server in servers:
        server.respond = lambda first, count: [answer(first, min(count, 9))] if rng.random() < 0.4 else []
    world = World(servers, sources, snapshot_retry_ms=300, attempts=rng.randint(1, 3), snapshot_timeout_ms=1000)
    for _ in range(rng.randint(1, 25)):
        what = rng.choice(["hole", "hole", "hole", "frozen", "session", "over", "damage", "flow"])
        first = world.next_seq
        if what == "hole":
            world.ask(first, first + rng.randint(1, 30))
        elif what == "frozen" and not world.line.is_frozen:
            world.line.is_frozen = True
            world.ask(first, first + rng.randint(1, 30), ASK_SNAPSHOT)
        elif what == "session":
            world.epoch, world.next_seq, world.line.is_frozen, world.given = world.epoch + 1, 1, False, set()
        elif what == "over" and not world.line.is_frozen:
            world.ask(first, first, ASK_OVER)
        elif what == "damage":
            world.spoil = 1
        elif what == "flow" and not world.line.is_frozen:
            world.next_seq += 7
        world.run(rng.choice([0.0, 0.01, 0.2, 1.0]), step=0.01)
    bad = False
    for server in servers:
        server.respond = lambda first, count: [answer(first, count)]
    world.run(60, step=0.05, until=lambda: world.ladder.rung is Rung.IDLE and not world.ladder.given_up)
    assert world.ladder.rung is Rung.IDLE and not world.ladder.given_up
    assert not world.line.is_frozen
