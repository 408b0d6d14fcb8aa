"""Is a recorded day complete? What each line lost, what no line brought, and what the manifest promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from feedhandler import decode
from feedhandler.check import files as _files
from feedhandler.check import texts
from feedhandler.check._walk import Walk
from feedhandler.check.report import DayReport, Drops, FileCheck, Finding, Timeline, describe
from feedhandler.errors import ConfigError
from feedhandler.recording import ALL, Recording, Window
from feedhandler.recording import files as _found
from feedhandler.recording._sequences import Sequences
from feedhandler.recording.files import RecordedFile

__all__ = ["DayReport", "Drops", "FileCheck", "Finding", "Timeline", "check", "hashed", "recordings"]

STEP = 1 << 17  # packets between two looks at what is done
ORDER = {"lost": 0, "damage": 1, "warning": 2, "note": 3}


def recordings(paths: Iterable[str | Path], protocol: str | None = None) -> list[Recording]:
    """What is checked by itself: each recorded day, each BinaryFILE; all captures without a manifest together.

    Raises CaptureError, RecordingError for what cannot be read.
    """
    found: list[Recording] = []
    together: list[Path] = []
    for folder in _found.find(paths):
        if folder.manifest is not None:
            found.append(Recording(folder.path, protocol=protocol))
            continue
        for file in folder.files:
            if file.kind.format == "binaryfile":
                found.append(Recording(file.path, protocol=protocol))
            else:
                together.append(file.path)
    return ([Recording(*together, protocol=protocol)] if together else []) + found


def hashed(recording: Recording) -> list[RecordedFile]:
    """The files whose contents are compared: those whose sha256 the manifest knows."""
    return [file for file in recording.files if file.entry is not None and file.entry.sha256 is not None]


def check(
    recording: Recording,
    *,
    window: Window = ALL,
    channels: Iterable[str] | None = None,
    hashes: bool = True,
    reorder_us: int = 1000,
    silence_ms: int = 0,
    progress: Callable[[int], None] | None = None,
) -> DayReport:
    """Read all of a recording and say what there is to say.

    `window`, `channels`: only these; the packets are then not compared with the manifest's. `hashes`: compare the
    files' sha256 with the manifest's, on another core meanwhile. `reorder_us`: what came later than that was a gap to
    a live handler. `silence_ms`: a line quiet for so long is silent; 0 = three of the protocol's heartbeats.
    Channels of JSON texts are played through their line stage as well, which knows their venues' rules (`books`).
    `progress` is told the bytes done, of `recording.size` and, with `hashes`, of the files that have one.

    Raises ConfigError when there is no line of a known protocol.
    """
    wanted = recording.channels(channels)
    lines = [line for name in wanted for line in recording.lines if line.channel == name]
    if not lines:
        recording.config()  # says why
        raise ConfigError(f"{recording}: there is nothing to check")
    firsts = {name: next(line for line in lines if line.channel == name) for name in wanted}
    sequences = Sequences(
        [(name, firsts[name].session, [each.name for each in lines if each.channel == name]) for name in wanted],
        reorder_us=reorder_us,
        silence_ms=silence_ms,
        framing_options={
            name: dict(decode.protocol(firsts[name].protocol).options_of(firsts[name].session)) for name in wanted
        },
    )
    tell = progress or (lambda done: None)
    taking = _files.Hashes(hashed(recording) if hashes else [])
    try:
        streams = any(line.stream for line in lines)  # what came before is to be parsed, and does not count
        stretch = Window(None, window.end) if streams else window
        begin = {"begin": window.start} if streams and window.start is not None else {}
        with recording.receiver(stretch, channels=channels) as receiver:
            walk = Walk(receiver, sequences, **begin)
            while not walk.ended:
                walk.step(STEP)
                tell(receiver.offset + taking.done)
            faults, holes = list(receiver.errors), list(receiver.holes)
            counts = [receiver.counts(number) for number in range(receiver.lines)]
        read = recording.size
        taking.wait(lambda done: tell(read + done))
    finally:
        taking.close()
    figures = tuple(sequences.report())
    everything = window == ALL and len(wanted) == len(recording.channels())
    checked = _files.compare(recording, taking if hashes else None, faults)
    timeline = Timeline(walk.start, walk.width, tuple((line.channel, line.name) for line in lines), walk.timeline())
    followed, said = texts.verify(recording, wanted, window, lambda done: None)
    report = DayReport(
        source=_name(recording),
        zone=recording.zone,
        channels=figures,
        files=tuple(checked),
        drops=_files.drops([manifest for _, manifest in recording.manifests]),
        findings=(),
        manifest=bool(recording.manifests),
        timeline=timeline,
        books=tuple(followed),
    )
    ends = {channel.name: channel.last_ts or 0 for channel in figures}
    findings = [*describe(report), *texts.findings(followed, report.time, ends), *said]
    findings += [*_files.findings(recording, checked, figures, everything)]
    known = {f"{file.path}:" for file in recording.files}
    findings += [Finding("damage", str(fault)) for fault in faults if not str(fault).startswith(tuple(known))]
    for number, ts, place, size in holes:
        line = lines[number]
        told = next(channel for channel in figures if channel.name == line.channel)
        went_on = (
            told.last_ts is not None and told.last_ts > ts
        )  # with a new login, whose number tells; or another line
        text = f"{size:,} bytes of its stream are missing at byte {place:,}: what came behind them cannot be read"
        findings.append(Finding("warning" if went_on else "lost", text, line.channel, line.name, ts))
    for line, count in zip(lines, counts, strict=True):
        if count["truncated"]:
            text = (
                f"{_plural(count['truncated'], 'packet')} cut short when captured (snap length): no part of it is read"
            )
            findings.append(Finding("warning", text, line.channel, line.name))
    findings += [
        Finding("note", f"packets to {line.name} are of no protocol that is known") for line in recording.unknown
    ]
    findings.sort(key=lambda finding: ORDER[finding.severity])
    return replace(report, findings=tuple(findings))


def _name(recording: Recording) -> str:
    more = len(recording.paths) - 1
    return recording.paths[0].name + (f" and {more} more" if more else "")


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
