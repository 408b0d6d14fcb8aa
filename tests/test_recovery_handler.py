"""A whole handler on loopback: what its lines lost comes back over real sockets, and every book is as without loss."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.counters import CHANNEL, by_name
from feedhandler.handler import Handler, run_capture
from feedhandler.records import Quality, Reason
from feedhandler.simulate import Exchange, Faults, GlimpseServer, MessageStore, RequestServer, SnapshotSource
from feedhandler.simulate.faults import GlimpseFault, LineFault, Outage, RequestFault
from tests.handover_world import books_of, events_of
from tests.why import Why

DAY = date(2026, 11, 20)
MARKET = simulate.Market(symbols=12, messages=30_000, seed=7)
RING = 1 << 17

Levels = dict[str, Any]  # symbol: (bids, asks)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Levels, np.ndarray]:
    """Books at the end of the day and all events, without loss."""
    path = tmp_path_factory.mktemp("day") / "day.itch"
    simulate.write(path, Exchange(MARKET))
    result = run_capture(path, day=DAY, ring_events=RING)
    with result.handler as handler:
        assert result.messages == MARKET.messages
        return books_of(handler), events_of(handler)


class Market:
    """The day on two lines of multicast, and the servers beside them."""

    def __init__(self, group: str, port: int) -> None:
        self.groups = [(group, port), (group, port + 1)]
        self.store, self.source = MessageStore(), SnapshotSource()

    def config(self, **recovery: Any) -> Config:
        lines = tuple(
            Line(name=name, group=g, port=p, interface="lo") for name, (g, p) in zip("AB", self.groups, strict=True)
        )
        channel = Channel(
            name="itch", protocol="itch50", session="moldudp64", venue="XNAS", date=DAY, lines=lines, reorder_us=2000,
            recovery=RecoverySettings(**{"window_messages": 32_768, "snapshot_retry_ms": 200} | recovery),
        )  # fmt: skip
        return Config(
            Shm(name="unused"), Books(instruments=64, orders=50_000), Ring(events=RING), Run(wait="block"), (channel,)
        )

    @contextmanager
    def sending(self, **options: Any) -> Iterator[None]:
        """Send the day meanwhile."""
        options = {"rate": 40_000, "mtu": 200, "end_repeats": 5} | options
        sender = simulate.MulticastSender(self.groups, taps=(self.store, self.source), **options)
        thread = threading.Thread(target=sender.run, args=(Exchange(MARKET),))
        thread.start()
        try:
            yield
        finally:
            sender.stop()
            thread.join()


@pytest.fixture
def market(multicast_group: str, free_udp_port: int) -> Market:
    return Market(multicast_group, free_udp_port)


@contextmanager
def running(config: Config) -> Iterator[Handler]:
    with Handler(config, anonymous=True) as handler:
        handler.start()
        yield handler
        assert handler.error is None
    assert not any(thread.name == "feedhandler-recovery" for thread in threading.enumerate())


def counts(handler: Handler) -> dict[str, int]:
    return dict(by_name(CHANNEL, handler.segment.channels[0]))


def whole(handler: Handler) -> bool:
    """All of the day has been handed out, and the channel says that it is whole."""
    channel = handler.segment.channels[0]
    return bool(channel["next_seq"] == MARKET.messages + 1 and channel["quality"] == Quality.LIVE)


BAD = RequestFault(silence=0.2, fewer=0.3, malformed=0.1, other_session=0.1, other_sequence=0.1, more=0.1)


@pytest.mark.parametrize("faults", [RequestFault(), BAD], ids=["good", "bad"])
def test_what_both_lines_lost_is_had_from_the_request_server(
    market: Market, faults: RequestFault, lossless: tuple[Levels, np.ndarray], wait_for: Callable[..., Any]
) -> None:
    with RequestServer(market.store, faults=faults) as server:
        config = market.config(servers=(f"127.0.0.1:{server.port}",), request_timeout_ms=20, attempts=20)
        with running(config) as handler, market.sending(faults=Faults(all=LineFault(loss=0.05))):
            wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
            total = counts(handler)
            assert total["missing"] == total["recovered"] > 0 and total["lost"] == 0
            assert books_of(handler) == lossless[0]
            assert np.array_equal(events_of(handler), lossless[1])
            assert any("asked of 127.0.0.1:" in note for note in handler.notes)
            assert handler.status()["recovery"]["itch"]["answers"] > 0


def test_a_silent_server_leads_to_the_next(
    market: Market, free_udp_port: int, lossless: tuple[Levels, np.ndarray], wait_for: Callable[..., Any]
) -> None:
    with RequestServer(market.store) as server:
        servers = (f"127.0.0.1:{free_udp_port + 7}", f"127.0.0.1:{server.port}")
        config = market.config(servers=servers, request_timeout_ms=20)
        with running(config) as handler, market.sending(faults=Faults(all=LineFault(loss=0.05))):
            wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
            assert books_of(handler) == lossless[0]


OUTAGE = Faults(outage=(Outage(from_packet=1000, for_packets=500),))


@pytest.mark.parametrize("join", ["at", "after"])
def test_an_outage_is_bridged_by_a_snapshot(
    market: Market, join: str, lossless: tuple[Levels, np.ndarray], wait_for: Callable[..., Any]
) -> None:
    with GlimpseServer(market.source, join=join) as server:
        config = market.config(snapshot=f"127.0.0.1:{server.port}", gap_limit=500, join=join)
        with running(config) as handler, market.sending(faults=OUTAGE):
            wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
            assert counts(handler)["snapshots"] >= 1
            assert books_of(handler) == lossless[0]
            assert any("joins the feed at message" in note for note in handler.notes)


def test_a_snapshot_that_fails_is_tried_again(
    market: Market, lossless: tuple[Levels, np.ndarray], wait_for: Callable[..., Any]
) -> None:
    with GlimpseServer(market.source, faults=GlimpseFault(cut=0.5, refuse=0.3)) as server:
        config = market.config(snapshot=f"127.0.0.1:{server.port}", gap_limit=500)
        with running(config) as handler, market.sending(faults=OUTAGE):
            wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
            assert books_of(handler) == lossless[0]


@pytest.mark.parametrize("gap_limit", [100, 100_000], ids=["by snapshot", "by requests"])
def test_a_late_start_is_the_same_thing(
    market: Market, gap_limit: int, lossless: tuple[Levels, np.ndarray], wait_for: Callable[..., Any]
) -> None:
    with RequestServer(market.store) as requests, GlimpseServer(market.source) as glimpse:
        config = market.config(
            servers=(f"127.0.0.1:{requests.port}",), snapshot=f"127.0.0.1:{glimpse.port}", gap_limit=gap_limit,
            requests_per_second=100_000,
        )  # fmt: skip
        with market.sending():
            wait_for(lambda: market.store.last > 5000, what="the first messages")
            with running(config) as handler:
                wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
                assert (counts(handler)["snapshots"] > 0) is (gap_limit == 100)
                assert books_of(handler) == lossless[0]


def test_without_any_rung_left_it_is_stale_and_says_why(
    market: Market, free_udp_port: int, wait_for: Callable[..., Any]
) -> None:
    config = market.config(servers=(f"127.0.0.1:{free_udp_port + 7}",), request_timeout_ms=5, attempts=2)
    with running(config) as handler, market.sending(faults=OUTAGE):
        channel = handler.segment.channels[0]
        wait_for(lambda: channel["next_seq"] == MARKET.messages + 1, what=Why(handler, MARKET.messages))
        assert (channel["quality"], channel["reason"]) == (Quality.STALE, Reason.GAP)
        assert counts(handler)["lost"] == counts(handler)["missing"] > 0
        assert any("STALE: messages" in note and "could not be had of one server" in note for note in handler.notes)


def test_a_wrong_join_is_named(market: Market, wait_for: Callable[..., Any]) -> None:
    """The server says the last number that is in the snapshot; the handler takes it for the next, and doubles it."""
    with GlimpseServer(market.source, join="after") as server:
        config = market.config(snapshot=f"127.0.0.1:{server.port}", gap_limit=500, join="at")
        with running(config) as handler, market.sending(faults=OUTAGE):
            wait_for(
                lambda: handler.segment.channels[0]["next_seq"] == MARKET.messages + 1,
                what=Why(handler, MARKET.messages),
            )
            total = counts(handler)
            if total["duplicate_order"] + total["unknown_order"]:  # else the message that came twice leaves no trace
                wait_for(lambda: any("join = 'at' is wrong" in note for note in handler.notes), what="the note")
