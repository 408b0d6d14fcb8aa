"""feedhandler lines: which line wins, by how much, what each loses; and the same figures in top."""

import json
import os
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_cli import eighty_columns, run  # noqa: F401

from feedhandler.counters import CHANNEL, LINE
from feedhandler.handler import open_capture, play
from feedhandler.publish import Publisher, Segment
from feedhandler.read import attach
from feedhandler.records import Quality, Reason
from feedhandler.scoreboard import LINE_STATES
from feedhandler.simulate import Exchange, Faults, write
from feedhandler.top import draw, take

SECOND = 1_000_000_000


def count(record: Any, table: Any, **counters: int) -> None:
    """Set counters by their names."""
    for place, counter in enumerate(table):
        if counter.name in counters:
            record["counters"][place] = counters.pop(counter.name)
    assert not counters


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """A channel that is being mended; A won three of four messages, B has been silent for three seconds."""
    with Segment.create("nasdaq", dir=tmp_path, lines=2, instruments=4, ring_events=64) as made:
        now = time.time_ns()
        channel = made.channels[0]
        channel["name"], channel["protocol"], channel["session"] = b"itch", b"itch50", b"SIMULATED"
        channel["quality"], channel["reason"] = Quality.RECOVERING, Reason.GAP
        channel["since"], channel["next_seq"] = now - 2 * SECOND, 12_345_678
        count(channel, CHANNEL, messages=40_000, gaps=12, missing=345, recovered=300, lost=45)
        figures: dict[str, int]
        for number, (won, state, age) in enumerate(((30_000, "UP", 0), (10_000, "SILENT", 3 * SECOND))):
            line = made.lines[number]
            line["name"], line["state"] = b"AB"[number : number + 1], LINE_STATES.index(state)
            line["last_packet"] = now - age
            figures = {"won": won, "missing": 77, "duplicates": 1234, "ahead": 55, "too_late": 6, "late": 1}
            count(line, LINE, **figures)
            lead = made.histograms[4 + number]
            lead["count"], lead["maximum"] = 100, 9_000_000
            lead["buckets"][200 + number], lead["buckets"][300] = 90, 10
        yield made


def test_the_score_as_json(segment: Segment, tmp_path: Path) -> None:
    for arguments in (("nasdaq",), ()):
        done = run("lines", *arguments, "--dir", tmp_path, "--once", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        score = json.loads(done.stdout)
        assert (score["name"], score["writer"]) == ("nasdaq", "RUNNING")
        (channel,) = score["channels"]
        assert (channel["state"], channel["reason"]) == ("RECOVERING", "GAP")
        assert score["taken"] - channel["since"] >= 2 * SECOND
        assert {name: channel["counters"][name] for name in ("gaps", "missing", "recovered", "lost")} == {
            "gaps": 12,
            "missing": 345,
            "recovered": 300,
            "lost": 45,
        }
        a, b = score["lines"]
        assert (a["won_share"], b["won_share"]) == (0.75, 0.25)
        assert (a["silent_since"], b["silent_since"]) == (0, b["last_packet"])
        assert a["lead_count"] == 100
        assert 0 < a["lead_p50"] < b["lead_p50"] < a["lead_p99"] == b["lead_p99"]
        assert [b["counters"][name] for name in ("missing", "duplicates", "ahead", "too_late", "late")] == [
            77,
            1234,
            55,
            6,
            1,
        ]


def test_the_score_as_a_page_of_80_columns(segment: Segment, tmp_path: Path) -> None:
    page = run("lines", "nasdaq", "--dir", tmp_path, "--once").stdout
    assert max(map(len, page.splitlines())) <= 80
    rows = [line.split() for line in page.splitlines()]
    assert ["itch", "RECOVERING", "gap"] in [row[:3] for row in rows]
    assert ["B", "SILENT", "10.0k", "25.0%"] in [row[:4] for row in rows]
    assert next(row for row in rows if row[:2] == ["B", "SILENT"])[-1].startswith("3.")
    with attach("nasdaq", dir=tmp_path) as feed:
        console = Console(file=StringIO(), width=80)
        console.print(draw(take(feed)))
        text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert "RECOVERING gap 2." in text
    assert "75.0%" in text


def test_the_score_of_a_capture_whose_second_line_lies_behind(tmp_path: Path) -> None:
    """As files have it, B comes 20 µs after A; and each line loses one packet in twenty of its own."""
    day, name = tmp_path / "day.pcapng", f"test-lines-{os.getpid()}"
    faults = Faults.parse("[all]\nloss = 0.05\n")
    write(day, Exchange(symbols=4, messages=8000, seed=3), faults=faults, seed=1)
    with open_capture(day, name=name, orders=10_000, instruments=64) as handler:
        assert play(handler) is None
        score = json.loads(run("lines", name, "--once", "--json").stdout)
    a, b = score["lines"]
    assert 0.9 < a["won_share"] < 0.99
    assert a["won_share"] + b["won_share"] == 1
    assert a["counters"]["won"] + b["counters"]["won"] == score["channels"][0]["counters"]["messages"]
    assert 19_000 <= a["lead_p50"] <= a["lead_p99"] <= 21_500  # buckets are at most 1/32 of their value wide
    assert (a["lead_count"] > 0, b["lead_count"]) == (True, 0)  # what B won, A had lost
    assert min(a["counters"]["missing"], b["counters"]["missing"]) > 100


def test_which_handler_is_meant(segment: Segment, tmp_path: Path) -> None:
    with Segment.create("bats", dir=tmp_path, instruments=4, ring_events=64):
        done = run("lines", "--dir", tmp_path, "--once")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"feedhandler: 2 handlers run in {tmp_path}: say which, bats or nasdaq\n"
    empty = tmp_path / "empty"
    done = run("lines", "--dir", empty, "--once")
    assert done.stderr.startswith(f"feedhandler: {empty}: cannot be read: No such file")
    empty.mkdir()
    done = run("lines", "--dir", empty, "--once")
    assert done.stderr.startswith(f"feedhandler: no handler runs in {empty}: start one")


def test_the_score_of_a_handler_that_freezes_and_stops(segment: Segment, tmp_path: Path, processes: Any) -> None:
    child = processes.feedhandler("lines", "nasdaq", "--dir", tmp_path, "--json", "--interval", "0.05")
    assert json.loads(child.stdout.readline())["writer"] == "RUNNING"
    Publisher(segment.memory).heartbeat(time.monotonic_ns() - 4 * SECOND)
    while (frozen := json.loads(child.stdout.readline()))["writer"] != "FROZEN":
        pass
    (channel,) = frozen["channels"]
    assert (channel["state"], channel["reason"]) == ("STALE", "SILENT")
    assert 3 * SECOND < frozen["taken"] - channel["since"] < 60 * SECOND
    segment.close()
    out, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["writer"], last["channels"][0]["reason"]) == ("STOPPED", "STOPPED")
