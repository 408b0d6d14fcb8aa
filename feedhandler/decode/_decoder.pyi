from collections.abc import Iterable
from typing import Any

import numpy as np

from feedhandler._instruments import Instruments

class Decoder:
    """Messages in, events out; `feedhandler.decode.decoder()` makes the rendered subclasses."""

    def __init__(self, instruments: Instruments, channel: int = 0, venue: str = "") -> None: ...
    @property
    def protocol(self) -> str:
        """The protocol's name."""

    @property
    def taken(self) -> int:
        """Messages used up by the last decode_bytes()."""

    def start(self, midnight: int = 0, session_date: int = 0) -> None:
        """A new session: times count from `midnight` (ns since the Unix epoch, 0 = unknown), ids are forgotten."""

    def accepts(self, message: Any) -> bool:
        """Whether this message is well-formed; nothing is changed or counted."""

    def decode_bytes(
        self,
        messages: Iterable[Any],
        first_seq: int = 1,
        ts_recv: int = 0,
        line: int = 0,
        capacity: int | None = None,
    ) -> np.ndarray[Any, np.dtype[np.void]]:
        """The events of a list of messages up to the first that is malformed, dtype EVENT."""

    def decode_file(self, buffer: Any, big_endian: bool = True) -> tuple[int, int, int]:
        """Decode length-prefixed messages into a reused batch: (messages, events, malformed ones left out)."""

    @property
    def counts(self) -> dict[str, int]:
        """Messages taken so far by type character."""

    @property
    def longer(self) -> int:
        """Messages longer than their table."""

    @property
    def unknown_type(self) -> int:
        """Messages of types that the table does not know."""

    @property
    def unknown_instrument(self) -> int:
        """Messages whose instrument has no directory entry."""

    @property
    def instruments_full(self) -> int:
        """Definitions refused for want of room in the directory."""
