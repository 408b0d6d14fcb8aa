"""Deaths, restarts and bad hosts: each ends in a clear state or message, and recovers where it can."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import feedhandler as fh
from feedhandler import simulate
from feedhandler.config import Books, Channel, Config, Line, RecoverySettings, Ring, Run, Shm
from feedhandler.counters import CHANNEL, by_name
from feedhandler.errors import SegmentError
from feedhandler.handler import Handler, open_capture
from feedhandler.line import Arbiter
from feedhandler.publish import Publisher, Segment
from feedhandler.read import Feed, Strategy, attach
from feedhandler.records import Quality, Reason
from feedhandler.simulate.venue import Venue
from tests.background import beside
from tests.conftest import ROOT
from tests.feeds import multicast, soup
from tests.namespaces import MOUNTS, NETWORK, in_namespace, mount_tmpfs, set_interface

DAY = date(2026, 11, 20)
SECOND = 1_000_000_000


@pytest.fixture
def name() -> Iterator[str]:
    name = f"fh-death-{os.getpid()}-{time.monotonic_ns():x}"
    yield name
    for path in (Path("/dev/shm") / name, Path("/dev/shm") / f".{name}.new"):
        path.unlink(missing_ok=True)


def tables(depth: int) -> str:
    return f"[books]\ndepth = {depth}\ninstruments = 16\norders = 20000\n[ring]\nevents = 4096"


def stream_config(path: Path, name: str, port: int, depth: int) -> Path:
    path.write_text(soup(port, tables(depth), name=name))
    return path


def multicast_config(path: Path, name: str, groups: list[tuple[str, int]], recovery: str) -> Path:
    path.write_text(multicast(groups, tables(10), name=name, recovery=recovery))
    return path


class Wire:
    """The packets of a simulated day, sent when the test says so onto groups of interface lo, and into taps."""

    def __init__(self, exchange: simulate.Exchange, groups: list[tuple[str, int]], taps: Sequence[Any] = ()) -> None:
        self.groups, self.taps, self.number = groups, taps, 1
        self.packets: list[tuple[int, bytes]] = []  # messages, and their blocks
        block = bytearray(1200)
        while size := exchange.produce(block):
            count, place = 0, 0
            while place < size:
                place += 2 + int.from_bytes(block[place : place + 2], "big")
                count += 1
            self.packets.append((count, bytes(block[:size])))
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        membership = struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex("lo"))
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)

    def send(self, packets: int) -> None:
        """The next so many packets; taps see them first. Raises OSError while the network is down; they are lost."""
        due, self.packets = self.packets[:packets], self.packets[packets:]
        for count, blocks in due:
            first, self.number = self.number, self.number + count
            for tap in self.taps:
                tap.append(blocks)
            self._put(first, count, blocks)

    def heartbeat(self) -> None:
        """Says what comes next."""
        self._put(self.number, 0, b"")

    def _put(self, first: int, count: int, blocks: bytes) -> None:
        for group in self.groups:
            self.socket.sendto(b"SIMULATED " + struct.pack(">QH", first, count) + blocks, group)


class Diary(Strategy):
    """What was said of each book, and of the feed."""

    def __init__(self, name: str) -> None:
        self.name, self.log, self.shapes = name, list[str](), set[int]()
        self.said: dict[str, list[str]] = {}
        self.generations: list[int] = []
        self.books: dict[str, fh.Book] = {}
        self.received: list[int] = []

    def run_alone(self) -> None:
        with attach(self.name, timeout=20) as feed:
            self.run(feed, wait="futex", timeout=30)

    def on_start(self, feed: Feed) -> None:
        self.generations.append(int(feed.header["generation"]))

    def on_book(self, book: fh.Book) -> None:
        self.books[book.symbol] = book
        self.received.append(book.ts_recv)
        self.shapes.add(len(book.snapshot()[0]))

    def on_stale(self, book: fh.Book, reason: fh.Reason) -> None:
        self.said.setdefault(book.symbol, []).append(reason.name)

    def on_live(self, book: fh.Book) -> None:
        self.said.setdefault(book.symbol, []).append("LIVE")

    def whole(self, exchange: simulate.Exchange) -> bool:
        """Whether the books are LIVE and the exchange's."""
        with attach(self.name) as feed:
            for symbol in exchange.symbols:
                book = feed.book(symbol)
                bids, asks = book.snapshot()
                if book.seen_state != Quality.LIVE or (levels(bids), levels(asks)) != tuple(
                    side[:10] for side in exchange.book(symbol)
                ):
                    return False
        return True


def levels(side: Any) -> list[tuple[int, int, int]]:
    return [(int(p) // 100_000, int(s), int(n)) for p, s, n, _ in side if s]


def test_a_handler_killed_in_a_burst_and_started_again_with_another_depth(
    tmp_path: Path, name: str, processes: Any, wait_for: Any
) -> None:
    exchange = simulate.Exchange(symbols=4, messages=50_000, seed=5)
    server = simulate.SoupServer(rate=25_000)
    diary = Diary(name)
    first = processes.feedhandler("run", stream_config(tmp_path / "a.toml", name, server.port, 10))
    with beside(diary.run_alone, diary.stop):
        wait_for(lambda: diary.generations, what="the handler")
        with beside(lambda: server.run(exchange), server.stop):
            wait_for(lambda: len(diary.said) == 4 and server.stats["messages"] > 5_000, what="the burst")
            os.kill(first.pid, signal.SIGKILL)
            wait_for(lambda: all("WRITER_DIED" in said for said in diary.said.values()), what="the news of its death")
            second = processes.feedhandler("run", stream_config(tmp_path / "b.toml", name, server.port, 5))
            wait_for(lambda: all(said[-1] == "LIVE" for said in diary.said.values()), what="LIVE again")
            out, err = second.communicate(timeout=30)  # it ends with the session, and the strategy with it
    assert (second.returncode, out) == (0, "")
    assert f"stopped after 50,000 messages; {name} is gone" in err
    assert len(diary.generations) == 2
    assert diary.generations[0] < diary.generations[1]
    assert diary.shapes == {10, 5}
    for symbol in exchange.symbols:
        said = [word for word in diary.said[symbol] if word != "START"]  # START: not yet named by the new handler
        assert said == ["LIVE", "WRITER_DIED", "LIVE", "STOPPED"]
        bids, asks = diary.books[symbol].snapshot()
        assert (levels(bids), levels(asks)) == tuple(side[:5] for side in exchange.book(symbol))


@pytest.mark.parametrize("way", ["requests", "snapshot"])
def test_a_handler_of_multicast_lines_started_again_in_the_middle_of_the_day(
    way: str,
    tmp_path: Path,
    name: str,
    multicast_group: str,
    free_udp_port: int,
    processes: Any,
    wait_for: Any,
) -> None:
    exchange = simulate.Exchange(symbols=4, messages=30_000, seed=9)
    groups = [(multicast_group, free_udp_port), (multicast_group, free_udp_port + 1)]
    diary = Diary(name)
    with Venue(*((0, None) if way == "requests" else (None, 0))) as venue:
        (server,) = venue.servers.values()
        where = (
            f'servers = ["127.0.0.1:{server.port}"]' if way == "requests" else f'snapshot = "127.0.0.1:{server.port}"'
        )
        config = multicast_config(tmp_path / "a.toml", name, groups, where)
        first = processes.feedhandler("run", config)
        with beside(diary.run_alone, diary.stop):
            wait_for(lambda: diary.generations, what="the handler")
            wire = Wire(exchange, groups, venue.taps)
            wire.send(50)
            wait_for(lambda: len(diary.said) == 4, what="the first books")
            wire.send(100)
            first.kill()
            wire.send(100)
            wait_for(lambda: all("WRITER_DIED" in said for said in diary.said.values()), what="its death")
            second = processes.feedhandler("run", config)
            wait_for(lambda: len(diary.generations) == 2, what="the next handler")
            wire.send(50)
            wait_for(lambda: all(said[-1] == "LIVE" for said in diary.said.values()), what="LIVE again")
            wire.send(len(wire.packets))
            wire.heartbeat()
            wait_for(lambda: diary.whole(exchange), what="books that are LIVE and equal")
            out, err = processes.stop(second)
    assert (second.returncode, out) == (0, "")
    assert "stopped after" in err
    for said in diary.said.values():
        assert said[:2] == ["LIVE", "WRITER_DIED"]
        assert said[-2:] == ["LIVE", "STOPPED"]
        assert set(said[2:-2]) <= {"START", "JOINED_LATE", "GAP", "LIVE"}


def test_a_second_writer_on_a_live_name_is_refused(tmp_path: Path, name: str, processes: Any) -> None:
    with Segment.create(name, instruments=4, ring_events=64):
        second = processes.feedhandler("run", stream_config(tmp_path / "a.toml", name, 1, 10))
        out, err = second.communicate(timeout=20)
        assert (second.returncode, out, err.count("\n")) == (1, "", 1)
        assert err.startswith(f"feedhandler: segment /dev/shm/{name}: in use by process {os.getpid()} on ")
        assert err.endswith("which is alive; stop it or choose another name\n")


class Reader:
    """A reader in a process of its own: how many events it was given until the feed's end, and how many it lost."""

    def __init__(self, name: str, pause: float = 0.0) -> None:
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.pipe)
                self.read(name, pause, end)
                code = 0
            finally:
                os._exit(code)
        os.close(end)
        assert os.read(self.pipe, 100) == b"attached"

    def read(self, name: str, pause: float, end: int) -> None:
        with attach(name) as feed:
            os.write(end, b"attached")
            seen = lost = 0
            for batch in feed.events(start=1, batch=64):
                seen, lost = seen + len(batch), lost + batch.lost
                time.sleep(pause)
            os.write(end, f"{seen} {lost}".encode())

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def result(self) -> list[int]:
        """What it said, and its exit status."""
        said = os.read(self.pipe, 100).decode()
        os.close(self.pipe)
        return [*map(int, said.split()), os.waitpid(self.pid, 0)[1]]


def test_readers_killed_stopped_or_slow_change_nothing_for_the_writer(tmp_path: Path, name: str) -> None:
    day = tmp_path / "day.pcap"
    simulate.write(day, simulate.Exchange(symbols=6, messages=20_000, seed=2))
    sizes: dict[str, Any] = {"ring_events": 4096, "orders": 20_000, "instruments": 16}
    with open_capture(day, **sizes) as handler:
        handler.shard.turn_many(1 << 20)
        alone = handler.segment.books.copy(), handler.segment.slots.copy(), handler.segment.channels.copy()
    with open_capture(day, name=name, **sizes) as handler:
        killed, stopped, slow, quick = Reader(name), Reader(name), Reader(name, 0.001), Reader(name)
        for _ in range(20):
            handler.shard.turn_many(2)
            time.sleep(0.001)  # lets the readers have a processor
        killed.signal(signal.SIGKILL)
        stopped.signal(signal.SIGSTOP)
        while not handler.shard.turn_many(50):
            pass
        published = int(handler.segment.rings["head"][0])
        stopped.signal(signal.SIGCONT)
        for mine, its in zip(
            alone, (handler.segment.books, handler.segment.slots, handler.segment.channels), strict=True
        ):
            assert np.array_equal(mine, its)
        handler.segment.stop()
        assert killed.result() == [signal.SIGKILL]
        for reader in (stopped, slow, quick):
            seen, lost, status = reader.result()
            assert (seen + lost, status) == (published, 0)
            assert lost or reader is not stopped


def test_dev_shm_is_full(tmp_path: Path, name: str, processes: Any) -> None:
    def story() -> None:
        mount_tmpfs("/dev/shm", 128 << 10)
        child = processes.feedhandler("run", stream_config(tmp_path / "a.toml", name, 1, 10))
        out, err = child.communicate(timeout=20)
        assert (child.returncode, out, err.count("\n")) == (1, "", 1)
        assert f"segment /dev/shm/{name}: " in err
        assert "bytes are needed, 131,072 are free in /dev/shm; make it larger, or lower [books]" in err
        assert list(Path("/dev/shm").iterdir()) == []
        # A handler that has its segment has all of its memory: another may fill the rest.
        mount_tmpfs("/dev/shm", 1 << 20)
        with Segment.create(name, instruments=8, ring_events=4096) as segment:
            with contextlib.suppress(OSError), Path("/dev/shm/rubbish").open("wb", buffering=0) as rubbish:
                while rubbish.write(bytes(4096)):
                    pass
            assert os.statvfs("/dev/shm").f_bavail == 0
            publisher = Publisher(segment.memory)
            publisher.append(np.zeros(10_000, segment.slots.dtype))
            segment.books[:] = 1
            with pytest.raises(SegmentError, match=r"[\d,]+ bytes are needed, 0 are free in /dev/shm"):
                Segment.create("second", instruments=8, ring_events=4096)

    in_namespace(MOUNTS, story)


def test_what_a_dead_handler_left_is_room_for_the_next(name: str) -> None:
    sizes = {"instruments": 8, "ring_events": 8192}  # more than half of the room there is

    def be_killed() -> None:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException), Segment.create(name, **sizes):
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL

    def story() -> None:
        mount_tmpfs("/dev/shm", 1 << 20)
        be_killed()
        be_killed()
        with Segment.create(name, **sizes):
            feed = attach(name)
            assert feed.status == "running"

    in_namespace(MOUNTS, story)


# -- the clock --------------------------------------------------------------------------------------------------------


def stepped_back(source: Path, target: Path, at: int) -> None:
    """A copy of a pcap in microseconds whose packets from number `at` on bear times an hour earlier."""
    data = bytearray(source.read_bytes())
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    place, number = 24, 0
    while place < len(data):
        seconds, _, length, _ = struct.unpack_from(f"{order}4I", data, place)
        if number >= at:
            struct.pack_into(f"{order}I", data, place, seconds - 3600)
        place += 16 + length
        number += 1
    target.write_bytes(data)


def test_the_clock_steps_back_an_hour_in_the_middle_of_a_feed(tmp_path: Path) -> None:
    straight, back = tmp_path / "straight.pcap", tmp_path / "back.pcap"
    simulate.write(straight, simulate.Exchange(symbols=4, messages=5000, seed=4))
    stepped_back(straight, back, 60)
    found = []
    for path in (straight, back):
        with open_capture(path, day=DAY, ring_events=1 << 15, orders=10_000, instruments=16) as handler:
            handler.shard.turn_many(1 << 20)
            handler.shard.finish()
            assert handler.segment.channels["quality"][0] == Quality.LIVE
            events = handler.segment.slots.copy()
            times = events["ts_recv"][1 : int(handler.segment.rings["head"][0]) + 1].astype(np.int64)
            events["ts_recv"] = 0
            found.append((events, np.diff(times).min()))
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] >= 0
    assert found[1][1] < -3_500 * SECOND


@pytest.mark.skipif("FEEDHANDLER_ASAN" in os.environ, reason="AddressSanitizer must be loaded first")
def test_the_clock_of_a_running_handler_steps_back_an_hour(
    tmp_path: Path, name: str, processes: Any, wait_for: Any
) -> None:
    library = tmp_path / "step_clock.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, ROOT / "tests/step_clock.c", "-ldl"], check=True)
    exchange = simulate.Exchange(symbols=4, messages=20_000, seed=8)
    server = simulate.SoupServer(rate=20_000)
    config = stream_config(tmp_path / "a.toml", name, server.port, 10)
    handler = processes.feedhandler("run", config, env=os.environ | {"LD_PRELOAD": str(library)})
    diary = Diary(name)
    with beside(diary.run_alone, diary.stop):
        wait_for(lambda: diary.generations, what="the handler")
        with beside(lambda: server.run(exchange), server.stop):
            wait_for(lambda: server.stats["messages"] > 5_000, what="the burst")
            handler.send_signal(signal.SIGUSR1)
            _, err = handler.communicate(timeout=30)
    assert f"stopped after 20,000 messages; {name} is gone" in err
    assert np.diff(np.array(diary.received)).min() < -3_500 * SECOND
    for symbol in exchange.symbols:
        assert diary.said[symbol] == ["LIVE", "STOPPED"]
        bids, asks = diary.books[symbol].snapshot()
        assert (levels(bids), levels(asks)) == tuple(side[:10] for side in exchange.book(symbol))


def test_silence_and_gaps_are_noticed_in_time_though_the_clock_was_set_back() -> None:
    arbiter = Arbiter(1, silence_ms=3000, reorder_us=1000)
    hour = 3600 * SECOND
    arbiter.feed(b"S", 1, [b"1"], ts_recv=2 * hour)
    assert arbiter.pass_time(hour) == []  # an hour back, and nothing has come since
    assert arbiter.pass_time(hour + 2 * SECOND) == []
    arbiter.pass_time(hour + 3 * SECOND)
    assert arbiter.state[:2] == (Quality.STALE, Reason.SILENT)
    arbiter.feed(b"S", 2, [b"2"], ts_recv=hour + 4 * SECOND)
    assert arbiter.state[0] == Quality.LIVE
    arbiter.feed(b"S", 4, [b"4"], ts_recv=hour + 4 * SECOND)  # a hole, and the clock goes back once more
    arbiter.pass_time(4 * SECOND)
    assert arbiter.state[0] == Quality.LIVE
    assert arbiter.pass_time(4 * SECOND + 1_000_000)[0][0] == "gap"
    assert arbiter.state[:2] == (Quality.STALE, Reason.GAP)


# -- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovery", [False, True])
def test_the_network_interface_goes_down_and_up(
    recovery: bool, multicast_group: str, free_udp_port: int, wait_for: Any
) -> None:
    def story() -> None:
        set_interface("lo", True)
        exchange = simulate.Exchange(symbols=4, messages=6000, seed=6)
        with Venue(0, None) as venue:
            servers = (f"127.0.0.1:{venue.servers['requests'].port}",)
            settings = RecoverySettings(servers=servers) if recovery else None
            line = Line(name="A", group=multicast_group, port=free_udp_port, interface="lo")
            channel = Channel(
                "itch", "itch50", "moldudp64", "XNAS", DAY, silence_ms=150, lines=(line,), recovery=settings
            )
            books = Books(instruments=16, orders=20_000)
            config = Config(Shm(name="x"), books, Ring(events=4096), Run(wait="block"), (channel,))
            with Handler(config, anonymous=True) as handler:
                handler.start()
                tell(handler, Wire(exchange, [(multicast_group, free_udp_port)], venue.taps))

    def tell(handler: Handler, wire: Wire) -> None:
        record = handler.segment.channels[0]

        def comes(quality: Quality, reason: Reason) -> None:
            wait_for(lambda: (record["quality"], record["reason"]) == (quality, reason), what=reason.name)

        wire.send(50)
        comes(Quality.LIVE, Reason.NONE)
        set_interface("lo", False)
        with pytest.raises(OSError, match=r"unreachable|down"):
            wire.heartbeat()
        comes(Quality.STALE, Reason.SILENT)
        set_interface("lo", True)
        wire.heartbeat()  # nothing was missed
        comes(Quality.LIVE, Reason.NONE)
        set_interface("lo", False)
        with pytest.raises(OSError, match=r"unreachable|down"):
            wire.send(1)
        comes(Quality.STALE, Reason.SILENT)
        set_interface("lo", True)
        wire.send(1)  # the one before is lost, but for the server of retransmissions
        comes(*((Quality.LIVE, Reason.NONE) if recovery else (Quality.STALE, Reason.GAP)))
        assert handler.error is None
        counters = by_name(CHANNEL, record)
        assert (counters["gaps"], counters["missing"] > 0) == (1, True)
        assert counters["recovered"] == (counters["missing"] if recovery else 0)

    in_namespace(NETWORK, story)
