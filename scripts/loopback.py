"""Loss at speed: a simulated day over loopback, two lines, a real request server and a real snapshot server.

Everything is real but the distance: UDP multicast on `lo` into the handler's hot thread, requests over UDP, GLIMPSE
over TCP. While it runs, and at the end, the books are compared with a lossless run of the same day. Exit code 1 when
one was wrong, or a message was lost for good.

    python scripts/loopback.py                      1 % loss on each line, 200,000 messages a second, for 10 s
    python scripts/loopback.py --outage 2           both lines out for 2 s: snapshot, splice, LIVE, equal
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import Any

from feedhandler.config import Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.counters import CHANNEL, LINE, by_name
from feedhandler.handler import Handler
from feedhandler.read import attach_local
from feedhandler.records import Quality, Reason
from feedhandler.rehearse.report import duration, percentile
from feedhandler.rehearse.sources import DATE, from_simulation
from feedhandler.rehearse.truth import Truth
from feedhandler.simulate import Exchange, Faults, GlimpseServer, MessageStore, MulticastSender, RequestServer
from feedhandler.simulate import SnapshotSource as LiveState

DEPTH = 10
SESSION = "REHEARSAL"
LOOK_S = 0.0002
PATIENCE_S = 30.0


class Watcher(threading.Thread):
    """Reads the channel's word as it changes, and compares books now and then."""

    def __init__(self, handler: Handler, truth: Truth) -> None:
        super().__init__(name="watcher", daemon=True)
        self.handler, self.truth = handler, truth
        self.words: list[tuple[int, int, int]] = []  # quality, reason, since
        self.compared = self.wrong = 0
        self.first_wrong = ""
        self._stopping = threading.Event()

    def run(self) -> None:
        channel = self.handler.segment.channels[0]
        before, checks = None, 0
        with attach_local(self.handler.segment) as feed:
            while not self._stopping.wait(LOOK_S):
                word = int(channel["quality"]), int(channel["reason"]), int(channel["since"])
                if word != before:
                    self.words.append(word)
                    before = word
                checks += 1
                if checks % 50 == 0:
                    self.compare(feed)

    def compare(self, feed: Any) -> None:
        """Every book that is LIVE now."""
        channel = self.handler.segment.channels[0]
        for index in range(1, feed.reader.used):
            whole_to = int(channel["next_seq"]) - 1
            book = feed.book(index)
            bids, asks = book.snapshot()
            quality, _, _ = book.seen_codes()
            if quality != Quality.LIVE:
                continue
            number = book.seen_channel_seq
            fresh = self.truth.last(SESSION, book.symbol, whole_to) <= number
            if fresh and self.truth.holds(SESSION, book.symbol, number, bids, asks):
                self.compared += 1
            else:
                self.wrong += 1
                self.first_wrong = self.first_wrong or f"{book.symbol} at {number} ({whole_to} handed out)"

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def times(self) -> list[int]:
        """How long each time of not being LIVE was, in ns, after the channel had been LIVE once; ascending."""
        found, begun, live = [], 0, False
        for quality, _, since in self.words:
            if quality == Quality.LIVE:
                if begun:
                    found.append(since - begun)
                begun, live = 0, True
            elif live and not begun:
                begun = since
        return sorted(found)


def config(lines: list[tuple[str, int]], requests: int, glimpse: int, *, gap_limit: int) -> Config:
    """Two multicast lines on loopback, with both servers."""
    recovery = RecoverySettings(
        servers=(f"127.0.0.1:{requests}",), snapshot=f"127.0.0.1:{glimpse}", gap_limit=gap_limit
    )
    channel = Channel(
        name="itch",
        protocol="itch50",
        session="moldudp64",
        venue="XNAS",
        date=DATE,
        recovery=recovery,
        lines=tuple(
            Line(name=name, group=group, port=port, interface="lo")
            for name, (group, port) in zip("AB", lines, strict=True)
        ),
    )
    books = Books(depth=DEPTH, instruments=1024, orders=1_000_000)
    return Config(
        Shm(name="loopback"), books, Ring(events=65536), Run(wait="block", receive_buffer=32 << 20), (channel,)
    )


def rehearse(
    *,
    seconds: float = 10.0,
    rate: float = 200_000.0,
    loss: float = 0.01,
    outage: float = 0.0,
    symbols: int = 50,
    seed: int = 1,
    gap_limit: int = 100_000,
    group: str = "",
    port: int = 26470,
) -> dict[str, Any]:
    """Send a day of so many seconds under loss, `outage` seconds of it lost on both lines; what became of it."""
    messages = round(seconds * rate)
    truth = Truth(from_simulation(symbols=symbols, messages=messages, seed=seed, rate=rate), depth=DEPTH)
    script = f"all.loss = {loss}\n"
    if outage:
        script += f"[[outage]]\nfrom_s = {seconds / 3}\nfor_s = {outage}\n"
    group = group or f"239.{192 + os.getpid() % 60}.{os.getpid() // 60 % 256}"
    lines = [(f"{group}.1", port), (f"{group}.2", port + 1)]
    store, state = MessageStore(1 << 22), LiveState()
    sender = MulticastSender(
        lines, rate=rate, session=SESSION, flush_us=100.0, taps=(store, state), faults=Faults.parse(script), seed=seed,
        heartbeat_s=0.1,
    )  # fmt: skip
    exchange = Exchange(symbols=symbols, messages=messages, seed=seed)
    with RequestServer(store, session=SESSION) as requests, GlimpseServer(state, session=SESSION) as glimpse:
        settings = config(lines, requests.port, glimpse.port, gap_limit=gap_limit)
        with Handler(settings, anonymous=True) as handler:
            handler.start()
            watcher = Watcher(handler, truth)
            watcher.start()
            begun = time.monotonic()
            sender.run(exchange)
            took = time.monotonic() - begun
            whole = wait_until_whole(handler, messages)
            watcher.stop()
            with attach_local(handler.segment) as feed:
                watcher.compare(feed)
            return outcome(handler, watcher, messages, took, whole)


def wait_until_whole(handler: Handler, messages: int) -> bool:
    """Until the channel is LIVE and has the last message."""
    channel, end = handler.segment.channels[0], time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if channel["quality"] == Quality.LIVE and int(channel["next_seq"]) == messages + 1:
            return True
        time.sleep(0.001)
    return False


def outcome(handler: Handler, watcher: Watcher, messages: int, took: float, whole: bool) -> dict[str, Any]:
    """The figures of a run."""
    counts = by_name(CHANNEL, handler.segment.channels[0])
    lines = [by_name(LINE, record) for record in handler.segment.lines[:2]]
    times = watcher.times()
    return {
        "messages": messages,
        "per_second": round(messages / took),
        "packets": [line["packets"] for line in lines],
        "missing_by_line": [line["missing"] for line in lines],
        "kernel_drops": [line["kernel_drops"] for line in lines],
        "gaps": counts["gaps"],
        "missing": counts["missing"],
        "recovered": counts["recovered"],
        "lost": counts["lost"],
        "ladder": handler.ladders[0].stats,
        "recoveries_seen": len(times),
        "recovery_ms": {name: percentile(times, share) / 1e6 for name, share in SHARES.items()},
        "compared": watcher.compared,
        "wrong_live": watcher.wrong,
        "first_wrong": watcher.first_wrong,
        "whole": whole,
        "words": sorted({f"{Quality(q).name} {Reason(r).name}" for q, r, _ in watcher.words}),
        "notes": handler.notes,
    }


SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--rate", type=float, default=200_000.0, help="messages a second")
    options.add_argument("--loss", type=float, default=0.01, help="share of packets lost on each line")
    options.add_argument("--outage", type=float, default=0.0, help="seconds for which both lines are out")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--port", type=int, default=26470, help="of line A; line B has the next one")
    options.add_argument("--gap-limit", type=int, default=100_000, help="a longer gap takes a snapshot")
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    found = rehearse(
        seconds=given.seconds,
        rate=given.rate,
        loss=given.loss,
        outage=given.outage,
        seed=given.seed,
        gap_limit=given.gap_limit,
        port=given.port,
    )
    if given.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:16} {value}")
        print("time to recovery", ", ".join(f"{k} {duration(v * 1e6)}" for k, v in found["recovery_ms"].items()))
    return 0 if found["whole"] and not found["wrong_live"] and (given.outage or not found["lost"]) else 1


if __name__ == "__main__":
    sys.exit(main())
