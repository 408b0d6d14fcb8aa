"""A plain-dict book over the messages of an ITCH file, which checks each one as it goes: the simulator's judge."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator

# The table of ../shared/protocols/itch50.md: total length of each message type.
LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}  # fmt: skip


def blocks(data: bytes) -> Iterator[bytes]:
    """The messages of length-prefixed blocks, up to the end marker."""
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">H", data, at)
        if length == 0:
            assert at + 2 == len(data), "bytes behind the end marker"
            return
        yield data[at + 2 : at + 2 + length]
        at += 2 + length


class Judge:
    """Books by symbol out of messages; asserts that every message is one an exchange could have sent."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.orders: dict[int, list] = {}  # reference -> [locate, side, price, shares]
        self.levels: dict[tuple[int, str], Counter[int]] = defaultdict(Counter)  # orders by price
        self.names: dict[int, str] = {}
        self.state: dict[int, str] = {}
        self.system = ""
        self.matches: set[int] = set()
        self.last_reference = 0
        self.time = 0

    def take(self, m: bytes) -> None:
        kind = chr(m[0])
        assert len(m) == LENGTHS[kind]
        locate, _, high, low = struct.unpack_from(">HHHI", m, 1)
        now = high << 32 | low
        assert now >= self.time
        self.time = now
        self.types[kind] += 1
        getattr(self, f"on_{kind}", lambda *_: None)(locate, m)

    def on_S(self, locate: int, m: bytes) -> None:  # noqa: N802
        assert locate == 0
        self.system += chr(m[11])

    def on_R(self, locate: int, m: bytes) -> None:  # noqa: N802
        assert locate == len(self.names) + 1
        self.names[locate] = m[11:19].decode().rstrip()

    def on_H(self, locate: int, m: bytes) -> None:  # noqa: N802
        self.state[locate] = chr(m[19])

    def on_h(self, locate: int, m: bytes) -> None:
        self.state[locate] = chr(m[20])

    def on_A(self, locate: int, m: bytes) -> None:  # noqa: N802
        reference, side, shares, stock, price = struct.unpack_from(">QcI8sI", m, 11)
        assert self.names[locate] == stock.decode().rstrip()
        self.insert(reference, locate, side.decode(), price, shares)

    on_F = on_A  # noqa: N815

    def on_E(self, locate: int, m: bytes) -> None:  # noqa: N802
        reference, shares, match = struct.unpack_from(">QIQ", m, 11)
        order = self.orders[reference]
        side = self.levels[locate, order[1]]
        assert order[2] == (max(side) if order[1] == "B" else min(side)), "not the best price"
        assert m[0] == ord("C") or self.state[locate] == "T", "an execution while halted"
        self.new_match(match)
        self.take_from(reference, locate, shares)

    on_C = on_E  # noqa: N815

    def on_X(self, locate: int, m: bytes) -> None:  # noqa: N802
        reference, shares = struct.unpack_from(">QI", m, 11)
        assert shares < self.orders[reference][3]
        self.take_from(reference, locate, shares)

    def on_D(self, locate: int, m: bytes) -> None:  # noqa: N802
        (reference,) = struct.unpack_from(">Q", m, 11)
        self.take_from(reference, locate, self.orders[reference][3])

    def on_U(self, locate: int, m: bytes) -> None:  # noqa: N802
        old, new, shares, price = struct.unpack_from(">QQII", m, 11)
        side = self.orders[old][1]
        self.take_from(old, locate, self.orders[old][3])
        self.insert(new, locate, side, price, shares)

    def on_P(self, locate: int, m: bytes) -> None:  # noqa: N802
        bids, asks = self.levels[locate, "B"], self.levels[locate, "S"]
        assert max(bids) < struct.unpack_from(">I", m, 32)[0] < min(asks)
        self.new_match(struct.unpack_from(">Q", m, 36)[0])

    def on_Q(self, locate: int, m: bytes) -> None:  # noqa: N802
        self.new_match(struct.unpack_from(">Q", m, 31)[0])

    def on_B(self, locate: int, m: bytes) -> None:  # noqa: N802
        assert struct.unpack_from(">Q", m, 11)[0] in self.matches

    def new_match(self, match: int) -> None:
        assert match not in self.matches
        self.matches.add(match)

    def insert(self, reference: int, locate: int, side: str, price: int, shares: int) -> None:
        assert reference > self.last_reference
        assert shares > 0
        assert 0 < price <= 2_000_000_000
        self.last_reference = reference
        self.orders[reference] = [locate, side, price, shares]
        self.levels[locate, side][price] += 1
        bids, asks = self.levels[locate, "B"], self.levels[locate, "S"]
        assert not bids or not asks or max(bids) < min(asks), "crossed"

    def take_from(self, reference: int, locate: int, shares: int) -> None:
        order = self.orders[reference]
        assert order[0] == locate
        assert 0 < shares <= order[3]
        order[3] -= shares
        if order[3] == 0:
            del self.orders[reference]
            side = self.levels[locate, order[1]]
            side[order[2]] -= 1
            if side[order[2]] == 0:
                del side[order[2]]

    def book(self, symbol: str) -> tuple[list, list]:
        """(bids, asks), best first, each (price, shares, orders)."""
        locate = next(i for i, name in self.names.items() if name == symbol)
        sides = []
        for side, reverse in (("B", True), ("S", False)):
            shares: Counter[int] = Counter()
            for at, its_side, price, left in self.orders.values():
                if (at, its_side) == (locate, side):
                    shares[price] += left
            orders = self.levels[locate, side]
            sides.append([(price, shares[price], orders[price]) for price in sorted(shares, reverse=reverse)])
        return sides[0], sides[1]
