"""Faults on the wire: what the live sender does to its lines, and the servers that stand beside it."""

import socket
import struct
import threading
from collections import Counter

import pytest
from simulated_book import blocks
from test_simulate_multicast import MARKET, day, listeners, unwrap

from feedhandler.errors import ConfigError
from feedhandler.simulate import (
    Exchange,
    Faults,
    GlimpseServer,
    MessageStore,
    MulticastSender,
    RequestServer,
    SnapshotSource,
)
from feedhandler.simulate.faults import LineFault, Midnight, Outage, Upstream
from tests.test_simulate_soup import Client

assert listeners  # a fixture
END = b"\xff\xff"


def run(listeners, source, **options) -> tuple[MulticastSender, list[list[bytes]]]:
    """Send all of `source`; what each listener got by the time the sender was done."""
    sender = MulticastSender([s.getsockname() for s in listeners], **options)
    got: list[list[bytes]] = [[] for _ in listeners]
    done = threading.Event()

    def listen(i: int) -> None:
        listeners[i].settimeout(0.05)
        while True:
            try:
                got[i].append(listeners[i].recv(65536))
            except TimeoutError:
                if done.is_set():
                    return

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(len(listeners))]
    for t in threads:
        t.start()
    try:
        sender.run(source)
    finally:
        done.set()
        for t in threads:
            t.join(30)
    return sender, got


HARD = LineFault(
    loss=0.1,
    burst_loss=0.05,
    burst_packets=3,
    duplicate=0.1,
    duplicate_us=500,
    reorder=0.1,
    truncate=0.05,
    corrupt=0.1,
    wrong_checksum=0.05,
)


def test_a_line_under_faults_carries_what_the_script_makes_of_the_packets(listeners):
    script = Faults(line=(HARD, LineFault()))
    sender, got = run(listeners, Exchange(**MARKET), mtu=300, faults=script, seed=11)
    faulty, clean = got
    assert unwrap([(0.0, packet) for packet in clean]) == day(**MARKET)
    # the same draws live as in a list of packets: the other line shows which packets there were
    wanted = [payload for _, line, payload in script.wire([(0, p) for p in clean], seed=11) if line == 0]
    assert Counter(faulty) == Counter(wanted) and len(wanted) < len(clean)
    counts = sender.stats["lines"][0]["faults"]
    assert all(counts.values()) and sender.stats["lines"][0]["packets"] == len(faulty)
    assert set(sender.stats["lines"][1]["faults"].values()) == {0}
    whole = [struct.unpack_from(">Q", p, 10)[0] for p in faulty if p in set(clean)]
    assert whole != sorted(whole)  # some were overtaken


def test_upstream_loss_and_outages_strike_all_lines(listeners):
    script = Faults(upstream=Upstream(loss=0.2), outage=(Outage(from_packet=50, for_packets=100),))
    sender, (first, second) = run(listeners, Exchange(**MARKET), mtu=300, faults=script)
    assert first == second
    lost = sender.stats["lines"][0]["faults"]["lost"]
    assert 115 < lost < 250 and lost == sender.stats["lines"][1]["faults"]["lost"]


def test_delays_are_kept_by_each_line(listeners):
    script = Faults(line=(LineFault(), LineFault(delay_us=100_000, jitter_us=10_000)), skew_us=50_000)
    _, (first, second) = run(listeners, Exchange(**MARKET), faults=script)
    assert first == second  # in order, whatever the jitter
    assert unwrap([(0.0, packet) for packet in second]) == day(**MARKET)


def test_a_script_that_says_nothing_changes_nothing(listeners):
    _, (first, second) = run(listeners, Exchange(**MARKET), mtu=300, faults=Faults())
    assert first == second
    assert unwrap([(0.0, packet) for packet in first]) == day(**MARKET)


def test_what_a_line_lost_is_had_from_the_servers_beside_it(listeners):
    store, source = MessageStore(4000), SnapshotSource()
    script = Faults(all=LineFault(loss=0.2))
    with RequestServer(store) as requests, GlimpseServer(source) as glimpse:
        _, (packets, _) = run(listeners, Exchange(**MARKET), mtu=300, faults=script, taps=(store, source))
        got: dict[int, bytes] = {}
        for packet in packets:
            number = struct.unpack_from(">Q", packet, 10)[0]
            got.update(enumerate([] if packet[18:20] == END else blocks(packet[20:]), number))
        assert len(got) < 2900
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(("127.0.0.1", requests.port))
            for number in range(1, 3001):
                if number not in got:
                    client.send(struct.pack(">10sQH", b"SIMULATED ", number, 20))
                    packet = client.recv(65536)
                    got.update(enumerate(blocks(packet[20:]), struct.unpack_from(">Q", packet, 10)[0]))
        assert [got[number] for number in range(1, 3001)] == day(**MARKET)
        *_, (kind, last), _ = Client(glimpse.port).packets()
        assert (kind, last) == ("S", b"G" + b"3001".ljust(20))


def test_what_cannot_be_had_is_said_in_a_sentence(listeners):
    where = [s.getsockname() for s in listeners]
    with pytest.raises(ConfigError, match=r"\[midnight\] is for packets of a file"):
        MulticastSender(where, faults=Faults(midnight=Midnight(after_s=1.0)))
    with pytest.raises(ConfigError, match="names 3 lines of 2"):
        MulticastSender(where, faults=Faults(line=(LineFault(),) * 3))
    with pytest.raises(ConfigError, match="at most two taps"):
        MulticastSender(where, taps=[MessageStore(1)] * 3)
