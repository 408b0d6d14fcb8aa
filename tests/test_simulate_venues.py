"""The simulated venues, seen by a plain client that shares no code with them."""

import json

import pytest
from test_cli import run

from feedhandler.config import load
from feedhandler.errors import ConfigError
from feedhandler.simulate.venues import NAMES, VenueFaults, serve
from tests.venue_follower import Follower

LOGS = {
    "binance": ("binance/cf-BINANCE.*.gz", ("depth@100ms",), 0),
    "binance_usdm": ("binance/cf-BINANCE_FUTURES.*.gz", ("depth@100ms",), 0),
    "coinbase": ("coinbase/*.gz", ("level2",), 0),
    "kraken": ("kraken/KRAKEN.ws.50*.gz", ("book",), 1000),
    "bitstamp": ("bitstamp/*.gz", ("diff_order_book",), 0),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_venue_is_followed_to_its_own_books(name):
    with serve(name, rate=300, batch_ms=10, levels=30) as served, Follower(served) as follower:
        for _ in range(150):
            follower.take()
        served.pause()
        for symbol in served.symbols:
            follower.until_equal(symbol)
        assert follower.trades


@pytest.mark.parametrize("name", NAMES)
def test_steps_by_hand(name):
    with serve(name, rate=0, levels=20) as served, Follower(served) as follower:
        for symbol in served.symbols:
            for _ in range(10):
                served.step(5, symbol)
            follower.until_equal(symbol)


@pytest.mark.parametrize("depth", [10, 25])
def test_kraken_republishes_what_comes_back_into_the_depth(depth):
    with serve("kraken", ["XBT/USD"], rate=0, levels=2 * depth) as served, Follower(served, depth=depth) as follower:
        for _ in range(40):
            served.step(10)
        follower.until_equal("XBT/USD")


def test_binance_book_ticker_is_the_top_of_the_book():
    streams = ("depth@100ms", "bookTicker")
    with serve("binance", ["BTCUSDT"], rate=0) as served, Follower(served, streams) as follower:
        equal = 0
        for _ in range(50):
            served.step()
            follower.until_equal("BTCUSDT")
            _, number, bid, ask = follower.tops[-1]
            book = follower.books["BTCUSDT"]
            if number == book.number:
                bids, asks = book.sides()
                assert (bids[0], asks[0]) == (bid, ask)
                equal += 1
        assert equal


def test_the_same_seed_gives_the_same_books():
    books = []
    for seed in (1, 1, 2):
        with serve("coinbase", seed=seed, rate=0) as served:
            served.step(200)
            books.append({symbol: served.reference(symbol) for symbol in served.symbols})
    assert books[0] == books[1] != books[2]


def test_an_unknown_venue_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown venue 'mtgox'; known are binance, "):
        serve("mtgox")


@pytest.mark.real_data
@pytest.mark.parametrize("name", LOGS)
def test_a_recorded_log_is_played_to_the_books_it_ends_with(name, shared_data):
    pattern, streams, depth = LOGS[name]
    logs = sorted((shared_data / "crypto").glob(pattern))
    with serve(name, logs=logs, speed=0, tls=False) as served, Follower(served, streams, depth) as follower:
        assert len(served.symbols) >= 3
        assert served.finished.wait(30)
        for symbol in served.symbols:
            follower.until_equal(symbol, levels=300)
        with Follower(served, streams, depth) as late:  # its snapshots are of the end
            for symbol in served.symbols:
                late.until_equal(symbol)


@pytest.mark.real_data
def test_a_log_is_played_at_its_own_pace(shared_data):
    logs = sorted((shared_data / "crypto").glob("kraken/KRAKEN.ws.50*.gz"))
    with serve("kraken", logs=logs, speed=10.0) as served, Follower(served, ("book",), 1000) as follower:
        for _ in range(50):
            follower.take()
        assert not served.finished.is_set()


def test_logs_of_another_venue_are_told_in_a_sentence(tmp_path):
    log = tmp_path / "x.log"
    log.write_text('1633998512.06: {"type":"heartbeat"}\n')
    with pytest.raises(ConfigError, match=r"no book of kraken begins in .*x.log: give its logs"):
        serve("kraken", logs=[log])


# -- the command


def test_the_command_serves_and_sums_up(tmp_path):
    config, certificates = tmp_path / "venue.toml", tmp_path / "certificates"
    done = run(
        *("simulate", "--venue", "binance", "--symbols", "2", "--seconds", "0.3", "--json"),
        *("--config", config, "--certificates", certificates),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert "binance on wss://127.0.0.1:" in done.stderr
    assert "binance: 0 connections, 0 messages" in done.stderr
    channel = load(config).channels[0]
    assert (channel.protocol, channel.symbols) == ("binance", ("BTCUSDT", "ETHUSDT"))
    assert [line.name for line in channel.lines[:2]] == ["A", "B"]
    assert channel.lines[0].ca == str(certificates / "ca.pem")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--venue", "mtgox"), "one of binance, binance_usdm, coinbase, kraken, bitstamp, not mtgox"),
        (("--venue", "kraken", "--symbols", "99"), "kraken trades 1 to 6 symbols, not 99"),
        (("--venue", "kraken", "--soupbintcp", "0"), "leave out --soupbintcp"),
        (("day.itch", "--venue", "kraken"), "leave out FILE"),
        (("--port", "26500"), "name it with --venue"),
    ],
)
def test_wrong_usage_of_the_command(arguments, said):
    done = run("simulate", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_the_command_prints_an_example_of_faults():
    done = run("simulate", "--venue", "kraken", "--example")
    assert done.returncode == 0
    assert VenueFaults.parse(done.stdout).fault


def test_a_port_that_is_taken_is_told_in_a_sentence():
    with serve("bitstamp", ["btcusd"], rate=0) as served:
        port = served.url.rpartition(":")[2].strip("/")
        done = run("simulate", "--venue", "bitstamp", "--port", port, "--seconds", "1")
    assert done.returncode == 1
    assert "bitstamp cannot listen" in done.stderr
