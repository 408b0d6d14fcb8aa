"""Numbered trades over two lines, cut at any byte and out of step: each that some connection brought, exactly once."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from splicer_world import World, frame, packed

NAMES = ("binance", "binance_usdm", "coinbase", "bitstamp")
SYMBOLS = {"coinbase": "BTC-USD", "bitstamp": "btcusd"}
STEP = {"bitstamp": 7}  # it numbers the trades of all its pairs in one row


def trade(name: str, number: int, bad: bool = False) -> bytes:
    """A trade as the venue sends it; a bad one is known by its number, and cannot be read."""
    symbol, price = SYMBOLS.get(name, "BTCUSDT"), "1.x" if bad else "1.5"
    if name == "coinbase":
        said: dict[str, Any] = {"type": "match", "trade_id": number, "side": "sell", "size": "2", "price": price}
        return packed(said | {"product_id": symbol, "sequence": 99, "time": "2026-11-22T15:00:00.000001Z"})
    if name == "bitstamp":
        said = {"id": number, "amount_str": "2", "price_str": price, "type": 0, "microtimestamp": "1641343691244999"}
        return packed({"data": said, "channel": f"live_trades_{symbol}", "event": "trade"})
    return packed({"e": "trade", "E": 1, "T": 1, "s": symbol, "t": number, "p": price, "q": "2", "m": True})


class Story:
    """Two connections, each with how far it has come; and in plain Python what has come out so far."""

    def __init__(self, name: str) -> None:
        self.name, self.step = name, STEP.get(name, 1)
        self.world = World(name, 2)
        self.made = 0
        self.at: list[int | None] = [0, 0]
        self.expected: set[int] = set()
        self.came: list[int] = []

    def produce(self, count: int) -> None:
        self.made += count

    def say(self, line: int, count: int, bad: bool = False) -> None:
        at = self.at[line]
        for number in range((at or 0) + 1, min((at or 0) + count, self.made) + 1) if at is not None else ():
            self.world.say(line, trade(self.name, self.step * number, bad))
            self.at[line] = number
            if not bad:
                self.expected.add(self.step * number)
        self.take()

    def cut(self, line: int, byte: int) -> None:
        at = self.at[line]
        if at is not None:
            if at < self.made:
                wire = frame(trade(self.name, self.step * (at + 1)))
                self.world.data(line, wire[: byte % len(wire)])
            self.world.cut(line)
            self.at[line] = None

    def connect(self, line: int, behind: int) -> None:
        """The server that it comes to may be behind another."""
        if self.at[line] is None:
            self.world.connect(line)
            self.at[line] = max(self.made - behind, 0)

    def take(self) -> None:
        events = self.world.events()
        self.came += events["order_id"][events["action"] == ord("T")].tolist()
        assert sorted(self.came) == sorted(self.expected)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("produce"), st.integers(1, 4)),
        st.tuples(st.just("say"), st.integers(0, 1), st.integers(1, 5)),
        st.tuples(st.just("say"), st.integers(0, 1), st.integers(1, 5)),
        st.tuples(st.just("say"), st.integers(0, 1), st.integers(1, 2), st.just(True)),
        st.tuples(st.just("cut"), st.integers(0, 1), st.integers(0, 500)),
        st.tuples(st.just("connect"), st.integers(0, 1), st.integers(0, 3)),
    ),
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(NAMES), steps)
def test_each_trade_that_a_line_brought_comes_out_exactly_once(name: str, story: list[Any]) -> None:
    run = Story(name)
    for verb, *arguments in story:
        getattr(run, verb)(*arguments)
        run.take()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2)), max_size=12))
def test_with_one_line_cut_at_a_time_no_trade_is_lost(name: str, cuts: list[tuple[int, int]]) -> None:
    run = Story(name)
    for number, (byte, lag) in enumerate(cuts):
        line = number % 2
        run.produce(3)
        run.say(1 - line, byte % 4)
        run.say(line, 9 if byte % 3 else 2)
        run.produce(1)
        run.cut(line, byte)
        run.produce(2)
        run.connect(line, lag)
        run.say(line, lag + 1)
        run.say(1 - line, 99)
        run.say(line, 99)
        assert set(run.came) == {run.step * n for n in range(1, run.made + 1)}


@pytest.mark.parametrize("name", NAMES)
def test_a_connection_that_begins_ahead_does_not_swallow_what_the_other_still_brings(name: str) -> None:
    run = Story(name)
    run.cut(1, 0)
    run.produce(5)
    run.say(0, 2)
    run.connect(1, 0)
    run.produce(1)
    run.say(1, 1)
    run.say(0, 9)
    assert [n // run.step for n in run.came] == [1, 2, 6, 3, 4, 5]
    assert run.world.line_counts(0)["duplicates"] == 1


def test_trades_numbered_anew_are_not_taken_for_old_ones() -> None:
    """A test network begins again: soon after, it may still be a server that is behind; later it is not."""
    world = World("coinbase", 2)
    world.say(0, *(trade("coinbase", number) for number in range(1, 9)))
    world.cut(0)
    world.connect(1)
    world.say(1, trade("coinbase", 7))
    assert world.line_counts(1)["duplicates"] == 1
    world.cut(1)
    world.pass_time(10_001)
    world.connect(0)
    world.say(0, trade("coinbase", 1), trade("coinbase", 2))
    assert world.events()["order_id"].tolist() == [*range(1, 9), 1, 2]


def test_without_numbers_trades_are_those_of_one_line() -> None:
    """Kraken: of the line that feeds the book; the other's from then on, when it is lost."""
    world = World("kraken", 2)

    def sold(second: int) -> bytes:
        return b'[8,[["5.50","1.5","%d.1","b","l",""]],"trade","A/B"]' % second

    whole = b'[7,{"as":[["5.50","1.000","1.5"]],"bs":[]},"book-10","A/B"]'
    world.say(1, whole)
    world.say(0, whole)
    for second in (1, 2):
        world.say(0, sold(second))
        world.say(1, sold(second))
    world.cut(1)
    world.say(0, sold(3))
    events = world.events()
    trades = events[events["action"] == ord("T")]
    assert trades["ts_event"].tolist() == [1_100_000_000, 2_100_000_000, 3_100_000_000]
    assert trades["line"].tolist() == [1, 1, 0]
