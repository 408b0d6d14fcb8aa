from array import array
from typing import Any

def decode_floor(buffer: Any) -> tuple[int, int]:
    """Messages of an ITCH 5.0 BinaryFILE, and the CPU nanoseconds a bare C loop takes to read their fields."""

def chase(length: int, hops: int = 1_000_000) -> float:
    """CPU nanoseconds of one dependent load from a random cache line of `length` bytes."""

def lateness(period_ns: int, count: int) -> array[int]:
    """Nanoseconds by which a loop that does nothing but look at the clock sees each due time too late."""
