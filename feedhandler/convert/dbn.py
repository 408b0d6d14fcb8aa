"""Databento DBN, versions 2 and 3, written by ourselves: MBO, MBP-10, trades and OHLCV.

Sources: the format's documentation (databento.com/docs, "DBN encoding") and the layouts of the reference
implementation (databento/dbn, `record.rs`, `encode/dbn/metadata.rs`). Little-endian throughout. A file is metadata,
which names symbols and their instrument ids, then records; since the symbols are known at the end only, records are
written first, beside, and put behind the metadata when the file is finished.
"""

from __future__ import annotations

import shutil
import struct
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np

from feedhandler.convert.columns import Array, Block, Names
from feedhandler.convert.files import Sink, Target, Written
from feedhandler.convert.options import Options, Sample
from feedhandler.errors import ConfigError
from feedhandler.records import PRICE_NONE, Flag, Quality

VERSIONS = (2, 3)
UNDEF_PRICE = 2**63 - 1
UNDEF_TIME = 2**64 - 1
UNDEF_SIZE = 2**32 - 1
SYMBOL_LENGTH = 71  # bytes of a symbol in the metadata, the terminating zero included
RAW_SYMBOL, INSTRUMENT_ID = 1, 0  # SType
BAD_TS_RECV, MAYBE_BAD_BOOK = 8, 4  # flags; those of ours with the same numbers mean the same
DEPTH = 10
PUBLISHERS = {
    "XNAS": (2, "XNAS.ITCH"),
    "XBOS": (3, "XBOS.ITCH"),
    "XPSX": (4, "XPSX.ITCH"),
    "BATS": (5, "BATS.PITCH"),
    "BATY": (6, "BATY.PITCH"),
    "EDGA": (7, "EDGA.PITCH"),
    "EDGX": (8, "EDGX.PITCH"),
    "XNYS": (9, "XNYS.PILLAR"),
    "XCIS": (10, "XCIS.PILLAR"),
    "XASE": (11, "XASE.PILLAR"),
    "XCHI": (12, "XCHI.PILLAR"),
    "MEMX": (15, "MEMX.MEMOIR"),
    "EPRL": (16, "EPRL.DOM"),
    "IEXG": (38, "IEXG.TOPS"),
    "XCME": (1, "GLBX.MDP3"),
}
"""Databento's publisher and dataset of a venue; others have publisher 0 and the venue as their dataset."""

_HEAD = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8")]
_TAIL = [("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4")]
_ORDER = [("order_id", "<u8"), ("price", "<i8"), ("size", "<u4"), ("flags", "u1"), ("channel_id", "u1")]
MBO = np.dtype([*_HEAD, *_ORDER, ("action", "u1"), ("side", "u1"), *_TAIL])
_MBP = [("price", "<i8"), ("size", "<u4"), ("action", "u1"), ("side", "u1"), ("flags", "u1"), ("depth", "u1"), *_TAIL]
_PAIR = [(f"{side}_px", "<i8") for side in ("bid", "ask")]
_PAIR += [(f"{side}_{what}", "<u4") for what in ("sz", "ct") for side in ("bid", "ask")]
TRADE = np.dtype([*_HEAD, *_MBP])
MBP10 = np.dtype([*_HEAD, *_MBP, ("levels", _PAIR, (DEPTH,))])
OHLCV = np.dtype([*_HEAD, *((name, "<i8") for name in ("open", "high", "low", "close")), ("volume", "<u8")])
assert [kind.itemsize for kind in (MBO, TRADE, MBP10, OHLCV)] == [56, 48, 368, 56]

BARS = {10**9: (32, 5), 60 * 10**9: (33, 6), 3600 * 10**9: (34, 7), 86400 * 10**9: (35, 8)}
"""By the step of bars: rtype and schema."""


def metadata(
    dataset: str,
    schema: int,
    start: int,
    end: int,
    mappings: dict[str, list[tuple[date, date, int]]],
    version: int = 3,
) -> bytes:
    """The metadata of a file. `mappings`: of each symbol its (first day, day after the last, instrument id)."""
    fixed = struct.pack(
        "<16sHQQQBBBH53x",
        dataset.encode()[:16],
        schema,
        start,
        end,
        0,
        RAW_SYMBOL,
        INSTRUMENT_ID,
        0,
        SYMBOL_LENGTH,
    )
    body = [fixed, struct.pack("<II", 0, len(mappings))]  # no schema definition; symbols
    body += [_symbol(name) for name in mappings]
    body.append(struct.pack("<III", 0, 0, len(mappings)))  # none partly known, none not found
    for name, intervals in mappings.items():
        body.append(_symbol(name) + struct.pack("<I", len(intervals)))
        for first, after, instrument in intervals:
            body.append(struct.pack("<II", _number(first), _number(after)) + _symbol(str(instrument)))
    whole = b"".join(body)
    if version >= 3:
        whole += bytes(-len(whole) % 8)  # so that records are aligned
    return b"DBN" + struct.pack("<BI", version, len(whole)) + whole


def _symbol(name: str) -> bytes:
    return name.encode()[: SYMBOL_LENGTH - 1].ljust(SYMBOL_LENGTH, b"\0")


def _number(day: date) -> int:
    return day.year * 10000 + day.month * 100 + day.day


def _day(ns: int) -> date:
    return datetime.fromtimestamp(ns // 10**9, UTC).date()


class DbnFile(Sink):
    """One DBN file: events as MBO, books as MBP-10, trades as trades, bars of 1 s, 1 m, 1 h, 1 d as OHLCV.

    `notes` says what the format could not hold. Raises ConfigError for rows that have no schema.
    """

    def __init__(self, path: Path, names: Names, options: Options) -> None:
        schema = {"events": 0, "book": 2, "trades": 4}.get(options.kind, -1)
        self._rtype = {"events": 160, "book": 10, "trades": 0}.get(options.kind, -1)
        if options.kind == "bars":
            self._rtype, schema = BARS.get(options.sampled.step, (-1, -1))
        if schema < 0 or (options.kind == "book" and (options.sampled != Sample() or options.depth != DEPTH)):
            raise ConfigError(
                f"{path}: DBN has schemas for events (MBO), book (MBP-10: every update, depth 10), trades, and bars of "
                f"1s, 1m, 1h and 1d; none for {options.kind}{options.sample and ' sampled ' + options.sample} of these "
                "options"
            )
        if options.dbn not in VERSIONS:
            raise ConfigError(f"{path}: DBN is written in version 2 or 3, not {options.dbn}")
        self._schema, self._kind, self._names, self._options = schema, options.kind, names, options
        self._target, self._packed = Target(path), path.suffix == ".zst"
        self._records = Target(path.with_name(f"{path.name}.records"))
        self._stream: IO[bytes] = self._open(self._records.partial)
        self._first, self._last = UNDEF_TIME, 0
        self._days: dict[int, tuple[int, int]] = {}  # of an instrument: first and last time
        self._seen: set[int] = set()
        self._lost: Counter[str] = Counter()

    def _open(self, path: Path) -> Any:
        if not self._packed:
            return path.open("wb")
        import zstandard

        return zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=self._options.level or 3))

    def write(self, block: Block) -> None:
        make: dict[str, Callable[[Block], Array]] = {
            "events": self._mbo,
            "book": self._mbp10,
            "trades": self._trades,
            "bars": self._ohlcv,
        }
        if not len(next(iter(block.values()))):
            return
        made = make[self._kind](block)
        self._note_times(made)
        self._stream.write(made.tobytes())
        self._target.rows += len(made)

    def close(self) -> list[Written]:
        self._stream.close()
        self._stream = self._open(self._target.partial)
        start = 0 if self._first == UNDEF_TIME else self._first
        dataset = self._dataset()
        self._stream.write(metadata(dataset, self._schema, start, self._last + 1, self._mappings(), self._options.dbn))
        self._stream.close()
        with self._target.partial.open("ab") as whole, self._records.partial.open("rb") as records:
            shutil.copyfileobj(records, whole, 1 << 20)
        self._records.remove()
        self.notes = [f"DBN: {count:,} {what}" for what, count in self._lost.items() if count]
        return [self._target.finish()]

    def abort(self) -> None:
        self._stream.close()
        self._records.remove()
        self._target.remove()

    # -- metadata ------------------------------------------------------------------------------------------------------

    def _dataset(self) -> str:
        venues = sorted({self._names.by_index[k][1] for k in self._days})
        return PUBLISHERS.get(venues[0], (0, venues[0]))[1] if len(venues) == 1 else "+".join(venues)[:16]

    def _mappings(self) -> dict[str, list[tuple[date, date, int]]]:
        found: dict[str, list[tuple[date, date, int]]] = {}
        venues = len({self._names.by_index[k][1] for k in self._days})
        for instrument, (first, last) in sorted(self._days.items()):
            symbol, venue = self._names.by_index[instrument]
            name = symbol if venues <= 1 else f"{symbol}@{venue}"
            found.setdefault(name, []).append((_day(first), _day(last) + timedelta(days=1), instrument))
        return found

    def _note_times(self, made: Array) -> None:
        times = made["ts_recv"] if "ts_recv" in (made.dtype.names or ()) else made["ts_event"]
        if not len(made):
            return
        self._first, self._last = min(self._first, int(times.min())), max(self._last, int(times.max()))
        order = np.argsort(made["instrument_id"], kind="stable")
        ids = made["instrument_id"][order]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        lows, highs = np.minimum.reduceat(times[order], starts), np.maximum.reduceat(times[order], starts)
        for instrument, low, high in zip(ids[starts].tolist(), lows.tolist(), highs.tolist(), strict=True):
            before = self._days.get(instrument, (low, high))
            self._days[instrument] = (min(before[0], low), max(before[1], high))

    # -- records -------------------------------------------------------------------------------------------------------

    def _head(self, kind: np.dtype[Any], block: Block) -> Array:
        made = np.zeros(len(block["instrument"]), kind)
        made["length"], made["rtype"] = kind.itemsize // 4, self._rtype
        made["instrument_id"] = block["instrument"]
        publishers = np.array([PUBLISHERS.get(venue, (0, ""))[0] for _, venue in self._names.by_index], np.uint16)
        made["publisher_id"] = publishers[block["instrument"]]
        return made

    def _common(self, made: Array, block: Block) -> Array:
        """The fields that order and level records share."""
        made["ts_event"] = block["ts_event"]
        received = block["ts_recv"]
        made["ts_recv"] = np.where(received != 0, received, block["ts_event"])
        delta = np.where(received != 0, received - block["ts_event"], 0)
        made["ts_in_delta"] = np.clip(delta, -(2**31), 2**31 - 1)
        made["price"] = _prices(block["price"])
        made["size"] = self._sizes(block["size"])
        made["action"], made["side"] = block["action"], block["side"]
        bad = np.where(block["quality"] != Quality.LIVE, MAYBE_BAD_BOOK, 0) | np.where(received == 0, BAD_TS_RECV, 0)
        made["flags"] = block["flags"] | bad.astype(np.uint8)
        self._lost["sequence numbers do not fit in 32 bits: the lower ones are kept"] += int(
            (block["sequence"] > UNDEF_SIZE).sum()
        )
        made["sequence"] = block["sequence"] & UNDEF_SIZE
        return made

    def _mbo(self, block: Block) -> Array:
        block = self._without_channel_events(block)
        made = self._common(self._head(MBO, block), block)
        made["order_id"], made["channel_id"] = block["order_id"], block["channel"]
        return made

    def _trades(self, block: Block) -> Array:
        broken = block["action"] == ord("N")
        self._lost["trades were taken back, for which the schema has no record"] += int(broken.sum())
        block = {name: values[~broken] for name, values in block.items()}
        return self._common(self._head(TRADE, block), block)

    def _mbp10(self, block: Block) -> Array:
        made = self._common(self._head(MBP10, block), block)
        made["depth"] = block["level"]
        made["flags"] &= ~np.uint8(Flag.TOB)
        for level in range(DEPTH):
            pair = made["levels"][:, level]
            for side in ("bid", "ask"):
                pair[f"{side}_px"] = _prices(block[f"{side}_px_{level}"])
                pair[f"{side}_sz"] = self._sizes(block[f"{side}_sz_{level}"])
                pair[f"{side}_ct"] = block[f"{side}_ct_{level}"]
        return made

    def _ohlcv(self, block: Block) -> Array:
        made = self._head(OHLCV, block)
        made["ts_event"] = block["ts"]
        for name in ("open", "high", "low", "close"):
            made[name] = _prices(block[name])
        made["volume"] = block["volume"]
        return made

    def _sizes(self, sizes: Array) -> Array:
        large = sizes >= UNDEF_SIZE
        self._lost["sizes do not fit in 32 bits: undefined (4294967295) stands for them"] += int(large.sum())
        found: Array = np.where(large, UNDEF_SIZE, sizes).astype(np.uint32)
        return found

    def _without_channel_events(self, block: Block) -> Block:
        """MBO is of instruments: a reset of the channel becomes one of each; gaps and statuses have no record."""
        whole, status = block["instrument"] == 0, block["action"] == ord("S")
        self._lost["trading statuses, for which MBO has no record"] += int(status.sum())
        kept = np.flatnonzero(~status & (~whole | (block["action"] == ord("R"))))
        rows, instruments, at = [], [], 0
        for place in [*np.flatnonzero(whole[kept]).tolist(), len(kept)]:
            piece = kept[at:place]
            rows.append(piece)
            instruments.append(block["instrument"][piece])
            self._seen.update(np.unique(instruments[-1]).tolist())
            if place < len(kept):
                channel = int(block["channel"][kept[place]])
                known = [k for k in sorted(self._seen) if self._names.channel_of[k] == channel]
                rows.append(np.full(len(known), kept[place]))
                instruments.append(np.array(known, np.uint32))
            at = place + 1
        order = np.concatenate(rows)
        return {name: values[order] for name, values in block.items()} | {"instrument": np.concatenate(instruments)}


def _prices(prices: Array) -> Array:
    found: Array = np.where(prices == PRICE_NONE, UNDEF_PRICE, prices)
    return found
