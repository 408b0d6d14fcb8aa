from typing import Any, final

from feedhandler.book._book import Books

@final
class LevelBook(Books):
    """Books of price levels with full int64 prices, to any depth, in bounded memory."""

    def __init__(
        self,
        slots: Any,
        *,
        depth: int = 10,
        instruments: int | None = None,
        level_bytes: int | None = None,
        policy: int | None = None,
        crossed_ms: int = 1000,
        by_snapshot: bool = ...,
    ) -> None: ...
