"""The whole hot path: a BinaryFILE through receiver, decoder, order-by-order books and top ten to the event ring.

    python benchmarks/bench_hotpath.py                                    # a simulated day, 500 symbols
    python benchmarks/bench_hotpath.py symbols=8000
    python benchmarks/bench_hotpath.py file=/data/day.itch orders=1300000 # any plain BinaryFILE

The floor is a bare C loop that switches on the type and reads the fields, built with the same flags. A second row of
ours fetches no cache lines ahead: the difference is what that brings. Every round plays the file into a new handler;
making it, with all its memory, is not timed. CPU time of the thread is counted; a peer's includes its set-up.
"""

import functools
import time

import harness
from bench_decode import on_this_thread, stream

contest = harness.Contest(
    "hotpath",
    unit="message",
    floor="bare C loop",
    options={"messages": 1_000_000, "symbols": 500, "orders": 1_300_000, "ring": 1 << 16, "file": ""},
)


@contest.contestant("bare C loop")
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


@contest.contestant("feedhandler: file to event ring")
def whole(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    return ours(messages, symbols, orders, ring, file)


@contest.contestant("feedhandler: the same, nothing fetched ahead")
def without_prefetch(messages: int, symbols: int, orders: int, ring: int, file: str) -> harness.Round:
    from feedhandler import handler
    from feedhandler.book import OrderBook

    vars(handler)["OrderBook"] = functools.partial(OrderBook, prefetch=False)
    return ours(messages, symbols, orders, ring, file)


@contest.contestant("itch-book: books to depth 10, best prices into NumPy", package="itch-book")
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

    return on_this_thread(work)


test_hotpath = contest.test()

if __name__ == "__main__":
    contest.main()
