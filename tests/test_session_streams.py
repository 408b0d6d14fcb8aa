"""Stream lines of a handler recover by logging in again: a gap ends LIVE, and session and number are of one piece."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from test_handler_live import MARKET, CuttingProxy, config, running

from feedhandler import simulate
from feedhandler.config import Line
from feedhandler.line import Arbiter
from feedhandler.records import Quality, Reason
from feedhandler.streams import HandledStream
from tests.background import beside


def test_a_cut_connection_is_stale_and_then_live_again(wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer(rate=30_000)
    proxy = CuttingProxy(server.port, after=[200_000])
    line = Line(name="A", host="127.0.0.1", port=proxy.port)
    seen: set[tuple[int, int]] = set()
    with running(config("soupbintcp", (line,))) as handler, proxy:
        channel = handler.segment.channels[0]

        def at_the_end() -> bool:
            seen.add((int(channel["quality"]), int(channel["reason"])))
            return bool(channel["next_seq"] == MARKET.messages + 1)

        with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
            wait_for(at_the_end, what="the last message")
            assert proxy.cut == 1
            assert channel["quality"] == Quality.LIVE
    assert (int(Quality.STALE), int(Reason.LINE_DOWN)) in seen


def test_a_late_start_has_the_whole_session(wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer(rate=50_000)
    line = Line(name="A", host="127.0.0.1", port=server.port)
    with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
        wait_for(lambda: server.stats["messages"] > 1000, what="the first messages")
        with running(config("soupbintcp", (line,))) as handler:
            channel = handler.segment.channels[0]
            wait_for(lambda: channel["next_seq"] == MARKET.messages + 1, what="the last message")
            assert channel["quality"] == Quality.LIVE
            assert channel["counters"][2] == 0  # gaps


STATES = [(b"OLD", 500), (b"OLD", 0), (b"NED", 0), (b"NEW", 0), (b"NEW", 1)]  # as the arbiter changes them


@pytest.mark.parametrize("moments", list(itertools.combinations_with_replacement(range(len(STATES)), 3)))
def test_session_and_number_never_tear(moments: tuple[int, ...]) -> None:
    """Whenever the hot thread begins a session between our looks, what is asked for belongs together."""
    looks = iter(moments)

    class Changing:
        def __getitem__(self, what: str) -> Any:
            session, number = STATES[next(looks, len(STATES) - 1)]
            return session if what == "session" else number

    line = HandledStream(0, Line(name="A", port=1), None, None, Changing(), None)  # type: ignore[arg-type]
    assert line.wanted() in [("OLD", 500), ("NEW", 1)]


def test_before_any_session_the_configured_one_is_asked_for() -> None:
    asked = Line(name="A", port=1, requested_session="TODAY")
    line = HandledStream(0, asked, None, None, {"session": b"", "next_seq": 0}, None)  # type: ignore[arg-type]
    assert line.wanted() == ("TODAY", 1)


def test_the_arbiter_says_number_1_with_a_new_session() -> None:
    arbiter = Arbiter()
    arbiter.feed(b"OLD", 1, [b"x"] * 5)
    arbiter.feed(b"NEW", 1, [b"y"])
    assert (arbiter.session_name.rstrip(b"\0"), arbiter.next_seq) == (b"NEW", 2)
