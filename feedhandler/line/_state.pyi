from collections.abc import Mapping
from typing import Any

from feedhandler.line._arbiter import Arbiter

def dump(arbiter: Arbiter) -> dict[str, Any]:
    """All that decides what becomes of the next packet, as a dict that JSON can hold."""

def load(arbiter: Arbiter, state: Mapping[str, Any]) -> None:
    """The inverse of dump(). Raises ValueError for what cannot have come from it."""
