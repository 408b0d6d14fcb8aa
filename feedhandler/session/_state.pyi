from collections.abc import Mapping
from typing import Any

from feedhandler.session._framing import Framing

def settled(framing: Framing) -> bool:
    """Is no compressed message under way? Only then can the framing be dumped."""

def dump(framing: Framing) -> dict[str, Any]:
    """A dict that JSON can hold; empty for framings of datagrams, which hold nothing. Raises ValueError where it is
    not settled()."""

def load(framing: Framing, state: Mapping[str, Any]) -> None:
    """The inverse of dump(). Raises ValueError, nothing being changed, for what cannot have come from it."""
