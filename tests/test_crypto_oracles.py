"""The plain-Python oracles agree with the recorded logs: no book ever crossed, every checksum right."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from feedhandler.decode.venue import venue
from tests import crypto_logs
from tests.crypto_oracles import ORACLES, DictBook, Said

pytestmark = pytest.mark.real_data


def played(data: Path, name: str) -> tuple[dict[str, DictBook], list[Said], int]:
    """Books, events and updates dropped because a snapshot was newer, of all logs of one venue."""
    there, oracle = venue(name), ORACLES[name]
    books: dict[str, DictBook] = defaultdict(DictBook)
    events, old = [], 0
    begun: set[str] = set()
    for line in crypto_logs.merged(data, f"{name}/*.gz"):
        if line.direction not in (crypto_logs.RECEIVED, crypto_logs.REST):
            continue
        rest = line.direction == crypto_logs.REST
        said = oracle(there.depth_text(there.symbol(line.symbol), line.text) if rest else line.text)
        if said and said[0].action == "M" and name == "bitstamp":
            symbol, stamp = said[0].symbol, said[0].channel_seq
            assert symbol in begun, "in these logs snapshots come first"
            if stamp <= books[symbol].stamp:
                old += 1
                continue
        for event in said:
            if event.action == "R":
                begun.add(event.symbol)
            if event.action != "T":
                books[event.symbol].take(event)
        if said:
            assert not books[said[0].symbol].crossed
        events += said
    assert {e.symbol for e in events if e.action != "T"} == begun
    return books, events, old


def test_coinbase(shared_data):
    books, events, _ = played(shared_data, "coinbase")
    assert len(books) >= 7 and all(book.sides["B"] and book.sides["A"] for book in books.values())
    assert sum(e.action == "M" and not e.flags & 32 for e in events) >= 8273
    assert sum(e.action == "T" for e in events) >= 96


def test_kraken_every_checksum(shared_data):
    books, events, _ = played(shared_data, "kraken")
    updates = sum(e.action == "N" for e in events)
    assert updates >= 2800
    assert (sum(b.checksums for b in books.values()), sum(b.wrong for b in books.values())) == (updates, 0)


def test_bitstamp(shared_data):
    books, events, old = played(shared_data, "bitstamp")
    assert old >= 5 * len(books)
    assert sum(e.action == "M" and not e.flags & 32 for e in events) >= 500
