"""Signed subscriptions, end to end over TLS: a venue that asks who we are, and hears it rightly, wrongly, or not."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from feedhandler import cli, config
from feedhandler.credentials import Sources
from feedhandler.decode.venue import Heard, Venue, venue
from feedhandler.errors import ConfigError
from feedhandler.handler import Handler
from feedhandler.record import Recorder
from feedhandler.records import Cause, Connection
from feedhandler.session import frames, websocket_life
from feedhandler.session.websocket import BrokenError, Target
from feedhandler.session.websocket_lines import Attempt
from feedhandler.session.websocket_signing import Signer
from feedhandler.simulate.venues import serve
from feedhandler.simulate.venues.coinbase import Coinbase
from feedhandler.simulate.venues.dialect import Session
from tests.test_handler_venues import Running, document, lives
from tests.test_session_websocket_lines import World

SECRET = "c2VjcmV0IG9mIGEgdGVzdCwgNjQgYnl0ZXM="
OTHER = "YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3Q="
CUSTOMER = {"key": "8f1a22c0ffee", "secret": SECRET, "passphrase": "open sesame"}
STREAMS = ("level2", "matches", "heartbeat")


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    """Where the credentials stand."""
    monkeypatch.setenv("FH_KEY", CUSTOMER["key"])
    monkeypatch.setenv("FH_PASSPHRASE", CUSTOMER["passphrase"])
    (tmp_path / "secret").write_text(SECRET + "\n")
    return Sources(key="env:FH_KEY", secret=f"file:{tmp_path / 'secret'}", passphrase="env:FH_PASSPHRASE")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, and back at once: how long that takes is told elsewhere."""
    monkeypatch.setitem(websocket_life.BACKOFF, Cause.AUTHENTICATION, websocket_life.Wait(0.02, 0.05))


def table(sources: Sources) -> str:
    return f"""
        streams = {json.dumps(STREAMS)}
        [channel.credentials]
        key = "{sources.key}"
        secret = "{sources.secret}"
        passphrase = "{sources.passphrase}"
    """


@contextmanager
def running(sources: Sources) -> Iterator[Running]:
    """A venue that asks, and a handler that signs."""
    with serve("coinbase", ["BTC-USD"], rate=300, levels=30, credentials=CUSTOMER) as served:
        name = f"fh-test-signed-{time.time_ns()}"
        with Handler(config.parse(document(served, name, 1, table(sources)))) as handler:
            made = Running(served, handler)
            handler.start()
            with made.feed:
                yield made


@contextmanager
def world(sources: Sources | None) -> Iterator[tuple[Any, World]]:
    with (
        serve("coinbase", ["BTC-USD"], rate=300, credentials=CUSTOMER) as served,
        World(served, streams=STREAMS, credentials=sources) as made,
    ):
        yield served, made


def nothing_of_them(data: bytes) -> None:
    for value in CUSTOMER.values():
        assert value.encode() not in data
    assert b'"signature"' not in data


def test_books_are_live_and_what_lets_us_in_is_nowhere(keep: Sources, wait_for: Callable[..., Any]) -> None:
    with running(keep) as run:
        wait_for(run.live, what="the book LIVE")
        wait_for(lambda: run.line(0) == (Connection.CONNECTED, Cause.SUBSCRIBED), what="the line table")
        run.served.pause()
        wait_for(run.settled, what="the venue's book")
        shown = Path(run.handler.config.shm.dir, run.handler.config.shm.name).read_bytes()
        assert b"BTC-USD" in shown
        nothing_of_them(shown)
        status, notes = run.handler.status(), run.handler.notes.since(0)
        nothing_of_them(f"{status}{notes}{run.handler.config}{lives(run)}{vars(lives(run)[0].link)}".encode())


def test_a_wrong_secret_is_refused_and_the_right_one_read_at_the_next_attempt(
    keep: Sources, tmp_path: Path, soon: None, wait_for: Callable[..., Any]
) -> None:
    (tmp_path / "secret").write_text(OTHER)
    with running(keep) as run:
        wait_for(lambda: lives(run)[0].attempts >= 2, what="refusals")
        words = str(lives(run)[0].error)
        assert "Authentication Failed invalid signature; signed with key (env:FH_KEY), secret (file:" in words
        wait_for(lambda: run.line(0) == (Connection.DISCONNECTED, Cause.AUTHENTICATION), what="the line table")
        assert not run.live()
        (tmp_path / "secret").write_text(SECRET)
        wait_for(run.live, what="the book LIVE")
        nothing_of_them(str(run.handler.notes.since(0)).encode())


def test_what_is_changed_at_both_ends_is_read_anew_at_the_reconnect(
    keep: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., Any]
) -> None:
    with running(keep) as run:
        wait_for(run.live, what="the book LIVE")
        monkeypatch.setenv("FH_KEY", "another key")
        (tmp_path / "secret").write_text(OTHER)
        run.served.sign_with(CUSTOMER | {"key": "another key", "secret": OTHER})
        run.served.cut()
        wait_for(lambda: lives(run)[0].connections == 2, what="another connection")
        wait_for(run.live, what="the book LIVE again")
        assert lives(run)[0].attempts == 1  # the cut, and no refusal


def test_the_line_authenticates_until_it_is_answered(
    keep: Sources, wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, answered = Venue.heard, False

    def hears(known: Venue, text: bytes | str) -> Any:
        said = heard(known, text)
        return said if answered or said is None or said.what is not Heard.SUBSCRIBED else None

    monkeypatch.setattr(Venue, "heard", hears)
    with world(keep) as (served, made):
        wait_for(lambda: (0, "AUTHENTICATING", "none") in made.lives, what="AUTHENTICATING")
        sent = served.stats["messages"]
        wait_for(lambda: served.stats["messages"] > sent + 20, what="texts")
        assert made.lives == [(0, "CONNECTING", "start"), (0, "AUTHENTICATING", "none")]
        answered = True
        listed = [{"name": stream, "product_ids": ["BTC-USD"]} for stream in STREAMS]
        served.say(json.dumps({"type": "subscriptions", "channels": listed}))
        wait_for(lambda: (0, "SYNCHRONIZING", "upgraded") in made.lives, what="the answer")


def test_without_credentials_the_refusal_says_what_to_do(wait_for: Callable[..., Any]) -> None:
    with world(None) as (_, made):
        wait_for(lambda: (0, "DISCONNECTED", "authentication") in made.lives, what="the refusal")
        wait_for(lambda: made.notes, what="the note")
    assert "level2, level3, and full channels now require authentication" in made.notes[0]
    assert made.notes[0].endswith("key, secret, passphrase, or take level2_batch for level2, which needs none")


def test_a_clock_that_is_off_is_named(keep: Sources, wait_for: Callable[..., Any]) -> None:
    with serve("coinbase", ["BTC-USD"], credentials=CUSTOMER) as served:
        made = World(served, streams=STREAMS, credentials=keep)
        made.lines[0]._signer.wall = lambda: time.time() - 45.0
        with made:
            wait_for(lambda: (0, "DISCONNECTED", "authentication") in made.lives, what="the refusal")
            wait_for(lambda: made.notes, what="the note")
    assert "request timestamp expired; our clock is 4" in made.notes[0] and "s behind the venue's" in made.notes[0]


def test_a_subscription_made_anew_is_signed_anew(
    keep: Sources, tmp_path: Path, wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[dict[str, Any]] = []
    heard = Coinbase.heard

    def hears(dialect: Coinbase, session: Session, said: str, now: int) -> Any:
        texts.append(json.loads(said))
        return heard(dialect, session, said, now)

    monkeypatch.setattr(Coinbase, "heard", hears)
    with world(keep) as (_, made):
        wait_for(made.connected, what="CONNECTED")
        [line] = made.lines
        line._signer.wall = lambda: time.time() + 7.0

        def snapshots() -> int:
            return sum(cast("dict[str, Any]", text)["type"] == "snapshot" for text in made.texts[0])

        wait_for(lambda: snapshots() == 1, what="the snapshot")
        assert line.resubscribe(("BTC-USD",))
        wait_for(lambda: snapshots() == 2, what="another snapshot")
        first, over, again = texts
        assert over["type"] == "unsubscribe" and "signature" not in over
        assert int(again["timestamp"]) > int(first["timestamp"]) and again["signature"] != first["signature"]
        assert again["channels"] == ["level2"]
        (tmp_path / "secret").unlink()
        assert not line.resubscribe(("BTC-USD",))
        wait_for(lambda: any("secret cannot be read: No such file" in note for note in made.notes), what="the note")
        assert line.state is Connection.CONNECTED and len(texts) == 3
        [status] = made.control.status(time.monotonic())["lines"].values()
        assert "secret cannot be read: No such file" in status["error"]


def test_credentials_that_are_gone_at_a_reconnect_are_named(
    keep: Sources, tmp_path: Path, soon: None, wait_for: Callable[..., Any]
) -> None:
    with world(keep) as (served, made):
        wait_for(made.connected, what="CONNECTED")
        (tmp_path / "secret").unlink()
        served.cut()
        wait_for(lambda: (0, "DISCONNECTED", "authentication") in made.lives, what="the reason")
        wait_for(lambda: any("secret cannot be read: No such file" in note for note in made.notes), what="the note")
        (tmp_path / "secret").write_text(SECRET)
        wait_for(lambda: made.connected(2), what="CONNECTED again")


def test_nothing_is_dialled_without_them(keep: Sources, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FH_KEY")
    with serve("coinbase", ["BTC-USD"], rate=0, credentials=CUSTOMER) as served:
        feed = config.parse(document(served, f"fh-test-signed-{time.time_ns()}", 1, table(keep)))
        with (
            Handler(feed) as handler,
            pytest.raises(ConfigError, match=r"channel crypto: credentials: key: .*FH_KEY is not"),
        ):
            handler.start()
        with pytest.raises(ConfigError, match="FH_KEY is not set"), Recorder(feed, tmp_path / "days") as recorder:
            recorder.start()
        assert served.stats["connections"] == 0


def test_a_recording_holds_nothing_of_them(keep: Sources, tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    days = tmp_path / "days"
    with serve("coinbase", ["BTC-USD"], rate=300, credentials=CUSTOMER) as served:
        feed = config.parse(document(served, "signed", 1, table(keep)))
        with Recorder(feed, days) as recorder:
            recorder.start()
            wait_for(lambda: recorder.status().packets > 100, what="texts")
        assert recorder.error is None
    kept = [path.read_bytes() for path in days.rglob("*") if path.is_file()]
    assert any(b'"l2update"' in data for data in kept)
    for data in kept:
        nothing_of_them(data)


def test_a_venue_that_repeats_them_in_its_words_does_not_spread_them(keep: Sources) -> None:
    known = venue("coinbase")
    feed = known.feed(["BTC-USD"])
    attempt = Attempt(Target("wss://h/"), known, feed, None, 0, Signer(known, feed, keep))
    said = json.dumps({"type": "error", "message": f"Authentication Failed for {CUSTOMER['key']} {SECRET}"})
    head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    received = head + frames.text(said, masked=False)
    opened = SimpleNamespace(url="wss://h/", headers={}, received=received, send=lambda data: None)
    with pytest.raises(BrokenError, match=r"Authentication Failed for \*\*\* \*\*\*; signed with key") as told:
        attempt._subscribe(cast(Any, opened))
    assert told.value.cause is Cause.AUTHENTICATION
    opened.received = head + frames.close(1008, f"session expired of {CUSTOMER['key']}", masked=False)
    with pytest.raises(
        BrokenError, match=r"closed instead of confirming with 1008: session expired of \*\*\*; is our"
    ) as told:
        attempt._subscribe(cast(Any, opened))
    assert told.value.cause is Cause.AUTHENTICATION


def test_who_redirects_us_gets_no_signature(keep: Sources) -> None:
    known = venue("coinbase")
    feed = known.feed(["BTC-USD"])
    attempt = Attempt(Target("wss://h/"), known, feed, None, 0, Signer(known, feed, keep))
    with pytest.raises(BrokenError, match="redirected to wss://other/, where no subscription is signed"):
        attempt._subscribe(cast(Any, SimpleNamespace(url="wss://other/", headers={}, received=b"")))


# -- the simulated venue

NOW = 1_700_000_000
WRONG = {
    "unsigned": ({"signature": None}, "Failed to subscribe level2, level3, and full channels now require"),
    "old": ({"timestamp": str(NOW - 31)}, "Authentication Failed request timestamp expired"),
    "of tomorrow": ({"timestamp": str(NOW + 86_400)}, "Authentication Failed request timestamp expired"),
    "of another time": ({"timestamp": str(NOW - 1)}, "Authentication Failed invalid signature"),
    "no time": ({"timestamp": "now"}, "Authentication Failed invalid timestamp"),
    "key": ({"key": "x"}, "Authentication Failed Invalid API Key"),
    "passphrase": ({"passphrase": "x"}, "Authentication Failed Invalid Passphrase"),
    "signature": ({"signature": "AAAA"}, "Authentication Failed invalid signature"),
}  # fmt: skip


@pytest.mark.parametrize("change, said", WRONG.values(), ids=WRONG)
def test_the_simulated_venue_looks_at_every_part(change: dict[str, str | None], said: str) -> None:
    there, dialect = venue("coinbase"), Coinbase(["BTC-USD"])
    dialect.sign_with(CUSTOMER)
    [text] = there.subscribe(there.feed(["BTC-USD"], ["level2"]))
    right = there.sign(text, CUSTOMER, NOW)
    out, *_ = dialect.heard(Session(), right, NOW * 10**9)
    assert json.loads(out.text)["type"] == "subscriptions"
    wrong = {key: value for key, value in (json.loads(right) | change).items() if value is not None}
    session = Session()
    [out] = dialect.heard(session, json.dumps(wrong), NOW * 10**9)
    refused = there.heard(out.text)
    assert refused is not None and refused.what is Heard.REFUSED and refused.reason.startswith(said)
    assert not session.streams
    [text] = there.subscribe(there.feed(["BTC-USD"]))  # level2_batch, of which nobody asks it
    assert len(dialect.heard(session, text, NOW * 10**9)) > 1


def test_credentials_that_a_venue_has_no_use_for() -> None:
    with pytest.raises(ConfigError, match="kraken asks nobody who he is"):
        serve("kraken", credentials=CUSTOMER)
    with pytest.raises(ConfigError, match="credentials of coinbase are key, secret, passphrase: give these"):
        serve("coinbase", credentials={"key": "x"})
    with pytest.raises(ConfigError, match="the secret is no base64"):
        serve("coinbase", credentials=CUSTOMER | {"secret": "x"})


def test_the_command_makes_up_a_customer(tmp_path: Path) -> None:
    folder, file = tmp_path / "secrets", tmp_path / "coinbase.toml"
    arguments = ["simulate", "--venue", "coinbase", "--symbols", "1", "--seconds", "0.05", "--config", str(file)]
    keys = ["--certificates", str(tmp_path / "ca"), "--credentials", str(folder)]
    done = CliRunner().invoke(cli.app, [*arguments, *keys])
    assert done.exit_code == 0, done.output
    [channel] = config.load(file).channels
    assert channel.credentials is not None and channel.streams[0] == "level2"
    Signer.of(channel)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == set(CUSTOMER) and all(not (folder / name).stat().st_mode & 0o077 for name in made)
    assert not any(value in done.output or value in file.read_text() for value in made.values())
    assert CliRunner().invoke(cli.app, [*arguments, *keys]).exit_code == 0
    assert made == {path.name: path.read_text() for path in folder.iterdir()}
    refused = CliRunner().invoke(cli.app, ["simulate", "--venue", "kraken", *keys])
    assert refused.exit_code == 2 and "kraken asks nobody who he is" in refused.output
