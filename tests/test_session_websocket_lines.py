"""Lines that are WebSockets, led by their control thread against a local venue over TLS and its REST service.

The hot thread's part is played by the test: it takes what the receiver brings, and cuts it into texts.
"""

import fcntl
import itertools
import json
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from feedhandler.config import Channel, Line
from feedhandler.decode.venue import Heard, Venue, venue
from feedhandler.receive import stream
from feedhandler.records import Cause, Connection
from feedhandler.recovery.rest import HttpTransport, RestQueue
from feedhandler.session import framing
from feedhandler.session._websocket import WebSocketFraming
from feedhandler.session.control_line import ControlLine
from feedhandler.session.resync import Kind
from feedhandler.session.websocket import BrokenError, Target
from feedhandler.session.websocket_control import ChannelControl, WebSocketControl
from feedhandler.session.websocket_lines import Attempt, Confirmations, VenueLine
from feedhandler.session.websocket_signing import Signer
from feedhandler.simulate.venues import serve
from feedhandler.simulate.venues.faults import Limits, VenueFault, VenueFaults
from feedhandler.streams import HandledVenueLine


class PlainLine(VenueLine):
    """A line of the test's."""

    def prepare(self, sock: Any) -> None:
        self.framing.begin_connection()

    def whole(self) -> bool:
        return False


class FakeWish:
    def __init__(self, kind: Kind, instrument: int, line: int = 0) -> None:
        self.kind, self.instrument, self.line = int(kind), instrument, line


class World:
    """A channel's lines and control line, and all texts that they brought."""

    def __init__(self, served: Any, lines: int = 1, *, wishes: bool = True, beat_s: float = 5.0, **keys: Any) -> None:
        name = served.dialect.name
        known = venue(name)
        urls = [served.urls[n % len(served.urls)] for n in range(lines)]
        made = [Line(name="AB"[n], url=url, ca=str(served.ca)) for n, url in enumerate(urls)]
        channel = Channel(
            "c", name, "websocket", name, symbols=tuple(served.symbols), lines=(*made, Line(name="control")), **keys
        )
        feed = known.feed(channel.symbols, channel.streams, channel.depth)
        self.receiver = stream.receiver(lines + 1)
        self.framings = [framing("websocket") for _ in range(lines + 1)]
        self.texts: list[list[dict[str, Any] | list[Any]]] = [[] for _ in range(lines + 1)]
        self.wishes: list[FakeWish] = []
        self.notes: list[str] = []
        self.lines: list[VenueLine] = []
        for number in range(lines):
            cutter = self.framings[number]
            assert isinstance(cutter, WebSocketFraming)
            self.lines.append(PlainLine(number, number, channel, self.receiver, cutter, known, feed))
        self.control = ChannelControl(
            "c",
            known,
            feed,
            self.lines,
            ControlLine(lines, self.receiver, self.framings[lines]),
            RestQueue(HttpTransport((str(served.ca),) if served.ca else ()), known.rest_limit, rng=random.Random(1)),
            rest_url=served.rest,
            wishes=self.take if wishes else None,
            symbol_of=lambda number: feed.symbols[number - 1],
            beat_s=beat_s,
            note=self.notes.append,
            rng=random.Random(1),
        )
        self.thread = WebSocketControl(self.receiver, [self.control], self.notes.append)
        self._stop = threading.Event()
        self._hot = threading.Thread(target=self._run)

    def take(self) -> Sequence[FakeWish]:
        taken, self.wishes = self.wishes, []
        return taken

    def _run(self) -> None:
        while not self._stop.is_set() and not self.receiver.ended:
            for line, _, data in self.receiver.drain(1000):
                for _, texts in self.framings[line].feed(data):
                    self.texts[line] += [json.loads(text) for text in texts]
            self.receiver.wait_for(0.01)

    def __enter__(self) -> "World":
        self._hot.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.stop()
        self._hot.join(5)
        self._stop.set()
        self._hot.join()
        self.receiver.close()

    @property
    def lives(self) -> list[tuple[int, str, str]]:
        """(line, state, reason) of all life texts so far."""
        return [(t["line"], t["life"], t["reason"]) for t in self.texts[-1] if isinstance(t, dict) and "life" in t]

    def answers(self, what: str) -> list[dict[str, Any]]:
        return [t for t in self.texts[-1] if isinstance(t, dict) and t.get("rest") == what]

    def connected(self, times: int = 1, line: int = 0) -> bool:
        return self.lives.count((line, "CONNECTED", "subscribed")) >= times

    def flows(self, line: int = 0) -> Callable[[], bool]:
        before = len(self.texts[line])
        return lambda: len(self.texts[line]) > before


def script(*faults: VenueFault, **limits: float) -> VenueFaults:
    return VenueFaults(limits=Limits(**limits), fault=faults)


UP = [(0, "CONNECTING", "start"), (0, "AUTHENTICATING", "none"), (0, "SYNCHRONIZING", "upgraded"),
      (0, "CONNECTED", "subscribed")]  # fmt: skip


@contextmanager
def world(name: str, lines: int = 1, faults: VenueFaults | None = None, **options: Any) -> Iterator[tuple[Any, World]]:
    with serve(name, rate=300, batch_ms=10, faults=faults) as served, World(served, lines, **options) as made:
        yield served, made


@pytest.mark.parametrize("name", ["binance", "binance_usdm", "bitstamp", "coinbase", "kraken"])
def test_every_venue_is_subscribed_to_and_described(name: str, wait_for: Callable[..., Any]) -> None:
    with world(name) as (served, made):
        wait_for(made.connected, what="CONNECTED")
        wait_for(made.flows(), what="texts")
        wait_for(lambda: made.answers("instruments"), what="the instruments")
    states = [life for life in made.lives if life[1] != "DISCONNECTED"]
    assert states[-1] == UP[-1]
    assert [life for life in states if life not in UP] == []
    rows = made.answers("instruments")[0]["body"]
    assert [row["symbol"] for row in rows] == list(served.symbols)
    assert made.lives[-1] == (0, "DISCONNECTED", "stopped")
    assert made.notes == []


def test_life_texts_say_whence_and_when(wait_for: Callable[..., Any]) -> None:
    began = time.time_ns()
    with world("binance") as (_, made):
        wait_for(made.connected, what="CONNECTED")
    texts = [t for t in made.texts[-1] if isinstance(t, dict) and "life" in t]
    assert [(a["life"], b["from"]) for a, b in itertools.pairwise(texts) if a["life"] != b["from"]] == []
    assert all(began <= text["at"] <= time.time_ns() for text in texts)


def test_a_recorder_has_every_book_fetched_with_each_connection(
    wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("RETRY_S", "RETRY_MAX_S"):  # of books that do not last; these did
        monkeypatch.setattr(f"feedhandler.session.resync.{wait}", 1000.0)
    with world("binance", wishes=False, depth=100) as (served, made):
        wait_for(lambda: len(made.answers("depth")) >= len(served.symbols), what="snapshots")
        assert {answer["symbol"] for answer in made.answers("depth")} == set(served.symbols)
        served.cut()
        wait_for(lambda: len(made.answers("depth")) >= 2 * len(served.symbols), what="snapshots again")


def test_a_wished_snapshot_comes_for_that_symbol_alone(wait_for: Callable[..., Any]) -> None:
    with world("bitstamp") as (served, made):
        wait_for(made.connected, what="CONNECTED")
        assert made.answers("depth") == []
        made.wishes.append(FakeWish(Kind.SNAPSHOT, 2))
        wait_for(lambda: made.answers("depth"), what="the snapshot")
        assert [answer["symbol"] for answer in made.answers("depth")] == [served.symbols[1]]
        assert "bids" in made.answers("depth")[0]["body"]


def test_one_symbol_is_subscribed_to_anew_and_no_other(wait_for: Callable[..., Any]) -> None:
    def snapshots() -> list[str]:
        return [t[-1] for t in made.texts[0] if isinstance(t, list) and isinstance(t[1], dict) and "as" in t[1]]

    with world("kraken") as (served, made):
        wait_for(lambda: len(snapshots()) == len(served.symbols), what="all books")
        made.wishes.append(FakeWish(Kind.SUBSCRIBE, 2, line=0))
        wait_for(lambda: len(snapshots()) > len(served.symbols), what="one book again")
        assert snapshots()[len(served.symbols) :] == [served.symbols[1]]
        assert made.control.lives[0].connections == 1


def test_a_connection_that_is_cut_comes_back(wait_for: Callable[..., Any]) -> None:
    with world("binance", 2) as (served, made):
        wait_for(lambda: made.connected(line=0) and made.connected(line=1), what="both CONNECTED")
        served.cut()
        wait_for(lambda: made.connected(2, 0) and made.connected(2, 1), what="both CONNECTED again")
        wait_for(made.flows(1), what="texts")
    lost = [life for life in made.lives if life[2] == "lost"]
    assert lost == [(n, "DISCONNECTED", "lost") for n, *_ in lost]
    assert any("the connection broke" in note for note in made.notes)


@pytest.mark.parametrize(
    "code, reason, cause",
    [
        (1000, "", Cause.CLOSED),
        (1001, "", Cause.RESTARTING),
        (1012, "", Cause.RESTARTING),
        (1011, "", Cause.SERVER_ERROR),
        (1013, "", Cause.OVERLOADED),
        (1008, "go away", Cause.RATE_LIMITED),
    ],
)
def test_close_codes_have_their_causes(code: int, reason: str, cause: Cause, wait_for: Callable[..., Any]) -> None:
    with world("binance") as (served, made):
        wait_for(made.connected, what="CONNECTED")
        served.disconnect(code, reason)
        wait_for(lambda: (0, "DISCONNECTED", cause.name.lower()) in made.lives, what="the end")
        wait_for(lambda: any(f"the server closed with {code}" in note for note in made.notes), what="the note")


@pytest.mark.parametrize(
    "code, reason, cause",
    [
        (1008, "authentication expired", Cause.AUTHENTICATION),
        (1000, "Invalid API-key", Cause.AUTHENTICATION),
        (1013, "Too many requests", Cause.RATE_LIMITED),
        (1008, "not allowed in your country", Cause.POLICY),
        (4009, "", Cause.AUTHENTICATION),
    ],
)
def test_a_close_whose_words_say_more_than_its_code(code: int, reason: str, cause: Cause) -> None:
    known, receiver, made = venue("bitstamp"), stream.receiver(1), framing("websocket")
    assert isinstance(made, WebSocketFraming)
    channel = Channel("c", "bitstamp", "websocket", "b", symbols=("btcusd",), lines=(Line(name="A", url="ws://h/"),))
    line = PlainLine(0, 0, channel, receiver, made, known, known.feed(("btcusd",)))
    said = code.to_bytes(2, "big") + reason.encode()
    made.feed(bytes([0x88, len(said)]) + said)
    assert line.ending().cause is cause
    receiver.close()


@pytest.mark.parametrize(
    "name, text, cause",
    [
        ("binance", '{"error":{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."},"id":1}',
         "AUTHENTICATION"),
        ("binance_usdm", '{"error":{"code":-1125,"msg":"This listenKey has expired."},"id":1}', "AUTHENTICATION"),
        ("binance", '{"error":{"code":-1003,"msg":"Too many requests"},"id":1}', "RATE_LIMITED"),
        ("binance", '{"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":1}', "REFUSED"),
        ("coinbase", '{"type":"error","message":"Authentication Failed","reason":"{}"}', "AUTHENTICATION"),
        ("coinbase", '{"type":"error","message":"Failed to subscribe","reason":"XX-USD is not a valid product"}',
         "REFUSED"),
        ("kraken", '{"event":"subscriptionStatus","status":"error","errorMessage":"EAPI:Invalid key signature"}',
         "AUTHENTICATION"),
        ("kraken", '{"event":"subscriptionStatus","status":"error","errorMessage":"ESession:Invalid session"}',
         "AUTHENTICATION"),
        ("kraken", '{"event":"error","errorMessage":"Exceeded msg rate: throttled"}', "RATE_LIMITED"),
        ("kraken", '{"event":"subscriptionStatus","status":"error","errorMessage":"Currency pair not supported"}',
         "REFUSED"),
        ("bitstamp", '{"event":"bts:error","channel":"","data":{"code":4009,"message":"Connection is unauthorized."}}',
         "AUTHENTICATION"),
        ("bitstamp", '{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}',
         "REFUSED"),
    ],
)  # fmt: skip
def test_a_refused_subscription_has_the_cause_that_the_venue_says(name: str, text: str, cause: str) -> None:
    known = venue(name)
    feed = known.feed(("XBT/USD",) if name == "kraken" else ("btcusd",))
    said = known.heard(text)
    assert said is not None
    with pytest.raises(BrokenError, match="refused") as told:
        Confirmations(feed, 1).hear(said)
    assert told.value.cause is Cause[cause]


def test_a_venue_that_refuses_our_authentication_is_the_state_and_the_reason(
    wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Venue.heard

    def refuses(known: Venue, text: bytes | str) -> Any:
        said = heard(known, text)
        if said is not None and said.what is Heard.SUBSCRIBED:
            return heard(known, '{"type":"error","message":"Authentication Failed"}')
        return said

    monkeypatch.setattr(Venue, "heard", refuses)
    with world("coinbase") as (_, made):
        wait_for(lambda: (0, "DISCONNECTED", "authentication") in made.lives, what="the refusal")
    assert any("Authentication Failed" in note for note in made.notes)


@pytest.mark.parametrize(
    "status, cause",
    [(401, "authentication"), (403, "policy"), (429, "rate_limited"), (451, "policy"), (404, "handshake"),
     (500, "server_error")],
)  # fmt: skip
def test_a_refused_upgrade_has_its_cause(status: int, cause: str, wait_for: Callable[..., Any]) -> None:
    with world("kraken", faults=script(VenueFault(kind="refuse", at=1, status=status))) as (_, made):
        wait_for(lambda: (0, "DISCONNECTED", cause) in made.lives, what="the refusal")
    assert any(f"HTTP {status}" in note for note in made.notes)


class FakeChannel:
    """One that does what a ChannelControl does, and raises where it is told to."""

    def __init__(self, name: str, raises: tuple[str, ...] = ()) -> None:
        self.name, self.lines, self.raises, self.did = name, (), raises, list[str]()
        self.error: Exception | None = None
        self.control = self.rest = self
        self.socket = None

    def __getattr__(self, what: str) -> Callable[..., Any]:
        if what not in ("step", "linger", "abandon", "stop", "close"):
            raise AttributeError(what)

        def does(*about: Any) -> float:
            self.did.append(what)
            if what == "abandon":
                self.error = about[0]
            if what in self.raises:
                raise ValueError(f"{self.name}: {what}")
            return 0.0

        return does

    def flush(self) -> bool:
        return True


def test_a_channel_that_raises_keeps_no_other_from_anything(wait_for: Callable[..., Any]) -> None:
    bad, good = FakeChannel("bad", ("step", "linger", "abandon", "stop", "close")), FakeChannel("good")
    notes: list[str] = []
    receiver = stream.receiver(1)
    control = WebSocketControl(receiver, cast(Any, [bad, good]), notes.append)
    control.start()
    wait_for(lambda: "linger" in bad.did, what="the fault")
    steps = good.did.count("step")
    wait_for(lambda: good.did.count("step") > steps, what="the other channel's next step")
    control.stop()
    for channel in (bad, good):
        assert channel.did[-3:] == ["stop", "close", "close"]  # its REST queue's, too
    assert bad.did.count("step") == 1 and good.error is None
    assert len(notes) == len(set(notes)) and any("linger" in note for note in notes)
    receiver.close()


def test_an_answer_that_raises_is_its_own_channels_fault(wait_for: Callable[..., Any]) -> None:
    with world("bitstamp") as (served, made):
        wait_for(made.connected, what="CONNECTED")
        before = len(made.notes)

        def breaks(symbol: str, body: bytes) -> bytes:
            raise RuntimeError("no such thing")

        object.__setattr__(made.control.venue, "depth_text", breaks)
        try:
            made.wishes.append(FakeWish(Kind.SNAPSHOT, 2))
            wait_for(lambda: (0, "CONNECTED", "stopped") in made.lives, what="the word of it")
        finally:
            object.__delattr__(made.control.venue, "depth_text")
        assert "led no more" in made.notes[before] and made.thread.status()["c"]["led"] is False
        wait_for(made.flows(), what="texts all the same")
        served.cut()
        wait_for(lambda: made.lives[-1] == (0, "DISCONNECTED", "stopped"), what="the end")


def test_a_channel_that_is_led_no_more_ends_what_says_nothing(
    wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open, its books would be LIVE for ever; what answers pings goes on."""
    with world("bitstamp", beat_s=0.2) as (served, made):
        wait_for(made.connected, what="CONNECTED")
        made.control._fault = RuntimeError("no such thing")
        wait_for(lambda: (0, "CONNECTED", "stopped") in made.lives, what="the word of it")
        served.pause()
        pinged = made.lines[0].received()
        wait_for(lambda: made.lines[0].received() > pinged + 3, what="pongs")
        assert made.lives[-1] == (0, "CONNECTED", "stopped")
        monkeypatch.setattr(made.lines[0], "received", lambda: pinged)
        wait_for(lambda: made.lives[-1] == (0, "DISCONNECTED", "stopped"), what="the end")


def test_a_channel_that_is_led_no_more_has_no_connection_that_it_never_had(
    wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Venue, "heard", lambda known, text: None)  # nothing is confirmed
    with world("bitstamp") as (_, made):
        wait_for(lambda: (0, "SYNCHRONIZING", "upgraded") in made.lives, what="the upgrade")
        made.control._fault = RuntimeError("no such thing")
        wait_for(lambda: made.lives[-1] == (0, "DISCONNECTED", "stopped"), what="the word of it")


def test_a_control_line_without_room_may_have_any_descriptor() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    ours, theirs = socket.socketpair()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2048), limits[1]))
    receiver, channel, notes = stream.receiver(1), cast(Any, FakeChannel("full")), list[str]()
    try:
        with socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1500)) as high:
            channel.socket, channel.flush = high, lambda: False
            WebSocketControl(receiver, [channel], notes.append)._wait(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        ours.close()
        theirs.close()
        receiver.close()


def test_a_venues_limit_of_messages_holds_where_no_more_may_be_read_before_the_hand_over() -> None:
    """As where the first of hundreds of streams bring more than there is room for before the last are asked for."""

    class Full:
        received = b""
        headers: ClassVar[dict[str, str]] = {}

        def __init__(self) -> None:
            self.at: list[float] = []

        def send(self, data: bytes) -> None:
            self.at.append(time.monotonic())

    known = replace(venue("bitstamp"), limits=replace(venue("bitstamp").limits, messages=2, messages_s=0.06))
    feed = known.feed(("btcusd", "ethusd"))
    attempt, full = Attempt(Target("wss://localhost"), known, feed, None, -1, Signer(known, feed)), Full()
    attempt._subscribe(cast(Any, full))
    assert len(full.at) == 4 and full.at[2] - full.at[1] >= 0.06
    attempt.cancel()
    with pytest.raises(BrokenError, match="given up"):
        attempt._subscribe(cast(Any, Full()))


def test_an_answer_without_room_is_asked_for_again(
    wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with world("bitstamp") as (_, made):
        wait_for(made.connected, what="CONNECTED")
        with monkeypatch.context() as without_room:
            without_room.setattr(made.control.control, "say", lambda text: False)
            made.wishes.append(FakeWish(Kind.SNAPSHOT, 2))
            wait_for(lambda: made.control.resync.counts["again"], what="the failure")
            assert any("no room" in note for note in made.notes)
        wait_for(lambda: made.answers("depth"), what="the snapshot")


def test_half_open_silence_is_stale_and_dead_and_then_another_connection(wait_for: Callable[..., Any]) -> None:
    faults = script(VenueFault(kind="silence", at=20, connection=1, for_s=60.0))
    with world("binance", faults=faults, beat_s=0.2) as (_, made):
        wait_for(lambda: made.connected(2), what="CONNECTED again")
    lives = made.lives
    stale = lives.index((0, "STALE", "heartbeat"))
    assert lives[stale : stale + 3] == [
        (0, "STALE", "heartbeat"),
        (0, "DEAD", "silent"),
        (0, "DISCONNECTED", "silent"),
    ]


def test_a_line_is_taken_over_only_from_a_connection_that_the_hot_thread_has() -> None:
    """Until then its framing would be begun anew under the one before, which still flows."""
    ours, there = socket.socketpair()
    with ours, there, stream.receiver(1) as receiver:
        line: Any = object.__new__(HandledVenueLine)
        line.number, line.receiver, line.connections = 0, receiver, 0
        line.framing = SimpleNamespace(violation="", close_code=0)
        line.record = {"connection": Connection.SYNCHRONIZING, "connection_reason": Cause.PLANNED}
        assert receiver.connect(0, ours.fileno())
        assert not line.announced()
        receiver.drain()
        assert line.announced()


def test_a_replacement_is_made_before_the_old_one_is_broken(wait_for: Callable[..., Any]) -> None:
    with world("binance") as (served, made):
        wait_for(made.connected, what="CONNECTED")
        made.wishes.append(FakeWish(Kind.CONNECT, 0, line=0))
        wait_for(lambda: made.connected(2), what="the replacement")
        wait_for(made.flows(), what="texts")
        assert made.control.lives[0].replaced == 1
        numbers = [t["data"] for t in made.texts[0] if isinstance(t, dict) and t.get("stream", "").endswith("@100ms")]
        for symbol in served.symbols:
            last = 0
            for number in (n for n in numbers if n["s"] == symbol):
                assert last == 0 or number["U"] <= last + 1  # nothing is missing between the two
                last = max(last, number["u"])
    assert (0, "SYNCHRONIZING", "planned") in made.lives
    assert made.lives[-1] == (0, "DISCONNECTED", "stopped")
    assert len([life for life in made.lives if life[1] == "DISCONNECTED"]) == 1


def test_a_refused_upgrade_waits_as_long_as_was_said(wait_for: Callable[..., Any]) -> None:
    faults = script(VenueFault(kind="refuse", at=1, status=503))
    with world("kraken", faults=faults) as (_, made):
        wait_for(lambda: (0, "DISCONNECTED", "overloaded") in made.lives, what="the refusal")
        wait_for(made.connected, what="CONNECTED")
    assert any("HTTP 503" in note for note in made.notes)


def test_a_message_that_is_too_long_ends_the_connection(wait_for: Callable[..., Any]) -> None:
    faults = script(VenueFault(kind="oversized", at=30, connection=1, bytes=6 << 20))
    with world("binance", faults=faults) as (_, made):
        wait_for(lambda: (0, "DISCONNECTED", "too_big") in made.lives, what="the end")
        wait_for(lambda: made.connected(2), what="CONNECTED again")


@pytest.mark.parametrize("kind", ["reserved", "masked", "bad_utf8"])
def test_a_server_that_breaks_a_rule_is_left(kind: str, wait_for: Callable[..., Any]) -> None:
    faults = script(VenueFault(kind=kind, at=30, connection=1))
    with world("coinbase", faults=faults) as (_, made):
        wait_for(lambda: (0, "DISCONNECTED", "protocol") in made.lives, what="the end")
        wait_for(lambda: made.connected(2), what="CONNECTED again")


def test_rest_that_is_limited_slow_and_broken_answers_in_the_end(wait_for: Callable[..., Any]) -> None:
    faults = script(
        VenueFault(kind="rest_status", at=2, status=500),
        VenueFault(kind="rest_garbage", at=3),
        VenueFault(kind="rest_cut", at=4),
        VenueFault(kind="rest_slow", at=5, for_s=0.2),
    )
    with world("binance", faults=faults, wishes=False, depth=100) as (served, made):
        wait_for(lambda: {a["symbol"] for a in made.answers("depth")} == set(served.symbols), what="snapshots")
        assert made.control.status(time.monotonic())["rest"]["retried"] >= 2


def test_an_authority_that_is_not_trusted_is_a_cause(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    with serve("kraken") as served:
        served.ca, ca = "", served.ca
        with World(served) as made:
            wait_for(lambda: (0, "DISCONNECTED", "tls") in made.lives, what="the refusal")
        served.ca = ca
    assert any("certificate is refused" in note for note in made.notes)
    assert Connection.CONNECTED.name not in {state for _, state, _ in made.lives}


def test_status_says_all(wait_for: Callable[..., Any]) -> None:
    with world("bitstamp", 2) as (_, made):
        wait_for(lambda: made.connected(line=0) and made.connected(line=1), what="both CONNECTED")
        status = made.thread.status()["c"]
    assert [line["state"] for line in status["lines"].values()] == ["CONNECTED", "CONNECTED"]
    assert status["rest"]["breaker"] == "closed"
    assert status["resync"] == {"wanted": 0, "asked": 0, "again": 0, "over": 0, "open": 0}
