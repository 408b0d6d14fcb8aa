"""The arbiter under any duplication, reordering and loss; and its agreement with the plain model."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from feedhandler.line import Arbiter
from feedhandler.line.reference import ReferenceArbiter
from feedhandler.records import Quality
from tests.taken import by_message

US = 1000
SYSTEM_EVENT = 12  # bytes of the ITCH message that the streams are made of


def message(number: int, copy: int = 0) -> bytes:
    """A well-formed ITCH system event that says its number and which copy it is."""
    return struct.pack(">cHH", b"S", number & 0xFFFF, copy) + (number & 0xFFFFFFFF).to_bytes(6, "big") + b"O"


def valid(candidate: bytes) -> bool:
    return len(candidate) >= SYSTEM_EVENT


@st.composite
def packets(draw: st.DrawFn, total: int, distance: int, copies: int = 2) -> list[tuple[int, int]]:
    """All of 1 to `total` in packets (first, count), each some times, none further from its place than `distance`."""
    cuts = sorted({1, total + 1, *draw(st.lists(st.integers(1, total), max_size=total // 2))})
    cut = [(a, b - a) for a, b in pairwise(cuts)]
    sent = [p for p in cut for _ in range(draw(st.integers(1, copies)))]
    moved = [(i + draw(st.integers(0, distance)), i, p) for i, p in enumerate(sent)]
    return [p for _, _, p in sorted(moved)]


@st.composite
def interleaved(draw: st.DrawFn, lines: int, total: int) -> list[tuple[int, tuple[int, int]]]:
    """The packets of all lines, each line's in its own order, cut its own way."""
    streams = [draw(packets(total, 4)) for _ in range(lines)]
    order = draw(st.permutations([i for i, stream in enumerate(streams) for _ in stream]))
    taken = [iter(stream) for stream in streams]
    return [(line, next(taken[line])) for line in order]


@pytest.mark.parametrize("lines", [1, 2, 3, 4])
@given(data=st.data())
def test_any_duplication_and_reordering_within_the_window_gives_the_lossless_stream(
    lines: int, data: st.DataObject
) -> None:
    total = data.draw(st.integers(1, 40))
    arbiter = Arbiter(lines, reorder_us=1000)
    out: list[tuple[object, ...]] = []
    for now, (line, (first, count)) in enumerate(data.draw(interleaved(lines, total))):
        sent = [message(n, line) for n in range(first, first + count)]
        out += by_message(arbiter.feed(b"S", first, sent, now, line))
    assert out[0] == ("session", b"S")
    assert [what[1] for what in out[1:]] == list(range(1, total + 1))
    assert all(what[2] == message(what[1], what[4]) for what in out[1:])  # type: ignore[arg-type]
    assert arbiter.state[0] == Quality.LIVE
    counts = [arbiter.line_counts(line) for line in range(lines)]
    assert sum(c["won"] for c in counts) == total
    assert all(c["messages"] == c["won"] + c["duplicates"] for c in counts)


@given(data=st.data(), lines=st.integers(1, 3), reorder_us=st.integers(0, 20))
def test_with_loss_every_message_comes_once_or_lies_in_a_gap(data: st.DataObject, lines: int, reorder_us: int) -> None:
    total = data.draw(st.integers(1, 60))
    arbiter = Arbiter(lines, reorder_us=reorder_us, window_messages=16)
    out: list[tuple[object, ...]] = []
    quality: list[int] = []

    def note(taken: list[tuple[object, ...]]) -> None:
        out.extend(taken)
        quality.append(arbiter.state[0])
        if any(what[0] == "gap" for what in out):
            assert arbiter.state[0] == Quality.STALE

    now = 0
    for line, (first, count) in data.draw(interleaved(lines, total)):
        now += data.draw(st.integers(0, 3)) * US
        if data.draw(st.integers(0, 3)):
            note(arbiter.feed(b"S", first, [message(n, line) for n in range(first, first + count)], now, line))
        elif data.draw(st.booleans()):
            note(arbiter.pass_time(now))
    note(arbiter.end_input())
    numbers = [what[1] for what in by_message(out) if what[0] == "message"]
    missing = [n for what in out if what[0] == "gap" for n in range(what[1], what[1] + what[2])]  # type: ignore[operator, call-overload]
    assert numbers == sorted(set(numbers))
    assert all(what[2] == message(what[1], what[4]) for what in by_message(out) if what[0] == "message")  # type: ignore[arg-type]
    assert sorted([*numbers, *missing]) == list(range(1, arbiter.next_seq))
    assert arbiter.counts["missing"] == len(missing)


NUMBERS = st.one_of(
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(0, 300),
    st.sampled_from([2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1]),
)
STEPS = st.tuples(
    st.sampled_from(["data", "data", "data", "data", "heartbeat", "end", "time"]),
    st.sampled_from([b"S", b"S", b"S", b"S", b"S", b"T", b"U"]),
    NUMBERS,
    st.lists(st.booleans(), min_size=1, max_size=24).map(lambda bits: [any(bits[i : i + 2]) for i in range(len(bits))]),
    st.integers(-2, 6),
    st.integers(0, 1),
)


@pytest.mark.wire
@given(steps=st.lists(STEPS, max_size=40), window=st.sampled_from([4, 16, 64]), reorder_us=st.integers(0, 10))
def test_the_compiled_arbiter_agrees_with_the_model(
    steps: list[tuple[str, bytes, int, list[bool], int, int]], window: int, reorder_us: int
) -> None:
    arbiter = Arbiter(
        2, reorder_us=reorder_us, window_messages=window, decoder=decoder("itch50", Instruments.standalone(16))
    )
    model = ReferenceArbiter(reorder_us * US, window, valid)
    now = 1000 * US
    for copy, (kind, session, first, good, passed, line) in enumerate(steps):
        now += passed * US
        if kind == "time":
            fast, slow = arbiter.pass_time(now), model.pass_time(now)
        else:
            sent = [message(first + i, copy) if ok else b"S" for i, ok in enumerate(good)] if kind == "data" else []
            fast = arbiter.feed(session, first, sent, now, line, kind=kind)
            slow = model.feed(session, first, sent, now, line, kind)
        assert by_message(fast) == list(slow)
        assert (arbiter.next_seq, arbiter.state[0]) == (model.expected, model.quality)
    assert by_message(arbiter.end_input()) == list(model.end_input())
    assert arbiter.state[0] == model.quality


@pytest.mark.wire
@given(
    sent=st.lists(st.tuples(NUMBERS, st.integers(1, 24), st.integers(-2, 6), st.integers(0, 1)), max_size=40),
    room=st.sampled_from([(2, 64), (4, 256), (4, 1 << 16), (64, 64), (64, 1024)]),
    reorder_us=st.sampled_from([0, 5, 1000]),
)
def test_whatever_the_window_what_was_received_and_not_settled_is_delivered_once(
    sent: list[tuple[int, int, int, int]], room: tuple[int, int], reorder_us: int
) -> None:
    arbiter = Arbiter(2, reorder_us=reorder_us, window_messages=room[0], window_bytes=room[1])
    owed: set[int] = set()  # received, and nothing said about them yet
    now, expected = 1000 * US, 1
    for first, count, passed, line in [*sent, (0, 1, 0, 0)]:
        now += passed * US
        offered = [message(n) + bytes(40 * (n % 3)) for n in range(first, first + count)]
        taken = by_message(arbiter.pass_time(now))  # what is due is settled before the packet is judged, tick or none
        taken.append(("packet",))
        taken += by_message(arbiter.feed(b"S", first, offered, now, line))
        if first == 0:
            taken += by_message(arbiter.end_input())
        for what in taken:
            if what[0] == "packet" and 0 < first < 2**63:
                owed |= set(range(max(first, expected), first + count))
            elif what[0] == "message":
                assert what[1] == expected
                assert what[2] == message(expected) + bytes(40 * (expected % 3))
                owed.remove(expected)
                expected += 1
            elif what[0] == "gap":
                assert what[1] == expected
                expected += what[2]  # type: ignore[operator]
                assert not any(what[1] <= n < expected for n in owed)
    assert not owed
    assert arbiter.next_seq == expected
