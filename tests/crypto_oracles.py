"""Coinbase, Kraken and Bitstamp in plain Python: texts in, events out, books of dicts. The slow obvious version.

Each function of `ORACLES` says what a text means as a list of `Said`, or raises MalformedError. `DictBook` keeps
one book of what was said, the texts as they came, so that Kraken's checksum is made of exactly what was sent.
"""

from __future__ import annotations

import heapq
import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from feedhandler.records import Flag

PRICE = {"coinbase": Decimal(10) ** 8, "kraken": Decimal(10) ** 9, "bitstamp": Decimal(10) ** 8}  # units in one
SIZE, NANO = Decimal(10) ** 8, Decimal(10) ** 9
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_BOOK = re.compile(r"book-(\d+)")
MBP, LAST, SNAPSHOT = int(Flag.MBP), int(Flag.LAST), int(Flag.SNAPSHOT)


class MalformedError(Exception):
    """This text is no message of this venue."""


class Said(NamedTuple):
    """One event, in the units of the records."""

    action: str
    symbol: str
    side: str = "N"
    price: int | None = None
    size: int = 0
    flags: int = 0
    order_id: int = 0
    channel_seq: int = 0
    ts_event: int = 0
    price_text: str = ""
    size_text: str = ""


def need(condition: object) -> None:
    if not condition:
        raise MalformedError


class Number(str):
    """A JSON number as it was written."""


def loads(text: bytes) -> Any:
    """A JSON text by RFC 8259: numbers as they were written, no NaN. Raises MalformedError."""

    def constant(_: str) -> Any:
        raise MalformedError

    try:
        return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=constant)
    except (ValueError, RecursionError):
        raise MalformedError from None


def units(value: Any, scale: Decimal, maximum: int = 2**63 - 1) -> int:
    """A decimal, as a text or a number, in whole units. Raises MalformedError if it is none, or does not fit."""
    need(isinstance(value, str) and _DECIMAL.fullmatch(value))
    made = Decimal(value) * scale
    need(made == made.to_integral_value() and abs(made) <= maximum)
    return int(made)


def size(value: Any) -> int:
    made = units(value, SIZE)
    need(made >= 0)
    return made


def whole(value: Any) -> int:
    made = units(value, Decimal(1))
    need(made >= 0)
    return made


def iso(value: Any) -> int:
    """ISO 8601 in UTC as ns since the Unix epoch."""
    found = _ISO.fullmatch(value) if isinstance(value, str) else None
    need(found)
    assert found
    try:
        seconds = datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise MalformedError from None
    return int(seconds) * 10**9 + int((found[2] or "0").ljust(9, "0"))


def levels(rows: Any) -> Iterable[list[Any]]:
    need(isinstance(rows, list))
    for row in rows:
        need(isinstance(row, list) and len(row) >= 2)
        yield row


def ended(out: list[Said]) -> list[Said]:
    """The last event of a message is LAST."""
    return [*out[:-1], out[-1]._replace(flags=out[-1].flags | LAST)] if out else out


def both_sides(venue: str, said: Said, bids: Any, asks: Any) -> list[Said]:
    """M events of [[price, size], …] of bids, then asks."""
    return [
        said._replace(
            side=side, price=units(row[0], PRICE[venue]), size=size(row[1]), price_text=row[0], size_text=row[1]
        )
        for side, rows in (("B", bids), ("A", asks))
        for row in levels(rows)
    ]


def snapshot(symbol: str, seq: int, ts: int, made: list[Said]) -> list[Said]:
    return ended([Said("R", symbol, flags=SNAPSHOT, channel_seq=seq, ts_event=ts), *made])


def coinbase(text: bytes) -> list[Said]:
    message = loads(text)
    need(isinstance(message, dict))
    kind = message.get("type")
    need(isinstance(kind, str) and not isinstance(kind, Number))
    if kind not in ("snapshot", "l2update", "match"):
        return []
    symbol = message.get("product_id")
    need(isinstance(symbol, str) and not isinstance(symbol, Number) and 0 < len(symbol.encode()) <= 32)
    ts = iso(message["time"]) if kind != "snapshot" or "time" in message else 0
    if kind == "snapshot":
        blank = Said("M", symbol, flags=MBP | SNAPSHOT, ts_event=ts)
        need("bids" in message and "asks" in message)
        return snapshot(symbol, 0, ts, both_sides("coinbase", blank, message["bids"], message["asks"]))
    if kind == "match":
        need(message.get("side") in ("buy", "sell"))
        return [
            Said(
                "T",
                symbol,
                "B" if message["side"] == "sell" else "A",  # the maker's is named
                units(message.get("price"), PRICE["coinbase"]),
                size(message.get("size")),
                LAST,
                whole(message.get("trade_id")),
                0,
                ts,
            )
        ]
    need(isinstance(message.get("changes"), list))
    out = []
    for row in message["changes"]:
        need(isinstance(row, list) and len(row) >= 3 and row[0] in ("buy", "sell"))
        side = "B" if row[0] == "buy" else "A"
        out.append(Said("M", symbol, side, units(row[1], PRICE["coinbase"]), size(row[2]), MBP, ts_event=ts))
    return ended(out)


def kraken(text: bytes) -> list[Said]:
    message = loads(text)
    if isinstance(message, dict):
        return []
    need(isinstance(message, list) and len(message) >= 4)
    *body, channel, symbol = message[1:]
    whole(message[0])
    for word in (channel, symbol):
        need(isinstance(word, str) and not isinstance(word, Number))
    need(0 < len(symbol.encode()) <= 32)
    if channel == "trade":
        need(len(body) == 1 and isinstance(body[0], list))
        out = []
        for row in body[0]:
            need(isinstance(row, list) and len(row) >= 4 and row[3] in ("b", "s"))
            side = "B" if row[3] == "b" else "A"
            ts = units(row[2], NANO)
            out.append(Said("T", symbol, side, units(row[0], PRICE["kraken"]), size(row[1]), ts_event=ts))
        return ended(out)
    book = _BOOK.fullmatch(channel)
    if not book:
        return []
    need(all(isinstance(part, dict) for part in body))
    parts: dict[str, Any] = {}
    for part in body:
        parts |= part
    rows = [row for key in ("bs", "as", "b", "a") if key in parts for row in levels(parts[key])]
    need(all(len(row) >= 3 for row in rows))
    ts = max([units(row[2], NANO) for row in rows], default=0)
    if "as" in parts or "bs" in parts:
        need(not {"a", "b", "c"} & set(parts))
        blank = Said("M", symbol, flags=MBP | SNAPSHOT, ts_event=ts)
        return snapshot(symbol, 0, ts, both_sides("kraken", blank, parts.get("bs", []), parts.get("as", [])))
    need("c" in parts)
    made = both_sides("kraken", Said("M", symbol, flags=MBP, ts_event=ts), parts.get("b", []), parts.get("a", []))
    made.append(Said("N", symbol, size=int(book[1]), flags=LAST, order_id=whole(parts["c"]), ts_event=ts))
    return made


def bitstamp(text: bytes) -> list[Said]:
    message = loads(text)
    need(isinstance(message, dict))
    if message.get("rest") == "depth":
        need(isinstance(message.get("symbol"), str))
        return _bitstamp_book(message["symbol"], message.get("body"), "order_book")
    event, channel, data = message.get("event"), message.get("channel"), message.get("data")
    for stream, kind in (("diff_order_book", "data"), ("order_book", "data"), ("live_trades", "trade")):
        if event == kind and isinstance(channel, str) and channel.startswith(stream + "_"):
            symbol = channel[len(stream) + 1 :]
            if stream != "live_trades":
                return _bitstamp_book(symbol, data, stream)
            need(isinstance(data, dict) and data.get("type") in ("0", "1"))
            stamp = whole(data.get("microtimestamp"))
            return [
                Said(
                    "T",
                    symbol,
                    "B" if data["type"] == "0" else "A",
                    units(data.get("price_str", data.get("price")), PRICE["bitstamp"]),
                    size(data.get("amount_str", data.get("amount"))),
                    LAST,
                    whole(data.get("id")),
                    stamp,
                    stamp * 1000,
                )
            ]
    need(isinstance(event, str) or "rest" in message or "life" in message)
    return []


def _bitstamp_book(symbol: str, data: Any, stream: str) -> list[Said]:
    need(0 < len(symbol.encode()) <= 32 and isinstance(data, dict) and "bids" in data and "asks" in data)
    stamp = whole(data.get("microtimestamp"))
    flags = MBP if stream == "diff_order_book" else MBP | SNAPSHOT
    blank = Said("M", symbol, flags=flags, channel_seq=stamp, ts_event=stamp * 1000)
    made = both_sides("bitstamp", blank, data["bids"], data["asks"])
    return ended(made) if stream == "diff_order_book" else snapshot(symbol, stamp, stamp * 1000, made)


ORACLES: dict[str, Callable[[bytes], list[Said]]] = {"coinbase": coinbase, "kraken": kraken, "bitstamp": bitstamp}


@dataclass
class DictBook:
    """One book: price -> (size, its texts), a dict a side. `checksums` counts those that were right."""

    sides: dict[str, dict[int, tuple[int, str, str]]] = field(default_factory=lambda: {"B": {}, "A": {}})
    checksums: int = 0
    wrong: int = 0
    stamp: int = 0

    def take(self, said: Said) -> None:
        if said.action == "R":
            self.sides = {"B": {}, "A": {}}
        elif said.action == "M":
            assert said.price is not None
            if said.size:
                self.sides[said.side][said.price] = (said.size, said.price_text, said.size_text)
            else:
                self.sides[said.side].pop(said.price, None)
        elif said.action == "N" and said.order_id:
            for side in "BA":
                if len(self.sides[side]) > said.size:
                    for kept in self.best(side)[said.size :]:
                        del self.sides[side][kept[0]]
            right = self.checksum() == said.order_id
            self.checksums, self.wrong = self.checksums + right, self.wrong + (not right)
        self.stamp = said.channel_seq

    def best(self, side: str) -> list[tuple[int, int]]:
        """Prices and sizes, the best first."""
        return [(p, s[0]) for p, s in sorted(self.sides[side].items(), reverse=side == "B")]

    def checksum(self) -> int:
        """Kraken's, of the ten best of each side: crypto-l2.md."""
        words = []
        for side in "AB":
            pick = heapq.nlargest if side == "B" else heapq.nsmallest
            for best in pick(10, self.sides[side]):
                words += [t.replace(".", "").lstrip("0") for t in self.sides[side][best][1:]]
        return zlib.crc32("".join(words).encode())

    @property
    def crossed(self) -> bool:
        return bool(self.sides["B"] and self.sides["A"]) and max(self.sides["B"]) >= min(self.sides["A"])
