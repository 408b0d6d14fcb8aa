"""A disk that is full, slow, or not to be written: the recorder says so, counts, and what it wrote is whole."""

import ctypes
import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedhandler.cli import main
from feedhandler.cli.record import size
from feedhandler.errors import RecordingError
from feedhandler.receive import capture
from feedhandler.record import Recorder
from feedhandler.record.day import Day
from feedhandler.recording import manifest
from tests.namespaces import MOUNTS, in_namespace, mount_tmpfs
from tests.recorded import NOON, S, document, feed, mold, record, wait
from tests.test_record import payloads, the_day
from tests.test_record_crash import Sender

BIG = [(0, NOON + i, mold(1 + i, size=60_000)) for i in range(60)]


@pytest.mark.parametrize("compress", [0, 1])
def test_a_full_disk_ends_the_recording_and_what_was_written_is_whole(compress: int, tmp_path: Path) -> None:
    noise = [(line, ts, payload[:22] + os.urandom(60_000)) for line, ts, payload in BIG]

    def story() -> None:
        mount_tmpfs(tmp_path, 2 << 20)
        done = record(feed(f"rotate_bytes = 800000\ncompress = {compress}"), tmp_path, noise)
        assert isinstance(done.error, RecordingError)
        assert "No space left on device; recording has stopped: make room, and start it again" in str(done.error)
        day, found = the_day(tmp_path)
        assert found.complete and found.damage[0] == str(done.error)
        assert found.damage[1:] == (f"{done.status().lost} packets that had come in could not be written",)
        kept = payloads(day, found)
        assert 10 < len(kept) < 40
        assert [payload for _, _, payload in kept] == [payload for _, _, payload in noise[: len(kept)]]
        assert done.status().lost + len(kept) == done.status().packets
        with pytest.raises(RecordingError, match="No space left"):
            done.wait()

    in_namespace(MOUNTS, story)


def test_a_full_disk_lets_the_oldest_go(tmp_path: Path) -> None:
    def story() -> None:
        mount_tmpfs(tmp_path, 2 << 20)
        done = record(feed('rotate_bytes = 500000\non_full = "drop-oldest"'), tmp_path, BIG)
        assert done.error is None and done.status().lost == 0
        day, found = the_day(tmp_path)
        kept = payloads(day, found)
        assert [payload for _, _, payload in kept] == [payload for _, _, payload in BIG[-len(kept) :]]
        assert found.removed >= 4 and len(kept) + 8 * found.removed == len(BIG)
        assert any("the disk is full: " in note and "rec-0001.pcapng was removed" in note for note in done.notes)

    in_namespace(MOUNTS, story)


def test_a_full_disk_without_an_older_file_says_what_to_do(tmp_path: Path) -> None:
    def story() -> None:
        mount_tmpfs(tmp_path, 2 << 20)
        done = record(feed('on_full = "drop-oldest"'), tmp_path, BIG)
        assert "no older file is left to be removed; recording has stopped: make room, or have smaller files" in str(
            done.error
        )
        the_day(tmp_path)

    in_namespace(MOUNTS, story)


def test_other_errors_of_the_disk_end_it_too(tmp_path: Path) -> None:
    written = []

    def failing(fd: int, data: Any) -> int:
        if len(written) == 2:
            raise OSError(errno.EIO, "Input/output error")
        written.append(len(data))
        return os.write(fd, data[: len(data) // 2 + 1])

    done = record(feed(), tmp_path, BIG, write=failing)
    assert "cannot be written: Input/output error; recording has stopped" in str(done.error)
    found = manifest.load(next(tmp_path.iterdir()))
    assert found.damage[0] == str(done.error) and done.status().lost == len(BIG)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"file/\d{8}: cannot be written: Not a directory"):
        Recorder(feed(), tmp_path / "file")

    def read_only() -> None:
        mount_tmpfs(tmp_path, 1 << 20)
        flags = ctypes.c_ulong(32 | 1)  # MS_REMOUNT | MS_RDONLY
        assert ctypes.CDLL(None).mount(b"tmpfs", str(tmp_path).encode(), b"tmpfs", flags, None) == 0
        with pytest.raises(RecordingError, match="Read-only file system; mount it writable, or name another folder"):
            Recorder(feed(), tmp_path)

    in_namespace(MOUNTS, read_only)


def test_a_folder_of_somebody_else_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    (tmp_path / "theirs").mkdir(mode=0o555)
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            Recorder(feed(), tmp_path / "theirs")
        except RecordingError as error:
            os.write(here, str(error).encode())
        finally:
            os._exit(0)
    os.close(here)
    with os.fdopen(there) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said.startswith(f"{tmp_path}/theirs/") and "cannot be written: Permission denied" in said
    assert said.endswith("; give this user the right to write there, or name another folder with --to")


def test_two_recorders_do_not_share_a_day(tmp_path: Path) -> None:
    there = "another process is recording there; end it, or record with another"
    with Recorder(feed(), tmp_path), pytest.raises(RecordingError, match=there):
        Recorder(feed(), tmp_path)
    with pytest.raises(RecordingError, match="holds the recording 'rec'; record 'other' with another --to"):
        Recorder(feed(name="other"), tmp_path)
    with Recorder(feed(), tmp_path):
        pass


def test_a_manifest_that_is_none_any_more_is_made_anew_from_the_files(tmp_path: Path) -> None:
    packets = [(i % 2, NOON + i, mold(1 + i // 2, size=900)) for i in range(300)]
    record(feed("rotate_bytes = 100000"), tmp_path, packets)
    day, before = the_day(tmp_path)
    (day / "manifest.json").write_bytes(b"\0" * 4096)
    record(feed("rotate_bytes = 100000"), tmp_path, [(0, NOON + S, mold(151))])
    (day / "manifest.json.damaged").unlink()
    _, after = the_day(tmp_path)
    assert after.damage == ("manifest.json was no manifest any more; it was put aside, and made anew from the files",)
    assert [(f.name, f.sha256, f.packets, f.first_ts, f.last_ts) for f in after.files[:-1]] == [
        (f.name, f.sha256, f.packets, f.first_ts, f.last_ts) for f in before.files
    ]
    (channel,) = after.channels
    assert (channel.sessions, channel.first_seq, channel.last_seq, channel.lost) == (("S1",), 1, 151, 0)


def test_a_manifest_of_another_kind_is_named_and_stays(tmp_path: Path) -> None:
    record(feed(), tmp_path, [])
    (day,) = tmp_path.iterdir()
    (day / "manifest.json").write_text('{"version": 2}')
    with pytest.raises(RecordingError, match=r"manifest.json: version: expected 1, found 2"):
        record(feed(), tmp_path, [])
    assert (day / "manifest.json").read_text() == '{"version": 2}'


@pytest.mark.parametrize(("sync", "of_files"), [('"none"', 0), ('"file"', 3), ("0.01", 3)])
def test_what_is_to_be_on_the_disk_is_synced(
    sync: str, of_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file when it is whole; with seconds also while it is written."""
    synced: list[str] = []

    def note(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))

    monkeypatch.setattr(os, "fsync", note)
    record(feed(f"rotate_bytes = 1310720\nsync = {sync}"), tmp_path, BIG)
    files = {path for path in synced if ".pcapng" in path}
    assert len(files) == of_files and all(path.endswith(".partial") for path in files)
    assert bool(synced) == (of_files > 0)


def test_the_receiver_does_not_wait_for_a_writer_that_stands_still(
    tmp_path: Path, multicast_group: str, free_udp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that comes is received; what finds no room is counted, and where it is missing is said."""
    monkeypatch.setattr("feedhandler.record.disk.BLOCKS", 2)
    settings = feed(groups=[multicast_group], port=free_udp_port)
    settings = replace(settings, record=replace(settings.record, buffer_bytes=1 << 20))
    go = threading.Event()

    def stuck(fd: int, data: Any) -> int:
        go.wait()
        return os.write(fd, data)

    sender = Sender(multicast_group, free_udp_port)
    with sender.socket, Recorder(settings, tmp_path, write=stuck) as recorder:
        recorder.start()
        for count in range(1, 400):
            for _ in range(10):
                sender.socket.sendto(bytes(8000), sender.target)
            wait(lambda count=count: recorder.status().packets + recorder.status().kernel_drops >= 10 * count)
            if recorder.status().lost > 20:
                break
        assert recorder.status().lost > 20
        go.set()
        wait(lambda: recorder.disk.bytes > 2 << 20)
        sent = recorder.status().packets
        sender.socket.sendto(b"the last one", sender.target)
        wait(lambda: recorder.status().packets > sent)
    day, found = the_day(tmp_path)
    (file,) = found.files
    lost = recorder.status().lost
    assert file.packets + lost == recorder.status().packets and file.lines[0].dropped == lost
    assert payloads(day, found)[-1][2] == b"the last one"


def test_the_reserve_lets_the_last_manifest_be_written(tmp_path: Path) -> None:
    def story() -> None:
        mount_tmpfs(tmp_path, 1 << 20)
        recorder = Recorder(feed(), tmp_path)
        day = recorder.disk.day
        assert isinstance(day, Day)
        with (tmp_path / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(bytes(4096))
        day.damage("the disk was filled")
        recorder.close()
        assert manifest.load(day.folder).damage == ("the disk was filled",)

    in_namespace(MOUNTS, story)


def test_ctrl_c_leaves_whole_files_and_says_what_was_written(
    tmp_path: Path, multicast_group: str, free_udp_port: int, processes: Any, wait_for: Callable[..., Any]
) -> None:
    (tmp_path / "feed.toml").write_text(document(groups=[multicast_group], port=free_udp_port))
    child = processes.feedhandler("record", tmp_path / "feed.toml", "--to", tmp_path / "to", "--compress", "1")
    sender = Sender(multicast_group, free_udp_port)
    with sender.socket:
        wait_for(lambda: sender.send(0.01) or list((tmp_path / "to").glob("*/*.partial")), what="a file")
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    assert child.returncode == 0, said
    _, found = the_day(tmp_path / "to")
    (file,) = found.files
    assert said.splitlines()[0].startswith(f"recording rec into {tmp_path}/to: sockets, lines itch/A; Ctrl-C ends it")
    assert f"wrote {file.packets:,} packets, {file.bytes:,} bytes, in 1 file; " in said.splitlines()[-1]


def test_the_command_ends_by_itself_and_prints_json(tmp_path: Path, multicast_group: str, processes: Any) -> None:
    (tmp_path / "feed.toml").write_text(document(groups=[multicast_group]))
    child = processes.python("tools/record.py", tmp_path / "feed.toml", "--to", tmp_path, "--seconds", "0.1", "--json")
    out, said = child.communicate(timeout=20)
    assert child.returncode == 0, said
    assert json.loads(out) == {"packets": 0, "bytes": 0, "lost": 0, "kernel_drops": 0, "written": 0, "files": 0,
                               "file": None, "folder": str(the_day_of(tmp_path))}  # fmt: skip


def the_day_of(folder: Path) -> Path:
    (found,) = [path for path in folder.iterdir() if path.is_dir()]
    return found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rotate-bytes", "5"], "rotate_bytes: expected 0, or an integer from 65536"),
        (["--rotate-bytes", "many"], "expected a size, as 64K, 500M or 1G, found 'many'"),
        (["--sync", "often"], "expected none, file or seconds, found 'often'"),
        (["--zone", "Mars/Olympus"], "zone: expected a time zone"),
    ],
)
def test_wrong_options_are_named(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feed.toml").write_text(document())
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main(["record", str(tmp_path / "feed.toml"), "--to", str(tmp_path), *options])
    signal.signal(signal.SIGTERM, before)
    plain = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert ended.value.code == 2 and said in plain, plain


def test_sizes_are_read_as_people_write_them() -> None:
    assert [size(text) for text in ("0", "70000", "64k", "64K", "5M", "2G", "1T")] == [
        0, 70_000, 1 << 16, 1 << 16, 5 << 20, 2 << 30, 1 << 40
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["write", "began"])
def test_whatever_goes_wrong_with_the_disk_the_recorder_ends(where: str, tmp_path: Path) -> None:
    """Not an error of the system alone: nobody waits for a thread that is gone."""

    def fails(*_: object) -> int:
        raise ValueError("it broke")

    def recorder() -> Recorder:
        if where == "write":
            return record(feed(), tmp_path, BIG, write=fails)
        lines = [(line.group, line.port) for line in feed().channels[0].lines]
        with capture.PcapWriter(tmp_path / "in.pcap") as source:
            for line, ts, payload in BIG:
                source.write(ts, payload, lines[line])
        made = Recorder(feed(), tmp_path / "day", receiver=capture.receiver(tmp_path / "in.pcap", lines))
        made.disk.began = fails
        with made:
            made.start()
            assert made.wait_quietly(20)
        return made

    done = recorder()
    assert isinstance(done.error, RecordingError) and "cannot be written: it broke" in str(done.error)
    assert done.status().lost == done.status().packets


def test_drops_of_the_kernel_stand_in_one_file_or_the_next(tmp_path: Path) -> None:
    """Whenever they are: also between a file's end and the beginning of the one behind it."""
    lines = [(line.group, line.port) for line in feed().channels[0].lines]
    with capture.PcapWriter(tmp_path / "in.pcap") as source:
        for line, ts, payload in BIG:
            source.write(ts, payload, lines[line])
    told = [0, 0]

    class Dropping:
        """A receiver that has dropped one more packet whenever it is asked."""

        def __init__(self, receiver: Any) -> None:
            self.receiver = receiver

        def __getattr__(self, name: str) -> Any:
            return getattr(self.receiver, name)

        def counts(self, line: int) -> dict[str, int]:
            told[line] += 1
            return {**self.receiver.counts(line), "kernel_drops": told[line]}

    with Recorder(
        feed("rotate_bytes = 500000"), tmp_path / "day", receiver=capture.receiver(tmp_path / "in.pcap", lines)
    ) as recorder:
        recorder.receiver = Dropping(recorder.receiver)  # type: ignore[assignment]
        recorder.start()
        assert recorder.wait(20)
    found = manifest.load(tmp_path / "day" / "20261122")
    assert len(found.files) > 4
    assert [sum(file.lines[line].kernel_drops for file in found.files) for line in (0, 1)] == told
