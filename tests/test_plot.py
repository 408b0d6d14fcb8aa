"""Pictures of recordings: what is drawn is what a plain count gives, and it comes out as PNG and as HTML."""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_days import SYMBOLS, day, with_a_gap
from typer.testing import CliRunner

import feedhandler as fh
from feedhandler.cli import app
from feedhandler.decode import protocol
from feedhandler.errors import ConfigError
from feedhandler.listing import Entry, Listing
from feedhandler.plot import KINDS, draw
from feedhandler.plot.depth import Columns
from feedhandler.plot.panels import a_decade, round_duration
from feedhandler.receive import capture
from feedhandler.recording import Recording
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.research._measures import Measures
from feedhandler.research._sieve import Sieve
from feedhandler.session import framing
from feedhandler.simulate.files import LINES

MIDNIGHTS = np.array([0], np.int64)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lines whose packets overtake each other, some on one line only."""
    folder = tmp_path_factory.mktemp("days")
    packets = list(capture.read(day(folder / "day.pcap")))
    rows = []
    for number, (ts, target, payload) in enumerate(packets):
        line = LINES.index(target)
        if number % 41:
            rows.append((ts + (number * 7919 % 40_000 if line == 0 else 0), target, payload))
    rows.sort(key=lambda row: row[0])
    with capture.PcapWriter(folder / "mixed.pcap") as writer:
        for ts, target, payload in rows:
            writer.write(ts, payload, target)
    return folder / "mixed.pcap"


def measured(path: Path, bins: int = 64, **what: bool) -> tuple[Measures, list[Entry]]:
    with Listing(path) as listing, Listing(path) as plain:
        midnights = np.array([1767589200 * 10**9], np.int64)  # 5 January 2026, New York
        measures = Measures(len(listing.lines), midnights, bins=bins, **what)
        listing.measure(measures, lambda done: None)
        return measures, list(plain)


def test_rates_are_counts_of_messages(recorded: Path) -> None:
    measures, entries = measured(recorded, rates=True)
    assert 32 <= measures.used <= 64 and measures["messages"].sum() == len(entries)
    origin, step = measures.origin, measures.step
    counted = Counter((e.line, (e.ts_recv - origin) // step) for e in entries)
    assert {(int(i), int(k)): int(measures["messages"][i, k]) for i, k in np.argwhere(measures["messages"])} == counted
    packets = {(e.line, e.ts_recv) for e in entries}
    assert measures["packets"].sum() == len(packets)
    busy = Counter((e.line, e.ts_recv // 10**6) for e in entries)
    assert int(measures["peaks"].max()) == max(busy.values())


def median(counts: np.ndarray) -> float:
    from feedhandler.publish._publisher import histogram_ceilings

    return float(histogram_ceilings()[int(np.searchsorted(np.cumsum(counts), (counts.sum() + 1) // 2))])


def test_gaps_delays_and_leads_are_those_of_a_plain_count(recorded: Path) -> None:
    measures, entries = measured(recorded, arrivals=True, latency=True, margin=True)
    times: dict[int, list[int]] = defaultdict(list)
    for line, ts in dict.fromkeys((e.line, e.ts_recv) for e in entries):
        times[line].append(ts)
    copies: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for e in entries:
        copies[e.seq].append((e.line, e.ts_recv))
    for line in (0, 1):
        gaps = [b - a for a, b in zip(times[line], times[line][1:], strict=False)]
        assert measures["gaps"][line].sum() == len(gaps)
        assert median(measures["gaps"][line]) == pytest.approx(statistics.median_low(gaps), rel=0.04)
        delays = [
            e.ts_recv - 1767589200 * 10**9 - int(e.fields["timestamp"]) for e in entries if e.line == line and e.fields
        ]
        assert measures["delays"][line].sum() == len(delays)
        assert median(measures["delays"][line, 0]) == pytest.approx(statistics.median_low(delays), rel=0.04)
        leads = [both[1][1] - both[0][1] for both in copies.values() if len(both) > 1 and both[0][0] == line]
        assert measures["leads"][line].sum() == len(leads) > 100
        assert median(measures["leads"][line]) == pytest.approx(statistics.median_low(leads), rel=0.04)
        assert measures["alone"][line] == sum(len(both) == 1 and both[0][0] == line for both in copies.values()) > 0
    assert np.array_equal(measures["leads_over"].sum(axis=0), measures["leads"])
    assert np.array_equal(measures["delays_over"].sum(axis=0), measures["delays"])


def test_the_first_line_is_that_of_the_earlier_time_not_the_one_that_was_read_first(tmp_path: Path) -> None:
    """A recorder that finds packets in both sockets reads one socket first: the file has B's copy before A's."""
    packets = list(capture.read(day(tmp_path / "day.pcap")))
    ours = [(ts, payload) for ts, target, payload in packets if target == LINES[0]]
    with capture.PcapWriter(tmp_path / "read.pcap") as writer:
        for ts, payload in ours:
            writer.write(ts + 30_000, payload, LINES[1])
            writer.write(ts, payload, LINES[0])
    measures, entries = measured(tmp_path / "read.pcap", margin=True)
    ahead = {line: int(measures["leads"][line].sum()) for line in (0, 1)}
    winner = next(e.line for e in entries if e.ts_recv == ours[0][0])
    assert ahead == {winner: len(entries) // 2, 1 - winner: 0}
    assert median(measures["leads"][winner]) == pytest.approx(30_000, rel=0.04)


def test_what_is_longer_than_the_buckets_is_said_to_be(tmp_path: Path) -> None:
    """A simulated day, sent hours after its own clock: no latency of 68.7 s is made of it."""
    packets = list(capture.read(day(tmp_path / "day.pcap")))
    with capture.PcapWriter(tmp_path / "late.pcap") as writer:
        for ts, target, payload in packets:
            writer.write(ts + 7200 * 10**9, payload, target)
    picture = draw(Recording(tmp_path / "late.pcap"), "latency", tmp_path / "x.png")
    assert any("p50 over 68.7s, p99 over 68.7s, max over 68.7s" in s.name for p in picture.panels for s in p.series)


@pytest.mark.wire
def test_noise_is_measured_without_harm() -> None:
    table = protocol("itch50")
    queue = PacketQueue(1)
    sieve = Sieve(queue, [(framing("moldudp64"), 0, 0)], [True])
    measures = Measures(1, MIDNIGHTS, bins=2, rates=True, arrivals=True, latency=True, margin=True)
    for message in table.messages:
        measures.describe(0, ord(message.type), message.layout["timestamp"].offset, 6, True, True)
    measures.open_channel(0)
    rng = np.random.default_rng(1)
    for number in range(300):
        body = bytes(rng.integers(0, 256, int(rng.integers(0, 40)), np.uint8))
        packet = (
            b"S" * 10 + int(rng.integers(0, 2**63)).to_bytes(8, "big") + b"\0\1" + len(body).to_bytes(2, "big") + body
        )
        queue.put(0, int(rng.integers(-(2**40), 2**62)) if number % 3 else 0, packet)
        sieve.measure(measures)
    measures.finish()
    assert measures["messages"].sum() + measures.timeless >= 300
    with pytest.raises(ValueError, match="an even number of 2 to 4096 bins"):
        Measures(1, MIDNIGHTS, bins=3)


@pytest.mark.parametrize("ending", ["png", "html"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_as_png_and_as_html(recorded: Path, tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"{kind}.{ending}"
    made = draw(recorded, kind, path, symbols=["MSFT"] if kind == "depth" else [])
    assert made.panels and all(panel.series for panel in made.panels) and made.said
    content = path.read_bytes()
    if ending == "png":
        assert content.startswith(b"\x89PNG") and len(content) > 20_000
    else:
        written = json.dumps(made.title)[1:-1], made.title  # as plotly writes it without orjson, and with it
        assert b"Plotly.newPlot" in content and any(title.encode() in content for title in written)
        assert not re.findall(rb"<(?:script|link)[^>]*(?:src|href)=", content)  # it needs nothing else
    lines = {series.name.split(":")[0] for panel in made.panels for series in panel.series}
    assert lines >= ({"best bid", "best ask"} if kind == "depth" else {"A", "B"})


def test_depth_shows_the_book_at_the_end_of_each_column_and_where_it_is_stale(tmp_path: Path) -> None:
    path = with_a_gap(tmp_path / "day.pcap")
    made = draw(path, "depth", tmp_path / "depth.png", symbols=["AAPL"])
    (panel,) = made.panels
    assert panel.heat is not None and panel.heat.z.shape == (len(panel.heat.y), len(panel.heat.x)) and panel.spans
    columns = Columns()
    for events, books in fh.backtest(path, "AAPL", depth=20).batches():
        columns.add(events, books)
    last = columns.rows[max(columns.rows)]
    best = {series.name: series.y[-1] for series in panel.series}
    assert best["best bid"] == pytest.approx(last["bids"]["price"][0] / 1e9)
    total = sum(float(last[side]["size"].sum()) for side in ("bids", "asks"))
    assert 0 < np.nansum(panel.heat.z[:, -1]) <= total
    (begin, end), *_ = panel.spans
    assert panel.heat.x[0] < begin < end <= panel.heat.x[-1]
    assert "not live" in panel.span_name


def test_columns_stay_few_however_long_it_takes() -> None:
    columns = Columns()
    events = np.zeros(1, fh.EVENT)
    books = np.zeros(1, [("head", fh.BOOK), ("bids", fh.LEVEL, (1,)), ("asks", fh.LEVEL, (1,))])
    events["instrument"] = 1
    for second in range(3000):
        events["ts_event"] = second * 10**9
        books["head"]["ts_event"] = second
        columns.add(events, books)
    assert 400 < len(columns.rows) <= 1000
    assert columns.rows[max(columns.rows)]["head"]["ts_event"] == 2999
    events["ts_event"] = 10**16  # a quiet year later
    columns.add(events, books)
    assert max(columns.rows) < 1000


def test_what_bears_no_time_of_the_exchange_stands_where_it_was_received() -> None:
    """As the rows of a REST snapshot; receipt is 5 s behind the exchange's clock."""
    columns = Columns()
    events = np.zeros(4, fh.EVENT)
    books = np.zeros(4, [("head", fh.BOOK), ("bids", fh.LEVEL, (1,)), ("asks", fh.LEVEL, (1,))])
    events["instrument"] = 1
    events["ts_event"] = [0, 1_000_000_100, 0, 1_200_000_100]
    events["ts_recv"] = [6_000_000_000, 6_000_000_100, 6_100_000_000, 6_200_000_100]
    columns.add(events[:3], books[:3])
    columns.add(events[3:], books[3:])
    assert (columns.origin, sorted(columns.rows), columns.step) == (1_000_000_000, [0, 100, 200], 1_000_000)


@pytest.mark.parametrize("kind", ["depth", "rates"])
def test_a_damaged_recording_is_drawn_up_to_the_damage(recorded: Path, tmp_path: Path, kind: str) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(recorded.read_bytes()[:-50_000])
    done = CliRunner().invoke(
        app, ["plot", str(cut), "--kind", kind, "--symbols", "AAPL", "-o", str(tmp_path / "x.png")]
    )
    assert done.exit_code == 1 and isinstance(done.exception, fh.CaptureError)
    assert done.stderr.endswith("x.png\n") and (tmp_path / "x.png").exists()


def test_the_command_writes_where_it_is_told_and_says_what_it_drew(recorded: Path, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> Any:
        return CliRunner().invoke(app, ["plot", *map(str, arguments)], catch_exceptions=True)

    out = tmp_path / "rates.svg"
    done = run(recorded, "--kind", "rates", "-o", out, "--from", "+5s", "--to", "+10s", "--symbols", "AAPL,MSFT")
    assert done.exit_code == 0 and done.stderr.endswith(f"written: {out}\n") and b"<svg" in out.read_bytes()
    assert " messages in " in done.stderr
    for arguments, sentence in (
        (["--kind", "heat"], "'heat' is not one of depth, rates"),
        (["--kind", "depth", "-o", tmp_path / "d.png"], "depth is drawn of one symbol, 0 are named"),
        (["--kind", "rates", "-o", tmp_path / "d.doc"], "name it .png, .svg, .pdf or .html"),
        (["--kind", "rates", "-o", tmp_path / "no" / "d.png"], "make it first"),
        (["--kind", "depth", "--symbols", "MSFTX", "-o", tmp_path / "d.png"], "no 'MSFTX' among the 4"),
        (
            ["--kind", "rates", "--symbols", "MSFTX", "-o", tmp_path / "d.png"],
            "there is no message in what was asked for",
        ),
    ):
        failed = run(recorded, *arguments)
        assert failed.exit_code != 0 and sentence in failed.stderr + str(failed.exception), arguments
    assert not (tmp_path / "d.png").exists()


@pytest.mark.real_data
def test_what_cannot_be_drawn_is_told_of(tmp_path: Path, recorded: Path, shared_data: Path) -> None:
    itch = shared_data / "itch50" / "derived" / "bats-part1.itch.gz"
    assert (
        draw(itch, "rates", tmp_path / "r.png", start="08:01", end="08:02").title == "Message rates, bats-part1.itch.gz"
    )
    assert draw(itch, "depth", tmp_path / "d.png", symbols=["DIA"]).panels[0].x.label.startswith("time, the exchange's")
    with pytest.raises(ConfigError, match="the book of SPY is empty all the time"):
        draw(shared_data / "iex" / "DEEP10-20170425-12-sessions.pcap.gz", "depth", tmp_path / "x.png", symbols=["SPY"])
    for kind in ("latency", "margin", "interarrival"):
        with pytest.raises(ConfigError, match=f"no times of receipt: of those, {kind} is made"):
            draw(itch, kind, tmp_path / "x.png")
    alone = tmp_path / "alone.pcap"
    with capture.PcapWriter(alone) as writer:
        for ts, target, payload in capture.read(recorded):
            if target == LINES[0]:
                writer.write(ts, payload, target)
    with pytest.raises(ConfigError, match="no message came on two lines"):
        draw(Recording(alone), "margin", tmp_path / "x.png")
    assert len(SYMBOLS) == 4 and not (tmp_path / "x.png").exists()


def test_ticks_are_written_as_people_say_them() -> None:
    assert [round_duration(v) for v in (1, 50, 1e3, 2e5, 1e6, 5e8, 1e9, 6e10)] == [
        "1 ns", "50 ns", "1 µs", "200 µs", "1 ms", "500 ms", "1 s", "60 s",
    ]  # fmt: skip
    low, high = a_decade(50.0, 60.0)
    assert high == pytest.approx(10 * low) and low < 50 < 60 < high


@pytest.mark.usefixtures("without_matplotlib")
def test_without_the_libraries_one_sentence_says_how_to_get_them(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"plot: a .png needs matplotlib.* pip install 'feedhandler\[plot\]'"):
        draw(recorded, "rates", tmp_path / "r.png")
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ConfigError, match=r"plot: a .html needs plotly.* pip install 'feedhandler\[plot\]', or name a"):
        draw(recorded, "rates", tmp_path / "r.html")
