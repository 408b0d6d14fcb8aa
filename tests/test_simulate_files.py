"""A simulated day as a capture."""

import datetime

import pytest
from simulated_book import blocks
from test_simulate_multicast import MARKET, day, unwrap

from feedhandler.decode.session_date import midnight
from feedhandler.errors import ConfigError
from feedhandler.receive import capture
from feedhandler.receive._frame import parse
from feedhandler.simulate import Exchange, MulticastSender, SoupServer, write
from feedhandler.simulate.faults import Faults, LineFault

HOUR = 3600 * 10**9
QUICK = {**MARKET, "duration_s": 1}
LINES = [("239.1.1.1", 4001), ("239.1.1.2", 4002)]


@pytest.mark.parametrize("ending", ["pcap", "pcapng.zst"])
def test_a_capture_holds_the_same_session_on_both_lines(tmp_path, ending):
    path, seen = tmp_path / f"day.{ending}", []
    date = datetime.date(2025, 7, 1)
    written = write(path, Exchange(**MARKET), seen.append, lines=LINES, skew_us=30, session="S1", mtu=600, date=date)
    assert written == 3000 and seen[-1] == 3000
    packets = list(capture.read(path))
    assert [ts for ts, _, _ in packets] == sorted(ts for ts, _, _ in packets)
    sides = [[(ts, data) for ts, target, data in packets if target == line] for line in LINES]
    for side in sides:
        assert unwrap(side, b"S1        ") == day(**MARKET)
        assert max(len(data) for _, data in side) <= 600
    assert [(ts + 30_000, data) for ts, data in sides[0]] == sides[1]
    opening = midnight(date, "America/New_York")
    for ts, data in sides[0]:
        for message in blocks(data[20:]):
            assert ts - 50_000 <= opening + int.from_bytes(message[5:11], "big") <= ts
    gaps = [b - a for (a, _), (b, _) in zip(sides[0], sides[0][1:], strict=False)]
    assert max(gaps) <= 10**9 + 50_000  # heartbeats when idle


def test_frames_with_a_wrong_checksum_stand_in_a_capture_as_they_are(tmp_path):
    """As the AF_XDP receiver's parser sees them, which counts them as bad_frames where it checks."""
    path = tmp_path / "day.pcap"
    write(path, Exchange(**QUICK), lines=LINES, faults=Faults(all=LineFault(wrong_checksum=0.1)))
    data, at, verdicts = path.read_bytes(), 24, []
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        frame = data[at + 16 : at + 16 + size]
        assert parse(frame)[0] == "ok"
        verdicts.append(parse(frame, check_udp_checksum=True)[0])
        at += 16 + size
    assert set(verdicts) == {"ok", "udp_checksum"}
    assert 0.05 < verdicts.count("udp_checksum") / len(verdicts) < 0.15


def test_the_same_day_gives_the_same_capture(tmp_path):
    for name in ("a.pcapng.zst", "b.pcapng.zst"):
        write(tmp_path / name, Exchange(**QUICK))
    assert (tmp_path / "a.pcapng.zst").read_bytes() == (tmp_path / "b.pcapng.zst").read_bytes()


def test_senders_are_used_once():
    sender, server = MulticastSender(), SoupServer(clients=0)
    sender.run(Exchange(**QUICK))
    server.run(Exchange(**QUICK))
    for used in (sender, server):
        with pytest.raises(ConfigError, match="make another one"):
            used.run(Exchange(**QUICK))
