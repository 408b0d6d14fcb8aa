"""The kernel's calls that Python has no names for: bpf(2), and what an interface says about itself.

Structures and numbers of <linux/bpf.h> and <linux/if_link.h>, which are fixed for good. Every function raises OSError
with the kernel's errno.
"""

import contextlib
import ctypes
import errno
import os
import platform
import struct
from typing import NamedTuple

from feedhandler.receive.interface import attributes, ethtool, link

_BPF = {"x86_64": 321, "aarch64": 280}  # the number of the call bpf(2)
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _LINK_CREATE = 0, 2, 5, 28
MAP_HASH, MAP_XSK = 1, 17
_PROG_TYPE_XDP, _ATTACH_XDP = 6, 37
_DEVICE_BOUND = 1 << 6  # BPF_F_XDP_DEV_BOUND_ONLY
ATTACH_GENERIC, ATTACH_NATIVE = 1 << 1, 1 << 2  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
_LOG_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


class VerifierError(OSError):
    """A program that the kernel did not take; `log` is what its verifier said."""

    log = ""


def bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    """bpf(2), which may answer in `attributes`, too."""
    number = _BPF.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {platform.machine()} is not known here")
    size = ctypes.c_uint(len(attributes))
    result = int(_libc.syscall(ctypes.c_long(number), ctypes.c_int(command), attributes, size))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _bpf(command: int, attributes: bytes) -> int:
    return bpf(command, ctypes.create_string_buffer(attributes, len(attributes)))


def create_map(kind: int, key_bytes: int, value_bytes: int, entries: int) -> int:
    """The file descriptor of a new map."""
    return _bpf(_MAP_CREATE, struct.pack("=IIIIIII16s", kind, key_bytes, value_bytes, entries, 0, 0, 0, b"feedhandler"))


def update_map(descriptor: int, key: bytes, value: bytes) -> None:
    """Set one entry."""
    keys, values = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_MAP_UPDATE, struct.pack("=IxxxxQQQ", descriptor, ctypes.addressof(keys), ctypes.addressof(values), 0))


def load_program(code: bytes, bound_to: int = 0) -> int:
    """The file descriptor of an XDP program; `bound_to` an interface's number when it calls kfuncs of its driver.

    Raises VerifierError with the verifier's log. The licence matters for kfuncs only, which ask for one the GPL allows;
    these few instructions may be used under the terms of either.
    """
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Dual BSD/GPL" if bound_to else b"Apache-2.0")
    log = ctypes.create_string_buffer(_LOG_BYTES)

    def load(level: int) -> int:
        return _bpf(
            _PROG_LOAD,
            struct.pack(
                "=IIQQIIQII16sII",
                *(_PROG_TYPE_XDP, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(licence)),
                *(level, _LOG_BYTES if level else 0, ctypes.addressof(log) if level else 0, 0),
                *(_DEVICE_BOUND if bound_to else 0, b"feedhandler", bound_to, _ATTACH_XDP),
            ),
        )

    try:
        return load(0)
    except OSError as error:
        refusal = VerifierError(error.errno, error.strerror)
        with contextlib.suppress(OSError):  # once more, for the log; a program that loads now is a program
            return load(1)
        refusal.log = log.value.decode(errors="replace").strip()
        raise refusal from None


def attach(program: int, index: int, flags: int) -> int:
    """The link that keeps a program on an interface: closing it, or the end of the process, takes the program off."""
    return _bpf(_LINK_CREATE, struct.pack("=IIII", program, index, _ATTACH_XDP, flags))


# ---- interfaces ----


class Attached(NamedTuple):
    """What netlink says of an interface."""

    mtu: int
    program: int
    """The id of the XDP program on it; 0 = none."""


def link_state(index: int) -> Attached:
    """An interface by number, asked of rtnetlink."""
    mtu = program = 0
    for kind, value in link(index).items():
        if kind == 4:  # IFLA_MTU
            mtu = struct.unpack("=I", value)[0]
        elif kind == 43:  # IFLA_XDP
            nested = dict(attributes(value))
            program = struct.unpack("=I", nested.get(4, bytes(4)))[0]  # IFLA_XDP_PROG_ID
    return Attached(mtu, program)


def receive_queues(interface: str) -> int:
    """How many receive queues are in use; 1 where the driver does not say."""
    try:
        channels = struct.unpack("=9I", ethtool(interface, struct.pack("=9I", 0x3C, *[0] * 8)))  # ETHTOOL_GCHANNELS
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return 1
    return max(1, int(channels[5] + channels[8]))  # rx_count, combined_count


def strips_vlan_tags(interface: str) -> bool:
    """Whether the NIC takes VLAN tags off before a program sees the frame (rx-vlan-offload)."""
    try:
        flags = struct.unpack("=II", ethtool(interface, struct.pack("=II", 0x25, 0)))[1]  # ETHTOOL_GFLAGS
    except OSError:
        return False
    return bool(flags & 1 << 8)  # ETH_FLAG_RXVLAN
