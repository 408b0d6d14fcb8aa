"""A Binance depth update, from its text to numbers: ours to whole events, the others as far as their names say.

    python benchmarks/bench_json.py                    # 20 levels a side
    python benchmarks/bench_json.py levels=100 texts=400

The floor is simdjson On-Demand in C++ (Debian's libsimdjson-dev), which walks the same texts once and makes each price
and size a fixed-point int64; it is built for this machine's own instructions, we for any x86-64. Ours is what the
handler calls: look() at each text, then decode() into events of 64 bytes. All texts differ, as on the wire. CPU time of
the thread.
"""

import ctypes
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness

contest = harness.Contest(
    "json",
    unit="text",
    floor="simdjson On-Demand, C++, to fixed point",
    options={"levels": 20, "texts": 2000, "objects": 200},
)
SOURCE = Path(__file__).with_name("json_simdjson.cpp")
SIMDJSON = "simdjson is not installed: apt install libsimdjson-dev g++"


def made(levels: int, texts: int) -> list[bytes]:
    """Depth updates of the spot market's form: prices around one that moves, a third of the sizes 0."""
    rng = random.Random(levels)
    found, mid, number = [], 6_173_763, 50_093_239_189

    def side(sign: int) -> str:
        price, rows = mid, []
        for _ in range(levels):
            price += sign * rng.randint(1, 300)
            size = 0 if rng.random() < 0.3 else int(10 ** rng.uniform(2, 7)) * 1000
            rows.append(f'["{price // 100}.{price % 100:02d}000000","{size // 10**8}.{size % 10**8:08d}"]')
        return ",".join(rows)

    for at in range(texts):
        mid += rng.randint(-2000, 2000)
        first, number = number + 1, number + rng.randint(1, 40)
        head = f'"e":"depthUpdate","E":{1_723_161_253_208 + 100 * at},"s":"BTCUSDT","U":{first},"u":{number}'
        found.append(f'{{"stream":"btcusdt@depth@100ms","data":{{{head},"b":[{side(-1)}],"a":[{side(1)}]}}}}'.encode())
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


@contest.contestant("simdjson On-Demand, C++, to fixed point", lacks=simdjson_lacks)
def on_demand(levels: int, texts: int, objects: int) -> harness.Round:
    library = harness.RESULTS / "json_simdjson.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        harness.RESULTS.mkdir(parents=True, exist_ok=True)
        flags = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC"]
        subprocess.run(["g++", *flags, str(SOURCE), "-o", str(library), "-lsimdjson"], check=True)
    peer = ctypes.CDLL(str(library))
    peer.keep.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    peer.walk.restype = ctypes.c_double
    for text in made(levels, texts):
        peer.keep(text, len(text))
    count = ctypes.c_uint64()

    def one_round() -> harness.Sample:
        took = peer.walk(ctypes.byref(count))
        assert took > 0, "simdjson did not read a text to its end"
        assert count.value == 2 * levels * texts
        return harness.Sample(texts, took)

    return one_round


@contest.contestant("feedhandler: look and decode, to events")
def ours(levels: int, texts: int, objects: int) -> harness.Round:
    from feedhandler._instruments import Instruments
    from feedhandler.decode import decoder
    from feedhandler.decode._text import TextDecoder

    data = b"\n".join(made(levels, texts))
    machine = decoder("binance", Instruments.standalone(10))
    assert isinstance(machine, TextDecoder)
    assert machine.decode_lines(data) == (texts, 2 * levels * texts, 0)
    return harness.on_this_thread(lambda: machine.decode_lines(data)[0])


@contest.contestant("orjson: objects, numbers still texts", package="orjson")
def orjson_objects(levels: int, texts: int, objects: int) -> harness.Round:
    import orjson

    return each(made(levels, objects), orjson.loads)


@contest.contestant("orjson and float()", package="orjson")
def orjson_floats(levels: int, texts: int, objects: int) -> harness.Round:
    import orjson

    def numbers(text: bytes) -> Any:
        data = orjson.loads(text)["data"]
        return [[(float(price), float(size)) for price, size in data[side]] for side in ("b", "a")]

    return each(made(levels, objects), numbers)


@contest.contestant("msgspec: structs, numbers still texts", package="msgspec")
def msgspec_structs(levels: int, texts: int, objects: int) -> harness.Round:
    return each(made(levels, objects), msgspec_decoder())


@contest.contestant("msgspec and float()", package="msgspec")
def msgspec_floats(levels: int, texts: int, objects: int) -> harness.Round:
    decode = msgspec_decoder()

    def numbers(text: bytes) -> Any:
        data = decode(text).data
        return [[(float(price), float(size)) for price, size in side] for side in (data.b, data.a)]

    return each(made(levels, objects), numbers)


def msgspec_decoder() -> Callable[[bytes], Any]:
    import msgspec

    side = list[tuple[str, str]]
    fields = [("e", str), ("E", int), ("s", str), ("U", int), ("u", int), ("b", side), ("a", side)]
    depth = msgspec.defstruct("Depth", fields)
    return msgspec.json.Decoder(msgspec.defstruct("Wrapped", [("stream", str), ("data", depth)])).decode


@contest.contestant("pysimdjson: b and a as lists, numbers still texts", package="pysimdjson")
def pysimdjson_lists(levels: int, texts: int, objects: int) -> harness.Round:
    import simdjson

    parser = simdjson.Parser()

    def lists(text: bytes) -> Any:
        data = parser.parse(text)["data"]
        return [data["b"].as_list(), data["a"].as_list()]

    return each(made(levels, objects), lists)


test_json = contest.test()
if __name__ == "__main__":
    contest.main()
