"""Do the books of JSON channels follow their venues' own rules from one text to the next? A handler plays them, and its
line stage, the very one that runs live, says where a book was not whole: Binance's numbers, Bitstamp's stamps, Kraken's
checksums, each connection's snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from feedhandler import decode
from feedhandler.check.report import BookCheck, Finding
from feedhandler.counters import CHANNEL
from feedhandler.records import NO_LINE, Action, Flag, Quality, Reason

if TYPE_CHECKING:
    from feedhandler.handler import Handler
    from feedhandler.recording import Recording, Window

RING = 1 << 20  # events: more than a turn of the shard can bring
COUNTED = ("gaps", "missing", "recovered", "checksum", "malformed", "held_full")
ENDING_NS = 5_000_000_000  # LINE_DOWN within so long of the end is the recording's own: nothing was lost by it


@dataclass
class _Spell:
    """A time in which a book was not whole."""

    began: int
    missing: int
    reason: str
    ended: int | None = None
    by_snapshot: bool = False


@dataclass
class _Book:
    spells: list[_Spell] = field(default_factory=list)
    lived: bool = False

    def stale(self, at: int, missing: int, reason: str) -> None:
        if self.spells and self.spells[-1].ended is None:
            self.spells[-1].missing += missing
            self.spells[-1].reason = reason or self.spells[-1].reason
        else:
            self.spells.append(_Spell(at, missing, reason))

    def whole(self, at: int, by_snapshot: bool) -> None:
        self.lived = True
        if self.spells and self.spells[-1].ended is None:
            self.spells[-1].ended, self.spells[-1].by_snapshot = at, by_snapshot


def verify(
    recording: Recording, channels: Iterable[str], window: Window, progress: Callable[[int], None]
) -> tuple[list[BookCheck], list[Finding]]:
    """Play the JSON channels among these; of each book what it did from the window's start on, and what to say."""
    from feedhandler.handler import TURNS_AT_ONCE, open_recording
    from feedhandler.recording import Window as Stretch

    wanted = set(channels)
    texts = {line.channel for line in recording.lines if decode.protocol(line.protocol).text is not None}
    names = [name for name in recording.channels() if name in wanted & texts]
    if not names:
        return [], []
    books: dict[int, _Book] = {}
    seen = turns = 0
    with open_recording(recording, Stretch(None, window.end), channels=names, ring_events=RING) as handler:
        over = False
        while not over:
            over = handler.shard.turn_many(1)
            if over:
                handler.shard.finish()
            seen = _hear(handler, books, seen)
            turns += 1
            if turns % TURNS_AT_ONCE == 0:
                progress(int(getattr(handler.receiver, "offset", 0)))
        return list(_books(handler, books, window.start or 0)), list(_findings(handler, names))


def _hear(handler: Handler, books: dict[int, _Book], seen: int) -> int:
    """What the events behind number `seen` say of books; the last one's number."""
    head = int(handler.segment.rings["head"][0])
    if head == seen:
        return seen
    slots = handler.segment.slots
    numbers = np.arange(max(seen + 1, head - len(slots) + 1), head + 1) & (len(slots) - 1)
    actions = slots["action"][numbers]
    told = numbers[(actions == Action.NONE) | (actions == Action.RESET)]
    for event in slots[told]:
        number = int(event["instrument"])
        if not number:
            continue
        book = books.setdefault(number, _Book())
        stale = bool(event["flags"] & Flag.STALE)
        if event["action"] == Action.RESET:
            if not stale:
                book.whole(int(event["ts_recv"]), True)
        elif event["line"] == NO_LINE:
            if stale:
                head_of = handler.book(number)[0]
                reason = Reason(int(head_of["reason"])).name if head_of["quality"] != Quality.LIVE else ""
                book.stale(int(event["ts_recv"]), int(event["size"]), reason)
            else:
                book.whole(int(event["ts_recv"]), False)
    return head


def _books(handler: Handler, books: dict[int, _Book], start: int) -> Iterator[BookCheck]:
    directory = handler.segment.directory
    for number in range(1, int(handler.segment.part("directory")["used"][0])):
        book = books.get(number, _Book())
        head = handler.book(number)[0]
        state, reason = Quality(int(head["quality"])), Reason(int(head["reason"]))
        if state is Quality.LIVE:
            book.whole(int(head["ts_recv"]), True)
        spells = [spell for spell in book.spells if spell.ended is None or spell.ended >= start]
        closed = [spell for spell in spells if spell.ended is not None]
        yield BookCheck(
            channel=handler.config.channels[int(directory[number]["channel"])].name,
            symbol=directory[number]["symbol"].decode("latin1").rstrip("\0 "),
            state=state.name,
            reason=reason.name,
            began=book.lived,
            continued=sum(not spell.by_snapshot for spell in closed),
            by_snapshot=sum(spell.by_snapshot for spell in closed),
            missing=sum(spell.missing for spell in spells if spell.by_snapshot or spell.ended is None),
            longest_ns=max((spell.ended - spell.began for spell in closed if spell.ended is not None), default=0),
            first=min((spell.began for spell in spells), default=None),
            open_since=spells[-1].began if spells and spells[-1].ended is None else None,
        )


def _findings(handler: Handler, names: Sequence[str]) -> Iterator[Finding]:
    """What the channels' counters say."""
    for name, channel, record in zip(names, handler.config.channels, handler.segment.channels, strict=False):
        counts = {c.name: int(record["counters"][i]) for i, c in enumerate(CHANNEL) if c.name in COUNTED}
        rules = decode.protocol(channel.protocol).text
        assert rules is not None
        if counts["recovered"]:
            text = (
                f"{counts['recovered']:,} numbers were missed for a while and came after all, on the other line or late"
            )
            yield Finding("note", text, name)
        if counts["checksum"]:
            yield Finding("warning", f"the venue's checksum was another {counts['checksum']:,} times", name)
        if counts["malformed"]:
            yield Finding("warning", f"{counts['malformed']:,} texts are malformed", name)
        if counts["held_full"]:
            text = f"{counts['held_full']:,} changes that waited for a snapshot found no room, and cannot be verified"
            yield Finding("warning", text, name)
        lines = handler.segment.lines[int(record["first_line"]) :][: len(channel.lines) - 1]
        if not lines["connection_since"].any():
            text = (
                "nothing is recorded of its connections' lives, as in imported logs: what came is all that shows them"
            )
            yield Finding("note", text, name)
        if rules.summed:
            yield Finding("note", "its venue's checksum of the best levels was verified with every update", name)
        elif not rules.numbered:
            yield Finding("note", "its venue numbers no changes: what the venue itself left out does not show", name)


def findings(
    books: Sequence[BookCheck], time: Callable[[int | None], str], ends: Mapping[str, int]
) -> Iterator[Finding]:
    """What the books are to be said to have lacked, the worst first. `ends`: the time of each channel's last packet."""
    for book in books:
        lost = f", {book.missing:,} numbers missing" if book.missing else ""
        down = book.reason == Reason.LINE_DOWN.name
        over = book.reason == Reason.START.name or (down and ends[book.channel] - (book.open_since or 0) <= ENDING_NS)
        if book.open_since is not None and not over:
            text = f"{book.symbol} is {book.state}, {book.reason} from {time(book.open_since)} to the end{lost}"
            yield Finding("lost", text, book.channel, "", book.open_since)
        if not book.began:
            text = f"{book.symbol}: no book of it was ever whole ({book.state}, {book.reason}): nothing to verify it by"
            yield Finding("warning", text, book.channel)
        if book.by_snapshot:
            text = (
                f"{book.symbol} was not whole {book.by_snapshot:,} times until a snapshot came, the first from "
                f"{time(book.first)}, the longest {book.longest_ns / 1e9:,.3f} s{lost}"
            )
            yield Finding("warning", text, book.channel, "", book.first)
        if book.continued:
            text = f"{book.symbol} was in doubt {book.continued:,} times, and what came proved that nothing was missing"
            yield Finding("note", text, book.channel, "", book.first)
