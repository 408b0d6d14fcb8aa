"""`feedhandler rehearse`: what it finds, what it says, how it ends; and that it would find a wrong book."""

import io
import json
import struct
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from feedhandler import rehearse
from feedhandler.cli import main
from feedhandler.errors import ConfigError
from feedhandler.simulate import Exchange, Faults, RequestAnswerer, write
from tests.rehearsal import SMALL, day, tell

SMALL_DAY = ("--messages", "16000", "--symbols", "5")
HARD = "all.loss = 0.2\n"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of the command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["rehearse", *(str(argument) for argument in arguments)])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def forging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request server that changes the shares of what it sends again: nobody can see that but the witness."""
    honest = RequestAnswerer.answer

    def forged(self: RequestAnswerer, request: bytes, now: float) -> list[bytes]:
        return [with_other_shares(packet) for packet in honest(self, request, now)]

    monkeypatch.setattr(RequestAnswerer, "answer", forged)


def with_other_shares(packet: bytes) -> bytes:
    out, at = bytearray(packet), 20
    while at + 2 < len(packet):
        if packet[at + 2 : at + 3] == b"A":
            (shares,) = struct.unpack_from(">I", packet, at + 22)
            struct.pack_into(">I", out, at + 22, shares + 100)
        at += 2 + int.from_bytes(packet[at : at + 2], "big")
    return bytes(out)


def test_the_default_script_on_a_simulated_day() -> None:
    code, out, _ = run("simulate", *SMALL_DAY, "--json")
    found = json.loads(out)
    assert code == 0 and found["wrong_live"] == 0 and found["lost"] == 0
    assert found["gaps"] == found["recovered"] > 0
    assert found["books"]["live_and_equal"] == 5 and not found["books"]["wrong"]


def test_the_same_seed_tells_the_same_story_and_another_one_another(tmp_path: Path) -> None:
    script = tmp_path / "hard.toml"
    script.write_text(HARD)
    first, again, other = (run("simulate", *SMALL_DAY, "--faults", script, "--seed", n, "--json")[1] for n in "112")
    assert first == again != other


@pytest.mark.usefixtures("forging")
def test_a_wrong_book_is_found_with_seed_and_level_and_is_exit_code_1(tmp_path: Path) -> None:
    script = tmp_path / "hard.toml"
    script.write_text(HARD)
    code, out, err = run("simulate", *SMALL_DAY, "--faults", script, "--seed", 3)
    assert code == 1 and "--seed 3" in err
    assert "was LIVE and wrong at number" in out and "shown bid" in out and "right bid" in out
    code, out, _ = run("simulate", *SMALL_DAY, "--faults", script, "--seed", 3, "--json")
    first = json.loads(out)["first_wrong"]
    assert code == 1 and first["shown"] != first["wanted"] and first["level"] >= 1 and first["side"] in ("bid", "ask")


@pytest.mark.usefixtures("forging")
def test_the_property_would_fail_if_books_were_wrong() -> None:
    story = tell(HARD)
    assert not story.ok and story.wrong_live > 0 and story.first_wrong is not None


def test_a_page_for_people_and_a_picture(tmp_path: Path) -> None:
    code, out, _ = run("simulate", *SMALL_DAY, "--plot", tmp_path / "gaps.png")
    assert code == 0 and "time to recovery" in out and "LIVE and wrong" in out
    assert (tmp_path / "gaps.png").read_bytes()[:4] == b"\x89PNG"


def test_captures_of_both_kinds(tmp_path: Path) -> None:
    market = {"symbols": 4, "messages": 4_000, "seed": 5}
    write(tmp_path / "day.itch.gz", Exchange(**market))  # type: ignore[arg-type]
    write(tmp_path / "day.pcap", Exchange(**market, duration_s=2.0), skew_us=20.0)  # type: ignore[arg-type]
    for name in ("day.itch.gz", "day.pcap"):
        code, out, _ = run(tmp_path / name, "--json")
        found = json.loads(out)
        assert code == 0 and found["wrong_live"] == 0 and found["books"]["live_and_equal"] == 4, name


def test_what_cannot_be_rehearsed_is_one_sentence(tmp_path: Path) -> None:
    code, _, err = run("simulat")
    assert code == 2 and "neither a file nor the word simulate" in " ".join(err.replace("│", " ").split())
    (tmp_path / "bad.toml").write_text("all.loss = 2")
    code, _, err = run("simulate", *SMALL_DAY, "--faults", tmp_path / "bad.toml")
    assert code == 1 and "loss" in err and err.count("\n") == 1
    with pytest.raises(ConfigError, match="has no packets"):
        rehearse.rehearse(rehearse.listed([]), Faults(), sizes=SMALL)


def test_without_faults_nothing_is_missed() -> None:
    story = tell("")
    assert story.whole and not story.gaps and not story.periods
    assert story.compared > 1_900 and story.packets == 2 * len(day())


def test_progress_counts_packets() -> None:
    calls: list[int] = []
    source = rehearse.from_simulation(symbols=3, messages=20_000)
    report: Any = rehearse.rehearse(source, Faults(), sizes=SMALL, progress=calls.append)
    assert report.whole and calls == sorted(calls) and len(calls) > 0
