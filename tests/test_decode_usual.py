"""Texts as venues write them are read the short way, to the events of the long one, which blanks make them take."""

from __future__ import annotations

import pytest

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder

pytestmark = pytest.mark.wire

STREAM = b'{"stream":"btcusdt@depth@100ms","data":'
USUAL = {
    "binance": STREAM + b'{"e":"depthUpdate","E":1723161601273,"s":"BTCUSDT","U":50093421585,"u":50093421612,'
    b'"b":[["61685.99000000","1.25869000"]],"a":[["61686.00000000","0.00000000"],["61687.10000000","2"]]}}',
    "binance_usdm": b'{"e":"depthUpdate","E":1626992741559,"T":1626992741467,"s":"1000SHIBUSDT","U":600859609657,'
    b'"u":600859609902,"pu":600859605486,"b":[["0.01714","1474950"]],"a":[]}',
    "coinbase": b'{"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"],'
    b'["buy","0.1","0.0"]],"time":"2021-04-17T16:43:37.075687Z"}',
    "kraken": b'[1664,{"b":[["13.206100","419.18349878","1618678133.711166"]],"c":"176333288"},'
    b'"book-1000","WAVES/EUR"]',
    "bitstamp": b'{"data":{"timestamp":"1641343697","microtimestamp":"1641343697352178","bids":[["0.05","12.5"]],'
    b'"asks":[["0.06","0.00000000"]]},"channel":"diff_order_book_sgbeur","event":"data"}',
}
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
