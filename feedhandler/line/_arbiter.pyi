from feedhandler.decode._decoder import Decoder
from feedhandler.line._recovery import Recovery
from feedhandler.line._sequence import Sequence

class Arbiter(Sequence):
    """One per channel: of all copies of all lines, each message once and in order."""

    def __init__(
        self,
        lines: int = ...,
        *,
        first_line: int = ...,
        reorder_us: int = ...,
        silence_ms: int = ...,
        skew_ms: int = ...,
        window_messages: int = ...,
        window_bytes: int = ...,
        offline: bool = ...,
        decoder: Decoder | None = ...,
        recovery: Recovery | None = ...,
    ) -> None: ...
