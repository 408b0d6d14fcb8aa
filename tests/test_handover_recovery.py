"""What a recording lacks, within it or behind its end, is had from the servers like anything else that was lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler.config import Line, Record, RecoverySettings
from feedhandler.counters import CHANNEL, by_name
from feedhandler.handler import Handler
from feedhandler.handover import Handover
from feedhandler.record import Recorder
from feedhandler.recording import Recording, manifest
from feedhandler.records import Quality, Reason
from feedhandler.simulate import Faults, GlimpseServer, MessageStore, RequestServer, SnapshotSource
from feedhandler.simulate.faults import LineFault
from tests.handover_world import books_of, config, events_of, feeding, lossless_of
from tests.why import Why

MARKET = simulate.Market(symbols=12, messages=12_000, seed=7)
RATE = 40_000
RECORD = Record(sync=0.01, buffer_bytes=1 << 23)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], np.ndarray]:
    """Books at the end of the day, and all its events."""
    return lossless_of(tmp_path_factory.mktemp("day") / "day.itch", MARKET)


class Feed:
    """The day on two lines of multicast, a recorder of its first part, and servers beside them."""

    def __init__(self, group: str, port: int, folder: Path, wait_for: Callable[..., Any]) -> None:
        self.groups = [(group, port), (group, port + 1)]
        self.folder, self._wait_for = folder, wait_for
        self.store, self.source = MessageStore(), SnapshotSource()

    def config(self, **recovery: Any) -> Any:
        lines = [
            Line(name=name, group=g, port=p, interface="lo") for name, (g, p) in zip("AB", self.groups, strict=True)
        ]
        settings = RecoverySettings(**{"window_messages": 16_384, "snapshot_retry_ms": 200} | recovery)
        return replace(config(lines, settings if recovery else None, reorder_us=2000), record=RECORD)

    @contextlib.contextmanager
    def sending(self, **options: Any) -> Iterator[None]:
        options = {"rate": RATE, "mtu": 200, "heartbeat_s": 0.005, "end_repeats": 1} | options
        sender = simulate.MulticastSender(self.groups, taps=(self.store, self.source), **options)
        with feeding(sender, MARKET):
            yield

    @contextlib.contextmanager
    def handler(self, settings: Any, begin: int, end: int, join: int, **options: Any) -> Iterator[Handler]:
        """The feed is sent; its numbers from `begin` to `end` or so are recorded, and at `join` a handler begins."""
        with contextlib.ExitStack() as stack:
            if begin > 0:
                stack.enter_context(self.sending(**options))
                self._comes(begin)
            recorder = stack.enter_context(Recorder(settings, self.folder))
            recorder.start()
            if begin == 0:
                stack.enter_context(self.sending(**options))
            self._comes(end)
            recorder.close()
            self._comes(join)
            handover = Handover(Recording(self.folder))
            handler = stack.enter_context(Handler(settings, handover=handover, anonymous=True))
            handler.start()
            yield handler
            assert handler.error is None

    def _comes(self, number: int) -> None:
        self._wait_for(lambda: self.store.last >= number, what=f"message {number}")


@pytest.fixture
def feed(multicast_group: str, free_udp_port: int, tmp_path: Path, wait_for: Callable[..., Any]) -> Feed:
    return Feed(multicast_group, free_udp_port, tmp_path, wait_for)


def counts(handler: Handler) -> dict[str, int]:
    return dict(by_name(CHANNEL, handler.segment.channels[0]))


def whole(handler: Handler) -> bool:
    channel = handler.segment.channels[0]
    return bool(channel["next_seq"] == MARKET.messages + 1 and channel["quality"] == Quality.LIVE)


Lossless = tuple[dict[str, Any], np.ndarray]


@pytest.mark.parametrize("loss", [0.0, 0.02], ids=["whole", "with holes"])
def test_what_is_missing_is_had_from_the_request_server(
    feed: Feed, loss: float, lossless: Lossless, wait_for: Callable[..., Any]
) -> None:
    with RequestServer(feed.store) as server:
        settings = feed.config(
            servers=(f"127.0.0.1:{server.port}",), request_timeout_ms=50, requests_per_second=100_000
        )
        with feed.handler(settings, 0, 4000, 6000, faults=Faults(all=LineFault(loss=loss))) as handler:
            wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
            total = counts(handler)
            assert total["missing"] == total["recovered"] > 0 and total["lost"] == 0
            assert books_of(handler) == lossless[0]
            assert np.array_equal(events_of(handler), lossless[1])


@pytest.mark.parametrize("begin", [0, 2000], ids=["behind the recording", "and before it"])
def test_where_too_much_is_missing_a_snapshot_stands_for_it(
    feed: Feed, begin: int, lossless: Lossless, wait_for: Callable[..., Any]
) -> None:
    with GlimpseServer(feed.source) as server:
        settings = feed.config(snapshot=f"127.0.0.1:{server.port}", gap_limit=100)
        with feed.handler(settings, begin, 4000, 6000) as handler:
            wait_for(lambda: whole(handler), what=Why(handler, MARKET.messages))
            assert counts(handler)["snapshots"] >= 1
            assert books_of(handler) == lossless[0]


def test_what_nobody_has_leaves_the_channel_stale(feed: Feed, wait_for: Callable[..., Any]) -> None:
    with feed.handler(feed.config(), 0, 4000, 6000) as handler:
        channel = handler.segment.channels[0]
        wait_for(lambda: channel["next_seq"] == MARKET.messages + 1, what=Why(handler, MARKET.messages))
        assert (channel["quality"], channel["reason"]) == (Quality.STALE, Reason.GAP)
        assert counts(handler)["lost"] == counts(handler)["missing"] > 0


def test_a_recorder_that_has_died_is_not_waited_for_long(feed: Feed, wait_for: Callable[..., Any]) -> None:
    settings = feed.config()
    with feed.sending():
        with Recorder(settings, feed.folder) as recorder:
            recorder.start()
            feed._comes(4000)
        [day] = feed.folder.iterdir()
        manifest.save(replace(manifest.load(day), complete=False), day)  # as a crash leaves it
        [file] = day.glob("*.pcapng")
        file.rename(file.with_name(file.name + ".partial"))
        feed._comes(MARKET.messages)
        handover = Handover(Recording(feed.folder), patience_s=60.0)
        with Handler(settings, handover=handover, anonymous=True) as handler:
            handler.start()
            wait_for(lambda: handover.progress().state == "present", what=Why(handler, MARKET.messages))
            assert any("did not come to the live feed within 1 s" in note for note in handler.notes)
            assert handler.segment.channels["quality"][0] == Quality.STALE
