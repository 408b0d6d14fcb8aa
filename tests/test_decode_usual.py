"""Texts as venues write them are read the short way, to the events of the long one, which blanks make them take."""

from __future__ import annotations

import pytest

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from tests.fuzz.texts import USUAL

pytestmark = pytest.mark.wire

WRONG = b"0,}]x\x01\xc3"


def blanks_after(text: bytes) -> set[int]:
    """Behind which bytes a blank changes nothing: those that are outside of all texts, and no part of a number."""
    found, inside = set(), False
    for at, byte in enumerate(text):
        inside ^= byte == ord('"')
        if not inside and byte in b'{}[]:,"':
            found.add(at)
    return found


def spread_out(text: bytes, places: set[int]) -> bytes:
    """The text with a blank behind each of these bytes."""
    return b"".join(text[at : at + 1] + b" " * (at in places) for at in range(len(text)))


@pytest.mark.parametrize("venue", USUAL)
def test_the_short_way_is_the_long_way(venue: str) -> None:
    """Whatever byte of it, quotes apart, is another one; and where it is cut off, it is malformed."""
    text, instruments = USUAL[venue], Instruments.standalone(100)
    machine, places = decoder(venue, instruments), blanks_after(text)
    good = 0
    for at in range(len(text)):
        for byte in (text[at], *WRONG) if text[at] != ord('"') else ():
            said = text[:at] + bytes([byte]) + text[at + 1 :]
            short = machine.decode_bytes([said]).tobytes()
            assert short == machine.decode_bytes([spread_out(said, places)]).tobytes(), said
            good += bool(short)
        assert not machine.accepts(text[:at])
    assert good > len(text)
    assert machine.accepts(text)


def test_symbols_of_any_length_are_told_apart() -> None:
    instruments: dict[str, set[int]] = {}
    machine = decoder("binance", directory := Instruments.standalone(100))
    names = ["A" * size + letter + "Z" * size for size in (4, 8, 15) for letter in "BCD"]
    names += ["X" * size for size in range(7, 34)]
    for _ in range(2):
        for name in names:
            text = USUAL["binance"].replace(b"BTCUSDT", name.encode())
            instruments.setdefault(name, set()).update(machine.decode_bytes([text])["instrument"].tolist())
    assert instruments.pop("X" * 33) == set()
    for name, found in instruments.items():
        assert [directory.symbol(index) for index in found] == [name]
