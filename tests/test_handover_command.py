"""feedhandler run --from DAY, beside a recorder that is at work."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from test_cli import run

from feedhandler import attach, records
from feedhandler.errors import FeedError
from feedhandler.news import News
from feedhandler.records import Quality, Reason
from feedhandler.top import take
from tests.feeds import multicast


def test_run_plays_a_recording_and_goes_on_with_the_feed(
    tmp_path: Path, multicast_group: str, free_udp_port: int, processes: Any, wait_for: Any
) -> None:
    name = f"test-from-{os.getpid()}"
    second = multicast_group.replace("239.", "238.", 1)
    feed = tmp_path / "feed.toml"
    targets = [(group, free_udp_port) for group in (multicast_group, second)]
    tables = '[books]\ninstruments = 64\norders = 20_000\n[handler]\nbackend = "sockets"\n[record]\nsync = 0.02'
    feed.write_text(multicast(targets, tables, name=name, keys="date = 2026-11-20\n"))
    day = tmp_path / "days"
    day.mkdir()
    recorder = processes.feedhandler("record", feed, "--to", day)
    wait_for(lambda: list(day.glob("*/manifest.json")), what="the recorder")
    groups = [f"--group={group}:{free_udp_port}" for group in (multicast_group, second)]
    sender = processes.feedhandler("simulate", "--symbols", "3", "--messages", "2000000", "--rate", "10000", *groups)
    wait_for(lambda: any(f.stat().st_size > 100_000 for f in day.glob("*/*.pcapng*")), what="a part of the day")
    said = tmp_path / "said"
    with said.open("w") as log:
        handler = processes.feedhandler("run", feed, "--from", day, "--memory", "32", stderr=log)
    wait_for(lambda: "caught up with the live feed" in said.read_text(), what="the present")

    def there() -> Any:
        try:
            return attach(name)
        except FeedError:
            return None

    with wait_for(there, what="the segment") as shown:
        wait_for(lambda: "packets on every line" in said.read_text(), what="live packets")
        _, told = processes.stop(sender)
        sent = int(re.findall(r"sent ([\d,]+) messages", told)[-1].replace(",", ""))
        wait_for(lambda: take(shown).channels[0].counters["messages"] == sent, what=f"all {sent} messages")
        view = take(shown)
        assert view.channels[0].counters["missing"] == 0
        assert view.channels[0].state == "LIVE"
    processes.stop(recorder)
    processes.stop(handler)
    words = said.read_text()
    assert handler.returncode == 0
    assert re.search(r"the recording is played: [\d,]+ packets in [\d.]+ s, then [\d,]+ of [\d,]+ that came", words)
    assert re.search(r"caught up with the live feed in [\d.]+ s: [\d,]+ recorded packets, [\d,]+ kept", words)
    assert "timestamps: itch/A kernel, itch/B kernel" in words
    checked = run("run", feed, "--check", "--from", day)
    assert checked.stderr.endswith("the recording has itch/A for itch/A, itch/B for itch/B\n")
    assert f"stopped after {sent:,} messages; {name} is gone" in words


def test_what_run_cannot_play_is_said_in_a_sentence(tmp_path: Path) -> None:
    feed = tmp_path / "feed.toml"
    feed.write_text(run("run", "--example").stdout)
    empty = tmp_path / "day"
    empty.mkdir()
    done = run("run", feed, "--from", empty)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert run("run", feed, "--from", tmp_path / "nowhere").returncode == 2
    assert run("run", feed, "--from", empty, "--memory", "0").returncode == 2


def test_a_channel_that_has_caught_up_is_said_to_be_live() -> None:
    channels = np.zeros(1, records.CHANNEL)
    channels["name"], channels["quality"], channels["reason"] = b"itch", Quality.INIT, Reason.START
    news = News(channels)
    heard = []
    for quality, reason in ((Quality.RECOVERING, Reason.CATCHING_UP), (Quality.LIVE, Reason.NONE)):
        channels["quality"][0], channels["reason"][0] = quality, reason
        heard += news.look() + news.look()
    assert heard == ["channel itch: RECOVERING, CATCHING_UP", "channel itch: caught up, LIVE"]
