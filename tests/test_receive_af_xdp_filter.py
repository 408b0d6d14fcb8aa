"""The XDP program: the assembler's instructions, and which frames the program takes when the kernel runs it on one."""

import os
import random
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from feedhandler.receive.af_xdp import system
from feedhandler.receive.af_xdp.assembler import Alu, Assembler, If, Label, Reg, Size
from feedhandler.receive.af_xdp.filter import FLOW_KEY, NOTE, NOTE_MARK, XDP_PASS, Flow, program
from tests import xdp_programs
from tests.fuzz.frames import GROUP, PORT, SOURCE, frame
from tests.fuzz.packets import Wire, mutate, pack, parse

ANY, OTHER = IPv4Address(0), bytes([10, 0, 0, 2])
FLOWS = [
    Flow(IPv4Address(GROUP), PORT, None, 0, 5),
    Flow(IPv4Address(GROUP), PORT, IPv4Address(SOURCE), 0, 6),
    Flow(IPv4Address(GROUP), PORT + 1, IPv4Address(SOURCE), 0, 7),
    Flow(IPv4Address(GROUP), PORT, None, 100, 8),
    Flow(IPv4Address(GROUP), PORT, None, 200 << 16 | 100, 9),
]


# ---- the assembler ----


def test_instructions_are_those_of_the_rfc() -> None:
    a, end = Assembler(), Label("end")
    a.move(Reg.R6, Reg.R1)
    a.load(Size.WORD, Reg.R2, Reg.R1, 4)
    a.store(Size.DOUBLE, Reg.R10, -8, Reg.R6)
    a.store(Size.HALF, Reg.R10, -16, 7)
    a.alu(Alu.ADD, Reg.R2, -3)
    a.from_big_endian(Reg.R2, 16)
    a.jump_if(Reg.R2, If.GREATER, Reg.R6, end)
    a.jump_if(Reg.R2, If.EQUAL, 9, end)
    a.load_map(Reg.R1, 42)
    a.call(51)
    a.call_kfunc(1234)
    a.label(end)
    a.exit()
    assert a.code() == bytes.fromhex(
        "bf16000000000000 6112040000000000 7b6af8ff00000000 6a0af0ff07000000 07020000fdffffff"
        "dc02000010000000 2d62050000000000 1502040009000000 181100002a000000 0000000000000000"
        "8500000033000000 85200000d2040000 9500000000000000"
    )
    assert len(a) == 13


def test_a_label_must_be_ahead_and_in_one_place() -> None:
    a, here, nowhere = Assembler(), Label("here"), Label("nowhere")
    a.label(here)
    with pytest.raises(ValueError, match="here is in two places"):
        a.label(here)
    a.jump(here)
    with pytest.raises(ValueError, match="leads back"):
        a.code()
    a = Assembler()
    a.jump(nowhere)
    with pytest.raises(ValueError, match="nowhere in the program"):
        a.code()


# ---- the program ----


class Filter:
    """The program of some flows."""

    def __init__(self, flows: list[Flow], **options: bool | int) -> None:
        self.flow_map = xdp_programs.create_map(system.MAP_HASH, FLOW_KEY.size, 4, len(flows))
        self.sockets = xdp_programs.create_map(system.MAP_XSK, 4, 4, 1)
        for flow in flows:
            system.update_map(self.flow_map, flow.key(), struct.pack("=I", flow.line))
        self.code = program(flows, self.flow_map, self.sockets, **options)  # type: ignore[arg-type]
        self.loaded = system.load_program(self.code)

    def take(self, data: bytes) -> tuple[int, int] | None:
        """(line, offset of the IP header) of a frame that is ours, else None; the frame itself is as before."""
        verdict, after = xdp_programs.run(self.loaded, data)
        assert verdict == XDP_PASS  # no socket in the map, so what is ours passes too
        assert after.endswith(data)
        note = after[: len(after) - len(data)]
        if not note:
            return None
        when, line, at, mark = NOTE.unpack(note)
        assert abs(time.monotonic_ns() - when) < 10**9 and mark == NOTE_MARK
        return line, at

    def close(self) -> None:
        for descriptor in (self.loaded, self.flow_map, self.sockets):
            os.close(descriptor)


@pytest.fixture
def taken_by() -> Iterator[Filter]:
    made = Filter(FLOWS)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (frame(), (6, 14)),
        (frame(source=OTHER), (5, 14)),
        (frame(port=PORT + 1), (7, 14)),
        (frame(port=PORT + 1, source=OTHER), None),
        (frame(tags=(0,)), (6, 18)),
        (frame(tags=(100,)), (8, 18)),
        (frame(tags=(5 << 13 | 100,)), (8, 18)),
        (frame(tags=(200, 100)), (9, 22)),
        (frame(tags=(0, 100)), (8, 22)),
        (frame(tags=(100, 200)), None),
        (frame(tags=(200,)), None),
        (frame(tags=(1, 200, 100)), None),
        (frame(group=OTHER), None),
        (frame(options=bytes(4)), None),
        (frame(fragment=0x2000), None),
        (frame(fragment=1), None),
        (frame(fragment=0x4000), (6, 14)),
        (frame(b""), (6, 14)),
        (frame()[:41], None),
        (frame().replace(b"\x08\x00\x45", b"\x86\xdd\x45"), None),
    ],
)
def test_which_frames_are_ours(taken_by: Filter, data: bytes, line: tuple[int, int] | None) -> None:
    assert taken_by.take(data) == line


def expected(data: bytes) -> tuple[int, int] | None:
    """The same in plain Python."""
    at, tags = 14, []
    while data[at - 2 : at] in (b"\x81\x00", b"\x88\xa8") and len(tags) < 2:
        tags.append(int.from_bytes(data[at : at + 2], "big") & 0xFFF)
        at += 4
    ip = data[at:]
    if data[at - 2 : at] != b"\x08\x00" or len(ip) < 28 or ip[0] != 0x45 or ip[9] != 17:
        return None
    if int.from_bytes(ip[6:8], "big") & 0x3FFF:
        return None
    vlan = 0
    for tag in tags:
        vlan = vlan << 16 | tag
    for source in (IPv4Address(ip[12:16]), None):
        for flow in FLOWS:
            wanted = IPv4Address(ip[16:20]), int.from_bytes(ip[22:24], "big"), source, vlan
            if (flow.group, flow.port, flow.source, flow.vlan) == wanted:
                return flow.line, at
    return None


def test_any_frame_is_taken_or_left_as_the_plain_rules_say(taken_by: Filter) -> None:
    rng = random.Random(1)
    good = [frame(tags=tags) for tags in ((), (0,), (100,), (200, 100))] + [frame(port=PORT + 1)]
    seed = pack([Wire(data) for data in good])
    taken = left = 0
    for _ in range(600):
        for wire in parse(mutate(seed, seed, rng)):
            if 14 <= len(wire.data) <= 1500:
                ours = expected(wire.data)
                assert taken_by.take(wire.data) == ours, wire.data.hex()
                taken, left = taken + (ours is not None), left + (ours is None)
    assert taken > 500 and left > 500


def test_a_program_without_notes_leaves_the_frame_alone() -> None:
    bare = Filter(FLOWS, note=False)
    assert bare.take(frame()) is None
    bare.close()


def test_look_ups_that_no_flow_needs_are_left_out() -> None:
    lengths = {}
    for name, flows in {"any": FLOWS[:1], "one": FLOWS[1:2], "both": FLOWS[:2]}.items():
        made = Filter(flows)
        lengths[name] = len(made.code)
        assert (made.take(frame()) is not None, made.take(frame(source=OTHER)) is not None) == (True, name != "one")
        made.close()
    assert lengths["one"] < lengths["any"] < lengths["both"] <= 8 * 128


def test_what_the_verifier_refuses_is_told_with_its_words() -> None:
    a = Assembler()
    a.load(Size.WORD, Reg.R0, Reg.R1, 0)
    a.load(Size.WORD, Reg.R0, Reg.R0, 0)  # a frame's bytes without a look at its end
    a.exit()
    os.close(xdp_programs.create_map(system.MAP_HASH, 4, 4, 1))
    with pytest.raises(system.VerifierError) as refusal:
        system.load_program(a.code())
    assert "invalid access to packet" in refusal.value.log
