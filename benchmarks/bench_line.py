"""The arbiter alone: what it costs a message that all lines bring each message, and what loss on them costs.

    python benchmarks/bench_line.py                           # a million messages, 20 to a packet, two lines
    python benchmarks/bench_line.py messages=200000 batch=1   # one message to a packet

Packets are in memory, framing and decoding are left out; line B brings its copies `skew` packets behind A. An operation
is a message of the stream, however many copies of it came. "lost": each line loses packets of its own; where both lose
the same one, recovery is asked and answered by a packet from memory (only the arbiter's part is timed).
"""

import functools
import struct
from typing import Any

import harness

contest = harness.Contest(
    "line",
    unit="message",
    floor="bare loop over the packets' numbers",
    options={"messages": 1_000_000, "batch": 20, "skew": 2.5, "seed": 1},
)

NAME = b"BENCHMARK "
MESSAGE = b"A" + bytes(10) + (1).to_bytes(8, "big") + b"B" + (100).to_bytes(4, "big") + b"AAPL    " + bytes(4)
PACKET_NS = 100_000  # between two packets of one line: 200,000 messages a second at 20 to a packet
CHUNK = 64  # packets between two looks at recovery


@functools.cache
def packets(messages: int, batch: int, skew: float, seed: int, loss: float) -> tuple[Any, Any, Any]:
    """Lines, first numbers and times of all packets, in the order of their arrival."""
    import numpy as np

    dice = np.random.default_rng(seed)
    count = messages // batch
    firsts = np.arange(count, dtype=np.uint64) * np.uint64(batch) + np.uint64(1)
    times = 10**18 + np.arange(count, dtype=np.int64) * PACKET_NS
    kept = [dice.random(count) >= loss for _ in range(2)]
    kept[0][0] = kept[0][-1] = True
    line = np.concatenate([np.full(int(k.sum()), i, np.uint32) for i, k in enumerate(kept)])
    first = np.concatenate([firsts[k] for k in kept])
    time = np.concatenate([times[k] + int(i * skew * PACKET_NS) for i, k in enumerate(kept)])
    order = np.argsort(time, kind="stable")
    return line[order].copy(), first[order].copy(), time[order].copy()


def rounds(messages: int, batch: int, skew: float, seed: int, loss: float) -> harness.Round:
    from feedhandler import session
    from feedhandler._instruments import Instruments
    from feedhandler.decode import decoder
    from feedhandler.line import ASK_MISSING, Arbiter, Recovery
    from feedhandler.line._exercise import Exercise

    sent = packets(messages, batch, skew, seed, loss)
    block = struct.pack(">H", len(MESSAGE)) + MESSAGE
    framing = session.framing("moldudp64")

    def one_round() -> harness.Sample:
        recovery = Recovery()
        decode = decoder("itch50", Instruments.standalone(16))
        arbiter = Arbiter(2, decoder=decode, recovery=recovery, window_messages=65_536)
        exercise = Exercise(*sent, NAME, [MESSAGE] * batch)
        more = True
        while more:
            more = exercise.play(arbiter, CHUNK)
            for ask in recovery.asks():
                if ask.kind == ASK_MISSING:
                    for first in range(ask.first, ask.first + ask.count, batch):
                        count = min(batch, ask.first + ask.count - first)
                        recovery.packet(ask.epoch, NAME + struct.pack(">QH", first, count) + block * count)
            exercise.answer(arbiter, framing)
        counts = arbiter.counts
        assert exercise.delivered == messages // batch * batch, (exercise.delivered, counts)
        assert counts["lost"] == 0
        return harness.Sample(exercise.delivered, exercise.nanoseconds, {"recovered": counts["recovered"]})

    return one_round


@contest.contestant("bare loop over the packets' numbers")
def floor(messages: int, batch: int, skew: float, seed: int) -> harness.Round:
    from feedhandler.line._exercise import bare_loop

    _, firsts, _ = packets(messages, batch, skew, seed, 0.0)
    return lambda: harness.Sample(*bare_loop(firsts, batch))


@contest.contestant("arbiter: two lines, nothing lost")
def whole(messages: int, batch: int, skew: float, seed: int) -> harness.Round:
    return rounds(messages, batch, skew, seed, 0.0)


@contest.contestant("arbiter: 1 % of the packets lost on each line")
def one_percent(messages: int, batch: int, skew: float, seed: int) -> harness.Round:
    return rounds(messages, batch, skew, seed, 0.01)


@contest.contestant("arbiter: 10 % of the packets lost on each line")
def ten_percent(messages: int, batch: int, skew: float, seed: int) -> harness.Round:
    return rounds(messages, batch, skew, seed, 0.10)


test_line = contest.test()

if __name__ == "__main__":
    contest.main()
