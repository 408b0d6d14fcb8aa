"""The language of the tables refuses rows that do not add up; sessions begin at their exchange's midnight."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler.decode import protocol, tabled
from feedhandler.decode.interpret import encode
from feedhandler.decode.render import render, render_all
from feedhandler.decode.session_date import as_number, date_of, midnight, session_date, start_of
from feedhandler.decode.spec import (
    TRADING,
    Bit,
    ById,
    BySymbol,
    Choice,
    Directory,
    Equal,
    Event,
    Message,
    TableError,
    alpha,
    char,
    price,
    u8,
    u16,
    u32,
    u64,
)
from feedhandler.errors import ConfigError
from feedhandler.records import Trading

ITCH = protocol("itch50")
FIELDS = (("number", u64), ("letter", char), ("text", alpha(8)), ("amount", price(4, decimals=4)), ("bits", u8))


def row(**changes):
    return Message(**({"type": "z", "length": 23, "name": "row", "section": "None", "fields": FIELDS} | changes))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"length": 24}, "row: fields end at 23, the specification says 24"),
        ({"type": "zz"}, "one character"),
        ({"name": "a row"}, "identifier"),
        ({"fields": (*FIELDS, ("number", u8)), "length": 24}, "may not be named 'number', or not twice"),
        ({"event": Event("Z")}, "unknown action 'Z'"),
        ({"event": Event("A", order_id="absent")}, "order_id names the field 'absent'"),
        ({"event": Event("A", order_id="text")}, "order_id cannot be made of 'text'"),
        ({"event": Event("A", price="number")}, "price cannot be made of 'number'"),
        ({"event": Event("A", size="amount")}, "size cannot be made of 'amount'"),
        ({"event": Event("A", side="S")}, "unknown side 'S'"),
        ({"event": Event("A", side=Choice("letter", {"B": "buy"}))}, "side maps to"),
        ({"event": Event("S", size=Choice("letter", {"H": "STOPPED"}))}, "size maps to"),
        ({"event": Event("S", size=Choice("bits", {"H": "HALTED"}))}, "size cannot be made of 'bits'"),
        ({"event": Event("T", when=Equal("letter", "Y"))}, "last event of a message cannot be conditional"),
        ({"event": Event("M", last=Bit("number", 1))}, "last cannot be made of 'number'"),
        ({"event": (Event("N"),) * 5}, "5 events, at most 4"),
        ({"directory": Directory(lot="text")}, "lot cannot be made of 'text'"),
        ({"directory": Directory(test=Bit("text", 1))}, "test cannot be made of 'text'"),
    ],
)
def test_rows_that_do_not_add_up_are_refused(changes, complaint):
    with pytest.raises(TableError, match=complaint):
        row(**changes)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"messages": (*ITCH.messages, ITCH.messages[0])}, "two messages have the same type"),
        (
            {"messages": (*ITCH.messages, row(event=Event("N", whole_channel=True)))},
            "row: makes events, but has no time",
        ),
        ({"venue": "NINECHARS"}, "at most 8"),
        ({"price_exponent": -8}, "price_exponent -8"),
        ({"instrument": ById("tracking", symbol="stock", bits=32)}, "ids of 32 bits"),
        ({"instrument": ById("absent", symbol="stock")}, "has no u16 in 'absent'"),
        ({"instrument": BySymbol("stock")}, "has no symbol of 8 characters"),
        ({"instrument": ById("locate", symbol="round_lot_size")}, "a symbol is alpha"),
    ],
)
def test_protocols_that_contradict_themselves_are_refused(changes, complaint):
    with pytest.raises(TableError, match=complaint):
        replace(ITCH, **changes)


@pytest.mark.parametrize("bad", [lambda: alpha(0), lambda: price(5, decimals=4), lambda: price(8, decimals=10)])
def test_field_types_that_cannot_be_are_refused(bad):
    with pytest.raises(TableError):
        bad()


def test_statuses_of_the_tables_are_those_of_the_records():
    assert {status.name for status in Trading} == TRADING


def test_rendering_writes_only_what_changed_and_removes_what_is_gone(tmp_path):
    render_all(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("_decoder.pyx")}
    assert {path.parent.name for path in written} == set(tabled())
    gone = tmp_path / "feedhandler" / "decode" / "gone"
    gone.mkdir()
    render_all(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert not gone.exists()
    assert "not to be edited" in render(ITCH)


def test_encode_names_what_it_cannot_hold():
    with pytest.raises(KeyError, match="itch50 has no message 'add'"):
        encode(ITCH, "add")
    with pytest.raises(KeyError, match="order_delete has no field price"):
        encode(ITCH, "order_delete", price=1)
    for value, complaint in ((2**32, "does not fit"), (-1, "does not fit")):
        with pytest.raises(ValueError, match=complaint):
            encode(ITCH, "add_order", shares=value)
    with pytest.raises(ValueError, match="more than 4 decimals"):
        encode(ITCH, "add_order", price=1)
    with pytest.raises(ValueError, match="more than 8 characters"):
        encode(ITCH, "add_order", stock="ABCDEFGHI")


NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("day", "hours"),  # hours behind UTC at midnight, length of the day
    [
        (date(2024, 3, 9), (5, 24)),
        (date(2024, 3, 10), (5, 23)),  # daylight saving begins at 2
        (date(2024, 3, 11), (4, 24)),
        (date(2024, 11, 3), (4, 25)),  # and ends at 2
        (date(2024, 11, 4), (5, 24)),
    ],
)
def test_midnight_over_daylight_saving(day, hours):
    behind, length = hours
    start = midnight(day, NEW_YORK)
    assert start == int(datetime(day.year, day.month, day.day, behind, tzinfo=UTC).timestamp()) * 10**9
    assert midnight(day + timedelta(1), NEW_YORK) - start == length * 3600 * 10**9


@given(st.dates(date(1971, 1, 1), date(2100, 1, 1)), st.sampled_from([NEW_YORK, "Asia/Tokyo", "America/Sao_Paulo"]))
def test_a_day_begins_at_its_midnight(day, zone):
    start = midnight(day, zone)
    assert date_of(start, zone) == day
    assert date_of(start - 1, zone) == day - timedelta(1)


def test_the_stated_date_goes_before_the_capture_and_the_capture_before_the_clock():
    stated, evening = date(2024, 7, 1), midnight(date(2024, 7, 3), "UTC")  # still 2 July in New York
    assert session_date(ITCH, stated=stated, first_packet=evening, now=evening) == stated
    assert session_date(ITCH, first_packet=evening, now=0) == date(2024, 7, 2)
    assert session_date(ITCH, now=evening) == date(2024, 7, 2)
    assert session_date(ITCH) is None
    assert start_of(ITCH, None) == (0, 0)
    assert start_of(ITCH, stated) == (midnight(stated, NEW_YORK), 20240701)
    assert as_number(stated) == 20240701
    with pytest.raises(ConfigError, match="time zone 'Mars/Olympus' is not known"):
        midnight(stated, "Mars/Olympus")


def test_wide_ids_are_not_taken_for_small_ones():
    wide = tuple(
        replace(m, fields=(("locate", u32), *m.fields[1:]), length=m.length + 2) for m in ITCH.messages if m.events
    )
    with pytest.raises(TableError, match="has no u16 in 'locate'"):
        replace(ITCH, messages=wide)
    assert u16.size == 2
