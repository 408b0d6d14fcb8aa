"""The arbiter over a genuine capture that restarts eleven times under one session id."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from feedhandler.errors import CaptureError
from feedhandler.line import Arbiter
from feedhandler.receive import capture
from feedhandler.session import framing

Frames = list[tuple[int, dict[str, Any], list[bytes]]]


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> Frames:
    """Every frame of the long DEEP capture with its time; the file ends in a packet that was cut."""
    deep = framing("iextp")
    found: Frames = []
    with contextlib.suppress(CaptureError):
        for ts, _, payload in capture.read(shared_data / "iex/DEEP10-20170425-12-sessions.pcap.gz"):
            found += [(ts, fields, messages) for fields, messages in deep.feed(payload)]
    return found


def run(arbiter: Arbiter, frames: Frames, lines: int = 1) -> Counter[str]:
    """What came out, counted; the order of the numbers checked."""
    out: Counter[str] = Counter()
    expected = 1
    for ts, fields, messages in frames:
        for line in range(lines):
            for what in arbiter.feed(
                fields["session"], fields["first_seq"], messages, ts, line,
                kind=fields["kind"], send_time=fields["send_time"],
            ):  # fmt: skip
                out[what[0]] += 1
                if what[0] == "session":
                    expected = 1
                elif what[0] == "run":
                    assert what[1] == expected
                    expected += len(what[2])
                    out["messages"] += len(what[2])
    return out


@pytest.mark.real_data
@pytest.mark.parametrize("heartbeats", [True, False])
def test_eleven_restarts_under_one_session_id(frames: Frames, heartbeats: bool) -> None:
    arbiter = Arbiter(1)
    kept = frames if heartbeats else [f for f in frames if f[1]["kind"] == "data"]
    assert run(arbiter, kept)["messages"] == 391_999
    assert (arbiter.counts["restarts"], arbiter.counts["sessions"], arbiter.counts["gaps"]) == (11, 1, 0)
    assert arbiter.state[2] == 12


@pytest.mark.real_data
def test_a_second_line_changes_nothing(frames: Frames) -> None:
    arbiter = Arbiter(2)
    some = frames[: len(frames) // 4]
    total = sum(len(messages) for _, _, messages in some)
    assert run(arbiter, some, lines=2)["messages"] == total
    assert (arbiter.line_counts(0)["won"], arbiter.line_counts(1)["duplicates"]) == (total, total)
