"""Any faults on the lines, any answers of the servers: every message once and in order, or the channel is not LIVE."""

import random
import struct
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedhandler import session
from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from feedhandler.line import ASK_MISSING, ASK_OVER, ASK_SNAPSHOT, Arbiter, Recovery
from feedhandler.line._recovery import Ask
from feedhandler.line.reference import RecoveringReference
from feedhandler.records import Quality
from tests.taken import by_message

US = 1000
MS = 1_000_000
NAMES = (b"SESSION001", b"SESSION002", b"SESSION003")
BAD = b"S"  # a message cut short


def event(name: bytes, number: int) -> bytes:
    """A well-formed ITCH message that says its session and number."""
    return b"S" + struct.pack(">HH", NAMES.index(name), 0) + number.to_bytes(6, "big") + b"O"


def mold(name: bytes, first: int, messages: list[bytes]) -> bytes:
    return name + struct.pack(">QH", first, len(messages)) + blob(messages)


def blob(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


class Books:
    """What a book would know: to which number it is whole, and whether it is right."""

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.next, self.right, self.loading = 1, False, False

    def take(self, what: tuple[object, ...], quality: int) -> None:
        kind = what[0]
        if kind == "session":
            self.name, self.next, self.right, self.loading = what[1], 1, True, False  # type: ignore[assignment]
        elif kind == "snapshot":
            assert what[1] >= self.next  # type: ignore[operator]
            self.next, self.right, self.loading = what[1], False, True  # type: ignore[assignment]
        elif kind == "loaded":
            assert self.loading
            for n, message in enumerate(what[1]):  # type: ignore[arg-type, var-annotated]
                if message == event(self.name, self.next - 1):  # type: ignore[arg-type]
                    self.right, self.loading = True, False
                    assert n == len(what[1]) - 1  # type: ignore[arg-type]
        elif kind == "run":
            _, first, messages, _, _ = what
            assert first >= self.next  # type: ignore[operator]
            if first > self.next:  # type: ignore[operator]
                self.right = False
            assert messages == [event(self.name, first + i) for i in range(len(messages))]  # type: ignore[arg-type, operator]
            self.loading = False
            self.next = first + len(messages)  # type: ignore[operator, arg-type, assignment]
        if quality == Quality.LIVE:
            assert self.right


class World:
    """Two lines, a control path and servers, all as bad as the dice want them."""

    def __init__(self, seed: int, loss: float, faults: float, snapshot: bool, window: int, gap_limit: int) -> None:
        self.dice = random.Random(seed)
        self.loss, self.faults = loss, faults
        asks = self.dice.choice([1, 4, 1024])
        self.recovery = Recovery(snapshot=snapshot, gap_limit=gap_limit, asks=asks, answer_bytes=1 << 20)
        self.arbiter = Arbiter(
            2,
            reorder_us=1000,
            window_messages=window,
            recovery=self.recovery,
            decoder=decoder("itch50", Instruments.standalone(16)),
        )
        self.framing = session.framing("moldudp64")
        self.books, self.now = Books(), 1000 * MS
        self.sent: dict[bytes, int] = {}
        self.wanted: list[Ask] = []
        self.later: list[Callable[[], bool]] = []  # answers on their way

    def take(self, taken: list[tuple[object, ...]]) -> None:
        for what, quality in zip(taken, self.arbiter.words, strict=True):
            self.books.take(what, quality)
        if self.arbiter.state[0] == Quality.LIVE:
            assert self.books.right
            assert self.arbiter.next_seq == self.books.next

    # -- the lines ----------------------------------------------------------------------------------------------------

    def stream(self, name: bytes, total: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Packets of both lines as (line, session, first, count), lost, doubled and moved."""
        dice = self.dice
        cuts = sorted({1, total + 1, *(dice.randint(1, total) for _ in range(total // 3))})
        moved = []
        for place, (first, after) in enumerate(pairwise(cuts)):
            for line in (0, 1):
                for _ in range(1 + (dice.random() < self.faults / 4)):
                    if dice.random() >= self.loss:
                        late = dice.randint(1, 12) if dice.random() < self.faults / 2 else 0
                        moved.append((place + late, dice.random(), (line, name, first, after - first)))
        return (packet for _, _, packet in sorted(moved))

    def line(self, line: int, name: bytes, first: int, count: int) -> None:
        messages = [event(name, n) for n in range(first, first + count)]
        if self.dice.random() < self.faults / 10:
            messages[self.dice.randrange(count)] = BAD
        self.sent[name] = max(self.sent.get(name, 0), first + count - 1)
        self.take(self.arbiter.feed(name, first, messages, self.now, line))

    def heartbeat(self, name: bytes, number: int, kind: str = "heartbeat") -> None:
        self.take(self.arbiter.feed(name, number, [], self.now, self.dice.randrange(2), kind=kind))

    # -- the control path ---------------------------------------------------------------------------------------------

    def control(self, right: bool) -> None:
        """Look at what is asked, and answer some of it, late or wrong as may be, unless it has to be `right`."""
        dice = self.dice
        for ask in self.recovery.asks():
            if ask.kind == ASK_OVER:
                self.wanted = [a for a in self.wanted if a.epoch > ask.epoch]
            else:
                self.wanted.append(ask)
        for ask in list(self.wanted):
            name = ask.session.rstrip(b"\0")
            if right or dice.random() < 0.5:
                if ask.kind == ASK_MISSING:
                    self.later += [partial(self.recovery.packet, *p) for p in self.retransmissions(ask, name, right)]
                else:
                    self.later.append(partial(self.recovery.snapshot, *self.snapshot(ask, name, right)))
                if right:
                    self.wanted.remove(ask)
        if not right and dice.random() < self.faults / 20:
            epoch = self.arbiter.state[2] - (dice.random() < 0.3)
            self.recovery.give_up(max(epoch, 0)) if dice.random() < 0.5 else self.recovery.freeze(max(epoch, 0))
        dice.shuffle(self.later)
        while self.later and (right or dice.random() < 0.7):
            assert self.later.pop()()
        self.take(self.arbiter.take_answers(self.framing))

    def retransmissions(self, ask: Ask, name: bytes, right: bool) -> list[tuple[int, bytes]]:
        dice, out = self.dice, []
        first, left, epoch = ask.first, ask.count, ask.epoch
        while left > 0:
            count = min(left, dice.randint(1, 20))
            at, n, whose = first, count, name
            if not right and dice.random() < self.faults:
                at = max(1, at + dice.choice([0, 0, -3, 2, 50]))
                n = max(1, n + dice.choice([0, -1, 5]))
                whose = dice.choice([name, name, *NAMES])
                epoch = max(0, ask.epoch + dice.choice([0, 0, 0, -1, 1]))
            messages = [event(whose, number) for number in range(at, at + n)]
            if not right and dice.random() < self.faults / 3:
                messages[dice.randrange(n)] = BAD
            packet = mold(whose, at, messages)
            if not right and dice.random() < self.faults / 5:
                packet = packet[: dice.randrange(len(packet))]
            out.append((epoch, packet))
            first, left = first + count, left - count
        return out

    def snapshot(self, ask: Ask, name: bytes, right: bool) -> tuple[int, int, bytes]:
        """The books before some number: one message for each 40, then one that says the number."""
        number = self.sent[name] + 1
        if not right and self.dice.random() < self.faults:
            number = max(1, number - self.dice.randint(0, 40))
        messages = [event(NAMES[0], 2**40)] * (number // 40) + [event(name, number - 1)]
        if not right and self.dice.random() < self.faults:
            messages.insert(self.dice.randrange(len(messages)), BAD)
        return ask.epoch, number, blob(messages)

    def end(self, name: bytes, total: int) -> None:
        """The lines say how far it goes, and the servers answer right from now on."""
        self.sent[name] = total
        kind = self.dice.choice(["heartbeat", "end"])
        for _ in range(30):
            self.now += 2 * MS
            self.heartbeat(name, total + 1, kind)
            self.take(self.arbiter.pass_time(self.now))
            self.control(right=True)
            quality, _, epoch = self.arbiter.state
            if quality == Quality.STALE and self.recovery.snapshots:
                self.recovery.freeze(epoch)
                self.take(self.arbiter.take_answers())
            if self.recovery.frozen() and self.recovery.snapshots:
                self.wanted.append(Ask(ASK_SNAPSHOT, epoch, name.ljust(16, b"\0"), 0, 0, 0))
            elif self.recovery.frozen():
                self.recovery.give_up(epoch)


FAULTS = st.sampled_from([0.0, 0.2, 0.6])


@pytest.mark.wire
@settings(max_examples=4 * settings().max_examples)
@given(
    seed=st.integers(0, 2**32 - 1),
    loss=st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.7]),
    faults=FAULTS,
    snapshot=st.booleans(),
    window=st.sampled_from([16, 64, 1024]),
    gap_limit=st.sampled_from([1, 5, 1000]),
    totals=st.lists(st.integers(1, 120), min_size=1, max_size=3),
)
def test_whatever_is_lost_and_answered_no_book_is_live_and_wrong(
    seed: int, loss: float, faults: float, snapshot: bool, window: int, gap_limit: int, totals: list[int]
) -> None:
    world = World(seed, loss, faults, snapshot, window, gap_limit)
    for name, total in zip(NAMES, totals, strict=False):
        for packet in world.stream(name, total):
            world.line(*packet)
            world.now += world.dice.choice([0, 1, 20, 400, 3000]) * US
            if world.dice.random() < faults / 20:
                world.now += 5000 * MS  # silence
                world.take(world.arbiter.pass_time(world.now))
            if world.dice.random() < faults / 5:
                world.heartbeat(name, world.sent[name] + 1)
            if world.dice.random() < 0.3:
                world.take(world.arbiter.pass_time(world.now))
            if world.dice.random() < 0.5:
                world.control(right=False)
    world.end(name, total)
    assert world.arbiter.next_seq == total + 1
    counts = world.arbiter.counts
    if snapshot:
        assert world.arbiter.state[0] == Quality.LIVE
    elif counts["lost"] == 0:
        assert world.arbiter.state[0] == Quality.LIVE
        assert counts["missing"] == counts["recovered"]
        if len(totals) == 1 and not counts["restarts"]:  # as late packets after a silence look: then all comes twice
            assert counts["messages"] == total
    if not snapshot and not counts["restarts"]:
        assert counts["missing"] == counts["recovered"] + counts["lost"]


@given(seed=st.integers(0, 2**32 - 1), loss=st.sampled_from([0.01, 0.1, 0.5]))
def test_with_recovery_nothing_at_all_is_lost(seed: int, loss: float) -> None:
    world = World(seed, loss, 0.0, False, 1024, 1000)
    for packet in world.stream(NAMES[0], 300):
        world.line(*packet)
        world.now += world.dice.choice([1, 20, 400, 3000]) * US
        if world.dice.random() < 0.5:
            world.control(right=False)
    world.end(NAMES[0], 300)
    counts = world.arbiter.counts
    assert (counts["messages"], counts["lost"], world.arbiter.state[0]) == (300, 0, Quality.LIVE)
    assert counts["missing"] == counts["recovered"]


STEPS = st.tuples(
    st.sampled_from(["data", "data", "data", "data", "heartbeat", "end", "time", "answer", "answer", "surrender"]),
    st.sampled_from([NAMES[0]] * 12 + [NAMES[1]]),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(-1, 6),
    st.integers(0, 1),
)


@pytest.mark.wire
@settings(max_examples=4 * settings().max_examples)
@given(
    steps=st.lists(STEPS, max_size=40),
    window=st.sampled_from([4, 16, 64]),
    reorder_us=st.integers(1, 5),
    gap_limit=st.sampled_from([3, 100]),
)
def test_the_compiled_arbiter_recovers_as_the_model_does(
    steps: list[tuple[str, bytes, int, int, int, int]], window: int, reorder_us: int, gap_limit: int
) -> None:
    recovery = Recovery(gap_limit=gap_limit, answer_bytes=1 << 18)
    arbiter = Arbiter(2, reorder_us=reorder_us, window_messages=window, window_bytes=4096, recovery=recovery)
    model = RecoveringReference(reorder_us * US, window, gap_limit)
    framing = session.framing("moldudp64")
    now, asked = 1000 * US, list[tuple[int, int]]()
    for kind, name, ahead, count, passed, line in steps:
        now += passed * US
        first = max(1, arbiter.next_seq + ahead - 10)
        sent = [event(name, n) for n in range(first, first + count)]
        if kind == "time":
            fast, slow = arbiter.pass_time(now), model.pass_time(now)
        elif kind == "answer":
            assert recovery.packet(arbiter.state[2], mold(name, first, sent))
            fast, slow = arbiter.take_answers(framing), model.answer(name, first, sent, 254)
        elif kind == "surrender":
            assert recovery.give_up(arbiter.state[2])
            fast, slow = arbiter.take_answers(framing), model.surrender()
        else:
            sent = sent if kind == "data" else []
            fast = arbiter.feed(name, first, sent, now, line, kind=kind)
            slow = model.feed(name, first, sent, now, line, kind)
        assert by_message(fast) == list(slow)
        assert (arbiter.next_seq, arbiter.state[0]) == (model.expected, model.quality)
        asked += [(ask.first, ask.count) for ask in recovery.asks() if ask.kind == ASK_MISSING]
        assert asked == model.asks
