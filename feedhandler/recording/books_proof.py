"""Does a recording prove itself? Its packets are played again, and every hash that was kept is compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np

from feedhandler.book import _state as book_state
from feedhandler.errors import RecordingError
from feedhandler.receive._receiver import Receiver
from feedhandler.recording import books_state
from feedhandler.recording.books_file import LAST, BooksFile, Entry, Kind
from feedhandler.recording.books_keeper import SIZES, books_path, open_handler, refuse_others
from feedhandler.recording.books_state import ChannelHash
from feedhandler.records import PRICE_NONE, Quality, Reason, Trading

if TYPE_CHECKING:
    from feedhandler.capture_config import CaptureOptions
    from feedhandler.handler import Handler
    from feedhandler.recording import Recording

__all__ = ["Difference", "Proof", "prove"]

TURNS_AT_ONCE = 256
EVER = -(2**63)
DIFFERENCES_MAX = 1000
NAMED_MAX = 20  # books of a channel that are named at one moment


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was when the recording was made."""

    ts: int
    """The moment of the hash: ns since the Unix epoch of the latest packet before it."""
    channel: str
    sequence: int
    """The last number before it, as it is now; 0: none."""
    symbol: str
    """"" = the channel itself."""
    venue: str
    what: str
    """The level, order or state that differs, as it is and as it was."""
    start: str
    """From where was played: "the beginning", or "the snapshot before"."""

    def __str__(self) -> str:
        where = f"{self.symbol} on {self.venue}" if self.symbol else "the channel"
        return f"{self.channel}: after message {self.sequence}: {where}: {self.what} (played from {self.start})"


@dataclass
class Proof:
    """What was compared, and what differs."""

    path: str
    snapshots: int = 0
    hashes: int = 0
    compared: int = 0
    """Books whose hash was compared, each time that it was."""
    differences: list[Difference] = field(default_factory=list)
    more: int = 0
    """Differences that are not listed."""
    damage: list[str] = field(default_factory=list)
    """What of the file could not be used."""

    @property
    def ok(self) -> bool:
        """Something was compared, and nothing differs."""
        return self.compared > 0 and not self.differences

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        found = [vars(difference) for difference in self.differences]
        return {**vars(self), "differences": found, "ok": self.ok}


def prove(
    recording: Recording,
    *,
    path: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[CaptureOptions],
) -> Proof:
    """Play a recording from its beginning, and once more from each snapshot to the next; compare every hash.

    `progress` is called with bytes read, of twice the recording's size. Books have the room that the keeper's had,
    unless `options` say otherwise. Raises RecordingError when there are no book snapshots, or they are of another
    recording.
    """
    found = Path(path) if path is not None else books_path(recording)
    if found is None or not found.exists():
        what = found or recording
        raise RecordingError(
            f"{what}: there are no book snapshots: record with --books N, or have recording.books.Keeper make them"
        )
    with BooksFile(found) as file:
        options = {**_sizes(file), **options}
        return _Prover(recording, file, progress, options).run()


def _sizes(file: BooksFile) -> CaptureOptions:
    """The room that the keeper's books had."""
    told = file.head.get("sizes")
    sizes = told if isinstance(told, dict) else {}
    return cast("CaptureOptions", {name: sizes[name] for name in SIZES if isinstance(sizes.get(name), int)})


class _Prover:
    def __init__(
        self,
        recording: Recording,
        file: BooksFile,
        progress: Callable[[int], None] | None,
        options: CaptureOptions,
    ) -> None:
        self._recording, self._file, self._progress, self._options = recording, file, progress, options
        self._scratch: Handler | None = None
        self._loaded: Entry | None = None
        self.proof = Proof(str(file.path), damage=list(file.damage))

    def run(self) -> Proof:
        """Both plays."""
        if self._file.head.get("channels") != books_state.channels_of(self._recording.config(**self._options)):
            raise RecordingError(f"{self._file.path}: book snapshots of other channels or lines than the recording's")
        refuse_others(self._recording, self._file)
        snapshots = {entry.packets: entry for entry in self._file.cuts(Kind.SNAPSHOT)}
        hashes = self._file.cuts(Kind.HASHES)
        self.proof.snapshots, self.proof.hashes = len(snapshots), len(hashes)
        try:
            self._play(hashes, snapshots, "the beginning", anew=False)
            self._play(hashes, snapshots, "the snapshot before", anew=True)
        finally:
            if self._scratch is not None:
                self._scratch.close()
        return self.proof

    def _play(self, hashes: list[Entry], snapshots: dict[int, Entry], start: str, *, anew: bool) -> None:
        """Play, and compare at each hash; `anew`: at each snapshot forget all, and go on from what it says."""
        base = self._recording.size if anew else 0
        streams = any(line.stream for line in self._recording.lines)
        with open_handler(self._recording, **self._options) as handler:
            for entry in hashes:
                if not self._play_to(handler, entry, base, start):
                    return
                if entry.flags & LAST and streams and not self._at_end(handler):
                    continue  # the recording went on: that its streams were at their end then is not seen any more
                self._compare(handler, entry, snapshots, start)
                snapshot = snapshots.get(entry.packets)
                if anew and snapshot is not None:
                    try:
                        books_state.restore(handler, *self._file.load(snapshot))
                        self._compare(handler, entry, snapshots, "the snapshot itself")
                    except RecordingError as error:
                        self._damaged(str(error))

    def _at_end(self, handler: Handler) -> bool:
        """Whether no packet is left; the connections that have ended are known then."""
        return handler.shard.turns_before(EVER, 1) and handler.receiver.ended

    def _play_to(self, handler: Handler, entry: Entry, base: int, start: str) -> bool:
        """As far as the hash's packet; False, and a difference, when the recording ends before."""
        receiver: Any = handler.receiver
        ended = False
        while handler.shard.packets_taken < entry.packets and not ended:
            ended = handler.shard.turn_to_packet(entry.packets, TURNS_AT_ONCE)
            if self._progress is not None:
                self._progress(base + receiver.offset)
        if handler.shard.packets_taken == entry.packets:
            return True
        what = f"the recording ends after {handler.shard.packets_taken} packets, the hash is of {entry.packets}"
        self._differ(Difference(entry.until, "", 0, "", "", what, start))
        return False

    def _damaged(self, sentence: str) -> None:
        if sentence not in self.proof.damage:
            self.proof.damage.append(sentence)

    def _differ(self, difference: Difference) -> None:
        if len(self.proof.differences) < DIFFERENCES_MAX:
            self.proof.differences.append(difference)
        else:
            self.proof.more += 1

    def _compare(self, handler: Handler, entry: Entry, snapshots: dict[int, Entry], start: str) -> None:
        try:
            recorded = books_state.unpack_hashes(*self._file.load(entry))
        except RecordingError as error:
            self._damaged(str(error))
            return
        for number, (now, then) in enumerate(zip(books_state.hashes(handler), recorded, strict=True)):
            self.proof.compared += len(then.books)
            if now.hash != then.hash:
                self._name(handler, number, entry, now, then, snapshots.get(entry.packets), start)

    def _name(
        self,
        handler: Handler,
        number: int,
        entry: Entry,
        now: ChannelHash,
        then: ChannelHash,
        snapshot: Entry | None,
        start: str,
    ) -> None:
        """Say what differs in a channel."""

        def differ(symbol: str, venue: str, what: str) -> None:
            self._differ(Difference(entry.until, now.name, now.next_seq - 1, symbol, venue, what, start))

        states = (now.state(), then.state())
        for name in ("session", "next_seq", "epoch", "quality", "reason"):
            is_now, was = (_word(name, state[name]) for state in states)
            if is_now != was:
                differ("", "", f"{name.replace('_', ' ')} is {is_now}, was {was}")
        mine = {(bytes(row["symbol"]), bytes(row["venue"])): int(row["hash"]) for row in now.books}
        theirs = {(bytes(row["symbol"]), bytes(row["venue"])): int(row["hash"]) for row in then.books}
        wrong = [key for key in sorted({**mine, **theirs}) if mine.get(key) != theirs.get(key)]
        scratch = self._recorded(snapshot)
        for symbol, venue in wrong[:NAMED_MAX]:
            if (symbol, venue) not in mine or (symbol, venue) not in theirs:
                what = "there is such a book, and was none" if (symbol, venue) in mine else "there was such a book"
            elif scratch is None:
                what = "its hash is another (there is no snapshot of that moment to look into)"
            else:
                what = _what(handler, scratch, number, symbol.decode(), venue.decode())
            differ(symbol.decode(), venue.decode(), what)
        self.proof.more += max(0, len(wrong) - NAMED_MAX)

    def _recorded(self, snapshot: Entry | None) -> Handler | None:
        """A handler that stands where the recorder's keeper stood."""
        from feedhandler.handler import Handler

        if snapshot is None:
            return None
        if self._scratch is None:
            config = self._recording.config(**self._options)
            lines = sum(len(channel.lines) for channel in config.channels)
            self._scratch = Handler(config, receiver=Receiver(lines), anonymous=True)
        if self._loaded != snapshot:
            try:
                books_state.restore(self._scratch, *self._file.load(snapshot))
            except RecordingError as error:
                self._damaged(str(error))
                return None
            self._loaded = snapshot
        return self._scratch


def _word(name: str, value: Any) -> str:
    if name == "quality":
        return Quality(value).name
    return Reason(value).name if name == "reason" else str(value)


def _what(now: Handler, then: Handler, number: int, symbol: str, venue: str) -> str:
    """The first thing in which a book differs from what it was."""
    index = [handler.instruments.lookup(symbol, venue) for handler in (now, then)]
    if 0 in index:
        return "its hash is another"
    books = [handler.shard.stages[number][2] for handler in (now, then)]
    sides = [book_state.levels(one, i) for one, i in zip(books, index, strict=True)]
    for side, (mine, theirs) in zip(("bid", "ask"), zip(*sides, strict=True), strict=True):
        for place in range(max(len(mine), len(theirs))):
            levels = [_level(levels[place]) if place < len(levels) else "no level" for levels in (mine, theirs)]
            if levels[0] != levels[1]:
                return f"{side} {place} is {levels[0]}, was {levels[1]}"
    heads = [one.book(i)[0] for one, i in zip(books, index, strict=True)]
    named = {"quality": Quality, "reason": Reason, "security": Trading, "venue": Trading}
    for name in ("quality", "reason", "security", "venue", "epoch", "channel_seq", "flags"):
        values = [int(head[name]) for head in heads]
        if values[0] != values[1]:
            words = [named[name](value).name if name in named else str(value) for value in values]
            return f"{name.replace('_', ' ')} is {words[0]}, was {words[1]}"
    trades = [one.trades(i) for one, i in zip(books, index, strict=True)]
    for name, mine, theirs in zip(("last price", "last size", "volume", "trades"), *trades, strict=True):
        if mine != theirs:
            return f"{name} is {_none(mine)}, was {_none(theirs)}"
    return "all levels are as they were, single orders differ"


def _level(level: np.void) -> str:
    orders = f" ({level['orders']} orders)" if level["orders"] else ""
    return f"{int(level['price']) / 1e9:.9g} × {level['size']}{orders}"


def _none(value: int) -> str:
    return "none" if value == PRICE_NONE else str(value)
