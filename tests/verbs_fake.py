"""A device that is not there: its structures in memory, at the offsets of libibverbs' ABI, its calls in Python.

Frames or datagrams are delivered into the slots that were posted, in the order of posting, as a NIC does it.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from types import SimpleNamespace
from typing import Any

from feedhandler.receive._frame import Steering
from feedhandler.receive.rdma.loop import Loop

SLOT_BYTES = 2048
KEY, NUMBER = 77, 42
GRH = 1
ENOENT = 2
POINTER = ctypes.c_void_p
POLL = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, ctypes.c_int, POINTER)
NOTIFY = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, ctypes.c_int)
POST = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER, POINTER)
GET = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER, POINTER)
ACK = ctypes.CFUNCTYPE(None, POINTER, ctypes.c_uint)
NEXT = ctypes.CFUNCTYPE(ctypes.c_int, POINTER)
END = ctypes.CFUNCTYPE(None, POINTER)
READ32 = ctypes.CFUNCTYPE(ctypes.c_uint32, POINTER)
READ64 = ctypes.CFUNCTYPE(ctypes.c_uint64, POINTER)


class Completion(ctypes.Structure):
    """ibv_wc."""

    _fields_ = (
        ("wr_id", ctypes.c_uint64), ("status", ctypes.c_uint32), ("between", ctypes.c_uint32 * 2),
        ("byte_len", ctypes.c_uint32), ("more", ctypes.c_uint32 * 3), ("wc_flags", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 2),
    )  # fmt: skip


class Element(ctypes.Structure):
    """ibv_sge."""

    _fields_ = (("addr", ctypes.c_uint64), ("length", ctypes.c_uint32), ("lkey", ctypes.c_uint32))


class Request(ctypes.Structure):
    """ibv_recv_wr."""

    _fields_ = (("wr_id", ctypes.c_uint64), ("next", POINTER), ("sg_list", POINTER), ("num_sge", ctypes.c_int))


def area(**offsets: Any) -> Any:
    """Memory of 512 bytes with these words in it: "p8=value" a pointer at 8, "i28=value" an int at 28."""
    made = ctypes.create_string_buffer(512)
    for where, value in offsets.items():
        kind = POINTER if where[0] == "p" else ctypes.c_int
        kind.from_buffer(made, int(where[1:])).value = value
    return made


def pointer(function: Any) -> int:
    return ctypes.cast(function, POINTER).value or 0


class Device:
    """Queues in memory. `kind`: "compiled", "extended", "pyverbs" is the way in which the receiver is to use it."""

    def __init__(self, kind: str, steering: Steering, lines: list[int], slots: int = 64, stamps: bool = False) -> None:
        self.kind, self.steering, self.lines = kind, steering, lines
        self.slots, self.slot_bytes, self.lkey = slots, SLOT_BYTES, KEY
        self.memory = bytearray(slots * SLOT_BYTES)
        self.extended, self.stamps = kind == "extended", stamps
        self.posted: deque[int] = deque()
        self.done: deque[tuple[int, int, int, int, int]] = deque()  # slot, status, length, flags, stamp
        self.chains: list[int] = []
        self.lost = self.armed = self.events = 0
        self.faults: list[str] = []  # an exception would be lost in the compiled caller
        self.closed = False
        self.post_error = self.poll_error = 0
        self.dropped: int | None = None
        self._reader, self._writer = os.pipe()
        self.fd = self._reader
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.loop: Loop | None = None
        self.pointers: Any = None
        if kind == "pyverbs":
            self._pyverbs()
        else:
            self._structures()

    def deliver(
        self, data: bytes, status: int = 0, length: int | None = None, flags: int = GRH, stamp: int = 0
    ) -> None:
        """A packet from the wire; lost where no slot is posted."""
        if not self.posted:
            self.lost += 1
            return
        slot = self.posted.popleft()
        self.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + len(data)] = data
        self.complete(slot, status, len(data) if length is None else length, flags, stamp)

    def complete(self, slot: int, status: int = 0, length: int = 0, flags: int = GRH, stamp: int = 0) -> None:
        """A completion, whatever it says."""
        self.done.append((slot, status, length, flags, stamp))
        if self.armed:
            self.armed = 0
            os.write(self._writer, b"e")

    def drops(self) -> int | None:
        return self.dropped

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._reader)
            os.close(self._writer)

    # -- libibverbs -----------------------------------------------------------------------------------------------

    def _structures(self) -> None:
        calls = {
            "p96": POLL(self._poll_cq), "p104": NOTIFY(self._notify), "p216": POST(self._post_recv),
            "p144": NEXT(self._start_poll), "p152": NEXT(self._next_poll), "p160": END(lambda cq: None),
            "p184": READ32(lambda cq: self._current[2]), "p216x": READ32(lambda cq: self._current[3]),
            "p280": READ64(lambda cq: self._current[4]), "get": GET(self._get_event), "ack": ACK(self._ack_events),
        }  # fmt: skip
        self._calls = calls
        self._context = area(**{key: pointer(calls[key]) for key in ("p96", "p104", "p216")})
        context = ctypes.addressof(self._context)
        self._channel = area(p0=context, i8=self._reader)
        words = {key.rstrip("x"): pointer(calls[key]) for key in ("p144", "p152", "p160", "p184", "p216x", "p280")}
        self._cq = area(p0=context, p8=ctypes.addressof(self._channel), i28=self.slots, **words)
        self._qp = area(p0=context, p32=ctypes.addressof(self._cq), i52=NUMBER)
        addresses = (ctypes.addressof(each) for each in (self._cq, self._qp, self._channel))
        names = ("cq", "qp", "channel")
        self.pointers = SimpleNamespace(
            **dict(zip(names, addresses, strict=True)),
            get_event=pointer(calls["get"]),
            ack_events=pointer(calls["ack"]),
        )

    def _poll_cq(self, cq: int, count: int, out: int) -> int:
        if self.poll_error:
            return -1
        given = min(count, len(self.done))
        for i in range(given):
            entry = Completion.from_address(out + i * ctypes.sizeof(Completion))
            entry.wr_id, entry.status, entry.byte_len, entry.wc_flags, _ = self.done.popleft()
        return given

    def _start_poll(self, cq: int) -> int:
        return self._next_poll(cq)

    def _next_poll(self, cq: int) -> int:
        if not self.done:
            return ENOENT
        self._current = self.done.popleft()
        ctypes.c_uint32.from_buffer(self._cq, 132).value = self._current[1]
        ctypes.c_uint64.from_buffer(self._cq, 136).value = self._current[0]
        return 0

    def _notify(self, cq: int, solicited: int) -> int:
        self.armed = 1
        return 0

    def _post_recv(self, qp: int, first: int, bad: int) -> int:
        if self.post_error:
            return self.post_error
        length, at = 0, first
        while at:
            request = Request.from_address(at)
            place = Element.from_address(request.sg_list)
            told = (request.num_sge, place.lkey, place.length, place.addr)
            if told != (1, KEY, SLOT_BYTES, self._address + request.wr_id * SLOT_BYTES):
                self.faults.append(f"slot {request.wr_id} was posted as {told}")
            self._post(request.wr_id)
            length, at = length + 1, request.next
        self.chains.append(length)
        return 0

    def _post(self, slot: int) -> None:
        if slot in self.posted:
            self.faults.append(f"slot {slot} was posted twice")
        self.posted.append(slot)

    def _get_event(self, channel: int, cq: int, context: int) -> int:
        os.read(self._reader, 1)
        POINTER.from_address(cq).value = ctypes.addressof(self._cq)
        return 0

    def _ack_events(self, cq: int, count: int) -> None:
        if cq != ctypes.addressof(self._cq):
            self.faults.append("events of another queue were acknowledged")
        self.events += count

    # -- pyverbs --------------------------------------------------------------------------------------------------

    def _pyverbs(self) -> None:
        known = SimpleNamespace(SGE=lambda *words: words, RecvWR=lambda **words: SimpleNamespace(**words))
        cq = SimpleNamespace(poll=self._poll, req_notify=lambda: self._notify(0, 0), ack_events=self._ack)
        qp = SimpleNamespace(post_recv=self._post_request)
        channel = SimpleNamespace(get_cq_event=lambda expected: os.read(self._reader, 1))
        self.loop = Loop(known, cq, qp, channel, self._address, self.slots, SLOT_BYTES, KEY)  # type: ignore[arg-type]

    def _poll(self, count: int) -> tuple[int, list[Any]]:
        if self.poll_error:
            raise OSError(self.poll_error, "")
        names = ("wr_id", "status", "byte_len", "wc_flags")
        found = [self.done.popleft()[:4] for _ in range(min(count, len(self.done)))]
        return len(found), [SimpleNamespace(**dict(zip(names, one, strict=True))) for one in found]

    def _post_request(self, request: Any) -> None:
        if self.post_error:
            raise OSError(self.post_error, "")
        assert request.sg == [(self._address + request.wr_id * SLOT_BYTES, SLOT_BYTES, KEY)]
        self._post(request.wr_id)

    def _ack(self, count: int) -> None:
        self.events += count
