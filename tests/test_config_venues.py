"""Channels of JSON over WebSockets in the configuration: what is read, and that every mistake names its key."""

import pytest

from feedhandler import config
from feedhandler.errors import ConfigError

GOOD = """
[shm]
name = "x"
[[channel]]
name = "c"
protocol = "binance"
symbols = ["BTCUSDT"]
depth = 1000
[[channel.line]]
name = "A"
url = "wss://a.example:9443/stream"
[[channel.line]]
name = "B"
url = "wss://a.example:9443/stream"
address = "192.0.2.7"
"""


def test_a_channel_of_websockets_has_a_control_line_of_its_own() -> None:
    [channel] = config.parse(GOOD).channels
    assert (channel.session, channel.websocket, channel.venue) == ("websocket", True, "BINANCE")
    assert [(line.name, line.host, line.port) for line in channel.lines] == [
        ("A", "a.example", 9443),
        ("B", "a.example", 9443),
        ("control", "127.0.0.1", 1),
    ]
    assert (channel.symbols, channel.depth, channel.max_message_bytes) == (("BTCUSDT",), 1000, 4 << 20)


MISTAKES = {
    "no WebSocket": ('"wss://a.example:9443/stream"', '"https://a.example/"', "line[0].url", "wss://host/path"),
    "a user in the URL": ('"wss://a.example:9443/stream"', '"wss://me@a.example/"', "line[0].url", "wss://host/path"),
    "no URL": ('url = "wss://a.example:9443/stream"', "", "line[0].url", "the key is required"),
    "host beside the URL": ('name = "A"', 'name = "A"\nhost = "x"', "line[0].host", "the unknown key host"),
    "the control line's name": ('name = "A"', 'name = "control"', "line[0].name", "own control line bears"),
    "no such file": ('name = "A"', 'name = "A"\nca = "absent.pem"', "line[0].ca", "PEM file that is there"),
    "address": ('"192.0.2.7"', '"192.0.2.7:99999"', "line[1].address", "a host or address"),
    "no symbols": ('symbols = ["BTCUSDT"]', "", "symbols", "the key is required"),
    "empty symbols": ('["BTCUSDT"]', "[]", "symbols", "symbols is empty"),
    "stream": ("depth = 1000", 'streams = ["dept"]', "streams", "unknown stream 'dept'"),
    "depth": ("depth = 1000", "depth = 7", "depth", "possible: 100, 500, 1000, 5000"),
    "REST": ("depth = 1000", 'rest = "ftp://x"', "rest", "https://host/path"),
    "size": ("depth = 1000", "max_message_bytes = 10", "max_message_bytes", "from 1024"),
    "another session": (
        'protocol = "binance"',
        'protocol = "binance"\nsession = "moldudp64"',
        "line[0].url",
        "unknown key",
    ),
    "another protocol": ('"binance"', '"itch50"\nsession = "websocket"', "protocol", 'with session = "websocket"'),
}


@pytest.mark.parametrize("old, new, key, said", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_its_key(old: str, new: str, key: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        config.parse(GOOD.replace(old, new, 1), "crypto.toml")
    message = str(caught.value)
    assert message.startswith("crypto.toml:")
    assert f"channel[0].{key}: expected " in message
    assert said in message


def test_an_encrypted_lines_keys_go_with_wss_only(tmp_path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("")
    plain = GOOD.replace('"wss://a.example:9443/stream"', f'"ws://a.example/"\nca = "{file}"', 1)
    with pytest.raises(ConfigError, match=r'line\[0\].ca: expected "" with a ws:// URL'):
        config.parse(plain)
    lonely = GOOD.replace('name = "A"', f'name = "A"\nkey = "{file}"', 1)
    with pytest.raises(ConfigError, match=r"line\[0\].key: expected a certificate beside the key"):
        config.parse(lonely)
