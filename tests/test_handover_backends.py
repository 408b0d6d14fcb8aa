"""Replay, then live, over each way to the wire; and no book is LIVE that is wrong, or of the past."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedhandler import simulate
from feedhandler.config import AfXdp, Line, RecoverySettings
from feedhandler.counters import CHANNEL, by_name
from feedhandler.handler import Handler
from feedhandler.handover import Handover
from feedhandler.read import attach_local
from feedhandler.recording import Recording
from feedhandler.records import Quality
from feedhandler.rehearse import from_simulation
from feedhandler.rehearse.truth import Truth
from feedhandler.simulate import Exchange, MessageStore, RequestServer
from tests.background import beside
from tests.handover_world import TARGETS, config, number_of, packets_of, written
from tests.namespaces import Veth, veth
from tests.why import Why

MARKET = simulate.Market(symbols=8, messages=12_000, seed=11)
SESSION = "REHEARSAL"  # the name under which the truth is kept
BACKENDS = {"sockets": AfXdp(), "af_xdp native": AfXdp(ring=4096), "af_xdp generic": AfXdp(ring=4096, mode="generic")}
RECORDED, JOINED = 3000, 5000  # numbers


@pytest.fixture(scope="module")
def truth() -> Truth:
    source = from_simulation(symbols=MARKET.symbols, messages=MARKET.messages, seed=MARKET.seed)
    return Truth(source, depth=10, orders=50_000)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first part of the day."""
    folder = tmp_path_factory.mktemp("day")
    packets = packets_of(folder / "day.itch", MARKET, SESSION)
    return written(folder / "day.pcapng", [p for p in packets if sum(number_of(p[2])) <= RECORDED])


@pytest.fixture
def cable() -> Iterator[Veth]:
    with veth() as world:
        yield world


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_recording_goes_over_into_the_live_lines(
    backend: str, cable: Veth, truth: Truth, recording: Path, wait_for: Any
) -> None:
    store = MessageStore()
    with cable.sender.inside():
        requests = RequestServer(store, Veth.SENDER, session=SESSION)
        sender = simulate.MulticastSender(
            TARGETS, interface="tx", ttl=1, rate=30_000, mtu=200, session=SESSION, end_repeats=8, taps=(store,)
        )
    lines = [Line(name=n, group=g, port=p, interface="rx") for n, (g, p) in zip("AB", TARGETS, strict=True)]
    recovery = RecoverySettings(
        servers=(f"{Veth.SENDER}:{requests.port}",), request_timeout_ms=20, attempts=20, window_messages=16_384,
        requests_per_second=100_000,
    )  # fmt: skip
    settings = config(lines, recovery, reorder_us=2000)
    run = replace(settings.handler, backend=backend.split()[0])
    settings = replace(settings, handler=run, af_xdp=BACKENDS[backend])
    seen: set[tuple[int, int]] = set()
    with requests, beside(lambda: sender.run(Exchange(MARKET)), sender.stop):
        wait_for(lambda: store.last > JOINED, what="the first messages")
        with (
            cable.receiver.inside(),
            Handler(settings, handover=Handover(Recording(recording)), anonymous=True) as handler,
        ):
            assert handler.backend.startswith(backend), handler.backend
            sent = store.last
            handler.start()
            feed, channel = attach_local(handler.segment), handler.segment.channels[0]

            def whole() -> bool:
                live = 0
                for index in range(1, feed.reader.used):
                    book = feed.book(index)
                    bids, asks = book.snapshot()
                    seen.add((int(book.seen_state), int(book.seen_reason)))
                    if book.seen_state != Quality.LIVE:
                        continue
                    live += 1
                    assert channel["next_seq"] > sent  # not of the past
                    assert truth.holds(SESSION, book.symbol, book.seen_channel_seq, bids, asks)
                return bool(live == MARKET.symbols and channel["next_seq"] == MARKET.messages + 1)

            wait_for(whole, what=Why(handler, MARKET.messages))
            assert handler.error is None
            total = by_name(CHANNEL, channel)
            assert total["recovered"] == total["missing"] > 0 and total["lost"] == 0
            assert any(state == Quality.RECOVERING for state, _ in seen)
            assert handler.handover is not None and handler.handover.progress().played > 0
