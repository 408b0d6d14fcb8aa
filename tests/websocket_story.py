"""What a client makes of a server's bytes, as one plain record: of our framing, and of a model in plain Python."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from feedhandler.session import frames, framing
from feedhandler.session._outbox import Outbox
from feedhandler.session._websocket import CAUSES, WebSocketFraming

KINDS = {1: "text", 2: "binary", 9: "ping", 10: "pong"}
WHOLE = re.compile(  # RFC 3629 4
    rb"(?:[\0-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2})*"
)
BEGUN = re.compile(  # the beginning of a character, or nothing
    rb"|[\xc2-\xf4]|\xe0[\xa0-\xbf]|\xed[\x80-\x9f]|[\xe1-\xec\xee\xef][\x80-\xbf]"
    rb"|(?:\xf0[\x90-\xbf]|[\xf1-\xf3][\x80-\xbf]|\xf4[\x80-\x8f])[\x80-\xbf]?"
)
TAIL = b"\0\0\xff\xff"  # what the sender of a compressed message cuts off
LAST = b"\1\0\0\xff\xff"  # an empty last block
FREE = 64 << 10  # bytes that any compressed message may inflate to


def utf8(text: bytes, *, whole: bool) -> bool:
    """Is it UTF-8, or, unless it must be whole, the beginning of some?"""
    match = WHOLE.match(text)
    rest = text[match.end() :] if match else text
    return not rest if whole else BEGUN.fullmatch(rest) is not None


@dataclass
class Story:
    """Whole messages and control frames in order; then how the connection stands."""

    events: list[tuple[str, bytes]] = field(default_factory=list)
    ends: int | None = None
    fails: int | None = None
    cause: str = field(default="", compare=False)

    @property
    def verdict(self) -> str:
        """ "open", "ends 1000" or "fails 1002"."""
        if self.fails is not None:
            return f"fails {self.fails}"
        return "open" if self.ends is None else f"ends {self.ends}"


def client(agreed: str = "", **options: int) -> WebSocketFraming:
    """A framing behind its handshake."""
    machine = framing("websocket", **options)
    assert isinstance(machine, WebSocketFraming)
    machine.answer_with(Outbox(1 << 16))
    begin(machine, agreed)
    return machine


def begin(machine: WebSocketFraming, agreed: str) -> None:
    """A new connection, on which this was agreed."""
    machine.begin_connection()
    if agreed:
        found = frames.agreed(agreed)
        assert found is not None
        machine.negotiated(server_no_context_takeover=found.server_no_context_takeover)


def answered(machine: WebSocketFraming) -> list[tuple[str, bytes]]:
    """The frames that wait to be sent, unmasked by hand."""
    data, said = machine.replies.waiting, []
    machine.replies.sent(len(data))
    while data:
        opcode, length, mask = data[0] & 15, data[1] & 127, data[2:6]
        assert data[0] & 0x80 and data[1] & 0x80 and length <= 125
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(data[6 : 6 + length]))
        said.append(({8: "close", 10: "pong"}[opcode], payload))
        data = data[6 + length :]
    return said


def ours(machine: WebSocketFraming, runs: Iterable[bytes]) -> tuple[Story, list[tuple[str, bytes]]]:
    """What the framing says to these runs of bytes, and what it answers."""
    story, sent = Story(), []
    for run in runs:
        story.events += [(KINDS[opcode], payload) for opcode, payload in machine.read(run) if opcode != 8]
        sent += answered(machine)
    story.ends = machine.close_code or None
    story.fails = machine.failed or None
    story.cause = machine.violation
    assert (story.fails is None) == (story.cause == "")
    assert story.cause in CAUSES
    return story, sent


class Model:
    """RFC 6455 and RFC 7692, client's side, written down once more as plainly as can be: the oracle."""

    def __init__(self, agreed: str = "", max_message_bytes: int = 4 << 20, max_ratio: int = 256) -> None:
        self.agreed = frames.agreed(agreed)
        self.largest, self.ratio = max_message_bytes, max_ratio
        self.story = Story()
        self.traits: set[str] = set()
        """What is known to confuse other clients, of the bytes that were read."""
        self._inflater, self._history, self._ended = self._new(), b"", False

    def _new(self, history: bytes = b"") -> zlib._Decompress:
        return zlib.decompressobj(-15, zdict=history)

    def read(self, data: bytes) -> Story:
        """All bytes of a connection at once."""
        message, opcode, compressed, wire = b"", 0, False, 0
        while True:
            if len(data) < 2:
                return self.story
            fin, rsv1, code = data[0] >> 7, data[0] >> 6 & 1, data[0] & 15
            length, at = data[1] & 127, 2
            if data[0] & 0x30 or (rsv1 and (not self.agreed or code not in (1, 2))):
                return self._fail(1002)
            if code not in (0, 1, 2, 8, 9, 10) or data[1] & 0x80:
                return self._fail(1002)
            if (code >= 8 and (not fin or length > 125)) or (code == 0 and not opcode) or (code in (1, 2) and opcode):
                return self._fail(1002)
            for mark, size, least in ((126, 2, 126), (127, 8, 1 << 16)):
                if data[1] & 127 == mark:
                    if len(data) < 2 + size:
                        return self.story
                    length, at = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
                    if length < least or length >> 63:
                        return self._fail(1002)
            if code < 8:
                if code:
                    opcode, compressed, wire, message = code, bool(rsv1), 0, b""
                if length > self.largest - (0 if compressed else len(message)):
                    return self._fail(1009)
                wire += length
            payload, data = data[at : at + length], data[at + length :]
            whole = len(payload) == length
            if code >= 8:
                if compressed and opcode:
                    self.traits.add("a control frame within a compressed message")
                if not whole:
                    return self.story
                if code == 8:
                    return self._close(payload)
                self.story.events.append((KINDS[code], payload))
                continue
            limit, damaged = self.largest, False
            if compressed:
                limit = min(self.largest, max(FREE, wire * self.ratio))
                payload, damaged = self._inflate(payload, bool(fin and whole), limit - len(message))
            message += payload
            if opcode == 1 and not utf8(message[:limit], whole=False):
                return self._fail(1007)
            if len(message) > limit:
                return self._fail(1009)
            if damaged:
                return self._fail(1007)
            if not whole:
                return self.story
            if fin:
                if opcode == 1 and not utf8(message, whole=True):
                    return self._fail(1007)
                self.story.events.append((KINDS[opcode], message))
                opcode = 0

    def _fail(self, code: int) -> Story:
        self.story.fails = code
        return self.story

    def _close(self, payload: bytes) -> Story:
        if len(payload) == 1:
            return self._fail(1002)
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if payload and not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            return self._fail(1002)
        if not utf8(payload[2:], whole=True):
            return self._fail(1007)
        self.story.ends = code
        return self.story

    def _inflate(self, data: bytes, last: bool, room: int) -> tuple[bytes, bool]:
        """What comes out of it, at most one byte more than there is room for, and whether the data is damaged."""
        made = b""
        self._ended = self._ended and not data
        try:
            made = self._feed(data, room)
            if last and len(made) <= room and not self._ended and self._cut():
                return made, True
        except zlib.error:
            return made, True
        if last:
            self._ended = False
            if self.agreed and self.agreed.server_no_context_takeover:
                self._inflater, self._history = self._new(), b""
        return made, False

    def _feed(self, piece: bytes, room: int) -> bytes:
        made = b""
        while piece and len(made) <= room:
            out = self._inflater.decompress(piece, room + 1 - len(made))
            made += out
            self._history = (self._history + out)[-1 << 15 :]
            self._ended = self._inflater.eof
            piece = self._inflater.unused_data if self._ended else self._inflater.unconsumed_tail
            if self._ended:
                self.traits.add("a last block")
                self._inflater = self._new(self._history)
        return made

    def _cut(self) -> bool:
        """Whether the four bytes that the sender left out end no block: an empty last one would not end the data."""
        if self._feed(TAIL, 16):
            return True
        if self._ended:
            return False
        probe = self._inflater.copy()
        return bool(probe.decompress(LAST)) or not probe.eof or bool(probe.unused_data)
