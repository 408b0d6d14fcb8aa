"""WebSocket channels recorded live, over TLS: what the venue sent, what REST answered, how the connections did."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feedhandler import cli, config
from feedhandler.config import Config
from feedhandler.errors import RecordingError
from feedhandler.listing import Entry, Listing
from feedhandler.record import Recorder
from feedhandler.recording import Recording, manifest
from feedhandler.simulate.venues import serve
from tests.feeds import soup

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def feed(venue: Any, lines: int = 2) -> Config:
    document = f"""
[shm]
name = "crypto"
[record]
buffer_bytes = 8388608
sync = 0.05
[[channel]]
name = "spot"
protocol = "binance"
symbols = {json.dumps(list(venue.symbols))}
rest = "{venue.rest}"
"""
    for name, url in list(zip("AB", venue.urls, strict=False))[:lines]:
        document += f'[[channel.line]]\nname = "{name}"\nurl = "{url}"\nca = "{venue.ca}"\n'
    return config.parse(document)


def listed(day: Path) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    with Listing(day) as listing:
        for entry in listing:
            found.setdefault(listing.lines[entry.line], []).append(entry)
        assert listing.refused == 0
    return found


def test_two_lines_and_their_control_line(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    with serve("binance", SYMBOLS, ping_s=0.2, rate=400) as venue:
        with Recorder(feed(venue), tmp_path) as recorder:
            recorder.start()
            wait_for(lambda: recorder.status().packets > 300 and venue.stats["pongs"] >= 2, what="texts and pongs")
        assert recorder.error is None and not recorder.notes.since(0)[1]
    (day,) = tmp_path.iterdir()
    kept = manifest.load(day)
    assert kept.complete and [line.name for line in kept.channels[0].lines] == ["A", "B", "control"]
    assert kept.channels[0].session == "websocket" and not kept.channels[0].gaps
    found = listed(day)
    assert not any(entry.fault for entries in found.values() for entry in entries)
    control = [json.loads(entry.wire) for entry in found["control"]]
    assert control[0]["rest"] == "instruments" and {each["symbol"] for each in control[0]["body"]} == set(SYMBOLS)
    assert sorted(each["symbol"] for each in control if each.get("rest") == "depth") == SYMBOLS
    states = [(each["line"], each["from"], each["life"]) for each in control if "life" in each]
    assert {line: [state for number, _, state in states if number == line][-1] for line in (0, 1)} in (
        {0: "CONNECTED", 1: "CONNECTED"},
        {0: "DISCONNECTED", 1: "DISCONNECTED"},
    )
    for symbol in SYMBOLS:  # updates of each line follow each other without a gap
        for line in "AB":
            updates = [json.loads(entry.wire) for entry in found[line] if (entry.type, entry.symbol) == ("D", symbol)]
            updates = [update.get("data", update) for update in updates]
            assert len(updates) > 3
            assert all(b["U"] == a["u"] + 1 for a, b in itertools.pairwise(updates))
    result = CliRunner().invoke(cli.app, ["check", str(day)])
    assert result.exit_code == 0 and "bad packet" not in result.output, result.output


def test_a_connection_that_is_cut_is_taken_up_again(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    """A connection of its own in the file, and its snapshots again."""
    with serve("binance", SYMBOLS[:1], rate=400) as venue, Recorder(feed(venue, lines=1), tmp_path) as recorder:
        recorder.start()
        wait_for(lambda: recorder.status().packets > 50, what="texts")
        venue.cut()
        wait_for(lambda: venue.stats["connections"] >= 2, what="another connection")
        before = recorder.status().packets
        wait_for(lambda: recorder.status().packets > before + 50, what="more texts")
    (day,) = tmp_path.iterdir()
    recording = Recording(day)
    with recording.receiver() as receiver:
        receiver.drain()
        assert receiver.error is None
        assert [receiver.line_status(line)["connections"] for line in range(2)] == [2, 1]
    found = listed(day)
    kinds = Counter(entry.type for entry in found["control"])
    states = Counter(json.loads(entry.wire).get("life") for entry in found["control"])
    assert kinds["S"] >= 2 and states["CONNECTED"] == 2, (kinds, states)
    assert not any(entry.fault for entries in found.values() for entry in entries)


def test_streams_of_two_kinds_are_recorded_apart(tmp_path: Path) -> None:
    with serve("binance", SYMBOLS[:1], rate=0) as venue:
        mixed = config.parse(soup(1))
        both = feed(venue)
        from dataclasses import replace

        with pytest.raises(RecordingError, match="either WebSocket channels or other streams"):
            Recorder(replace(both, channels=(*both.channels, *mixed.channels)), tmp_path)
