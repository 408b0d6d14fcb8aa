"""Conversions: what stands in the files is what the plain reference says, whole or not there at all."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow.parquet as pq
import pytest

import feedhandler
from feedhandler import convert
from feedhandler.book.reference import ReferenceBooks
from feedhandler.decode import interpret, itch50
from feedhandler.errors import CaptureError, ConfigError, RecordingError
from feedhandler.records import EVENT, Flag, Quality
from feedhandler.simulate import Exchange, write

MESSAGES = 3000


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day as a capture of two lines."""
    path = tmp_path_factory.mktemp("day") / "day.pcapng"
    write(path, Exchange(symbols=5, seed=3, messages=MESSAGES))
    return path


def reference(path: Path) -> tuple[list[dict[str, Any]], list[int], list[str]]:
    """Every event of a file of messages after the plain book: (events, quality of its book after each, names)."""
    data = gzip.decompress(path.read_bytes())
    wires, at = [], 0
    while at + 2 < len(data) and (length := int.from_bytes(data[at : at + 2], "big")):
        wires.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    interpreter = interpret.Interpreter(itch50.PROTOCOL)
    made = interpreter.decode_bytes(wires)
    names = [""] + [symbol for symbol, _ in interpreter.instruments]
    books = ReferenceBooks(len(names), 2_000_000, crossed_ns=2**62)  # as the configuration has it: off
    events: list[dict[str, Any]] = []
    quality: list[int] = []
    message: list[dict[str, Any]] = []
    for row in made:
        message.append({name: int(row[name]) for name in EVENT.names})
        if message[-1]["flags"] & Flag.LAST:
            books.apply(message, len(events) + 1)
            for event in message:
                book = books.books.get(event["instrument"])
                quality.append(int(Quality.LIVE if book is None else book.quality))
            events += message
            message = []
    return events, quality, names


def columns(events: list[dict[str, Any]], name: str) -> list[Any]:
    return [event[name] for event in events]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bats-part1", "ritch-synthetic-3-stocks"])
def test_events_are_those_of_the_plain_reference(shared_data: Path, tmp_path: Path, name: str) -> None:
    source, out = shared_data / f"itch50/derived/{name}.itch.gz", tmp_path / "events.parquet"
    report = convert.convert([source], out, convert.Options(protocol="itch50", day=None))
    events, quality, names = reference(source)
    read = polars.read_parquet(out)
    assert len(read) == report.rows
    assert len(events) + 1 <= len(read) <= len(events) + 2  # with the session's begin and, where marked, end
    read = read.slice(1, len(events))
    for column, field in {"sequence": "channel_seq", "order_id": "order_id", "size": "size", "flags": "flags"}.items():
        assert read[column].to_list() == columns(events, field), column
    assert read["price"].to_list() == [p if p != -(2**63) else None for p in columns(events, "price")]
    assert read["action"].cast(polars.String).to_list() == [chr(a) for a in columns(events, "action")]
    assert read["side"].cast(polars.String).to_list() == [chr(a) for a in columns(events, "side")]
    assert read["symbol"].cast(polars.String).to_list() == [names[i] or None for i in columns(events, "instrument")]
    assert read["quality"].cast(polars.String).to_list() == [Quality(q).name.lower() for q in quality]
    assert read["ts_event"].cast(polars.Int64).to_list() == [ts or None for ts in columns(events, "ts_event")]


def test_duckdb_reads_what_polars_reads(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"
    convert.convert([day], out)
    ours = polars.read_parquet(out)
    theirs = duckdb.sql(f"select symbol, count(*) n, sum(size) size, min(price) low from '{out}' group by 1 order by 1")
    mine = ours.group_by(ours["symbol"].cast(polars.String)).agg(
        polars.len().alias("n"), polars.col("size").sum(), polars.col("price").min().alias("low")
    )
    rows = sorted(theirs.fetchall(), key=str)
    assert rows == sorted(mine.rows(), key=str)
    assert len(rows) == 6  # five symbols, and the channel as a whole


def test_parquet_has_statistics_zstd_and_what_it_is(day: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.parquet"
    report = convert.convert([day], out)
    meta = pq.read_metadata(out)
    column = {meta.row_group(0).column(i).path_in_schema: meta.row_group(0).column(i) for i in range(meta.num_columns)}
    assert {c.compression for c in column.values()} == {"ZSTD"}
    assert all(c.is_stats_set for c in column.values())
    assert column["symbol"].statistics.min and meta.num_rows == report.rows
    schema = pq.read_schema(out)
    assert schema.metadata[b"feedhandler.options"] == b'{"kind": "events", "prices": "nano"}'
    assert schema.field("price").metadata[b"price_exponent"] == b"-9"
    assert str(schema.field("symbol").type).startswith("dictionary")


@pytest.mark.parametrize("prices", ["nano", "decimal", "float"])
def test_prices_are_whole_decimal_or_float(day: Path, prices: Any) -> None:
    nano = feedhandler.load(day)["price"].to_pylist()
    read = feedhandler.load(day, prices=prices)["price"].to_pylist()
    scale = {"nano": 1, "decimal": 10**9, "float": 1}[prices]
    expected = [None if p is None else p / 1e9 for p in nano] if prices == "float" else nano
    assert [None if p is None else p * scale for p in read] == expected


def plain(table: Any) -> dict[str, list[Any]]:
    """The columns as lists; times in ns, which is quick."""
    times = ("ts_event", "ts_recv")
    return {n: (table[n].cast("int64") if n in times else table[n]).to_pylist() for n in table.column_names}


def test_load_reads_recordings_and_what_was_made_of_them(day: Path, tmp_path: Path) -> None:
    outs = tmp_path / "a.parquet", tmp_path / "a.arrow"
    for out in outs:
        convert.convert([day], out)
    for how in ({}, {"symbols": "AAPL"}, {"symbols": ["AAPL@XNAS", "MSFT"]}):
        wanted = plain(feedhandler.load(day, **how))  # type: ignore[arg-type]
        for out in outs:
            assert plain(feedhandler.load(out, **how)) == wanted  # type: ignore[arg-type]
    frame = feedhandler.load(day, engine="polars", symbols="AAPL")
    assert set(frame["symbol"].cast(polars.String)) == {"AAPL", None}
    assert len(feedhandler.load(day, engine="pandas", symbols="AAPL")) == len(frame)


def test_load_takes_times(day: Path, tmp_path: Path) -> None:
    whole = feedhandler.load(day)
    times = whole["ts_recv"].cast("int64").to_numpy()
    first, last = int(times[len(times) // 3]), int(times[len(times) // 2])
    assert 0 < (wanted := int(((times >= first) & (times < last)).sum())) < len(times)
    part = feedhandler.load(day, start=first, end=last)
    assert part.num_rows == wanted
    text = f"{np.datetime64(first, 'ns')}Z"
    assert feedhandler.load(day, start=text, end=last).equals(part)
    convert.convert([day], tmp_path / "a.parquet")
    assert plain(feedhandler.load(tmp_path / "a.parquet", start=text, end=last)) == plain(part)


def refused(call: Callable[[], Any], *words: str, error: type[Exception] = ConfigError) -> None:
    with pytest.raises(error) as raised:
        call()
    assert all(word in str(raised.value) for word in words), raised.value


def test_what_cannot_be_is_said_in_a_sentence(day: Path, tmp_path: Path) -> None:
    convert.convert([day], tmp_path / "a.parquet")
    polars.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    refused(lambda: convert.convert([day], tmp_path / "a.xlsx"), ".parquet", ".arrow")
    refused(lambda: convert.Options(kind="depth"), "events, book")  # type: ignore[arg-type]
    refused(lambda: convert.Options(sample="1s"), "books and bars")
    refused(lambda: convert.Options(kind="book", sample="soon"), "every", "250ms")
    refused(lambda: feedhandler.load(day, engine="dask"), "polars")  # type: ignore[arg-type]
    refused(lambda: feedhandler.load(day, start="noon"), "ISO time", "'noon'", error=RecordingError)
    refused(lambda: feedhandler.load(tmp_path / "a.parquet", start="noon"), "ISO time", "'noon'")
    refused(lambda: feedhandler.load(tmp_path / "a.parquet", kind="trades"), "holds events, not trades")
    refused(lambda: feedhandler.load(tmp_path / "other.parquet"), "not made by")
    refused(lambda: feedhandler.load(day, kind="messages"), "a table for each type")
    refused(lambda: feedhandler.load([tmp_path / "a.parquet", day]), "not both")
    (tmp_path / "text.itch").write_text("hello, this is no capture at all")
    refused(lambda: convert.convert([tmp_path / "text.itch"], tmp_path / "b.parquet"), "neither", error=CaptureError)
    assert not list(tmp_path.glob("*b.parquet*"))
