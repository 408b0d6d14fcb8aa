"""Faults on the lines of a simulated day, through the handler."""

import random
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler.counters import CHANNEL, LINE
from feedhandler.handler import Handler, run_capture
from feedhandler.receive.capture import PcapWriter, read
from feedhandler.records import Action, Flag, Quality, Reason

Datagram = tuple[int, tuple[str, int], bytes]
DAY = date(2026, 1, 5)
CHANNEL_COUNTERS = [counter.name for counter in CHANNEL]
LINE_COUNTERS = [counter.name for counter in LINE]


@pytest.fixture(scope="module")
def datagrams(tmp_path_factory: pytest.TempPathFactory) -> list[Datagram]:
    """A short simulated day on lines A and B, as (time, destination, payload)."""
    path = tmp_path_factory.mktemp("faults") / "day.pcap"
    simulate.write(path, simulate.Exchange(symbols=6, messages=4_000, seed=11, duration_s=2.0), skew_us=20.0)
    return list(read(path))


def run(datagrams: list[Datagram], path: Path) -> Handler:
    """The datagrams through the handler; its events start at 1."""
    with PcapWriter(path) as writer:
        for ts, target, payload in datagrams:
            writer.write(ts, payload, target)
    result = run_capture(path, "itch50", day=DAY)
    assert result.error is None
    return result.handler


def events(handler: Handler) -> np.ndarray:
    head = int(handler.segment.rings["head"][0])
    found = handler.segment.slots[1 : head + 1].copy()
    for field in ("ts_recv", "line", "seq"):
        found[field] = 0
    return found


def channel_count(handler: Handler, name: str) -> int:
    return int(handler.segment.channels[0]["counters"][CHANNEL_COUNTERS.index(name)])


def line_counts(handler: Handler, name: str) -> list[int]:
    return [int(line["counters"][LINE_COUNTERS.index(name)]) for line in handler.segment.lines]


@pytest.fixture(scope="module")
def whole(datagrams: list[Datagram], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    with run(datagrams, tmp_path_factory.mktemp("whole") / "x.pcap") as handler:
        assert handler.segment.channels[0]["quality"] == Quality.LIVE
        return events(handler)


def by_line(datagrams: list[Datagram]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(target for _, target, _ in datagrams))


def lose(datagrams: list[Datagram], share: float, seed: int) -> list[Datagram]:
    """Each line loses its own packets, but never the same ones: the other always has them."""
    dice, lost = random.Random(seed), dict[bytes, tuple[str, int]]()
    kept = []
    for ts, target, payload in datagrams:
        if payload[18:20] != b"\0\0" and lost.get(payload[:18], target) == target and dice.random() < share:
            lost[payload[:18]] = target
        else:
            kept.append((ts, target, payload))
    return kept


def shuffle(datagrams: list[Datagram], seed: int) -> list[Datagram]:
    """Packets up to eight places from where they belong, some of them twice; times stay in order."""
    dice = random.Random(seed)
    doubled = [d for d in datagrams for _ in range(1 + (dice.random() < 0.1))]
    order = sorted(range(len(doubled)), key=lambda i: i + dice.uniform(0, 8))
    times = sorted(ts for ts, _, _ in doubled)
    return [(ts, *doubled[i][1:]) for ts, i in zip(times, order, strict=True)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fault", [lambda d, s: lose(d, 0.1, s), shuffle, lambda d, s: shuffle(lose(d, 0.1, s), s)])
def test_what_one_line_brings_is_enough(
    fault: Callable[[list[Datagram], int], list[Datagram]],
    seed: int,
    datagrams: list[Datagram],
    whole: np.ndarray,
    tmp_path: Path,
) -> None:
    slow = [(ts // 10_000_000, target, payload) for ts, target, payload in fault(datagrams, seed)]
    with run(slow, tmp_path / "x.pcap") as handler:  # all within reorder_us: no hole is old enough to be a gap
        assert handler.segment.channels[0]["quality"] == Quality.LIVE
        assert channel_count(handler, "gaps") == 0
        assert np.array_equal(events(handler), whole)


def test_what_both_lines_lose_is_a_gap_and_everything_stale(
    datagrams: list[Datagram], whole: np.ndarray, tmp_path: Path
) -> None:
    data = [payload for _, target, payload in datagrams if target == by_line(datagrams)[0] and payload[18:20] > b"\0\0"]
    lost = data[len(data) // 2]
    kept = [d for d in datagrams if d[2] != lost]
    first, count = int.from_bytes(lost[10:18], "big"), int.from_bytes(lost[18:20], "big")
    with run(kept, tmp_path / "x.pcap") as handler:
        channel = handler.segment.channels[0]
        assert (channel["quality"], channel["reason"]) == (Quality.STALE, Reason.GAP)
        assert (channel_count(handler, "gaps"), channel_count(handler, "missing")) == (1, count)
        seen = events(handler)
        gap = np.flatnonzero((seen["action"] == Action.NONE) & (seen["instrument"] == 0))
        assert [int(seen["channel_seq"][i]) for i in gap] == [first]
        assert not (seen["flags"][: gap[0]] & Flag.STALE).any()
        assert (seen["flags"][gap[0] :] & Flag.STALE).all()


def test_a_malformed_copy_does_not_win(datagrams: list[Datagram], whole: np.ndarray, tmp_path: Path) -> None:
    """A message of line A too short for its table, lengths adding up: line B's copy of it is taken."""
    first_line = by_line(datagrams)[0]

    def cut_last_message(payload: bytes) -> bytes:
        place, messages = 20, []
        for _ in range(int.from_bytes(payload[18:20], "big")):
            size = int.from_bytes(payload[place : place + 2], "big")
            messages.append(payload[place + 2 : place + 2 + size])
            place += 2 + size
        messages[-1] = messages[-1][:-1]
        return payload[:20] + b"".join(len(m).to_bytes(2, "big") + m for m in messages)

    plain = (b"\0\0", b"\xff\xff")  # heartbeats and the end of the session hold no messages
    spoiled = [
        (
            ts // 10_000_000,
            to,
            cut_last_message(data) if to == first_line and data[18:20] not in plain else data,
        )
        for ts, to, data in datagrams
    ]
    with run(spoiled, tmp_path / "x.pcap") as handler:
        assert handler.segment.channels[0]["quality"] == Quality.LIVE
        assert line_counts(handler, "malformed")[0] > 100
        assert channel_count(handler, "malformed") == 0
        assert np.array_equal(events(handler), whole)


def test_packets_that_do_not_add_up_are_refused_whole(
    datagrams: list[Datagram], whole: np.ndarray, tmp_path: Path
) -> None:
    first_line = by_line(datagrams)[0]
    cut = [(ts, to, data[:-1] if to == first_line and len(data) > 20 else data) for ts, to, data in datagrams]
    refused = sum(len(data) > 20 for _, to, data in datagrams if to == first_line) - 1
    cut[0] = datagrams[0]  # by this one the line is recognised
    with run(cut, tmp_path / "x.pcap") as handler:
        assert line_counts(handler, "bad_packets") == [refused, 0]
        assert handler.segment.channels[0]["quality"] == Quality.LIVE
        assert np.array_equal(events(handler), whole)


def test_a_new_session_begins_with_empty_live_books(datagrams: list[Datagram], tmp_path: Path) -> None:
    """The same day twice, the second time as another session: epoch 2, books as after the first."""
    later = datagrams[-1][0] + 1_000_000_000
    again = [(later + ts - datagrams[0][0], to, b"NEXT      " + data[10:]) for ts, to, data in datagrams]
    with run(datagrams, tmp_path / "x.pcap") as once, run(datagrams + again, tmp_path / "y.pcap") as twice:
        assert [int(h.segment.channels[0]["epoch"]) for h in (once, twice)] == [1, 2]
        assert twice.segment.channels[0]["quality"] == Quality.LIVE
        for instrument in range(1, int(once.segment.part("directory")["used"][0])):
            for one, other in zip(once.book(instrument)[1:], twice.book(instrument)[1:], strict=True):
                assert np.array_equal(one, other)


def test_a_restart_under_the_same_session_id_keeps_the_date(datagrams: list[Datagram], tmp_path: Path) -> None:
    """Received a week after the stated date; the date changes only with a new session."""
    received = [(ts + 7 * 86_400_000_000_000, to, data) for ts, to, data in datagrams]
    later = received[-1][0] + 1_500_000_000
    again = [(later + ts - received[0][0], to, data) for ts, to, data in received]
    with run(received + again, tmp_path / "x.pcap") as handler:
        assert channel_count(handler, "restarts") == 1
        stamps = events(handler)["ts_event"]
        stamps = stamps[stamps != 0]
        assert int(stamps.max() - stamps.min()) < 86_400_000_000_000


def test_late_packets_of_a_left_session_do_not_flip_back(datagrams: list[Datagram], tmp_path: Path) -> None:
    later = datagrams[-1][0] + 1_000_000_000
    again: list[Any] = [(later + ts - datagrams[0][0], to, b"NEXT      " + data[10:]) for ts, to, data in datagrams]
    tail = [(ts, to, data) for (ts, _, _), (_, to, data) in zip(again[50:100], datagrams[-50:], strict=True)]
    with run([*datagrams, *again[:100], *tail, *again[100:]], tmp_path / "x.pcap") as handler:
        assert handler.segment.channels[0]["epoch"] == 2
        assert handler.segment.channels[0]["quality"] == Quality.LIVE
        assert sum(line_counts(handler, "late")) == len(tail)
