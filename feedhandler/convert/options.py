"""What a conversion is told: one frozen record, the same for a file, a process and a machine of a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

from feedhandler.errors import ConfigError

Kind = Literal["events", "book", "trades", "bars", "messages"]
Prices = Literal["nano", "decimal", "float"]
Format = Literal["parquet", "arrow", "dbn", "csv", "npz", "npy"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PRICES: tuple[Prices, ...] = get_args(Prices)
FORMATS: tuple[Format, ...] = get_args(Format)
PARTITIONS = ("date", "symbol")
NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
DEPTH_MAX = 64


@dataclass(frozen=True)
class Sample:
    """When a book has a row: at every change, each so many changes, or at each multiple of a time."""

    count: int = 0
    """Every so many changes of a book; 0 = not by count."""
    step: int = 0
    """Nanoseconds between two rows; 0 = not by time."""

    @classmethod
    def parse(cls, text: str) -> Sample:
        """`every`, a count (`100`), or a time (`250ms`, `1s`, `5m`). Raises ConfigError."""
        if text in ("", "every", "1"):
            return cls()
        if text.isdigit() and int(text):
            return cls(count=int(text))
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)", text)
        step = round(float(found[1]) * NANOSECONDS[found[2]]) if found else 0
        if not 0 < step <= NANOSECONDS["d"]:
            raise ConfigError(f"sample: every, a count (100) or a time up to a day (250ms, 1s, 5m), found {text!r}")
        return cls(step=step)


@dataclass(frozen=True)
class Options:
    """All that is said of the rows. `start` and `end`: ns since the Unix epoch, half-open; None = without end."""

    kind: Kind = "events"
    sample: str = ""
    """Of books: `every` (the default), a count or a time; of bars a time (default 1m)."""
    fill: bool = False
    """Of what is sampled by time: rows also where nothing has changed since the last one."""
    depth: int = 10
    """Levels per side of a book's row."""
    symbols: tuple[str, ...] | None = None
    start: int | None = None
    end: int | None = None
    prices: Prices = "nano"
    """Whole numbers of 1e-9, decimal128(19, 9), or float64."""
    protocol: str | None = None
    day: date | None = None
    orders: int = 2_000_000
    instruments: int = 16384
    level: int | None = None
    """Of compression; None = the library's own."""
    rows: int = 0
    """Of a block, which is a row group or a record batch; 0 = so many that a block has about 16 MiB."""
    dbn: int = 0
    """The version of DBN that is written; 0 = another format is."""

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("prices", self.prices, PRICES)
        if not 1 <= self.depth <= DEPTH_MAX:
            raise ConfigError(f"depth: 1 to {DEPTH_MAX} levels, found {self.depth}")
        if self.rows < 0:
            raise ConfigError(f"rows: of a row group, 1 or more, found {self.rows}")
        if self.sample and self.kind not in ("book", "bars"):
            raise ConfigError(f"sample: of books and bars; {self.kind} has every row")
        sampled = self.sampled
        if self.fill and not sampled.step:
            raise ConfigError("fill: of a book sampled by time, and of bars")
        if self.kind == "bars" and not sampled.step:
            raise ConfigError("sample: bars are of a time, as 1m")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ConfigError(f"start {self.start} must be before end {self.end}")

    @property
    def sampled(self) -> Sample:
        """`sample`, read."""
        return Sample.parse(self.sample or ("1m" if self.kind == "bars" else ""))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}: {', '.join(known)}; found {value!r}")


__all__ = ["DEPTH_MAX", "FORMATS", "KINDS", "PARTITIONS", "PRICES", "Format", "Kind", "Options", "Prices", "Sample"]
