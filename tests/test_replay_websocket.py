"""A recorded WebSocket feed served to clients: each text once, as it was, in its order; snapshots to who asks."""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from feedhandler import cli
from feedhandler.config import parse
from feedhandler.errors import BackendError, ConfigError
from feedhandler.handler import Handler, run_capture
from feedhandler.record.imported import import_logs
from feedhandler.recording import Recording, Window
from feedhandler.replay import Choice
from feedhandler.replay.websocket import WebSocketReplay
from tests.authority import Authority, client_context
from tests.test_check_websockets import SYMBOLS, recorded
from tests.test_import import DIFF, NOON, SNAPSHOT, seconds

LOGS = ("binance/cf-BINANCE.ws.1.0", "bitstamp/BITSTAMP.ws.1.0", "coinbase/COINBASE.ws.28.0")


@contextmanager
def serving(replay: WebSocketReplay) -> Iterator[WebSocketReplay]:
    """The replay in a thread of its own, once its port is open."""
    ready = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            replay.run(ready.set)
        except BaseException as error:
            errors.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield replay
    finally:
        replay.stop()
        thread.join(20)
    assert not thread.is_alive() and not errors, errors


def taken(url: str, **options: object) -> tuple[list[bytes], int]:
    """All texts of one connection, and the code of its close."""
    found = []
    with connect(url, max_size=None, **options) as client:  # type: ignore[arg-type]
        try:
            while True:
                message = client.recv(timeout=20)
                found.append(message.encode() if isinstance(message, str) else message)
        except ConnectionClosed as closed:
            return found, closed.rcvd.code if closed.rcvd else 1006


@pytest.mark.parametrize(
    "log", ["binance/cf-BINANCE.ws.1.0.gz", "bitstamp/BITSTAMP.ws.1.0.gz", "coinbase/COINBASE.ws.28.0.gz"]
)
def test_clients_get_every_text_as_it_came(shared_data: Path, tmp_path: Path, log: str) -> None:
    path = shared_data / "crypto" / log
    (day,) = import_logs([path], tmp_path)
    expected = [text for _, text in seconds(path)]
    results: list[tuple[list[bytes], int]] = []
    with serving(WebSocketReplay(Recording(day.folder), speed=None, clients=2)) as replay:
        others = [threading.Thread(target=lambda: results.append(taken(replay.url))) for _ in range(2)]
        for each in others:
            each.start()
        for each in others:
            each.join(30)
    assert [code for _, code in results] == [1001, 1001]
    assert all(texts == expected for texts, _ in results)
    assert replay.stats["texts"] == len(expected) and replay.stats["clients"] == 2


def test_over_tls_and_at_its_pace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{NOON + n * 10**8} {DIFF}\n" for n in range(4)))
    (day,) = import_logs([log], tmp_path / "days")
    authority = Authority(tmp_path / "ca")
    identity = authority.identity("localhost", "127.0.0.1")
    replay = WebSocketReplay(
        Recording(day.folder), speed=2, certificate=str(identity.certificate), key=str(identity.key)
    )
    with serving(replay):
        began = time.monotonic()
        texts, code = taken(replay.url, ssl=client_context(authority.ca))
    assert replay.url.startswith("wss://")
    assert (texts, code) == ([DIFF.encode()] * 4, 1001)
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("tls", [False, True])
def test_a_live_handler_follows_a_recorded_venue(tls: bool, tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    """The replayer is the venue: the handler's books come out as those of the recording."""
    day = recorded(tmp_path / "days")
    options: dict[str, Any] = {}
    ca = ""
    if tls:
        authority = Authority(tmp_path / "ca")
        identity = authority.identity("localhost", "127.0.0.1")
        options = {"certificate": str(identity.certificate), "key": str(identity.key)}
        ca = f'ca = "{authority.ca}"\n'
    with run_capture(day).handler as played:
        expected = canonical(played)
    with serving(WebSocketReplay(Recording(day), speed=0.3, **options)) as replay:
        rest = replay.url.replace("ws", "http", 1).rstrip("/")
        settings = parse(f"""
[shm]
name = "replayed-{os.getpid()}"
[[channel]]
name = "binance"
protocol = "binance"
symbols = {json.dumps(SYMBOLS)}
rest = "{rest}"
[[channel.line]]
name = "A"
url = "{replay.url}binance/A"
{ca}""")
        with Handler(settings, anonymous=True) as handler:
            handler.start()
            status = handler.status
            wait_for(lambda: status()["connections"]["binance"]["resync"]["over"] == len(SYMBOLS), 10, "whole books")
            wait_for(lambda: canonical(handler) == expected, 10, "the recording's last books")
            assert handler.error is None and handler.segment.channels[0]["counters"][0] > 100
    assert replay.stats["clients"] == 1 and replay.stats["requests"] >= len(SYMBOLS)


def canonical(handler: Handler) -> dict[str, Any]:
    """The number and the levels of each book, in the protocol's widest units."""
    found = {}
    for number, entry in enumerate(handler.segment.directory[1 : len(SYMBOLS) + 1], 1):
        head, *sides = handler.book(number)
        price, size = (Fraction(10) ** int(entry[f"{name}_exponent"]) for name in ("price", "size"))
        levels = [[(int(level["price"]) * price, int(level["size"]) * size) for level in side] for side in sides]
        found[entry["symbol"].decode().rstrip("\0")] = int(head["channel_seq"]), levels
    return found


def test_where_the_connection_ended_clients_come_again(tmp_path: Path) -> None:
    """Each recorded connection is one of the client's; a path chooses the line."""
    log = tmp_path / "log"
    opened = "wss://stream.binance.com <-> {}.0\n"
    log.write_text(opened.format(1618678132) + "1618678133.0: 1\n" + opened.format(1618678134) + "1618678135.0: 2\n")
    (day,) = import_logs([log], tmp_path / "days")
    with serving(WebSocketReplay(Recording(day.folder), speed=None)) as replay:
        assert taken(replay.url + "binance/A") == ([b"1"], 1012)
        assert taken(replay.url + "anything/else?streams=x") == ([b"2"], 1001)


def test_a_request_gets_the_snapshot_that_was_played(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{NOON} {DIFF}\n{NOON + 1} {SNAPSHOT}\n{NOON + 60 * 10**9} {DIFF}\n")
    (day,) = import_logs([log], tmp_path / "days")
    with serving(WebSocketReplay(Recording(day.folder), speed=1)) as replay, connect(replay.url) as client:
        client.recv(timeout=10)
        rest = replay.url.replace("ws://", "http://")
        with urllib.request.urlopen(f"{rest}api/v3/depth?symbol=BTCUSDT&limit=1000", timeout=10) as answer:
            assert json.load(answer) == {"lastUpdateId": 1}
            assert answer.headers["Content-Type"] == "application/json"
        threading.Timer(0.1, replay.stop).start()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{rest}api/v3/depth?symbol=ETHUSDT", timeout=10)
        assert refused.value.code == 404
        assert "ethusdt" in json.load(refused.value)["error"]


def test_what_cannot_be_served(tmp_path: Path) -> None:
    from tests.recorded import feed, mold, record

    record(feed(), tmp_path / "mold", [(0, NOON, mold(1))])
    with pytest.raises(ConfigError, match="there is no WebSocket in it"):
        WebSocketReplay(Recording(tmp_path / "mold"))
    log = tmp_path / "log"
    log.write_text(f"{NOON} {DIFF}\n")
    (day,) = import_logs([log], tmp_path / "days")
    with pytest.raises(ConfigError, match="leave out --from, or --onto: into a handler"):
        WebSocketReplay(Recording(day.folder), Choice(Window(NOON + 1)))
    with pytest.raises(ConfigError, match="is no certificate with its key"):
        WebSocketReplay(Recording(day.folder), certificate=str(log))
    with (
        serving(WebSocketReplay(Recording(day.folder))) as first,
        pytest.raises(BackendError, match="cannot be listened at"),
    ):
        WebSocketReplay(Recording(day.folder), port=first.port).run()
    result = CliRunner().invoke(cli.app, ["replay", str(day.folder), "--onto", "websocket", "--pps", "5"])
    assert result.exit_code == 2


def test_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{NOON} {DIFF}\n" * 100)
    (day,) = import_logs([log], tmp_path / "days")
    with serving(WebSocketReplay(Recording(day.folder))) as other:  # a port that is free when it has ended
        port = other.port
    results: list[tuple[list[bytes], int]] = []

    def client() -> None:
        for _ in range(200):
            try:
                results.append(taken(f"ws://127.0.0.1:{port}/"))
                return
            except OSError:
                time.sleep(0.05)

    thread = threading.Thread(target=client)
    thread.start()
    words = ["replay", str(day.folder), "--onto", "websocket", "--port", str(port), "--speed", "0", "--json"]
    result = CliRunner().invoke(cli.app, words)
    thread.join(20)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["texts"] == 100
    assert results == [([DIFF.encode()] * 100, 1001)]
