"""The benchmarks' gauge: what it counts of a receiver, on loopback."""

import socket
import struct
import time

import numpy as np
import pytest

from feedhandler.receive import sockets
from feedhandler.receive._gauge import Recvmsg, gauge


@pytest.mark.parametrize("way", ["recvmmsg", "recvmsg"])
def test_packets_gaps_and_ages_are_counted(way: str) -> None:
    one = sockets.open_socket(sockets.UdpLine("A", "127.0.0.1", 0), sockets.Options(timestamps="clock"), [])
    receiver = Recvmsg(1, one) if way == "recvmsg" else sockets.SocketReceiver(1, [one], [b""])
    ages = np.zeros(4, np.int64)
    with receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        before = time.monotonic_ns()
        for number in (1, 2, 5, 6):
            payload = struct.pack(">10sQH", b"TODAY", number, 1) + struct.pack("=Q", time.monotonic_ns())
            sender.sendto(payload, one.getsockname())
        came = gauge(receiver, 4, 20.0, ages, 20)
        assert (came["packets"], came["bytes"], came["gaps"]) == (4, 4 * 28, 1)
        assert came["polls"] == (4 if way == "recvmsg" else 1)
        assert came["busy_ns"] > 0 and 0 <= came["wall_ns"] < time.monotonic_ns() - before
        assert ((ages > 0) & (ages < time.monotonic_ns() - before)).all()
        assert gauge(receiver, 1, 0.01)["packets"] == 0
