"""What is asked for is compared with what the host and its control groups have, before it is taken."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from simulated_days import SIZES, day

import feedhandler
from feedhandler import config, memory
from feedhandler.book import OrderBook
from feedhandler.cli.simulate_venue import configuration
from feedhandler.errors import ConfigError
from feedhandler.handler import Handler
from feedhandler.publish import Segment
from feedhandler.simulate.venues import serve


def host(folder: Path, available: str, cgroup: str, **limits: str) -> Path:
    proc = folder / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {available} kB\n")
    (proc / "self/cgroup").write_text(cgroup)
    for group, limit in limits.items():
        place = folder / "groups" / group.replace("__", "/").strip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / "memory.max").write_text(limit)
    return proc


@pytest.mark.parametrize(
    ("available", "cgroup", "limits", "expected"),
    [
        ("1000", "0::/\n", {}, 1_024_000),
        ("1000", "4:memory:/x\n0::/a/b\n", {"a__b": "max\n", "a": "5000\n"}, 5000),
        ("1000", "0::/a/b\n", {"a__b": "4000\n", "a": "5000\n"}, 4000),
        ("1000", "0::/../..\n", {}, 1_024_000),
        ("1000", "4:memory:/x\n", {}, 1_024_000),
        ("much", "0::/\n", {}, 1 << 62),
    ],
)
def test_the_least_of_host_and_groups(
    available: str, cgroup: str, limits: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert memory.available(host(tmp_path, available, cgroup, **limits), tmp_path / "groups") == expected


def test_a_host_that_says_nothing_refuses_nothing(tmp_path: Path) -> None:
    assert memory.available(tmp_path, tmp_path) == 1 << 62
    assert 0 < memory.available() < 1 << 62


def test_books_larger_than_memory_are_refused_before_any_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with Segment.anonymous(depth=10, instruments=8, ring_events=64) as segment:
        monkeypatch.setattr(memory, "available", lambda: 50_000_000)
        assert OrderBook(segment.books, depth=10, orders=500_000)
        with pytest.raises(ConfigError, match=r"books of 1,000,000 orders and 9 instruments take .* 50,000,000 can be"):
            OrderBook(segment.books, depth=10, orders=1_000_000)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """What holds much memory is gone when it is let go, and not when Python next looks for cycles."""

    def there() -> Counter[str]:
        kinds = ("Shard", "OrderBook", "LevelBook", "Splicer", "Arbiter", "Publisher")
        return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__ in kinds)

    gc.collect()
    gc.disable()
    try:
        before = there()
        yield
        assert there() <= before
    finally:
        gc.enable()


def test_a_handler_of_venues_gives_its_memory_back() -> None:
    with serve("kraken", ["XBT/USD"]) as venue, nothing_kept():
        with Handler(config.parse(configuration(venue) + "[books]\ninstruments = 16\n"), anonymous=True) as handler:
            handler.start()
        del handler


def test_a_conversion_and_a_run_give_their_memory_back(tmp_path: Path) -> None:
    path = day(tmp_path / "day.pcap")
    with nothing_kept():
        assert len(feedhandler.load(path, kind="trades"))
        told: list[int] = []
        run = feedhandler.backtest(path, progress=told.append, **SIZES)
        assert sum(1 for _ in run)
        del run
