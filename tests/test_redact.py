"""No secret of a URL in what people read."""

import pytest

from feedhandler.errors import ConfigError
from feedhandler.notes import Notes
from feedhandler.records import Cause
from feedhandler.redact import redacted
from feedhandler.session.websocket import BrokenError, Target, Upgrade
from feedhandler.settings import shown

KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


@pytest.mark.parametrize(
    "text, shows",
    [
        ("wss://host/ws?token=abc", "wss://host/ws?token=***"),
        ("https://h:8/x?symbol=BTC&signature=ab1: HTTP 401", "https://h:8/x?symbol=BTC&signature=***: HTTP 401"),
        ("at wss://me:secret@host:9443/ws, lost", "at wss://***@host:9443/ws, lost"),
        (f"wss://stream.binance.com:9443/ws/{KEY}: lost", "wss://stream.binance.com:9443/ws/***: lost"),
        (f"wss://host/stream?streams=btcusdt@depth/{KEY}", "wss://host/stream?streams=btcusdt@depth/***"),
        ("redirected to '/ws?listenKey=abc'", "redirected to '/ws?listenKey=***'"),
        ("wss://host/#access_token=abc.", "wss://host/#access_token=***."),
        ("nothing secret? a=b, https://api.kraken.com/0/public/AssetPairs?pair=XBTUSD",
         "nothing secret? a=b, https://api.kraken.com/0/public/AssetPairs?pair=XBTUSD"),
    ],
)  # fmt: skip
def test_what_lets_somebody_in_is_not_shown(text: str, shows: str) -> None:
    assert redacted(text) == shows


@pytest.mark.parametrize("text", ["?" * 1_000_000, "?a=" + ":" * 1_000_000 + "x"])
def test_a_server_cannot_make_it_take_long(text: str) -> None:
    """Time that grows with the square of the length would be hours here."""
    assert redacted(text) == ("?a=***" if "x" in text else text)


def test_errors_notes_and_values_of_the_configuration_pass_there() -> None:
    secret = "wss://me:pw@host/ws?token=abc"
    assert "abc" not in str(BrokenError(f"{secret}: gone", Cause.LOST))
    notes = Notes()
    notes.append(f"line A: {secret}")
    assert notes == ["line A: wss://***@host/ws?token=***"]
    assert shown(secret) == '"wss://***@host/ws?token=***"'
    with pytest.raises(ConfigError) as told:
        Upgrade("host", "/ws?token=abc def")
    assert "token=***" in str(told.value)
    with pytest.raises(BrokenError) as refused:
        Target("wss://host/").redirected("ftp://host/x?token=abc")
    assert "abc" not in str(refused.value)
