"""The same messages over every way into the handler give the same events; two lines, real sockets, on loopback."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.handler import Handler, run_capture
from feedhandler.records import Quality, Reason
from tests.background import beside

DAY = date(2026, 11, 20)
MARKET = simulate.Market(symbols=12, messages=20_000, seed=7)
RING = 1 << 16


def config(session: str, lines: tuple[Line, ...], **channel: Any) -> Config:
    return Config(
        Shm(name="unused"),
        Books(instruments=64, orders=50_000),
        Ring(events=RING),
        Run(wait="block"),
        (
            Channel(
                name="itch", protocol="itch50", session=session, venue="XNAS", date=DAY, lines=lines,
                **{"reorder_us": 1_000_000} | channel,
            ),
        ),
    )  # fmt: skip


def events_of(handler: Handler) -> np.ndarray:
    """All events, the times of receipt and the line that was first left out."""
    head = int(handler.segment.rings["head"][0])
    assert head < RING
    events = handler.segment.slots[1 : head + 1].copy()
    events["ts_recv"] = 0
    events["line"] = 0
    return events


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The events of the simulated day, read from a BinaryFILE."""
    path = tmp_path_factory.mktemp("day") / "day.itch"
    simulate.write(path, simulate.Exchange(MARKET))
    result = run_capture(path, day=DAY, ring_events=RING)
    with result.handler as handler:
        assert result.messages == MARKET.messages
        assert handler.segment.channels["quality"][0] == Quality.LIVE
        return events_of(handler)


@contextmanager
def running(settings: Config) -> Iterator[Handler]:
    with Handler(settings, anonymous=True) as handler:
        handler.start()
        yield handler
        assert handler.error is None


class CuttingProxy:
    """Passes TCP connections on to a port of this host, and cuts the first ones after so many bytes to the client."""

    def __init__(self, target: int, after: list[int]) -> None:
        self.target, self.after, self.cut = target, after, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            room = self.after[self.cut] if self.cut < len(self.after) else None
            with client, socket.create_connection(("127.0.0.1", self.target)) as server:
                self._pass(client, server, room)

    def _pass(self, client: socket.socket, server: socket.socket, room: int | None) -> None:
        passed = 0
        while True:
            for ready in select.select([client, server], [], [])[0]:
                try:
                    data = ready.recv(4096)
                    if room is not None and ready is server and passed + len(data) >= room:
                        client.sendall(data[: room - passed])
                        self.cut += 1
                        return
                    passed += len(data) if ready is server else 0
                    (client if ready is server else server).sendall(data)
                except OSError:
                    return
                if not data:
                    return


@pytest.mark.parametrize("ending", ["pcap", "pcapng", "pcap.gz", "pcapng.zst"])
def test_captures_of_two_lines_give_the_same_events(ending: str, tmp_path: Path, offline: np.ndarray) -> None:
    path = tmp_path / f"day.{ending}"
    simulate.write(path, simulate.Exchange(MARKET))
    result = run_capture(path, day=DAY, ring_events=RING)
    with result.handler as handler:
        assert len(handler.config.channels[0].lines) == 2
        assert np.array_equal(events_of(handler), offline)


def test_multicast_on_two_lines_gives_the_same_events(
    offline: np.ndarray, multicast_group: str, free_udp_port: int, wait_for: Callable[..., Any]
) -> None:
    groups = [(multicast_group, free_udp_port), (multicast_group, free_udp_port + 1)]
    lines = tuple(Line(name=name, group=g, port=p, interface="lo") for name, (g, p) in zip("AB", groups, strict=True))
    with running(config("moldudp64", lines)) as handler:
        sender = simulate.MulticastSender(groups, skew_us=20.0, rate=100_000, end_repeats=2)
        with beside(lambda: sender.run(simulate.Exchange(MARKET)), sender.stop):
            wait_for(lambda: int(handler.segment.rings["head"][0]) >= len(offline), what="the last event")
        drops = [handler.receiver.counts(line)["kernel_drops"] for line in (0, 1)]
        assert np.array_equal(events_of(handler), offline), drops
        counters = handler.segment.lines["counters"]
        assert counters[:, 3].sum() == MARKET.messages  # each message was won once


def test_soupbintcp_gives_the_same_events(offline: np.ndarray, wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer()
    line = Line(name="A", host="127.0.0.1", port=server.port, username="user", password="secret")
    with running(config("soupbintcp", (line,))) as handler:
        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            wait_for(lambda: int(handler.segment.rings["head"][0]) >= len(offline), what="the last event")
        assert np.array_equal(events_of(handler), offline)


def test_a_broken_soupbintcp_connection_loses_and_doubles_nothing(
    offline: np.ndarray, wait_for: Callable[..., Any]
) -> None:
    """Three times the way to the server breaks, in the middle of a message too; the handler asks for the rest."""
    server = simulate.SoupServer()
    proxy = CuttingProxy(server.port, after=[50_000, 1, 200_003])
    line = Line(name="A", host="127.0.0.1", port=proxy.port)
    with running(config("soupbintcp", (line,))) as handler, proxy:
        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            wait_for(lambda: int(handler.segment.rings["head"][0]) >= len(offline), what="the last event")
        assert proxy.cut == 3
        assert np.array_equal(events_of(handler), offline)
        assert handler.receiver.counts(0)["reconnects"] >= 2


def test_a_stream_whose_server_is_gone_makes_its_books_stale(wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer(rate=5_000)
    proxy = CuttingProxy(server.port, after=[100_000])
    line = Line(name="A", host="127.0.0.1", port=proxy.port)
    with running(config("soupbintcp", (line,))) as handler:
        channel = handler.segment.channels[0]
        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            with proxy:
                wait_for(lambda: channel["quality"] == Quality.LIVE, what="the first messages")
                wait_for(lambda: proxy.cut, what="the cut")
            wait_for(lambda: channel["quality"] == Quality.STALE, what="STALE")
        assert channel["reason"] == Reason.LINE_DOWN
