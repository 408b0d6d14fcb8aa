"""WebSocket's opening (RFC 6455, section 4) from the client's side, and the whole way to an open connection.

`Upgrade` is the HTTP part without a socket: h11 reads the answer, wsproto's handshake judges it (status, Upgrade,
Connection, accept key, subprotocol), the extensions are judged by our own reader of them. `dial()` goes the whole way,
blocking and within a deadline: name, TCP, TLS, upgrade, redirects. What it gives is for a StreamReceiver or for
`feedhandler.websocket`. Why it failed is a `BrokenError`, whose `cause` says when to try again.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import h11
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, RejectData, Request
from wsproto.extensions import Extension
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from feedhandler.errors import ConfigError, ReceiverError, SessionError, TlsError
from feedhandler.receive import stream
from feedhandler.receive.tls import Tls
from feedhandler.records import Cause
from feedhandler.redact import redacted
from feedhandler.session import frames
from feedhandler.venue_config import PORTS, where

__all__ = ["BrokenError", "Dialled", "Stage", "Target", "Upgrade", "dial", "socket_words"]

REDIRECTS_MAX = 5
HEAD_MAX = 65_536  # bytes of a response's head
BODY_SHOWN = 120  # of a refusal's body, for people
REDIRECTS = frozenset({301, 302, 303, 307, 308})
AGENT = "feedhandler"
OURS = frozenset({"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version",
                  "sec-websocket-protocol", "sec-websocket-extensions"})  # fmt: skip
ONCE = (b"sec-websocket-accept", b"sec-websocket-protocol", b"sec-websocket-extensions", b"upgrade")


class Stage(Enum):
    """How far a connection has come."""

    REACHING = "reaching"  # name, TCP, TLS
    UPGRADING = "upgrading"  # the HTTP request is sent; the server decides whether we may
    AUTHENTICATING = "authenticating"  # a signed subscription is sent, and not answered
    SUBSCRIBING = "subscribing"  # what we want is said
    READY = "ready"


class BrokenError(SessionError):
    """A connection failed, or was refused, or ended. `cause` says which; `retry_s` what the server asked for.

    The sentence is for people: secrets of a URL in it are not shown.
    """

    def __init__(self, sentence: str, cause: Cause, retry_s: float = 0.0, status: int = 0) -> None:
        super().__init__(redacted(sentence))
        self.cause, self.retry_s, self.status = cause, retry_s, status


class _Deflate(Extension):
    """permessage-deflate as we offer it; the answer is read by the same reader as the framing's."""

    name = "permessage-deflate"

    def __init__(self) -> None:
        self.agreement: frames.Agreement | None = None

    def enabled(self) -> bool:
        return False  # of no use to wsproto, which sees no frame

    def offer(self) -> str:
        return frames.OFFER.partition(";")[2].strip()

    def finalize(self, offer: str) -> None:
        if self.agreement is not None:
            raise ValueError("permessage-deflate stands twice in the answer")
        self.agreement = frames.agreed(offer)


class Upgrade:
    """The HTTP exchange that opens a connection: `request` is to be sent, what comes goes into receive()."""

    def __init__(
        self,
        host: str,
        resource: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        deflate: bool = False,
    ) -> None:
        """`host` as it stands in the Host header, `resource` path and query.

        Raises ConfigError for a header that is the handshake's own, or cannot be sent.
        """
        self._deflate = _Deflate()
        self._machine = H11Handshake(ConnectionType.CLIENT)
        for name in headers or ():
            if name.lower() in OURS:
                raise ConfigError(f"the header {name!r} is the handshake's own: leave it out")
        extra = {"User-Agent": AGENT, **(headers or {})}
        try:
            self.request = self._machine.send(
                Request(
                    host=host,
                    target=resource,
                    subprotocols=list(subprotocols),
                    extensions=[self._deflate] if deflate else [],
                    extra_headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in extra.items()],
                )
            )
        except (UnicodeError, LocalProtocolError, h11.LocalProtocolError) as error:
            raise ConfigError(redacted(f"the request for https://{host}{resource} cannot be sent: {error}")) from None
        self.received = b""
        """All bytes so far, the response's head among them: for the framing, which begins with it."""
        self.subprotocol = ""
        self.headers: dict[str, str] = {}
        self._status = 0
        self._body = b""

    @property
    def agreement(self) -> frames.Agreement | None:
        """What was agreed on about compression; None: nothing."""
        return self._deflate.agreement

    def receive(self, data: bytes) -> bool:
        """Take what came; True once the connection is open. b"" is the end of the stream.

        Raises RedirectedError for a redirect, BrokenError for any other answer than an upgrade, and for one that
        breaks a rule.
        """
        self.received += data
        if not data and not self._status:
            raise BrokenError("the server hung up without an answer to the upgrade", Cause.HANDSHAKE)
        try:
            self._machine.receive_data(data or None)
            for event in self._machine.events():
                if isinstance(event, AcceptConnection):
                    self._once()
                    self.headers = _headers(event.extra_headers)
                    self.subprotocol = event.subprotocol or ""
                    return True
                if isinstance(event, RejectConnection):
                    self._status, self.headers = event.status_code, _headers(event.headers)
                    self._redirect()
                if isinstance(event, RejectData):
                    self._body += event.data[: BODY_SHOWN - len(self._body)]
        except (RemoteProtocolError, ValueError) as error:
            raise BrokenError(f"the answer to the upgrade breaks a rule: {_why(error)}", Cause.HANDSHAKE) from None
        if self._status and (
            self._machine.state is ConnectionState.CLOSED or not data or len(self._body) >= BODY_SHOWN
        ):
            raise self._refused()
        if len(self.received) > HEAD_MAX:
            raise BrokenError(f"the answer to the upgrade is no end of more than {HEAD_MAX} bytes", Cause.HANDSHAKE)
        return False

    def _once(self) -> None:
        """Of a header that may stand once, wsproto reads the last."""
        lines = self.received.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")[1:]
        names = [line.partition(b":")[0].strip() for line in lines]
        for name in ONCE:
            if names.count(name) > 1:
                raise ValueError(f"{name.decode()} stands twice in the answer")

    def _redirect(self) -> None:
        if self._status in REDIRECTS:
            if not self.headers.get("location"):
                raise BrokenError(f"HTTP {self._status} without a Location", Cause.HANDSHAKE, status=self._status)
            raise RedirectedError(self._status, self.headers["location"])

    def _refused(self) -> BrokenError:
        said = " ".join(self._body.decode("utf-8", "replace").split())
        sentence = f"the server answered the upgrade with HTTP {self._status}" + (f": {said}" if said else "")
        return BrokenError(sentence, refusal(self._status), retry_after(self.headers), self._status)


class RedirectedError(BrokenError):
    """The server names another URL."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"HTTP {status} to {location}", Cause.HANDSHAKE, status=status)
        self.location = location


def refusal(status: int) -> Cause:
    """Why an HTTP request was refused, by its status."""
    if status in (418, 420, 429, 509):
        return Cause.RATE_LIMITED
    if status in (401, 407):
        return Cause.AUTHENTICATION
    if status in (403, 451):
        return Cause.POLICY
    if status == 503:
        return Cause.OVERLOADED
    return Cause.SERVER_ERROR if status >= 500 else Cause.HANDSHAKE


def retry_after(headers: Mapping[str, str], wall: Callable[[], float] = time.time) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date (RFC 9110, 10.2.3); 0 where it is none."""
    value = headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(min(int(value), 86_400))
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - wall()), 86_400.0)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0


@dataclass(frozen=True)
class Target:
    """Where a connection goes to, and as whom."""

    url: str
    address: tuple[str, int] | None = None
    """Connect there instead of where the URL's host is; the certificate is still to be the host's."""
    ca: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)
    subprotocols: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deflate: bool = False
    timeout_s: float = 10.0

    def redirected(self, location: str) -> Target:
        """The same, where a redirect points. Raises BrokenError for a place we do not go to."""
        there = urlsplit(urljoin(self.url, location))
        scheme = {"http": "ws", "https": "wss"}.get(there.scheme, there.scheme)
        if scheme not in ("ws", "wss") or not there.hostname or "@" in there.netloc:
            raise BrokenError(f"redirected to {location!r}, which is no WebSocket", Cause.HANDSHAKE)
        if scheme == "ws" and urlsplit(self.url).scheme == "wss":
            raise BrokenError(f"redirected from wss:// to {location!r}, without encryption: refused", Cause.HANDSHAKE)
        url = urlunsplit(there._replace(scheme=scheme, fragment=""))
        same = where(self.url) == where(url)
        return replace(
            self,
            url=url,
            address=self.address if same else None,
            headers=self.headers if same else {},  # what may be a secret goes to nobody else
            certificate=self.certificate if same else "",
            key=self.key if same else "",
        )


@dataclass
class Dialled:
    """An open connection. All that was received, the response's head first, stands in `received`."""

    sock: socket.socket
    tls: Tls | None
    url: str
    received: bytes
    subprotocol: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, data: bytes, timeout: float = 5.0) -> None:
        """Send all of `data`, before the hand-over. Raises BrokenError."""
        with _Words("sending"):
            if self.tls is not None:
                self.tls.write(data, timeout)
            else:
                self.sock.settimeout(timeout)
                self.sock.sendall(data)

    def receive(self, timeout: float) -> bytes | None:
        """What comes within `timeout` seconds, added to `received`; None: nothing. Raises BrokenError."""
        with _Words("receiving"):
            try:
                if self.tls is not None:
                    data = self.tls.read(timeout=timeout)
                else:
                    self.sock.settimeout(max(timeout, 1e-6))
                    data = self.sock.recv(65536)
            except TlsError as error:
                if error.reason == "TIMEOUT":
                    return None
                raise
            except (TimeoutError, BlockingIOError):
                return None
        if not data:
            raise BrokenError("the server closed the connection", Cause.LOST)
        self.received += data
        return data

    def hang_up(self) -> None:
        """End it, from any thread; whoever reads it sees the end."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        self.sock.close()


def dial(
    target: Target,
    *,
    session: bytes | None = None,
    progress: Callable[[Stage, socket.socket], None] | None = None,
) -> Dialled:
    """The whole way to an open connection, within `target.timeout_s`; redirects are followed, five at most.

    `session`: of an earlier TLS connection, to resume. `progress` is called when the server is reached, with the
    socket, so that another thread can end the attempt with shutdown(). Raises BrokenError, and ConfigError for what no
    further attempt will mend.
    """
    end = time.monotonic() + target.timeout_s
    for _ in range(REDIRECTS_MAX + 1):
        try:
            return _dial(target, session, progress, end)
        except RedirectedError as elsewhere:
            target = target.redirected(elsewhere.location)
            session = None
    raise BrokenError(f"more than {REDIRECTS_MAX} redirects, the last to {target.url}", Cause.HANDSHAKE)


def _dial(
    target: Target, session: bytes | None, progress: Callable[[Stage, socket.socket], None] | None, end: float
) -> Dialled:
    parts = urlsplit(target.url)
    host, port = where(target.url)
    resource = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    standard = port == PORTS[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    upgrade = Upgrade(
        shown if standard else f"{shown}:{port}",
        resource,
        subprotocols=target.subprotocols,
        headers=target.headers,
        deflate=target.deflate,
    )

    def left() -> float:
        return max(0.001, end - time.monotonic())

    try:
        sock = stream.connect(*(target.address or (host, port)), stream.Options(timeout_s=left()))
    except ReceiverError as error:
        raise BrokenError(str(error), Cause.UNREACHABLE) from None
    opened = Dialled(sock, None, target.url, b"")
    try:
        if progress is not None:
            progress(Stage.REACHING, sock)
        if parts.scheme == "wss":
            made = Tls(
                host,
                ca=target.ca or None,
                certificate=target.certificate or None,
                key=target.key or None,
                alpn=("http/1.1",),
                session=session,
            )
            with _Words("the TLS handshake", Cause.TLS):
                made.handshake(sock, left())
            opened.tls = made
        if progress is not None:
            progress(Stage.UPGRADING, sock)
        opened.send(upgrade.request, left())
        while True:
            data = opened.receive(left())
            if data is None:
                raise BrokenError(f"no answer to the upgrade within {target.timeout_s:g} s", Cause.TIMEOUT)
            if upgrade.receive(data):
                break
    except BrokenError as error:
        opened.close()
        if error.cause is Cause.LOST:
            upgrade.receive(b"")  # says how far the answer had come
        raise
    except BaseException:
        opened.close()
        raise
    opened.subprotocol, opened.headers = upgrade.subprotocol, upgrade.headers
    return opened


class _Words:
    """What a socket or TLS says, as a BrokenError."""

    def __init__(self, what: str, cause: Cause = Cause.LOST) -> None:
        self._what, self._cause = what, cause

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, at: Any) -> None:
        if isinstance(error, TlsError):
            cause = {"TIMEOUT": Cause.TIMEOUT, "SOCKET": Cause.LOST, "TRUNCATED": Cause.LOST}.get(
                error.reason, Cause.TLS
            )
            raise BrokenError(str(error), cause) from None
        if isinstance(error, TimeoutError):
            raise BrokenError(f"{self._what} took too long", Cause.TIMEOUT) from None
        if isinstance(error, OSError):
            raise BrokenError(f"{self._what}: {error.strerror or error}", self._cause) from None


def _headers(rows: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {bytes(name).decode("latin1").lower(): bytes(value).decode("latin1") for name, value in rows}


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def socket_words(error: int) -> str:
    """What the system says of an error of a socket, and TLS of an end that nobody announced."""
    if error == errno.ECONNABORTED:
        return "it ended without close_notify: what came last may be cut short"
    return os.strerror(error) if 0 < error < 4096 else f"error {error}"
