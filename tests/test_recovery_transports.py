"""The two real ways to the other side, against real sockets of loopback."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulated_book import blocks

from feedhandler import simulate
from feedhandler.errors import ConfigError, SessionError
from feedhandler.recovery import GlimpseSnapshots, MoldUdp64Requests, Snapshot
from feedhandler.recovery.glimpse import Spin
from feedhandler.simulate._snapshot import SnapshotSource
from feedhandler.simulate._store import MessageStore
from feedhandler.simulate.faults import GlimpseFault
from feedhandler.simulate.glimpse import GlimpseServer
from feedhandler.simulate.requests import RequestServer

SESSION = b"SIMULATED ".ljust(16, b"\0")
MARKET = simulate.Market(symbols=4, messages=3_000, seed=5)


def framed(messages: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    exchange, buffer, data = simulate.Exchange(MARKET), bytearray(1 << 16), bytearray()
    while size := exchange.produce(buffer):
        data += buffer[:size]
    return list(blocks(bytes(data)))


# -- requests over UDP -------------------------------------------------------------------------------------------------


def received(server: MoldUdp64Requests, wait_for: Callable[..., Any]) -> list[bytes]:
    found: list[bytes] = []
    wait_for(lambda: found.extend(server.receive()) or found, what="an answer")
    return found


def test_a_request_server_answers(messages: list[bytes], wait_for: Callable[..., Any]) -> None:
    store = MessageStore()
    store.append(framed(messages))
    with RequestServer(store) as server:
        ours = MoldUdp64Requests(f"127.0.0.1:{server.port}")
        assert (ours.fileno(), ours.receive()) == (-1, [])
        ours.send(SESSION, 7, 3)
        [packet] = received(ours, wait_for)
        assert packet == SESSION[:10] + struct.pack(">QH", 7, 3) + framed(messages[6:9])
        ours.close()
        ours.close()
        ours.send(SESSION, 8, 1)  # opened again
        assert received(ours, wait_for)[0][18:20] == b"\0\1"
        ours.close()


def test_nobody_there_is_silence(free_udp_port: int, wait_for: Callable[..., Any]) -> None:
    ours = MoldUdp64Requests(f"127.0.0.1:{free_udp_port}")
    for _ in range(3):
        ours.send(SESSION, 1, 1)
        assert ours.receive() == []
    wait_for(lambda: ours.receive() == [] and ours.errors, what="the refusal")
    ours.close()


def test_only_the_server_that_was_asked_is_listened_to(wait_for: Callable[..., Any]) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        server.bind(("127.0.0.1", 0))
        ours = MoldUdp64Requests(f"127.0.0.1:{server.getsockname()[1]}")
        ours.send(SESSION, 1, 70_000)
        request, address = server.recvfrom(100)
        assert request == SESSION[:10] + struct.pack(">QH", 1, 65_534)
        assert address[0] == "127.0.0.1"
        stranger.sendto(b"lies", address)
        server.sendto(b"truth", address)
        assert received(ours, wait_for) == [b"truth"]
        ours.close()


def test_a_way_that_is_closed_is_silence_and_is_tried_anew() -> None:
    ours = MoldUdp64Requests("255.255.255.255:9")  # not without leave
    ours.send(SESSION, 1, 1)
    ours.send(SESSION, 1, 1)
    assert ours.receive() == [] and ours.errors >= 1
    ours.close()


def test_servers_without_an_address_are_named() -> None:
    with pytest.raises(ConfigError, match=r"request server no\.such\.invalid:1: no address"):
        MoldUdp64Requests("no.such.invalid:1")
    with pytest.raises(ConfigError, match=r"snapshot server no\.such\.invalid:1: no address"):
        GlimpseSnapshots("no.such.invalid:1")
    with pytest.raises(ConfigError, match="user name has at most 6"):
        GlimpseSnapshots("127.0.0.1:1", "toolong")


# -- GLIMPSE -----------------------------------------------------------------------------------------------------------


def fetch(source: GlimpseSnapshots, seconds: float = 20.0) -> Snapshot:
    """Poll as the control thread does, with the clock that it has."""
    source.begin()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if snapshot := source.poll(time.monotonic()):
            return snapshot
        time.sleep(0.001)
    raise AssertionError("no snapshot came")


@pytest.fixture(scope="module")
def source(messages: list[bytes]) -> SnapshotSource:
    followed = SnapshotSource()
    followed.append(framed(messages[:2000]))
    return followed


@pytest.mark.parametrize("join", ["at", "after"])
def test_a_snapshot_comes_whole_and_says_where_to_go_on(source: SnapshotSource, join: Any) -> None:
    number, expected = source.snapshot()
    assert number == 2001 and source.live_orders > 100
    with GlimpseServer(source, username="me", password="pw", join=join) as server:
        ours = GlimpseSnapshots(f"127.0.0.1:{server.port}", "me", "pw", join=join)
        for _ in range(2):
            assert fetch(ours) == Snapshot("SIMULATED", 2001, expected)
            assert ours.fileno() == -1


def test_a_slow_snapshot_comes_piece_by_piece(source: SnapshotSource) -> None:
    _, expected = source.snapshot()
    with GlimpseServer(source, faults=GlimpseFault(bytes_per_s=len(expected) * 8)) as server:
        assert fetch(GlimpseSnapshots(f"127.0.0.1:{server.port}")).messages == expected


def test_refused_with_the_reason(source: SnapshotSource) -> None:
    with (
        GlimpseServer(source, username="me", password="pw") as server,
        pytest.raises(SessionError, match=r"login rejected .A.: not authorised"),
    ):
        fetch(GlimpseSnapshots(f"127.0.0.1:{server.port}", "you", "pw"))


def test_cut_off_half_way(source: SnapshotSource) -> None:
    with (
        GlimpseServer(source, faults=GlimpseFault(cut=1.0)) as server,
        pytest.raises(SessionError, match=r"after \d+ messages: cut off|connection broke after \d+ messages"),
    ):
        fetch(GlimpseSnapshots(f"127.0.0.1:{server.port}"))


def test_too_slow_is_given_up(source: SnapshotSource) -> None:
    with GlimpseServer(source, faults=GlimpseFault(bytes_per_s=100)) as server:
        ours = GlimpseSnapshots(f"127.0.0.1:{server.port}", timeout_s=5)
        ours.begin()
        assert ours.poll(100.0) is None
        with pytest.raises(SessionError, match="within 5 s"):
            ours.poll(105.0)
        ours.cancel()
        with pytest.raises(SessionError, match="closed"):
            ours.poll(106.0)


def test_nobody_listens_there(free_udp_port: int) -> None:
    with pytest.raises(SessionError, match=r"cannot connect: Connection refused \(nobody listens there\)"):
        fetch(GlimpseSnapshots(f"127.0.0.1:{free_udp_port}"))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def test_a_server_of_version_4_0_is_found_by_its_hanging_up(listener: socket.socket) -> None:
    ours = GlimpseSnapshots(f"127.0.0.1:{listener.getsockname()[1]}")
    ours.begin()
    ours.poll(0.0)
    server, _ = listener.accept()
    assert len(server.recv(100)) == 54
    server.close()
    with pytest.raises(SessionError, match="without an answer to the login"):
        while True:
            ours.poll(0.1)
    ours.begin()
    ours.poll(0.0)
    server, _ = listener.accept()
    assert len(server.recv(100)) == 49
    server.close()
    ours.cancel()


def test_it_says_that_it_lives_while_it_waits(listener: socket.socket) -> None:
    ours = GlimpseSnapshots(f"127.0.0.1:{listener.getsockname()[1]}")
    ours.begin()
    ours.poll(0.0)
    server, _ = listener.accept()
    with server:
        assert len(server.recv(100)) == 54
        ours.poll(0.5)
        ours.poll(1.1)
        ours.poll(1.2)
        assert server.recv(100) == b"\0\1R"
    ours.cancel()


# -- the pure machine --------------------------------------------------------------------------------------------------


def soup(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">H", 1 + len(payload)) + kind + payload


def logged_in(number: int = 1) -> bytes:
    return soup(b"A", b"TODAY".rjust(10) + b"%20d" % number)


ADD = b"A" + bytes(35)
STREAM = (
    soup(b"+", b"hello") + logged_in() + soup(b"S", b"R" + bytes(38)) + soup(b"H") + soup(b"U", b"?") + soup(b"S", ADD)
    + soup(b"S", b"L" + bytes(25)) + soup(b"+", b"nearly") + soup(b"S", b"G" + b"123".ljust(20)) + soup(b"Z")
)  # fmt: skip


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50, 1000])
def test_the_stream_may_be_cut_anywhere(piece: int) -> None:
    spin, found = Spin(), None
    for at in range(0, len(STREAM), piece):
        found = spin.receive(STREAM[at : at + piece])
        if found:
            break
    assert found == Snapshot("TODAY", 123, framed([b"R" + bytes(38), ADD]))


BAD = {
    "not from 1": (logged_in(2), "begins at number 2"),
    "ended": (logged_in() + soup(b"Z"), "ended the session after 0 messages"),
    "live feed": (logged_in() + soup(b"S", b"E" + bytes(30)), "this is a live feed"),
    "short": (logged_in() + soup(b"S", ADD[:-1]), "a message 'A' of 35 bytes, where 36 are wanted"),
    "no number": (logged_in() + soup(b"S", b"G" + b" " * 20), "without a number"),
    "number 0": (logged_in() + soup(b"S", b"G" + b"0".ljust(20)), "without a number"),
    "short end": (logged_in() + soup(b"S", b"G1"), "without a number"),
    "rejected late": (logged_in() + soup(b"J", b"A"), "packet of type 'J'"),
    "no length": (logged_in() + b"\0\0\0", "of no length"),
    "of nothing": (logged_in() + soup(b"S", b"G" + b"123".ljust(20)), "a snapshot of nothing"),
    "no login": (b"SSH-2.0-x", "is this the right port"),
}


@pytest.mark.parametrize("stream, reason", BAD.values(), ids=BAD)
def test_what_can_come_to_nothing_says_why(stream: bytes, reason: str) -> None:
    with pytest.raises(SessionError, match=reason):
        Spin().receive(stream)
