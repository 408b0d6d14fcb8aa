"""What kind of day the simulated exchange has: its options, its symbols, its clock."""

from __future__ import annotations

from dataclasses import dataclass

from feedhandler.errors import ConfigError

SECOND = 1_000_000_000
DAY_START = 4 * 3600 * SECOND
DAY_LENGTH = 16 * 3600 * SECOND
SYMBOLS_MAX = 8000
TEST_SYMBOL = "ZVZZT"
KNOWN = (
    *("AAPL", "NVDA", "MSFT", "AMZN", "GOOGL", "META", "TSLA", "AVGO", "COST", "NFLX", "AMD", "ADBE", "PEP", "CSCO"),
    *("INTC", "QCOM", "TXN", "CMCSA", "AMGN", "HON", "INTU", "AMAT", "BKNG", "ISRG", "MU", "LRCX", "ADI", "PANW"),
    *("KLAC", "SBUX", "MDLZ", "GILD", "REGN", "VRTX", "ADP", "MELI", "CSX", "PYPL", "MAR", "ORLY", TEST_SYMBOL),
)
# When each part of the day ends, in seconds since midnight; the order is that of the phases in _exchange.pyx.
TIMETABLE = (
    14_430,  # directory, trading states, market makers
    34_080,  # 09:28: orders before the open
    34_200,  # imbalances before the opening cross
    34_205,  # opening crosses
    36_000,  # the busy half hour
    55_800,
    57_480,  # the busy end
    57_600,  # imbalances before the closing cross
    57_605,  # closing crosses
    72_000,  # after hours
)


@dataclass(frozen=True, kw_only=True)
class Market:
    """The options of a simulated day. The same options give the same bytes on every machine.

    `messages` is the exact length of the day; at least `minimum_messages()`. `live_orders` is how many orders rest in
    all books when trading begins, about as many as do all day; by default 150 a symbol, at most an eighth of the
    messages. `duration_s` squeezes (or stretches) the time stamps of 04:00 to 20:00 into that many seconds from 04:00.
    `halts` is how many trading halts and pauses the day has; by default one and another for each 400 symbols.

    Raises ConfigError for what cannot be had, with the remedy.
    """

    symbols: int = 100
    seed: int = 1
    messages: int = 1_000_000
    live_orders: int | None = None
    duration_s: float = 57_600.0
    halts: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.symbols <= SYMBOLS_MAX:
            raise ConfigError(f"simulate: symbols must be 1 to {SYMBOLS_MAX}, not {self.symbols}")
        if not 0 <= self.seed < 1 << 64:
            raise ConfigError(f"simulate: seed must be 0 to 2^64 - 1, not {self.seed}")
        if not 0.001 <= self.duration_s <= 57_600:
            raise ConfigError(f"simulate: duration_s must be 0.001 to 57600 (16 hours), not {self.duration_s}")
        if self.halts is not None and not 0 <= self.halts <= 1000:
            raise ConfigError(f"simulate: halts must be 0 to 1000, not {self.halts}")
        if self.live_orders is not None and not self.symbols <= self.live_orders <= 100_000_000:
            raise ConfigError(
                f"simulate: live_orders must be {self.symbols} (one a symbol) to 100000000, not {self.live_orders}"
            )
        if self.messages < self.minimum_messages():
            raise ConfigError(
                f"simulate: {self.symbols} symbols and {self.orders()} live orders need at least "
                f"{self.minimum_messages()} messages, not {self.messages}"
            )

    def orders(self) -> int:
        """Live orders aimed at."""
        if self.live_orders is not None:
            return self.live_orders
        return max(self.symbols, min(150 * self.symbols, (self.messages - 16 * self.symbols) // 8))

    def minimum_messages(self) -> int:
        """Directory, crosses and the orders before the open, and a little trading."""
        needed = 16 * self.symbols + 200 + self.orders() * 5 // 4
        return needed + needed // 32  # a fortieth of the day is after hours

    def halts_wanted(self) -> int:
        """Halts of the day."""
        return 1 + self.symbols // 400 if self.halts is None else self.halts

    def timetable(self) -> list[int]:
        """Ends of the parts of the day in ns since midnight, squeezed into `duration_s`."""
        length = round(self.duration_s * SECOND)
        return [DAY_START + (end * SECOND - DAY_START) * length // DAY_LENGTH for end in TIMETABLE]

    def names(self) -> list[str]:
        """Symbols, best known first; the market lists them in alphabetical order, as Nasdaq numbers its own."""
        return [*KNOWN[: self.symbols], *("Z" + _letters(i) for i in range(self.symbols - len(KNOWN)))]


def _letters(i: int) -> str:
    return "".join(chr(65 + i // 26**place % 26) for place in (2, 1, 0))
