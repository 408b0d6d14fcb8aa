"""AF_XDP between two network namespaces: what arrives, what is refused and counted, and what is left behind."""

import gc
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from feedhandler.errors import BackendError
from feedhandler.receive import af_xdp
from feedhandler.receive._af_xdp import AfXdpReceiver
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.af_xdp import hardware, setup, system
from feedhandler.receive.af_xdp.assembler import Assembler, Reg, Size
from feedhandler.receive.af_xdp.filter import program
from feedhandler.receive.sockets import UdpLine
from feedhandler.records import TimestampKind
from tests.conftest import Processes
from tests.frames import ROUTER_ALERT, Frame, Wire
from tests.namespaces import Veth, veth
from tests.test_project_readme import python_of_the_readme

GROUP, PORT = "239.1.2.3", 26400
DOWN, UP = 0, 1  # LineStatus.state
LINE = UdpLine("A", GROUP, PORT, "rx")
SMALL = af_xdp.Options(ring=1024, huge_pages=False, zero_copy=False, stall_ms=0)
MODES = {"native": SMALL, "generic": replace(SMALL, mode="generic")}
FRAME = Frame(payload=b"data", group=GROUP, port=PORT)


@pytest.fixture(scope="module")
def cable() -> Iterator[Veth]:
    with veth() as made:
        yield made


@pytest.fixture(scope="module")
def wire(cable: Veth) -> Iterator[Wire]:
    with Wire(cable.sender) as made:
        yield made


@pytest.fixture(params=MODES)
def options(request: pytest.FixtureRequest) -> af_xdp.Options:
    return MODES[request.param]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def opened(
    cable: Veth, options: af_xdp.Options, lines: Sequence[UdpLine] = (LINE,), notes: list[str] | None = None
) -> AfXdpReceiver:
    with cable.receiver.inside():
        return af_xdp.receiver(lines, options, notes)


def collect(receiver: Receiver, count: int) -> list[tuple[int, int, bytes]]:
    """So many packets; fails when they do not come."""
    taken, end = receiver.drain(), time.monotonic() + 10
    while len(taken) < count:
        receiver.wait_for(0.05)
        taken += receiver.drain()
        assert time.monotonic() < end, f"{len(taken)} of {count} packets came: {taken[:5]}"
    return taken


def flowing(receiver: Receiver, wire: Wire) -> None:
    """A cable that was made a moment ago drops what is sent until the kernel has seen its carrier."""
    end = time.monotonic() + 10
    while not receiver.drain():
        assert time.monotonic() < end, "nothing comes by this cable"
        wire.send([FRAME])
        receiver.wait_for(0.01)
    while receiver.wait_for(0.1):
        receiver.drain()


def settled(receiver: Receiver, wire: Wire, count: int = 0, line: UdpLine = LINE, place: int = 0) -> list[bytes]:
    """What came before the mark that is sent now: a frame that passes where the last one did not has settled it."""
    mark = FRAME.but(
        payload=b"mark", group=line.group, port=line.port, vlan=[int(v) for v in line.vlan.split(".") if v]
    )
    taken = []
    wire.send([mark])
    end = time.monotonic() + 10
    while (place, b"mark") not in taken or len(taken) < count + 1:
        taken += [(where, payload) for where, _, payload in receiver.drain()]
        receiver.wait_for(0.01)
        assert time.monotonic() < end, f"only {taken[:5]} came"
    taken.remove((place, b"mark"))
    return [payload for _, payload in taken]


# ---- what arrives ----


def test_payloads_arrive_in_order_with_the_kernels_times(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    rng = random.Random(1)
    payloads = [rng.randbytes(rng.randrange(1, 1400)) for _ in range(500)] + [b""]
    with opened(cable, options) as receiver:
        before = time.time_ns()
        wire.send([FRAME.but(payload=payload) for payload in payloads])
        taken = collect(receiver, len(payloads))
        after = time.time_ns()
        assert [payload for _, _, payload in taken] == payloads
        times = [when for _, when, _ in taken]
        assert before - 10**6 < times[0] and times[-1] < after + 10**6 and times == sorted(times)
        assert receiver.line_status(0)["ts_kind"] == TimestampKind.KERNEL
        counts = receiver.counts(0)
        assert (counts["packets"], counts["bytes"]) == (len(payloads), sum(map(len, payloads)))
        assert counts["kernel_drops"] == counts["bad_frames"] == counts["foreign"] == 0
        assert receiver.describe() == {"native": "native copy", "generic": "generic"}[options.mode]


def test_the_rings_go_round_many_times(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    with opened(cable, replace(options, ring=64)) as receiver:
        for start in range(0, 1500, 30):
            payloads = [struct.pack("=I", start + i) for i in range(30)]
            wire.send([FRAME.but(payload=payload) for payload in payloads])
            assert [payload for _, _, payload in collect(receiver, 30)] == payloads
        assert receiver.counts(0)["kernel_drops"] == 0


def test_lines_are_told_apart_by_group_port_source_and_vlan(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    lines = [
        LINE,
        UdpLine("other port", GROUP, PORT + 1, "rx"),
        UdpLine("other group", "239.1.2.4", PORT, "rx"),
        UdpLine("of one source", GROUP, PORT, "rx", Veth.OTHER),
        UdpLine("tagged", GROUP, PORT, "rx", "", "100"),
        UdpLine("tagged twice", GROUP, PORT, "rx", "", "200.100"),
        UdpLine("only of that source", "239.1.2.5", PORT, "rx", Veth.OTHER),
        UdpLine("unicast", Veth.RECEIVER, PORT, "rx"),
    ]
    frames = [
        FRAME,
        FRAME.but(port=PORT + 1),
        FRAME.but(group="239.1.2.4"),
        FRAME.but(source=Veth.OTHER),
        FRAME.but(vlan=[100]),
        FRAME.but(vlan=[200, 100]),
        FRAME.but(group="239.1.2.5", source=Veth.OTHER),
        FRAME.but(group=Veth.RECEIVER),
    ]
    stray = [
        FRAME.but(group="239.1.2.5"),  # of another source
        FRAME.but(group="239.9.9.9"),  # joined by nobody
        FRAME.but(port=9),
        FRAME.but(vlan=[101]),
        FRAME.but(vlan=[100, 200]),
        FRAME.but(port=PORT + 1, vlan=[100]),
    ]
    notes: list[str] = []
    with opened(cable, options, lines, notes) as receiver:
        wire.send([frame.but(payload=bytes([number])) for number, frame in enumerate(frames)])
        wire.send(stray)
        taken = [(line, payload) for line, _, payload in collect(receiver, len(frames))]
        assert settled(receiver, wire) == []
    assert sorted(taken) == [(line, bytes([line])) for line in range(len(lines))]
    assert sum("joined untagged on rx" in note for note in notes) == 2
    assert any("ethtool -K rx rxvlan off" in note for note in notes)


def test_a_priority_tag_is_no_vlan(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    with opened(cable, options) as receiver:
        wire.send([FRAME.but(vlan=[0]), FRAME.but(vlan=[5 << 13])])
        assert len(collect(receiver, 2)) == 2


def test_what_the_filter_leaves_to_the_kernel_comes_by_the_join_socket(
    cable: Veth, wire: Wire, options: af_xdp.Options
) -> None:
    large = random.Random(2).randbytes(4000)
    with opened(cable, options) as receiver:
        wire.send([FRAME.but(options=ROUTER_ALERT, payload=b"options")])
        wire.send(FRAME.but(payload=large, identification=77).fragments(1400))
        taken = collect(receiver, 2)
        assert [(line, payload) for line, _, payload in taken] == [(0, b"options"), (0, large)]
        assert receiver.counts(0)["packets"] == 2
        assert receiver.counts(0)["bytes"] == 4007
        assert all(abs(time.time_ns() - when) < 10**10 for _, when, _ in taken)


def test_the_join_socket_of_an_untagged_group_gives_nothing_to_a_tagged_line(
    cable: Veth, wire: Wire, options: af_xdp.Options
) -> None:
    line = replace(LINE, vlan="100")
    with opened(cable, options, [line]) as receiver:
        wire.send([FRAME, FRAME.but(options=ROUTER_ALERT)])
        assert settled(receiver, wire, line=line) == []


# ---- what is refused ----

BAD = {
    "header checksum": FRAME.with_bad_ip_checksum(),
    "IP says more than there is": FRAME.but(total_length=1000),
    "IP says less than UDP": FRAME.but(total_length=28),
    "UDP says more than IP": FRAME.but(udp_length=500),
    "UDP says less than its header": FRAME.but(udp_length=7),
    "cut": FRAME.but(payload=bytes(100), cut=80),
}


@pytest.mark.wire
@pytest.mark.parametrize("bad", BAD)
def test_bad_frames_are_counted_and_go_no_further(cable: Veth, wire: Wire, options: af_xdp.Options, bad: str) -> None:
    lines = [UdpLine("before", "239.1.2.4", PORT, "rx"), LINE]
    with opened(cable, options, lines) as receiver:
        wire.send([BAD[bad]] * 5)
        assert settled(receiver, wire, place=1) == []
        assert (receiver.counts(0)["bad_frames"], receiver.counts(1)["bad_frames"]) == (0, 5)


@pytest.mark.wire
@pytest.mark.parametrize("wanted", [False, True])
def test_a_udp_checksum_is_looked_at_on_request(cable: Veth, wire: Wire, options: af_xdp.Options, wanted: bool) -> None:
    with opened(cable, replace(options, check_udp_checksum=wanted)) as receiver:
        wire.send([FRAME.with_bad_udp_checksum()] * 3 + [FRAME.but(udp_checksum=0), FRAME])
        assert len(settled(receiver, wire, 2 if wanted else 5)) == (2 if wanted else 5)
        assert receiver.counts(0)["bad_frames"] == (3 if wanted else 0)


@pytest.mark.wire
def test_runts_of_every_length_do_no_harm(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    whole = [FRAME, FRAME.but(vlan=[100]), FRAME.but(vlan=[200, 100]), FRAME.but(options=ROUTER_ALERT)]
    with opened(cable, options) as receiver:
        wire.send(frame.but(cut=cut) for frame in whole for cut in range(14, len(bytes(frame))))
        taken = settled(receiver, wire)
        assert set(taken) <= {b""}  # nothing but what the kernel makes of a frame whose tail was padding


@pytest.mark.wire
def test_garbage_behind_good_headers_arrives_as_it_is(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    rng = random.Random(3)
    payloads = [rng.randbytes(rng.randrange(1472)) for _ in range(200)]
    with opened(cable, options) as receiver:
        wire.send(FRAME.but(payload=payload, pad=rng.randrange(1473 - len(payload))) for payload in payloads)
        assert [payload for _, _, payload in collect(receiver, 200)] == payloads


def test_a_full_ring_is_counted_and_what_came_first_is_kept(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    with opened(cable, replace(options, ring=64)) as receiver:
        wire.send([FRAME.but(payload=struct.pack("=I", i)) for i in range(200)])
        assert [payload for _, _, payload in collect(receiver, 64)] == [struct.pack("=I", i) for i in range(64)]
        end = time.monotonic() + 10
        while receiver.counts(0)["kernel_drops"] < 136:
            receiver.drain()
            receiver.wait_for(0.01)
            assert time.monotonic() < end, receiver.counts(0)
        wire.send([FRAME.but(payload=b"again")])
        assert [payload for _, _, payload in collect(receiver, 1)] == [b"again"]
        assert receiver.counts(0)["kernel_drops"] == 136


def test_a_frame_larger_than_its_memory_is_counted(wire: Wire) -> None:
    with veth(mtu=4000) as cable, Wire(cable.sender) as jumbo:
        notes: list[str] = []
        with opened(cable, MODES["generic"], notes=notes) as receiver:
            flowing(receiver, jumbo)
            jumbo.send([FRAME.but(payload=bytes(3000))])
            settled(receiver, jumbo)
        assert receiver.counts(0)["kernel_drops"] == 1  # counted at the latest when it is closed
        assert any("the MTU of rx is 4000; frames of more than 1770 bytes are dropped" in note for note in notes)
        with opened(cable, replace(MODES["generic"], frame_bytes=4096)) as receiver:
            jumbo.send([FRAME.but(payload=bytes(3000))])
            assert len(collect(receiver, 1)[0][2]) == 3000


# ---- the NIC's time ----


def test_a_driver_that_has_the_function_and_no_clock_is_asked_in_vain(
    cable: Veth, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cable.receiver.inside():
        assert hardware.stamps("rx") is False
    monkeypatch.setattr(hardware, "stamps", lambda _: True)
    notes: list[str] = []
    with opened(cable, SMALL, notes=notes) as receiver:
        wire.send([FRAME])
        ((_, when, _),) = collect(receiver, 1)
        assert notes == [] and abs(time.time_ns() - when) < 10**10
        assert receiver.line_status(0)["ts_kind"] == TimestampKind.KERNEL


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError("this kernel has no such"), "this kernel has no such"), (OSError(95, "not so"), "not so")],
)
def test_a_driver_that_refuses_costs_a_sentence(
    cable: Veth, wire: Wire, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    def refuse() -> int:
        raise error

    monkeypatch.setattr(hardware, "stamps", lambda _: True)
    monkeypatch.setattr(hardware, "kfunc", refuse)
    notes: list[str] = []
    with opened(cable, SMALL, notes=notes) as receiver:
        wire.send([FRAME])
        collect(receiver, 1)
    assert notes == [
        "af_xdp: rx stamps packets, but its driver does not give the stamps to XDP programs "
        f"({said}); the kernel's time is taken"
    ]


@pytest.mark.parametrize("away", [0, 500_000_000, 37_000_000_000, None])
def test_a_stamp_is_believed_when_it_is_near_the_kernels_time(
    cable: Veth, wire: Wire, monkeypatch: pytest.MonkeyPatch, away: int | None
) -> None:
    stamp = 0 if away is None else time.time_ns() + away

    def stamped(self: Assembler, _: int) -> None:  # in place of the driver's function
        for place, word in ((-24, stamp & 0xFFFFFFFF), (-20, stamp >> 32)):
            self.store(Size.WORD, Reg.R10, place, word - (word >> 31 << 32))
        self.move(Reg.R0, 0)

    monkeypatch.setattr(hardware, "stamps", lambda _: True)
    monkeypatch.setattr(Assembler, "call_kfunc", stamped)
    with opened(cable, SMALL) as receiver:
        wire.send([FRAME])
        ((_, when, payload),) = collect(receiver, 1)
        believed = away in (0, 500_000_000)
        assert (when == stamp) is believed and payload == b"data"
        assert receiver.line_status(0)["ts_kind"] == (TimestampKind.HARDWARE if believed else TimestampKind.KERNEL)


# ---- drivers that leave no note, queues, waiting ----


def test_a_driver_without_room_for_a_note_costs_the_time_only(
    cable: Veth, wire: Wire, options: af_xdp.Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "program", lambda *a, **k: program(*a, **(k | {"note": False})))
    lines = [LINE, replace(LINE, name="B", source=Veth.OTHER), replace(LINE, name="C", vlan="100")]
    with opened(cable, options, lines) as receiver:
        frames = [FRAME, FRAME.but(source=Veth.OTHER), FRAME.but(vlan=[100])]
        wire.send([*frames, FRAME.with_bad_ip_checksum(), *frames])
        taken = collect(receiver, 6)
        assert [line for line, _, _ in taken] == [0, 1, 2, 0, 1, 2]
        assert all(abs(time.time_ns() - when) < 10**10 for _, when, _ in taken)
        assert receiver.line_status(0)["ts_kind"] == TimestampKind.CLOCK
        assert receiver.counts(0)["bad_frames"] == 1


def test_every_queue_has_a_socket(options: af_xdp.Options) -> None:
    with veth(queues=2) as cable, Wire(cable.sender) as wire, opened(cable, options) as receiver:
        assert receiver.queues == 2
        flowing(receiver, wire)
        frames = [FRAME.but(source_port=port, payload=struct.pack("=I", port)) for port in range(1, 200)]
        wire.send(frames)
        assert {payload for _, _, payload in collect(receiver, 199)} == {frame.payload for frame in frames}


def test_lines_on_two_interfaces(options: af_xdp.Options) -> None:
    with veth() as cable:
        here = f"/proc/{os.getpid()}/fd/{cable.receiver.fd}"
        cable.sender.run("ip", "link", "add", "name", "tx2", "type", "veth", "peer", "name", "rx2", "netns", here)
        cable.sender.run("ip", "link", "set", "dev", "tx2", "up")
        cable.receiver.run("ip", "-batch", "-", text="addr add 10.78.0.2/24 dev rx2\nlink set dev rx2 up\n")
        lines = [LINE, replace(LINE, name="B", interface="rx2")]
        with (
            opened(cable, options, lines) as receiver,
            Wire(cable.sender) as first,
            Wire(cable.sender, "tx2") as second,
        ):
            flowing(receiver, first)
            flowing(receiver, second)
            second.send([FRAME.but(payload=b"second"), FRAME.but(payload=b"bad").with_bad_ip_checksum()])
            first.send([FRAME.but(payload=b"first")])
            taken = sorted((line, payload) for line, _, payload in collect(receiver, 2))
            assert taken == [(0, b"first"), (1, b"second")]
            assert [receiver.counts(line)["bad_frames"] for line in (0, 1)] == [0, 1]
            cable.sender.run("ip", "link", "del", "tx2")
            end = time.monotonic() + 10
            while receiver.line_status(1)["state"] != DOWN:
                receiver.drain()
                receiver.wait_for(0.01)
                assert time.monotonic() < end
            first.send([FRAME.but(payload=b"still")])
            assert [payload for _, _, payload in collect(receiver, 1)] == [b"still"]
            assert receiver.line_status(0)["state"] == UP


def test_an_interface_that_was_down_for_a_while_brings_packets_again(
    cable: Veth, wire: Wire, options: af_xdp.Options
) -> None:
    with opened(cable, options) as receiver:
        cable.receiver.run("ip", "link", "set", "dev", "rx", "down")
        cable.receiver.run("ip", "link", "set", "dev", "rx", "up")
        cable.receiver.run("ip", "route", "replace", "224.0.0.0/4", "dev", "rx")
        wire.send([FRAME])
        assert len(collect(receiver, 1)) == 1


@pytest.mark.parametrize("spin_ns", [0, 2_000_000])
@pytest.mark.parametrize("frame", [FRAME, FRAME.but(options=ROUTER_ALERT)], ids=["queue", "join socket"])
def test_waiting_ends_when_a_packet_comes_by_either_way(
    cable: Veth, wire: Wire, options: af_xdp.Options, frame: Frame, spin_ns: int
) -> None:
    with opened(cable, options) as receiver:
        receiver.spin_ns = spin_ns
        assert receiver.wait_for(0.01) is False
        wire.send([frame])
        assert receiver.wait_for(10) is True
        assert [payload for _, _, payload in receiver.drain()] == [b"data"]
        assert receiver.wait_for(0) is False


# ---- opening, closing, and what is left behind ----


def test_closed_and_opened_again_and_again(cable: Veth, wire: Wire, options: af_xdp.Options) -> None:
    files = open_files()
    for _ in range(20):  # a hundred times: the conformance suite
        with opened(cable, replace(options, ring=64)) as receiver:
            wire.send([FRAME])
            assert len(collect(receiver, 1)) == 1
    assert open_files() == files


def test_what_is_closed_gives_nothing_and_may_be_closed_again(cable: Veth, wire: Wire) -> None:
    receiver = opened(cable, SMALL)
    wire.send([FRAME])
    receiver.close()
    receiver.close()
    assert receiver.drain() == [] and receiver.ended
    assert receiver.line_status(0)["state"] == DOWN
    assert receiver.wait_for(0.001) is False


def attached(cable: Veth) -> int:
    with cable.receiver.inside():
        return system.link_state(socket.if_nametoindex("rx")).program


def test_the_program_is_gone_with_the_receiver(cable: Veth) -> None:
    with opened(cable, SMALL):
        assert attached(cable) > 0
    assert attached(cable) == 0


def test_after_kill_the_interface_is_clean_and_can_be_taken_at_once(
    cable: Veth, wire: Wire, processes: Processes, options: af_xdp.Options
) -> None:
    code = f"""if True:
        import time
        from feedhandler.receive import af_xdp
        from feedhandler.receive.sockets import UdpLine
        receiver = af_xdp.receiver([{LINE!r}], af_xdp.{options!r})
        print("open", flush=True)
        time.sleep(60)"""
    with cable.receiver.inside():
        child = processes.python("-c", code)
    assert child.stdout is not None and child.stdout.readline() == "open\n"
    assert attached(cable) > 0
    child.send_signal(signal.SIGKILL)
    child.wait()
    with opened(cable, options) as receiver:
        wire.send([FRAME])
        assert len(collect(receiver, 1)) == 1
    assert attached(cable) == 0


def test_a_failure_half_way_undoes_everything(cable: Veth, monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_files()

    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(system, "update_map", refuse)
    with pytest.raises(BackendError):
        opened(cable, SMALL)
    assert attached(cable) == 0
    assert open_files() == files


# ---- alone, from Python ----


def subscription(cable: Veth, **arguments: object) -> af_xdp.Subscription:
    with cable.receiver.inside():
        return af_xdp.subscribe(GROUP, PORT, "rx", options=SMALL, **arguments)  # type: ignore[arg-type]


def test_payloads_as_buffers_valid_until_the_next_batch(cable: Veth, wire: Wire) -> None:
    with subscription(cable) as packets:
        wire.send([FRAME.but(payload=bytes([n]) * 3) for n in range(3)])
        views: list[memoryview] = []
        copies: list[bytes] = []
        while len(copies) < 3:
            views = packets.batch(10)
            assert len(packets.times) == len(views) > 0
            assert all(
                view.readonly and abs(time.time_ns() - when) < 10**10
                for view, when in zip(views, packets.times, strict=True)
            )
            copies += [bytes(view) for view in views]
        assert copies == [b"\0\0\0", b"\1\1\1", b"\2\2\2"]
        assert packets.batch(0) == [] and packets.times == []
        with pytest.raises(ValueError, match="released"):
            bytes(views[0])
        assert packets.describe() == "native copy"
        assert packets.counters["packets"] == 3


def test_buffers_may_be_held_longer_than_the_subscription(cable: Veth, wire: Wire) -> None:
    numpy = pytest.importorskip("numpy")
    packets = subscription(cable)
    wire.send([FRAME.but(payload=b"held"), FRAME.but(payload=b"fragmented" * 400).fragments(1400)[0]])
    (view,) = packets.batch(10)
    array = numpy.frombuffer(view, numpy.uint8)
    packets.batch(0)  # an array holds the view: it cannot be released
    packets.close()
    del packets, view
    gc.collect()
    assert array.tobytes() == b"held"


def test_batches_come_until_the_subscription_is_closed(cable: Veth, wire: Wire) -> None:
    with subscription(cable, source=Veth.OTHER) as packets:
        wire.send([FRAME] + [FRAME.but(source=Veth.OTHER, payload=bytes([n])) for n in range(100)])
        taken = []
        for batch in packets:
            taken += [bytes(view) for view in batch]
            if len(taken) == 100:
                packets.close()
        assert taken == [bytes([n]) for n in range(100)]


def test_the_example_of_the_readme_runs(cable: Veth, wire: Wire, processes: Processes) -> None:
    _, code, _ = python_of_the_readme()
    with cable.receiver.inside():
        child = processes.python("-u", "-c", code.replace("eth0", "rx"))
    assert child.stdout is not None and child.stdout.readline() == "native copy\n"
    wire.send([FRAME.but(payload=b"market data")])
    while not (said := child.stdout.readline()).endswith("b'market dat'\n"):
        assert said.startswith("af_xdp: "), said
    when, length, _ = said.split(maxsplit=2)
    assert abs(time.time_ns() - int(when)) < 10**10 and length == "11"
