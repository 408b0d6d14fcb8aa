from typing import Any

FAULTS: tuple[str, ...]

def value(data: Any, exponent: int = -9) -> tuple[Any, str]:
    """The text as Python objects, numbers in units of 10^exponent, and what was wrong ("" = nothing)."""

def skips(data: Any) -> bool:
    """Whether the text is one value of JSON."""

def decimal(data: Any, exponent: int) -> int | str:
    """A text that is one decimal, in units of 10^exponent; else what was wrong."""

def whole(data: Any) -> int | str:
    """A text that is one whole number of at least 0; else what was wrong."""

def wholes(data: Any) -> list[int] | str:
    """A text that is an array of whole numbers of at least 0; else what was wrong."""

def levels(
    data: Any, price_exponent: int = -9, size_exponent: int = -8, room: int = 1000
) -> list[tuple[int, int]] | str:
    """A text that is one array of levels: [(price, size)]; else what was wrong."""
