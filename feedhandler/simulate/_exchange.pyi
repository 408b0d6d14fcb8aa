from typing import Self, final

from typing_extensions import Buffer

from feedhandler.simulate._trading import TradingFloor
from feedhandler.simulate.market import Market

_Levels = list[tuple[int, int, int]]

@final
class Exchange(TradingFloor):
    """One day of a simulated exchange."""

    def __new__(
        cls,
        market: Market | None = None,
        *,
        symbols: int = 100,
        seed: int = 1,
        messages: int = 1_000_000,
        live_orders: int | None = None,
        duration_s: float = 57_600.0,
        halts: int | None = None,
    ) -> Self: ...
    def produce(self, buffer: Buffer) -> int:
        """Bytes written to `buffer`: whole message blocks, as many as fit; 0 = the day is over."""
    def book(self, symbol: str) -> tuple[_Levels, _Levels]:
        """(bids, asks) now, best first: lists of (price in 1/10000, shares, orders)."""
    @property
    def market(self) -> Market:
        """The options of the day."""
    @property
    def symbols(self) -> list[str]:
        """Symbols in the order of their stock locates, which begin at 1."""
    @property
    def live_orders(self) -> int:
        """Orders that rest in all books now."""
    @property
    def messages(self) -> int:
        """Messages produced so far."""
    @property
    def types(self) -> dict[str, int]:
        """Messages produced so far, by type."""
    @property
    def now(self) -> int:
        """Time of the last message, ns since midnight."""
    @property
    def done(self) -> bool:
        """The day is over."""
