"""Recorded days of JSON texts: do their books follow the venue's own rules; a part of them; their texts as tables."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feedhandler import cli
from feedhandler.check import check
from feedhandler.check.report import BookCheck
from feedhandler.check.texts import findings
from feedhandler.handler import run_capture
from feedhandler.listing import Listing
from feedhandler.record import Recorder
from feedhandler.record.imported import import_logs
from feedhandler.recording import Recording, Window
from feedhandler.simulate.venues import VenueFault, VenueFaults, serve
from tests.test_handover_venues import feed
from tests.test_import import DIFF, NOON

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def recorded(folder: Path, *faults: VenueFault) -> Path:
    """A day of Binance's, over one line."""
    script = VenueFaults(fault=faults)
    with (
        serve("binance", SYMBOLS, rate=400, batch_ms=5, levels=20, beat_s=0.2, faults=script) as venue,
        Recorder(feed(venue, 1, "recorder"), folder) as recorder,
    ):
        recorder.start()
        end = time.monotonic() + 10
        while recorder.status().packets <= 120 and time.monotonic() < end:
            time.sleep(0.005)
    (day,) = folder.iterdir()
    return day


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("whole"))


def test_books_that_follow_their_numbers_are_whole(day: Path) -> None:
    report = check(Recording(day))
    assert report.whole and "2 of 2 books" in report.verdict
    assert {(b.symbol, b.by_snapshot, b.missing) for b in report.books} == {(symbol, 0, 0) for symbol in SYMBOLS}
    assert all(book.state == "LIVE" or book.reason == "LINE_DOWN" for book in report.books)  # the goodbye is recorded
    assert report.as_json()["books"][0]["began"] is True


def test_an_imported_log_tells_nothing_of_connections(day: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{NOON} {DIFF}\n" * 3)
    (made,) = import_logs([log], tmp_path / "days")
    said = {folder: [f.text for f in check(Recording(folder)).findings] for folder in (day, made.folder)}
    assert any("connections' lives" in text for text in said[made.folder])
    assert not any("connections' lives" in text for text in said[day])


def test_an_update_that_never_came_is_lost(tmp_path: Path) -> None:
    day = recorded(tmp_path, VenueFault(kind="drop", at=40))
    report = check(Recording(day))
    (book,) = [book for book in report.books if book.reason == "GAP"]
    assert not report.whole and book.missing > 0 and book.open_since is not None
    result = CliRunner().invoke(cli.app, ["check", str(day), "--no-hash"])
    assert result.exit_code == 1 and f"{book.symbol} is STALE, GAP" in " ".join(result.output.split())


@pytest.mark.parametrize(("seconds", "lost"), [(4, False), (6, True)])
def test_a_book_whose_connections_were_down_long_before_the_end_is_lost(seconds: int, lost: bool) -> None:
    book = BookCheck(
        channel="c", symbol="BTCUSDT", state="STALE", reason="LINE_DOWN", began=True, continued=0, by_snapshot=0,
        missing=0, longest_ns=0, first=10**18, open_since=10**18,
    )  # fmt: skip
    said = list(findings([book], str, {"c": 10**18 + seconds * 10**9}))
    assert [(finding.severity, finding.at) for finding in said] == ([("lost", 10**18)] if lost else [])


def test_a_part_of_a_stream(day: Path, tmp_path: Path) -> None:
    """What came before is parsed, and does not count."""
    with Listing(day) as listing:
        entries = list(listing)
        names = listing.lines
    middle = entries[len(entries) // 2].ts_recv
    report = check(Recording(day), window=Window(middle))
    lines = {line.name: line.unsequenced for line in report.channels[0].lines}
    assert lines == {name: sum(names[e.line] == name and e.ts_recv >= middle for e in entries) for name in names}
    assert report.first_ts is not None and report.first_ts >= middle and report.whole
    seconds = (middle - entries[0].ts_recv) / 1e9
    picture = tmp_path / "rates.png"
    arguments = ["plot", str(day), "-o", str(picture), "--kind", "rates", "--from", f"+{seconds:.9f}s"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0 and picture.stat().st_size > 1000, result.output


def test_texts_as_tables(day: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = CliRunner().invoke(cli.app, ["convert", str(day), f"{tmp_path}/", "--kind", "messages"])
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = []
    for file in tmp_path.rglob("*.parquet"):
        rows += parquet.ParquetFile(file).read().to_pylist()
    with run_capture(day).handler as handler:
        types = handler.types
    assert len(rows) == sum(types.values())
    with Listing(day) as listing:
        entries = [(listing.lines[e.line], e.symbol or None, e.seq, e.wire.decode()) for e in listing]
    found = Counter((row["line"], row["symbol"], row["sequence"], row["text"]) for row in rows)
    assert not found - Counter(entries)
    assert {path.name for path in tmp_path.iterdir()} >= {"depthUpdate", "trade", "instruments"}
