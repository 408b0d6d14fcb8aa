"""Blocks of a collector as Arrow record batches: words for codes, nulls for what is not there, prices as asked for.

Numbers are handed over as they lie in memory; codes (action, side, quality, …) become dictionaries of words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from feedhandler.convert.optional import library
from feedhandler.errors import ConfigError
from feedhandler.records import PRICE_NONE, SIZE_REST, Quality, Reason, Trading

if TYPE_CHECKING:
    import pyarrow as pa

    from feedhandler.convert.options import Options, Prices
    from feedhandler.publish import Segment

Array = np.ndarray[Any, np.dtype[Any]]
Block = dict[str, Array]
TIMES = frozenset({"ts", "ts_event", "ts_recv"})
ACTIONS, SIDES = "ACMFTRSN", "BAN"
WORDS: dict[str, list[str]] = {
    "quality": [quality.name.lower() for quality in Quality],
    "reason": [reason.name.lower() for reason in Reason],
    "trading": [trading.name.lower() for trading in Trading],
}
"""Columns whose numbers have names, in the order of the numbers."""
LETTERS = {"action": ACTIONS, "side": SIDES}
PRICE_EXPONENT = -9
PRICE = {"price_exponent": str(PRICE_EXPONENT), "none": "null"}
SIZE_EXPONENT = -8
"""Of the sizes of a day with channels of JSON texts; all others are whole numbers."""
UNSIZED = np.frombuffer(b"NS", np.uint8)
"""Actions whose `size` is no size of an instrument."""
SCHEMA = "1"


class Words:
    """A column of names by instrument, as a dictionary that only grows: (codes, words), each word once."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._place: dict[str, int] = {}
        self._codes = np.full(64, -1, np.int32)
        self._used = 1  # instrument 0 is nobody, and has no name

    def append(self, word: str) -> None:
        """The next instrument's name."""
        if self._used == len(self._codes):
            self._codes = np.concatenate((self._codes, np.full(len(self._codes), -1, np.int32)))
        if word not in self._place:
            self._place[word] = len(self.words)
            self.words.append(word)
        self._codes[self._used] = self._place[word]
        self._used += 1

    def codes(self, instruments: Array) -> Array:
        """The code of each instrument's name; -1 of instrument 0."""
        found: Array = self._codes[instruments]
        return found


@dataclass
class Names:
    """The instruments named so far: they are only ever added to, and an index keeps its name."""

    symbols: Words = field(default_factory=Words)
    venues: Words = field(default_factory=Words)
    channels: list[str] = field(default_factory=list)
    used: int = 1
    channel_of: list[int] = field(default_factory=lambda: [-1])
    """Of each instrument."""
    by_index: list[tuple[str, str]] = field(default_factory=lambda: [("", "")])
    """(symbol, venue) of each instrument."""
    units: list[int] = field(default_factory=lambda: [1])
    """Of each instrument: its unit of price in 1e-9; 0: it is finer than that."""
    size_exponent: int = 0
    """Unit of all sizes, whatever the instruments' own are."""
    size_units: list[int] = field(default_factory=lambda: [1])
    """Of each instrument: its unit of size in that; 0: it is finer."""
    uneven: bool = field(init=False)
    """Some instrument's unit is another than that of all."""
    unfit: int = 0
    """Prices that int64 cannot hold in 1e-9, which became nulls."""
    unfit_sizes: int = 0
    """Sizes that uint64 cannot hold in the unit of all, which became nulls."""

    def __post_init__(self) -> None:
        self.uneven = any(unit != 1 for unit in (*self.units, *self.size_units))

    def update(self, segment: Segment) -> None:
        """Take what the directory has more by now."""
        used = int(segment.part("directory")["used"][0])
        for record in segment.directory[self.used : used]:
            symbol, venue = record["symbol"].decode("latin1"), record["venue"].decode("latin1")
            self.by_index.append((symbol, venue))
            finer = int(record["price_exponent"]) - PRICE_EXPONENT
            self.units.append(10**finer if finer >= 0 else 0)
            coarser = int(record["size_exponent"]) - self.size_exponent
            self.size_units.append(10**coarser if coarser >= 0 else 0)
            self.uneven = self.uneven or finer != 0 or coarser != 0
            self.channel_of.append(int(record["channel"]))
            self.symbols.append(symbol)
            self.venues.append(venue)
        self.used = max(used, self.used)

    def in_one_unit(self, block: Block) -> Block:
        """The block with all prices in 1e-9 and all sizes in 10^size_exponent; as it is where they are.

        So are blocks without instruments: a message's own fields, in the units of its protocol's table. Raises
        ConfigError for rows of an instrument whose units are finer.
        """
        if not self.uneven or "instrument" not in block:
            return block
        block = self._priced(block, self._of_rows(block, self.units, "prices", PRICE_EXPONENT))
        return self._sized(block, self._of_rows(block, self.size_units, "sizes", self.size_exponent))

    def _of_rows(self, block: Block, units: list[int], what: str, exponent: int) -> Array:
        of_row: Array = np.array(units, np.int64)[block["instrument"]]
        if not np.all(of_row):
            symbol, _ = self.by_index[int(block["instrument"][np.argmin(of_row)])]
            raise ConfigError(
                f"convert: the unit of {symbol}'s {what} is finer than 1e{exponent}, which is what is written; "
                "leave it out by --symbols"
            )
        return of_row

    def _sized(self, block: Block, of_row: Array) -> Block:
        factors = of_row.astype(np.uint64)
        if "action" in block:
            factors = np.where(np.isin(block["action"], UNSIZED), np.uint64(1), factors)
        made = dict(block)
        for name, values in block.items():
            if is_size(name):
                fits = values <= np.uint64(SIZE_REST) // factors
                self.unfit_sizes += int(np.count_nonzero(~fits & (values != SIZE_REST)))
                made[name] = np.where(fits, values * factors, np.uint64(SIZE_REST))
        return made

    def _priced(self, block: Block, of_row: Array) -> Block:
        made = dict(block)
        for name, values in block.items():
            if name == "vwap":
                made[name] = values * of_row
            elif is_price(name):
                fits = np.abs(values) <= np.iinfo(np.int64).max // of_row
                self.unfit += int(np.count_nonzero(~fits & (values != PRICE_NONE)))
                made[name] = np.where(fits & (values != PRICE_NONE), values * np.where(fits, of_row, 1), PRICE_NONE)
        return made


def is_price(name: str) -> bool:
    """The column holds prices."""
    return name in ("price", "open", "high", "low", "close") or name.startswith(("bid_px_", "ask_px_"))


def is_size(name: str) -> bool:
    """The column holds sizes."""
    return name in ("size", "volume", "buy_volume", "sell_volume") or name.startswith(("bid_sz_", "ask_sz_"))


class Arrow:
    """Makes record batches of one schema out of blocks. Raises BackendError where pyarrow is missing."""

    def __init__(self, names: Names, options: Options) -> None:
        self.pa: Any = library("pyarrow", "Arrow and Parquet")
        self._names = names
        self._prices: Prices = options.prices
        self.about = {"feedhandler.schema": SCHEMA, "feedhandler.options": json.dumps(describe(options))}
        self._letters = {name: _letter_table(letters) for name, letters in LETTERS.items()}
        self._dictionaries: dict[str, tuple[int, pa.Array]] = {}

    def _words(self, name: str, words: Sequence[str]) -> pa.Array:
        """Words as an array, made once; made anew when there are more of them.

        By hand: pa.array() would import pandas, where it is installed, for a third of a second.
        """
        made = self._dictionaries.get(name)
        if made is None or made[0] != len(words):
            packed = [word.encode() for word in words]
            ends = np.cumsum([0, *map(len, packed)], dtype=np.int32)
            data = self.pa.py_buffer(b"".join(packed))
            array = self.pa.Array.from_buffers(self.pa.string(), len(packed), [None, self.pa.py_buffer(ends), data])
            made = self._dictionaries[name] = (len(packed), array)
        return made[1]

    def batch(self, block: Block) -> pa.RecordBatch:
        """The block as a record batch."""
        arrays: dict[str, pa.Array] = {}
        if "ts" in block:
            block = {"ts": block["ts"], **block}
        for name, values in block.items():
            if name == "instrument":
                arrays["symbol"] = self.named("symbol", values, self._names.symbols)
                arrays["venue"] = self.named("venue", values, self._names.venues)
            else:
                arrays[name] = self.column(name, values)
        fields = [self.pa.field(name, array.type, metadata=self._field_about(name)) for name, array in arrays.items()]
        schema = self.pa.schema(fields, metadata=self.about)
        return self.pa.record_batch(list(arrays.values()), schema=schema)

    def _field_about(self, name: str) -> dict[str, str] | None:
        if is_size(name):
            return {"size_exponent": str(self._names.size_exponent)}
        return PRICE if is_price(name) and self._prices == "nano" else None

    def column(self, name: str, values: Array) -> pa.Array:
        """A column by its name."""
        pa = self.pa
        if name in TIMES:
            return self._array(pa.timestamp("ns", tz="UTC"), values, values != 0)
        if is_price(name):
            return self.prices(values)
        if name in WORDS:
            return pa.DictionaryArray.from_arrays(self._array(pa.int8(), values), self._words(name, WORDS[name]))
        if name in LETTERS:
            codes = self._letters[name][values]
            return pa.DictionaryArray.from_arrays(self._array(pa.int8(), codes), self._words(name, LETTERS[name]))
        if name == "channel":
            return pa.DictionaryArray.from_arrays(
                self._array(pa.int8(), values), self._words(name, self._names.channels)
            )
        if name == "vwap":
            return self._array(pa.float64(), values, values != 0)
        if is_size(name):
            return self._array(pa.uint64(), values, values != SIZE_REST)
        return self._array(pa.from_numpy_dtype(values.dtype), values)

    def prices(self, values: Array) -> pa.Array:
        """Prices as asked for; PRICE_NONE is null."""
        known = values != PRICE_NONE
        if self._prices == "float":
            return self._array(self.pa.float64(), values / 1e9, known)
        if self._prices == "decimal":
            wide = np.empty((len(values), 2), np.int64)
            wide[:, 0], wide[:, 1] = values, values >> 63
            wide[~known] = 0
            return self._array(self.pa.decimal128(19, 9), wide, known)
        return self._array(self.pa.int64(), values, known)

    def named(self, name: str, values: Array, words: Words) -> pa.Array:
        """A dictionary of all names so far: it only grows, so one stream of batches can follow it."""
        codes = words.codes(values)
        known = self._words(name, list(words.words))
        return self.pa.DictionaryArray.from_arrays(self._array(self.pa.int32(), codes, codes >= 0), known)

    def _array(self, kind: pa.DataType, values: Array, known: Array | None = None) -> pa.Array:
        """The numbers as they lie in memory; those not `known` are null."""
        valid, nulls = None, 0
        if known is not None and (nulls := len(known) - int(np.count_nonzero(known))):
            valid = self.pa.py_buffer(np.packbits(known, bitorder="little"))
        data = self.pa.py_buffer(np.ascontiguousarray(values))
        return self.pa.Array.from_buffers(kind, len(values), [valid, data], nulls)


def _letter_table(letters: str) -> Array:
    table = np.full(256, len(letters) - 1, np.int8)  # "N" is the last of each
    for code, letter in enumerate(letters):
        table[ord(letter)] = code
    return table


def describe(options: Options) -> dict[str, Any]:
    """What the options say about the rows, for the file's own metadata."""
    about: dict[str, Any] = {"kind": options.kind, "prices": options.prices}
    if options.kind in ("book", "bars"):
        about["sample"] = options.sample or ("1m" if options.kind == "bars" else "every")
        about["fill"] = options.fill
    if options.kind == "book":
        about["depth"] = options.depth
    return about
