"""The recorded logs of ../shared/data/crypto, whatever their form: lines of (time, connection, direction, text).

Two forms. cryptofeed's: `URL <-> seconds` opens a connection, `URL <- seconds: text` was sent on it, `seconds: text`
came on it, `URL -> seconds: body` is a REST answer. hftbacktest's: `nanoseconds text`; a text without a stream is the
REST answer about the symbol of the streams around it. This module believes that every file is whole: it is for tests.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

OPENED, SENT, RECEIVED, REST = "opened", "sent", "received", "rest"
_HFT = re.compile(rb"(\d{19}) (\{.*)")
_CAME = re.compile(rb"(\d{10}\.\d+): (.*)")
_OTHER = re.compile(rb"(\w+://\S+) (<->|<-|->) (\d{10}\.\d+)(?:: (.*))?")


@dataclass(frozen=True)
class Line:
    """One line of a log. `connection` is a URL (of REST: of the request), or the file's name where none is recorded."""

    ts: int  # ns since the Unix epoch
    connection: str
    direction: str
    text: bytes = b""

    @property
    def symbol(self) -> str:
        """Of a REST answer the symbol that was asked for, as the URL spells it."""
        url = urlsplit(self.connection)
        asked = parse_qs(url.query).get("symbol")
        return asked[0] if asked else url.path.rstrip("/").rpartition("/")[2]


def logs(data: Path, pattern: str) -> list[Path]:
    """Log files below the folder of real captures, by name; `pattern` is as in "kraken/*.ws.*.gz"."""
    found = sorted((data / "crypto").glob(pattern))
    assert found, f"no {pattern} below {data / 'crypto'}"
    return found


@lru_cache(maxsize=2)
def read(path: Path) -> tuple[Line, ...]:
    """All lines of one log, in the order of the file."""
    with gzip.open(path) as file:
        lines = [line.rstrip(b"\r\n") for line in file]
    return tuple(_lines(path, [line for line in lines if line]))


def _lines(path: Path, lines: list[bytes]) -> Iterator[Line]:
    connection = path.name
    for line in lines:
        if found := _HFT.fullmatch(line):
            ts, text = int(found[1]), found[2]
            if text.startswith(b'{"lastUpdateId"'):
                symbol = re.search(rb'"s":"(\w+)"', b"".join(lines[:50]))
                assert symbol, f"{path}: which symbol is the REST answer about?"
                yield Line(ts, f"https://unknown/depth?symbol={symbol[1].decode()}", REST, text)
            else:
                yield Line(ts, connection, RECEIVED, text)
        elif found := _CAME.fullmatch(line):
            yield Line(_ns(found[1]), connection, RECEIVED, found[2])
        elif found := _OTHER.fullmatch(line):
            url, sign = found[1].decode(), found[2]
            if sign == b"->":
                yield Line(_ns(found[3]), url, REST, found[4])
            else:
                connection = url
                yield Line(_ns(found[3]), url, OPENED if sign == b"<->" else SENT, found[4] or b"")
        else:
            raise AssertionError(f"{path}: a line of no known form: {line[:80]!r}")


def merged(data: Path, *patterns: str) -> list[Line]:
    """The lines of several logs, by time: what one handler would have seen."""
    lines = [line for pattern in patterns for path in logs(data, pattern) for line in read(path)]
    return sorted(lines, key=lambda line: line.ts)


def _ns(seconds: bytes) -> int:
    return int(Decimal(seconds.decode()) * 10**9)
