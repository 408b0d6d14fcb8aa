"""What the directory says of an instrument's faults, through the handler."""

import struct
from pathlib import Path

from feedhandler.decode import protocol
from feedhandler.decode.interpret import encode
from feedhandler.handler import run_capture
from feedhandler.records import Quality, Reason

ITCH = protocol("itch50")
SECOND = 1_000_000_000


def message(name: str, locate: int, second: int = 0, **fields: int | str) -> bytes:
    body = {"locate": locate, "timestamp": second * SECOND} | fields
    made = encode(ITCH, name, **body)
    return struct.pack(">H", len(made)) + made


def add(locate: int, order: int, side: str, price: int, second: int = 0) -> bytes:
    return message(
        "add_order", locate, second, order_id=order, side=side, shares=100, stock=f"S{locate}", price=price * 100_000
    )


def test_faults_are_counted_for_their_instrument(tmp_path: Path) -> None:
    """S1 sees every kind of fault, once a message; S2 none."""
    trading = [
        message("stock_trading_action", n, stock=f"S{n}", trading_state="T", reserved=" ", reason="") for n in (1, 2)
    ]
    stream = [
        *trading,
        add(1, 10, "B", 100),
        add(2, 20, "B", 100),
        add(1, 10, "B", 101),  # 10 is live
        message("order_executed", 1, order_id=99, executed_shares=1, match_number=1),  # three events, one message
        message("order_delete", 1, order_id=98),
        message("order_cancel", 1, order_id=10, cancelled_shares=101),  # it had 100
        add(1, 11, "B", 100, second=1),
        add(1, 12, "S", 99, second=2),  # crossed
        add(1, 13, "S", 120, second=2),
    ]
    file = tmp_path / "faults.itch"
    file.write_bytes(b"".join(stream))
    result = run_capture(file, "itch50", instruments=8, orders=100)
    with result.handler as handler:
        names = ("unknown_orders", "over_executions", "duplicate_orders", "crossed")
        first, second = (handler.segment.directory[n] for n in (1, 2))
        assert [int(first[name]) for name in names] == [2, 1, 1, 1]
        assert not any(int(second[name]) for name in names)
        head = handler.book(1)[0]
        assert (head["quality"], head["reason"]) == (Quality.STALE, Reason.DUPLICATE_ORDER)
        assert handler.book(2)[0]["quality"] == Quality.LIVE
