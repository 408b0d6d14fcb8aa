"""bench latency: the stages of each packet, what is left out and why, the table and the picture."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from feedhandler import latency
from feedhandler.errors import BackendError, ConfigError
from feedhandler.latency.cable import Cable, inside
from feedhandler.latency.measure import STAGES, Figures, Report, Rig
from tests.required import unavailable

TWO_CPUS = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads spin: this needs two CPUs")
LOOPBACK, VETH = latency.rigs()[:2]


def figures(name: str = "sockets, veth", lost: int = 0) -> Figures:
    draw = np.random.default_rng(7)
    stages = {stage: draw.integers(500, 5000, 400) for stage in ("sent_wire", *STAGES)}
    return Figures(name, "sockets", "kernel", lost, stages)


def test_the_stages_add_up() -> None:
    one = figures()
    assert (one.whole == sum(one.stages[stage] for stage in STAGES)).all()
    middle = one.median_packet()
    assert sum(middle.values()) == pytest.approx(np.median(one.whole), rel=0.05)
    said = one.as_dict()
    assert set(said["stages"]) == {"sent_wire", *STAGES, "wire_strategy"}
    assert (said["packets"], said["lost"]) == (400, 0)
    for percentiles in said["stages"].values():
        assert list(percentiles) == ["p50", "p90", "p99", "p99.9", "max"]
        assert sorted(percentiles.values()) == list(percentiles.values())


def test_table_and_picture(tmp_path: Path) -> None:
    report = Report(400, 2000.0, [figures(), figures("af_xdp native, veth", 3)], {"rdma": "no device"}, "Linux 6.18")
    page = Console(file=StringIO(), width=80)
    page.print(latency.draw(report))
    text = page.file.getvalue()  # type: ignore[attr-defined]
    for words in ("sockets, veth", "af_xdp native, veth: 3 packets were lost", "rdma: left out: no device", "publish→"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80
    latency.plot(report, tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
    latency.plot(Report(400, 2000.0), tmp_path / "empty.png")
    with pytest.raises(ConfigError, match=r"bench: --plot .*\.doc: "):
        latency.plot(report, tmp_path / "latency.doc")
    with pytest.raises(ConfigError, match=r"cannot be written: "):
        latency.plot(report, tmp_path / "absent" / "latency.png")


@pytest.mark.usefixtures("without_matplotlib")
def test_without_matplotlib_one_sentence_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"bench: --plot needs matplotlib.* pip install 'feedhandler\[plot\]'"):
        latency.figures()


def test_one_cpu_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with pytest.raises(BackendError, match="two threads that spin: it needs two CPUs, and this has one"):
        latency.measure([LOOPBACK])


@TWO_CPUS
def test_loopback_and_what_cannot_be_had(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    done: list[int] = []
    wrong = Rig("no such mode", "af_xdp", settings='[af_xdp]\nmode = "none"\n')
    report = latency.measure([LOOPBACK, wrong], packets=30, progress=done.append)
    assert os.sched_getaffinity(0) == before
    assert done == [1, 2]
    [one] = report.figures
    assert (one.name, one.backend) == ("sockets, loopback", "sockets")
    assert len(one.whole) + one.lost == 30
    assert (one.stages["wire_receive"] >= 0).all() and (one.stages["receive_publish"] > 0).all()
    assert 'af_xdp.mode: expected one of "native", "generic", found "none"' in report.left_out["no such mode"]
    latency.plot(report, tmp_path / "loopback.png")


@TWO_CPUS
def test_a_cable_of_its_own() -> None:
    try:
        with Cable() as cable, inside(cable.receiver):
            names = {line.split(":")[0].strip() for line in Path("/proc/thread-self/net/dev").read_text().splitlines()}
            assert "rx" in names and "tx" not in names
    except BackendError as error:
        assert os.getuid() != 0, error
        unavailable(str(error))
    report = latency.measure([VETH], packets=30)
    assert report.left_out == {}
    assert [each.backend for each in report.figures] == ["sockets"]


@TWO_CPUS
def test_the_command() -> None:
    command = [sys.executable, "-m", "feedhandler", "bench", "latency", "--json", "--packets", "10"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    assert report["rigs"][0]["name"] == "sockets, loopback"
    assert len(report["rigs"]) + len(report["left_out"]) == len(latency.rigs("d0"))


def test_what_the_command_refuses(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from feedhandler.cli import app

    capture = tmp_path / "day.itch"
    capture.write_bytes(b"")
    for arguments, words in [
        (["latency", str(capture)], "takes no capture"),
        (["decode"], "give its file"),
        (["decode", str(capture), "--plot", "x.png"], "only latency and websocket are drawn"),
    ]:
        result = CliRunner().invoke(app, ["bench", *arguments])
        assert result.exit_code == 2
        assert words in " ".join(result.output.replace("│", " ").split())
