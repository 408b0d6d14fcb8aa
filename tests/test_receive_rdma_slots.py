"""The receiver over a device that is played: which slots are given back, and when; what is counted."""

import socket
import struct
import time
from collections import deque
from collections.abc import Sequence

import pytest

from feedhandler.receive import sockets
from feedhandler.receive._frame import Steering
from feedhandler.receive._rdma import RdmaReceiver
from feedhandler.receive.sockets import UdpLine

GROUP, OTHER = bytes([239, 1, 2, 3]), bytes([239, 9, 9, 9])
GRH, SLOTS, SLOT_BYTES = 1, 64, 256
LINE = UdpLine("A", "239.1.2.3", 26400, "lo")


class Device:
    """A port, and the pyverbs loop of its queues: datagrams of RoCE go into the slots that were posted."""

    pointers = None
    extended = stamps = False
    fd, lkey, slots, slot_bytes = -1, 0, SLOTS, SLOT_BYTES

    def __init__(self, steering: Steering) -> None:
        self.memory = bytearray(SLOTS * SLOT_BYTES)
        self.lines, self.steering, self.loop = [0], steering, self
        self.posted: deque[int] = deque()
        self.done: list[tuple[int, int, int, int]] = []
        self.lost = 0

    def bring(self, group: bytes, payload: bytes) -> None:
        if not self.posted:
            self.lost += 1
            return
        slot = self.posted.popleft()
        header = bytes(20) + struct.pack("!BBHHHBBH4s4s", 0x45, 0, 48, 0, 0, 1, 17, 0, bytes([10, 0, 0, 1]), group)
        words = sum(struct.unpack("!10H", header[20:]))
        checksum = 0xFFFF - ((words & 0xFFFF) + (words >> 16))
        header = header[:30] + struct.pack("!H", checksum) + header[32:]
        self.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + 40 + len(payload)] = header + payload
        self.done.append((slot, 0, 40 + len(payload), GRH))

    def poll(self, want: int) -> Sequence[tuple[int, int, int, int]]:
        taken, self.done = self.done[:want], self.done[want:]
        return taken

    def post(self, slots: Sequence[int]) -> None:
        assert not set(slots) & set(self.posted)
        self.posted.extend(slots)

    def arm(self) -> None:
        """Nothing wakes."""

    def drops(self) -> int:
        return self.lost

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def device() -> Device:
    steering = Steering()
    steering.add(GROUP, 0, b"", 0, 0)
    return Device(steering)


def receiver(device: Device, raw: bool = False) -> RdmaReceiver:
    joined = sockets.receiver([LINE], sockets.Options(timestamps="clock", receive_buffer=4096))
    return RdmaReceiver(1, [device], joined, raw=raw, mode="played")


def test_slots_of_what_is_refused_go_back_before_the_ring_is_empty(device: Device) -> None:
    with receiver(device) as made:
        for _ in range(10 * SLOTS // 8):
            for _ in range(8):
                device.bring(OTHER, b"of another group")
            assert made.drain() == []
            assert len(device.posted) > SLOTS // 4
        assert device.lost == 0
        device.bring(GROUP, b"ours")
        assert [payload for _, _, payload in made.drain()] == [b"ours"]


def test_the_devices_drops_are_added_to_those_of_the_join_sockets(device: Device) -> None:
    with receiver(device, raw=True) as made, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        for _ in range(100):
            sender.sendto(bytes(1000), (LINE.group, LINE.port))
        end = time.monotonic() + 10
        while made.counts(0)["kernel_drops"] == 0:  # told with the next packet that finds room
            sender.sendto(b"next", (LINE.group, LINE.port))
            made.wait_for(0.002)
            made.drain()
            assert time.monotonic() < end
        joined = made.counts(0)["kernel_drops"]
        for lost in (5, 5, 7):
            device.lost = lost
            assert made.counts(0)["kernel_drops"] == joined + lost
