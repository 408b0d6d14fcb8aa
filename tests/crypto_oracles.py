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

PRICE = {"coinbase": -8, "kraken": -9, "bitstamp": -8}
"""Exponents of instruments that nobody has described."""
NANO = -9
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_BOOK = re.compile(r"book-(?!0+$)(\d{1,6})", re.ASCII)
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


class Object(dict[str, Any]):
    """A JSON object that knows which of its keys it had twice."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        keys = [key for key, _ in members]
        self.twice = frozenset(key for key in keys if keys.count(key) > 1)

    def used(self, *keys: str) -> None:
        """Of a key that counts, and is there twice, nobody knows which value is meant."""
        need(not self.twice & set(keys))


def loads(text: bytes, members: Callable[[list[tuple[str, Any]]], Any] = Object) -> Any:
    """A JSON text by RFC 8259: numbers as they were written, no NaN; `members` makes objects. Raises MalformedError."""

    def constant(_: str) -> Any:
        raise MalformedError

    try:
        return json.loads(
            text.decode(), parse_float=Number, parse_int=Number, parse_constant=constant, object_pairs_hook=members
        )
    except (ValueError, RecursionError):
        raise MalformedError from None


def units(value: Any, exponent: int) -> int:
    """A decimal, text or number, in units of 10^exponent. Raises MalformedError if it is none, or does not fit."""
    need(isinstance(value, str) and _DECIMAL.fullmatch(value))
    try:
        sign, digits, power = Decimal(value).as_tuple()
    except ArithmeticError:
        raise MalformedError from None
    assert isinstance(power, int)
    number = int("".join(map(str, digits)))
    if number == 0:
        return 0
    while number % 10 == 0:
        number, power = number // 10, power + 1
    need(0 <= power - exponent <= 18)
    made = number * 10 ** (power - exponent)
    need(made < 2**63)
    return -made if sign else made


def word(value: Any) -> bool:
    """Whether a value is a JSON text."""
    return isinstance(value, str) and not isinstance(value, Number)


def size(value: Any) -> int:
    made = units(value, -8)
    need(made >= 0)
    return made


def whole(value: Any) -> int:
    made = units(value, 0)
    need(made >= 0)
    return made


def iso(value: Any) -> tuple[int, int]:
    """ISO 8601 in UTC as ns since the Unix epoch, and 0; or 0 and BAD_TS."""
    found = _ISO.fullmatch(value) if word(value) else None
    try:
        seconds = datetime.fromisoformat(found[1]).replace(tzinfo=UTC) if found else None
    except ValueError:
        seconds = None
    if not found or not seconds or not 1970 <= seconds.year <= 2261:
        return 0, int(Flag.BAD_TS)
    since = seconds - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 10**9 + int((found[2] or "0").ljust(9, "0")), 0


def levels(rows: Any) -> Iterable[list[Any]]:
    need(isinstance(rows, list))
    for row in rows:
        need(isinstance(row, list) and len(row) >= 2)
        yield row


def ended(out: list[Said]) -> list[Said]:
    """The last event of a message is LAST."""
    return [*out[:-1], out[-1]._replace(flags=out[-1].flags | LAST)] if out else out


def changes(venue: str, said: Said, parts: dict[str, Any], bids: str, asks: str) -> list[Said]:
    """M events of [[price, size], …] of both sides, in the order of the text."""
    return [
        said._replace(
            side="B" if key == bids else "A",
            price=units(row[0], PRICE[venue]),
            size=size(row[1]),
            price_text=row[0],
            size_text=row[1],
        )
        for key, rows in parts.items()
        if key in (bids, asks)
        for row in levels(rows)
    ]


def whole_book(said: Said, made: list[Said]) -> list[Said]:
    return ended([said._replace(action="R", flags=said.flags & ~MBP), *made])


def known(symbol: str, made: list[Said]) -> list[Said]:
    """The symbol as the directory keeps it; nothing of an instrument that it cannot hold."""
    need(symbol)
    kept = symbol.rstrip(" \0")
    if not 0 < len(kept) <= 32 or any(not " " <= letter <= "~" for letter in kept):
        return []
    return [said._replace(symbol=kept) for said in made]


def coinbase(text: bytes) -> list[Said]:
    message = loads(text)
    need(isinstance(message, Object))
    message.used("type", "product_id", "changes", "bids", "asks", "time", "price", "size", "side", "trade_id")
    kind, symbol = message.get("type"), message.get("product_id")
    need(word(kind))
    if kind not in ("snapshot", "l2update", "match"):
        return []
    need(word(symbol))
    ts, bad = iso(message.get("time"))
    if kind == "snapshot":
        said = Said("M", symbol, flags=MBP | SNAPSHOT | bad, ts_event=ts)
        need("bids" in message and "asks" in message)
        return known(symbol, whole_book(said, changes("coinbase", said, message, "bids", "asks")))
    if kind == "match":
        need({"price", "size", "trade_id"} <= set(message) and message.get("side") in ("buy", "sell"))
        side = "B" if message["side"] == "sell" else "A"  # the maker's is named
        paid, sold = units(message["price"], PRICE["coinbase"]), size(message["size"])
        made = Said("T", symbol, side, paid, sold, LAST | bad, whole(message["trade_id"]), 0, ts)
        return known(symbol, [made])
    need(isinstance(message.get("changes"), list))
    out = []
    for row in message["changes"]:
        need(isinstance(row, list) and len(row) >= 3 and word(row[0]) and row[0] in ("buy", "sell"))
        side = "B" if row[0] == "buy" else "A"
        price = units(row[1], PRICE["coinbase"])
        out.append(Said("M", symbol, side, price, size(row[2]), MBP | bad, ts_event=ts))
    return known(symbol, ended(out or [Said("N", symbol, flags=bad, ts_event=ts)]))


def kraken(text: bytes) -> list[Said]:
    message = loads(text)
    if isinstance(message, Object):
        return []
    need(isinstance(message, list) and len(message) >= 2)
    *body, channel, symbol = message
    need(word(channel) and word(symbol))
    book = _BOOK.fullmatch(channel)
    if channel != "trade" and not book:
        return []
    need(len(body) >= 2)
    whole(body.pop(0))
    if channel == "trade":
        need(len(body) == 1 and isinstance(body[0], list))
        out = []
        for row in body[0]:
            need(isinstance(row, list) and len(row) >= 4 and word(row[3]) and row[3] in ("b", "s"))
            side, ts = "B" if row[3] == "b" else "A", units(row[2], NANO)
            need(ts >= 0)
            out.append(Said("T", symbol, side, units(row[0], PRICE["kraken"]), size(row[1]), ts_event=ts))
        return known(symbol, ended(out))
    assert book
    parts: dict[str, Any] = {}
    for part in body:
        need(isinstance(part, Object))
        part.used("a", "b", "as", "bs", "c")
        need(not set(part) & set(parts) & {"a", "b", "as", "bs", "c"})
        parts |= part
    rows = [row for key in ("bs", "as", "b", "a") if key in parts for row in levels(parts[key])]
    need(all(len(row) >= 3 and units(row[2], NANO) >= 0 for row in rows))
    ts = max([units(row[2], NANO) for row in rows], default=0)
    if "as" in parts or "bs" in parts:
        need(not {"a", "b", "c"} & set(parts) and {"as", "bs"} <= set(parts))
        said = Said("M", symbol, flags=MBP | SNAPSHOT, ts_event=ts)
        return known(symbol, whole_book(said, changes("kraken", said, parts, "bs", "as")))
    need("c" in parts)
    made = changes("kraken", Said("M", symbol, flags=MBP, ts_event=ts), parts, "b", "a")
    made.append(Said("N", symbol, size=int(book[1]), flags=MBP | LAST, order_id=whole(parts["c"]), ts_event=ts))
    return known(symbol, made)


def bitstamp(text: bytes) -> list[Said]:
    message = loads(text)
    need(isinstance(message, Object))
    if message.get("rest") == "depth":
        need(word(message.get("symbol")))
        return _bitstamp_book(message["symbol"], message.get("body"), "order_book")
    message.used("event", "channel", "data")
    event, channel, data = message.get("event"), message.get("channel"), message.get("data")
    for stream, kind in (("diff_order_book", "data"), ("order_book", "data"), ("live_trades", "trade")):
        if (
            word(event)
            and event == kind
            and word(channel)
            and channel.startswith(stream + "_")
            and channel != stream + "_"
        ):
            symbol = channel[len(stream) + 1 :]
            if stream != "live_trades":
                return _bitstamp_book(symbol, data, stream)
            need(isinstance(data, Object))
            data.used("microtimestamp", "bids", "asks", "id", "type", "price", "price_str", "amount", "amount_str")
            need({"id", "type"} <= set(data) and whole(data["type"]) < 2)
            ts = _stamp(data) * 1000
            paid = units(data.get("price_str", data.get("price")), PRICE["bitstamp"])
            sold = size(data.get("amount_str", data.get("amount")))
            side = "A" if whole(data["type"]) else "B"
            return known(symbol, [Said("T", symbol, side, paid, sold, LAST, whole(data["id"]), 0, ts)])
    need(word(event))
    return []


def _stamp(data: Object) -> int:
    made = whole(data.get("microtimestamp"))
    need(made * 1000 < 2**63)
    return made


def _bitstamp_book(symbol: str, data: Any, stream: str) -> list[Said]:
    need(isinstance(data, Object) and "bids" in data and "asks" in data)
    data.used("microtimestamp", "bids", "asks")
    stamp = _stamp(data)
    flags = MBP if stream == "diff_order_book" else MBP | SNAPSHOT
    said = Said("M", symbol, flags=flags, channel_seq=stamp, ts_event=stamp * 1000)
    made = changes("bitstamp", said, data, "bids", "asks")
    if flags & SNAPSHOT:
        return known(symbol, whole_book(said, made))
    return known(symbol, ended(made or [said._replace(action="N", flags=0)]))


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
        elif said.action == "N" and said.flags & MBP:
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

    def top(self, side: str, count: int) -> list[tuple[int, int]]:
        """As best(), the first of them."""
        kept = self.sides[side]
        pick = heapq.nlargest if side == "B" else heapq.nsmallest
        return [(price, kept[price][0]) for price in pick(count, kept)]

    def checksum(self) -> int:
        """Kraken's, of the ten best of each side: crypto-l2.md."""
        words = []
        for side in "AB":
            for best, _ in self.top(side, 10):
                words += [t.replace(".", "").lstrip("0") for t in self.sides[side][best][1:]]
        return zlib.crc32("".join(words).encode())

    @property
    def crossed(self) -> bool:
        return bool(self.sides["B"] and self.sides["A"]) and max(self.sides["B"]) >= min(self.sides["A"])
