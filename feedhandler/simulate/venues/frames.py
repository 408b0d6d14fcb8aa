"""WebSocket frames as a server sends them, right ones and wrong ones: bytes from arguments (RFC 6455)."""

from __future__ import annotations

from feedhandler.session._websocket import client_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes = b"") -> bytes:
    """One frame; nothing is checked. `rsv`: the reserved bits, 4 for RSV1; `mask`: four bytes no server may send."""
    return client_frame(fin << 7 | rsv << 4 | opcode, payload, mask or None)


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])
