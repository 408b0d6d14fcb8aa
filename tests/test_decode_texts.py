"""What all five venues' decoders must take and refuse alike: order, unknown keys, escapes, exponents, digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from splicer_world import World

from feedhandler import decode
from feedhandler._instruments import Instruments
from feedhandler.decode._text import TextDecoder
from feedhandler.records import Flag, Quality

pytestmark = pytest.mark.wire


class Decimals(str):
    """A price or a size, which may be written in other ways."""


def d(text: str) -> Decimals:
    return Decimals(text)


SNAPSHOT = {"lastUpdateId": 7, "bids": [[d("61.5"), d("2.25")]], "asks": [[d("62.5"), d("0.5")]]}
DEPTH = {
    "e": "depthUpdate",
    "E": 5,
    "s": "BTCUSDT",
    "U": 8,
    "u": 9,
    "b": [[d("61.5"), d("3.5")]],
    "a": [[d("62.5"), d("0")]],
}
SOLD = {"e": "trade", "E": 5, "s": "BTCUSDT", "t": 11, "p": d("61.5"), "q": d("0.25"), "T": 4, "m": True}
BODY = {"timestamp": "1", "microtimestamp": "70", "bids": [[d("61.5"), d("2.25")]], "asks": [[d("62.5"), d("0.5")]]}
DIFF = BODY | {"microtimestamp": "80", "bids": [], "asks": [[d("62.5"), d("0")]]}
LIVE = {"id": 11, "amount_str": d("0.25"), "price_str": d("61.5"), "type": 1, "microtimestamp": "81"}
PRODUCT = {"product_id": "BTC-USD"}
TIME = {"time": "2026-11-22T15:00:00.000001Z"}
TEXTS: dict[str, dict[str, Any]] = {
    "binance": {
        "snapshot": {"rest": "depth", "symbol": "BTCUSDT", "body": SNAPSHOT},
        "change": {"stream": "btcusdt@depth", "data": DEPTH},
        "trade": SOLD,
    },
    "binance_usdm": {
        "snapshot": {"rest": "depth", "symbol": "BTCUSDT", "body": SNAPSHOT | {"E": 4, "T": 3}},
        "change": {"stream": "btcusdt@depth", "data": DEPTH | {"T": 4, "pu": 7}},
        "trade": {"stream": "btcusdt@trade", "data": SOLD},
    },
    "coinbase": {
        "snapshot": {"type": "snapshot", **PRODUCT, "bids": [[d("61.5"), d("2.25")]], "asks": [[d("62.5"), d("0.5")]]},
        "change": {
            "type": "l2update",
            **PRODUCT,
            "changes": [["buy", d("61.5"), d("3.5")], ["sell", d("62.5"), d("0")]],
            **TIME,
        },
        "trade": {
            "type": "match",
            "trade_id": 11,
            "side": "buy",
            "size": d("0.25"),
            "price": d("61.5"),
            **PRODUCT,
            **TIME,
        },
    },
    "kraken": {
        "snapshot": [
            7,
            {"as": [[d("62.5"), d("0.5"), "1.5"]], "bs": [[d("61.5"), d("2.25"), "1.5"]]},
            "book-10",
            "A/B",
        ],
        "change": [7, {"a": [[d("62.5"), d("0.75"), "2.5"]], "c": "12"}, "book-10", "A/B"],
        "trade": [8, [[d("61.5"), d("0.25"), "2.5", "b", "l", ""]], "trade", "A/B"],
    },
    "bitstamp": {
        "snapshot": {"rest": "depth", "symbol": "btcusd", "body": BODY},
        "change": {"data": DIFF, "channel": "diff_order_book_btcusd", "event": "data"},
        "trade": {"data": LIVE, "channel": "live_trades_btcusd", "event": "trade"},
    },
}
ALL = [(name, kind) for name, kinds in TEXTS.items() for kind in kinds]


def written(
    value: Any,
    number: Callable[[str], str],
    text: Callable[[str], str],
    members: Callable[[Any, int], Any],
    level: int = 0,
) -> str:
    """JSON of a value; of its decimals, texts and members as these functions have them."""
    if isinstance(value, dict):
        pairs = [(key, written(v, number, text, members, level + 1)) for key, v in value.items()]
        return "{" + ",".join(f"{text(key)}:{v}" for key, v in members(pairs, level)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(v, number, text, members, level + 1) for v in value) + "]"
    if isinstance(value, Decimals):
        return number(value)
    return text(value) if isinstance(value, str) else json.dumps(value)


def quoted(text: str) -> str:
    return f'"{text}"'


def escaped(text: str) -> str:
    """Every character as an escape, but those that make it a text of the control line."""
    return quoted(text) if text in ("rest", "life") else quoted("".join(f"\\u{ord(c):04x}" for c in text))


def as_is(pairs: Any, level: int) -> Any:
    return pairs


def turned(pairs: list[tuple[str, str]], level: int) -> list[tuple[str, str]]:
    """The last first; `rest` begins a text of the control line, that is what it is known by."""
    first = pairs[:1] if pairs and pairs[0][0] == "rest" else []
    return [*first, *pairs[len(first) :][::-1]]


def among_others(pairs: list[tuple[str, str]], level: int) -> list[tuple[str, str]]:
    """Unknown keys between all that are known."""
    values = ("null", "true", "-1.5e3", '"}],{\\""', '[[],{"b":[["1","2"]],"price":1}]', '{"u":9,"data":{"s":"x"}}')
    made = pairs[:1] if pairs and pairs[0][0] == "rest" else []
    for at, pair in enumerate(pairs[len(made) :]):
        made += [(f"other{at}", values[at % len(values)]), pair]
    return [*made, ("zz", values[-1])]


def shifted(text: str) -> str:
    """61.5 as 6150000e-5."""
    whole, _, fraction = text.partition(".")
    return f'"{(whole + fraction + "0" * 4).lstrip("0") or "0"}e-{len(fraction) + 4}"'


WAYS: dict[str, tuple[Callable[[str], str], Callable[[str], str], Callable[[Any, int], Any]]] = {
    "keys in another order": (quoted, quoted, turned),
    "unknown keys": (quoted, quoted, among_others),
    "escapes": (quoted, escaped, as_is),
    "escapes and another order": (quoted, escaped, turned),
    "exponents": (shifted, quoted, as_is),
    "numbers": (str, quoted, as_is),
    "zeros at the end": (lambda text: f'"{text}{"" if "." in text else "."}{"0" * 30}"', quoted, as_is),
}
REFUSED: dict[str, Callable[[str], str]] = {
    "a digit too many": lambda text: f'"{text}{"" if "." in text else "."}0000000000001"',
    "a small exponent": lambda text: f'"{text}e-15"' if float(text) else '"1e-15"',
    "too large": lambda text: '"99999999999999999999"',
    "too large an exponent": lambda text: '"1e30"',
    "no number": lambda text: '"NaN"',
    "hexadecimal": lambda text: "0x10",
    "two points": lambda text: '"1.2.3"',
    "blanks": lambda text: f'" {text}"',
    "a comma": lambda text: '"1,5"',
}


def events_of(name: str, text: str) -> list[tuple[Any, ...]]:
    """What one text makes, in the order of prices: which side comes first is the text's."""
    machine = decode.decoder(name, Instruments.standalone(10))
    assert isinstance(machine, TextDecoder)
    events = machine.decode_bytes([text.encode()])
    assert machine.taken == 1, text
    events["flags"] &= 0xFF ^ int(Flag.LAST)
    return sorted(e.tolist() for e in events)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_what_is_written_otherwise_says_the_same(name: str, kind: str) -> None:
    plain = events_of(name, written(TEXTS[name][kind], quoted, quoted, as_is))
    assert plain
    for way, (number, text, members) in WAYS.items():
        assert events_of(name, written(TEXTS[name][kind], number, text, members)) == plain, way


def with_fault(value: Any, fault: str, at: int) -> bytes:
    """The text with its decimal number `at`, from 0, spoilt."""
    seen = iter(range(99))
    return written(
        value, lambda text: REFUSED[fault](text) if next(seen) == at else quoted(text), quoted, as_is
    ).encode()


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_of_a_text_with_a_decimal_that_does_not_fit_nothing_is_taken(name: str, kind: str) -> None:
    machine = decode.decoder(name, Instruments.standalone(10))
    assert isinstance(machine, TextDecoder)
    for at in range(written(TEXTS[name][kind], lambda _: "<>", quoted, as_is).count("<>")):
        for fault in REFUSED:
            text = with_fault(TEXTS[name][kind], fault, at)
            assert len(machine.decode_bytes([text])) == 0 and machine.taken == 0, (fault, text)
            assert not machine.accepts(text) and not machine.counts


@pytest.mark.parametrize("name", TEXTS)
def test_it_is_counted_and_its_book_says_so(name: str) -> None:
    world = World(name)
    whole = written(TEXTS[name]["snapshot"], quoted, quoted, as_is).encode()
    change = written(TEXTS[name]["change"], quoted, quoted, as_is).encode()
    if name in ("coinbase", "kraken"):
        world.say(0, whole)
    else:
        world.say(0, change)
        world.control(whole.replace(b'"70"', b'"85"'))
    symbol = world.segment.directory[1]["symbol"].decode()
    assert world.state(symbol)[0] == Quality.LIVE and world.counts["malformed"] == 0
    world.events()
    again = change.replace(b'"U":8', b'"U":10').replace(b'"u":9', b'"u":11').replace(b'"pu":7', b'"pu":9')
    again = again.replace(b'"80"', b'"90"').replace(b'"0"', b'"0.0000000000001"').replace(b'"0.75"', b'"1e99"')
    world.say(0, again)
    assert world.counts["malformed"] == 1 and world.line_counts(0)["malformed"] == 1
    assert world.state(symbol)[0] == Quality.STALE
    assert not set(world.events()["action"].tolist()) & {ord("M"), ord("R")}
