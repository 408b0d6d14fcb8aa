"""A venue's update of a book, from its text to numbers: ours to whole events, the others as far as their names say.

    python benchmarks/bench_json.py                        # all: deep, small, coinbase, kraken, bitstamp
    python benchmarks/bench_json.py deep levels=100 texts=400
    python benchmarks/bench_json.py small coinbase

`deep` and `small` are Binance's depth updates of 20 and 3 levels a side; the others are what their venues send most:
one change (Coinbase), one level with the checksum and both names (Kraken), two levels and one (Bitstamp).

The floor is simdjson On-Demand in C++ (Debian's libsimdjson-dev), which walks the same texts once and makes each price
and size (of Kraken each time, too) a fixed-point int64; Coinbase's time, which we read, it leaves a text. It is built
for this machine's own instructions, we for any x86-64. Ours is what the handler calls: look() at each text, then
decode() into events of 64 bytes. All texts differ, as on the wire. CPU time of the thread.
"""

import ctypes
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

BASE = "simdjson On-Demand, C++, to fixed point"
KINDS = {
    "deep": ("binance", 20),
    "small": ("binance", 3),
    "coinbase": ("coinbase", 1),
    "kraken": ("kraken", 1),
    "bitstamp": ("bitstamp", 2),
}
VENUES = ("binance", "coinbase", "kraken", "bitstamp")  # in the order of json_simdjson.cpp
SOURCE = Path(__file__).with_name("json_simdjson.cpp")
SIMDJSON = "simdjson is not installed: apt install libsimdjson-dev g++"


def made(levels: int, texts: int, venue: str = "binance") -> list[bytes]:
    """Updates of the venue's form: prices around one that moves, a third of the sizes 0."""
    rng = random.Random(levels)
    found, mid, number = [], 6_173_763, 50_093_239_189

    def side(sign: int, head: str = "", tail: str = "", less: int = 0) -> str:
        price, rows = mid, []
        for _ in range(levels - less):
            price += sign * rng.randint(1, 300)
            size = 0 if rng.random() < 0.3 else int(10 ** rng.uniform(2, 7)) * 1000
            rows.append(f'[{head}"{price // 100}.{price % 100:02d}000000","{size // 10**8}.{size % 10**8:08d}"{tail}]')
        return ",".join(rows)

    for at in range(texts):
        mid += rng.randint(-2000, 2000)
        first, number = number + 1, number + rng.randint(1, 40)
        ms = 1_723_161_253_208 + 100 * at
        if venue == "binance":
            head = f'"e":"depthUpdate","E":{ms},"s":"BTCUSDT","U":{first},"u":{number}'
            text = f'{{"stream":"btcusdt@depth@100ms","data":{{{head},"b":[{side(-1)}],"a":[{side(1)}]}}}}'
        elif venue == "coinbase":
            changes = side(-1, head='"buy",') if rng.random() < 0.5 else side(1, head='"sell",')
            time = f"2024-08-08T{at // 3600 % 24:02d}:{at // 60 % 60:02d}:{at % 60:02d}.{number % 10**6:06d}Z"
            text = f'{{"type":"l2update","product_id":"BTC-USD","changes":[{changes}],"time":"{time}"}}'
        elif venue == "kraken":
            key, sign = rng.choice((("a", 1), ("b", -1)))
            rows = side(sign, tail=f',"{ms // 1000}.{number % 10**6:06d}"')
            text = f'[1920,{{"{key}":[{rows}],"c":"{rng.getrandbits(32)}"}},"book-1000","XBT/USD"]'
        else:
            stamp = f'"timestamp":"{ms // 1000}","microtimestamp":"{ms}{number % 1000:03d}"'
            data = f'{{{stamp},"bids":[{side(-1)}],"asks":[{side(1, less=1)}]}}'
            text = f'{{"data":{data},"channel":"diff_order_book_btcusd","event":"data"}}'
        found.append(text.encode())
    return found


def each(texts: list[bytes], work: Callable[[bytes], Any]) -> harness.Round:
    def all_of_them() -> int:
        for text in texts:
            work(text)
        return len(texts)

    return harness.on_this_thread(all_of_them)


def simdjson_lacks() -> str:
    there = any(Path(folder, "simdjson.h").exists() for folder in ("/usr/include", "/usr/local/include"))
    return "" if there and shutil.which("g++") else SIMDJSON


def level_count(venue: str, levels: int) -> int:
    return {"binance": 2 * levels, "bitstamp": 2 * levels - 1}.get(venue, levels)


def on_demand(venue: str, levels: int, texts: int) -> harness.Round:
    library = harness.RESULTS / "json_simdjson.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        harness.RESULTS.mkdir(parents=True, exist_ok=True)
        flags = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC"]
        subprocess.run(["g++", *flags, str(SOURCE), "-o", str(library), "-lsimdjson"], check=True)
    peer = ctypes.CDLL(str(library))
    peer.keep.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    peer.walk.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_uint64))
    peer.walk.restype = ctypes.c_double
    for text in made(levels, texts, venue):
        peer.keep(text, len(text))
    count = ctypes.c_uint64()

    def one_round() -> harness.Sample:
        took = peer.walk(VENUES.index(venue), ctypes.byref(count))
        assert took > 0, "simdjson did not read a text to its end"
        assert count.value == level_count(venue, levels) * texts
        return harness.Sample(texts, took)

    return one_round


def ours(venue: str, levels: int, texts: int) -> harness.Round:
    from feedhandler._instruments import Instruments
    from feedhandler.decode import decoder
    from feedhandler.decode._text import TextDecoder

    data = b"\n".join(made(levels, texts, venue))
    machine = decoder(venue, Instruments.standalone(10))
    assert isinstance(machine, TextDecoder)
    events = level_count(venue, levels) + (venue == "kraken")  # Kraken's checksum is an event
    assert machine.decode_lines(data) == (texts, events * texts, 0)
    return harness.on_this_thread(lambda: machine.decode_lines(data)[0])


def pairs(venue: str, text: Any) -> list[Any]:
    """The levels of an object that a library made of a text, each (price, size, …)."""
    if venue == "binance":
        return [*text["data"]["b"], *text["data"]["a"]]
    if venue == "coinbase":
        return [level[1:] for level in text["changes"]]
    if venue == "kraken":
        return [level for side in ("b", "a") for level in text[1].get(side, ())]
    return [*text["data"]["bids"], *text["data"]["asks"]]


def orjson_objects(venue: str, levels: int, texts: int) -> harness.Round:
    import orjson

    return each(made(levels, texts, venue), orjson.loads)


def orjson_floats(venue: str, levels: int, texts: int) -> harness.Round:
    import orjson

    def numbers(text: bytes) -> Any:
        return [(float(level[0]), float(level[1])) for level in pairs(venue, orjson.loads(text))]

    return each(made(levels, texts, venue), numbers)


def msgspec_structs(venue: str, levels: int, texts: int) -> harness.Round:
    return each(made(levels, texts, venue), msgspec_decoder(venue)[0])


def msgspec_floats(venue: str, levels: int, texts: int) -> harness.Round:
    decode, rows = msgspec_decoder(venue)

    def numbers(text: bytes) -> Any:
        return [(float(level[-2]), float(level[-1])) for level in rows(decode(text))]

    return each(made(levels, texts, venue), numbers)


def msgspec_decoder(venue: str) -> tuple[Callable[[bytes], Any], Callable[[Any], Any]]:
    """What reads a text, and gives its levels of what was read: price and size are the last of each."""
    import msgspec

    side = list[tuple[str, str]]
    read: Any
    if venue == "binance":
        fields = [("e", str), ("E", int), ("s", str), ("U", int), ("u", int), ("b", side), ("a", side)]
        read = msgspec.defstruct("Wrapped", [("stream", str), ("data", msgspec.defstruct("Depth", fields))])
        return msgspec.json.Decoder(read).decode, lambda found: [*found.data.b, *found.data.a]
    if venue == "coinbase":
        fields = [("type", str), ("product_id", str), ("changes", list[tuple[str, str, str]]), ("time", str)]
        read = msgspec.defstruct("Change", fields)
        return msgspec.json.Decoder(read).decode, lambda found: found.changes
    if venue == "kraken":
        timed = list[tuple[str, str, str]]
        book = msgspec.defstruct("Book", [("c", str), ("b", timed, ()), ("a", timed, ())])
        fields = [("channel", int), ("book", book), ("stream", str), ("pair", str)]
        read = msgspec.defstruct("Update", fields, array_like=True)
        return msgspec.json.Decoder(read).decode, lambda found: [row[:2] for row in (*found.book.b, *found.book.a)]
    fields = [("timestamp", str), ("microtimestamp", str), ("bids", side), ("asks", side)]
    data = msgspec.defstruct("Data", fields)
    read = msgspec.defstruct("Text", [("data", data), ("channel", str), ("event", str)])
    return msgspec.json.Decoder(read).decode, lambda found: [*found.data.bids, *found.data.asks]


def pysimdjson_lists(venue: str, levels: int, texts: int) -> harness.Round:
    import simdjson

    parser = simdjson.Parser()

    def lists(text: bytes) -> Any:
        found = parser.parse(text)
        if venue == "binance":
            return [found["data"]["b"].as_list(), found["data"]["a"].as_list()]
        if venue == "coinbase":
            return found["changes"].as_list()
        if venue == "kraken":
            return found[1].as_dict()
        return [found["data"]["bids"].as_list(), found["data"]["asks"].as_list()]

    return each(made(levels, texts, venue), lists)


def contest(kind: str) -> harness.Contest:
    """All readers of one venue's updates."""
    venue, usual = KINDS[kind]
    here = harness.Contest(
        f"json_{kind}", unit="text", floor=BASE, options={"levels": usual, "texts": 2000, "objects": 200}
    )

    def enter(name: str, setup: Callable[[str, int, int], harness.Round], package: str | None = None) -> None:
        """The libraries of Python read `objects` texts, the others `texts`."""

        def set_up(levels: int, texts: int, objects: int) -> harness.Round:
            return setup(venue, levels, objects if package else texts)

        here.contestant(name, package=package, lacks=simdjson_lacks if name == BASE else str)(set_up)

    enter(BASE, on_demand)
    enter("feedhandler: look and decode, to events", ours)
    enter("orjson: objects, numbers still texts", orjson_objects, "orjson")
    enter("orjson and float()", orjson_floats, "orjson")
    enter("msgspec: structs, numbers still texts", msgspec_structs, "msgspec")
    enter("msgspec and float()", msgspec_floats, "msgspec")
    enter("pysimdjson: levels as lists, numbers still texts", pysimdjson_lists, "pysimdjson")
    return here


deep, small, coinbase, kraken, bitstamp = map(contest, KINDS)
test_deep = deep.test()
test_small = small.test()
test_coinbase = coinbase.test()
test_kraken = kraken.test()
test_bitstamp = bitstamp.test()
if __name__ == "__main__":
    harness.main(dict(zip(KINDS, (deep, small, coinbase, kraken, bitstamp), strict=True)))
