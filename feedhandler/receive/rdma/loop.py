"""The receive loop in pure pyverbs: what the compiled one is compared with, and what stands in for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from feedhandler.receive.rdma.verbs import Verbs


class Loop:
    """Completions in, slots out, by pyverbs' calls alone; the compiled receiver calls this with the GIL held.

    One receive request for each slot, made once: making them costs memory that pyverbs before release 59 never gives
    back. `address`: of the first slot.
    """

    def __init__(
        self, verbs: Verbs, cq: Any, qp: Any, channel: Any, address: int, slots: int, slot_bytes: int, key: int
    ) -> None:
        self.cq, self.qp, self.channel = cq, qp, channel
        self.requests = [
            verbs.RecvWR(wr_id=slot, num_sge=1, sg=[verbs.SGE(address + slot * slot_bytes, slot_bytes, key)])
            for slot in range(slots)
        ]

    def poll(self, want: int) -> Iterator[tuple[int, int, int, int]]:
        """(slot, status, bytes, flags) of at most `want` completions."""
        _, done = self.cq.poll(want)
        for one in done:
            yield one.wr_id, one.status, one.byte_len, one.wc_flags

    def post(self, slots: Sequence[int]) -> None:
        """Give slots to the device."""
        for slot in slots:
            self.qp.post_recv(self.requests[slot])

    def arm(self) -> None:
        """Let the next completion be told by the channel."""
        self.cq.req_notify()

    def wake(self) -> None:
        """Take an event off the channel, which has one: without one this would block, and all threads with it."""
        self.channel.get_cq_event(self.cq)
        self.cq.ack_events(1)
