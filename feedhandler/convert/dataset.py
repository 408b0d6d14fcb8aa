"""A folder of Parquet files by date and symbol, as Hive has them: OUT/date=2026-01-05/symbol=AAPL/NAME-XNAS.parquet.

Rows come in the order of the feed, all symbols mixed. What has come is kept up to `KEPT` bytes, then sorted by day and
instrument and spilled; at the end each file is put together from its slices of all spills. So memory is the same for
any input, no file is open but the one being written, and each file has row groups of a useful size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from feedhandler.convert.arrow_files import ParquetFile
from feedhandler.convert.columns import Array, Arrow, Block, Names
from feedhandler.convert.files import Sink, Stopped, Written, forget_stale
from feedhandler.convert.options import Options
from feedhandler.decode.session_date import date_of, midnight
from feedhandler.errors import ConfigError

KEPT = 96 << 20
ROW_GROUP = 32 << 20  # bytes of a row group in memory, about
NO_SYMBOL = "__HIVE_DEFAULT_PARTITION__"  # rows of a channel as a whole: read as null
NO_DATE = date(1970, 1, 1)
UNDATED = 2 * 86_400 * 10**9  # times below it are times of a day that is not known


@dataclass(frozen=True)
class Key:
    """Whose rows: those of one day and one instrument."""

    day: date
    instrument: int


@dataclass(frozen=True)
class Slice:
    """Where a key's rows lie in a spill: the columns one after the other."""

    spill: int
    offset: int
    rows: int


class Dataset(Sink):
    """A sink of Parquet files below `root`, all named `name`; `partition` of "date", "symbol"."""

    def __init__(
        self, root: Path, name: str, partition: Sequence[str], names: Names, options: Options, zone: str
    ) -> None:
        self._root, self._name, self._partition = root, name, tuple(partition)
        self._names, self._options, self._zone = names, options, zone
        self._arrow = Arrow(names, options)
        self._folder = root / f".{name}.{os.getpid()}.partial"
        try:
            root.mkdir(parents=True, exist_ok=True)
            forget_stale(root, name)
            self._folder.mkdir()
        except OSError as error:
            raise ConfigError(f"{root}: cannot be written: {error.strerror}") from error
        self._days: list[tuple[int, date]] = []
        self._kept: list[tuple[Block, Array]] = []
        self._kept_bytes = 0
        self._day = NO_DATE
        self._columns: dict[str, np.dtype[Any]] = {}
        self._slices: dict[Key, list[Slice]] = {}
        self._spills: list[int] = []
        self._open: ParquetFile | None = None
        self._made: list[tuple[Path, Path]] = []

    def write(self, block: Block) -> None:
        if not len(block["instrument"]):
            return
        self._columns = self._columns or {name: values.dtype for name, values in block.items()}
        self._kept.append((block, self._day_numbers(block)))
        self._kept_bytes += sum(values.nbytes for values in block.values())
        if self._kept_bytes >= KEPT:
            self._spill()

    def close(self) -> list[Written]:
        self._spill()
        found: list[Written] = []
        for path, keys in self._files():
            if self.stopping():
                raise Stopped
            found += self._assemble(path, keys)
        for fd in self._spills:
            os.close(fd)
        self._spills.clear()
        moved = []
        for file in found:
            final = self._root / Path(file.path).relative_to(self._folder)
            final.parent.mkdir(parents=True, exist_ok=True)
            Path(file.path).replace(final)
            moved.append(replace(file, path=str(final)))
        shutil.rmtree(self._folder)
        return moved

    def abort(self) -> None:
        if self._open is not None:
            self._open.abort()
        for fd in self._spills:
            os.close(fd)
        self._spills.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    # -- by day and instrument -----------------------------------------------------------------------------------------

    def _day_numbers(self, block: Block) -> Array:
        """Of each row the place in `_days` of the exchange's date; of a row without a time, of the one before."""
        if "date" not in self._partition:
            self._days = self._days or [(0, NO_DATE)]
            return np.zeros(len(block["instrument"]), np.int64)
        times = block.get("ts", block.get("ts_event"))
        assert times is not None
        if not (times > UNDATED).any() and "ts_recv" in block:
            times = block["ts_recv"]
        dated = times > UNDATED
        known = times[dated]
        if len(known):
            self._know_days(int(known.min()), int(known.max()))
        elif not self._days:
            self._days = [(0, NO_DATE)]
            self.notes = ["the day is not known, so date=1970-01-01 stands for it: name it with --date"]
        starts = np.array([start for start, _ in self._days])
        numbers = np.searchsorted(starts, times, side="right") - 1
        if not dated.all():
            place = np.where(dated, np.arange(len(times)), -1)
            before = np.maximum.accumulate(place)
            first = int(np.argmax(dated)) if len(known) else 0
            source = np.where(before >= 0, before, first)
            numbers = numbers[source] if len(known) else np.full(len(times), len(self._days) - 1)
        return np.maximum(numbers, 0)

    def _know_days(self, first: int, last: int) -> None:
        """Days from that of `first` to that of `last`. A number stays until the rows that bear it are spilled."""
        have = {day for _, day in self._days}
        day, end = date_of(first, self._zone), date_of(last, self._zone)
        wanted = set()
        while day <= end:
            wanted.add(day)
            day += timedelta(days=1)
        if wanted <= have:
            return
        if self._days and min(wanted - have) < self._days[-1][1]:
            self._spill()  # numbers of days are about to change
        every = sorted(have | wanted)
        self._days = [(midnight(day, self._zone), day) for day in every]

    def _spill(self) -> None:
        """Sort what is kept, and write it away."""
        if not self._kept:
            return
        days = np.concatenate([numbers for _, numbers in self._kept])
        blocks = [block for block, _ in self._kept]
        self._kept, self._kept_bytes = [], 0
        names = self._names.used  # once: another thread adds to them
        key = days * names + np.concatenate([block["instrument"] for block in blocks])
        order = np.argsort(key.astype(np.uint16) if key.max() < 65536 else key, kind="stable")
        key = key[order]
        starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        ends = np.append(starts[1:], len(key))
        # one column after the other, so that what has been sorted is not there twice
        columns = [np.concatenate([block.pop(name) for block in blocks])[order] for name in self._columns]
        path = self._folder / f"spill-{len(self._spills)}"
        offset = 0
        with path.open("wb", buffering=1 << 20) as file:
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
                which = Key(self._days[int(key[start]) // names][1], int(key[start]) % names)
                self._slices.setdefault(which, []).append(Slice(len(self._spills), offset, end - start))
                for values in columns:
                    offset += file.write(values[start:end].view(np.uint8).data)
        self._spills.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        path.unlink()

    # -- file by file --------------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[tuple[Path, list[Key]]]:
        """Each file's path in the making, and whose rows it has, in order."""
        grouped: dict[Path, list[Key]] = {}
        for key in sorted(self._slices, key=lambda key: (key.day, self._names.by_index[key.instrument])):
            path, name = self._folder, self._name
            if "date" in self._partition:
                path /= f"date={key.day.isoformat()}"
            if "symbol" in self._partition:
                symbol, venue = self._names.by_index[key.instrument]
                path /= f"symbol={quote(symbol, safe='') or NO_SYMBOL}"
                name += f"-{venue}" if venue else ""
            grouped.setdefault(path / f"{name}.parquet", []).append(key)
        yield from grouped.items()

    def _assemble(self, path: Path, keys: list[Key]) -> list[Written]:
        """One file of these keys' rows, in row groups of a useful size."""
        self._open = ParquetFile(path, self._arrow, self._options)
        waiting: list[Block] = []
        size = 0
        for key in keys:
            for piece in self._slices[key]:
                for part in self._read(piece):
                    waiting.append(part)
                    size += sum(values.nbytes for values in part.values())
                    if size >= ROW_GROUP:
                        self._write_group(waiting)
                        waiting, size = [], 0
        if waiting:
            self._write_group(waiting)
        written = self._open.close()
        self._open = None
        return written

    def _read(self, piece: Slice) -> Iterator[Block]:
        """A slice's rows; of a large one in parts."""
        row = sum(dtype.itemsize for dtype in self._columns.values())
        step = max(1, ROW_GROUP // row)
        for first in range(0, piece.rows, step):
            rows, at, block = min(step, piece.rows - first), piece.offset, {}
            for name, dtype in self._columns.items():
                data = os.pread(self._spills[piece.spill], rows * dtype.itemsize, at + first * dtype.itemsize)
                block[name] = np.frombuffer(data, dtype)
                at += piece.rows * dtype.itemsize
            yield block

    def _write_group(self, blocks: list[Block]) -> None:
        assert self._open is not None
        whole = {name: np.concatenate([block[name] for block in blocks]) for name in self._columns}
        batch = self._arrow.batch(whole)
        if "symbol" in self._partition:
            batch = batch.drop_columns(["symbol"])
        self._open.write_batch(batch)
