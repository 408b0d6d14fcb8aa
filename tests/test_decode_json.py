"""The JSON scanner equals the standard library on any text, and Decimal on any number; it reads no byte too many."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedhandler.decode import _json_door as door

pytestmark = pytest.mark.wire

EXPONENTS = st.integers(-12, 0)
DECIMALS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=0, max_value=10**9).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,9}\.[0-9]{1,9}", fullmatch=True),
    st.from_regex(r"[-+0-9.eE]{0,12}", fullmatch=True),
)
BLANKS = st.text(" \t\n\r", max_size=2)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20) | st.integers(-(2**40), 2**40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def refused(word: str) -> None:
    raise ValueError(word)


def spoken(text: bytes) -> Any:
    """What the standard library reads, numbers as Decimal; raises ValueError for what is no JSON of RFC 8259."""
    return json.loads(text.decode("utf-8"), parse_constant=refused, parse_float=Decimal, parse_int=Decimal)


def is_json(text: bytes) -> bool:
    try:
        spoken(text)
    except (ValueError, RecursionError):
        return False
    return True


def units(text: str, exponent: int) -> int | str:
    """The decimal in units of 10^exponent; else why not."""
    try:
        value = spoken(text.encode())
    except ValueError:
        return "malformed"
    if not isinstance(value, Decimal):
        return "malformed"
    sign, digits, power = value.as_tuple()
    assert isinstance(power, int)
    number = int("".join(map(str, digits)))
    if number == 0:
        return 0
    while number % 10 == 0:
        number, power = number // 10, power + 1
    if not 0 <= power - exponent <= 18 or (made := number * 10 ** (power - exponent)) >= 2**63:
        return "range"
    return -made if sign else made


@given(VALUES, BLANKS, st.booleans())
def test_what_the_library_writes_is_read_back(value: Any, blanks: str, escaped: bool) -> None:
    text = blanks + json.dumps(value, ensure_ascii=escaped, separators=("," + blanks, blanks + ":")) + blanks
    wire = text.encode("utf-8", "surrogatepass")
    assert door.skips(wire)
    found, fault = door.value(wire, 0)
    assert (found, fault) == (json.loads(text), "")


@given(VALUES, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3), st.integers(0, 200))
def test_damaged_texts_are_refused_where_the_library_refuses_them(
    value: Any, damage: list[tuple[int, int]], cut: int
) -> None:
    wire = bytearray(json.dumps(value, ensure_ascii=True).encode())
    for at, byte in damage:
        wire[at % len(wire)] = byte & 0x7F
    text = bytes(wire[: len(wire) - cut % 4])
    assert door.skips(text) == is_json(text)


@given(st.text('{}[]",:\\u0001eE+-. \ntrufalsn', max_size=30).map(str.encode))
@example(b"")
@example(b"[1,]")
@example(b'{"a":1,}')
@example(b'{"a" 1}')
@example(b"[,1]")
@example(b"[1 2]")
@example(b"01")
@example(b"-")
@example(b"1.")
@example(b".5")
@example(b"1e")
@example(b"\x00")
@example(b"1\x00")
@example(b'"\\u12g4"')
@example(b'"\t"')
@example(b"nul")
@example(b"\xef\xbb\xbf1")
def test_the_grammar_is_that_of_the_library(text: bytes) -> None:
    assert door.skips(text) == is_json(text)


@given(st.text(max_size=40), st.booleans())
@example('"\\/\b\f\n\r\t\x7f', False)
@example("\U0001f600 \ud83d", True)
def test_escapes_of_every_kind_are_undone(text: str, escaped: bool) -> None:
    wire = json.dumps(text, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    assert door.value(wire) == (json.loads(wire.decode("utf-8", "surrogatepass")), "")
    every = "".join(f"\\u{ord(c):04x}" for c in text if ord(c) < 0x10000)
    assert door.value(f'"{every}"'.encode()) == (json.loads(f'"{every}"'), "")


@given(DECIMALS, EXPONENTS, st.booleans())
@example("0.00000000", -8, True)
@example("00.5", -9, True)
@example("12345678.12345678", -9, True)
@example("123456789.1", -9, True)
@example("0.123456789", -9, True)
@example("0.1234567891", -9, True)
@example("9223372036.854775807", -9, True)
@example("9223372036.854775808", -9, True)
@example("-1.5", -9, True)
@example("1e-7", -9, False)
@example("1e400", -9, False)
@example("0e999999999999", -9, False)
@example("1.0", 0, True)
@example("1.5", 0, True)
@example("1" + "0" * 40, -9, False)
@example("0." + "0" * 40 + "1", -9, False)
@example("1.5.5", -9, True)
@example("5.", -9, True)
@example("1" * 17 + ".5", -9, True)
def test_decimals_are_exact_or_refused(text: str, exponent: int, quoted: bool) -> None:
    wire = f'"{text}"' if quoted else text
    assert door.decimal(wire.encode(), exponent) == units(text, exponent)
    followed = f"[{wire}, {' ' * 40}1]".encode()  # the same with room behind it
    found = units(text, exponent)
    if isinstance(found, int) and not quoted:
        assert door.value(followed, exponent)[0] in ([found, 10**-exponent], None)


@given(st.integers(0, 2**64) | st.sampled_from(["-1", "1.0", "1e3", "1.5", '"12"', '""', "0", "00", "true"]))
def test_whole_numbers(number: int | str) -> None:
    text = str(number)
    found = units(text.strip('"'), 0)
    assert door.whole(text.encode()) == ("range" if isinstance(found, int) and found < 0 else found)


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1) | st.integers(0, 10**16), st.booleans()), max_size=5), BLANKS)
def test_whole_numbers_among_others(numbers: list[tuple[int, bool]], blanks: str) -> None:
    wires = [f'"{number}"' if quoted else f"{number}{blanks}" for number, quoted in numbers]
    text = "[" + ",".join(wires) + "]" + " " * 20
    assert door.wholes(text.encode()) == [number for number, _ in numbers]
    assert door.wholes(text.replace('"', '"0', 1).encode()) == "malformed" or '"' not in text
    for end in "x.-":
        assert isinstance(door.wholes(f"[1{end},22222222]{' ' * 20}".encode()), str)


LEVEL = st.tuples(DECIMALS, DECIMALS, st.sampled_from(["", ',"1534614248.321"', ',"1","r"', ",[]"]), st.booleans())


@given(st.lists(LEVEL, max_size=8), BLANKS, st.sampled_from([(-9, -8), (-2, 0), (-8, -8), (-12, -12)]))
def test_levels_are_pairs_of_decimals_whatever_stands_behind_them(
    rows: list[tuple[str, str, str, bool]], blanks: str, exponents: tuple[int, int]
) -> None:
    wires, expected, fault = [], [], ""
    for price, size, more, quoted in rows:
        mark = '"' if quoted else ""
        wires.append(f"[{mark}{price}{mark},{blanks}{mark}{size}{mark}{more}]")
        pair = units(price, exponents[0]), units(size, exponents[1])
        expected.append(pair)
        if not fault:
            faults = [value for value in pair if isinstance(value, str)]
            fault = faults[0] if faults else "range" if int(pair[1]) < 0 else ""
    text = f"[{blanks}{(',' + blanks).join(wires)}{blanks}]".encode()
    found = door.levels(text, *exponents)
    if fault:
        assert found in ("malformed", "range")
    else:
        assert found == expected
    if rows and not fault:
        assert door.levels(text, *exponents, len(rows) - 1) == "room"
        assert door.levels(text, *exponents, len(rows)) == expected


@pytest.mark.parametrize("length", range(1, 70))
def test_every_end_of_the_memory_is_the_end_of_reading(length: int) -> None:
    """Under ASan a byte behind the text is an error; elsewhere a wrong answer would be one."""
    whole = b'[["61737.63000000","0.00000000"],["1.5","2"],[3,4],["12345678.12345678","99999999.99999999"]]'
    cut = bytes(bytearray(whole[:length]))
    assert door.levels(cut) == "malformed"
    assert not door.skips(cut)
    assert door.levels(whole) == [
        (61737_630000000, 0),
        (1_500000000, 2_00000000),
        (3_000000000, 4_00000000),
        (12345678_123456780, 99999999_99999999),
    ]


def test_depth_is_bounded() -> None:
    deepest = b"[" * 64 + b"]" * 64
    assert door.skips(deepest)
    assert not door.skips(b"[" + deepest + b"]")
    assert not door.skips(b"[" * 100_000)
    assert not door.skips(b'{"a":' * 100_000)
