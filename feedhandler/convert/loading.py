"""`feedhandler.load`: captures, recordings, and the files that were made of them, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from feedhandler.convert.columns import Arrow, Block, Names
from feedhandler.convert.files import Sink, Written
from feedhandler.convert.job import convert_one
from feedhandler.convert.optional import library
from feedhandler.convert.options import Kind, Options, Prices
from feedhandler.errors import ConfigError
from feedhandler.recording import Recording

Engine = Literal["arrow", "polars", "pandas"]
When = int | str | datetime
OURS = (".parquet", ".arrow", ".feather", ".ipc")


class _Table(Sink):
    """A sink that keeps all batches in memory."""

    def __init__(self, names: Names, options: Options) -> None:
        self._arrow = Arrow(names, options)
        self._batches: list[Any] = []

    def write(self, block: Block) -> None:
        self._batches.append(self._arrow.batch(block))

    def close(self) -> list[Written]:
        return []

    def abort(self) -> None:
        self._batches.clear()

    def table(self) -> Any:
        """All rows; dictionaries are the last batch's, which have every name."""
        return self._arrow.pa.Table.from_batches(self._batches).unify_dictionaries()


def load(
    path: str | Path | Sequence[str | Path],
    *,
    symbols: str | Iterable[str] | None = None,
    kind: Kind | None = None,
    start: When | None = None,
    end: When | None = None,
    engine: Engine = "arrow",
    sample: str = "",
    fill: bool = False,
    depth: int = 10,
    prices: Prices = "nano",
    protocol: str | None = None,
    day: date | None = None,
    orders: int = 2_000_000,
    instruments: int = 16384,
) -> Any:
    """The rows of a recording or capture, or of Parquet and Arrow files that `convert` made, as one table in memory.

    `engine` arrow gives a pyarrow.Table, polars a polars.DataFrame, pandas a pandas.DataFrame. `kind` of a recording:
    events (the default), book, trades or bars; `sample`, `fill`, `depth`, `prices`, `protocol`, `day`, `orders` and
    `instruments` are those of `feedhandler convert`, and mean nothing for files that are already converted. `symbols`:
    "AAPL" or "AAPL@XNAS", one or several. `start`, `end`: rows of [start, end), ISO text (UTC unless it says
    otherwise), datetime or ns since the Unix epoch, of a recording also "09:30", "+90s", "open", "seq:12345"; by the
    time of receipt where there is one, else the exchange's.

    Raises ConfigError for wrong arguments and files that are not ours, CaptureError for what is no capture,
    BackendError when a library is missing.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if engine not in ("arrow", "polars", "pandas"):
        raise ConfigError(f"engine: arrow, polars, pandas; found {engine!r}")
    wanted = (symbols,) if isinstance(symbols, str) else None if symbols is None else tuple(symbols)
    if _converted(paths):
        table = _read(paths, kind, wanted, instant(start), instant(end))
    else:
        first, last = _find(paths, start, protocol), _find(paths, end, protocol)
        options = Options(
            kind or "events", sample, fill, depth, wanted, first, last, prices, protocol, day, orders, instruments
        )
        table = _collect(paths, options)
    return _hand_out(table, engine)


def _find(paths: list[Path], when: When | None, protocol: str | None) -> int | None:
    """An instant of a recording, by the words that its commands take, too."""
    return Recording(*paths, protocol=protocol).find(when) if isinstance(when, str) else instant(when)


def instant(when: When | None) -> int | None:
    """ns since the Unix epoch. Raises ConfigError for text that is no ISO time."""
    if when is None or isinstance(when, int):
        return when
    if isinstance(when, str):
        text, _, fraction = when.partition(".")
        digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
        try:
            whole = datetime.fromisoformat(text + fraction[len(digits) :])
        except ValueError:
            raise ConfigError(f"expected an ISO time, as 2026-01-05T14:30:00.5, found {when!r}") from None
        return _ns(whole) + int(digits[:9].ljust(9, "0"))
    return _ns(when)


def _ns(when: datetime) -> int:
    known = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    since = known - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


def _collect(paths: list[Path], options: Options) -> Any:
    """A recording's rows, through the handler."""
    if options.kind == "messages":
        raise ConfigError("load: messages are a table for each type: convert them to a folder, and load one of those")
    made: list[_Table] = []

    def make(names: Names, handler: Any) -> _Table:
        made.append(_Table(names, options))
        return made[0]

    convert_one(paths, make, options)
    return made[0].table()


def _converted(paths: list[Path]) -> bool:
    """The paths are files that convert made, or folders of such."""
    found = [path.suffix in OURS if path.is_file() else any(path.rglob("*.parquet")) for path in paths]
    if any(found) and not all(found):
        raise ConfigError("load: recordings, or files made of them, not both at once")
    return all(found)


def _read(
    paths: list[Path], kind: Kind | None, symbols: tuple[str, ...] | None, start: int | None, end: int | None
) -> Any:
    """Rows of our own files; what is not asked for is not read, as far as their statistics tell."""
    dataset, compute = library("pyarrow.dataset", "load"), library("pyarrow.compute", "load")
    pa = library("pyarrow", "load")
    sets = [
        dataset.dataset(str(path), format="ipc" if path.suffix in OURS[1:] else "parquet", partitioning="hive")
        for path in paths
    ]
    whole = sets[0] if len(sets) == 1 else dataset.dataset(sets)
    about = whole.schema.metadata or {}
    if b"feedhandler.options" not in about:
        raise ConfigError(f"{paths[0]}: not made by feedhandler convert")
    import json

    has = json.loads(about[b"feedhandler.options"])["kind"]
    if kind is not None and kind != has:
        raise ConfigError(f"{paths[0]}: holds {has}, not {kind}; load the recording it was made of")
    wanted = None
    if symbols is not None:
        plain = [name for name in symbols if "@" not in name]
        wanted = compute.field("symbol").isin(plain)
        for name, _, venue in (name.partition("@") for name in symbols if "@" in name):
            wanted = wanted | ((compute.field("symbol") == name) & (compute.field("venue") == venue))
        wanted = wanted | compute.field("symbol").is_null()
    when = compute.coalesce(*(compute.field(n) for n in ("ts", "ts_recv", "ts_event") if n in whole.schema.names))
    for bound, name in ((start, "greater_equal"), (end, "less")):
        if bound is not None:
            limit = getattr(compute, name)(when, pa.scalar(bound, pa.timestamp("ns", tz="UTC")))
            wanted = limit if wanted is None else wanted & limit
    return whole.to_table(filter=wanted)


def _hand_out(table: Any, engine: Engine) -> Any:
    if engine == "polars":
        return library("polars", "engine='polars'", extra="convert,polars").from_arrow(table)
    if engine == "pandas":
        library("pandas", "engine='pandas'", extra="convert,pandas")
        return table.to_pandas()
    return table
