"""Recorded days of WebSocket feeds, through every command that reads: the same texts, the same events, every time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import feedhandler as fh
from feedhandler import cli
from feedhandler.convert.columns import Names
from feedhandler.errors import ConfigError
from feedhandler.handler import Handler, open_recording, play
from feedhandler.listing import Listing, Wanted
from feedhandler.record.imported import import_logs
from feedhandler.recording import Recording
from feedhandler.replay import Choice, HandlerReplay
from feedhandler.research.conditions import Condition
from feedhandler.simulate._schedule import Schedule

NAMES = ["BLZETH", "LRCBTC", "NKNUSDT", "RUNEEUR"]
SIZES = {"instruments": 64, "ring_events": 1 << 16}
PRICE_NONE = -(2**63)
COLUMNS = ("price", "size", "ts_event", "ts_recv", "sequence")


@pytest.fixture(scope="module")
def day(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Binance spot, four symbols: half a minute, four snapshots."""
    logs = [shared_data / f"crypto/binance/cf-BINANCE.{kind}.gz" for kind in ("ws.1.0", "http.0.0")]
    (made,) = import_logs(logs, tmp_path_factory.mktemp("days"))
    return made.folder


def events(handler: Handler) -> bytes:
    """All of them, as they lie in the ring, and the books that came out."""
    books = np.asarray(handler.segment.books[: len(handler.instruments) + 1])
    return ring(handler).tobytes() + books.tobytes()


def ring(handler: Handler) -> Any:
    """What is in the ring, which has room for all; event n lies in slot n."""
    return handler.segment.slots[1 : int(handler.segment.rings[0]["head"]) + 1]


def test_events_are_the_same_at_any_pace_and_packet_by_packet(day: Path) -> None:
    recording = Recording(day)
    with open_recording(recording, **SIZES) as handler:  # type: ignore[arg-type]
        assert play(handler) is None
        expected = events(handler)
        assert int(handler.segment.rings[0]["head"]) > 1000
        assert handler.types == {"A": 2, "B": 84, "D": 172, "K": 2, "S": 4}  # 5 were in the snapshots already
    for speed in (None, 100.0):
        played = HandlerReplay(recording, Choice(), Schedule(speed=speed))
        with played.open(**SIZES) as handler:  # type: ignore[arg-type]
            played.run(handler)
            assert events(handler) == expected
    stepped = HandlerReplay(recording, Choice(), Schedule(steps=True), steps=True)
    with stepped.open(**SIZES) as handler, stepped.source:  # type: ignore[arg-type]
        steps = stepped.steps(handler)
        told = list(steps.step(10_000))
        handler.shard.finish()
        assert events(handler) == expected
    assert len(told) == 270  # the server's answer, and a packet of each text
    assert "binance/control" in "".join(told)


def test_a_backtest_sees_the_same_twice(day: Path) -> None:
    class Notes(fh.Strategy):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_book(self, book: fh.Book) -> None:
            self.seen.append((book.symbol, book.event_seq, book.top()))

        def on_trade(self, event: Any) -> None:
            self.seen.append(event.tobytes())

    seen = []
    for _ in range(2):
        notes = Notes()
        fh.backtest(day, strategy=notes)
        seen.append(notes.seen)
    assert seen[0] == seen[1] and len(seen[0]) > 150
    assert {each[0] for each in seen[0] if isinstance(each, tuple)} == set(NAMES)


def test_texts_are_listed_by_what_their_decoder_says(day: Path) -> None:
    with Listing(day) as listing:
        entries = list(listing)
        assert dict(listing.types) == {"A": 2, "B": 84, "D": 177, "K": 2, "S": 4}
        assert sorted(listing.symbols) == NAMES
    assert [entry.line for entry in entries].count(1) == 4
    for entry in entries:
        said = json.loads(entry.wire)
        said = said.get("data", said)
        assert not entry.fault and entry.ts_recv > 1633998512 * 10**9
        if entry.type == "D":
            assert entry.symbol == said["s"] and entry.seq == said["u"] == entry.fields["u"]
            assert entry.fields["b"] == f"[{len(said['b'])}]"
    chosen = Wanted(
        types=frozenset("D"),
        symbols=frozenset({"LRCBTC"}),
        lines=frozenset("A"),
        numbers=(259345543, 2**64 - 1),
        where=(Condition.parse("U<=259345560"), Condition.parse("e==depthUpdate")),
    )
    with Listing(day, chosen) as listing:
        found = list(listing)
    assert [entry.wire for entry in found] == [
        entry.wire
        for entry in entries
        if entry.type == "D" and entry.symbol == "LRCBTC" and entry.seq >= 259345543 and entry.fields["U"] <= 259345560  # type: ignore[operator]
    ]
    assert found


def test_inspect_shows_texts(day: Path) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(cli.app, ["inspect", str(day), *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    shown = run("--limit", "2").splitlines()
    assert len(shown) == 3
    assert "NKNUSDT" in shown[1] and "D depthUpdate" in shown[1] and "U=499869750" in shown[1] and "b=[3]" in shown[1]
    assert "control" in shown[2] and "S snapshot of REST depth" in shown[2]
    row = json.loads(run("--limit", "1", "--line", "control", "--json"))
    assert (row["line"], row["type"], row["symbol"]) == ("control", "S", "NKNUSDT")
    assert '{"stream":"nknus' in run("--limit", "1", "--hex")


def test_malformed_texts_say_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    good = '{"stream":"x","data":{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":1,"u":2,"b":[],"a":[]}}'
    log.write_text(f'{10**18} {good}\n{10**18} {{"stream":"x","data":{{\n{10**18} {good.replace("[]}}", "[7]}}")}\n')
    (made,) = import_logs([log], tmp_path / "days", protocol="binance")
    with Listing(made.folder) as listing:
        entries = list(listing)
    assert [entry.fault for entry in entries] == ["", "it is no JSON", "it does not say what it should"]
    assert not entries[1].fields


def test_texts_and_tables_are_listed_apart(day: Path, tmp_path: Path) -> None:
    from tests.recorded import NOON, feed, mold, record

    record(feed(), tmp_path / "mold", [(0, NOON, mold(1))])
    both = Recording(day, tmp_path / "mold")
    with pytest.raises(ConfigError, match="list them apart, with --channels"):
        Listing(both)
    with Listing(both, channels=["binance"]) as listing:
        assert len(list(listing)) == 269


def test_conversions_have_the_events_of_the_ring(day: Path, tmp_path: Path) -> None:
    loaded = fh.load(day, kind="events", engine="arrow")
    table = {name: loaded[name].cast("int64" if name != "size" else "uint64").to_pylist() for name in COLUMNS}
    with open_recording(Recording(day), **SIZES) as handler:  # type: ignore[arg-type]
        play(handler)
        slots = ring(handler)
        for name in COLUMNS:
            ours = slots["channel_seq" if name == "sequence" else name]
            none = PRICE_NONE if name == "price" else 0
            theirs = [none if each is None else int(each) for each in table[name]]
            assert theirs == ours.tolist(), name
    for target in ("trades.csv", "book.parquet"):
        kind = target.partition(".")[0]
        result = CliRunner().invoke(cli.app, ["convert", str(day), str(tmp_path / target), "--kind", kind])
        assert result.exit_code == 0, result.output
        assert (tmp_path / target).stat().st_size > 100


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "log"), [("coinbase", "COINBASE.ws.28.0.gz"), ("kraken", "KRAKEN.ws.50.0.gz")])
def test_conversions_have_the_prices_of_every_venue_in_one_unit(
    name: str, log: str, shared_data: Path, tmp_path: Path
) -> None:
    (made,) = import_logs([shared_data / "crypto" / name / log], tmp_path)
    with open_recording(Recording(made.folder), **{**SIZES, "ring_events": 1 << 18}) as handler:  # type: ignore[arg-type]
        play(handler)
        slots = ring(handler)
        units = 10 ** (9 + handler.segment.directory["price_exponent"].astype(np.int64)[slots["instrument"]])
        expected = np.where(slots["price"] == PRICE_NONE, PRICE_NONE, slots["price"] * units)
    assert (units.max() == 10) == (name == "coinbase")
    prices = fh.load(made.folder, kind="events", engine="arrow")["price"].cast("int64").to_pylist()
    assert [PRICE_NONE if price is None else price for price in prices] == expected.tolist()
    bars = fh.load(made.folder, kind="bars", sample="1s", engine="arrow")
    assert set(bars["close"].cast("int64").drop_null().to_pylist()) <= set(prices)


def test_a_unit_finer_than_what_is_written_is_refused() -> None:
    names = Names(units=[1, 0], size_units=[1, 1], by_index=[("", ""), ("TINY", "X")])
    with pytest.raises(ConfigError, match="unit of TINY's prices is finer than 1e-9"):
        names.in_one_unit({"instrument": np.array([1], np.uint32), "price": np.array([5], np.int64)})


def test_prices_that_do_not_fit_become_nulls_and_are_counted() -> None:
    names = Names(units=[1, 10], size_units=[1, 1], by_index=[("", ""), ("BIG", "X")])
    block = {"instrument": np.full(3, 1, np.uint32), "price": np.array([7, 2**62, PRICE_NONE], np.int64)}
    assert names.in_one_unit(block)["price"].tolist() == [70, PRICE_NONE, PRICE_NONE] and names.unfit == 1


def test_logs_of_every_venue_become_books_twice_the_same(shared_data: Path, tmp_path: Path) -> None:
    """Coinbase, Kraken, Bitstamp and Binance's futures: every text is good, and events are the same at every pass."""
    for name, logs, least in (
        ("coinbase", ["coinbase/COINBASE.ws.28.0.gz"], 8000),
        ("kraken", ["kraken/KRAKEN.ws.50.0.gz"], 2800),
        ("bitstamp", ["bitstamp/BITSTAMP.ws.1.0.gz", "bitstamp/BITSTAMP.http.0.0.gz"], 500),
        ("binance_usdm", ["binance/cf-BINANCE_FUTURES.ws.1.0.gz", "binance/cf-BINANCE_FUTURES.http.0.0.gz"], 1500),
    ):
        (made,) = import_logs([shared_data / "crypto" / log for log in logs], tmp_path / name)
        assert made.channels == (name,)
        with Listing(made.folder) as listing:
            faults = [entry.fault for entry in listing if entry.fault]
            assert not faults and listing.read >= least, (name, faults[:3])
        passes = []
        for _ in range(2):
            with open_recording(Recording(made.folder), **SIZES) as handler:  # type: ignore[arg-type]
                assert play(handler) is None
                assert sum(handler.types.values()) >= least - 40  # what a snapshot has already is not decoded
                passes.append(events(handler))
        assert passes[0] == passes[1]
