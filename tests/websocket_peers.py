"""The same record as websocket_story's of two other clients: the libraries `websockets` and `wsproto`."""

from __future__ import annotations

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State
from wsproto.connection import CLIENT, Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate as WsprotoDeflate
from wsproto.utilities import RemoteProtocolError

from feedhandler.session import frames
from tests.websocket_story import Story

LARGEST = 4 << 20


def by_websockets(agreed: str, data: bytes) -> Story:
    """`cause` is the library's own word. It leaves joining and decoding of texts to its upper layer: done here."""
    protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=LARGEST)
    found = frames.agreed(agreed)
    if found is not None:
        protocol.extensions = [PerMessageDeflate(found.server_no_context_takeover, False, 15, 15)]
    story, message, kind = Story(), b"", "text"
    protocol.receive_data(data)
    for frame in protocol.events_received():
        assert hasattr(frame, "opcode")
        payload = bytes(frame.data)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            story.events.append(("ping" if frame.opcode is Opcode.PING else "pong", payload))
        elif frame.opcode is Opcode.CLOSE:
            assert protocol.close_rcvd is not None
            story.ends = int(protocol.close_rcvd.code)
        else:
            if frame.opcode is not Opcode.CONT:
                message, kind = b"", "text" if frame.opcode is Opcode.TEXT else "binary"
            message += payload
            if frame.fin:
                try:
                    if kind == "text":
                        message.decode()
                except UnicodeDecodeError:
                    story.fails, story.ends, story.cause = 1007, None, "not UTF-8"
                    return story
                story.events.append((kind, message))
    if protocol.parser_exc is not None and story.ends is None:
        assert protocol.close_sent is not None
        story.fails, story.cause = int(protocol.close_sent.code), protocol.close_sent.reason
    return story


def by_wsproto(agreed: str, data: bytes) -> Story:
    """`cause` is the library's own word."""
    extensions = []
    if agreed:
        deflate = WsprotoDeflate()
        deflate.finalize(agreed)
        extensions = [deflate]
    connection = Connection(CLIENT, extensions)
    story, message = Story(), b""
    try:
        connection.receive_data(data)
        for event in connection.events():
            match event:
                case Ping():
                    story.events.append(("ping", bytes(event.payload)))
                case Pong():
                    story.events.append(("pong", bytes(event.payload)))
                case TextMessage() | BytesMessage():
                    part = event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
                    message += part
                    if event.message_finished:
                        story.events.append(("text" if isinstance(event, TextMessage) else "binary", message))
                        message = b""
                case CloseConnection():
                    if connection.state.name == "REMOTE_CLOSING":
                        story.ends = int(event.code)
                    else:
                        story.fails, story.cause = int(event.code), event.reason or ""
                    break
    except RemoteProtocolError as error:
        story.fails, story.cause = 1002, str(error)
    return story


PEERS = {"websockets": by_websockets, "wsproto": by_wsproto}
