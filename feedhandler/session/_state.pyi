from collections.abc import Mapping
from typing import Any

from feedhandler.session._framing import Framing

def dump(framing: Framing) -> dict[str, Any]:
    """A dict that JSON can hold; empty for framings of datagrams, which hold nothing."""

def load(framing: Framing, state: Mapping[str, Any]) -> None:
    """The inverse of dump(). Raises ValueError, nothing being changed, for what cannot have come from it."""
