"""Credentials in the configuration: named there, read where they stand, shown nowhere."""

import os
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedhandler import cli, config
from feedhandler.credentials import Credentials, Secret, Sources, read
from feedhandler.decode.venue import Venue, venue
from feedhandler.errors import ConfigError
from feedhandler.records import Cause
from feedhandler.session.websocket import BrokenError
from feedhandler.session.websocket_signing import Signer, clock_ahead

SECRET = "c2VjcmV0IG9mIGEgdGVzdCwgNjQgYnl0ZXM="
VALUES = {"key": "8f1a22c0ffee", "secret": SECRET, "passphrase": "open sesame"}
SOURCES = Sources(key="env:FH_KEY", secret="env:FH_SECRET", passphrase="env:FH_PASSPHRASE")
GOOD = """
[shm]
name = "x"
[[channel]]
name = "c"
protocol = "coinbase"
symbols = ["BTC-USD"]
streams = ["level2"]
[channel.credentials]
key = "env:FH_KEY"
secret = "file:/run/secrets/fh"
passphrase = "env:FH_PASSPHRASE"
[[channel.line]]
name = "A"
url = "wss://a.example/"
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(f"FH_{name.upper()}", value)


def coinbase() -> Venue:
    return venue("coinbase")


def test_a_signature_is_the_one_that_openssl_makes() -> None:
    """printf '1700000000GET/users/self/verify' | openssl dgst -sha256 -mac HMAC -macopt hexkey:… -binary | base64"""
    there = coinbase()
    [text] = there.subscribe(there.feed(["BTC-USD"], ["level2"]))
    assert there.sign(text, VALUES, 1700000000.9) == (
        '{"type":"subscribe","product_ids":["BTC-USD"],"channels":["level2"],'
        '"signature":"qr7cjY8UE/VGNsA3nIG9awip9n0IQutIr6dOafz0uiA=","key":"8f1a22c0ffee",'
        '"passphrase":"open sesame","timestamp":"1700000000"}'
    )
    [over] = there.unsubscribe(there.feed(["BTC-USD"], ["level2"]))
    assert there.sign(over, VALUES, 1700000000.9) == over


def test_where_they_stand_is_read_anew_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    sources = replace(SOURCES, secret=f"file:{file}")
    assert read(sources, VALUES) == VALUES
    file.write_text("b3RoZXI=\n")
    monkeypatch.setenv("FH_KEY", " another ")
    assert read(sources, VALUES) == VALUES | {"secret": "b3RoZXI=", "key": "another"}


BAD = {
    "no variable": (lambda at, env: env.delenv("FH_KEY"), r"key: the environment variable FH_KEY is not set: export F"),
    "empty": (lambda at, env: env.setenv("FH_KEY", " "), r"key: the environment variable FH_KEY is empty: put the key"),
    "no file": (lambda at, env: at.unlink(), r"secret: the file .*/secret cannot be read: No such file.*; put it"),
    "a pipe": (lambda at, env: (at.unlink(), os.mkfifo(at)), r"secret: .*/secret is no regular file of at most 6"),
    "too long": (lambda at, env: at.write_text("A" * 65537), r"secret: .*/secret is no regular file of"),
    "a folder": (lambda at, env: (at.unlink(), at.mkdir()), r"secret: .*/secret is no regular file of at most 65536"),
    "two lines": (lambda at, env: at.write_text(f"{SECRET}\n{SECRET}"), r"secret: the file .* holds more than one"),
    "not ASCII": (lambda at, env: at.write_text(f"{SECRET}ö"), r"secret: the file .* holds more than one line of pri"),
    "no base64": (lambda at, env: at.write_text(f"{SECRET[:-1]}"), r"secret: it is no base64: put it there as Coin"),
    "a CDP key": (lambda at, env: at.write_text("-----BEGIN EC PRIVATE KEY-----"), r"-----BEGIN, are of no use here"),
}  # fmt: skip


@pytest.mark.parametrize("spoil, said", BAD.values(), ids=BAD)
def test_what_is_missing_or_wrong_is_one_sentence_that_shows_nothing(
    spoil: Callable[[Path, pytest.MonkeyPatch], None], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    feed = coinbase().feed(["BTC-USD"], ["level2"])
    sources = replace(SOURCES, secret=f"file:{file}")
    assert Signer(coinbase(), feed, sources, "c").signs
    spoil(file, monkeypatch)
    with pytest.raises(ConfigError, match=f"^channel c: credentials: .*{said}") as told:
        Signer(coinbase(), feed, sources, "c")
    assert "\n" not in str(told.value)
    shown = "".join(traceback.TracebackException.from_exception(told.value, capture_locals=True).format())
    nothing_of_them(shown.replace(str(file), ""))


def nothing_of_them(text: str) -> None:
    for value in VALUES.values():
        assert value not in text
    assert SECRET[:-1] not in text and "qr7cjY8UE" not in text


def test_no_value_shows_in_repr_and_locals() -> None:
    values = read(SOURCES, VALUES)
    nothing_of_them(repr((values, list(values.values()), {"a": Secret(SECRET)}, SOURCES)))
    assert values.hidden(f"no customer 8f1a22c0ffee with {SECRET}") == "no customer *** with ***"
    assert Credentials(key=Secret("a")).hidden("a short one is in every word") == "a short one is in every word"

    with pytest.raises(ValueError) as told:
        coinbase().sign('{"type":"subscribe"}', values, "soon")  # type: ignore[arg-type]
    nothing_of_them("".join(traceback.TracebackException.from_exception(told.value, capture_locals=True).format()))


@pytest.mark.parametrize("name", ["binance", "binance_usdm", "kraken", "bitstamp"])
def test_venues_that_sign_nothing_say_so(name: str) -> None:
    symbol = {"kraken": "XBT/USD", "bitstamp": "btcusd"}.get(name, "BTCUSDT")
    text = GOOD.replace("coinbase", name).replace("BTC-USD", symbol).replace('streams = ["level2"]', "")
    with pytest.raises(ConfigError, match=rf"credentials: expected none: {name} gives its market data to everybody"):
        config.parse(text)
    with pytest.raises(ConfigError, match=r"its market data is for everybody: leave \[channel.credentials\] out"):
        venue(name).sign("{}", {}, 0.0)


TABLE = GOOD[GOOD.index("[channel.cred") : GOOD.index("[[channel.line")]
MISTAKES = {
    "the value itself": ('"env:FH_KEY"', f'"{SECRET}"', "credentials.key", '"env:NAME" or "file:/path": where it'),
    "a number": ('"env:FH_KEY"', "815", "credentials.key", "found another kind of value"),
    "no path": ('"file:/run/secrets/fh"', '"file:"', "credentials.secret", "found a text of 5 characters, not shown"),
    "no key": ('key = "env:FH_KEY"', "", "credentials.key", "the key is required"),
    "another name": ("passphrase =", "password =", "credentials.password", "the unknown key password"),
    "no table": (TABLE, f'credentials = "{SECRET}"\n', "credentials", "expected a table, found a text of 36"),
    "in the clear": ("wss://", "ws://", "line[0].url", "wss:// beside [channel.credentials]"),
}  # fmt: skip


@pytest.mark.parametrize("old, new, key, said", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_its_key_and_shows_no_value(old: str, new: str, key: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as told:
        config.parse(GOOD.replace(old, new, 1), "crypto.toml")
    assert f"channel[0].{key}" in str(told.value)
    assert said in str(told.value)
    nothing_of_them(str(told.value))


def test_other_protocols_take_none() -> None:
    text = GOOD.replace('"coinbase"', '"itch50"\nsession = "soupbintcp"').replace(
        'url = "wss://a.example/"', 'host = "h"\nport = 1'
    )
    with pytest.raises(
        ConfigError, match=r"channel\[0\].credentials: expected none, but with a crypto venue's protocol"
    ):
        config.parse(text)


def test_run_check_says_whether_they_are_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "feed.toml"
    file.write_text(GOOD.replace("file:/run/secrets/fh", "env:FH_SECRET"))
    assert CliRunner().invoke(cli.app, ["run", "--check", str(file)]).exit_code == 0
    monkeypatch.delenv("FH_SECRET")
    done = CliRunner().invoke(cli.app, ["run", "--check", str(file)])
    assert isinstance(done.exception, ConfigError) and "FH_SECRET is not set" in str(done.exception)


def refusal(words: str, sources: Sources | None, ahead: float | None = None, *streams: str) -> str:
    known = coinbase()
    signer = Signer(known, known.feed(["BTC-USD"], streams or ["level2"]), sources, "c", lambda: 1700000000.0)
    return str(signer.refused(BrokenError(words, Cause.AUTHENTICATION), ahead))


def test_what_can_be_done_about_a_refusal_is_said() -> None:
    old = "refused: request timestamp expired"
    assert (
        refusal(old, SOURCES, 45.2)
        == f"{old}; our clock is 45 s ahead of the venue's: set it right (feedhandler doctor)"
    )
    assert "our clock is 31 s behind the venue's" in refusal(old, SOURCES, -31.0)
    assert refusal(old, SOURCES).endswith("; is our clock right? It says 2023-11-14 22:13:20 UTC")
    signed = "; signed with key (env:FH_KEY), secret (env:FH_SECRET), passphrase (env:FH_PASSPHRASE)"
    assert refusal(old, SOURCES, 0.4) == old + signed
    assert refusal(f"refused: no key {VALUES['key']}", SOURCES) == f"refused: no key ***{signed}"
    give = "; give the channel [channel.credentials] with key, secret, passphrase"
    assert refusal("refused", None) == f"refused{give}, or take level2_batch for level2, which needs none"
    assert refusal("refused", None, None, "matches") == f"refused{give}"
    other = Signer(venue("kraken"), venue("kraken").feed(["XBT/USD"]))
    assert str(other.refused(BrokenError("refused", Cause.AUTHENTICATION), None)) == "refused"


def test_what_was_changed_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    known = coinbase()
    feed = known.feed(["BTC-USD"], ["level2"])
    signer = Signer(known, feed, SOURCES, "c")
    monkeypatch.setenv("FH_KEY", "another key")
    for _ in range(2):
        signer.signed(known.subscribe(feed)[0])
    assert signer.hidden(f"{VALUES['key']} is revoked, {SECRET} too; another key") == "*** is revoked, *** too; ***"


@pytest.mark.parametrize(
    "headers, ahead",
    [({"date": "Tue, 14 Nov 2023 22:13:20 GMT"}, 7.0), ({}, None), ({"date": "soon"}, None), ({"date": "9" * 9}, None)],
)  # fmt: skip
def test_our_clock_beside_the_servers(headers: dict[str, str], ahead: float | None) -> None:
    assert clock_ahead(headers, lambda: 1700000007.0) == ahead
