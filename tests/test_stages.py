"""bench websocket: the stages of each text add up, the book is right, allocations are counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from feedhandler import cli
from feedhandler.stages import STAGES, Load, Report, venue

SAID = {"texts": 4, "wall_ns": 10**6, "allocations": 0, "tls": "TLSv1.3", "clock_ns": 25.0}


def test_a_short_run_as_json_and_as_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "stages.html"
    words = ["bench", "websocket", "--messages", "2000", "--rate", "2000", "--levels", "5", "--json"]
    result = CliRunner().invoke(cli.app, [*words, "--plot", str(path)])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["levels"] == 5 and list(said["loads"]) == ["light", "heavy"]
    for load in said["loads"].values():
        assert list(load["stages"]) == [*STAGES, "whole"]
        assert all(0 < each["p25"] <= each["p50"] <= each["p99"] for each in load["stages"].values())
        assert load["texts"] >= 200 and load["events"] == 10 * load["texts"] and load["others"] == 0
        assert load["channel_seq"] >= venue.FIRST + load["texts"]
        if "LD_PRELOAD" not in os.environ:  # a sanitizer counts for itself
            assert load["allocations"] == 0, load
    assert "TLS to book" in path.read_text()


def test_the_table_and_percentiles() -> None:
    rows = np.array([[10, 1, 2, 3, 4]] * 2 + [[20, 1, 2, 3, 4]] * 2, np.uint32)
    report = Report(20, {"light": Load("light", 1000.0, rows, SAID), "heavy": Load("heavy", 0.0, rows, SAID)})
    assert report.loads["light"].percentiles("whole")[1] == 25
    assert report.loads["heavy"].percentiles("TLS") == (10.0, 15.0, 20.0)
    assert report.loads["heavy"].per_message == 0
    assert [len(panel.series) for panel in report.picture().panels] == [6, 6]
    assert "heap allocations under light load: 0 in 4 texts" in report.sentences()


def test_allocations_are_counted_where_it_is_preloaded() -> None:
    from feedhandler.stages import _allocations

    program = (
        "from feedhandler.stages import _allocations as a\n"
        "before = a.so_far(); kept = [bytearray(5000) for _ in range(100)]; print(a.counted(), a.so_far() - before)"
    )
    for preload, expected in (({"LD_PRELOAD": str(_allocations.__file__)}, "True"), ({}, "False")):
        if "LD_PRELOAD" in os.environ:
            pytest.skip("a sanitizer's library is preloaded")
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **preload}, capture_output=True, text=True, check=True
        )
        counted, found = done.stdout.split()
        assert counted == expected
        assert (int(found) >= 100) == (expected == "True")


def test_wrong_use(tmp_path: Path) -> None:
    log = tmp_path / "x.pcap"
    log.write_bytes(b"")
    assert CliRunner().invoke(cli.app, ["bench", "websocket", str(log)]).exit_code == 2
    assert CliRunner().invoke(cli.app, ["bench", "websocket", "--messages", "1"]).exit_code == 2


def test_the_venue_s_texts_follow_each_other() -> None:
    block = venue._Block(3)
    block.number(venue.FIRST + 5 * venue.TEXTS)
    numbers = []
    for framed in block.texts():
        text = bytes(framed)
        text = text[text.index(b"{") :]
        said = json.loads(text)
        assert said["U"] == said["u"] and len(said["b"]) == len(said["a"]) == 3
        assert max(float(price) for price, _ in said["b"]) < min(float(price) for price, _ in said["a"])
        numbers.append(said["u"])
    assert numbers == list(range(venue.FIRST + 5 * venue.TEXTS, venue.FIRST + 6 * venue.TEXTS))
    assert json.loads(venue.snapshot())["lastUpdateId"] == venue.FIRST - 1
