"""WebSocket frames as a server sends them, right ones and wrong ones: bytes from arguments (RFC 6455, RFC 7692)."""

from __future__ import annotations

import zlib

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, mask: bytes = b"") -> bytes:
    """One frame; nothing is checked. `rsv`: the reserved bits, 4 for RSV1; `mask`: four bytes no server may send."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    length = len(payload)
    if length < 126:
        head = bytes((first, bit | length))
    elif length < 1 << 16:
        head = bytes((first, bit | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + length.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return head + mask + payload


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
