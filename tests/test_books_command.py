"""record --books and check --books, as people use them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from feedhandler.cli import app
from feedhandler.receive.capture import PcapWriter, read
from feedhandler.recording import Recording, books
from feedhandler.recording import manifest as manifests
from feedhandler.simulate import Exchange
from feedhandler.simulate.multicast import MulticastSender
from tests.book_days import SIZES, itch_day
from tests.conftest import Processes
from tests.recorded import document

SMALL = {name: SIZES[name] for name in ("orders", "instruments")}


@pytest.fixture(scope="module")
def kept_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole day with book snapshots, not to be changed: copy it."""
    path = itch_day(tmp_path_factory.mktemp("days") / "day.pcap", 5, messages=2500, faults="")
    books.Keeper(Recording(path), 2.0, **SMALL).run()  # type: ignore[arg-type]
    return path


def checked(*arguments: object) -> tuple[int, str, Any]:
    """Exit code, what it shows, and what it says as JSON."""
    shown = CliRunner().invoke(app, ["check", *map(str, arguments)])
    told = CliRunner().invoke(app, ["check", *map(str, arguments), "--json"])
    assert shown.exit_code == told.exit_code
    return shown.exit_code, " ".join(shown.output.split()), json.loads(told.stdout) if told.stdout else None


def test_a_day_that_proves_itself(kept_day: Path) -> None:
    code, shown, told = checked(kept_day, "--books")
    assert code == 0 and told["books"]["ok"]
    assert f"books: all {told['books']['compared']:,} hashes are as they were" in shown


def test_a_day_that_was_changed_is_named_to_the_level(kept_day: Path, tmp_path: Path) -> None:
    """Sequence numbers tell nothing of it: without --books the day is whole."""
    path = Path(shutil.copy(kept_day, tmp_path / "day.pcap"))
    shutil.copy(kept_day.with_name("day.pcap.books"), tmp_path / "day.pcap.books")
    packets = list(read(kept_day))
    with PcapWriter(path) as out:
        for i, (ts, target, payload) in enumerate(packets):
            at = payload.find(b"\x00\x24A", 20)
            if i > len(packets) // 2 and at > 0:  # the first add of each packet, in both lines' copies
                price = at + 2 + 32
                value = int.from_bytes(payload[price : price + 4], "big") + 100
                payload = payload[:price] + value.to_bytes(4, "big") + payload[price + 4 :]
            out.write(ts, payload, target)
    assert checked(path)[0] == 0
    code, shown, told = checked(path, "--books")
    assert code == 1 and not told["books"]["ok"]
    first = told["books"]["differences"][0]
    assert first["symbol"] and first["sequence"] > 0 and " was " in first["what"]
    assert f"{first['symbol']} on XNAS: " in shown and "differences, at" in shown


def test_a_day_without_snapshots_says_how_to_have_them(kept_day: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(kept_day, tmp_path / "day.pcap"))
    done = CliRunner().invoke(app, ["check", str(path), "--books"])
    assert done.exit_code == 1 and "there are no book snapshots: record with --books N" in str(done.exception)


def test_record_keeps_books_that_prove_the_day(
    tmp_path: Path, processes: Processes, multicast_group: str, free_udp_port: int, wait_for: Callable[..., Any]
) -> None:
    settings = tmp_path / "feed.toml"
    text = document(name="live", groups=(multicast_group,), port=free_udp_port)
    settings.write_text("[books]\norders = 30000\ninstruments = 64\n" + text)
    recorder = processes.feedhandler("record", settings, "--to", tmp_path / "out", "--books", "1", "--json")

    def folder() -> Path | None:
        return next(iter((tmp_path / "out").glob("*/manifest.json")), None) if (tmp_path / "out").exists() else None

    found = wait_for(folder, what="the day's folder").parent
    exchange = Exchange(symbols=5, messages=6_000, seed=3, live_orders=100)
    sender = MulticastSender([(multicast_group, free_udp_port)], rate=2_500, end_repeats=1)
    sender.run(exchange)
    wait_for(lambda: (found / "live.books").exists(), what="the file of snapshots")  # while the day is recorded
    assert not manifests.load(found).complete
    out, said = processes.stop(recorder, 60)
    assert recorder.returncode == 0 and json.loads(out)["packets"] > 0
    assert "snapshots of the books" in said and str(found / "live.books") in said
    assert manifests.load(found).complete
    proof = books.prove(Recording(found))
    assert proof.ok and proof.snapshots >= 2 and not proof.damage
