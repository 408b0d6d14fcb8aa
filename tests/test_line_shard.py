"""A shard whose channel recovers: packets lost on the way, brought back by hand, through books and ring."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler._handler import Shard
from feedhandler._instruments import Instruments
from feedhandler._witness import Caller
from feedhandler.book import OrderBook
from feedhandler.decode import decoder
from feedhandler.line import ASK_MISSING, ASK_SNAPSHOT, Arbiter, Recovery
from feedhandler.publish import Publisher, Segment
from feedhandler.receive import capture
from feedhandler.receive.capture import PcapWriter, read
from feedhandler.records import Action, Flag, Quality
from feedhandler.session import framing

TARGET = ("239.9.9.9", 9999)
Datagram = tuple[int, bytes]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> list[Datagram]:
    """Packets of one line of a short simulated day."""
    path = tmp_path_factory.mktemp("day") / "day.pcap"
    simulate.write(path, simulate.Exchange(symbols=5, messages=3_000, seed=4, duration_s=1.0))
    packets = list(read(path))
    return [(ts, payload) for ts, target, payload in packets if target == packets[0][1]]


class Run:
    """The packets through a shard with a recovery; `step` takes one of them, or answers alone when none is left."""

    def __init__(self, path: Path, packets: list[Datagram], snapshot: bool = False, gap_limit: int = 100_000) -> None:
        with PcapWriter(path) as writer:
            for ts, payload in packets:
                writer.write(ts, payload, TARGET)
        self.recovery = Recovery(snapshot=snapshot, gap_limit=gap_limit)
        self.segment = Segment.anonymous(depth=5, instruments=16, lines=1)
        instruments = Instruments(self.segment.directory, self.segment.symbols, self.segment.part("directory"))
        decode = decoder("itch50", instruments, 0, "XNAS")
        arbiter = Arbiter(1, recovery=self.recovery, decoder=decode, window_messages=8192)
        books = OrderBook(self.segment.books, depth=5, orders=10_000)
        self.receiver = capture.receiver(path, [TARGET])
        self.shard = Shard(
            self.receiver,
            Publisher(self.segment.memory),
            [(framing("moldudp64"), 0)],
            [(arbiter, decode, books, [])],
            latency_sample=0,
        )

    def to_the_end(self) -> None:
        while not self.shard.step():
            pass

    @property
    def quality(self) -> int:
        return int(self.segment.channels[0]["quality"])

    def events(self) -> np.ndarray:
        found = self.segment.slots[1 : int(self.segment.rings["head"][0]) + 1].copy()
        for field in ("ts_recv", "line", "seq"):
            found[field] = 0
        return found

    def books(self) -> np.ndarray:
        """Levels of all books, without their heads."""
        return self.segment.books[:, 64:].copy()


def first_of(payload: bytes) -> int:
    return int.from_bytes(payload[10:18], "big")


def count_of(payload: bytes) -> int:
    return int.from_bytes(payload[18:20], "big")


@pytest.fixture(scope="module")
def whole(day: list[Datagram], tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("whole") / "x.pcap", day)
    run.to_the_end()
    assert run.quality == Quality.LIVE
    return run


def test_lost_packets_are_asked_for_and_the_ring_is_as_if_nothing_had_been_lost(
    day: list[Datagram], whole: Run, tmp_path: Path
) -> None:
    lost = {first_of(payload): payload for _, payload in day[20:60:7]}
    run = Run(tmp_path / "x.pcap", [p for p in day if first_of(p[1]) not in lost])
    while not run.shard.step():
        for ask in run.recovery.asks():
            if ask.kind == ASK_MISSING:
                assert count_of(lost[ask.first]) == ask.count
                assert run.recovery.packet(ask.epoch, lost[ask.first])
    run.shard.step()
    assert (run.quality, run.recovery.asks()) == (Quality.LIVE, [])
    told = run.events()
    gaps = told[(told["instrument"] == 0) & (told["action"] == Action.NONE)]
    assert gaps["channel_seq"].tolist() == sorted(lost)
    messages = told[(told["instrument"] > 0)].copy()
    messages["flags"] &= np.uint8(0xFF - Flag.STALE)
    expected = whole.events()
    assert np.array_equal(messages, expected[expected["instrument"] > 0])
    assert np.array_equal(run.books(), whole.books())


def test_a_snapshot_in_many_pieces_while_packets_come(day: list[Datagram], whole: Run, tmp_path: Path) -> None:
    kept = day[:30] + day[90:]
    run = Run(tmp_path / "x.pcap", kept, snapshot=True, gap_limit=20)
    seen: list[tuple[np.ndarray, int]] = []
    run.shard.watch(Caller(lambda _, events, quality: seen.append((events, quality))))
    messages = [m for _, payload in day for m in blocks(payload)]
    number = first_of(day[100][1])
    snapshot = b"".join(len(m).to_bytes(2, "big") + m for m in messages[: number - 1])
    asked = 0
    while not run.shard.step():
        for ask in run.recovery.asks():
            if ask.kind == ASK_SNAPSHOT:
                asked += 1
                assert (run.quality, run.recovery.frozen()) == (Quality.RECOVERING, True)
                while not run.recovery.snapshot(ask.epoch, number, snapshot):
                    run.shard.step()
    for _ in range(100):
        run.shard.step()
    assert (asked, run.quality) == (1, Quality.LIVE)
    assert np.array_equal(run.books()[:, :-16], whole.books()[:, :-16])  # but for the traded volume of the epoch
    events = run.events()
    from_snapshot = events[(events["flags"] & Flag.SNAPSHOT) != 0]
    assert set(from_snapshot["channel_seq"].tolist()) == {number - 1}
    assert (from_snapshot["action"][0], from_snapshot["instrument"][0]) == (Action.RESET, 0)
    assert all(flags & Flag.STALE for flags in from_snapshot["flags"].tolist())
    live = [int(events["channel_seq"][0]) for events, quality in seen if quality == Quality.LIVE]
    assert all(a <= b for a, b in pairwise(live)) and live[-1] == len(messages)
    assert {quality for events, quality in seen if events["flags"][0] & Flag.SNAPSHOT} == {Quality.RECOVERING}


def blocks(payload: bytes) -> list[bytes]:
    found, at = [], 20
    for _ in range(count_of(payload) if count_of(payload) != 0xFFFF else 0):
        end = at + 2 + int.from_bytes(payload[at : at + 2], "big")
        found.append(payload[at + 2 : end])
        at = end
    return found
