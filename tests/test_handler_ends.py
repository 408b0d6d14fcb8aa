"""However the hot thread ends, no book is called LIVE afterwards; and what keeps a stream line from coming back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.errors import ReceiverError, SessionError
from feedhandler.handler import Handler
from feedhandler.read import Feed, attach
from feedhandler.records import LINE, Quality, Reason
from feedhandler.session import framing
from feedhandler.streams import BAD_PACKETS, HandledStream


class Failing:
    """A hot loop that does what it is told instead of turning."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.run = work

    def stop(self) -> None:
        """It has ended by itself."""


def raise_receiver_error() -> None:
    raise ReceiverError("the receiver failed with errno 100")


@pytest.mark.parametrize("work", [raise_receiver_error, lambda: None], ids=["failed", "ended"])
def test_books_are_not_live_when_nobody_keeps_them(
    work: Callable[[], None], tmp_path: Path, multicast_group: str, free_udp_port: int
) -> None:
    line = Line(name="A", group=multicast_group, port=free_udp_port, interface="lo")
    channel = Channel("itch", "itch50", "moldudp64", "XNAS", lines=(line,))
    shm, books = Shm(name="ends", dir=str(tmp_path)), Books(instruments=8, orders=100)
    with Handler(Config(shm, books, Ring(events=64), Run(wait="block"), (channel,))) as handler:
        index = handler.instruments.add("AAA", "XNAS")
        handler.segment.channels["quality"] = Quality.LIVE
        handler.segment.books[index].view(np.uint8)[56] = Quality.LIVE
        feed: Feed = attach("ends", dir=str(tmp_path))
        book = feed.book("AAA")
        assert book.state == Quality.LIVE
        handler.shard = Failing(work)  # type: ignore[assignment]
        handler.start()
        if work is raise_receiver_error:
            with pytest.raises(ReceiverError):
                handler.wait(10)
        else:
            assert handler.wait(10)
        assert (book.state, book.reason) == (Quality.STALE, Reason.STOPPED)


class Receiver:
    """What HandledStream asks of its receiver."""

    packets = 5
    error: Exception | None = None

    def line_status(self, line: int) -> dict[str, int]:
        return {"connections": 1, "state": 1}

    def counts(self, line: int) -> dict[str, int]:
        return {"packets": self.packets}

    def connect(self, line: int, fd: int, received: bytes) -> bool:
        if self.error is not None:
            raise self.error
        return True


class Sock:
    def fileno(self) -> int:
        return 3


def stream_line(receiver: Any) -> tuple[HandledStream, np.ndarray]:
    record = np.zeros(1, LINE)
    config = Line(name="A", port=1, host="127.0.0.1")
    return HandledStream(0, config, receiver, framing("soupbintcp"), record[0], record[0]), record


def test_bytes_that_the_framing_cannot_read_are_no_sign_of_life() -> None:
    line, record = stream_line(Receiver())
    assert line.received() == 5
    record["counters"][0, BAD_PACKETS] = 2
    assert line.received() == 3


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), ValueError("leftover is at most 262144 bytes")])
def test_a_connection_that_cannot_be_handed_over_is_a_failed_attempt(error: Exception) -> None:
    receiver = Receiver()
    receiver.error = error
    with pytest.raises(SessionError, match="cannot be handed over"):
        stream_line(receiver)[0].hand_over(Sock(), b"")  # type: ignore[arg-type]
