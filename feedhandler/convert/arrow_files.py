"""Parquet and Arrow IPC, by pyarrow: one file, written block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedhandler.convert.columns import Arrow, Block
from feedhandler.convert.files import Sink, Target, Written
from feedhandler.convert.optional import library

if TYPE_CHECKING:
    import pyarrow as pa

    from feedhandler.convert.options import Options

DELTA = frozenset({"ts", "ts_event", "ts_recv", "sequence", "epoch", "order_id"})
"""Columns that mostly rise: stored as differences, in a tenth of the bytes, or in half the time."""
DISTINCT = frozenset({"vwap"})
"""Columns of ever new values: a dictionary would only be thrown away."""
ENCODED_AT_ONCE = 1 << 16
"""Values of a column between two looks at its page's size: a fifth faster than the library's 1,024."""


def parquet_writer(target: Any, schema: pa.Schema, options: Options) -> Any:
    """A ParquetWriter as all our files have it: zstd, statistics and a page index; differences or dictionaries."""
    pq, types = library("pyarrow.parquet", "Parquet"), library("pyarrow", "Parquet").types
    rising = {f.name for f in schema if f.name in DELTA and (types.is_integer(f.type) or types.is_timestamp(f.type))}
    return pq.ParquetWriter(
        target,
        schema,
        compression="zstd",
        compression_level=options.level,
        use_dictionary=[f.name for f in schema if f.name not in rising | DISTINCT],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        write_statistics=True,
        write_page_index=True,
        write_batch_size=ENCODED_AT_ONCE,
    )


class ParquetFile(Sink):
    """One Parquet file; a block is a row group."""

    def __init__(self, path: Path, arrow: Arrow, options: Options) -> None:
        self._arrow, self._options = arrow, options
        self._target = Target(path)
        self._writer: Any = None

    def write(self, block: Block) -> None:
        self.write_batch(self._arrow.batch(block))

    def prepare(self, block: Block) -> Callable[[], None]:
        return partial(self.write_batch, self._arrow.batch(block))  # the writing thread has the more to do

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Take a record batch: a row group."""
        if self._writer is None:
            self._writer = parquet_writer(str(self._target.partial), batch.schema, self._options)
        self._writer.write_batch(batch, row_group_size=max(1, batch.num_rows))
        self._target.rows += batch.num_rows

    def close(self) -> list[Written]:
        if self._writer is None:
            self.abort()
            return []
        self._writer.close()
        return [self._target.finish()]

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._target.remove()


class ArrowFile(Sink):
    """One Arrow IPC file (Feather v2), zstd inside; a block is a record batch."""

    def __init__(self, path: Path, arrow: Arrow, options: Options) -> None:
        self._arrow = arrow
        self._ipc = library("pyarrow.ipc", "Arrow IPC")
        self._target = Target(path)
        codec = arrow.pa.Codec("zstd", options.level) if options.level is not None else "zstd"
        self._how = self._ipc.IpcWriteOptions(compression=codec, emit_dictionary_deltas=True)
        self._writer: Any = None

    def write(self, block: Block) -> None:
        self.write_batch(self._arrow.batch(block))

    def prepare(self, block: Block) -> Callable[[], None]:
        return partial(self.write_batch, self._arrow.batch(block))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Take a record batch."""
        if self._writer is None:
            self._writer = self._ipc.new_file(str(self._target.partial), batch.schema, options=self._how)
        self._writer.write_batch(batch)
        self._target.rows += batch.num_rows

    def close(self) -> list[Written]:
        if self._writer is None:
            self.abort()
            return []
        self._writer.close()
        return [self._target.finish()]

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._target.remove()
