"""The recorded WebSockets of a recording served again: to WebSocket clients, and its REST answers by HTTP.

Each text of a recorded line goes to every client of that line, whole, in one frame, byte for byte as it came, at the
pace that is asked for. Whoever wants a snapshot gets the latest recorded one that has been played, by the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from feedhandler.decode.venue import Feed, venue
from feedhandler.errors import BackendError, ConfigError
from feedhandler.recording import RecordedLine, Recording
from feedhandler.recording.lines import framing_of
from feedhandler.replay.source import Choice, Source
from feedhandler.session import frames
from feedhandler.session.texts import asked_for
from feedhandler.venue_config import CONTROL, WEBSOCKET

LOOK_S = 0.005  # between two looks at a recording that is still being read, and at clients that are waited for
BATCH = 64  # packets between two looks at the clients
HEAD_MOST = 1 << 16  # bytes of a request
STOP_S = 0.05  # the longest sleep: how soon stop() is noticed
ANSWER_S = 5.0  # how long a request waits for its answer to be played
LEAVE_S = 1.0  # for a client to answer a close
GOING_AWAY, RESTART = 1001, 1012  # RFC 6455, section 7.4.1, and IANA's registry of close codes


@dataclass(eq=False)
class _Client:
    """A connection, from its upgrade on."""

    line: int
    writer: asyncio.StreamWriter
    machine: WSConnection
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, data: bytes) -> None:
        if not self.gone.is_set():
            self.writer.write(data)

    async def leave(self, code: int, reason: str) -> None:
        """Say goodbye, and wait a while for the answer."""
        with contextlib.suppress(LocalProtocolError, OSError):
            self.send(self.machine.send(CloseConnection(code, reason)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.gone.wait(), LEAVE_S)
        self.gone.set()
        self.writer.close()


class WebSocketReplay:
    """Serves the WebSocket channels of `choice` on `address`:`port` (0: a free one, see `port`), from run() on.

    A client's path says which line it wants: /CHANNEL/LINE, /CHANNEL, or anything else for any; of several it gets the
    one with fewest clients. Each line's first text waits for `clients` of them. Where the recorded connection ended
    they are closed (1012), and playing waits until as many have come again. `speed`: times the recorded pace; None: as
    fast as the slowest client takes it. `certificate` and `key`: files in PEM, for wss.

    `stats` counts texts, bytes, clients, requests. Used once. Raises ConfigError when there is no recorded WebSocket in
    the choice, or it begins later than the recording; BackendError when the port cannot be had.
    """

    def __init__(
        self,
        recording: Recording,
        choice: Choice | None = None,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        speed: float | None = 1.0,
        clients: int = 1,
        certificate: str = "",
        key: str = "",
    ) -> None:
        if choice is not None and choice.window.start is not None:
            raise ConfigError(
                f"{recording.paths[0]}: clients of a WebSocket begin their books with what the venue sent first: leave "
                "out --from, or --onto: into a handler it goes on from the book snapshot before"
            )
        self.source = Source(recording, choice or Choice(), "handler")
        self.lines = self.source.lines
        served = [line for line in self.lines if line.session == WEBSOCKET and line.name != CONTROL]
        if not served:
            raise ConfigError(f"{recording.paths[0]}: there is no WebSocket in it: choose another --onto")
        others = sorted({line.channel for line in self.lines if line.session != WEBSOCKET})
        if others:
            raise ConfigError(f"replay: channels {', '.join(others)} are no WebSockets: choose with --channels")
        self.address, self.port, self.speed, self.clients = address, port, speed, clients
        self.stats = dict.fromkeys(("texts", "bytes", "clients", "requests"), 0)
        self.latest_ns = 0
        """By how much the latest text was behind its time; of a pace only."""
        self._served = [self.lines.index(line) for line in served]
        self._describing = {_describing(line.protocol) for line in served}
        self._framings = [framing_of(line) for line in self.lines]
        self._connections = [0] * len(self.lines)
        self._present: set[_Client] = set()
        self._answers: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._stopping = False
        self._over = False
        self._context = self._trusted(certificate, key) if certificate else None

    @staticmethod
    def _trusted(certificate: str, key: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(certificate, key or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{certificate}: is no certificate with its key, both in PEM: {error}") from None
        return context

    @property
    def url(self) -> str:
        """Where clients connect to, once `ready` was called."""
        return f"{'wss' if self._context else 'ws'}://{self.address}:{self.port}/"

    def run(self, ready: Callable[[], None] = lambda: None, progress: Callable[[int], None] | None = None) -> None:
        """Serve until all is played, or stop(). `ready` is called when the port is open.

        Raises CaptureError, after all that came before it, when the recording is damaged.
        """
        with self.source:
            asyncio.run(self._run(ready, progress))
        if self.source.error is not None:
            raise self.source.error

    def stop(self) -> None:
        """End soon. From any thread or signal handler."""
        self._stopping = True
        self.source.stop()

    # -- inside the loop ----------------------------------------------------------------------------------------------

    async def _run(self, ready: Callable[[], None], progress: Callable[[int], None] | None) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # clients that end in a handshake
        try:
            server = await asyncio.start_server(self._accept, self.address, self.port, ssl=self._context)
        except OSError as error:
            raise BackendError(
                f"{self.address}:{self.port} cannot be listened at: {error.strerror}; give another --port, or 0"
            ) from None
        async with server:
            self.port = int(server.sockets[0].getsockname()[1])
            ready()
            try:
                await self._play(progress)
            finally:
                self._over = True
                self._news.set()
                await asyncio.gather(*(each.leave(GOING_AWAY, "the recording is over") for each in list(self._present)))

    async def _play(self, progress: Callable[[int], None] | None) -> None:
        ahead = self.source.ahead
        begun = first = 0
        taken = 0
        while not self._stopping:
            packets = ahead.drain(1)  # one by one: of two connections' packets each is to be seen with its own
            if not packets:
                if ahead.ended:
                    return
                await asyncio.sleep(LOOK_S)
                continue
            ((number, ts, payload),) = packets
            await self._follow_connection(number)
            if self.speed:
                begun, first = (begun, first) if begun else (time.monotonic_ns(), ts)
                await self._until(begun + int((ts - first) / self.speed))
            self._pass_on(number, payload)
            taken += 1
            if taken % BATCH == 0:
                for client in list(self._present):
                    with contextlib.suppress(OSError):
                        await client.writer.drain()
                await asyncio.sleep(0)
                if progress is not None:
                    progress(self.source.done)

    async def _until(self, due: int) -> None:
        """Wait for an instant of the monotonic clock; what is late is told."""
        while not self._stopping and (left := due - time.monotonic_ns()) > 0:
            await asyncio.sleep(min(left / 1e9, STOP_S))
        self.latest_ns = max(self.latest_ns, time.monotonic_ns() - due)

    async def _follow_connection(self, number: int) -> None:
        """Where a recorded connection has ended so do those of its clients, and the next one waits for them."""
        now = int(self.source.ahead.line_status(number)["connections"])
        if now == self._connections[number]:
            return
        self._framings[number].begin_connection()
        if number in self._served:
            if self._connections[number]:
                mine = [each for each in self._present if each.line == number]
                await asyncio.gather(*(each.leave(RESTART, "the recorded connection ended") for each in mine))
            while not self._stopping and self._count(number) < self.clients:
                await asyncio.sleep(LOOK_S)
        self._connections[number] = now

    def _count(self, number: int) -> int:
        return sum(each.line == number and not each.gone.is_set() for each in self._present)

    def _pass_on(self, number: int, payload: bytes) -> None:
        """The texts of a packet to the clients of its line; those of a control line are kept for who asks."""
        for _, texts in self._framings[number].feed(payload):
            for text in texts:
                if self.lines[number].name == CONTROL:
                    self._told(text)
                    continue
                data = frames.text(text, masked=False)
                self.stats["texts"] += 1
                self.stats["bytes"] += len(text)
                for client in self._present:
                    if client.line == number:
                        client.send(data)

    def _told(self, text: bytes) -> None:
        """What a control line says: of snapshots the body is kept, as it came."""
        marker = b',"body":'
        with contextlib.suppress(ValueError):
            if b'"rest":"depth"' in text[:32] and (at := text.find(marker)) > 0:
                symbol = str(json.loads(text[:at] + b"}")["symbol"])
                self._answers[symbol.lower()] = text[at + len(marker) : -1]
                self._news.set()
                self._news = asyncio.Event()

    # -- clients -------------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if len(head) > HEAD_MOST:
                return
            if b"upgrade: websocket" in head.lower():
                await self._serve(head, reader, writer)
            else:
                await self._answer(head, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, RemoteProtocolError):
            pass  # the other side is gone, or speaks something else
        finally:
            writer.close()

    async def _serve(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A WebSocket, to its end; what the client says is heard, and changes nothing."""
        machine = WSConnection(ConnectionType.SERVER)
        machine.receive_data(head)
        request = next(iter(machine.events()), None)
        if not isinstance(request, Request):
            return
        client = _Client(self._chosen(request.target), writer, machine)
        writer.write(machine.send(AcceptConnection(subprotocol=next(iter(request.subprotocols), None))))
        self._present.add(client)
        self.stats["clients"] += 1
        try:
            while not client.gone.is_set() and (data := await reader.read(1 << 16)):
                machine.receive_data(data)
                for event in machine.events():
                    if isinstance(event, Ping | CloseConnection):
                        with contextlib.suppress(LocalProtocolError):  # a close that answers ours
                            client.send(machine.send(event.response()))
                    if isinstance(event, CloseConnection):
                        return
        finally:
            client.gone.set()
            self._present.discard(client)

    def _chosen(self, target: str) -> int:
        """The line that a path asks for."""
        words = urlsplit(target).path.strip("/").split("/")
        fitting = [n for n in self._served if [self.lines[n].channel, self.lines[n].name] == words]
        fitting = fitting or [n for n in self._served if [self.lines[n].channel] == words] or self._served
        return min(fitting, key=self._count)

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        """A request of HTTP: the latest snapshot of its symbol, once one was played."""
        self.stats["requests"] += 1
        target = head.split(b" ", 2)[1].decode("latin1") if head.count(b" ") > 1 else "/"
        symbol = asked_for(target).lower()
        # what describes instruments is not kept in the venue's own words: nobody waits for it
        waits = not any(urlsplit(target).path.endswith(path) for path in self._describing)
        deadline = time.monotonic() + (ANSWER_S if waits else 0.0)
        while symbol not in self._answers and not self._over and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        body = self._answers.get(symbol)
        status = "200 OK" if body is not None else "404 Not Found"
        said = body if body is not None else json.dumps({"error": f"no snapshot of {symbol} was played"}).encode()
        fields = f"Content-Type: application/json\r\nContent-Length: {len(said)}\r\nConnection: close\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + said)
        await writer.drain()


def _describing(protocol: str) -> str:
    """The path of the venue's request for instruments."""
    return urlsplit(venue(protocol).instruments(Feed((), ())).url).path


def places(lines: list[RecordedLine]) -> list[str]:
    """The paths of the lines that are served."""
    return [f"/{line.channel}/{line.name}" for line in lines if line.name != CONTROL]
