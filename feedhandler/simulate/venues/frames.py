"""WebSocket frames as a server sends them, right ones and wrong ones: bytes from arguments (RFC 6455, RFC 7692)."""

from __future__ import annotations

import zlib

from feedhandler.session._websocket import client_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes = b"") -> bytes:
    """One frame; nothing is checked. `rsv`: the reserved bits, 4 for RSV1; `mask`: four bytes no server may send."""
    return client_frame(fin << 7 | rsv << 4 | opcode, payload, mask or None)


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode()[:123])


class Deflater:
    """permessage-deflate of one connection's texts; `bits` is the window agreed on, 9 to 15."""

    def __init__(self, bits: int = 15, takeover: bool = True) -> None:
        self._bits, self._takeover = bits, takeover
        self._state = self._new()

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(6, zlib.DEFLATED, -self._bits)

    def payload(self, data: bytes) -> bytes:
        """What stands in a message with RSV1."""
        if not self._takeover:
            self._state = self._new()
        return (self._state.compress(data) + self._state.flush(zlib.Z_SYNC_FLUSH))[:-4]
