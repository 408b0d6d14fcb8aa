"""What this machine does with a capture: nanoseconds a message of each stage, beside a bare C loop over the same bytes.

Each figure is the median of some rounds, measured in CPU time of this thread, so that other work on the machine counts
little. Prices of set-up (opening, unpacking, taking memory) are outside.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from feedhandler._floor import decode_floor
from feedhandler._instruments import Instruments
from feedhandler.book import Books, LevelBook, OrderBook
from feedhandler.decode import decoder
from feedhandler.decode import protocol as protocol_table
from feedhandler.errors import CaptureError
from feedhandler.handler import open_capture, play
from feedhandler.listing import Listing
from feedhandler.publish import Publisher, Segment
from feedhandler.read import attach_local
from feedhandler.receive import capture
from feedhandler.receive.compressed import Unpacker
from feedhandler.recording import Recording

ROUNDS = 5
RING = 1 << 20  # events
ORDERS = 1 << 21
INSTRUMENTS = 1 << 14
CALLS = 20_000
BATCH = 192  # events that the handler decodes, applies and publishes together
MEASURED = 1_000_000
FLOORS = {"itch50": decode_floor}
"""Bare C loops that switch on the type and read the fields, by protocol."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Messages in the file, and CPU nanoseconds for each: ours, of a bare loop (None: there is none), of each stage."""

    messages: int
    ns_per_message: float
    floor_ns_per_message: float | None
    stages: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nanoseconds to a hundredth."""
        return {
            "messages": self.messages,
            "ns_per_message": round(self.ns_per_message, 2),
            "floor_ns_per_message": None if self.floor_ns_per_message is None else round(self.floor_ns_per_message, 2),
            "stages": {name: round(figure, 2) for name, figure in self.stages.items()},
        }


def decode(path: Path, protocol: str | None = None) -> Figures:
    """The compiled decoder alone: wire bytes into events in a reused batch."""
    name, memory = in_memory(path, protocol)
    table = decoder(name, Instruments.standalone(1 << 16))
    loop = FLOORS.get(name)
    floor = partial(_count, loop, memory) if loop else None
    taken, bare = medians(partial(_count, table.decode_file, memory), floor)
    return Figures(table.decode_file(memory)[0], taken, bare, {"decode": taken})


def hotpath(path: Path, protocol: str | None = None) -> Figures:
    """The whole way, from the receiver of the file to the event ring, in a handler of its own for each round.

    The stages are measured apart, each over all messages (at most a million of them): decode alone, books alone, ring
    alone; the rest is receiving, session, arbiter, and what the stages cost each other in the caches.
    """
    name, memory = in_memory(path, protocol)
    loop = FLOORS.get(name)
    rounds, bare, messages = [], [], 0
    with unpacked(path) as plain:
        for _ in range(ROUNDS):
            with open_capture(plain, protocol, ring_events=RING, orders=ORDERS, instruments=INSTRUMENTS) as handler:
                handler.segment.slots["seq"] = 0  # each page is there before it is timed
                begin = time.thread_time_ns()
                play(handler)
                taken = time.thread_time_ns() - begin
                messages = sum(handler.types.values())
            rounds.append(taken / max(messages, 1))
            if loop is not None:
                count, nanoseconds = loop(memory)
                bare.append(nanoseconds / count)
    stages = _stages(name, memory)
    return Figures(messages, statistics.median(rounds), statistics.median(bare) if bare else None, stages)


def read(path: Path, protocol: str | None = None) -> Figures:
    """What a Python reader pays: for each event in batches, for each snapshot() and top() of a book.

    `messages` counts events: as many as the ring holds, the last of the capture. The floor is a bare copy of them.
    """
    with open_capture(path, protocol, ring_events=RING, orders=ORDERS, instruments=INSTRUMENTS) as handler:
        play(handler)
        slots = handler.segment.slots[: int(handler.segment.rings[0]["head"])]
        with attach_local(handler.segment) as feed:
            books = [feed.book(index) for index in range(1, len(feed.instruments))]
            if not books or not len(slots):
                raise CaptureError(f"{path}: no event of an instrument in it, nothing to read")

            def events() -> int:
                return sum(len(batch) for batch in feed.events(start="oldest", timeout=0))

            def snapshots() -> int:
                for n in range(CALLS):
                    books[n % len(books)].snapshot()
                return CALLS

            def tops() -> int:
                for n in range(CALLS):
                    books[n % len(books)].top()
                return CALLS

            source = slots.view(np.uint8)
            target = source.copy()

            def copy() -> int:
                np.copyto(target, source)
                return len(slots)

            taken, bare = medians(events, copy)
            stages = {"events": taken, "snapshot": medians(snapshots, None)[0], "top": medians(tops, None)[0]}
            return Figures(events(), taken, bare, stages)


def _stages(name: str, memory: bytes) -> dict[str, float]:
    """Nanoseconds a message of decoder, books and ring, each alone, over at most MEASURED messages."""
    table = protocol_table(name)
    segment = Segment.anonymous(instruments=INSTRUMENTS, ring_events=RING)
    decode_one = decoder(name, Instruments(segment.directory, segment.symbols, segment.part("directory")))
    books: Books = LevelBook(segment.books, depth=10)
    if table.book == "orders":
        books = OrderBook(segment.books, depth=10, orders=ORDERS)
    publisher = Publisher(segment.memory)
    books.clear_books()
    segment.slots["seq"] = 0  # each page is there before it is timed
    work: dict[str, Callable[[Any], Any]] = {"book": books.apply_events, "publish": publisher.append}
    totals = dict.fromkeys(work, 0)
    messages = 0
    for chunk in _chunks(memory):
        events = decode_one.decode_bytes(chunk, messages + 1)
        batches = [events[i : i + BATCH] for i in range(0, len(events), BATCH)]
        for stage, take in work.items():
            begin = time.thread_time_ns()
            for batch in batches:
                take(batch)
            totals[stage] += time.thread_time_ns() - begin
        messages += len(chunk)
        if messages >= MEASURED:
            break
    decoded = medians(partial(_count, decode_one.decode_file, memory), None)[0]
    return {"decode": decoded, **{stage: total / messages for stage, total in totals.items()}}


def _chunks(memory: bytes) -> Iterator[list[bytes]]:
    """The messages of in_memory() in lists of some thousands."""
    at, chunk = 0, []
    while at + 2 <= len(memory):
        end = at + 2 + int.from_bytes(memory[at : at + 2], "big")
        chunk.append(memory[at + 2 : end])
        at = end
        if len(chunk) == 4096 or at + 2 > len(memory):
            yield chunk
            chunk = []


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The capture without its compression, as a file that is gone afterwards; the capture itself if it has none."""
    packed = capture.kind(path).compression
    if packed is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.with_suffix("").name
        source, buffer = Unpacker(path, packed), bytearray(1 << 20)
        with plain.open("wb") as file, closing(source), suppress(ValueError):  # what is cut is played as far as it goes
            while size := source.readinto(memoryview(buffer)):
                file.write(memoryview(buffer)[:size])
        yield plain


def _count(work: Callable[[bytes], tuple[int, ...]], memory: bytes) -> int:
    return work(memory)[0]


def in_memory(path: Path, protocol: str | None = None) -> tuple[str, bytes]:
    """The protocol of a capture and its messages, each behind its length as u16 big-endian.

    Of several protocols in one capture, that of its first line. Raises CaptureError when there is no message.
    """
    with Listing(Recording(path, protocol=protocol)) as listing:
        name = listing.protocols[0].name
        mine = {i for i, table in enumerate(listing.protocols) if table.name == name}
        parts = [len(m).to_bytes(2, "big") + m for _, _, line, m in listing.raw() if line in mine and m]
    if not parts:
        raise CaptureError(f"{path}: no message of {name} in it, nothing to measure")
    return name, b"".join(parts)


def medians(ours: Callable[[], int], floor: Callable[[], int] | None) -> tuple[float, float | None]:
    """Median CPU nanoseconds per operation of both, in rounds that take turns; the first round of each warms up."""
    rounds: list[float] = []
    bare: list[float] = []
    for n in range(ROUNDS + 1):
        for work, figures in ((ours, rounds), (floor, bare)):
            if work is not None:
                begin = time.thread_time_ns()
                count = work()
                taken = time.thread_time_ns() - begin
                if n:
                    figures.append(taken / max(count, 1))
    return statistics.median(rounds), statistics.median(bare) if bare else None
