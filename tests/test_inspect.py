"""inspect: what passes its sieve is what the plain interpreter would have chosen; shown as table, JSON lines, bytes."""

from __future__ import annotations

import json
import operator
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from conftest import Processes
from hypothesis import given
from simulated_days import day
from strategies import any_wire
from test_recording_streams import broken_off
from typer.testing import CliRunner

from feedhandler.cli import app
from feedhandler.decode import interpret, protocol, tabled
from feedhandler.errors import ConfigError, RecordingError
from feedhandler.listing import Listing, Wanted, between
from feedhandler.receive.capture_writer import BinaryFileWriter, PcapWriter
from feedhandler.recording import Recording, Window
from feedhandler.rehearse._packets import PacketQueue
from feedhandler.research._sieve import Sieve
from feedhandler.research.conditions import Condition
from feedhandler.session import framing

ROOT = Path(__file__).resolve().parent.parent
ITCH = protocol("itch50")


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return day(tmp_path_factory.mktemp("days") / "day.pcap")


def conditions(*texts: str) -> Wanted:
    return Wanted(where=tuple(map(Condition.parse, texts)))


CHOICES = {
    "types": (Wanted(types=frozenset("AU")), lambda e, lines: e.type in "AU"),
    "symbols": (Wanted(symbols=frozenset({"AAPL", "NVDA"})), lambda e, lines: e.symbol in ("AAPL", "NVDA")),
    "lines": (Wanted(lines=frozenset("B")), lambda e, lines: lines[e.line] == "B"),
    "numbers": (Wanted(numbers=(100, 131)), lambda e, lines: 100 <= e.seq <= 131),
    "shares": (conditions("shares>=500"), lambda e, lines: e.fields.get("shares", 0) >= 500),
    "side": (
        conditions("side==S", "shares!=100"),
        lambda e, lines: e.fields.get("side") == "S" and e.fields["shares"] != 100,
    ),
    "price": (conditions("price<150.005"), lambda e, lines: e.fields.get("price", 10**18) < 150_005_000_000),
    "stock": (conditions("stock=MSFT"), lambda e, lines: e.fields.get("stock") == "MSFT"),
    "never": (conditions("shares<0"), lambda e, lines: False),
    "fraction": (conditions("shares!=0.5"), lambda e, lines: "shares" in e.fields),
    "all": (
        Wanted(frozenset("A"), frozenset({"MSFT"}), frozenset("A"), (1, 800), (Condition.parse("shares<=300"),)),
        lambda e, lines: (
            (e.type, e.symbol, lines[e.line]) == ("A", "MSFT", "A") and e.seq <= 800 and e.fields["shares"] <= 300
        ),
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_sieve_passes_what_the_plain_interpreter_would(recorded: Path, name: str) -> None:
    wanted, oracle = CHOICES[name]
    with Listing(recorded) as whole, Listing(recorded, wanted) as listing:
        everything, found = list(whole), list(listing)
        assert found == [entry for entry in everything if oracle(entry, whole.lines)]
        assert bool(found) == (name != "never") and len(found) < len(everything)
        assert (listing.read, listing.types) == (whole.read, whole.types)
        assert whole.types == Counter(entry.type for entry in everything)


EQUAL = {"==": operator.eq, "!=": operator.ne}
COMPARE = EQUAL | {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@pytest.mark.wire
@pytest.mark.parametrize("name", sorted(tabled()))
@given(data=st.data())
def test_any_condition_on_any_message_of_any_protocol(name: str, data: st.DataObject) -> None:
    table = protocol(name)
    wires = data.draw(st.lists(any_wire(table) | st.binary(max_size=60), min_size=1, max_size=8))
    cut = data.draw(st.integers(0, len(wires) - 1))
    wires[cut] = wires[cut][: data.draw(st.integers(0, 80))]
    field = data.draw(st.sampled_from([f for m in table.messages for f in m.layout.values() if f.type.size <= 8]))
    sign = data.draw(st.sampled_from(list(EQUAL) if field.type.kind in ("char", "alpha") else list(COMPARE)))
    seen = [view for wire in wires if (view := plain(table, wire)) and field.name in view]
    bits = st.integers(-(2**64), 2**64) | st.sampled_from([0, 1, 2**63, -(2**63)])
    value: Any = data.draw(st.sampled_from([view[field.name] for view in seen]) if seen else bits)
    kinds = {m.layout[field.name].type.kind for m in table.messages if field.name in m.layout}
    if len(kinds) != 1 or (isinstance(value, str) and (not value.strip() or value != value.strip(" '\""))):
        return
    text = f"{value // 10**9}.{value % 10**9:09}" if field.type.kind == "price" and value >= 0 else str(value)
    if field.type.kind == "price" and value < 0:
        return
    condition = Condition(field.name, sign, text)
    queue = PacketQueue(1)
    order = "big" if table.byte_order == "big" else "little"
    packet = b"S" * 10 + (7).to_bytes(8, "big") + len(wires).to_bytes(2, "big")
    queue.put(0, 5, packet + b"".join(len(wire).to_bytes(2, "big") + wire for wire in wires))
    sieve = Sieve(queue, [(framing("moldudp64"), 0, 0)], [order == "big"])
    for message in table.messages:
        sieve.describe(0, ord(message.type), message.length, 0, 0, 0)
    for number, message, rule in condition.rules([table]):
        sieve.rule(0, number, ord(message.type), *rule)
    expected = [
        (7 + i, 5, 0, b"", wire)
        for i, wire in enumerate(wires)
        if (view := plain(table, wire)) and field.name in view and COMPARE[sign](view[field.name], value)
    ]
    assert sieve.take() == expected and sieve.read == len(wires)


def plain(table: Any, wire: bytes) -> dict[str, int | str] | None:
    try:
        return interpret.decode(table, wire)
    except interpret.MalformedError:
        return None


@pytest.mark.wire
@given(st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=80)), max_size=12))
def test_noise_passes_the_sieve_without_harm(packets: list[tuple[int, bytes]]) -> None:
    queue = PacketQueue(2)
    for number, (line, payload) in enumerate(packets):
        queue.put(line, number, payload)
    sieve = Sieve(queue, [(framing("moldudp64"), 0, 0), (framing("iextp"), 1, 1)], [True, False])
    for number, table in enumerate((ITCH, protocol("iex_deep"))):
        for message in table.messages:
            symbol = table.symbol_of(message)
            locate = message.layout.get("locate")
            where = (symbol.offset, symbol.type.size) if symbol else (0, 0)
            sieve.describe(number, ord(message.type), message.length, locate.offset if locate else 0, *where)
    sieve.only_symbols([b"AAPL"])
    assert all(symbol == b"AAPL" for _, _, _, symbol, _ in sieve.take())
    assert sieve.read + sieve.refused >= 0 and not sieve.ended


def test_a_stream_goes_on_with_a_whole_message_in_its_next_connection(tmp_path: Path) -> None:
    for how, count in (("between messages", 50), ("in a message", 50), ("gone at the end", 30)):
        with Listing(broken_off(tmp_path / "x.pcap", how)) as listing:
            assert len(list(listing)) == count
            assert listing.types == {"Y": count}


def test_a_window_of_a_stream_is_what_came_in_it(tmp_path: Path) -> None:
    recording = Recording(broken_off(tmp_path / "x.pcap", "between messages"))
    with Listing(recording) as listing:
        every = list(listing)
    start, end = every[20].ts_recv, every[40].ts_recv
    with Listing(recording, window=Window(start, end)) as listing:
        part = list(listing)
    assert part == [entry for entry in every if start <= entry.ts_recv < end] and 0 < len(part) < len(every)


def test_conditions_say_what_is_wrong_with_them() -> None:
    for text, words in (
        ("shares", "is no condition: a field, one of == != < <= > >=, a value"),
        ("prize>1", "has a field 'prize'; the nearest are price"),
        ("side>B", "side is text: compare it with == or !=, not >"),
        ("shares>many", "shares is a number; 'many' is none"),
    ):
        with pytest.raises(ConfigError, match=words):
            list(Condition.parse(text).rules([ITCH]))


def test_a_window_knows_the_names_that_were_given_before_it(recorded: Path) -> None:
    recording = Recording(recorded)
    window = Window(recording.find("+20s"), recording.find("+21s"))
    with Listing(recording, window=window) as listing, Listing(recorded) as whole:
        inside = [entry for entry in whole if window.start <= entry.ts_recv < window.end]  # type: ignore[operator]
        assert list(listing) == inside != []
        assert {entry.symbol for entry in inside if entry.type == "D"} <= {"AAPL", "AMZN", "MSFT", "NVDA"}
    done = run(recorded, "--from", "+20s", "--to", "+21s", "--symbols", "MSFT,AAPL", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["seq"] for row in rows] == [entry.seq for entry in inside if entry.symbol in ("MSFT", "AAPL")]


def test_files_without_times_go_by_the_exchanges_clock(tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    with BinaryFileWriter(path) as file:
        for second in range(10):
            file.write(interpret.encode(ITCH, "order_delete", timestamp=(34_200 + second) * 10**9, order_id=second))
        file.end()
    done = run(path, "--protocol", "itch50", "--from", "09:30:02", "--to", "09:30:04.5", "--json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [3, 4, 5]
    with pytest.raises(RecordingError, match="name one of the exchange's day, as 09:30"):
        between(Recording(path, protocol="itch50"), "+5s", "")


def test_the_bytes_stand_beside_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "day.itch"
    with BinaryFileWriter(path) as file:
        fields = {"order_id": 77, "side": "B", "shares": 100, "price": 1_500_000_000}
        file.write(
            interpret.encode(ITCH, "add_order", locate=1, timestamp=34_200 * 10**9, stock="AAPL", **fields) + b"xy"
        )
        file.write(b"A\x00\x01\x02")
        file.write(b"?abc")
    done = run(path, "--protocol", "itch50", "--hex")
    assert done.stdout.splitlines() == [
        "        1 file 09:30:00.000000000 AAPL     A add_order",
        "            0  41                       type              A",
        "            1  00 01                    locate            1",
        "            3  00 00                    tracking          0",
        "            5  1f 1a ce d9 f0 00        timestamp         34200000000000",
        "           11  00 00 00 00 00 00 00 4d  order_id          77",
        "           19  42                       side              B",
        "           20  00 00 00 64              shares            100",
        "           24  41 41 50 4c 20 20 20 20  stock             AAPL",
        "           32  00 00 3a 98              price             1.5000",
        "           36  78 79                    beyond the table",
        "        2 file                             A add_order add_order: 4 bytes, the table says 36",
        "            0  41        type  A",
        "            1  00 01 02",
        "        3 file                             ? unknown",
        "            0  3f        type  ?",
        "            1  61 62 63",
    ]
    rows = [json.loads(line) for line in run(path, "--protocol", "itch50", "--hex", "--json").stdout.splitlines()]
    assert [row["wire"] for row in rows][1:] == ["41000102", "3f616263"]


def test_numbers_of_the_feed_and_wrong_usage(recorded: Path) -> None:
    def numbers(text: str) -> list[int]:
        done = run(recorded, "--seq", text, "--line", "A", "--json", "--limit", "50")
        assert done.exit_code == 0, done.stderr
        return [json.loads(line)["seq"] for line in done.stdout.splitlines()]

    assert numbers("100..103") == [100, 101, 102, 103]
    assert numbers("7") == [7]
    assert numbers("..2") == [1, 2]
    assert numbers("1990..")[:2] == [1990, 1991]
    for wrong in ("..", "a..b", "3-5", "-3"):
        done = run(recorded, f"--seq={wrong}")
        assert done.exit_code == 2 and "FIRST..LAST" in done.stderr
    with pytest.raises(ConfigError, match="no line 'Z'; there are A, B"):
        Listing(recorded, Wanted(lines=frozenset("Z")))
    assert "no message is all that was asked for" in run(recorded, "--where", "shares<0").stderr


def test_several_recordings_are_one(tmp_path: Path) -> None:
    paths = [day(tmp_path / f"{name}.pcap", messages=500, seed=seed) for name, seed in (("a", 1), ("b", 2))]
    both = [json.loads(line) for line in run(*paths, "--json").stdout.splitlines()]
    single = [len(run(path, "--json").stdout.splitlines()) for path in paths]
    assert len(both) == sum(single)
    assert [row["ts_recv"] for row in both] == sorted(row["ts_recv"] for row in both)


def test_a_file_that_still_grows_is_followed(tmp_path: Path, processes: Processes) -> None:
    path = tmp_path / "feed.pcap"
    target = ("239.192.0.1", 26400)

    def packet(number: int) -> bytes:
        message = interpret.encode(ITCH, "order_delete", locate=1, timestamp=number, order_id=number)
        return b"SESSION001" + number.to_bytes(8, "big") + b"\0\1" + len(message).to_bytes(2, "big") + message

    writer = PcapWriter(path)
    for number in range(1, 4):
        writer.write(1_700_000_000_000_000_000 + number, packet(number), target)
    writer.file.flush()
    command = [sys.executable, "-m", "feedhandler", "inspect", path, "--protocol", "itch50", "--follow", "--json"]
    child = processes.start(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert child.stdout is not None and child.stderr is not None
    assert [json.loads(child.stdout.readline())["seq"] for _ in range(3)] == [1, 2, 3]
    writer.write(1_700_000_000_000_000_004, packet(4), target)
    writer.file.flush()
    assert json.loads(child.stdout.readline())["seq"] == 4
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 0
    assert child.stderr.read().splitlines() == ["stopped", "4 of 4 messages read: D×4"]
    writer.close()


def test_it_reads_into_a_pipe_that_closes(recorded: Path) -> None:
    command = f"{sys.executable} -m feedhandler inspect {recorded} --json | head -n 2"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
