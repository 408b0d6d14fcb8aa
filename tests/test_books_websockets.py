"""Book snapshots of WebSocket feeds: whoever goes on from one is no other than who was there from the beginning."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from typer.testing import CliRunner

from feedhandler import cli
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.errors import ConfigError, RecordingError
from feedhandler.handler import open_recording
from feedhandler.line import _splicer_state as splicer_state
from feedhandler.record import Recorder
from feedhandler.record.imported import import_logs
from feedhandler.recording import Recording, Window, books, books_state, manifest
from feedhandler.recording.books_keeper import open_handler
from feedhandler.replay import Choice, HandlerReplay
from feedhandler.session import _state as framing_state
from feedhandler.session import frames, framing
from feedhandler.session._websocket import WebSocketFraming
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate.venues import NAMES, VenueFault, VenueFaults, serve
from feedhandler.simulate.venues.faults import POSSIBLE
from feedhandler.simulate.venues.server import VENUES
from tests.book_days import Held, held, played, rest
from tests.recorded import NOON, wait
from tests.splicer_world import LINE_DOWN, LINE_UP, World, frame, packed
from tests.test_handover_venues import feed
from tests.test_line_splicer_properties import SYMBOLS, Story, steps
from tests.test_line_splicer_trades import trade

FEW = hypothesis.settings(max_examples=40)
SIZES: dict[str, Any] = {"instruments": 64, "ring_events": 1 << 16}
ROOM = 1 << 12  # bytes of texts that may wait: some have to give way

SYMBOLS_TRADED = 2
LIVES = (("CONNECTED", "SUBSCRIBED"), ("SYNCHRONIZING", "PLANNED"), ("DISCONNECTED", "LOST"), ("STALE", "HEARTBEAT"))

Put = tuple[int, int, bytes]
Connect = tuple[int, int, int]


class Taped(World):
    """A world whose packets and connections are kept, to be played again; compressed, if that is agreed on."""

    LEVEL_BYTES = 1 << 16
    AGREED = ""

    def __init__(self, venue: str, lines: int, **options: Any) -> None:
        self.tape: list[Put | Connect] = []
        self.deflaters: dict[int, frames.Deflate] = {}
        super().__init__(venue, lines, **options)

    def data(self, line: int, data: bytes, ms: float | None = None) -> None:
        texts = unframed(data)
        if line in self.deflaters and texts:
            data = b"".join(self.deflaters[line].frame(text, masked=False) for text in texts)
        super().data(line, data, ms)
        self.tape.append((line, (1 + self.ms) * 1_000_000, data))

    def connect(self, line: int) -> None:
        super().connect(line)
        self.tape.append((line, self.connections[line], LINE_UP))
        self.deflaters.pop(line, None)
        if self.AGREED and line < self.lines:
            self.data(line, f"HTTP/1.1 101 Yes\r\nSec-WebSocket-Extensions: {self.AGREED}\r\n\r\n".encode())
            agreement = frames.agreed(self.AGREED)
            assert agreement is not None
            self.deflaters[line] = frames.Deflate(agreement, server=True)

    def cut(self, line: int) -> None:
        super().cut(line)
        self.tape.append((line, self.connections[line], LINE_DOWN))


class Takeover(Taped):
    """Each message refers to those before it."""

    AGREED = "permessage-deflate"


class Alone(Taped):
    """Each message stands by itself."""

    AGREED = "permessage-deflate; server_no_context_takeover"


def unframed(data: bytes) -> list[bytes]:
    """The texts of a row of whole frames; nothing, where the last one is cut, or there is something else."""
    texts = []
    while data:
        long = {126: 4, 127: 10}.get(data[1], 2) if len(data) > 1 else 2
        size = int.from_bytes(data[2:long], "big") if long > 2 else data[1] if len(data) > 1 else 0
        if data[0] != 0x81 or len(data) < long + size:
            return []
        texts.append(data[long : long + size])
        data = data[long + size :]
    return texts


class Played(World):
    """A recorded world, where nobody wishes for anything: a tape is played into it. In all that is asked, a handler."""

    LEVEL_BYTES = 1 << 16

    def __init__(self, venue: str, lines: int) -> None:
        super().__init__(venue, lines, wishing=False, text_bytes=ROOM)
        named = tuple(Line(name=name) for name in [*"AB"[:lines], "control"])
        channel = Channel(name="c", protocol=venue, session="websocket", lines=named)
        self.config = Config(Shm("c"), Books(), Ring(), Run(), (channel,))

    def play(self, tape: list[Put | Connect]) -> None:
        for line, number, what in tape:
            if isinstance(what, bytes):
                self.receiver.put(line, number, what)
            else:
                self.receiver.connect(line, number, what)
            self.shard.step()

    def all(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        state, parts = books_state.dump(self, [])
        return state, {name: part.tobytes() for name, part in parts.items()}

    def ring(self, behind: int) -> bytes:
        return self.segment.slots[behind + 1 : self.head + 1].tobytes()

    @property
    def head(self) -> int:
        return int(self.segment.rings["head"][0])

    def shown(self) -> list[Any]:
        lines = [tuple(int(row[name]) for name in ("connection", "connection_since")) for row in self.segment.lines]
        books = [[part.tobytes() for part in self.books.book(i)[1:]] for i in range(1, 4)]
        return [lines, books, self.counts, [self.line_counts(line) for line in range(self.lines + 1)]]


def assert_goes_on_alike(venue: str, lines: int, tape: list[Put | Connect], at: int) -> None:
    """Played from the beginning, and from a snapshot before operation `at` on."""
    whole, part = Played(venue, lines), Played(venue, lines)
    whole.play(tape[:at])
    while not books_state.whole(whole):
        with pytest.raises(ValueError, match="compressed message"):
            books_state.dump(whole, [])
        whole.play(tape[at : at + 1])
        at += 1
    state, parts = books_state.dump(whole, [])
    for line, number, what in tape[:at]:
        if isinstance(what, int):
            part.play([(line, number, what)])
    books_state.restore(part, state, parts)
    assert part.all() == whole.all() and part.shown() == whole.shown()
    behind = whole.head
    assert part.head == behind
    whole.play(tape[at:])
    part.play(tape[at:])
    assert part.ring(behind) == whole.ring(behind)
    assert part.all() == whole.all() and part.shown() == whole.shown()


def salted(name: str, lines: int, tape: list[Put | Connect], rng: random.Random) -> list[Put | Connect]:
    """With what no story has between: trades, lives, planned connections, wrong checksums, more than there is room."""
    found: list[Put | Connect] = []
    numbers, at = [0] * lines, 0

    def life(line: int, state: str, reason: str) -> Put:
        said = {"life": state, "line": line, "from": "DEAD", "reason": reason, "at": at}
        return lines, at, frame(packed(said))

    for line, number, what in tape:
        if isinstance(what, int):
            if what == LINE_DOWN and rng.random() < 0.5:  # its next connection comes before it goes
                found += [life(line, "CONNECTED", "SUBSCRIBED"), life(line, "SYNCHRONIZING", "PLANNED")]
            else:
                found.append((line, number, what))
            continue
        at = number
        found.append((line, number, what))
        if rng.random() < 0.2:
            found.append(life(rng.randrange(lines), *rng.choice(LIVES)))
        chosen, more = rng.randrange(lines), list[bytes]()
        if rng.random() < 0.3 and name != "kraken":
            numbers[chosen] += rng.randint(1, 3)
            more.append(trade(name, numbers[chosen], bad=rng.random() < 0.1))
        if rng.random() < 0.05 and name == "kraken":
            more.append(packed([7, {"b": [["1.00", "5.000", "1.5"]], "c": "1"}, "book-10", SYMBOLS[name]]))
        if rng.random() < 0.05 and name == "binance":
            told = {"e": "depthUpdate", "E": 1, "s": SYMBOLS[name], "b": [], "a": []}
            more += [packed(told | {"U": 10**6 + n, "u": 10**6 + n}) for n in range(2 * rng.randrange(40), 120, 2)]
        if more:
            found.append((chosen, number, b"".join(map(frame, more))))
    return found


def in_pieces(tape: list[Put | Connect], rng: random.Random) -> list[Put | Connect]:
    """The same bytes; some packets are two."""
    found: list[Put | Connect] = []
    for entry in tape:
        line, number, what = entry
        if isinstance(what, bytes) and len(what) > 1 and rng.random() < 0.5:
            cut = rng.randrange(1, len(what))
            found += [(line, number, what[:cut]), (line, number, what[cut:])]
        else:
            found.append(entry)
    return found


def told(name: str, lines: int, story: list[Any], world: type[Taped]) -> list[Put | Connect]:
    run = Story(name, lines, world)
    for verb, *arguments in story:
        if verb in ("say", "cut", "connect"):
            arguments[0] %= lines
        getattr(run, verb)(*arguments)
    run.end()
    assert isinstance(run.world, Taped)
    return run.world.tape


@FEW
@hypothesis.given(
    st.sampled_from(sorted(SYMBOLS)), st.integers(1, 2), steps, st.floats(0, 0.999), st.integers(0, 999),
    st.sampled_from([Taped, Taped, Takeover, Alone]),
)  # fmt: skip
def test_at_any_packet_of_any_story(
    name: str, lines: int, story: list[Any], where: float, seed: int, world: type[Taped]
) -> None:
    rng = random.Random(seed)
    tape = in_pieces(salted(name, lines, told(name, lines, story, world), rng), rng)
    assert_goes_on_alike(name, lines, tape, int(where * len(tape)))


@pytest.mark.parametrize("agreed", ["", Takeover.AGREED, Alone.AGREED])
def test_a_framing_goes_on_at_any_byte(agreed: str) -> None:
    """But amid a compressed message, which is said."""
    texts = ["äß€𝄞" * n + f"and {n}" for n in (1, 40, 3000)]
    agreement = frames.agreed(agreed)
    if agreement is None:
        wire = b"".join(frames.text(text, masked=False) for text in texts)
        wire += frames.frame(1, "€uro"[:2], fin=False, masked=False) + frames.ping(b"p", masked=False)
        wire += frames.frame(0, "uro", masked=False)
        texts.append("€uuro")
    else:
        deflate = frames.Deflate(agreement, server=True)
        wire = b"".join(deflate.frame(text, masked=False) for text in texts * 2)
        texts *= 2
    wire = f"HTTP/1.1 101 Yes\r\nSec-WebSocket-Extensions: {agreed}\r\n\r\n".encode() + wire
    refused = 0
    for cut in sorted({*range(120), *range(0, len(wire), max(1, len(wire) // 150))}):
        one, other = framing("websocket"), framing("websocket")
        assert isinstance(one, WebSocketFraming) and isinstance(other, WebSocketFraming)
        said = one.read(wire[:cut])
        if not framing_state.settled(one):
            refused += 1
            with pytest.raises(ValueError, match="compressed message is under way"):
                framing_state.dump(one)
            continue
        framing_state.load(other, framing_state.dump(one))
        assert framing_state.dump(other) == framing_state.dump(one)
        rest = other.read(wire[cut:])
        assert rest == one.read(wire[cut:]) and framing_state.dump(other) == framing_state.dump(one)
        assert [payload.decode() for opcode, payload in said + rest if opcode == 1] == texts
    assert bool(refused) == bool(agreed)


# ---- loaders believe nothing


def spoil(value: Any, rng: random.Random) -> Any:
    """Something like it that hardly fits."""
    if isinstance(value, str):
        return rng.choice(["", "00" * rng.randrange(70_000), value + "ff", "zz", value[: len(value) // 4 * 2]])
    if isinstance(value, list):
        at = rng.randrange(len(value) + 1)
        return value[:at] + [spoil(each, rng) for each in value[at : at + 1]] + value[at + 1 :]
    return rng.choice([0, 1, 2, 3, 4, 5, 9, 126, 255, 2**31, 2**64 - 1, -1, None, "x"])


@pytest.mark.wire
@hypothesis.settings(max_examples=150)
@hypothesis.given(st.integers(0, 1 << 30), st.sampled_from(["", Takeover.AGREED, Alone.AGREED]))
def test_hostile_websockets_are_refused_or_are_framings(seed: int, agreed: str) -> None:
    rng = random.Random(seed)
    one, other = framing("websocket", max_message_bytes=4096), framing("websocket", max_message_bytes=4096)
    assert isinstance(one, WebSocketFraming) and isinstance(other, WebSocketFraming)
    wire = f"HTTP/1.1 101 Yes\r\nSec-WebSocket-Extensions: {agreed}\r\n\r\n".encode()
    agreement = frames.agreed(agreed)
    texts = ["€" * rng.randrange(200) for _ in range(4)]
    deflate = frames.Deflate(agreement, server=True) if agreement else None
    wire += b"".join((deflate.frame if deflate else frames.text)(text, masked=False) for text in texts)
    cut = rng.randrange(len(wire))
    one.read(wire[:cut])
    while not framing_state.settled(one):
        one.read(wire[cut : cut + 1])
        cut += 1
    state = framing_state.dump(one)
    for name in rng.sample(sorted(state), rng.choice((1, 1, 3))):
        state[name] = spoil(state[name], rng)
    before = framing_state.dump(other)
    try:
        framing_state.load(other, state)
    except ValueError:
        assert framing_state.dump(other) == before
    other.read(wire[cut:])
    other.read(rng.randbytes(300))


@pytest.mark.wire
@hypothesis.settings(max_examples=60)
@hypothesis.given(st.sampled_from(sorted(SYMBOLS)), steps, st.integers(0, 1 << 30))
def test_hostile_line_stages_are_refused_or_go_on(name: str, story: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    tape = salted(name, 2, told(name, 2, story, Taped), rng)
    at = rng.randrange(len(tape))
    whole, part = Played(name, 2), Played(name, 2)
    whole.play(tape[:at])
    state, parts = books_state.dump(whole, [])
    chosen = rng.choice([each for each in parts if "/line/" in each and parts[each].nbytes] or ["0/line/channel"])
    data = bytearray(parts[chosen].tobytes())
    for _ in range(rng.choice((1, 1, 6))):
        place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(len(data)) // 8 * 8
        found = rng.choice((b"\xff" * 8, bytes(8), b"\x01" + bytes(7), rng.randbytes(1), rng.randbytes(8)))
        data[place : place + len(found)] = found[: len(data) - place]
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)) :]
    parts[chosen] = np.frombuffer(bytes(data), np.uint8)
    try:
        books_state.restore(part, state, parts)
    except RecordingError:
        assert part.all() == Played(name, 2).all()
    part.play(tape[at:])
    part.shard.finish()


def test_a_line_stage_is_not_dumped_for_other_lines_or_room() -> None:
    one = Played("binance", 1)
    index = books_state.indices(one, 0)
    parts = splicer_state.dump(one.splicer, index)
    with pytest.raises(ValueError, match="expected 2 rows"):
        splicer_state.load(Played("binance", 2).splicer, index, parts)
    roomy = World("binance", 1, text_bytes=2 * ROOM)
    with pytest.raises(ValueError, match=f"room for {ROOM} bytes of texts that wait, here there are {2 * ROOM}"):
        splicer_state.load(roomy.splicer, index, parts)
    with pytest.raises(ValueError, match="no part 'books'"):
        splicer_state.load(roomy.splicer, index, {name: part for name, part in parts.items() if name != "books"})


@pytest.mark.wire
def test_of_instruments_that_a_snapshot_has_not_nothing_is_known() -> None:
    for name in sorted(SYMBOLS):
        one, other = Played(name, 2), Played(name, 2)
        every = np.arange(1, 32, dtype=np.uint32)
        splicer_state.load(other.splicer, [], splicer_state.dump(one.splicer, []))
        fresh, loaded = splicer_state.dump(one.splicer, every), splicer_state.dump(other.splicer, every)
        assert all(loaded[part].tobytes() == fresh[part].tobytes() for part in fresh)


@pytest.mark.wire
def test_only_the_rest_of_the_ring_is_less_than_a_head() -> None:
    """A text behind it would say of whom the rest is."""
    one = Played("binance", 1)
    parts = splicer_state.dump(one.splicer, [1])
    size = 80
    rest_of_ring, text = [16, *[0] * 7], [size, 1, 0, 8, 1, 2, 7 << 32, 0]
    channel = parts["channel"].copy()
    parts |= {"channel": channel, "bytes": np.zeros(8, np.uint8)}
    channel[0, 7], channel[0, 8] = ROOM - 16, ROOM + size
    splicer_state.load(one.splicer, [1], parts | {"texts": np.array([rest_of_ring, text], np.uint64)})
    channel[0, 7], channel[0, 8] = 0, 16 + size
    with pytest.raises(ValueError, match="text 0 of those that wait is not whole"):
        splicer_state.load(one.splicer, [1], parts | {"texts": np.array([rest_of_ring, text], np.uint64)})


# ---- days


def proved(day: Path, seconds: float, at_least: int, **options: Any) -> books.Proof:
    """Keep snapshots of a day, and play it from each of them."""
    kept = books.Keeper(Recording(day), seconds, instruments=64, **options).run()
    proof = books.prove(Recording(day))
    assert proof.ok and not proof.damage, [str(each) for each in proof.differences[:5]]
    assert proof.hashes >= at_least and not kept.notes
    return proof


@pytest.mark.parametrize("name", NAMES)
def test_a_day_of_a_venue_proves_itself(name: str, tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    """Two lines, one of them compressed and cut now and then; updates that do not come, and are asked for anew."""
    kinds = [kind for kind in ("drop", "cut", "checksum") if name in POSSIBLE.get(kind, (name,))]
    faults = VenueFaults(fault=tuple(VenueFault(kind=kind, at=25, every=60, connection=2) for kind in kinds))
    symbols = [market.symbol for market in VENUES[name].markets][:SYMBOLS_TRADED]
    with serve(name, symbols, rate=600, batch_ms=5, levels=20, beat_s=0.2, faults=faults) as venue:
        settings = feed(venue, 2, "recorder")
        (channel,) = settings.channels
        settings = dataclasses.replace(settings, channels=(dataclasses.replace(channel, deflate=True),))
        with Recorder(settings, tmp_path) as recorder:
            recorder.start()
            wait_for(lambda: recorder.status().packets > 250, what="texts")
    (day,) = tmp_path.iterdir()
    proof = proved(day, 0.02, 8)
    assert proof.snapshots >= 8 and proof.compared > 10


def recorded(folder: Path, rotate_bytes: int = 1 << 30) -> Path:
    """A day of Coinbase, so that there are books that stand by; connections end. With snapshots."""
    faults = VenueFaults(fault=(VenueFault(kind="cut", at=70, every=90),))
    with serve("coinbase", ["BTC-USD"], rate=600, batch_ms=5, levels=20, beat_s=0.2, faults=faults) as venue:
        settings = feed(venue, 2, "recorder")
        kept = dataclasses.replace(settings.record, rotate_bytes=rotate_bytes)
        with Recorder(dataclasses.replace(settings, record=kept), folder) as recorder:
            recorder.start()
            wait(lambda: recorder.status().packets > 400)
    (made,) = folder.iterdir()
    books.Keeper(Recording(made), 0.05, **SIZES).run()
    return made


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a day; copy it to change it."""
    return recorded(tmp_path_factory.mktemp("days"))


@pytest.fixture
def own(day: Path, tmp_path: Path) -> Path:
    """A copy of that day."""
    shutil.copytree(day, tmp_path / day.name)
    return tmp_path / day.name


def kept_at(day: Path) -> tuple[Path, list[books.Entry]]:
    (path,) = day.glob("*.books")
    with books.BooksFile(path) as file:
        return path, file.cuts(books.Kind.SNAPSHOT)


def test_a_window_goes_on_from_the_snapshot_before_it(own: Path) -> None:
    recording = Recording(own)
    path, snapshots = kept_at(own)
    chosen = [snapshots[1], snapshots[len(snapshots) * 3 // 4]]

    def begun(entry: books.Entry) -> tuple[int, list[str], Held]:
        handler = open_recording(recording, Window(entry.until + 20_000_000), **SIZES)
        return handler.shard.packets_taken, [note for note in handler.notes if "snapshot" in note], rest(handler)

    aided = [begun(entry) for entry in chosen]
    assert not any(notes for _, notes, _ in aided)
    for entry, (packets, _, _) in zip(chosen, aided, strict=True):
        assert entry.packets <= packets
    data = bytearray(path.read_bytes())
    for entry in snapshots:  # they are tried, in truth
        data[entry.at] ^= 1
    path.write_bytes(data)
    damaged = [begun(entry) for entry in chosen]
    assert all(any("is damaged" in note for note in notes) for _, notes, _ in damaged)
    path.unlink()
    unaided = [begun(entry) for entry in chosen]
    for one, other, third in zip(aided, damaged, unaided, strict=True):
        assert (one[0], one[2]) == (other[0], other[2]) == (third[0], third[2])


def test_a_keeper_that_is_started_again_goes_on_from_the_last_snapshot(own: Path) -> None:
    path, snapshots = kept_at(own)
    middle = snapshots[len(snapshots) // 2]
    path.write_bytes(path.read_bytes()[: middle.at + middle.stored + 10])
    kept = books.Keeper(Recording(own), 0.05, **SIZES).run()
    assert kept.resumed
    assert [(one.begin, one.packets) for one in kept_at(own)[1]] == [(one.begin, one.packets) for one in snapshots]
    proof = books.prove(Recording(own), **SIZES)
    assert proof.ok and not proof.damage


@pytest.mark.parametrize("steps", [False, True])
def test_a_replay_into_a_handler_begins_anywhere(day: Path, steps: bool) -> None:
    recording = Recording(day)
    start = kept_at(day)[1][4].until + 20_000_000
    whole = rest(open_recording(recording, Window(start), **SIZES))
    replay = HandlerReplay(recording, Choice(Window(start)), Schedule(steps=steps), steps=steps)
    with replay.open(**SIZES) as handler:
        behind = int(handler.segment.rings["head"][0])
        if steps:
            with replay.source:
                list(replay.steps(handler).step(10_000))
            handler.shard.finish()
        else:
            replay.run(handler)
        assert held(handler, behind) == whole
    twice = HandlerReplay(recording, Choice(Window(start), loops=2), Schedule())
    with pytest.raises(ConfigError, match="a part is played once: leave out --from, or --loop"):
        twice.open(**SIZES)


def test_a_snapshot_of_other_packets_than_there_are_is_not_used(own: Path) -> None:
    path, snapshots = kept_at(own)
    with books.BooksFile(path) as file, open_handler(Recording(own), **SIZES) as handler:
        entry = dataclasses.replace(snapshots[2], packets=10**6)
        with pytest.raises(RecordingError, match="it has seen 1000000 packets, the recording has"):
            books.restore(handler, file, entry)
    with books.BooksFile(path) as file, open_handler(Recording(own), **SIZES) as handler:
        entry = dataclasses.replace(snapshots[2], packets=snapshots[2].packets - 3)
        with pytest.raises(RecordingError, match="does not begin with the packets that it has seen"):
            books.restore(handler, file, entry)


def test_a_ring_without_its_oldest_file_uses_no_snapshot_that_counts_it(tmp_path: Path) -> None:
    """What a snapshot has seen is counted from a beginning that is gone."""
    own = recorded(tmp_path, 1 << 16)
    there = manifest.load(own)
    assert len(there.files) > 1
    (own / there.files[0].name).unlink()
    manifest.save(dataclasses.replace(there, files=there.files[1:], removed=1), own, sync=False)
    path, snapshots = kept_at(own)
    start = Recording(own).first_ts
    window = Window(next(entry.until for entry in snapshots if entry.begin > start + 10**8) + 20_000_000)

    def begun() -> tuple[list[str], Held]:
        handler = open_recording(Recording(own), window, **SIZES)
        return [note for note in handler.notes if "snapshot" in note], rest(handler)

    notes, found = begun()
    assert notes and all("the recording has" in note or "does not begin with" in note for note in notes)
    kept = books.Keeper(Recording(own), 0.05, **SIZES).run()  # and one that is started again has nothing to go on from
    assert not kept.resumed and kept.snapshots > 0
    assert begun() == ([], found)
    proof = books.prove(Recording(own), **SIZES)
    assert proof.ok and not proof.damage
    path.unlink()
    assert begun() == ([], found)


def test_of_some_channels_a_stream_is_played_from_its_beginning(tmp_path: Path) -> None:
    logs = []
    for name in ("BTCUSDT", "ETHUSDT"):  # logs that overlap are channels of their own
        texts = [
            packed({"e": "depthUpdate", "E": 1, "s": name, "U": n, "u": n, "b": [["1.5", str(n)]], "a": []})
            for n in range(1, 40)
        ]
        log = tmp_path / name
        log.write_bytes(b"".join(b"%d %b\n" % (NOON + 10**8 * i, text) for i, text in enumerate(texts)))
        logs.append(log)
    (made,) = import_logs(logs, tmp_path / "days", protocol="binance")
    recording = Recording(made.folder)
    assert len(recording.channels()) == 2
    books.Keeper(recording, 0.5, instruments=64).run()
    window = Window(recording.first_ts + 3 * 10**9)
    for channels in (None, recording.channels()[1:]):
        handler = open_recording(recording, window, channels=channels, instruments=64, ring_events=1 << 12)
        notes = [note for note in handler.notes if "of more channels" in note]
        assert bool(notes) == (channels is not None)
        found = rest(handler)
        assert len(found.books) > 0
    whole = open_recording(recording, channels=recording.channels()[1:], instruments=64, ring_events=1 << 12)
    assert found.books == played(whole).books


def test_books_are_kept_beside_a_recorder(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    with serve("binance", ["BTCUSDT"], rate=400, levels=20) as venue:
        settings = feed(venue, 2, "recorder")
        settings = dataclasses.replace(settings, record=dataclasses.replace(settings.record, books_s=1))
        with Recorder(settings, tmp_path) as recorder:
            recorder.start()
            wait_for(lambda: recorder.status().packets > 100, what="texts")
    assert recorder.error is None
    assert any("snapshots of the books" in note for note in recorder.notes), list(recorder.notes)
    (day,) = tmp_path.iterdir()
    told = CliRunner().invoke(cli.app, ["check", str(day), "--books"])
    assert told.exit_code == 0 and "hashes are as they were" in " ".join(told.output.split()), told.output


LOGS = {
    "binance": ["binance/cf-BINANCE.ws.1.0.gz", "binance/cf-BINANCE.http.0.0.gz"],
    "binance_usdm": ["binance/cf-BINANCE_FUTURES.ws.1.0.gz", "binance/cf-BINANCE_FUTURES.http.0.0.gz"],
    "bitstamp": ["bitstamp/BITSTAMP.ws.1.0.gz", "bitstamp/BITSTAMP.http.0.0.gz"],
    "coinbase": ["coinbase/COINBASE.ws.28.0.gz"],
    "kraken": ["kraken/KRAKEN.ws.48.0.gz"],
}


@pytest.mark.parametrize("name", sorted(LOGS))
def test_an_imported_log_proves_itself(name: str, shared_data: Path, tmp_path: Path) -> None:
    (made,) = import_logs([shared_data / "crypto" / log for log in LOGS[name]], tmp_path)
    proof = proved(made.folder, 2.0, 14)
    assert proof.snapshots == proof.hashes
