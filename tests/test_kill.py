"""`feedhandler run` killed with -9 and started again, by each backend: the interface is free, the books are whole."""

import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedhandler import simulate
from feedhandler.errors import FeedError
from feedhandler.read import attach
from feedhandler.records import Quality
from feedhandler.simulate import Exchange, MessageStore, RequestServer
from tests.feeds import multicast
from tests.namespaces import Veth, veth

GROUP, PORT = "239.77.3.1", 26400
BACKENDS = {
    "sockets": "",
    "af_xdp native": '[af_xdp]\nmode = "native"\nring = 4096\npackets_per_second = 1\n',
    "af_xdp generic": '[af_xdp]\nmode = "generic"\nring = 4096\npackets_per_second = 1\n',
}


@pytest.fixture
def cable() -> Iterator[Veth]:
    with veth() as world:
        yield world


@pytest.fixture
def name() -> Iterator[str]:
    name = f"fh-kill-{os.getpid()}-{time.monotonic_ns():x}"
    yield name
    for path in (Path("/dev/shm") / name, Path("/dev/shm") / f".{name}.new"):
        path.unlink(missing_ok=True)


class Day:
    """A simulated day in packets, sent when the test says so; the request server has all that was sent."""

    def __init__(self, cable: Veth) -> None:
        self.exchange = simulate.Exchange(symbols=4, messages=8_000, seed=5)
        self.store, self.number = MessageStore(), 1
        self.packets: list[bytes] = []
        block = bytearray(1200)
        while size := self.exchange.produce(block):
            self.packets.append(bytes(block[:size]))
        with cable.sender.inside():
            self.server = RequestServer(self.store, Veth.SENDER)
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, packets: int) -> None:
        """The next so many."""
        due, self.packets = self.packets[:packets], self.packets[packets:]
        for blocks in due:
            count = at = 0
            while at < len(blocks):
                at += 2 + int.from_bytes(blocks[at : at + 2], "big")
                count += 1
            self.store.append(blocks)
            self._put(count, blocks)
            self.number += count

    def beat(self) -> None:
        """Say what comes next."""
        self._put(0, b"")

    def _put(self, count: int, blocks: bytes) -> None:
        head = b"SIMULATED " + struct.pack(">QH", self.number, count)
        self.socket.sendto(head + blocks, (GROUP, PORT))


def said(name: str) -> tuple[int, str, int]:
    """(generation, backend, messages handed out) of the segment; 0 while there is none."""
    try:
        with attach(name) as feed:
            header = feed.header
            return int(header["generation"]), bytes(header["backend"]).decode(), int(feed.channels[0]["next_seq"]) - 1
    except FeedError:
        return 0, "", 0


def whole(name: str, exchange: Exchange) -> bool:
    """Whether every book is LIVE and the exchange's."""
    with attach(name) as feed:
        if feed.reader.used <= len(exchange.symbols):
            return False
        for symbol in exchange.symbols:
            book = feed.book(symbol)
            bids, asks = ([(int(p) // 100_000, int(s), int(n)) for p, s, n, _ in side if s] for side in book.snapshot())
            if book.seen_state != Quality.LIVE or (bids, asks) != tuple(s[:10] for s in exchange.book(symbol)):
                return False
    return True


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_handler_killed_in_the_middle_of_the_day_and_started_again(
    backend: str, cable: Veth, name: str, tmp_path: Path, processes: Any, wait_for: Any
) -> None:
    day = Day(cable)
    config = tmp_path / "feed.toml"
    tables = f"""[books]
instruments = 16
orders = 20000
[ring]
events = 4096
[handler]
backend = "{backend.split()[0]}"
{BACKENDS[backend]}"""
    servers = f'servers = ["{Veth.SENDER}:{day.server.port}"]'
    config.write_text(multicast([(GROUP, PORT)], tables, name=name, recovery=servers, interface="rx"))
    with day.server, day.socket, cable.receiver.inside():
        first = processes.feedhandler("run", config)
        wait_for(lambda: said(name)[1], what="the handler")
        before, chosen, _ = said(name)
        assert chosen.startswith(backend)
        day.send(60)
        wait_for(lambda: said(name)[2] > 0, what="the first messages")
        os.kill(first.pid, signal.SIGKILL)
        day.send(20)
        first.wait()
        second = processes.feedhandler("run", config)
        wait_for(lambda: said(name)[0] > before, what="the next handler")
        assert said(name)[1] == chosen
        day.send(len(day.packets))
        day.beat()
        wait_for(lambda: whole(name, day.exchange), what="books that are LIVE and equal")
        out, err = processes.stop(second)
        assert (second.returncode, out) == (0, ""), err
    assert "xdp" not in cable.receiver.run("ip", "-details", "link", "show", "dev", "rx")
