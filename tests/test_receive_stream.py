"""TCP lines: runs of bytes however they were cut, hand-over of connections while polling, ends and errors."""

import errno
import itertools
import os
import shutil
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import ConfigError, ReceiverError
from feedhandler.receive import stream
from feedhandler.records import TimestampKind
from tests.stream_reading import Waiting, collect, polled
from tests.test_handler_quiet import calls_between_markers, run

UP, DOWN, ENDED = 1, 0, 3


class Server:
    """Listens on loopback; each `pair()` is one connection: the client's socket and the server's."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.open: list[socket.socket] = []

    def pair(self) -> tuple[socket.socket, socket.socket]:
        client = stream.connect("127.0.0.1", self.port)
        ours, _ = self.listener.accept()
        self.open += [client, ours]
        return client, ours

    def close(self) -> None:
        for each in [*self.open, self.listener]:
            each.close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def test_a_connection_is_handed_over_with_what_was_read_too_far(server: Server, wait_for: Waiting) -> None:
    with stream.receiver(2) as receiver:
        assert receiver.line_status(0)["state"] == DOWN and receiver.drain() == []
        client, there = server.pair()
        there.sendall(b"login accepted" + b"first")
        assert client.recv(14) == b"login accepted"
        assert receiver.connect(1, client.fileno(), b"leftover ")
        assert not receiver.connect(1, client.fileno()), "the one before is not taken yet"
        assert collect(receiver, 14, wait_for, line=1) == b"leftover first"
        assert receiver.line_status(1) == receiver.line_status(1) | {
            "state": UP,
            "connections": 1,
            "error": 0,
            "ts_kind": TimestampKind.CLOCK,
        }
        assert receiver.counts(1) == receiver.counts(1) | {"bytes": 14, "reconnects": 0}
        client.sendall(b"heartbeat")
        assert there.recv(100) == b"heartbeat", "the control thread writes on its own descriptor"


def test_one_run_of_a_line_per_poll_so_that_each_belongs_to_one_connection(server: Server, wait_for: Waiting) -> None:
    with stream.receiver(1) as receiver:
        first, there = server.pair()
        receiver.connect(0, first.fileno(), b"a")
        assert [data for _, _, data in receiver.drain(1)] == [b"a"]
        there.sendall(b"old")
        second, there = server.pair()
        there.sendall(b"new")
        assert receiver.connect(0, second.fileno(), b"b")
        assert [data for _, _, data in receiver.drain(1)] == [b"old"], "what has come of the old connection goes first"
        assert receiver.line_status(0)["connections"] == 1
        assert [data for _, _, data in receiver.drain(1)] == [b"b"]
        assert receiver.line_status(0)["connections"] == 2
        assert collect(receiver, 3, wait_for) == b"new"
        assert receiver.counts(0)["reconnects"] == 1


def test_what_came_behind_a_run_that_took_all_goes_before_the_next_connection(server: Server) -> None:
    with stream.receiver(1) as receiver:
        first, there = server.pair()
        receiver.connect(0, first.fileno())
        there.sendall(b"run")
        assert [data for _, _, data in receiver.drain(1)] == [b"run"]
        there.sendall(b"late")
        second, _ = server.pair()
        assert receiver.connect(0, second.fileno(), b"next")
        assert [data for _, _, data in receiver.drain()] == [b"late", b"next"]


def test_the_other_side_closes_and_a_new_connection_comes(server: Server, wait_for: Waiting) -> None:
    with stream.receiver(1) as receiver:
        client, there = server.pair()
        receiver.connect(0, client.fileno())
        there.sendall(b"last words")
        there.close()
        assert collect(receiver, 10, wait_for) == b"last words"
        wait_for(lambda: receiver.drain() == [] and receiver.line_status(0)["state"] == DOWN)
        assert receiver.line_status(0)["error"] == 0
        client, there = server.pair()
        receiver.connect(0, client.fileno())
        there.sendall(b"again")
        assert collect(receiver, 5, wait_for) == b"again"
        assert receiver.line_status(0) == receiver.line_status(0) | {"state": UP, "connections": 2}


def test_a_reset_is_told_as_errno_and_raises_nothing(server: Server, wait_for: Waiting) -> None:
    with stream.receiver(1) as receiver:
        client, there = server.pair()
        receiver.connect(0, client.fileno())
        receiver.drain()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()
        wait_for(lambda: receiver.drain() == [] and receiver.line_status(0)["state"] == DOWN)
        assert receiver.line_status(0)["error"] == errno.ECONNRESET


def test_the_control_thread_ends_a_connection_by_shutdown(server: Server, wait_for: Waiting) -> None:
    with stream.receiver(1) as receiver:
        client, _ = server.pair()
        receiver.connect(0, client.fileno())
        assert receiver.drain() == [] and receiver.line_status(0)["state"] == UP
        client.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: receiver.drain() == [] and receiver.line_status(0)["state"] == DOWN)


def test_a_hand_over_wakes_a_waiting_thread(server: Server) -> None:
    with stream.receiver(1) as receiver:
        client, _ = server.pair()
        thread = threading.Timer(0.02, receiver.connect, (0, client.fileno(), b"x"))
        thread.start()
        assert receiver.wait_for(20), "the bell"
        thread.join()
        assert [data for _, _, data in receiver.drain()] == [b"x"]
        assert not receiver.wait_for(0), "and it does not go on ringing"


def test_finish_ends_the_input_when_all_lines_are_down(server: Server, wait_for: Waiting) -> None:
    with stream.receiver(2) as receiver:
        client, there = server.pair()
        receiver.connect(1, client.fileno())
        receiver.finish()
        there.sendall(b"to the end")
        there.close()
        assert collect(receiver, 10, wait_for, line=1) == b"to the end"
        wait_for(lambda: receiver.drain() == [] and receiver.ended)
        assert receiver.line_status(0)["state"] == receiver.line_status(1)["state"] == ENDED


@given(
    data=st.binary(min_size=1, max_size=5000), cuts=st.lists(st.integers(0, 5000), max_size=12), read=st.integers(0, 50)
)
def test_bytes_arrive_whole_however_they_are_cut(data: bytes, cuts: list[int], read: int) -> None:
    ours, there = socket.socketpair()
    with stream.receiver(1, stream.Options(buffer_bytes=1024)) as receiver, ours, there:
        places = sorted({0, len(data), *(c for c in cuts if c < len(data))})
        got = bytearray()
        leftover = b""
        for i, (begin, end) in enumerate(itertools.pairwise(places)):
            there.sendall(data[begin:end])
            if i == 0:
                leftover = ours.recv(read) if read else b""
                assert receiver.connect(0, ours.fileno(), leftover)
            for _, _, run in receiver.drain():
                assert 0 < len(run) <= 1024
                got += run
        assert bytes(got) == data
        assert receiver.counts(0)["bytes"] == len(data)


def test_options_are_set(server: Server) -> None:
    client, _ = server.pair()
    tcp = socket.IPPROTO_TCP
    assert client.getsockopt(tcp, socket.TCP_NODELAY) == 1
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert client.getsockopt(tcp, socket.TCP_KEEPIDLE) == 10
    assert client.gettimeout() is None


def test_connecting_fails_with_one_sentence(server: Server) -> None:
    port = server.port
    server.listener.close()
    with pytest.raises(ReceiverError, match=rf"line A: cannot connect to 127\.0\.0\.1:{port}: .*nobody listens"):
        stream.connect("127.0.0.1", port, line="A")
    with pytest.raises(ReceiverError, match=r"no address of 'no\.such\.host\.invalid' is known"):
        stream.connect("no.such.host.invalid", 1)
    with pytest.raises(ConfigError, match="1 to 64 lines"):
        stream.receiver(0)


def test_connecting_keeps_its_time(wait_for: Waiting) -> None:
    """A listener whose queue is full answers nobody."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        with pytest.raises(ReceiverError, match="did not answer within"):
            stream.connect("127.0.0.1", port, stream.Options(timeout_s=0.05))
        for each in waiting:
            each.close()


def test_hand_over_while_another_thread_polls(server: Server, wait_for: Waiting) -> None:
    """Connections come and go under a polling thread; every byte of each arrives, in order."""
    with stream.receiver(1) as receiver:
        expected = b""
        with polled(receiver) as got:
            for i in range(30):
                client, there = server.pair()
                text = f"connection {i} ".encode() * 50
                wait_for(lambda client=client, text=text: receiver.connect(0, client.fileno(), text[:7]))
                there.sendall(text[7:])
                there.close()
                expected += text
                wait_for(lambda expected=expected: len(got) == len(expected))
                wait_for(lambda: receiver.line_status(0)["state"] == DOWN)
        assert bytes(got) == expected
        assert receiver.line_status(0)["connections"] == 30


# Runs come and are taken one by one.
RUNS = """
import os, socket
from feedhandler.receive import stream
ours, there = socket.socketpair()
with stream.receiver(1) as receiver:
    receiver.connect(0, ours.fileno())
    os.getppid()
    for _ in range(20):
        there.send(b"run")
        assert receiver.skim() == (1, 3)
    os.getppid()
"""


@pytest.mark.skipif("FEEDHANDLER_SANITIZE" in os.environ, reason="a sanitizer makes system calls of its own")
def test_a_run_costs_one_receive_call(tmp_path: Path) -> None:
    """Not another one to hear that there is no more: a run that left room in the buffer was all there was."""
    assert shutil.which("strace"), "strace is needed: apt-get install strace (make test installs it)"
    trace = tmp_path / "trace"
    run(RUNS, prefix=("strace", "-f", "-o", str(trace), "-e", "signal=none"), PYTHONPATH=".")
    calls = calls_between_markers(trace)
    assert calls.pop("setsockopt", 0) <= 20
    assert calls == Counter({"recvfrom": 20, "sendto": 20})
