"""One WebSocket connection of a simulated venue: the handshake and what is heard by wsproto, what is said by frames of
our own, so that wrong ones can be said, too."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ssl
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from feedhandler.session.frames import Agreement, Deflate
from feedhandler.simulate.venues import frames
from feedhandler.simulate.venues.dialect import Out, Session
from feedhandler.simulate.venues.faults import HANDSHAKE_KINDS, MESSAGE_KINDS, VenueFault
from feedhandler.simulate.venues.kraken import spoiled

if TYPE_CHECKING:
    from feedhandler.simulate.venues.server import VenueServer

UNSENT_MAX = 64 << 20
CLOSE_S = 1.0  # for the other side to answer a close
PING_TEXT = b"venue"


class Connection:
    """A client of the venue, from its upgrade to its end. Lives in the server's event loop."""

    def __init__(
        self, server: VenueServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.server, self.number = server, number
        self.session: Session | None = None  # once the upgrade is accepted
        self._reader, self._writer = reader, writer
        self._machine = WSConnection(ConnectionType.SERVER)
        self._deflater: Deflate | None = None
        self._heard = server.script.limits.bucket(server.script.limits.messages_per_s)
        self._swapped: dict[str, list[Out]] = {}
        self._held: list[bytes] | None = None  # while stalled
        self._silent = False
        self._over = False  # nothing more is said

    async def run(self) -> None:
        """Serve until either side ends it."""
        try:
            while data := await self._reader.read(1 << 16):
                if not await self._receive(data):
                    break
        except (OSError, ssl.SSLError, LocalProtocolError, RemoteProtocolError, asyncio.IncompleteReadError):
            pass  # the other side is gone, or speaks something else
        finally:
            self._over = True
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError):
                self._writer.close()
                await asyncio.wait_for(self._writer.wait_closed(), CLOSE_S)

    # -- said by the client

    async def _receive(self, data: bytes) -> bool:
        """Whether the connection goes on."""
        self._machine.receive_data(data)
        for event in self._machine.events():
            if self._silent:
                return True
            match event:
                case Request():
                    if not await self._upgrade(event):
                        return False
                case Ping():
                    self._write(self._machine.send(event.response()))
                case TextMessage():
                    if event.message_finished and not self._text(event.data):
                        return True
                case BytesMessage():
                    self.close(1003, "texts only")
                case CloseConnection():
                    if not self._over:
                        with contextlib.suppress(LocalProtocolError):
                            self._write(self._machine.send(event.response()))
                    return False
                case Pong():
                    self.server.stats["pongs"] += 1
        return True

    async def _upgrade(self, request: Request) -> bool:
        now = asyncio.get_running_loop().time()
        if not self.server.connects.take(now):
            self.server.stats["refused"] += 1
            return await self._refuse(
                429, [(b"retry-after", str(int(self.server.connects.due(now) - now) + 1).encode())]
            )
        for fault in self.server.dice.due(HANDSHAKE_KINDS, self.number):
            if fault.kind == "refuse":
                self.server.stats["refused"] += 1
                return await self._refuse(fault.status, [])
            await asyncio.sleep(fault.for_s)
        target = urlsplit(request.target)
        session = Session()
        try:
            greeting = self.server.dialect.opened(session, target.path, dict(parse_qsl(target.query)), time.time_ns())
        except LookupError:
            return await self._refuse(404, [])
        offered = [PerMessageDeflate()] if self.server.compress else []
        protocol = next(iter(request.subprotocols), None)
        date = [(b"date", email.utils.formatdate(usegmt=True).encode())]
        accept = AcceptConnection(subprotocol=protocol, extensions=list(offered), extra_headers=date)
        self._write(self._machine.send(accept))
        for extension in offered:
            if extension.enabled():
                agreement = Agreement(
                    extension.server_no_context_takeover,
                    extension.client_no_context_takeover,
                    extension.server_max_window_bits,
                    extension.client_max_window_bits,
                )
                self._deflater = Deflate(agreement, server=True)
        self.session = session
        self.server.stats["connections"] += 1
        for out in greeting:
            self.deliver(out)
        return True

    async def _refuse(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        reject = RejectConnection(status_code=status, headers=[*headers, (b"content-length", b"0")], has_body=True)
        self._write(self._machine.send(reject) + self._machine.send(RejectData(data=b"", body_finished=True)))
        await self._writer.drain()
        return False

    def _text(self, said: str) -> bool:
        """Answer a text; whether the connection goes on."""
        assert self.session is not None
        self.server.stats["heard"] += 1
        if not self._heard.take(asyncio.get_running_loop().time()):
            self.close(1008, "Too many requests")
            return False
        for out in self.server.dialect.heard(self.session, said, time.time_ns()):
            self.deliver(out)
        return True

    # -- said to the client

    @property
    def open(self) -> bool:
        return self.session is not None and not self._over and not self._silent

    def listens(self, stream: str) -> bool:
        """Whether what belongs to `stream` is for this connection; "*": for all that subscribed to anything."""
        streams = self.session.streams if self.session is not None else ()
        return stream in streams or (stream == "*" and bool(streams))

    def deliver(self, out: Out) -> None:
        """Send a text of the venue, as the script of faults has it."""
        if not self.open or self.session is None:
            return
        said = self.server.dialect.form(self.session, out)
        due = self.server.dice.due(MESSAGE_KINDS, self.number, out.symbol) if out.kind == "update" else []
        kinds = {fault.kind: fault for fault in due}
        if "swap" in kinds:
            self._swapped.setdefault(out.symbol, []).append(out)
            return
        if "drop" not in kinds:
            for fault in due:
                self._before(fault, said)
            if "checksum" in kinds:
                said = spoiled(said)
            if "malformed" in kinds:
                said = said[: len(said) // 2]
            if not ({"cut", "reserved", "masked", "fragments"} & set(kinds)):
                for _ in range(1 + ("duplicate" in kinds)):
                    self.text(said)
        if out.kind == "update":
            for late in self._swapped.pop(out.symbol, []):
                self.text(self.server.dialect.form(self.session, late))

    def _before(self, fault: VenueFault, said: str) -> None:
        """What a fault does before the update, or in its place."""
        data = said.encode()
        loop = asyncio.get_running_loop()
        match fault.kind:
            case "cut":
                whole = frames.frame(frames.TEXT, data)
                self._write(whole[: max(1, len(whole) // 2)])
                self._over = True
                self.server.keep(loop.create_task(self._abort()))
            case "silence":
                self._silent = True
                loop.call_later(fault.for_s, self._writer.transport.abort)
            case "stall":
                self._held = []
                loop.call_later(fault.for_s, self._resume)
            case "close":
                self.close(fault.code, fault.reason)
            case "reconnect":
                self._reconnect(fault)
            case "oversized":
                self._write(frames.frame(frames.TEXT, b'{"padding":"' + b"x" * fault.bytes + b'"}'))
            case "fragments":
                third = max(1, len(data) // 3)
                pieces = [data[:third], data[third : 2 * third], data[2 * third :]]
                self._write(frames.frame(frames.TEXT, pieces[0], fin=False) + frames.frame(frames.PING, PING_TEXT))
                self._write(frames.frame(frames.CONTINUATION, pieces[1], fin=False))
                self._write(frames.frame(frames.CONTINUATION, pieces[2]))
            case "reserved":
                self._write(frames.frame(frames.TEXT, data, rsv=2))
            case "masked":
                self._write(frames.frame(frames.TEXT, data, mask=b"\x12\x34\x56\x78"))
            case "bad_utf8":
                self._write(frames.frame(frames.TEXT, b'{"padding":"\xc3\x28"}'))
            case "bad_deflate" if self._deflater is not None:
                self._write(frames.frame(frames.TEXT, b"\xff" * 16, rsv=4))

    def text(self, said: str) -> None:
        """Send a text message, compressed where that was agreed on."""
        data = said.encode()
        self.server.stats["messages"] += 1
        if self._deflater is not None:
            self._write(self._deflater.frame(data, masked=False))
        else:
            self._write(frames.frame(frames.TEXT, data))

    def ping(self) -> None:
        """As the venue does now and then."""
        if self.open:
            self._write(frames.frame(frames.PING, str(time.time_ns() // 1_000_000).encode()))

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye, and give the client a moment to answer."""
        self._write(frames.close(code, reason))
        self._over = True
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_later(CLOSE_S, self._writer.transport.abort)

    def cut(self) -> None:
        """End it without a word."""
        self._over = True
        self._writer.transport.abort()

    def _reconnect(self, fault: VenueFault) -> None:
        if self.server.dialect.name == "bitstamp":
            self.text('{"event":"bts:request_reconnect","channel":"","data":""}')
        asyncio.get_running_loop().call_later(fault.for_s, self.close, 1001, "going away")

    def _resume(self) -> None:
        held, self._held = self._held or [], None
        for data in held:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._over or self._silent or self._writer.transport.is_closing():
            return
        if self._held is not None:
            self._held.append(data)
            return
        self._writer.write(data)
        self.server.stats["bytes"] += len(data)
        if self._writer.transport.get_write_buffer_size() > UNSENT_MAX:
            self.cut()

    async def _abort(self) -> None:
        """Let what was written go out, then end without a word."""
        for _ in range(200):
            if not self._writer.transport.get_write_buffer_size():
                break
            await asyncio.sleep(0.005)
        self._writer.transport.abort()
