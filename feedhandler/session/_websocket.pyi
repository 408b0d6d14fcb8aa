from typing import Any, Final, final

from typing_extensions import Buffer

from feedhandler.session._framing import Framing
from feedhandler.session._outbox import Outbox

CAUSES: Final[tuple[str, ...]]

@final
class WebSocketFraming(Framing):
    """Server frames of one WebSocket connection, from its response head, or from its first frame, on."""

    pending: int
    """Bytes of the present run behind the messages that were handed out last: more is waiting."""
    def __new__(cls, max_message_bytes: int = ..., max_ratio: int = ...) -> WebSocketFraming: ...
    def answer_with(self, outbox: Outbox | None) -> None:
        """Put pongs and closes into this box from now on; None: answer nobody. Not while the line is polled."""
    @property
    def replies(self) -> Outbox:
        """The box that pongs and closes go into; made when it is first asked for. Until then nobody is answered."""
    def closing(self) -> None:
        """The control path sends a close of its own on this connection: no answer may follow it."""
    def negotiated(self, *, server_no_context_takeover: bool = ...) -> None:
        """Messages may be compressed: for connections whose bytes begin with frames, not with the response head."""
    def read(self, data: Buffer) -> list[tuple[int, bytes]]:
        """What one run of bytes holds: (opcode, payload) of whole messages and control frames; a violation ends it."""
    @property
    def failed(self) -> int:
        """The close code that a violation of this connection has; 0: there was none."""
    @property
    def violation(self) -> str:
        """Why this connection is broken: a sentence with its section; "" while it is not."""
    @property
    def close_code(self) -> int:
        """The code of the server's close, 1005 where it gave none; 0 before."""
    @property
    def close_reason(self) -> str:
        """The reason in the server's close; "" where it gave none, and before."""
    @property
    def deflate(self) -> bool:
        """Whether messages of this connection may come compressed."""
    @property
    def counts(self) -> dict[str, Any]:
        """Of all connections: frames, fragments, pings, pongs, inflated, copied, answers, dropped, violations."""

def client_frame(first: int, payload: Buffer, mask: bytes | None) -> bytes:
    """One frame; `first` is its first byte, `mask` four random bytes, or None for a server's frame."""

def extensions(value: str) -> dict[str, Any] | None:
    """What a response's Sec-WebSocket-Extensions agrees to; None: nothing."""
