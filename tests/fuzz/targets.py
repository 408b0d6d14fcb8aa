"""What is fuzzed, and what must hold whatever comes in."""

import struct
from collections.abc import Callable
from typing import Any

from feedhandler.session import framing, framings
from tests.fuzz.engine import Target, ViolationError
from tests.fuzz.packets import Wire, pack, parse

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
        case _:
            data = [b"".join(struct.pack(">H", len(m)) + m for m in some), b"\0\0"]
    return [pack([Wire(d) for d in data]), pack([Wire(d) for d in data[:1]])]


TARGETS: list[Callable[[], list[Target]]] = [lambda: [framing_target(name) for name in framings()]]


def targets() -> list[Target]:
    """All targets, found where they can be found."""
    return [target for make in TARGETS for target in make()]


if __name__ == "__main__":
    print("\n".join(target.name for target in targets()))
