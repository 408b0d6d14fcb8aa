"""Channels and lines as a person wants to see them: whole or not and why, and which line wins, by how much, loses what.

`take_channels()` and `take_lines()` copy them out of an attached feed; the `draw_...()` make tables of 80 columns.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from feedhandler.counters import CHANNEL, LINE, by_name
from feedhandler.figures import COLOURS, SHORT, amount, duration, rate, table, visible, word
from feedhandler.read import Feed
from feedhandler.records import Cause, Connection, Quality, Reason, TimestampKind

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

LINE_STATES = ("DOWN", "UP", "SILENT", "ENDED")
LINE_COLOURS = {"UP": "green", "SILENT": "yellow", "DOWN": "red", "ENDED": "dim"}
CONNECTION_COLOURS = {"CONNECTED": "green", "STALE": "yellow", "SYNCHRONIZING": "yellow"}  # else red
LIFE_REASONS = {"STOPPED": Reason.STOPPED, "FROZEN": Reason.SILENT}
USUAL = ("messages", "events", "sessions")  # every other counter of a channel is worth a word as soon as it is not 0


@dataclass(frozen=True, slots=True)
class LineView:
    """One line of a channel; counters by their names. Times in ns since the Unix epoch.

    `last_packet` is 0 for none. `silent_since` is when a line that is not UP was last heard, else 0. `won_share` is its
    part of what the channel's lines won, `lead_p50` and `lead_p99` by how many ns it came before the next copy, over
    `lead_count` messages measured.
    """

    name: str
    channel: str
    state: str
    timestamps: str
    receive_buffer: int
    last_packet: int
    silent_since: int = 0
    won_share: float = 0.0
    lead_count: int = 0
    lead_p50: int = 0
    lead_p99: int = 0
    counters: Mapping[str, int] = field(default_factory=dict)
    connection: str = "NONE"
    """Where a line that is a WebSocket stands; its `cause` says why, `connection_since` when it came there."""
    cause: str = "NONE"
    connection_since: int = 0


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel; counters by their names. `since` is when its state began, ns since the Unix epoch, 0 = unknown."""

    name: str
    protocol: str
    session: str
    state: str
    reason: str
    since: int
    epoch: int
    next_seq: int
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """The channels and lines of a feed at one moment: `taken`, ns since the Unix epoch."""

    name: str
    writer: str
    taken: int
    channels: tuple[ChannelView, ...]
    lines: tuple[LineView, ...]


def text_of(field: bytes) -> str:
    """The text of a fixed-width field of a record."""
    return visible(field.decode("ascii", "replace").strip())


def take_score(feed: Feed) -> Score:
    """The score now."""
    return Score(feed.name, writer_of(feed), time.time_ns(), take_channels(feed), take_lines(feed))


def writer_of(feed: Feed) -> str:
    """RUNNING, STOPPED, DIED, REPLACED, or FROZEN: it lives, and its hot thread has not run for three seconds."""
    status = feed.status.upper()
    return "FROZEN" if feed.reader.frozen() else status


def take_channels(feed: Feed) -> tuple[ChannelView, ...]:
    """The feed's channels now; their state is the worse of their own word and the writer's life, as of a book's."""
    writer, silent = writer_of(feed), feed.reader.silent_since
    return tuple(_channel(row, writer, silent) for row in feed.channels)


def _channel(row: Any, writer: str, silent_since: int) -> ChannelView:
    state, reason, since = Quality(int(row["quality"])), Reason(int(row["reason"])), int(row["since"])
    if writer != "RUNNING" and state < Quality.STALE:
        state, reason, since = Quality.STALE, LIFE_REASONS.get(writer, Reason.WRITER_DIED), silent_since
    return ChannelView(
        name=text_of(row["name"]),
        protocol=text_of(row["protocol"]),
        session=text_of(row["session"]),
        state=state.name,
        reason=reason.name,
        since=since,
        epoch=int(row["epoch"]),
        next_seq=int(row["next_seq"]),
        counters=by_name(CHANNEL, row),
    )


def take_lines(feed: Feed) -> tuple[LineView, ...]:
    """The feed's lines now."""
    channels, lines = feed.channels, feed.lines
    won = [by_name(LINE, row)["won"] for row in lines]
    of_channel: dict[int, int] = {}
    for row, messages in zip(lines, won, strict=True):
        of_channel[int(row["channel"])] = of_channel.get(int(row["channel"]), 0) + messages
    return tuple(
        _line(row, text_of(channels[int(row["channel"])]["name"]), of_channel[int(row["channel"])], lead)
        for row, lead in zip(lines, feed.leads, strict=True)
    )


def _line(row: Any, channel: str, won_by_all: int, lead: Any) -> LineView:
    state, counters = LINE_STATES[int(row["state"])], by_name(LINE, row)
    return LineView(
        name=text_of(row["name"]),
        channel=channel,
        state=state,
        timestamps=TimestampKind(int(row["ts_kind"])).name,
        receive_buffer=int(row["receive_buffer"]),
        last_packet=int(row["last_packet"]),
        silent_since=0 if state == "UP" else int(row["last_packet"]),
        won_share=counters["won"] / won_by_all if won_by_all else 0.0,
        lead_count=lead.count,
        lead_p50=lead.percentile(50),
        lead_p99=lead.percentile(99),
        counters=counters,
        connection=Connection(int(row["connection"])).name,
        cause=Cause(int(row["connection_reason"])).name,
        connection_since=int(row["connection_since"]),
    )


def draw_score(score: Score) -> "Group":
    """The page of `feedhandler lines`."""
    from rich.console import Group
    from rich.text import Text

    style = "green" if score.writer == "RUNNING" else "bold red"
    head = Text.assemble((score.name, "bold"), "  ", (score.writer, style))
    return Group(head, "", draw_holes(score.channels, score.taken), "", draw_scores(score.lines, score.taken))


def draw_channels(
    channels: Sequence[ChannelView], taken: int, before: Sequence[ChannelView] = (), span: int = 0
) -> "Table":
    """State, reason and since when, and what flows; `before` are the same channels `span` ns earlier."""
    made = table("channel<", "protocol<", "session<", "state<", "why, how long<", "next", "messages", "msg/s")
    old = {channel.name: channel for channel in before}
    for channel in channels:
        messages = channel.counters.get("messages", 0)
        earlier = old[channel.name].counters.get("messages", 0) if channel.name in old else messages
        made.add_row(
            channel.name,
            channel.protocol,
            channel.session,
            word(channel.state, COLOURS),
            _why(channel, taken),
            str(channel.next_seq),
            amount(messages),
            amount(rate(messages, earlier, span)),
        )
    return made


def _why(channel: ChannelView, taken: int) -> str:
    if channel.state == "LIVE":
        return ""
    why = SHORT.get(channel.reason, channel.reason.lower().replace("_", " "))
    return f"{why} {duration(max(0, taken - channel.since))}" if channel.since else why


def draw_holes(channels: Sequence[ChannelView], taken: int) -> "Table":
    """What was missing of each channel, what came back, what a snapshot stood for, what is lost for good; its state."""
    made = table("channel<", "state<", "why<", "for", "gaps", "missing", "recovered", "spanned", "lost")
    for channel in channels:
        live = channel.state == "LIVE"
        count = channel.counters.get
        made.add_row(
            channel.name,
            word(channel.state, COLOURS),
            "" if live else SHORT.get(channel.reason, channel.reason.lower().replace("_", " ")),
            duration(max(0, taken - channel.since)) if channel.since else "",
            *(amount(count(name, 0)) for name in ("gaps", "missing", "recovered", "spanned")),
            _alarm(count("lost", 0)),
        )
    return made


def draw_traffic(lines: Sequence[LineView], taken: int, before: Sequence[LineView] = (), span: int = 0) -> "Table":
    """What each line brings; `before` are the same lines `span` ns earlier."""
    made = table(
        "line<", "state<", "packets", "pkt/s", "messages", "heartbt", "refused", "bad", "drops", "ago", "stamp<"
    )
    old = {(line.channel, line.name): line for line in before}
    for line, name in zip(lines, _names(lines), strict=True):
        count = line.counters.get
        key = (line.channel, line.name)
        earlier = old[key].counters.get("packets", 0) if key in old else count("packets", 0)
        made.add_row(
            name,
            word(line.state, LINE_COLOURS),
            amount(count("packets", 0)),
            amount(rate(count("packets", 0), earlier, span)),
            amount(count("messages", 0)),
            amount(count("heartbeats", 0)),
            amount(count("refused", 0) + count("foreign", 0) + count("truncated", 0)),
            _alarm(count("bad_frames", 0) + count("bad_packets", 0) + count("malformed", 0)),
            _alarm(count("kernel_drops", 0)),
            duration(max(0, taken - line.last_packet)) if line.last_packet else "never",
            line.timestamps.lower(),
        )
    return made


def connections(lines: Sequence[LineView]) -> list[LineView]:
    """The lines that are WebSockets."""
    return [line for line in lines if line.connection != "NONE"]


def draw_connections(lines: Sequence[LineView], taken: int) -> "Table":
    """Where each WebSocket stands, why, and for how long."""
    made = table("connection<", "state<", "why<", "for", "reconnects")
    for line, name in zip(lines, _names(lines), strict=True):
        if line.connection != "NONE":
            made.add_row(
                name,
                word(line.connection, {line.connection: CONNECTION_COLOURS.get(line.connection, "red")}),
                "" if line.cause == "NONE" else line.cause.lower().replace("_", " "),
                duration(max(0, taken - line.connection_since)) if line.connection_since else "",
                amount(line.counters.get("reconnects", 0)),
            )
    return made


def draw_scores(lines: Sequence[LineView], taken: int) -> "Table":
    """Which line wins, by how much before the next copy (p50, p99), and what each one loses."""
    made = table("line<", "state<", "won", "share", "by p50", "by p99", "gaps", "lost", "dup", "ooo", "late", "silent")
    for line, name in zip(lines, _names(lines), strict=True):
        count = line.counters.get
        made.add_row(
            name,
            word(line.state, LINE_COLOURS),
            amount(count("won", 0)),
            f"{100 * line.won_share:.1f}%",
            *(duration(lead) if line.lead_count else "" for lead in (line.lead_p50, line.lead_p99)),
            amount(count("gaps", 0)),
            _alarm(count("missing", 0)),
            amount(count("duplicates", 0)),
            amount(count("ahead", 0)),
            amount(count("too_late", 0) + count("late", 0)),
            duration(max(0, taken - line.silent_since)) if line.silent_since else "",
        )
    return made


def draw_troubles(channels: Sequence[ChannelView]) -> "list[Text]":
    """A sentence for each channel of which some counter says that not all is as it should be."""
    from rich.text import Text

    return [Text(f"{c.name}: {said}", style="yellow") for c in channels if (said := troubles(c))]


def troubles(channel: ChannelView) -> str:
    """The counters that are not 0 and should be."""
    counted = {name: count for name, count in channel.counters.items() if count and name not in USUAL}
    return ", ".join(f"{name.replace('_', ' ')} {amount(count)}" for name, count in counted.items())


def _names(lines: Sequence[LineView]) -> list[str]:
    """Each line's name, with its channel's where there are several channels."""
    several = len({line.channel for line in lines}) > 1
    return [f"{line.channel}/{line.name}" if several else line.name for line in lines]


def _alarm(count: int) -> "Text":
    from rich.text import Text

    return Text(amount(count), style="red" if count else "")
