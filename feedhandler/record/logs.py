"""Logs of WebSocket feeds as other programs write them, line by line: what came when, over which connection.

Two kinds, told apart by each line itself (and mixed, if need be):

    1723161253937085768 {"stream":…}                    ns since the Unix epoch, a blank, the text as it came
    wss://host/path <-> 1618677816.8434298              a connection was opened
    wss://host/path <- 1618677817.020616: {…}           sent by the client
    1618677817.061845: {…}                              seconds since the Unix epoch, the text as it came
    https://host/path?symbol=X -> 1633998512.32: {…}    the answer to a request

A REST snapshot among the texts of the first kind is known by its `lastUpdateId`, and by the stream that it does not
name.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from feedhandler.errors import RecordingError
from feedhandler.receive.compressed import Compression, Unpacker, compression
from feedhandler.session.texts import asked_for

if TYPE_CHECKING:
    from typing_extensions import Buffer

HOSTS = (
    ("fstream.binance.", "binance_usdm"),
    ("fapi.binance.", "binance_usdm"),
    ("binance.", "binance"),
    ("coinbase.", "coinbase"),
    ("kraken.", "kraken"),
    ("bitstamp.", "bitstamp"),
)
"""Part of a host's name, and the protocol that is spoken there; the first that fits counts."""
_SECONDS = rb"(\d{9,10})(?:\.(\d{1,9})\d*)?"
_FORMS = (
    re.compile(rb"(\d{18,19}) (.+)", re.DOTALL),
    re.compile(_SECONDS + rb": (.+)", re.DOTALL),
    re.compile(rb"(\S+) (<->|<-|->) " + _SECONDS + rb"(?:: (.*))?\s*", re.DOTALL),
)


class Kind(Enum):
    """What a line of a log tells."""

    OPENED = "opened"
    TEXT = "text"
    SENT = "sent"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a log."""

    ts: int
    """ns since the Unix epoch."""
    kind: Kind
    text: bytes = b""
    """As it came, byte for byte; of an answer its body."""
    symbol: str = ""
    """Of an answer: what was asked for; "" where the log does not say."""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A log, read once."""

    path: Path
    protocol: str
    """"" where nothing in it says."""
    first_ts: int
    last_ts: int
    texts: int
    """That came over a WebSocket; 0: a log of answers only."""
    answers: int
    sent: int
    """By the client, which no recording holds."""
    symbol: str
    """The one symbol that its texts name; "": several, or none."""


def read(path: str | Path) -> Iterator[Entry]:
    """What a log tells, in its order; plain, .gz or .zst, whatever it is called.

    A line that is none by itself goes on with the text before it. Raises RecordingError that names file and line for
    what is no log, or cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = compression(file.read(4))
        with path.open("rb") if packed is None else io.BufferedReader(_Unpacked(path, packed)) as lines:
            yield from _entries(lines, path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"{path}: cannot be read: {why}; give a whole log, plain, .gz or .zst") from None


class _Unpacked(io.RawIOBase):
    """A packed file, for a buffered reader."""

    def __init__(self, path: Path, packed: Compression) -> None:
        self._unpacker = Unpacker(path, packed)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Buffer) -> int:
        return self._unpacker.readinto(memoryview(target))

    def close(self) -> None:
        self._unpacker.close()
        super().close()


def _entries(lines: Iterable[bytes], path: Path) -> Iterator[Entry]:
    pending: list[bytes] = []
    number = 0
    for line in lines:
        number += 1
        line = line.rstrip(b"\r\n")
        if not line:
            continue
        if any(form.fullmatch(line) for form in _FORMS):
            if pending:
                yield _entry(b"\n".join(pending), path, number - 1)
            pending = [line]
        elif pending:
            pending.append(line)
        else:
            raise RecordingError(
                f"{path}:{number}: no line of a log of WebSocket texts: expected `<ns> <text>`, `<seconds>: <text>` or "
                f"`<url> -> <seconds>: <text>`, found {line[:60]!r}"
            )
    if pending:
        yield _entry(b"\n".join(pending), path, number)


def _entry(line: bytes, path: Path, number: int) -> Entry:
    nanoseconds, seconds, told = _FORMS
    if found := nanoseconds.fullmatch(line):
        text = found[2]
        return Entry(int(found[1]), Kind.ANSWER if _is_snapshot(text) else Kind.TEXT, text)
    if found := seconds.fullmatch(line):
        return Entry(_ns(found[1], found[2]), Kind.TEXT, found[3])
    found = told.fullmatch(line)
    assert found is not None
    url, arrow, text = found[1].decode("latin1"), found[2], found[5] or b""
    ts = _ns(found[3], found[4])
    if arrow == b"<->":
        return Entry(ts, Kind.OPENED, url=url)
    if not text:
        raise RecordingError(f"{path}:{number}: expected a text behind the time, found nothing: the log was cut")
    if arrow == b"<-":
        return Entry(ts, Kind.SENT, text, url=url)
    if url.startswith("http"):
        return Entry(ts, Kind.ANSWER, text, asked_for(url), url)
    return Entry(ts, Kind.TEXT, text, url=url)


def _ns(seconds: bytes, fraction: bytes | None) -> int:
    return int(seconds) * 1_000_000_000 + int((fraction or b"0").ljust(9, b"0"))


def _is_snapshot(text: bytes) -> bool:
    """Whether a text is the body of a depth request: texts of streams name their stream, or their event."""
    if b'"lastUpdateId"' not in text:
        return False
    try:
        return not {"stream", "e"} & json.loads(text).keys()
    except (ValueError, AttributeError):
        return False


def survey(path: str | Path) -> Summary:
    """A log, read through once. Raises RecordingError as read() does, and for one that holds nothing."""
    path = Path(path)
    first = last = None
    texts = answers = sent = 0
    protocol = ""
    symbols: set[bytes] = set()
    for entry in read(path):
        first = entry.ts if first is None else min(first, entry.ts)
        last = entry.ts if last is None else max(last, entry.ts)
        texts += entry.kind is Kind.TEXT
        answers += entry.kind is Kind.ANSWER
        sent += entry.kind is Kind.SENT
        protocol = protocol or _protocol(entry)
        if entry.kind is Kind.TEXT and (found := re.search(rb'"s":\s*"([^"\\]+)"', entry.text)):
            symbols.add(found[1])
    if first is None or last is None:
        raise RecordingError(f"{path}: there is nothing in it; give a log of WebSocket texts")
    symbol = symbols.pop().decode("latin1") if len(symbols) == 1 else ""
    return Summary(path, protocol, first, last, texts, answers, sent, symbol)


def _protocol(entry: Entry) -> str:
    """What a line says of the protocol: by the host, or as Binance's depth updates tell spot from futures."""
    host = urlsplit(entry.url).hostname or ""
    for part, name in HOSTS:
        if part in host:
            return name
    if b'"depthUpdate"' in entry.text:
        return "binance_usdm" if b'"pu"' in entry.text else "binance"
    return ""
