"""A handler between two packets, as a snapshot and back, and the hashes by which two handlers are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from feedhandler.book import _state as book_state
from feedhandler.counters import CHANNEL, LINE
from feedhandler.decode import _state as decoder_state
from feedhandler.errors import RecordingError
from feedhandler.line import Arbiter, Splicer
from feedhandler.line import _splicer_state as splicer_state
from feedhandler.line import _state as arbiter_state
from feedhandler.recording._digest import each, xxh64
from feedhandler.session import _state as framing_state

if TYPE_CHECKING:
    from feedhandler._handler import Shard
    from feedhandler._instruments import Instruments
    from feedhandler.book import LevelBook
    from feedhandler.config import Config
    from feedhandler.publish import Publisher, Segment
    from feedhandler.recording.books_file import Parts

__all__ = ["BOOK_HASH", "ChannelHash", "channels_of", "dump", "hashes", "indices", "received", "receives", "restore"]

BOOK_HASH = np.dtype([("symbol", "S32"), ("venue", "S8"), ("hash", "<u8")])
"""A book's hash, beside the name of its instrument."""
_KEPT = (
    *("feed_id", "tick", "lot", "currency", "session_date", "flags", "shard", "price_exponent", "size_exponent"),
    *("price_decimals", "size_decimals", "unknown_orders", "over_executions", "duplicate_orders", "crossed"),
)
_EVENTS = [counter.name for counter in CHANNEL].index("events")
EVER = 2**64 - 1
_PACKETS, _BYTES = ([counter.name for counter in LINE].index(name) for name in ("packets", "bytes"))


class Whole(Protocol):
    """What a snapshot is taken of and put back into: of a `Handler`, what its books and their way depend on."""

    @property
    def config(self) -> Config: ...
    @property
    def segment(self) -> Segment: ...
    @property
    def instruments(self) -> Instruments: ...
    @property
    def publisher(self) -> Publisher: ...
    @property
    def shard(self) -> Shard: ...


class ChannelShape(TypedDict):
    """What must be the same of a channel for a snapshot to fit it."""

    name: str
    protocol: str
    session: str
    venue: str
    lines: list[str]


def channels_of(config: Config) -> list[ChannelShape]:
    """The channels of a configuration, as the head of a file of book snapshots has them."""
    return [
        ChannelShape(
            name=channel.name,
            protocol=channel.protocol,
            session=channel.session,
            venue=channel.venue,
            lines=[line.name for line in channel.lines],
        )
        for channel in config.channels
    ]


def indices(handler: Whole, channel: int) -> NDArray[np.uint32]:
    """The directory's indices of a channel's instruments, ascending."""
    used = int(handler.segment.part("directory")["used"][0])
    mine = handler.segment.directory["channel"][1:used] == channel
    return (np.flatnonzero(mine) + 1).astype(np.uint32)


def settled(handler: Whole) -> bool:
    """Whether no book is in the middle of an event of many messages, and no line in the middle of a compressed one."""
    return all(book_state.settled(books) for _, _, books, _ in handler.shard.stages) and whole(handler)


def whole(handler: Whole) -> bool:
    """Whether no line is in the middle of a compressed message: else no snapshot can be taken."""
    return all(map(framing_state.settled, handler.shard.framings))


# ---- hashes


@dataclass(frozen=True)
class ChannelHash:
    """A channel at one moment: its state, a hash of all its books, and one of each."""

    name: str
    session: str
    next_seq: int
    epoch: int
    quality: int
    reason: int
    hash: int
    books: NDArray[np.void]
    """BOOK_HASH, by symbol and venue."""

    def state(self) -> dict[str, Any]:
        """All but the books, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "books"}


def hashes(handler: Whole) -> list[ChannelHash]:
    """Of each channel the hash of all levels of all its books, and of their state; in the order of the channels.

    A book's is described by `feedhandler.book._state.hashes`. A channel's is XXH64 of the words next number, epoch,
    quality, reason, the 16 bytes of the session's name, number of books, and the sum, modulo 2^64, of XXH64(symbol,
    venue, hash) over the books: the order in which instruments were named does not count. Times do not either.
    """
    found = []
    for number, (_, _, books, _) in enumerate(handler.shard.stages):
        record = handler.segment.channels[number]
        index = indices(handler, number)
        rows = np.zeros(len(index), BOOK_HASH)
        directory = handler.segment.directory[index]
        rows["symbol"], rows["venue"] = directory["symbol"], directory["venue"]
        rows["hash"] = book_state.hashes(books, index)
        rows.sort(order=["symbol", "venue"])
        total = int(each(rows.view(np.uint8), BOOK_HASH.itemsize).sum(dtype=np.uint64))
        names = ("next_seq", "epoch", "quality", "reason")
        numbers = {name: int(record[name]) for name in names}
        session = bytes(record["session"]).ljust(16, b"\0")
        words = np.array([*numbers.values(), 0, 0, len(rows), total], np.uint64)
        words[4:6] = np.frombuffer(session, np.uint64)
        name = session.rstrip(b"\0 ").decode("latin1")
        channel = handler.config.channels[number].name
        found.append(ChannelHash(channel, name, **numbers, hash=xxh64(words.tobytes()), books=rows))
    return found


def pack_hashes(found: list[ChannelHash]) -> tuple[dict[str, Any], Parts]:
    """Hashes as the state and parts of a record."""
    return {"channels": [one.state() for one in found]}, {str(i): one.books for i, one in enumerate(found)}


def unpack_hashes(state: Mapping[str, Any], parts: Mapping[str, NDArray[Any]]) -> list[ChannelHash]:
    """The inverse of pack_hashes(). Raises RecordingError for what is not whole."""
    try:
        return [
            ChannelHash(**one, books=np.frombuffer(parts[str(i)].tobytes(), BOOK_HASH))
            for i, one in enumerate(state["channels"])
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"a record of hashes is not whole: {error!r}") from None


# ---- snapshots


def dump(handler: Whole, seen: list[tuple[int, int]]) -> tuple[dict[str, Any], Parts]:
    """All that the handler needs to go on, as state and parts of a record.

    `seen`: of each line the packets and bytes at or behind the snapshot's begin that it has taken already. Raises
    ValueError while a channel recovers, and amid a compressed message: see whole().
    """
    used = int(handler.segment.part("directory")["used"][0])
    parts: Parts = {"directory": handler.segment.directory[1:used].copy()}
    channels = []
    for number, (arbiter, decoder, books, _) in enumerate(handler.shard.stages):
        index = indices(handler, number)
        parts[f"{number}/index"] = index
        parts |= {f"{number}/decoder/{name}": part for name, part in decoder_state.dump(decoder).items()}
        parts |= {f"{number}/books/{name}": part for name, part in book_state.dump(books, index).items()}
        for line, standby in _standbys(handler, number):
            kept = book_state.dump(standby, index)
            parts |= {f"{number}/standby/{line}/{name}": part for name, part in kept.items()}
        if (splicer := _splicer(arbiter)) is not None:
            parts |= {f"{number}/line/{name}": part for name, part in splicer_state.dump(splicer, index).items()}
        channels.append(arbiter_state.dump(arbiter))
    framings = [framing_state.dump(framing) for framing in handler.shard.framings]
    state = {
        "shape": channels_of(handler.config),
        "shard": handler.shard.state(),
        "channels": channels,
        "framings": framings,
        "seen": [list(pair) for pair in seen],
    }
    return state, parts


def restore(handler: Whole, state: Mapping[str, Any], parts: Mapping[str, NDArray[Any]]) -> list[tuple[int, int]]:
    """Put the handler where the dumped one was; what it has to leave out then, of each line: (packets, bytes).

    The handler may have a part of the snapshot's channels, in the same order; its books may have another depth and more
    room. Nothing of what it was before is left, and its events are numbered as they would have been. Raises
    RecordingError, with the handler as it was, when the snapshot does not fit it or is damaged.
    """
    try:
        fresh = dump(handler, [])
    except ValueError as error:
        raise RecordingError(f"the book snapshot cannot be used here: {error}") from None
    try:
        return _restore(handler, state, parts)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError) as error:
        _restore(handler, *fresh)
        said = str(error) if isinstance(error, ValueError) else f"it is not whole: {error!r}"
        raise RecordingError(f"the book snapshot cannot be used: {said}") from None


def _restore(handler: Whole, state: Mapping[str, Any], parts: Mapping[str, NDArray[Any]]) -> list[tuple[int, int]]:
    theirs, ours = state["shape"], channels_of(handler.config)
    numbers = [theirs.index(shape) if shape in theirs else -1 for shape in ours]
    if -1 in numbers or numbers != sorted(set(numbers)):
        lacking = ", ".join(shape["name"] for shape, number in zip(ours, numbers, strict=True) if number < 0)
        raise ValueError(f"it is of other channels or lines ({lacking or 'in another order'})")
    first_lines, at = [], 0
    for shape in theirs:
        first_lines.append(at)
        at += len(shape["lines"])
    lines = [first_lines[number] + i for number in numbers for i in range(len(theirs[number]["lines"]))]
    framings, seen = state["framings"], state["seen"] or [[0, 0]] * at
    if len(framings) != at or len(seen) != at or len(state["channels"]) != len(theirs):
        raise ValueError("its channels or lines are not as many as it says")
    chosen = [state["channels"][number] for number in numbers]
    where = _restore_directory(handler, parts["directory"], numbers)
    position = sum(int(channel["channel"]["counters"][_EVENTS]) for channel in chosen)
    for mine, (number, (arbiter, decoder, books, _)) in enumerate(zip(numbers, handler.shard.stages, strict=True)):
        prefix = f"{number}/"
        own = {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}
        index = np.frombuffer(own["index"].tobytes(), np.uint32)
        if len(index) and int(index.max()) >= len(where):
            raise ValueError("a book of it has no instrument")
        here = where[index]
        if not np.array_equal(here, indices(handler, mine)):
            raise ValueError("its books are not those of its instruments")
        decoder_state.load(decoder, _below(own, "decoder/"), where)
        book_state.load(books, here, _below(own, "books/"), position)
        for line, standby in _standbys(handler, mine):
            book_state.load(standby, here, _below(own, f"standby/{line}/"), EVER)
        arbiter_state.load(arbiter, chosen[mine])
        if (splicer := _splicer(arbiter)) is not None:
            splicer_state.load(splicer, here, _below(own, "line/"))
    for framing, line in zip(handler.shard.framings, lines, strict=True):
        framing_state.load(framing, framings[line])
    shard = dict(state["shard"])
    for name in ("last_event", "fixed_date"):
        shard[name] = [shard[name][number] for number in numbers]
    handler.shard.set_state(shard)
    handler.publisher.resume(position)  # the ring's numbers go on as they would have
    skipped = [(int(seen[line][0]), int(seen[line][1])) for line in lines]
    for record, (packets, size) in zip(handler.segment.lines, skipped, strict=True):
        counters = record["counters"]  # they come by once more, and are counted then
        counters[_PACKETS] -= min(packets, int(counters[_PACKETS]))
        counters[_BYTES] -= min(size, int(counters[_BYTES]))
    return skipped


def received(state: Mapping[str, Any]) -> list[tuple[int, int]]:
    """What the data lines of a snapshot had brought: (packets, bytes). Raises RecordingError for what is not whole."""
    try:
        counters = [line["counters"] for channel in state["channels"] for line in channel["lines"]]
        return [(int(one[_PACKETS]), int(one[_BYTES])) for one in counters]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise RecordingError(f"the book snapshot cannot be used: it is not whole: {error!r}") from None


def receives(handler: Whole) -> list[tuple[int, int]]:
    """The same of a handler, of which nothing else is looked at."""
    return received({"channels": [arbiter_state.dump(arbiter) for arbiter, *_ in handler.shard.stages]})


def _splicer(arbiter: Arbiter) -> Splicer | None:
    """The line stage of a channel of JSON texts: it stands in an arbiter's place."""
    stage: object = arbiter
    return stage if isinstance(stage, Splicer) else None


def _standbys(handler: Whole, channel: int) -> list[tuple[int, LevelBook]]:
    """The standby books of a channel's lines, by the channel's own number of the line."""
    record = handler.segment.channels[channel]
    first, count = int(record["first_line"]), len(handler.config.channels[channel].lines)
    return [(line - first, books) for line, books in handler.shard.standbys.items() if first <= line < first + count]


def _below(parts: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): part for name, part in parts.items() if name.startswith(prefix)}


def _restore_directory(handler: Whole, part: NDArray[Any], numbers: list[int]) -> NDArray[np.uint32]:
    """The snapshot's instruments of these channels, in their order; of each of the snapshot's its index here, or 0."""
    segment = handler.segment
    records = np.frombuffer(part.tobytes(), segment.directory.dtype)
    wanted = np.isin(records["channel"], numbers)
    if int(wanted.sum()) >= len(segment.directory):
        room = len(segment.directory) - 1
        raise ValueError(
            f"it holds {int(wanted.sum())} instruments, there is room for {room}: raise [books] instruments"
        )
    used = int(segment.part("directory")["used"][0])
    segment.symbols[:] = 0
    segment.directory[1:used] = np.zeros(1, segment.directory.dtype)
    segment.part("directory")["used"] = 1
    where = np.zeros(len(records) + 1, np.uint32)
    for expected, i in enumerate(np.flatnonzero(wanted), 1):
        record = records[i]
        symbol, venue = bytes(record["symbol"]).decode("ascii"), bytes(record["venue"]).decode("ascii")
        index = handler.instruments.add(symbol, venue, numbers.index(int(record["channel"])))
        if index != expected:
            raise ValueError(f"the instrument {symbol!r} stands in it twice, or has no name")
        where[i + 1] = index
    chosen = records[wanted]
    for name in _KEPT:
        segment.directory[name][1 : len(chosen) + 1] = chosen[name]
    return where
