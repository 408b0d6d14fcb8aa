"""What a handler says to a WebSocket venue and asks of its REST service: pure functions, no socket, no clock.

Each protocol's folder has a module `venue` with a `VENUE` of this class; `venue()` finds it by its protocol's name.
The control path (`feedhandler.session`, `feedhandler.recovery.rest`) sends what these functions make and hands what
comes back to `depth_text` and `instruments_text`, whose texts travel on the channel's control line to the decoder.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum
from importlib import import_module
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit, urlunsplit

from feedhandler.errors import ConfigError, SessionError
from feedhandler.session.texts import depth_answer

SYMBOL_BYTES = 32  # InstrumentRecord.symbol
SIZE_EXPONENT = -8  # of instruments that nothing else is known of, and of those with fine lots
SIZE_COARSE = -4  # of lots of at least that: their sizes are large


class Cause(Enum):
    """Why a connection ended or a request was refused: what comes next depends on it."""

    NETWORK = "network"  # cut, timed out, refused: back off from the shortest wait
    PLANNED = "planned"  # the venue said so before, or its day is over: connect again at once
    SERVER = "server"  # the venue is down, restarting or overloaded: back off
    RATE_LIMITED = "rate limited"  # we asked too often: the longest waits, more makes it worse
    POLICY = "policy"  # what we do is not allowed: long waits, and words for people
    AUTH_EXPIRED = "authentication expired"  # authenticate again at once
    PROTOCOL = "protocol error"  # one of the two sides sent what the protocol forbids: back off, count
    REQUEST = "bad request"  # what was asked for does not exist: asking again will not help


class Heard(Enum):
    """What a text that is no market data says to the control path."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    REFUSED = "refused"  # a subscription or another message of ours
    HEARTBEAT = "heartbeat"  # the connection lives
    RECONNECT = "reconnect"  # open another connection now, this one ends soon
    STATUS = "status"  # of the venue, for people


@dataclass(frozen=True)
class Said:
    """One text for the control path. `symbols` and `stream` are empty where the text does not name them.

    `listed`: (symbol, stream) of an answer that tells all that is subscribed, which may be nothing; None: it does not.
    """

    what: Heard
    symbols: tuple[str, ...] = ()
    stream: str = ""
    reason: str = ""
    request: int = 0  # number of the message of ours that this answers; 0 = not said
    depth: int = 0  # levels a side that were granted; 0 = not said
    listed: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True)
class Heartbeat:
    """How a live connection shows that it lives when the market is quiet.

    every_s  something (data, a heartbeat text or a ping) comes at least this often
    ask      a text that the venue answers, where it says nothing by itself; sent every `ask_every_s`
    """

    every_s: float
    ask: str = ""
    ask_every_s: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What the venue allows on its WebSocket. A 0 says that no limit is published."""

    messages: int = 0  # of ours on one connection, within `messages_s`
    messages_s: float = 1.0
    streams: int = 0  # on one connection
    connections: int = 0  # attempts from one address, within `connections_s`
    connections_s: float = 0.0
    lifetime_s: float = 0.0  # the venue cuts every connection after so long
    subscribe_within_s: float = 0.0  # and one that has not subscribed after so long


@dataclass(frozen=True)
class RestLimit:
    """A token bucket of the venue's REST service: `burst` weight at once, refilled by `per_s` each second."""

    burst: float
    per_s: float


@dataclass(frozen=True)
class Request:
    """An idempotent GET. `symbol` is empty where the answer is about several."""

    what: Literal["depth", "instruments"]
    url: str
    symbol: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Feed:
    """What one channel wants of its venue, checked: `Venue.feed()` makes it."""

    symbols: tuple[str, ...]
    streams: tuple[str, ...]
    depth: int = 0  # levels a side; 0 = the venue's default

    def of(self, symbol: str) -> Feed:
        """The same of one symbol."""
        return Feed((symbol,), self.streams, self.depth)


@dataclass(frozen=True)
class Instrument:
    """What the venue's REST service says of one instrument, in the venue's own decimals."""

    symbol: str
    tick: Decimal | None = None  # smallest price step
    lot: Decimal | None = None  # smallest size step
    price_decimals: int | None = None  # as sent on the wire; None where only the wire tells
    size_decimals: int | None = None

    def row(self, price_exponent: int) -> dict[str, Any]:
        """As it stands in an `instruments` text of the control line; `price_exponent` is what the venue's have.

        A finer tick or lot makes a finer exponent. The zeros that a venue sends behind a tick or lot count for nothing.
        """
        tick = decimals(self.tick) if self.tick else self.price_decimals or 0
        lot = decimals(self.lot) if self.lot else self.size_decimals or 0
        coarse = self.lot is not None and lot <= -SIZE_COARSE
        row: dict[str, Any] = {"symbol": self.symbol, "tick": _plain(self.tick), "lot": _plain(self.lot)}
        if self.price_decimals is not None:
            row["price_decimals"] = self.price_decimals
        if self.size_decimals is not None:
            row["size_decimals"] = self.size_decimals
        row["price_exponent"] = min(price_exponent, -tick)
        row["size_exponent"] = SIZE_COARSE if coarse else min(SIZE_EXPONENT, -lot)
        return row


@dataclass(frozen=True)
class Venue(ABC):
    """One venue: the fields are facts about it (sources: its folder's SOURCES.md), the methods build and read texts."""

    name: ClassVar[str]
    example: ClassVar[str]  # of a symbol
    url: str  # where its WebSocket is
    rest: str  # and its REST service
    streams: tuple[
        str, ...
    ]  # that the decoder reads; the first is the default book, `defaults` is what is taken if none is named
    defaults: tuple[str, ...]
    books: tuple[str, ...]  # of `streams`, those that make books
    depths: tuple[int, ...]  # that can be asked for, ascending; the last is the default
    snapshots: Literal["rest", "socket"]  # where a book begins
    numbered: bool  # updates of two connections can be told apart: lines A and B; else the second is a hot standby
    heartbeat: Heartbeat
    limits: Limits
    rest_limit: RestLimit
    close_causes: dict[int, Cause] = field(default_factory=dict)  # beyond those of RFC 6455
    subprotocols: tuple[str, ...] = ()
    credentials: tuple[
        str, ...
    ] = ()  # that sign() takes, by their names in [channel.credentials]; () = it does not sign
    signed: tuple[str, ...] = ()  # of `streams`: what is refused to those who do not sign
    price_exponent: int = -9  # of its instruments; -8 where orders rest at prices that are too large for -9

    # -- what is wanted -------------------------------------------------------------------------------------------

    def symbol(self, text: str) -> str:
        """A symbol as the venue's messages spell it. Raises ConfigError."""
        if not text or not text.isascii() or not text.isprintable() or any(c in ' "\\' for c in text):
            raise ConfigError(f"{self.name}: {text!r} is no symbol; expected the venue's own name, {self.example}")
        if len(text) > SYMBOL_BYTES:
            raise ConfigError(f"{self.name}: the symbol {text!r} has more than {SYMBOL_BYTES} characters")
        return text

    def feed(self, symbols: Iterable[str], streams: Iterable[str] = (), depth: int = 0) -> Feed:
        """What a channel wants, checked. Raises ConfigError that says what is wrong and what is possible."""
        wanted = tuple(dict.fromkeys(self.symbol(s) for s in symbols))
        kinds = tuple(dict.fromkeys(streams)) or self.defaults
        if not wanted:
            raise ConfigError(f"{self.name}: symbols is empty; name at least one, {self.example}")
        for stream in kinds:
            if stream not in self.streams:
                raise ConfigError(f"{self.name}: unknown stream {stream!r}; known are {', '.join(self.streams)}")
        books = [s for s in kinds if s in self.books]
        if len(books) > 1:
            raise ConfigError(f"{self.name}: {' and '.join(books)} make the same book; choose one of them")
        if depth and depth not in self.depths:
            possible = ", ".join(map(str, self.depths)) if self.depths[-1] else "none but the whole book: leave it out"
            raise ConfigError(f"{self.name}: depth is {depth}; possible: {possible}")
        count = len(wanted) * len(kinds)
        if self.limits.streams and count > self.limits.streams:
            raise ConfigError(
                f"{self.name}: {count} streams on one connection, {self.limits.streams} are allowed; use more channels"
            )
        return Feed(wanted, kinds, depth or self.usual_depth(wanted))

    def endpoint(self, url: str = "") -> str:
        """The URL to connect to: the configured one, or the venue's own. Raises ConfigError."""
        parts = urlsplit(url or self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ConfigError(f"url is {url!r}: expected wss://host/path or ws://host/path")
        return urlunsplit(parts._replace(path=parts.path or urlsplit(self.url).path or "/", fragment=""))

    def usual_depth(self, symbols: tuple[str, ...]) -> int:
        """The depth of books of these symbols, where none is asked for: the greatest that there is."""
        return self.depths[-1]

    def first_books_s(self, feed: Feed) -> float:
        """Seconds until the snapshots of all symbols have been asked for once, within the limit of the REST service."""
        if not any(stream in self.books for stream in feed.streams):
            return 0.0
        asked = [self.snapshot(feed, symbol) for symbol in feed.symbols]
        weight = self.instruments(feed).weight + sum(request.weight for request in asked if request is not None)
        return max(0.0, weight - self.rest_limit.burst) / self.rest_limit.per_s

    # -- what is said on the WebSocket ----------------------------------------------------------------------------

    @abstractmethod
    def subscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        """The texts to send after the handshake; `number` is that of the first, where the venue numbers them."""

    @abstractmethod
    def unsubscribe(self, feed: Feed, number: int = 1) -> tuple[str, ...]:
        """The texts that end what `subscribe` began."""

    def resubscribe(self, feed: Feed, symbol: str, number: int = 1) -> tuple[str, ...]:
        """The texts that make the venue begin one symbol's book again, and touch no other symbol nor stream."""
        book = Feed((symbol,), tuple(s for s in feed.streams if s in self.books), feed.depth)
        out = self.unsubscribe(book, number)
        return out + self.subscribe(book, number + len(out))

    def sign(self, said: str, credentials: Mapping[str, str], now: float) -> str:
        """A text of ours with what proves who we are, at `now` (s since the Unix epoch); what needs no proof, as it is.

        Raises ConfigError where the credentials cannot be the venue's. No sentence shows any of them.
        """
        raise ConfigError(f"{self.name}: its market data is for everybody: leave [channel.credentials] out")

    def heard(self, text: bytes | str) -> Said | None:
        """What a text says to the control path; None: it is market data, of no known kind, or no JSON."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return self.read(message) if isinstance(message, dict) else None

    @abstractmethod
    def read(self, message: dict[str, Any]) -> Said | None:
        """`heard` of a text that is a JSON object."""

    def cause(self, code: int, reason: str = "") -> Cause:
        """Why a connection ended, by its close code (1006: without one) and the reason text."""
        words = reason.lower()
        if any(w in words for w in ("rate limit", "too many", "limit exceeded", "throttl")):
            return Cause.RATE_LIMITED
        return (_CLOSE | self.close_causes).get(code, Cause.NETWORK)

    def refusal(self, status: int, headers: dict[str, str] | None = None) -> Cause:
        """Why an HTTP request (a REST call, an upgrade) was refused, by its status."""
        if status in (418, 420, 429, 509):
            return Cause.RATE_LIMITED
        if status == 401:
            return Cause.AUTH_EXPIRED
        if status in (403, 451):
            return Cause.POLICY
        return Cause.REQUEST if 400 <= status < 500 and status not in (408, 425) else Cause.SERVER

    # -- what is asked of the REST service ------------------------------------------------------------------------

    def snapshot(self, feed: Feed, symbol: str, rest: str = "") -> Request | None:
        """The request for one book; None where the book comes on the socket (resubscribe)."""
        return None

    @abstractmethod
    def instruments(self, feed: Feed, rest: str = "") -> Request:
        """The request for tick, lot and decimals of all symbols."""

    def depth_text(self, symbol: str, body: bytes) -> bytes:
        """A book's answer as a text of the control line, its body unchanged. Raises SessionError if it is no book."""
        answer = self._json(body, "depth")
        if not isinstance(answer, dict) or not self.book(answer):
            raise SessionError(f"{self.name}: the answer for {symbol} is no order book: {_start(body)}")
        return depth_answer(symbol, body)

    def book(self, answer: dict[str, Any]) -> bool:
        """Whether a REST answer has the parts of a book."""
        return False

    def instruments_text(self, feed: Feed, body: bytes) -> bytes:
        """The `instruments` text of the control line; symbols the answer lacks are left out. Raises SessionError."""
        rows = [found.row(self.price_exponent) for found in self.described(feed, self._json(body, "instruments"))]
        return json.dumps({"rest": "instruments", "body": rows}, separators=(",", ":")).encode()

    @abstractmethod
    def described(self, feed: Feed, answer: Any) -> list[Instrument]:
        """The wanted instruments of a parsed answer. Raises SessionError if it is of another form."""

    def _at(self, rest: str, path: str) -> str:
        """The URL of a path of the REST service: the configured one, or the venue's own."""
        return (rest or self.rest).rstrip("/") + path

    def _json(self, body: bytes, what: str) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise SessionError(f"{self.name}: the answer to the {what} request is no JSON: {_start(body)}") from None

    def _rows(self, feed: Feed, rows: Any, key: str) -> dict[str, dict[str, Any]]:
        """Rows of an answer by symbol, the wanted ones, in the feed's order."""
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SessionError(f"{self.name}: the answer to the instruments request is no list of instruments")
        found = {str(row.get(key)): row for row in rows}
        return {symbol: found[symbol] for symbol in feed.symbols if symbol in found}


_CLOSE = {
    1001: Cause.PLANNED,  # going away
    1002: Cause.PROTOCOL,
    1003: Cause.PROTOCOL,
    1007: Cause.PROTOCOL,
    1008: Cause.POLICY,
    1009: Cause.PROTOCOL,
    1010: Cause.PROTOCOL,
    1011: Cause.SERVER,  # internal error
    1012: Cause.PLANNED,  # service restart
    1013: Cause.SERVER,  # try again later
    1014: Cause.SERVER,  # bad gateway
}


def venue(name: str) -> Venue:
    """The venue of a protocol. Raises ConfigError if the protocol is not spoken over WebSockets."""
    try:
        found = import_module(f"feedhandler.decode.{name}.venue").VENUE
    except ModuleNotFoundError:
        from feedhandler.decode import protocol

        protocol(name)  # says which names there are
        raise ConfigError(f"the protocol {name!r} has no WebSocket venue") from None
    assert isinstance(found, Venue)
    return found


def text(message: object) -> str:
    """A message of ours as compact JSON."""
    return json.dumps(message, separators=(",", ":"))


def pieces(items: Sequence[str], count: int) -> list[list[str]]:
    """Lists of at most `count` items each."""
    return [list(items[i : i + count]) for i in range(0, len(items), count)]


def decimal(value: object) -> Decimal | None:
    """A decimal of a REST answer, text or number, exactly; None if it is none or not above 0."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and found > 0 else None


def places(value: object) -> int:
    """A number of decimals in a REST answer; 0 if it is none."""
    return min(value, 30) if isinstance(value, int) and value > 0 else 0


def decimals(value: Decimal | None) -> int:
    """Decimals that a step needs; of None 0."""
    if value is None:
        return 0
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _plain(value: Decimal | None) -> str:
    return "0" if value is None else f"{value.normalize():f}"


def _start(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))
