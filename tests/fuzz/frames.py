"""Frames of Ethernet for the parser of frame.h, and the same rules in plain Python."""

import struct

from feedhandler.receive._frame import parse
from tests.fuzz.engine import Target, ViolationError
from tests.fuzz.packets import Wire, pack
from tests.fuzz.packets import parse as wires

GROUP, SOURCE, PORT = bytes([239, 1, 2, 3]), bytes([10, 0, 0, 1]), 26400
ETHER = bytes.fromhex("01005e010203 020000000001")


def checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(
    payload: bytes = b"market data",
    tags: tuple[int, ...] = (),
    options: bytes = b"",
    fragment: int = 0,
    group: bytes = GROUP,
    source: bytes = SOURCE,
    port: int = PORT,
    udp_checksum: bool = True,
) -> bytes:
    """A good frame; `tags` are VLAN ids outer first, `fragment` the flags and offset field of IP."""
    udp = struct.pack(">HHHH", 5, port, 8 + len(payload), 0) + payload
    if udp_checksum:
        pseudo = source + group + struct.pack(">HH", 17, len(udp))
        udp = udp[:6] + struct.pack(">H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    first = 0x40 | 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH4s4s", first, 0, 20 + len(options) + len(udp), 7, fragment, 1, 17, 0, source, group)
    head += options
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    vlan = b"".join(struct.pack(">HH", 0x88A8 if i < len(tags) - 1 else 0x8100, tag) for i, tag in enumerate(tags))
    return ETHER + vlan + b"\x08\x00" + head + udp


def plain(data: bytes, check_udp: bool) -> tuple[str, bytes | None]:
    """The verdict on a frame, and its payload, as the rules say it."""
    if len(data) < 14:
        return "short", None
    at, kind, tags = 14, data[12:14], 0
    while tags < 2 and kind in (b"\x81\x00", b"\x88\xa8"):
        if len(data) < at + 4:
            return "short", None
        kind, at, tags = data[at + 2 : at + 4], at + 4, tags + 1
    if kind != b"\x08\x00":
        return "other", None
    ip = data[at:]
    if len(ip) < 20:
        return "short", None
    header = (ip[0] & 15) * 4
    if ip[0] >> 4 != 4:
        return "other", None
    if header < 20:
        return "lengths", None
    if ip[9] != 17:
        return "other", None
    if len(ip) < header + 8:
        return "short", None
    fragment = struct.unpack(">H", ip[6:8])[0]
    if fragment & 0x1FFF:
        return "fragment", None
    if checksum(ip[:header]) != 0:
        return "checksum", None
    if fragment & 0x2000:
        return "fragment", None
    total = struct.unpack(">H", ip[2:4])[0]
    stated, udp_sum = struct.unpack(">HH", ip[header + 4 : header + 8])
    if total > len(ip) or stated < 8 or header + stated > total:
        return "lengths", None
    udp = ip[header : header + stated]
    if check_udp and udp_sum and checksum(ip[12:20] + struct.pack(">HH", 17, stated) + udp) != 0:
        return "udp_checksum", None
    return "ok", udp[8:]


def agree(data: bytes) -> None:
    """Raise ViolationError unless the parser and the plain rules say the same."""
    for check_udp in (False, True):
        verdict, _, payload = parse(data, check_udp)
        if (verdict, payload) != plain(data, check_udp):
            raise ViolationError(f"frame {data.hex()}: {verdict}, plain {plain(data, check_udp)[0]}")


def frame_target() -> Target:
    """Frames as they come past the kernel: nothing read beyond their end, the same verdict as in plain Python."""
    seeds = [frame(), frame(b""), frame(tags=(100,)), frame(tags=(200, 100)), frame(options=bytes(8))]
    seeds += [frame(fragment=0x2000), frame(fragment=1), frame(udp_checksum=False), frame(b"odd").ljust(60, b"\0")]

    def run(raw: bytes) -> None:
        for each in wires(raw):
            agree(each.data)

    return Target("receive.frame", run, [pack([Wire(seed) for seed in seeds]), pack([Wire(seeds[0])])])
