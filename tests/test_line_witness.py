"""A witness sees each message of a shard alone, and changes nothing of what is published."""

from datetime import date
from pathlib import Path

import numpy as np

from feedhandler import simulate
from feedhandler._witness import Caller
from feedhandler.handler import Handler, open_capture, play
from feedhandler.records import Action, Flag, Quality

DAY = date(2026, 1, 5)


def published(handler: Handler) -> np.ndarray:
    return handler.segment.slots[1 : int(handler.segment.rings["head"][0]) + 1].copy()


def test_a_witness_sees_each_message_alone_and_the_ring_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "day.pcap"
    simulate.write(path, simulate.Exchange(symbols=6, messages=3_000, seed=3, duration_s=2.0), skew_us=20.0)
    seen: list[tuple[int, np.ndarray, int]] = []
    witness = Caller(lambda *what: seen.append(what))
    with open_capture(path, "itch50", day=DAY) as plain, open_capture(path, "itch50", day=DAY) as watched:
        watched.shard.watch(witness)
        assert [play(handler) for handler in (plain, watched)] == [None, None]
        assert witness.error is None
        assert np.array_equal(published(plain), published(watched))
        told = np.concatenate([events for _, events, _ in seen])
        told["seq"] = np.arange(1, len(told) + 1)  # the ring numbers them
        assert np.array_equal(told, published(watched))
        assert np.array_equal(plain.segment.books, watched.segment.books)
    assert (seen[0][1]["action"][0], seen[0][2]) == (Action.RESET, Quality.INIT)
    for channel, events, quality in seen[1:]:
        assert (channel, quality) == (0, Quality.LIVE)
        assert len(set(events["channel_seq"].tolist())) == 1
        assert events["flags"][-1] & Flag.LAST
