"""A hundred hand-overs at random moments, beside a recorder that writes, under load: no number lost, none doubled."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler import simulate
from feedhandler.config import Line, Record
from feedhandler.handler import Handler
from feedhandler.handover import Handover
from feedhandler.record import Recorder
from feedhandler.recording import Recording
from feedhandler.records import Quality
from tests.handover_world import books_of, config, events_of, feeding, lossless_of
from tests.why import Why

MARKET = simulate.Market(symbols=12, messages=12_000, seed=7)
RATE = 40_000  # messages a second, on each of two lines
AT_ONCE = 5
RECORD = Record(sync=0.01, buffer_bytes=1 << 23)  # what has come in is in the file ten milliseconds later


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], np.ndarray]:
    """Books at the end of the day, and all its events."""
    return lossless_of(tmp_path_factory.mktemp("day") / "day.itch", MARKET)


@pytest.mark.parametrize("seed", range(20))
def test_at_any_moment_nothing_is_lost_or_doubled(
    seed: int,
    lossless: tuple[dict[str, Any], np.ndarray],
    multicast_group: str,
    free_udp_port: int,
    wait_for: Callable[..., Any],
    tmp_path: Path,
) -> None:
    dice = random.Random(seed)
    groups = [(multicast_group, free_udp_port), (multicast_group, free_udp_port + 1)]
    lines = [Line(name=name, group=g, port=p, interface="lo") for name, (g, p) in zip("AB", groups, strict=True)]
    record = replace(RECORD, rotate_bytes=65_536) if seed % 4 == 3 else RECORD  # many files, one after the other
    settings = replace(config(lines, reorder_us=1_000_000), record=record)
    books, events = lossless
    moments = sorted(dice.uniform(0.0, 0.5 * MARKET.messages / RATE) for _ in range(AT_ONCE))
    sender = simulate.MulticastSender(groups, skew_us=20.0, rate=RATE, heartbeat_s=0.005, end_repeats=1)
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(Recorder(settings, tmp_path)).start()
        began = time.monotonic()
        stack.enter_context(feeding(sender, MARKET))
        running = []
        for moment in moments:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            handover = Handover(Recording(tmp_path))
            running.append(stack.enter_context(Handler(settings, handover=handover, anonymous=True)).start())
        played = 0
        for handler in running:
            assert handler.handover is not None
            why = Why(handler, MARKET.messages)
            wait_for(lambda h=handler: int(h.segment.rings["head"][0]) >= len(events), what=why)
            wait_for(lambda h=handler: h.handover.progress().state == "present", what=why)
            assert recorder.status().lost == 0
            progress = handler.handover.progress()
            assert np.array_equal(events_of(handler), events), progress
            assert books_of(handler) == books
            assert handler.segment.channels["quality"][0] == Quality.LIVE
            assert progress.lost == 0, progress
            played += progress.played
        assert played > 0  # each may have come before the first packet, but not all
