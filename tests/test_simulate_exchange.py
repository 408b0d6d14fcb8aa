"""The simulated exchange: one seed one day, and every message of it one that Nasdaq could have sent."""

import gzip
import hashlib
import itertools
import subprocess
import sys

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_book import Judge, blocks

from feedhandler.decode import interpret
from feedhandler.decode.itch50 import PROTOCOL
from feedhandler.errors import ConfigError
from feedhandler.simulate import Exchange, Market, write

HOUR = 3600 * 10**9


def day(chunk: int = 1 << 16, **options) -> tuple[bytes, Exchange]:
    exchange = Exchange(**options)
    buffer, out = bytearray(chunk), bytearray()
    while n := exchange.produce(buffer):
        out += buffer[:n]
    return bytes(out), exchange


def judged(data: bytes) -> Judge:
    judge = Judge()
    for message in blocks(data):
        judge.take(message)
    return judge


def agree(exchange: Exchange, judge: Judge) -> None:
    assert exchange.types == dict(judge.types)
    assert exchange.live_orders == len(judge.orders)
    assert exchange.symbols == list(judge.names.values())
    for symbol in exchange.symbols[:: max(1, len(exchange.symbols) // 50)]:
        assert exchange.book(symbol) == judge.book(symbol)


def test_a_day_is_believable_and_its_books_are_the_exchange_s_own():
    data, exchange = day(symbols=60, seed=7, messages=120_000, halts=9)
    judge = judged(data)
    agree(exchange, judge)
    assert judge.system == "OSQMEC"
    assert set(judge.types) == set("SRHYLVKJhAFECXDUPQBIN")
    assert set(judge.state.values()) == {"T"}
    assert sum(judge.types.values()) == exchange.messages == 120_000
    assert judge.time == 20 * HOUR
    assert exchange.done and exchange.produce(bytearray(4096)) == 0


def test_the_mix_is_near_nasdaq_s():
    data, exchange = day(symbols=100, seed=3, messages=400_000)
    share = {kind: n / exchange.messages for kind, n in exchange.types.items()}
    assert 0.40 < share["A"] + share["F"] < 0.47
    assert 0.38 < share["D"] < 0.44
    assert 0.05 < share["U"] < 0.075
    assert 0.03 < share["E"] + share["C"] < 0.06
    assert 0.01 < share["X"] < 0.04
    assert 0.005 < share["P"] < 0.02
    assert len(data) == sum(2 + len(m) for m in blocks(data))


def test_every_message_is_as_the_table_says():
    data, exchange = day(symbols=50, seed=9, messages=20_000, halts=8)
    seen = set()
    for message in blocks(data):
        fields = interpret.decode(PROTOCOL, message)
        name, kind = fields.pop("name"), fields.pop("type")
        assert interpret.accepts(PROTOCOL, message)
        assert interpret.encode(PROTOCOL, name, **fields) == message
        seen.add(kind)
    assert seen == set(exchange.types)


def test_the_parts_of_the_day_come_at_their_times():
    data, _ = day(symbols=20, seed=2, messages=30_000)
    times = {chr(m[11]): int.from_bytes(m[5:11], "big") for m in blocks(data) if m[:1] == b"S"}
    assert times["O"] == 4 * HOUR and times["Q"] == 9.5 * HOUR and times["M"] == 16 * HOUR
    assert times["E"] == times["C"] == 20 * HOUR
    assert 4 * HOUR < times["S"] < 4 * HOUR + HOUR // 60
    squeezed, _ = day(symbols=20, seed=2, messages=30_000, duration_s=16)
    last = list(blocks(squeezed))[-1]
    assert int.from_bytes(last[5:11], "big") == 4 * HOUR + 16 * 10**9


def test_arrivals_are_clustered_and_lives_are_mostly_short():
    data, _ = day(symbols=30, seed=5, messages=60_000)
    times, born, lives = [], {}, []
    for m in blocks(data):
        now = int.from_bytes(m[5:11], "big")
        if 10 * HOUR < now < 15 * HOUR:
            times.append(now)
            if m[:1] in b"AF":
                born[m[11:19]] = now
            elif m[:1] == b"D" and m[11:19] in born:
                lives.append(now - born.pop(m[11:19]))
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    mean = sum(gaps) / len(gaps)
    assert gaps[len(gaps) // 2] < mean / 8  # an even flow has its median at 0.69 of the mean
    lives.sort()
    assert lives[len(lives) // 2] < sum(lives) / len(lives) / 3


def digest(**options) -> str:
    return hashlib.sha256(day(**options)[0]).hexdigest()


def test_one_seed_gives_one_day_in_any_process_and_any_chunks():
    options = {"symbols": 40, "seed": 11, "messages": 30_000}
    first = digest(**options)
    assert digest(**options) == first
    assert {digest(chunk=chunk, **options) for chunk in (1024, 1500, 99_991)} == {first}
    assert digest(symbols=40, seed=12, messages=30_000) != first
    program = (
        "import hashlib; from feedhandler.simulate import Exchange; e = Exchange(symbols=40, seed=11, messages=30_000);"
        "b = bytearray(1 << 16); h = hashlib.sha256()\n"
        "while n := e.produce(b): h.update(memoryview(b)[:n])\n"
        "print(h.hexdigest())"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == first


def test_the_day_of_a_seed_is_pinned():
    """Changes only when the exchange is changed on purpose: benchmarks and rehearsals name seeds."""
    assert digest(symbols=10, seed=1, messages=10_000)[:16] == "07da23e6d6d844ec"


@settings(max_examples=40, deadline=None)
@given(
    symbols=st.integers(1, 70),
    seed=st.integers(0, 2**64 - 1),
    extra=st.integers(0, 3000),
    depth=st.integers(1, 30),
    halts=st.integers(0, 12),
)
def test_every_market_is_well_formed(symbols, seed, extra, depth, halts):
    options = {"symbols": symbols, "seed": seed, "live_orders": symbols * depth, "halts": halts}
    messages = Market(**options, messages=10**9).minimum_messages() + extra
    data, exchange = day(**options, messages=messages)
    judge = judged(data)
    agree(exchange, judge)
    assert judge.system == "OSQMEC"
    assert exchange.messages == messages == sum(judge.types.values())


def test_the_books_are_filled_before_the_open_and_stay_so():
    exchange = Exchange(symbols=300, seed=1, messages=200_000, live_orders=40_000)
    buffer, least = bytearray(8192), 40_000
    trading = False
    while exchange.produce(buffer):
        trading = trading or exchange.now >= 9.5 * HOUR
        if trading:
            least = min(least, exchange.live_orders)
    assert least > 38_000
    assert exchange.live_orders < 42_000


@pytest.mark.parametrize("ending, unpack", [
    ("itch", bytes),
    ("itch.gz", gzip.decompress),
    ("itch.zst", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
])  # fmt: skip
def test_binary_files_end_with_the_end_marker(tmp_path, ending, unpack):
    path, seen = tmp_path / f"day.{ending}", []
    exchange = Exchange(symbols=5, seed=1, messages=100_000)
    assert write(path, exchange, progress=seen.append) == 100_000
    assert unpack(path.read_bytes()) == day(symbols=5, seed=1, messages=100_000)[0] + b"\0\0"
    assert seen == sorted(seen) and seen[-1] == 100_000
    with pytest.raises(ConfigError, match="name it"):
        write(tmp_path / "day.txt", exchange)


@pytest.mark.parametrize("options, words", [
    ({"symbols": 0}, "symbols must be 1 to 8000"),
    ({"symbols": 8001}, "symbols must be 1 to 8000"),
    ({"seed": -1}, "seed"),
    ({"messages": 100}, "need at least"),
    ({"live_orders": 900_000}, "need at least"),
    ({"live_orders": 3}, "live_orders"),
    ({"duration_s": 0}, "duration_s"),
    ({"halts": -1}, "halts"),
])  # fmt: skip
def test_what_cannot_be_had_is_said_in_a_sentence(options, words):
    with pytest.raises(ConfigError, match=words):
        Exchange(**options)


def test_small_doors():
    with pytest.raises(ConfigError, match="at least 1024 bytes"):
        Exchange().produce(bytearray(100))
    with pytest.raises(ConfigError, match="not both"):
        Exchange(Market(), symbols=3)
    with pytest.raises(KeyError, match="no symbol NONE"):
        Exchange().book("NONE")
    assert len(set(Exchange(symbols=8000, messages=200_000, live_orders=8000).symbols)) == 8000
