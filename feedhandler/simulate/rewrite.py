"""The exchange's own side of a script of faults: sessions that change, numbers that begin again, midnight, the end.

Only headers are rewritten, and of IEX-TP the send time: messages stay as they are. Packets that the source itself sent
before such a change and that come after it are left out, as they would bear numbers of the other session.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from feedhandler.decode.session_date import date_of, midnight

if TYPE_CHECKING:
    from feedhandler.simulate.faults import Faults, SessionFault

Packet = tuple[int, bytes]
MOLD = struct.Struct(">10sQH")
IEX = struct.Struct("<BBHIIHHqqq")
END_OF_SESSION = 0xFFFF
SECOND = 1_000_000_000
MILLISECOND = 1_000_000


def is_control(payload: bytes, framing: str) -> bool:
    """Whether a packet bears no messages: a heartbeat, or the end of the session."""
    if framing == "iextp":
        return len(payload) >= 16 and payload[14:16] == b"\0\0"
    return payload[18:20] in (b"\0\0", b"\xff\xff")


def is_end(payload: bytes, framing: str) -> bool:
    """Whether a packet says the end of its session."""
    return framing == "moldudp64" and payload[18:20] == b"\xff\xff"


class Header:
    """What a packet's header says, to be changed and packed again before the same messages."""

    def __init__(self, payload: bytes, framing: str) -> None:
        self.iex = framing == "iextp"
        self.session: bytes | int
        if self.iex:
            self._first = IEX.unpack_from(payload)
            self.session, self.number, self.time = self._first[4], self._first[8], self._first[9]
            self.count, self.offset = self._first[6], self._first[7]
        else:
            self.session, self.number, self.count = MOLD.unpack_from(payload)
            self.time = self.offset = 0
        self.body = payload[IEX.size if self.iex else MOLD.size :]
        self.messages = 0 if not self.iex and self.count == END_OF_SESSION else self.count

    def pack(self) -> bytes:
        """The packet."""
        if not self.iex:
            return MOLD.pack(self.session, self.number, self.count) + self.body
        version, reserved, protocol, channel = self._first[:4]
        head = (version, reserved, protocol, channel, self.session, len(self.body), self.count)
        return IEX.pack(*head, self.offset, self.number, self.time) + self.body


def heartbeat_of(payload: bytes, framing: str, count: int = 0) -> bytes:
    """The heartbeat, or the end, that could stand before this packet."""
    header = Header(payload, framing)
    header.count, header.body = count, b""
    return header.pack()


class Rewriter:
    """One pass of Faults.stream()."""

    def __init__(self, faults: Faults, framing: str) -> None:
        self._end, self._midnight = faults.end, faults.midnight
        self._framing = framing
        self._waiting = list(faults.session)
        self._keep = max((fault.repeat_packets for fault in faults.session), default=0)
        self._opening: list[bytes] = []  # the first packets of data
        self._source: bytes | int | None = None  # the source's own session
        self._session: bytes | int | None = None  # that of the packets we send; None = the source's
        self._changes = 0
        self._from = 0  # the source's number at the last change
        self._numbers = self._offsets = 0  # what is added to the source's
        self._next = 1  # number of the message to be sent next
        self._sent = 0  # bytes behind headers sent in this session
        self._ended: set[bytes | int] = set()  # sessions whose end was said

    def run(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The packets as the exchange sends them."""
        shift = 0
        new_day: int | None = None
        start: int | None = None
        time, last = 0, b""
        for n, (at, payload) in enumerate(packets):
            if start is None:
                start = at
                if self._midnight is not None:
                    day = date_of(start, self._midnight.zone) + datetime.timedelta(days=1)
                    begins = midnight(day, self._midnight.zone)
                    shift = begins - start - round(self._midnight.after_s * SECOND)
                    new_day = begins if self._midnight.new_session else None
            time = at + shift
            if len(payload) < (IEX.size if self._framing == "iextp" else MOLD.size):
                yield time, payload  # not ours to mend
                continue
            header = Header(payload, self._framing)
            header.time += shift
            self._follow(header)
            if new_day is not None and time >= new_day:
                from feedhandler.simulate.faults import SessionFault

                new_day = None
                yield from self._change(SessionFault(kind="new"), header, time)
            for fault in [fault for fault in self._waiting if _is_due(fault, n, at - start)]:
                self._waiting.remove(fault)
                yield from self._change(fault, header, time)
            if header.messages and len(self._opening) < self._keep:
                self._opening.append(payload)
            if header.number < self._from:
                continue  # of before the change
            self._mark(header)
            last = header.pack()
            if is_end(last, self._framing) and self._end is not None:
                if header.session not in self._ended:
                    yield from self._say_end(last, time)
                self._ended.add(header.session)
                continue
            yield time, last
        if self._end is None or not last:
            return
        closing = Header(last, self._framing)
        if closing.session not in self._ended:
            closing.number, closing.count, closing.body = self._next, END_OF_SESSION, b""
            yield from self._say_end(closing.pack(), time + SECOND)

    def _follow(self, header: Header) -> None:
        """Notice that the source itself has changed its session, or begun again: from there on its numbers count."""
        if header.session != self._source or (header.number == 1 and self._from > 1):
            if header.session != self._source:
                self._session, self._source = None, header.session
            self._from = self._numbers = self._offsets = 0

    def _mark(self, header: Header) -> None:
        """Write our session and numbers into a header of the source."""
        header.number += self._numbers
        header.offset += self._offsets
        if self._session is not None:
            header.session = self._session
        self._next = header.number + header.messages
        self._sent = header.offset + len(header.body)

    def _change(self, fault: SessionFault, header: Header, time: int) -> Iterator[Packet]:
        """From `header` on numbers begin again; what is sent before it."""
        if fault.kind == "new":
            old = Header(header.pack(), self._framing)
            self._mark(old)
            if fault.end and not old.iex:
                old.count, old.body = END_OF_SESSION, b""
                yield time, old.pack()
            self._changes += 1
            self._session = self._name(fault.name, header)
        self._from = header.number
        number, offset = fault.first, 0
        if fault.heartbeat:
            beat = Header(heartbeat_of(header.pack(), self._framing), self._framing)
            self._place(beat, number, offset)
            yield time, beat.pack()
        for payload in self._opening[: fault.repeat_packets]:
            again = Header(payload, self._framing)
            again.time = header.time
            self._place(again, number, offset)
            yield time, again.pack()
            number += again.messages
            offset += len(again.body)
        self._numbers, self._offsets = number - header.number, offset - header.offset

    def _place(self, header: Header, number: int, offset: int) -> None:
        header.number, header.offset = number, offset if header.iex else 0
        if self._session is not None:
            header.session = self._session

    def _name(self, given: str, header: Header) -> bytes | int:
        """The id of a new session: the one given, or the source's with a number that counts up."""
        if isinstance(header.session, int):
            return (header.session + self._changes) % (1 << 32)
        if given:
            return given.ljust(10).encode()
        stem = header.session.decode("latin1").strip(" \0") or "SESSION"
        return f"{stem[:8]}{self._changes % 100:02d}".ljust(10).encode("latin1")

    def _say_end(self, packet: bytes, time: int) -> Iterator[Packet]:
        assert self._end is not None
        for i in range(self._end.repeats):
            yield time + round(i * self._end.interval_ms * MILLISECOND), packet


def _is_due(fault: SessionFault, packets: int, since: int) -> bool:
    return packets >= fault.at_packet if fault.at_packet else since >= fault.at_s * SECOND
