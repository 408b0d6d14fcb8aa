"""What a server says over a WebSocket, as bytes: whole text frames, and the texts of a channel's control line."""

import json
import struct

TEXT_FRAME = 0x81  # FIN, opcode 1


def text_frame(text: bytes) -> bytes:
    """One text message of a server, whole in one frame: RFC 6455, section 5.2."""
    size = len(text)
    if size < 126:
        return struct.pack(">BB", TEXT_FRAME, size) + text
    if size < 1 << 16:
        return struct.pack(">BBH", TEXT_FRAME, 126, size) + text
    return struct.pack(">BBQ", TEXT_FRAME, 127, size) + text


def depth_answer(symbol: str, body: bytes) -> bytes:
    """A REST snapshot as it stands on a control line: the body as it came."""
    return b'{"rest":"depth","symbol":' + json.dumps(symbol).encode() + b',"body":' + body.strip() + b"}"
