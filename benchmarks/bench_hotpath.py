"""The whole hot path: a BinaryFILE through receiver, decoder, order-by-order books and top ten to the event ring.

    python benchmarks/bench_hotpath.py                                    # 10 M messages, 500 and 8,000 symbols
    python benchmarks/bench_hotpath.py messages=1000000                   # quicker, with far fewer live orders
    python benchmarks/bench_hotpath.py file=/data/day.itch orders=1300000 # any plain BinaryFILE

Ten million messages rest on more than a million live orders. The floor is a bare C loop that switches on the type and
reads the fields, built with the same flags; the last row is the machine's memory latency. A second row of ours fetches
no cache lines ahead: the difference is what that brings. Every round plays the file into a new handler; making it, with
all its memory, is not timed. CPU time of the thread is counted; a peer's includes its set-up.
"""

import functools
import time

import harness
from bench_decode import stream

OPTIONS = {"messages": 10_000_000, "orders": 1_300_000, "ring": 1 << 16, "file": ""}
CHASE_BYTES = 512 << 20


def floor(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    from feedhandler._floor import decode_floor

    data = stream(messages, symbols, file)
    return lambda: harness.Sample(*decode_floor(data))


def ours(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    from feedhandler.handler import open_capture, play

    stream(messages, symbols, file)  # simulated, if need be, and read once
    path = file or str(harness.RESULTS / f"itch50-{messages}-{symbols}.itch")
    sizes = {"orders": orders, "ring_events": ring, "instruments": symbols + 2 if not file else 1 << 14}

    def one_round() -> harness.Sample:
        with open_capture(path, "itch50", **sizes) as handler:
            handler.segment.slots["seq"] = 0  # every page of the ring is there
            begin = time.thread_time_ns()
            play(handler)
            taken = time.thread_time_ns() - begin
            return harness.Sample(sum(handler.types.values()), taken)

    return one_round


def whole(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    return ours(messages, symbols, orders, ring, file)


def without_prefetch(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    from feedhandler import handler
    from feedhandler.book import OrderBook

    vars(handler)["OrderBook"] = functools.partial(OrderBook, prefetch=False)
    return ours(messages, symbols, orders, ring, file)


def itch_book(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    import itch_book
    import numpy as np

    data = np.frombuffer(stream(messages, symbols, file), np.uint8)

    def work() -> int:
        session = itch_book.Session(tables=["bbo"], depth=10, symbols=[])
        for begin in range(0, len(data), 8 << 20):
            session.feed(data[begin : begin + (8 << 20)])
            session.take_bbo()
        return int(session.stats()["messages"])

    return harness.on_this_thread(work)


def memory(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    """One dependent load from anywhere in half a gigabyte: what a cache miss costs here."""
    from feedhandler._floor import chase

    return lambda: harness.Sample(1, chase(CHASE_BYTES))


def contest(symbols: int) -> harness.Contest:
    """The contest over a day of so many symbols."""
    made = harness.Contest(
        f"hotpath_{symbols}",
        unit="message",
        floor="bare C loop",
        rounds=5,
        options=OPTIONS | {"symbols": symbols},
    )
    made.contestant("bare C loop")(floor)
    made.contestant("feedhandler: file to event ring")(whole)
    made.contestant("feedhandler: the same, nothing fetched ahead")(without_prefetch)
    made.contestant("itch-book: books to depth 10, best prices into NumPy", package="itch-book")(itch_book)
    made.contestant("one dependent load from memory")(memory)
    return made


few, many = contest(500), contest(8_000)
test_500_symbols = few.test()
test_8000_symbols = many.test()

if __name__ == "__main__":
    for each in (few, many):
        each.main()
