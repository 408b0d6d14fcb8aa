"""Whole captures through the handler and shared memory: counts as the inventory states them, books as expected."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import feedhandler as fh
from feedhandler import counters
from feedhandler.book import LevelBook
from feedhandler.decode import iex_deep, itch50, protocol
from feedhandler.handler import CaptureResult, open_capture, run_capture
from feedhandler.receive.capture import read
from feedhandler.records import Action, Flag, Quality, Reason, Side, slot_stride
from tests.conftest import data_folder


@contextmanager
def finished(path: Path, **options: object) -> Iterator[tuple[CaptureResult, fh.Feed]]:
    """A capture that has gone through the handler, and a reader attached to its segment."""
    name = f"test-captures-{os.getpid()}"
    result = run_capture(path, name=name, **options)  # type: ignore[arg-type]
    try:
        with fh.attach(name) as feed:
            yield result, feed
    finally:
        result.handler.close()


def inventory() -> dict[str, tuple[int, dict[str, int]]]:
    """Messages and messages by type of each file, from the table in the data folder's README."""
    folder = data_folder()
    if folder is None or not (folder / "README.md").is_file():
        return {}
    found, section = {}, ""
    for line in (folder / "README.md").read_text().splitlines():
        if line.startswith("## "):
            section = line.split()[1].rstrip("/")
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        counted = re.fullmatch(r"(\d+)(?:: (.*))?", cells[4]) if len(cells) > 5 else None
        if counted:
            types = {kind: int(n or 1) for kind, n in re.findall(r"(\S+?)(?:×(\d+))?(?:\s|$)", counted[2] or "")}
            found[f"{section}/{cells[0]}"] = (int(counted[1]), types)
    return found


COUNTED = {
    name: counts
    for name, counts in inventory().items()
    if name.startswith("itch50/") or (name.startswith("iex/") and Path(name).name.startswith(("DEEP10", "Deep.IexTp")))
}


@pytest.mark.real_data
def test_the_inventory_names_every_file(shared_data: Path) -> None:
    itch = [p for p in (shared_data / "itch50").rglob("*") if p.is_file() and not p.name.endswith(".expected.json")]
    assert {f"itch50/{p.relative_to(shared_data / 'itch50')}" for p in itch} <= set(COUNTED)
    assert sum(name.startswith("iex/") for name in COUNTED) >= 4


@pytest.mark.real_data
@pytest.mark.parametrize("name", sorted(COUNTED) or [pytest.param("none", marks=pytest.mark.skip("no captures here"))])
def test_every_file_decodes_with_the_counts_of_the_inventory(name: str, shared_data: Path) -> None:
    result = run_capture(shared_data / name)
    with result.handler as handler:
        messages, types = COUNTED[name]
        assert (result.messages, result.types) == (messages, dict(sorted(types.items())))
        channels = handler.segment.channels
        assert channels["counters"][:, [c.name for c in counters.CHANNEL].index("malformed")].sum() == 0


@pytest.mark.real_data
@pytest.mark.parametrize("name", [name for name in sorted(COUNTED) if not name.endswith((".itch", ".itch.gz"))])
def test_arrays_of_every_capture_have_the_counts_of_the_inventory(name: str, shared_data: Path) -> None:
    reader = iex_deep.read if name.startswith("iex/") else itch50.read
    arrays = reader(shared_data / name, strict=False)
    table = protocol("iex_deep" if name.startswith("iex/") else "itch50")
    counted = {kind: number for kind, number in COUNTED[name][1].items() if kind in table.by_type}
    assert {kind: len(arrays[kind]) for kind in table.by_type if len(arrays[kind])} == counted


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bats-part1", "esh4-20231224", "esh4-20231225"])
def test_the_expected_final_books_to_the_last_level(name: str, shared_data: Path) -> None:
    expected = json.loads((shared_data / f"itch50/derived/{name}.expected.json").read_text())
    with finished(shared_data / f"itch50/derived/{name}.itch.gz", depth=10) as (result, feed):
        assert result.messages == expected["messages"]
        seen = {}
        for symbol in feed.symbols:
            book = feed.book(symbol)
            assert book.quality is Quality.LIVE, (symbol, book.reason)
            sides = [side[side["size"] > 0] for side in book.snapshot()]
            seen[symbol] = {
                key: [[int(level["price"]) // 100_000, int(level["size"]), int(level["orders"])] for level in side]
                for key, side in zip("BS", sides, strict=True)
            }
        shown = {symbol: book for symbol, book in seen.items() if book["B"] or book["S"]}
        assert shown == expected["book"]


class PlainBooks:
    """Level books of plain dicts, from events."""

    def __init__(self) -> None:
        self.levels: dict[tuple[int, int], dict[int, int]] = {}
        self.instruments: set[int] = set()

    def apply(self, event: np.void) -> None:
        if event["action"] == Action.RESET:
            self.levels.clear()
        elif event["action"] == Action.MODIFY:
            side = self.levels.setdefault((int(event["instrument"]), int(event["side"])), {})
            side.pop(int(event["price"]), None)
            if event["size"]:
                side[int(event["price"])] = int(event["size"])

    def best(self, instrument: int, side: Side, depth: int) -> list[tuple[int, int]]:
        levels = self.levels.get((instrument, side), {})
        return sorted(levels.items(), reverse=side == Side.BID)[:depth]


DEEP = "iex/DEEP10-20170425-12-sessions.pcap.gz"


def assert_equal(reference: PlainBooks, instrument: int, bids: np.ndarray, asks: np.ndarray, depth: int = 10) -> None:
    for side, levels in ((Side.BID, bids), (Side.ASK, asks)):
        shown = [(int(level["price"]), int(level["size"])) for level in levels]
        assert shown == reference.best(instrument, side, depth)


@pytest.mark.real_data
def test_the_long_deep_capture_equals_plain_dicts_after_every_packet(shared_data: Path) -> None:
    """Eleven restarts under one session id do not make the handler deaf, and its books are right all along."""
    reference, compared, seen = PlainBooks(), 0, 0
    with open_capture(shared_data / DEEP) as handler:
        slots, ring = handler.segment.slots, handler.segment.rings
        while not handler.shard.step():
            whole = {}  # of each book that this packet touches: is its event at an end?
            for number in range(seen + 1, int(ring["head"][0]) + 1):
                event = slots[number % len(slots)]
                assert event["seq"] == number
                reference.apply(event)
                if event["action"] == Action.MODIFY:
                    assert event["flags"] & Flag.MBP
                    whole[int(event["instrument"])] = bool(event["flags"] & Flag.LAST)
            seen = int(ring["head"][0])
            for instrument in (number for number, ended in whole.items() if ended):
                assert_equal(reference, instrument, *handler.book(instrument)[1:])
                compared += 1
        handler.shard.finish()
        assert sum(handler.types.values()) == 391_999
        assert int(handler.segment.channels[0]["epoch"]) == 12
    assert compared > 10_000


@pytest.mark.real_data
def test_the_long_deep_captures_books_equal_plain_dicts_at_every_message(shared_data: Path) -> None:
    """The handler's own events, one by one, into a book and into plain dicts: equal whenever a book is whole."""
    result = run_capture(shared_data / DEEP, ring_events=1 << 19)
    with result.handler as handler:
        head = int(handler.segment.rings["head"][0])
        events = handler.segment.slots[1 : head + 1].copy()
        used = int(handler.segment.part("directory")["used"][0])
    assert len(events) == head
    changes = events[np.isin(events["action"], [Action.RESET, Action.MODIFY])]
    books = LevelBook(bytearray(slot_stride(10) * used), depth=10)
    reference, compared = PlainBooks(), 0
    for i in range(len(changes)):
        books.apply_events(changes[i : i + 1], int(changes["seq"][i]))
        reference.apply(changes[i])
        if changes["action"][i] == Action.MODIFY and changes["flags"][i] & Flag.LAST:
            head, bids, asks = books.book(int(changes["instrument"][i]))
            assert_equal(reference, int(changes["instrument"][i]), bids, asks)
            compared += 1
    assert compared > 20_000


@pytest.mark.real_data
def test_a_damaged_capture_gives_what_was_whole_and_then_says_so(shared_data: Path) -> None:
    result = run_capture(shared_data / "iex/DEEP10-20170425-12-sessions.pcap.gz")
    with result.handler:
        assert result.messages == 391_999
        assert "ends in the middle of a record" in str(result.error)


@pytest.mark.real_data
def test_blank_wrappers_pass_in_file_order_and_their_books_are_stale(shared_data: Path) -> None:
    with finished(shared_data / "itch50/wrapped-nasdaq/AddOrderNoMPID.pcap") as (result, feed):
        assert result.messages == 5
        for symbol in feed.symbols:
            book = feed.book(symbol)
            assert (book.quality, book.reason) == (Quality.STALE, Reason.UNSEQUENCED)


@pytest.mark.real_data
def test_packets_captured_in_mid_session_make_stale_books(shared_data: Path) -> None:
    path = shared_data / "itch50/captured-nasdaq/AddOrderNoMpidAttributionMessage.pcap"
    assert len(list(read(path))) == 1
    with finished(path) as (_, feed):
        book = feed.book(feed.symbols[0])
        assert (book.quality, book.reason) == (Quality.STALE, Reason.JOINED_LATE)
        assert sum(int(side["size"].sum()) for side in book.snapshot()) > 0


@pytest.mark.real_data
def test_another_protocols_capture_is_refused_with_the_known_ones(shared_data: Path) -> None:
    with pytest.raises(fh.ConfigError, match=r"no stream of a known protocol.*itch50"):
        run_capture(shared_data / "iex/TOPS16-20170710.pcapng.gz")


def test_a_file_of_nothing_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff" * 100)
    with pytest.raises(fh.CaptureError, match="neither pcap, pcapng nor BinaryFILE"):
        run_capture(tmp_path / "x")
