"""DBN that we write, as databento-dbn reads it: each field of each record beside the plain reference."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import databento_dbn as dbn
import numpy as np
import pytest
import zstandard

import feedhandler
from feedhandler import convert
from feedhandler.convert import dbn as ours
from feedhandler.convert.columns import Names
from feedhandler.errors import ConfigError
from feedhandler.records import PRICE_NONE
from feedhandler.simulate import Exchange, write

PRICE = 10**9


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.pcapng"
    write(path, Exchange(symbols=4, seed=11, messages=4000))
    return path


def records(path: Path) -> tuple[Any, list[Any]]:
    """(metadata, records) of a DBN file."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    decoder = dbn.DBNDecoder(upgrade_policy=dbn.VersionUpgradePolicy.AS_IS)
    decoder.write(data)
    metadata, *rest = decoder.decode()
    assert decoder.buffer() == b""  # to the last byte
    return metadata, rest


def undefined(price: int | None) -> int:
    return int(dbn.UNDEF_PRICE) if price is None else price


@pytest.mark.parametrize("ending", [".dbn", ".dbn.zst"])
@pytest.mark.parametrize("version", [2, 3])
def test_mbo_field_by_field(day: Path, tmp_path: Path, ending: str, version: int) -> None:
    out = tmp_path / f"events{ending}"
    report = convert.convert([day], out, convert.Options(dbn=version))
    metadata, found = records(out)
    rows = [row for row in feedhandler.load(day).to_pylist() if row["symbol"] is not None and row["action"] != "S"]
    assert len(found) == len(rows) == report.rows > 3000
    ids = {symbol: [int(i["symbol"]) for i in intervals] for symbol, intervals in metadata.mappings.items()}
    for record, row in zip(found, rows, strict=True):
        assert isinstance(record, dbn.MBOMsg) and record.rtype == dbn.RType.MBO
        assert [record.instrument_id] == ids[row["symbol"]]
        assert (str(record.action), str(record.side)) == (row["action"], row["side"])
        assert record.price == undefined(row["price"])
        assert (record.size, record.order_id) == (row["size"], row["order_id"])
        assert (record.ts_event, record.ts_recv) == (row["ts_event"].value, row["ts_recv"].value)
        assert record.ts_in_delta == row["ts_recv"].value - row["ts_event"].value
        assert (record.sequence, record.channel_id, record.publisher_id) == (row["sequence"], 0, 2)
        assert int(record.flags) == row["flags"]  # every book is LIVE
    assert (metadata.version, metadata.dataset, str(metadata.schema)) == (version, "XNAS.ITCH", "mbo")
    assert (str(metadata.stype_in), str(metadata.stype_out)) == ("raw_symbol", "instrument_id")
    assert metadata.start == found[0].ts_recv and metadata.end == found[-1].ts_recv + 1
    assert set(metadata.symbols) == set(metadata.mappings) == {row["symbol"] for row in rows}
    for symbol, intervals in metadata.mappings.items():
        last = max(row["ts_recv"] for row in rows if row["symbol"] == symbol).date()  # UTC, as Databento counts days
        assert [(i["start_date"], i["end_date"]) for i in intervals] == [(date(2026, 1, 5), last + timedelta(days=1))]


def test_metadata_is_that_of_the_reference_implementation() -> None:
    class Interval:
        start_date, end_date, symbol = date(2026, 1, 5), date(2026, 1, 7), "17"

    class Mapping:
        raw_symbol, intervals = "AAPL", (Interval,)

    for version in ours.VERSIONS:
        theirs = dbn.Metadata(
            dataset="XNAS.ITCH",
            start=5,
            end=9,
            stype_in=dbn.SType.RAW_SYMBOL,
            stype_out=dbn.SType.INSTRUMENT_ID,
            schema=dbn.Schema.MBO,
            symbols=["AAPL"],
            mappings=[Mapping],
            version=version,
        )
        made = ours.metadata("XNAS.ITCH", 0, 5, 9, {"AAPL": [(date(2026, 1, 5), date(2026, 1, 7), 17)]}, version)
        assert made == bytes(theirs), version


def test_mbp10_field_by_field(day: Path, tmp_path: Path) -> None:
    """The last record of each message shows the book that a row of `book` shows; others the book before it."""
    out = tmp_path / "book.dbn"
    report = convert.convert([day], out, convert.Options(kind="book"))
    metadata, found = records(out)
    assert str(metadata.schema) == "mbp-10" and len(found) == report.rows
    names = {int(i["symbol"]): symbol for symbol, intervals in metadata.mappings.items() for i in intervals}
    books = {(row["symbol"], row["sequence"]): row for row in feedhandler.load(day, kind="book").to_pylist()}
    events = feedhandler.load(day).to_pylist()
    sent = {(row["symbol"], row["sequence"], row["action"]): row for row in events}
    levels: dict[str, list[tuple[int, ...]]] = {}
    whole = 0
    for record in found:
        assert isinstance(record, dbn.MBP10Msg)
        symbol = names[record.instrument_id]
        event = sent[symbol, record.sequence, str(record.action)]
        assert (record.price, record.size) == (undefined(event["price"]), event["size"])
        assert str(record.side) == event["side"]
        assert (record.ts_event, record.ts_recv) == (event["ts_event"].value, event["ts_recv"].value)
        shown = [(p.bid_px, p.ask_px, p.bid_sz, p.ask_sz, p.bid_ct, p.ask_ct) for p in record.levels]
        if int(record.flags) & 128:
            row = books.get((symbol, record.sequence))
            if row is not None:
                levels[symbol] = [
                    tuple(
                        undefined(row[f"{side}_{what}_{i}"]) if what == "px" else row[f"{side}_{what}_{i}"]
                        for what in ("px", "sz", "ct")
                        for side in ("bid", "ask")
                    )
                    for i in range(10)
                ]
                whole += 1
            if str(record.action) in "AM":
                prices = [pair[str(record.side) == "A"] for pair in shown]
                assert prices[record.depth] == record.price
        if symbol in levels:
            assert shown == levels[symbol]
    assert whole > 1000


def test_trades_and_bars(day: Path, tmp_path: Path) -> None:
    convert.convert([day], tmp_path / "trades.dbn", convert.Options(kind="trades"))
    metadata, found = records(tmp_path / "trades.dbn")
    rows = [row for row in feedhandler.load(day, kind="trades").to_pylist() if row["action"] == "T"]
    assert str(metadata.schema) == "trades" and rows
    assert [(r.price, r.size, str(r.side), r.sequence) for r in found] == [
        (undefined(r["price"]), r["size"], r["side"], r["sequence"]) for r in rows
    ]
    convert.convert([day], tmp_path / "bars.dbn", convert.Options(kind="bars", sample="1h"))
    metadata, found = records(tmp_path / "bars.dbn")
    rows = feedhandler.load(day, kind="bars", sample="1h").to_pylist()
    assert str(metadata.schema) == "ohlcv-1h" and rows
    assert [(r.ts_event, r.open, r.high, r.low, r.close, r.volume) for r in found] == [
        (r["ts"].value, *(undefined(r[name]) for name in ("open", "high", "low", "close")), r["volume"]) for r in rows
    ]


def block(**columns: Any) -> dict[str, Any]:
    """Rows of events: `columns` by name, all else as an ordinary add has it."""
    plain: dict[str, tuple[Any, Any]] = {
        "ts_event": (np.int64, 1_700_000_000 * PRICE),
        "ts_recv": (np.int64, 1_700_000_001 * PRICE),
        "instrument": (np.uint32, 1),
        "sequence": (np.uint64, 7),
        "action": (np.uint8, ord("A")),
        "side": (np.uint8, ord("B")),
        "price": (np.int64, 5 * PRICE),
        "size": (np.uint64, 100),
        "order_id": (np.uint64, 3),
        "flags": (np.uint8, 128),
        "line": (np.uint8, 0),
        "channel": (np.uint8, 0),
        "quality": (np.uint8, 0),
    }
    rows = max([len(values) for values in columns.values()], default=1)
    return {name: np.array(columns.get(name, [value] * rows), kind) for name, (kind, value) in plain.items()}


def names_of(*symbols: str) -> Names:
    names = Names(channels=["c"])
    for symbol in symbols:
        names.symbols.append(symbol)
        names.venues.append("XNAS")
        names.by_index.append((symbol, "XNAS"))
        names.channel_of.append(0)
        names.used += 1
    return names


def written(tmp_path: Path, names: Names, *blocks: dict[str, Any]) -> tuple[list[Any], list[str]]:
    sink = ours.DbnFile(tmp_path / "x.dbn", names, convert.Options(dbn=3))
    for one in blocks:
        sink.write(one)
    sink.close()
    return records(tmp_path / "x.dbn")[1], sink.notes


def test_what_dbn_cannot_hold_is_counted_and_said(tmp_path: Path) -> None:
    names = names_of("A")
    sizes = [2**32 - 2, 2**32 - 1, 2**40]
    found, notes = written(tmp_path, names, block(size=sizes, price=[PRICE_NONE, 1, -1], sequence=[2**32 + 5, 6, 7]))
    assert [record.size for record in found] == [2**32 - 2, dbn.UNDEF_ORDER_SIZE, dbn.UNDEF_ORDER_SIZE]
    assert [record.price for record in found] == [dbn.UNDEF_PRICE, 1, -1]
    assert [record.sequence for record in found] == [5, 6, 7]
    assert any("2 sizes do not fit" in note for note in notes) and any("1 sequence numbers" in note for note in notes)


def test_a_book_that_is_not_live_is_flagged_and_a_missing_time_too(tmp_path: Path) -> None:
    found, _ = written(
        tmp_path, names_of("A"), block(quality=[0, 2, 0], ts_recv=[PRICE, PRICE, 0], flags=[128, 128, 0])
    )
    assert [int(record.flags) for record in found] == [128, 128 | 4, 8]
    assert found[2].ts_recv == found[2].ts_event


def test_a_reset_of_the_channel_is_one_of_each_instrument(tmp_path: Path) -> None:
    first = block(instrument=[0, 1, 2, 0, 2, 0], action=[ord(letter) for letter in "RAANAR"])
    second = block(instrument=[3, 0, 1], action=[ord(letter) for letter in "ARS"])
    found, notes = written(tmp_path, names_of("A", "B", "C"), first, second)
    assert [(str(record.action), record.instrument_id) for record in found] == [
        ("A", 1), ("A", 2), ("A", 2), ("R", 1), ("R", 2), ("A", 3), ("R", 1), ("R", 2), ("R", 3),
    ]  # fmt: skip
    assert any("1 trading statuses" in note for note in notes)


def test_rows_without_a_schema_are_refused(day: Path, tmp_path: Path) -> None:
    for options in (
        convert.Options(kind="book", sample="1s"),
        convert.Options(kind="book", depth=5),
        convert.Options(kind="bars", sample="5m"),
        convert.Options(dbn=1),
    ):
        with pytest.raises(ConfigError, match="DBN"):
            convert.convert([day], tmp_path / "x.dbn", options)
    assert not list(tmp_path.iterdir())


@pytest.mark.real_data
@pytest.mark.parametrize("which", ["20231224", "20231225"])
def test_derived_captures_go_back_to_the_dbn_they_were_made_of(shared_data: Path, tmp_path: Path, which: str) -> None:
    """ITCH made of a real CME day, converted back: what both formats can say is the same.

    ITCH has other order ids, no modify (a replace is C and A), and its own times of day, so what is compared are the
    resting orders: side, price and size of every add in order, and the book that is left.
    """
    original = shared_data / f"dbn/esh4-glbx-mdp3-{which}.mbo.dbn.zst"
    _, theirs = records(original)
    out = tmp_path / "back.dbn"
    convert.convert(
        [shared_data / f"itch50/derived/esh4-{which}.itch.gz"], out, convert.Options(day=date(2023, 12, 25))
    )
    metadata, mine = records(out)
    assert metadata.symbols == ["ESH4"]
    live: dict[int, list[Any]] = {}
    added = []
    for record in theirs:  # as tools/derive_itch.py reads it
        action, order, size = str(record.action), record.order_id, record.size
        price, side = record.price // 100_000 * 100_000, str(record.side)
        if action == "R":
            live.clear()
        elif action == "A" or (action == "M" and order not in live):
            live[order] = [side, price, size]
            added.append((side, price, size))
        elif action == "C" and order in live:
            live[order][2] -= size
            if live[order][2] <= 0:
                del live[order]
        elif action == "M":
            if price != live[order][1] or size >= live[order][2]:  # it loses its place: a replace
                added.append((live[order][0], price, size))
            live[order] = [live[order][0], price, size]
    assert [(str(r.side), r.price, r.size) for r in mine if str(r.action) == "A"] == added
    left: dict[int, list[Any]] = {}
    for record in mine:
        if str(record.action) == "A":
            left[record.order_id] = [str(record.side), record.price, record.size]
        elif str(record.action) == "C":
            left[record.order_id][2] -= record.size
            if left[record.order_id][2] == 0:
                del left[record.order_id]
    assert sorted(map(tuple, left.values())) == sorted(map(tuple, live.values()))
