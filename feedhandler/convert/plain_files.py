"""CSV and NumPy: .csv (.gz, .zst), .npy as one structured array, .npz as an array a column."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from feedhandler.convert.columns import LETTERS, TIMES, Array, Arrow, Block, Names, is_price
from feedhandler.convert.files import Sink, Target, Written
from feedhandler.convert.optional import library
from feedhandler.convert.options import Options
from feedhandler.errors import ConfigError
from feedhandler.records import PRICE_NONE

HEADER = 4096  # bytes kept free for a .npy file's header, whose number of rows is known at the end
COPY = 1 << 20


class CsvFile(Sink):
    """One CSV file with a line of names; nothing stands for what is not there, times are ISO, words are words."""

    def __init__(self, path: Path, arrow: Arrow, options: Options) -> None:
        self._arrow, self._csv = arrow, library("pyarrow.csv", "CSV")
        self._target = Target(path)
        packed = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        pa = arrow.pa
        self._stream = pa.output_stream(str(self._target.partial), compression=packed)
        self._writer: Any = None

    def write(self, block: Block) -> None:
        self.write_batch(self._arrow.batch(block))

    def write_batch(self, batch: Any) -> None:
        """Take a record batch."""
        pa = self._arrow.pa
        plain = [
            column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns
        ]
        whole = pa.record_batch(plain, names=batch.schema.names)
        if self._writer is None:
            how = self._csv.WriteOptions(quoting_style="needed")
            self._writer = self._csv.CSVWriter(self._stream, whole.schema, write_options=how)
        self._writer.write_batch(whole)
        self._target.rows += whole.num_rows

    def close(self) -> list[Written]:
        if self._writer is not None:
            self._writer.close()
        self._stream.close()
        return [self._target.finish()]

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._stream.close()
        self._target.remove()


class _Numbers:
    """Blocks as NumPy people like them: times as datetime64[ns], prices as asked for, letters as bytes."""

    def __init__(self, path: Path, names: Names, options: Options) -> None:
        if options.prices == "decimal":
            raise ConfigError(f"{path}: NumPy has no decimals: prices are nano or float")
        self.names, self._float = names, options.prices == "float"

    def columns(self, block: Block) -> Block:
        made: Block = {}
        for name, values in block.items():
            if name in TIMES:
                made[name] = np.where(values == 0, np.iinfo(np.int64).min, values).view("M8[ns]")
            elif name in LETTERS:
                made[name] = values.view("S1")
            elif is_price(name) and self._float:
                made[name] = np.where(values == PRICE_NONE, np.nan, values / 1e9)
            else:
                made[name] = values
        return made


class NpyFile(Sink):
    """One structured array of all rows; instruments by their symbol and venue."""

    def __init__(self, path: Path, names: Names, options: Options) -> None:
        self._numbers, self._target = _Numbers(path, names, options), Target(path)
        self._file: IO[bytes] = self._target.partial.open("wb")
        self._dtype: np.dtype[Any] | None = None

    def write(self, block: Block) -> None:
        columns = self._numbers.columns(block)
        names = self._numbers.names
        instruments = columns.pop("instrument")
        symbols = np.array([symbol for symbol, _ in names.by_index], "S32")[instruments]
        venues = np.array([venue for _, venue in names.by_index], "S8")[instruments]
        columns = {"symbol": symbols, "venue": venues, **columns}
        if self._dtype is None:
            self._dtype = np.dtype([(name, values.dtype) for name, values in columns.items()])
            self._file.write(_npy_header(self._dtype, 0))
        rows = np.empty(len(instruments), self._dtype)
        for name, values in columns.items():
            rows[name] = values
        self._file.write(rows.tobytes())
        self._target.rows += len(rows)

    def close(self) -> list[Written]:
        if self._dtype is not None:
            self._file.seek(0)
            self._file.write(_npy_header(self._dtype, self._target.rows))
        self._file.close()
        return [self._target.finish()]

    def abort(self) -> None:
        self._file.close()
        self._target.remove()


class NpzFile(Sink):
    """An array a column, and `symbols` and `venues` by `instrument`; np.load opens it like any .npz."""

    def __init__(self, path: Path, names: Names, options: Options) -> None:
        self._numbers, self._target, self._path = _Numbers(path, names, options), Target(path), path
        self._columns: dict[str, tuple[Target, IO[bytes], np.dtype[Any]]] = {}

    def write(self, block: Block) -> None:
        rows = 0
        for name, values in self._numbers.columns(block).items():
            if name not in self._columns:
                target = Target(self._path.with_name(f"{self._path.name}.{name}"))
                self._columns[name] = (target, target.partial.open("wb"), values.dtype)
            self._columns[name][1].write(np.ascontiguousarray(values).tobytes())
            rows = len(values)
        self._target.rows += rows

    def close(self) -> list[Written]:
        by_index = self._numbers.names.by_index
        with zipfile.ZipFile(self._target.partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, (target, file, dtype) in self._columns.items():
                file.close()
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry, target.partial.open("rb") as column:
                    entry.write(_npy_header(dtype, self._target.rows))
                    shutil.copyfileobj(column, entry, COPY)
                target.remove()
            for name, place in (("symbols", 0), ("venues", 1)):
                text = io.BytesIO()
                np.save(text, np.array([pair[place] for pair in by_index]))
                archive.writestr(f"{name}.npy", text.getvalue())
        return [self._target.finish()]

    def abort(self) -> None:
        for target, file, _ in self._columns.values():
            file.close()
            target.remove()
        self._target.remove()


def _npy_header(dtype: np.dtype[Any], rows: int) -> bytes:
    """The header of a .npy file, always HEADER bytes long (a multiple of 64, as the format wants)."""
    described: Any = np.lib.format.dtype_to_descr(dtype)
    text = repr({"descr": described, "fortran_order": False, "shape": (rows,)}).encode()
    room = HEADER * (1 + (len(text) + 64) // HEADER)  # of very many columns
    return b"\x93NUMPY\x02\x00" + (room - 12).to_bytes(4, "little") + text.ljust(room - 13) + b"\n"


__all__ = ["Array", "CsvFile", "NpyFile", "NpzFile"]
