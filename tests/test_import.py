"""Logs of WebSocket feeds as recorded days: every text, its bytes, its order, its time to the ns."""

import gzip
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard
from scapy.layers.inet import IP, TCP
from scapy.utils import PcapNgReader
from typer.testing import CliRunner

from feedhandler import cli
from feedhandler.errors import RecordingError
from feedhandler.record import logs
from feedhandler.record.imported import RESPONSE, import_logs
from feedhandler.recording import Recording, manifest

NOON = 1_795_348_800_000_000_000  # 2026-11-22 12:00:00 UTC
DIFF = '{"stream":"x","data":{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"b":[],"a":[]}}'

OTHER, SNAPSHOT = DIFF.replace("BTC", "ETH"), '{"lastUpdateId":1}'


def unframed(data: bytes) -> list[bytes]:
    """The texts of unmasked, unfragmented frames, by the plain rule."""
    texts = []
    while data:
        assert data[0] == 0x81
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
        assert len(data) >= at + size
        texts.append(data[at : at + size])
        data = data[at + size :]
    return texts


def played(recording: Recording) -> dict[str, list[tuple[int, bytes]]]:
    """Of each line of a recording, the runs of bytes with their times; merged in the order in which they come."""
    found = defaultdict(list)
    latest = 0
    with recording.receiver() as receiver:
        for line, ts, run in receiver.drain():
            assert ts >= latest
            latest = ts
            found[f"{recording.lines[line].channel}/{recording.lines[line].name}"].append((ts, run))
        assert receiver.error is None
    return found


def texts_of(runs: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """(time, text) of each text on a line, one connection or several; the time of its first byte."""
    found = []
    waiting, since = b"", 0
    for ts, run in runs:
        run = run.removeprefix(RESPONSE)
        since = since if waiting else ts
        waiting += run
        if waiting and len(run) < 65_000:
            found += [(since, text) for text in unframed(waiting)]
            waiting = b""
    assert not waiting
    return found


def nanoseconds(log: Path) -> list[tuple[int, bytes]]:
    """A log of hftbacktest's kind, read plainly."""
    lines = gzip.decompress(log.read_bytes()).splitlines()
    return [(int(ts), text) for ts, text in (line.split(b" ", 1) for line in lines)]


def seconds(log: Path) -> list[tuple[int, bytes]]:
    """What came, of a log of cryptofeed's kind, read plainly."""
    found = []
    for line in gzip.decompress(log.read_bytes()).splitlines():
        head, _, text = line.partition(b": ")
        if text and b" <- " not in head:
            ts = Decimal(head.split(b" -> ")[-1].decode())
            found.append((int(ts * 10**9), text))
    return found


def test_texts_come_back_as_they_were_in_their_order_at_their_times(shared_data: Path, tmp_path: Path) -> None:
    """Two days of Binance spot: each a folder of its own; the snapshot stands on the control line."""
    paths = [shared_data / f"crypto/binance/spot-btcusdt_{day}.gz" for day in ("20240808", "20240809")]
    days = import_logs(reversed(paths), tmp_path)
    assert [day.folder.name for day in days] == ["20240808", "20240809"]
    for day, path in zip(days, paths, strict=True):
        expected = nanoseconds(path)
        found = played(Recording(day.folder))
        snapshots = [(ts, text) for ts, text in expected if text.startswith(b'{"lastUpdateId"')]
        assert texts_of(found["binance/A"]) == [row for row in expected if row not in snapshots]
        answers = texts_of(found["binance/control"])
        assert [ts for ts, _ in answers] == [ts for ts, _ in snapshots]
        for (_, answer), (_, snapshot) in zip(answers, snapshots, strict=True):
            assert answer == b'{"rest":"depth","symbol":"BTCUSDT","body":' + snapshot + b"}"
            json.loads(answer)
        kept = manifest.load(day.folder)
        assert kept.complete and kept.files[0].bytes == day.bytes == (day.folder / kept.files[0].name).stat().st_size
        assert kept.files[0].first_ts == min(ts for ts, _ in expected)
        assert kept.files[0].last_ts == max(ts for ts, _ in expected)
        assert sum(line.packets for line in kept.files[0].lines) == kept.files[0].packets


@pytest.mark.parametrize(
    ("folder", "log", "protocol"),
    [
        ("binance", "cf-BINANCE.{}.gz", "binance"),
        ("binance", "cf-BINANCE_FUTURES.{}.gz", "binance_usdm"),
        ("bitstamp", "BITSTAMP.{}.gz", "bitstamp"),
        ("coinbase", "COINBASE.ws.28.0.gz", "coinbase"),
        ("kraken", "KRAKEN.ws.50.0.gz", "kraken"),
    ],
)
def test_logs_of_every_venue(shared_data: Path, tmp_path: Path, folder: str, log: str, protocol: str) -> None:
    names = [log.format("ws.1.0"), log.format("http.0.0")] if "{}" in log else [log]
    paths = [shared_data / "crypto" / folder / name for name in names]
    (day,) = import_logs(paths, tmp_path, compress=len(paths))
    assert day.channels == (protocol,)
    found = played(Recording(day.folder))
    assert texts_of(found[f"{protocol}/A"]) == seconds(paths[0])
    answers = texts_of(found.get(f"{protocol}/control", []))
    expected = seconds(paths[1]) if len(paths) > 1 else []
    assert [(ts, json.loads(text)["body"]) for ts, text in answers] == [(ts, json.loads(text)) for ts, text in expected]
    symbols = {json.loads(text)["symbol"].lower() for _, text in answers}
    assert len(symbols) == len(answers)
    streams = b" ".join(text for _, text in seconds(paths[0])).lower()
    assert all(symbol.encode() in streams for symbol in symbols)


def test_what_overlaps_is_a_channel_of_its_own_and_what_follows_a_connection(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    first.write_text(f"{NOON} {DIFF}\n{NOON + 5} {DIFF}\n")
    second.write_bytes(zstandard.compress(f"{NOON + 3} {DIFF}\n".encode()))
    third.write_bytes(gzip.compress(f"{NOON + 5} {DIFF}\n{NOON + 9} {DIFF}\n".encode()))
    (day,) = import_logs([first, second, third], tmp_path / "days")
    assert (day.channels, day.texts, day.answers) == (("binance", "binance-2"), 5, 0)
    recording = Recording(day.folder)
    with recording.receiver() as receiver:
        list(receiver.drain())
        connections = [receiver.line_status(line)["connections"] for line in range(4)]
    assert connections == [2, 1, 1, 1]
    found = played(recording)
    assert [ts - NOON for ts, _ in texts_of(found["binance/A"])] == [0, 5, 5, 9]
    assert [ts - NOON for ts, _ in texts_of(found["binance-2/A"])] == [3]


def test_segments_are_right_for_other_programs_and_every_size_of_frame(tmp_path: Path) -> None:
    """Numbers that follow, sums that scapy finds again, and texts of one, three and many bytes of length."""
    log = tmp_path / "log"
    sizes = (1, 125, 126, 65_535, 65_536, 140_001)
    log.write_text("".join(f"{NOON // 10**9}.{i}: {'x' * size}\n" for i, size in enumerate(sizes)))
    (day,) = import_logs([log], tmp_path / "days", protocol="kraken", name="made")
    recording = Recording(day.folder)
    found = texts_of(played(recording)["kraken/A"])
    assert [(ts - NOON, len(text)) for ts, text in found] == [(i * 10**8, size) for i, size in enumerate(sizes)]
    following: dict[str, int] = {}
    with PcapNgReader(str(recording.files[0].path)) as reader:
        for frame in reader:
            ip, tcp = frame[IP], frame[TCP]
            assert following.setdefault(ip.src, tcp.seq) == tcp.seq
            following[ip.src] = tcp.seq + len(tcp.payload) + ("S" in tcp.flags) + ("F" in tcp.flags)
            sums = ip.chksum, tcp.chksum
            del ip.chksum, tcp.chksum
            again = IP(bytes(ip))
            assert (again.chksum, again[TCP].chksum) == sums
    assert len(following) == 2


def test_a_text_may_have_lines_and_a_connection_may_begin_anew_in_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        'wss://ws.kraken.com <-> 1618678132.3858151\n1618678132.5: {"a":\n 1}\n\n'
        'wss://ws.kraken.com <-> 1618678139.25\nwss://ws.kraken.com <- 1618678140.0: {"event":"subscribe"}\n'
        "1618678141.0000001: {}\n"
    )
    entries = list(logs.read(log))
    assert [entry.kind.value for entry in entries] == ["opened", "text", "opened", "sent", "text"]
    (day,) = import_logs([log], tmp_path / "days")
    runs = played(Recording(day.folder))["kraken/A"]
    assert [(ts, run) for ts, run in runs if run == RESPONSE] == [
        (1618678132_385815100, RESPONSE),
        (1618678139_250000000, RESPONSE),
    ]
    assert texts_of(runs) == [(1618678132_500000000, b'{"a":\n 1}'), (1618678141_000000100, b"{}")]


def test_what_is_no_log_and_what_cannot_be_placed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for content, sentence in [
        (b"", "there is nothing in it"),
        (b"hello\n", "log:1: no line of a log of WebSocket texts"),
        (f"{NOON} {{}}\n".encode(), "nothing in it says whose it is: name it with --protocol"),
        (b"https://api.kraken.com/x -> 1618678132.0: {}\n", "answers of kraken, and no log of its WebSocket"),
        (b"https://api.kraken.com/x -> 1618678132.0: \n", "log:1: expected a text behind the time"),
        (b"\x1f\x8b\x08\x00 cut", "cannot be read"),
        (gzip.compress(f"{NOON} {DIFF}\n".encode() * 100)[:-12], "cannot be read"),
        (f"{NOON} {DIFF}\n{NOON} {OTHER}\n{NOON} {SNAPSHOT}\n".encode(), "without a symbol"),
    ]:
        log.write_bytes(content)
        with pytest.raises(RecordingError, match=sentence):
            import_logs([log], tmp_path / "days")
        assert not list((tmp_path / "days").rglob("*.pcapng*"))
    log.write_text(f"{NOON} {DIFF}\n")
    import_logs([log], tmp_path / "days")
    before = sorted((tmp_path / "days").rglob("*"))
    with pytest.raises(RecordingError, match="holds the recording 'binance' already"):
        import_logs([log], tmp_path / "days")
    assert sorted((tmp_path / "days").rglob("*")) == before
    assert manifest.load(before[0]).complete


def test_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"{NOON} {DIFF}\n")
    result = CliRunner().invoke(cli.app, ["import", str(log), "--to", str(tmp_path / "days"), "--json"])
    assert result.exit_code == 0, result.output
    (day,) = json.loads(result.stdout)
    assert (day["folder"], day["texts"]) == (str(tmp_path / "days" / "20261122"), 1)
    log.write_text("no log\n")
    with pytest.raises(RecordingError):
        CliRunner().invoke(cli.app, ["import", str(log), "--to", str(tmp_path / "more")], catch_exceptions=False)
