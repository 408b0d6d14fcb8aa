"""Real messages: every file of the inventory decodes to exactly the messages it lists."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path

import numpy as np
import pytest

from feedhandler import session
from feedhandler._instruments import Instruments
from feedhandler.decode import Protocol, decoder, itch50, protocol
from feedhandler.decode.interpret import Interpreter
from feedhandler.errors import CaptureError
from feedhandler.receive import capture

pytestmark = pytest.mark.real_data
FILES = [
    "derived/esh4-20231225.itch.gz",
    "derived/ritch-synthetic-3-stocks.itch.gz",
    "derived/bats-part1.itch.gz",
    "nasdaq-day-first-1000.itch",
    "derived/esh4-20231224.itch.gz",
]


def inventory(shared_data: Path, section: str, name: str) -> dict[str, int]:
    """Messages by type that data/README.md lists for a file."""
    text = shared_data.joinpath("README.md").read_text().split(f"\n## {section}/", 1)[1].split("\n## ", 1)[0]
    cell = next(line for line in text.splitlines() if line.startswith(f"| {name} |")).split("|")[5]
    total, types = cell.split(":")
    counts = {kind: int(number or 1) for kind, number in re.findall(r"(\S)(?:×(\d+))?(?= |$)", types.strip())}
    assert sum(counts.values()) == int(total)
    return counts


def contents(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_the_inventory_lists_no_other_binaryfile(shared_data):
    found = {str(p.relative_to(shared_data / "itch50")) for p in shared_data.joinpath("itch50").rglob("*.itch*")}
    assert found == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_binaryfiles_hold_exactly_the_messages_of_the_inventory(shared_data, name):
    expected = inventory(shared_data, "itch50", name)
    path = shared_data / "itch50" / name
    machine = decoder("itch50", Instruments.standalone(10_000))
    messages, _, malformed = machine.decode_file(contents(path))
    assert machine.counts == expected
    assert (messages, malformed) == (sum(expected.values()), 0)
    assert (machine.longer, machine.unknown_type, machine.unknown_instrument) == (0, 0, 0)
    arrays = itch50.read(path)
    assert {kind: len(arrays[kind]) for kind in itch50.PROTOCOL.by_type if len(arrays[kind])} == expected
    assert sorted(np.concatenate([a["seq"] for a in arrays.values()])) == list(range(1, messages + 1))


@pytest.mark.parametrize("name", FILES)
def test_real_messages_make_the_same_events_compiled_and_interpreted(shared_data, name):
    data, wires = contents(shared_data / "itch50" / name), []
    while len(data) > 2 and len(wires) < 1500:
        length = int.from_bytes(data[:2], "big")
        wires.append(data[2 : 2 + length])
        data = data[2 + length :]
    fast, slow = decoder("itch50", Instruments.standalone(10_000)), Interpreter(itch50.PROTOCOL)
    for machine in (fast, slow):
        machine.start(1_700_000_000 * 10**9, 20231115)
    np.testing.assert_array_equal(fast.decode_bytes(wires, 1, 5, 1), slow.decode_bytes(wires, 1, 5, 1))
    assert fast.taken == slow.taken == len(wires)


def packets(path: Path, table: Protocol) -> Iterator[list[bytes]]:
    """The messages of each packet of a capture; a packet that is cut ends it."""
    parser = session.framing(table.framing, **table.framing_options)
    try:
        for _, _, payload in capture.read(path):
            for _, messages in parser.feed(payload):
                yield messages
    except CaptureError:
        return


@pytest.mark.parametrize("folder", ["captured-nasdaq", "wrapped-nasdaq"])
def test_nasdaq_packets_hold_exactly_the_messages_of_the_inventory(shared_data, folder):
    for path in sorted(shared_data.joinpath("itch50", folder).iterdir()):
        wires = [wire for messages in packets(path, itch50.PROTOCOL) for wire in messages]
        fast, slow = decoder("itch50", Instruments.standalone(100)), Interpreter(itch50.PROTOCOL)
        np.testing.assert_array_equal(fast.decode_bytes(wires), slow.decode_bytes(wires))
        assert fast.taken == len(wires)
        assert fast.counts == inventory(shared_data, "itch50", f"{folder}/{path.name}"), path.name
        assert (fast.longer, fast.unknown_type) == (0, 0), path.name


DEEP = [
    "DEEP10-20170425-12-sessions.pcap.gz",
    "single/Deep.IexTp.v1.0-PriceLevelBuyUpdateMessage.pcap",
    "single/Deep.IexTp.v1.0-PriceLevelSellUpdateMessage.pcap",
]


@pytest.mark.parametrize("name", DEEP)
def test_deep_packets_hold_exactly_the_messages_of_the_inventory(shared_data, name):
    expected = inventory(shared_data, "iex", name)
    directory = Instruments.standalone(20_000)
    fast, slow = decoder("iex_deep", directory), Interpreter(protocol("iex_deep"))
    wires = chain.from_iterable(packets(shared_data / "iex" / name, protocol("iex_deep")))
    for number in count():
        batch = list(islice(wires, 500))
        if not batch:
            break
        made = fast.decode_bytes(batch)
        assert fast.taken == len(batch)
        if number % 100 == 0:  # the plain reading is slow: some of every part of the file
            again = slow.decode_bytes(batch)
            again["instrument"] = made["instrument"]  # numbered in the order in which they are met
            np.testing.assert_array_equal(made, again)
    assert fast.counts == expected
    assert (fast.longer, fast.unknown_type, fast.unknown_instrument) == (0, 0, 0)
