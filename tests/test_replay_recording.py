"""Recordings onto the wire, to TCP clients and into handlers: what comes out of them, and when."""

import itertools
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_book import blocks
from test_replay_sender import listeners
from test_simulate_multicast import MARKET, day, run, unwrap
from test_simulate_soup import Client

from feedhandler import decode, session
from feedhandler.decode import interpret
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.handler import Handler, open_recording, play
from feedhandler.line import Arbiter
from feedhandler.receive import capture
from feedhandler.recording import Recording, Window
from feedhandler.records import Reason
from feedhandler.replay import Choice, HandlerReplay, Rewrite, Steps, WireReplay, messages
from feedhandler.replay._picker import Picker
from feedhandler.replay._repacked import Repacked
from feedhandler.replay.source import Source, opening
from feedhandler.simulate import Exchange, SoupServer, write
from feedhandler.simulate._schedule import Schedule

__all__ = ["listeners"]
QUICK = {**MARKET, "duration_s": 1}
LINES = [("239.1.1.1", 4001), ("239.1.1.2", 4002)]
SIZES = {"orders": 10_000, "instruments": 64, "ring_events": 1 << 15}


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A day on two lines, B later than A."""
    path = tmp_path / "day.pcapng"
    write(path, Exchange(**QUICK), lines=LINES, skew_us=30, session="S1")
    return path


def sides(path: Path) -> list[list[bytes]]:
    return [[data for _, target, data in capture.read(path) if target == line] for line in LINES]


def drained(source: Source) -> list[tuple[int, int, bytes]]:
    """Everything that a source has to give."""
    taken: list[tuple[int, int, bytes]] = []
    with source:
        while not source.ahead.ended:
            taken += source.ahead.drain()
    assert source.error is None
    return taken


# -- onto the wire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [{"speed": 10.0}, {"rate": 20_000.0}, {"speed": None}])
def test_a_recording_s_packets_are_sent_again_as_they_were(tmp_path, listeners, pace) -> None:
    recorded = tmp_path / "short.pcapng"  # what a socket of any size keeps
    write(recorded, Exchange(**{**QUICK, "messages": 800}), lines=LINES, skew_us=30, session="S1")
    want, got = sides(recorded), [[], []]

    def receive(line: int) -> None:
        got[line] += [listeners[line].recv(2000) for _ in want[line]]

    threads = [threading.Thread(target=receive, args=(line,)) for line in (0, 1)]
    for thread in threads:
        thread.start()
    rules = [f"{name}={listener.getsockname()[0]}:{listener.getsockname()[1]}" for name, listener in
             zip(("239.1.1.1:4001", "B"), listeners, strict=True)]  # fmt: skip
    seen: list[int] = []
    with WireReplay(Recording(recorded), rewrite=Rewrite(rules), spin=False, **pace) as played:
        played.run(seen.append)
    for thread in threads:
        thread.join(10)
    assert got == want
    outcome = played.outcome()
    assert outcome["packets"] == sum(map(len, want)) and outcome["passes"] == 1
    assert [line["packets"] for line in outcome["lines"]] == [len(side) for side in want]
    assert [line["port"] for line in outcome["lines"]] == [listener.getsockname()[1] for listener in listeners]
    assert outcome["pacing"]["packets"] == outcome["packets"]
    assert (outcome["pacing"]["p99_ns"] is None) == (pace == {"speed": None})
    assert seen == sorted(seen) and seen[-1] <= recorded.stat().st_size == played.source.done


def test_rewrites_are_checked_against_the_lines(recorded) -> None:
    lines = Recording(recorded).lines
    channel = lines[0].channel
    assert Rewrite().apply(lines) == LINES
    one = Rewrite([f"{channel}/A=239.9.9.9:1", "239.1.1.2:4002=10.0.0.1:2"])
    assert one.apply(lines) == [("239.9.9.9", 1), ("10.0.0.1", 2)] and one
    for rules, word in (
        (["Z=239.9.9.9:1"], "no line 'Z' to rewrite; there are: itch50-0/A"),
        (["239.1.1.1:4001"], "FROM=ADDRESS:PORT"),
        (["A=239.1.1.1:0"], "FROM=ADDRESS:PORT"),
        (["A=:1"], "FROM=ADDRESS:PORT"),
        (["A=1.1.1.1:1", "A=1.1.1.1:2"], "two rewrites of A"),
    ):
        with pytest.raises(ConfigError, match=word):
            Rewrite(rules).apply(lines)


def test_a_loop_is_paced_through_and_keeps_numbers(recorded) -> None:
    once = Recording(recorded).receiver().drain()
    looped = drained(Source(Recording(recorded), Choice(loops=3)))
    assert [(line, payload) for line, _, payload in looped] == [(line, payload) for line, _, payload in once] * 3
    period = looped[len(once)][1] - looped[0][1]
    span = once[-1][1] - once[0][1]
    assert period == span + span // (len(once) - 1)
    for n, (ts, _) in enumerate(itertools.product(range(3), once)):
        assert looped[n][1] - looped[0][1] == ts * period + once[n % len(once)][1] - once[0][1]
    with pytest.raises(ConfigError, match="0 for ever"):
        Choice(loops=-1)
    endless = Source(Recording(recorded), Choice(loops=0))
    assert endless.size is None
    with endless:
        assert len(endless.ahead.drain(10_000)) + len(endless.ahead.drain(10_000)) >= 0
        while endless.passes < 3:
            endless.ahead.drain()


def test_windows_and_channels_and_several_files(recorded, tmp_path) -> None:
    whole = Recording(recorded).receiver().drain()
    half = (whole[0][1] + whole[-1][1]) // 2
    first = drained(Source(Recording(recorded), Choice(Window(None, half))))
    rest = drained(Source(Recording(recorded), Choice(Window(half, None))))
    assert first + rest == whole and first and rest
    other = tmp_path / "other.pcap"
    write(other, Exchange(**{**QUICK, "seed": 9}), lines=[("239.1.1.7", 4007)], session="S2")
    both = Recording(recorded, other)
    names = both.channels()
    assert len(names) == 2
    merged = drained(Source(both, Choice()))
    assert [ts for _, ts, _ in merged] == sorted(ts for _, ts, _ in merged)
    assert {line for line, _, _ in merged} == {0, 1, 2}
    assert drained(Source(both, Choice(channels=(names[0],)))) == whole


def test_unknown_groups_go_along_and_what_went_to_one_host_is_left_out(recorded, tmp_path) -> None:
    path = tmp_path / "mixed.pcap"
    with capture.PcapWriter(path) as file:
        for ts, target, data in capture.read(recorded):
            file.write(ts, b"a question", ("10.0.0.53", 53))
            file.write(ts, b"what is this?", ("239.7.7.7", 7777))
            file.write(ts, data, target)
    source = Source(Recording(path), Choice())
    assert [line.destination for line in source.lines] == [*LINES, ("239.7.7.7", 7777)]
    assert [line.destination for line in source.left_out] == [("10.0.0.53", 53)]
    with WireReplay(Recording(path), rewrite=Rewrite(["10.0.0.53:53=239.9.9.9:9"])) as played:
        assert sorted(played.destinations) == sorted([*LINES, ("239.7.7.7", 7777), ("239.9.9.9", 9)])
    with capture.PcapWriter(tmp_path / "single.pcap") as file:
        file.write(10**18, b"a question", ("10.0.0.53", 53))
    with pytest.raises(ConfigError, match="went to single hosts"):
        Source(Recording(tmp_path / "single.pcap"), Choice())
    packets = drained(source)
    whole = Recording(recorded).receiver().drain()
    assert [packet for packet in packets if packet[0] < 2] == whole
    assert {payload for line, _, payload in packets if line == 2} == {b"what is this?"}
    assert len(packets) == 2 * len(whole)


def test_damage_is_told_after_everything_before_it(recorded, listeners) -> None:
    cut = recorded.read_bytes()[: recorded.stat().st_size // 2]
    recorded.write_bytes(cut)
    with (
        WireReplay(Recording(recorded), speed=None, groups=[listeners[0].getsockname()]) as played,
        pytest.raises(CaptureError),
    ):
        played.run()
    assert played.outcome()["packets"] == len(list(Recording(recorded).receiver().drain())) > 100


# -- messages in new packets ------------------------------------------------------------------------------------------


def picked(symbols: Sequence[str]) -> list[bytes]:
    """The messages of a simulated day that belong to these symbols, by the plain interpreter."""
    table = decode.protocol("itch50")
    named: dict[int, str] = {}
    found = []
    for message in day(**QUICK):
        view = interpret.decode(table, message)
        locate = int(view["locate"])
        if "stock" in view:
            named[locate] = str(view["stock"])
        if locate == 0 or named[locate] in symbols:
            found.append(message)
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_symbols_are_picked_into_packets_under_new_numbers(recorded, count) -> None:
    symbols = Exchange(**QUICK).symbols[1 : 1 + count]
    packets = drained(Source(Recording(recorded), Choice(symbols=tuple(symbols))))
    for line in (0, 1):
        got = [(ts, payload) for number, ts, payload in packets if number == line]
        assert unwrap(got, b"S1        ") == picked(symbols)
        assert [ts for ts, _ in got] == sorted(ts for ts, _ in got)
    whole = open_recording(Recording(recorded), **SIZES)
    part = HandlerReplay(Recording(recorded), Choice(symbols=tuple(symbols)), Schedule())
    with whole, Handler(Recording(recorded).config(**SIZES), receiver=part.receiver, anonymous=True) as handler:
        play(whole)
        part.run(handler)
        for symbol in symbols:
            assert shown(handler, symbol) == shown(whole, symbol)


def events_of(handler: Handler) -> bytes:
    """All events as they stand in the ring, receive times and lines included."""
    return handler.segment.slots[1 : int(handler.segment.rings["head"][0]) + 1].tobytes()


def shown(handler: Handler, symbol: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    place = handler.segment.directory["symbol"].tolist().index(symbol.encode())
    _, bids, asks = handler.book(place)
    return bids.tolist(), asks.tolist()


def test_picking_may_begin_in_the_middle_of_a_day(recorded) -> None:
    whole = Recording(recorded).receiver().drain()
    half = whole[len(whole) // 2][1]
    symbols = tuple(Exchange(**QUICK).symbols[:2])
    everything = drained(Source(Recording(recorded), Choice(symbols=symbols)))
    packets = drained(Source(Recording(recorded), Choice(Window(half, None), symbols=symbols)))
    assert packets == [packet for packet in everything if packet[1] >= half]  # under the same numbers
    assert 0 < len(packets) < len(everything)
    part = HandlerReplay(Recording(recorded), Choice(Window(half, None), symbols=symbols), Schedule())
    with Handler(Recording(recorded).config(**SIZES), receiver=part.receiver, anonymous=True) as handler:
        part.run(handler)
        assert int(handler.segment.channels["reason"][0]) == Reason.JOINED_LATE


def test_messages_without_numbers_go_without(tmp_path) -> None:
    with capture.PcapWriter(tmp_path / "blank.pcap") as file:
        for n in range(4):
            message = b"S\0\0\0\0" + struct.pack(">HI", 0, n) + b"O"
            packet = struct.pack(">10sQHH", b" " * 10, 0, 1, len(message)) + message
            file.write(10**18 + n * 1000, packet, LINES[0])
    recording = Recording(tmp_path / "blank.pcap", protocol="itch50")
    packets = drained(Source(recording, Choice(symbols=("ANY",))))
    assert [payload for _, _, payload in packets] == [
        p for _, _, p in Recording(tmp_path / "blank.pcap", protocol="itch50").receiver().drain()
    ]


def test_a_picker_knows_symbols_and_ids(recorded) -> None:
    directory = [message for message in day(**QUICK) if message[:1] == b"R"]
    symbol = directory[0][11:19].decode().strip()
    picker = Picker("itch50", [symbol])
    add = next(m for m in day(**QUICK) if m[:1] == b"X" and m[1:3] == directory[0][1:3])
    assert not picker.picks(add)  # nobody has named the id yet
    assert picker.picks(directory[0]) and not picker.picks(directory[1])
    assert picker.picks(add)
    assert picker.picks(b"") and picker.picks(b"?unknown") and picker.picks(add[:3])
    assert picker.picks(b"S\0\0" + bytes(9))
    several = Picker("itch50", [symbol, "NOPE"])
    assert several.unmet == [symbol, "NOPE"]
    assert several.picks(directory[0]) and several.unmet == ["NOPE"]
    deep = Picker("iex_deep", ["ZIEXT"])
    assert deep.picks(b"8\0" + bytes(8) + b"ZIEXT   " + bytes(12)) and not deep.picks(
        b"8\0" + bytes(8) + b"AAPL    " + bytes(12)
    )
    for wrong in ("", "TOOLONGNAME", "A B", "Ä"):
        with pytest.raises(ConfigError, match="is no symbol"):
            Picker("itch50", [wrong])


def test_messages_at_a_rate_are_spread_evenly(recorded) -> None:
    packets = drained(Source(Recording(recorded), Choice(rate=1000.0)))
    mine = [
        (ts, payload) for line, ts, payload in packets if line == 0 and payload[18:20] not in (b"\0\0", b"\xff\xff")
    ]
    assert [ts for ts, _ in mine] == [
        n * 1_000_000 for n in range(len(mine))
    ]  # one message a packet, a millisecond apart
    assert [message for _, payload in mine for message in blocks(payload[20:])] == day(**QUICK)


def mold(path: Path, numbers: Sequence[tuple[int, int]], session: bytes = b"S1") -> Recording:
    """A recording of packets of one message each: (line, number)."""
    with capture.PcapWriter(path) as file:
        for n, (line, number) in enumerate(numbers):
            message = b"S\0\0\0\0" + struct.pack(">HI", 0, number) + b"O"
            packet = struct.pack(">10sQHH", session.ljust(10), number, 1, len(message)) + message
            file.write(10**18 + n * 1000, packet, LINES[line])
    return Recording(path, protocol="itch50")


def test_a_gap_stays_a_gap_and_what_the_other_line_fills_is_none(tmp_path) -> None:
    recording = mold(tmp_path / "holes.pcap", [(0, 5), (0, 6), (1, 5), (0, 8), (1, 7), (1, 8), (0, 12), (0, 13)])
    packets = drained(Source(recording, Choice(symbols=("ANY",))))
    heads = [struct.unpack_from(">QH", payload, 10) for line, _, payload in packets if line == 1]
    numbers = [first + n for first, count in heads for n in range(count)]
    assert numbers == [2, 3, 4, 5, 9, 10]  # begun late, and 9 to 11 are missing: three numbers are left out
    assert opening(recording, Choice()) == ("S1", 5)


def test_iex_packets_are_packed_anew_as_iex_packets(tmp_path) -> None:
    head = struct.Struct("<BBHIIHHqqq")
    prices = [b"8\0" + struct.pack("<q", 10**18) + name.ljust(8) + bytes(12) for name in (b"ZIEXT", b"AAPL")]
    with capture.PcapWriter(tmp_path / "deep.pcap") as file:
        for n in range(6):
            body = b"".join(struct.pack("<H", len(price)) + price for price in prices)
            offset, first = 2 * 32 * n, 1 + 2 * n
            packet = head.pack(1, 0, 0x8004, 1, 77, len(body), 2, offset, first, 10**18 + n) + body
            for line in LINES:
                file.write(10**18 + n, packet, line)
        beat = head.pack(1, 0, 0x8004, 1, 77, 0, 0, 2 * 32 * 6, 13, 10**18 + 9)
        file.write(10**18 + 9, beat, LINES[1])
    recording = Recording(tmp_path / "deep.pcap", protocol="iex_deep")
    packets = drained(Source(recording, Choice(symbols=("ZIEXT",))))
    body = struct.pack("<H", len(prices[0])) + prices[0]
    want = [head.pack(1, 0, 0x8004, 1, 77, 32, 1, 32 * n, 1 + n, 10**18 + n) + body for n in range(6)]
    assert [payload for line, _, payload in packets if line == 0] == want
    beat = head.pack(1, 0, 0x8004, 1, 77, 0, 0, 32 * 6, 7, 10**18 + 9)
    assert [payload for line, _, payload in packets if line == 1] == [*want, beat]


# -- one session ------------------------------------------------------------------------------------------------------


def test_a_binary_file_s_messages_are_sent_in_packets(tmp_path, listeners) -> None:
    path = tmp_path / "day.itch.gz"
    write(path, Exchange(**QUICK))
    with messages(Recording(path), Choice()) as found:
        _, got = run(listeners[:1], found.blocks, rate=100_000)
    assert unwrap(got[0]) == day(**QUICK)


@pytest.mark.parametrize("name", ["day.itch", "day.pcapng.zst"])
@pytest.mark.parametrize("pace", [{}, {"speed": 20.0}])
def test_messages_are_served_over_soupbintcp(tmp_path, name, pace) -> None:
    write(tmp_path / name, Exchange(**QUICK))
    with messages(Recording(tmp_path / name), Choice()) as found:
        server = SoupServer(**pace)
        thread = threading.Thread(target=server.run, args=(found.blocks,))
        thread.start()
        assert Client(server.port).rest() == day(**QUICK)
        thread.join(10)
    assert server.kept.figures["sends"] == 3000


def test_a_session_is_served_under_its_own_numbers(tmp_path) -> None:
    recording = mold(tmp_path / "late.pcap", [(0, 5), (1, 5), (0, 6), (0, 9)])
    name, first = opening(recording, Choice())
    with messages(recording, Choice()) as found:
        server = SoupServer(session=name, first=first)
        thread = threading.Thread(target=server.run, args=(found.blocks,))
        thread.start()
        client = Client(server.port, 6, session="S1")
        kind, accepted = next(client.packets())
        assert (kind, accepted[:10].strip(), int(accepted[10:])) == ("A", b"S1", 6)
        assert [message[7:11] for message in client.rest()] == [struct.pack(">I", n) for n in (6, 9)]
        thread.join(10)
    assert found.source.missing == 2


def test_damage_ends_a_session_and_is_told(tmp_path) -> None:
    path = tmp_path / "day.itch"
    write(path, Exchange(**QUICK))
    path.write_bytes(path.read_bytes()[:-10])
    server = SoupServer()
    client = threading.Thread(target=lambda: Client(server.port).rest())
    client.start()
    with pytest.raises(CaptureError), messages(Recording(path), Choice()) as found:
        server.run(found.blocks)
    client.join(10)
    assert server.stats["messages"] == 2999


def test_what_cannot_be_one_session_is_refused(recorded, tmp_path) -> None:
    write(tmp_path / "other.pcap", Exchange(**QUICK), lines=[("239.1.1.7", 4007)], session="S2")
    with (
        pytest.raises(ConfigError, match="choose it with --channels"),
        messages(Recording(recorded, tmp_path / "other.pcap"), Choice()),
    ):
        pass
    with pytest.raises(ConfigError, match="cannot be played in a loop"), messages(Recording(recorded), Choice(loops=2)):
        pass


# -- into a handler ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pace", [{"speed": 20.0}, {"rate": 50_000.0}])
def test_a_handler_makes_the_same_events_at_any_pace(recorded, pace) -> None:
    with open_recording(Recording(recorded), **SIZES) as whole:
        play(whole)
        want = events_of(whole)
        books = {symbol: shown(whole, symbol) for symbol in Exchange(**QUICK).symbols}
    played = HandlerReplay(Recording(recorded), Choice(), Schedule(**pace))
    with played.open(**SIZES) as handler:
        played.run(handler)
        assert events_of(handler) == want and len(want) > 64 * 1000
        assert {symbol: shown(handler, symbol) for symbol in books} == books
    assert played.report.packets == len(Recording(recorded).receiver().drain())


def test_a_handler_that_begins_in_the_middle_has_what_came_before(recorded) -> None:
    packets = Recording(recorded).receiver().drain()
    window = Window(packets[len(packets) // 2][1], None)
    with open_recording(Recording(recorded), **SIZES) as whole:
        play(whole)
        books = {symbol: shown(whole, symbol) for symbol in Exchange(**QUICK).symbols}
    for steps in (False, True):
        played = HandlerReplay(Recording(recorded), Choice(window), Schedule(speed=50), steps=steps)
        with played.open(**SIZES) as handler:
            if steps:
                with played.source:
                    assert len(list(played.steps(handler).step(1 << 30))) == len(packets) - len(packets) // 2
            else:
                played.run(handler)
            assert {symbol: shown(handler, symbol) for symbol in books} == books


def test_steps_go_one_by_one_and_say_what_went(recorded) -> None:
    packets = Recording(recorded).receiver().drain()
    sent: list[tuple[int, int, bytes]] = []
    source = Source(Recording(recorded), Choice())
    with source:
        steps = Steps(source, lambda *packet: sent.append(packet))
        said = [*steps.step(), *steps.step(4)]
        assert sent == packets[:5]
        assert (
            "S1 1  S×1" in said[0]
            and "S1 3..6" in said[4]
            and "itch50-0/A (239.1.1.1:4001)" in said[0]
            and "bytes" in said[0]
        )
        rest = list(steps.step(1 << 30))
        assert sent == packets and len(rest) == len(packets) - 5
        assert list(steps.step()) == []
    assert steps.packets == len(packets)
    played = HandlerReplay(Recording(recorded), Choice(), Schedule(), steps=True)
    with played.open(**SIZES) as handler, played.source:
        stepping = played.steps(handler)
        assert len(list(stepping.step(3))) == 3
        assert sum(handler.types.values()) > 0


# -- hostile bytes ----------------------------------------------------------------------------------------------------


def damage(packet: bytes, at: int, value: int, keep: int) -> bytes:
    """A packet with one byte changed, cut or not."""
    spoiled = bytearray(packet)
    spoiled[at % len(spoiled)] = value
    return bytes(spoiled[: max(1, keep % (2 * len(spoiled)))])


@pytest.mark.wire
@given(
    numbers=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 20), st.integers(0, 4)), min_size=1, max_size=30),
    damages=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 200), st.integers(0, 255), st.integers(0, 400))),
    picks=st.booleans(),
)
def test_whatever_comes_whole_packets_go_out_in_sequence(tmp_path_factory, numbers, damages, picks) -> None:
    messages_of = day(**QUICK)[1:25]
    packets = []
    for line, first, count in numbers:
        body = b"".join(len(m).to_bytes(2, "big") + m for m in messages_of[first : first + count])
        packets.append((line, struct.pack(">10sQH", b"S1        ", first, count) + body))
    for place, at, value, keep in damages:
        line, packet = packets[place % len(packets)]
        packets[place % len(packets)] = line, damage(packet, at, value, keep)
    path = tmp_path_factory.mktemp("hostile") / "hostile.pcap"
    with capture.PcapWriter(path) as file:
        for n, (line, packet) in enumerate(packets):
            file.write(10**18 + n, packet, LINES[line])
    arbiter = Arbiter(2, window_messages=64, offline=True)
    picker = Picker("itch50", ["AAPL"]) if picks else None
    framings = [session.framing("moldudp64") for _ in "AB"]
    with Repacked(2, capture.receiver(path, LINES), [(framings, arbiter, picker, "moldudp64", 2)], mtu=100) as repacked:
        out = repacked.drain()
        assert repacked.sent <= repacked.taken
    check = session.framing("moldudp64")
    following: dict[bytes, int] = {}
    for line, _, packet in out:
        ((frame, found),) = check.feed(packet)
        assert frame["kind"] in ("data", "heartbeat", "end", "unsequenced")
        if line == 0 and found and frame["first_seq"]:
            assert frame["first_seq"] >= following.get(frame["session"], 1)
            following[frame["session"]] = frame["first_seq"] + len(found)
        assert len(packet) <= 100 or len(found) == 1


@pytest.mark.wire
@pytest.mark.parametrize("protocol", ["itch50", "iex_deep"])
@given(data=st.binary(max_size=60))
def test_a_picker_takes_any_bytes(protocol, data) -> None:
    picker = Picker(protocol, ["AAPL", "MSFT"])
    for kind in range(256):
        assert picker.picks(bytes([kind]) + data) in (True, False)
