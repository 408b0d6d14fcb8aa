"""A simulated day as a capture, and recorded files onto the wire again."""

import datetime
import struct
import threading

import pytest
from simulated_book import blocks
from test_simulate_multicast import MARKET, day, listeners, run, unwrap
from test_simulate_soup import Client

from feedhandler.decode.session_date import midnight
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive import capture
from feedhandler.receive._frame import parse
from feedhandler.simulate import Exchange, MulticastSender, Replayer, SoupServer, write
from feedhandler.simulate.faults import Faults, LineFault

__all__ = ["listeners"]
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


def test_a_capture_s_packets_are_sent_again_as_they_were(tmp_path, listeners):
    path = tmp_path / "day.pcap"
    write(path, Exchange(**QUICK), lines=LINES)
    want = [[data for _, target, data in capture.read(path) if target == line] for line in LINES]
    sender = MulticastSender([s.getsockname() for s in listeners], speed=2)
    got: list[list[bytes]] = [[], []]

    def receive(line: int) -> None:
        got[line] += [listeners[line].recv(2000) for _ in want[line]]

    threads = [threading.Thread(target=receive, args=(line,)) for line in (0, 1)]
    for t in threads:
        t.start()
    Replayer(path, lines=LINES).send(sender)
    for t in threads:
        t.join(10)
    assert got == want
    assert [line["packets"] for line in sender.stats["lines"]] == [len(side) for side in want]


def test_a_binary_file_s_messages_are_sent_in_packets(tmp_path, listeners):
    path = tmp_path / "day.itch.gz"
    write(path, Exchange(**QUICK))
    _, got = run(listeners[:1], Replayer(path).messages(), rate=100_000)
    assert unwrap(got[0]) == day(**QUICK)


@pytest.mark.parametrize("name", ["day.itch", "day.pcapng.zst"])
def test_a_file_s_messages_are_served_over_soupbintcp(tmp_path, name):
    write(tmp_path / name, Exchange(**QUICK))
    server = SoupServer()
    thread = threading.Thread(target=Replayer(tmp_path / name).serve, args=(server,))
    thread.start()
    assert Client(server.port).rest() == day(**QUICK)
    thread.join(10)


def test_what_a_capture_lacks_is_counted_and_damage_is_told(tmp_path):
    path = tmp_path / "day.itch"
    write(path, Exchange(**QUICK))
    path.write_bytes(path.read_bytes()[:-10])
    server = SoupServer()
    with pytest.raises(CaptureError):
        server_thread = threading.Thread(target=lambda: Client(server.port).rest())
        server_thread.start()
        Replayer(path).serve(server)
    server_thread.join(10)
    assert server.stats["messages"] == 2999
    with capture.PcapWriter(tmp_path / "holes.pcap") as file:
        for number in (5, 5, 9):
            packet = struct.pack(">10sQHH3s", b"S1", number, 1, 3, b"abc")
            file.write(0, packet, LINES[0])
    source = Replayer(tmp_path / "holes.pcap").messages()
    client = SoupServer()
    thread = threading.Thread(target=client.run, args=(source,))
    thread.start()
    assert Client(client.port).rest() == [b"abc", b"abc"]
    thread.join(10)
    assert (source.missing, source.duplicates) == (3, 1)


def test_rate_is_not_for_packets(tmp_path):
    write(tmp_path / "day.pcap", Exchange(**QUICK))
    with pytest.raises(ConfigError, match="paced by speed"):
        Replayer(tmp_path / "day.pcap").send(MulticastSender(rate=5))


def test_senders_are_used_once():
    sender, server = MulticastSender(), SoupServer(clients=0)
    sender.run(Exchange(**QUICK))
    server.run(Exchange(**QUICK))
    for used in (sender, server):
        with pytest.raises(ConfigError, match="make another one"):
            used.run(Exchange(**QUICK))
