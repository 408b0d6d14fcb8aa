"""XDP programs run by the kernel on one frame, without a network (BPF_PROG_TEST_RUN), and live frames sent by one."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from feedhandler.receive.af_xdp import system
from tests.required import unavailable

_TEST_RUN = 10


@contextmanager
def loaded(code: bytes) -> Iterator[int]:
    """The file descriptor of a program, loaded while the block runs."""
    descriptor = system.load_program(code)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def create_map(kind: int, key_bytes: int, value_bytes: int, entries: int) -> int:
    """A map, or `unavailable` where the kernel gives none."""
    try:
        return system.create_map(kind, key_bytes, value_bytes, entries)
    except OSError as error:
        unavailable(f"no BPF map can be made here: {error.strerror}; root, or CAP_BPF with CAP_NET_ADMIN, can")


def run(program: int, frame: bytes) -> tuple[int, bytes]:
    """The program's verdict on a frame, and the frame afterwards with what the program has left before it."""
    data = ctypes.create_string_buffer(frame, len(frame))
    out = ctypes.create_string_buffer(len(frame) + 256)
    context = ctypes.create_string_buffer(struct.pack("=6I", 0, len(frame), 0, 0, 0, 0), 24)
    attributes = bytearray(80)
    struct.pack_into("=IIIIQQII", attributes, 0, program, 0, len(frame), len(out), ctypes.addressof(data),
                     ctypes.addressof(out), 1, 0)  # fmt: skip
    struct.pack_into("=IIQQ", attributes, 40, 24, 24, ctypes.addressof(context), ctypes.addressof(context))
    space = ctypes.create_string_buffer(bytes(attributes), len(attributes))
    system.bpf(_TEST_RUN, space)
    verdict, _, length = struct.unpack_from("=III", space.raw, 4)
    return verdict, out.raw[:length]
