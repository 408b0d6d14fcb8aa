"""Every counter of the hot path by name, in the order in which they stand in the segment (`_counters.pxd`)."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Counter(NamedTuple):
    """One counter: its name, what it counts, and what that means."""

    name: str
    unit: str
    meaning: str


CHANNEL = (
    Counter("messages", "messages", "Delivered to the decoder and decoded, each sequence number once."),
    Counter("events", "events", "Published in the event ring."),
    Counter("gaps", "gaps", "Holes in the sequence that stayed open on all lines."),
    Counter("missing", "messages", "Sequence numbers inside those holes."),
    Counter("recovered", "messages", "Of the missing, brought back later."),
    Counter(
        "lost",
        "messages",
        "Of the missing, given up for good; and dropped for want of room while a snapshot was awaited.",
    ),
    Counter("malformed", "messages", "No line had a good copy of them when they were due."),
    Counter("longer", "messages", "Longer than the protocol's table; the known prefix was used."),
    Counter("unknown_type", "messages", "Of a type the protocol's table does not know; skipped."),
    Counter("unsequenced", "messages", "In packets with blank session and sequence."),
    Counter("sessions", "sessions", "New sessions begun."),
    Counter("restarts", "restarts", "Sequence restarts under the same session id."),
    Counter("window_full", "holes", "Given up before their time: what came behind them found no room to wait."),
    Counter("unknown_order", "events", "Name an order that the book does not hold."),
    Counter("duplicate_order", "events", "Add an order whose id is live."),
    Counter("over_execution", "events", "Cancel or execute more than is left of the order."),
    Counter("zero_size", "events", "Add or replace with no size; ignored."),
    Counter("orders_full", "events", "Adds refused for want of room for orders."),
    Counter("levels_full", "events", "Adds refused for want of room for price levels."),
    Counter("price_range", "events", "Adds refused for a price that the book cannot represent."),
    Counter("crossed", "times", "A book became crossed while trading."),
    Counter("instruments_full", "messages", "Definitions refused for want of room in the directory."),
    Counter("unknown_instrument", "messages", "For an id of the feed that has no directory entry."),
    Counter("snapshots", "snapshots", "Spliced in."),
    Counter("spanned", "messages", "Never handed out one by one: a snapshot stood for them."),
    Counter("answers_refused", "packets", "Of recovery: of another session, not asked for, malformed, or too late."),
    Counter("checksum", "books", "Whose checksum was not the one that the feed sent with the update."),
    Counter("resyncs", "books", "Lost one by one: a snapshot or a new subscription of the instrument was asked for."),
    Counter("outdated", "messages", "Updates that the snapshot before them had in it already."),
    Counter("held_full", "messages", "Updates dropped for want of room while they waited for a snapshot."),
    Counter("switches", "books", "Taken over from a standby line when the line before it was lost."),
)

LINE = (
    Counter("packets", "packets", "Received."),
    Counter("bytes", "bytes", "Received, of payload."),
    Counter("messages", "messages", "In those packets."),
    Counter("won", "messages", "This line brought them first."),
    Counter("duplicates", "messages", "Another copy of them had been taken before."),
    Counter("late", "packets", "Of sessions already left."),
    Counter("ahead", "messages", "Came ahead of sequence."),
    Counter("bad_packets", "packets", "Lengths or counts do not add up; refused whole."),
    Counter("malformed", "messages", "Too short for their table, or with values that cannot be represented."),
    Counter("heartbeats", "packets", "Heartbeats."),
    Counter("gaps", "gaps", "Holes in this line's own numbers."),
    Counter("missing", "messages", "Sequence numbers inside those holes."),
    Counter("kernel_drops", "packets", "Dropped by the kernel for want of room in the receive buffer."),
    Counter("foreign", "packets", "Of the wrong source, group, port or protocol."),
    Counter("reconnects", "times", "The connection was made anew."),
    Counter("refused", "packets", "Unsequenced while live, or with a number or a send time that cannot be."),
    Counter("truncated", "packets", "Larger than the receive slot."),
    Counter("too_late", "messages", "Came after their gap had been given up."),
    Counter("bad_frames", "frames", "Past the kernel: lengths or checksums of IP and UDP that do not add up."),
)


def by_name(table: tuple[Counter, ...], record: Any) -> Mapping[str, int]:
    """The counters of a CHANNEL or LINE record by name, in the order of its `table`."""
    return dict(zip((counter.name for counter in table), record["counters"].tolist(), strict=False))
