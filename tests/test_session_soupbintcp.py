"""The SoupBinTCP client: login, its timers, and the way back, against a server that the test plays by hand."""

import random
import socket
from collections.abc import Iterator

import pytest

from feedhandler.errors import ConfigError, ReceiverError, SessionError
from feedhandler.session import framing
from feedhandler.session.soupbintcp import SoupBinTcpClient, State, login, login_request


def packet(kind: bytes, payload: bytes = b"") -> bytes:
    return (1 + len(payload)).to_bytes(2, "big") + kind + payload


def accepted(number: int, session: bytes = b"TODAY") -> bytes:
    return packet(b"A", session.rjust(10) + b"%20d" % number)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


def test_the_request_is_laid_out_as_the_specification_says() -> None:
    request = login_request("ME", "SECRET", "TODAY", 42, 15000)
    assert request == b"\x00\x34LME    SECRET    TODAY     " + b"42".rjust(20) + b"15000"
    assert login_request("", "", "", 1, None) == b"\x00\x2fL" + b" " * 26 + b"1".rjust(20)


def test_what_does_not_fit_is_named_and_the_password_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="user name has at most 6"):
        login_request("SEVENSS", "", "", 1, None)
    with pytest.raises(ConfigError, match=r"password has at most 10 ASCII characters: '\*{11}'"):
        login_request("", "OPENSESAMES", "", 1, None)


def test_login_gives_session_number_and_all_bytes_for_the_framing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    stream = packet(b"+", b"welcome") + accepted(7) + packet(b"S", b"seven")
    theirs.sendall(stream)
    assert login(ours, "ME", "PW", "", 7) == ("TODAY", 7, stream)
    assert [(f["kind"], f["first_seq"], m) for f, m in framing("soupbintcp").feed(stream)] == [
        ("login", 7, []),
        ("data", 7, [b"seven"]),
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (packet(b"J", b"A"), "rejected .A.: not authorised"),
        (packet(b"J", b"S"), "rejected .S.: session not available"),
        (packet(b"A", b"x" * 30), "no number to count from"),
        (accepted(0), "no number to count from"),
        (b"HTTP/1.1 400 Bad Request", "is this the right port"),
        (b"\x00\x00\x00", "is this the right port"),
        (b"", "without an answer"),
    ],
)
def test_an_answer_that_is_no_login_says_why(
    pair: tuple[socket.socket, socket.socket], answer: bytes, reason: str
) -> None:
    ours, theirs = pair
    theirs.sendall(answer)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(SessionError, match=reason):
        login(ours)


def test_a_server_that_says_nothing_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(SessionError, match=r"did not answer the login within 0.01 s"):
        login(pair[0], timeout_s=0.01)


class ByHand:
    """A line whose server and hot thread are the test itself."""

    def __init__(self) -> None:
        self.server: socket.socket | None = None
        self.refuse = self.is_down = self.is_ended = False
        self.want = ("", 1)
        self.count = 0
        self.handed: list[bytes] = []

    def connect(self) -> socket.socket:
        if self.refuse:
            raise ReceiverError("nobody listens there")
        ours, self.server = socket.socketpair()
        self.server.settimeout(5)
        self.is_down = False
        return ours

    def wanted(self) -> tuple[str, int]:
        return self.want

    def hand_over(self, sock: socket.socket, received: bytes) -> bool:
        self.handed.append(received)
        return True

    def received(self) -> int:
        return self.count

    def down(self) -> bool:
        return self.is_down

    def ended(self) -> bool:
        return self.is_ended

    def says(self, data: bytes) -> None:
        assert self.server is not None
        self.server.sendall(data)

    def hears(self) -> bytes:
        assert self.server is not None
        return self.server.recv(4096)


@pytest.fixture
def line() -> Iterator[ByHand]:
    by_hand = ByHand()
    yield by_hand
    if by_hand.server:
        by_hand.server.close()


def up(line: ByHand, client: SoupBinTcpClient, now: float, number: int = 1) -> None:
    client.step(now)
    line.hears()
    line.says(accepted(number))
    client.step(now)
    assert client.state is State.UP


def test_a_connection_that_the_hot_thread_cannot_take_is_a_failed_attempt(
    line: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(sock: socket.socket, received: bytes) -> bool:
        raise SessionError("the connection cannot be handed over: too many open files")

    monkeypatch.setattr(line, "hand_over", refuse)
    client = SoupBinTcpClient(line)
    client.step(0.0)
    line.says(accepted(1))
    client.step(0.1)
    assert (client.state, client.attempts, type(client.error)) == (State.WAITING, 1, SessionError)


def test_it_logs_in_hands_over_and_sends_a_heartbeat_each_second(line: ByHand) -> None:
    client = SoupBinTcpClient(line, "ME", "PW")
    assert client.step(0.0) == 0.01
    assert line.hears() == login_request("ME", "PW", "", 1, 15000)
    half = accepted(1)[:9]
    line.says(half)
    client.step(0.1)
    assert client.state is State.LOGIN
    line.says(accepted(1)[9:])
    assert client.step(0.2) == pytest.approx(1.2)
    assert (line.handed, client.state, client.session) == ([accepted(1)], State.UP, "TODAY")
    client.step(1.3)
    client.step(1.4)
    client.step(2.3)
    assert line.hears() == b"\x00\x01R" * 2
    client.logout()
    assert (line.hears(), client.state) == (b"\x00\x01O", State.ENDED)


def test_after_a_broken_connection_it_asks_for_session_and_next_number(line: ByHand) -> None:
    client = SoupBinTcpClient(line, rng=random.Random(1))
    up(line, client, 0)
    line.is_down, line.want = True, ("TODAY", 1234)
    due = client.step(5)
    assert client.state is State.WAITING and 5 <= due <= 5.25
    client.step(due)
    assert line.hears() == login_request("", "", "TODAY", 1234, 15000)
    line.says(accepted(1234))
    client.step(due)
    assert (client.state, client.error) == (State.UP, None)


def test_silence_is_a_dead_link(line: ByHand) -> None:
    client = SoupBinTcpClient(line, silence_s=15)
    up(line, client, 0)
    line.count = 1
    client.step(10)
    client.step(24.9)
    assert client.state is State.UP
    client.step(25)
    assert client.state is State.BROKEN and "15 s" in str(client.error)
    assert client.step(25.5) == 25.51
    line.is_down = True
    client.step(26)
    assert client.state is State.WAITING


def test_it_backs_off_with_full_jitter_and_a_seed_decides(line: ByHand) -> None:
    line.refuse = True
    waits = []
    for seed in (7, 7, 8):
        client, now, steps = SoupBinTcpClient(line, backoff_s=1, backoff_max_s=8, rng=random.Random(seed)), 0.0, []
        for _ in range(6):
            due = client.step(now)
            steps.append(due - now)
            now = due
        waits.append(steps)
        assert all(0 <= wait <= bound for wait, bound in zip(steps, (1, 2, 4, 8, 8, 8), strict=True))
        assert isinstance(client.error, ReceiverError)
    assert waits[0] == waits[1] != waits[2]


def test_a_rejection_is_raised_and_does_not_end_the_client(line: ByHand) -> None:
    client = SoupBinTcpClient(line)
    client.step(0)
    line.says(packet(b"J", b"A"))
    with pytest.raises(SessionError, match="not authorised"):
        client.step(0.1)
    assert client.state is State.WAITING
    up(line, client, 60)


@pytest.mark.parametrize("any_session, asked", [(True, [("", 1), ("TODAY", 7)]), (False, [("TODAY", 7)] * 2)])
def test_a_session_that_is_gone_gives_way_to_the_present_one(
    line: ByHand, any_session: bool, asked: list[tuple[str, int]]
) -> None:
    """The server was started again, in a new session, while the connection was down."""
    client = SoupBinTcpClient(line, any_session=any_session)
    line.want = ("TODAY", 7)
    client.step(0)
    assert line.hears() == login_request("", "", "TODAY", 7, 15000)
    for time, (session, number) in zip((10.0, 20.0), asked, strict=True):
        line.says(packet(b"J", b"S"))
        with pytest.raises(SessionError, match="session not available"):
            client.step(time)
        client.step(time + 5)
        assert line.hears() == login_request("", "", session, number, 15000)


def test_a_server_of_version_4_0_is_found_by_its_hanging_up(line: ByHand) -> None:
    client = SoupBinTcpClient(line, version="auto")
    client.step(0)
    assert len(line.hears()) == 54
    assert line.server is not None
    line.server.close()
    client.step(0.1)
    client.step(10)
    assert len(line.hears()) == 49


def test_an_unanswered_login_is_given_up(line: ByHand) -> None:
    client = SoupBinTcpClient(line, login_s=5)
    client.step(0)
    client.step(5)
    assert client.state is State.WAITING and "did not answer" in str(client.error)


def test_the_end_of_the_session_is_the_end(line: ByHand) -> None:
    client = SoupBinTcpClient(line)
    up(line, client, 0)
    line.is_ended = line.is_down = True
    assert client.step(1) == float("inf")
    assert client.state is State.ENDED


def test_an_unknown_version_names_the_choices(line: ByHand) -> None:
    with pytest.raises(ConfigError, match=r"choose one of: 4\.1, 4\.0, auto"):
        SoupBinTcpClient(line, version="5")
