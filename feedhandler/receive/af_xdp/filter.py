"""The XDP program: the frames of our lines go to the AF_XDP socket of their queue, all others to the kernel.

Ours is: Ethernet, up to two VLAN tags, IPv4 without options (first byte 0x45, which keeps every offset fixed, so that
the verifier asks for no more than CAP_BPF), UDP, no fragment, and (group, port, source or any, VLAN) in the map of
flows, whose value is the line. What is not certain goes to the kernel, and reaches the join socket if it is ours.

Before the frame the program leaves a note (`NOTE`): the time (CLOCK_MONOTONIC), the line, and where the IP header
begins. A driver without room for it hands on the frame alone: the receiver then reads clock and headers itself.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from feedhandler.receive.af_xdp.assembler import Alu, Assembler, If, Label, Reg, Size

R0, R1, R2, R3, R4, R6, R7, R8, R9, R10 = (Reg(n) for n in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10))
BYTE, HALF, WORD, DOUBLE = Size

NOTE = struct.Struct("<QIHH")  # time, line, offset of the IP header, NOTE_MARK; the same in xsk.h
NOTE_MARK = 0xF3ED
HARDWARE_NOTE = 8  # bytes in front of the note, where the program asks the NIC for its time; 0 = it gave none
FLOW_KEY = struct.Struct("<4s4s2sxxI")  # group, source, port (all as on the wire), VLAN
XDP_PASS = 2

_LOOK_UP, _KTIME, _REDIRECT_MAP, _ADJUST_META = 1, 5, 51, 54  # enum bpf_func_id
_DATA, _DATA_END, _DATA_META, _QUEUE = 0, 4, 8, 16  # struct xdp_md
_KEY = -FLOW_KEY.size  # from the end of the stack
_STAMP = _KEY - 8


@dataclass(frozen=True)
class Flow:
    """Whose frames are whose: a line's address."""

    group: IPv4Address
    port: int
    source: IPv4Address | None
    vlan: int
    """0 = untagged; the id of one tag; outer << 16 | inner of two."""
    line: int

    def key(self) -> bytes:
        """Its key in the map of flows."""
        source = self.source.packed if self.source else bytes(4)
        return FLOW_KEY.pack(self.group.packed, source, struct.pack(">H", self.port), self.vlan)


def program(
    flows: Iterable[Flow], flow_map: int, socket_map: int, *, note: bool = True, timestamp_kfunc: int = 0
) -> bytes:
    """The filter's instructions, for maps by these file descriptors.

    `timestamp_kfunc`: the BTF id of bpf_xdp_metadata_rx_timestamp, to be asked for the NIC's time; 0 = not.
    """
    flows = list(flows)
    a, passed, look_up = Assembler(), Label("pass"), Label("look up")
    a.move(R6, R1)
    a.load(WORD, R7, R1, _DATA)
    a.load(WORD, R9, R1, _DATA_END)
    a.move(R8, 0)  # the VLAN
    headers = [Label(f"IP behind {tags} tags") for tags in range(3)]
    for tags, ip in enumerate(headers):
        _ether_type(a, tags, ip, passed)
    for tags, ip in enumerate(headers):
        a.label(ip)
        _ip(a, 14 + 4 * tags, passed)
        if tags < 2:
            a.jump(look_up)
    a.label(look_up)
    found = Label("found")
    if any(flow.source for flow in flows):
        _look_up(a, flow_map)
        a.jump_if(R0, If.NOT_EQUAL, 0, found)
    if any(not flow.source for flow in flows):
        a.store(WORD, R10, _KEY + 4, 0)
        _look_up(a, flow_map)
        a.jump_if(R0, If.NOT_EQUAL, 0, found)
    a.jump(passed)
    a.label(found)
    if note:
        _leave_note(a, timestamp_kfunc)
    a.load_map(R1, socket_map)
    a.load(WORD, R2, R6, _QUEUE)
    a.move(R3, XDP_PASS)  # of a queue without a socket
    a.call(_REDIRECT_MAP)
    a.exit()
    a.label(passed)
    a.move(R0, XDP_PASS)
    a.exit()
    return a.code()


def _ether_type(a: Assembler, tags: int, ip: Label, passed: Label) -> None:
    """Behind so many tags: to `ip`, to `passed`, or past one more tag, whose id is taken into R8."""
    at = 14 + 4 * tags
    tagged = Label(f"tag {tags + 1}")
    a.move(R2, R7)
    a.alu(Alu.ADD, R2, at + 28)
    a.jump_if(R2, If.GREATER, R9, passed)
    a.load(HALF, R3, R7, at - 2)
    a.jump_if(R3, If.EQUAL, _wire16(0x0800), ip)
    if tags == 2:
        a.jump(passed)
        return
    a.jump_if(R3, If.EQUAL, _wire16(0x8100), tagged)
    a.jump_if(R3, If.NOT_EQUAL, _wire16(0x88A8), passed)
    a.label(tagged)
    a.load(HALF, R4, R7, at)
    a.from_big_endian(R4, 16)
    a.alu(Alu.AND, R4, 0x0FFF)
    a.alu(Alu.SHIFT_LEFT, R8, 16)
    a.alu(Alu.OR, R8, R4)


def _ip(a: Assembler, at: int, passed: Label) -> None:
    """An IP header that begins at `at`: its flow's key to the stack, `at` to R9; all that is not ours to `passed`."""
    a.load(BYTE, R3, R7, at)
    a.jump_if(R3, If.NOT_EQUAL, 0x45, passed)
    a.load(BYTE, R3, R7, at + 9)
    a.jump_if(R3, If.NOT_EQUAL, 17, passed)
    a.load(HALF, R3, R7, at + 6)
    a.alu(Alu.AND, R3, _wire16(0x3FFF))  # more fragments, and the offset
    a.jump_if(R3, If.NOT_EQUAL, 0, passed)
    a.load(WORD, R3, R7, at + 16)
    a.store(WORD, R10, _KEY, R3)
    a.load(WORD, R3, R7, at + 12)
    a.store(WORD, R10, _KEY + 4, R3)
    a.load(HALF, R3, R7, at + 22)
    a.store(WORD, R10, _KEY + 8, R3)
    a.store(WORD, R10, _KEY + 12, R8)
    a.move(R9, at)


def _look_up(a: Assembler, flow_map: int) -> None:
    """R0 = where the line of the key on the stack stands, 0 for none."""
    a.load_map(R1, flow_map)
    a.move(R2, R10)
    a.alu(Alu.ADD, R2, _KEY)
    a.call(_LOOK_UP)


def _leave_note(a: Assembler, timestamp_kfunc: int) -> None:
    """R0: where the line stands, R9: offset of the IP header. Without room in front of the frame there is no note."""
    without = Label("without a note")
    size = NOTE.size + (HARDWARE_NOTE if timestamp_kfunc else 0)
    a.load(WORD, R7, R0)
    if timestamp_kfunc:
        given = Label("a stamp of the NIC, or 0")
        a.store(DOUBLE, R10, _STAMP, 0)
        a.move(R1, R6)
        a.move(R2, R10)
        a.alu(Alu.ADD, R2, _STAMP)
        a.call_kfunc(timestamp_kfunc)
        a.jump_if(R0, If.EQUAL, 0, given)
        a.store(DOUBLE, R10, _STAMP, 0)
        a.label(given)
    a.call(_KTIME)
    a.move(R8, R0)
    a.move(R1, R6)
    a.move(R2, -size)
    a.call(_ADJUST_META)
    a.jump_if(R0, If.NOT_EQUAL, 0, without)
    a.load(WORD, R2, R6, _DATA_META)
    a.load(WORD, R3, R6, _DATA)
    a.move(R4, R2)
    a.alu(Alu.ADD, R4, size)
    a.jump_if(R4, If.GREATER, R3, without)
    at = size - NOTE.size
    if timestamp_kfunc:
        a.load(DOUBLE, R3, R10, _STAMP)
        a.store(DOUBLE, R2, 0, R3)
    a.store(DOUBLE, R2, at, R8)
    a.store(WORD, R2, at + 8, R7)
    a.store(HALF, R2, at + 12, R9)
    a.store(HALF, R2, at + 14, NOTE_MARK)
    a.label(without)


def _wire16(value: int) -> int:
    """What a load of two bytes gives of this number on the wire."""
    return int.from_bytes(value.to_bytes(2, "big"), "little")
