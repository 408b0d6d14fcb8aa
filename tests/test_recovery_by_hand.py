"""A handler whose ladder the test steps, with a clock of its own: no thread, no socket, and the same every time."""

import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from recovery_world import Server, Source, packet
from simulated_book import blocks

from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.handler import Handler
from feedhandler.notes import KEPT, Notes
from feedhandler.records import Quality
from feedhandler.recovery import Sentences, Snapshot, Transports
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.simulate._snapshot import SnapshotSource

NAME = b"SIMULATED ".ljust(16, b"\0")
TO_A_PACKET = 20
START = 1_763_650_800_000_000_000


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    exchange, buffer, data = simulate.Exchange(symbols=6, messages=4000, seed=3), bytearray(1 << 16), bytearray()
    while size := exchange.produce(buffer):
        data += buffer[:size]
    return list(blocks(bytes(data)))


def replay(
    messages: list[bytes], lost: Callable[[int], bool], ways: Transports, **settings: Any
) -> tuple[list[Any], dict[str, int], list[str]]:
    """The day in packets a millisecond apart, some of them lost on the only line; books, counts, notes at the end."""
    queue = PacketQueue(1)
    recovery = RecoverySettings(**({"window_messages": 8192} | settings))
    channel = Channel(name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=date(2025, 11, 20),
                      lines=(Line(name="A", port=1),), recovery=recovery)  # fmt: skip
    config = Config(Shm(name="x"), Books(instruments=32, orders=10_000), Ring(events=1024), Run(), (channel,))
    with Handler(config, receiver=queue, anonymous=True, first_packet=START, transports={"itch": ways}) as handler:
        [ladder] = handler.ladders
        threads = threading.active_count()
        for at in range(0, len(messages) + 2000, TO_A_PACKET):
            number, now = at // TO_A_PACKET, START + at // TO_A_PACKET * 1_000_000
            queue.clock = now
            if not lost(number):
                queue.put(0, now, packet(min(at, len(messages)) + 1, messages[at : at + TO_A_PACKET], NAME))
            handler.shard.turn_once()
            for way in ways.requests:
                way.now = number / 1000  # type: ignore[attr-defined]
            ladder.step(number / 1000)
        assert threading.active_count() == threads
        record = handler.segment.channels[0]
        assert (record["next_seq"], record["quality"]) == (len(messages) + 1, Quality.LIVE), handler.notes
        books = [[part.tolist() for part in handler.book(i)[1:]] for i in range(1, 7)]
        return books, ladder.stats, list(handler.notes)


def server(messages: list[bytes]) -> Server:
    made = Server(delay=0.002)
    made.session = NAME
    made.respond = lambda first, count: [packet(first, messages[first - 1 : first - 1 + min(count, 30)], NAME)]
    return made


def test_every_book_is_as_without_loss_and_the_same_every_time(messages: list[bytes]) -> None:
    whole, stats, _ = replay(messages, lambda n: False, Transports())
    assert not any(stats.values()) and any(bids for bids, _ in whole)
    first, second = (
        replay(messages, lambda n: n % 7 in (3, 4), Transports([server(messages)]), attempts=5) for _ in range(2)
    )
    assert first == second
    assert first[0] == whole and first[1]["answers"] > 50


def test_an_outage_is_bridged_by_a_snapshot(messages: list[bytes]) -> None:
    whole, _, _ = replay(messages, lambda n: False, Transports())
    source = SnapshotSource()
    source.append(b"".join(len(m).to_bytes(2, "big") + m for m in messages[:1600]))
    number, state = source.snapshot()
    books, stats, notes = replay(
        messages, lambda n: 20 <= n < 60, Transports([], [Source("store:1", [Snapshot("SIMULATED", number, state)])])
    )
    assert (books, stats["spliced"]) == (whole, 1)
    assert notes == [
        "channel itch: no server of retransmissions is configured; fetching a snapshot",
        f"channel itch: a snapshot from store:1 ({len(state):,} bytes) joins the feed at message 1601",
    ]


def test_a_channel_that_is_not_named_has_no_recovery(messages: list[bytes]) -> None:
    queue = PacketQueue(1)
    channel = Channel(name="itch", protocol="itch50", session="moldudp64", lines=(Line(name="A", port=1),),
                      recovery=RecoverySettings(servers=("127.0.0.1:9",)))  # fmt: skip
    config = Config(Shm(name="x"), Books(instruments=32, orders=1000), Ring(events=1024), Run(), (channel,))
    for transports in ({}, None):  # and none of the real ones either, where the packets are not live
        with Handler(config, receiver=queue, anonymous=True, transports=transports) as handler:
            assert handler.ladders == [] and handler.status()["recovery"] == {}


def test_notes_are_bounded_and_can_be_followed() -> None:
    notes = Notes()
    for n in range(KEPT + 10):
        notes.append(str(n))
    assert (len(notes), notes.left, notes[0], notes[-1]) == (KEPT, 10, "10", str(KEPT + 9))
    assert notes.since(KEPT + 8) == (KEPT + 10, [str(KEPT + 8), str(KEPT + 9)])
    assert notes.since(3)[1][0] == "10"
    assert notes.since(KEPT + 10) == (KEPT + 10, [])


def test_sentences_come_at_a_bounded_rate() -> None:
    said: list[str] = []
    now = [0.0]
    say = Sentences(said.append, lambda: now[0])
    for n in range(100):
        say(f"{n}")
    assert said == [f"{n}" for n in range(8)]
    now[0] = 1.0
    say("later")
    assert said[-1] == "later (92 sentences before this one were left out)"
