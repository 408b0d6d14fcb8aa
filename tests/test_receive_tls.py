"""TLS lines: records into a line's memory, what ends a connection, what is sent on it, and sessions taken up again."""

import contextlib
import errno
import itertools
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.errors import ConfigError
from feedhandler.receive import stream
from feedhandler.receive._stream import StreamReceiver
from feedhandler.receive.tls import Tls
from feedhandler.session._outbox import Outbox
from tests.authority import Authority
from tests.conftest import Processes
from tests.required import unavailable
from tests.stream_reading import Waiting, collect, polled
from tests.tls_pairs import Pairs, ServerEnd, authority, either_gcm, pairs

__all__ = ["authority", "either_gcm", "pairs"]

DOWN, UP = 0, 1
Typing = Callable[[str], None]
Server = Callable[[str], tuple[int, Typing, Typing]]


@pytest.fixture
def receiver() -> Iterator[StreamReceiver]:
    with stream.receiver(2) as made:
        yield made


def handed(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, context: ssl.SSLContext | None = None
) -> tuple[Tls, ServerEnd, socket.socket]:
    """A connection of line 0 that the receiver has."""
    tls = Tls("localhost", ca=authority.ca)
    client, there = pairs.shake(tls, context)
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


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_burst_is_taken_whatever_the_room_of_a_run(
    authority: Authority, pairs: Pairs, version: str, wait_for: Waiting
) -> None:
    """What OpenSSL holds beyond a full run is no news of the socket's: wait() says so by itself."""
    context = authority.server_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with stream.receiver(1, stream.Options(buffer_bytes=1024)) as receiver:
        tls, there, _ = handed(pairs, receiver, authority, context)
        assert tls.version == version.replace("_", ".")
        data = bytes(range(256)) * 200
        there.send(data)
        assert collect(receiver, len(data), wait_for) == data
        assert receiver.counts(0)["bytes"] == len(data)
        assert not receiver.wait_for(0)


def test_records_arrive_whole_however_they_are_cut(
    authority: Authority, pairs: Pairs, receiver: StreamReceiver
) -> None:
    """Ciphertext in any pieces: after each of them exactly the plain bytes of the records that it ends are there."""
    _, there, _ = handed(pairs, receiver, authority)

    @given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=6), st.lists(st.integers(0), max_size=8))
    def run(records: list[bytes], places: list[int]) -> None:
        sealed = [there.sealed(record) for record in records]
        wire, ends = b"".join(sealed), list(itertools.accumulate(map(len, sealed)))
        cuts = sorted({0, len(wire), *(place % len(wire) for place in places)})
        got = bytearray()
        for begin, end in itertools.pairwise(cuts):
            there.sock.sendall(wire[begin:end])
            whole = b"".join(records[: sum(at <= end for at in ends)])
            while len(got) < len(whole):
                assert receiver.wait_for(10)
                got += b"".join(run for _, _, run in receiver.drain())
            assert got == whole

    run()


def test_close_notify_is_the_end_in_good_order_and_is_answered(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    tls, there, _ = handed(pairs, receiver, authority)
    there.send(b"last words")
    there.goodbye()
    assert collect(receiver, 10, wait_for) == b"last words"
    assert fallen(receiver, wait_for) == 0
    assert (tls.reason, tls.failure) == ("CLOSED", "closed by the server in good order")
    there.turn(there.tls.unwrap)  # raises where our close_notify is missing


def test_an_end_without_close_notify_is_a_truncation(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    tls, there, _ = handed(pairs, receiver, authority)
    there.send(b"the last that came")
    there.sock.close()
    assert collect(receiver, 18, wait_for) == b"the last that came"
    assert fallen(receiver, wait_for) == errno.ECONNABORTED
    assert tls.reason == "TRUNCATED" and "without close_notify" in tls.failure


@pytest.mark.wire
@pytest.mark.parametrize("cut", [1, 4, 5, 6, 40, 99])
@pytest.mark.usefixtures("either_gcm")
def test_a_record_cut_short_is_never_given_out(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting, cut: int
) -> None:
    tls, there, _ = handed(pairs, receiver, authority)
    whole, half = there.sealed(b"whole"), there.sealed(b"h" * 100)
    there.sock.sendall(whole + half[:cut])
    there.sock.close()
    assert collect(receiver, 5, wait_for) == b"whole"
    assert fallen(receiver, wait_for) == errno.ECONNABORTED
    assert tls.reason == "TRUNCATED"
    assert receiver.counts(0)["bytes"] == 5


@pytest.mark.wire
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda record: record[:-1] + bytes([record[-1] ^ 1]), "bad record mac"),
        (lambda record: b"\x17\x03\x03\xff\xff" + record[5:], "too long"),
        (lambda record: b"\x63" + record[1:], "wrong|invalid|record type|bad record mac"),
        (lambda record: b"HTTP/1.1 400 Bad Request\r\n\r\n", "wrong version|too long|invalid|record|unexpected"),
    ],
    ids=["mac", "length", "type", "plain"],
)
def test_a_bad_record_ends_the_connection_by_name(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting, version: str,
    spoil: Callable[[bytes], bytes], words: str,
) -> None:  # fmt: skip
    context = authority.server_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    tls, there, _ = handed(pairs, receiver, authority, context)
    there.sock.sendall(there.sealed(b"good") + spoil(there.sealed(b"spoiled")))
    assert collect(receiver, 4, wait_for) == b"good"
    assert fallen(receiver, wait_for) == errno.EPROTO
    assert tls.reason == "PROTOCOL" and re.search(words, tls.failure), tls.failure
    assert receiver.counts(0)["bytes"] == 4


@pytest.mark.wire
def test_bytes_at_random_after_the_handshake_end_the_connection(
    authority: Authority, pairs: Pairs, wait_for: Waiting
) -> None:
    @given(st.binary(min_size=1, max_size=400), st.booleans())
    def run(noise: bytes, framed: bool) -> None:
        with stream.receiver(1) as receiver:
            tls, there, client = handed(pairs, receiver, authority)
            there.sock.sendall(b"\x17\x03\x03" + len(noise).to_bytes(2, "big") + noise if framed else noise)
            there.sock.close()
            assert fallen(receiver, wait_for) in (errno.EPROTO, errno.ECONNABORTED, errno.ECONNRESET, errno.EPIPE)
            assert tls.reason in ("PROTOCOL", "TRUNCATED", "SOCKET")
            assert receiver.counts(0)["bytes"] == 0
            client.close()

    run()


def test_a_reset_is_the_sockets_errno(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    tls, there, _ = handed(pairs, receiver, authority)
    there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    there.sock.close()
    assert fallen(receiver, wait_for) == errno.ECONNRESET
    assert (tls.reason, tls.failure) == ("SOCKET", "Connection reset by peer")


def test_the_control_thread_ends_it_by_shutdown_and_the_line_comes_back(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    _, _, client = handed(pairs, receiver, authority)
    client.shutdown(socket.SHUT_RDWR)
    fallen(receiver, wait_for)
    _, there, _ = handed(pairs, receiver, authority)
    there.send(b"again")
    assert collect(receiver, 5, wait_for) == b"again"
    assert receiver.line_status(0)["connections"] == 2


def test_connections_take_each_others_place_under_a_polling_thread(
    pairs: Pairs, authority: Authority, wait_for: Waiting
) -> None:
    """TLS, plain, TLS ...: each connection's bytes arrive, and each is told goodbye when its successor comes."""
    with stream.receiver(1) as receiver:
        expected, before = b"", None
        with polled(receiver) as got:
            for i in range(12):
                text = f"connection {i} ".encode() * 50
                if i % 3 == 2:
                    client, raw = pairs.raw()
                    wait_for(lambda client=client: receiver.connect(0, client.fileno(), b""))
                    raw.sendall(text)
                    there = None
                else:
                    tls = Tls("localhost", ca=authority.ca)
                    client, there = pairs.shake(tls)
                    wait_for(lambda client=client, tls=tls: receiver.connect(0, client.fileno(), b"", tls))
                    there.send(text)
                expected += text
                wait_for(lambda expected=expected: len(got) == len(expected))
                if before is not None:
                    assert before.read() == b"", "close_notify"
                before = there
        assert bytes(got) == expected


# ---- sending --------------------------------------------------------------------------------------------------------


def test_what_came_behind_a_run_that_took_all_goes_before_the_next_connection(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    _, there, _ = handed(pairs, receiver, authority)
    there.send(b"run")
    assert [data for _, _, data in wait_for(lambda: receiver.drain(1))] == [b"run"]
    there.send(b"late")
    second, _ = pairs.raw()
    assert receiver.connect(0, second.fileno(), b"next")
    assert [data for _, _, data in receiver.drain()] == [b"late", b"next"]


@pytest.fixture(params=["plain", "tls"])
def talking(
    request: pytest.FixtureRequest, pairs: Pairs, receiver: StreamReceiver, authority: Authority
) -> tuple[socket.socket, Callable[[int], bytes]]:
    """A connection of line 0: the server's socket, and how it reads so many plain bytes."""
    if request.param == "tls":
        _, end, _ = handed(pairs, receiver, authority)
        there, some = end.sock, end.read
    else:
        client, there = pairs.raw()
        assert receiver.connect(0, client.fileno())
        receiver.drain()
        some = there.recv

    def read(count: int) -> bytes:
        got = b""
        while len(got) < count:
            more = some(65536)
            assert more
            got += more
        return got

    return there, read


def test_answers_and_the_control_threads_frames_go_out(
    talking: tuple[socket.socket, Callable[[int], bytes]], receiver: StreamReceiver
) -> None:
    _, read = talking
    outbox = Outbox()
    receiver.answer_with(0, outbox)
    assert receiver.send(0, b"subscribe") and outbox.put(b"pong")
    receiver.drain()
    assert read(13) == b"pongsubscribe", "what the framing answers goes first"
    assert outbox.waiting == b"" and receiver.unsent == 0
    assert receiver.send(0, b"s" * 65536)
    receiver.drain()
    outbox.put(b"pong")
    assert receiver.wait_for(5), "an answer waits for no news of the socket"
    receiver.drain()
    assert read(65540) == b"s" * 65536 + b"pong"


def test_a_full_socket_is_never_waited_for_and_frames_stay_whole(
    talking: tuple[socket.socket, Callable[[int], bytes]], receiver: StreamReceiver
) -> None:
    there, read = talking
    outbox = Outbox()
    receiver.answer_with(0, outbox)
    expected, answers, number = 0, 0, 0
    while receiver.send(0, b"%8d" % number + b"." * 40000):  # until the ring has no room, the socket having none
        number += 1
        expected += 40008
        if number % 3 == 0 and outbox.put(b"<pong>"):
            answers += 1
        receiver.drain()
        assert number < 10000
    got = b""
    there.setblocking(True)
    while len(got) < expected + 6 * answers:
        receiver.drain()
        there.settimeout(0.05)
        try:
            got += read(1)
        except TimeoutError:
            continue
    assert outbox.waiting == b""
    frames = re.findall(rb" *(\d+)(\.{40000})|(<pong>)", got)
    assert [int(found[0]) for found in frames if found[0]] == list(range(number))
    assert sum(bool(found[2]) for found in frames) == answers and len(frames) == number + answers


def test_what_was_to_be_sent_on_a_connection_that_is_over_is_counted(
    pairs: Pairs, receiver: StreamReceiver, authority: Authority, wait_for: Waiting
) -> None:
    with pytest.raises(ValueError, match="connect"):
        receiver.send(0, b"too early")
    _, there, _ = handed(pairs, receiver, authority)
    there.sock.close()
    fallen(receiver, wait_for)
    assert receiver.send(0, b"too late")
    receiver.drain()
    assert receiver.unsent == 1
    tls = Tls("localhost", ca=authority.ca)
    client, there = pairs.shake(tls)
    assert receiver.connect(0, client.fileno(), b"", tls)
    assert receiver.send(0, b"of the new one, before it is taken over")
    receiver.drain()
    assert there.read() == b"of the new one, before it is taken over"
    for data in (b"", b"x" * 65537):
        with pytest.raises(ValueError, match="1 to 65536 bytes"):
            receiver.send(0, data)


def test_an_outbox_refuses_what_does_not_fit_and_counts_it() -> None:
    outbox = Outbox(256)
    assert outbox.put(b"a" * 200) and not outbox.put(b"b" * 57) and outbox.refused == 1
    outbox.sent(150)
    assert outbox.put(b"c" * 206) and not outbox.put(b"d")
    assert outbox.waiting == b"a" * 50 + b"c" * 206 and outbox.refused == 2
    with pytest.raises(ValueError, match="256 bytes wait"):
        outbox.sent(257)
    with pytest.raises(ValueError, match="capacity must be 256"):
        Outbox(255)


# ---- sessions and keys ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_is_taken_up_again(
    authority: Authority, pairs: Pairs, receiver: StreamReceiver, version: str, wait_for: Waiting
) -> None:
    """Also one that came after the hand-over, as those of TLS 1.3 may."""
    context = authority.server_context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    tls, there, _ = handed(pairs, receiver, authority, context)
    assert not tls.resumed
    there.send(b"x")
    collect(receiver, 1, wait_for)
    session = tls.session
    assert session is not None and tls.session == session
    again = Tls("localhost", ca=authority.ca, session=session)
    pairs.shake(again, context)
    assert again.resumed and again.version == tls.version
    for other in (Tls, lambda host, **more: Tls("127.0.0.1", **more)):
        with pytest.raises(ConfigError, match="session: "):
            other("localhost", session=session, ca=authority.ca if other is not Tls else None)
    with pytest.raises(ConfigError, match="not the bytes"):
        Tls("localhost", ca=authority.ca, session=session[:-50])


@pytest.fixture
def s_server(authority: Authority, processes: Processes) -> Server:
    """OpenSSL's own server, which changes keys and renegotiates on demand: its port, typing, hearing."""
    identity = authority.identity()

    def start(version: str) -> tuple[int, Typing, Typing]:
        command = ["openssl", "s_server", "-accept", "127.0.0.1:0", version, "-no_ticket"]
        command += ["-cert", str(identity.certificate), "-key", str(identity.key)]
        try:
            child = processes.start(command, stdin=-1)
        except FileNotFoundError:
            unavailable("openssl is needed: apt-get install openssl")
        assert child.stdout is not None and child.stdin is not None
        line = ""
        while not (found := re.match(r"ACCEPT 127\.0\.0\.1:(\d+)", line)):
            line = child.stdout.readline()
            assert line, "s_server says where it listens"
        stdin, stdout = child.stdin, child.stdout

        def type_(text: str) -> None:
            stdin.write(text + "\n")
            stdin.flush()

        def hear(text: str) -> None:
            """What it reads it prints, after what was typed before."""
            while text not in (said := stdout.readline()):
                assert said, f"s_server says {text}"

        return int(found[1]), type_, hear

    return start


@contextlib.contextmanager
def connected(port: int, receiver: StreamReceiver, authority: Authority) -> Iterator[Tls]:
    """A connection of line 0 with such a server, which the receiver has."""
    with stream.connect("127.0.0.1", port) as sock:
        tls = Tls("localhost", ca=authority.ca)
        tls.handshake(sock)
        assert receiver.connect(0, sock.fileno(), b"", tls)
        yield tls


@pytest.mark.usefixtures("either_gcm")
def test_a_key_update_goes_by_unnoticed(
    authority: Authority, receiver: StreamReceiver, s_server: Server, wait_for: Waiting
) -> None:
    """RFC 8446, section 4.6.3: the server's, and the one that asks for ours."""
    port, type_, hear = s_server("-tls1_3")
    with connected(port, receiver, authority) as tls:
        for i, key in enumerate("kKK"):
            type_(key)
            assert receiver.send(0, b"beside %d\n" % i)
            receiver.drain()
            hear(f"beside {i}")
            type_(f"after {i}")
            assert collect(receiver, 8, wait_for) == b"after %d\n" % i
            assert receiver.send(0, b"answer %d\n" % i)
            receiver.drain()
            hear(f"answer {i}")
        assert receiver.line_status(0)["state"] == UP and tls.refused == 0


@pytest.mark.usefixtures("either_gcm")
def test_a_renegotiation_is_refused_and_counted_and_the_line_goes_on(
    authority: Authority, receiver: StreamReceiver, s_server: Server, wait_for: Waiting
) -> None:
    """The server asks (HelloRequest, RFC 5246, section 7.4.1.1); a warning says no; OpenSSL's server then hangs up."""
    port, type_, _ = s_server("-tls1_2")
    with connected(port, receiver, authority) as tls:
        type_("before")
        assert collect(receiver, 7, wait_for) == b"before\n"
        type_("r")
        wait_for(lambda: (receiver.wait_for(0.01), receiver.drain()) and tls.refused == 1)
