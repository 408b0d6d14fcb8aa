"""The tables as NumPy dtypes: whole files of messages as structured arrays, for work offline.

The messages are found and gathered by compiled code (`_blocks`), then turned field by field into native numbers.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np

from feedhandler.decode._blocks import gather, index
from feedhandler.decode.spec import Field, Message, Protocol
from feedhandler.errors import CaptureError
from feedhandler.receive.compressed import Unpacker, compression

Array = np.ndarray[Any, np.dtype[Any]]
PIECE = 1 << 22
PRICE_NONE = np.iinfo(np.int64).min


class Messages(dict[str, Array]):
    """Structured arrays by message name; a type character finds its message too: `file["A"]`, `file["add_order"]`."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self.protocol = protocol

    def __missing__(self, key: str) -> Array:
        if key in self.protocol.by_type:
            return self[self.protocol.by_type[key].name]
        raise KeyError(f"{self.protocol.name} has no message {key!r}; it has {', '.join(self.protocol.by_name)}")


def read(protocol: Protocol, path: str | Path, *, strict: bool = True) -> Messages:
    """A file of messages, BinaryFILE, pcap or pcapng (plain, gzip or zstd), as one structured array per message.

    Arrays have the dtype of `dtype(message)` and stand in the order of the file, of a capture of packets each message
    once, whatever the lines it came on; a message that does not occur has an empty one. Raises CaptureError for a file
    that is cut or corrupt, of another kind, or holds a message shorter than its table; with `strict=False` such
    messages are left out, and a damaged file gives every whole message before the damage. Raises ConfigError for a
    capture that holds nothing of the protocol.
    """
    data, damage = _contents(protocol, Path(path))
    try:
        return messages(protocol, data, name=str(path), damage=damage, strict=strict)
    finally:
        if isinstance(data, mmap.mmap):
            data.close()


def messages(protocol: Protocol, data: Any, *, name: str = "buffer", damage: str = "", strict: bool = True) -> Messages:
    """The same for messages in memory: any contiguous buffer of them, each with its length before it."""
    lengths = np.zeros(256, np.uint16)
    for message in protocol.messages:
        lengths[ord(message.type)] = message.length
    counts, starts, numbers, end, short = index(data, protocol.byte_order == "big", lengths)
    if strict:
        _refuse_damage(protocol, data, name, damage, end, short)
    first = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    made = Messages(protocol)
    for message in protocol.messages:
        part = slice(first[ord(message.type)], first[ord(message.type) + 1])
        made[message.name] = _array(protocol, message, data, starts[part], numbers[part])
    return made


def dtype(message: Message) -> np.dtype[Any]:
    """The fields of one message as they stand in its array, native and packed.

    First `seq`, the message's place in the file from 1 (uint64). Numbers keep their width (u48: uint64), prices are
    int64 in units of 1e-9 (the least int64 where that cannot hold them), text is S without its right-hand blanks.
    """
    return np.dtype([("seq", np.uint64), *((field.name, _native(field)) for field in message.layout.values())])


def _native(field: Field) -> str:
    kind = field.type
    if kind.kind in ("char", "alpha"):
        return f"S{kind.size}"
    if kind.kind == "price":
        return "i8"
    return f"{'i' if kind.signed else 'u'}{8 if kind.size == 6 else kind.size}"


def _array(protocol: Protocol, message: Message, data: Any, starts: Array, numbers: Array) -> Array:
    texts = [(f.offset, f.type.size) for f in message.layout.values() if f.type.kind in ("char", "alpha")]
    packed = gather(data, starts, message.length, np.array(texts, np.uint16).reshape(-1, 2))
    made = np.empty(len(starts), dtype(message))
    made["seq"] = numbers
    for name, values in columns(protocol, message, packed).items():
        made[name] = values
    return made


def columns(protocol: Protocol, message: Message, packed: Array) -> dict[str, Array]:
    """The fields of gathered messages of one type, of shape (n, length), each in the type of its column."""
    return {field.name: _column(protocol, field, packed) for field in message.layout.values()}


def _column(protocol: Protocol, field: Field, packed: Array) -> Array:
    """One field of all gathered messages in the type of its column."""
    kind, order = field.type, ">" if protocol.byte_order == "big" else "<"
    if kind.kind in ("char", "alpha"):
        return _wire(packed, field.offset, f"S{kind.size}")
    if kind.size == 6:
        parts = [(0, 2, 32), (2, 4, 0)] if order == ">" else [(0, 4, 0), (4, 2, 32)]
        words = [_wire(packed, field.offset + at, f"{order}u{n}").astype(np.uint64) << shift for at, n, shift in parts]
        return words[0] | words[1]
    raw = _wire(packed, field.offset, f"{order}{'i' if kind.signed else 'u'}{kind.size}")
    if kind.kind != "price":
        return raw
    least, top = -(2**63 - 1) // kind.scale + 1, (2**63 - 1) // kind.scale
    prices = raw.astype(np.int64) * kind.scale
    if kind.size == 8:
        prices[(raw > top) | ((raw < least) if kind.signed else False)] = PRICE_NONE
    return prices


def _wire(packed: Array, offset: int, kind: str) -> Array:
    """A strided view of one field in an array of shape (n, length)."""
    shape, stride = packed.shape[0], packed.shape[1]
    return np.ndarray((shape,), kind, packed, offset, (stride,)) if shape else np.empty(0, kind)


def _contents(protocol: Protocol, path: Path) -> tuple[Any, str]:
    """The messages of a file behind their lengths, mapped where possible, and what is wrong with it, if anything."""
    from feedhandler.receive import capture  # not at the top: decoders need no receivers

    if not path.is_file() or not path.stat().st_size:
        return _unpacked(path)
    try:
        packets = capture.kind(path).format != "binaryfile"
    except CaptureError as error:
        if not isinstance(error.__cause__, ValueError):  # which is: cannot even be unpacked so far
            raise
        packets = False
    if not packets:
        return _unpacked(path)
    from feedhandler.unwrapped import unwrapped

    return unwrapped(path, protocol.name, protocol.byte_order)


def _unpacked(path: Path) -> tuple[Any, str]:
    """The unpacked bytes of a file, mapped where possible, and what is wrong with it, if anything."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error
    with file:
        kind = compression(file.read(4))
        if kind is None:
            try:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), ""
            except ValueError:  # an empty file cannot be mapped
                return b"", ""
    unpacker, pieces, damage = Unpacker(path, kind), [], ""
    try:
        while True:
            piece = bytearray(PIECE)
            got = unpacker.readinto(memoryview(piece))
            if got == 0:
                break
            pieces.append(piece if got == PIECE else piece[:got])
    except ValueError as error:
        damage = str(error)
    finally:
        unpacker.close()
    return b"".join(pieces), damage


def _refuse_damage(protocol: Protocol, data: Any, name: str, damage: str, end: int, short: int) -> None:
    remedy = "strict=False gives the messages before it"
    if short >= 0:
        at = short + 2
        message = protocol.by_type[chr(data[at])]
        length = int.from_bytes(data[short:at], protocol.byte_order)
        raise CaptureError(
            f"{name}: byte {short}: {message.name} of {length} bytes, {protocol.name} says {message.length}; "
            "strict=False leaves such messages out"
        )
    if damage:
        raise CaptureError(f"{name}: {damage}; {remedy}")
    rest = bytes(data[end:])
    if rest and (len(rest) < 2 or rest[:2] != b"\0\0"):
        raise CaptureError(f"{name}: byte {end}: the last message is cut; {remedy}")
    if more := rest.lstrip(b"\0"):
        raise CaptureError(f"{name}: byte {len(data) - len(more)}: more follows the mark of the end; {remedy}")
