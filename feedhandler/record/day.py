"""The folder of a recorded day while it is written: its files, its manifest, and that nobody else writes there."""

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from feedhandler.errors import RecordingError
from feedhandler.record.seen import Carried, together
from feedhandler.recording import manifest
from feedhandler.recording.manifest import Acknowledged, Channel, File, Manifest
from feedhandler.recording.report import ChannelReport

PARTIAL = ".partial"
RESERVE = ".reserve"  # room on the disk that is given back when there is no other, for the last manifest
RESERVE_BYTES = 1 << 16
DAYS = re.compile(r"\d{8}")


class Day:
    """One day's folder, below `root`, held by this process alone until close().

    `now` is the manifest as it stands; save() writes it. Raises RecordingError when the folder cannot be had.
    """

    def __init__(
        self, root: Path, day: date, name: str, zone: str, channels: Sequence[Channel], carried: Carried
    ) -> None:
        self.root, self.name, self._carried = root, name, carried
        self._earlier: list[tuple[Path, Manifest]] | None = None
        self.own = re.compile(re.escape(name) + r"-(\d{4,})\.pcap(ng)?(\.zst)?")
        self.folder = root / day.strftime("%Y%m%d")
        with said(f"{self.folder}: cannot be written"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._take(day, zone, channels)
        except BaseException:
            os.close(self._lock)
            raise

    def _take(self, day: date, zone: str, channels: Sequence[Channel]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecordingError(
                f"{self.folder}: another process is recording there; end it, or record with another --to"
            ) from None
        self.now = Manifest(self.name, day.isoformat(), zone, time.time_ns(), tuple(channels))
        if (self.folder / manifest.NAME).exists() and self._is_manifest():
            self.now = manifest.load(self.folder)
            if self.now.name != self.name:
                raise RecordingError(
                    f"{self.folder}: holds the recording {self.now.name!r}; record {self.name!r} with another --to"
                )
            self.now = replace(self.now, channels=_united(self.now.channels, channels), complete=False)
        self._base = self.now.channels
        names = [*(file.name for file in self.now.files), *(path.name for path in self.folder.iterdir())]
        numbers = [int(found[1]) for name in names if (found := self.own.match(name))]
        self._number = max([self.now.removed, *numbers])
        self._reserve()

    def _is_manifest(self) -> bool:
        """What a crash of the machine left of one is put aside: the files say themselves what is in them."""
        path = self.folder / manifest.NAME
        with said(f"{path}: cannot be read"):
            try:
                json.loads(path.read_bytes())
                return True
            except ValueError:
                path.replace(path.with_name(f"{manifest.NAME}.damaged"))
        self.damage(f"{manifest.NAME} was no manifest any more; it was put aside, and made anew from the files")
        return False

    def close(self, complete: bool, sync: bool) -> None:
        """The last manifest; the folder is free for others."""
        try:
            whole = all(file.complete for file in self.now.files)
            self.now = replace(self.now, complete=complete and whole)
            self.save(sync)
        finally:
            self.free()

    def free(self) -> None:
        """Leave the folder to others as it is."""
        with contextlib.suppress(OSError):
            (self.folder / RESERVE).unlink(missing_ok=True)
        os.close(self._lock)

    def next_name(self, suffix: str) -> str:
        """A name that no file of this day has had."""
        self._number += 1
        return f"{self.name}-{self._number:04d}{suffix}"

    def put(self, file: File) -> None:
        """What is known of a file now; a new one is the newest."""
        others = [file if known.name == file.name else known for known in self.now.files]
        self.now = replace(self.now, files=(*others,) if file in others else (*others, file))

    def damage(self, sentence: str) -> None:
        """Something went wrong, for the manifest."""
        self.now = replace(self.now, damage=(*self.now.damage, sentence))

    def see(self, reports: Sequence[ChannelReport]) -> None:
        """What has been seen of the channels since this recorder began with the day; none: as before."""
        if reports:
            self.now = replace(self.now, channels=together(self._base, reports, self._carried))

    def acknowledge(self, file: str, packets: int, size: int) -> None:
        """So much of the file that is being written is there, whatever happens."""
        self.now = replace(self.now, acknowledged=Acknowledged(file, packets, size))

    def save(self, sync: bool) -> None:
        """Write the manifest; where no room is left, into what was kept for it. Raises RecordingError."""
        with said(f"{self.folder / manifest.NAME}: cannot be written"):
            try:
                manifest.save(self.now, self.folder, sync=sync)
            except OSError:
                if not (self.folder / RESERVE).exists():
                    raise
                (self.folder / RESERVE).unlink()
                manifest.save(self.now, self.folder, sync=sync)
        if not (self.folder / RESERVE).exists():
            self._reserve()

    def _reserve(self) -> None:
        """Room that is set aside, where there is some."""
        with contextlib.suppress(OSError):
            fd = os.open(self.folder / RESERVE, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            except OSError:
                (self.folder / RESERVE).unlink()
            finally:
                os.close(fd)

    # -- the ring of files ---------------------------------------------------------------------------------------------

    def whole_files(self) -> int:
        """Files of this recording that are whole, of this day and of others."""
        return sum(len([file for file in day.files if file.complete]) for _, day in self._days())

    def remove_oldest(self, sync: bool) -> str:
        """Remove the oldest whole file; its path, or "" where there is none. Raises RecordingError."""
        for folder, day in self._days():
            for file in day.files:
                if not file.complete:
                    continue
                with said(f"{folder / file.name}: cannot be removed"):
                    for name in (file.name, f"{file.name}.index"):
                        (folder / name).unlink(missing_ok=True)
                self._earlier = None
                left = replace(day, files=tuple(f for f in day.files if f is not file), removed=day.removed + 1)
                if folder == self.folder:
                    self.now = left
                    return str(folder / file.name)
                with said(f"{folder / manifest.NAME}: cannot be written"):
                    manifest.save(left, folder, sync=sync)
                if not left.files:
                    _remove_day(folder, self.name)
                return str(folder / file.name)
        return ""

    def others(self) -> list[Path]:
        """The folders of other days that this recording has, the oldest first."""
        return [folder for folder, _ in self._days() if folder != self.folder]

    def _days(self) -> list[tuple[Path, Manifest]]:
        """All days of this recording, the oldest first."""
        if self._earlier is None:
            self._earlier = []
            for folder in (path for path in self.root.iterdir() if DAYS.fullmatch(path.name)):
                with contextlib.suppress(RecordingError):
                    if folder != self.folder and (day := manifest.load(folder)).name == self.name:
                        self._earlier.append((folder, day))
        return sorted([*self._earlier, (self.folder, self.now)], key=lambda found: found[0])


class said:  # noqa: N801
    """Any OSError in the block is a RecordingError: what cannot be done, why, and the remedy."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise RecordingError(f"{self.what}: {error.strerror}{remedy(error)}") from error


def remedy(error: OSError) -> str:
    """What to do about an error of the file system, as the end of a sentence."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "; give this user the right to write there, or name another folder with --to"
    if error.errno == errno.EROFS:
        return "; mount it writable, or name another folder with --to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; make room, or let old files go: [record] keep, rotate_bytes and on_full"
    return ""


def _united(known: Sequence[Channel], given: Sequence[Channel]) -> tuple[Channel, ...]:
    """The day's channels, as they are configured now: what the day has of each is kept, and what was once there."""
    found = {channel.name: channel for channel in known}
    for channel in given:
        before = found.get(channel.name)
        if before is None:
            found[channel.name] = channel
            continue
        lines = {line.name: line for line in (*before.lines, *channel.lines)}
        found[channel.name] = replace(
            channel,
            lines=tuple(lines.values()),
            sessions=before.sessions,
            first_seq=before.first_seq,
            last_seq=before.last_seq,
            gaps=before.gaps,
            lost=before.lost,
        )
    return tuple(found.values())


def _remove_day(folder: Path, name: str) -> None:
    """A day of which no file is left; what others have put there stays."""
    for own in (manifest.NAME, RESERVE, f"{name}.books"):
        (folder / own).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
