"""Messages into tables, one for each type with its own fields, as the protocol's table names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedhandler.convert.columns import Array, Arrow, Block, Names
from feedhandler.convert.files import Sink, Written
from feedhandler.convert.options import Options
from feedhandler.decode import protocol
from feedhandler.decode._blocks import gather
from feedhandler.decode.arrays import columns
from feedhandler.decode.session_date import date_of
from feedhandler.decode.spec import ById, BySymbol, Message, Protocol
from feedhandler.research.texts import Texts

if TYPE_CHECKING:
    from feedhandler.handler import Handler

KEPT = 48 << 20  # bytes of messages that wait for their files
UNSAFE = re.compile(r"[^A-Za-z0-9_.@-]+")
Files = Callable[[Path], Any]


class Tables:
    """Record batches of each type of message out of the blocks of a MessageCollector.

    Columns: `ts_event` (where the day is known), `ts_recv`, `symbol` (null for a message that names none), `sequence`,
    `channel`, `quality` (the channel's), then the message's own fields as they were sent: times of day in ns, prices in
    1e-9, text without its right-hand blanks.

    Of JSON texts: `ts_recv`, `symbol`, `sequence` (the number of the text's last change, 0 where it has none),
    `channel`, `quality`, `line` (the connection that brought it; `control` is our own), and the `text` as it came.
    """

    def __init__(self, names: Names, handler: Handler, options: Options) -> None:
        self.arrow = Arrow(names, options)
        self._names, self._segment = names, handler.segment
        self._protocols: list[Protocol] = [protocol(channel.protocol) for channel in handler.config.channels]
        self._wanted = options.symbols
        self._lines = [line.name for channel in handler.config.channels for line in channel.lines]
        self._readers: dict[str, Texts] = {}

    def prepare(self, block: Block) -> None:
        """Keep which instrument the feed's own ids stand for, before the next day gives them to others."""
        used = self._names.used
        directory = self._segment.directory[1:used]
        for number, table in enumerate(self._protocols):
            if isinstance(table.instrument, ById):
                ids = np.zeros(65536, np.uint32)
                ours = np.flatnonzero(directory["channel"] == number)
                ids[directory["feed_id"][ours] & 0xFFFF] = ours + 1
                block[f"ids-{number}"] = ids

    def batches(self, block: Block) -> list[tuple[str, str, Any]]:
        """(name of the message, date or "", record batch) of each type that is in the block."""
        made: list[tuple[str, str, Any]] = []
        kinds = block["data"][block["start"].astype(np.int64)] if len(block["start"]) else np.empty(0, np.uint8)
        for number, table in enumerate(self._protocols):
            if table.text is not None:
                made += self._texts_of(table, number, block)
                continue
            midnight = int(block["midnight"][number])
            day = date_of(midnight, table.clock.zone).isoformat() if midnight else ""
            for message in table.messages:
                rows = np.flatnonzero((kinds == ord(message.type)) & (block["channel"] == number))
                rows = rows[block["length"][rows] >= message.length]
                if len(rows) and (batch := self._batch(table, message, number, block, rows, midnight)) is not None:
                    made.append((message.name, day, batch))
        return made

    def _texts_of(self, table: Protocol, number: int, block: Block) -> Iterator[tuple[str, str, Any]]:
        """The JSON texts of one channel, a batch for each type and day (UTC)."""
        reader = self._readers.setdefault(table.name, Texts(table))
        plain = {name.partition("@")[0] for name in self._wanted} if self._wanted is not None else None
        found: dict[tuple[str, str], list[tuple[int, str | None, int, str]]] = {}
        data = block["data"]
        for row in np.flatnonzero(block["channel"] == number).tolist():
            start = int(block["start"][row])
            wire = data[start : start + int(block["length"][row])].tobytes()
            kind, symbol, last = reader.look(wire)
            if plain is not None and symbol not in plain:
                continue
            day = f"{datetime.fromtimestamp(int(block['ts_recv'][row]) // 10**9, UTC):%Y-%m-%d}"
            entry = (row, symbol or None, last, wire.decode("utf-8", "replace"))
            found.setdefault((UNSAFE.sub("_", reader.name(kind)), day), []).append(entry)
        for (name, day), entries in found.items():
            yield name, day, self._texts_batch(table, name, block, entries)

    def _texts_batch(self, table: Protocol, name: str, block: Block, entries: Sequence[Any]) -> Any:
        pa, arrow = self.arrow.pa, self.arrow
        rows = np.array([entry[0] for entry in entries])
        lines = [self._lines[number] if number < len(self._lines) else None for number in block["line"][rows].tolist()]
        made = {
            "ts_recv": arrow.column("ts_recv", block["ts_recv"][rows]),
            "symbol": pa.array([entry[1] for entry in entries], pa.string()).dictionary_encode(),
            "sequence": arrow.column("sequence", np.array([entry[2] for entry in entries], np.uint64)),
            "channel": arrow.column("channel", block["channel"][rows]),
            "quality": arrow.column("quality", block["quality"][rows]),
            "line": pa.array(lines, pa.string()).dictionary_encode(),
            "text": pa.array([entry[3] for entry in entries], pa.string()),
        }
        about = {**arrow.about, "feedhandler.message": f"{table.name}.{name}"}
        schema = pa.schema([pa.field(key, array.type) for key, array in made.items()], metadata=about)
        return pa.record_batch(list(made.values()), schema=schema)

    def _batch(self, table: Protocol, message: Message, number: int, block: Block, rows: Array, midnight: int) -> Any:
        pa, arrow = self.arrow.pa, self.arrow
        texts = [(f.offset, f.type.size) for f in message.layout.values() if f.type.kind in ("char", "alpha")]
        starts = block["start"][rows]
        packed = gather(block["data"], starts, message.length, np.array(texts, np.uint16).reshape(-1, 2))
        fields = columns(table, message, packed)
        symbols = self._symbols(table, message, number, block, fields)
        if self._wanted is not None:
            plain = {name.partition("@")[0] for name in self._wanted}
            named = np.array([symbol in plain for symbol in symbols.to_pylist()], bool)
            if not named.any():
                return None
            rows, symbols = rows[named], symbols.filter(pa.array(named))
            fields = {name: values[named] for name, values in fields.items()}
        made: dict[str, Any] = {}
        if table.clock.field in fields:
            stamp = fields[table.clock.field].astype(np.int64)
            known = table.clock.since == "epoch" or midnight != 0
            offset = midnight if table.clock.since == "midnight" else 0
            made["ts_event"] = arrow.column("ts_event", stamp + offset if known else np.zeros_like(stamp))
        made["ts_recv"] = arrow.column("ts_recv", block["ts_recv"][rows])
        made["symbol"] = symbols
        for name in ("sequence", "channel", "quality"):
            made[name] = arrow.column(name, block[name][rows])
        for name, values in fields.items():
            if name in made:
                continue
            kind = message.layout[name].type.kind
            if kind == "price":
                made[name] = arrow.prices(values)
            elif kind in ("char", "alpha"):
                made[name] = pa.array(values).cast(pa.string()).dictionary_encode()
            else:
                made[name] = pa.array(values.astype(values.dtype.newbyteorder("=")))
        about = {**arrow.about, "feedhandler.message": f"{table.name}.{message.name}"}
        schema = pa.schema([pa.field(name, array.type) for name, array in made.items()], metadata=about)
        return pa.record_batch(list(made.values()), schema=schema)

    def _symbols(self, table: Protocol, message: Message, number: int, block: Block, fields: dict[str, Array]) -> Any:
        """The symbol of each message: as it says, or as its id was named before."""
        pa = self.arrow.pa
        naming = table.instrument
        rows = len(next(iter(fields.values()))) if fields else 0
        if naming.symbol in fields:
            return pa.array(fields[naming.symbol]).cast(pa.string()).dictionary_encode()
        if isinstance(naming, BySymbol) or naming.field not in fields:
            return pa.nulls(rows, pa.dictionary(pa.int32(), pa.string()))
        return self.arrow.named("symbol", block[f"ids-{number}"][fields[naming.field]], self._names.symbols)


class MessageFiles(Sink):
    """A sink: OUT/MESSAGE/date=2026-01-05/NAME.parquet, or another format, for each type that occurs."""

    def __init__(self, tables: Tables, root: Path, name: str, by_date: bool, make: Files) -> None:
        self._tables, self._root, self._name, self._by_date, self._make = tables, root, name, by_date, make
        self._files: dict[Path, Any] = {}
        self._waiting: dict[Path, list[Any]] = {}
        self._bytes = 0

    def prepare(self, block: Block) -> Callable[[], None]:
        self._tables.prepare(block)
        return super().prepare(block)

    def write(self, block: Block) -> None:
        for message, day, batch in self._tables.batches(block):
            folder = self._root / message
            path = (folder / f"date={day}" if day and self._by_date else folder) / self._name
            self._waiting.setdefault(path, []).append(batch)
            self._bytes += batch.nbytes
        if self._bytes >= KEPT:
            self._flush()

    def _flush(self) -> None:
        pa = self._tables.arrow.pa
        for path, batches in self._waiting.items():
            if path not in self._files:
                self._files[path] = self._make(path)
            for batch in pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches():
                self._files[path].write_batch(batch)
        self._waiting, self._bytes = {}, 0

    def close(self) -> list[Written]:
        self._flush()
        return [written for file in self._files.values() for written in file.close()]

    def abort(self) -> None:
        for file in self._files.values():
            file.abort()
