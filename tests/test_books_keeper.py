"""Snapshots kept beside a recording: resumed, cut, damaged, made void; and the recording that proves itself by them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from feedhandler.errors import ConfigError, RecordingError
from feedhandler.handler import open_recording, play
from feedhandler.line import _state as arbiter_state
from feedhandler.receive.capture import PcapWriter, read
from feedhandler.recording import Recording, Window, books, books_state
from feedhandler.recording import manifest as manifests
from feedhandler.recording.books_file import HEADER, BooksFile, Kind, Writer
from feedhandler.recording.books_keeper import open_handler
from feedhandler.simulate import Exchange
from tests.book_days import LINES, SIZES, deep_day, itch_day, played, rest
from tests.test_books_restore import assert_goes_on_alike, kept
from tests.test_recording_streams import CLIENT, DATA, RST, SYN, frame, login, soup

FEW = hypothesis.settings(max_examples=15)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day with snapshots every second, not to be changed: copy it."""
    path = itch_day(tmp_path_factory.mktemp("days") / "day.pcap", 5, messages=3000)
    kept(Recording(path), 1.0)
    return path


@pytest.fixture
def own(day: Path, tmp_path: Path) -> Path:
    """A copy of that day."""
    for path in (day, day.with_name("day.pcap.books")):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / day.name


def snapshots(path: Path) -> list[Any]:
    with BooksFile(path.with_name(path.name + ".books")) as file:
        return file.cuts(Kind.SNAPSHOT)


def test_there_is_a_snapshot_for_each_second_and_one_of_the_end(day: Path) -> None:
    recording = Recording(day)
    begins = [entry.begin for entry in snapshots(day)]
    assert begins[:-1] == sorted(begins[:-1]) and all(begin % 10**9 == 0 for begin in begins[:-1])
    assert len(begins) > 10 and begins[-1] == recording.last_ts + 1
    for entry in snapshots(day)[:-1]:
        assert entry.begin + 10**9 // 4 <= entry.until < entry.begin + 2 * 10**9
    proof = books.prove(recording, **SIZES)
    assert proof.ok and not proof.damage and proof.snapshots == proof.hashes == len(begins)
    assert json.loads(json.dumps(proof.as_json()))["ok"] is True


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan")])
def test_a_wrong_number_of_seconds_is_refused(day: Path, seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"expected 0\.001 to 86400"):
        books.Keeper(Recording(day), seconds)
    with pytest.raises(ConfigError, match=r"expected 0\.001 to 86400"):
        books.keep(day.parent, seconds)


# ---- cut, damaged, resumed


@FEW
@hypothesis.given(st.floats(0, 1))
def test_cut_at_any_byte_it_holds_the_records_before_and_is_resumed(
    day: Path, tmp_path_factory: pytest.TempPathFactory, where: float
) -> None:
    path = shutil.copy(day, tmp_path_factory.mktemp("cut") / "day.pcap")
    whole = day.with_name("day.pcap.books").read_bytes()
    cut = path.with_name("day.pcap.books")
    cut.write_bytes(whole[: int(where * len(whole))])
    with BooksFile(day.with_name("day.pcap.books")) as before:
        expected = [entry for entry in before.entries if entry.at + entry.stored <= cut.stat().st_size]
    with BooksFile(cut) as file:
        assert file.entries == expected
        assert bool(file.damage) == (file.end < cut.stat().st_size)
    keeper = books.Keeper(Recording(path), 1.0, **SIZES)
    report = keeper.run()
    assert report.resumed == any(entry.kind == Kind.SNAPSHOT for entry in expected)
    proof = books.prove(Recording(path), **SIZES)
    assert proof.ok and not proof.damage
    assert {entry.begin for entry in snapshots(path)} == {entry.begin for entry in snapshots(day)}


def test_a_second_keeper_finds_nothing_more_to_do(own: Path) -> None:
    before = own.with_name("day.pcap.books").read_bytes()
    report = books.Keeper(Recording(own), 1.0, **SIZES).run()
    assert (report.resumed, report.snapshots) == (True, 0)
    assert own.with_name("day.pcap.books").read_bytes() == before


def damage(path: Path, choose: Callable[[Any], bool], at: int = 20) -> int:
    """Turn a byte of the last such record; how many there are."""
    file = path.with_name(path.name + ".books")
    with BooksFile(file) as opened:
        found = [entry for entry in opened.entries if choose(entry)]
    data = bytearray(file.read_bytes())
    data[found[-1].at + at] ^= 0x10
    file.write_bytes(data)
    return len(found)


def test_a_damaged_snapshot_is_named_and_the_one_before_it_taken(own: Path) -> None:
    recording = Recording(own)
    start = recording.find("+15s")
    whole = played(open_handler(recording, **SIZES))
    damage(own, lambda entry: entry.kind == Kind.SNAPSHOT and entry.until < start)
    handler = open_recording(recording, Window(start), **SIZES)
    assert any("a snapshot record is damaged: its checksum is another" in note for note in handler.notes)
    assert rest(handler).books == whole.books
    assert any("damaged" in sentence for sentence in books.prove(recording, **SIZES).damage)


@pytest.mark.parametrize("how", ["no head", "another file", "cut to nothing", "damaged head", "damaged header"])
def test_what_is_no_file_of_snapshots_is_named_and_the_day_played_from_its_beginning(own: Path, how: str) -> None:
    recording, path = Recording(own), own.with_name("day.pcap.books")
    whole = played(open_handler(recording, **SIZES))
    data = path.read_bytes()
    if how == "no head":
        with BooksFile(path) as file:
            data = data[file.entries[1].at - HEADER :]
    elif how == "damaged header":
        data = bytes([*data[:8], data[8] ^ 1, *data[9:]])
    elif how == "damaged head":
        data = bytes([*data[:80], data[80] ^ 1, *data[81:]])
    else:
        data = b"something else" * 100 if how == "another file" else b""
    path.write_bytes(data)
    handler = open_recording(recording, Window(recording.find("+15s")), **SIZES)
    assert handler.shard.packets_taken > 100
    assert how == "cut to nothing" or any(str(path) in note for note in handler.notes)
    assert rest(handler).books == whole.books


def test_snapshots_of_another_recording_are_named_and_not_used(own: Path, tmp_path: Path) -> None:
    other = deep_day(tmp_path / "deep.pcap", 1)
    path = own.with_name("day.pcap.books")
    shutil.copy(path, other.with_name("deep.pcap.books"))
    recording = Recording(other)
    handler = open_recording(recording, Window(recording.find("+12s")), **SIZES)
    assert any("of another recording" in note for note in handler.notes)
    assert rest(handler).books == played(open_handler(recording, **SIZES)).books
    with pytest.raises(RecordingError, match="of other channels or lines"):
        books.Keeper(recording, 1.0, **SIZES).run()
    with pytest.raises(RecordingError, match="of other channels or lines"):
        books.prove(recording, **SIZES)


def test_snapshots_of_the_capture_that_was_here_before_are_named_and_not_used(own: Path, tmp_path: Path) -> None:
    """The next day's capture under the same name: the same channel, lines and session, numbers from 1 again."""
    packets = list(read(itch_day(tmp_path / "next.pcap", 9, messages=3000)))
    with PcapWriter(own) as out:
        for ts, target, payload in packets:
            out.write(ts + 86_400 * 10**9, payload, target)
    recording = Recording(own)
    handler = open_recording(recording, Window(recording.find("+12s")), **SIZES)
    assert rest(handler).books == played(open_handler(recording, **SIZES)).books
    assert any("of another recording" in note for note in handler.notes)
    with pytest.raises(RecordingError, match="of another recording"):
        books.Keeper(recording, 1.0, **SIZES).run()
    with pytest.raises(RecordingError, match="of another recording"):
        books.prove(recording, **SIZES)


def test_without_snapshots_there_is_nothing_to_prove(tmp_path: Path) -> None:
    recording = Recording(itch_day(tmp_path / "day.pcap", 5, messages=1000))
    with pytest.raises(RecordingError, match="there are no book snapshots"):
        books.prove(recording)


# ---- time that goes back


def test_snapshots_that_time_going_back_makes_ambiguous_are_void(tmp_path: Path) -> None:
    """The clock is set back by three seconds in the middle of the day: packets then are older than snapshots."""
    path = itch_day(tmp_path / "day.pcap", 4, messages=3000, faults="")
    packets = list(read(path))
    half = len(packets) // 2
    turn = packets[half][0]
    with PcapWriter(path) as out:
        for i, (ts, target, payload) in enumerate(packets):
            out.write(ts - (3 * 10**9 if i >= half else 0), payload, target)
    recording = Recording(path)
    report = books.Keeper(recording, 1.0, **SIZES).run()
    assert any("time went back" in note for note in report.notes)
    with BooksFile(path.with_name("day.pcap.books")) as file:
        made = [entry.begin for entry in file.entries if entry.kind == Kind.SNAPSHOT]
        usable = [entry.begin for entry in file.cuts(Kind.SNAPSHOT)]
        (void,) = (entry for entry in file.entries if entry.kind == Kind.VOID)
        assert turn - 3 * 10**9 <= void.begin < turn - 2 * 10**9
        assert set(made) - set(usable) == {b for b in made if void.begin < b <= turn}
        assert usable == sorted(usable)
    assert books.prove(recording, **SIZES).ok
    for choose in (0.2, 0.5, 0.9):
        assert_goes_on_alike(recording, path.with_name("day.pcap.books"), choose)


# ---- proof


def test_a_recording_that_was_changed_is_found_out_to_the_level(own: Path) -> None:
    """One add of the recording has another price now: symbol, level and message are named."""
    packets = list(read(own))
    changed = None
    with PcapWriter(own) as out:
        for i, (ts, target, payload) in enumerate(packets):
            at = payload.find(b"\x00\x24A", 20)
            if changed is None and i > len(packets) // 2 and at > 0:
                price = at + 2 + 32
                changed = payload[at + 26 : at + 34].decode().strip()
                value = int.from_bytes(payload[price : price + 4], "big") + 100
                payload = payload[:price] + value.to_bytes(4, "big") + payload[price + 4 :]
            out.write(ts, payload, target)
    recording = Recording(own)
    proof = books.prove(recording, **SIZES)
    first = proof.differences[0]  # of line A; its copy comes first
    assert (first.channel, first.symbol, first.start) == ("itch50-0", changed, "the beginning")
    assert first.sequence > 0 and "×" in first.what and "was" in first.what
    assert str(first).startswith(f"itch50-0: after message {first.sequence}: {changed} on XNAS: ")


def test_a_recording_that_was_cut_is_found_out(own: Path) -> None:
    data = own.read_bytes()
    own.write_bytes(data[: len(data) // 2])
    proof = books.prove(Recording(own), **SIZES)
    assert not proof.ok and "the recording ends after" in proof.differences[0].what


def test_a_stale_book_stays_stale(tmp_path: Path) -> None:
    """What was lost before a snapshot is lost behind it, too."""
    path = itch_day(tmp_path / "day.pcap", 9, messages=3000, faults="[all]\nloss = 0.2\n")
    recording = Recording(path)
    kept(recording, 1.0)
    with BooksFile(path.with_name("day.pcap.books")) as file, open_handler(recording, **SIZES) as handler:
        last = file.cuts(Kind.SNAPSHOT)[-2]
        with open_handler(recording, last.begin, **SIZES) as again:
            books.restore(again, file, last)
            assert int(again.segment.channels[0]["quality"]) == 2
            play(handler)
            assert int(handler.segment.channels[0]["quality"]) == 2


# ---- channels


def test_a_part_of_the_channels_goes_on_alike(tmp_path: Path) -> None:
    """A snapshot of two channels serves a handler of one; instruments are numbered as if it had always been alone."""
    one = list(read(itch_day(tmp_path / "itch.pcap", 1, messages=2500)))
    other = list(read(deep_day(tmp_path / "deep.pcap", 2)))
    shift = one[0][0] - other[0][0]
    moved = [(ts + shift, (f"239.192.8.{target[0][-1]}", 26401), payload) for ts, target, payload in other]
    both = sorted([*one, *moved], key=lambda packet: packet[0])
    path = tmp_path / "both.pcap"
    with PcapWriter(path) as out:
        for ts, target, payload in both:
            out.write(ts, payload, target)
    recording = Recording(path)
    names = recording.channels()
    assert len(names) == 2
    whole = {name: played(open_recording(recording, channels=[name], **SIZES)) for name in names}
    hashed = {name: books_of(recording, None, name) for name in names}
    kept(recording, 1.0)
    for name in names:
        handler = open_recording(recording, Window(recording.find("+12s")), channels=[name], **SIZES)
        assert not handler.notes
        found = rest(handler)
        assert found.channels == whole[name].channels and found.directory == whole[name].directory
        assert whole[name].events.endswith(found.events) and len(found.events) > 1000
        assert hashed[name] == books_of(recording, recording.find("+12s"), name)


def books_of(recording: Recording, start: int | None, name: str) -> list[dict[str, Any]]:
    """The hashes at the end of the recording."""
    with open_recording(recording, Window(start), channels=[name], **SIZES) as handler:
        play(handler)
        return [channel.state() for channel in books.hashes(handler)]


# ---- hostile states


def hostile(value: Any, rng: random.Random) -> Any:
    """The state with one number, text or list of it replaced by something that hardly fits."""
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        if rng.random() < 0.05:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: hostile(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], hostile(value[at], rng), *value[at + 1 :]]
    return rng.choice([0, -1, 1, 2, 2**31, 2**63, 2**64, None, "", "00", [], {}, True, 1.5, "f" * 40])


@pytest.mark.wire
@hypothesis.given(st.integers(0, 1 << 30))
def test_hostile_states_are_refused_with_the_handler_as_it_was(day: Path, seed: int) -> None:
    rng = random.Random(seed)
    with BooksFile(day.with_name("day.pcap.books")) as file:
        entries = file.cuts(Kind.SNAPSHOT)
        state, parts = file.load(entries[rng.randrange(len(entries))])
    state = json.loads(json.dumps(hostile(state, rng)))
    with open_handler(Recording(day), **{**SIZES, "orders": 2000, "ring_events": 1024}) as handler:
        try:
            books_state.restore(handler, state, parts)
        except RecordingError as error:
            assert "cannot be used" in str(error)
            assert len(handler.instruments) == 0 and int(handler.segment.rings["head"][0]) == 0
        play(handler)


@pytest.mark.wire
def test_an_arbiter_in_the_middle_of_things_is_as_it_was(day: Path) -> None:
    """Dumped with messages that wait for a hole, and loaded: the same again."""
    with open_handler(Recording(day), **SIZES) as handler:
        waiting = 0
        while not handler.shard.step():
            state = arbiter_state.dump(handler.shard.stages[0][0])
            if state["window"]["waiting"]:
                waiting += 1
                arbiter_state.load(handler.shard.stages[0][0], json.loads(json.dumps(state)))
                assert arbiter_state.dump(handler.shard.stages[0][0]) == state
        assert waiting > 5


# ---- beside a recorder


def test_a_day_is_kept_while_it_is_recorded(tmp_path: Path) -> None:
    """In a process of its own, which ends when the day is complete; what it has kept proves the day."""
    source = itch_day(tmp_path / "day.pcap", 6, messages=3000)
    folder = tmp_path / "20260105"
    folder.mkdir()
    lines = tuple(
        manifests.Line(name, group, port, "", "", "lo", False) for name, (group, port) in zip("AB", LINES, strict=True)
    )
    channel = manifests.Channel("itch", "itch50", "moldudp64", "XNAS", None, lines)
    made = manifests.Manifest("sim", "2026-01-05", "UTC", 1, (channel,), complete=False)
    manifests.save(made, folder, sync=False)
    data = source.read_bytes()
    partial = folder / "sim-0001.pcap.partial"
    with books.keep(folder, 1.0, **SIZES) as keeping:
        for at in range(0, len(data), 1 + len(data) // 20):
            with partial.open("ab") as file:
                file.write(data[at : at + 1 + len(data) // 20])
            assert keeping.running
        partial.rename(folder / "sim-0001.pcap")
        manifests.save(replace(made, complete=True), folder, sync=False)
        report = keeping.close()
    assert not keeping.running and report.snapshots > 10 and report.packets == len(list(read(source)))
    assert report.path == str(folder / "sim.books")
    recording = Recording(folder)
    assert books.prove(recording, **SIZES).ok
    whole = played(open_handler(recording, **SIZES))
    assert rest(open_recording(recording, Window(recording.find("+10s")), **SIZES)).books == whole.books


def test_a_keeper_whose_recorder_is_gone_ends_and_says_what_was_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(RecordingError, match=r"book snapshots of .*empty: .*there is no capture in this folder"):
        books.keep(folder, 1.0).close()


# ---- real captures


@pytest.mark.real_data
def test_the_long_deep_capture_goes_on_alike_from_anywhere(shared_data: Path, tmp_path: Path) -> None:
    """Eleven restarts under one session id."""
    recording = Recording(shared_data / "iex/DEEP10-20170425-12-sessions.pcap.gz")
    sizes = {"instruments": 8200, "ring_events": 1 << 19, "orders": 1000}
    path = tmp_path / "deep.books"
    report = books.Keeper(recording, 600, path=path, **sizes).run()  # type: ignore[arg-type]
    assert report.snapshots > 15 and "ends in the middle of a record" in report.notes[0]
    for choose in (0.4, 0.97):
        assert_goes_on_alike(recording, path, choose, **sizes)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["bats-part1", "esh4-20231224"])
def test_derived_itch_goes_on_alike_from_anywhere(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Recorded order-by-order days, put into packets with losses."""
    from feedhandler.receive import capture

    source = shared_data / f"itch50/derived/{name}.itch.gz"
    rng = random.Random(name)
    with capture.receiver(source) as file:
        blocks = b"".join(payload for _, _, payload in file.drain())
    messages, at = [], 0
    while at + 2 < len(blocks) and (size := int.from_bytes(blocks[at : at + 2], "big")):
        messages.append(blocks[at : at + 2 + size])
        at += 2 + size
    path = tmp_path / "day.pcap"
    with PcapWriter(path) as out:
        number, ts = 1, 1_700_000_000 * 10**9
        while number <= len(messages):
            count = rng.randint(1, 20)
            some = messages[number - 1 : number - 1 + count]
            payload = b"DERIVED   " + number.to_bytes(8, "big") + len(some).to_bytes(2, "big") + b"".join(some)
            for line in LINES:
                if rng.random() > 0.02:
                    out.write(ts, payload, line)
                ts += 50_000
            number, ts = number + len(some), ts + 1_000_000
    recording = Recording(path)
    for choose in (0.15, 0.8):
        assert_goes_on_alike(recording, kept(recording, 0.2, orders=300_000), choose, orders=300_000)
    assert books.prove(recording, **{**SIZES, "orders": 300_000}).ok


def test_a_file_that_cannot_be_written_says_so(day: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere.*: No such file or directory"):
        Writer(tmp_path / "nowhere" / "x.books", {})


# ---- streams


def soup_day(path: Path) -> Path:
    """An ITCH day as a SoupBinTCP session whose connection was lost once, cut into segments anywhere."""
    from scapy.utils import PcapWriter as Frames

    messages = itch_messages(11, 2500)
    half = len(messages) // 2
    ts, dice = 1_767_600_000.0, random.Random(3)
    with Frames(str(path), nano=True) as out:
        for number, (first, some) in enumerate(((1, messages[:half]), (half + 1, messages[half:]))):
            client = (CLIENT[0], CLIENT[1] + number)
            data = login(first) + b"".join(soup(b"S", message) for message in some)
            at, segments = 0, [(0, SYN, b"")]
            while at < len(data):
                size = dice.randrange(1, 400)
                segments.append((1 + at, DATA, data[at : at + size]))
                at += size
            for segment in (*segments, (1 + len(data), RST, b"")):
                made = frame(segment, client=client)
                made.time = ts = ts + 0.01
                out.write(made)
    return path


def itch_messages(seed: int, count: int) -> list[bytes]:
    """The messages of a simulated day."""
    exchange, blocks, buffer = Exchange(symbols=6, messages=count, seed=seed, live_orders=100), b"", bytearray(1 << 16)
    while size := exchange.produce(buffer):
        blocks += buffer[:size]
    found, at = [], 0
    while at + 2 < len(blocks) and (size := int.from_bytes(blocks[at : at + 2], "big")):
        found.append(blocks[at + 2 : at + 2 + size])
        at += 2 + size
    return found


def test_streams_prove_themselves_and_are_right_in_the_middle_of_a_day(tmp_path: Path) -> None:
    """A snapshot holds the half of a message that had come; a window is played to from the beginning."""
    recording = Recording(soup_day(tmp_path / "soup.pcap"))
    assert [line.session for line in recording.lines] == ["soupbintcp"]
    whole = played(open_handler(recording, **SIZES))
    assert whole.types["A"] > 100
    kept(recording, 0.25)
    with BooksFile(tmp_path / "soup.pcap.books") as file:
        cuts = file.cuts(Kind.SNAPSHOT)
        assert len(cuts) > 10 and any(file.load(cut)[0]["framings"][0]["held"] for cut in cuts)
    proof = books.prove(recording, **SIZES)
    assert proof.ok and not proof.damage
    start = recording.find("+3s")
    handler = open_recording(recording, Window(start), **SIZES)
    assert not handler.notes and handler.shard.packets_taken > 100
    found = rest(handler)
    assert (found.books, found.counters, found.channels) == (whole.books, whole.counters, whole.channels)
    assert len(found.events) > 1000 and whole.events.endswith(found.events)
