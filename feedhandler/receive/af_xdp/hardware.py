"""The NIC's own time of a frame, which the filter asks the driver for (bpf_xdp_metadata_rx_timestamp, Linux 6.3).

Tried where the NIC says that it stamps what it receives, and left at the first refusal: the time is the kernel's then.
A stamp of 0, or more than a second from the kernel's time, is not believed, frame by frame. **Not run on such a NIC**:
none was at hand. What was run is veth, whose driver has the function and no clock.
"""

import functools
import struct
from array import array
from pathlib import Path

from feedhandler.receive.interface import ethtool

_KFUNC = b"bpf_xdp_metadata_rx_timestamp"
_BTF = Path("/sys/kernel/btf/vmlinux")
_HEADER = struct.Struct("<HBBIIIII")  # magic, version, flags, length; offset and length of the types, of the strings
_FUNCTION = 12
# 32-bit words behind the three that each type begins with: as many, and so many for each of its members
_MORE = {
    1: (1, 0),
    3: (3, 0),
    4: (0, 3),
    5: (0, 3),
    6: (0, 2),
    13: (0, 2),
    14: (1, 0),
    15: (0, 3),
    17: (1, 0),
    19: (0, 3),
}
_RX_HARDWARE = 1 << 2  # SOF_TIMESTAMPING_RX_HARDWARE


def stamps(interface: str) -> bool:
    """Whether the NIC can stamp what it receives."""
    try:
        answer = ethtool(interface, struct.pack("=11I", 0x41, *[0] * 10))  # ETHTOOL_GET_TS_INFO
    except OSError:
        return False
    return bool(int(struct.unpack("=11I", answer)[1]) & _RX_HARDWARE)


@functools.cache
def kfunc() -> int:
    """The function's number in the running kernel's type information (BTF). Raises OSError where there is none."""
    data = _BTF.read_bytes()
    _, _, _, head, types, types_bytes, strings, strings_bytes = _HEADER.unpack_from(data)
    name = data[head + strings : head + strings + strings_bytes].find(b"\0" + _KFUNC + b"\0") + 1
    words = array("I", data[head + types : head + types + types_bytes])
    number, at = 1, 0
    while name and at < len(words):
        kind, members = words[at + 1] >> 24 & 31, words[at + 1] & 0xFFFF
        if kind == _FUNCTION and words[at] == name:
            return number
        fixed, each = _MORE.get(kind, (0, 0))
        number, at = number + 1, at + 3 + fixed + each * members
    raise OSError(f"this kernel has no {_KFUNC.decode()}")
