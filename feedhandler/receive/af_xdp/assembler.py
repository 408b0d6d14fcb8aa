"""A small assembler of BPF: instructions by name, labels for jumps, maps by file descriptor.

Enough for a filter, no more. Jumps go forward only, so a program always ends. Instruction set: RFC 9669.
"""

import struct
from enum import IntEnum

INSTRUCTION = struct.Struct("<BBhi")  # opcode; source << 4 | target; jump or memory offset; immediate
_MAP_FD, _KFUNC = 1, 2  # what the source field says of a map load and of a call


class Reg(IntEnum):
    """R0 gives results; R1 to R5 take arguments and are lost in a call; R6 to R9 stay; R10 is the stack's end."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


class Size(IntEnum):
    """Of a load or store: 1, 2, 4 or 8 bytes. Loads fill the rest of the register with zeros."""

    BYTE, HALF, WORD, DOUBLE = 0x10, 0x08, 0x00, 0x18


class Alu(IntEnum):
    """Arithmetic on whole registers."""

    ADD, OR, AND, SHIFT_LEFT, MOVE = 0x00, 0x40, 0x50, 0x60, 0xB0


class If(IntEnum):
    """What a jump depends on; comparisons are unsigned."""

    EQUAL, GREATER, NOT_EQUAL = 0x10, 0x20, 0x50


class Label:
    """A place in a program, named before or after it is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at: int | None = None


class Assembler:
    """A program in the making; `code()` gives its bytes."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._jumps: list[tuple[int, Label]] = []

    def __len__(self) -> int:
        """Instructions so far; a map load counts as two."""
        return len(self._code)

    def alu(self, operation: Alu, target: Reg, value: Reg | int) -> None:
        """target = target `operation` value."""
        if isinstance(value, Reg):
            self._add(0x0F | operation, target, value)
        else:
            self._add(0x07 | operation, target, immediate=value)

    def move(self, target: Reg, value: Reg | int) -> None:
        """target = value."""
        self.alu(Alu.MOVE, target, value)

    def from_big_endian(self, target: Reg, bits: int) -> None:
        """The register's lowest 16, 32 or 64 bits, as read from the wire, in the machine's order."""
        self._add(0xDC, target, immediate=bits)

    def load(self, size: Size, target: Reg, base: Reg, offset: int = 0) -> None:
        """target = memory[base + offset]."""
        self._add(0x61 | size, target, base, offset)

    def store(self, size: Size, base: Reg, offset: int, value: Reg | int) -> None:
        """memory[base + offset] = value."""
        if isinstance(value, Reg):
            self._add(0x63 | size, base, value, offset)
        else:
            self._add(0x62 | size, base, offset=offset, immediate=value)

    def jump(self, to: Label) -> None:
        """Go on at `to`."""
        self._jump(0x05, Reg.R0, 0, to)

    def jump_if(self, left: Reg, condition: If, right: Reg | int, to: Label) -> None:
        """Go on at `to` if left `condition` right."""
        self._jump(0x05 | condition, left, right, to)

    def load_map(self, target: Reg, descriptor: int) -> None:
        """target = the map behind this file descriptor."""
        self._code += [(0x18, target | _MAP_FD << 4, 0, descriptor), (0, 0, 0, 0)]

    def call(self, helper: int) -> None:
        """Call the kernel's helper of this number; the result is in R0."""
        self._add(0x85, immediate=helper)

    def call_kfunc(self, type_id: int) -> None:
        """Call the kernel's function of this BTF id; the result is in R0."""
        self._code.append((0x85, _KFUNC << 4, 0, type_id))

    def exit(self) -> None:
        """The end: R0 is the verdict."""
        self._add(0x95)

    def label(self, label: Label) -> None:
        """`label` is here."""
        if label.at is not None:
            raise ValueError(f"the label {label.name} is in two places")
        label.at = len(self._code)

    def code(self) -> bytes:
        """The program. Raises ValueError for a jump that leads back or nowhere."""
        code = list(self._code)
        for at, label in self._jumps:
            if label.at is None or label.at >= len(code):
                raise ValueError(f"the label {label.name} is nowhere in the program")
            if label.at <= at:
                raise ValueError(f"the jump to {label.name} leads back")
            opcode, registers, _, immediate = code[at]
            code[at] = opcode, registers, label.at - at - 1, immediate
        return b"".join(INSTRUCTION.pack(*each) for each in code)

    def _add(
        self, opcode: int, target: Reg = Reg.R0, source: Reg = Reg.R0, offset: int = 0, immediate: int = 0
    ) -> None:
        self._code.append((opcode, target | source << 4, offset, immediate))

    def _jump(self, opcode: int, left: Reg, right: Reg | int, to: Label) -> None:
        self._jumps.append((len(self._code), to))
        if isinstance(right, Reg):
            self._add(opcode | 0x08, left, right)
        else:
            self._add(opcode, left, immediate=right)
