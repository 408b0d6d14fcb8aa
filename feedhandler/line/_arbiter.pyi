from feedhandler.decode._decoder import Decoder
from feedhandler.line._window import Window

class Arbiter:
    """One per channel: of all copies of all lines, each message once and in order."""

    first_line: int
    lines: int
    window: Window
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
    ) -> None: ...
