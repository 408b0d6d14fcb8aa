"""The lines of a simulated feed as datagrams of RoCE, for a receiver in its mode roce-ud.

The sender of UDP does all the work, faults and pace included. Its lines end in sockets of this process, and a thread
takes each datagram from there into memory of the device and posts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from feedhandler.errors import BackendError, ConfigError, ReceiverError
from feedhandler.receive._receiver import Receiver
from feedhandler.receive.rdma import device, verbs
from feedhandler.receive.rdma.port import mtu_bytes
from feedhandler.simulate._feed import BlockSource
from feedhandler.simulate._schedule import Schedule
from feedhandler.simulate.multicast import LINES, MulticastSender

QUEUE_KEY = 0x01234567
MULTICAST_QUEUE_PAIR = 0xFFFFFF
SLOTS = 256  # datagrams on their way at once
PIPE_BYTES = 1 << 20  # that wait for the thread, per line
GET_ADDRESS = 0x8915  # SIOCGIFADDR
REQUEST = 40  # where the request stands in pyverbs' SendWR: behind head, weak references, logger, method table
REQUEST_SIZE = 168


class RdmaSender(MulticastSender):
    """Sends on lines as MulticastSender does, over RoCE version 2.

    `interface`: by name, with an RDMA device. `address`: of ours on it to send from, by default its first. `queue_key`:
    what the receiver has. `mtu`: at most, and by default, what the device sends at once; what is larger (packets of a
    capture) is counted and left out. Ports of lines are not on the wire. Otherwise as MulticastSender; raises
    BackendError, with the reason, where there is no RDMA.
    """

    def __init__(
        self,
        lines: Sequence[tuple[str, int]] = LINES,
        *,
        interface: str,
        ttl: int = 0,
        mtu: int = 0,
        device: str = "",
        address: str = "",
        queue_key: int = QUEUE_KEY,
        **options: Any,
    ) -> None:
        self._relay = Relay(interface, device, address, queue_key, ttl)
        try:
            if mtu > self._relay.mtu:
                raise ConfigError(f"simulate: mtu is at most {self._relay.mtu} on {interface} over RoCE, not {mtu}")
            super().__init__(lines, interface=interface, ttl=ttl, mtu=mtu or min(1400, self._relay.mtu), **options)
        except BaseException:
            self._relay.close()
            raise

    def _connect(self, address: str, port: int) -> socket.socket:
        try:
            group = IPv4Address(address)
        except AddressValueError:
            raise ConfigError(f"simulate: {address!r} is no IPv4 address") from None
        if not group.is_multicast:
            raise ConfigError(f"simulate: {address} is no multicast group: over RoCE there are only these")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIPE_BYTES)
        try:
            self._relay.add(group, theirs)
        except BaseException:
            ours.close()
            raise
        return ours

    def run(
        self,
        source: BlockSource | Receiver,
        progress: Callable[[int], None] | None = None,
        *,
        schedule: Schedule | None = None,
    ) -> None:
        """Send all of `source`; as MulticastSender. Raises ReceiverError when the device refuses a datagram."""
        self._relay.start()
        try:
            super().run(source, progress, schedule=schedule)
        finally:
            self._relay.check()  # what went wrong there says more than the broken pipe that came of it

    def close(self) -> None:
        """Send what is under way, then close sockets and device; run() does so by itself."""
        self._relay.finish()  # before its sockets end: it could not tell their end from an empty datagram
        super().close()
        self._relay.close()

    @property
    def stats(self) -> dict[str, Any]:
        """As of MulticastSender; too_large counts what the device could not send at once as well."""
        counts = super().stats
        return counts | {"too_large": counts["too_large"] + self._relay.too_large}


class Relay:
    """Takes datagrams from sockets and sends each to the group that its socket stands for, in a thread of its own."""

    def __init__(self, interface: str, name: str, address: str, queue_key: int, ttl: int) -> None:
        self.verbs = verbs.load()
        verbs.devices(self.verbs)
        self.place = device.find(interface, name)
        self.queue_key, self.ttl = queue_key, ttl
        self.too_large = self.sent = 0
        self._source = device.gid_index(self.place, _address(interface, address))
        self._lines: dict[int, tuple[socket.socket, Any]] = {}
        self._error: BaseException | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()

    def _open(self, stack: contextlib.ExitStack) -> None:
        def keep(thing: Any) -> Any:
            stack.callback(thing.close)
            return thing

        known, name = self.verbs, self.place.device
        with verbs.refused(f"open {name} for sending"):
            context = keep(known.Context(name=name))
            self.mtu = mtu_bytes(context.query_port(self.place.port))
            self._domain = keep(known.PD(context))
            self._queue = keep(known.CQ(context, SLOTS))
            self._memory = keep(mmap.mmap(-1, SLOTS * self.mtu, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
            self._memory.madvise(mmap.MADV_DONTFORK)
            base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
            self._region = keep(known.MR(self._domain, SLOTS * self.mtu, verbs.LOCAL_WRITE, address=base))
            capacity = known.QPCap(max_send_wr=SLOTS, max_recv_wr=1, max_send_sge=1, max_recv_sge=1)
            wanted = known.QPInitAttr(
                qp_type=verbs.QPT_UD, scq=self._queue, rcq=self._queue, cap=capacity, sq_sig_all=0
            )
            attributes = known.QPAttr(port_num=self.place.port)
            attributes.qkey, attributes.pkey_index = self.queue_key, 0
            self._pair = keep(known.QP(self._domain, wanted, attributes))
        self._requests = [_Request(known, base + slot * self.mtu, slot, self._region.lkey) for slot in range(SLOTS)]
        self._free = list(range(SLOTS))

    def add(self, group: IPv4Address, source: socket.socket) -> None:
        """What comes out of `source`, which is ours from now on, goes to `group`."""
        known = self.verbs
        self._stack.callback(source.close)
        with verbs.refused(f"address {group}"):
            route = known.GlobalRoute(dgid=known.GID(device.gid(group)), sgid_index=self._source)
            route.hop_limit = self.ttl
            handle = known.AH(self._domain, attr=known.AHAttr(gr=route, is_global=1, port_num=self.place.port))
        self._stack.callback(handle.close)
        self._lines[source.fileno()] = (source, handle)

    def start(self) -> None:
        """Begin. When sending fails the sockets are closed: who writes to them is told so."""
        self._thread = threading.Thread(target=self._work, name="feedhandler-roce", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Send what is still in the sockets, and end the thread."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raises ReceiverError for what went wrong in the thread."""
        if self._error is not None:
            raise ReceiverError(f"simulate: sending over {self.place} failed: {self._error}") from self._error

    def close(self) -> None:
        """Give the device back. Harmless when done twice."""
        self._stack.close()

    def _work(self) -> None:
        try:
            poll = select.poll()
            for number in self._lines:
                poll.register(number, select.POLLIN)
            while True:
                last = self._ending.is_set()  # asked before the look: what was written before it is seen by it
                busy = last or len(self._free) < SLOTS
                ready = poll.poll(0 if busy else 20)
                for number, _ in ready:
                    self._drain(*self._lines[number])
                self._collect()
                if last and not ready:
                    break
            while len(self._free) < SLOTS:
                self._collect()
        except Exception as error:
            self._error = error
            for source, _ in self._lines.values():
                source.close()

    def _drain(self, source: socket.socket, handle: Any) -> None:
        """Send what waits in a socket, at most as much as the device can have on its way."""
        for _ in range(SLOTS):
            while not self._free:
                self._collect()
            slot = self._free[-1]
            begin = slot * self.mtu
            with memoryview(self._memory) as memory, memory[begin : begin + self.mtu] as room:
                try:
                    size, _, flags, _ = source.recvmsg_into([room], 0, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
            if flags & socket.MSG_TRUNC:
                self.too_large += 1
                continue
            self._free.pop()
            request = self._requests[slot].of(size)
            request.set_wr_ud(handle, MULTICAST_QUEUE_PAIR, self.queue_key)
            self._pair.post_send(request)

    def _collect(self) -> None:
        """Take back the slots of what has been sent."""
        _, done = self._queue.poll(SLOTS)
        for one in done:
            if one.status != 0:
                raise BackendError(f"the device reports status {one.status} of a datagram")
            self._free.append(one.wr_id)
            self.sent += 1


class _Request:
    """The send request of one slot, made once and given the length of each datagram.

    pyverbs has no word for changing a length, and before release 59 never gives back what a request is made of. So the
    length is written where the request has it, once that has been found to hold what it must; else a new one is made.
    """

    def __init__(self, known: verbs.Verbs, address: int, slot: int, key: int) -> None:
        self._known, self._address, self._slot, self._key = known, address, slot, key
        self._request = self._new(1)
        self._length: ctypes.c_uint32 | None = None
        if type(self._request).__basicsize__ >= REQUEST_SIZE:
            begin = id(self._request) + REQUEST
            number = ctypes.c_uint64.from_address(begin).value
            element = ctypes.c_void_p.from_address(begin + 16).value  # ibv_send_wr: wr_id, next, sg_list, num_sge
            if number == slot and element and ctypes.c_int.from_address(begin + 24).value == 1:
                where, size, found = (ctypes.c_uint64, 0), (ctypes.c_uint32, 8), (ctypes.c_uint32, 12)
                values = [kind.from_address(element + at).value for kind, at in (where, size, found)]
                if values == [address, 1, key]:
                    self._length = ctypes.c_uint32.from_address(element + 8)

    def of(self, size: int) -> Any:
        """The request for so many bytes."""
        if self._length is None:
            return self._new(size)
        self._length.value = size
        return self._request

    def _new(self, size: int) -> Any:
        place = self._known.SGE(self._address, size, self._key)
        return self._known.SendWR(
            wr_id=self._slot, opcode=verbs.WR_SEND, num_sge=1, sg=[place], send_flags=verbs.SEND_SIGNALED
        )


def _address(interface: str, wanted: str) -> IPv4Address:
    """The address to send from. Raises ConfigError when it is none, BackendError when the interface has none."""
    if wanted:
        try:
            return IPv4Address(wanted)
        except AddressValueError:
            raise ConfigError(f"simulate: {wanted!r} is no IPv4 address") from None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            found = fcntl.ioctl(control, GET_ADDRESS, struct.pack("16s24x", interface.encode()))
        except OSError as error:
            raise BackendError(
                f"{interface} has no IPv4 address to send from ({error.strerror}): "
                f"ip address add 10.0.0.1/24 dev {interface}"
            ) from None
    return IPv4Address(found[20:24])
