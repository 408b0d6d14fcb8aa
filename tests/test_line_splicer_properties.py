"""Connections cut at any byte, lagging snapshots, lines out of step: a LIVE book is what a lossless run has there.

Every change sets one level of the book and, at price 1, its own number: so the book itself says how far it has come.
"""

import zlib
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from splicer_model import Model
from splicer_world import World, frame, packed

from feedhandler.line._resyncs import RESYNC_OVER, RESYNC_SUBSCRIBE
from feedhandler.records import Quality

PRICE, SIZE = 10**9, 10**8
SYMBOLS = {"binance": "BTCUSDT", "bitstamp": "btcusd", "coinbase": "BTC-USD", "kraken": "XBT/USD"}
ON_SOCKET = ("coinbase", "kraken")


class Venue:
    """What one venue has said so far of one instrument, and how it says it."""

    def __init__(self, name: str) -> None:
        self.name, self.symbol = name, SYMBOLS[name]
        self.levels: list[tuple[int, int]] = []  # price and size of each change

    def book(self, number: int) -> dict[int, int]:
        """The bids after so many changes."""
        bids = {1: number}
        for price, size in self.levels[:number]:
            bids[price] = size
        return {price * PRICE: size * SIZE for price, size in bids.items() if size}

    def stamp(self, number: int) -> int:
        """Bitstamp's: the first three changes of ten bear one, the others their own."""
        return 10 * (number - number % 10 + 3 if 1 <= number % 10 <= 3 else number)

    def change(self, number: int) -> bytes:
        price, size = self.levels[number - 1]
        rows = [["1", str(number)], [str(price), str(size)]]
        if self.name == "binance":
            first = 10 * number - 9
            return packed(
                {"e": "depthUpdate", "E": 1, "s": self.symbol, "U": first, "u": 10 * number, "b": rows, "a": []}
            )
        if self.name == "bitstamp":
            data = {"timestamp": "1", "microtimestamp": str(self.stamp(number)), "bids": rows, "asks": []}
            return packed({"event": "data", "channel": "diff_order_book_btcusd", "data": data})
        if self.name == "kraken":
            checksum = str(zlib.crc32(self.spelled(number)))
            bids = self.kraken_rows([(1, number), (price, size)])
            return packed([7, {"b": bids, "c": checksum}, "book-10", self.symbol])
        changes = [["buy", *row] for row in rows]
        return packed(
            {"type": "l2update", "product_id": self.symbol, "changes": changes, "time": "2026-11-22T15:00:00.000001Z"}
        )

    def kraken_rows(self, levels: list[tuple[int, int]]) -> list[list[str]]:
        return [[f"{price}.00", f"{size}.000", "1.5"] for price, size in levels]

    def spelled(self, number: int) -> bytes:
        """What Kraken's checksum is made of: the best ten bids (there are no asks) without point and leading zeros."""
        best = sorted(self.book(number).items(), reverse=True)[:10]
        return "".join(f"{price // PRICE}00{size // SIZE}000" for price, size in best).encode()

    def snapshot(self, number: int) -> bytes:
        if self.name == "kraken":
            bids = [(price // PRICE, size // SIZE) for price, size in self.book(number).items()]
            return packed([7, {"as": [], "bs": self.kraken_rows(bids)}, "book-10", self.symbol])
        if self.name == "bitstamp" and number % 10 in (1, 2):
            number -= number % 10  # a snapshot has all that bears its stamp
        rows = [[str(price // PRICE), str(size // SIZE)] for price, size in self.book(number).items()]
        if self.name == "binance":
            body: dict[str, Any] = {"lastUpdateId": 10 * number, "bids": rows, "asks": []}
            return packed({"rest": "depth", "symbol": self.symbol, "body": body})
        if self.name == "bitstamp":
            body = {"timestamp": "1", "microtimestamp": str(self.stamp(number)), "bids": rows, "asks": []}
            return packed({"rest": "depth", "symbol": self.symbol, "body": body})
        return packed({"type": "snapshot", "product_id": self.symbol, "bids": rows, "asks": []})


class Story:
    """A venue, its connections, and the shard; `steps` may come in any order."""

    def __init__(self, name: str, lines: int, world: type[World] = World) -> None:
        self.venue = Venue(name)
        self.world = world(name, lines)
        self.model = Model(5)
        self.at: list[int | None] = [None] * lines  # changes that each connection has brought; None: it is down
        self.ticks = 0
        self.wanted = False
        for line in range(lines):
            self.connect(line)

    @property
    def now(self) -> int:
        return len(self.venue.levels)

    def produce(self, price: int, size: int) -> None:
        self.venue.levels.append((price + 2, size))

    def connect(self, line: int) -> None:
        if self.at[line] is not None:
            return
        self.at[line] = self.now
        self.world.connect(line)
        if self.venue.name in ON_SOCKET:
            self.world.say(line, self.venue.snapshot(self.now))

    def say(self, line: int, count: int) -> None:
        at = self.at[line]
        if at is None:
            return
        for number in range(at + 1, min(at + count, self.now) + 1):
            self.world.say(line, self.venue.change(number))
            self.model.change(line, 10 * number - 10, 10 * number, self.world.ms)
            self.at[line] = number

    def cut(self, line: int, byte: int) -> None:
        at = self.at[line]
        if at is None:
            return
        if at < self.now:
            wire = frame(self.venue.change(at + 1))
            self.world.data(line, wire[: byte % len(wire)])
        self.world.cut(line)
        self.model.lost(line)
        self.at[line] = None

    def answer(self, lag: int) -> None:
        for wish in self.world.wishes():
            self.wanted = wish.kind != RESYNC_OVER
            assert wish.kind != RESYNC_SUBSCRIBE
        if self.wanted and self.venue.name not in ON_SOCKET:
            number = max(self.now - lag, 0)
            self.world.control(self.venue.snapshot(number))
            self.model.snapshot(10 * number, self.world.ms)

    def time(self, ms: int) -> None:
        self.world.pass_time(ms)
        self.model.tick(self.world.ms)

    def check(self) -> None:
        """LIVE, and what a lossless run has at this number; or it says that it is not."""
        try:
            quality, reason = self.world.state(self.venue.symbol)
        except KeyError:
            return
        bids = self.world.book(self.venue.symbol)[0]
        if quality == Quality.LIVE and self.world.word[0] == Quality.LIVE:
            assert bids == self.venue.book(bids.get(PRICE, 0) // SIZE), (quality, reason)
        if self.venue.name == "binance":
            self.model.tick(self.world.ms)
            assert (quality == Quality.LIVE) == (self.model.state == "whole"), (quality, reason, self.model)
            if self.model.state != "new":
                assert bids.get(PRICE, 0) * 10 == self.model.last * SIZE

    def end(self) -> None:
        """All lines come back, something happens, snapshots are to be had: then the book is LIVE, and the present."""
        for line in range(len(self.at)):
            self.connect(line)
        for _ in range(4):
            self.produce(1, self.now + 1)
            for line in range(len(self.at)):
                self.say(line, self.now)
            self.time(10)
            self.answer(0)
        assert self.world.state(self.venue.symbol)[0] == Quality.LIVE
        assert self.world.book(self.venue.symbol)[0] == self.venue.book(self.now)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("produce"), st.integers(0, 5), st.integers(0, 9)),
        st.tuples(st.just("produce"), st.integers(0, 5), st.integers(0, 9)),
        st.tuples(st.just("say"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("say"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("cut"), st.integers(0, 1), st.integers(0, 500)),
        st.tuples(st.just("connect"), st.integers(0, 1)),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("time"), st.integers(0, 6)),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(SYMBOLS)), st.integers(1, 2), steps)
def test_a_book_that_is_live_is_what_a_lossless_run_has_there(name: str, lines: int, story: list[Any]) -> None:
    run = Story(name, lines)
    for verb, *arguments in story:
        if verb in ("say", "cut", "connect"):
            arguments[0] %= lines
        getattr(run, verb)(*arguments)
        run.check()
    run.end()
    run.check()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SYMBOLS)), st.lists(st.integers(0, 400), min_size=1, max_size=12))
def test_with_two_lines_of_which_one_is_cut_at_a_time_nothing_is_lost(name: str, cuts: list[int]) -> None:
    """Once a book is LIVE it stays so, through any number of cuts at any byte, one line after the other."""
    run = Story(name, 2)
    for number in range(3):
        run.produce(number, number + 1)
        run.say(0, 9), run.say(1, 9)
    run.answer(0)
    run.produce(1, 1)
    run.say(0, 9), run.say(1, 9)
    assert run.world.state(run.venue.symbol)[0] == Quality.LIVE
    for number, byte in enumerate(cuts):
        line = number % 2
        run.produce(number % 6, number % 10)
        run.say(1 - line, 9 if byte % 3 else 0)
        run.produce((number + 1) % 6, number % 10)
        run.cut(line, byte)
        assert run.world.state(run.venue.symbol)[0] == Quality.LIVE
        run.say(1 - line, 9)
        run.connect(line)
        run.produce((number + 2) % 6, number % 10)
        run.say(1 - line, 9)
        run.say(line, 9)
        assert run.world.state(run.venue.symbol)[0] == Quality.LIVE
        assert run.world.book(run.venue.symbol)[0] == run.venue.book(run.now)
    assert run.world.counts["gaps"] == 0
