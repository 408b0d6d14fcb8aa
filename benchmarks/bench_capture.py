"""Packets of a pcap into our hands, and datagrams of a UDP socket on this host, beside what Python people use.

The floor of the file is one pass over its bytes (a checksum in C): no reader that looks at each packet is faster than
memory. Each contestant counts packets and payload bytes, so that none can skip the work.
"""

import socket
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from feedhandler.receive.sockets import Timestamps

TARGETS = [("239.1.1.1", 26400), ("239.1.1.2", 26400)]
PACKETS_WAITING = 1000


def make_capture(packets: int) -> Path:
    """A pcap of `packets` datagrams of 100 to 227 bytes on two lines, kept for the next contestant."""
    from feedhandler.receive import capture

    path = Path(tempfile.gettempdir()) / f"feedhandler-bench-{packets}.pcap"
    if not path.exists():
        partial = path.with_suffix(".partial")
        with capture.PcapWriter(partial) as file:
            for i in range(packets):
                file.write(1_700_000_000_000_000_000 + i * 1000, bytes(100 + i % 128), TARGETS[i & 1])
        partial.rename(path)
    return path


pcap = harness.Contest(
    "receive_pcap", unit="packet", floor="one pass over the bytes (crc32)", options={"packets": 200_000}
)


@pcap.contestant("feedhandler")
def ours(packets: int) -> harness.Round:
    from feedhandler.receive import capture

    path = make_capture(packets)

    def one_round() -> int:
        with capture.receiver(path, TARGETS) as receiver:
            return receiver.skim()[0]

    return one_round


@pcap.contestant("feedhandler, as Python tuples")
def tuples(packets: int) -> harness.Round:
    from feedhandler.receive import capture

    path = make_capture(packets)
    return lambda: sum(1 for _ in capture.read(path))


@pcap.contestant("scapy RawPcapReader", package="scapy")
def scapy_raw(packets: int) -> harness.Round:
    from scapy.utils import RawPcapReader

    path = make_capture(packets)
    return lambda: sum(1 for _ in RawPcapReader(str(path)))


@pcap.contestant("one pass over the bytes (crc32)")
def one_pass(packets: int) -> harness.Round:
    data = make_capture(packets).read_bytes()

    def one_round() -> int:
        zlib.crc32(data)
        return packets

    return one_round


udp = harness.Contest("receive_udp", unit="datagram", floor="socket.recv_into", options={"size": 200})


def loopback(size: int) -> tuple[socket.socket, socket.socket, bytes]:
    """A receiving socket with room, a connected sender, and what to send."""
    there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    there.bind(("127.0.0.1", 0))
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.connect(there.getsockname())
    return there, here, struct.pack("I", size) * (size // 4)


@udp.contestant("feedhandler, recvmmsg")
def recvmmsg(size: int) -> harness.Round:
    return _recvmmsg(size, "hardware")


@udp.contestant("feedhandler, recvmmsg, no stamps")
def recvmmsg_unstamped(size: int) -> harness.Round:
    return _recvmmsg(size, "clock")


def _recvmmsg(size: int, timestamps: "Timestamps") -> harness.Round:
    from feedhandler.receive import sockets

    options = sockets.Options(receive_buffer=4 << 20, timestamps=timestamps)
    one = sockets.open_socket(sockets.UdpLine("A", "127.0.0.1", 0), options, [])
    receiver = sockets.SocketReceiver(1, [one], [b""])
    _, sender, payload = loopback(size)
    sender.connect(one.getsockname())

    def one_round() -> harness.Sample:
        for _ in range(PACKETS_WAITING):
            sender.send(payload)
        begin = time.perf_counter_ns()
        count, _ = receiver.skim()
        return harness.Sample(count, time.perf_counter_ns() - begin)

    return one_round


@udp.contestant("socket.recv_into")
def recv_into(size: int) -> harness.Round:
    receiver, sender, payload = loopback(size)
    receiver.setblocking(False)
    buffer = bytearray(2048)

    def one_round() -> harness.Sample:
        for _ in range(PACKETS_WAITING):
            sender.send(payload)
        count = 0
        begin = time.perf_counter_ns()
        try:
            while True:
                receiver.recv_into(buffer)
                count += 1
        except BlockingIOError:
            return harness.Sample(count, time.perf_counter_ns() - begin)

    return one_round


test_receive_pcap = pcap.test()
test_receive_udp = udp.test()

if __name__ == "__main__":
    for contest in (pcap, udp):
        contest.main()
