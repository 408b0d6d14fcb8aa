"""The recorded logs of the venues through a shard: no gap, nothing malformed, every book LIVE in the end and right."""

from pathlib import Path

import pytest
from splicer_world import World

from feedhandler.decode.venue import venue
from feedhandler.records import Quality, Reason
from tests import crypto_logs
from tests.crypto_oracles import ORACLES, DictBook

pytestmark = pytest.mark.real_data

UNPROVEN = {
    "bitstamp": {"sgbeur": (Quality.STALE, Reason.SNAPSHOT)},  # no change in the log is as old as its snapshot
    "kraken": {"XMR/USD": (Quality.INIT, Reason.START)},  # no snapshot in the log
}


def played(data: Path, name: str, pattern: str) -> World:
    """All that came, on one line, REST answers on the control line; at most 20,000 texts."""
    world, there = World(name), venue(name)
    for line in crypto_logs.merged(data, pattern)[:20_000]:
        if line.direction == crypto_logs.RECEIVED:
            world.say(0, line.text)
        elif line.direction == crypto_logs.REST:
            world.control(there.depth_text(there.symbol(line.symbol), line.text))
    return world


@pytest.mark.parametrize(
    "name, pattern",
    [
        ("binance", "binance/cf-BINANCE.*.gz"),
        ("binance", "binance/spot-btcusdt_20240808.gz"),
        ("binance_usdm", "binance/cf-BINANCE_FUTURES.*.gz"),
        ("binance_usdm", "binance/usdm-btcusdt_20240808.gz"),
        ("bitstamp", "bitstamp/*.gz"),
        ("coinbase", "coinbase/*.gz"),
        ("kraken", "kraken/*.gz"),
    ],
)
def test_a_recorded_log_has_no_gap_and_leaves_live_books(shared_data: Path, name: str, pattern: str) -> None:
    world = played(shared_data, name, pattern)
    counts = world.counts
    assert {k: counts[k] for k in ("gaps", "malformed", "checksum", "levels_full", "held_full")} == dict.fromkeys(
        ("gaps", "malformed", "checksum", "levels_full", "held_full"), 0
    )
    symbols = [e["symbol"].rstrip(b"\0").decode() for e in world.segment.directory if e["symbol"]]
    assert symbols and world.word == (Quality.LIVE, Reason.NONE)
    states = {symbol: world.state(symbol) for symbol in symbols}
    assert states == dict.fromkeys(symbols, (Quality.LIVE, Reason.NONE)) | UNPROVEN.get(name, {})


@pytest.mark.parametrize("name", ["coinbase", "kraken"])
def test_the_last_books_are_those_of_the_plain_oracle(shared_data: Path, name: str) -> None:
    world = played(shared_data, name, f"{name}/*.gz")
    books: dict[str, DictBook] = {}
    for line in crypto_logs.merged(shared_data, f"{name}/*.gz")[:20_000]:
        if line.direction == crypto_logs.RECEIVED:
            for said in ORACLES[name](line.text):
                if said.action != "T":
                    books.setdefault(said.symbol, DictBook()).take(said)
    for symbol, book in books.items():
        index = world.index(symbol)
        _, bids, asks = world.books.book(index)
        for side, levels in (("B", bids), ("A", asks)):
            ours = [(int(level["price"]), int(level["size"])) for level in levels]
            assert ours == book.top(side, len(ours)) and len(ours) == min(20, len(book.top(side, 20)))
