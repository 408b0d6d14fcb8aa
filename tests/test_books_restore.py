"""A handler put behind a snapshot goes on exactly as one that was played to there: books, counters, events."""

from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from feedhandler.handler import Handler, open_recording, play
from feedhandler.recording import Recording, Window, books
from feedhandler.recording.books_file import BooksFile, Kind
from feedhandler.recording.books_keeper import open_handler
from tests.book_days import LOSSY, SIZES, Held, deep_day, held, itch_day, played, total_events

FEW = hypothesis.settings(max_examples=12)


def kept(recording: Recording, seconds: float, **options: object) -> Path:
    """Keep book snapshots of a recording; where they are."""
    keeper = books.Keeper(recording, seconds, **{**SIZES, **options})  # type: ignore[arg-type]
    keeper.run()
    return keeper.path


def assert_goes_on_alike(recording: Recording, path: Path, choose: float, depth: int = 10, **options: object) -> None:
    sizes = {**SIZES, **options}
    with BooksFile(path) as file:
        snapshots = file.cuts(Kind.SNAPSHOT)
        assert snapshots and not file.damage
        entry = snapshots[int(choose * len(snapshots))]
        state, parts = file.load(entry)
        behind = total_events(state)
        if any((part & 1).any() for name, part in parts.items() if name.endswith("/drafts")):
            depth = 10  # taken amid an event of many messages: it is refused at another depth than the keeper's
        whole = played(open_handler(recording, depth=depth, **sizes), behind)  # type: ignore[arg-type]
        handler = open_handler(recording, entry.begin, depth=depth, **sizes)  # type: ignore[arg-type]
        with handler:
            assert books.restore(handler, file, entry) == entry.begin
            play(handler)
            rest = held(handler, behind)
    assert rest.events == whole.events
    assert rest.books == whole.books
    assert rest.directory == whole.directory
    assert rest.channels == whole.channels
    assert rest.types == whole.types
    assert rest.counters == whole.counters


@FEW
@hypothesis.given(st.integers(0, 10_000), st.floats(0, 0.999), st.sampled_from([0.3, 1.0, 4.0]), st.booleans())
def test_any_moment_of_a_simulated_itch_day(
    tmp_path_factory: pytest.TempPathFactory, seed: int, choose: float, seconds: float, lossy: bool
) -> None:
    day = itch_day(tmp_path_factory.mktemp("day") / "day.pcap", seed, messages=2500, faults=LOSSY if lossy else "")
    recording = Recording(day)
    assert_goes_on_alike(recording, kept(recording, seconds), choose)


@FEW
@hypothesis.given(
    st.integers(0, 10_000), st.floats(0, 0.999), st.sampled_from([0.3, 1.0, 4.0]), st.sampled_from([1, 10, 20])
)
def test_any_moment_of_a_simulated_deep_day(
    tmp_path_factory: pytest.TempPathFactory, seed: int, choose: float, seconds: float, depth: int
) -> None:
    day = deep_day(tmp_path_factory.mktemp("day") / "day.pcap", seed, restarts=seed % 3)
    recording = Recording(day)
    assert_goes_on_alike(recording, kept(recording, seconds), choose, depth)


def test_a_window_that_begins_later_goes_on_as_if_played_from_the_beginning(tmp_path: Path) -> None:
    recording = Recording(itch_day(tmp_path / "day.pcap", 3, messages=4000))
    start = recording.find("+11s")
    whole = played(open_handler(recording, **SIZES))

    def begun() -> tuple[int, int, Held]:
        """Packets taken and events published before the window, and what is held at its end."""
        handler = open_recording(recording, Window(start), **SIZES)
        packets, events = handler.shard.packets_taken, int(handler.segment.rings["head"][0])
        return packets, events, played(handler, events)

    packets, events, unaided = begun()
    kept(recording, 2.0)
    assert begun() == (packets, events, unaided)
    assert (unaided.books, unaided.channels) == (whole.books, whole.channels)
    assert 0 < packets < 4000 and len(unaided.events) > 1000 and whole.events.endswith(unaided.events)


def test_of_a_day_with_snapshots_only_the_end_is_read(tmp_path: Path) -> None:
    recording = Recording(itch_day(tmp_path / "day.pcap", 3, messages=4000))
    kept(recording, 2.0)
    asked = []

    def make(window: Window) -> Handler:
        asked.append(window)
        return open_handler(recording, window.start, **SIZES)

    start = recording.find("+11s")
    with books.begun(recording, Window(start, start + 5), make):
        assert len(asked) == 1 and asked[0].end == start + 5
        assert start - 4 * 10**9 < (asked[0].start or 0) <= start
