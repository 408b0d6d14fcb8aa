"""A simulated venue on loopback: its WebSocket and its REST service, in a thread of their own, beside a book per symbol
that says what a follower must have."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import ssl
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from feedhandler.errors import BackendError, ConfigError
from feedhandler.simulate.venues.authority import Authority, server_context
from feedhandler.simulate.venues.binance import Binance, BinanceUsdm
from feedhandler.simulate.venues.bitstamp import Bitstamp
from feedhandler.simulate.venues.coinbase import Coinbase
from feedhandler.simulate.venues.connection import Connection
from feedhandler.simulate.venues.dialect import Dialect, Out
from feedhandler.simulate.venues.faults import Dice, VenueFaults
from feedhandler.simulate.venues.flow import Flow
from feedhandler.simulate.venues.kraken import Kraken
from feedhandler.simulate.venues.market import Book, Reference, Step
from feedhandler.simulate.venues.play import Log
from feedhandler.simulate.venues.rest import serve_rest

VENUES: dict[str, type[Dialect]] = {
    dialect.name: dialect for dialect in (Binance, BinanceUsdm, Coinbase, Kraken, Bitstamp)
}
TURN_S = 0.005
PLAYED_MAX = 200  # texts of a log in one turn
KEPT_S = 0.25  # between two states that are kept for answers of the past
START_S = 10.0
T = TypeVar("T")


class VenueServer:
    """A venue that runs while the block does. `serve()` makes it.

    url      where its WebSocket is; `urls`: the same by each of its addresses, for lines A and B
    rest     where its REST service is
    ca       the certificate of its authority, a file in PEM ("" without TLS)
    symbols  what it trades
    stats    counts, for people and for tests to wait on
    watch    called with a book and its number after each step, before anybody is told; in the venue's thread
    finished set when the last text of the logs that are played was sent
    """

    def __init__(
        self,
        venue: str,
        symbols: Sequence[str] | None = None,
        *,
        seed: int = 1,
        rate: float = 200.0,
        levels: int = 60,
        batch_ms: float | None = None,
        beat_s: float = 1.0,
        ping_s: float = 20.0,
        faults: VenueFaults | None = None,
        logs: Sequence[str | Path] = (),
        speed: float = 1.0,
        compress: bool = True,
        tls: bool = True,
        port: int = 0,
        rest_port: int = 0,
        addresses: Sequence[str] = ("127.0.0.1", "127.0.0.2"),
        folder: Path | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        if venue not in VENUES:
            raise ConfigError(f"simulate: unknown venue {venue!r}; known are {', '.join(VENUES)}")
        self.script = faults or VenueFaults()
        self.script.check(venue)
        self.watch: Callable[[Book, int], None] | None = None
        self._log = Log(venue, [Path(path) for path in logs]) if logs else None
        self.dialect = VENUES[venue](self._log.symbols if self._log is not None else symbols, batch_ms)
        self.symbols = tuple(self.dialect.books)
        if credentials is not None:
            self.sign_with(credentials)
        self.flow = Flow(self.dialect.books, seed, levels)
        self.finished = threading.Event()  # of a log that is played: its last text was sent
        if self._log is not None:
            self._log.attach(self.dialect)
            rate = 0.0
        else:
            self.flow.fill()
        self.dice = Dice(self.script, seed)
        self.connects = self.script.limits.bucket(self.script.limits.connects_per_s)
        self.requests = self.script.limits.bucket(self.script.limits.rest_per_s)
        self.compress, self.rate = compress, rate
        self.stats = dict.fromkeys(
            ("connections", "refused", "heard", "messages", "bytes", "requests", "limited", "pongs", "steps", "turns"),
            0,
        )
        self.ca: Path | str = ""
        self._beat_s, self._ping_s, self._tls = beat_s, ping_s, tls
        self._addresses, self._port, self._rest_port = tuple(addresses), port, rest_port
        self._temporary = None if folder or not tls else tempfile.TemporaryDirectory("-venue")
        self._folder = Path(self._temporary.name) if self._temporary else folder
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._opened = 0
        self._paused = False
        self._begun: float | None = None
        self._speed = speed
        self._earlier: deque[tuple[float, Dialect]] = deque()
        self._keeps = max((fault.for_s for fault in self.script.fault if fault.kind == "rest_old"), default=0.0)

    # -- its life

    def __enter__(self) -> Self:
        context = None
        if self._tls and self._folder is not None:
            authority = Authority(self._folder)
            self.ca, context = authority.ca, server_context(authority.identity())
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, args=(context, started), name="venue", daemon=True)
        self._thread.start()
        try:
            started.result(START_S)
        except OSError as error:
            self._thread.join()
            self._forget()
            raise BackendError(f"simulate: {self.dialect.name} cannot listen: {error.strerror}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all connections and give the ports back."""
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._forget()

    def _forget(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _run(self, context: ssl.SSLContext | None, started: concurrent.futures.Future[None]) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, context: None)  # clients that end in the middle of a handshake
        try:
            self._loop.run_until_complete(self._listen(context))
        except OSError as error:
            started.set_exception(error)
        else:
            play = self._loop.create_task(self._play())
            started.set_result(None)
            self._loop.run_forever()
            play.cancel()
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.cut()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                self._loop.run_until_complete(task)
        self._loop.close()

    async def _listen(self, context: ssl.SSLContext | None) -> None:
        options: dict[str, Any] = {"ssl": context, "ssl_shutdown_timeout": 1.0} if context else {}
        self._port = await self._bind(self._websocket, self._port, options)
        self._rest_port = await self._bind(self._requests, self._rest_port, options)

    async def _bind(self, serve: Any, port: int, options: dict[str, Any]) -> int:
        """Listen on all addresses, on one port."""
        for attempt in range(20):
            chosen, made = port, []
            try:
                for address in self._addresses:
                    made.append(await asyncio.start_server(serve, address, chosen, **options))
                    chosen = made[0].sockets[0].getsockname()[1]
            except OSError:
                for server in made:
                    server.close()
                if port or attempt == 19:  # a free port of the first address may be taken at the second
                    raise
            else:
                self._servers += made
                return chosen
        raise AssertionError

    async def _websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._opened += 1
        connection = Connection(self, reader, writer, self._opened)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_rest(self, reader, writer)

    # -- where it is

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        return [f"{'wss' if self._tls else 'ws'}://{a}:{self._port}{self.dialect.path}" for a in self._addresses]

    @property
    def rest(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._addresses[0]}:{self._rest_port}"

    # -- what happens

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        last = beat = ping = kept = loop.time()
        owed = 0.0
        while True:
            await asyncio.sleep(TURN_S)
            now = loop.time()
            self.stats["turns"] += 1
            if not self._paused:
                owed = min(owed + self.rate * (now - last), self.rate)
                for _ in range(int(owed)):
                    self._happen(self.flow.step())
                owed -= int(owed)
                if self._log is not None:
                    self._advance(self._log, now)
            last = now
            self._send(self.dialect.due(time.time_ns()))
            if now - beat >= self._beat_s:
                beat = now
                self._send(self.dialect.beat(time.time_ns(), self._wanted()))
            if now - ping >= self._ping_s:
                ping = now
                for connection in list(self._connections):
                    connection.ping()
            if self._keeps and now - kept >= KEPT_S:
                kept = now
                self._keep(now)

    @property
    def playing(self) -> bool:
        """Whether a log is played that is not over."""
        return self._log is not None and not self._log.finished

    def _advance(self, log: Log, now: float) -> None:
        """Play what is due: from the first subscription on, at so many times its own pace."""
        if self._begun is None:
            if not self._wanted():
                return
            self._begun = now
        elapsed = round((now - self._begun) * self._speed * 1e9) if self._speed else 1 << 62
        for count, played in enumerate(log.until(elapsed), 1):
            self.stats["steps"] += 1
            self._send(log.take(self.dialect, played))
            if count == PLAYED_MAX:
                break  # the clients are to be heard meanwhile
        if log.finished:
            self.finished.set()

    def _wanted(self) -> set[str]:
        return set().union(*(c.session.streams for c in self._connections if c.session is not None))

    def _happen(self, step: Step) -> None:
        self.stats["steps"] += 1
        outs = self.dialect.changed(step, time.time_ns(), self._wanted())
        if self.watch is not None:
            self.watch(self.dialect.books[step.symbol], self.dialect.numbers[step.symbol])
        self._send(outs)

    def _send(self, outs: Iterable[Out]) -> None:
        for out in outs:
            for connection in list(self._connections):
                if connection.listens(out.stream):
                    connection.deliver(out)

    def _keep(self, now: float) -> None:
        then = copy.copy(self.dialect)
        then.books, then.numbers = copy.deepcopy(self.dialect.books), dict(self.dialect.numbers)
        self._earlier.append((now, then))
        while len(self._earlier) > 1 and now - self._earlier[1][0] >= self._keeps:
            self._earlier.popleft()

    def earlier(self, for_s: float) -> Dialect:
        """The venue as it was `for_s` ago, or as long ago as is known. For its own REST service."""
        now = asyncio.get_running_loop().time()
        old = [then for at, then in self._earlier if now - at >= for_s]
        return old[-1] if old else self._earlier[0][1] if self._earlier else self.dialect

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task until it is done. For connections."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- for tests and demos, from any thread

    def step(self, count: int = 1, symbol: str | None = None) -> None:
        """So many things happen now, of one symbol or of any; what is told batch by batch is told at once."""

        def happen() -> None:
            for _ in range(count):
                self._happen(self.flow.step(symbol))
            self._send(self.dialect.due(time.time_ns(), everything=True))

        self._call(happen)

    def pause(self) -> dict[str, Reference]:
        """Nothing happens any more, all that did has been sent; the venue's own books, by symbol. Heartbeats go on."""

        def hold() -> dict[str, Reference]:
            self._paused = True
            self._send(self.dialect.due(time.time_ns(), everything=True))
            return {symbol: self.dialect.reference(symbol) for symbol in self.symbols}

        return self._call(hold)

    def resume(self) -> None:
        """Go on."""
        self._paused = False

    def reference(self, symbol: str, depth: int | None = None) -> Reference:
        """The venue's own book of a symbol now. Raises KeyError."""
        return self._call(lambda: self.dialect.reference(symbol, depth))

    def cut(self) -> None:
        """End every WebSocket connection without a word."""
        self._each(Connection.cut)

    def disconnect(self, code: int = 1001, reason: str = "") -> None:
        """End every WebSocket connection with a close frame."""
        self._each(lambda connection: connection.close(code, reason))

    def sign_with(self, credentials: Mapping[str, str]) -> None:
        """What the venue's customer signs with from here on. Raises ConfigError."""
        self.dialect.sign_with(credentials)

    def say(self, said: str) -> None:
        """Send a text to every connection, whatever it is."""
        self._each(lambda connection: connection.text(said))

    @property
    def clients(self) -> int:
        """WebSocket connections that are open now."""
        return self._call(lambda: sum(connection.open for connection in self._connections))

    @property
    def faults(self) -> dict[str, int]:
        """How often each kind of the script has happened."""
        return dict(self.dice.counts)

    def _each(self, what: Callable[[Connection], None]) -> None:
        def there() -> None:
            for connection in list(self._connections):
                if connection.open:
                    what(connection)

        self._call(there)

    def _call(self, what: Callable[[], T]) -> T:
        """Do it in the venue's thread."""

        async def there() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(START_S)
