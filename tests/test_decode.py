"""Compiled decoders against the plain reading of their tables, for every message of every protocol there is."""

from __future__ import annotations

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder, protocol, tabled
from feedhandler.decode.interpret import Interpreter, MalformedError, accepts, decode, encode, events
from feedhandler.decode.spec import ById
from feedhandler.errors import ConfigError

MIDNIGHT = 1_735_794_000 * 10**9  # 2025-01-02 in New York
every_message = pytest.mark.parametrize(("table", "message"), strategies.MESSAGES, ids=strategies.IDS)
every_protocol = pytest.mark.parametrize("table", tabled().values(), ids=list(tabled()))


def agree(table, wires, *, capacity=20, midnight=MIDNIGHT, first_seq=7, packets=3):
    """Run both over the same messages, skipping what both call malformed; everything they say must be equal."""
    directory = Instruments.standalone(capacity)
    fast, slow = decoder(table.name, directory), Interpreter(table, capacity)
    for machine in (fast, slow):
        machine.start(midnight, 20250102)
    for number in range(packets):
        rest = wires
        while rest:
            given_by_fast = fast.decode_bytes(rest, first_seq, 123, 4)
            given_by_slow = slow.decode_bytes(rest, first_seq, 123, 4)
            np.testing.assert_array_equal(given_by_fast, given_by_slow)
            assert fast.taken == slow.taken
            rest = rest[fast.taken + 1 :]
        if number == 1:
            for machine in (fast, slow):
                machine.start(0, 0)
    for name in ("counts", "longer", "unknown_type", "unknown_instrument", "instruments_full"):
        assert getattr(fast, name) == getattr(slow, name), name
    assert len(directory) == len(slow.instruments)
    for (symbol, venue), index in slow.instruments.items():
        assert directory.lookup(symbol, venue) == index
        record = directory.record(index)
        assert {name: record[name] for name in slow.directory[index]} == slow.directory[index]
        assert record["price_decimals"] == table.price_decimals
    for wire in wires:
        assert fast.accepts(wire) == accepts(table, wire)


@pytest.mark.wire
@every_message
@settings(max_examples=12)
@given(data=st.data())
def test_compiled_decoder_agrees_with_the_table(table, message, data):
    wires = data.draw(st.lists(strategies.wire(table, message), min_size=1, max_size=4))
    agree(table, wires, packets=1)
    assert all(accepts(table, wire) for wire in wires)


@pytest.mark.wire
@every_protocol
@settings(max_examples=60)
@given(data=st.data())
def test_compiled_decoder_agrees_on_anything(table, data):
    wires = data.draw(st.lists(strategies.hostile(table), max_size=12))
    agree(table, wires, capacity=3, first_seq=data.draw(st.sampled_from([0, 1, 2**60])))


@pytest.mark.wire
@every_message
@settings(max_examples=5)
@given(data=st.data())
def test_every_prefix_is_malformed_and_the_next_message_still_decodes(table, message, data):
    wire = data.draw(strategies.wire(table, message))
    machine = decoder(table.name, Instruments.standalone(20))
    whole = decoder(table.name, Instruments.standalone(20)).decode_bytes([wire])
    for length in range(1, len(wire)):
        assert len(machine.decode_bytes([wire[:length], wire])) == 0
        assert machine.taken == 0
        assert not machine.accepts(wire[:length])
        assert not accepts(table, wire[:length])
    assert machine.counts == {}
    np.testing.assert_array_equal(machine.decode_bytes([wire]), whole)
    with pytest.raises(MalformedError, match=f"{message.name}: 1 bytes, the table says {message.length}"):
        decode(table, wire[:1])


@pytest.mark.wire
@every_message
@settings(max_examples=5)
@given(data=st.data())
def test_longer_messages_give_their_known_prefix_and_are_counted(table, message, data):
    wire = data.draw(strategies.wire(table, message))
    machine = decoder(table.name, Instruments.standalone(20))
    np.testing.assert_array_equal(machine.decode_bytes([wire + b"later"]), events(table, [wire]))
    assert machine.longer == 1
    assert machine.counts == {message.type: 1}


@every_message
@settings(max_examples=12)
@given(data=st.data())
def test_encode_and_decode_are_inverse(table, message, data):
    wire = data.draw(strategies.wire(table, message))
    assert len(wire) == message.length
    view = decode(table, wire)
    assert encode(table, str(view.pop("name")), **{k: v for k, v in view.items() if k != "type"}) == wire


@every_protocol
def test_messages_without_bytes_and_of_unknown_types_use_up_their_number(table):
    machine = decoder(table.name, Instruments.standalone(20))
    clock_only = next(m for m in table.messages if m.events and m.events[0].whole_channel)
    made = machine.decode_bytes([b"", b"\xfe123", encode(table, clock_only.name)], first_seq=10)
    assert machine.taken == 3
    assert machine.unknown_type == 2
    assert machine.counts == {"\0": 1, "\xfe": 1, clock_only.type: 1}
    assert made["channel_seq"].tolist() == [12]


@every_protocol
def test_an_unsequenced_run_has_no_numbers_and_an_unknown_date_says_so(table):
    machine = decoder(table.name, Instruments.standalone(20))
    system = encode(table, "system_event", timestamp=5)
    made = machine.decode_bytes([system, system], first_seq=0)
    assert made["channel_seq"].tolist() == [0, 0]
    assert made["ts_event"].tolist() == [5, 5]
    since_midnight = table.clock.since == "midnight"
    assert (made["flags"] & 8 != 0).all() == since_midnight
    machine.start(MIDNIGHT, 20250102)
    made = machine.decode_bytes([system])
    assert made["ts_event"][0] == (MIDNIGHT + 5 if since_midnight else 5)
    assert made["flags"][0] == 128


def test_decode_file_walks_blocks_of_either_byte_order_and_stops_at_damage():
    for table in tabled().values():
        big = table.byte_order == "big"
        messages = [encode(table, "system_event"), b"\xfe", encode(table, "system_event")[:-1]] * 50
        blocks = b"".join(len(m).to_bytes(2, table.byte_order) + m for m in messages)
        machine = decoder(table.name, Instruments.standalone(20))
        assert machine.decode_file(blocks, big) == (150, 50, 50)
        assert machine.counts == {"S": 50, "\xfe": 50}
        for end in (b"\0\0" + blocks, blocks[:5], b"\1"):
            assert machine.decode_file(blocks + end, big)[0] == 150


def test_unknown_protocols_are_named_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown protocol 'itch41'; known are binance, .*iex_deep, itch50"):
        protocol("itch41")


def test_a_full_directory_is_counted_and_leaves_the_instrument_unnamed():
    table = protocol("itch50")
    machine = decoder("itch50", Instruments.standalone(1))
    adds = [encode(table, "add_order", locate=n, stock=f"S{n}", side="B", shares=1) for n in (1, 2, 2, 1)]
    assert machine.decode_bytes(adds)["instrument"].tolist() == [1, 0, 0, 1]
    assert (machine.instruments_full, machine.unknown_instrument) == (2, 2)


def test_a_directory_message_remaps_an_id_and_a_new_session_forgets_all():
    table = protocol("itch50")
    directory = Instruments.standalone(5)
    machine = decoder("itch50", directory)
    assert isinstance(table.instrument, ById)

    def named(locate, stock, **more):
        return encode(table, "stock_directory", locate=locate, stock=stock, **more)

    delete = encode(table, "order_delete", locate=7)
    wires = [delete, named(7, "AAPL", round_lot_size=100), delete, named(7, "ZVZZT", authenticity="T"), delete]
    assert machine.decode_bytes(wires)["instrument"].tolist() == [0, 1, 2]
    assert directory.record(1)["lot"] == 100
    assert directory.record(2)["flags"] == 1
    add = encode(table, "add_order", locate=7, stock="MSFT", side="S")
    assert machine.decode_bytes([add])["instrument"].tolist() == [2]  # only a directory message changes a known id
    machine.start(MIDNIGHT, 20250102)
    assert machine.decode_bytes([delete, add, delete])["instrument"].tolist() == [0, 3, 3]
    assert machine.unknown_instrument == 2
