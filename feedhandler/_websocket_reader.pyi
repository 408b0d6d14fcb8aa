from feedhandler.receive._stream import StreamReceiver
from feedhandler.session._websocket import WebSocketFraming

class Payload:
    """The bytes of one message, for a memoryview: read-only, where they lie."""

class Reader:
    """Takes the messages of line 0 of a receiver, by the caller's own thread."""

    ended: bool
    broken: bool
    binary: list[bool]
    def __new__(cls, receiver: StreamReceiver, framing: WebSocketFraming) -> Reader: ...
    @property
    def pending(self) -> bool:
        """More of what has been received waits behind the last batch."""

    def take(self) -> list[memoryview]:
        """The next batch; empty when nothing is there now. Never waits."""

    def flush(self) -> None:
        """Pass on what is to be sent, as far as the socket has room."""
