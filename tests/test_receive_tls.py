"""TLS lines: who the server is, what ends a connection, sessions, certificates; and records into a line's memory."""

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedhandler.receive import stream
from feedhandler.receive._stream import StreamReceiver
from feedhandler.receive.tls import Tls
from tests.authority import Authority
from tests.tls_pairs import Pairs, ServerEnd

DOWN, UP = 0, 1
Waiting = Callable[..., Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return authority.server_context()


@pytest.fixture
def pairs(context: ssl.SSLContext) -> Iterator[Pairs]:
    made = Pairs(context)
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[StreamReceiver]:
    with stream.receiver(2) as made:
        yield made


def collect(receiver: StreamReceiver, count: int, wait_for: Waiting, line: int = 0) -> bytes:
    """The next `count` plain bytes of a line."""
    got = bytearray()

    def enough() -> bool:
        receiver.wait_for(0.01)
        got.extend(b"".join(data for at, _, data in receiver.drain() if at == line))
        return len(got) >= count

    wait_for(enough, what=f"{count} bytes")
    return bytes(got)


def handed(pairs: Pairs, receiver: StreamReceiver, authority: Authority) -> tuple[Tls, ServerEnd, socket.socket]:
    """A connection of line 0 that the receiver has."""
    tls = Tls("localhost", ca=authority.ca)
    client, there = pairs.shake(tls)
    assert receiver.connect(0, client.fileno(), b"", tls)
    receiver.drain()
    return tls, there, client


def fallen(receiver: StreamReceiver, wait_for: Waiting) -> int:
    """The errno that the line went down with."""
    wait_for(lambda: (receiver.wait_for(0.01), receiver.drain()) and receiver.line_status(0)["state"] == DOWN)
    return int(receiver.line_status(0)["error"])


def test_the_control_path_speaks_then_the_receiver_has_it(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    tls = Tls("localhost", ca=authority.ca)
    client, there = pairs.shake(tls)
    tls.write(b"GET / HTTP/1.1\r\n\r\n")
    assert there.read() == b"GET / HTTP/1.1\r\n\r\n"
    there.sock.sendall(
        there.sealed(b"HTTP/1.1 101 Switching\r\n\r\n") + there.sealed(b"first") + there.sealed(b"second")
    )
    head = tls.read(26)
    assert receiver.connect(0, client.fileno(), head, tls)
    assert collect(receiver, 37, wait_for) == b"HTTP/1.1 101 Switching\r\n\r\nfirstsecond"
    assert receiver.line_status(0)["state"] == UP
    for act in (tls.read, lambda: tls.write(b"x")):
        with pytest.raises(ValueError, match="polling thread alone"):
            act()
