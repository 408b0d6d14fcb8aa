"""What a rehearsal says, and where its packets come from."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from feedhandler import rehearse
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.receive.capture import BinaryFileWriter, PcapWriter
from feedhandler.rehearse import Gap, LineCounts, Period, Report, WrongBook
from feedhandler.rehearse.plot import plot
from feedhandler.rehearse.report import duration, percentile
from feedhandler.rehearse.wire import Wire
from feedhandler.simulate import Exchange, write
from tests.rehearsal import day

MS = 1_000_000


def report(**more: Any) -> Report:
    gaps = [Gap(100 * n, 5, n * MS, n * MS + n * MS, "retransmission") for n in range(1, 101)]
    gaps += [Gap(7, 1, 0, 3 * MS, "other_line"), Gap(9, 2, 0, 900 * MS, "given_up")]
    periods = [Period("RECOVERING", "GAP", 0, 5 * MS), Period("STALE", "GAP", 10 * MS, 30 * MS)]
    lines = [LineCounts(10, 6, 4, 2, 0), LineCounts(10, 4, 6, 1, 1)]
    given: dict[str, Any] = {"gaps": gaps, "periods": periods, "lines": lines, "lost_messages": 2, "equal": ["A", "B"]}
    return Report("a day", 7, **(given | more))


WRONG = WrongBook(
    *("ACME", "DAY", 0, 1_234, "bid", 2),
    ([(20_000_000_000, 10, 1), (19_000_000_000, 5, 1)], []),
    ([(20_000_000_000, 10, 1), (19_000_000_000, 6, 1)], []),
    -9,
    4,
)


def drawn(shown: Report) -> str:
    out = StringIO()
    Console(file=out, width=100, highlight=False).print(rehearse.draw(shown))
    return out.getvalue()


def test_the_numbers_for_programs() -> None:
    found = json.loads(json.dumps(report().as_json()))
    assert (found["gaps"], found["recovered"], found["lost"], found["wrong_live"]) == (102, 101, 1, 0)
    assert found["filled"]["retransmission"] == 100 and found["filled"]["other_line"] == 1
    assert found["recovery_ms"] == {"p50": 50.0, "p99": 99.0, "max": 100.0}
    assert found["not_live"][1] == {"quality": "STALE", "reason": "GAP", "from_ms": 10.0, "ms": 20.0}
    assert found["first_wrong"] is None and found["lost_messages"] == 2


def test_the_page_for_people() -> None:
    page = drawn(report())
    assert "100 by retransmission" in page and "p50 50 ms, p99 99 ms, max 100 ms" in page
    assert "1 × STALE (GAP), 20 ms" in page


def test_a_wrong_book_is_shown_beside_the_right_one_with_the_seed() -> None:
    wrong = report(wrong_live=3, first_wrong=WRONG)
    page = drawn(wrong)
    assert "ACME was LIVE and wrong at number 1,234 of session DAY, first at bid 2" in page and "--seed 7" in page
    assert "5 @ 19.0000 (1)" in page and "6 @ 19.0000 (1)" in page
    assert not wrong.ok and wrong.as_json()["first_wrong"]["level"] == 2


def test_what_is_whole() -> None:
    assert report().whole
    assert not report(not_live=["A"]).whole
    assert report(not_live=["A"], stale_without_faults=["A"]).whole
    assert not report(wrong_at_end=["A"]).ok


def test_percentiles_and_durations() -> None:
    assert [percentile([], 0.5), percentile([4], 0.99), percentile([1, 2, 3, 4], 0.5)] == [0, 4, 2]
    assert [duration(n) for n in (5, 5_000, 1_234_567, 2_500_000_000)] == ["5 ns", "5 µs", "1.23 ms", "2.5 s"]


def test_a_plot_is_a_picture(tmp_path: Path) -> None:
    plot(report(), tmp_path / "gaps.png")
    assert (tmp_path / "gaps.png").read_bytes()[:4] == b"\x89PNG"
    plot(Report("nothing", 1), tmp_path / "none.png")
    with pytest.raises(ConfigError, match=r"x\.nothing"):
        plot(report(), tmp_path / "x.nothing")


@pytest.mark.usefixtures("without_matplotlib")
def test_without_matplotlib_one_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip install 'feedhandler\[plot\]'"):
        plot(report(), tmp_path / "gaps.png")


# -- sources ---------------------------------------------------------------------------------------------------------


def test_a_simulated_day_is_the_same_each_time_and_has_all_messages() -> None:
    source = rehearse.from_simulation(symbols=3, messages=1_000, seed=5)
    packets = list(source.packets())
    assert packets == list(source.packets())
    wire = Wire("moldudp64")
    heads = [wire.head(payload) for _, payload in packets]
    assert sum(head.messages for head in heads if head) == 1_000
    assert packets[-1][1][18:20] == b"\xff\xff" and [ts for ts, _ in packets] == sorted(ts for ts, _ in packets)


def test_each_packet_of_two_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "two.pcap"
    write(path, Exchange(symbols=3, messages=1_000, seed=5, duration_s=1.0), skew_us=20.0)
    source = rehearse.from_capture(path)
    assert (source.protocol, source.framing) == ("itch50", "moldudp64")
    heads = [Wire("moldudp64").head(payload) for _, payload in source.packets()]
    assert sum(head.messages for head in heads if head) == 1_000


def test_a_binaryfile_is_put_into_packets(tmp_path: Path) -> None:
    write(tmp_path / "day.itch", Exchange(symbols=3, messages=1_000, seed=5))
    source = rehearse.from_capture(tmp_path / "day.itch")
    heads = [Wire("moldudp64").head(payload) for _, payload in source.packets()]
    assert sum(head.messages for head in heads if head) == 1_000


def test_packets_without_numbers_cannot_be_rehearsed(tmp_path: Path) -> None:
    with PcapWriter(tmp_path / "blank.pcap") as file:
        message = b"S" + b"\0" * 10 + b"O"
        for n in range(3):
            file.write(n, b"\0" * 18 + b"\0\x01" + len(message).to_bytes(2, "big") + message, ("239.0.0.1", 1))
    with pytest.raises(ConfigError, match="no sequence numbers"):
        rehearse.from_capture(tmp_path / "blank.pcap", "itch50")


def test_a_file_that_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello, world, this is text\n")
    with pytest.raises(CaptureError):
        rehearse.from_capture(tmp_path / "x")


def test_a_damaged_binaryfile_says_so_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.itch"
    with BinaryFileWriter(path) as file:
        for n in range(50):
            file.write(b"S" + b"\0" * 10 + b"O" if n == 0 else b"D" + b"\0" * 18)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CaptureError):
        list(rehearse.from_capture(path, "itch50").packets())


@pytest.mark.parametrize("framing", ["moldudp64", "iextp"])
def test_the_heartbeat_behind_a_packet(framing: str) -> None:
    wire = Wire(framing)
    if framing == "moldudp64":
        payload = day()[50][1]
    else:
        payload = bytes.fromhex("0100048001000000000000440a000200") + bytes(8) + (7).to_bytes(8, "little") + bytes(18)
    head, beat = wire.head(payload), wire.head(wire.heartbeat(payload, 99))
    assert head is not None and beat is not None
    assert (beat.session, beat.first, beat.messages) == (head.session, head.end, 0)
    assert wire.head(payload[:10]) is None
    with pytest.raises(ConfigError, match="cannot be rehearsed"):
        Wire("soupbintcp")
