"""feedhandler check on TCP streams: logins that go on, streams with holes, what the recorder writes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feedhandler import config, simulate
from feedhandler.check import DayReport, check, recordings
from feedhandler.record import Recorder
from tests import feeds
from tests.background import beside
from tests.test_recording_streams import CLIENT, FIN, RST, SYN, frame, login, messages, soup, streamed, write

AGAIN = (CLIENT[0], CLIENT[1] + 1)


def checked(path: Path) -> DayReport:
    (recording,) = recordings([path])
    return check(recording)


def captured(path: Path, *, resumes_at: int = 31, hole: bool = False, ends: bool = True) -> Path:
    """Thirty messages, broken off; then twenty more from `resumes_at`, and the end of the session."""
    one = login(1) + messages(1, 30)
    two = login(resumes_at) + messages(resumes_at, 20) + (soup(b"Z") if ends else b"")
    last = streamed(two)
    if hole:
        del last[3]
    frames = [frame(s) for s in [(0, SYN, b""), *streamed(one), (1 + len(one), RST, b"")]]
    frames += [frame(s, client=AGAIN) for s in [(0, SYN, b""), *last, *([] if hole else [(1 + len(two), FIN, b"")])]]
    write(path, frames)
    return path


def test_a_session_that_goes_on_after_another_login_is_whole(tmp_path: Path) -> None:
    report = checked(captured(tmp_path / "x.pcap"))
    (channel,) = report.channels
    assert (channel.messages, channel.lost, channel.session_count, channel.lines[0].duplicates) == (50, 0, 1, 0)
    assert report.strictly_whole, report.findings
    assert channel.sessions[0].ended is not None


@pytest.mark.parametrize(("resumes_at", "lost", "duplicates"), [(35, 4, 0), (21, 0, 10)])
def test_what_a_login_leaves_out_is_lost_and_what_it_repeats_is_not(
    resumes_at: int, lost: int, duplicates: int, tmp_path: Path
) -> None:
    report = checked(captured(tmp_path / "x.pcap", resumes_at=resumes_at))
    (channel,) = report.channels
    assert (channel.lost, channel.lines[0].duplicates) == (lost, duplicates)
    assert report.whole is (lost == 0)


def test_a_hole_in_a_stream_that_nothing_follows_is_a_loss(tmp_path: Path) -> None:
    report = checked(captured(tmp_path / "x.pcap", hole=True))
    assert not report.whole
    (finding,) = (finding for finding in report.findings if finding.severity == "lost")
    assert finding.text == "50 bytes of its stream are missing at byte 150: what came behind them cannot be read"
    assert report.verdict.startswith("x.pcap: NOT whole: 50 bytes of its stream are missing")


@pytest.mark.parametrize("record", ["", "rotate_bytes = 300000"])
def test_a_recorded_stream_is_as_its_manifest_says(record: str, tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer()
    market = simulate.Market(symbols=12, messages=20_000, seed=7)
    settings = config.parse(feeds.soup(server.port, f"[record]\n{record}"))
    with Recorder(settings, tmp_path) as recorder, beside(lambda: server.run(simulate.Exchange(market)), server.stop):
        recorder.start()
        wait_for(lambda: recorder.wait_quietly(0), what="the end of the session")
    (folder,) = tmp_path.iterdir()
    report = checked(folder)
    assert report.strictly_whole, report.findings
    assert (report.messages, report.manifest, {file.state for file in report.files}) == (20_000, True, {"whole"})
    assert (len(report.files) > 1) is bool(record)
