"""The recorded logs through framing, line stage, decoder and book: right after every text, and no sequence error."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from feedhandler.decode.venue import venue
from feedhandler.line._resyncs import RESYNC_SNAPSHOT
from feedhandler.records import Quality, Reason
from tests import crypto_logs
from tests.crypto_oracles import ORACLES, DictBook, Said
from tests.splicer_world import World

pytestmark = pytest.mark.real_data
LIVE = (Quality.LIVE, Reason.NONE)


class Wide(World):
    LEVEL_BYTES = 16 << 18  # the logs' books are deep


def played(data: Path, name: str, pattern: str) -> tuple[World, dict[str, DictBook], Counter[str]]:
    """The world after a log, the dict books, and how often the book of a symbol was LIVE and equal."""
    oracle, world = ORACLES[name], Wide(name)
    plain: dict[str, DictBook] = {}
    equal: Counter[str] = Counter()
    lines = crypto_logs.merged(data, pattern)
    world.life(0, "CONNECTED")
    for line in lines:
        ms = (line.ts - lines[0].ts) // 1_000_000
        if line.direction != crypto_logs.RECEIVED:
            continue
        text = line.text
        world.say(0, text, ms=ms)
        said = oracle(text)
        if not said:
            continue
        symbol = said[0].symbol
        if said[0].action != "T":
            book = plain.setdefault(symbol, DictBook())
            for event in said:
                book.take(event)
        if symbol in plain and world.state(symbol) == LIVE:
            book = plain[symbol]
            assert best(book, name) == list(world.book(symbol)), (symbol, text)
            equal[symbol] += 1
        else:
            equal["not live"] += symbol in plain
    return world, plain, equal


def best(book: DictBook, name: str) -> list[dict[int, int]]:
    """The twenty best of both sides in 1e-9, the world's unit; Coinbase's and Bitstamp's prices are in 1e-8."""
    unit = 1 if name == "kraken" else 10
    return [{price * unit: size for price, size in book.top(side, 20)} for side in "BA"]


def nothing_wrong(world: World) -> None:
    counts = world.counts
    for name in ("gaps", "missing", "malformed", "checksum", "levels_full", "unknown_instrument", "crossed"):
        assert counts[name] == 0, name
    assert world.word == LIVE
    assert world.wishes() == []


def test_coinbase(shared_data):
    world, plain, equal = played(shared_data, "coinbase", "coinbase/*.gz")
    nothing_wrong(world)
    assert equal["not live"] == 0 and set(equal) - {"not live"} == set(plain)
    assert sum(equal.values()) >= 8273


def test_kraken_every_checksum(shared_data):
    world, plain, equal = played(shared_data, "kraken", "kraken/*.ws.50*")
    nothing_wrong(world)
    assert equal["not live"] == 0 and set(equal) - {"not live"} == set(plain)
    assert sum(book.checksums for book in plain.values()) == world.decoder.counts["D"] >= 2800


def test_kraken_a_wrong_checksum_is_a_stale_book_and_no_other(shared_data):
    """The same log with one digit of one price changed: that pair's book says so at once."""
    world = Wide("kraken")
    world.life(0, "CONNECTED")
    done = ""
    for line in crypto_logs.merged(shared_data, "kraken/*.ws.50*"):
        if line.direction != crypto_logs.RECEIVED:
            continue
        text = line.text
        said = ORACLES["kraken"](text)
        if not done and said and said[-1].action == "N" and said[0].size and len(said) == 2:
            done = said[0].symbol
            text = text.replace(b'"c":"', b'"c":"1', 1)
        world.say(0, text, ms=line.ts // 1_000_000 % 10**9)
        if done:
            break
    assert world.state(done) == (Quality.STALE, Reason.CHECKSUM)
    assert world.counts["checksum"] == 1
    others = {e["symbol"].decode() for e in world.segment.directory if e["symbol"]} - {done}
    assert others and all(world.state(symbol)[0] in (Quality.LIVE, Quality.INIT) for symbol in others)
    assert [(wish.instrument, wish.reason) for wish in world.wishes()] == [(world.index(done), Reason.CHECKSUM)]


def test_bitstamp(shared_data):
    """REST answers come when the line stage wishes for them: in the log they stand before the texts they go with."""
    there, oracle, world = venue("bitstamp"), ORACLES["bitstamp"], Wide("bitstamp")
    lines = crypto_logs.merged(shared_data, "bitstamp/*.gz")
    answers = {line.symbol: line.text for line in lines if line.direction == crypto_logs.REST}
    diffs: dict[str, list[list[Said]]] = defaultdict(list)
    plain: dict[str, DictBook] = {}
    equal = 0
    world.life(0, "CONNECTED")
    for line in lines:
        if line.direction != crypto_logs.RECEIVED:
            continue
        world.say(0, line.text, ms=(line.ts - lines[0].ts) // 1_000_000)
        said = oracle(line.text)
        if not said or said[0].action == "T":
            continue
        symbol = said[0].symbol
        diffs[symbol].append(said)
        asked = [
            world.segment.directory[wish.instrument]["symbol"].decode()
            for wish in world.wishes()
            if wish.kind == RESYNC_SNAPSHOT
        ]
        for name in asked:
            text = there.depth_text(name, answers.pop(name))
            world.control(text)
            plain[name] = DictBook()
            for text_said in (oracle(text), *diffs[name]):
                for event in text_said if text_said[0].channel_seq > plain[name].stamp else ():
                    plain[name].take(event)
        if symbol in plain and symbol not in asked and said[0].channel_seq > plain[symbol].stamp:
            for event in said:
                plain[symbol].take(event)
        assert (world.state(symbol) == LIVE) == (symbol in plain), symbol
        if symbol in plain:
            assert best(plain[symbol], "bitstamp") == list(world.book(symbol)), symbol
            equal += 1
    nothing_wrong(world)
    assert plain and equal >= 300
