"""What lies in shared memory: every size and offset pinned, every constant the same in C and in Python."""

import re
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler import records
from feedhandler._records import CONSTANTS, LAYOUT_HASH, RECORDS
from feedhandler.publish import Publisher, Segment
from feedhandler.publish._publisher import histogram_bucket, histogram_ceilings
from feedhandler.publish.layout import HISTOGRAMS, PART_INDEX, Layout
from feedhandler.read import attach_local

# Offsets of all fields, and the size. A change here is a new layout: raise LAYOUT_VERSION with it.
PINNED = {
    "Event": "seq 0 ts_event 8 ts_recv 16 order_id 24 price 32 size 40 channel_seq 48 instrument 56 action 60 side 61 "
    "flags 62 line 63 = 64",
    "Level": "price 0 size 8 orders 16 reserved 20 = 24",
    "BookSlot": "seq 0 since 8 channel_seq 16 event_seq 24 ts_event 32 ts_recv 40 epoch 48 bids 52 asks 54 quality 56 "
    "trading 57 reason 58 flags 59 security 60 venue 61 spare 62 = 64",
    "LastTrade": "price 0 size 8 = 16",
    "Volume": "size 0 trades 8 = 16",
    "InstrumentRecord": "symbol 0 venue 32 feed_id 40 tick 48 lot 56 currency 64 session_date 72 flags 76 shard 80 "
    "channel 82 price_exponent 84 size_exponent 85 price_decimals 86 size_decimals 87 unknown_orders 88 "
    "over_executions 96 duplicate_orders 104 crossed 112 reserved 120 = 128",
    "ChannelRecord": "quality 0 epoch 4 reason 8 shard 12 first_line 14 lines 16 protocol_index 18 reserved0 20 "
    "since 24 next_seq 32 name 40 protocol 56 session 72 counters 88 reserved 344 = 448",
    "LineRecord": "name 0 channel 16 state 18 ts_kind 19 receive_buffer 20 next_seq 24 last_packet 32 last_data 40 "
    "counters 48 connection_since 240 connection 248 connection_reason 249 spare 250 reserved 256 = 320",
    "Part": "offset 0 stride 8 count 16 used 24 = 32",
    "RingHead": "head 0 capacity 8 reserved 16 = 64",
    "Histogram": "count 0 sum 8 minimum 16 maximum 24 reserved 32 buckets 64 = 8256",
    "SegmentHeader": "magic 0 layout_hash 8 layout_version 16 state 20 generation 24 bytes 32 depth 40 side_stride 44 "
    "pid 48 shards 52 reserved0 56 hot_heartbeat 64 reserved1 72 control_heartbeat 128 futex 136 wakes 140 "
    "reserved2 144 name 192 backend 256 version 288 host 320 reserved3 384 = 512",
}
ENUMS = {"ACTION": records.Action, "SIDE": records.Side, "FLAG": records.Flag, "QUALITY": records.Quality}
ENUMS |= {"CONNECTION": records.Connection, "CAUSE": records.Cause}
ENUMS |= {"TRADING": records.Trading, "REASON": records.Reason, "TS": records.TimestampKind}


def declared(file: str) -> str:
    return (Path(__file__).parent.parent / "ext" / "feedhandler" / file).read_text()


@pytest.mark.parametrize("record", RECORDS)
def test_every_size_and_offset_is_pinned(record: str) -> None:
    dtype = RECORDS[record]
    fields = " ".join(f"{name} {dtype.fields[name][1]}" for name in dtype.names)
    assert f"{fields} = {dtype.itemsize}" == PINNED[record]


def test_the_layout_hash_is_pinned() -> None:
    assert f"{LAYOUT_HASH:016x}" == "db13285f867076b9"


@pytest.mark.parametrize("prefix, enum", ENUMS.items())
def test_constants_are_the_same_in_c_and_in_python(prefix: str, enum: type[IntEnum]) -> None:
    ours = {member.name: int(member) for member in enum}
    assert ours == {n[len(prefix) + 1 :]: v for n, v in CONSTANTS.items() if n.startswith(prefix + "_")}


def test_every_declared_constant_is_known_by_name() -> None:
    text = re.sub(r"cdef extern.*", "", declared("_records.pxd"), flags=re.S)
    numbers = dict(re.findall(r"^    ([A-Z][A-Z_0-9]+) = (\d+)\b", text, re.M))
    assert {name: int(value) for name, value in numbers.items()} == {n: CONSTANTS[n] for n in numbers}
    assert CONSTANTS.keys() - numbers.keys() == {"PRICE_NONE", "SIZE_REST", "SEGMENT_MAGIC"}
    assert (CONSTANTS["PRICE_NONE"], CONSTANTS["SIZE_REST"]) == (records.PRICE_NONE, records.SIZE_REST)
    assert CONSTANTS["NO_LINE"] == records.NO_LINE
    assert CONSTANTS["SEGMENT_MAGIC"] == int.from_bytes(b"FEEFSHM1", "little")
    assert CONSTANTS["HISTOGRAMS"] == len(HISTOGRAMS)


@given(
    depth=st.integers(1, 40),
    instruments=st.integers(1, 200),
    channels=st.integers(1, 5),
    lines=st.integers(1, 9),
    shards=st.integers(1, 3),
)
def test_parts_lie_apart_each_on_a_cache_line(
    depth: int, instruments: int, channels: int, lines: int, shards: int
) -> None:
    table, size = Layout(depth, instruments, channels, lines, 64, shards).parts()
    end = records.HEADER.itemsize + table.nbytes
    for part in table:
        assert part["offset"] % 64 == 0
        assert part["offset"] >= end
        end = int(part["offset"] + part["stride"] * part["count"])
    assert end <= size < end + 64
    assert table["stride"][PART_INDEX["books"]] % 64 == 0
    assert table["count"][PART_INDEX["symbols"]] >= 2 * (instruments + 1)


@pytest.mark.parametrize(
    "sizes", [{"depth": 0}, {"instruments": 0}, {"ring_events": 100}, {"ring_events": 1}, {"shards": 257}]
)
def test_sizes_that_cannot_be_are_refused_by_name(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(sizes))):
        Layout(**sizes)


def test_a_fresh_segment_says_that_nothing_is_known() -> None:
    segment = Segment.anonymous(instruments=3, channels=2, shards=2, ring_events=64)
    feed = attach_local(segment)
    segment.part("directory")["used"] = 4
    for instrument in (1, 2, 3):
        book = feed.book(instrument)
        assert (book.state, book.reason, book.last_trade) == (records.Quality.INIT, records.Reason.START, None)
    assert (feed.channels["quality"] == records.Quality.INIT).all()
    assert feed.heads.tolist() == [0, 0]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_histograms_keep_every_value_within_one_part_in_32(values: list[int]) -> None:
    ceilings = histogram_ceilings()
    assert ceilings == sorted(set(ceilings))
    segment = Segment.anonymous(instruments=1, ring_events=64)
    publisher = Publisher(segment.memory)
    for value in values:
        bucket = histogram_bucket(value)
        assert bucket == 1023 or (ceilings[bucket - 1] if bucket else -1) < value <= ceilings[bucket]
        assert bucket == 1023 or ceilings[bucket] - value <= value / 32
        publisher.record_latency(1, value)
    found = attach_local(segment).histograms["receive_publish"]
    assert (found.count, found.sum, found.minimum, found.maximum) == (
        len(values),
        sum(values),
        min(values),
        max(values),
    )
    exact = np.sort(np.array(values))[max(0, int(np.ceil(len(values) / 2)) - 1)]
    assert exact <= found.percentile(50) * 1.0 or found.percentile(50) == ceilings[-1]
    assert found.percentile(100) <= max(found.maximum, 1)
