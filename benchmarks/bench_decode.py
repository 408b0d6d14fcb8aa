"""Decode only: wire bytes of a whole ITCH 5.0 BinaryFILE in memory, one core, books and sockets left out.

    python benchmarks/bench_decode.py                         # a simulated day of a million messages, 500 symbols
    python benchmarks/bench_decode.py file=/data/day.itch     # any plain BinaryFILE

The floor is a bare C loop that switches on the type and adds up the fields, built with the same flags. Rows that make
something else of the messages than Event records say so in their names; those that make Python objects are slow and
take the file's first `objects` messages only. databento-dbn reads DBN, not ITCH, and has no row here.
CPU time of the thread is counted, where a contestant works in one thread; itch-book is fed from memory for that reason.
"""

import mmap
from pathlib import Path

import harness

contest = harness.Contest(
    "decode",
    unit="message",
    floor="bare C loop",
    options={"messages": 1_000_000, "symbols": 500, "objects": 20_000, "file": ""},
)


LONG = 5_000_000  # messages from which on a day rests on ...
LIVE_ORDERS = 1_250_000  # ... so many live orders, more than any cache holds


def stream(messages: int, symbols: int, file: str) -> bytes | mmap.mmap:
    """The file in memory; simulated once, and kept below build/bench, unless one is named."""
    if not file:
        from feedhandler import simulate

        path = harness.RESULTS / f"itch50-{messages}-{symbols}.itch"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"part-{path.name}")
            live_orders = LIVE_ORDERS if messages >= LONG else None
            simulate.write(part, simulate.Exchange(symbols=symbols, messages=messages, live_orders=live_orders))
            part.rename(path)
    else:
        path = Path(file)
    with path.open("rb") as source:
        mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    sum(mapped[::4096])  # every page is in memory before the first round
    return mapped


def head(data: bytes | mmap.mmap, messages: int) -> bytes:
    """The first so many length-prefixed messages."""
    at = 0
    while messages and at + 2 <= len(data) and (length := int.from_bytes(data[at : at + 2], "big")):
        at, messages = at + 2 + length, messages - 1
    return bytes(data[:at])


@contest.contestant("bare C loop")
def floor(messages: int, symbols: int, objects: int, file: str) -> harness.Round:
    from feedhandler._floor import decode_floor

    data = stream(messages, symbols, file)
    return lambda: harness.Sample(*decode_floor(data))


@contest.contestant("feedhandler: Event records in a reused batch")
def events(messages: int, symbols: int, objects: int, file: str) -> harness.Round:
    from feedhandler._instruments import Instruments
    from feedhandler.decode import decoder

    data = stream(messages, symbols, file)
    machine = decoder("itch50", Instruments.standalone(65_536))
    machine.start(1_700_000_000 * 10**9, 20231115)
    return harness.on_this_thread(lambda: machine.decode_file(data)[0])


@contest.contestant("feedhandler: every field of every message into NumPy")
def arrays(messages: int, symbols: int, objects: int, file: str) -> harness.Round:
    from feedhandler.decode import arrays, protocol

    data = stream(messages, symbols, file)
    table = protocol("itch50")
    return harness.on_this_thread(lambda: sum(map(len, arrays.messages(table, data, strict=False).values())))


@contest.contestant("itch-book: table of messages into NumPy", package="itch-book")
def itch_book(messages: int, symbols: int, objects: int, file: str) -> harness.Round:
    import itch_book
    import numpy as np

    data = np.frombuffer(stream(messages, symbols, file), np.uint8)

    def work() -> int:
        session = itch_book.Session(tables=["messages"], depth=0, symbols=[])
        for begin in range(0, len(data), 8 << 20):
            session.feed(data[begin : begin + (8 << 20)])
        session.take_messages()
        return int(session.stats()["messages"])

    return harness.on_this_thread(work)


@contest.contestant("itchfeed: Python objects", package="itchfeed")
def itchfeed(messages: int, symbols: int, objects: int, file: str) -> harness.Round:
    from itch.parser import MessageParser

    data = head(stream(messages, symbols, file), objects)
    return harness.on_this_thread(lambda: sum(1 for _ in MessageParser().parse_stream(data)))


@contest.contestant("meatpy: Python objects", package="meatpy")
def meatpy(messages: int, symbols: int, objects: int, file: str) -> harness.Round:
    from meatpy.itch50 import ITCH50MessageReader

    path = harness.RESULTS / "itch50-head.itch"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head(stream(messages, symbols, file), objects))
    return harness.on_this_thread(lambda: sum(1 for _ in ITCH50MessageReader().read_file(path)))


test_decode = contest.test()

if __name__ == "__main__":
    contest.main()
