"""A sender that is not the bottleneck: an XDP program of its own that makes UDP packets as fast as a core can.

The kernel runs the program over and over (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES), and each frame that it
redirects goes into the interface as a NIC's driver would hand it on, without ever having been an skb. The program takes
its packets, one after the other and round and round, out of a map that is filled beforehand: MoldUDP64 packets of one
message each, which it numbers. Paced, it waits for each packet's time inside the program, and writes the time at which
it let it go into the payload.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from typing import Self

from feedhandler.receive.af_xdp.assembler import Alu, Assembler, If, Label, Reg, Size
from feedhandler.receive.af_xdp.system import bpf, load_program
from tests.frames import group_mac
from tests.namespaces import Veth

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Reg
BYTE, HALF, WORD, DOUBLE = Size
PAYLOAD = 64  # bytes there is room for: 20 of MoldUDP64, 2 of length, a message of up to 42
PACKED = 8 + PAYLOAD
"""A packet in the map: total length, header checksum and UDP length as on the wire, two bytes of nothing, payload."""
STAMP_AT = 24  # in the payload: where a paced packet has its time, behind the type and number of a message
HEADERS = 14 + 20 + 8

_MAP_CREATE, _TEST_RUN = 0, 10
_ARRAY, _MMAPABLE, _LIVE_FRAMES = 2, 1 << 10, 1 << 1
_LOOK_UP, _KTIME, _REDIRECT = 1, 5, 23
_XDP_DROP = 1
_NEXT, _DUE, _INTERVAL = 0, 8, 16  # words of the state
_SPINS = 6000  # turns of the waiting loop, which the verifier wants to be bounded: about 150 us


class LiveFrames:
    """Sends `payloads`, each of at most PAYLOAD bytes, to `target` out of the interface "tx" of `world`.

    `paced`: the program waits (`interval_ns` of send()) and stamps; without, it is as fast as it can be.
    """

    def __init__(self, world: Veth, payloads: Sequence[bytes], target: tuple[str, int], *, paced: bool = False) -> None:
        self.world, self.paced = world, paced
        self._state_fd, self._state = _shared_array(24, 1)
        entries = 1 << (len(payloads) - 1).bit_length()
        self._packets_fd, packets = _shared_array(PACKED, entries)
        packets[: len(payloads) * PACKED] = packed(payloads, target[0])
        with world.sender.inside():
            index = socket.if_nametoindex("tx")
        self._program = load_program(_program(self._state_fd, self._packets_fd, entries - 1, index, paced))
        ip = b"\x45\0\0\0\0\0\0\0\x08\x11\0\0" + _address(Veth.SENDER) + _address(target[0])
        udp = struct.pack(">HHHH", 40000, target[1], 0, 0)
        self._frame = group_mac(target[0]) + b"\x02\0\0\0\0\x01\x08\0" + ip + udp + bytes(PAYLOAD)

    def rewind(self, to: int = 0) -> None:
        """Begin again with this packet."""
        struct.pack_into("=Q", self._state, 0, to)

    def send(self, packets: int, interval_ns: int = 0) -> int:
        """Send the next so many, and return the ns that the kernel says it took for each; blocks without the GIL."""
        struct.pack_into("=QQ", self._state, _DUE, 0, interval_ns)
        frame = ctypes.create_string_buffer(self._frame, len(self._frame))
        # when paced each frame goes by itself; else as many at once as a driver takes from its ring
        attributes = struct.pack("=IIIIQQIIIIQQIII", self._program, 0, len(frame), 0, ctypes.addressof(frame), 0,
                                 packets, 0, 0, 0, 0, 0, _LIVE_FRAMES, 0, 1 if self.paced else 64)  # fmt: skip
        space = ctypes.create_string_buffer(attributes, 80)
        with self.world.sender.inside():
            bpf(_TEST_RUN, space)
        return int(struct.unpack_from("=I", space, 36)[0])

    def close(self) -> None:
        for fd in (self._program, self._packets_fd, self._state_fd):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def packed(payloads: Sequence[bytes], group: str) -> bytes:
    """Payloads as the map has them, with the lengths and the checksum of their headers."""
    fixed = sum(struct.unpack(">9H", b"\x45\0\0\0\0\0\x08\x11" + b"\0\0" + _address(Veth.SENDER) + _address(group)))
    heads: dict[int, bytes] = {}
    parts: list[bytes] = []
    for payload in payloads:
        size = len(payload)
        if size not in heads:
            total = fixed + 28 + size
            heads[size] = struct.pack(">HHHxx", 28 + size, 0xFFFF - (total % 0xFFFF), 8 + size)
        parts += (heads[size], payload.ljust(PAYLOAD, b"\0"))
    return b"".join(parts)


class _Looping(Assembler):
    """The filter's assembler, and jumps back: the verifier follows each turn of such a loop."""

    def jump_back_if(self, left: Reg, condition: If, right: int, to: Label) -> None:
        """Go back to `to` if left `condition` right."""
        assert to.at is not None
        self._add(0x05 | condition, left, offset=to.at - len(self) - 1, immediate=right)


def _program(state: int, packets: int, mask: int, index: int, paced: bool) -> bytes:
    a, drop, due = _Looping(), Label("drop"), Label("due")
    a.load(WORD, R7, R1, 0)  # data
    a.load(WORD, R9, R1, 4)  # data_end
    a.move(R2, R7)
    a.alu(Alu.ADD, R2, HEADERS + PAYLOAD)
    a.jump_if(R2, If.GREATER, R9, drop)
    a.store(WORD, R10, -4, 0)
    _look_up(a, state)
    a.jump_if(R0, If.EQUAL, 0, drop)
    a.move(R8, R0)
    a.load(DOUBLE, R3, R8, _NEXT)
    a.move(R4, R3)
    a.alu(Alu.AND, R4, mask)
    a.store(WORD, R10, -4, R4)
    a.alu(Alu.ADD, R3, 1)
    a.store(DOUBLE, R8, _NEXT, R3)
    a.from_big_endian(R3, 64)  # and into it
    a.store(DOUBLE, R10, -16, R3)
    if paced:
        again = Label("again")
        a.load(DOUBLE, R6, R8, _DUE)
        a.move(R9, _SPINS)
        a.label(again)
        a.call(_KTIME)
        a.jump_if(R0, If.GREATER, R6, due)
        a.alu(Alu.ADD, R9, -1)
        a.jump_back_if(R9, If.NOT_EQUAL, 0, again)
        a.label(due)
        a.load(DOUBLE, R3, R8, _INTERVAL)
        a.alu(Alu.ADD, R3, R0)
        a.store(DOUBLE, R8, _DUE, R3)
    _look_up(a, packets)
    a.jump_if(R0, If.EQUAL, 0, drop)
    a.load(HALF, R3, R0, 0)
    a.store(HALF, R7, 14 + 2, R3)
    a.load(HALF, R3, R0, 2)
    a.store(HALF, R7, 14 + 10, R3)
    a.load(HALF, R3, R0, 4)
    a.store(HALF, R7, 34 + 4, R3)
    for at in range(0, PAYLOAD, 8):
        a.load(DOUBLE, R3, R0, 8 + at)
        a.store(DOUBLE, R7, HEADERS + at, R3)
    a.load(DOUBLE, R3, R10, -16)
    a.store(DOUBLE, R7, HEADERS + 10, R3)
    if paced:
        a.call(_KTIME)
        a.store(DOUBLE, R7, HEADERS + STAMP_AT, R0)
    a.move(R1, index)
    a.move(R2, 0)
    a.call(_REDIRECT)
    a.exit()
    a.label(drop)
    a.move(R0, _XDP_DROP)
    a.exit()
    return a.code()


def _look_up(a: Assembler, descriptor: int) -> None:
    """R0 = where the entry of this array is whose number stands on the stack, 0 for none."""
    a.load_map(R1, descriptor)
    a.move(R2, R10)
    a.alu(Alu.ADD, R2, -4)
    a.call(_LOOK_UP)


def _shared_array(value_bytes: int, entries: int) -> tuple[int, mmap.mmap]:
    """An array that the program and we have before us: its descriptor, and its memory."""
    attributes = struct.pack("=IIIIIII16s", _ARRAY, 4, value_bytes, entries, _MMAPABLE, 0, 0, b"live_frames")
    fd = bpf(_MAP_CREATE, ctypes.create_string_buffer(attributes, len(attributes)))
    size = (value_bytes * entries + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
    return fd, mmap.mmap(fd, size)


def _address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))
