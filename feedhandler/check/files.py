"""The files of a recorded day beside what its manifest promises of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from feedhandler.check.report import Drops, FileCheck, Finding, Severity
from feedhandler.errors import CaptureError
from feedhandler.recording import Recording
from feedhandler.recording.files import RecordedFile
from feedhandler.recording.manifest import Manifest
from feedhandler.recording.report import ChannelReport

CHUNK = 1 << 20


class Hashes:
    """The sha256 of files, taken by a thread of its own while the packets are read; `close()` ends it early."""

    def __init__(self, files: list[RecordedFile]) -> None:
        self.done = 0
        """Bytes."""
        self.found: dict[Path, str] = {}
        self.faults: dict[Path, str] = {}
        self._files = files
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feedhandler-check-hashes", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        buffer = bytearray(CHUNK)
        for file in self._files:
            digest = hashlib.sha256()
            try:
                with file.path.open("rb", buffering=0) as opened:
                    while (size := opened.readinto(buffer)) and not self._stop.is_set():
                        digest.update(memoryview(buffer)[:size])
                        self.done += size
            except OSError as error:
                self.faults[file.path] = str(error.strerror)
                continue
            if self._stop.is_set():
                return
            self.found[file.path] = digest.hexdigest()

    def wait(self, progress: Callable[[int], None]) -> None:
        """Until all are taken; `progress` is told the bytes done."""
        while self._thread.is_alive():
            self._thread.join(0.1)
            progress(self.done)

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()


def compare(recording: Recording, hashes: Hashes | None, faults: list[CaptureError]) -> list[FileCheck]:
    """Every file that is there, or should be. `hashes` None: contents are not compared."""
    checked = []
    broken = {
        file.path: str(fault).replace(str(file.path), file.path.name)
        for file in recording.files
        for fault in faults
        if str(fault).startswith(f"{file.path}:")
    }
    listed = {entry.name for _, manifest in recording.manifests for entry in manifest.files}
    for folder, manifest in recording.manifests:
        there = {file.name for file in recording.files if file.path.parent == folder}
        for entry in manifest.files:
            if entry.name not in there:
                detail = f"{entry.packets:,} packets" + (f", {entry.bytes:,} bytes" if entry.bytes else "")
                checked.append(FileCheck(entry.name, entry.bytes, entry.packets, "missing", detail))
    for file in recording.files:
        checked.append(_one(file, hashes, broken.get(file.path), bool(recording.manifests), file.name in listed))
    return sorted(checked, key=lambda file: file.name)


def _one(file: RecordedFile, hashes: Hashes | None, fault: str | None, told: bool, listed: bool) -> FileCheck:
    entry = file.entry
    if fault is not None and file.complete and (entry is None or entry.complete):
        return FileCheck(file.path.name, file.size, entry.packets if entry else None, "damaged", fault)
    if entry is None:
        if told and not listed and file.complete:
            return FileCheck(file.path.name, file.size, None, "unlisted", "the manifest does not know it")
        return FileCheck(file.path.name, file.size, None, "unchecked" if file.complete else "growing", fault or "")
    if not file.complete or not entry.complete:
        return FileCheck(file.path.name, file.size, entry.packets, "growing", fault or "")
    if file.size != entry.bytes:
        detail = f"{file.size:,} bytes, not {entry.bytes:,} as recorded"
        return FileCheck(file.path.name, file.size, entry.packets, "changed", detail)
    if hashes is None or entry.sha256 is None:
        return FileCheck(file.path.name, file.size, entry.packets, "unchecked")
    if file.path in hashes.faults:
        return FileCheck(file.path.name, file.size, entry.packets, "damaged", hashes.faults[file.path])
    if hashes.found[file.path] != entry.sha256:
        detail = f"sha256 {hashes.found[file.path][:12]}…, not {entry.sha256[:12]}… as recorded"
        return FileCheck(file.path.name, file.size, entry.packets, "changed", detail)
    return FileCheck(file.path.name, file.size, entry.packets, "whole")


def drops(manifests: list[Manifest]) -> tuple[Drops, ...]:
    """What came and was not recorded, by line; lines without drops are left out."""
    sums: dict[tuple[str, str], list[int]] = {}
    for manifest in manifests:
        for file in manifest.files:
            for line in file.lines:
                entry = sums.setdefault((line.channel, line.line), [0, 0])
                entry[0] += line.kernel_drops
                entry[1] += line.dropped
    return tuple(Drops(channel, line, *entry) for (channel, line), entry in sums.items() if any(entry))


def findings(
    recording: Recording, files: list[FileCheck], channels: tuple[ChannelReport, ...], whole_day: bool
) -> Iterator[Finding]:
    """What the manifest shows. `whole_day`: all of it was read, so that packets can be compared."""
    for file in files:
        if file.state == "missing":
            yield Finding("damage", f"{file.name} is missing: {file.detail}")
        elif file.state in ("changed", "damaged"):
            text = file.detail if file.name in file.detail else f"{file.name}: {file.detail}"
            yield Finding("damage", f"{file.name} was changed: {file.detail}" if file.state == "changed" else text)
        elif file.state == "growing" and file.detail:
            yield Finding("warning", f"{file.detail}: it was not finished")
        elif file.state == "unlisted":
            yield Finding("note", f"{file.name} stands beside the recorded files, and the manifest does not know it")
    for folder, manifest in recording.manifests:
        for sentence in manifest.damage:
            yield Finding("warning", sentence)
        if manifest.removed:
            yield Finding("note", f"{manifest.removed} files were removed by the recorder, to make room")
        if not manifest.complete:
            yield Finding(
                "warning", f"{folder.name}: not finished: it is still being recorded, or the recorder was killed"
            )
    everything = whole_day and all(file.state not in ("missing", "growing", "damaged") for file in files)
    if recording.manifests and everything:
        yield from _promised(recording, channels)
    unnumbered = {channel.name for channel in channels if channel.unsequenced}
    for drop in drops([manifest for _, manifest in recording.manifests]):
        severity: Severity = "lost" if drop.channel in unnumbered else "warning"
        for count, what in ((drop.kernel, "dropped by the kernel"), (drop.recorder, "not written by the recorder")):
            if count:
                yield Finding(
                    severity,
                    f"{count:,} packet{'' if count == 1 else 's'} {what}",
                    drop.channel,
                    drop.line,
                )


def _promised(recording: Recording, channels: tuple[ChannelReport, ...]) -> Iterator[Finding]:
    """Are there as many packets of each line as were recorded? If not, which file lacks them?"""
    promised: dict[tuple[str, str], int] = {}
    for _, manifest in recording.manifests:
        for file in manifest.files:
            for line in file.lines:
                promised[line.channel, line.line] = promised.get((line.channel, line.line), 0) + line.packets
    differs = False
    for channel in channels:
        for found in channel.lines:
            count = promised.get((channel.name, found.name), 0)
            if count != found.packets:
                differs = True
                text = f"{found.packets:,} packets, not {count:,} as recorded"
                yield Finding("damage", text, channel.name, found.name)
    if differs:
        for each in recording.files:
            if each.entry is not None and (packets := _packets_of(each)) != each.entry.packets:
                yield Finding(
                    "damage", f"{each.path.name}: {packets:,} packets, not {each.entry.packets:,} as recorded"
                )


def _packets_of(file: RecordedFile) -> int:
    """The packets of one file, of known lines and others."""
    with Recording(file.path).receiver(everything=True) as receiver:
        return receiver.skim()[0]
