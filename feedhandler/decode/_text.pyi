from collections.abc import Iterable
from typing import Any

import numpy as np

from feedhandler.decode._decoder import Decoder

KINDS: tuple[str, ...]

class TextDecoder(Decoder):
    """A venue's decoder of JSON texts; `feedhandler.decode.decoder()` makes the venues' own subclasses."""

    def look_bytes(self, message: Any) -> dict[str, Any] | None:
        """What this text is, as a dictionary of the fields of `Update`; None when its beginning is malformed."""

    def decode_bytes(
        self,
        messages: Iterable[Any],
        first_seq: int = 0,
        ts_recv: int = 0,
        line: int = 0,
        capacity: int | None = 4096,
    ) -> np.ndarray[Any, np.dtype[np.void]]:
        """The events of a list of texts up to the first that is malformed, dtype EVENT."""

    def decode_lines(self, buffer: Any, ts_recv: int = 0) -> tuple[int, int, int]:
        """Look at and decode texts that stand one a line: (texts, events, malformed ones left out)."""
