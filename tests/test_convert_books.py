"""Rows of books, trades, bars and messages beside the plain reference, and beside each other."""

import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest

import feedhandler
from feedhandler import convert
from feedhandler.book.reference import BID, ReferenceBooks
from feedhandler.decode import iex_deep, interpret, itch50
from feedhandler.handler import run_capture
from feedhandler.read import attach_local
from feedhandler.records import EVENT, PRICE_NONE, Flag, Quality, Reason, Trading
from feedhandler.simulate import Exchange, Faults, write

DEPTH = 5
SECOND = 10**9
MIDNIGHT = 1_767_589_200 * SECOND  # of 2026-01-05 in New York


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.pcapng"
    write(path, Exchange(symbols=5, seed=7, messages=6000))
    return path


def messages_of(path: Path) -> list[bytes]:
    data, wires, at = gzip.decompress(path.read_bytes()), [], 0
    while at + 2 < len(data) and (length := int.from_bytes(data[at : at + 2], "big")):
        wires.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return wires


def reference(path: Path) -> Iterator[tuple[list[dict[str, Any]], ReferenceBooks, list[str]]]:
    """After each message that made events: (its events, the books, the names)."""
    interpreter = interpret.Interpreter(itch50.PROTOCOL)
    made = interpreter.decode_bytes(messages_of(path))
    names = [""] + [symbol for symbol, _ in interpreter.instruments]
    books = ReferenceBooks(len(names), 2_000_000, crossed_ns=2**62)
    message: list[dict[str, Any]] = []
    for position, row in enumerate(made):
        message.append({name: int(row[name]) for name in EVENT.names})
        if message[-1]["flags"] & Flag.LAST:
            books.apply(message, position + 2 - len(message))
            yield message, books, names
            message = []


def shown(book: Any) -> tuple[Any, ...]:
    """What a row says of a book."""
    sides = []
    for side in (BID, ord("A")):
        levels = book.side(side)[:DEPTH]
        sides.append(levels + [(None, 0, 0)] * (DEPTH - len(levels)))
    return Quality(book.quality).name.lower(), Trading(book.trading).name.lower(), *sides


def row_shown(row: dict[str, Any]) -> tuple[Any, ...]:
    sides = [
        [tuple(row[f"{side}_{what}_{level}"] for what in ("px", "sz", "ct")) for level in range(DEPTH)]
        for side in ("bid", "ask")
    ]
    return row["quality"], row["trading"], *sides


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bats-part1", "ritch-synthetic-3-stocks"])
def test_each_change_of_a_book_is_a_row(shared_data: Path, tmp_path: Path, name: str) -> None:
    source, out = shared_data / f"itch50/derived/{name}.itch.gz", tmp_path / "book.parquet"
    convert.convert([source], out, convert.Options(kind="book", depth=DEPTH, protocol="itch50"))
    rows = iter(polars.read_parquet(out).to_dicts())
    last: dict[int, tuple[Any, ...]] = {}
    count = 0
    for message, books, names in reference(source):
        touched = dict.fromkeys(event["instrument"] for event in message)
        everywhere = 0 in touched  # a status of the whole market: books in the order in which they were first seen
        for instrument in list(last) if everywhere else touched:
            now = shown(books.books[instrument])
            if last.get(instrument) != now:
                row = next(rows)
                assert (row["symbol"], row_shown(row)) == (names[instrument], now), (count, row["sequence"])
                assert row["sequence"] == message[-1]["channel_seq"]
                assert row["reason"] == Reason(books.books[instrument].reason).name.lower()
                count += 1
            last[instrument] = now
    ended = len(list(rows))  # the end of the session closes what is not closed yet
    assert count > 1000 and ended <= len(last)


def test_a_gap_turns_every_row_stale(tmp_path: Path) -> None:
    path = tmp_path / "lossy.pcap"
    write(
        path,
        Exchange(symbols=3, seed=2, messages=4000),
        faults=Faults.parse("[all]\nloss = 0.02\n"),
        lines=[("239.1.1.1", 26400)],
    )
    report = convert.convert([path], tmp_path / "book.parquet", convert.Options(kind="book"))
    assert report.gaps > 0 and report.lost > 0
    book = polars.read_parquet(tmp_path / "book.parquet").with_columns(polars.col("quality").cast(polars.String))
    events = feedhandler.load(path, engine="polars")
    gap = events.filter(events["symbol"].is_null() & (events["action"].cast(polars.String) == "N"))["sequence"][0]
    before, after = book.filter(book["sequence"] < gap), book.filter(book["sequence"] > gap)
    assert set(before["quality"]) == {"live"} and set(after["quality"]) == {"stale"}
    # each book says so at once, not with its next update
    assert sorted(book.filter(book["sequence"] == gap)["quality"]) == ["stale"] * 3
    assert set(book.filter(book["sequence"] > gap)["reason"].cast(polars.String)) <= {"gap", "unknown_order"}


def test_by_time_a_row_is_the_book_just_before_the_instant(day: Path) -> None:
    every = feedhandler.load(day, kind="book", depth=2).to_pylist()
    sampled = feedhandler.load(day, kind="book", depth=2, sample="10m").to_pylist()
    filled = feedhandler.load(day, kind="book", depth=2, sample="10m", fill=True).to_pylist()
    step = 600 * SECOND
    state: dict[str, dict[str, Any]] = {}
    expected, expected_filled = [], []
    rows = iter([*every, None])
    row = next(rows)
    first = int(every[0]["ts_event"].value) // step + 1
    last = int(feedhandler.load(day)["ts_event"].cast("int64").to_pylist()[-1]) // step + 1
    for instant in range(first, last + 1):
        changed = set()
        while row is not None and row["ts_event"].value < instant * step:
            state[row["symbol"]] = row
            changed.add(row["symbol"])
            row = next(rows)
        expected += [(instant * step, state[symbol]) for symbol in changed]
        expected_filled += [(instant * step, known) for known in state.values()]

    def plain(found: list[tuple[int, dict[str, Any]]]) -> list[Any]:
        return sorted((when, str({k: v for k, v in known.items() if k != "ts"})) for when, known in found)

    assert plain([(one["ts"].value, one) for one in sampled]) == plain(expected)
    assert plain([(one["ts"].value, one) for one in filled]) == plain(expected_filled)
    assert len(filled) > len(sampled) > 50


def test_by_count_every_nth_change(day: Path) -> None:
    every = feedhandler.load(day, kind="book", depth=1).to_pylist()
    tenth = feedhandler.load(day, kind="book", depth=1, sample="10").to_pylist()
    expected, changes = [], defaultdict(int)
    for row in every:
        changes[row["symbol"]] += 1
        if changes[row["symbol"]] == 1 or (changes[row["symbol"]] - 1) % 10 == 0:  # the first makes it LIVE
            expected.append(row)
    assert tenth == expected


def test_trades_are_the_events_that_trade(day: Path) -> None:
    events = feedhandler.load(day).to_pylist()
    trades = feedhandler.load(day, kind="trades").to_pylist()
    taken_back = [e for e in events if e["action"] == "N" and e["symbol"] is not None]
    assert trades == [e for e in events if e["action"] == "T" or e in taken_back]
    assert taken_back and len(trades) > 100


def test_bars_are_made_of_the_trades(day: Path) -> None:
    step = 900 * SECOND
    wanted: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for trade in feedhandler.load(day, kind="trades").to_pylist():
        if trade["action"] == "T" and trade["size"]:
            wanted[trade["ts_event"].value // step * step, trade["symbol"]].append(trade)
    bars = feedhandler.load(day, kind="bars", sample="15m").to_pylist()
    assert {(bar["ts"].value, bar["symbol"]) for bar in bars} == set(wanted) and len(bars) == len(wanted)
    for bar in bars:
        trades = wanted[bar["ts"].value, bar["symbol"]]
        priced = [t for t in trades if t["price"] is not None]
        prices = [t["price"] for t in priced]
        assert (bar["open"], bar["close"]) == (prices[0], prices[-1])
        assert (bar["high"], bar["low"]) == (max(prices), min(prices))
        assert (bar["volume"], bar["trades"]) == (sum(t["size"] for t in trades), len(trades))
        assert bar["buy_volume"] == sum(t["size"] for t in trades if t["side"] == "B")
        assert bar["sell_volume"] == sum(t["size"] for t in trades if t["side"] == "A")
        worth = sum(t["price"] * t["size"] for t in priced) / 1e9
        assert bar["vwap"] == pytest.approx(worth / sum(t["size"] for t in priced))
        assert (bar["sequence"], bar["quality"]) == (trades[-1]["sequence"], "live")
    filled = feedhandler.load(day, kind="bars", sample="15m", fill=True).to_pylist()
    assert sorted((bar for bar in filled if bar["trades"]), key=str) == sorted(bars, key=str)
    close: dict[str, int] = {}
    for bar in filled:
        if not bar["trades"]:
            assert {bar[name] for name in ("open", "high", "low", "close")} == {close[bar["symbol"]]}
            assert (bar["volume"], bar["vwap"]) == (0, None)
        close[bar["symbol"]] = bar["close"]
    assert len(filled) > len(bars)


@pytest.mark.real_data
def test_the_last_row_is_the_book_that_readers_see(shared_data: Path) -> None:
    """Of a level feed, too: IEX DEEP."""
    source = shared_data / "iex/DEEP10-20170425-12-sessions.pcap.gz"
    table = feedhandler.load(source, kind="book", depth=DEPTH, engine="polars")
    table = table.with_columns(table["symbol"].cast(polars.String)).group_by("symbol").last()
    rows = {row["symbol"]: row for row in table.to_dicts()}
    result = run_capture(source, depth=DEPTH)
    with result.handler, attach_local(result.segment) as feed:
        assert len(rows) == len(feed.instruments) - 1 > 5
        for symbol, row in rows.items():
            for side, levels in zip(("bid", "ask"), feed.book(symbol).snapshot(), strict=True):
                for i, level in enumerate(levels):
                    price = int(level["price"]) if level["size"] else None
                    assert (row[f"{side}_px_{i}"], row[f"{side}_sz_{i}"]) == (price, level["size"])


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
def test_messages_are_a_table_for_each_type(day: Path, tmp_path: Path, ending: Any) -> None:
    report = convert.convert([day], tmp_path / "out", convert.Options(kind="messages"), format=ending)
    arrays = itch50.read(day)
    assert report.rows == report.messages == sum(map(len, arrays.values()))
    readers: dict[str, Any] = {"parquet": polars.read_parquet, "arrow": polars.read_ipc, "csv": polars.read_csv}
    for name, array in arrays.items():
        found = list((tmp_path / "out" / name).rglob(f"*.{ending}")) if len(array) else []
        assert [path.parent.name for path in found] == ["date=2026-01-05"] * bool(len(array))
        if not found:
            continue
        kinds: dict[str, Any] = {}
        if ending == "csv":
            kinds = {"infer_schema_length": None, "schema_overrides": dict.fromkeys(_texts(name), polars.String)}
        table = readers[ending](found[0], **kinds)
        assert table["sequence"].to_list() == array["seq"].tolist()
        for field in array.dtype.names[1:]:
            column, raw = table[field], array[field]
            if raw.dtype.kind == "S":
                assert [v or "" for v in column.cast(polars.String)] == [v.decode() for v in raw.tolist()], field
            else:
                assert column.to_list() == [None if v == PRICE_NONE else v for v in raw.tolist()], field
        if ending == "parquet" and "stock" in table.columns and "locate" in table.columns:
            assert table["symbol"].cast(polars.String).to_list() == table["stock"].cast(polars.String).to_list()
            assert table["ts_event"].cast(polars.Int64).to_list() == (array["timestamp"] + MIDNIGHT).tolist()


def _texts(name: str) -> list[str]:
    message = itch50.PROTOCOL.by_name[name]
    return [field.name for field in message.layout.values() if field.type.kind in ("char", "alpha")]


def test_messages_of_some_symbols(day: Path, tmp_path: Path) -> None:
    convert.convert([day], tmp_path / "out", convert.Options(kind="messages", symbols=("AAPL",)), partition=[])
    executed = polars.read_parquet(tmp_path / "out/order_executed/day.parquet")
    assert set(executed["symbol"].cast(polars.String)) == {"AAPL"}
    locates = {int(row["locate"]) for row in itch50.read(day)["stock_directory"] if row["stock"] == b"AAPL"}
    assert set(executed["locate"]) == locates
    assert not (tmp_path / "out/system_event").exists()


@pytest.mark.real_data
def test_messages_that_name_symbols_themselves(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "iex/DEEP10-20170425-12-sessions.pcap.gz"
    report = convert.convert([source], tmp_path, convert.Options(kind="messages", symbols=("ZIEXT",)), partition=[])
    arrays = iex_deep.read(source, strict=False)
    wanted = sum(int((a["symbol"] == b"ZIEXT").sum()) for a in arrays.values() if "symbol" in a.dtype.names)
    assert report.rows == wanted > 1000
