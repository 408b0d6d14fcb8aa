"""Real captures under loss: each line losing 1 % and 10 % by itself, in bursts too. No book is LIVE and wrong.

IEX has no recovery protocol that we could verify: its retransmissions come from a source of the rehearsal's own, and
once more from nowhere, where books must stay STALE until the next restart of the numbers.
"""

import functools
import itertools
from pathlib import Path
from typing import Any

import pytest

from feedhandler import rehearse
from feedhandler.rehearse import Report, Sizes, Source, Venue
from feedhandler.simulate import Faults

ITCH = ["bats-part1", "esh4-20231224", "esh4-20231225", "ritch-synthetic-3-stocks"]
LOSSES = {
    "1 %": "all.loss = 0.01",
    "10 %": "all.loss = 0.1",
    "bursts": "all = { loss = 0.01, burst_loss = 0.1, burst_packets = 10 }",
}
SIZES = Sizes(depth=32, orders=200_000, instruments=16_384, window_messages=1 << 16)
IEX_PACKETS = 12_000  # of the long capture: some restarts are among them


@functools.cache
def itch(path: Path) -> Source:
    source = rehearse.from_capture(path)
    return rehearse.listed(source.packets(), source.protocol, source.framing)


@functools.cache
def iex(folder: Path) -> Source:
    source = rehearse.from_capture(folder / "iex/DEEP10-20170425-12-sessions.pcap.gz")
    return rehearse.listed(itertools.islice(source.packets(), IEX_PACKETS), source.protocol, source.framing)


def tell(source: Source, script: str, venue: Any = Venue) -> Report:
    return rehearse.rehearse(source, Faults.parse(script), seed=7, sizes=SIZES, venue=venue, patience_s=20.0)


@pytest.mark.real_data
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ITCH)
def test_itch_files_recover_whatever_both_lines_lose(name: str, loss: str, shared_data: Path) -> None:
    story = tell(itch(shared_data / f"itch50/derived/{name}.itch.gz"), LOSSES[loss])
    assert story.whole, (story.first_wrong, story.not_live)
    assert story.lost_messages == 0 and len(story.equal) + len(story.stale_without_faults) > 0
    if story.packets > 2_000 and loss != "1 %":
        assert story.filled["retransmission"] > 0


@pytest.mark.real_data
@pytest.mark.parametrize("loss", LOSSES)
def test_iex_recovers_from_a_source_of_our_own(loss: str, shared_data: Path) -> None:
    story = tell(iex(shared_data), LOSSES[loss])
    assert story.whole, (story.first_wrong, story.not_live[:3])
    assert story.lost_messages == 0 and story.filled["retransmission"] > 0 and len(story.sessions) > 1


@pytest.mark.real_data
@pytest.mark.parametrize("loss", ["10 %", "bursts"])
def test_iex_without_any_source_is_stale_until_the_numbers_begin_again(loss: str, shared_data: Path) -> None:
    def nobody(*arguments: Any) -> Venue:
        return Venue(*arguments, servers=0, snapshots=False)

    story = tell(iex(shared_data), LOSSES[loss], nobody)
    assert story.ok and story.compared > 1_000, story.first_wrong
    assert story.lost_messages > 0 and story.filled["given_up"] > 0
    assert all(period.quality == "STALE" for period in story.periods)
    assert any(
        period.reason == "GAP" and period.ended < story.ended for period in story.periods
    )  # the restart ended it
