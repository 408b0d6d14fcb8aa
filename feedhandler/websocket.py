"""A small WebSocket client for Python, on the parts that the handler runs: OpenSSL on fixed memory, no event loop.

```python
from feedhandler import websocket

with websocket.connect("wss://stream.binance.com:9443/ws/btcusdt@trade") as feed:
    for batch in feed:                  # a list of memoryviews: whole messages, valid until the next batch
        newest = batch[-1] if not feed.pending else None
```
One thread uses a connection. Pings are answered while batches are taken, so take them. RFC 6455 and 7692 are held to
the letter: what breaks a rule ends the connection, with the section in the error. docs/crypto.md says more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from feedhandler._websocket_reader import Reader
from feedhandler.errors import ConfigError
from feedhandler.receive import stream
from feedhandler.records import Cause
from feedhandler.session import frames
from feedhandler.session._websocket import WebSocketFraming
from feedhandler.session.websocket import BrokenError, Dialled, Target, dial, socket_words
from feedhandler.venue_config import host_and_port, where
from feedhandler.venue_config import url as url_of

__all__ = ["BrokenError", "Connection", "connect"]

GOODBYE_S = 1.0
BUFFER_BYTES = 262_144
GOOD_CODES = (1000, 1001, 1005)
URL = url_of("wss", "ws")


def connect(
    url: str,
    *,
    ca: str = "",
    certificate: str = "",
    key: str = "",
    address: str = "",
    subprotocols: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    compression: bool = False,
    max_message_bytes: int = 4 << 20,
    timeout: float = 10.0,
) -> Connection:
    """An open connection to a `wss://` or `ws://` URL.

    `ca`: a PEM file with the authorities to trust in place of the system's; verification cannot be switched off.
    `certificate`, `key`: PEM files of our own. `address`: "host" or "host:port" to connect to instead of the URL's; the
    certificate is still to be the URL's. `subprotocols`, `headers`: for the upgrade. `compression` offers
    permessage-deflate. A message longer than `max_message_bytes` ends the connection with 1009. `timeout`: seconds for
    all of it; redirects are followed.

    Raises ConfigError for an argument that is wrong, BrokenError (a SessionError) when no connection can be had:
    its `cause` says why.
    """
    try:
        URL.read(url)
    except ValueError:
        raise ConfigError(f"url: expected {URL.expected}, found {url!r}") from None
    try:
        there = host_and_port(address, where(url)[1]) if address else None
    except ValueError:
        raise ConfigError(f"address: expected a host or address, with or without :port, found {address!r}") from None
    target = Target(url, there, ca, certificate, key, tuple(subprotocols), dict(headers or {}), compression, timeout)
    return Connection(dial(target), max_message_bytes)


class Connection:
    """One WebSocket, made by connect(). Iterate it for batches of messages; use it in a `with` block."""

    def __init__(self, opened: Dialled, max_message_bytes: int) -> None:
        self.url = opened.url
        """Where it goes to, after redirects."""
        self.subprotocol = opened.subprotocol
        """The one that the server chose; "" for none."""
        self.headers = dict(opened.headers)
        """Of the server's response, names in lower case."""
        self.tls = f"{opened.tls.version} {opened.tls.cipher}" if opened.tls is not None else ""
        """Version and cipher; "" of ws://."""
        self._opened = opened
        self._framing = WebSocketFraming(max_message_bytes)
        self._receiver = stream.receiver(1, stream.Options(buffer_bytes=BUFFER_BYTES))
        self._receiver.answer_with(0, self._framing.replies)
        self._receiver.connect(0, opened.sock.fileno(), opened.received, opened.tls)
        self._reader = Reader(self._receiver, self._framing)
        self._closed = False

    def __iter__(self) -> Iterator[list[memoryview]]:
        """Batch after batch, waiting for each; ends when the server has closed in good order. Raises as recv()."""
        while batch := self.recv():
            yield batch

    def recv(self, timeout: float | None = None) -> list[memoryview]:
        """The next messages: read-only views that are valid until the next recv().

        Waits at most `timeout` seconds, None: for as long as it takes. Empty: none came in time, or (`closed`) the
        connection is over. Raises BrokenError when the connection broke, or the server broke a rule or closed with
        another code than 1000 and 1001.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            batch = self._take()
            if batch or self._closed:
                return batch
            left = 1.0 if end is None else end - time.monotonic()
            if left <= 0:
                return []
            self._receiver.wait_for(min(left, 1.0))

    @property
    def pending(self) -> bool:
        """More messages, or parts of them, have been received behind the last batch: one may conflate."""
        return self._reader.pending

    @property
    def binary(self) -> list[bool]:
        """Of each message of the last batch: binary, not text."""
        return self._reader.binary

    @property
    def closed(self) -> bool:
        """Nothing more will come."""
        return self._closed

    @property
    def close_code(self) -> int:
        """Of the server's close, 1005 where it gave none; 0: it has not closed."""
        return self._framing.close_code

    @property
    def close_reason(self) -> str:
        """The server's words for it."""
        return self._framing.close_reason

    @property
    def counts(self) -> dict[str, int]:
        """Frames, fragments, pings, pongs, inflated and copied messages so far."""
        return {name: count for name, count in self._framing.counts.items() if isinstance(count, int)}

    def send(self, message: str | bytes) -> None:
        """Send a text (str) or a binary message (bytes), of at most 65,000 bytes. Waits for room.

        Raises BrokenError when the connection is over, ValueError for a message that is too long.
        """
        made = frames.text(message) if isinstance(message, str) else frames.binary(message)
        self._send(made)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping; its answer shows in `counts`. Raises as send()."""
        self._send(frames.ping(payload))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say close, wait a second at most for the answer, and end the connection. Harmless when it is over."""
        if not self._closed:
            end = time.monotonic() + GOODBYE_S
            try:
                if not self._framing.close_code:
                    self._framing.closing()
                    self._send(frames.close(code, reason))
                while not self._reader.ended and not self._reader.broken and time.monotonic() < end:
                    if not self._reader.take():
                        self._receiver.wait_for(0.05)
            except BrokenError:
                pass
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self) -> list[memoryview]:
        if self._closed:
            return []
        batch = self._reader.take()
        if batch or not (self._reader.ended or self._reader.broken):
            return batch
        code, reason = self._framing.close_code, self._framing.close_reason
        violation, error = self._framing.violation, int(self._receiver.line_status(0)["error"])
        self._end()
        if violation:
            raise BrokenError(f"{self.url}: closed by us: {violation}", Cause.PROTOCOL)
        if code in GOOD_CODES:
            return []
        if code:
            said = f": {reason}" if reason else ""
            raise BrokenError(f"{self.url}: the server closed with {code}{said}", Cause.CLOSED)
        words = f": {socket_words(error)}" if error else ""
        raise BrokenError(f"{self.url}: the connection broke without a close{words}", Cause.LOST)

    def _send(self, frame: bytes) -> None:
        if self._closed:
            raise BrokenError(f"{self.url}: the connection is over", Cause.STOPPED)
        while not self._receiver.send(0, frame):
            self._reader.flush()
            time.sleep(0.001)
        self._reader.flush()

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._opened.hang_up()
            self._receiver.close()
            self._opened.close()
