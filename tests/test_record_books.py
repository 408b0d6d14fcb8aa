"""Book snapshots kept beside a recorder: made from its files while they grow, and proved by playing them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from feedhandler import simulate
from feedhandler.record import Recorder
from feedhandler.recording import Recording, manifest
from feedhandler.recording.books import prove
from feedhandler.simulate import MulticastSender
from tests.recorded import feed


def last_number(folder: Path) -> int | None:
    """Of the first day's only channel, as the manifest has it."""
    return manifest.load(next(folder.iterdir())).channels[0].last_seq


def test_books_are_kept_while_the_feed_is_recorded(
    tmp_path: Path, multicast_group: str, free_udp_port: int, wait_for: Callable[..., Any]
) -> None:
    settings = feed("books_s = 1\nsync = 0.1", groups=[multicast_group], port=free_udp_port)
    with Recorder(settings, tmp_path) as recorder:
        recorder.start()
        sender = MulticastSender([(multicast_group, free_udp_port)], interface="lo", ttl=0, rate=20_000)
        sender.run(simulate.Exchange(symbols=4, messages=50_000, seed=3))
        wait_for(lambda: last_number(tmp_path) == 50_000, what="the last message in the manifest")
    assert recorder.error is None
    (day,) = tmp_path.iterdir()
    assert any("snapshots of the books" in note for note in recorder.notes), list(recorder.notes)
    assert manifest.load(day).channels[0].lost == 0
    proof = prove(Recording(day))
    assert proof.hashes >= 2 and not proof.differences
