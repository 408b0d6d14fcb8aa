"""A recorded day of JSON texts, then the live venue: books go on where the venue's own rule proves it, else they are
STALE until a snapshot has come; at random moments, while the venue trades and a recorder is at work."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feedhandler import attach
from feedhandler.cli.simulate_venue import configuration
from feedhandler.config import Config, parse
from feedhandler.counters import CHANNEL
from feedhandler.handler import Handler
from feedhandler.handover import Handover
from feedhandler.record import Recorder
from feedhandler.recording import Recording
from feedhandler.records import Action, Quality
from feedhandler.simulate.venues import NAMES, serve
from feedhandler.simulate.venues.server import VENUES, VenueServer
from tests.test_venues_end_to_end import KEYS, NUMBERED, SYMBOLS, Truth, settled, shown, watched

GAPS = [counter.name for counter in CHANNEL].index("gaps")


def feed(venue: VenueServer, lines: int, name: str) -> Config:
    keys = f"{KEYS.get(venue.dialect.name, '')}\n"
    text = configuration(venue, name, lines).replace("symbols =", f"{keys}symbols =", 1)
    return parse(text + "\n[record]\nbuffer_bytes = 8388608\nsync = 0.02\n", name)


def trades(handler: Handler) -> dict[int, list[int]]:
    """The venue's numbers of all trades in the ring, by instrument."""
    head = int(handler.segment.rings["head"][0])
    assert head < len(handler.segment.slots)
    events = handler.segment.slots[1 : head + 1]
    events = events[events["action"] == Action.TRADE]
    return {int(n): events["order_id"][events["instrument"] == n].tolist() for n in set(events["instrument"])}


@pytest.mark.parametrize("name", NAMES)
def test_beside_a_recorder(name: str, tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    """The recording overlaps the live connections: what is numbered needs no snapshot, and no trade comes twice."""
    symbols = [market.symbol for market in VENUES[name].markets][:SYMBOLS]
    lines = 2 if name in ("binance", "kraken") else 1
    with serve(name, symbols, rate=300, batch_ms=5, levels=30, beat_s=0.2) as venue:
        truth = Truth(venue)
        markets = {symbol: venue.dialect.books[symbol].market for symbol in symbols}
        with Recorder(feed(venue, 1, "recorder"), tmp_path) as recorder:
            recorder.start()
            moment = random.Random(f"{name}{os.getpid()}").randrange(10, 200)
            wait_for(lambda: recorder.status().packets > moment and any(tmp_path.glob("*/*.pcapng*")), 10, "packets")
            handover = Handover(Recording(tmp_path))
            own = feed(venue, lines, f"over-{os.getpid()}")
            with (
                Handler(own, handover=handover) as handler,
                attach(own.shm.name) as segment,
                attach(own.shm.name) as watching,  # a Book is one thread's
            ):
                handler.start()
                books = [segment.book(symbol, timeout=10) for symbol in symbols]
                with watched(truth, [watching.book(symbol, timeout=10) for symbol in symbols], markets):
                    wait_for(lambda: handover.receiver.state == "present", 15, "the present")
                    wait_for(lambda: all(book.state is Quality.LIVE for book in books), 15, "LIVE books")
                    seen = truth.live
                    wait_for(lambda: truth.live > seen + 20 or truth.wrong, 5, "looks at LIVE books")
                    last = settled(venue)
                    for book in books:
                        wait_for(
                            lambda book=book: shown(book, markets[book.symbol]) == last[book.symbol], 5, "its book"
                        )
                assert not truth.wrong, truth.wrong[0]
                assert handover.progress().played > 0 and handler.error is None
                counts = handler.status()["connections"][name]["resync"]
                if name == "bitstamp":  # stamps cannot continue: a first change that was not recorded needs a snapshot
                    assert counts["wanted"] <= len(symbols), counts
                if name.startswith("binance"):
                    assert counts["wanted"] == 0, counts
                    assert handler.segment.channels[0]["counters"][GAPS] == 0
                    found = trades(handler)
                    assert found and all(b == a + 1 for each in found.values() for a, b in itertools.pairwise(each))


@pytest.mark.parametrize("name", ["binance", "bitstamp", "coinbase"])
def test_behind_a_recording_that_has_ended(name: str, tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    """Nobody was there for a while: no book is LIVE before its snapshot, and the recorded books are there meanwhile."""
    symbols = [market.symbol for market in VENUES[name].markets][:SYMBOLS]
    with serve(name, symbols, rate=300, batch_ms=5, levels=30, beat_s=0.2) as venue:
        truth = Truth(venue)
        markets = {symbol: venue.dialect.books[symbol].market for symbol in symbols}
        with Recorder(feed(venue, 1, "recorder"), tmp_path) as recorder:
            recorder.start()
            wait_for(lambda: recorder.status().packets > 60, 10, "packets")
        numbers = dict(venue.dialect.numbers)
        wait_for(lambda: all(venue.dialect.numbers[s] != numbers[s] for s in symbols), 5, "updates that nobody sees")
        handover = Handover(Recording(tmp_path))
        own = feed(venue, 1, f"over-{os.getpid()}")
        with (
            Handler(own, handover=handover) as handler,
            attach(own.shm.name) as segment,
            attach(own.shm.name) as watching,
        ):
            handler.start()
            books = [segment.book(symbol, timeout=10) for symbol in symbols]
            with watched(truth, [watching.book(symbol, timeout=10) for symbol in symbols], markets):
                wait_for(lambda: all(book.state is Quality.LIVE for book in books), 15, "LIVE books")
                last = settled(venue)
                for book in books:
                    wait_for(lambda book=book: shown(book, markets[book.symbol]) == last[book.symbol], 5, "its book")
            assert not truth.wrong, truth.wrong[0]
            assert handover.progress().played > 0
            if name in NUMBERED:
                status = handler.status
                wait_for(
                    lambda: status()["connections"][name]["resync"]["over"] == len(symbols), 5, "the end of wishes"
                )
