"""The simulator's lines: the same packets on each, in their own time, and nowhere but on this host."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time

import pytest
from simulated_book import blocks

from feedhandler.errors import BackendError, ConfigError
from feedhandler.simulate import Exchange, MulticastSender

MARKET = {"symbols": 5, "seed": 4, "messages": 3000, "live_orders": 200}
SO_RCVBUFFORCE = 33  # Linux, asm-generic/socket.h
GROUPS = ("239.192.77.1", "239.192.77.2")


def day(**options) -> list[bytes]:
    exchange, buffer, out = Exchange(**options), bytearray(1 << 16), bytearray()
    while n := exchange.produce(buffer):
        out += buffer[:n]
    return list(blocks(bytes(out)))


@pytest.fixture
def listeners():
    """Two sockets that have joined a group each on the loopback interface; their (address, port)."""
    made = []
    for group in GROUPS:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(PermissionError):  # beyond net.core.rmem_max, where we may: a slow test drops nothing
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        s.bind((group, 0))
        index = socket.if_nametoindex("lo")
        s.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", socket.inet_aton(group), bytes(4), index)
        )
        s.settimeout(10)
        made.append(s)
    yield made
    for s in made:
        s.close()


def receive(listener: socket.socket) -> list[tuple[float, bytes]]:
    """(time, packet) until the third end of session."""
    packets = []
    while sum(packet[18:20] == b"\xff\xff" for _, packet in packets) < 3:
        packet = listener.recv(65536)
        packets.append((time.monotonic(), packet))
    return packets


def run(listeners, source, **options) -> tuple[MulticastSender, list[list[tuple[float, bytes]]]]:
    sender = MulticastSender([s.getsockname() for s in listeners], **options)
    got = [[] for _ in listeners]
    threads = [threading.Thread(target=lambda i=i, s=s: got[i].extend(receive(s))) for i, s in enumerate(listeners)] + [
        threading.Thread(target=sender.run, args=(source,))
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    return sender, got


def unwrap(packets: list[tuple[float, bytes]], session: bytes = b"SIMULATED ") -> list[bytes]:
    """The messages, after the numbers were checked."""
    expected, out, ended = 1, [], False
    for _, packet in packets:
        name, number, count = struct.unpack_from(">10sQH", packet)
        assert name == session
        assert number == expected
        if count == 0xFFFF:
            assert len(packet) == 20
            ended = True
            continue
        assert not ended
        found = list(blocks(packet[20:]))
        assert len(found) == count
        out += found
        expected += count
    return out


def test_both_lines_carry_every_message_once_in_order_and_end(listeners):
    sender, got = run(listeners, Exchange(**MARKET), rate=50_000, skew_us=200, end_repeats=3)
    want = day(**MARKET)
    for packets in got:
        assert unwrap(packets) == want
        assert max(len(packet) for _, packet in packets) <= 1400
    assert [packet for _, packet in got[0]] == [packet for _, packet in got[1]]
    stats = sender.stats
    assert stats["messages"] == 3000 and stats["ended"] and stats["too_large"] == 0
    assert [line["packets"] for line in stats["lines"]] == [len(packets) for packets in got]
    # full packets when messages wait, few in each when they are due one by one
    assert len(got[0]) > 3000 / 40


def test_as_fast_as_it_goes_fills_packets(listeners):
    _, got = run(listeners[:1], Exchange(**MARKET), session="ABC", mtu=500)
    assert unwrap(got[0], b"ABC       ") == day(**MARKET)
    sizes = [len(packet) for _, packet in got[0] if packet[18:20] != b"\xff\xff"]
    assert max(sizes) <= 500 and min(sizes[:-1]) > 500 - 52


def test_the_second_line_comes_later_by_the_skew(listeners):
    began = time.monotonic()
    _, got = run(listeners, Exchange(**MARKET), skew_us=150_000)
    assert got[1][0][0] - began >= 0.15  # never earlier, however the threads are scheduled
    assert unwrap(got[0]) == unwrap(got[1]) == day(**MARKET)


def test_rate_counts_from_one_start(listeners):
    began = time.monotonic()
    _, got = run(listeners[:1], Exchange(**MARKET), rate=10_000, end_repeats=3)
    assert unwrap(got[0]) == day(**MARKET)
    last = [at for at, packet in got[0] if packet[18:20] != b"\xff\xff"][-1]
    assert last - began > 0.29  # 3,000 messages at 10,000 a second are not sent earlier


def test_heartbeats_when_idle_and_stop_ends_the_session(listeners):
    exchange = Exchange(**MARKET)
    sender = MulticastSender([listeners[0].getsockname()], rate=0.01, heartbeat_s=0.02)
    thread = threading.Thread(target=sender.run, args=(exchange,))
    thread.start()
    packets = [listeners[0].recv(2000) for _ in range(4)]
    sender.stop()
    while packets[-1][18:20] != b"\xff\xff":
        packets.append(listeners[0].recv(2000))
    thread.join(10)
    assert not thread.is_alive()
    counts = [struct.unpack_from(">QH", packet, 10) for packet in packets]
    assert counts[0] == (1, 1)
    assert (2, 0) in counts[1:] and (2, 0xFFFF) in counts
    assert all(number == 2 for number, _ in counts[1:])
    assert sender.stats["heartbeats"] >= 3


def test_a_signal_handler_s_stop_ends_run_in_the_main_thread(listeners):
    sender = MulticastSender([listeners[0].getsockname()], rate=10)
    before = signal.signal(signal.SIGUSR1, lambda *_: sender.stop())
    try:
        sender.run(Exchange(**MARKET), progress=lambda _: os.kill(os.getpid(), signal.SIGUSR1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sender.stats["ended"]


def test_nothing_leaves_the_host_unless_an_interface_is_named(listeners):
    sender = MulticastSender([s.getsockname() for s in listeners])
    for fd in sender.filenos():
        s = socket.socket(fileno=os.dup(fd))
        assert s.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 0
        assert s.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1
        assert s.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("127.0.0.1")
        assert s.getsockname()[0] == "127.0.0.1"
        s.close()
    sender.close()
    with pytest.raises(ConfigError, match="not on this host"):
        MulticastSender([("192.0.2.1", 4000)])


@pytest.mark.parametrize("error, words, options", [
    (ConfigError, "not both", {"rate": 1, "speed": 1}),
    (ConfigError, "rate must be", {"rate": 0}),
    (ConfigError, "ttl", {"ttl": 256}),
    (ConfigError, "session", {"session": "12345678901"}),
    (ConfigError, "mtu", {"mtu": 10}),
    (ConfigError, "skew_us", {"skew_us": [1, 2, 3]}),
    (ConfigError, "skew_us", {"skew_us": -1}),
    (ConfigError, "no IPv4 address", {"lines": [("host", 1)]}),
    (ConfigError, "port", {"lines": [("239.0.0.1", 0)]}),
    (BackendError, "no interface 'nowhere0'; there are: lo", {"interface": "nowhere0"}),
])  # fmt: skip
def test_what_cannot_be_had_is_said_in_a_sentence(error, words, options):
    with pytest.raises(error, match=words):
        MulticastSender(**options).run(Exchange(**MARKET))
