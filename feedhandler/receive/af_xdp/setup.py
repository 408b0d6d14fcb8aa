"""Opening: join sockets, filter, one AF_XDP socket for each receive queue of each interface; undone whole on failure.

In this order, cheapest refusals first: the joins, an AF_XDP socket (is there leave, and a kernel that has them), maps
and filter, the filter's place on the interface, then per queue memory, rings, bind, and an entry in the map of sockets.
Until that last step a frame passes on to the join socket, so nothing is lost on the way.
"""

import contextlib
import errno
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal, TypeVar

from feedhandler.closing import Closing
from feedhandler.errors import BackendError, ConfigError
from feedhandler.receive import sockets
from feedhandler.receive._af_xdp import HEADROOM, AfXdpReceiver, Memory, Queue
from feedhandler.receive._frame import Steering
from feedhandler.receive.af_xdp import hardware, system
from feedhandler.receive.af_xdp.filter import FLOW_KEY, Flow, program
from feedhandler.receive.af_xdp.refusals import Attempt, Step
from feedhandler.receive.joins import join, vlan_of, vlans_on

T = TypeVar("T")
BUSY_SECONDS = 0.5
"""A queue, or an interface's place for a program, may be given back a little after its socket was closed."""
_WITH_AND_WITHOUT_COPY = (errno.EBUSY, errno.ENETDOWN, errno.ENODEV, errno.EPERM)  # refusals that copying does not mend
ALIGNING_HEADROOM = 22
"""With it a payload behind untagged headers begins a cache line, and the headers fill most of the one before."""


@dataclass(frozen=True)
class Options:
    """How the queues of an interface are taken. The same names in `[af_xdp]` of the configuration."""

    mode: Literal["native", "generic"] = "native"
    """In the driver; or "generic", on request only: any interface, slower, and a sender's super-packets are lost."""
    ring: int = 65536
    """Frames that may wait, per receive queue; a power of two. All there is: what comes when it is full is dropped."""
    frame_bytes: int = 2048
    """Memory of one frame, 2048 or 4096, of which some 280 bytes are the kernel's and ours."""
    zero_copy: bool = True
    """Tried first (native mode): the NIC writes into our memory."""
    huge_pages: bool = True
    """Tried first: reserved ones (vm.nr_hugepages); then those the kernel makes by itself."""
    check_udp_checksum: bool = False
    """Also UDP's, in software. Not with veth and the like: local senders leave it to a NIC that is not there."""
    stall_ms: int = 100
    packets_per_second: int = 500_000
    """A ring that holds less than `stall_ms` at this rate is warned of."""
    hardware_timestamps: bool = True
    """Tried first (native mode): the NIC's time, where its driver gives it to XDP programs."""


def receiver(
    lines: Sequence[sockets.LineSettings], options: Options | None = None, notes: list[str] | None = None
) -> AfXdpReceiver:
    """A receiver of these lines, on as many interfaces as they name.

    Sentences for people (what was granted less than asked) are appended to `notes`. Raises ConfigError when a line or
    an option is wrong, BackendError, with reason and remedy, when the kernel or a driver refuses; everything is undone
    then.
    """
    options = options or Options()
    notes = [] if notes is None else notes
    check_options(options)
    if not 1 <= len(lines) <= 64:
        raise ConfigError(f"a receiver has 1 to 64 lines, not {len(lines)}")
    for line in lines:
        if not line.interface:
            raise BackendError(f"af_xdp: line {line.name} names no interface to take frames from")
    names = list(dict.fromkeys(line.interface for line in lines))
    places = [names.index(line.interface) for line in lines]
    with contextlib.ExitStack() as undo:
        joined = undo.enter_context(join(lines, notes))
        with _Step(Attempt(names[0], 0), "socket"):
            trial = Queue()
            trial.open()
            trial.close()
        ports = [undo.enter_context(_Port(name, lines, options, notes)) for name in names]
        for port in ports:
            port.open_queues()
        modes = dict.fromkeys(port.mode for port in ports)
        made = AfXdpReceiver(
            len(lines),
            [(queue, place) for place, port in enumerate(ports) for queue in port.opened],
            [port.table for port in ports],
            places,
            joined,
            ports,
            " and ".join(modes),
            options.check_udp_checksum,
            {place for place, port in enumerate(ports) if port.hardware},
        )
        undo.pop_all()
        return made


def check_options(options: Options) -> None:
    """Raise ConfigError for an option that cannot be."""
    if options.mode not in ("native", "generic"):
        raise ConfigError(f'af_xdp: mode must be "native" or "generic", not {options.mode!r}')
    if not 64 <= options.ring <= 1 << 20 or options.ring & (options.ring - 1):
        raise ConfigError(f"af_xdp: ring must be a power of two from 64 to {1 << 20}, not {options.ring}")
    if options.frame_bytes not in (2048, 4096):
        raise ConfigError(f"af_xdp: frame_bytes must be 2048 or 4096, not {options.frame_bytes}")


class _Step:
    """Turns what a step of the set-up raises into its sentence."""

    def __init__(self, attempt: Attempt, step: Step) -> None:
        self.attempt, self.step = attempt, step

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, MemoryError)):
            raise self.attempt.refused(self.step, error) from error


class _Port(Closing):
    """One interface: its filter, and the sockets of its queues. Closing takes the filter off and gives all back."""

    def __init__(
        self, interface: str, lines: Sequence[sockets.LineSettings], options: Options, notes: list[str]
    ) -> None:
        self._files: list[int] = []  # the link first: it goes first
        self.opened: list[Queue] = []
        self.options, self.notes = options, notes
        self.interface, self.index = interface, sockets.interface_index(lines[0].name, interface)
        self.native = options.mode == "native"
        self.mode = "generic"
        self.hardware = False
        self.table, self.flows = _flows(interface, lines)
        memory = options.ring * options.frame_bytes
        self.attempt = Attempt(interface, self.index, memory=memory, generic=not self.native)
        try:
            with _Step(self.attempt, "socket"):
                self.queues = self.attempt.queues = system.receive_queues(interface)
            self._look()
            self._attach_filter()
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        """A receiver that nobody has closed and nobody has any more: the interface is not kept for ever."""
        self.close()

    def close(self) -> None:
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []
        for queue in self.opened:
            queue.close()

    def _look(self) -> None:
        """Notes on what is too small, or may not work; BackendError where other packets would pass for a line's."""
        options, name = self.options, self.interface
        needed = options.stall_ms * options.packets_per_second // 1000
        if options.ring < needed:
            self.notes.append(
                f"af_xdp: a ring of {options.ring} holds {options.ring * 1000 / options.packets_per_second:.3g} ms of "
                f"{options.packets_per_second} packets a second, and {options.stall_ms} ms are to be bridged: "
                f"{needed} would do (ring, stall_ms, packets_per_second)"
            )
        room = options.frame_bytes - HEADROOM - ALIGNING_HEADROOM
        mtu = system.link_state(self.index).mtu
        if mtu + 22 > room:
            self.notes.append(
                f"af_xdp: the MTU of {name} is {mtu}; frames of more than {room} bytes are dropped and counted"
                + (" (frame_bytes = 4096 takes more)" if options.frame_bytes == 2048 else "")
            )
        if not system.strips_vlan_tags(name):
            return
        if (others := vlans_on(name)) and not all(flow.vlan for flow in self.flows):
            raise BackendError(
                f"af_xdp: {name} may take VLAN tags off before they can be seen, and has VLANs ({', '.join(others)}): "
                f"their packets would pass for a line's: ethtool -K {name} rxvlan off"
            )
        if any(flow.vlan for flow in self.flows):
            self.notes.append(
                f"af_xdp: {name} may take VLAN tags off before they can be seen; if nothing comes: "
                f"ethtool -K {name} rxvlan off"
            )

    def _attach_filter(self) -> None:
        with _Step(self.attempt, "map"):
            flow_map = self._own(system.create_map(system.MAP_HASH, FLOW_KEY.size, 4, len(self.flows)))
            for flow in self.flows:
                system.update_map(flow_map, flow.key(), struct.pack("=I", flow.line))
            self.socket_map = self._own(system.create_map(system.MAP_XSK, 4, 4, self.queues))
        if self.native and self.options.hardware_timestamps and hardware.stamps(self.interface):
            self._attach_asking_the_nic(flow_map)
        if not self.hardware:
            with _Step(self.attempt, "program"):
                loaded = self._own(system.load_program(program(self.flows, flow_map, self.socket_map)))
            with _Step(self.attempt, "attach"):
                self._attach(loaded)

    def _attach_asking_the_nic(self, flow_map: int) -> None:
        """The filter that takes the NIC's time; where driver or kernel refuse it, a sentence."""
        try:
            code = program(self.flows, flow_map, self.socket_map, timestamp_kfunc=hardware.kfunc())
            self._attach(self._own(system.load_program(code, bound_to=self.index)))
        except OSError as error:
            self.notes.append(
                f"af_xdp: {self.interface} stamps packets, but its driver does not give the stamps to XDP programs "
                f"({error.strerror or error}); the kernel's time is taken"
            )
        else:
            self.hardware = True

    def _attach(self, loaded: int) -> None:
        flags = system.ATTACH_NATIVE if self.native else system.ATTACH_GENERIC
        self._files.insert(0, _while_busy(lambda: system.attach(loaded, self.index, flags)))

    def _own(self, descriptor: int) -> int:
        self._files.append(descriptor)
        return descriptor

    def open_queues(self) -> None:
        """A socket for each receive queue; the first one shows whether zero-copy can be had."""
        zero_copy = self.native and self.options.zero_copy
        for number in range(self.queues):
            self.attempt.queue = number
            if zero_copy and number == 0:
                try:
                    self._open_queue(number, zero_copy=True)
                    continue
                except _NoZeroCopyError as refusal:
                    zero_copy = False
                    self.notes.append(f"af_xdp: {refusal}; frames are copied")
            self._open_queue(number, zero_copy)
        if self.native:
            self.mode = "native zero-copy" if zero_copy else "native copy"
        pages = self.opened[0].memory
        if self.options.huge_pages and pages is not None and pages.pages != "huge":
            self.notes.append(
                f"af_xdp: no huge pages reserved for {self.attempt.memory / (1 << 20):g} MiB a queue; using ordinary "
                f"memory (sysctl -w vm.nr_hugepages={-(-self.attempt.memory // (2 << 20)) * self.queues} gives them)"
            )

    def _no_zero_copy(self, error: OSError) -> str:
        if error.errno == errno.EOPNOTSUPP:
            return f"the driver of {self.interface} has no zero-copy"
        reason = os.strerror(error.errno) if error.errno else str(error)
        return f"the driver of {self.interface} refuses zero-copy ({reason})"

    def _open_queue(self, number: int, zero_copy: bool) -> None:
        options, attempt, queue = self.options, self.attempt, Queue()
        try:
            with _Step(attempt, "socket"):
                queue.open()
            with _Step(attempt, "memory"):
                memory = Memory(options.ring * options.frame_bytes, options.huge_pages)
            with _Step(attempt, "register"):
                headroom = 0 if zero_copy else ALIGNING_HEADROOM
                queue.register(memory, options.frame_bytes, headroom, anywhere=not zero_copy)
            with _Step(attempt, "rings"):
                queue.rings(options.ring, options.frame_bytes)
            with _Step(attempt, "bind"):
                try:
                    _while_busy(lambda: queue.bind(self.index, number, zero_copy))
                except OSError as error:
                    if zero_copy and number == 0 and error.errno not in _WITH_AND_WITHOUT_COPY:
                        raise _NoZeroCopyError(self._no_zero_copy(error)) from None
                    raise
            with _Step(attempt, "map"):
                system.update_map(self.socket_map, struct.pack("=I", number), struct.pack("=i", queue.fileno()))
        except BaseException:
            queue.close()
            raise
        self.opened.append(queue)


class _NoZeroCopyError(Exception):
    """The driver refuses it; the message says so."""


def _flows(interface: str, lines: Sequence[sockets.LineSettings]) -> tuple[Steering, list[Flow]]:
    """Whose the frames of this interface are, for the program and for `frame.h`."""
    table, flows = Steering(), []
    for number, line in enumerate(lines):
        if line.interface != interface:
            continue
        source = IPv4Address(line.source) if line.source else None
        flow = Flow(IPv4Address(line.group), line.port, source, vlan_of(line), number)
        try:
            table.add(flow.group.packed, flow.port, source.packed if source else b"", flow.vlan, number)
        except ValueError:
            raise ConfigError(
                f"line {line.name}: another line has the same group, port, source and VLAN on {interface}"
            ) from None
        flows.append(flow)
    return table, flows


def _while_busy(call: Callable[[], T]) -> T:
    """What `call` gives, tried again for BUSY_SECONDS while another one's hold may be about to end."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EEXIST) or time.monotonic() > end:
                raise
        time.sleep(0.002)
