"""What was recorded, as one: files and days in time order, their lines, and the way to an instant of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, cast

from feedhandler import decode
from feedhandler.capture_config import DEFAULTS, CaptureOptions
from feedhandler.config import Books, Channel, Config, Line, Ring, Run, Shm
from feedhandler.errors import CaptureError, ConfigError, RecordingError
from feedhandler.receive import capture
from feedhandler.receive._capture import PacketFile
from feedhandler.recognise import recognise
from feedhandler.recording import files as _files
from feedhandler.recording import index as _index
from feedhandler.recording import window as _window
from feedhandler.recording._merged import Merged
from feedhandler.recording._surveyor import Surveyor
from feedhandler.recording.chain import Chain, FileChain, FollowedChain, Opener
from feedhandler.recording.files import RecordedFile
from feedhandler.recording.index import Index
from feedhandler.recording.lines import Lines, RecordedLine, channels_of, first_of, of_comment, of_manifest
from feedhandler.recording.window import ALL, Window

if TYPE_CHECKING:
    from datetime import date

    from feedhandler.recording.manifest import Manifest

NOWHERE: capture.Destination = ("0.0.0.0", 0)


class Recording:
    """What was recorded, read as one: folders that `feedhandler record` wrote, captures of any kind, folders of them.

    `paths`: any number of files (pcap, pcapng, in either byte order, of µs or ns, plain, .gz or .zst, whole or still
    .partial; BinaryFILE) and of folders of such files. What their lines are is told by a day's manifest, else by the
    comments that our recorder writes into a pcapng, else recognised by the packets; `protocol` says what cannot be
    recognised, or which of several is wanted.

    Raises CaptureError for what is no recording, RecordingError for a manifest or comment that is not understood,
    ConfigError for an unknown protocol.
    """

    def __init__(self, *paths: str | Path, protocol: str | None = None) -> None:
        if protocol is not None:
            decode.protocol(protocol)
        self.paths = tuple(map(Path, paths))
        self.protocol = protocol
        self._folders = _files.find(self.paths)
        self.files: tuple[RecordedFile, ...] = tuple(file for folder in self._folders for file in folder.files)
        """In the order of the paths, of a folder by their names."""

    def __repr__(self) -> str:
        return f"Recording({', '.join(map(repr, map(str, self.paths)))})"

    # -- what there is -------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of all files on the disk: what `receiver().offset` comes to."""
        return sum(file.size for file in self.files)

    @property
    def manifests(self) -> list[tuple[Path, Manifest]]:
        """The manifests of the recorded days, each with its folder."""
        return [(folder.path, folder.manifest) for folder in self._folders if folder.manifest is not None]

    @property
    def lines(self) -> tuple[RecordedLine, ...]:
        """The lines of a known protocol, in order of appearance: these numbers are those of `receiver()`."""
        return tuple(self._table.known)

    @property
    def unknown(self) -> tuple[RecordedLine, ...]:
        """Destinations of packets of no known protocol, as lines without a channel; at most so many as a receiver has
        room for, those with most packets."""
        room = max(0, capture.LINES_MAX - len(self._table.known))
        most = sorted(self._table.unknown, key=lambda line: -self._table.packets[line.destination or NOWHERE])[:room]
        return tuple(line for line in self._table.unknown if line in most)

    @cached_property
    def first_ts(self) -> int:
        """The time of the first packet, ns since the Unix epoch; 0: there is none, or no times (BinaryFILE)."""
        return self._first_of(self.files)

    @cached_property
    def last_ts(self) -> int:
        """The latest time of a packet, 0 as `first_ts` is. Without a manifest all is read once."""
        return max((self._last(file) for file in self.files), default=0)

    def channels(self, names: Iterable[str] | None = None) -> list[str]:
        """The channels, all or those named, in order of appearance. Raises RecordingError for an unknown name."""
        there = channels_of(self.lines)
        if names is None:
            return there
        wanted = {first_of(name, there, "channel") for name in names}
        return [name for name in there if name in wanted]

    # -- how it is read ------------------------------------------------------------------------------------------------

    def config(self, *, channels: Iterable[str] | None = None, **options: Unpack[CaptureOptions]) -> Config:
        """The configuration of a handler for these channels, all unless they are named; its lines in the same order.

        Raises ConfigError when there is no line of a known protocol.
        """
        unknown = set(options) - set(DEFAULTS)
        if unknown:
            raise TypeError(f"a capture has no option {min(unknown)!r}; it takes: {', '.join(DEFAULTS)}")
        chosen: CaptureOptions = {**DEFAULTS, **options}
        found = [self._channel(name, chosen["day"]) for name in self._named(channels)]
        return Config(
            Shm(name=chosen["name"] or "capture"),
            Books(depth=chosen["depth"], instruments=chosen["instruments"], orders=chosen["orders"]),
            Ring(events=chosen["ring_events"]),
            Run(),
            tuple(found),
        )

    def receiver(
        self,
        window: Window = ALL,
        *,
        follow: bool = False,
        channels: Iterable[str] | None = None,
        everything: bool = False,
    ) -> Merged:
        """All packets of all files in the order of their times, those of equal times in the order of the files.

        Lines are numbered as in `lines`; with `channels`, as in the `config()` of the same channels; `everything` has
        the destinations of unknown protocols behind them, as in `unknown`. `window`: only packets of that time.
        `follow`: goes on as files grow and new ones come, until the manifest says that the day is complete, or
        `stop_following()`. `receiver.offset` beside `size` is progress; `receiver.error` the first fault of a file, for
        what is whole of the others is read.

        Raises ConfigError when there is nothing to read: no line of a known protocol.
        """
        wanted = [line for name in self._named(channels, everything) for line in self.lines if line.channel == name]
        if everything:
            wanted += self.unknown
        if not 1 <= len(wanted) <= capture.LINES_MAX:
            raise ConfigError(
                f"{self._name()}: a handler has 1 to {capture.LINES_MAX} lines, the recording {len(wanted)}; choose "
                "channels"
            )
        if window.start is not None and any(line.stream for line in wanted):
            raise RecordingError(
                f"{self._name()}: a stream is read from its beginning, since its numbers follow from there: leave the "
                "start of the window open (no --from), or choose other channels"
            )
        opener = Opener(self._table.known, self._table.unknown, wanted, window, self._useful_index)
        chains: list[Chain] = []
        if follow:
            chains += [FollowedChain(path, self._first_below(path), opener) for path in self.paths]
        else:
            for files in self._chains():
                inside = [file for file in files if not _outside(file, window)]
                if inside:
                    chains.append(FileChain(inside, self._first_of(inside), opener))
        return Merged(len(wanted), chains, follow=follow)

    def find(self, when: str) -> int:
        """The instant that a word names, ns since the Unix epoch: what a `Window` takes.

        ISO time (UTC unless it says otherwise); `HH:MM[:SS[.f]]` at the exchange, on the first day; `+90s` from the
        first packet; `seq:12345` or `seq:CHANNEL:12345`, the first packet that holds that message of the feed or a
        later one; `open` and `close`, the beginning and end of market hours as the feed itself said. Raises
        RecordingError when there is no such instant.
        """
        when = when.strip()
        if not self.first_ts:
            raise RecordingError(f"{self._name()}: it has no times, so {when!r} is nowhere in it")
        if (found := _window.moment(when, self.first_ts, self.zone)) is not None:
            return found
        if (asked := _window.number(when)) is not None:
            return self._find_number(*asked)
        if when in ("open", "close"):
            return self._find_event(when)
        raise RecordingError(f"{when!r}: expected {_window.WORDS}")

    def index(self, file: RecordedFile) -> Index | None:
        """The index of a file, made now if there is none; None for a BinaryFILE. `indexing` hears of the progress."""
        if file.kind.format == "binaryfile":
            return None
        if file.path not in self._indices:
            lines = self._table.of[file.path]
            found = _index.load(file.path, lines)
            if found is None:
                opener = Opener(lines, (), lines, ALL)
                found = _index.build(
                    lambda: cast(PacketFile, opener.open(file, reassembly=opener.reassembly())),
                    file.path,
                    lines,
                    file.kind.compression,
                    self.indexing,
                )
                if file.complete and file.size >= _index.WORTH_KEEPING:
                    _index.save(found, file.path)
            self._indices[file.path] = found
        return self._indices[file.path]

    indexing: Callable[[int], None] | None = None
    """Called, while an index is made, with the bytes of that file that have been read."""

    @cached_property
    def zone(self) -> str:
        """The time zone of the exchange: that of the first line of a known protocol; without one, UTC."""
        return next((decode.protocol(line.protocol).clock.zone for line in self.lines), "UTC")

    def _find_number(self, channel: str, number: int) -> int:
        """The time of the first packet that holds a number or a later one."""
        names = self.channels([channel]) if channel else self.channels()
        times, highest = [], 0
        for file in self.files:
            index, lines = self.index(file), self._table.of[file.path]
            mine = [i for i, line in enumerate(lines) if line.channel in names]
            if index is None or not mine or not len(index.place):
                continue
            highest = max(highest, *(int(index.numbers[-1, line]) - 1 for line in mine))
            first = min(index.block_of(line, number) for line in mine)
            if first < len(index.place):
                opener = Opener(lines, (), lines, ALL)
                with opener.open(file, reassembly=opener.reassembly()) as opened:
                    assert isinstance(opened, PacketFile)
                    if not any(line.stream for line in lines):  # their numbers follow from all that came before
                        opener.go_to(opened, index, first)
                    surveyor = Surveyor([_index.survey_of(line) for line in lines])
                    ts = surveyor.find(opened, mine, number)
                    if ts is not None:
                        times.append(ts)
        if not times:
            where = f"channel {channel}" if channel else "it"
            raise RecordingError(f"{self._name()}: no message {number} in {where}; the highest number is {highest}")
        return min(times)

    def _find_event(self, word: str) -> int:
        """The time of the packet in which the feed first said `open` or `close`."""
        times = []
        for file in self.files:
            index, lines = self.index(file), self._table.of[file.path]
            codes = [_index.code_of(line, word) for line in lines]
            times += [ts for ts, line, code in index.events if code == codes[line]] if index is not None else []
        if not times:
            raise RecordingError(f"{self._name()}: the feed does not say {word!r} in it; give a time instead")
        return min(times)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _name(self) -> str:
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.paths[0]}{more}"

    def _named(self, channels: Iterable[str] | None, everything: bool = False) -> list[str]:
        found = self.channels(channels)
        if not found and not everything:
            known = ", ".join(decode.protocols())
            if all(file.kind.format == "binaryfile" for file in self.files):
                raise ConfigError(
                    f"{self._name()}: the protocol cannot be recognised; name it with --protocol ({known})"
                )
            asked = f" ({self.protocol} was asked for)" if self.protocol else ""
            raise ConfigError(
                f"{self._name()}: no stream of a known protocol in it{asked}; name one with --protocol ({known})"
            )
        return found

    def _channel(self, name: str, day: date | None) -> Channel:
        lines = [line for line in self.lines if line.channel == name]
        first = lines[0]
        made = []
        for line in lines:
            address, port, *source = line.destination or ("", 0)
            where = {"host": address} if line.stream else {"group": address}
            made.append(Line(name=line.name, port=port, source=source[0] if source else "", **where))
        venue = first.venue or decode.protocol(first.protocol).venue
        return Channel(name, first.protocol, first.session, venue, day or first.date, lines=tuple(made))

    @cached_property
    def _table(self) -> Lines:
        table = Lines(self.protocol)
        for folder in self._folders:
            told = [table.add(line) for line in of_manifest(folder.manifest)] if folder.manifest else []
            for file in folder.files:
                table.of[file.path] = told or list(dict.fromkeys(self._look(file, table)))
        return table

    def _look(self, file: RecordedFile, table: Lines) -> Iterable[RecordedLine]:
        """What the lines of a file without a manifest are."""
        if file.kind.format == "binaryfile":
            speaks = self.protocol or recognise(_first_messages(file), framing="binaryfile")
            if speaks is not None:
                if any(line.session == "binaryfile" for line in table.known):
                    raise ConfigError(
                        f"{file.path}: of BinaryFILEs, which have no times, one is read at once; take one after the "
                        "other"
                    )
                venue = decode.protocol(speaks).venue
                yield table.add(RecordedLine("file", "file", speaks, "binaryfile", venue))
            return
        if file.kind.format == "pcapng":
            told = [of_comment(comment, file.path) for _, _, comment in self._head(file)[1]]
            for line in told:
                if line is not None:
                    yield table.add(line)
            if told and None not in told:
                return
        for stream in self._streams(file):
            line = table.recognise(stream)
            if line.protocol:
                yield line
        if self._tcp[file.path]:
            for server in capture.servers(file.path):
                if (found := table.recognise_server(server)) is not None:
                    yield found

    def _chains(self) -> list[list[RecordedFile]]:
        """The files in chains that follow each other, in the order of their first ones."""
        found = []
        for folder in self._folders:
            for chain in _files.chained(folder.files):
                times = [self._first(file) or 0 for file in chain]
                if folder.manifest is None and any(a > b > 0 for a, b in itertools.pairwise(times)):
                    found += [[file] for file in chain]  # names like a recorder's; they do not follow
                else:
                    found.append(chain)
        return found

    def _first_of(self, files: Iterable[RecordedFile]) -> int:
        return min((ts for file in files if (ts := self._first(file)) is not None), default=0)

    def _first_below(self, path: Path) -> int:
        return self._first_of(file for file in self.files if file.path == path or path in file.path.parents)

    def _head(self, file: RecordedFile) -> tuple[int | None, list[tuple[str, str, str]]]:
        """The time of a file's first packet, and what the interfaces described before it say; both read once."""
        if (known := self._heads.get(file.path)) is None:
            with capture.open_file(_files.settled(file.path), file.kind, 1, (), growing=True) as opened:
                known = self._heads[file.path] = (opened.peek(), opened.described)
        return known

    def _useful_index(self, file: RecordedFile, window: Window) -> Index | None:
        """The index of a file of which a part is passed over, where that is worth while."""
        lines = self._table.of.get(file.path)
        if lines is None or window.start is None or any(line.stream for line in lines):
            return None
        if file.path not in self._indices and (
            file.size < _index.WORTH_KEEPING or window.start <= (self._first(file) or window.start)
        ):
            return None
        return self.index(file)

    @cached_property
    def _indices(self) -> dict[Path, Index]:
        return {}

    @cached_property
    def _heads(self) -> dict[Path, tuple[int | None, list[tuple[str, str, str]]]]:
        return {}

    @cached_property
    def _tcp(self) -> dict[Path, int]:
        return {}

    @cached_property
    def _found(self) -> dict[Path, list[capture.Stream]]:
        return {}

    def _streams(self, file: RecordedFile) -> list[capture.Stream]:
        if file.path not in self._found:
            self._found[file.path], self._tcp[file.path] = capture.survey(_files.settled(file.path))
        return self._found[file.path]

    def _first(self, file: RecordedFile) -> int | None:
        if file.entry is not None and file.entry.first_ts is not None:
            return file.entry.first_ts
        return None if file.kind.format == "binaryfile" else self._head(file)[0]

    def _last(self, file: RecordedFile) -> int:
        if file.entry is not None and file.entry.complete and file.entry.last_ts is not None:
            return file.entry.last_ts
        if file.kind.format == "binaryfile":
            return 0
        if file.path in self._indices:
            return self._indices[file.path].last_ts or 0
        return max([stream.last_ts for stream in self._streams(file)] + [self._tcp[file.path]])


def _outside(file: RecordedFile, window: Window) -> bool:
    """Whether a whole file has, as its manifest says, nothing of the window."""
    entry = file.entry
    if entry is None or not entry.complete or entry.first_ts is None or entry.last_ts is None:
        return False
    before = window.start is not None and entry.last_ts < window.start
    return before or (window.end is not None and entry.first_ts >= window.end)


def _first_messages(file: RecordedFile) -> list[bytes]:
    """The first runs of messages of a BinaryFILE, as they stand in it."""
    with capture.receiver(file.path) as opened:
        runs = [payload for _, _, payload in opened.drain(1)]
        if not runs and opened.error is not None:
            raise CaptureError(str(opened.error))
    return runs
