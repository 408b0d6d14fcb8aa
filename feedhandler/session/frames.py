"""WebSocket frames to send, as bytes (RFC 6455 5.2), and compression of what is sent (RFC 7692): for the control path.

Each frame of a client has a mask of its own from the kernel's random bytes. `masked=False` makes a server's frame.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from enum import IntEnum

from feedhandler.session._websocket import client_frame, extensions

__all__ = ["OFFER", "Agreement", "Deflate", "Opcode", "agreed", "binary", "close", "frame", "ping", "pong", "text"]

Payload = str | bytes | bytearray | memoryview

OFFER = "permessage-deflate; client_max_window_bits"
"""What a client says in Sec-WebSocket-Extensions when it can do all of RFC 7692."""

CONTROL_MAX = 125  # bytes of a control frame's payload


class Opcode(IntEnum):
    """What a frame is (RFC 6455 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


def frame(opcode: int, payload: Payload = b"", *, fin: bool = True, rsv1: bool = False, masked: bool = True) -> bytes:
    """One frame, in the shortest form of its length. A string is sent as UTF-8.

    Raises ValueError for an opcode that is not 0 to 15, and for a control frame that is fragmented or has more than 125
    bytes of payload.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    if not 0 <= opcode <= 15:
        raise ValueError(f"an opcode is 0 to 15, not {opcode}")
    if opcode >= Opcode.CLOSE and (not fin or len(data) > CONTROL_MAX):
        raise ValueError(f"a control frame is not fragmented and has at most {CONTROL_MAX} bytes, not {len(data)}")
    return client_frame(fin << 7 | rsv1 << 6 | opcode, memoryview(data).cast("B"), os.urandom(4) if masked else None)


def text(payload: Payload, *, masked: bool = True) -> bytes:
    """A whole text message. The caller answers for its bytes being UTF-8."""
    return frame(Opcode.TEXT, payload, masked=masked)


def binary(payload: Payload, *, masked: bool = True) -> bytes:
    """A whole binary message."""
    return frame(Opcode.BINARY, payload, masked=masked)


def ping(payload: Payload = b"", *, masked: bool = True) -> bytes:
    """A ping; the pong that answers it has the same payload, of at most 125 bytes. Raises ValueError for more."""
    return frame(Opcode.PING, payload, masked=masked)


def pong(payload: Payload = b"", *, masked: bool = True) -> bytes:
    """A pong; the framing answers pings by itself, this one is unasked for. Raises ValueError above 125 bytes."""
    return frame(Opcode.PONG, payload, masked=masked)


def close(code: int | None = 1000, reason: str = "", *, masked: bool = True) -> bytes:
    """A close with its code and a reason of at most 123 bytes, or with neither. Nothing may be sent after it.

    Raises ValueError for a code that may not stand on the wire (RFC 6455 7.4: 1004, 1005, 1006, 1015, and all but 1000
    to 1014 and 3000 to 4999), for a reason without a code, and for one that is too long.
    """
    if code is None:
        if reason:
            raise ValueError("a reason stands behind a code only: give one, 1000 for a normal end")
        return frame(Opcode.CLOSE, masked=masked)
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(f"close code {code} may not be sent: 1000 is a normal end, 4000 to 4999 are for private use")
    payload = code.to_bytes(2, "big") + reason.encode()
    if len(payload) > CONTROL_MAX:
        raise ValueError(f"the reason of a close has at most {CONTROL_MAX - 2} bytes, not {len(payload) - 2}")
    return frame(Opcode.CLOSE, payload, masked=masked)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What client and server agreed on about compression (RFC 7692 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


def agreed(value: str) -> Agreement | None:
    """What the response's Sec-WebSocket-Extensions says, several of them joined by commas; None: no compression.

    Raises ValueError for an extension or parameter that was not in OFFER, or stands twice: the connection must then be
    given up.
    """
    found = extensions(value)
    return None if found is None else Agreement(**found)


class Deflate:
    """Compresses what one side of a connection sends, the client or (`server`) the server: a state that is taken once
    and, unless agreed otherwise, goes on from message to message."""

    def __init__(self, agreement: Agreement, level: int = 6, *, server: bool = False) -> None:
        bits = agreement.server_max_window_bits if server else agreement.client_max_window_bits
        # zlib cannot make raw deflate data with a window of 2^8; with 2^9 it could look back too far for the other side
        if bits < 9:
            raise ValueError("zlib has no window of 2^8 bytes: send this connection's messages uncompressed")
        self._alone = agreement.server_no_context_takeover if server else agreement.client_no_context_takeover
        self._fresh = zlib.compressobj(level, zlib.DEFLATED, -bits)
        self._state = self._fresh.copy()

    def frame(self, payload: Payload, opcode: int = Opcode.TEXT, *, masked: bool = True) -> bytes:
        """One whole compressed message (RFC 7692 7.2.1)."""
        data = payload.encode() if isinstance(payload, str) else payload
        if self._alone:
            self._state = self._fresh.copy()
        made = self._state.compress(data) + self._state.flush(zlib.Z_SYNC_FLUSH)
        return frame(opcode, made[:-4] or b"\0", rsv1=True, masked=masked)
