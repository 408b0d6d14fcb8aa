from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from feedhandler.session import Framing

class Runs:
    """The numbers that passed: runs, holes and gaps of each channel and its lines. Use `Sequences`."""

    lines: int
    """Of all channels."""
    channels: tuple[tuple[str, str, tuple[str, ...]], ...]
    """(name, session protocol, names of the lines)."""
    def __new__(
        cls,
        channels: Iterable[tuple[str, str, Sequence[str]]],
        *,
        reorder_us: int = ...,
        silence_ms: int = ...,
        skew_ms: int = ...,
        step_ms: int = ...,
        framing_options: Mapping[str, Mapping[str, int]] | None = ...,
    ) -> Self: ...
    def framing(self, line: int) -> Framing:
        """The framing of a line."""
