"""A device's port, opened for receiving: memory, completion queue, queue pair; one close() for all of it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedhandler.errors import BackendError
from feedhandler.receive._rdma import Pointers, channel_fd, pointers, queue_pair_address
from feedhandler.receive.rdma import device, steering
from feedhandler.receive.rdma.loop import Loop
from feedhandler.receive.rdma.verbs import (
    LOCAL_WRITE,
    QPT_RAW_PACKET,
    QPT_UD,
    SIZES,
    WITH_BYTE_LEN,
    WITH_WALLCLOCK,
    Verbs,
    error_number,
    is_refusal,
    refused,
)

if TYPE_CHECKING:
    from feedhandler.receive.rdma import Options
    from feedhandler.receive.sockets import LineSettings

GRH_BYTES = 40
ACTIVE = 4  # enum ibv_port_state
TAGGED_HEADER = 14 + 2 * 4  # Ethernet, two VLAN tags


class UntrustedError(Exception):
    """pyverbs' objects are not laid out as the compiled loop expects; the message says how."""


def open_port(
    verbs: Verbs,
    place: device.DevicePort,
    lines: Sequence[tuple[int, LineSettings]],
    options: Options,
    notes: list[str],
) -> OpenPort:
    """A port that receives these (number, line), by the loop that is asked for and can be had. Raises BackendError."""
    if options.loop == "pyverbs":
        return OpenPort(verbs, place, lines, options, notes, compiled=False)
    try:
        return OpenPort(verbs, place, lines, options, notes)
    except UntrustedError as error:
        if options.loop == "compiled":
            raise BackendError(f'the compiled loop does not know this pyverbs ({error}): loop = "auto"') from None
        notes.append(f"rdma: receiving through pyverbs, which is slower: the compiled loop does not know it ({error})")
        return OpenPort(verbs, place, lines, options, notes, compiled=False)


class OpenPort:
    """What one port of a device holds, and what `RdmaReceiver` needs to know of it.

    `extended`: a completion queue of the newer kind although nothing asks for the NIC's time (tests). Raises
    BackendError, UntrustedError where `compiled` cannot be; what was open by then is closed.
    """

    def __init__(
        self,
        verbs: Verbs,
        place: device.DevicePort,
        lines: Sequence[tuple[int, LineSettings]],
        options: Options,
        notes: list[str],
        *,
        compiled: bool = True,
        extended: bool = False,
    ) -> None:
        self._verbs, self._place = verbs, place
        self.lines = [number for number, _ in lines]
        self.raw = options.mode == "raw-eth"
        self.slots = options.ring
        self.steering = steering.table(lines, self.raw)
        self.loop: Loop | None = None
        self.pointers: Pointers | None = None
        self.extended = extended
        """The completion queue is an ibv_cq_ex ..."""
        self.stamps = False
        """... and its completions have the NIC's time."""
        self.wakes = True
        """A completion can wake the channel."""
        with contextlib.ExitStack() as stack:
            self._open(stack, lines[0][1].interface, options, notes, compiled)
            for _, line in lines:
                self._bring(stack, line, notes)
            self._stack = stack.pop_all()
        self._drops = device.drops(place)

    def close(self) -> None:
        """Leave the groups, then close everything, in the reverse order of its making. Harmless when done twice."""
        with refused(f"close {self._place}"):
            self._stack.close()

    def drops(self) -> int | None:
        """Packets that found no slot since this was opened; None where the device does not count them.

        The port's own count: what other programs let it drop is in there too.
        """
        now = device.drops(self._place)
        return None if now is None or self._drops is None else now - self._drops

    def _open(
        self, stack: contextlib.ExitStack, interface: str, options: Options, notes: list[str], compiled: bool
    ) -> None:
        verbs, place = self._verbs, self._place

        def keep(thing: Any) -> Any:
            stack.callback(thing.close)
            return thing

        with refused(f"open {place.device}"):
            context = keep(verbs.Context(name=place.device))
        self.slot_bytes = self._size(context, interface, options.slot_bytes, notes)
        self.memory = keep(_memory(self.slots * self.slot_bytes))
        # the temporary that gives the address is gone by the end of the line: it would keep the memory from closing
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        with refused(f"make a protection domain on {place.device}"):
            domain = keep(verbs.PD(context))
        with refused(f"make a completion channel on {place.device}"):
            channel = keep(verbs.CompChannel(context))
        queue = keep(self._completions(context, channel, compiled, notes))
        with refused(f"register {self.slots * self.slot_bytes >> 20} MiB with {place.device}"):
            region = keep(verbs.MR(domain, self.slots * self.slot_bytes, LOCAL_WRITE, address=address))
        self.qp = keep(self._queue_pair(domain, queue, options.queue_key))
        self.lkey = region.lkey
        self.fd = -1  # then wait() sleeps its time out, a millisecond for the shard
        if self.wakes:
            with contextlib.suppress(ValueError):
                self.fd = channel_fd(channel, SIZES["CompChannel"])
        if compiled:
            self.pointers = self._pointers(queue, channel)
        else:
            self.loop = Loop(verbs, queue, self.qp, channel, address, self.slots, self.slot_bytes, self.lkey)

    def _completions(self, context: Any, channel: Any, compiled: bool, notes: list[str]) -> Any:
        """The completion queue, with the NIC's time where it gives one and the mode has a use for it."""
        if compiled and self.raw:
            try:
                queue = self._extended(context, channel, WITH_BYTE_LEN | WITH_WALLCLOCK)
            except Exception as error:
                if not is_refusal(error):
                    raise
                notes.append(f"rdma: {self._place.device} gives no receive times: the clock is read instead")
            else:
                self.extended = self.stamps = True
                if not self.wakes:
                    notes.append(
                        "rdma: this pyverbs gives either the NIC's receive times or sleep until a packet comes; it is "
                        "the former, and a sleeping hot thread looks each millisecond"
                    )
                return queue
        with refused(f"make a completion queue of {self.slots} entries on {self._place.device}"):
            if self.extended:
                return self._extended(context, channel, WITH_BYTE_LEN)
            return self._verbs.CQ(context, self.slots, None, channel)

    def _extended(self, context: Any, channel: Any, words: int) -> Any:
        """A completion queue of the newer kind; its channel is more than some releases of pyverbs can."""
        verbs = self._verbs
        try:
            return verbs.CQEX(context, verbs.CqInitAttrEx(cqe=self.slots, channel=channel, wc_flags=words))
        except AttributeError:  # of pyverbs' own, in the 44 of Debian 12 for one: add_ref
            self.wakes = False
            return verbs.CQEX(context, verbs.CqInitAttrEx(cqe=self.slots, wc_flags=words))

    def _queue_pair(self, domain: Any, queue: Any, key: int) -> Any:
        verbs = self._verbs
        capacity = verbs.QPCap(max_send_wr=1, max_recv_wr=self.slots, max_send_sge=1, max_recv_sge=1)
        wanted = verbs.QPInitAttr(
            qp_type=QPT_RAW_PACKET if self.raw else QPT_UD, scq=queue, rcq=queue, cap=capacity, sq_sig_all=0
        )
        attributes = verbs.QPAttr(port_num=self._place.port)
        if not self.raw:
            attributes.qkey, attributes.pkey_index = key, 0
        with refused(f"make a queue pair of {self.slots} slots on {self._place}"):
            try:
                return verbs.QP(domain, wanted, attributes)  # given attributes, pyverbs makes it ready to receive
            except Exception as error:
                if self.raw and is_refusal(error) and error_number(error) in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise BackendError(
                        f"{self._place.device} cannot give whole frames: raw-eth needs a NIC like ConnectX, soft-RoCE "
                        'is none; [rdma] mode = "roce-ud" takes datagrams of RoCE'
                    ) from error
                raise

    def _pointers(self, queue: Any, channel: Any) -> Pointers:
        verbs = self._verbs
        name = "CQEX" if self.extended else "CQ"
        kinds = [(getattr(verbs, kind), SIZES[kind]) for kind in (name, "QP", "CompChannel")]
        functions = [_address(verbs.library, name) for name in ("ibv_get_cq_event", "ibv_ack_cq_events")]
        try:
            return pointers(kinds, queue, self.qp, channel, *functions, wakes=self.wakes)
        except ValueError as error:
            raise UntrustedError(str(error)) from None

    def _bring(self, stack: contextlib.ExitStack, line: LineSettings, notes: list[str]) -> None:
        """Let the line's packets come to the queue pair."""
        if self.raw:
            flow = steering.steer(self._verbs, self.qp, self._place.port, line, notes)
            stack.callback(flow.close)
            return
        try:
            address = queue_pair_address(self._verbs.QP, SIZES["QP"], self.qp)
        except ValueError as error:
            raise BackendError(f"this pyverbs cannot be attached to a group: {error}; roce-ud needs another") from None
        stack.callback(steering.Attachment(self._verbs, address, line).close)

    def _size(self, context: Any, interface: str, slot_bytes: int, notes: list[str]) -> int:
        """Bytes of a slot: room for the largest packet the port may bring. One too large would end the whole queue."""
        with refused(f"ask {self._place} for its state"):
            port = context.query_port(self._place.port)
        if port.state != ACTIVE:
            notes.append(f"rdma: {self._place} is not active: nothing comes until its link is up")
        if self.raw:
            largest = int(Path(f"/sys/class/net/{interface}/mtu").read_text()) + TAGGED_HEADER
        else:
            largest = mtu_bytes(port) + GRH_BYTES
        if slot_bytes < largest:
            notes.append(f"rdma: {self._place} may bring {largest} bytes at once: slot_bytes is that, not {slot_bytes}")
        return (max(slot_bytes, largest) + 63) & ~63


def mtu_bytes(port: Any) -> int:
    """The largest datagram that a port of this PortAttr sends or receives."""
    return 128 << int(port.active_mtu)  # enum ibv_mtu: 1 = 256


def _memory(size: int) -> mmap.mmap:
    """Pages of our own, huge ones where the kernel likes, that no child process inherits."""
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # after a fork older kernels give the parent a copy of what it writes to, and the device goes on with the first
    made.madvise(mmap.MADV_DONTFORK)
    with contextlib.suppress(OSError):
        made.madvise(mmap.MADV_HUGEPAGE)
    return made


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(library[name], ctypes.c_void_p).value or 0
