from typing import Any, Literal, final

from feedhandler.book._book import Books

@final
class OrderBook(Books):
    """Order-by-order books."""

    def __init__(
        self,
        slots: Any,
        *,
        depth: int = 10,
        instruments: int | None = None,
        orders: int = 1048576,
        level_bytes: int | None = None,
        policy: int | None = None,
        crossed_ms: int = 1000,
        price_quantum: int = 100_000,
        prefetch: bool = True,
        vectors: int | Literal["plain"] = 512,
    ) -> None: ...
    @property
    def vectors(self) -> int | Literal["plain"]:
        """Bits of the widest vectors in use: 128, 256 or 512; or "plain"."""
    @property
    def live_orders(self) -> int:
        """Orders that rest in all books together."""
    @property
    def memory_bytes(self) -> dict[str, int]:
        """Bytes taken, by what for."""
