"""Handlers of JSON channels: live books from local venues over TLS, through whatever happens to connections."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler import attach, config
from feedhandler.counters import LINE
from feedhandler.decode import protocols
from feedhandler.handler import Handler
from feedhandler.records import ALL_INSTRUMENTS, Action, Cause, Connection, Flag, Quality
from feedhandler.session import websocket_life
from feedhandler.simulate.venues import NAMES, serve
from feedhandler.simulate.venues.faults import VenueFault, VenueFaults

RECONNECTS = [counter.name for counter in LINE].index("reconnects")
DEPTHS = {"binance": 100, "binance_usdm": 100, "kraken": 25}
VENUES = [name for name in NAMES if name in protocols()]


def document(served: Any, name: str, lines: int = 1, more: str = "") -> str:
    """A configuration of these lines, each to another address of the venue."""
    symbols = ", ".join(f'"{symbol}"' for symbol in served.symbols)
    protocol = served.dialect.name
    depth = f"depth = {DEPTHS[protocol]}" if protocol in DEPTHS else ""
    text = f"""
        [shm]
        name = "{name}"
        [books]
        depth = 10
        instruments = 64
        [ring]
        events = 65536
        [[channel]]
        name = "crypto"
        protocol = "{protocol}"
        symbols = [{symbols}]
        rest = "{served.rest}"
        {depth}
        {more}
    """
    for number in range(lines):
        url = served.urls[number % len(served.urls)]
        text += f"""
        [[channel.line]]
        name = "{"ABCD"[number]}"
        url = "{url}"
        ca = "{served.ca}"
        """
    return text


class Running:
    """A handler of a venue, and its books by symbol."""

    def __init__(self, served: Any, handler: Handler) -> None:
        self.served, self.handler = served, handler
        self.feed = attach(handler.config.shm.name)

    def number(self, symbol: str) -> int:
        return self.handler.instruments.lookup(symbol, self.handler.config.channels[0].venue)

    def state(self, symbol: str) -> Quality:
        return Quality(self.feed.book(symbol).state) if self.number(symbol) else Quality.INIT

    def live(self) -> bool:
        return all(self.state(symbol) == Quality.LIVE for symbol in self.served.symbols)

    def equal(self, symbol: str) -> bool:
        """The published levels are those of the venue's own book."""
        theirs = self.served.reference(symbol)
        bids, asks = theirs.bids, theirs.asks
        row = self.handler.instruments.record(self.number(symbol))
        price, size = Decimal(1).scaleb(int(row["price_exponent"])), Decimal(1).scaleb(int(row["size_exponent"]))
        with contextlib.suppress(LookupError):
            _, ours_bids, ours_asks = self.handler.book(self.number(symbol))
            return all(
                [(int(level["price"]) * price, int(level["size"]) * size) for level in ours[:10]] == list(levels[:10])
                for ours, levels in ((ours_bids, bids), (ours_asks, asks))
            )
        return False

    def settled(self) -> bool:
        return all(self.state(symbol) == Quality.LIVE and self.equal(symbol) for symbol in self.served.symbols)

    def line(self, number: int) -> tuple[Connection, Cause]:
        row = self.handler.segment.lines[number]
        return Connection(int(row["connection"])), Cause(int(row["connection_reason"]))

    def epochs(self) -> dict[str, int]:
        books = self.handler.segment.books[:, 48:52].view(np.uint32)
        return {symbol: int(books[self.number(symbol), 0]) for symbol in self.served.symbols}


@contextlib.contextmanager
def running(
    venue: str, lines: int = 1, faults: tuple[VenueFault, ...] = (), more: str = "", **options: Any
) -> Iterator[Running]:
    """A venue, and a handler that follows it."""
    options = {"rate": 300, "batch_ms": 10, "levels": 30} | options
    with serve(venue, faults=VenueFaults(fault=faults), **options) as served:
        name = f"fh-test-venue-{time.time_ns()}"
        with Handler(config.parse(document(served, name, lines, more))) as handler:
            made = Running(served, handler)
            handler.start()
            with made.feed:
                yield made


@pytest.mark.parametrize("venue", VENUES)
def test_every_venues_books_are_the_venues_own(venue: str, wait_for: Callable[..., Any]) -> None:
    with running(venue) as run:
        wait_for(run.live, what="all books LIVE")
        run.served.pause()
        wait_for(run.settled, what="the venue's books")
        wait_for(lambda: run.line(0) == (Connection.CONNECTED, Cause.SUBSCRIBED), what="the line table")
        row = run.handler.segment.lines[0]
        assert abs(int(row["connection_since"]) - time.time_ns()) < 60e9


@pytest.mark.parametrize("venue", VENUES)
def test_a_venue_that_cuts_all_connections_is_followed_again(venue: str, wait_for: Callable[..., Any]) -> None:
    with running(venue, 2) as run:
        wait_for(run.live, what="all books LIVE")
        wait_for(lambda: all(life.connections for life in lives(run)), what="both lines")
        run.served.cut()
        wait_for(lambda: all(life.connections >= 2 for life in lives(run)), what="both lines again")
        wait_for(run.live, what="all books LIVE again")
        run.served.pause()
        wait_for(run.settled, what="the venue's books")


def lives(run: Running) -> list[Any]:
    assert run.handler._websockets is not None
    return run.handler._websockets.channels[0].lives


@pytest.mark.parametrize("venue", VENUES)
def test_a_replaced_connection_leaves_books_right(venue: str, wait_for: Callable[..., Any]) -> None:
    with running(venue, 2) as run:
        wait_for(run.live, what="all books LIVE")
        wait_for(lambda: all(life.connections for life in lives(run)), what="both lines")
        for number in range(2):
            lives(run)[number].link.replace_soon()
            wait_for(lambda number=number: lives(run)[number].replaced == 1, what="the replacement")
        wait_for(run.live, what="all books LIVE")
        run.served.pause()
        wait_for(run.settled, what="the venue's books")


def test_a_channel_whose_control_fails_says_so_and_goes_on_until_it_needs_it(
    wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(now: float) -> float:
        raise RuntimeError("a fault of ours, at wss://host/?token=abc")

    with running("binance") as run:
        wait_for(run.live, what="all books LIVE")
        wait_for(lambda: run.line(0) == (Connection.CONNECTED, Cause.SUBSCRIBED), what="CONNECTED")
        assert run.handler._websockets is not None
        monkeypatch.setattr(run.handler._websockets.channels[0], "step", fault)
        wait_for(lambda: run.line(0) == (Connection.CONNECTED, Cause.STOPPED), what="the line table says so")
        status = run.handler.status()
        assert status["connections"]["crypto"]["led"] is False
        assert [note for note in status["notes"] if "led no more" in note and "abc" not in note]
        assert run.live()
        run.served.cut()
        wait_for(lambda: run.line(0) == (Connection.DISCONNECTED, Cause.STOPPED), what="the end")
        wait_for(lambda: {run.state(s) for s in run.served.symbols} == {Quality.STALE}, what="STALE books")


@pytest.mark.parametrize("venue", ["binance", "binance_usdm"])
def test_a_planned_replacement_of_the_only_line_leaves_its_books_live(
    venue: str, wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_life, "OVERLAP_S", 0.05)
    with running(venue) as run:
        wait_for(run.live, what="all books LIVE")
        wait_for(lambda: run.line(0) == (Connection.CONNECTED, Cause.SUBSCRIBED), what="CONNECTED")
        first = int(run.handler.segment.rings["head"][0]) + 1
        for times in (1, 2):
            lives(run)[0].link.replace_soon()
            wait_for(lambda times=times: lives(run)[0].replaced == times, what="the replacement")
        wait_for(lambda: run.line(0) == (Connection.CONNECTED, Cause.SUBSCRIBED), what="CONNECTED")
        at = int(run.handler.segment.rings["head"][0])
        wait_for(lambda: int(run.handler.segment.rings["head"][0]) > at + 50, what="what the new one brings")
        events = run.handler.segment.slots[first : int(run.handler.segment.rings["head"][0]) + 1].copy()
        assert not np.any(events["flags"] & Flag.STALE)
        assert int(run.handler.segment.lines[0]["counters"][RECONNECTS]) == 2
        run.served.pause()
        wait_for(run.settled, what="the venue's books")


def test_a_missing_update_is_a_resync_of_its_symbol_alone(wait_for: Callable[..., Any]) -> None:
    with running("binance", faults=(VenueFault(kind="drop", at=60, symbol="BTCUSDT"),)) as run:
        wait_for(run.live, what="all books LIVE")
        before = run.epochs()
        wait_for(lambda: run.served.faults.get("drop"), what="the drop")
        wait_for(lambda: run.epochs()["BTCUSDT"] > before["BTCUSDT"], what="another snapshot")
        wait_for(run.live, what="all books LIVE")
        run.served.pause()
        wait_for(run.settled, what="the venue's books")
        after = run.epochs()
        assert {symbol for symbol in after if after[symbol] != before[symbol]} == {"BTCUSDT"}


def test_transitions_are_events_of_the_channel(wait_for: Callable[..., Any]) -> None:
    with running("binance") as run:
        wait_for(run.live, what="all books LIVE")
        cursor = run.feed.cursor(start=1)
        told: list[tuple[Connection, Cause]] = []

        def heard() -> bool:
            while (batch := cursor.take(timeout=0)) is not None and len(batch):
                mine = batch[(batch["instrument"] == ALL_INSTRUMENTS) & (batch["action"] == Action.NONE)]
                told.extend((Connection(int(e["size"])), Cause(int(e["order_id"]))) for e in mine if e["size"])
            return Connection.CONNECTED in [state for state, _ in told]

        wait_for(heard, what="the transitions")
        assert told[:1] == [(Connection.CONNECTING, Cause.START)]
        assert told[-1] == (Connection.CONNECTED, Cause.SUBSCRIBED)


def test_status_and_top_say_where_connections_stand(wait_for: Callable[..., Any]) -> None:
    with running("binance", 2) as run:
        wait_for(run.live, what="all books LIVE")
        wait_for(lambda: {run.line(n)[0] for n in range(2)} == {Connection.CONNECTED}, what="both lines")
        status = run.handler.status()["connections"]["crypto"]
        assert {line["state"] for line in status["lines"].values()} == {"CONNECTED"}
        assert status["rest"]["breaker"] == "closed"
        command = [sys.executable, "-m", "feedhandler", "top", run.handler.config.shm.name, "--once"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert len(re.findall(r"CONNECTED", shown)) == 2 and "DOWN" not in shown


def test_run_follows_a_venue(tmp_path: Path, processes: Any, wait_for: Callable[..., Any]) -> None:
    name = f"fh-test-venue-{time.time_ns()}"
    with serve("binance", rate=300, batch_ms=10, levels=30) as served:
        path = tmp_path / "crypto.toml"
        path.write_text(document(served, name))
        child = processes.start([sys.executable, "-m", "feedhandler", "run", path])
        wait_for(lambda: Path("/dev/shm", name).exists(), what="the segment")
        with attach(name) as feed:

            def live() -> bool:
                with contextlib.suppress(KeyError):
                    return all(feed.book(symbol).state == Quality.LIVE for symbol in served.symbols)
                return False

            wait_for(live, what="all books LIVE")
        child.terminate()
        _, said = child.communicate(timeout=20)
        assert child.returncode == 0
        assert "stopped after" in said


def test_how_long_the_first_snapshots_take_is_said_at_the_start() -> None:
    symbols = ", ".join(f'"A{n}USDT"' for n in range(200))
    text = f"""
        [shm]
        name = "fh-many-{time.time_ns()}"
        [books]
        instruments = 512
        [[channel]]
        name = "spot"
        protocol = "binance"
        symbols = [{symbols}]
        rest = "http://127.0.0.1:9"
        [[channel.line]]
        name = "A"
        url = "ws://127.0.0.1:9/stream"
    """
    with Handler(config.parse(text)) as handler:
        handler.start()
        [note] = [note for note in handler.notes if "snapshots" in note]
    assert note == (
        "spot: the first snapshots of 200 symbols at depth 100 take some 4 s within the limits of binance; "
        "books are LIVE one by one"
    )
