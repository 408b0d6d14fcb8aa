"""Streams recorded: the bytes as they came, connections that others can follow, no number lost over a cut."""

import itertools
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_handler_live import MARKET, CuttingProxy

from feedhandler import config, simulate
from feedhandler.config import Config
from feedhandler.record import Recorder
from feedhandler.recording import manifest
from tests.background import beside
from tests.feeds import soup
from tests.recorded import fields, tool


def feed(port: int, record: str = "") -> Config:
    return config.parse(soup(port, f"[record]\nsync = 0.02\nbuffer_bytes = 16777216\n{record}"))


def messages(day: Path) -> Iterator[bytes]:
    """The sequenced messages of all connections of a day, out of the bytes that tshark puts together."""
    for file in manifest.load(day).files:
        path = day / file.name
        streams = sorted({int(row[0]) for row in fields(path, "tcp.stream")})
        for stream in streams:
            text = tool("tshark", "-r", path, "-q", "-z", f"follow,tcp,raw,{stream}")
            data = bytes.fromhex("".join(line.strip() for line in text.splitlines()[6:-1]))
            while data:
                size = 2 + struct.unpack_from(">H", data)[0]
                packet, data = data[:size], data[size:]
                if packet[2:3] == b"S" and len(packet) == size:  # the last one of a cut connection may be a part
                    yield packet[3:]


def whole_market() -> list[bytes]:
    exchange, block, found = simulate.Exchange(MARKET), bytearray(1 << 16), []
    while size := exchange.produce(block):
        at = 0
        while at < size:
            length = int.from_bytes(block[at : at + 2], "big")
            found.append(bytes(block[at + 2 : at + 2 + length]))
            at += 2 + length
    return found


def complaints(path: Path) -> list[list[str]]:
    """What tshark finds wrong with the segments of a file."""
    bad = "tcp.analysis.flags || tcp.checksum.status != Good || ip.checksum.status != Good || _ws.malformed"
    return fields(path, "frame.number", "_ws.expert.message", where=bad)


def test_a_session_is_recorded_over_a_cut_and_followed_by_others(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer(rate=200_000)
    proxy = CuttingProxy(server.port, after=[100_000, 150_000])
    recorder, serving = Recorder(feed(proxy.port), tmp_path), lambda: server.run(simulate.Exchange(MARKET))
    with recorder, proxy, beside(serving, server.stop):
        recorder.start()
        wait_for(lambda: recorder.wait_quietly(0), what="the end of the session")
    assert recorder.error is None and proxy.cut == 2
    (day,) = tmp_path.iterdir()
    (channel,) = manifest.load(day).channels
    assert (channel.first_seq, channel.last_seq, channel.lost, channel.gaps) == (1, MARKET.messages, 0, ())
    (file,) = manifest.load(day).files
    assert complaints(day / file.name) == []
    assert list(messages(day)) == whole_market()
    flags = [int(row[0], 16) for row in fields(day / file.name, "tcp.flags", where="tcp.len == 0")]
    assert [flag & 2 for flag in flags] == [2, 0, 2, 0, 2, 0] and [flag & 5 > 0 for flag in flags[1::2]] == [True] * 3
    assert file.lines[0].ts_kind == "clock" and file.lines[0].first_seq == 1
    data = fields(day / file.name, "tcp.len", where="tcp.len > 0")
    assert (len(data), sum(int(row[0]) for row in data)) == (file.packets, file.lines[0].bytes)


def test_files_are_cut_in_the_middle_of_a_connection(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer()
    recorder = Recorder(feed(server.port, "rotate_bytes = 300000"), tmp_path)
    with recorder, beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
        recorder.start()
        wait_for(lambda: recorder.wait_quietly(0), what="the end of the session")
    (day,) = tmp_path.iterdir()
    files = manifest.load(day).files
    assert len(files) > 2 and all(not complaints(day / file.name) for file in files)
    numbers = [(file.lines[0].first_seq, file.lines[0].last_seq) for file in files]
    assert numbers[0][0] == 1 and numbers[-1][1] == MARKET.messages
    for (_, last), (first, _) in itertools.pairwise(numbers):
        assert last is not None and first == last + 1
    sizes, following = 0, 1
    for file in files:
        for number, size in fields(day / file.name, "tcp.seq_raw", "tcp.len", where="tcp.len > 0"):
            assert int(number) == following
            following, sizes = int(number) + int(size), sizes + int(size)
    assert sizes == sum(file.lines[0].bytes for file in files) > 20_000 * 12


def test_a_recorder_started_again_asks_for_what_it_lacks(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    server = simulate.SoupServer(rate=100_000)
    settings = feed(server.port)
    with beside(lambda: server.run(simulate.Exchange(MARKET)), server.stop):
        with Recorder(settings, tmp_path) as first:
            first.start()
            wait_for(lambda: first.status().bytes > 50_000, what="a part of the session")
        with Recorder(settings, tmp_path) as second:
            second.start()
            wait_for(lambda: second.wait_quietly(0), what="the end of the session")
    (day,) = tmp_path.iterdir()
    found = manifest.load(day)
    assert len(found.files) == 2 and found.complete and found.damage == ()
    (channel,) = found.channels
    assert (channel.first_seq, channel.last_seq, channel.lost) == (1, MARKET.messages, 0)
    assert [complaints(day / file.name) for file in found.files] == [[], []]
    assert sorted(set(messages(day))) == sorted(set(whole_market()))


def test_a_server_that_is_not_there_is_named_and_waited_for(tmp_path: Path, wait_for: Callable[..., Any]) -> None:
    with Recorder(feed(1), tmp_path) as recorder:
        recorder.start()
        wait_for(lambda: any("cannot connect to 127.0.0.1:1" in note for note in recorder.notes))
    assert recorder.error is None
    assert manifest.load(next(tmp_path.iterdir())).complete


def test_a_stream_waits_for_a_disk_that_stands_still(
    tmp_path: Path, wait_for: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server waits, as TCP has it: nothing is lost."""
    monkeypatch.setattr("feedhandler.record.disk.BLOCKS", 2)
    go = threading.Event()
    server = simulate.SoupServer()
    settings = feed(server.port)
    settings = replace(settings, record=replace(settings.record, buffer_bytes=1 << 20))

    def slow(fd: int, data: Any) -> int:
        go.wait()
        return os.write(fd, data)

    exchange = simulate.Exchange(symbols=12, messages=400_000, seed=7)
    with Recorder(settings, tmp_path, write=slow) as recorder, beside(lambda: server.run(exchange), server.stop):
        recorder.start()
        wait_for(lambda: recorder.intake.held_ns > 0, what="streams that wait")
        go.set()
        wait_for(lambda: recorder.wait_quietly(0), what="the end of the session")
    (day,) = tmp_path.iterdir()
    found = manifest.load(day)
    assert (found.channels[0].first_seq, found.channels[0].last_seq, found.channels[0].lost) == (1, 400_000, 0)
    assert found.files[0].lines[0].dropped == recorder.status().lost == 0
    assert found.damage[0].startswith("streams were not read for ")
