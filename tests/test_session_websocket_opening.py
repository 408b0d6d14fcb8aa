"""Opening a WebSocket: what the client sends, what it takes for an answer, and where it goes instead."""

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from feedhandler.errors import ConfigError
from feedhandler.records import Cause
from feedhandler.session.websocket import BrokenError, RedirectedError, Stage, Target, Upgrade, dial, refusal

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(request: bytes) -> str:
    key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    return base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + GUID).digest()).decode()


def answer(request: bytes, *lines: str, **change: str | None) -> bytes:
    """A good answer, with more lines, or with headers changed or (None) left out."""
    headers: dict[str, str | None] = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_accept": accept_of(request),
        **change,
    }
    head = ["HTTP/1.1 101 Switching Protocols"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*head, *lines, "", ""]).encode()


def test_the_request_is_rfc_6455s() -> None:
    upgrade = Upgrade("venue.example:9443", "/ws?x=1", subprotocols=("a", "b"), headers={"X-Who": "me"}, deflate=True)
    head, _, rest = upgrade.request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert (first, rest) == ("GET /ws?x=1 HTTP/1.1", b"")
    assert len(base64.b64decode(headers.pop("sec-websocket-key"))) == 16
    assert headers == {
        "host": "venue.example:9443",
        "upgrade": "WebSocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "a, b",
        "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
        "user-agent": "feedhandler",
        "x-who": "me",
    } | {"upgrade": headers["upgrade"]}
    assert headers["upgrade"].lower() == "websocket"


def test_each_key_is_its_own() -> None:
    keys = {accept_of(Upgrade("h", "/").request) for _ in range(20)}
    assert len(keys) == 20


def test_an_answer_in_pieces_and_frames_behind_it() -> None:
    upgrade = Upgrade("h", "/", subprotocols=("a",))
    data = answer(upgrade.request, "Sec-WebSocket-Protocol: a", connection="keep-alive, UPGRADE", upgrade="WebSocket")
    for i in range(len(data) - 1):
        assert not upgrade.receive(data[i : i + 1])
    assert upgrade.receive(data[-1:] + b"\x81\x02hi")
    assert upgrade.received == data + b"\x81\x02hi"
    assert upgrade.subprotocol == "a"
    assert upgrade.agreement is None


def test_compression_is_agreed_on() -> None:
    upgrade = Upgrade("h", "/", deflate=True)
    lines = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_max_window_bits=10"
    assert upgrade.receive(answer(upgrade.request, lines))
    assert upgrade.agreement is not None
    assert upgrade.agreement.server_no_context_takeover
    assert upgrade.agreement.client_max_window_bits == 10


BREAKS = {
    "a wrong accept key (4.1, 4)": lambda r: answer(r, sec_websocket_accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    "no accept key (4.1, 4)": lambda r: answer(r, sec_websocket_accept=None),
    "no upgrade (4.1, 2)": lambda r: answer(r, upgrade=None),
    "upgraded to something else (4.1, 2)": lambda r: answer(r, upgrade="h2c"),
    "no connection (4.1, 3)": lambda r: answer(r, connection=None),
    "another connection (4.1, 3)": lambda r: answer(r, connection="close"),
    "an extension that was not offered (4.1, 5)": lambda r: answer(r, "Sec-WebSocket-Extensions: permessage-deflate"),
    "a subprotocol that was not offered (4.1, 6)": lambda r: answer(r, "Sec-WebSocket-Protocol: chat"),
    "an accept key twice": lambda r: answer(r, f"Sec-WebSocket-Accept: {accept_of(r)}"),
    "no HTTP": lambda r: b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a head without end": lambda r: b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"x" * 70_000,
    "nothing": lambda r: b"",
}


@pytest.mark.parametrize("made", BREAKS.values(), ids=BREAKS)
def test_an_answer_that_breaks_a_rule_is_refused(made: Callable[[bytes], bytes]) -> None:
    upgrade = Upgrade("h", "/")
    with pytest.raises(BrokenError) as caught:
        upgrade.receive(made(upgrade.request))
    assert caught.value.cause is Cause.HANDSHAKE


DEFLATES = (
    "permessage-deflate, permessage-deflate",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; unknown",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "x-webkit-deflate-frame",
)


@pytest.mark.parametrize("value", DEFLATES)
def test_an_extension_that_cannot_be_is_refused(value: str) -> None:
    upgrade = Upgrade("h", "/", deflate=True)
    with pytest.raises(BrokenError) as caught:
        upgrade.receive(answer(upgrade.request, f"Sec-WebSocket-Extensions: {value}"))
    assert caught.value.cause is Cause.HANDSHAKE


@pytest.mark.parametrize(
    "status, cause",
    [(401, Cause.AUTHENTICATION), (403, Cause.POLICY), (404, Cause.HANDSHAKE), (418, Cause.RATE_LIMITED),
     (429, Cause.RATE_LIMITED), (451, Cause.POLICY), (500, Cause.SERVER_ERROR), (503, Cause.OVERLOADED)],
)  # fmt: skip
def test_a_refusal_has_its_cause_and_the_servers_words(status: int, cause: Cause) -> None:
    upgrade = Upgrade("h", "/")
    with pytest.raises(BrokenError) as caught:
        upgrade.receive(f"HTTP/1.1 {status} No\r\nRetry-After: 9\r\nContent-Length: 9\r\n\r\ngo\n away ".encode())
    assert caught.value.cause is cause is refusal(status)
    assert (caught.value.status, caught.value.retry_s) == (status, 9.0)
    assert str(caught.value) == f"the server answered the upgrade with HTTP {status}: go away"


def test_headers_of_the_handshake_are_not_the_callers() -> None:
    with pytest.raises(ConfigError, match="'Sec-WebSocket-Key' is the handshake's own"):
        Upgrade("h", "/", headers={"Sec-WebSocket-Key": "x"})
    with pytest.raises(ConfigError, match="cannot be sent"):
        Upgrade("h", "/", headers={"X": "a\r\nb"})


def test_a_redirect_names_the_place() -> None:
    upgrade = Upgrade("h", "/")
    with pytest.raises(RedirectedError) as caught:
        upgrade.receive(b"HTTP/1.1 307 Elsewhere\r\nLocation: wss://other/\r\nContent-Length: 0\r\n\r\n")
    assert caught.value.location == "wss://other/"


@pytest.mark.parametrize(
    "location, url",
    [("/other?x", "wss://a.example:9443/other?x"), ("wss://b.example/y", "wss://b.example/y"),
     ("https://b.example/y", "wss://b.example/y"), ("//c.example/z#f", "wss://c.example/z")],
)  # fmt: skip
def test_redirects_are_followed_there(location: str, url: str) -> None:
    target = Target(
        "wss://a.example:9443/ws", ("10.0.0.1", 1), "ca", "cert", "key", headers={"Authorization": "secret"}
    )
    there = target.redirected(location)
    assert there.url == url
    same = "a.example" in url
    assert there.address == (("10.0.0.1", 1) if same else None)
    assert (there.certificate, there.headers) == (("cert", {"Authorization": "secret"}) if same else ("", {}))


@pytest.mark.parametrize(
    "location", ["ws://a.example/", "http://a.example/", "ftp://a.example/", "wss://u:p@a.example/"]
)
def test_some_redirects_are_refused(location: str) -> None:
    with pytest.raises(BrokenError, match="redirected"):
        Target("wss://a.example/").redirected(location)


@contextmanager
def server(*answers: Callable[[bytes], bytes | None]) -> Iterator[tuple[str, list[bytes]]]:
    """One connection after the other, each answered by one of these; None: never. Gives (URL, requests)."""
    requests: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            for made in answers:
                sock = listening.accept()[0]
                kept.append(sock)
                data = b""
                while b"\r\n\r\n" not in data and (more := sock.recv(4096)):
                    data += more
                requests.append(data)
                reply = made(data)
                if reply is None:
                    continue
                sock.sendall(reply)
                if b" 101 " not in reply:
                    sock.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}", requests
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for sock in kept:
            sock.close()
        thread.join()


def test_dial_opens_a_connection_and_hands_on_what_came_with_it() -> None:
    stages: list[Stage] = []
    with server(lambda request: answer(request) + b"\x81\x02hi") as (url, requests):
        opened = dial(Target(url + "/ws?a=b"), progress=lambda stage, sock: stages.append(stage))
        while not opened.received.endswith(b"\x81\x02hi"):
            opened.receive(1.0)
        assert requests[0].startswith(b"GET /ws?a=b HTTP/1.1\r\nHost: 127.0.0.1:")
        assert opened.receive(0.01) is None
        opened.close()
    assert stages == [Stage.REACHING, Stage.UPGRADING]


def test_dial_follows_redirects_to_their_end() -> None:
    moved = lambda request: b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n"  # noqa: E731
    with server(moved, moved, answer) as (url, requests):
        opened = dial(Target(url + "/first"))
        opened.close()
        assert opened.url == url + "/next"
        assert [request.split()[1] for request in requests] == [b"/first", b"/next", b"/next"]
    with server(*[moved] * 6) as (url, _), pytest.raises(BrokenError, match="more than 5 redirects"):
        dial(Target(url))


def test_a_server_that_says_nothing_is_given_up() -> None:
    with server(lambda request: None) as (url, _), pytest.raises(BrokenError) as caught:
        dial(Target(url, timeout_s=0.2))
    assert caught.value.cause is Cause.TIMEOUT


def test_a_server_that_hangs_up_and_one_that_is_not_there() -> None:
    with server(lambda request: b"") as (url, _), pytest.raises(BrokenError, match="hung up") as caught:
        dial(Target(url))
    assert caught.value.cause is Cause.HANDSHAKE
    with pytest.raises(BrokenError, match="nobody listens") as caught:
        dial(Target(url))
    assert caught.value.cause is Cause.UNREACHABLE


def test_another_address_than_the_urls() -> None:
    with server(answer) as (url, requests):
        port = int(url.rpartition(":")[2])
        dial(Target("ws://venue.example/ws", ("127.0.0.1", port))).close()
        assert b"\r\nHost: venue.example\r\n" in requests[0]
