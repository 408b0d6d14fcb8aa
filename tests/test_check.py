"""feedhandler check: made recordings whose truth is known, real captures, days that were harmed afterwards."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feedhandler.check import DayReport, check, recordings
from feedhandler.check._walk import Walk
from feedhandler.cli import app
from feedhandler.errors import ConfigError
from feedhandler.receive.capture_writer import BinaryFileWriter, PcapngWriter, PcapWriter, udp_frame
from feedhandler.recording import Recording, Window, manifest
from feedhandler.recording._sequences import Sequences
from feedhandler.simulate import Exchange
from feedhandler.simulate import write as write_day
from feedhandler.simulate.faults import Faults
from tests.recorded import GROUPS, NOON, feed, record
from tests.sequences_model import PlainChannel
from tests.test_check_sequences import figures

S = 1_000_000_000
MS = 1_000_000
LINES = tuple((group, 26400) for group in GROUPS)
Wire = list[tuple[int, int, bytes]]  # line, time, packet


def mold(first: int, count: int, session: str) -> bytes:
    """A MoldUDP64 packet of ITCH system events that bear their numbers."""
    messages = b"".join(b"\0\x0cS\0\0\0\0" + number.to_bytes(6, "big") + b"O" for number in range(first, first + count))
    return session.ljust(10).encode() + first.to_bytes(8, "big") + count.to_bytes(2, "big") + messages


def sent(packets: int, every_ns: int = 2 * MS, session: str = "S1", first: int = 1) -> Iterator[tuple[int, bytes]]:
    """What the exchange sends: packets of one to three messages, and the end of the session."""
    for i in range(packets):
        count = 1 + i % 3
        yield NOON + i * every_ns, mold(first, count, session)
        first += count
    yield NOON + packets * every_ns, session.ljust(10).encode() + first.to_bytes(8, "big") + b"\xff\xff"


def wire(script: str, seed: int = 1, packets: int = 3000) -> Wire:
    """The same, as the lines bring it under a script of faults."""
    arrivals = Faults.parse(script).apply(sent(packets), lines=2, seed=seed)
    begin = b"S1".ljust(10) + (1).to_bytes(8, "big") + b"\0\0"  # a heartbeat on each: A is the first line to be seen
    return [(line, NOON - MS, begin) for line in (0, 1)] + [(line, ts, bytes(packet)) for ts, line, packet in arrivals]


def write(path: Path, packets: Iterable[tuple[int, int, bytes]]) -> Path:
    with PcapngWriter(path, ["A", "B"]) as writer:
        for line, ts, packet in packets:
            writer.write(ts, packet, LINES[line], interface=line)
    return path


def model(packets: Wire, reorder_ns: int = MS) -> PlainChannel:
    """What plain sets make of it; packets that do not add up are none."""
    plain = PlainChannel(["A", "B"], reorder_ns)
    for line, ts, packet in packets:
        count = int.from_bytes(packet[18:20], "big")
        place = 20
        for _ in range(count if count != 0xFFFF else 0):
            place += 2 + int.from_bytes(packet[place : place + 2], "big") if place + 2 <= len(packet) else 1 << 20
        if len(packet) >= 20 and place == len(packet):
            first = int.from_bytes(packet[10:18], "big")
            plain.saw("AB"[line], ts, packet[:10].decode().strip(), first, 0 if count == 0xFFFF else count)
        else:
            plain.due(ts)
    return plain


def checked(path: Path) -> DayReport:
    (recording,) = recordings([path])
    return check(recording)


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.stdout


def said(report: DayReport) -> str:
    return "\n".join(f"{f.severity} {f.channel}/{f.line} {f.text}" for f in report.findings)


# -- scripted faults -------------------------------------------------------------------------------------------------

SCRIPTS = {
    "nothing": "",
    "loss": "[upstream]\nloss = 0.01\n[all]\nloss = 0.02",
    "bursts": "[all]\nburst_loss = 0.05\nburst_packets = 6.0",
    "repeats": "[all]\nduplicate = 0.05\nduplicate_us = 3000.0",
    "swaps": "[all]\nreorder = 0.05\nreorder_packets = 4\nloss = 0.01",
    "late": "[all]\nreorder = 0.05\nreorder_us = 20000.0",
    "skew": "[[line]]\n[[line]]\ndelay_us = 700.0\nloss = 0.02",
    "cut": "[all]\ntruncate = 0.01\ncorrupt = 0.01\nloss = 0.01",
    "outage": "[all]\nloss = 0.01\n"
    "[[outage]]\nlines = [1]\nfrom_s = 1.0\nfor_s = 4.0\n[[outage]]\nfrom_s = 3.0\nfor_s = 0.1",
    "session": '[all]\nloss = 0.01\nreorder = 0.02\n[[session]]\nkind = "new"\nat_packet = 1200\nname = "S2"',
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_figure_of_a_recording_with_scripted_faults_is_that_of_plain_sets(name: str, tmp_path: Path) -> None:
    packets = wire(SCRIPTS[name])
    report = checked(write(tmp_path / "day.pcapng", packets))
    (channel,) = report.channels
    plain = model(packets).report()
    shown = figures(channel)
    assert [gap for gap in shown["gaps"] if gap[5]] == [gap for gap in plain["gaps"] if gap[5]]
    if channel.unlisted:
        shown.pop("gaps"), plain.pop("gaps")
    assert shown == plain
    assert report.packets == len(packets)
    assert report.whole is (channel.lost == 0)
    assert sum(line.bad for line in channel.lines) == (
        0 if name != "cut" else channel.lines[0].bad + channel.lines[1].bad
    )


def test_what_was_lost_on_all_lines_and_only_that_is_lost_for_good(tmp_path: Path) -> None:
    packets = wire(SCRIPTS["loss"])
    came = {(int.from_bytes(p[10:18], "big"), int.from_bytes(p[18:20], "big")) for _, _, p in packets}
    truth = {(int.from_bytes(p[10:18], "big"), int.from_bytes(p[18:20], "big")) for _, p in sent(3000)}
    lost = sorted(truth - came)
    (channel,) = checked(write(tmp_path / "day.pcapng", packets)).channels
    assert channel.lost == sum(count for _, count in lost) > 0
    numbers = {n for first, count in lost for n in range(first, first + count)}
    assert numbers == {n for gap in channel.gaps if gap.missing for n in range(gap.first, gap.first + gap.count)}


def test_a_line_s_silence_and_late_end_are_told_with_what_they_cost(tmp_path: Path) -> None:
    report = checked(write(tmp_path / "day.pcapng", wire(SCRIPTS["outage"])))
    line_b = report.channels[0].lines[1]
    assert [round((s.end - s.start) / S, 1) for s in line_b.silences] == [4.0]
    assert "warning itch50-0/B silent 4.0 s from 07:00:0" in said(report)  # noon in London, seven in New York
    assert report.channels[0].lines[0].silence_count == 0
    first_half = [p for p in wire("") if p[0] == 0 or p[1] < NOON + 2 * S]
    quiet = checked(write(tmp_path / "half.pcapng", first_half))
    assert quiet.whole
    assert "B said nothing in the last 4.0 s, from 07:00:01.99" in said(quiet)
    assert "did not bring 4,001 after its last; 4,001 of these came on other lines" in said(quiet)


def test_lines_in_files_of_their_own_are_one_recording(tmp_path: Path) -> None:
    packets = wire(SCRIPTS["loss"])
    together = checked(write(tmp_path / "both.pcapng", packets))
    for line in (0, 1):
        with PcapWriter(tmp_path / f"{'ab'[line]}.pcap") as writer:
            for which, ts, packet in packets:
                if which == line:
                    writer.write(ts, packet, LINES[line])
    (apart,) = recordings([tmp_path / "a.pcap", tmp_path / "b.pcap"])
    assert check(apart).channels == together.channels
    alone = checked(tmp_path / "a.pcap").channels[0]
    assert alone.lost == together.channels[0].lines[0].missing


def test_a_window_is_checked_by_itself(tmp_path: Path) -> None:
    packets = wire(SCRIPTS["loss"])
    recording = Recording(write(tmp_path / "day.pcapng", packets))
    window = Window(NOON + S, NOON + 2 * S)
    report = check(recording, window=window)
    assert figures(report.channels[0]) == model([p for p in packets if window.start <= p[1] < window.end]).report()


def test_the_clock_of_a_line_that_was_set_back_is_told(tmp_path: Path) -> None:
    packets = [(line, ts - (60 * S if ts > NOON + 3 * S else 0), packet) for line, ts, packet in wire("")]
    report = checked(write(tmp_path / "day.pcapng", packets))
    assert "warning itch50-0/A its clock was set back by 59.998 s at 06:59:03.002" in said(report)
    assert report.whole


@pytest.mark.parametrize("buckets", [2, 64, 2048])
def test_the_timeline_adds_up_however_coarse_it_is(buckets: int, tmp_path: Path) -> None:
    packets = wire(SCRIPTS["swaps"])
    recording = Recording(write(tmp_path / "day.pcapng", packets))
    sequences = Sequences([("itch", "moldudp64", "AB")])
    with recording.receiver() as receiver:
        walk = Walk(receiver, sequences, buckets=buckets)
        while not walk.ended:
            walk.step(1000)
    rows = walk.timeline()
    (channel,) = sequences.report()
    assert rows.shape == (2, buckets, 6)
    assert (walk.start, walk.packets) == (packets[0][1], len(packets))
    assert walk.width * buckets > packets[-1][1] - walk.start >= walk.width * buckets // 2
    for row, line in zip(rows, channel.lines, strict=True):
        count, size, lost, came, ahead, filled = (int(n) for n in row.sum(axis=0))
        assert (count, size) == (line.packets, line.bytes)
        assert (lost - came, came, filled) == (line.missing, line.reordered, line.filled)
        assert all(row[:, 2] >= row[:, 3])  # what came after all is taken off where it was missed
    ahead, filled = (int(rows[:, :, field].sum()) for field in (4, 5))
    assert ahead - filled == channel.lost
    with pytest.raises(ValueError, match="a power of two"):
        Walk(receiver, sequences, buckets=3)
    with pytest.raises(ValueError, match="the receiver has 2 lines, the sequences 1"):
        Walk(receiver, Sequences([("itch", "moldudp64", "A")]))


def test_packets_of_no_line_and_packets_that_were_cut_are_told(tmp_path: Path) -> None:
    packets = wire("", packets=50)
    path = tmp_path / "day.pcap"
    with PcapWriter(path) as writer:
        for line, ts, packet in packets:
            writer.write(ts, packet, LINES[line])
        writer.write(packets[-1][1], b"hello", ("239.1.1.1", 999))
        frame = udp_frame(packets[-3][2], LINES[1])
        seconds, fraction = divmod(packets[-1][1], S)
        writer.file.write(struct.pack("<IIII", seconds, fraction, 60, len(frame)) + frame[:60])
    report = checked(path)
    assert "warning itch50-0/B 1 packet cut short when captured (snap length): no part of it is read" in said(report)
    assert "note / packets to 239.1.1.1:999 are of no protocol that is known" in said(report)
    assert report.whole


# -- real captures ---------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_the_long_deep_capture_is_whole_through_eleven_restarts_but_for_its_cut_end(shared_data: Path) -> None:
    report = checked(shared_data / "iex/DEEP10-20170425-12-sessions.pcap.gz")
    (channel,) = report.channels
    assert (channel.messages, channel.lost, channel.restarts, channel.session_count) == (391_999, 0, 11, 12)
    assert not report.whole
    assert "damage / DEEP10-20170425-12-sessions.pcap.gz: byte 22195748 of the unpacked data" in said(report)
    assert "note iex_deep-0/ its numbers began anew 11 times under the same session id" in said(report)


@pytest.mark.real_data
def test_gaps_of_a_genuine_capture(shared_data: Path) -> None:
    report = checked(shared_data / "itch50/captured-nasdaq/Multiple.Packets.pcap")
    (channel,) = report.channels
    (gap,) = channel.gaps
    assert channel.messages == 39
    assert (channel.lost, gap.missing, gap.closed) == (gap.count, gap.count, None)
    assert channel.sessions[0].next - channel.sessions[0].first == 39 + gap.count
    assert channel.joined_late == channel.sessions[0].first - 1 > 0


@pytest.mark.real_data
def test_every_capture_of_a_known_protocol_can_be_checked(shared_data: Path) -> None:
    files = [
        *shared_data.glob("itch50/*/*.pcap"),
        *shared_data.glob("itch50/*.itch"),
        *shared_data.glob("itch50/*/*.gz"),
    ]
    assert len(files) > 20
    for path in files:
        report = checked(path)
        assert report.messages or all(channel.unsequenced for channel in report.channels)


@pytest.mark.real_data
def test_messages_without_numbers_are_no_loss_and_no_proof(shared_data: Path) -> None:
    report = checked(shared_data / "itch50/wrapped-nasdaq/AddOrderNoMPID.pcap")
    assert report.whole and not report.strictly_whole
    assert report.verdict == (
        "AddOrderNoMPID.pcap: unknown: its messages bear no numbers, so nothing can be said of what is missing"
    )


# -- recorded days ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day as the recorder wrote it, in several files; nothing was lost."""
    folder = tmp_path_factory.mktemp("original")
    record(feed("rotate_bytes = 65536"), folder, wire("[all]\nduplicate = 0.01"))
    return folder / "20261122"


@pytest.fixture
def day(original: Path, tmp_path: Path) -> Path:
    """A copy to do harm to."""
    import shutil

    return Path(shutil.copytree(original, tmp_path / "20261122"))


def test_a_recorded_day_is_whole_and_as_its_manifest_says(day: Path) -> None:
    report = checked(day)
    assert (report.whole, report.strictly_whole) == (True, True), said(report)
    assert report.manifest and {file.state for file in report.files} == {"whole"}
    assert len(report.files) > 3
    assert (report.messages, report.lost) == (6000, 0)
    assert report.verdict.startswith("20261122: whole: 6,000 messages in ")
    assert run(day, "--strict")[0] == 0


def test_a_missing_file_is_named_with_what_was_in_it(day: Path) -> None:
    entry = manifest.load(day).files[1]
    (day / entry.name).unlink()
    report = checked(day)
    assert not report.whole
    assert f"damage / {entry.name} is missing: {entry.packets:,} packets, {entry.bytes:,} bytes" in said(report)
    assert report.lost > 0
    code, shown = run(day)
    assert code == 1
    assert "20261122: NOT whole: " in shown


def test_a_changed_byte_is_found_by_its_sha256(day: Path) -> None:
    entry = manifest.load(day).files[2]
    content = bytearray((day / entry.name).read_bytes())
    content[-60] ^= 1  # in a message: no number and no length
    (day / entry.name).write_bytes(content)
    report = checked(day)
    assert report.lost == 0 and not report.whole
    assert [file.name for file in report.files if file.state == "changed"] == [entry.name]
    assert f"damage / {entry.name} was changed: sha256 " in said(report)
    assert run(day)[0] == 1
    assert run(day, "--no-hash")[0] == 0


def test_a_file_that_was_cut_is_damaged_and_lacks_packets(day: Path) -> None:
    entry = manifest.load(day).files[-1]
    content = (day / entry.name).read_bytes()
    (day / entry.name).write_bytes(content[: len(content) // 2])
    report = checked(day)
    assert [file.name for file in report.files if file.state == "damaged"] == [entry.name]
    assert not report.whole
    assert "warning itch/ the end of the session was not recorded" in said(report)


def test_a_manifest_that_promises_more_names_line_and_file(day: Path) -> None:
    written = manifest.load(day)
    file = written.files[0]
    more = replace(file.lines[1], packets=file.lines[1].packets + 7)
    file = replace(file, packets=file.packets + 7, lines=(file.lines[0], more))
    manifest.save(replace(written, files=(file, *written.files[1:])), day)
    report = checked(day)
    line = report.channels[0].lines[1]
    assert f"damage itch/B {line.packets:,} packets, not {line.packets + 7:,} as recorded" in said(report)
    assert f"damage / {file.name}: {file.packets - 7:,} packets, not {file.packets:,} as recorded" in said(report)


def test_drops_and_damage_that_the_recorder_counted_are_told(day: Path) -> None:
    written = manifest.load(day)
    file = written.files[0]
    lossy = replace(file.lines[0], kernel_drops=3, dropped=2)
    file = replace(file, lines=(lossy, file.lines[1]))
    sentence = "killed at 12:00:03; 5 packets of line A were lost"
    manifest.save(
        replace(written, files=(file, *written.files[1:]), damage=(sentence,), complete=False, removed=2), day
    )
    report = checked(day)
    for text in (
        "warning itch/A 3 packets dropped by the kernel",
        "warning itch/A 2 packets not written by the recorder",
        f"warning / {sentence}",
        "warning / 20261122: not finished: it is still being recorded, or the recorder was killed",
        "note / 2 files were removed by the recorder, to make room",
    ):
        assert text in said(report)
    assert report.whole and not report.strictly_whole  # whatever was dropped on A came on B
    assert run(day, "--strict")[0] == 1
    assert "5" in next(row for row in run(day)[1].splitlines() if row.startswith("A "))


def test_several_days_are_checked_one_after_the_other(day: Path, original: Path, tmp_path: Path) -> None:
    (day / manifest.load(day).files[0].name).unlink()
    code, shown = run(day, original)
    assert code == 1
    assert [row.split(":")[1].split()[0] for row in shown.splitlines() if row.startswith("20261122:")] == [
        "NOT",
        "whole",
    ]
    page = tmp_path / "page.html"
    assert run(day, original, "--html", page)[0] == 1
    assert page.read_text().count('<section class="day">') == 2
    code, shown = run(original, day, "--json")
    assert [entry["whole"] for entry in json.loads(shown)] == [True, False]


# -- the command -----------------------------------------------------------------------------------------------------


def test_json_has_all_figures(tmp_path: Path) -> None:
    path = write(tmp_path / "day.pcapng", wire(SCRIPTS["loss"]))
    code, shown = run(path, "--json")
    found = json.loads(shown)
    report = checked(path)
    assert code == 1
    assert found == json.loads(json.dumps(report.as_json()))
    assert found["channels"][0]["lines"][1]["missing"] == report.channels[0].lines[1].missing
    assert (found["day"], found["zone"], found["whole"]) == ("2026-11-22", "America/New_York", False)


def test_picture_and_page_are_written_and_the_page_needs_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "<day>.pcapng", wire(SCRIPTS["outage"]))
    picture, page = tmp_path / "day.png", tmp_path / "day.html"
    assert run(path, "--plot", picture, "--html", page)[0] == 1
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    text = page.read_text()
    assert text.count("<svg") == text.count("</svg>") == 1
    assert "&lt;day&gt;.pcapng: NOT whole" in text and "<day>" not in text
    for fetched in ("<script", "<link", "<img", 'src="', "@import", "url(http", 'href="http'):
        assert fetched not in text


def test_a_picture_of_several_recordings_is_refused(tmp_path: Path) -> None:
    for name in ("a.itch", "b.itch"):
        with BinaryFileWriter(tmp_path / name) as writer:
            writer.write(b"S" + bytes(10) + b"O")
            writer.end()
    both = (tmp_path / "a.itch", tmp_path / "b.itch", "--protocol", "itch50")
    assert CliRunner().invoke(app, ["check", *map(str, both), "--plot", "x.png"]).exit_code == 2
    for wrong, why in (("x.bmp", "name it .png, .svg or .pdf"), ("none/x.png", "there is no folder")):
        refused = CliRunner().invoke(app, ["check", str(both[0]), "--plot", str(tmp_path / wrong)])
        assert refused.exit_code == 1 and isinstance(refused.exception, ConfigError | SystemExit)
        assert why in str(refused.exception) + refused.output and "checking" not in refused.output
    assert run(*both)[0] == 0
    assert run(*both[1:], "--plot", tmp_path / "x.png")[0] == 0  # it has no times: an empty picture


def test_where_no_packet_is_nothing_is_whole(tmp_path: Path) -> None:
    """Of a wrong interface, or a stretch when nobody sent: nothing was lost, and nothing is there."""
    write_day(tmp_path / "day.pcapng", Exchange(symbols=2, messages=500, seed=1))
    assert run(tmp_path / "day.pcapng")[0] == 0
    code, *_ = run(tmp_path / "day.pcapng", "--from", "23:59:59")
    assert code == 1
    report = check(Recording(tmp_path / "day.pcapng"), window=Window(start=2**62))
    assert not report.whole and report.verdict.endswith("NOT whole: it is empty: no packet of any line")


def test_ctrl_c_says_that_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    path = write(tmp_path / "day.pcapng", wire("", packets=50))
    monkeypatch.setattr("feedhandler.check.check", interrupted)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["check", str(path), "--html", str(page)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "stopped; day.pcapng was read in part only, so nothing is said of it" in done.stderr
    assert not page.exists()


def test_a_day_that_is_still_recorded_is_whole_so_far(day: Path) -> None:
    written = manifest.load(day)
    last = written.files[-1]
    content = (day / last.name).read_bytes()
    (day / f"{last.name}.partial").write_bytes(content[: len(content) * 3 // 4])
    (day / last.name).unlink()
    open_file = replace(last, complete=False, sha256=None)
    manifest.save(replace(written, files=(*written.files[:-1], open_file), complete=False), day)
    report = checked(day)
    assert report.whole and not report.strictly_whole, said(report)
    assert [file.state for file in report.files] == ["whole"] * (len(written.files) - 1) + ["growing"]
    assert "not finished: it is still being recorded, or the recorder was killed" in said(report)


def test_what_is_no_recording_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from feedhandler.cli import main

    (tmp_path / "note.txt").write_text("nothing")
    for arguments, code in ((["note.txt"], 1), (["none.pcap"], 2), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            main(["check", *(str(tmp_path / name) for name in arguments)])
        assert ended.value.code == code
    assert "neither pcap, pcapng nor BinaryFILE" in capsys.readouterr().err
