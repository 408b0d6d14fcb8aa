"""Recorded Binance logs through framing, line stage, decoder and book: equal to bookTicker at every common update."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from feedhandler.decode.venue import venue
from feedhandler.records import Quality, Reason
from tests import crypto_logs
from tests.splicer_world import World
from tests.test_decode_binance import ticker

pytestmark = pytest.mark.real_data
LIVE = (Quality.LIVE, Reason.NONE)
DAYS = {"binance": ("spot-btcusdt_20240808.gz", 564), "binance_usdm": ("usdm-btcusdt_20240808.gz", 629)}
"""A day of each market, and in how many updates book and bookTicker have the same id."""


class Wide(World):
    LEVEL_BYTES = 16 << 18  # the logs' books are deep


@pytest.mark.parametrize("name", DAYS)
def test_the_line_stage_joins_snapshot_and_updates(name: str, shared_data: Path) -> None:
    lines = crypto_logs.read(shared_data / "crypto/binance" / DAYS[name][0])
    tickers = {found[0]: found[2] for line in lines if (found := ticker(line.text))}
    world, there = Wide(name), venue(name)
    world.life(0, "CONNECTED")
    agreed = updates = live = 0
    for line in lines:
        ms = (line.ts - lines[0].ts) // 1_000_000
        if line.direction == crypto_logs.REST:
            world.control(there.depth_text("BTCUSDT", line.text))
        elif b'"depthUpdate"' in line.text:
            world.say(0, line.text, ms=ms)
            updates += 1
            live += world.state("BTCUSDT") == LIVE
            number = int(line.text.split(b'"u":')[1].split(b",")[0])
            if number in tickers and world.state("BTCUSDT") == LIVE:
                best = [next(iter(side.items())) for side in world.book("BTCUSDT")]
                assert best == [(int(Decimal(p) * 10**9), int(Decimal(s) * 10**8)) for p, s in tickers[number]]
                agreed += 1
    counts = world.counts
    for counter in ("gaps", "missing", "malformed", "levels_full", "unknown_instrument", "crossed"):
        assert counts[counter] == 0, counter
    assert counts["resyncs"] == 1  # the book's beginning
    assert world.word == LIVE
    assert live >= updates - 40  # what came before the snapshot
    assert agreed == DAYS[name][1]
