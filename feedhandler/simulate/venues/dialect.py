"""What one venue says: the machine behind its sockets, without sockets and without a clock.

A `Dialect` holds the books. What happens to them (`changed`), what is due (`due`, `beat`) and what a client says
(`opened`, `heard`) goes in; texts to send come out, each with the stream that it belongs to. Times are ns since the
Unix epoch.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from feedhandler.errors import ConfigError
from feedhandler.simulate.venues.market import BID, Book, Change, Market, Reference, Step, reference, text

MS, US, SECOND = 1_000_000, 1_000, 1_000_000_000


class Out(NamedTuple):
    """A text to send: to all that subscribed to `stream`, or as a reply ("")."""

    stream: str
    symbol: str
    kind: str
    """update, snapshot, trade, top, or life: what says nothing of a book."""
    text: str


class Answer(NamedTuple):
    """A REST answer."""

    status: int
    body: str


@dataclass(eq=False)
class Session:
    """What a venue knows of one connection."""

    streams: set[str] = field(default_factory=set)
    wrapped: bool = False
    """Texts come as {"stream": …, "data": …} (Binance's combined streams)."""


class Dialect(abc.ABC):
    """A venue's protocol and its books."""

    name: ClassVar[str]
    path: ClassVar[str] = "/"
    markets: ClassVar[tuple[Market, ...]]
    depths: tuple[int, ...] = ()
    """That can be subscribed to, where a subscription names one."""

    asks: ClassVar[tuple[str, ...]] = ()
    """Names of the credentials that its customers sign with."""

    def __init__(self, symbols: Sequence[str] | None = None, batch_ms: float | None = None) -> None:
        """`symbols`: those of `markets`, or new ones, which trade like the first; `batch_ms`: instead of the venue's
        own time between two updates of a level stream that is not told change by change."""
        self.credentials: dict[str, str] = {}
        known = {market.symbol: market for market in self.markets}
        chosen = list(known) if symbols is None else list(symbols)
        if not chosen:
            raise ConfigError("simulate: a venue needs at least one symbol")
        self.books = {symbol: Book(known.get(symbol) or self._like(symbol)) for symbol in chosen}
        self.batch_ms = batch_ms
        self.numbers = dict.fromkeys(self.books, 0)
        self.empty: set[str] = set()  # symbols of a log that is played, whose book has not begun
        self.trades = {symbol: 1_000_000 * (i + 1) for i, symbol in enumerate(self.books)}

    @classmethod
    def _like(cls, symbol: str) -> Market:
        return replace(cls.markets[0], symbol=symbol)

    def between(self, own_ms: float) -> int:
        """ns between two updates of a batched stream, of which the venue itself has so many ms."""
        return round((own_ms if self.batch_ms is None else self.batch_ms) * MS)

    def reference(self, symbol: str, depth: int | None = None) -> Reference:
        """The venue's own book now."""
        return reference(self.books[symbol], self.numbers[symbol], depth)

    def form(self, session: Session, out: Out) -> str:
        """A text as this connection gets it."""
        return out.text

    def sign_with(self, credentials: Mapping[str, str]) -> None:
        """What its one customer signs with from here on. Raises ConfigError."""
        if not self.asks:
            raise ConfigError(f"simulate: {self.name} asks nobody who he is: leave out the credentials")
        if set(credentials) != set(self.asks):
            raise ConfigError(f"simulate: credentials of {self.name} are {', '.join(self.asks)}: give these")
        self.credentials = dict(credentials)

    @abc.abstractmethod
    def opened(self, session: Session, path: str, query: Mapping[str, str], now: int) -> list[Out]:
        """A connection is open: what it is greeted with. Raises LookupError for a path that is not served."""

    @abc.abstractmethod
    def heard(self, session: Session, said: str, now: int) -> list[Out]:
        """What a text from a client is answered with; changes its streams."""

    @abc.abstractmethod
    def changed(self, step: Step, now: int, wanted: set[str]) -> list[Out]:
        """What is told of a step that has been done to the books. `wanted`: the streams that somebody listens to."""

    def due(self, now: int, everything: bool = False) -> list[Out]:
        """Updates that are told batch by batch, whose time has come; or all that wait."""
        return []

    def beat(self, now: int, wanted: set[str]) -> list[Out]:
        """What is told each second."""
        return []

    def waits(self, path: str, query: Mapping[str, str]) -> bool:
        """Whether a request is for a book that has not begun."""
        asked = {*path.split("/"), *query.values()}
        return ("depth" in asked or "order_book" in asked) and not self.empty.isdisjoint(asked)

    @abc.abstractmethod
    def rest(self, path: str, query: Mapping[str, str], now: int) -> Answer:
        """A REST answer."""


class Pending:
    """What a batched stream has not told yet: the last total of each level."""

    def __init__(self, told: int, now: int) -> None:
        self.first = self.told = told  # numbers: of the first change that waits, of the last one told
        self.since = now
        self.levels: dict[tuple[str, int], int] = {}

    def add(self, changes: Iterable[Change], now: int, number: int = 0) -> None:
        if not self.levels:
            self.since, self.first = now, number
        for change in changes:
            self.levels[change.side, change.price] = change.size

    def due(self, now: int, interval: int, everything: bool) -> bool:
        """Whether something waits, and has waited for so many ns; `everything`: however long."""
        return bool(self.levels) and (everything or now - self.since >= interval)

    def texts(self, market: Market, side: str) -> list[tuple[str, str]]:
        """Levels of a side as texts: as venues sort them, bids falling, asks rising."""
        chosen = sorted(((p, s) for (own, p), s in self.levels.items() if own == side), reverse=side == BID)
        return [market.level(price, size) for price, size in chosen]


def said_object(said: str) -> dict[str, Any]:
    """A client's text as an object; anything else is no request."""
    try:
        value = json.loads(said)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def dump(value: Any) -> str:
    """JSON without blanks."""
    return json.dumps(value, separators=(",", ":"))


def seconds(now: int) -> str:
    """Seconds with six decimals."""
    return text(now // US, 6)


def iso(now: int) -> str:
    """ISO 8601 with microseconds and Z."""
    import datetime

    moment = datetime.datetime.fromtimestamp(now // SECOND, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now // US % 1_000_000:06d}Z"
