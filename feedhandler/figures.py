"""How figures and states are written for people: a few characters each, in tables without borders."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {"LIVE": "green", "RECOVERING": "yellow", "STALE": "red", "INIT": "dim"}
SHORT = {
    "QUOTE_ONLY": "quote only",
    "JOINED_LATE": "late start",
    "UNSEQUENCED": "no numbers",
    "UNKNOWN_ORDER": "unknown id",
    "OVER_EXECUTION": "over-exec",
    "DUPLICATE_ORDER": "duplicate",
    "PRICE_RANGE": "price",
    "WRITER_DIED": "died",
    "SESSION_ENDED": "ended",
    "RECOVERING": "RECOV",
}


def amount(number: float) -> str:
    """A count in at most six characters: 950, 12.3k, 4.56M."""
    if number < 9999.5:
        return f"{number:.0f}"
    for divisor, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")):
        scaled = number / divisor
        if scaled < 999.5 or unit == "T":
            break
    return f"{scaled:.{_decimals(scaled)}f}{unit}"


def _decimals(number: float) -> int:
    """Places after the point that make three figures."""
    return 2 if number < 9.995 else 1 if number < 99.95 else 0


def duration(nanoseconds: float) -> str:
    """A time span in at most six characters: 850ns, 12.3µs, 4.56ms, 2.10s."""
    if nanoseconds < 999.5:
        return f"{nanoseconds:.0f}ns"
    for divisor, unit in ((1e3, "µs"), (1e6, "ms"), (1e9, "s")):
        scaled = nanoseconds / divisor
        if scaled < 999.5 or unit == "s":
            break
    return f"{scaled:.{_decimals(scaled)}f}{unit}"


def price_text(price: int | None, exponent: int = -9, decimals: int = 4) -> str:
    """A price as people write it, with `decimals` places and more only where the price has them; "" for none."""
    if price is None:
        return ""
    if exponent >= 0:
        return str(price * 10**exponent)
    digits = f"{abs(price):0{-exponent + 1}d}"
    whole, fraction = digits[:exponent], digits[exponent:]
    kept = fraction[: max(decimals, len(fraction.rstrip("0")))]
    return ("-" if price < 0 else "") + (f"{whole}.{kept}" if kept else whole)


def shown_decimals(tick: int, exponent: int, sent: int) -> int:
    """Decimals that an instrument's prices are written with: its tick's where it is known, else as many as are sent."""
    if tick <= 0 or exponent >= 0:
        return sent
    places = -exponent
    while places and tick % 10 == 0:
        tick, places = tick // 10, places - 1
    return places


def quantity(value: float) -> str:
    """A size, whole or not, in three figures where it is not a count: 12.3k, 950, 0.025, 1.23e-05."""
    return amount(value) if value >= 99.95 else f"{value:.3g}"


def size_text(size: int, exponent: int = 0) -> str:
    """A size in units of 10^exponent, as people write it."""
    return quantity(size * 10.0**exponent)


def visible(text: str) -> str:
    """Text that came over the wire, as it may be shown on a terminal: what is not printable is written \\x1b."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def kinds_text(types: Mapping[str, int]) -> str:
    """Messages by type: A×12 D×9."""
    return " ".join(f"{visible(kind) or '(empty)'}×{count}" for kind, count in sorted(types.items()))


def rate(now: int, before: int, nanoseconds: int) -> float:
    """Per second; 0 where there is no earlier view."""
    return max(0, now - before) * 1e9 / nanoseconds if nanoseconds > 0 else 0.0


def table(*columns: str) -> "Table":
    """A table without borders; columns whose name ends in < are of words, the others of numbers."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column.removesuffix("<"), justify="left" if column.endswith("<") else "right", no_wrap=True)
    return made


def word(text: str, colours: Mapping[str, str]) -> "Text":
    """A state in its colour."""
    from rich.text import Text

    return Text(text, style=colours.get(text, ""))
