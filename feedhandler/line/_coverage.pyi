from feedhandler.decode._text import TextDecoder
from feedhandler.line._arbiter import Arbiter
from feedhandler.line._resyncs import Resyncs

class Coverage(Arbiter):
    """What the connections of a JSON channel cover, book by book."""

    control: int
    resyncs: Resyncs | None
    def __init__(
        self,
        lines: int = ...,
        *,
        first_line: int = ...,
        reorder_us: int = ...,
        silence_ms: int = ...,
        window_messages: int = ...,
        decoder: TextDecoder | None = ...,
        resyncs: Resyncs | None = ...,
        text_bytes: int = ...,
    ) -> None: ...
