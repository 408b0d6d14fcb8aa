"""The NumPy view against the plain reading of the same messages."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import strategies
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from feedhandler.decode import arrays, iex_deep, itch50, tabled
from feedhandler.decode.interpret import decode, encode
from feedhandler.errors import CaptureError, ConfigError
from feedhandler.simulate import Exchange, write

TABLE = itch50.PROTOCOL


def blocks(table, wires):
    return b"".join(len(wire).to_bytes(2, table.byte_order) + wire for wire in wires)


def plain(value):
    return value.decode("latin-1") if isinstance(value, bytes) else int(value)


@pytest.mark.wire
@pytest.mark.parametrize("table", tabled().values(), ids=list(tabled()))
@settings(max_examples=40)
@given(data=st.data())
def test_arrays_agree_with_the_interpreter(table, data):
    wires = data.draw(st.lists(strategies.any_wire(table) | st.just(b"\xfeunknown"), max_size=20))
    made = arrays.messages(table, blocks(table, wires))
    assert set(made) == set(table.by_name)
    for message in table.messages:
        expected = []
        for number, wire in enumerate(wires, 1):
            if chr(wire[0]) == message.type:
                view = decode(table, wire)
                row = [view[name] for name in message.layout]
                row = [v.rstrip(" \0") if isinstance(v, str) else v for v in row]
                for place, field in enumerate(message.layout.values()):
                    if field.type.kind == "price" and not -(2**63) < row[place] < 2**63:
                        row[place] = -(2**63)
                expected.append((number, *row))
        assert [tuple(map(plain, row)) for row in made[message.name].tolist()] == expected


@pytest.mark.wire
@given(st.binary(max_size=300))
def test_any_bytes_give_whole_messages_or_one_clear_error(data):
    made = arrays.messages(TABLE, data, strict=False)
    try:
        assert {n: len(a) for n, a in arrays.messages(TABLE, data).items()} == {n: len(a) for n, a in made.items()}
    except CaptureError as error:
        assert str(error).startswith("buffer: byte ")


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_read_takes_plain_and_packed_files_and_names_damage(tmp_path, pack):
    adds = [encode(TABLE, "add_order", order_id=n, stock="AAPL", price=n * 10**9) for n in range(1000)]
    path = tmp_path / "file.itch"
    path.write_bytes(pack(blocks(TABLE, adds) + b"\0\0"))
    made = itch50.read(path)
    assert made["A"] is made["add_order"]
    assert made["add_order"]["order_id"].tolist() == list(range(1000))
    assert made["add_order"]["price"][-1] == 999 * 10**9
    assert set(made["add_order"]["stock"]) == {b"AAPL"}
    assert made["add_order"].dtype["timestamp"] == np.uint64
    path.write_bytes(pack(blocks(TABLE, adds))[:-5])
    with pytest.raises(CaptureError, match=r"file\.itch: .*strict=False gives the messages before it"):
        itch50.read(path)
    assert 0 < len(itch50.read(path, strict=False)["A"]) <= 1000 or pack is zstandard.compress


def test_a_message_shorter_than_its_table_is_named_or_left_out():
    good = encode(TABLE, "order_delete", order_id=1)
    data = blocks(TABLE, [good, good[:-1], good])
    with pytest.raises(CaptureError, match=r"byte 21: order_delete of 18 bytes, itch50 says 19"):
        arrays.messages(TABLE, data)
    assert arrays.messages(TABLE, data, strict=False)["D"]["seq"].tolist() == [1, 3]


def test_absent_files_and_unknown_messages_are_named(tmp_path):
    with pytest.raises(CaptureError, match="No such file"):
        itch50.read(tmp_path / "absent")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(KeyError, match="itch50 has no message 'z'"):
        itch50.read(tmp_path / "empty")["z"]


def test_read_takes_captures_of_packets_each_message_once(tmp_path):
    exchange = {"symbols": 5, "messages": 3000, "seed": 4}
    for name in ("day.itch", "day.pcap", "day.pcapng.zst"):
        write(tmp_path / name, Exchange(**exchange))
    plain = itch50.read(tmp_path / "day.itch")
    assert sum(map(len, plain.values())) == 3000
    for name in ("day.pcap", "day.pcapng.zst"):  # two lines each
        made = itch50.read(tmp_path / name)
        for kind, array in plain.items():
            np.testing.assert_array_equal(made[kind], array)
    data = (tmp_path / "day.pcap").read_bytes()
    (tmp_path / "cut.pcap").write_bytes(data[: len(data) // 2])
    with pytest.raises(CaptureError, match=r"cut\.pcap: byte \d+: the file ends .* a record.*strict=False"):
        itch50.read(tmp_path / "cut.pcap")
    assert 0 < len(itch50.read(tmp_path / "cut.pcap", strict=False)["A"]) < len(plain["A"])


def test_read_refuses_what_holds_no_messages_of_the_protocol(tmp_path):
    write(tmp_path / "day.pcap", Exchange(symbols=2, messages=500, seed=4))
    with pytest.raises(ConfigError, match=r"day\.pcap: no stream of a known protocol in it \(iex_deep was asked for"):
        iex_deep.read(tmp_path / "day.pcap")
    (tmp_path / "text").write_text("[shm]\nname = 'nasdaq'\n")
    with pytest.raises(CaptureError, match="neither pcap, pcapng nor BinaryFILE"):
        itch50.read(tmp_path / "text")


def test_what_follows_the_mark_of_the_end_is_named():
    good = blocks(TABLE, [encode(TABLE, "order_delete", order_id=1)] * 3) + b"\0\0"
    assert len(arrays.messages(TABLE, good + bytes(99))["D"]) == 3
    with pytest.raises(CaptureError, match=r"byte 67: more follows the mark of the end"):
        arrays.messages(TABLE, good + bytes(2) + b"S")
    assert len(arrays.messages(TABLE, good + good, strict=False)["D"]) == 3
