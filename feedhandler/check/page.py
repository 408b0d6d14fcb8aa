"""A check as one self-contained page: the verdict, the picture, the tables; nothing is fetched from anywhere."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from feedhandler.check import drawing
from feedhandler.errors import ConfigError
from feedhandler.figures import duration

if TYPE_CHECKING:
    from feedhandler.check.report import DayReport
    from feedhandler.recording.report import ChannelReport

GAPS_SHOWN = 500
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; background: #f6f8fa; margin: 0; }
main { max-width: 1280px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 20px; margin: 0 0 4px; }
h2 { font-size: 15px; margin: 28px 0 8px; }
section.day { background: #fff; border: 1px solid #d0d7de; border-radius: 8px; padding: 20px 24px; }
section.day + section.day { margin-top: 24px; }
.verdict { font-size: 17px; font-weight: 600; padding: 10px 14px; border-radius: 6px; margin: 10px 0 16px; }
.whole { background: #dafbe1; color: #116329; }
.not { background: #ffebe9; color: #a40e26; }
.sub { color: #57606a; margin: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th { color: #57606a; font-weight: 500; text-align: right; padding: 4px 12px 4px 0; border-bottom: 1px solid #d0d7de; }
td { text-align: right; padding: 4px 12px 4px 0; border-bottom: 1px solid #eaeef2; white-space: nowrap; }
th.w, td.w { text-align: left; }
td.t { text-align: left; white-space: normal; }
.lost, .damage { color: #cf222e; font-weight: 600; }
.warning { color: #9a6700; }
.note { color: #57606a; }
svg { width: 100%; height: auto; display: block; }
details summary { cursor: pointer; color: #57606a; margin: 8px 0; }
footer { color: #8c959f; font-size: 12.5px; }
"""


def write(reports: list[DayReport], path: str | Path) -> None:
    """Write the page of these reports. Raises ConfigError when it cannot be written, or matplotlib is not installed."""
    drawing.figures()
    text = page(reports)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"check: --html {path}: cannot be written: {error.strerror}") from None


def page(reports: list[DayReport]) -> str:
    """The page as text."""
    title = reports[0].source if len(reports) == 1 else f"{len(reports)} recordings"
    days = "\n".join(_day(report, number) for number, report in enumerate(reports))
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>feedhandler check: {escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><main>\n{days}\n"
        "<footer>Made by feedhandler check. Numbers are the feed's own sequence numbers; a gap is what was still "
        "missing after the reorder time.</footer>\n</main></body></html>\n"
    )


def _day(report: DayReport, number: int) -> str:
    span = f"{report.day}, {report.time(report.first_ts)} to {report.time(report.last_ts)} ({report.zone})"
    parts = [
        f"<h1>{escape(report.source)}</h1>",
        f'<p class="sub">{escape(span) if report.first_ts else "without times"}</p>',
        f'<p class="verdict {"whole" if report.whole else "not"}">{escape(report.verdict)}</p>',
        _unique(drawing.svg(report), number) if report.first_ts else "",
        _findings(report),
        "<h2>Channels</h2>",
        _channels(report),
        "<h2>Lines</h2>",
        _lines(report),
        *(_gaps(report, channel) for channel in report.channels),
        *(_sessions(report, channel) for channel in report.channels),
        _files(report),
    ]
    return '<section class="day">\n' + "\n".join(part for part in parts if part) + "\n</section>"


def _unique(svg: str, number: int) -> str:
    """The ids of an SVG, so that several may stand in one page."""
    for mark in ('id="', 'href="#', "url(#"):
        svg = svg.replace(mark, f"{mark}d{number}-")
    return svg


def _findings(report: DayReport) -> str:
    if not report.findings:
        return ""
    rows = []
    for finding in report.findings:
        where = "/".join(word for word in (finding.channel, finding.line) if word)
        rows.append(
            f'<tr><td class="w {finding.severity}">{finding.severity}</td><td class="w">{escape(where)}</td>'
            f'<td class="t">{escape(finding.text)}</td></tr>'
        )
    return "<h2>Findings</h2>\n<table>" + "".join(rows) + "</table>"


def _table(heads: list[str], rows: list[list[str]], words: int) -> str:
    """`words`: so many columns at the left are of words. Cells are escaped already."""

    def cells(tag: str, row: list[str]) -> str:
        return "".join(f"<{tag}{' class=w' if i < words else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", heads)}</tr>{body}</table></div>'


def _number(count: int, severity: str = "") -> str:
    return f'<span class="{severity}">{count:,}</span>' if count and severity else f"{count:,}"


def _channels(report: DayReport) -> str:
    heads = [
        "channel",
        "session protocol",
        "sessions",
        "messages",
        "lost for good",
        "gaps",
        "filled late",
        "first packet",
    ]
    rows = [
        [
            escape(channel.name),
            escape(channel.session),
            f"{channel.session_count:,}" + (f" ({channel.restarts:,} restarts)" if channel.restarts else ""),
            f"{channel.messages:,}",
            _number(channel.lost, "lost"),
            f"{channel.gap_count:,}",
            f"{channel.filled:,}",
            report.time(channel.first_ts),
            report.time(channel.last_ts),
        ]
        for channel in report.channels
    ]
    return _table([*heads, "last packet"], rows, 2)


def _lines(report: DayReport) -> str:
    heads = ["channel", "line", "packets", "bytes", "messages", "first copies", "lost", "in gaps", "others had"]
    heads += ["duplicates", "swapped", "furthest", "longest silence", "clock steps", "bad", "lead p50 / p99", "dropped"]
    drops = {(drop.channel, drop.line): drop.kernel + drop.recorder for drop in report.drops}
    rows = []
    for channel in report.channels:
        for line in channel.lines:
            lost = line.missing + line.before + line.after
            silence = line.longest_silence
            rows.append(
                [
                    escape(channel.name),
                    escape(line.name),
                    f"{line.packets:,}",
                    f"{line.bytes:,}",
                    f"{line.messages:,}",
                    f"{line.won:,}",
                    f"{lost:,}",
                    f"{line.gaps:,}",
                    f"{max(0, lost - channel.lost):,}" if len(channel.lines) > 1 else "-",
                    f"{line.duplicates:,}",
                    f"{line.reordered:,}",
                    f"{line.furthest:,} / {duration(line.furthest_ns)}" if line.reordered else "-",
                    duration(silence.end - silence.start) if silence else "-",
                    _number(line.clock_step_count, "warning"),
                    _number(line.bad, "warning"),
                    f"{duration(line.lead.p50)} / {duration(line.lead.p99)}" if line.lead else "-",
                    _number(drops.get((channel.name, line.name), 0), "warning"),
                ]
            )
    return _table(heads, rows, 2)


def _gaps(report: DayReport, channel: ChannelReport) -> str:
    if not channel.gaps:
        return ""
    worst = sorted(channel.gaps, key=lambda gap: (-gap.missing, gap.opened))[:GAPS_SHOWN]
    rows = [
        [
            report.time(gap.opened, 6),
            escape(gap.session),
            f"{gap.first:,}",
            f"{gap.first + gap.count - 1:,}",
            f"{gap.count:,}",
            _number(gap.missing, "lost"),
            duration(gap.closed - gap.opened) if gap.closed is not None else "never",
            escape(", ".join(gap.filled_by)) or "-",
        ]
        for gap in sorted(worst, key=lambda gap: gap.opened)
    ]
    heads = ["opened", "session", "from", "to", "messages", "lost for good", "closed after", "filled by"]
    more = channel.gap_count - len(rows)
    rest = f'<p class="note">and {more:,} more, none larger</p>' if more > 0 else ""
    shown = "open" if len(rows) <= 30 else ""
    return (
        f"<details {shown}><summary>{channel.gap_count:,} gaps of channel {escape(channel.name)}</summary>"
        f"{_table(heads, rows, 2)}{rest}</details>"
    )


def _sessions(report: DayReport, channel: ChannelReport) -> str:
    if channel.session_count < 2:
        return ""
    rows = [
        [
            escape(session.id),
            "restart" if session.restart else "new",
            f"{session.first:,}",
            f"{session.next - 1:,}",
            _number(session.missing, "lost"),
            report.time(session.began),
            report.time(session.last),
            report.time(session.ended) if session.ended else "not said",
        ]
        for session in channel.sessions
    ]
    heads = ["session", "", "first number", "last number", "lost for good", "began", "last packet", "end"]
    return (
        f"<details><summary>{channel.session_count:,} sessions of channel {escape(channel.name)}</summary>"
        f"{_table(heads, rows, 2)}</details>"
    )


def _files(report: DayReport) -> str:
    if not report.files:
        return ""
    rows = [
        [
            escape(file.name),
            f'<span class="{"damage" if file.state in ("missing", "changed", "damaged") else ""}">{file.state}</span>',
            f"{file.bytes:,}",
            f"{file.packets:,}" if file.packets is not None else "-",
            escape(file.detail),
        ]
        for file in report.files
    ]
    table = _table(["file", "state", "bytes", "packets promised", ""], rows, 2)
    shown = "open" if any(file.state in ("missing", "changed", "damaged") for file in report.files) else ""
    many = f"{len(report.files):,} file{'s' * (len(report.files) != 1)}"
    return f"<details {shown}><summary>{many}</summary>{table}</details>"
