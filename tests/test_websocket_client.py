"""`feedhandler.websocket`: a client for Python, against a local venue over TLS and against servers that misbehave."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_websocket

from feedhandler import websocket
from feedhandler.decode.venue import venue
from feedhandler.errors import ConfigError, SessionError
from feedhandler.records import Cause
from feedhandler.simulate.venues import serve


@contextmanager
def server(talk: Callable[[ServerConnection], None], **options: object) -> Iterator[str]:
    """A plain server by the library `websockets`, in a thread; gives its URL."""

    def handle(connection: ServerConnection) -> None:
        with suppress(Exception):
            talk(connection)

    with serve_websocket(handle, "127.0.0.1", 0, **options) as made:  # type: ignore[arg-type]
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{made.socket.getsockname()[1]}"
        finally:
            made.shutdown()
            thread.join()


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.mark.parametrize("compression", [False, True], ids=["plain", "deflate"])
@pytest.mark.parametrize("tls", [True, False], ids=["wss", "ws"])
def test_a_venue_is_followed(tls: bool, compression: bool) -> None:
    spoken = venue("kraken")
    with serve("kraken", tls=tls, rate=1000) as served:
        feed = spoken.feed(served.symbols)
        with websocket.connect(served.url, ca=str(served.ca), compression=compression) as connection:
            assert connection.tls.startswith("TLSv1.3") == tls
            for text in spoken.subscribe(feed):
                connection.send(text)
            found = 0
            for batch in connection:
                for message in batch:
                    assert message.readonly
                    found += isinstance(json.loads(bytes(message)), list)
                if found > 200:
                    break
            assert (connection.counts["inflated"] > 0) == compression
        assert connection.closed
        assert connection.close_code == 1000


def test_what_is_sent_comes_back() -> None:
    with server(echo) as url, websocket.connect(url) as connection:
        for message in ("", "text", "ünï" * 5000, b"", b"\x00\xff" * 3000):
            connection.send(message)
            [view] = connection.recv(5.0)
            assert bytes(view) == (message.encode() if isinstance(message, str) else message)
            assert connection.binary == [isinstance(message, bytes)]
        with pytest.raises(ValueError, match="65536 bytes"):
            connection.send("x" * 70_000)
        connection.ping(b"x")
        while not connection.counts["pongs"]:
            connection.recv(0.1)
    connection.close()
    with pytest.raises(SessionError, match="is over"):
        connection.send("more")


def test_waiting_has_an_end() -> None:
    with server(echo) as url, websocket.connect(url) as connection:
        assert connection.recv(0.01) == []
        assert not connection.closed


def test_messages_that_came_together_are_batches_with_pending() -> None:
    go = threading.Event()

    def burst(connection: ServerConnection) -> None:
        connection.send(["fragment ", "by ", "fragment"])
        for number in range(3000):
            connection.send(str(number))
        go.set()
        for _ in connection:
            pass

    with server(burst) as url, websocket.connect(url) as connection:
        assert go.wait(10)
        texts, waited = [], 0
        while len(texts) < 3001:
            texts += [str(view, "ascii") for view in connection.recv(5.0)]
            waited += connection.pending
        assert texts == ["fragment by fragment", *map(str, range(3000))]
        assert waited > 0


def test_views_outlive_their_connection() -> None:
    with server(echo) as url:
        with websocket.connect(url) as connection:
            connection.send("kept")
            views = connection.recv(5.0)
        del connection
        assert len(views[0]) == 4
        bytes(views[0])  # of what is there now, and never of memory that is gone


def test_iterating_ends_with_the_servers_close() -> None:
    def talk(connection: ServerConnection) -> None:
        connection.send("one")
        connection.close(1000, "enough")

    with server(talk) as url, websocket.connect(url) as connection:
        assert [bytes(view) for batch in connection for view in batch] == [b"one"]
        assert (connection.close_code, connection.close_reason) == (1000, "enough")
        assert connection.recv() == []


def test_another_close_code_is_an_error() -> None:
    def talk(connection: ServerConnection) -> None:
        connection.close(4001, "who are you")

    with server(talk) as url, websocket.connect(url) as connection:
        with pytest.raises(websocket.BrokenError, match="the server closed with 4001: who are you"):
            connection.recv()
        assert connection.closed


def test_a_connection_that_is_cut_is_an_error() -> None:
    with serve("binance", rate=0) as served, websocket.connect(served.url, ca=str(served.ca)) as connection:
        served.cut()
        with pytest.raises(websocket.BrokenError, match="without a close: it ended without close_notify") as caught:
            connection.recv(10.0)
        assert caught.value.cause is Cause.LOST


def test_a_message_that_is_too_long_is_refused_with_1009() -> None:
    codes: list[int | None] = []
    over = threading.Event()

    def talk(connection: ServerConnection) -> None:
        try:
            connection.send("x" * 5000)
            for _ in connection:
                pass
        finally:
            codes.append(connection.close_code)
            over.set()

    with server(talk, compression=None) as url, websocket.connect(url, max_message_bytes=4096) as connection:
        with pytest.raises(websocket.BrokenError, match="longer than max_message_bytes"):
            connection.recv(5.0)
        assert over.wait(5)
    assert codes == [1009]


def test_subprotocol_headers_and_address() -> None:
    seen: list[str] = []

    def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.extend([connection.request.headers["Host"], connection.request.headers["X-Who"]])

    with server(talk, subprotocols=["b"]) as url:
        port = url.rpartition(":")[2]
        with websocket.connect(
            "ws://venue.example/", address=f"127.0.0.1:{port}", subprotocols=["a", "b"], headers={"X-Who": "me"}
        ) as connection:
            assert connection.subprotocol == "b"
            assert connection.recv(5.0) == []
    assert seen == ["venue.example", "me"]


def test_who_the_server_is_is_verified() -> None:
    with serve("kraken") as served:
        with pytest.raises(websocket.BrokenError, match="certificate is refused") as caught:
            websocket.connect(served.url)
        assert caught.value.cause is Cause.TLS
        with pytest.raises(websocket.BrokenError, match="certificate is refused"):
            port = served.url.split(":")[2].split("/")[0]
            websocket.connect("wss://venue.example/", ca=str(served.ca), address=f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"url": "http://x/"}, 'url: expected a URL as "wss://host/path"'),
        ({"url": "wss://user@x/"}, "url: expected"),
        ({"url": "ws://x/", "address": "a b"}, "address: expected a host or address"),
        ({"url": "wss://127.0.0.1:1/", "ca": "absent.pem"}, "absent.pem|nobody listens"),
        ({"url": "ws://127.0.0.1:1/", "headers": {"Host": "x"}}, "'Host' is the handshake's own"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, object], said: str) -> None:
    with pytest.raises((ConfigError, SessionError), match=said):
        websocket.connect(**arguments)  # type: ignore[arg-type]
