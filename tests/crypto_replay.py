"""A compiled decoder and LevelBook beside the plain oracle and its dict books: equal after every text, or a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from feedhandler._instruments import Instruments
from feedhandler.book import LevelBook
from feedhandler.decode import decoder
from feedhandler.records import EVENT, Flag, slot_stride
from tests.crypto_oracles import ORACLES, DictBook, MalformedError, Said

DEPTH = 64  # the most that books publish
WHOLE_EVERY = 200  # texts after which all published levels are compared, not the best three alone


def seen(events: Any, instruments: Instruments) -> list[Said]:
    """Events of a decoder as the oracle says them, but the texts of prices and sizes."""
    out = []
    for e in events:
        symbol = instruments.symbol(int(e["instrument"])) if e["instrument"] else ""
        price = None if chr(e["action"]) not in "MT" else int(e["price"])
        out.append(
            Said(
                chr(e["action"]),
                symbol,
                chr(e["side"]),
                price,
                int(e["size"]),
                int(e["flags"]),
                int(e["order_id"]),
                int(e["channel_seq"]),
                int(e["ts_event"]),
            )
        )
    return out


def bare(said: Iterable[Said]) -> list[Said]:
    return [s._replace(price_text="", size_text="") for s in said]


class Replay:
    """One channel of one venue. `take()` judges nothing: what comes is applied, as in the logs."""

    def __init__(self, name: str, instruments: int = 64, books: bool = True) -> None:
        self.oracle = ORACLES[name]
        self.directory = Instruments.standalone(instruments)
        self.decoder = decoder(name, self.directory)
        self.books = LevelBook(
            np.zeros(instruments * slot_stride(DEPTH), np.uint8), depth=DEPTH, level_bytes=instruments << 18
        )
        self.shown = books
        self.plain: dict[str, DictBook] = {}
        self.position = 0
        self.texts: Counter[str] = Counter()

    def take(self, text: bytes, ts: int = 0) -> list[Said]:
        """Decode, apply and compare one text; what it said. Both refuse it, or neither."""
        events = self.decoder.decode_bytes([text], 0, ts)
        try:
            said = self.oracle(text)
        except MalformedError:
            assert self.decoder.taken == 0, text
            self.texts["malformed"] += 1
            return []
        assert self.decoder.taken == 1, text
        assert bare(said) == seen(events, self.directory), text
        assert (events["ts_recv"] == ts).all()
        self.texts["taken"] += 1
        if len(events) and self.shown:
            self.books.apply_events(events, self.position + 1)
            self.position += len(events)
        for event in said:
            if event.action != "T":
                self.plain.setdefault(event.symbol, DictBook()).take(event)
        if said and said[0].action != "T" and self.shown:
            self.compare(said[0].symbol, self.texts["taken"] % WHOLE_EVERY == 0 or said[0].action == "R")
        return said

    def compare(self, symbol: str, whole: bool) -> None:
        """The published book against the dict; `whole`: with every level, else the best few of them."""
        _, bids, asks = self.books.book(self.directory.lookup(symbol, self.decoder.protocol.upper()))
        for side, shown in (("B", bids), ("A", asks)):
            best = self.plain[symbol].best(side)[: len(shown)] if whole else self.plain[symbol].top(side, 3)
            got = [(int(level["price"]), int(level["size"])) for level in shown[: None if whole else 3]]
            assert got == best, (symbol, side)

    def peel(self) -> int:
        """Every level of every book, from the best to the last: what was compared is taken away. Their number."""
        count = 0
        for symbol, plain in self.plain.items():
            index = self.directory.lookup(symbol, self.decoder.protocol.upper())
            while plain.sides["B"] or plain.sides["A"]:
                self.compare(symbol, True)
                gone = [(side, price) for side in "BA" for price, _ in plain.best(side)[:DEPTH]]
                events = np.zeros(len(gone), EVENT)
                events["action"], events["flags"], events["instrument"] = ord("M"), int(Flag.MBP), index
                events["side"] = [ord(side) for side, _ in gone]
                events["price"] = [price for _, price in gone]
                events["flags"][-1] |= int(Flag.LAST)
                self.books.apply_events(events, self.position + 1)
                self.position += len(gone)
                for side, price in gone:
                    del plain.sides[side][price]
                count += len(gone)
            self.compare(symbol, True)
        return count
