"""Mutilated and made-up texts of Coinbase, Kraken and Bitstamp: refused whole, or read as the plain oracle does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedhandler._instruments import Instruments
from feedhandler.decode import decoder
from tests.crypto_oracles import ORACLES, MalformedError
from tests.crypto_replay import bare, seen
from tests.test_decode_bitstamp import BOOK, DIFF, REST, TRADE
from tests.test_decode_coinbase import MATCH
from tests.test_decode_coinbase import SNAPSHOT as COINBASE_SNAPSHOT
from tests.test_decode_coinbase import UPDATE as COINBASE_UPDATE
from tests.test_decode_kraken import BOTH
from tests.test_decode_kraken import SNAPSHOT as KRAKEN_SNAPSHOT
from tests.test_decode_kraken import TRADE as KRAKEN_TRADE
from tests.test_decode_kraken import UPDATE as KRAKEN_UPDATE

pytestmark = pytest.mark.wire
TEXTS = {
    "coinbase": (COINBASE_SNAPSHOT, COINBASE_UPDATE, MATCH),
    "kraken": (KRAKEN_SNAPSHOT, KRAKEN_UPDATE, BOTH, KRAKEN_TRADE),
    "bitstamp": (DIFF, BOOK, TRADE),
}
PIECES = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u0041",
    b"-",
    b".",
    b"e5",
    b"0",
    b"9" * 30,
    b"null",
    b" ",
]
NAMES = sorted(TEXTS)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**64),
    st.sampled_from(
        ["0", "1", "-1", "1.5", "1e-8", "1e3", "0.0000000001", "buy", "sell", "b", "s", "", "A/B", "data", "trade"]
    ),
    st.sampled_from(
        ["2021-04-17T16:43:37Z", "diff_order_book_ab", "order_book_ab", "live_trades_ab", "book-10", "l2update"]
    ),
    st.text(max_size=3),
)
KEYS = [
    "type",
    "product_id",
    "changes",
    "bids",
    "asks",
    "time",
    "price",
    "size",
    "side",
    "trade_id",
    "event",
    "channel",
]
KEYS += ["data", "microtimestamp", "id", "amount", "price_str", "amount_str", "a", "b", "as", "bs", "c", "x"]
TREES = st.recursive(
    LEAVES,
    lambda kids: st.one_of(st.lists(kids, max_size=4), st.dictionaries(st.sampled_from(KEYS), kids, max_size=4)),
    max_leaves=12,
)


class Machine:
    """A decoder that has seen one good snapshot, and checks that a refusal leaves no trace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Instruments.standalone(256)
        self.decoder = decoder(name, self.directory)

    def check(self, text: bytes, capacity: int = 4096) -> bool:
        """Whether the text was taken; as the oracle takes it, but for what the scanner alone refuses."""
        before = self.decoder.counts
        accepted = self.decoder.accepts(text)
        assert self.decoder.counts == before
        events = self.decoder.decode_bytes([text], 0, 1, capacity=capacity)
        taken = bool(self.decoder.taken)
        assert taken == accepted
        try:
            expected = bare(ORACLES[self.name](text))
        except MalformedError:
            assert not taken, text
        else:
            if taken:
                assert seen(events, self.directory) == expected, text
            else:
                assert b"\\" in text or text.count(b"[") + text.count(b"{") > 64, text
        if not taken:
            assert len(events) == 0 and self.decoder.counts == before
        return taken


@pytest.fixture(scope="module", params=NAMES)
def machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_and_every_changed_byte(name):
    """A whole text is taken; none of its prefixes is; a changed byte is refused or means what the oracle says."""
    machine = Machine(name)
    for text in (*TEXTS[name], REST) if name == "bitstamp" else TEXTS[name]:
        assert machine.check(text)
        for end in range(len(text)):
            assert not machine.check(text[:end])
        for at in range(text.index(b'"body":') + 7 if text is REST else 0, len(text)):  # before it: of every venue
            for byte in b'"{}[],:\\0-x \x00\xff':
                changed = text[:at] + bytes([byte]) + text[at + 1 :]
                if changed.isascii():
                    machine.check(changed)
                else:
                    machine.decoder.accepts(changed)


@given(st.data())
def test_cut_joined_and_mutilated_texts(data):
    name = data.draw(st.sampled_from(NAMES))
    machine = Machine(name)
    text = data.draw(st.sampled_from(TEXTS[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(at, min(len(text), at + 12)))
        put = data.draw(st.one_of(st.sampled_from(PIECES), st.just(text[at : at + 20])))
        text = text[:at] + put + text[until:]
    machine.check(text)


@given(st.sampled_from(NAMES), st.data())
def test_made_up_trees_where_a_value_stood(name, data):
    """One value of a good text becomes anything: wrong kinds, deep ones, keys of elsewhere."""
    machine = Machine(name)
    tree = json.loads(data.draw(st.sampled_from(TEXTS[name])))
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(tree)
    for _ in range(data.draw(st.integers(1, 2))):
        node, key = data.draw(st.sampled_from(places))
        node[key] = data.draw(TREES)
    machine.check(json.dumps(tree, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass"))


@given(TREES)
def test_any_json_at_all(tree):
    text = json.dumps(tree).encode()
    for name in NAMES:
        Machine(name).check(text)


@given(st.binary(max_size=80))
def test_any_bytes_at_all(text):
    for name in NAMES:
        Machine(name).decoder.accepts(text)
        Machine(name).decoder.look_bytes(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_text_comes_in_pieces_and_loses_nothing(name):
    """More events than the batch has room for, with what is noted and read late as with what is read at once."""
    rows = [[f"{i}.5", "1"] for i in range(1, 300)]
    tree: Any
    if name == "coinbase":
        texts = [{"type": "snapshot", "product_id": "A-B", "bids": rows, "asks": []}]
        texts.append({"bids": rows, "asks": [], "product_id": "A-B", "type": "snapshot"})
        changes = [["buy", *row] for row in rows]
        texts.append({"type": "l2update", "product_id": "A-B", "changes": changes, "time": "x"})
    elif name == "bitstamp":
        data = {"microtimestamp": "5", "bids": rows, "asks": rows}
        texts = [{"data": data, "channel": "diff_order_book_ab", "event": "data"}]
        texts.append({"data": dict(reversed(data.items())), "event": "data", "channel": "order_book_ab"})
    else:
        levels = [[*row, "1.5"] for row in rows]
        texts = [
            [1, {"as": levels, "bs": levels}, "book-1000", "A/B"],
            [1, {"a": levels, "c": "5"}, "book-1000", "A/B"],
        ]
        texts.append([1, [[*row, "b", "l", ""] for row in levels], "trade", "A/B"])
    for tree in texts:
        for capacity in (4, 7, 64, 298, 299, 300, 301, 302, 600, 4096):
            assert Machine(name).check(json.dumps(tree, separators=(",", ":")).encode(), capacity)


@pytest.mark.parametrize("name", NAMES)
def test_an_instrument_for_which_there_is_no_room_makes_no_events(name):
    """An R without an instrument would clear every book of the channel."""
    directory = Instruments.standalone(1)
    directory.add("ANOTHER", "X")
    machine = decoder(name, directory)
    for text in TEXTS[name]:
        assert len(machine.decode_bytes([text])) == 0 and machine.taken == 1
    assert machine.unknown_instrument == len(TEXTS[name])
