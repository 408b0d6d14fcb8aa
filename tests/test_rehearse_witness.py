"""The witnesses of a rehearsal: a right book is found right, a wrong one is found wrong, at once and by name."""

import struct
from contextlib import ExitStack
from datetime import date

import pytest

from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.handler import Handler
from feedhandler.records import Quality
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.rehearse._witness import Comparer, Observer, Original, Recorder
from tests.rehearsal import day

Packets = list[tuple[int, bytes]]
DEPTH = 32


def handler(lines: int = 1) -> tuple[Handler, PacketQueue]:
    queue = PacketQueue(lines)
    channel = Channel(
        name="x",
        protocol="itch50",
        session="moldudp64",
        venue="XNAS",
        date=date(2026, 1, 5),
        lines=tuple(Line(name="AB"[n], port=0) for n in range(lines)),
        window_messages=1024,
    )
    sizes = Books(depth=DEPTH, instruments=16, orders=4096)
    return Handler(
        Config(Shm(name="x"), sizes, Ring(events=1024), Run(), (channel,)), receiver=queue, anonymous=True
    ), queue


def watch(packets: Packets, witness: Observer, stack: ExitStack) -> Handler:
    """The packets through a handler of its own, under the eyes of this witness."""
    built, queue = handler()
    stack.enter_context(built)
    arbiter, _, books, *_ = built._parts[0]
    witness.attach(built.segment, arbiter, books, DEPTH)
    built.shard.watch(witness)
    for ts, payload in packets:
        queue.put(0, ts, payload)
        built.shard.turn_once()
    return built


def original(packets: Packets, stack: ExitStack) -> Original:
    kept = Original(16)
    built = watch(packets, Recorder(kept), stack)
    kept.name_books(built.segment.directory, int(built.segment.part("directory")["used"][0]))
    return kept


def compared(plain: Packets, faulty: Packets, stack: ExitStack) -> Comparer:
    comparer = Comparer(original(plain, stack))
    watch(faulty, comparer, stack)
    return comparer


def test_the_same_packets_give_the_same_books_at_every_message() -> None:
    with ExitStack() as stack:
        comparer = compared(day(), day(), stack)
        assert comparer.wrong == 0 and comparer.compared > 1_500
        equal, not_live, wrong = comparer.look()
        assert len(equal) == 4 and not not_live and not wrong


def test_one_share_more_in_one_order_is_found_at_that_message() -> None:
    packets = list(day())
    place, number = next((n, m) for n in range(100, len(packets)) for m in [first_add(packets[n][1])] if m is not None)
    payload = bytearray(packets[place][1])
    at = payload.index(b"\0\x24A", 20) + 2
    payload[at + 23] ^= 1  # the last byte of `shares`
    with ExitStack() as stack:
        comparer = compared(
            day(), [*packets[:place], (packets[place][0], bytes(payload)), *packets[place + 1 :]], stack
        )
        assert comparer.wrong > 0 and comparer.first_wrong is not None
        assert (comparer.first_wrong["run"], comparer.first_wrong["number"]) == (0, number)
        bids, asks = comparer.copied_book or ([], [])
        assert len(bids) + len(asks) > 0


def first_add(payload: bytes) -> int | None:
    """The number of the first add order in a packet."""
    at, number = 20, int.from_bytes(payload[10:18], "big")
    while at + 2 < len(payload):
        if payload[at + 2 : at + 3] == b"A":
            return number
        at += 2 + int.from_bytes(payload[at : at + 2], "big")
        number += 1
    return None


def test_a_message_left_out_in_silence_is_found_in_the_book_that_lacks_it() -> None:
    """The numbers go on as if nothing had been lost: no handler can see it, but the witness does."""
    packets = day()
    lost = 150
    count = int.from_bytes(packets[lost][1][18:20], "big")
    behind = [(ts, renumbered(payload, -count)) for ts, payload in packets[lost + 1 :]]
    with ExitStack() as stack:
        assert compared(day(), [*packets[:lost], *behind], stack).wrong > 0


def renumbered(payload: bytes, by: int) -> bytes:
    session, first = struct.unpack_from(">10sQ", payload)
    return struct.pack(">10sQ", session, first + by) + payload[18:]


def test_after_a_gap_nothing_is_live_and_so_nothing_is_wrong() -> None:
    packets = day()
    with ExitStack() as stack:
        comparer = compared(day(), [*packets[:150], *packets[151:]], stack)
        assert comparer.wrong == 0
        equal, not_live, _ = comparer.look()
        assert not equal and len(not_live) == 4
        assert comparer.state()[0] == Quality.STALE


def test_a_second_session_is_compared_with_the_second_session() -> None:
    again = day(seed=2, session=b"OTHER     ")
    both = [*day(), *((ts + 10**10, payload) for ts, payload in again)]
    with ExitStack() as stack:
        kept = original(both, stack)
        assert [kept.session(run) for run in range(kept.runs)] == ["DAY", "OTHER"]
        comparer = Comparer(kept)
        watch(both[20:], comparer, stack)
        assert comparer.place[0] == 1 and comparer.wrong == 0 and comparer.compared > 1_500


def test_the_book_asked_for_is_copied_as_it_was_at_that_message() -> None:
    with ExitStack() as stack:
        recorder = Recorder(Original(16), (0, 1_000, 2))
        watch(day(), recorder, stack)
        half = Recorder(Original(16))
        packets = [p for p in day() if int.from_bytes(p[1][10:18], "big") + int.from_bytes(p[1][18:20], "big") <= 1_001]
        built = watch(packets, half, stack)
        if int(built.segment.channels[0]["next_seq"]) == 1_001:
            assert recorder.copied_book is not None
            for ours, theirs in zip(recorder.copied_book, built.book(2)[1:], strict=True):
                assert ours.tobytes() == theirs.tobytes()


def test_the_queue_gives_its_packets_one_by_one_and_tells_its_time() -> None:
    queue = PacketQueue(2)
    for n in range(64):
        queue.put(n % 2, 1_000 + n, b"x" * n)
    with pytest.raises(ValueError, match="64 packets wait already"):
        queue.put(0, 0, b"")
    assert queue.clock == 1_063
    assert queue.drain(10) == [(n % 2, 1_000 + n, b"x" * n) for n in range(10)]
    assert len(queue.drain()) == 54
    with pytest.raises(ValueError, match="there are 2"):
        queue.put(2, 0, b"")


def test_who_stops_before_the_end_and_says_live_is_wrong() -> None:
    packets = day()
    with ExitStack() as stack:
        comparer = compared(packets, packets[:150], stack)
        equal, _, wrong = comparer.look()
        assert len(equal) == 4 and not wrong
        comparer.finish()
        equal, not_live, wrong = comparer.look()
        assert len(wrong) == 4 and not not_live and not equal


def test_who_missed_the_last_session_and_says_live_is_wrong() -> None:
    both = [*day(), *((ts + 10**10, payload) for ts, payload in day(seed=2, session=b"OTHER     "))]
    with ExitStack() as stack:
        comparer = compared(both, both[:150], stack)
        comparer.finish()
        assert len(comparer.look()[2]) == 4
