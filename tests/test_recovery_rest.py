"""REST asked politely: limits, retries with jitter, a breaker that shows, and bodies that come as they were sent."""

import contextlib
import http.server
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.decode.venue import Request, RestLimit
from feedhandler.errors import ConfigError
from feedhandler.records import Cause
from feedhandler.recovery.pace import TokenBucket
from feedhandler.recovery.rest import Breaker, BreakerState, HttpTransport, RestQueue, Timeouts
from feedhandler.session.resync import Kind, ResyncControl, Wanted
from feedhandler.session.websocket import BrokenError, retry_after

ROOMY = RestLimit(1000.0, 1000.0)


class FakeTransport:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[Future[bytes]] = []
        self.given_up: list[Future[bytes]] = []
        self.closed = False

    def give_up(self, answer: Future[bytes]) -> None:
        self.given_up.append(answer)

    def get(self, url: str) -> Future[bytes]:
        self.asked.append(url)
        self.answers.append(Future())
        return self.answers[-1]

    def close(self) -> None:
        self.closed = True


class Asked:
    """A queue, and what became of what it was asked."""

    def __init__(self, limit: RestLimit = ROOMY, **options: Any) -> None:
        self.transport = FakeTransport()
        self.queue = RestQueue(self.transport, limit, rng=random.Random(3), **options)
        self.done: list[bytes] = []
        self.failed: list[BrokenError] = []

    def ask(self, url: str = "u", weight: float = 1.0) -> None:
        self.queue.ask(Request("depth", url, "S", weight), self.done.append, self.failed.append)

    def fail(self, cause: Cause, retry_s: float = 0.0) -> None:
        self.transport.answers[-1].set_exception(BrokenError("no", cause, retry_s))


def test_an_answer_comes_back() -> None:
    asked = Asked()
    asked.ask()
    asked.queue.step(0.0)
    assert (asked.transport.asked, asked.done) == (["u"], [])
    asked.transport.answers[0].set_result(b"body")
    assert asked.queue.step(0.1) == float("inf")
    assert asked.done == [b"body"]
    assert asked.queue.status(0.1)["breaker"] == "closed"


def test_all_who_ask_for_the_same_hear_its_answer_and_each_once() -> None:
    asked, heard = Asked(), []
    asked.ask()
    for name in ("a", "b"):
        asked.queue.ask(Request("depth", "u", "S"), lambda body, name=name: heard.append((name, body)), pytest.fail)
    asked.queue.step(0.0)
    for turn in range(2):  # while it is under way, and the same one again
        asked.queue.ask(Request("depth", "u", "S"), lambda body, t=turn: heard.append((t, body)), pytest.fail, "late")
    asked.queue.step(0.0)
    assert asked.transport.asked == ["u"]
    asked.transport.answers[0].set_result(b"body")
    asked.queue.step(0.1)
    assert asked.done == [b"body"]
    assert heard == [("a", b"body"), ("b", b"body"), (1, b"body")]


def test_all_who_ask_for_the_same_hear_its_failure() -> None:
    asked, heard = Asked(attempts=1), []
    asked.ask()
    asked.queue.ask(Request("depth", "u", "S"), pytest.fail, lambda error: heard.append(error.cause))
    asked.queue.step(0.0)
    asked.fail(Cause.LOST)
    asked.queue.step(0.1)
    assert len(asked.failed) == 1 and heard == [Cause.LOST]


def test_an_answer_that_takes_too_long_has_failed_and_is_asked_for_again() -> None:
    asked = Asked(total_s=20.0)
    asked.ask()
    asked.queue.step(0.0)
    asked.queue.step(19.9)
    assert asked.transport.given_up == []
    due = asked.queue.step(20.1)
    assert asked.transport.given_up == [asked.transport.answers[0]]
    assert asked.queue.error is not None and asked.queue.error.cause is Cause.TIMEOUT
    asked.queue.step(due)
    asked.transport.answers[0].set_result(b"too late")
    asked.transport.answers[1].set_result(b"body")
    asked.queue.step(due + 0.1)
    assert asked.done == [b"body"]


def test_a_failure_is_tried_again_later_and_later_and_then_given_up() -> None:
    asked = Asked(attempts=4, breaker=Breaker(random.Random(1), failures=100))
    asked.ask()
    now, waits = 0.0, []
    for _ in range(4):
        asked.queue.step(now)
        asked.fail(Cause.TIMEOUT)
        due = asked.queue.step(now)
        waits.append(due - now)
        now = due
    assert [str(error) for error in asked.failed] == ["no"]
    assert waits[-1] == float("inf")
    assert all(0 <= wait <= 0.25 * 2**n for n, wait in enumerate(waits[:-1]))
    assert asked.queue.counts | {"limited": 0} == {"asked": 4, "answered": 0, "retried": 3, "failed": 1, "limited": 0}


def test_what_does_not_exist_is_not_asked_again() -> None:
    asked = Asked()
    asked.ask()
    asked.queue.step(0.0)
    asked.fail(Cause.HANDSHAKE)  # 404
    asked.queue.step(0.0)
    assert len(asked.failed) == 1
    assert asked.queue.breaker.row == 0


def test_too_many_requests_stop_them_all_for_as_long_as_was_said() -> None:
    asked = Asked()
    asked.ask("a")
    asked.queue.step(0.0)
    asked.fail(Cause.RATE_LIMITED, retry_s=30.0)
    asked.ask("b")
    asked.queue.step(0.1)
    assert asked.transport.asked == ["a"]
    asked.queue.step(30.0)
    assert asked.transport.asked == ["a"]
    for now in (30.2, 30.4, 31.0, 32.0):
        asked.queue.step(now)
    assert sorted(asked.transport.asked) == ["a", "a", "b"]
    assert asked.queue.counts["limited"] == 1


def test_weights_are_taken_from_the_bucket() -> None:
    asked = Asked(RestLimit(burst=100.0, per_s=10.0))
    asked.ask("a", 60.0)
    asked.ask("b", 60.0)
    asked.ask("c", 40.0)
    due = asked.queue.step(0.0)
    assert asked.transport.asked == ["a", "c"]
    asked.queue.step(5.9)
    assert asked.transport.asked == ["a", "c"]
    asked.queue.step(6.1)
    assert asked.transport.asked == ["a", "c", "b"]
    assert due <= 6.1


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.5, 50)), max_size=60))
def test_a_bucket_gives_no_more_than_it_holds_and_gets(taken: list[tuple[float, float]]) -> None:
    bucket, now, total = TokenBucket(5.0, 20.0), 0.0, 0.0
    for passed, weight in taken:
        now += passed
        if bucket.take(now, weight):
            total += min(weight, 20.0)
        else:
            due = bucket.due(now, weight)
            assert due > now
        assert total <= 20.0 + 5.0 * now + 1e-6


def test_a_breaker_opens_lets_one_through_and_closes() -> None:
    asked = Asked(attempts=100, breaker=Breaker(random.Random(5), failures=3, first_s=2.0))
    asked.ask()
    now = 0.0
    while asked.queue.breaker.state is BreakerState.CLOSED:
        due = asked.queue.step(now)
        if asked.transport.answers and not asked.transport.answers[-1].done():
            asked.fail(Cause.SERVER_ERROR)
        now = max(due, now) if due < 1e9 else now + 0.1
    assert len(asked.transport.asked) == 3
    assert asked.queue.status(now)["breaker"] == "open"
    opened = now
    due = asked.queue.step(now)
    assert opened + 1.0 <= due <= opened + 2.1
    asked.ask("other")
    asked.queue.step(due + 0.001)
    assert asked.queue.breaker.state is BreakerState.HALF_OPEN
    assert len(asked.transport.asked) == 4  # one, to see
    asked.queue.step(due + 0.5)
    assert len(asked.transport.asked) == 4
    asked.transport.answers[-1].set_result(b"")
    asked.queue.step(due + 1.0)
    assert asked.queue.breaker.state is BreakerState.CLOSED
    asked.queue.step(due + 20.0)
    assert len(asked.transport.asked) == 5


def test_a_breaker_that_saw_no_good_waits_longer() -> None:
    breaker, now, waits = Breaker(random.Random(2), failures=1, first_s=1.0, most_s=8.0), 1.0, []
    for _ in range(6):
        breaker.failed(now)
        assert not breaker.lets(now)
        waits.append(breaker.due() - now)
        now = breaker.due()
        assert breaker.lets(now)
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    assert breaker.opened == 6


@contextmanager
def server(answer: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """An HTTP server whose answers the test makes; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def test_httpx_brings_bodies_and_words_for_failures() -> None:
    answers = {
        "/good": (200, {}, b'{"lastUpdateId": 1}'),
        "/busy": (429, {"Retry-After": "7"}, b"slow down"),
        "/down": (503, {}, b""),
        "/none": (404, {}, b"no such symbol"),
        "/moved": (302, {"Location": "/good"}, b""),
        "/huge": (200, {}, b"x" * 5000),
    }
    transport = HttpTransport(timeouts=Timeouts(read=5.0), most_bytes=4096)
    with server(lambda path: answers[path]) as url:
        assert transport.get(url + "/good").result(5) == b'{"lastUpdateId": 1}'
        found = {}
        for path in ("/busy", "/down", "/none", "/moved", "/huge"):
            error = transport.get(url + path).exception(5)
            assert isinstance(error, BrokenError)
            found[path] = (error.cause, error.retry_s)
        assert "no such symbol" in str(transport.get(url + "/none").exception(5))
    assert found == {
        "/busy": (Cause.RATE_LIMITED, 7.0),
        "/down": (Cause.OVERLOADED, 0.0),
        "/none": (Cause.HANDSHAKE, 0.0),
        "/moved": (Cause.HANDSHAKE, 0.0),
        "/huge": (Cause.TOO_BIG, 0.0),
    }
    error = transport.get(url + "/good").exception(10)
    assert isinstance(error, BrokenError)
    assert error.cause is Cause.UNREACHABLE
    transport.close()
    transport.close()


@contextmanager
def dripping() -> Iterator[tuple[str, threading.Event]]:
    """A server that never comes to the end of a header; the event: somebody has asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked, over = threading.Event(), threading.Event()

    def drip() -> None:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError):
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            asked.set()
            while not over.wait(0.02):
                sock.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", asked
    finally:
        over.set()
        thread.join()
        listener.close()


def test_a_server_that_drips_is_left_when_it_is_given_up() -> None:
    transport = HttpTransport()
    with dripping() as (url, asked):
        answer = transport.get(url)
        assert asked.wait(5)
        [thread] = transport._askers
        transport.give_up(answer)
        thread.join(5)
        assert not thread.is_alive()
        assert isinstance(answer.exception(5), BrokenError)
        assert transport._askers == []  # the next one has a new thread
    transport.close()


def test_a_server_that_drips_does_not_hold_the_process() -> None:
    """Without a close(), too: an interpreter that ends waits for no thread of ours."""
    code = (
        "import sys\n"
        "from feedhandler.recovery.rest import HttpTransport\n"
        "HttpTransport().get(sys.argv[1])\n"
        "sys.stdin.read()\n"
    )
    with dripping() as (url, asked):
        with subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE) as process:
            assert asked.wait(20)
            process.communicate(timeout=20)
        assert process.returncode == 0


def test_an_authority_that_is_none_is_named(tmp_path: Any) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca: .*ca.pem.*PEM"):
        HttpTransport((str(tmp_path / "ca.pem"),))


@pytest.mark.parametrize(
    "value, seconds",
    [("120", 120.0), ("", 0.0), ("soon", 0.0), ("999999999", 86_400.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value}, wall=lambda: 10.0) == seconds


# -- what the hot thread wishes ----------------------------------------------------------------------------------------


class FakeWish:
    def __init__(self, kind: Kind, instrument: int, line: int = 0) -> None:
        self.kind, self.instrument, self.line = int(kind), instrument, line


class Resync:
    def __init__(self) -> None:
        self.asked: list[Wanted] = []
        self.given_up: list[int] = []
        self.connects: list[int] = []
        self.can = True
        self.control = ResyncControl(self.ask, self.given_up.append, self.connects.append, rng=random.Random(1))

    def ask(self, wanted: Wanted) -> bool:
        self.asked.append(wanted)
        return self.can

    def wish(self, kind: Kind, instrument: int, now: float, line: int = 0) -> None:
        self.control.take([FakeWish(kind, instrument, line)], now)


def test_a_snapshot_is_asked_for_once_and_then_over() -> None:
    resync = Resync()
    resync.wish(Kind.SNAPSHOT, 7, 0.0)
    due = resync.control.step(0.0)
    resync.control.step(due - 0.1)
    assert resync.asked == [Wanted(7, 0, False)]
    resync.wish(Kind.OVER, 7, 1.0)
    assert resync.control.step(1.0) == float("inf")
    assert resync.control.open == ()


def test_what_came_was_of_no_use_and_is_asked_for_again() -> None:
    resync = Resync()
    resync.wish(Kind.SNAPSHOT, 7, 0.0)
    resync.control.step(0.0)
    resync.wish(Kind.SNAPSHOT, 7, 1.0)
    due = resync.control.step(1.0)
    assert due <= 1.5
    resync.control.step(max(due, 1.0))
    assert len(resync.asked) == 2


def test_what_never_came_is_asked_for_again() -> None:
    resync = Resync()
    resync.wish(Kind.SNAPSHOT, 7, 0.0)
    due = resync.control.step(0.0)
    due = resync.control.step(due)
    resync.control.step(due)
    assert len(resync.asked) == 2
    resync.control.failed(7, due)
    again = resync.control.step(due)
    assert due <= again <= due + 1.0


def test_one_symbol_does_not_wait_for_another() -> None:
    resync = Resync()
    for instrument in range(1, 6):
        resync.wish(Kind.SNAPSHOT, instrument, 0.0)
    resync.control.step(0.0)
    assert [wanted.instrument for wanted in resync.asked] == [1, 2, 3, 4, 5]
    resync.wish(Kind.OVER, 3, 0.5)
    resync.control.step(15.0)
    resync.control.step(20.0)
    assert {wanted.instrument for wanted in resync.asked[5:]} == {1, 2, 4, 5}


def test_a_subscription_in_vain_ends_the_connection() -> None:
    resync = Resync()
    resync.wish(Kind.SUBSCRIBE, 3, 0.0, line=1)
    now = 0.0
    while not resync.given_up and now < 300:
        now = max(now + 0.01, resync.control.step(now))
    assert resync.given_up == [1]
    assert len(resync.asked) == 4
    resync.control.forget(1)
    assert resync.control.open == ()


def test_what_is_had_and_lost_again_is_asked_for_later_and_later() -> None:
    resync, now, waits = Resync(), 0.0, []
    for _ in range(12):
        resync.wish(Kind.SNAPSHOT, 7, now)
        due = max(now, resync.control.step(now)) if waits else now
        resync.control.step(due)
        waits.append(due - now)
        now = due + 0.1
        resync.wish(Kind.OVER, 7, now)
    assert len(resync.asked) == 12
    assert waits[0] == 0.0 and max(waits) > 5.0 and all(w <= min(30.0, 0.5 * 2**n) for n, w in enumerate(waits))
    resync.wish(Kind.SNAPSHOT, 7, now + 61.0)  # it had lasted
    resync.control.step(now + 61.0)
    assert len(resync.asked) == 13


def test_a_subscription_is_over_on_its_own_line_alone() -> None:
    resync = Resync()
    for line in (0, 1):
        resync.wish(Kind.SUBSCRIBE, 3, 0.0, line=line)
    resync.control.step(0.0)
    resync.wish(Kind.OVER, 3, 1.0, line=1)
    assert resync.control.open == (Wanted(3, 0, True),)


def test_a_book_that_comes_and_never_lasts_does_not_end_the_connection() -> None:
    resync, now = Resync(), 0.0
    for _ in range(20):
        resync.wish(Kind.SUBSCRIBE, 3, now, line=1)
        now = max(now, resync.control.step(now))
        resync.control.step(now)
        resync.wish(Kind.OVER, 3, now, line=1)
    assert resync.given_up == []


def test_another_connection_is_wished_for() -> None:
    resync = Resync()
    resync.wish(Kind.CONNECT, 0, 0.0, line=1)
    assert resync.connects == [1]


def test_what_cannot_be_said_now_is_said_later() -> None:
    resync = Resync()
    resync.can = False
    resync.wish(Kind.SUBSCRIBE, 3, 0.0)
    due = resync.control.step(0.0)
    resync.can = True
    resync.control.step(due)
    assert len(resync.asked) == 2
    assert resync.control.counts["asked"] == 1
