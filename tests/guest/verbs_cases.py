"""Cases of RDMA alone, inside the guest: devices, refusals, both loops, sleeping, and the sender's command."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from feedhandler.config import Books, Channel, Config, Line, Rdma, Ring, Run, Shm
from feedhandler.errors import BackendError, ConfigError, ReceiverError
from feedhandler.handler import Handler
from feedhandler.receive import choose, rdma, sockets
from feedhandler.receive._rdma import pointers
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.rdma import device, port, verbs
from feedhandler.simulate import Exchange
from feedhandler.simulate.rdma import RdmaSender
from tests.guest.world import ADDRESS, DEVICE, INTERFACE, OTHER, Sender

DOWN = 0  # LINE_DOWN
GROUP, SECOND = "239.78.1.1", "239.78.1.2"
LINE = sockets.UdpLine("A", GROUP, 26400, INTERFACE)
BEFORE: dict[str, Callable[[], str | None]] = {}
CASES: dict[str, Callable[[], str | None]] = {}


def case(run: Callable[[], str | None]) -> Callable[[], str | None]:
    CASES[run.__name__] = run
    return run


def refusal(run: Callable[[], Any]) -> str:
    """The sentence of the BackendError that `run` raises."""
    try:
        run()
    except BackendError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def options(**changes: Any) -> rdma.Options:
    return rdma.Options(**{"mode": "roce-ud", "ring": 256} | changes)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def gather(receiver: Receiver, count: int, seconds: float = 20.0) -> list[bytes]:
    """So many payloads."""
    taken: list[bytes] = []
    end = time.monotonic() + seconds
    while len(taken) < count:
        taken += [data for _, _, data in receiver.drain()]
        assert time.monotonic() < end, f"{len(taken)} of {count} packets came"
    return taken


def one_by_one(receiver: Receiver) -> bytes:
    """The next payload, asked for alone."""
    end = time.monotonic() + 20
    while not (taken := receiver.drain(1)):
        assert time.monotonic() < end, "no packet came"
    return taken[0][2]


@contextmanager
def extended() -> Iterator[Receiver]:
    """A receiver whose completion queue is of the kind that NICs with receive times have."""
    known = verbs.load()
    opened = port.OpenPort(known, device.find(INTERFACE), [(0, LINE)], options(), [], extended=True)
    made = rdma.RdmaReceiver(1, [opened], sockets.receiver([LINE]), mode="roce-ud")
    with closing(made):
        yield made


def no_device() -> None:
    said = refusal(lambda: rdma.receiver([LINE], options()))
    assert said.startswith("there is no RDMA device: load the NIC's driver (modprobe mlx5_ib), or"), said


BEFORE["no_device"] = no_device


@case
def another_interface() -> None:
    said = refusal(lambda: rdma.receiver([sockets.UdpLine("A", GROUP, 26400, "lo")], options()))
    assert said.startswith("no RDMA device belongs to lo (devices: rxe0 port 1)"), said
    said = refusal(lambda: rdma.receiver([LINE], options(device="mlx5_7")))
    assert said == "there is no RDMA device mlx5_7; there are: rxe0 port 1", said


@case
def raw_refused() -> None:
    """Soft-RoCE has no raw packet queue pairs: errno 95, as a sentence, and nothing is left open."""
    before = open_files()
    notes: list[str] = []
    said = refusal(lambda: rdma.receiver([LINE], rdma.Options(), notes))
    assert said.startswith(f"{DEVICE} cannot give whole frames: raw-eth needs a NIC like ConnectX"), said
    assert f"rdma: {DEVICE} gives no receive times: the clock is read instead" in notes
    assert open_files() == before


@case
def flows_refused() -> None:
    """Nor has it flow steering."""
    from feedhandler.receive.rdma import steering

    known = verbs.load()
    with closing(port.OpenPort(known, device.find(INTERFACE), [(0, LINE)], options(), [])) as opened:
        said = refusal(lambda: steering.steer(known, opened.qp, 1, LINE, []))
    assert said.startswith(f"line A: the NIC does not steer {GROUP}:26400: Operation not supported (mlx4:"), said


@case
def auto_takes_it() -> None:
    """By default it is raw-eth that is tried, so soft-RoCE is passed over; asked for, roce-ud is taken."""
    choice = choose.choose([LINE])
    choice.receiver.close()
    assert f"rdma: {DEVICE} cannot give whole frames" in choice.sentence, choice.sentence
    assert not choice.backend.startswith("rdma")
    choice = choose.choose([LINE], options={"rdma": {"mode": "roce-ud"}})
    choice.receiver.close()
    assert choice.sentence == "backend rdma roce-ud"


@case
def half_way() -> None:
    """A ring too deep for the device is refused when half of all was open; that is closed, and the next one opens."""
    before = open_files()
    said = refusal(lambda: rdma.receiver([LINE], options(ring=1 << 16)))
    assert "a smaller ring" in said, said
    assert open_files() == before
    with rdma.receiver([LINE], options()) as receiver, closing(Sender([GROUP])) as sender:
        sender.send([(GROUP, b"after")])
        assert gather(receiver, 1) == [b"after"]


@case
def close_while_attached() -> None:
    """With packets lent out, packets waiting and groups attached."""
    lines = [LINE, sockets.UdpLine("B", SECOND, 26400, INTERFACE)]
    with rdma.receiver(lines, options(ring=16)) as receiver, closing(Sender([GROUP, SECOND])) as sender:
        sender.send([(GROUP, b"a"), (SECOND, b"b")] * 20)
        assert len(receiver.drain(1)) == 1
        receiver.close()
        assert receiver.drain() == [] and receiver.ended
        receiver.close()


def sleeps(receiver: Receiver, wakes: bool = True) -> None:
    """wait() sleeps while nothing comes, and ends when something does."""
    assert receiver.drain() == []
    begin = time.monotonic()
    assert receiver.wait_for(0.2) is False
    assert time.monotonic() - begin >= 0.19
    with closing(Sender([GROUP])) as sender:
        for number in range(3):
            soon = threading.Timer(0.05, sender.send, ([(GROUP, b"%d" % number)],))
            soon.start()
            if wakes:
                assert receiver.wait_for(20.0) is True
                assert [data for _, _, data in receiver.drain()] == [b"%d" % number]
            else:
                assert one_by_one(receiver) == b"%d" % number
            soon.join()
        sender.send([(GROUP, b"before")])  # what came before the sleep ends it at once
        assert not wakes or receiver.wait_for(20.0) is True
        assert one_by_one(receiver) == b"before"


@case
def handler_waits() -> None:
    """A handler's hot thread takes what comes, however it waits for it."""
    line = Line(name="A", group=GROUP, port=26400, interface=INTERFACE)
    channel = Channel("itch", "itch50", "moldudp64", "XNAS", lines=(line,))
    heartbeat = b"SESSION001" + (1).to_bytes(8, "big") + bytes(2)  # of MoldUDP64
    for wait in ("spin", "adaptive", "block"):
        run, way = Run(backend="rdma", wait=wait), Rdma(mode="roce-ud", ring=256)
        config = Config(Shm("x"), Books(instruments=8, orders=100), Ring(64), run, (channel,), rdma=way)
        with Handler(config, anonymous=True) as handler, closing(Sender([GROUP])) as sender:
            handler.start()
            for count in range(1, 4):
                sender.send([(GROUP, heartbeat)])
                end = time.monotonic() + 20.0
                while handler.receiver.counts(0)["packets"] < count:
                    assert time.monotonic() < end, f"{wait}: packet {count} did not come"
                    time.sleep(0.01)
            assert handler.error is None


@case
def blocking() -> None:
    with rdma.receiver([LINE], options(loop="compiled")) as receiver:
        sleeps(receiver)


@case
def blocking_by_pyverbs() -> None:
    with rdma.receiver([LINE], options(loop="pyverbs")) as receiver:
        sleeps(receiver)


@case
def extended_queue() -> None:
    """The loop of NICs with receive times, on a device without: the same packets, and it never blocks for ever."""
    with extended() as receiver, closing(Sender([GROUP])) as sender:
        sent = [b"%04d" % i for i in range(200)]
        sender.send([(GROUP, payload) for payload in sent])
        # one by one: this driver's next_poll lets its lock go at the end of the queue, and its end_poll once more
        assert [receiver.drain(1)[0][2] for _ in sent] == sent
        assert receiver.counts(0)["packets"] == 200 and receiver.counts(0)["bad_frames"] == 0
    with extended() as receiver:
        sleeps(receiver, wakes=False)


@case
def wrong_queue_key() -> None:
    """The device drops datagrams whose key is another one."""
    with rdma.receiver([LINE], options(queue_key=0x1111)) as receiver:
        with closing(Sender([GROUP])) as sender:
            sender.send([(GROUP, b"wrong")] * 3)
        with closing(Sender([GROUP], queue_key=0x1111)) as sender:
            sender.send([(GROUP, b"right")])
        assert gather(receiver, 1) == [b"right"] and receiver.drain() == []


@case
def foreign_is_counted() -> None:
    """What another program of this host has let in is told from ours by the source in its header."""
    own = sockets.UdpLine("A", GROUP, 26400, INTERFACE, ADDRESS)
    with (
        rdma.receiver([own], options()) as receiver,
        sockets.receiver([LINE]),
        closing(Sender([GROUP], OTHER)) as other,
        closing(Sender([GROUP])) as sender,
    ):
        other.send([(GROUP, b"foreign")] * 5)
        sender.send([(GROUP, b"ours")])
        assert gather(receiver, 1) == [b"ours"]
        assert receiver.counts(0)["foreign"] == 5, receiver.counts(0)


@case
def slots_hold_what_the_device_brings() -> None:
    """A datagram larger than its slot would end the queue pair: there is none."""
    notes: list[str] = []
    with rdma.receiver([LINE], options(slot_bytes=256), notes) as receiver, closing(Sender([GROUP])) as sender:
        assert notes == ["rdma: rxe0 port 1 may bring 1064 bytes at once: slot_bytes is that, not 256"]
        sent = [b"A" * size for size in (1, 500, 1024)]
        sender.send([(GROUP, payload) for payload in sent])
        assert gather(receiver, 3) == sent


@case
def queue_pair_in_error() -> None:
    """Its slots come back empty: the line is down, poll() says EIO, and all of it can be closed."""
    known = verbs.load()
    opened = port.OpenPort(known, device.find(INTERFACE), [(0, LINE)], options(), [])
    with rdma.RdmaReceiver(1, [opened], sockets.receiver([LINE]), mode="roce-ud") as receiver:
        opened.qp.modify(known.QPAttr(qp_state=6), 1)  # IBV_QPS_ERR, IBV_QP_STATE
        end = time.monotonic() + 20
        while True:
            try:
                assert receiver.drain() == [] and time.monotonic() < end
            except OSError as error:
                assert error.errno == errno.EIO
                break
        status = receiver.line_status(0)
        assert (status["state"], status["error"]) == (DOWN, errno.EIO), status
        assert receiver.counts(0)["bad_frames"] > 0


@case
def order_survives_a_ring_that_turns() -> None:
    """Slots are posted in batches while others are lent out; many times around a small ring."""
    with rdma.receiver([LINE], options(ring=64)) as receiver, closing(Sender([GROUP])) as sender:
        for turn in range(40):
            sent = [b"%03d-%02d" % (turn, i) for i in range(24)]
            sender.send([(GROUP, payload) for payload in sent])
            assert gather(receiver, len(sent)) == sent


@case
def numbers() -> None:
    """Ours against pyverbs' own."""
    from importlib import import_module

    try:
        theirs = import_module("pyverbs.enums")
    except ImportError:
        theirs = import_module("pyverbs.libibverbs_enums")
    for ours, name in (
        (verbs.QPT_UD, "IBV_QPT_UD"),
        (verbs.QPT_RAW_PACKET, "IBV_QPT_RAW_PACKET"),
        (verbs.LOCAL_WRITE, "IBV_ACCESS_LOCAL_WRITE"),
        (verbs.WR_SEND, "IBV_WR_SEND"),
        (verbs.SEND_SIGNALED, "IBV_SEND_SIGNALED"),
        (verbs.FLOW_SPEC_UDP, "IBV_FLOW_SPEC_UDP"),
        (verbs.WITH_BYTE_LEN, "IBV_WC_EX_WITH_BYTE_LEN"),
        (verbs.WITH_WALLCLOCK, "IBV_WC_EX_WITH_COMPLETION_TIMESTAMP_WALLCLOCK"),
        (port.ACTIVE, "IBV_PORT_ACTIVE"),
    ):
        assert ours == int(getattr(theirs, name)), name


@case
def trust() -> None:
    """Pointers are believed when everything agrees; objects that do not belong together are found out."""
    known = verbs.load()
    kinds = [
        (known.CQ, verbs.SIZES["CQ"]),
        (known.QP, verbs.SIZES["QP"]),
        (known.CompChannel, verbs.SIZES["CompChannel"]),
    ]
    with closing(known.Context(name=DEVICE)) as context, closing(known.PD(context)) as domain:
        channel, other = known.CompChannel(context), known.CompChannel(context)
        queue, stranger = known.CQ(context, 16, None, channel), known.CQ(context, 16, None, other)
        capacity = known.QPCap(max_send_wr=1, max_recv_wr=16, max_send_sge=1, max_recv_sge=1)
        attributes = known.QPAttr(port_num=1)
        attributes.qkey = 1
        pair = known.QP(domain, known.QPInitAttr(qp_type=verbs.QPT_UD, scq=queue, rcq=queue, cap=capacity), attributes)
        found = pointers(kinds, queue, pair, channel, 1, 2)
        assert found.cq and found.qp and found.channel and (found.get_event, found.ack_events) == (1, 2)
        for wrong, words in (
            ((stranger, pair, channel), "completion queue is another one"),
            ((queue, pair, other), "disagree on their device"),
            ((pair, queue, channel), "expected pyverbs' CQ"),
        ):
            try:
                pointers(kinds, *wrong, 1, 2)
            except ValueError as error:
                assert words in str(error), error
            else:
                raise AssertionError(f"believed: {words}")
        for each in (pair, queue, stranger, channel, other):
            each.close()
        try:
            pointers(kinds, queue, pair, channel, 1, 2)
        except ValueError as error:
            assert str(error) == "a closed object"


@case
def simulated_day() -> None:
    """What `feedhandler simulate --transport rdma` sends: every message, on both lines."""
    lines = [LINE, sockets.UdpLine("B", SECOND, 26400, INTERFACE)]
    with rdma.receiver(lines, options(ring=4096)) as receiver:
        sender = RdmaSender([(GROUP, 26400), (SECOND, 26400)], interface=INTERFACE, mtu=900)
        sender.run(Exchange(symbols=5, messages=1000))
        packets = receiver.drain()
    first = [data for line, _, data in packets if line == 0]
    assert first == [data for line, _, data in packets if line == 1]
    counts = [int.from_bytes(data[18:20], "big") for data in first]
    assert sum(count for count in counts if count != 0xFFFF) == 1000 and counts[-1] == 0xFFFF
    assert max(map(len, first)) <= 900 and sender.stats["too_large"] == 0


@case
def sender_in_error() -> None:
    """A device that refuses ends the sending, and says why; a full socket does not wait for it."""
    sender = RdmaSender([(GROUP, 26400)], interface=INTERFACE)
    sender._relay._pair.modify(verbs.load().QPAttr(qp_state=6), 1)  # IBV_QPS_ERR, IBV_QP_STATE
    try:
        sender.run(Exchange(symbols=5, messages=3000))
    except ReceiverError as error:
        assert str(error).startswith("simulate: sending over rxe0 port 1 failed: "), error
    else:
        raise AssertionError("nothing was refused")


@case
def simulate_refusals() -> None:
    assert refusal(lambda: RdmaSender(interface="lo")).startswith("no RDMA device belongs to lo")
    assert refusal(lambda: RdmaSender(interface=INTERFACE, address="10.77.0.9")).startswith(
        "rxe0 port 1 has no GID for"
    )
    for changes, words in (
        ({"mtu": 1400}, "mtu is at most 1024"),
        ({"lines": [("10.77.0.9", 1)]}, "no multicast group"),
    ):
        try:
            RdmaSender(**{"interface": INTERFACE} | changes)
        except ConfigError as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"taken: {changes}")
