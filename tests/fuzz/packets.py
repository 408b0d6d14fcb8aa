"""An input of the fuzzer as packets, and how one input is made from another."""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

HEADER = struct.Struct("<HBB")  # length of what follows, line, time since the packet before in 100 µs
LONGEST = 60_000

_ORDERS: tuple[Literal["big", "little"], ...] = ("big", "little")
_INTERESTING = [0, 1, 2, 3, 7, 8, 0x0F, 0x10, 0x1F, 0x20, 0x7F, 0x80, 0xFE, 0xFF]
_INTERESTING_WIDE = [0, 1, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


@dataclass(frozen=True)
class Wire:
    """One packet: its payload, the line it comes on, and how long after the one before it."""

    data: bytes
    line: int = 0
    delay: int = 1


def parse(raw: bytes) -> list[Wire]:
    """The packets of an input; any bytes are an input. A length past the end takes what is left."""
    packets, at = [], 0
    while at + HEADER.size <= len(raw):
        length, line, delay = HEADER.unpack_from(raw, at)
        at += HEADER.size
        packets.append(Wire(raw[at : at + length], line, delay))
        at += length
    return packets


def pack(packets: Sequence[Wire]) -> bytes:
    """The input that `parse` reads back."""
    return b"".join(HEADER.pack(min(len(p.data), 65535), p.line, p.delay) + p.data[:65535] for p in packets)


def mutate(raw: bytes, other: bytes, rng: random.Random) -> bytes:
    """A neighbour of `raw`: a few changes to the order of its packets or to bytes within one, or parts of `other`."""
    packets = parse(raw) or [Wire(b"")]
    for _ in range(1 << rng.randrange(4)):
        if rng.random() < 0.4:
            packets = _reorder(packets, other, rng)
        else:
            at = rng.randrange(len(packets))
            packets[at] = replace(packets[at], data=_change(packets[at].data, rng))
    out = pack(packets)
    return out if len(out) <= LONGEST else raw


def _reorder(packets: list[Wire], other: bytes, rng: random.Random) -> list[Wire]:
    """Lose, double, swap or delay packets, change their line, or take some of another input."""
    at, to = rng.randrange(len(packets)), rng.randrange(len(packets))
    match rng.randrange(7):
        case 0 if len(packets) > 1:
            del packets[at]
        case 1:
            packets.insert(to, replace(packets[at], line=rng.randrange(2)))
        case 2:
            packets[at], packets[to] = packets[to], packets[at]
        case 3:
            packets[at] = replace(packets[at], line=rng.choice((0, 1, 2, 255)))
        case 4:
            packets[at] = replace(packets[at], delay=rng.choice((0, 1, 10, 255)))
        case 5:
            theirs = parse(other)
            if theirs:
                first = rng.randrange(len(theirs))
                packets[to:to] = theirs[first : first + 1 + rng.randrange(4)]
        case _:
            cut = rng.randrange(len(packets[at].data) + 1)
            whole = packets[at]
            packets[at : at + 1] = [replace(whole, data=whole.data[:cut]), replace(whole, data=whole.data[cut:])]
    return packets


def _change(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes of one packet."""
    if not data:
        return rng.randbytes(rng.randrange(1, 40))
    out = bytearray(data)
    at = rng.randrange(len(out))
    match rng.randrange(8):
        case 0:
            out[at] ^= 1 << rng.randrange(8)
        case 1:
            out[at] = rng.choice(_INTERESTING)
        case 2:
            out[at] = (out[at] + rng.choice((-1, 1, -2, 2, 16, -16))) % 256
        case 3:
            width = rng.choice((2, 4, 6, 8))
            value = rng.choice(_INTERESTING_WIDE) % (1 << 8 * width)
            out[at : at + width] = value.to_bytes(width, rng.choice(_ORDERS))
        case 4:
            width = rng.choice((2, 4, 8))
            order = rng.choice(_ORDERS)
            value = int.from_bytes(out[at : at + width], order) + rng.choice((-1, 1, -256, 256))
            out[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)
        case 5:
            del out[at : at + 1 + rng.randrange(8)]
        case 6:
            out[at:at] = rng.randbytes(1 + rng.randrange(8))
        case _:
            source = rng.randrange(len(out))
            piece = out[source : source + 1 + rng.randrange(40)]
            out[at : at + (len(piece) if rng.random() < 0.5 else 0)] = piece
    return bytes(out[:4000])
