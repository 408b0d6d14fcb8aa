"""A check as tables of 80 columns: first what a person needs first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feedhandler.figures import amount, duration, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from feedhandler.check.report import DayReport
    from feedhandler.recording.report import ChannelReport, LineReport

COLOURS = {"lost": "bold red", "damage": "bold red", "warning": "yellow", "note": "dim"}
GAPS_SHOWN = 10


def draw(report: DayReport) -> Group:
    """The whole report: the verdict, the channels and lines, the gaps that stayed, and every finding."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Text | Table] = [Text(report.verdict, style="bold green" if report.whole else "bold red")]
    if report.channels:
        parts += [Text(), _channels(report), Text(), _lines(report)]
    if lost := _gaps(report):
        parts += [Text(), lost]
    if report.findings:
        parts += [Text(), _findings(report)]
    if report.manifest and (files := _files(report)) is not None:
        parts += [Text(), files]
    return Group(*parts)


def _channels(report: DayReport) -> Table:
    made = table("channel<", "session<", "messages", "lost", "gaps", "late", "first<", "last<")
    for channel in report.channels:
        sessions = channel.sessions
        last = sessions[-1].id if sessions else "-"
        more = f" (+{channel.session_count - 1})" if channel.session_count > 1 else ""
        made.add_row(
            channel.name,
            last + more,
            amount(channel.messages),
            _red(channel.lost),
            amount(channel.gap_count),
            amount(channel.filled),
            report.time(channel.first_ts, 0),
            report.time(channel.last_ts, 0),
        )
    return made


def _lines(report: DayReport) -> Table:
    made = table(
        "line<", "packets", "first", "lost", "gaps", "others", "dup", "swapped", "silent", "clock", "bad", "lead"
    )
    drops = {(drop.channel, drop.line): drop for drop in report.drops}
    if drops:
        made.add_column("dropped", justify="right", no_wrap=True)
    several = len(report.channels) > 1
    for channel in report.channels:
        for line in channel.lines:
            name = f"{channel.name}/{line.name}" if several else line.name
            drop = drops.get((channel.name, line.name))
            cells = _line(channel, line)
            made.add_row(name, *cells, *([amount(drop.kernel + drop.recorder) if drop else "0"] if drops else []))
    return made


def _line(channel: ChannelReport, line: LineReport) -> list[str | Text]:
    lost = line.missing + line.before + line.after
    silence = line.longest_silence
    quiet = duration(silence.end - silence.start) if silence else "-"
    return [
        amount(line.packets),
        f"{100 * line.won / channel.messages:.0f}%" if channel.messages and len(channel.lines) > 1 else "-",
        amount(lost),
        amount(line.gaps),
        amount(max(0, lost - channel.lost)) if len(channel.lines) > 1 else "-",
        amount(line.duplicates),
        amount(line.reordered),
        _yellow(quiet) if line.silence_count else quiet,
        _yellow(str(line.clock_step_count)) if line.clock_step_count else "0",
        _yellow(amount(line.bad)) if line.bad else "0",
        duration(line.lead.p50) if line.lead else "-",
    ]


def _gaps(report: DayReport) -> Table | None:
    """The largest of the gaps that stayed."""
    open_ones = [(gap, channel) for channel in report.channels for gap in channel.gaps if gap.missing]
    if not open_ones:
        return None
    made = table("lost for good<", "channel<", "at<", "numbers<", "others of it by<")
    largest = sorted(open_ones, key=lambda entry: -entry[0].missing)[:GAPS_SHOWN]
    for gap, channel in sorted(largest, key=lambda entry: entry[0].opened):
        last = f" – {gap.first + gap.count - 1:,}" if gap.count > 1 else ""
        made.add_row(
            _red(gap.missing), channel.name, report.time(gap.opened), f"{gap.first:,}{last}", ", ".join(gap.filled_by)
        )
    rest = sum(channel.gap_count - channel.closed for channel in report.channels) - len(largest)
    if rest > 0:
        made.add_row("", "", "", f"and {rest:,} more gaps, smaller", "")
    return made


def _findings(report: DayReport) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(no_wrap=True, style="dim")
    made.add_column(overflow="fold")
    for finding in report.findings:
        where = "/".join(word for word in (finding.channel, finding.line) if word)
        made.add_row(Text(finding.severity, style=COLOURS[finding.severity]), where, Text(finding.text))
    return made


def _files(report: DayReport) -> Text | None:
    """How many files are as the manifest promised."""
    from rich.text import Text

    if not report.files:
        return None
    states: dict[str, int] = {}
    for file in report.files:
        states[file.state] = states.get(file.state, 0) + 1
    size = sum(file.bytes for file in report.files)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    return Text(f"{len(report.files)} file{'s' * (len(report.files) != 1)}, {size:,} bytes: {told}", style="dim")


def _red(count: int) -> Text:
    from rich.text import Text

    return Text(amount(count), style="bold red" if count else "")


def _yellow(text: str) -> Text:
    from rich.text import Text

    return Text(text, style="yellow")
