"""The simulator's SoupBinTCP server, seen by a client of plain sockets."""

import socket
import struct
import threading

import pytest
from test_simulate_multicast import MARKET, day

from feedhandler.errors import BackendError, ConfigError
from feedhandler.simulate import Exchange, SoupServer


class Client:
    """A login, and the packets that come back as (type, payload)."""

    def __init__(
        self, port: int, number: int = 1, user="", password="", session="", timeout: int | None = None
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        body = b"L" + user.ljust(6).encode() + password.ljust(10).encode() + session.ljust(10).encode()
        body += str(number).rjust(20).encode() + (b"" if timeout is None else str(timeout).rjust(5).encode())
        self.send(body)
        self.file = self.socket.makefile("rb")

    def send(self, packet: bytes) -> None:
        self.socket.sendall(struct.pack(">H", len(packet)) + packet)

    def packets(self):
        while head := self.file.read(2):
            packet = self.file.read(int.from_bytes(head, "big"))
            yield chr(packet[0]), packet[1:]

    def rest(self) -> list[bytes]:
        """The messages up to the end of the session."""
        out = []
        for kind, payload in self.packets():
            if kind == "S":
                out.append(payload)
            elif kind == "Z":
                break
        self.socket.close()
        return out


@pytest.fixture
def serve():
    """Start a server in a thread: serve(**options) -> server."""
    running = []

    def start(source=None, **options) -> SoupServer:
        server = SoupServer(**options)
        thread = threading.Thread(target=server.run, args=(source or Exchange(**MARKET),))
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_client_gets_the_whole_session_and_another_its_second_half(serve):
    server = serve(clients=3, rate=100_000)
    first = Client(server.port)
    kind, payload = next(first.packets())
    assert (kind, payload) == ("A", b" SIMULATED" + b"1".rjust(20))
    assert first.rest() == day(**MARKET)
    late = Client(server.port, 2001)
    assert next(late.packets()) == ("A", b" SIMULATED" + b"2001".rjust(20))
    assert late.rest() == day(**MARKET)[2000:]
    assert Client(server.port, 1).rest() == day(**MARKET)


def test_every_number_can_be_asked_for(serve):
    server = serve(clients=100, source=Exchange(symbols=5, seed=1, messages=40_000, live_orders=100))
    want = day(symbols=5, seed=1, messages=40_000, live_orders=100)
    assert Client(server.port).rest() == want  # all of it is there now
    for number in (2, 1999, 2000, 20_000, 39_999, 40_000):
        assert Client(server.port, number).rest() == want[number - 1 :]
    for number, got in ((0, 40_000), (50_000, 40_001)):  # 0: from the last one on; past the end: from the end on
        client = Client(server.port, number)
        assert next(client.packets())[1][10:] == str(got).rjust(20).encode()
        assert client.rest() == want[got - 1 :]


@pytest.mark.parametrize("login, reason", [
    ({"user": "other", "password": "secret"}, b"A"),
    ({"user": "me", "password": "wrong"}, b"A"),
    ({"user": "me", "password": "secret", "session": "YESTERDAY"}, b"S"),
])  # fmt: skip
def test_wrong_logins_are_rejected_and_the_connection_is_closed(serve, login, reason):
    server = serve(username="me", password="secret")
    assert list(Client(server.port, **login).packets()) == [("J", reason)]
    good = Client(server.port, user="ME", password="SECRET", session="SIMULATED", timeout=5000)
    assert next(good.packets())[0] == "A"
    assert len(good.rest()) == 3000
    assert server.stats["rejected"] == 1 and server.stats["logins"] == 1


def test_heartbeats_when_idle_and_the_end_when_stopped(serve):
    server = serve(rate=0.01, heartbeat_s=0.02)
    client = Client(server.port)
    packets = client.packets()
    seen = [next(packets)[0] for _ in range(4)]
    assert seen == ["A", "S", "H", "H"]
    client.send(b"R")
    client.send(b"+hello")
    server.stop()
    assert "Z" in [kind for kind, _ in packets]


def test_silent_and_unruly_clients_are_dropped(serve):
    server = serve(rate=0.01, login_s=0.1, heartbeat_s=5)
    mute = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    assert mute.recv(100) == b""  # no login in time
    silent = Client(server.port, timeout=50)
    assert [kind for kind, _ in silent.packets()] == ["A", "S"]
    for garbage in (b"\0\0\0", b"\0\x05Xabcd", struct.pack(">H", 3) + b"Lab", b"\0\x01R"):
        client = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        client.sendall(garbage)
        assert client.recv(100) in (b"", b"\0\x02JA")
    leaving = Client(server.port)
    leaving.send(b"O")
    assert next(leaving.packets())[0] == "A"
    leaving.rest()  # comes to an end
    assert server.stats["dropped"] >= 2


def test_what_cannot_be_had_is_said_in_a_sentence():
    with pytest.raises(ConfigError, match="session"):
        SoupServer(session="")
    with pytest.raises(ConfigError, match="user name"):
        SoupServer(username="1234567")
    with SoupServer() as server, pytest.raises(BackendError, match="cannot listen on"):
        SoupServer(port=server.port)
