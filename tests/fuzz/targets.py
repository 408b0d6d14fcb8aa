"""What is fuzzed, and what must hold whatever comes in."""

import atexit
import contextlib
import os
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from feedhandler import counters
from feedhandler._instruments import Instruments
from feedhandler.book import OrderBook
from feedhandler.book.reference import ReferenceBooks
from feedhandler.counters import by_name
from feedhandler.decode import Protocol, decoder, protocols, tabled
from feedhandler.decode._decoder import Decoder
from feedhandler.decode.interpret import Interpreter, encode
from feedhandler.errors import FeedError
from feedhandler.handler import run_capture
from feedhandler.line import Arbiter
from feedhandler.receive import capture
from feedhandler.receive.capture_writer import PcapngWriter, PcapWriter
from feedhandler.records import EVENT, Quality, slot_stride
from feedhandler.session import framing, framings
from tests.fuzz.engine import Target, ViolationError
from tests.fuzz.frames import frame_target
from tests.fuzz.packets import LONGEST, Wire, pack, parse
from tests.fuzz.texts import text_target
from tests.fuzz.websocket import websocket_target

FOLDER = Path(tempfile.mkdtemp(prefix="feedhandler-fuzz-", dir="/dev/shm"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
CAPACITY = 8  # instruments, the unused 0 included
ROOM = 2048  # messages: more than a packet of the fuzzer's can hold, and far less to clear than MESSAGES_MAX


def check(holds: object, promise: str) -> None:
    """Raise ViolationError with the broken promise unless it holds."""
    if not holds:
        raise ViolationError(promise)


def framing_target(name: str) -> Target:
    """Packets, or pieces of a stream, into messages: no message that was not in the bytes, however they are cut."""
    return Target(f"framing.{name}", lambda raw: _frame(name, raw), framing_seeds(name))


def _frame(name: str, raw: bytes) -> None:
    machine = framing(name)
    pieces = [p.data for p in parse(raw)]
    taken = [machine.feed(data, ROOM) for data in pieces]
    for data, frames in zip(pieces, taken, strict=True):
        for fields, messages in frames:
            check(fields["count"] == len(messages), "count is the number of messages")
            if not machine.stream:
                check(fields["kind"] != "bad" or not messages, "a bad packet is refused whole")
                check(sum(map(len, messages)) <= len(data), "messages are parts of their packet")
                check(all(m in data for m in messages), "messages are the packet's own bytes")
    if machine.stream:
        whole = framing(name).feed(b"".join(pieces), ROOM)
        check(_story(whole) == _story([f for frames in taken for f in frames]), "the cuts of a stream change nothing")


def _story(frames: list[tuple[dict[str, Any], list[bytes]]]) -> list[Any]:
    """What the frames of a stream say, one by one, however they were grouped; up to the first bad one."""
    said: list[Any] = []
    for fields, messages in frames:
        if fields["kind"] == "bad":
            return [*said, "bad"]
        said += messages if messages else [(fields["kind"], fields["detail"])]
    return said


def mold(session: bytes, sequence: int, messages: list[bytes]) -> bytes:
    """A MoldUDP64 downstream packet."""
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return session.ljust(10) + struct.pack(">QH", sequence, len(messages)) + blocks


def soup(kind: bytes, payload: bytes) -> bytes:
    """A SoupBinTCP packet."""
    return struct.pack(">H", 1 + len(payload)) + kind + payload


def iextp(sequence: int, messages: list[bytes]) -> bytes:
    """An IEX-TP segment of DEEP."""
    blocks = b"".join(struct.pack("<H", len(m)) + m for m in messages)
    head = struct.pack("<BxHIIHHqqq", 1, 0x8004, 1, 0x42420000, len(blocks), len(messages), 0, sequence, 10**18)
    return head + blocks


def framing_seeds(name: str) -> list[bytes]:
    """A few good packets of each wrapper, around messages of any kind."""
    some = [b"S" + bytes(11), b"A" + bytes(35), b"D" + bytes(18)]
    match name:
        case "moldudp64":
            data = [mold(b"SESSION", 1, some), mold(b"SESSION", 4, []), mold(b"SESSION", 4, some[:1])]
            data.append(b"SESSION   " + struct.pack(">QH", 5, 0xFFFF))
        case "soupbintcp":
            data = [soup(b"A", b"SESSION   " + b"1".rjust(20)), *(soup(b"S", m) for m in some), soup(b"H", b"")]
            data += [soup(b"+", b"debug"), soup(b"U", b"x"), soup(b"Z", b"")]
        case "iextp":
            data = [iextp(1, some), iextp(4, []), iextp(4, some[1:])]
        case "websocket":
            data = [b"HTTP/1.1 101 OK\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", b"\x81\5hello"]
            data += [b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\0", b"\x01\1\xe2\x89\1p\x80\2\x82\xac", b"\x88\2\3\xe8"]
            return [pack([Wire(d) for d in data]), pack([Wire(d) for d in data[3:]]), pack([Wire(data[0])])]
        case _:
            data = [b"".join(struct.pack(">H", len(m)) + m for m in some), b"\0\0"]
    return [pack([Wire(d) for d in data]), pack([Wire(d) for d in data[:1]])]


def decoder_target(name: str) -> Target:
    """Messages into events: the compiled decoder and the interpreter of the same table agree on anything."""
    table = protocols()[name]

    def run(raw: bytes) -> None:
        wires = [p.data for p in parse(raw)]
        fast, slow = decoder(name, Instruments.standalone(CAPACITY - 1)), Interpreter(table, CAPACITY - 1)
        while wires:
            ours, theirs = fast.decode_bytes(wires), slow.decode_bytes(wires)
            check(ours.tobytes() == theirs.tobytes(), f"decoder and table agree: {ours} {theirs}")
            check(fast.taken == slow.taken, "both stop at the same malformed message")
            wires = wires[fast.taken + 1 :]
        check(fast.counts == {k: v for k, v in slow.counts.items() if v}, "both count the same types")

    return Target(f"decode.{name}", run, [pack([Wire(message) for message in every_message(table)])])


def every_message(table: Protocol) -> list[bytes]:
    """One message of each row, with its choices at the first legal one and small numbers elsewhere."""
    made = []
    for message in table.messages:
        values: dict[str, int | str] = {}
        for field in message.layout.values():
            if field.type.kind in ("char", "alpha"):
                values[field.name] = "A" if field.type.kind == "alpha" else "B"
            else:
                values[field.name] = 100 * field.type.scale if field.type.kind == "price" else 1
        made.append(encode(table, message.name, **values))
    return made


def book_target() -> Target:
    """Packets of two lines through framing, arbiter, decoder and book; the plain-dict book must be its equal.

    Every message that is handed out is in sequence; a hole that stays makes the channel STALE before anything behind it
    is handed out.
    """
    return Target("book.itch50", _book, [pack(packets) for packets in market_packets()])


def _book(raw: bytes) -> None:
    machine = [framing("moldudp64"), framing("moldudp64")]
    line = decoder("itch50", Instruments.standalone(CAPACITY - 1))
    arbiter = Arbiter(2, reorder_us=1000, window_messages=64, decoder=line)
    books = OrderBook(np.zeros(CAPACITY * slot_stride(10), np.uint8), depth=10, instruments=CAPACITY, orders=64)
    law = ReferenceBooks(CAPACITY, 64)
    story = _Story(arbiter, line, books, law)
    now = 10**18
    for packet in parse(raw):
        now += packet.delay * 100_000
        for fields, messages in machine[packet.line % 2].feed(packet.data, ROOM):
            if fields["kind"] != "bad":
                session, first = fields["session"], fields["first_seq"]
                story.take(arbiter.feed(session, first, messages, now, packet.line % 2, kind=fields["kind"]))
        story.take(arbiter.pass_time(now))
    story.take(arbiter.end_input())
    for number in range(1, CAPACITY):
        head, bids, asks = books.book(number)
        plain = law.books[number]
        check(head["seq"] % 2 == 0, "no slot is left odd")
        check(head["quality"] == plain.quality, f"book {number}: quality {head['quality']}, plain {plain.quality}")
        check(_levels(bids) == plain.side(ord("B"))[:10], f"book {number}: bids")
        check(_levels(asks) == plain.side(ord("A"))[:10], f"book {number}: asks")
    check(books.live_orders == len(law.orders), "as many live orders as in the plain book")


class _Story:
    """What the arbiter hands out, decoded and applied to both books, and what it promised about it."""

    def __init__(self, arbiter: Arbiter, line: Decoder, books: OrderBook, law: ReferenceBooks) -> None:
        self.arbiter, self.line, self.books, self.law = arbiter, line, books, law
        self.expected, self.position, self.told = 0, 1, 0

    def take(self, taken: list[tuple[Any, ...]]) -> None:
        lost = False
        for what in taken:
            match what:
                case ("gap", first, count, *_):
                    self.told, lost = first + count, True
                case ("run", first, messages, *_):
                    check(first == 0 or first >= self.expected, f"in sequence: {first} after {self.expected - 1}")
                    jumped = first > self.expected > 0
                    check(not jumped or self.told == first, f"{self.expected} to {first - 1} lost without a word")
                    self.expected = first + len(messages) if first else self.expected
                    self.apply(messages, first)
                case ("session", *_):
                    self.expected, lost = 0, False
                    self.line.start()
        check(not lost or self.arbiter.state[0] != Quality.LIVE, "messages lost, yet the channel is LIVE")

    def apply(self, messages: list[bytes], first: int) -> None:
        """Decode what is good of them and change both books."""
        while messages:
            events = self.line.decode_bytes(messages, first or 1)
            if len(events):
                plain = [{name: event[name].item() for name in EVENT.names or ()} for event in events]
                self.books.apply_events(events, self.position)
                self.law.apply(plain, self.position)
                self.position += len(events)
            taken = self.line.taken + 1
            first, messages = first + taken if first else 0, messages[taken:]


def _levels(side: Any) -> list[tuple[int, int, int]]:
    return [(int(level["price"]), int(level["size"]), int(level["orders"])) for level in side]


def market_packets() -> list[list[Wire]]:
    """A short day of three symbols on two lines: as it should be, with a hole, and with a new session."""
    table = protocols()["itch50"]

    def make(name: str, **values: int | str) -> bytes:
        return encode(table, name, **values)

    names = {message.type: message.name for message in table.messages}
    day = [make(names["R"], locate=n, stock=s) for n, s in ((1, "AAA"), (2, "BBB"), (3, "CCC"))]
    for n in range(1, 9):
        side = "BS"[n % 2]
        stock = ("AAA", "BBB", "CCC")[n % 3]
        price = (100 + n if side == "S" else 100 - n) * 10**9
        day.append(
            make(names["A"], locate=1 + n % 3, order_id=n, side=side, shares=100, stock=stock, price=price, timestamp=n)
        )
    by_type = {t: table.message(names[t]) for t in "EXDUC"}
    for t, n in (("E", 1), ("X", 2), ("U", 3), ("C", 4), ("D", 5)):
        values: dict[str, int | str] = {"locate": 1 + n % 3}
        for field in by_type[t].layout.values():
            if field.name.startswith(("order_id", "original")):
                values[field.name] = n
            elif "shares" in field.name:
                values[field.name] = 30
            elif field.name.startswith("new"):
                values[field.name] = 50
            elif field.type.kind == "price":
                values[field.name] = 101 * 10**9
            elif field.type.kind == "char":
                values[field.name] = "Y"
        day.append(make(names[t], **values))
    data = [mold(b"DAY", 1 + at, day[at : at + 3]) for at in range(0, len(day), 3)]
    end = b"DAY       " + struct.pack(">QH", len(day) + 1, 0xFFFF)
    both = [Wire(d, line) for d in [*data, end] for line in (0, 1)]
    hole = [Wire(d, 0, 20) for n, d in enumerate(data) if n != 2]
    again = [Wire(d) for d in data] + [Wire(mold(b"NEXT", 1, day[:6]))]
    return [both, hole, again]


def capture_target(kind: str) -> Target:
    """Bytes of a capture file into datagrams: any file gives whole packets and then at most one clear error."""

    def run(raw: bytes) -> None:
        path = FOLDER / f"input-{os.getpid()}.{kind}"
        path.write_bytes(raw)
        with contextlib.suppress(FeedError):
            total = sum(len(payload) for _, _, payload in capture.read(path))
            check(total <= len(raw), "no more comes out than went in")

    seeds = [raw for raw in (capture_bytes(kind, packets) for packets in market_packets()) if len(raw) < LONGEST]
    return Target(f"capture.{kind}", run, seeds)


def capture_bytes(kind: str, packets: list[Wire]) -> bytes:
    """A capture of these packets, each line to a group of its own."""
    path, now = FOLDER / f"made-{os.getpid()}.{kind}", 10**18
    writer = PcapWriter(path) if kind == "pcap" else PcapngWriter(path)
    with writer:
        for packet in packets:
            now += packet.delay * 100_000
            writer.write(now, packet.data, (f"239.192.0.{1 + packet.line % 2}", 26400))
    return path.read_bytes()


def handler_target() -> Target:
    """Packets of two lines, as a capture, through the handler itself into its shared segment."""
    return Target("handler.itch50", _handle, [pack(packets) for packets in market_packets()])


def _handle(raw: bytes) -> None:
    path = FOLDER / f"day-{os.getpid()}.pcap"
    path.write_bytes(capture_bytes("pcap", parse(raw)))
    try:
        result = run_capture(path, "itch50", ring_events=64, orders=256, instruments=CAPACITY)
    except FeedError:
        return
    with result.handler:
        messages = 0
        for channel in result.segment.channels:
            count = by_name(counters.CHANNEL, channel)
            messages += count["messages"]
            begun_once = count["sessions"] <= 1 and not count["restarts"]
            lost = begun_once and count["missing"] > count["recovered"]
            check(not (lost and channel["quality"] == Quality.LIVE), "messages lost, yet the channel is LIVE")
        check(messages == result.messages, "every message handed to the decoder is counted once")
        check(not np.any(result.segment.books[:, 0] % 2), "no slot is left odd")
        slots = np.sort(result.segment.slots["seq"])[-min(int(result.segment.rings["head"][0]), 64) :]
        check(np.all(np.diff(slots) == 1), "the ring holds the last events without a hole")


def targets() -> list[Target]:
    """All targets: frames, every framing and every protocol there is, captures, and the way to the book."""
    found = [frame_target()]
    found += [framing_target(name) for name in framings()]
    found += [decoder_target(name) for name in tabled()]
    found += [text_target(name) for name, table in protocols().items() if table.text]
    found += [capture_target(kind) for kind in ("pcap", "pcapng")]
    return [*found, websocket_target(), book_target(), handler_target()]


if __name__ == "__main__":
    print("\n".join(target.name for target in targets()))
