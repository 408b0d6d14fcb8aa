"""What a day's manifest says of its channels: what was known when a recorder began, and what it has seen since."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from feedhandler.recording.manifest import Channel
from feedhandler.recording.report import ChannelReport, Gap, Session

Carried = Mapping[str, tuple[str, int]]
"""Of channels, by name: the session and the last number of the day before."""


def together(base: Sequence[Channel], reports: Iterable[ChannelReport], carried: Carried) -> tuple[Channel, ...]:
    """The channels of a day, with `reports` of what came after `base`."""
    found = {report.name: report for report in reports}
    return tuple(
        _joined(channel, found[channel.name], carried.get(channel.name)) if channel.name in found else channel
        for channel in base
    )


def carry(channels: Iterable[Channel]) -> dict[str, tuple[str, int]]:
    """Where the channels stand at the end of a day, for the next one."""
    return {c.name: (c.sessions[-1], c.last_seq) for c in channels if c.sessions and c.last_seq is not None}


def _joined(base: Channel, report: ChannelReport, carried: tuple[str, int] | None) -> Channel:
    """A channel and what was seen of it later, which may reach back into what was known: the newer word is right."""
    if not report.sessions:
        return base
    first = report.sessions[0]
    ids = tuple(session.id for session in report.sessions)
    gaps, lost, sessions, begun = base.gaps, base.lost, base.sessions, base.first_seq
    last = base.last_seq
    if sessions and sessions[-1] == first.id and last is not None and not first.restart:
        gaps = tuple(_below(gap, first) for gap in gaps if gap.session != first.id or gap.first < first.first)
        lost -= sum(gap.missing for gap in base.gaps) - sum(gap.missing for gap in gaps)
        between = _between(first, last)
        ids = ids[1:]
    else:
        between = _between(first, carried[1]) if not sessions and carried and carried[0] == first.id else ()
        begun = first.first if begun is None else begun
    return replace(
        base,
        sessions=(*sessions, *ids),
        first_seq=begun,
        last_seq=max(report.sessions[-1].next - 1, last or 0 if not ids else 0),
        gaps=(*gaps, *between, *report.gaps),
        lost=lost + sum(gap.missing for gap in between) + report.lost,
    )


def _between(first: Session, last: int) -> tuple[Gap, ...]:
    """The numbers between the last one known and the first one seen later: nobody was there."""
    count = first.first - last - 1
    return (Gap(last + 1, count, first.began, None, first.id, count, ()),) if count > 0 else ()


def _below(gap: Gap, first: Session) -> Gap:
    """What of a gap lies below the first number seen later."""
    over = gap.first + gap.count - first.first
    if gap.session != first.id or over <= 0:
        return gap
    count = gap.count - over
    return replace(gap, count=count, missing=min(gap.missing, count))
