"""Two channels of one handler: what happens to one says nothing of the other's books."""

from pathlib import Path
from typing import Any

import pytest

from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.counters import CHANNEL
from feedhandler.decode.interpret import encode
from feedhandler.decode.itch50 import PROTOCOL
from feedhandler.handler import Handler, play
from feedhandler.receive import capture
from feedhandler.receive.capture import PcapWriter
from feedhandler.records import Quality, Trading

TARGETS = (("239.1.1.1", 4001), ("239.1.1.2", 4002))
DOLLAR = 10**9
COUNTERS = [counter.name for counter in CHANNEL]


class Wire:
    """Packets of two channels into a capture, in the order of the calls."""

    def __init__(self, path: Path) -> None:
        self.writer, self.now = PcapWriter(path), 1_700_000_000_000_000_000
        self.next: dict[tuple[int, str], int] = {}

    def send(self, channel: int, session: str, *messages: bytes) -> None:
        first = self.next.get((channel, session), 1)
        self.next[channel, session] = first + len(messages)
        blocks = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
        head = session.ljust(10).encode() + first.to_bytes(8, "big") + len(messages).to_bytes(2, "big")
        self.now += 1_000
        self.writer.write(self.now, head + blocks, TARGETS[channel])


def named(symbol: str, locate: int = 1) -> bytes:
    return encode(PROTOCOL, "stock_directory", locate=locate, stock=symbol, authenticity="P")


def bid(symbol: str, order_id: int, dollars: int, locate: int = 1) -> bytes:
    fields: dict[str, Any] = {"locate": locate, "order_id": order_id, "side": "B", "shares": 100, "stock": symbol}
    return encode(PROTOCOL, "add_order", price=dollars * DOLLAR, **fields)


def through(path: Path) -> Handler:
    lines = [Line(name="A", group=group, port=port) for group, port in TARGETS]
    channels = tuple(Channel(f"c{i}", "itch50", "moldudp64", "XNAS", lines=(line,)) for i, line in enumerate(lines))
    config = Config(Shm(name="x"), Books(instruments=16, orders=1000), Ring(events=1024), Run(), channels)
    handler = Handler(config, receiver=capture.receiver(path, list(TARGETS)), first_packet=1, anonymous=True)
    assert play(handler) is None
    return handler


def bids(handler: Handler, instrument: int) -> list[int]:
    return [int(price) // DOLLAR for price in handler.book(instrument)[1]["price"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "two.pcap"


def test_a_new_session_of_one_channel_leaves_the_others_books_alone(path: Path) -> None:
    wire = Wire(path)
    wire.send(0, "ONE", named("AAA"), bid("AAA", 1, 10))
    wire.send(1, "TWO", named("BBB"), bid("BBB", 1, 20), bid("BBB", 2, 19))
    wire.send(0, "THREE", named("AAA"))
    wire.send(1, "TWO", bid("BBB", 3, 21))
    wire.writer.close()
    with through(path) as handler:
        heads = [handler.book(i)[0] for i in (1, 2)]
        assert (bids(handler, 1), bids(handler, 2)) == ([], [21, 20, 19])
        assert heads[1]["quality"] == Quality.LIVE
        assert int(heads[1]["epoch"]) == 0  # it was defined after its session began


def test_the_close_of_one_channel_does_not_close_the_other(path: Path) -> None:
    wire = Wire(path)
    wire.send(0, "ONE", named("AAA"), bid("AAA", 1, 10))
    wire.send(1, "TWO", named("BBB"), bid("BBB", 1, 20))
    wire.send(1, "TWO", encode(PROTOCOL, "system_event", event_code="C"))
    wire.writer.close()
    with through(path) as handler:
        assert [int(handler.book(i)[0]["trading"]) for i in (1, 2)] == [Trading.UNKNOWN, Trading.CLOSED]


def test_a_book_has_one_channel(path: Path) -> None:
    """Both channels name the same symbol of the same venue: the first keeps it, the other's messages are counted."""
    wire = Wire(path)
    wire.send(0, "ONE", named("AAA"), bid("AAA", 1, 10))
    wire.send(1, "TWO", named("AAA"), bid("AAA", 1, 50), bid("AAA", 2, 51))
    wire.send(0, "ONE", bid("AAA", 2, 9))
    wire.writer.close()
    with through(path) as handler:
        assert bids(handler, 1) == [10, 9]
        assert int(handler.segment.directory[1]["channel"]) == 0
        assert int(handler.segment.channels[1]["counters"][COUNTERS.index("unknown_instrument")]) == 3


def test_a_status_of_nobody_is_not_one_of_the_whole_channel(path: Path) -> None:
    """Statuses of a security without a name: they bear instrument 0, and must not be taken for a system event."""
    wire = Wire(path)
    wire.send(
        0, "ONE", named("AAA"), encode(PROTOCOL, "stock_trading_action", locate=1, stock="AAA", trading_state="T")
    )
    wire.send(0, "ONE", encode(PROTOCOL, "stock_trading_action", locate=0, stock="", trading_state="H"))
    wire.writer.close()
    with through(path) as handler:
        assert handler.book(1)[0]["trading"] == Trading.TRADING
        head = int(handler.segment.rings["head"][0])
        assert chr(handler.segment.slots[head]["action"]) == "N"
