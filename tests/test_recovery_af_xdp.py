"""Lost on the way, on every way to the wire: nftables drops on the sender's side, and no book is ever LIVE and wrong.

The packets that are lost never reach the cable, so sockets and AF_XDP miss the same kind of thing; the request server
answers over the same cable, and its answers are lost as often.
"""

import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from feedhandler import simulate
from feedhandler.config import AfXdp, Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.counters import CHANNEL, by_name
from feedhandler.handler import Handler
from feedhandler.read import attach_local
from feedhandler.records import Quality
from feedhandler.rehearse import from_simulation
from feedhandler.rehearse.truth import Truth
from feedhandler.simulate import Exchange, GlimpseServer, MessageStore, RequestServer, SnapshotSource
from tests.background import beside
from tests.namespaces import Veth, veth
from tests.why import Why

DAY = date(2026, 11, 20)
SYMBOLS, MESSAGES, SEED, DEPTH = 8, 12_000, 11, 10
GROUPS = [("239.77.2.1", 26400), ("239.77.2.2", 26400)]
LOSS = "ip protocol udp numgen random mod 1000 < 100"
SESSION = "REHEARSAL"  # the name under which the truth is kept
BACKENDS = {"sockets": AfXdp(), "af_xdp native": AfXdp(ring=4096), "af_xdp generic": AfXdp(ring=4096, mode="generic")}


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(from_simulation(symbols=SYMBOLS, messages=MESSAGES, seed=SEED), depth=DEPTH, orders=50_000)


@pytest.fixture
def cable() -> Iterator[Veth]:
    with veth(("nft",)) as world:
        yield world


def config(backend: str, **recovery: Any) -> Config:
    lines = tuple(
        Line(name=name, group=group, port=port, interface="rx")
        for name, (group, port) in zip("AB", GROUPS, strict=True)
    )
    channel = Channel(
        name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=DAY, lines=lines, reorder_us=2000,
        recovery=RecoverySettings(
            request_timeout_ms=20, attempts=20, window_messages=16_384, snapshot_retry_ms=200, **recovery
        ),
    )  # fmt: skip
    name, *_ = backend.split()
    return Config(
        Shm(name="unused"), Books(depth=DEPTH, instruments=64, orders=50_000), Ring(events=1 << 16),
        Run(backend=name, wait="block"), (channel,), af_xdp=BACKENDS[backend],
    )  # fmt: skip


class Onlooker:
    """A reader that compares every book that is LIVE with what it should be."""

    def __init__(self, handler: Handler, truth: Truth) -> None:
        self.feed, self.truth = attach_local(handler.segment), truth
        self.compared = 0
        self.seen: set[str] = set()

    def look(self) -> int:
        """How many books are LIVE; AssertionError when one of them is wrong."""
        live = 0
        for index in range(1, self.feed.reader.used):
            handed_out = int(self.feed.channels[0]["next_seq"]) - 1
            epoch = int(self.feed.channels[0]["epoch"])
            book = self.feed.book(index)
            bids, asks = book.snapshot()
            state, number = book.seen_state, book.seen_channel_seq
            self.seen.add(Quality(state).name)
            if state != Quality.LIVE or int(self.feed.channels[0]["epoch"]) != epoch:
                continue
            live += 1
            self.compared += 1
            place = f"{book.symbol} at {number}, when {handed_out} had been handed out"
            assert self.truth.last(SESSION, book.symbol, handed_out) <= number, place
            assert self.truth.holds(SESSION, book.symbol, number, bids, asks), place
        return live


@pytest.mark.parametrize("way", ["requests", "snapshots"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_nftables_drops_comes_back_and_no_book_is_live_and_wrong(
    backend: str, way: str, cable: Veth, truth: Truth, wait_for: Any
) -> None:
    """Of the packets one in a hundred is missing on both lines, and of the answers one in ten."""
    store, source = MessageStore(), SnapshotSource()
    with cable.sender.inside():
        requests = RequestServer(store, Veth.SENDER, session=SESSION)
        glimpse = GlimpseServer(source, Veth.SENDER, session=SESSION)
        sender = simulate.MulticastSender(
            GROUPS, interface="tx", ttl=1, rate=30_000, mtu=200, session=SESSION, end_repeats=8, taps=(store, source)
        )
    recovery: dict[str, Any] = {"servers": (f"{Veth.SENDER}:{requests.port}",)}
    if way == "snapshots":
        recovery = {"snapshot": f"{Veth.SENDER}:{glimpse.port}"}
    cable.drop_at_egress(LOSS)
    with requests, glimpse, cable.receiver.inside(), Handler(config(backend, **recovery), anonymous=True) as handler:
        assert handler.backend.startswith(backend), handler.backend
        handler.start()
        onlooker, channel = Onlooker(handler, truth), handler.segment.channels[0]

        def whole() -> bool:
            live = onlooker.look()
            return bool(live == SYMBOLS and channel["next_seq"] == MESSAGES + 1 and channel["quality"] == Quality.LIVE)

        with beside(lambda: sender.run(Exchange(symbols=SYMBOLS, messages=MESSAGES, seed=SEED)), sender.stop):
            wait_for(whole, what=Why(handler, MESSAGES))
        assert handler.error is None
        counts = by_name(CHANNEL, channel)
        if way == "requests":
            assert counts["missing"] == counts["recovered"] > 0 and counts["lost"] == 0
        else:
            assert counts["snapshots"] > 0
        assert onlooker.compared >= SYMBOLS
        drops = [handler.receiver.counts(line) for line in (0, 1)]
        assert all(each["kernel_drops"] == 0 for each in drops), "what was lost was lost by nftables"
    assert not any(thread.name == "feedhandler-recovery" for thread in threading.enumerate())
