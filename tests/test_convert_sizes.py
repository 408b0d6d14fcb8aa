"""Sizes of crypto days: one unit for all instruments, which the files tell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from splicer_world import World

import feedhandler
from feedhandler import convert
from feedhandler.cli import main
from feedhandler.convert.columns import SIZE_EXPONENT, Names
from feedhandler.errors import ConfigError
from feedhandler.records import PRICE_NONE, SIZE_REST


def names_of(*exponents: int) -> Names:
    """Instruments 1, 2, … with sizes in these units."""
    world = World("binance")
    rows = [{"symbol": f"COIN{n}", "size_exponent": exponent} for n, exponent in enumerate(exponents)]
    world.control({"rest": "instruments", "body": rows})
    names = Names(size_exponent=SIZE_EXPONENT)
    names.update(world.segment)
    return names


def block(sizes: list[int], name: str = "size", action: str = "M") -> dict[str, Any]:
    return {
        "instrument": np.arange(len(sizes), dtype=np.uint32),
        "price": np.full(len(sizes), PRICE_NONE, np.int64),
        "action": np.full(len(sizes), ord(action), np.uint8),
        name: np.array(sizes, np.uint64),
    }


@pytest.mark.parametrize("name", ["size", "volume", "buy_volume", "sell_volume", "bid_sz_00", "ask_sz_09"])
def test_sizes_are_brought_to_one_unit(name: str) -> None:
    names = names_of(-8, -4)
    assert names.in_one_unit(block([5, 6, 7], name))[name].tolist() == [5, 6, 70_000]
    large = names.in_one_unit(block([SIZE_REST, 2**63, 2**60], name))[name].tolist()
    assert large == [SIZE_REST, 2**63, SIZE_REST] and names.unfit_sizes == 1


def test_what_is_no_size_stays_as_it_is() -> None:
    names = names_of(-8, -4)
    assert names.in_one_unit(block([1, 2, 10], action="N"))["size"].tolist() == [1, 2, 10]


def test_a_finer_unit_is_refused_by_its_symbol() -> None:
    names = names_of(-8, -10)
    with pytest.raises(ConfigError, match="COIN1's sizes is finer than 1e-8"):
        names.in_one_unit(block([1, 2, 3]))


def test_files_and_tables_of_a_crypto_day_say_their_exponents(tmp_path: Path) -> None:
    rest = {"lastUpdateId": 7, "bids": [["61.5", "2.25"]], "asks": [["62.5", "0.5"]]}
    depth = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": 8, "u": 9, "b": [["61.5", "3.5"]], "a": []}
    sold = {"e": "trade", "E": 5, "s": "BTCUSDT", "t": 11, "p": "61.5", "q": "0.25", "T": 4, "m": True}
    said = [rest, *({"stream": "btcusdt@depth", "data": data} for data in (depth, sold))]
    log = tmp_path / "btcusdt.log"
    log.write_text("".join(f"{1723161253208000000 + n} {json.dumps(text)}\n" for n, text in enumerate(said)))
    with pytest.raises(SystemExit, match="0"):
        main(["import", str(log), "--to", str(tmp_path / "days"), "--protocol", "binance"])
    [day] = (tmp_path / "days").iterdir()
    table = feedhandler.load(day, kind="trades")
    assert table["size"].to_pylist() == [25_000_000] and table.schema.field("size").metadata == {
        b"size_exponent": b"-8"
    }
    convert.convert([day], tmp_path / "books.parquet", convert.Options(kind="book", depth=1))
    schema = pq.read_schema(tmp_path / "books.parquet")
    [size] = [name for name in schema.names if name.startswith("bid_sz_")]
    assert schema.field(size).metadata[b"size_exponent"] == b"-8"
    assert schema.field(size.replace("sz", "px")).metadata[b"price_exponent"] == b"-9"
